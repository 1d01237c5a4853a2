"""Nothing is deleted or written over by its name alone: what is not ours stays, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_tools import KINDS, assert_holds, fill, names, one_line
from test_extraction import flashes, write_video

import spatterlib as sp
from spatterlib.common.files import beside, write_csv, write_text
from spatterlib.errors import OutputExistsError, StoreError
from spatterlib.stores.opening import convert, create_store

DIARY = b"Journal of the build of 3 May: the recoater hit part 7.\n"
# Contents that something else may have under a name that we would use: also such as begin like ours.
CONTENTS = [DIARY, b"", b"SPTRJNL1", b"SPTRJNL1" + bytes(200), b"\x89HDF\r\n\x1a\n" + bytes(100)]


def used(path: Path) -> None:
    """What people do with a store."""
    with sp.open_store(path) as store:
        assert_holds(store, 50)


def changed(path: Path) -> None:
    with sp.open_store(path, "a") as store:
        store.set_attrs({"seen": True})


class TestJournals:
    @pytest.mark.parametrize("content", CONTENTS)
    def test_a_foreign_file_beside_a_store_is_left_as_it_is(self, tmp_path: Path, content: bytes) -> None:
        path, journal = tmp_path / "build.h5", tmp_path / "build.h5.journal"
        with create_store(path) as store:
            fill(store, 0, 50)
        journal.write_bytes(content)
        used(path)
        for refused in (
            lambda: changed(path),
            lambda: create_store(path, overwrite=True),
            lambda: sp.extract(tmp_path / "dark.npy", path, overwrite=True),
        ):
            np.save(tmp_path / "dark.npy", np.zeros((3, 48, 64, 3), np.uint8))
            with pytest.raises(StoreError, match=r"build\.h5\.journal is in the way.*move that") as caught:
                refused()
            one_line(caught.value)
        used(path)
        assert journal.read_bytes() == content
        journal.unlink()
        changed(path)
        assert names(tmp_path) == ["build.h5", "dark.npy"]

    def test_a_folder_or_link_of_that_name_is_left_too(self, tmp_path: Path) -> None:
        path, journal = tmp_path / "build.h5", tmp_path / "build.h5.journal"
        with create_store(path) as store:
            fill(store, 0, 50)
        (tmp_path / "diary.txt").write_bytes(DIARY)
        for kind in ("folder", "link"):
            journal.mkdir() if kind == "folder" else journal.symlink_to(tmp_path / "diary.txt")
            used(path)
            with pytest.raises(StoreError, match="in the way"):
                changed(path)
            journal.unlink() if journal.is_symlink() else journal.rmdir()
        assert (tmp_path / "diary.txt").read_bytes() == DIARY

    def test_one_that_comes_while_the_store_is_written(self, tmp_path: Path) -> None:
        path, journal = tmp_path / "build.h5", tmp_path / "build.h5.journal"
        with create_store(path) as store:
            fill(store, 0, 50)
            store.flush()
            journal.write_bytes(DIARY)
            with pytest.raises(StoreError, match="in the way"):
                store.set_attrs({"seen": True})
        assert journal.read_bytes() == DIARY
        used(path)

    def test_before_a_store_is_made(self, tmp_path: Path) -> None:
        (tmp_path / "new.h5.journal").write_bytes(DIARY)
        with pytest.raises(StoreError, match="in the way"):
            create_store(tmp_path / "new.h5")
        assert names(tmp_path) == ["new.h5.journal"]


def simulated(folder: Path) -> None:
    sp.simulate(folder / "out.mp4", seconds=0.2, width=128, height=96, overwrite=True)


def extracted(folder: Path, suffix: str) -> None:
    np.save(folder / "dark.npy", np.zeros((3, 48, 64, 3), np.uint8))
    sp.extract(folder / "dark.npy", folder / f"out{suffix}", overwrite=True)
    changed(folder / f"out{suffix}")


def exported(folder: Path) -> None:
    create_store(folder / "source.zarr", overwrite=True).close()
    convert(folder / "source.zarr", folder / "out.h5", to="original", overwrite=True)


def written(folder: Path) -> None:
    write_text(folder / "out.json", "{}")
    write_csv(folder / "out.csv", ["a"], [[1]])


# What spatterlib called its temporary files, and what somebody may call his.
LOOKALIKES = [
    *(f"out{suffix}.unfinished" for suffix in (".h5", ".h5.journal", ".mp4", ".zarr")),
    *(f".out.part{suffix}" for suffix in (".json", ".csv", ".mp4", ".h5")),
    *(f".out.truth.npz.{name}.part" for name in ("events", "streaks", "layers", "npz")),
    ".out.mp4.part",
    "out_spatter.csv",
]


@pytest.mark.parametrize(
    "make",
    [simulated, exported, written, *(lambda folder, suffix=suffix: extracted(folder, suffix) for suffix in KINDS)],
    ids=["simulate", "export", "texts", *KINDS],
)
def test_temporary_files_have_names_that_nothing_had(tmp_path: Path, make: Callable[[Path], None]) -> None:
    for name in LOOKALIKES:
        (tmp_path / name).write_bytes(DIARY)
    make(tmp_path)
    make(tmp_path)
    for name in LOOKALIKES:
        assert (tmp_path / name).read_bytes() == DIARY
    made = set(names(tmp_path)) - set(LOOKALIKES)
    assert not [name for name in made if name.startswith(".") or "unfinished" in name or "part" in name]


def test_notes_in_the_folder_of_a_zarr_store_stay(tmp_path: Path) -> None:
    path = tmp_path / "build.zarr"
    with create_store(path) as store:
        fill(store, 0, 50)
    (path / "notes.unfinished").write_bytes(DIARY)
    (path / "columns" / "mine.unfinished").write_bytes(DIARY)
    (path / f"zarr.json.{'0' * 8}.unfinished").write_bytes(b"left by a writer that was killed")
    changed(path)
    create_store(path, overwrite=True).close()
    assert (path / "notes.unfinished").read_bytes() == (path / "columns" / "mine.unfinished").read_bytes() == DIARY
    assert not list(path.rglob("zarr.json.*"))


def test_what_a_killed_creator_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    from spatterlib.stores.file_io import lock

    dead, living = (tmp_path / f"new.h5.{digit * 8}.unfinished" for digit in "12")
    dead.write_bytes(b"")
    with living.open("w") as file:
        assert lock(file.fileno())
        create_store(tmp_path / "new.h5").close()
    assert names(tmp_path) == sorted(["new.h5", living.name])


def test_two_write_the_same_file_at_once(tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    with beside(target) as one, beside(target) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert names(tmp_path) == ["report.txt"]
    assert target.read_text() in ("one", "other")


def test_the_frame_log_of_another_recording_is_not_replaced(tmp_path: Path) -> None:
    """The research system's own table may lie there: the crops went elsewhere, the table stayed."""
    create_store(tmp_path / "ours.zarr").close()
    log = tmp_path / "day1_spatter_at_frame.csv"
    log.write_text("frame,spatter\n0,3\n")
    with pytest.raises(OutputExistsError, match=r"day1_spatter_at_frame\.csv exists already") as caught:
        convert(tmp_path / "ours.zarr", tmp_path / "day1.h5", to="original")
    one_line(caught.value)
    assert log.read_text() == "frame,spatter\n0,3\n"
    assert names(tmp_path) == sorted(["ours.zarr", log.name])
    log.unlink()
    convert(tmp_path / "ours.zarr", tmp_path / "day1.h5", to="original")
    convert(tmp_path / "ours.zarr", tmp_path / "day1.h5", to="original", overwrite=True)
    log.write_bytes(DIARY)
    with pytest.raises(OutputExistsError, match="exists already"):
        convert(tmp_path / "ours.zarr", tmp_path / "day1.h5", to="original", overwrite=True)
    assert log.read_bytes() == DIARY


