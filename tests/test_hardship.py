"""A full disk, a folder that may not be written, files that vanish, a clock that is set back, kills, large and long."""

from __future__ import annotations

import ast
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import media
import numpy as np
import pytest
from learning_data import make_stores, state_dict
from numpy.typing import NDArray
from store_tools import one_line
from test_extraction import flashes, write_video
from test_resume import check_part_of, content

import spatterlib as sp
from spatterlib.common.image_codec import encode
from spatterlib.common.progress import Progress
from spatterlib.errors import SpatterlibError, StoreError, VideoError
from spatterlib.stores.opening import create_store
from spatterlib.testing.scenes import frames_of, rows_of
from spatterlib.types import RgbPicture

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "flashes.mp4"
    write_video(path, flashes(240, every=3), gop=60)
    return path


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own in memory, where that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if (
        not hasattr(os, "geteuid")
        or os.geteuid()
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class TestDiskFull:
    """An error in one line; what was committed is readable; resumed with space again, it is the undisturbed result."""

    @pytest.fixture(autouse=True)
    def small_commits(self, monkeypatch: pytest.MonkeyPatch, no_waiting_for_the_disk: None) -> None:
        monkeypatch.setattr("spatterlib.extraction.pending._ROWS", 5)

    def test_at_a_few_moments(self, video: Path, out: Path) -> None:
        self.fill_up(video, out, 8, 1)

    @pytest.mark.torture
    def test_at_fifty_moments(self, video: Path, out: Path) -> None:
        self.fill_up(video, out, 50, 2)

    def test_a_file_system_at_a_few_moments(self, video: Path, out: Path) -> None:
        self.fill_up_file_system(video, out, 5, 3)

    @pytest.mark.torture
    def test_a_file_system_at_fifty_moments(self, video: Path, out: Path) -> None:
        self.fill_up_file_system(video, out, 50, 4)

    def fill_up(self, video: Path, out: Path, moments: int, seed: int) -> None:
        """No file may grow beyond a limit."""
        resource = pytest.importorskip("resource")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)

        @contextmanager
        def full(size: int) -> Iterator[None]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

        sp.extract(video, out.with_stem("whole"))
        largest = max(file.stat().st_size for file in files(out.with_stem("whole")))
        self.check(video, out, moments, seed, full, largest)

    def fill_up_file_system(self, video: Path, out: Path, moments: int, seed: int) -> None:
        """Somebody else's file leaves only so much space."""
        sp.extract(video, out.with_stem("whole"))
        needed = sum(file.stat().st_size + 4096 for file in files(out.with_stem("whole")))
        folder = out.parent / "small"
        folder.mkdir()
        with mounted(folder, f"size={4 * needed}"):

            @contextmanager
            def full(size: int) -> Iterator[None]:
                ballast = folder / "ballast"
                with ballast.open("wb") as file:
                    state = os.statvfs(folder)
                    os.posix_fallocate(file.fileno(), 0, max(4096, state.f_bavail * state.f_frsize - size))
                yield
                ballast.unlink()

            shutil.copytree(out.with_stem("whole"), folder / f"whole{out.suffix}") if out.suffix == ".zarr" else (
                shutil.copy(out.with_stem("whole"), folder / f"whole{out.suffix}")
            )
            self.check(video, folder / out.name, moments, seed, full, needed)

    def check(self, video: Path, out: Path, moments: int, seed: int, full: Callable[[int], Any], largest: int) -> None:
        chance, happened, said = random.Random(seed), 0, set()
        expected = content(out.with_stem("whole"))
        while happened < moments:
            with full(chance.randrange(largest)):
                try:
                    sp.extract(video, out)
                except SpatterlibError as error:
                    said.add(one_line(error))
                    happened += 1
                    check_part_of(out, expected)
            sp.extract(video, out, resume=True)
            assert content(out) == expected
            assert not [*out.parent.rglob("*.unfinished"), *out.parent.rglob("*.journal")]
            shutil.rmtree(out) if out.is_dir() else out.unlink()
        reasons = os.strerror(errno.EFBIG), os.strerror(errno.ENOSPC)
        for text in said:
            assert out.name in text
            assert any(reason in text for reason in reasons), text


