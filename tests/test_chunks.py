"""Some rows of a store, and all of them in chunks: what the whole has in these rows, without the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from store_tools import KINDS, crops_of, fill, frames_of, one_line, rows_of, same

import spatterlib as sp
from spatterlib.errors import DamageError, ParameterError, RowError
from spatterlib.stores import checked_arrays, chunks, opening
from spatterlib.stores.chunks import column_chunks, frame_log_chunks, ranges, table_chunks
from spatterlib.types import DETECTION

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

ROWS = 20_000  # in three blocks of checksums


@pytest.fixture(scope="module", params=KINDS)
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / f"store{request.param}"
    with sp.create_store(path) as store:
        store.append(rows_of(0, ROWS), crops_of(0, ROWS, 30), frames_of(0, ROWS))
        store.flush()
        store.set_column("label", np.array(["low", "höher", ""])[np.arange(ROWS) % 3])
    return path


@pytest.fixture(params=["remembered", "looked up"])
def places(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where crops lie: known of all rows, or looked up for each of very many."""
    if request.param == "looked up":
        monkeypatch.setattr(checked_arrays, "_KNOWN", 0)


CHOICES: dict[str, Any] = {
    "none": [],
    "an empty array": np.empty(0, np.int64),
    "the first": [0],
    "the last": [ROWS - 1],
    "all": range(ROWS),
    "a slice": range(8190, 8195),
    "every third, backwards": range(ROWS - 1, 5, -3),
    "again and again": [7, 7, 0, 19_999, 7],
    "unsorted": np.random.default_rng(3).permutation(ROWS)[:500],
    "small integers": np.array([3, 200], np.uint8),
}
CARELESS: dict[str, Any] = {
    "one too many": [ROWS],
    "a range that goes too far": range(ROWS - 5, ROWS + 5),
    "negative": [-1],
    "a range from before the first": range(-3, 3),
    "a mask": np.arange(ROWS) < 5,
    "a slice": slice(0, 5),
    "a number": 5,
    "not whole": [0.5],
    "text": ["0"],
    "two axes": [[0, 1]],
}


@pytest.mark.usefixtures("places")
class TestSomeRows:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_are_those_of_the_whole(self, large: Path, choice: str) -> None:
        rows = CHOICES[choice]
        numbers = np.asarray(rows, np.int64)
        with sp.open_store(large) as store:
            np.testing.assert_array_equal(store.table_rows(rows), store.table[numbers])  # type: ignore[attr-defined]
            np.testing.assert_array_equal(store.frame_log_rows(rows), store.frame_log[numbers])  # type: ignore[attr-defined]
            for name in store.columns:
                np.testing.assert_array_equal(store.column(name, rows), store.column(name)[numbers])  # type: ignore[call-arg]
            assert store.encoded(rows) == [crops_of(row, 1, 30)[0] for row in numbers.tolist()]

    @pytest.mark.parametrize("choice", CARELESS)
    def test_that_are_not_there_are_refused(self, large: Path, choice: str) -> None:
        rows = CARELESS[choice]
        with sp.open_store(large) as store:
            reads: list[Callable[[Any], Any]] = [
                store.table_rows,  # type: ignore[attr-defined]
                store.frame_log_rows,  # type: ignore[attr-defined]
                lambda rows: store.column("x", rows),  # type: ignore[call-arg]
                lambda rows: store.column("label", rows),  # type: ignore[call-arg]
                store.encoded,
            ]
            for read in reads:
                with pytest.raises(RowError) as caught:
                    read(rows)
                one_line(caught.value)

    def test_an_absurd_range_costs_no_memory(self, large: Path) -> None:
        with sp.open_store(large) as store, pytest.raises(RowError, match="there is no row 999999999999"):
            store.encoded(range(1_000_000_000_000))

    @given(st.lists(st.integers(0, ROWS - 1), max_size=40))
    @settings(max_examples=30, deadline=None)
    def test_whatever_is_asked_for(self, large: Path, rows: list[int]) -> None:
        with sp.open_store(large) as store:
            np.testing.assert_array_equal(store.table_rows(rows), store.table[np.array(rows, int)])  # type: ignore[attr-defined]
            assert store.encoded(rows) == [crops_of(row, 1, 30)[0] for row in rows]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_an_empty_store_there_are_none(self, kind: str, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / f"empty{kind}") as store:
            assert len(store.table_rows([])) == len(store.frame_log_rows(range(0))) == len(store.column("x", [])) == 0  # type: ignore[attr-defined, call-arg]
            with pytest.raises(RowError, match="has 0 rows, from 0; there is no row 0"):
                store.table_rows([0])  # type: ignore[attr-defined]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_store_that_grows_are_seen_at_once(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / f"store{kind}"
        with sp.create_store(path) as writer, sp.open_store(path) as reader:
            for start in range(0, 60, 20):
                fill(writer, start, 20)
                writer.flush()
                last = [start + 19]
                np.testing.assert_array_equal(reader.table_rows(last), rows_of(start + 19, 1))  # type: ignore[attr-defined]
                assert reader.encoded(last) == crops_of(start + 19, 1) == writer.encoded(last)

    def test_of_parts_are_found_in_the_gaps(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "parts.zarr") as store:
            write = store.part_writer(2)  # type: ignore[attr-defined]
            late, early = write(1, crops_of(0, 30)), write(0, crops_of(30, 40))
            store.adopt(rows_of(0, 70), [*late, *early], frames_of(0, 70))  # type: ignore[attr-defined]
            assert store.encoded([69, 0, 30]) == [crops_of(row, 1)[0] for row in (69, 0, 30)]


