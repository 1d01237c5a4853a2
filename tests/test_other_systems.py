"""What only POSIX has: stores and the main job without `flock`, opened folders, `pread`, and names that fold case.

Windows cannot run here; it is acted out: what it lacks is taken away, and what it refuses is refused.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_tools import KINDS, assert_holds, crops_of, fill, names
from test_extraction import flashes, write_video

import spatterlib as sp
from spatterlib.common.files import beside, folds_case, write_text
from spatterlib.errors import OutputExistsError, ParameterError
from spatterlib.stores import file_io
from spatterlib.stores.opening import convert, create_store

OWN = Path("/proc/self/fd")
pytestmark = pytest.mark.skipif(not OWN.is_dir(), reason="asks Linux which files are open")


def is_open(path: Any) -> bool:
    """Whether this process has a file open by that name."""
    wanted = os.path.abspath(path)  # noqa: PTH100
    for descriptor in list(OWN.iterdir()):
        try:
            if str(descriptor.readlink()) == wanted:
                return True
        except OSError:
            continue
    return False


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was refused because a file was open."""
    refused: list[str] = []
    for name in ("O_DIRECTORY", "pread", "pwrite", "posix_fallocate", "fork"):
        monkeypatch.delattr(os, name)
    for module in ("fcntl", "resource"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("spatterlib.common.files.WINDOWS", True)

    def unless_open(call: Any) -> Callable[..., Any]:
        def instead(*paths: Any, **options: Any) -> Any:
            for path in paths:
                # Windows itself removes a file without a name when it is closed; here tempfile does, before.
                if is_open(path) and not Path(path).name.startswith(tempfile.gettempprefix()):
                    refused.append(str(path))
                    raise PermissionError(errno.EACCES, "Access is denied", str(path))
            return call(*paths, **options)

        return instead

    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, unless_open(getattr(os, name)))
    real = os.open

    def no_folders(path: Any, *arguments: Any, **options: Any) -> int:
        if not isinstance(path, int) and Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", no_folders)
    return refused


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "flashes.mp4"
    write_video(path, flashes(90, every=3), gop=30)
    return path


