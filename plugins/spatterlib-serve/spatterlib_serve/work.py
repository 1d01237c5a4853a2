"""What runs in a process of its own: looking at an upload, and judging a video. Killed, it leaves the service alone.

It is asked by one line of JSON on stdin and answers by lines of JSON on stdout. When stdin ends, the service is gone,
and so is this process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spatterlib.errors import ParameterError, SpatterlibError, VideoError, one_line
from spatterlib.video.ffmpeg import open_input

__all__ = ["FORMATS", "judge", "look"]

# What FFmpeg may take an upload for: containers that hold their pictures themselves. Others of its formats are lists
# of files and addresses (HLS, DASH, concat), which would have the service read what a client cannot.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,mxf,ogg,nut,ivf,h264,hevc,av1,obu,m4v,"
    "mjpeg,dv,gif,yuv4mpegpipe,rm,wtv,swf"
)
_EVERY = 0.2  # S between two words on the progress.

# What the loader of libraries and the system say where Python has no chance to raise MemoryError.
_NO_MEMORY = ("cannot map", "failed to map", "annot allocate memory")


def look(path: str, name: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Facts about an upload, from opening it: seconds, frames, width, height.

    Raises
    ------
    VideoError
        If it is no video that can be read.
    ParameterError
        If it is larger or longer than `limits` allow.
    """
    import numpy as np

    import spatterlib as sp

    _headers(path, name, limits["max_pixels"])
    with sp.open_video(path) as video:
        times = video.times[np.isfinite(video.times)]
        seconds = float(np.ptp(times)) if len(times) else 0.0
        if seconds > limits["max_seconds"]:
            raise ParameterError(f"{name} lasts {seconds:.0f} s; at most {limits['max_seconds']:.0f} s are taken")
        facts = {"seconds": round(seconds, 3), "frames": len(video.times)}
        return facts | {"width": video.width, "height": video.height}


def _headers(path: str, name: str, pixels: int) -> None:
    """Ask the container before anything is decoded."""
    import av

    if Path(path).stat().st_size == 0:
        raise VideoError(f"{name} is empty")
    try:
        with open_input(f"file:{path}", options={"format_whitelist": FORMATS}) as source:
            for stream in source.streams.video:
                coding = stream.codec_context
                if coding is not None and coding.width * coding.height > pixels:
                    raise ParameterError(
                        f"{name} has frames of {coding.width}x{coding.height} px; at most {pixels} px are taken"
                    )
    except av.ArgumentError as error:
        raise VideoError(f"{name} is no video file of a kind that is taken here") from error
    except av.FFmpegError:
        pass  # Opening it says better why.


def judge(folder: str, name: str, model: str, model_name: str, options: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Predict on the video in a folder and write the results beside it; figures for the metrics."""
    import spatterlib as sp
    from spatterlib.plugins import write_text

    began, where = time.perf_counter(), Path(folder)
    rules, report = sp.Rules(**options.pop("rules", {})), sp.ReportSettings(**options.pop("report", {}))
    found = sp.predict(where / "video", model, rules=rules, report=report, progress=_reporter(tell), **options)
    judged = time.perf_counter()
    verdict = _named(found, name, model_name)
    write_text(where / "result.json", json.dumps(verdict.to_dict(rows=False, evidence=False), allow_nan=False))
    for file in ("report.html", "rows.csv"):
        verdict.save(where / file, overwrite=True)
    return {
        "frames": verdict.summary["frames"],
        "events": verdict.summary["events"],
        "crops": verdict.summary["crops"],
        "stages": {"predict": judged - began, "report": time.perf_counter() - judged},
    }


def _named(verdict: Any, name: str, model_name: str) -> Any:
    """With the client's names in place of paths of this machine, so that `spatterlib verify` can be asked there."""
    settings = dict(verdict.settings)
    settings["source"] = {**settings["source"], "name": name, "path": name}
    settings["video"] = {**settings["video"], "name": name}
    settings["model"] = {**settings["model"], "name": model_name, "path": model_name}
    return dataclasses.replace(verdict, settings=settings)


def _reporter(tell: Callable[[dict[str, Any]], None]) -> Callable[[Any], None]:
    last = 0.0

    def notify(progress: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY or progress.done >= progress.expected or progress.preparing:
            last = time.monotonic()
            now = {"done": progress.done, "expected": progress.expected, "crops": progress.detections}
            tell({"progress": now | {"preparing": progress.preparing}})

    return notify


def _limit(megabytes: int) -> None:
    import resource

    os.nice(5)  # Who asks about crops waits for the answer; who sent a video does not.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if megabytes:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))


def _end_with_the_service() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> int:
    """Do what stdin asks for; 0: done, 1: refused, with the reason as the last line."""
    # What libraries print must not come between the lines of JSON.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    tasks: dict[str, Callable[..., dict[str, Any]]] = {"look": look, "judge": judge}

    def tell(facts: dict[str, Any]) -> None:
        out.write(json.dumps(facts) + "\n")

    _limit(asked.pop("memory"))
    task = asked.pop("task")
    try:
        tell({"done": tasks[task](**asked, **({"tell": tell} if task == "judge" else {}))})
    except (MemoryError, SpatterlibError) as error:
        said, kind = one_line(error), type(error).__name__
        if isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY):
            said, kind = "more memory was needed than a job may take", "MemoryError"
        tell({"error": said, "type": kind})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