def spoilt(path: Path, array: str, row: int) -> None:
    """Change one byte of what an array holds of a row, wherever the store keeps it."""
    if array == "crops/data":
        [data] = crops_of(row, 1, 30)
    else:
        item = {"crops/crc32": 4}.get(array, 8)
        with sp.open_store(path) as store:
            [data] = store._fetch(array, [(row * item, (row + 40) * item)])  # type: ignore[attr-defined]
    for file in (path / array / "c").iterdir() if path.is_dir() else [path]:
        content = bytearray(file.read_bytes())
        if (place := content.find(data)) >= 0:
            content[place + 1] ^= 0x20
            file.write_bytes(content)
            return
    raise AssertionError(f"{array} of row {row} was not found")


@pytest.mark.parametrize("kind", KINDS)
class TestDamage:
    @pytest.fixture
    def path(self, kind: str, tmp_path: Path) -> Path:
        path = tmp_path / f"store{kind}"
        with sp.create_store(path) as store:
            store.append(rows_of(0, ROWS), crops_of(0, ROWS, 30), frames_of(0, ROWS))
        return path

    @pytest.mark.parametrize("array", ["crops/ends", "crops/crc32", "crops/data"])
    def test_no_wrong_crop_is_taken_for_a_right_one(
        self, path: Path, array: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checked_arrays, "_KNOWN", 0)
        spoilt(path, array, 9000)
        with sp.open_store(path) as store:
            assert store.encoded([3, 19_000]) == [*crops_of(3, 1, 30), *crops_of(19_000, 1, 30)]
            # Where a crop ends the next one begins.
            wrong = [9000, 9001] if array == "crops/ends" else [9000]
            for row in wrong:
                with pytest.raises(DamageError, match="is damaged: "):
                    store.encoded([row])
            for row in {*range(8990, 9010)} - {*wrong}:
                assert store.encoded([row]) == crops_of(row, 1, 30)

    def test_a_crop_of_gigabytes_is_not_read_to_find_that_it_is_none(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checked_arrays, "_KNOWN", 0)
        monkeypatch.setattr(checked_arrays, "_LARGE", 0)
        spoilt(path, "crops/ends", 9000)
        with sp.open_store(path) as store, pytest.raises(DamageError, match="crops/ends is not what was written"):
            store.encoded([9000])

    def test_a_slice_without_it_is_read_and_one_with_it_is_not(self, path: Path) -> None:
        spoilt(path, "columns/frame", 9000)
        with sp.open_store(path) as store:
            np.testing.assert_array_equal(store.table_rows(range(8000)), rows_of(0, 8000))  # type: ignore[attr-defined]
            for rows in ([8999], [9000], range(8100, 8300)):
                with pytest.raises(DamageError, match="columns/frame is not what was written, from item 8192 on"):
                    store.table_rows(rows)  # type: ignore[attr-defined]


