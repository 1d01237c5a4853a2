"""Stores: what they hold, what they refuse, and that nothing that happens to a process costs a row."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from store_tools import assert_holds, child, crops_of, fill, frames_of, look, names, one_line, rows_of, same

import spatterlib as sp
from spatterlib.common.image_codec import encode
from spatterlib.errors import (
    MissingFileError,
    OutputExistsError,
    ParameterError,
    PluginError,
    RowError,
    SpatterlibError,
    StoreError,
)
from spatterlib.stores.opening import check_output, convert, create_store, find_store
from spatterlib.types import DETECTION, FRAME_LOG

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class TestRows:
    def test_what_was_appended_is_there(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 1000)
            fill(store, 1000, 1)
            fill(store, 1001, 3999)
            assert_holds(store, 5000)
        with sp.open_store(path) as store:
            assert_holds(store, 5000)

    def test_an_empty_store_just_works(self, path: Path) -> None:
        with create_store(path) as store:
            store.append(rows_of(0, 0), [])
            store.set_column("label", [])  # type: ignore[arg-type]
        with sp.open_store(path) as store:
            assert (len(store), len(store.table), len(store.frame_log)) == (0, 0, 0)
            assert (store.encoded([]), store.read([]), len(store.column("label"))) == ([], [], 0)

    def test_frames_without_spatter_are_logged_too(self, path: Path) -> None:
        with create_store(path) as store:
            store.append(rows_of(0, 0), [], frames_of(0, 50))
        with sp.open_store(path) as store:
            np.testing.assert_array_equal(store.frame_log, frames_of(0, 50))

    @pytest.mark.parametrize("rows", [[-1], [3], [0, 99], [2**40], [True, False, True], [0.0], [[0]], "ab", None])
    def test_rows_that_are_not_there_are_refused_in_one_line(self, path: Path, rows: Any) -> None:
        with create_store(path) as store:
            fill(store, 0, 3)
            with pytest.raises(RowError, match=path.name) as caught:
                store.encoded(rows)
            one_line(caught.value)
            with pytest.raises(IndexError):
                store.read(rows)

    def test_crops_decode_and_one_that_does_not_says_where(self, path: Path) -> None:
        picture = np.full((30, 40, 3), (200, 100, 50), np.uint8)
        with create_store(path) as store:
            store.append(rows_of(0, 2), [encode(picture, "png"), b"no picture"])
            np.testing.assert_array_equal(store.read([0])[0], picture)
            with pytest.raises(StoreError, match=rf"{path.name}, row 1: .*no JPEG or PNG"):
                store.read([1])

    def test_large_batches_do_not_wait_for_flush_in_memory(self, path: Path) -> None:
        with create_store(path) as store:
            for start in range(0, 40, 10):
                store.append(rows_of(start, 10), [bytes([1]) * (1 << 20)] * 10)
            with sp.open_store(path) as reader:
                assert len(reader) == 40

    @pytest.mark.parametrize(
        ("table", "crops", "frames"),
        [
            (rows_of(0, 2), [b"a"], None),
            (rows_of(0, 1), [b""], None),
            (rows_of(0, 1), ["text"], None),
            (np.zeros(1), [b"a"], None),
            (np.zeros((1, 1), sp.DETECTION), [b"a"], None),
            (rows_of(0, 1), [b"a"], np.zeros(3)),
        ],
    )
    def test_a_batch_that_is_not_whole_is_refused_and_nothing_of_it_stays(
        self, path: Path, table: Any, crops: Any, frames: Any
    ) -> None:
        with create_store(path) as store:
            fill(store, 0, 5)
            with pytest.raises(ParameterError) as caught:
                store.append(table, crops, frames)
            one_line(caught.value)
            assert_holds(store, 5)

    def test_what_a_caller_does_to_its_arrays_later_does_not_matter(self, path: Path) -> None:
        table, frames = rows_of(0, 4), frames_of(0, 4)
        with create_store(path) as store:
            store.append(table, crops_of(0, 4), frames)
            table["x"], frames["time"] = 0, 0
            assert_holds(store, 4)
            store.table["x"] = 0
            store.column("x")[:] = 0
            assert_holds(store, 4)


class TestColumnsAndAttrs:
    @pytest.mark.parametrize(
        ("values", "later"),
        [
            (["low", "high", "größer ✓"], ""),
            ([0.25, np.nan, -np.inf], np.nan),
            (np.array([1, 2, 3], np.float32), np.float32(np.nan)),
            ([5, -6, 7], -1),
            (np.array([1, 2, 255], np.uint8), 0),
            ([True, False, True], False),
            (np.array([1, 2, 3], ">i4"), -1),
            (np.array(["a", "bb", ""], object), ""),
        ],
    )
    def test_further_columns_of_every_type(self, path: Path, values: Any, later: Any) -> None:
        with create_store(path) as store:
            fill(store, 0, 3)
            store.set_column("further", values)
            assert store.columns == (*sp.DETECTION.names, "further")  # type: ignore[misc]
            np.testing.assert_array_equal(store.column("further"), values)
            fill(store, 3, 2)
        with sp.open_store(path) as store:
            expected = [*np.asarray(values).tolist(), later, later]
            np.testing.assert_array_equal(store.column("further"), expected)
            assert store.column("further").dtype.kind == np.asarray(values).dtype.kind.replace("O", "U")
            assert_holds(store, 5)

    def test_a_column_is_replaced_as_a_whole_whatever_its_type(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 4)
            for values in (["a"] * 4, [1.0] * 4, ["much longer text"] * 4, [1] * 4, [True] * 4):
                store.set_column("label", values)  # type: ignore[arg-type]
                store.set_column("other", [0] * 4)  # type: ignore[arg-type]
                with sp.open_store(path) as reader:
                    np.testing.assert_array_equal(reader.column("label"), values)
                    assert reader.columns[-2:] == ("label", "other")
        with sp.open_store(path, "a") as store:
            store.set_column("label", range(4))  # type: ignore[arg-type]
        with sp.open_store(path) as store:
            assert store.column("label").tolist() == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("label", [1, 2], "each of the 3 rows"),
            ("label", [[1], [2], [3]], "each of the 3 rows"),
            ("label", [1, "a", None], "bool, int, float or text"),
            ("label", [1j, 2, 3], "complex128"),
            ("label", np.array([1, 2, 3], "M8[s]"), "datetime64"),
            ("x", [1, 2, 3], "was measured"),
            ("../up", [1, 2, 3], "letters, digits"),
            ("", [1, 2, 3], "letters, digits"),
            ("a" * 65, [1, 2, 3], "letters, digits"),
            (5, [1, 2, 3], "letters, digits"),
        ],
    )
    def test_columns_that_will_not_do_are_refused_in_one_line(
        self, path: Path, name: Any, values: Any, message: str
    ) -> None:
        with create_store(path) as store:
            fill(store, 0, 3)
            with pytest.raises(ParameterError, match=message) as caught:
                store.set_column(name, values)
            one_line(caught.value)
            assert store.columns == sp.DETECTION.names

    def test_a_column_that_is_not_there_names_those_that_are(self, path: Path) -> None:
        with create_store(path) as store, pytest.raises(ParameterError, match=r"'label'; it has frame, time, x"):
            store.column("label")

    def test_attrs_may_be_large(self, path: Path) -> None:
        large = {f"key {number}": "x" * 1000 for number in range(300)}
        with create_store(path, attrs=large) as store:
            fill(store, 0, 3)
            store.set_attrs({"more": [1.5] * 10_000})
            store.set_attrs({"more": 1})
        with sp.open_store(path) as store:
            assert store.attrs == large | {"more": 1}
            assert_holds(store, 3)

    @pytest.mark.parametrize("value", [object(), np.float32(1), float("nan"), {1, 2}])
    def test_attrs_that_are_not_json_are_refused(self, path: Path, value: Any) -> None:
        with create_store(path) as store, pytest.raises(ParameterError, match="JSON") as caught:
            store.set_attrs({"value": value})
        one_line(caught.value)
        with pytest.raises(ParameterError, match="JSON"):
            create_store(path, attrs={"value": value}, overwrite=True)
        with sp.open_store(path) as store:
            assert store.attrs == {}


class TestOpening:
    def test_reading_does_not_write(self, path: Path) -> None:
        create_store(path).close()
        with sp.open_store(path) as store:
            for change in (
                lambda: store.append(rows_of(0, 1), [b"a"]),
                lambda: store.set_column("label", []),  # type: ignore[arg-type]
                lambda: store.set_attrs({}),
            ):
                with pytest.raises(StoreError, match="mode='a'") as caught:
                    change()  # type: ignore[no-untyped-call]
                one_line(caught.value)
            store.flush()

    def test_a_closed_store_says_so_and_closes_twice(self, path: Path) -> None:
        store = create_store(path)
        fill(store, 0, 3)
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            len(store)
        with sp.open_store(path) as store:
            assert_holds(store, 3)

    def test_a_second_writer_is_told(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 3)
            for second in (lambda: sp.open_store(path, "a"), lambda: create_store(path, overwrite=True)):
                with pytest.raises(StoreError, match="written by another process") as caught:
                    second()  # type: ignore[no-untyped-call]
                one_line(caught.value)
            fill(store, 3, 3)
        with sp.open_store(path, "a") as store:
            assert_holds(store, 6)

    def test_nothing_there(self, path: Path) -> None:
        with pytest.raises(MissingFileError, match=path.name) as caught:
            sp.open_store(path)
        one_line(caught.value)
        with pytest.raises(FileNotFoundError):
            sp.open_store(path, "a")
        assert not path.exists()
        assert find_store(path) is None

    def test_an_unknown_mode(self, path: Path) -> None:
        create_store(path).close()
        with pytest.raises(ParameterError, match="'w'"):
            sp.open_store(path, "w")

    def test_a_newer_format_is_told_apart_from_damage(self, path: Path) -> None:
        create_store(path).close()
        change_header(path, lambda header: header | {"format": 3, "columns": "laid out anew"})
        for mode in ("r", "a"):
            with pytest.raises(StoreError, match="has store format 3, this spatterlib reads up to 2") as caught:
                sp.open_store(path, mode)
            one_line(caught.value)

    @pytest.mark.parametrize(
        "change",
        [
            {"rows": -1},
            {"rows": 1.5},
            {"rows": 10**15},
            {"bytes": None},
            {"columns": {"../../x": "<i8"}},
            {"columns": {"x": "|O"}},
            {"columns": {"label": "no type"}},
            {"columns": []},
            {"attrs": 5},
            {"format": "1"},
            {"format": 0},
        ],
    )
    def test_a_damaged_header_is_told_in_one_line(self, path: Path, change: dict[str, Any]) -> None:
        with create_store(path) as store:
            fill(store, 0, 10)
        change_header(path, lambda header: header | change)
        with pytest.raises(StoreError, match="damaged") as caught, sp.open_store(path) as store:
            _ = store.table
        one_line(caught.value)

    def test_offsets_that_lead_astray_are_damage(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 10)
        change_header(path, lambda header: without_checksums(header) | {"bytes": 5})
        with sp.open_store(path) as store, pytest.raises(StoreError, match="damaged"):
            store.encoded([3])

    def test_a_store_moved_elsewhere_opens_there(self, path: Path, tmp_path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 10)
        (tmp_path / "elsewhere").mkdir()
        path.rename(tmp_path / "elsewhere" / f"moved{path.suffix}")
        with sp.open_store(tmp_path / "elsewhere" / f"moved{path.suffix}") as store:
            assert_holds(store, 10)


def without_checksums(header: dict[str, Any]) -> dict[str, Any]:
    """As a version writes it that knows no checksums."""
    return {name: value for name, value in header.items() if name not in ("checksums", "crc32")}


def change_header(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as h5:
            header = change(json.loads(h5["header"][:].tobytes()))
            text = np.frombuffer(json.dumps(header).encode(), np.uint8)
            h5["header"].resize(text.shape)
            h5["header"][:] = text
    else:
        root = json.loads((path / "zarr.json").read_text())
        root["attributes"]["spatterlib"] = change(root["attributes"]["spatterlib"])
        (path / "zarr.json").write_text(json.dumps(root))


class TestForeignFiles:
    @pytest.mark.parametrize("content", [b"", b"this is text\n" * 1000, b"\x89HDF\r\n\x1a\n" + bytes(5000)])
    def test_no_hdf5_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "store.h5").write_bytes(content)
        for mode in ("r", "a"):
            with pytest.raises(StoreError, match=r"store\.h5") as caught:
                sp.open_store(tmp_path / "store.h5", mode)
            one_line(caught.value)
        assert (tmp_path / "store.h5").read_bytes() == content

    def test_an_hdf5_file_of_something_else(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "store.h5", "w") as h5:
            h5["data"] = [1, 2, 3]
        with pytest.raises(StoreError, match=r"store\.h5") as caught:
            sp.open_store(tmp_path / "store.h5")
        one_line(caught.value)
        assert find_store(tmp_path / "store.h5") is None

    def test_cut_files(self, tmp_path: Path) -> None:
        path = tmp_path / "store.h5"
        with create_store(path) as store:
            fill(store, 0, 500)
        content = path.read_bytes()
        for share in np.linspace(0, 0.99, 12):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(StoreError, match=r"store\.h5") as caught:
                sp.open_store(path)
            one_line(caught.value)

    def test_folders_that_are_no_stores(self, tmp_path: Path) -> None:
        (tmp_path / "empty.zarr").mkdir()
        (tmp_path / "other.zarr").mkdir()
        (tmp_path / "other.zarr" / "notes.txt").write_text("")
        (tmp_path / "file.zarr").write_text("text")
        (tmp_path / "folder.h5").mkdir()
        zarr.create_group(tmp_path / "foreign.zarr")
        for name in ("empty.zarr", "other.zarr", "file.zarr", "folder.h5", "foreign.zarr"):
            for mode in ("r", "a"):
                with pytest.raises(StoreError, match=name) as caught:
                    sp.open_store(tmp_path / name, mode)
                one_line(caught.value)
                assert not isinstance(caught.value, MissingFileError)
        assert names(tmp_path / "other.zarr") == ["notes.txt"]

    def test_no_store_by_any_name(self, tmp_path: Path) -> None:
        (tmp_path / "clip.mp4").write_bytes(b"no store")
        with pytest.raises(StoreError, match=r"clip\.mp4 is no store: none of hdf5, zarr, original"):
            sp.open_store(tmp_path / "clip.mp4")

    def test_a_shard_that_is_missing_or_cut_is_damage_not_zeros(self, tmp_path: Path) -> None:
        path = tmp_path / "store.zarr"
        with create_store(path) as store:
            fill(store, 0, 50)
        for array in ("columns/x", "crops/data"):
            shard = path / array / "c" / "0"
            content = shard.read_bytes()
            for damage in (lambda shard=shard: shard.unlink(), lambda shard=shard: shard.write_bytes(b"12345")):
                with sp.open_store(path) as store:
                    damage()  # type: ignore[no-untyped-call]
                    with pytest.raises(StoreError, match=f"damaged: a shard of {array}"):
                        _ = store.table, store.encoded(range(50))
                with pytest.raises(StoreError, match=f"damaged: a shard of {array}"):
                    sp.open_store(path)
                shard.write_bytes(content)

    def test_no_link_in_a_file_is_followed(self, tmp_path: Path) -> None:
        path = tmp_path / "store.h5"
        with create_store(path) as store:
            fill(store, 0, 5)
        shutil.copy(path, tmp_path / "secret.h5")
        with h5py.File(path, "r+") as h5:
            del h5["columns"]
            h5["columns"] = h5py.ExternalLink("secret.h5", "/columns")
        with pytest.raises(StoreError, match="no 'columns' of its own"):
            sp.open_store(path)
        with h5py.File(path, "r+") as h5:
            del h5["columns"], h5["header"]
            h5["columns"] = h5py.SoftLink("/crops")
            h5["header"] = h5py.ExternalLink("secret.h5", "/header")
        with pytest.raises(StoreError, match="of its own"):
            sp.open_store(path)

    @pytest.mark.parametrize("entry", [["../../secret", "<i8", 5], ["", "|O", 5], ["", "<i8", "5"], ["", "<i8"], 7])
    def test_no_path_in_a_zarr_root_is_used(self, tmp_path: Path, entry: Any) -> None:
        path = tmp_path / "store.zarr"
        with create_store(path) as store:
            fill(store, 0, 5)
        for name in ("columns/x", "../../secret"):
            change_header(path, lambda root, name=name: root | {"arrays": root["arrays"] | {name: entry}})  # type: ignore[misc]
            with pytest.raises(StoreError, match="damaged"):
                sp.open_store(path)

    @pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": None}])
    def test_a_repacked_file_says_what_happened(self, tmp_path: Path, options: dict[str, Any]) -> None:
        path = tmp_path / "store.h5"
        with create_store(path) as store:
            fill(store, 0, 50)
        with h5py.File(path, "r+") as h5:
            values = h5["columns/x"][:]
            del h5["columns/x"]
            h5.create_dataset("columns/x", data=values, **options)
        with pytest.raises(StoreError, match="repacked"):
            sp.open_store(path)


class TestCreating:
    def test_what_is_there_is_refused_and_replaced_when_asked(self, path: Path) -> None:
        with create_store(path, attrs={"first": 1}) as store:
            fill(store, 0, 100)
            store.set_column("label", ["a"] * 100)  # type: ignore[arg-type]
        with pytest.raises(OutputExistsError, match="exists already"):
            create_store(path)
        for _ in range(3):
            with create_store(path, attrs={"second": 2}, overwrite=True) as store:
                assert (len(store), store.columns, store.attrs) == (0, sp.DETECTION.names, {"second": 2})
                fill(store, 0, 10)
        with sp.open_store(path) as store:
            assert_holds(store, 10)
        if path.suffix == ".zarr":
            assert sum(1 for _ in path.rglob("zarr.json")) == 4 + 4 + len(sp.DETECTION) + len(FRAME_LOG)  # type: ignore[arg-type]

    def test_a_reader_of_a_replaced_store_is_not_given_other_rows(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 10)
        with sp.open_store(path) as reader:
            assert len(reader) == 10
            with create_store(path, overwrite=True) as store:
                fill(store, 50, 10)
            if path.suffix == ".h5":
                assert_holds(reader, 10)
            else:
                with pytest.raises(StoreError, match="replaced by another store"):
                    reader.encoded([0])

    def test_folders_that_are_no_stores_are_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "results.zarr").mkdir()
        (tmp_path / "results.zarr" / "thesis.tex").write_text("years of work")
        with pytest.raises(OutputExistsError, match="no store") as caught:
            create_store(tmp_path / "results.zarr", overwrite=True)
        one_line(caught.value)
        assert (tmp_path / "results.zarr" / "thesis.tex").read_text() == "years of work"
        (tmp_path / "folder.h5").mkdir()
        with pytest.raises(SpatterlibError, match=r"folder\.h5"):
            create_store(tmp_path / "folder.h5", overwrite=True)
        (tmp_path / "empty.zarr").mkdir()
        create_store(tmp_path / "empty.zarr", overwrite=True).close()

    def test_refusals_come_early_and_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for name, message in [
            ("store.csv", r"store\.csv: .*\.h5, \.hdf5, \.zarr"),
            ("store", r"\.h5, \.hdf5, \.zarr"),
            ("missing/store.h5", "no folder"),
            ("file/store.zarr", "no folder"),
        ]:
            for refused in (check_output, create_store):
                with pytest.raises(StoreError, match=message) as caught:
                    refused(tmp_path / name)
                one_line(caught.value)
        with pytest.raises(PluginError, match="'hdf6' is installed; did you mean 'hdf5'"):
            create_store(tmp_path / "x.h5", to="hdf6")
        assert names(tmp_path) == ["file"]

    @pytest.mark.skipif(os.name == "nt", reason="who may write into a folder is not in its mode on Windows")
    def test_a_folder_that_may_not_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tmp_path.chmod(0o500)
        if os.geteuid() == 0:  # who may write everywhere
            monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
        with pytest.raises(StoreError, match="may not be written") as caught:
            check_output(tmp_path / "x.h5")
        one_line(caught.value)

    def test_the_suffix_does_not_matter_when_the_kind_is_given_or_found(self, tmp_path: Path) -> None:
        with create_store(tmp_path / "store.data", to="hdf5") as store:
            fill(store, 0, 5)
        with create_store(tmp_path / "store.h5", to="zarr") as store:
            fill(store, 0, 5)
        for name in ("store.data", "store.h5"):
            with sp.open_store(tmp_path / name) as store:
                assert_holds(store, 5)

    def test_nothing_is_left_beside(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 100)
            store.flush()
            assert names(path.parent) == [path.name]
        create_store(path, overwrite=True).close()
        assert names(path.parent) == [path.name]
        assert not list(path.parent.rglob("*.unfinished"))


class TestOtherPrograms:
    """The formats are what they say: other programs read them."""

    def test_h5py_reads_every_array(self, tmp_path: Path) -> None:
        path = tmp_path / "store.h5"
        with create_store(path) as store:
            fill(store, 0, 3000)
            store.set_column("label", ["größer"] * 3000)  # type: ignore[arg-type]
            fill(store, 3000, 10)
        with h5py.File(path) as h5:
            ends = h5["crops/ends"][:]
            data = h5["crops/data"][:].tobytes()
            starts = [0, *ends[:-1]]
            assert [data[a:b] for a, b in zip(starts, ends, strict=True)] == crops_of(0, 3010)
            for name in sp.DETECTION.names or ():
                np.testing.assert_array_equal(h5[f"columns/{name}"][:], rows_of(0, 3010)[name])
            for name in FRAME_LOG.names or ():
                np.testing.assert_array_equal(h5[f"frame_log/{name}"][:], frames_of(0, 3010)[name])
            assert h5["columns/label"].asstr()[0] == "größer"
            assert h5["columns/label"].asstr()[3005] == ""

    def test_zarr_python_reads_every_array(self, tmp_path: Path) -> None:
        path = tmp_path / "store.zarr"
        count = 70_000  # more than one shard
        with create_store(path) as store:
            for start in range(0, count, 7000):
                fill(store, start, 7000)
                store.flush()
            store.set_column("label", ["größer"] * count)  # type: ignore[arg-type]
            store.set_column("probability", np.linspace(0, 1, count))
            store.set_column("sure", np.arange(count) % 2 == 0)
        assert len(names(path / "crops/data/c")) > 1
        group = zarr.open_group(path, mode="r")
        crops: Any = group["crops"]
        ends, data = crops["ends"][:], crops["data"][:].tobytes()
        assert [data[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)] == crops_of(0, count)
        for name in sp.DETECTION.names or ():
            np.testing.assert_array_equal(group[f"columns/{name}"][:], rows_of(0, count)[name])  # type: ignore[index]
        for name in FRAME_LOG.names or ():
            np.testing.assert_array_equal(group[f"frame_log/{name}"][:], frames_of(0, count)[name])  # type: ignore[index]
        assert group["columns/label"][-1] == "größer"  # type: ignore[index]
        np.testing.assert_array_equal(group["columns/sure"][:], np.arange(count) % 2 == 0)  # type: ignore[index]
        np.testing.assert_array_equal(group["columns/probability"][:], np.linspace(0, 1, count))  # type: ignore[index]

    def test_h5py_is_told_that_the_file_is_being_written(self, tmp_path: Path) -> None:
        with create_store(tmp_path / "store.h5"), pytest.raises(OSError, match="unable to lock file"):
            h5py.File(tmp_path / "store.h5", locking=True)


class TestUrls:
    """Zarr stores at any URL that fsspec reaches."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> Iterator[str]:
        import fsspec

        yield f"memory://{tmp_path.name}/store.zarr"
        fsspec.filesystem("memory").rm("/", recursive=True)

    def test_all_the_life_of_a_store(self, url: str) -> None:
        with pytest.raises(MissingFileError, match="memory://"):
            sp.open_store(url)
        with create_store(url, attrs={"place": "left"}) as store:
            fill(store, 0, 100_000, size=100)
            store.set_column("label", ["a"] * 100_000)  # type: ignore[arg-type]
        with pytest.raises(OutputExistsError):
            create_store(url)
        with sp.open_store(url, "a") as store:
            fill(store, 100_000, 5, size=100)
            store.set_column("label", ["b"] * 100_005)  # type: ignore[arg-type]
        with sp.open_store(url) as store:
            assert_holds(store, 100_005, size=100)
            assert set(store.column("label")) == {"b"}
            assert store.attrs == {"place": "left"}
            rows = np.random.default_rng(0).integers(0, 100_000, 300)
            assert store.encoded(rows) == [crops_of(row, 1, size=100)[0] for row in rows]  # type: ignore[arg-type]
        with create_store(url, overwrite=True) as store:
            fill(store, 0, 7)
        with sp.open_store(url) as store:
            assert_holds(store, 7)

    def test_a_reader_sees_a_column_that_was_replaced(self, url: str) -> None:
        with create_store(url) as writer:
            fill(writer, 0, 10)
            with sp.open_store(url) as reader:
                for number in range(5):
                    writer.set_column("label", [number] * 10)  # type: ignore[arg-type]
                    time.sleep(0 if number else 1.1)
                    assert reader.column("label").tolist() == [number] * 10

    def test_convert_to_and_from(self, url: str, tmp_path: Path) -> None:
        with create_store(tmp_path / "a.h5") as store:
            fill(store, 0, 1000)
        convert(tmp_path / "a.h5", url)
        convert(url, tmp_path / "b.h5")
        with sp.open_store(tmp_path / "b.h5") as store:
            assert_holds(store, 1000)

    def test_a_file_url_is_the_folder(self, tmp_path: Path) -> None:
        with create_store(f"file://{tmp_path}/a b.zarr".replace(" ", "%20")) as store:
            fill(store, 0, 10)
        with sp.open_store(tmp_path / "a b.zarr") as store:
            assert_holds(store, 10)

    def test_an_unknown_scheme_is_told_in_one_line(self) -> None:
        with pytest.raises(StoreError, match="nowhere") as caught:
            sp.open_store("nowhere://bucket/x.zarr")
        one_line(caught.value)


