"""Many recordings, many workers: nothing stops the rest, nothing is done twice, rows do not depend on who works."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import media
import numpy as np
import pytest
from test_cli import spatterlib
from test_extraction import Recording, flashes, write_video
from test_resume import content, run_until

import spatterlib as sp
from spatterlib.errors import ParameterError, StoreError, VideoError, WorkerError
from spatterlib.extraction.batch import RecordingOutcome
from spatterlib.extraction.extract import extract_with
from spatterlib.extraction.pending import Pending
from spatterlib.extraction.pipeline import DetectionBatch
from spatterlib.measuring.camera import Camera
from spatterlib.measuring.measurement import measure_store
from spatterlib.plugins import Place
from spatterlib.stores.opening import create_store
from spatterlib.types import FRAME_LOG


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of three recordings, one of which is broken."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, count in ((1, 120), (2, 90)):
        write_video(folder / f"build{number}.mp4", flashes(count, every=3 + number), gop=30)
    (folder / "build10.mp4").write_text("no video")
    return folder


class TestMany:
    def test_a_broken_file_does_not_stop_the_rest_and_a_second_call_does_what_is_missing(self, videos: Path) -> None:
        out, told = videos.parent / "out", list[RecordingOutcome]()
        first = sp.extract_all(videos, out, done=told.append)
        assert [outcome.state for outcome in first] == ["done", "done", "failed"]
        assert told == first
        assert first[2].report is None
        assert "build10.mp4" in first[2].error
        assert first[2].code == 1
        before = content(out / "build1.h5")
        write_video(videos / "build10.mp4", flashes(60), gop=30)
        second = sp.extract_all(videos, out)
        assert [outcome.state for outcome in second] == ["there", "there", "done"]
        assert content(out / "build1.h5") == before

    def test_what_was_cut_is_gone_on_with(self, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spatterlib.extraction.pending._ROWS", 1)
        out = videos.parent / "out"
        out.mkdir()
        run_until(100, videos / "build1.mp4", out / "build1.h5")
        outcomes = sp.extract_all(videos, out)
        assert [outcome.state for outcome in outcomes] == ["resumed", "done", "failed"]
        sp.extract(videos / "build1.mp4", videos.parent / "whole.h5")
        assert content(out / "build1.h5") == content(videos.parent / "whole.h5")

    def test_other_settings_are_refused_for_each_and_overwritten_when_asked(self, videos: Path) -> None:
        out = videos.parent / "out"
        sp.extract_all(videos, out)
        again = sp.extract_all(videos, out, quality=80)
        assert [outcome.state for outcome in again] == ["failed"] * 3
        assert "another crops quality (95, not 80)" in again[0].error
        again = sp.extract_all(videos, out, quality=80, overwrite=True)
        assert [outcome.state for outcome in again] == ["done", "done", "failed"]

    def test_one_that_decodes_in_part_is_incomplete(self, videos: Path) -> None:
        damaged, _ = media.damage(media.write(videos / "damaged.mp4", 200), range(90, 96))
        [outcome] = sp.extract_all([damaged], videos.parent / "out")
        assert (outcome.state, outcome.code) == ("incomplete", 3)

    def test_a_fault_of_a_plugin_fails_its_recording_only(self, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def extract(settings: Any, video: str, *arguments: Any, **options: Any) -> Any:
            if "build1.mp4" in str(video):
                raise ZeroDivisionError("a fault\nin two lines")
            return extract_with(settings, video, *arguments, **options)

        monkeypatch.setattr("spatterlib.extraction.batch.extract_with", extract)
        outcomes = sp.extract_all(videos, videos.parent / "out")
        assert [outcome.state for outcome in outcomes] == ["failed", "done", "failed"]
        assert outcomes[0].error == "ZeroDivisionError: a fault in two lines"

    @pytest.mark.parametrize(
        ("options", "said"), [({"suffix": ".csv"}, r"\.h5, \.hdf5, .*not '\.csv'"), ({"workers": 0}, "workers")]
    )
    def test_wrong_options_are_refused(self, videos: Path, options: dict[str, Any], said: str) -> None:
        with pytest.raises(ParameterError, match=said):
            sp.extract_all(videos, videos.parent / "out", **options)

    @pytest.mark.slow
    def test_processes_give_the_same_rows(self, videos: Path) -> None:
        one = sp.extract_all(videos, videos.parent / "one")
        two = sp.extract_all(videos, videos.parent / "two", workers=2, suffix=".zarr")
        assert [outcome.state for outcome in two] == [outcome.state for outcome in one]
        for outcome, other in zip(one[:2], two[:2], strict=True):
            assert content(Path(outcome.out)) == content(Path(other.out))


class TestCommand:
    def test_summary_json_and_exit_code(self, videos: Path) -> None:
        out = videos.parent / "out"
        done = spatterlib("extract", videos, "-o", out)
        assert done.returncode == 1
        header, *rows = done.stdout.splitlines()[-4:]
        assert header.split() == ["video", "frames", "decoded", "detections", "layers", "seconds", "state"]
        assert [row.split()[-1] for row in rows] == ["done", "done", "failed"]
        assert rows[0].split()[1:4] == ["120", "120", "29"]
        done = spatterlib("extract", videos, "-o", out, "--json")
        facts = json.loads(done.stdout)["videos"]
        assert [fact["state"] for fact in facts] == ["there", "there", "failed"]
        assert facts[0]["detections"] == 29
        assert "build10.mp4" in facts[2]["error"]
        (videos / "build10.mp4").unlink()
        assert spatterlib("extract", videos, "-o", out).returncode == 0

    def test_resume_of_one_store(self, videos: Path) -> None:
        out = videos.parent / "one.h5"
        video = videos / "build1.mp4"
        assert spatterlib("extract", video, "-o", out).returncode == 0
        refused = spatterlib("extract", video, "-o", out)
        assert "--resume" in refused.stderr
        assert "nothing to do" in spatterlib("extract", video, "-o", out, "--resume").stdout
        refused = spatterlib("extract", video, "-o", out, "--resume", "--quality", "50")
        assert refused.returncode == 1
        assert "crops quality (95, not 50)" in refused.stderr

    def test_a_scheduler_that_is_not_there_is_told(self, videos: Path) -> None:
        pytest.importorskip("distributed")
        done = spatterlib("extract", videos, "-o", videos.parent / "out", "--dask", "nonsense://nowhere")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: no Dask scheduler answers at nonsense://nowhere")


class Twice(Executor):
    """Does every task two times, as a scheduler that lost sight of a worker may, and takes the second answer."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        pickle.loads(pickle.dumps(fn))(*args, **kwargs)
        future.set_result(pickle.loads(pickle.dumps(fn))(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "flashes.mp4"
    write_video(path, flashes(600, every=3), gop=50)
    return path


class TestParts:
    """Workers write crops straight into a Zarr store, whose array of crops has no gaps then."""

    @pytest.fixture(autouse=True)
    def many_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spatterlib.extraction.pipeline._PART", 100)

    @pytest.mark.parametrize("suffix", [".zarr", ".h5"])
    @pytest.mark.parametrize(
        "options", [{}, dict(sp.ORIGINAL), {"start": 130, "stop": 400}, {**sp.ORIGINAL, "limit": 77}]
    )
    def test_tasks_that_are_done_twice_double_no_row(
        self, video: Path, tmp_path: Path, suffix: str, options: dict[str, Any]
    ) -> None:
        sp.extract(video, tmp_path / "one.h5", **options)
        sp.extract(video, tmp_path / f"many{suffix}", **options, executor=Twice())
        assert content(tmp_path / f"many{suffix}") == content(tmp_path / "one.h5")
        assert not list(tmp_path.rglob("*.unfinished"))

    def test_any_program_reads_the_joined_store_without_copying(self, video: Path, tmp_path: Path) -> None:
        zarr = pytest.importorskip("zarr")
        sp.extract(video, tmp_path / "many.zarr", executor=Twice())
        group = zarr.open_group(tmp_path / "many.zarr", mode="r")
        ends, data = group["crops/ends"], group["crops/data"]
        with sp.open_store(tmp_path / "many.zarr") as store:
            crops = store.encoded(range(len(store)))
            for row in (0, 1, 50, len(store) - 1):
                assert bytes(data[int(ends[row]) - len(crops[row]) : int(ends[row])]) == crops[row]
            np.testing.assert_array_equal(group["columns/frame"][:], store.column("frame"))
        assert data.shape[0] == sum(map(len, crops))

    def test_a_joined_store_can_be_appended_to_labelled_and_converted(self, video: Path, tmp_path: Path) -> None:
        sp.extract(video, tmp_path / "many.zarr", executor=Twice())
        with sp.open_store(tmp_path / "many.zarr", "a") as store:
            table, crops = store.table, store.encoded(range(len(store)))
            store.append(table[:3], crops[:3])
            store.set_column("label", np.array(["a"] * (len(table) + 3)))
            assert store.encoded([0, len(table), len(table) + 2]) == [crops[0], crops[0], crops[2]]
        sp.convert(tmp_path / "many.zarr", tmp_path / "dense.h5")
        with sp.open_store(tmp_path / "dense.h5") as store:
            assert store.encoded(range(len(store))) == [*crops, *crops[:3]]

    def test_a_worker_of_a_run_that_was_killed_does_no_harm(self, tmp_path: Path) -> None:
        """It writes after another run has gone on with the store."""
        row = np.zeros(1, sp.DETECTION)
        with create_store(tmp_path / "s.zarr") as store:
            late = store.part_writer(5)  # type: ignore[attr-defined]
        with sp.open_store(tmp_path / "s.zarr", "a") as store:
            places = store.part_writer(5)(0, [b"new"])  # type: ignore[attr-defined]
            store.adopt(row, places)  # type: ignore[attr-defined]
            for number in range(5):
                late(number, [b"old"])
            assert store.encoded([0]) == [b"new"]
            with pytest.raises(ParameterError, match="kept no such places"):
                store.adopt(row, [Place(0, 1 << 60, 0)])  # type: ignore[attr-defined]

    def test_crops_that_workers_have_written_count_with_their_bytes(self) -> None:
        """They are committed as soon as so many bytes are held, as crops that are yet to be written are."""
        held = Pending(crops=[Place(1 << 36, (1 << 36) + (4 << 20), 0)] * 2)
        assert held.full()
        assert not Pending(crops=[Place(1 << 36, (1 << 36) + (4 << 20), 0)]).full()

    def test_another_recording_at_the_workers_is_refused(self, video: Path, tmp_path: Path) -> None:
        class Moved(Twice):
            def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
                write_video(tmp_path / "v.mp4", flashes(600, every=4), gop=50)
                return super().submit(fn)

        (tmp_path / "v.mp4").write_bytes(video.read_bytes())
        with pytest.raises(VideoError, match="another recording"):
            sp.extract(tmp_path / "v.mp4", tmp_path / "out.zarr", executor=Moved())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_processes_forked_from_one_that_has_opened_the_recording_lose_no_frame(self, tmp_path: Path) -> None:
        # Noise: more bytes than a reader holds at a time.
        write_video(tmp_path / "v.mp4", np.random.default_rng(1).integers(0, 255, (600, 120, 160, 3), np.uint8), gop=25)
        with ThreadPoolExecutor(2) as threads:
            sp.extract(tmp_path / "v.mp4", tmp_path / "threads.zarr", executor=threads)
        with ProcessPoolExecutor(2, get_context("fork")) as processes:
            report = sp.extract(tmp_path / "v.mp4", tmp_path / "forked.zarr", executor=processes)
        assert report.failed == 0
        assert content(tmp_path / "forked.zarr") == content(tmp_path / "threads.zarr")

    def test_nothing_that_decodes_leaves_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match="none of its 10 frames"), ThreadPoolExecutor(1) as pool:
            sp.extract(Recording(flashes(10), lost=tuple(range(10))), tmp_path / "x.zarr", executor=pool)
        assert not (tmp_path / "x.zarr").exists()

    def test_crops_larger_than_a_part_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spatterlib.stores.zarr._PART", 1 << 23)
        with create_store(tmp_path / "s.zarr") as store:
            write = store.part_writer(1)  # type: ignore[attr-defined]
            with pytest.raises(StoreError, match="more than"):
                write(0, [bytes(1 << 23), b"1"])


def pretend(package: str) -> None:
    """In a worker: have another version of a package."""
    from spatterlib.common import workers

    version = workers._version
    workers._version = lambda name: "0.0.1" if name == package else version(name)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["av", "numba"])
