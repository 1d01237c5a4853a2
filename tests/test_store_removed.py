"""A store that is taken away from under its writer, and a disk that is full at its first breath."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_tools import KINDS, assert_holds, child, fill, names, one_line

import spatterlib as sp
from spatterlib.errors import SpatterlibError, StoreError
from spatterlib.stores import hdf5_journal
from spatterlib.stores.file_io import write_at

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def replace(path: Path) -> None:
    """By another store of the same name, as `cp` or another run does it."""
    rename(path)
    sp.create_store(path).close()


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("take_away", [remove, rename, replace])
def test_the_next_commit_says_that_the_store_is_gone(
    tmp_path: Path, suffix: str, take_away: Callable[[Path], None]
) -> None:
    path = tmp_path / f"s{suffix}"
    store = sp.create_store(path)
    fill(store, 0, 10)
    store.flush()
    take_away(path)
    there = names(tmp_path)
    with pytest.raises(StoreError, match="was removed, renamed or replaced while it was written") as caught:
        store.set_attrs({"complete": True})
    assert str(path) in one_line(caught.value)
    fill(store, 10, 5)
    with pytest.raises(SpatterlibError) as caught_again:
        store.flush()
    one_line(caught_again.value)
    store.close()
    assert names(tmp_path) == there
    if take_away is not remove:
        with sp.open_store(tmp_path / "renamed") as moved:
            assert_holds(moved, 10)
    if take_away is replace:
        with sp.open_store(path) as other:
            assert len(other) == 0


@pytest.mark.parametrize("write", range(12))
def test_a_full_disk_at_creation_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    real, written = write_at, iter(range(10_000))

    def full(descriptor: int, data: Any, offset: int) -> None:
        if next(written) >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, data, offset)

    monkeypatch.setattr(hdf5_journal, "write_at", full)
    with pytest.raises(StoreError, match="cannot be created: No space left on device") as caught:
        sp.create_store(tmp_path / "s.h5")
    one_line(caught.value)
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits on the size of a file")
@pytest.mark.parametrize("limit", [0, 100, 3000])
def test_a_limit_on_the_size_of_files_ends_no_process(tmp_path: Path, limit: int) -> None:
    import subprocess

    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        try:
            sp.create_store(sys.argv[1])
        except sp.errors.StoreError as error:
            print(error)
        """
    done = subprocess.run(child(code, tmp_path / "s.h5", limit), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be created" in done.stdout
    assert names(tmp_path) == []
