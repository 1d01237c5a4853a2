"""What is not as it was written is told: when it is read, and by `check`, which says how many rows are safe."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_tools import KINDS, assert_holds, crops_of, fill, frames_of, one_line, rows_of

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import DamageError, MissingFileError, StoreError
from spatterlib.plugins import encode
from spatterlib.stores.columns import ColumnStore
from spatterlib.stores.zarr_text import packed
from spatterlib.types import Store

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

ROWS = 9000
"""More than one block of checksums."""


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / f"whole{request.param}"
    with sp.create_store(path, attrs={"machine": "M 1"}) as store:
        for start in range(0, ROWS, 1500):
            fill(store, start, 1500, 60)
            store.flush()
        store.set_column("label", np.array(["low", "high"] * (ROWS // 2)))
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    target = tmp_path / whole.name
    shutil.copytree(whole, target) if whole.is_dir() else shutil.copy(whole, target)
    return target


def picture(row: int) -> bytes:
    return encode(np.full((8, 8, 3), row, np.uint8))


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def find(path: Path, content: bytes) -> tuple[Path, int]:
    """The file of a store that holds these bytes, and where."""
    return next((file, place) for file in files_of(path) if (place := file.read_bytes().find(content)) >= 0)


def flip(file: Path, place: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)


def content(store: Store) -> Iterator[Callable[[], Any]]:
    """Everything that can be read, each on its own."""
    yield lambda: store.attrs
    yield lambda: len(store)
    yield lambda: store.frame_log.tobytes()
    for name in ("frame", "x", "red", "label"):
        yield lambda name=name: store.column(name).tobytes()  # type: ignore[misc]
    for row in range(0, ROWS, 10):
        yield lambda row=row: store.encoded([row])  # type: ignore[misc]


def wrong(path: Path, whole: Path) -> list[int]:
    """Which of what can be read differs without an error."""
    try:
        store = sp.open_store(path)
    except StoreError:
        return []
    with store, sp.open_store(whole) as other:
        answers = []
        for number, (ask, right) in enumerate(zip(content(store), content(other), strict=True)):
            try:
                answers += [number] if ask() != right() else []
            except StoreError:
                continue
        return answers


class TestReading:
    def test_a_flipped_bit_never_gives_another_value(self, copy: Path, whole: Path) -> None:
        rng = random.Random(3)
        for file in files_of(copy):
            before = file.read_bytes()
            for _ in range(60 if whole.suffix == ".h5" else 2):
                flip(file, rng.randrange(len(before)), rng.randrange(8))
                assert wrong(copy, whole) == []
                file.write_bytes(before)

    @pytest.mark.parametrize("array", ["columns/x", "crops/data", "crops/ends", "frame_log/time", "columns/label"])
    def test_a_flipped_bit_of_an_array_is_told(self, copy: Path, array: str) -> None:
        with sp.open_store(copy) as store:
            assert isinstance(store, ColumnStore)
            values: Any = {
                "columns/x": store.column("x"),
                "crops/data": store.encoded([8500])[0],
                "crops/ends": np.cumsum([len(crop) for crop in store.encoded(range(ROWS))]),
                "frame_log/time": store.frame_log["time"],
                "columns/label": np.char.encode(store.column("label"), "utf-8"),
            }[array]
        raw = values if isinstance(values, bytes) else values[8200:].tobytes()
        where = len(raw) // 2
        if array == "columns/label" and copy.is_dir():  # length and bytes of each text
            raw, where = packed(values[8200:], ROWS - 8200)[4:], 4
        file, place = find(copy, raw)
        flip(file, place + where)
        with sp.open_store(copy) as store, pytest.raises(DamageError, match="not what was written"):
            _ = store.table, store.frame_log, store.column("label"), store.encoded([8500])

    def test_rows_appended_by_several_openings_are_checked_too(self, tmp_path: Path) -> None:
        for suffix in KINDS:
            path = tmp_path / f"s{suffix}"
            sp.create_store(path).close()
            for start in range(0, 20_000, 5000):
                with sp.open_store(path, "a") as store:
                    fill(store, start, 5000, 20)
            with sp.open_store(path) as store:
                assert_holds(store, 20_000, 20)
            assert sp.check_store(path).whole

    def test_a_copy_of_a_growing_store_is_refused_where_it_does_not_fit_together(self, tmp_path: Path) -> None:
        """Every copy that ends behind a commit and began before it, file by file."""
        path, old = tmp_path / "s.zarr", tmp_path / "old.zarr"
        with sp.create_store(path) as store:
            fill(store, 0, 300)
            store.flush()
            shutil.copytree(path, old)
            fill(store, 300, 200)
        told = 0
        shards = [file.relative_to(path) for file in files_of(path) if file.parent.name == "c"]
        for shard in shards:
            shutil.copytree(path, tmp_path / "copy.zarr")
            shutil.copy(old / shard, tmp_path / "copy.zarr" / shard)
            try:
                with sp.open_store(tmp_path / "copy.zarr") as store:
                    assert_holds(store, 500)
            except DamageError:
                told += 1
            shutil.rmtree(tmp_path / "copy.zarr")
        # Checksums of finished blocks: there are none yet.
        assert told == len(shards)

    def test_crops_that_others_wrote_are_checked(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "s.zarr") as store:
            write = store.part_writer(2)  # type: ignore[attr-defined]
            places = write(0, crops_of(0, 9))
            write(0, [crop[::-1] for crop in crops_of(0, 9)])
            store.adopt(rows_of(0, 9), places, frames_of(0, 9))  # type: ignore[attr-defined]
            with pytest.raises(DamageError, match="the crop of row 4"):
                store.encoded([4])
        found = sp.check_store(tmp_path / "s.zarr")
        assert (found.safe, found.damage) == (0, ("crops: rows 0-8",))


class TestCheck:
    def test_a_whole_store_is_whole(self, whole: Path) -> None:
        found = sp.check_store(whole)
        assert found.whole
        assert (found.rows, found.safe, found.checksums) == (ROWS, ROWS, True)
        assert str(found) == f"{whole}: whole, {ROWS} rows"

    def test_it_names_the_rows_that_are_damaged_and_counts_the_others(self, copy: Path) -> None:
        with sp.open_store(copy) as store:
            crop, frame = store.encoded([17])[0], store.column("frame")[8300:].tobytes()
        flip(*find(copy, crop))
        flip(*find(copy, frame))
        found = sp.check_store(copy)
        assert set(found.damage) == {"columns frame: rows 8192-8999", "crops: rows 17"}
        assert found.safe == 8191
        assert str(found).endswith("damaged, 8191 of 9000 rows are safe")

    def test_what_is_cut_off_or_missing_is_found(self, copy: Path) -> None:
        files = [file for file in files_of(copy) if file.parent.name == "c"] or [copy]
        for file in files:
            before = file.read_bytes()
            for keep in (0, 9, len(before) // 2, len(before) - 9000 if copy.is_file() else len(before) - 1):
                file.write_bytes(before[:keep])
                assert not sp.check_store(copy).whole
            file.unlink()
            if copy.is_dir():
                assert not sp.check_store(copy).whole
            file.write_bytes(before)
        assert sp.check_store(copy).whole

    def test_what_other_programs_find_values_by_is_checked_too(self, copy: Path) -> None:
        for file in files_of(copy) if copy.is_dir() else ():
            before = file.read_bytes()
            flip(file, len(before) - 3)
            assert sp.check_store(copy).damage
            file.write_bytes(before)

    def test_what_a_kill_left_behind_the_last_commit_is_no_damage(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "s.zarr") as store:
            fill(store, 0, 300)
            store.flush()
            root = (tmp_path / "s.zarr/zarr.json").read_bytes()
            fill(store, 300, 9000)
        (tmp_path / "s.zarr/zarr.json").write_bytes(root)
        assert sp.check_store(tmp_path / "s.zarr").whole

    def test_a_store_that_does_not_open_has_no_safe_rows(self, copy: Path) -> None:
        file = copy / "zarr.json" if copy.is_dir() else copy
        file.write_bytes(file.read_bytes()[:30])
        found = sp.check_store(copy)
        assert (found.rows, found.safe, found.whole) == (None, 0, False)
        assert "is damaged" in found.damage[0]

    def test_nothing_there_is_no_answer(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError) as caught:
            sp.check_store(tmp_path / "none.h5")
        one_line(caught.value)

    def test_the_writer_beside_is_no_damage(self, tmp_path: Path) -> None:
        for suffix in KINDS:
            with sp.create_store(tmp_path / f"s{suffix}") as store:
                for start in range(0, 3000, 1000):
                    fill(store, start, 1000)
                    store.set_column("label", ["a"] * (start + 1000))  # type: ignore[arg-type]
                    assert sp.check_store(tmp_path / f"s{suffix}").whole

    def test_files_of_the_research_system(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "a.zarr") as store:
            store.append(rows_of(0, 3), [picture(row) for row in range(3)])
        sp.convert(tmp_path / "a.zarr", tmp_path / "b.h5", to="original")
        assert not sp.check_store(tmp_path / "b.h5").checksums


class TestOlderStores:
    """A header without checksums, as versions write it that know none; they drop what they do not know."""

    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        path = tmp_path / "old.zarr"
        with sp.create_store(path) as store:
            store.append(rows_of(0, 20), [picture(row) for row in range(20)])
        text = json.loads((path / "zarr.json").read_text())
        del text["attributes"]["spatterlib"]["checksums"], text["attributes"]["spatterlib"]["crc32"]
        (path / "zarr.json").write_text(json.dumps(text))
        return path

    def test_they_open_and_go_on_without(self, old: Path) -> None:
        with sp.open_store(old, "a") as store:
            store.append(rows_of(20, 20), [picture(row) for row in range(20, 40)])
            store.set_column("label", ["a"] * 40)  # type: ignore[arg-type]
        with sp.open_store(old) as store:
            np.testing.assert_array_equal(store.table, rows_of(0, 40))
            assert store.encoded([39]) == [picture(39)]

    def test_check_says_that_they_have_none_and_finds_what_can_be_found(self, old: Path) -> None:
        found = sp.check_store(old)
        assert (found.whole, found.checksums, found.safe) == (True, False, 20)
        assert "no checksums" in str(found)
        file, place = find(old, picture(3))
        data = bytearray(file.read_bytes())
        data[place : place + 20] = bytes(20)
        file.write_bytes(data)
        assert sp.check_store(old).damage == ("crops: rows 3",)

    def test_a_copy_of_one_has_them(self, old: Path, tmp_path: Path) -> None:
        sp.convert(old, tmp_path / "new.h5")
        assert sp.check_store(tmp_path / "new.h5").checksums

    def test_half_a_header_of_checksums_is_damage(self, old: Path) -> None:
        text = json.loads((old / "zarr.json").read_text())
        text["attributes"]["spatterlib"]["crc32"] = 1
        (old / "zarr.json").write_text(json.dumps(text))
        with pytest.raises(DamageError):
            sp.open_store(old)


class TestCommand:
    def test_exit_code_0_whole_4_damaged_1_no_answer(
        self, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["check", str(copy)]) == 0
        assert capsys.readouterr().out == f"{copy}: whole, {ROWS} rows\n"
        with sp.open_store(copy) as store:
            crop = store.encoded([17])[0]
        flip(*find(copy, crop))
        assert main(["check", str(copy)]) == 4
        said = capsys.readouterr()
        assert said.out == f"{copy}: damaged, {ROWS - 1} of {ROWS} rows are safe\n"
        assert said.err == "crops: rows 17\n"
        assert main(["check", str(tmp_path / "none.h5")]) == 1

    def test_json(self, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(whole), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert {name: said[name] for name in ("rows", "safe", "whole", "checksums", "damage")} == {
            "rows": ROWS,
            "safe": ROWS,
            "whole": True,
            "checksums": True,
            "damage": [],
        }
