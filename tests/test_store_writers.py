"""One writer at a time, also where only files opened for writing are locked; what killed farms leave is swept."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_tools import KINDS, assert_holds, crops_of, fill, frames_of, rows_of

import spatterlib as sp
from spatterlib.errors import ParameterError, StoreError
from spatterlib.plugins import Place
from spatterlib.stores.checksums import crcs
from spatterlib.stores.objects import Folder
from spatterlib.stores.rows import DATA
from spatterlib.stores.zarr_layout import ShardedArray

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


def shards_of(path: Path) -> list[str]:
    """Of crops, wherever they lie."""
    return sorted(str(file.relative_to(path)) for file in path.glob("crops/data*/**/c/*"))


LARGE = 1 << 17  # with hundreds of rows a part has more than a shard


def test_small_parts_become_one_array_without_gaps(tmp_path: Path) -> None:
    """Its shape is its content."""
    path = tmp_path / "s.zarr"
    with sp.create_store(path) as store:
        writing: Any = store
        fill(store, 0, 20)
        store.flush()
        write = writing.part_writer(3)
        places = [write(part, crops_of(20 + 10 * part, 10)) for part in (2, 0, 1)]
        writing.adopt(rows_of(20, 14), [*places[1], *places[2][:4]], frames_of(20, 14))
        writing.adopt(rows_of(34, 16), [*places[2][4:], *places[0]], frames_of(34, 16))
        fill(store, 50, 5)
    with sp.open_store(path) as store:
        assert_holds(store, 55)
    assert shards_of(path) == ["crops/data/c/0"]
    entries = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    assert entries["crops/data"]["shape"] == [sum(map(len, crops_of(0, 55)))]
    assert "crops/starts" not in entries
    assert sp.check_store(path).whole


def test_large_parts_become_shards_one_behind_the_other(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    with sp.create_store(path) as store:
        writing: Any = store
        fill(store, 0, 5, LARGE)
        store.flush()
        write = writing.part_writer(3)
        places = [write(part, crops_of(*rows, LARGE)) for part, rows in ((2, (209, 3)), (0, (5, 200)), (1, (205, 4)))]
        writing.adopt(rows_of(5, 100), places[1][:100], frames_of(5, 100))
        writing.adopt(rows_of(105, 107), [*places[1][100:], *places[2], *places[0]], frames_of(105, 107))
        fill(store, 212, 5, LARGE)
    assert len(shards_of(path)) > 2
    assert shards_of(path) == [f"crops/data/c/{number}" for number in range(len(shards_of(path)))]
    with sp.open_store(path) as store:
        assert_holds(store, 217, LARGE)
    assert sp.check_store(path).whole


def test_what_no_row_came_to_is_swept_when_the_store_is_closed_or_written_again(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    with sp.create_store(path) as store:
        writing: Any = store
        late = writing.part_writer(3)
        writing.adopt(rows_of(0, 200), late(0, crops_of(0, 200, LARGE)), frames_of(0, 200))
        joined = shards_of(path)
        for part in (1, 2):
            late(part, crops_of(0, 10))
        assert len(shards_of(path)) == len(joined) + 2
    assert shards_of(path) == joined
    late(1, crops_of(0, 10))
    shutil.copy(path / joined[0], path / f"crops/data/c/{len(joined)}")  # as a kill leaves it before the commit
    with sp.open_store(path, "a"):
        assert shards_of(path) == joined
    with sp.open_store(path) as store:
        assert_holds(store, 200, LARGE)
    assert sp.check_store(path).whole


def test_places_that_were_never_written_or_are_gone_are_refused(tmp_path: Path) -> None:
    with sp.create_store(tmp_path / "s.zarr") as store:
        writing: Any = store
        write = writing.part_writer(2)
        first, second = write(0, crops_of(0, 10)), write(1, crops_of(10, 10))
        writing.adopt(rows_of(0, 9), first[:9], frames_of(0, 9))
        writing.adopt(rows_of(9, 1), second[:1])
        for places in (first[9:], [Place(0, 1 << 60, 0)], [Place(-9, -3, 0)], [Place(3 << 36, (3 << 36) + 5, 0)]):
            with pytest.raises(ParameterError, match="kept no such places"):
                writing.adopt(rows_of(10, 1), places)
        assert len(store) == 10
    with sp.create_store(tmp_path / "s.h5") as store, pytest.raises(ParameterError, match="append them"):
        store.adopt(rows_of(0, 1), first[:1])  # type: ignore[attr-defined]


def test_a_store_whose_parts_lie_64_gib_apart_is_read_and_goes_on(tmp_path: Path) -> None:
    """Versions before wrote them so."""
    path, crops = tmp_path / "s.zarr", crops_of(0, 10)
    with sp.create_store(path) as store:
        writing: Any = store
        ends = (1 << 36) + np.cumsum([len(crop) for crop in crops])
        starts = ends - [len(crop) for crop in crops]
        Folder(str(path)).put(ShardedArray(DATA, "", np.dtype("u1"), 0).objects(1 << 36, b"".join(crops)))
        writing._add(rows_of(0, 10), (starts, ends, crcs(crops)), frames_of(0, 10), {}, 5 << 36, gaps=True)
    assert sp.check_store(path).whole
    with sp.open_store(path, "a") as store:
        writing = store
        assert_holds(store, 10)
        writing.adopt(rows_of(10, 10), writing.part_writer(1)(0, crops_of(10, 10)), frames_of(10, 10))
        fill(store, 20, 10)
    with sp.open_store(path) as store:
        assert_holds(store, 30)
    assert sp.check_store(path).whole
