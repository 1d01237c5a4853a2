"""Programs that know nothing of spatterlib open its stores: names, units, and of every array what is committed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from store_tools import crops_of, fill, frames_of, rows_of

import spatterlib as sp
from spatterlib.errors import StoreError
from spatterlib.stores.descriptions import attributes_of, dimension_of
from spatterlib.types import DETECTION, FRAME_LOG, Store

xarray: Any = pytest.importorskip("xarray")


def finished(path: Path) -> None:
    with sp.create_store(path, attrs={"machine": "M 1"}) as store:
        fill(store, 0, 300)
        store.set_column("probability", np.linspace(0, 1, 300))
        store.set_column("label", np.array(["low", "hägh", "…"] * 100))


def resumed(path: Path) -> None:
    finished(path)
    with sp.open_store(path, "a") as store:
        fill(store, 300, 50)


def killed(path: Path) -> None:
    """While the root was about to be written: the other documents are ahead of it."""
    finished(path)
    root = (path / "zarr.json").read_bytes()
    with sp.open_store(path, "a") as store:
        fill(store, 300, 50)
    (path / "zarr.json").write_bytes(root)


def torn(path: Path) -> None:
    """By a power cut: documents other than the root are empty."""
    killed(path)
    for name in ("frame", "time", "probability"):
        (path / f"columns/{name}/zarr.json").write_bytes(b"")


def farmed(path: Path) -> None:
    with sp.create_store(path) as store:
        writing: Any = store
        write = writing.part_writer(3)
        places = [place for part in range(3) for place in write(part, crops_of(20 * part, 20))]
        writing.adopt(rows_of(0, 60), places, frames_of(0, 60))


WAYS = [finished, resumed, killed, torn, farmed]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Store]]:
    path = tmp_path / "s.zarr"
    request.param(path)
    with sp.open_store(path) as store:
        yield path, store


def same_values(read: Any, store: Store) -> None:
    """By name, `read` gives of each array what the store gives."""
    assert sorted(read["columns"]) == sorted(store.columns)
    for name in store.columns:
        np.testing.assert_array_equal(read["columns"][name][:], store.column(name))
    for name in FRAME_LOG.names or ():
        np.testing.assert_array_equal(read["frame_log"][name][:], store.frame_log[name])
    [starts] = [read["crops"]["starts"][:]] if "starts" in read["crops"] else [[0, *read["crops"]["ends"][:-1]]]
    crops = store.encoded(range(len(store)))
    for crop, start, end in zip(crops, starts, read["crops"]["ends"][:], strict=True):
        assert bytes(np.asarray(read["crops"]["data"][int(start) : int(end)])) == crop


class TestZarr:
    def test_zarr_python_finds_what_is_committed(self, store: tuple[Path, Store]) -> None:
        path, ours = store
        group = zarr.open_consolidated(path)
        same_values({name: dict(part.arrays()) for name, part in group.groups()}, ours)

    def test_xarray_opens_all_of_it(self, store: tuple[Path, Store]) -> None:
        path, ours = store
        with xarray.open_datatree(path, engine="zarr") as tree:
            same_values(
                {
                    name: {key: values.to_numpy() for key, values in part.variables.items()}
                    for name, part in tree.children.items()
                },
                ours,
            )
            assert tree["columns"].sizes == {"row": len(ours)}
            assert tree["frame_log"].sizes == {"frame": len(ours.frame_log)}
            assert tree["crops"].sizes["row"] == len(ours)
            assert tree["columns/area"].attrs["units"] == "px^2"

    def test_xarray_opens_a_table_alone(self, store: tuple[Path, Store]) -> None:
        path, ours = store
        with xarray.open_zarr(path, group="columns", chunks=None) as columns:
            frame = columns.to_dataframe()
        assert len(frame) == len(ours)

    def test_documents_are_as_zarr_python_writes_them(self, store: tuple[Path, Store]) -> None:
        """But for the byte order of single bytes, which it leaves out."""
        path, ours = store
        root = json.loads((path / "zarr.json").read_text())
        for name, document in root["consolidated_metadata"]["metadata"].items():
            kind = zarr.core.metadata.ArrayV3Metadata if "shape" in document else zarr.core.group.GroupMetadata
            theirs = json.loads(json.dumps(kind.from_dict(json.loads(json.dumps(document))).to_dict()))
            assert theirs.keys() >= document.keys()
            assert {key: theirs[key] for key in document if key != "codecs"} | {"codecs": document.get("codecs")} == (
                document | {"codecs": document.get("codecs")}
            ), name
        for column in ours.columns:
            document = json.loads(json.dumps(root["consolidated_metadata"]["metadata"][f"columns/{column}"]))
            assert document["shape"] == [len(ours)]


def test_what_was_replaced_has_its_plain_name(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    for _ in range(2):
        with sp.create_store(path, overwrite=True) as store:
            fill(store, 0, 20)
            for value in ("low", "higher"):
                store.set_column("label", np.array([value] * 20))
                fill(store, len(store), 0)
            store.set_column("Label", np.arange(20))  # one folder with the other on some systems
    with sp.open_store(path) as store, xarray.open_datatree(path, engine="zarr") as tree:
        found = {name.partition("~")[0] for name in tree["columns"].variables}
        assert found == set(store.columns)
        assert [name for name in tree["columns"].variables if "~" in name and not name.startswith("Label")] == []
        assert tree["columns/label"].to_numpy().tolist() == store.column("label").tolist()
    assert not [folder for folder in path.glob("*/*~*") if not folder.name.startswith("Label")]
    assert sp.check_store(path).whole


def test_a_name_that_a_kill_left_is_plain_after_the_next_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.zarr"
    finished(path)
    with monkeypatch.context() as patched, sp.open_store(path, "a") as store:
        patched.setattr("spatterlib.stores.zarr._Group._rename", lambda *_: None)
        store.set_column("label", np.array(["low"] * 300))
    assert len(list(path.glob("columns/label~*"))) == 1
    with sp.open_store(path, "a") as store:
        store.set_column("mark", np.arange(300))
        assert set(store.column("label")) == {"low"}
    assert zarr.open_group(path, mode="r")["columns/label"].shape == (300,)  # type: ignore[union-attr]
    assert not list(path.glob("columns/*~*"))
    assert sp.check_store(path).whole


def test_a_store_of_an_older_version_is_described_by_its_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    finished(path)
    as_before(path)
    assert sp.check_store(path).whole
    with sp.open_store(path, "a") as store:
        store.set_attrs({"machine": "M 2"})
    assert sp.check_store(path).whole
    with xarray.open_datatree(path, engine="zarr") as tree:
        assert tree["columns/time"].attrs["units"] == "s"


def as_before(path: Path) -> None:
    """Take from a store what versions did not write that knew of no other programs."""
    for file in path.rglob("zarr.json"):
        document = json.loads(file.read_text())
        document.pop("consolidated_metadata", None)
        document.pop("dimension_names", None)
        document["attributes"] = {
            key: document["attributes"][key] for key in document["attributes"] if key == "spatterlib"
        }
        file.write_text(json.dumps(document))


def test_what_describes_the_arrays_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    finished(path)
    for file in (path / "zarr.json", path / "columns/area/zarr.json"):
        text = file.read_bytes()
        file.write_bytes(text.replace(b"area enclosed", b"Area enclosed"))
        assert sp.check_store(path).damage == (f"{file.relative_to(path)}: not as it was written",)
        file.write_bytes(text)
    assert sp.check_store(path).whole


def test_every_array_of_a_store_says_what_it_is() -> None:
    arrays = [f"columns/{name}" for name in DETECTION.names or ()] + [
        f"frame_log/{name}" for name in FRAME_LOG.names or ()
    ]
    arrays += [f"crops/{name}" for name in ("data", "starts", "ends", "crc32", "blocks")]
    assert [array for array in arrays if not attributes_of(array).get("long_name")] == []


class TestHdf5:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "s.h5"
        with sp.create_store(path, attrs={"machine": "M 1"}) as store:
            fill(store, 0, 30)
            store.set_column("label", np.array(["high", "läg", ""] * 10))
        return path

    def test_arrays_have_units_names_and_what_they_are_counted_by(self, path: Path) -> None:
        with h5py.File(path) as file:
            assert dict(file["columns/area"].attrs)["units"] == "px^2"
            for name in (*(f"columns/{name}" for name in DETECTION.names or ()), "frame_log/time", "crops/data"):
                assert file[name].attrs["long_name"] == attributes_of(name)["long_name"]
                assert file[name].dims[0].label == dimension_of(name)
            assert {len(column) for column in file["columns"].values()} == {30}

    def test_text_is_text(self, path: Path) -> None:
        with h5py.File(path) as file:
            assert file["columns/label"].asstr()[:3].tolist() == ["high", "läg", ""]

    def test_the_header_is_text_too_and_follows_it(self, path: Path) -> None:
        with h5py.File(path) as file:
            assert json.loads(file.attrs["spatterlib"])["attrs"] == {"machine": "M 1"}
        with sp.open_store(path, "a") as store:
            store.set_attrs({"complete": True, "notes": "ä" * 100_000})
            store.set_column("mark", np.zeros(30))
        with h5py.File(path) as file:
            facts = json.loads(file.attrs["spatterlib"])
        assert facts["attrs"] == {"machine": "M 1", "complete": True, "notes": "ä" * 100_000}
        assert facts["columns"].keys() == {"label", "mark"}
        assert sp.check_store(path).whole

    def test_a_file_of_an_older_version_gets_it_with_its_next_attrs(self, path: Path) -> None:
        with h5py.File(path, "r+", libver=("v108", "v108")) as file:
            del file.attrs["spatterlib"]
        with sp.open_store(path, "a") as store:
            fill(store, 30, 5)
            store.set_attrs({"complete": True})
        with h5py.File(path) as file:
            assert json.loads(file.attrs["spatterlib"])["attrs"]["complete"] is True


class TestGroup:
    def test_it_has_the_arrays_of_the_last_commit(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "s.zarr") as store:
            ours: Any = store
            fill(store, 0, 20)
            before = ours.group
            fill(store, 20, 20)
            store.set_column("mark", np.arange(40))
            assert (before["columns/time"].shape, ours.group["columns/mark"].shape) == ((20,), (40,))
            same_values({name: dict(part.arrays()) for name, part in ours.group.groups()}, store)
            assert ours.group["columns/time"].attrs["units"] == "s"

    def test_it_is_for_reading(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "s.zarr") as store:
            fill(store, 0, 20)
            with pytest.raises(ValueError, match="read-only"):
                store.group["columns/time"][:] = 0  # type: ignore[attr-defined]

    def test_another_kind_of_store_has_none(self, tmp_path: Path) -> None:
        with sp.create_store(tmp_path / "s.h5") as store, pytest.raises(StoreError, match="no Zarr store"):
            _ = store.group  # type: ignore[attr-defined]

    @pytest.mark.parametrize("way", [finished, farmed], ids=lambda way: way.__name__)
    def test_dask_computes_on_it(self, way: Any, tmp_path: Path) -> None:
        array = pytest.importorskip("dask.array")
        way(tmp_path / "s.zarr")
        with sp.open_store(tmp_path / "s.zarr") as store:
            ours: Any = store
            assert array.from_zarr(ours.group["columns/x"]).sum().compute() == store.column("x").sum()
            data = array.from_zarr(ours.group["crops/data"])
            assert len(data) == sum(map(len, store.encoded(range(len(store)))))