class WholeOnly:
    """A store as a plugin may have it: nothing of it in chunks."""

    def __init__(self, store: Any) -> None:
        self._store = store

    table = property(lambda self: self._store.table)
    frame_log = property(lambda self: self._store.frame_log)
    columns = property(lambda self: self._store.columns)
    attrs = property(lambda self: self._store.attrs)

    def column(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self._store.column(name)
        return found

    def encoded(self, rows: Any) -> list[bytes]:
        found: list[bytes] = self._store.encoded(rows)
        return found

    def append(self, table: Any, crops: Any, frame_log: Any = None) -> None:
        self._store.append(table, crops, frame_log)

    def set_column(self, name: str, values: Any) -> None:
        self._store.set_column(name, values)

    def flush(self) -> None:
        self._store.flush()

    def __len__(self) -> int:
        return len(self._store)


class TestChunks:
    @pytest.mark.parametrize("wrap", [lambda store: store, WholeOnly], ids=["in chunks", "as a whole"])
    def test_joined_are_the_whole(self, large: Path, wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "_ROWS", 3000)
        monkeypatch.setattr(ranges, "__defaults__", (3000,))
        with sp.open_store(large) as opened:
            store = wrap(opened)
            assert len(list(table_chunks(store))) == 7
            np.testing.assert_array_equal(np.concatenate(list(table_chunks(store))), opened.table)
            np.testing.assert_array_equal(np.concatenate(list(frame_log_chunks(store))), opened.frame_log)
            np.testing.assert_array_equal(np.concatenate(list(column_chunks(store, "label"))), opened.column("label"))
            assert sum(map(len, table_chunks(store, 4000))) == 4000

    def test_of_no_rows_there_are_none(self) -> None:
        assert ranges(0) == []

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("wrap", [lambda store: store, WholeOnly], ids=["in chunks", "as a whole"])
    def test_a_copy_has_everything(
        self, large: Path, kind: str, wrap: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ranges, "__defaults__", (3000,))
        with sp.open_store(large) as old, sp.create_store(tmp_path / f"copy{kind}") as new:
            opening._copy(wrap(old), new)
            same(old, new)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_copy_of_nothing_has_its_columns(self, kind: str, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "empty.h5") as store:
            store.set_column("label", np.empty(0, "U3"))
            store.set_column("group", np.empty(0, np.int32))
        sp.convert(tmp_path / "empty.h5", tmp_path / f"copy{kind}")
        with sp.open_store(tmp_path / f"copy{kind}") as store:
            assert store.columns == (*(DETECTION.names or ()), "label", "group")
            assert store.column("label").dtype.kind == "U"
            assert store.column("group").dtype == np.int32


@pytest.mark.parametrize("kind", KINDS)
class TestRowsWithColumns:
    def test_what_is_left_out_is_missing(self, kind: str, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / f"store{kind}") as store:
            store.set_column("label", np.empty(0, "S5"))
            store.set_column("group", np.empty(0, np.int64))
            append: Any = store.append
            append(rows_of(0, 2), crops_of(0, 2), None, {"label": np.array(["low", "höh"])})
            append(rows_of(2, 1), crops_of(2, 1), None, {"group": [7]})
            append(rows_of(3, 1), crops_of(3, 1))
        with sp.open_store(tmp_path / f"store{kind}") as store:
            assert store.column("label").tolist() == ["low", "höh", "", ""]
            assert store.column("group").tolist() == [-1, -1, 7, -1]
            assert sp.check_store(tmp_path / f"store{kind}").whole

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"nobody": [1]}, "has no further column 'nobody'; make it with set_column first"),
            ({"x": [1]}, "has no further column 'x'"),
            ({"label": ["low", "low"]}, "needs one value for each of the 1 rows, got (2,)"),
            ({"label": ["longer than five"]}, "holds |S5, not |S16"),
            ({"label": [5]}, "holds |S5, not int64"),
            ({"group": [0.5]}, "holds int32, not float64"),
            ({"group": ["5"]}, "holds int32, not |S1"),
            ({"label": [b"\xff"]}, "bytes that are no UTF-8"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, kind: str, columns: Any, said: str, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / f"store{kind}") as store:
            store.set_column("label", np.empty(0, "S5"))
            store.set_column("group", np.empty(0, np.int32))
            append: Any = store.append
            with pytest.raises(ParameterError) as caught:
                append(rows_of(0, 1), crops_of(0, 1), None, columns)
            assert said in one_line(caught.value)
            assert len(store) == 0


