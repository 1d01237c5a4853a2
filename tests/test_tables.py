"""A store for other programs: the same values, with their units, and nothing written over or left half."""

from __future__ import annotations

import csv
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_tools import KINDS, frames_of, names, one_line, rows_of

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import (
    Exit,
    MissingFolderError,
    OutputExistsError,
    ParameterError,
    PluginError,
    RowError,
    StoreError,
)
from spatterlib.plugins import decode, encode
from spatterlib.stores import chunks, opening, tables
from spatterlib.stores.chunks import ranges
from spatterlib.types import DETECTION

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

ROWS = 25
LABELS = ["low", 'größer, "so"', "", "../escape", ".", "=1+1"]
UNITS = {"time": "s", "x": "px", "y": "px", "width": "px", "height": "px", "area": "px^2"}


def picture(row: int) -> bytes:
    return encode(np.full((6, 8, 3), row * 9, np.uint8), "png" if row % 2 else "jpeg")


class Nobody:
    """A capability that no store has."""


@pytest.fixture(params=[*KINDS, "whole"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with labels, whose chunks are small; one that cannot be read in chunks."""
    monkeypatch.setattr(ranges, "__defaults__", (10,))
    if request.param == "whole":
        # Not by taking methods away: a protocol remembers which classes had them.
        for module in (chunks, opening, tables):
            monkeypatch.setattr(module, "SupportsChunks", Nobody)
    path = tmp_path / f"store{request.param if request.param in KINDS else '.zarr'}"
    with sp.create_store(path, attrs={"machine": "M ✓"}) as store:
        table = rows_of(0, ROWS)
        table["time"][3] = np.nan
        store.append(table, [picture(row) for row in range(ROWS)], frames_of(0, ROWS))
        store.flush()
        store.set_column("label", np.array(LABELS)[np.arange(ROWS) % len(LABELS)])
        store.set_column("sure", np.arange(ROWS) % 2 == 0)
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    with sp.create_store(tmp_path / "empty.h5") as store:
        store.set_column("label", np.empty(0, "U3"))
    return tmp_path / "empty.h5"


def values_of(found: Any, name: str) -> list[Any]:
    column = found[name]
    values: list[Any] = column.to_pylist() if hasattr(column, "to_pylist") else np.asarray(column).tolist()
    return values


TABLES = {"to_arrow": "pyarrow", "to_pandas": "pandas", "to_polars": "polars", "to_xarray": "xarray"}


@pytest.mark.parametrize("way", TABLES)
class TestTables:
    @pytest.fixture(autouse=True)
    def installed(self, way: str) -> None:
        pytest.importorskip(TABLES[way], reason=f"{TABLES[way]} is not installed")

    @pytest.mark.parametrize("rows", [None, range(3, 20), [], [24, 0, 0, 7]], ids=["all", "a slice", "none", "some"])
    def test_has_every_value_of_every_column(self, path: Path, way: str, rows: Any) -> None:
        with sp.open_store(path) as store:
            found = getattr(store, way)() if rows is None else getattr(store, way)(rows)
            chosen = np.arange(ROWS) if rows is None else np.asarray(rows, int)
            for name in store.columns:
                expected = store.column(name)[chosen]
                values = np.array(values_of(found, name), expected.dtype)
                np.testing.assert_array_equal(values, expected)
            columns = {"to_arrow": "column_names", "to_polars": "columns"}.get(way)
            assert list(getattr(found, columns) if columns else found) == list(store.columns)

    def test_of_an_empty_store_has_the_columns(self, empty: Path, way: str) -> None:
        with sp.open_store(empty) as store:
            found = getattr(store, way)()
            assert values_of(found, "frame") == values_of(found, "label") == []

    @pytest.mark.parametrize("rows", [[ROWS], [-1], np.ones(ROWS, bool), slice(0, 3)])
    def test_rows_that_are_not_there_are_refused(self, path: Path, way: str, rows: Any) -> None:
        with sp.open_store(path) as store, pytest.raises(RowError):
            getattr(store, way)(rows)

    def test_a_store_of_any_kind_has_one(self, path: Path, way: str, tmp_path: Path) -> None:
        sp.convert(path, tmp_path / "research.h5", to="original")
        with sp.open_store(tmp_path / "research.h5") as store:
            assert len(values_of(getattr(sp.tables, way)(store), "peak")) == ROWS
            assert values_of(getattr(store, way)([2, 1]), "x") == [-1, -1]


@pytest.mark.parametrize("way", TABLES)
def test_what_is_not_installed_is_said(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, TABLES[way], None)
    with sp.create_store(tmp_path / "empty.h5") as store, pytest.raises(PluginError) as caught:
        getattr(store, way)()
    extra = "parquet" if way == "to_arrow" else "tables"
    assert f"needs {TABLES[way]}, which is not installed; install it with: " in one_line(caught.value)
    assert f"[{extra}]" in str(caught.value)


class TestUnits:
    def test_are_kept_by_arrow(self, path: Path) -> None:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        with sp.open_store(path) as store:
            schema = store.to_arrow().schema  # type: ignore[attr-defined]
            assert json.loads(schema.metadata[b"spatterlib"]) == store.attrs
        found = {field.name: field.metadata or {} for field in schema}
        assert {name: about[b"units"].decode() for name, about in found.items() if b"units" in about} == UNITS

    def test_are_kept_by_pandas(self, path: Path) -> None:
        pytest.importorskip("pandas", reason="pandas is not installed")
        with sp.open_store(path) as store:
            frame = store.to_pandas([5, 3])  # type: ignore[attr-defined]
            assert frame.attrs == {"units": UNITS, "spatterlib": store.attrs}
        assert (frame.index.name, frame.index.tolist()) == ("row", [5, 3])

    def test_are_kept_by_xarray(self, path: Path) -> None:
        pytest.importorskip("xarray", reason="xarray is not installed")
        with sp.open_store(path) as store:
            data = store.to_xarray(range(2, 9))  # type: ignore[attr-defined]
            assert json.loads(data.attrs["spatterlib"]) == store.attrs
        assert {name: data[name].attrs["units"] for name in data if "units" in data[name].attrs} == UNITS
        assert data["row"].values.tolist() == list(range(2, 9))


class TestFiles:
    def test_csv_has_the_rows_and_leaves_empty_what_is_not_known(self, path: Path, tmp_path: Path) -> None:
        sp.convert(path, tmp_path / "table.csv")
        with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        with sp.open_store(path) as store:
            assert list(lines[0]) == list(store.columns)
            assert [int(line["frame"]) for line in lines] == store.column("frame").tolist()
            assert [line["label"] for line in lines] == store.column("label").tolist()
        assert lines[3]["time"] == ""
        assert lines[0]["sure"] == "True"

    def test_parquet_has_the_rows_the_units_and_the_facts(self, path: Path, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        sp.convert(path, tmp_path / "table.parquet")
        found = parquet.read_table(tmp_path / "table.parquet")
        with sp.open_store(path) as store:
            expected = store.to_arrow()  # type: ignore[attr-defined]
        assert found.schema.equals(expected.schema, check_metadata=True)
        assert found.drop_columns(["time"]).equals(expected.drop_columns(["time"]))
        np.testing.assert_array_equal(found["time"].to_numpy(), expected["time"].to_numpy())

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_of_an_empty_store_has_a_head(self, empty: Path, kind: str, tmp_path: Path) -> None:
        if kind == "parquet":
            parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        sp.convert(empty, tmp_path / f"table.{kind}")
        if kind == "csv":
            head = (tmp_path / "table.csv").read_text().splitlines()
            assert head == [",".join([*(DETECTION.names or ()), "label"])]
        else:
            assert parquet.read_table(tmp_path / "table.parquet").num_rows == 0

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_an_existing_one_is_replaced_only_if_asked(self, empty: Path, kind: str, tmp_path: Path) -> None:
        if kind == "parquet":
            pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        target = tmp_path / f"table.{kind}"
        target.write_text("precious")
        with pytest.raises(OutputExistsError, match="exists already"):
            sp.convert(empty, target)
        assert target.read_text() == "precious"
        sp.convert(empty, target, overwrite=True)
        assert target.read_bytes() != b"precious"

    @pytest.mark.parametrize("to", ["csv", "images"])
    def test_what_fails_leaves_nothing(
        self, path: Path, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = names(tmp_path)

        def fail(*_: Any) -> None:
            raise StoreError("cannot be read: as it happens")

        monkeypatch.setattr("spatterlib.stores.tables._lines", fail)
        with pytest.raises(StoreError, match="as it happens"):
            sp.convert(path, tmp_path / ("new.csv" if to == "csv" else "new"), to=to)
        assert names(tmp_path) == before

    def test_pyarrow_is_asked_for_before_the_work(
        self, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(PluginError, match=r"a .parquet file needs pyarrow, which is not installed"):
            sp.convert(empty, tmp_path / "table.parquet")

    @pytest.mark.parametrize(
        ("target", "to", "error"),
        [
            ("table.txt", "csv", ParameterError),
            ("nowhere/table.csv", None, MissingFolderError),
            ("nowhere/images", "images", MissingFolderError),
            ("s3://bucket/table.csv", None, StoreError),
            ("table.xlsx", None, StoreError),
            ("", "csv", ParameterError),
        ],
    )
    def test_where_it_cannot_be_is_refused(self, empty: Path, target: str, to: str, error: Any, tmp_path: Path) -> None:
        where = target if "://" in target else str(tmp_path / target)
        with pytest.raises(error) as caught:
            sp.convert(empty, where, to=to)
        one_line(caught.value)

    @pytest.mark.parametrize("arguments", [["table.csv"], ["crops", "--to", "images"]])
    def test_by_the_command_line(self, path: Path, arguments: list[str], tmp_path: Path) -> None:
        target = tmp_path / arguments[0]
        command = ["convert", str(path), str(target), *arguments[1:]]
        assert (main(command), target.exists()) == (Exit.DONE, True)
        assert main(command) == Exit.FAILED


class TestImages:
    def test_there_is_a_file_for_each_crop_in_a_folder_of_its_label(self, path: Path, tmp_path: Path) -> None:
        sp.convert(path, tmp_path / "crops", to="images")
        with (tmp_path / "crops" / "metadata.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        assert [int(line["row"]) for line in lines] == list(range(ROWS))
        for line in lines:
            row = int(line["row"])
            content = (tmp_path / "crops" / line["file_name"]).read_bytes()
            assert content == picture(row)
            assert line["label"] == LABELS[row % len(LABELS)]
            assert decode(content).shape == (6, 8, 3)
            assert Path(line["file_name"]).suffix == (".png" if row % 2 else ".jpg")
        folders = {"low", "gr%C3%B6%C3%9Fer, %22so%22", "unlabelled", "%2E.%2Fescape", "%2E", "%3D1+1"}
        assert set(names(tmp_path / "crops")) == {*folders, "metadata.csv"}

    def test_without_labels_they_are_by_the_ten_thousand(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "store.h5") as store:
            store.append(rows_of(0, 3), [picture(row) for row in range(3)])
        sp.convert(tmp_path / "store.h5", tmp_path / "crops", to="images")
        assert names(tmp_path / "crops") == ["00000", "metadata.csv"]
        assert names(tmp_path / "crops" / "00000") == ["000000000.jpg", "000000001.png", "000000002.jpg"]

    def test_a_crop_that_is_no_image_is_left_out_and_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with sp.create_store(tmp_path / "store.h5") as store:
            store.append(rows_of(0, 3), [picture(0), b"no image", picture(2)])
        with caplog.at_level(logging.WARNING):
            sp.convert(tmp_path / "store.h5", tmp_path / "crops", to="images")
        assert "1 crop without an image that can be read, left out: row 1" in caplog.text
        assert len((tmp_path / "crops" / "metadata.csv").read_text().splitlines()) == 3

    def test_nothing_there_is_replaced(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "crops").mkdir()
        (tmp_path / "crops" / "precious.txt").write_text("precious")
        for overwrite in (False, True):
            with pytest.raises(OutputExistsError, match="is not replaced; remove it yourself"):
                sp.convert(path, tmp_path / "crops", to="images", overwrite=overwrite)
        assert names(tmp_path / "crops") == ["precious.txt"]

    def test_of_an_empty_store_there_are_none(self, empty: Path, tmp_path: Path) -> None:
        sp.convert(empty, tmp_path / "crops", to="images")
        assert names(tmp_path / "crops") == ["metadata.csv"]
