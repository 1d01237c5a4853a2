"""The main job and the tests around it on every Python found here: `python tools/matrix.py` or `make test-matrix`.

Each Python from 3.11 on, on the path or under pyenv, gets a fresh environment with the newest libraries and one with
the lowest that the `pyproject.toml` files name, extras included (PyTorch, several GB, is only resolved). In each the
main job runs on one short video, whose table must be the same everywhere, and then the tests. The exit code is 1 if
anything failed, a bound that is not true for example. Needs uv beside the Python that runs this, and no shell.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
EXTRAS = "dask,demo,live,onnx,parquet,remote,tables,testing"
PLUGINS = {"serve": "[test]", "mog2": "", "background": "", "npz": "", "mraw": ""}
KEY = ("numpy", "numba", "h5py", "opencv-python-headless", "av", "click")
TESTS = (
    "video",
    "container",
    "images",
    "detection",
    "stores",
    "readable",
    "zarr_text",
    "extraction",
    "prediction",
    "watch",
    "cli",
)
ENDS = {"newest": "highest", "lowest": "lowest-direct"}
DIGEST = """
import hashlib, sys
import spatterlib as sp
with sp.open_store(sys.argv[1]) as store:
    print(len(store), hashlib.sha256(store.table.tobytes()).hexdigest())
"""


@dataclass
class Row:
    """What became of one environment."""

    python: str
    end: str
    versions: str = ""
    main_job: str = "-"
    tests: str = "-"
    seconds: float = 0.0
    failed: bool = False


def interpreters() -> dict[str, Path]:
    """A Python that runs for each version that is here: on the path (a shim of pyenv may be dead), or under pyenv."""
    found = {}
    folders = [Path(folder) for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        under = sorted(pyenv.glob(f"{version}.*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
        names = [f"python{version}", "python3", "python", "python.exe"]
        places = [folder / name for name in names for folder in folders]
        places += [path / "bin" / "python" for path in reversed(under)]
        runs = (place for place in [*places, Path(sys.executable)] if place.is_file() and version_of(place) == version)
        if (first := next(runs, None)) is not None:
            found[version] = first
    return found


def version_of(python: Path) -> str:
    """Like ``3.13``; empty where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


# Bounds


def declared(version: str) -> dict[str, str]:
    """Lower bound by name, the highest of those that stand for a version of Python, in all files of the house."""
    bounds: dict[str, str] = {}
    for text in _requirements():
        match = re.fullmatch(r"([\w.-]+)(?:\[[^\]]*\])?>=([\d.]+)(?:; python_version >= '([\d.]+)')?", text)
        if match is None:
            raise SystemExit(
                f"a requirement that is no plain lower bound: {text!r}; say in tools/matrix.py what it means"
            )
        name, bound, since = match[1].lower().replace("_", "-"), match[2], match[3]
        if since is None or _numbers(version) >= _numbers(since):
            bounds[name] = max(bounds.get(name, "0"), bound, key=_numbers)
    return bounds


def _requirements() -> Iterator[str]:
    for path in (ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        groups = data.get("dependency-groups", {})
        lists = [data["project"]["dependencies"], *data["project"].get("optional-dependencies", {}).values()]
        for texts in [*lists, *(groups[name] for name in ("test",) if name in groups)]:
            yield from (text for text in texts if not re.match(r"spatterlib\b", text))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def untrue_bounds(version: str) -> list[str]:
    """Lower bounds that nothing can be installed at, resolved for a Python that need not be here."""
    wanted = [f"-e {ROOT}[{EXTRAS},torch]"]
    wanted += [f"-e {path}[test]" for path in sorted((ROOT / "plugins").glob("spatterlib-*"))]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "-", "--group", "test", "--resolution", "lowest-direct"),
            *("--python-version", version, "--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet"),
        ],
        input="\n".join(wanted), capture_output=True, text=True, cwd=ROOT, env=_environment(),
    )  # fmt: skip
    if done.returncode:
        return [f"the lowest versions exclude each other: {' '.join(done.stderr.split())}"]
    got = dict(line.split("==") for line in done.stdout.splitlines() if re.match(r"[\w.-]+==", line))
    return [
        f"{name}>={bound} is declared, {got.get(name)} is what can be installed"
        for name, bound in declared(version).items()
        if _numbers(got.get(name, ""))[: len(_numbers(bound))] != _numbers(bound)
    ]


# One environment


def tried(version: str, python: Path, end: str, work: Path, jobs: int) -> Row:
    """Fresh environment, main job, tests; the log of what was said lies in `work`."""
    row, began, name = Row(version, end), time.monotonic(), f"{version}-{end}"
    env, log = work / name, work / f"{name}.log"
    shutil.rmtree(env, ignore_errors=True)
    with log.open("w", encoding="utf-8") as said:
        try:
            _install(python, env, ENDS[end], said)
            row.versions = _versions(env)
            row.main_job = _main_job(env, work, said)
            row.tests = _tests(env, jobs, said)
        except StageError as failure:
            row.failed = True
            setattr(row, failure.args[0], failure.args[1])
            _tell(f"{name}: {failure.args[1]}; see {log}")
    row.seconds = time.monotonic() - began
    shutil.rmtree(env, ignore_errors=True)
    return row