def test_a_worker_with_another_version_of_what_makes_rows_is_refused(video: Path, tmp_path: Path, package: str) -> None:
    from importlib.metadata import version

    with ProcessPoolExecutor(1, get_context("spawn"), pretend, (package,)) as pool:
        said = rf"worker \(.*\) is unlike its caller: {package} is 0.0.1 there and {version(package)} here; install"
        with pytest.raises(WorkerError, match=said):
            sp.extract(video, tmp_path / "x.zarr", executor=pool)
        with pytest.raises(WorkerError, match=said):
            sp.extract_all([video], tmp_path, suffix=".zarr", executor=pool)


def metered(task: Any) -> tuple[Any, int]:
    """What a task gives, and how many bytes its process read meanwhile."""
    before = bytes_read()
    result = task()
    return result, bytes_read() - before


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


class Metered(Executor):
    """A pool that counts the bytes which its workers read."""

    def __init__(self, pool: Executor) -> None:
        self.pool, self.read, self._max_workers = pool, 0, 4

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def done(inner: Future[Any]) -> None:
            result, count = inner.result()
            self.read += count
            future.set_result(result)

        self.pool.submit(metered, fn).add_done_callback(done)
        return future


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what a process reads")
def test_four_workers_read_a_recording_once_in_all(tmp_path: Path) -> None:
    path, noise = tmp_path / "v.mp4", np.random.default_rng(1).integers(0, 50, (200, 120, 160, 3), np.uint8)
    write_video(path, noise, gop=50, times=20)
    write_video(tmp_path / "warm.mp4", noise, gop=20, times=8)
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        # Programs, too, are files that are read.
        sp.extract(tmp_path / "warm.mp4", tmp_path / "warm.zarr", executor=pool)
        meter = Metered(pool)
        sp.extract(path, tmp_path / "v.zarr", executor=meter)
    assert path.stat().st_size <= meter.read <= 1.3 * path.stat().st_size