def table_of(frames: list[int], times: list[float], boxes: list[tuple[int, int, int, int]]) -> NDArray[np.void]:
    table = np.zeros(len(frames), DETECTION)
    table["frame"], table["time"] = frames, times
    for field, values in zip(("x", "y", "width", "height"), zip(*boxes, strict=True), strict=True):
        table[field] = values
    table["area"], table["peak"] = np.arange(len(frames)) % 7, np.arange(len(frames)) % 5
    return table


ROW = st.tuples(
    st.integers(0, 12),
    st.sampled_from([0.0, 0.04, 0.5, 3.0, 3.04, 20.0, float("nan")]),
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 12), st.integers(1, 12)),
)


class InMemory:
    """A store in chunks, of which only the table matters."""

    frame_count = 0

    def __init__(self, table: NDArray[np.void]) -> None:
        self.table = table

    def table_rows(self, rows: range) -> NDArray[np.void]:
        return self.table[rows.start : rows.stop].copy()

    def column(self, name: str, rows: range | None = None) -> NDArray[Any]:
        found: NDArray[Any] = self.table[name] if rows is None else self.table[name][rows.start : rows.stop]
        return found

    def frame_log_rows(self, rows: range) -> NDArray[np.void]:
        raise NotImplementedError

    def encoded(self, rows: range) -> list[bytes]:
        raise NotImplementedError

    def append(self, *batch: Any) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.table)


class TestGroups:
    """Events and layers of a store are those of its table, however it is cut into chunks."""

    @given(st.lists(ROW, max_size=40), st.integers(1, 9), st.booleans(), st.sampled_from([None, 0.3, 100.0]))
    @settings(max_examples=300, deadline=None)
    def test_events(self, rows: list[Any], size: int, ascending: bool, gap: float | None) -> None:
        rows = sorted(rows, key=lambda row: row[0]) if ascending else rows
        table = table_of(*map(list, zip(*rows, strict=True))) if rows else np.empty(0, DETECTION)
        whole = sp.events(table, gap)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranges, "__defaults__", (size,))
            found = sp.events(InMemory(table), gap)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.number, whole.number)
        assert repr(found.table.tolist()) == repr(whole.table.tolist())  # NaN is NaN

    @given(st.lists(ROW, max_size=40), st.integers(1, 9), st.sampled_from(["auto", 1.0, 0.1, "3 frames"]))
    @settings(max_examples=300, deadline=None)
    def test_layers(self, rows: list[Any], size: int, gap: Any) -> None:
        table = table_of(*map(list, zip(*rows, strict=True))) if rows else np.empty(0, DETECTION)
        whole = sp.layers(table["time"], gap, table["frame"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranges, "__defaults__", (size,))
            found = sp.layers(InMemory(table), gap)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.number, whole.number)
        assert repr(found.table.tolist()) == repr(whole.table.tolist())  # NaN is NaN
        np.testing.assert_array_equal(found.gap, whole.gap)
        assert found.chosen == whole.chosen

    @pytest.mark.parametrize("wrap", [lambda store: store, WholeOnly], ids=["in chunks", "as a whole"])
    def test_of_a_store(self, large: Path, wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ranges, "__defaults__", (3000,))
        with sp.open_store(large) as store:
            np.testing.assert_array_equal(sp.events(wrap(store)).number, sp.events(store.table).number)
            np.testing.assert_array_equal(sp.layers(wrap(store)).number, sp.layers(store.column("time")).number)

    def test_an_event_may_last_through_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ranges, "__defaults__", (2,))
        table = table_of(list(range(9)), [frame / 25 for frame in range(9)], [(frame, 0, 5, 5) for frame in range(9)])
        found = sp.events(InMemory(table))  # type: ignore[arg-type]
        assert found.number.tolist() == [1] * 9
        assert (found.table["first_frame"][0], found.table["last_frame"][0], found.table["width"][0]) == (0, 8, 13)
