"""Stores with what no writer of ours leaves: pipes, links, devices, huge and deep documents, a journal that stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_tools import assert_holds, fill, names, one_line

import spatterlib as sp
from spatterlib.errors import DamageError, SpatterlibError, StoreError
from spatterlib.stores import file_io, hdf5_journal

pytestmark = [
    pytest.mark.usefixtures("no_waiting_for_the_disk"),
    pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes, devices and sparse files of this kind"),
]

NAMES = ("zarr.json", "columns/x/c/0", "crops/ends/c/0", "crops/data/c/0")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_a_file(path: Path) -> None:
    path.symlink_to("/etc/hosts")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def folder(path: Path) -> None:
    path.mkdir()


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def deep(path: Path) -> None:
    path.write_text('{"attributes": {"spatterlib": ' + "[" * 200_000 + "]" * 200_000 + "}}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("put", [pipe, link_to_a_device, link_to_a_file, link_to_itself, folder, huge, deep])
def test_what_is_no_file_of_ours_is_one_line(tmp_path: Path, name: str, put: Callable[[Path], None]) -> None:
    path = tmp_path / "s.zarr"
    with sp.create_store(path) as store:
        fill(store, 0, 50)
    (path / name).unlink()
    put(path / name)
    with pytest.raises(SpatterlibError) as caught, sp.open_store(path) as store:
        _ = store.table, store.encoded(range(50))
    assert len(one_line(caught.value)) < 600


def test_an_hdf5_file_of_a_terabyte_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with sp.create_store(path) as store:
        fill(store, 0, 50)
    with h5py.File(path, "r+") as h5:
        header = json.loads(h5["header"][:].tobytes())
        del header["checksums"], header["crc32"]
        text = np.frombuffer(json.dumps(header | {"rows": 1 << 36}).encode(), np.uint8)
        h5["header"].resize(text.shape)
        h5["header"][:] = text
        for dataset in (*h5["columns"].values(), h5["crops/ends"]):
            dataset.resize((1 << 36,))
    os.truncate(path, 1 << 42)
    with pytest.raises(StoreError) as caught, sp.open_store(path) as store:
        store.column("peak")
    one_line(caught.value)


class TestHotJournal:
    """A writer was killed behind its decision, and the file cannot be written where it is read."""

    @pytest.fixture
    def hot(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "s.h5"
        with sp.create_store(path) as store:
            fill(store, 0, 100)
            store.flush()
            with monkeypatch.context() as kill:
                kill.setattr(hdf5_journal, "_apply", lambda *_: None)
                kill.setattr(hdf5_journal, "_remove", lambda path: shutil.copytree(Path(path).parent, tmp_path / "hot"))
                fill(store, 100, 50)
                store.flush()
        assert names(tmp_path / "hot") == ["s.h5", "s.h5.journal"]
        return tmp_path / "hot" / "s.h5"

    @pytest.fixture
    def read_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.open

        def refuse(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", refuse)

    def test_it_is_read_as_of_the_commit_and_nothing_is_written(self, hot: Path, read_only: None) -> None:
        before = {name: (hot.parent / name).read_bytes() for name in names(hot.parent)}
        with sp.open_store(hot) as store:
            assert_holds(store, 150)
        assert sp.check_store(hot).whole
        assert {name: (hot.parent / name).read_bytes() for name in names(hot.parent)} == before

    def test_a_read_that_fails_is_no_damage(self, hot: Path, read_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whichever it is, of all that a column takes: the values, or that they cannot be read now."""
        right, told = file_io.read_at, []
        with sp.open_store(hot) as store:
            expected = store.column("x")
            for which in range(1, 9):
                calls = count(1)

                def fail(*arguments: Any, calls: Any = calls, which: int = which) -> bytes:
                    if next(calls) == which:
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
                    return right(*arguments)

                with monkeypatch.context() as broken:
                    broken.setattr(hdf5_journal, "read_at", fail)
                    try:
                        found = store.column("x")
                    except StoreError as error:
                        told.append(error)
                        continue
                np.testing.assert_array_equal(found, expected)
            assert_holds(store, 150)
        assert told
        assert not [error for error in told if isinstance(error, DamageError)]
        assert all("cannot be read: Input/output error" in str(error) for error in told)

    def test_a_journal_that_is_not_whole_never_happened(self, hot: Path, read_only: None) -> None:
        journal = hot.with_name("s.h5.journal")
        journal.write_bytes(journal.read_bytes()[:-1])
        with sp.open_store(hot) as store:
            assert_holds(store, 100)

    def test_who_repairs_it_elsewhere_and_goes_on_is_seen(self, hot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as mounted:
            mounted.setattr("spatterlib.stores.hdf5.lock", lambda _: True)
            mounted.setattr(
                "spatterlib.stores.hdf5.replay", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only"))
            )
            store = sp.open_store(hot)
            assert_holds(store, 150)
        with sp.open_store(hot, "a") as writer:
            fill(writer, 150, 30)
        assert_holds(store, 180)
        store.close()