class TestConvert:
    def test_there_and_back(self, tmp_path: Path) -> None:
        with create_store(
            tmp_path / "a.h5", attrs={"video": {"name": "v"}, "state": "complete", "complete": True}
        ) as a:
            fill(a, 0, 3000)
            a.set_column("label", ["low", "high", ""] * 1000)  # type: ignore[arg-type]
            a.set_column("probability", np.linspace(0, 1, 3000))
            a.set_column("group", np.arange(3000) % 7)
        convert(tmp_path / "a.h5", tmp_path / "b.zarr")
        convert(str(tmp_path / "b.zarr"), tmp_path / "c.h5")
        stores = [sp.open_store(tmp_path / name) for name in ("a.h5", "b.zarr", "c.h5")]
        same(stores[0], stores[1])
        same(stores[0], stores[2])

    def test_an_unfinished_store_stays_unfinished(self, tmp_path: Path) -> None:
        create_store(tmp_path / "a.h5", attrs={"state": "interrupted", "complete": False}).close()
        convert(tmp_path / "a.h5", tmp_path / "b.zarr")
        assert sp.open_store(tmp_path / "b.zarr").attrs == {"state": "interrupted", "complete": False}

    def test_a_failure_does_not_look_whole(self, tmp_path: Path) -> None:
        with create_store(tmp_path / "a.zarr", attrs={"complete": True}) as store:
            fill(store, 0, 1000)
        shard = tmp_path / "a.zarr/crops/ends/c/0"
        # Its last byte is there, what is before is none of it: what opening cannot see.
        shard.write_bytes(b"\xff" * 4000 + shard.read_bytes()[4000:])
        with pytest.raises(StoreError, match=r"a\.zarr is damaged"):
            convert(tmp_path / "a.zarr", tmp_path / "b.h5")
        attrs = sp.open_store(tmp_path / "b.h5").attrs
        assert attrs["complete"] is False
        assert attrs["state"].startswith("failed: DamageError")

    def test_refusals(self, path: Path, tmp_path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 10)
        targets = [path]
        with suppress(OSError):  # Windows links for administrators only
            (tmp_path / "link").symlink_to(tmp_path)
            targets.append(tmp_path / "link" / path.name)
        for target in targets:
            with pytest.raises(ParameterError, match="onto itself"):
                convert(path, target, overwrite=True)
        with pytest.raises(MissingFileError):
            convert(tmp_path / "none.h5", tmp_path / "new.h5")
        create_store(tmp_path / "there.h5").close()
        with pytest.raises(OutputExistsError):
            convert(path, tmp_path / "there.h5")
        with sp.open_store(path) as store:
            assert_holds(store, 10)