class StageError(Exception):
    """A column of the table, and what it says then."""


def _install(python: Path, env: Path, resolution: str, said: TextIO) -> None:
    uv = [sys.executable, "-m", "uv"]
    house = ["-e", f".[{EXTRAS}]", "--group", "test"]
    guests = [word for name, extra in PLUGINS.items() for word in ("-e", f"plugins/spatterlib-{name}{extra}")]
    install = [*uv, "pip", "install", "--python", str(_bin(env, "python")), "--resolution", resolution]
    for command in ([*uv, "venv", "--quiet", "--python", str(python), str(env)], [*install, *house, *guests]):
        if not _done(command, said):
            raise StageError("main_job", "no install")


def _done(command: list[str], said: TextIO, env: Path | None = None) -> bool:
    try:
        return subprocess.run(command, cwd=ROOT, env=_environment(env), stdout=said, stderr=said).returncode == 0
    except OSError as error:
        said.write(f"{error}\n")
        return False


def _bin(env: Path, name: str) -> Path:
    return env / ("Scripts" if os.name == "nt" else "bin") / name


def _environment(env: Path | None = None) -> dict[str, str]:
    """No Python is fetched; kernels are compiled anew in each environment, nothing of the caller's plugins."""
    said = {"UV_PYTHON_DOWNLOADS": "never", "SPATTERLIB_PLUGINS": ""}
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | said | ({"NUMBA_CACHE_DIR": str(env / "kernels")} if env else {})


def _versions(env: Path) -> str:
    command = [sys.executable, "-m", "uv", "pip", "list", "--format", "json", "--python", str(_bin(env, "python"))]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True, env=_environment()).stdout)
    versions = {item["name"]: item["version"] for item in listed}
    return "  ".join(f"{name.split('-')[0]} {versions[name]}" for name in KEY)


def _main_job(env: Path, work: Path, said: TextIO) -> str:
    """Digest of the table; the video is made once, so that every environment reads the same bytes."""
    python, video, out = str(_bin(env, "python")), str(work / "short.mp4"), str(env / "out")
    simulate = [python, "-m", "spatterlib", "simulate", video, "--seconds", "20", "--seed", "1", "--overwrite"]
    steps = [] if Path(video).exists() else [simulate]
    if not all(_done(command, said, env) for command in [*steps, [python, "tools/run.py", video, "--out", out]]):
        raise StageError("main_job", "failed")
    digest = work / "digest.txt"
    with digest.open("w") as written:
        if not _done([python, "-c", DIGEST, f"{out}/short.h5"], written, env):
            raise StageError("main_job", "no table")
    rows, sha = digest.read_text().split()
    return f"{rows} rows {sha[:8]}"


def _tests(env: Path, jobs: int, said: TextIO) -> str:
    command = [str(_bin(env, "python")), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(jobs)]
    files = [f"tests/test_{name}.py" for name in TESTS]
    good = _done([*command, "--dist", "worksteal", *files], said, env)
    last = Path(said.name).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    counts = ", ".join(re.findall(r"\d+ (?:passed|failed|skipped|errors?)\b", "".join(last)))
    if not good:
        raise StageError("tests", counts or "failed")
    return counts


# All of them


def plan(found: dict[str, Path], ends_only: bool) -> list[tuple[str, str]]:
    """Every version with both ends; or the oldest with the lowest, the newest with the newest."""
    if ends_only:
        return [(min(found, key=_numbers), "lowest"), (max(found, key=_numbers), "newest")]
    return [(version, end) for version in found for end in ENDS]


def table(rows: list[Row]) -> str:
    """One line an environment."""
    lines = [("Python", "libraries", "versions", "main job", "tests", "seconds")]
    lines += [(row.python, row.end, row.versions, row.main_job, row.tests, f"{row.seconds:.0f}") for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--ends", action="store_true", help="only the oldest Python with the lowest, the newest with the newest"
    )
    parser.add_argument("--only", action="append", metavar="3.X", help="only this Python; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time (default: 2)")
    given = parser.parse_args()
    found = {version: path for version, path in interpreters().items() if version in (given.only or VERSIONS)}
    if not found:
        raise SystemExit(
            f"no Python of {', '.join(given.only or VERSIONS)} is here, neither on the path nor under pyenv"
        )
    work = ROOT / ".matrix"
    work.mkdir(exist_ok=True)
    (work / "short.mp4").unlink(missing_ok=True)
    wrong = [f"Python {version}: {text}" for version in given.only or VERSIONS for text in untrue_bounds(version)]
    rows = []
    for version, end in plan(found, given.ends):
        _tell(f"Python {version} ({found[version]}), {end} libraries ...")
        rows.append(tried(version, found[version], end, work, given.jobs))
    if len(tables := {row.main_job for row in rows if not row.failed}) > 1:
        wrong.append(f"the tables of the main job differ: {', '.join(sorted(tables))}")
    _tell(f"\n{table(rows)}\n")
    _tell("\n".join(wrong) or f"Each lower bound can be installed on Python {', '.join(given.only or VERSIONS)}.")
    if missing := [version for version in given.only or VERSIONS if version not in found]:
        _tell(f"Not here, so nothing ran on it: Python {', '.join(missing)}.")
    return int(bool(wrong) or any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