def test_a_truth_file_that_is_none_is_not_replaced(tmp_path: Path) -> None:
    np.savez(tmp_path / "build.truth.npz", labels=np.arange(5))
    before = (tmp_path / "build.truth.npz").read_bytes()
    with pytest.raises(OutputExistsError, match=r"build\.truth\.npz is no truth file.*move it") as caught:
        sp.simulate(tmp_path / "build.mp4", seconds=0.2, overwrite=True)
    one_line(caught.value)
    assert (tmp_path / "build.truth.npz").read_bytes() == before
    assert names(tmp_path) == ["build.truth.npz"]


def test_a_lock_file_with_something_in_it_keeps_it(tmp_path: Path) -> None:
    from contextlib import ExitStack

    from spatterlib.learning.runs import _claim

    (tmp_path / ".lock").write_bytes(DIARY)
    with ExitStack() as stack:
        _claim(tmp_path, stack)
    assert (tmp_path / ".lock").read_bytes() == DIARY


def test_many_recordings_beside_foreign_files(tmp_path: Path) -> None:
    write_video(tmp_path / "build.mp4", flashes(30, every=3), gop=30)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "build.h5.journal").write_bytes(DIARY)
    [outcome] = sp.extract_all([tmp_path / "build.mp4"], tmp_path / "out")
    assert outcome.state == "failed"
    assert "in the way" in outcome.error
    assert names(tmp_path / "out") == ["build.h5.journal"]


def test_looking_needs_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader beside a foreign journal opens nothing for writing."""
    with create_store(tmp_path / "build.h5") as store:
        fill(store, 0, 50)
    (tmp_path / "build.h5.journal").write_bytes(DIARY)
    real = os.open

    def readonly(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        assert not flags & os.O_RDWR
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", readonly)
    used(tmp_path / "build.h5")