def suicide(path: str) -> None:
    """A task that takes its process down, once."""
    if not Path(path).exists():
        Path(path).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_that_dies_costs_its_own_recording_which_the_next_call_goes_on_with(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spatterlib.extraction import batch

    class Deadly(ProcessPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            super().submit(suicide, str(videos / "died"))
            return super().submit(fn, *args, **kwargs)

    monkeypatch.setattr(batch, "ProcessPoolExecutor", Deadly)
    outcomes = sp.extract_all(videos, videos.parent / "out", workers=2, suffix=".zarr")
    assert (videos / "died").exists()
    lost = [outcome for outcome in outcomes if "its worker process died" in outcome.error]
    assert len(lost) == 1
    assert sum(outcome.state == "done" for outcome in outcomes) == (1 if lost[0] in outcomes[:2] else 2)
    outcomes = sp.extract_all(videos, videos.parent / "out", workers=2, suffix=".zarr")
    one = sp.extract_all(videos, videos.parent / "one")
    for outcome, other in zip(one[:2], outcomes[:2], strict=True):
        assert content(Path(outcome.out)) == content(Path(other.out))


@pytest.mark.slow
def test_a_worker_says_what_its_caller_would_have_said(videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    media.cut(media.write(videos / "cut.mkv", 200))
    (videos / "cut.mkv").unlink()
    outcomes = sp.extract_all(videos, videos.parent / "out", workers=2)
    assert [outcome.out for outcome in outcomes] == [
        str(videos.parent / "out" / f"{name}.h5") for name in ("build1", "build2", "build10", "cut_cut")
    ]
    assert [record.getMessage() for record in caplog.records if "is cut off at its end" in record.getMessage()]


class Threads(ThreadPoolExecutor):
    """Counts its tasks."""

    tasks = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.tasks += 1
        return super().submit(fn, *args, **kwargs)


def test_recordings_are_the_tasks_where_there_are_as_many_as_workers_and_parts_where_there_are_fewer(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spatterlib.extraction.pipeline._PART", 100)
    (tmp_path / "other.mp4").write_bytes(video.read_bytes())
    paths = [video, tmp_path / "other.mp4"]
    one = sp.extract_all(paths, tmp_path / "one", suffix=".zarr")
    for workers, tasks in ((2, 2), (3, 2 * 5)):
        with Threads(workers) as pool:
            found = sp.extract_all(paths, tmp_path / str(workers), suffix=".zarr", executor=pool)
        assert pool.tasks == tasks
        for outcome, other in zip(one, found, strict=True):
            assert content(Path(outcome.out)) == content(Path(other.out))


class Cluster:
    """A real scheduler and worker processes, on loopback."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "scheduler.json").unlink(missing_ok=True)
        self.file = folder / "scheduler.json"
        loop = ["--host", "127.0.0.1"]
        self.start("scheduler", *loop, "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file))
        for _ in range(workers):
            self.start("worker", *loop, "--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny",
                       "--no-dashboard", "--local-directory", str(folder))  # fmt: skip

    def start(self, kind: str, *arguments: str) -> None:
        code = f"from distributed.cli.dask_{kind} import main; main()"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", code, *arguments]
        self.processes.append(
            subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True, env=environment)
        )

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = Cluster(folder, 2)
    yield cluster
    cluster.close()


def client_of(cluster: Cluster) -> Any:
    from distributed import Client

    limit = time.monotonic() + 60
    while not cluster.file.exists() and time.monotonic() < limit:
        time.sleep(0.1)
    client = Client(scheduler_file=str(cluster.file), timeout=60)  # type: ignore[no-untyped-call]
    client.wait_for_workers(2, timeout=60)
    return client


def short_videos(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"v{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        write_video(path, flashes(60, every=2 + number % 5, height=120, width=160), gop=20)
    return paths


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_of_two_processes_gives_the_same_for_20_videos(cluster: Cluster, tmp_path: Path) -> None:
    paths = short_videos(tmp_path / "videos", 20)
    one = sp.extract_all(paths, tmp_path / "one", suffix=".zarr")
    with client_of(cluster) as client:
        far = sp.extract_all(paths, tmp_path / "far", suffix=".zarr", executor=client.get_executor())
    assert {outcome.state for outcome in far} == {"done"}
    for outcome, other in zip(one, far, strict=True):
        assert content(Path(other.out)) == content(Path(outcome.out))
    assert sum(outcome.report.detections for outcome in far if outcome.report) > 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_worker_killed_in_the_middle_costs_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spatterlib.extraction.pipeline._PART", 100)
    write_video(tmp_path / "long.mp4", flashes(2400, every=3), gop=50)
    sp.extract(tmp_path / "long.mp4", tmp_path / "one.zarr")
    killed = threading.Event()

    def kill(progress: Any) -> None:
        if progress.done >= 600 and not killed.is_set():
            killed.set()
            cluster.processes[1].kill()

    with client_of(cluster) as client:
        sp.extract(tmp_path / "long.mp4", tmp_path / "far.zarr", executor=client.get_executor(), progress=kill)
        assert len(client.scheduler_info()["workers"]) == 1
    assert killed.is_set()
    assert content(tmp_path / "far.zarr") == content(tmp_path / "one.zarr")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_whole_recordings_of_a_dask_worker_that_is_killed_are_gone_on_with_by_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    paths = [tmp_path / f"long{number}.mp4" for number in range(3)]
    write_video(paths[0], np.repeat(flashes(60, every=3, height=480, width=640), 30, axis=0), gop=60)
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    one = sp.extract_all(paths[:1], tmp_path / "one", suffix=".zarr")

    def kill() -> None:
        while not (tmp_path / "far" / "long0.zarr" / "zarr.json").exists():
            time.sleep(0.02)
        cluster.processes[1].kill()

    with client_of(cluster) as client:
        threading.Thread(target=kill).start()
        far = sp.extract_all(paths, tmp_path / "far", suffix=".zarr", executor=client.get_executor())
        assert len(client.scheduler_info()["workers"]) == 1
    assert {outcome.state for outcome in far} <= {"done", "resumed"}
    for outcome in far:
        assert content(Path(outcome.out))[:3] == content(Path(one[0].out))[:3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_verdict_and_the_same_streaks(cluster: Cluster, tmp_path: Path) -> None:
    sp.simulate(tmp_path / "build.mp4", gas_flow="high", seconds=8, seed=5)
    sp.extract(tmp_path / "build.mp4", tmp_path / "build.zarr")
    here = sp.predict(tmp_path / "build.mp4", "simulated")
    with client_of(cluster) as client:
        executor = client.get_executor()
        for source in (tmp_path / "build.mp4", tmp_path / "build.zarr"):
            there = sp.predict(source, "simulated", executor=executor)
            assert there.rows.tobytes() == here.rows.tobytes()
        with sp.open_store(tmp_path / "build.zarr") as store:
            camera = Camera(25, 0.036)
            found = [measure_store(store, camera, executor=who).streaks.tobytes() for who in (None, executor)]
    assert found[0] == found[1]


def batch_of(first: int, random: np.random.Generator) -> DetectionBatch:
    """What might be found in 64 frames: a crop of about 5 kB in each."""
    table, frames = np.zeros(64, sp.DETECTION), np.zeros(64, FRAME_LOG)
    table["frame"] = frames["number"] = first + np.arange(64)
    frames["decoded"] = True
    crops: list[Any] = [random.bytes(int(size)) for size in random.integers(2000, 8000, 64)]
    return DetectionBatch(frames, table, crops, np.zeros((1, 3)))


def test_at_a_url_a_commit_puts_each_array_once_and_uploads_little_more_than_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    from spatterlib.stores.objects import Bucket

    told: list[dict[str, int]] = []
    put = Bucket.put

    def counted(self: Bucket, objects: Any, **options: Any) -> None:
        told.append({name: len(data) for name, data in objects.items()})
        put(self, objects, **options)

    monkeypatch.setattr(Bucket, "put", counted)
    url, random = f"memory://{tmp_path.name}.zarr", np.random.default_rng(1)
    pending, data, puts = Pending(far=True), 0, list[int]()
    with create_store(url) as store:
        for first in range(0, 64 * 200, 64):
            batch = batch_of(first, random)
            pending.add(batch)
            data += sum(map(len, batch.crops)) + batch.table.nbytes + batch.frame_log.nbytes
            if pending.full():
                before = len(told)
                pending.commit(store, final=False)
                puts.append(sum(not name.startswith("crops/data") for put in told[before:] for name in put))
                with sp.open_store(url) as reading:
                    assert reading.damage() == []  # type: ignore[attr-defined]
        pending.commit(store, final=True)
        store.set_attrs({"complete": True})
    assert len(puts) >= 2
    # Two of crops, eleven columns, four of the log, the root; checksums of finished blocks now and then.
    assert max(puts) <= 17 + 1 + 1
    assert sum(size for put in told for size in put.values()) <= 1.5 * data
    zarr = pytest.importorskip("zarr")
    assert zarr.open_array(url, path="columns/frame", mode="r").shape == (12_800,)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a local stand-in for S3."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    settings = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (settings | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("builds")
    yield "s3://builds"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_processes_write_their_parts_to_s3(
    bucket: str, videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("spatterlib.extraction.pipeline._PART", 40)
    outcomes = sp.extract_all(videos, bucket, suffix=".zarr", workers=2)
    assert [outcome.state for outcome in outcomes] == ["done", "done", "failed"]
    sp.extract(videos / "build1.mp4", tmp_path / "one.h5")
    assert content(outcomes[0].out) == content(tmp_path / "one.h5")  # type: ignore[arg-type]
    assert [outcome.state for outcome in sp.extract_all(videos, bucket, suffix=".zarr")][:2] == ["there", "there"]