@pytest.mark.parametrize("suffix", KINDS)
class TestStores:
    def test_all_the_life_of_a_store(self, tmp_path: Path, suffix: str, windows: list[str]) -> None:
        path = tmp_path / f"store{suffix}"
        with create_store(path, attrs={"place": "left"}) as store:
            fill(store, 0, 3000)
            store.set_column("label", np.array(["a"] * 3000))
        with pytest.raises(OutputExistsError):
            create_store(path)
        with sp.open_store(path, "a") as store, sp.open_store(path) as reader:
            for number in range(4):
                fill(store, 3000 + 10 * number, 10)
                store.flush()
                assert len(reader) == 3010 + 10 * number
            store.set_column("label", np.array(["b"] * 3040))
            assert set(reader.column("label")) == {"b"}
            assert_holds(reader, 3040)
        with create_store(path, overwrite=True) as store:
            fill(store, 0, 7)
        with sp.open_store(path) as store:
            assert_holds(store, 7)
        assert names(tmp_path) == [path.name]
        assert not list(tmp_path.rglob("*.unfinished"))

    def test_many_threads_read_at_their_own_places(self, tmp_path: Path, suffix: str, windows: list[str]) -> None:
        path = tmp_path / f"store{suffix}"
        with create_store(path) as store:
            fill(store, 0, 500)
        expected = crops_of(0, 500)
        barrier = threading.Barrier(8)

        def read(seed: int) -> bool:
            rows = np.random.default_rng(seed).integers(0, 500, 200)
            barrier.wait()
            return all(opened.encoded([row]) == [expected[row]] for row in rows)

        with sp.open_store(path) as opened, ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, range(8)))

    def test_the_main_job_and_resuming(self, video: Path, tmp_path: Path, suffix: str, windows: list[str]) -> None:
        out = tmp_path / f"flashes{suffix}"

        def stop(progress: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sp.extract(video, out, progress=stop)
        report = sp.extract(video, out, resume=True)
        assert report.detections == 29
        [outcome] = sp.extract_all([video], tmp_path, suffix=suffix)
        assert outcome.state == "there"
        convert(out, tmp_path / "copy.h5")
        convert(out, tmp_path / "research.h5", to="original")
        assert len(sp.open_store(tmp_path / "research.h5")) == 29


def test_a_journal_that_a_reader_looks_into_is_removed_a_moment_later(
    tmp_path: Path, windows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.h5"
    slept = []
    with create_store(path) as store:
        fill(store, 0, 50)
        store.flush()
        held: list[Any] = []
        real = file_io.write_at

        def look(descriptor: int, data: Any, offset: int) -> None:
            journal = tmp_path / "store.h5.journal"
            if not held and journal.exists():
                held.append(journal.open("rb"))
            real(descriptor, data, offset)

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            held[0].close()

        monkeypatch.setattr("spatterlib.stores.hdf5_journal.write_at", look)
        monkeypatch.setattr("spatterlib.common.files.time.sleep", sleep)
        store.set_attrs({"seen": True})
    assert slept
    assert windows
    assert names(tmp_path) == ["store.h5"]


def test_texts_and_simulations(tmp_path: Path, windows: list[str]) -> None:
    write_text(tmp_path / "a.json", "{}")
    write_text(tmp_path / "a.json", "[]")
    with beside(tmp_path / "b.txt") as part:
        part.write_text("b")
    sp.simulate(tmp_path / "v.mp4", seconds=0.2, width=128, height=96)
    sp.simulate(tmp_path / "v.mp4", seconds=0.2, width=128, height=96, overwrite=True)
    assert names(tmp_path) == ["a.json", "b.txt", "v.mp4", "v.truth.npz"]


def test_a_file_system_that_reserves_and_syncs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    real = os.fsync
    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    monkeypatch.setattr(os, "fsync", lambda fd: unsupported() if Path(f"/proc/self/fd/{fd}").is_dir() else real(fd))
    for suffix in KINDS:
        with create_store(tmp_path / f"s{suffix}") as store:
            fill(store, 0, 100)
        with sp.open_store(tmp_path / f"s{suffix}") as store:
            assert_holds(store, 100)


class TestCase:
    def test_columns_that_differ_in_case_are_folders_that_do_not(self, tmp_path: Path) -> None:
        """A store that is copied to a system where Label and label are one name holds both."""
        path = tmp_path / "store.zarr"
        with create_store(path) as store:
            fill(store, 0, 5)
            for name in ("label", "Label", "LABEL", "X"):
                store.set_column(name, np.array([name] * 5))
            store.set_column("Label", np.array(["again"] * 5))
        folders = names(path / "columns")
        assert len({name.casefold() for name in folders}) == len(folders)
        with sp.open_store(path) as store:
            assert [store.column(name)[0] for name in ("label", "Label", "LABEL", "X")] == [
                "label",
                "again",
                "LABEL",
                "X",
            ]
            assert store.column("x").dtype == np.int32

    def test_recordings_that_differ_in_case(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        videos = []
        for folder, name in (("one", "build"), ("two", "BUILD")):
            (tmp_path / folder).mkdir()
            videos.append(tmp_path / folder / f"{name}.npy")
            np.save(videos[-1], np.zeros((3, 48, 64, 3), np.uint8))
        assert not folds_case(tmp_path)
        outcomes = sp.extract_all(videos, tmp_path / "out")
        assert [outcome.state for outcome in outcomes] == ["done", "done"]
        monkeypatch.setattr("spatterlib.extraction.batch.folds_case", lambda _: True)
        with pytest.raises(ParameterError, match="two videos would both be written"):
            sp.extract_all(videos, tmp_path / "again")