class TestProcessesAndThreads:
    def test_a_store_open_for_reading_pickles_as_its_path(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 100)
            with pytest.raises(StoreError, match="cannot be sent"):
                pickle.dumps(store)
        store = sp.open_store(path)
        assert len(pickle.dumps(store)) < 1000
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            process, crops, table = pool.submit(look, store).result()
        assert process != os.getpid()
        assert crops == crops_of(0, 1) + crops_of(5, 1)
        np.testing.assert_array_equal(table, rows_of(0, 100))

    def test_unpickling_touches_nothing_before_it_is_used(self, path: Path) -> None:
        create_store(path).close()
        copy = pickle.loads(pickle.dumps(sp.open_store(path)))
        path.rename(path.with_name("gone"))
        with pytest.raises(MissingFileError):
            len(copy)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
    def test_a_forked_child_reads_and_does_no_harm(self, path: Path) -> None:
        code = """
        import os
        store = create_store(sys.argv[1])
        fill(store, 0, 100)
        store.flush()
        reader = sp.open_store(sys.argv[1])
        fill(store, 100, 100)
        for _ in range(3):
            if os.fork() == 0:
                assert_holds(reader, 100)
                sys.exit(0)
            assert os.wait()[1] == 0
        store.close()
        """
        subprocess.run(child(code, path), check=True, timeout=60)
        with sp.open_store(path) as store:
            assert_holds(store, 200)

    def test_a_writer_that_is_never_closed_ends_well(self, path: Path) -> None:
        code = """
        import ctypes
        store = create_store(sys.argv[1])
        # As an extension module does that forgets to let go: Python never frees it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(store._medium._h5 if sys.argv[1].endswith("h5") else store))
        fill(store, 0, 100)
        store.flush()
        fill(store, 100, 100)
        raise KeyError("and it ends with an error")
        """
        done = subprocess.run(child(code, path), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1, done.stderr
        assert "and it ends with an error" in done.stderr
        with sp.open_store(path) as store:
            assert_holds(store, 100)

    def test_many_threads_read_one_store(self, path: Path) -> None:
        with create_store(path) as store:
            fill(store, 0, 2000)
        store, crops, wrong = sp.open_store(path), crops_of(0, 2000), []

        def read(seed: int) -> None:
            random = np.random.default_rng(seed)
            for _ in range(50):
                rows = random.integers(0, 2000, 20)
                if store.encoded(rows) != [crops[row] for row in rows] or len(store.column("x")) != 2000:  # type: ignore[arg-type]
                    wrong.append(seed)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


LATER = """
import sys
import numpy as np
import spatterlib.types as types
types.DETECTION = np.dtype(types.DETECTION.descr + [("roundness", "<f4")])
import spatterlib as sp
task, path = sys.argv[1:]
if task == "write":
    from spatterlib.stores.opening import create_store
    with create_store(path) as store:
        rows = np.zeros(2, types.DETECTION)
        rows["roundness"] = [0.25, 0.5]
        store.append(rows, [b"one", b"two"])
else:
    with sp.open_store(path, mode="a") as store:
        assert np.isnan(store.table["roundness"]).all() and len(store.table) == 2
        assert np.isnan(store.column("roundness")).all()
        store.append(np.ones(1, types.DETECTION), [b"three"])
    with sp.open_store(path) as store:
        assert store.table["frame"].tolist() == [5, 6, 1] and np.isnan(store.table["roundness"]).all()
"""


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
class TestAColumnThatIsAddedToTheTable:
    """`DETECTION` may grow: stores that were written before open, and so do newer ones in an older spatterlib."""

    def version_that_has_it(self, task: str, path: Path) -> None:
        subprocess.run([sys.executable, "-c", LATER, task, str(path)], check=True)

    def test_a_store_that_was_written_before_opens_and_is_gone_on_with(self, tmp_path: Path, name: str) -> None:
        table = np.zeros(2, DETECTION)
        table["frame"] = [5, 6]
        with create_store(tmp_path / name) as store:
            store.append(table, [b"one", b"two"])
        self.version_that_has_it("go on", tmp_path / name)
        assert sp.open_store(tmp_path / name).table["frame"].tolist() == [5, 6, 1]

    def test_a_newer_store_opens_in_a_version_without_the_column(self, tmp_path: Path, name: str) -> None:
        self.version_that_has_it("write", tmp_path / name)
        with sp.open_store(tmp_path / name, mode="a") as store:
            assert store.table.dtype == DETECTION
            store.append(np.zeros(1, DETECTION), [b"three"])
            store.set_column("label", np.array(["a", "b", "c"]))
        assert len(sp.open_store(tmp_path / name)) == 3
