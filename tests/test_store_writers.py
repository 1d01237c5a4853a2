"""One writer at a time, also where only files opened for writing are locked; what killed farms leave is swept."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from store_tools import KINDS, assert_holds, crops_of, fill, frames_of, rows_of

import spatterlib as sp
from spatterlib.errors import StoreError

fcntl = pytest.importorskip("fcntl")
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux has it: a lock of flock becomes one of fcntl on the server, for which a file is open for writing."""
    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        writable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)
        if not writable or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("nfs")
@pytest.mark.parametrize("suffix", KINDS)
def test_a_second_writer_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"s{suffix}"
    with sp.create_store(path) as store:
        fill(store, 0, 10)
        refused(path)
    with sp.open_store(path, "a") as store:
        fill(store, 10, 10)
        refused(path)
    with sp.create_store(path, overwrite=True) as store:
        fill(store, 0, 5)
        refused(path)
    with sp.open_store(path, "a") as store:
        assert_holds(store, 5)


def refused(path: Path) -> None:
    with pytest.raises(StoreError, match="being written by another process"):
        sp.open_store(path, "a")
    with pytest.raises(StoreError, match="being written by another process"):
        sp.create_store(path, overwrite=True)


def test_parts_that_no_row_came_to_are_swept_when_the_next_farm_begins(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"

    def shards() -> int:
        return sum(1 for _ in (path / "crops/data/c").iterdir())

    with sp.create_store(path) as store:
        writing: Any = store
        fill(store, 0, 20)
        store.flush()
        write = writing.part_writer(3)
        writing.adopt(rows_of(20, 10), write(0, crops_of(20, 10)), frames_of(20, 10))
        store.flush()
        for part in (1, 2):
            write(part, crops_of(0, 10))
        assert shards() == 4
    with sp.open_store(path, "a") as store:
        writing = store
        write = writing.part_writer(2)
        assert shards() == 2
        writing.adopt(rows_of(30, 10), write(1, crops_of(30, 10)), frames_of(30, 10))
        assert shards() == 3
    with sp.open_store(path) as store:
        assert_holds(store, 40)
    assert sp.check_store(path).whole