def files(store: Path) -> list[Path]:
    return [store] if store.is_file() else [file for file in store.rglob("*") if file.is_file()]


class TestReadOnly:
    """Nothing can be written: each job says so in one line; reading works."""

    @pytest.fixture
    def folder(self, tmp_path: Path, video: Path) -> Iterator[Path]:
        folder = tmp_path / "locked"
        folder.mkdir()
        with mounted(folder, "size=8m"):
            for name in ("store.h5", "store.zarr"):
                sp.extract(video, folder / name)
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            yield folder

    @pytest.mark.parametrize("name", ["store.h5", "store.zarr"])
    def test_a_store_in_it_can_be_read(self, folder: Path, name: str) -> None:
        with sp.open_store(folder / name) as store:
            assert len(store.read(range(len(store)))) == len(store) > 0
        with pytest.raises(SpatterlibError, match=name) as caught:
            sp.open_store(folder / name, "a")
        one_line(caught.value)

    @pytest.mark.parametrize("job", ["extract", "resume", "overwrite", "convert", "predict", "simulate", "export"])
    def test_a_job_that_would_write_there_says_so(self, folder: Path, video: Path, job: str) -> None:
        jobs: dict[str, Callable[[], Any]] = {
            "extract": lambda: sp.extract(video, folder / "new.h5"),
            "resume": lambda: sp.extract(video, folder / "new.zarr", resume=True),
            "overwrite": lambda: sp.extract(video, folder / "store.zarr", overwrite=True),
            "convert": lambda: sp.convert(folder / "store.h5", folder / "new.zarr"),
            "predict": lambda: sp.predict(folder / "store.h5", "simulated").save(folder / "verdict.json"),
            "simulate": lambda: sp.simulate(folder / "new.mp4", seconds=0.2, seed=1),
            "export": lambda: sp.export("simulated", folder / "model.onnx"),
        }
        with pytest.raises(SpatterlibError) as caught:
            jobs[job]()
        assert str(folder) in one_line(caught.value)


