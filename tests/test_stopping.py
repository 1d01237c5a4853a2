"""Ctrl-C, SIGTERM, SIGHUP and a parent that dies: how a run ends before its time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spatterlib as sp
from spatterlib.cli import main
from spatterlib.common import signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send a signal to another process")

# A command whose clips take their time, so that a signal finds it at work.
SLOW = """
import sys, time
import spatterlib.cli.main, spatterlib.extraction.extract as extraction
import spatterlib.extraction.pipeline as pipeline, spatterlib.detection.detect
look, abandon, wait = pipeline._batch, extraction._abandon, float(sys.argv.pop(1))
pipeline._batch = lambda *what: (time.sleep(0.1), look(*what))[1]
extraction._abandon = lambda *what: (abandon(*what), time.sleep(wait))
spatterlib.cli.main.run()
"""


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A recording of 12,800 small frames, one in ten with a flash."""
    path = tmp_path / "long.npy"
    frames = np.lib.format.open_memmap(path, "w+", np.uint8, (12_800, 64, 96))
    frames[::10, 8:40, 8:48] = 255
    return path


def at_a_terminal() -> None:
    """In the process that is about to begin: what `nohup` or a shell's background ignores is heard again."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def begun(
    *arguments: object, wait: float = 0.0, preexec_fn: Callable[[], Any] = at_a_terminal, **options: Any
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, str(wait), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, preexec_fn=preexec_fn, **options)  # type: ignore[call-overload, no-any-return]


def copies(video: Path, count: int) -> list[Path]:
    """The recording, under several names."""
    paths = [video, *(video.with_stem(f"copy{number}") for number in range(1, count))]
    for path in paths[1:]:
        path.hardlink_to(video)
    return paths


def until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def frames_in(store: Path) -> int:
    """How many frames are committed."""
    try:
        with sp.open_store(store) as opened:
            return len(opened.frame_log)
    except OSError:
        return 0


def alive(process: int) -> bool:
    """Whether a process runs; one that only waits to be asked how it ended does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_leaves_a_store_that_says_how_to_go_on(long: Path, tmp_path: Path, name: str) -> None:
    number, out = getattr(signal, name), tmp_path / "long.h5"
    process = begun("extract", long, "-o", out)
    until(out.exists)
    time.sleep(0.5)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    with sp.open_store(out) as store:
        assert store.attrs["state"] == "interrupted"
        assert 0 < len(store.frame_log) < 12_800
        kept = len(store.frame_log)
    assert f"interrupted; {out} holds {kept} of 12800 frames and can be read; the same command with --resume" in told
    assert "Traceback" not in told


def test_a_signal_that_comes_twice_within_a_breath_is_one(long: Path, tmp_path: Path) -> None:
    out = tmp_path / "long.h5"
    process = begun("extract", long, "-o", out, wait=0.3)
    until(out.exists)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in told


def test_a_second_signal_ends_at_once_and_leaves_what_was_committed(long: Path, tmp_path: Path) -> None:
    out = tmp_path / "long.h5"
    process = begun("extract", long, "-o", out, wait=600)
    until(lambda: frames_in(out))
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "ended at once" in told
    assert sp.open_store(out).attrs["state"] == "interrupted"


def test_what_the_starter_ignores_is_ignored(long: Path, tmp_path: Path) -> None:
    out = tmp_path / "long.h5"
    process = begun("extract", long, "-o", out, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    until(out.exists)
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.kill()
    process.communicate()


@pytest.mark.parametrize("count", [1, 3], ids=["parts", "whole recordings"])
def test_many_recordings_with_processes_are_gone_on_with_by_the_same_command(
    long: Path, tmp_path: Path, count: int
) -> None:
    out = tmp_path / "stores"
    process = begun("extract", *copies(long, count), "-o", out, "--workers", 2)
    until((out / "long.h5").exists)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "the same command goes on" in told
    assert "Traceback" not in told
    assert sp.open_store(out / "long.h5").attrs["state"] == "interrupted"


def test_a_verdict_that_is_interrupted_names_the_store_and_the_way_on(long: Path, tmp_path: Path) -> None:
    out = tmp_path / "long.h5"
    process = begun("predict", long, "--model", "simulated", "--store", out, "-o", tmp_path / "x.html")
    until(out.exists)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in told
    assert not (tmp_path / "x.html").exists()


def test_a_simulation_says_that_nothing_is_kept_and_keeps_nothing(tmp_path: Path) -> None:
    process = begun("simulate", tmp_path / "x.mp4", "--seconds", 3600)
    until(lambda: list(tmp_path.iterdir()))
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 129
    assert "interrupted; nothing was written" in told
    assert list(tmp_path.iterdir()) == []


POOL = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import spatterlib as sp
if __name__ == "__main__":
    if sys.argv[3] == "loky":
        from loky import get_reusable_executor
        pool = get_reusable_executor(2, timeout=600)
    else:
        pool = ProcessPoolExecutor(2, get_context(sys.argv[3]))
    sp.extract(sys.argv[1], sys.argv[2], executor=pool)
    print(*pool._processes, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("start", ["fork", "spawn", "loky"])
def test_processes_of_a_pool_of_the_user_end_with_a_caller_that_is_killed(tmp_path: Path, start: str) -> None:
    if start == "loky":
        pytest.importorskip("loky", reason="loky is not installed")
    np.save(tmp_path / "v.npy", np.zeros((600, 48, 64), np.uint8))
    command = [sys.executable, "-W", "ignore", "-c", POOL, f"{tmp_path}/v.npy", f"{tmp_path}/v.zarr", start]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    children = [int(number) for number in process.stdout.readline().split()]
    assert len(children) == 2
    assert any(map(alive, children))
    process.kill()
    process.communicate()
    until(lambda: not any(map(alive, children)), 20)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("count", [1, 3], ids=["parts", "whole recordings"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_worker_processes_end_with_their_parent(long: Path, tmp_path: Path, number: int, count: int) -> None:
    out = tmp_path / "stores"
    process = begun("extract", *copies(long, count), "-o", out, "--workers", 2)
    until(lambda: frames_in(out / "long.h5"))
    children = [
        int(item.name)
        for item in Path("/proc").glob("[0-9]*")
        if alive(int(item.name)) and (item / "stat").read_text().rpartition(")")[2].split()[1] == str(process.pid)
    ]
    assert len(children) >= 2
    process.send_signal(number)
    process.communicate(timeout=120)
    until(lambda: not any(map(alive, children)), 20)
    assert frames_in(out / "long.h5")


def test_where_a_system_lacks_a_signal_the_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    assert signals.signals() == [signal.SIGINT, signal.SIGTERM]


def test_a_command_without_more_to_say_says_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_facts", stop)
    assert main.main(["info", os.devnull]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"
