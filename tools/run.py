"""The main job from start to end: `python tools/run.py [VIDEO] [--out FOLDER]`, what `make run` does.

A video (simulated, if none is given) becomes a store, pictures and a verdict per layer. Needs spatterlib installed for
the Python that runs this, and no shell.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

UNDECODED = 3  # of `spatterlib extract`: done, but under 99.9 % of the frames decoded


def program() -> list[str]:
    """The command beside this Python; where its scripts lie elsewhere, the module."""
    script = Path(sys.executable).with_name("spatterlib.exe" if os.name == "nt" else "spatterlib")
    return [os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)] if script.exists() else [
        sys.executable, "-m", "spatterlib",
    ]  # fmt: skip


def spatterlib(*arguments: str | Path, quiet: bool = False) -> int:
    """Exit code of a command; Ctrl-C reaches it as well, and it is waited for: it says what it keeps."""
    command = [*program(), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL if quiet else None) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


def demanded(*arguments: str | Path, quiet: bool = False, also: int = 0) -> int:
    """End with the command's exit code, unless it is 0 or `also`."""
    code = spatterlib(*arguments, quiet=quiet)
    if code not in (0, also):
        sys.exit(code if code > 0 else 128 - code)
    return code


def main_job(video: Path | None, out: Path) -> int:
    """Do it; the exit code of what is done last but told first: whether all frames decoded."""
    out.mkdir(parents=True, exist_ok=True)
    if video is None:
        video = out / "simulated.mp4"
        if not video.exists():
            demanded("simulate", video, "--seconds", "60", "--seed", "1")
    store, timeline, crops, page = (
        out / f"{video.stem}.{kind}" for kind in ("h5", "timeline.png", "crops.png", "html")
    )
    code = demanded("extract", video, "-o", store, "--plot", timeline, "--overwrite", also=UNDECODED)
    demanded("show", store, "-o", crops, quiet=True)
    # The model that comes along learned from simulated recordings: on others it mostly, and rightly, gives no verdict.
    demanded("predict", store, "--model", "simulated", "-o", page, "--overwrite")
    width = max(len(str(path)) for path in (store, timeline, crops, page))
    print("\nResults:")
    for path, text in (
        (store, f"crops, measurements, frame log ({' '.join(program())} info {store})"),
        (timeline, "detections per second, layers shaded"),
        (crops, "the first crops"),
        (page, "the verdict on each layer, by a model that learned from simulated recordings"),
    ):
        print(f"  {path!s:{width}}  {text}")
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="From a video to crops, pictures and a verdict per layer.")
    parser.add_argument("video", nargs="?", type=Path, help="any recording; without one, 60 s are simulated")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the results (default: out)")
    given = parser.parse_args()
    sys.exit(main_job(given.video, given.out))
