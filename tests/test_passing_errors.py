"""An error that may pass is never taken for "there is nothing": no store is replaced, no label lost, one line said."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from store_tools import KINDS, fill, one_line
from test_extraction import flashes, write_video

import spatterlib as sp
from spatterlib.errors import MissingFileError, OutputExistsError, SpatterlibError, StoreError
from spatterlib.stores.opening import check_output, create_store, find_store

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

ERRORS = [errno.ESTALE, errno.EIO, errno.EACCES, errno.ETIMEDOUT]


class ServiceError(Exception):
    """As the libraries of object stores raise: no OSError."""


class Flaky(MemoryFileSystem):  # type: ignore[misc]
    """An object store that answers 503 for a while."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failure: ClassVar[Exception | None] = None

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        if Flaky.failure is not None:
            raise Flaky.failure
        return super().cat_file(path, *arguments, **options)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "flashes.mp4"
    write_video(path, flashes(60, every=3), gop=60)
    return path


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(Flaky, "failure", None)
    yield "flaky://builds"
    Flaky.store.clear()
    Flaky.pseudo_dirs[:] = [""]


class Failing:
    """Calls of the system on files of a folder, of which one fails."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.left, self.number = str(folder), 0, 0
        for module, name in ((os, "open"), (os, "stat"), (os, "pread"), (os, "lstat"), (os, "scandir"), (io, "open")):
            monkeypatch.setattr(module, name, self._failing(getattr(module, name)))

    def _failing(self, call: Any) -> Any:
        def instead(where: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(where, int) or self.folder in str(where):
                self.left -= 1
                if self.left == 0:
                    raise OSError(self.number, os.strerror(self.number), None if isinstance(where, int) else str(where))
            return call(where, *arguments, **options)

        return instead

    def at(self, call: int, number: int) -> None:
        self.left, self.number = call, number

    def never(self) -> bool:
        """Whether the failure has not come; none comes from here on."""
        left, self.left = self.left, 0
        return left > 0


def labelled(video: Path, path: Any) -> list[str]:
    """A complete store with a column that a person made; its values."""
    sp.extract(video, path)
    with sp.open_store(path, "a") as store:
        labels = [f"seen by Ada {row}" for row in range(len(store))]
        store.set_column("label", np.array(labels))
    return labels


def labels_of(path: Any) -> list[str]:
    with sp.open_store(path) as store:
        assert store.attrs["complete"] is True
        found: list[str] = store.column("label").tolist()
        return found


@pytest.mark.parametrize("suffix", KINDS)
def test_whatever_read_fails_resume_keeps_a_complete_store(
    video: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each third call on the store's files fails once, each time with another error: a result, or one line, no harm."""
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / f"build{suffix}"
    labels = labelled(video, out)
    failing, said = Failing(tmp_path / "out", monkeypatch), []
    for call in itertools.count(1, 3):
        failing.at(call, ERRORS[call % len(ERRORS)])
        try:
            sp.extract(video, out, resume=True, progress=False)
        except SpatterlibError as error:
            said.append(error)
        done = failing.never()
        assert labels_of(out) == labels
        if done:
            break
    assert done
    assert len({one_line(error) for error in said}) > 3
    said.clear()
    gc.collect()
    left = [item for item in gc.get_objects() if isinstance(item, h5py.h5p.PropFAID)]
    assert not left, "what HDF5 has open at the end of Python takes it down"
    assert not any(isinstance(error, MissingFileError) for error in said)


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("number", ERRORS)
def test_the_first_look_at_a_store_fails(
    video: Path, tmp_path: Path, suffix: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One recording and many: `extract_all` "does what is missing" and must not take this for missing."""
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / f"flashes{suffix}"
    labels = labelled(video, out)

    def failing(call: Any) -> Any:
        def instead(where: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(where, int) or out.name in str(where):
                raise OSError(number, os.strerror(number))
            return call(where, *arguments, **options)

        return instead

    for call in ("open", "stat", "pread"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(getattr(os, call)))
            patch.setattr(io, "open", failing(io.open))
            with pytest.raises(StoreError, match=rf"flashes\{suffix}.*{os.strerror(number)}") as caught:
                sp.extract(video, out, resume=True)
            one_line(caught.value)
            [outcome] = sp.extract_all([video], tmp_path / "out", suffix=suffix)
            assert (outcome.state, outcome.code) == ("failed", 1)
            assert os.strerror(number) in outcome.error
        assert labels_of(out) == labels


@pytest.mark.parametrize("failure", [OSError(errno.EBUSY, "Service Unavailable"), ServiceError("503 Slow Down")])
def test_an_object_store_that_does_not_answer(video: Path, flaky: str, failure: Exception, tmp_path: Path) -> None:
    url = f"{flaky}/flashes.zarr"
    labels = labelled(video, url)
    create_store(tmp_path / "other.h5").close()
    Flaky.failure = failure
    for refused in (
        lambda: sp.extract(video, url, resume=True),
        lambda: sp.extract(video, url),
        lambda: sp.extract(video, url, overwrite=True),
        lambda: sp.open_store(url),
        lambda: sp.convert(tmp_path / "other.h5", url),
        lambda: find_store(url),
        lambda: check_output(url),
    ):
        with pytest.raises(StoreError, match=r"flashes\.zarr cannot be .*(Unavailable|503 Slow Down)") as caught:
            refused()
        assert not isinstance(caught.value, MissingFileError | OutputExistsError)
        one_line(caught.value)
    [outcome] = sp.extract_all([video], flaky, suffix=".zarr")
    assert outcome.state == "failed"
    Flaky.failure = None
    assert labels_of(url) == labels


def test_a_research_file_that_cannot_be_read_now_is_no_video_and_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "left_low_0.h5"
    with h5py.File(path, "w") as h5:
        h5["left_low_0_0"] = np.array([b"\xff\xd8 a crop"])
    kind = sp.catalog().stores["original"]
    assert kind.recognises(str(path))

    def broken(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(h5py, "File", broken)
    with pytest.raises(StoreError, match="Input/output error"):
        find_store(path)


@pytest.mark.parametrize("suffix", KINDS)
def test_what_comes_into_being_between_the_look_and_the_making_is_kept(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the store at that moment, or a file system says "nothing there" of what is there."""
    path = tmp_path / f"store{suffix}"
    with create_store(path) as store:
        fill(store, 0, 5)
    monkeypatch.setattr("spatterlib.stores.opening.check_output", lambda *_, **__: None)
    with pytest.raises(OutputExistsError, match="exists already") as caught:
        create_store(path)
    one_line(caught.value)
    monkeypatch.setattr("spatterlib.extraction.resume.find_store", lambda *_: None)
    monkeypatch.setattr("spatterlib.extraction.resume.check_output", lambda *_: None)
    np.save(tmp_path / "dark.npy", np.zeros((3, 48, 64, 3), np.uint8))
    with pytest.raises(OutputExistsError, match="exists already"):
        sp.extract(tmp_path / "dark.npy", path, resume=True)
    with sp.open_store(path) as store:
        assert len(store) == 5


def test_at_a_url_the_root_is_put_on_condition(flaky: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with create_store(f"{flaky}/store.zarr") as store:
        fill(store, 0, 5)
    monkeypatch.setattr("spatterlib.stores.opening.check_output", lambda *_, **__: None)
    with monkeypatch.context() as patch:
        patch.setattr(Flaky, "failure", FileNotFoundError("not there yet, says an index that lags behind"))
        with pytest.raises(OutputExistsError, match="exists already"):
            create_store(f"{flaky}/store.zarr")
    with sp.open_store(f"{flaky}/store.zarr") as store:
        assert len(store) == 5


def test_without_hard_links_nothing_is_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spatterlib.common.files import settle

    def unsupported(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    (tmp_path / "part").write_text("new")
    settle(tmp_path / "part", tmp_path / "whole", new=True)
    (tmp_path / "part").write_text("newer")
    with pytest.raises(FileExistsError):
        settle(tmp_path / "part", tmp_path / "whole", new=True)
    assert (tmp_path / "whole").read_text() == "new"


def test_a_fault_of_a_plugin_is_told_and_the_next_kind_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create_store(tmp_path / "own.h5").close()
    kinds = sp.catalog().stores

    def broken(_: str) -> bool:
        raise KeyError("a fault")

    monkeypatch.setattr(kinds["zarr"], "recognises", broken)
    monkeypatch.setattr(kinds["hdf5"], "recognises", lambda path: path.endswith("own.h5"))
    assert find_store(tmp_path / "own.h5") is kinds["hdf5"]
    assert find_store(tmp_path / "none.h5") is None
    assert "store 'zarr' failed to look at" in caplog.text


SYSTEM = (
    *[
        "open",
        "stat",
        "pread",
        "lstat",
        "scandir",
        "pwrite",
        "write",
        "fsync",
        "fdatasync",
        "replace",
        "rename",
        "link",
        "mkdir",
        "unlink",
        "fstat",
    ],
    *["ftruncate", "preadv", "pwritev"],
)
BUCKET = (
    "cat_file",
    "pipe_file",
    "ls",
    "info",
    "_open",
    "rm_file",
    "exists",
    "find",
    "rm",
    "cat_ranges",
    "cat",
    "pipe",
)


class Faults:
    """Calls that are counted, of which one fails, once."""

    def __init__(self) -> None:
        self.left, self.error = 0, OSError()

    def count(self, work: Any) -> int:
        """How many calls some work makes."""
        self.left = 1 << 40
        work()
        made, self.left = (1 << 40) - self.left, 0
        return made

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.fixture(params=[".h5", ".zarr", "bucket"])
def faulty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Where stores are made, and what fails there: every call on a file, or on an object store."""
    faults = Faults()
    if request.param == "bucket":

        class Unsteady(MemoryFileSystem):  # type: ignore[misc]
            protocol = "unsteady"
            store: ClassVar[dict[str, Any]] = {}
            pseudo_dirs: ClassVar[list[str]] = [""]

        def counted(name: str) -> Any:
            def call(self: Any, *arguments: Any, **options: Any) -> Any:
                faults.check()
                return getattr(MemoryFileSystem, name)(self, *arguments, **options)

            return call

        for name in BUCKET:
            setattr(Unsteady, name, counted(name))
        fsspec.register_implementation("unsteady", Unsteady, clobber=True)
        yield faults, "unsteady://builds/{}.zarr", [OSError(errno.EBUSY, "Busy"), ServiceError("503 Slow Down")]
        return

    def watched(call: Any) -> Any:
        def instead(*arguments: Any, **options: Any) -> Any:
            if any(isinstance(item, int) or str(tmp_path / "out") in str(item) for item in arguments[:2]):
                faults.check()
            return call(*arguments, **options)

        return instead

    (tmp_path / "out").mkdir()
    for name in SYSTEM:
        if hasattr(os, name):
            monkeypatch.setattr(os, name, watched(getattr(os, name)))
    monkeypatch.setattr(io, "open", watched(io.open))
    yield faults, str(tmp_path / "out" / f"{{}}{request.param}"), [OSError(n, os.strerror(n)) for n in ERRORS]


@pytest.mark.parametrize("moments", [10, pytest.param(200, marks=pytest.mark.torture)])
def test_whatever_call_fails_a_run_is_gone_on_with_and_a_complete_store_is_kept(
    moments: int, video: Path, faulty: Any, tmp_path: Path
) -> None:
    """A fault at a random call of a run, and of the look at what it made: a result or one line, and nothing is lost."""
    faults, place, errors = faulty
    sp.extract(video, tmp_path / "whole.h5")
    with sp.open_store(tmp_path / "whole.h5") as store:
        right, crops = store.table, [bytes(crop) for crop in store.encoded(range(len(store)))]
    calls = faults.count(lambda: sp.extract(video, place.format("first")))
    later = faults.count(lambda: sp.extract(video, place.format("first"), resume=True))
    random = np.random.default_rng(3)
    for moment in range(moments):
        path = place.format(moment)
        faults.error, faults.left = errors[moment % len(errors)], int(random.integers(1, calls + 1))
        try:
            sp.extract(video, path)
        except SpatterlibError as error:
            one_line(error)
        faults.left = 0
        sp.extract(video, path, resume=True)
        with sp.open_store(path, "a") as store:
            np.testing.assert_array_equal(store.table, right)
            assert [bytes(crop) for crop in store.encoded(range(len(store)))] == crops
            labels = [f"seen by Ada {row}" for row in range(len(store))]
            store.set_column("label", np.array(labels))
        faults.left = int(random.integers(1, later + 1))
        try:
            sp.extract(video, path, resume=True)
        except SpatterlibError as error:
            one_line(error)
        faults.left = 0
        assert labels_of(path) == labels