class TestVanishing:
    """A file that is removed or cut while it is read: what can be told is told, nothing crashes."""

    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # What is worked on ahead ends before the middle of the film.
        monkeypatch.setattr("spatterlib.extraction.pipeline._PART", 60)

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
    def test_a_video_that_is_removed_is_read_to_its_end(self, tmp_path: Path, out: Path, suffix: str) -> None:
        path = media.write(tmp_path / f"film{suffix}", 150, codec="mpeg4" if suffix == ".avi" else "libx264")
        report = sp.extract(path, out, progress=when(64, path.unlink))
        assert report.decoded == 150

    def test_a_video_that_is_cut_and_has_its_index_at_the_end_keeps_what_was_done(
        self, tmp_path: Path, out: Path
    ) -> None:
        path = media.write(tmp_path / "film.mp4", 1200, repeat=60)
        with pytest.raises(VideoError, match=r"film\.mp4 can no longer be read") as caught:
            sp.extract(path, out, progress=when(64, lambda: os.truncate(path, path.stat().st_size // 2)))
        one_line(caught.value)
        with sp.open_store(out) as store:
            assert 0 < len(store.frame_log) < 1200
            assert store.attrs["complete"] is False
            assert "can no longer be read" in store.attrs["state"]

    @pytest.mark.parametrize("suffix", [".mkv", ".avi", ".ts"])
    def test_a_video_that_is_cut_loses_frames_and_says_how_many(self, tmp_path: Path, out: Path, suffix: str) -> None:
        path = media.write(
            tmp_path / f"film{suffix}", 1200, codec="mpeg4" if suffix == ".avi" else "libx264", repeat=60
        )
        report = sp.extract(path, out, progress=when(64, lambda: os.truncate(path, path.stat().st_size // 2)))
        assert report.expected == 1200
        assert 0 < report.failed < 1200
        assert not report.whole

    def test_images_that_are_removed_count_as_not_decoded(self, tmp_path: Path, out: Path) -> None:
        import cv2

        (tmp_path / "build").mkdir()
        for number in range(400):
            cv2.imwrite(str(tmp_path / "build" / f"{number}.png"), media.paint(number % 60))
        gone = [tmp_path / "build" / f"{number}.png" for number in range(300, 400)]
        report = sp.extract(tmp_path / "build", out, progress=when(64, lambda: remove(gone)))
        assert (report.expected, report.failed) == (400, 100)

    def test_a_stack_that_is_cut_loses_frames(self, tmp_path: Path, out: Path) -> None:
        path = tmp_path / "stack.npy"
        np.save(path, flashes(600))
        report = sp.extract(path, out, progress=when(64, lambda: os.truncate(path, path.stat().st_size // 2)))
        assert (report.expected, report.failed) == (600, 301)

    def test_a_stack_that_is_removed_is_told_in_one_line(self, tmp_path: Path, out: Path) -> None:
        path = tmp_path / "stack.npy"
        np.save(path, flashes(100))
        with sp.open_video(path) as source:
            path.unlink()
            with pytest.raises(VideoError, match=r"stack\.npy") as caught:
                list(source.read(0, 100))
        one_line(caught.value)

    def test_a_store_that_is_cut_or_removed(self, path: Path) -> None:
        with create_store(path) as store:
            store.append(rows_of(0, 2000), [encode(np.zeros((20, 20, 3), np.uint8))] * 2000, frames_of(0, 2000))
        with sp.open_store(path) as store:
            before = store.encoded(range(2000))
            for file in files(path):
                os.truncate(file, file.stat().st_size // 20)
            with pytest.raises(StoreError) as caught:
                store.encoded(range(2000))
            assert path.name in one_line(caught.value)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            with pytest.raises(SpatterlibError) as gone:
                store.encoded(range(2000))
            one_line(gone.value)
        assert len(before) == 2000

    def test_weights_that_are_gone(self, tmp_path: Path) -> None:
        from safetensors.numpy import save_file

        path = tmp_path / "weights.safetensors"
        save_file(state_dict(), path)
        model = sp.load_model(path)
        path.unlink()
        assert model.probabilities([np.zeros((9, 9, 3), np.uint8)]).shape == (1, 2)


def remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()


def when(frame: int, do: Callable[[], Any]) -> Callable[[Progress], None]:
    """Do something once, when so many frames are done."""
    done: list[bool] = []

    def look(progress: Progress) -> None:
        if progress.done >= frame and not done:
            done.append(True)
            do()

    return look


class TestClock:
    """Somebody sets the clock back: durations come from a clock that nobody sets."""

    def test_a_run_does_not_notice(self, video: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sp.extract(video, out.with_stem("whole"))
        hours = iter(range(10**9, 0, -3600))
        monkeypatch.setattr(time, "time", lambda: float(next(hours)))
        monkeypatch.setattr(time, "time_ns", lambda: next(hours) * 10**9)
        report = sp.extract(video, out)
        assert 0 < report.seconds < 3600
        assert content(out) == content(out.with_stem("whole"))
        assert 0 < sp.forecast(video).seconds.high < 3600

    def test_nothing_in_the_package_asks_the_wall_clock_for_a_duration(self) -> None:
        """``time.time()`` nowhere, and ``datetime.now`` only for stamps, in UTC."""
        for file in sorted((ROOT / "spatterlib").rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                assert called not in ("time.time", "time.time_ns", "datetime.utcnow"), f"{file.name}: {called}"
                assert called != "datetime.now" or ast.unparse(node).startswith("datetime.now(UTC"), file.name


TRAINED = """
import os, signal, sys, threading
import torch; torch.set_num_threads(1)
import spatterlib as sp
folder, out = sys.argv[1:3]
data = {f"{folder}/{kind}_{number}.h5": kind for kind in ("low", "high") for number in range(4)}
def start_the_clock(epoch, started=[]):
    if not started:
        started.append(threading.Timer(float(sys.argv[3]), os.kill, (os.getpid(), signal.SIGKILL)))
        started[0].start()
sp.train(data, out=out, epochs=30, batch=32, device="cpu", progress=False, callbacks=[start_the_clock])
os._exit(0)
"""


@pytest.mark.torch
class TestTrainingKilled:
    """After any number of SIGKILLs at random moments a training ends with the weights of an undisturbed one."""

    @pytest.mark.slow
    def test_two_kills(self, tmp_path: Path) -> None:
        self.kill(tmp_path, 2, 1)

    @pytest.mark.torture
    def test_twenty_kills(self, tmp_path: Path) -> None:
        self.kill(tmp_path, 20, 2)

    def kill(self, folder: Path, kills: int, seed: int) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        torch.set_num_threads(1)
        stores = make_stores(folder, 4, 40)
        sp.train(stores, out=folder / "whole", epochs=30, batch=32, device="cpu", progress=False)
        chance, happened, runs, longest = random.Random(seed), 0, 0, 2.0
        while happened < kills:
            out = folder / f"runs{runs}"
            command = [sys.executable, "-c", TRAINED, str(folder), str(out), str(chance.uniform(0, longest))]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode == -signal.SIGKILL:
                happened += 1
                continue
            assert done.returncode == 0, done.stderr
            longest, runs = 0.7 * longest, runs + 1
            assert weights(out) == weights(folder / "whole")
        sp.train(stores, out=out, epochs=30, batch=32, device="cpu", progress=False)
        assert weights(out) == weights(folder / "whole")


def weights(runs: Path) -> bytes:
    """Of the only run in a folder, which is whole."""
    [run] = runs.iterdir()
    assert json.loads((run / "model.json").read_text())["state"] == "complete"
    assert not (run / "checkpoint.safetensors").exists()
    return (run / "weights.safetensors").read_bytes()


@dataclass
class Endless:
    """Frames without a file: a warm square that wanders in every tenth."""

    count: int
    name: str = "endless"
    width: int = 96
    height: int = 80

    @property
    def times(self) -> NDArray[np.float64]:
        return np.arange(self.count) / 25

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "frames": self.count}

    def read(self, start: int, stop: int) -> Iterator[RgbPicture]:
        dark = np.zeros((self.height, self.width, 3), np.uint8)
        for number in range(start, stop):
            frame = dark
            if number % 10 == 0:
                frame = dark.copy()
                frame[10:60, number // 10 % 30 : number // 10 % 30 + 50] = 255, 220, 150
            yield RgbPicture(frame)

    def close(self) -> None:
        """Nothing to do."""


def resident() -> float:
    """MB that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.torture
def test_eight_hours_of_video_do_not_fill_the_memory(out: Path) -> None:
    """720,000 frames at 25 a second: within 50 MB at the end of what it was after a minute of video."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    held: list[float] = []

    def look(progress: Progress) -> None:
        if progress.done >= 1500 and (not held or progress.done == progress.expected):
            held.append(resident())

    report = sp.extract(Endless(720_000), out, progress=look)
    sys.stderr.write(
        f"{report.detections} rows; MB after a minute of video {held[0]:.0f}, at the end {held[-1]:.0f}, "
        f"behind it {resident():.0f}; {report.seconds:.0f} s\n"
    )
    assert report.decoded == 720_000
    assert report.detections > 70_000
    assert held[-1] - held[0] < 50


@pytest.mark.torture
def test_a_million_detections(path: Path) -> None:
    """Opening, filtering, reading 1,000 random crops take a second at most; the last rows cost what the first did."""
    random_, spent = np.random.default_rng(0), []
    crops = [encode(random_.integers(0, 255, (40, 50, 3), np.uint8), quality=60) for _ in range(2000)]
    table = rows_of(0, 2000)
    with create_store(path) as store:
        for start in range(0, 1_000_000, 2000):
            table["frame"] = np.arange(start, start + 2000)
            table["area"] = random_.uniform(2000, 15000, 2000)
            begin = time.process_time()
            store.append(table, crops)
            store.flush()
            spent.append(time.process_time() - begin)
    first, last = np.sum(spent[:50]), np.sum(spent[-50:])
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        with sp.open_store(path) as store:
            rows = np.flatnonzero(store.column("area") > 14000)
            found = store.read(random_.choice(rows, 1000).tolist())
        seconds.append(time.perf_counter() - begin)
    sys.stderr.write(
        f"{path.suffix}: last tenth / first tenth {last / first:.3f}; open, filter, read 1,000: {seconds} s\n"
    )
    assert len(found) == 1000
    assert last / first < 1.2
    assert min(seconds) < 1
