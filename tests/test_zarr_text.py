"""Text in Zarr stores is of the type ``string``, which other programs know; what older versions wrote is still read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.vlen import VLenUTF8
from store_tools import fill

import spatterlib as sp
from spatterlib.errors import DamageError
from spatterlib.stores.zarr_layout import ShardedArray
from spatterlib.stores.zarr_text import packed, unpacked

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

texts = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9), max_size=20)


def group(path: Path) -> Any:
    return zarr.open_group(path, mode="r")


def stored(values: list[str]) -> Any:
    encoded = [value.encode() for value in values]
    return np.array(encoded, f"S{max([1, *map(len, encoded)])}")


@given(texts, st.integers(0, 5))
def test_a_chunk_is_what_the_codec_makes_of_it(values: list[str], further: int) -> None:
    array, count = stored(values), len(values) + further
    chunk = packed(array, count)
    if count:
        assert chunk == bytes(VLenUTF8().encode(np.array([*values, *[""] * further], object)))
        assert unpacked(chunk, array.dtype, count).tolist() == [*array.tolist(), *[b""] * further]


@given(texts.filter(len), st.data())
def test_a_chunk_that_is_cut_or_longer_is_none(values: list[str], data: st.DataObject) -> None:
    array = stored(values)
    chunk = packed(array, len(values))
    cut = chunk[: data.draw(st.integers(0, len(chunk) - 1))]
    for wrong in (cut, chunk + b"\0", chunk[:4] + b"\xff\xff\xff\xff" + chunk[8:]):
        with pytest.raises(ValueError, match="it holds no"):
            unpacked(wrong, array.dtype, len(values))


@settings(max_examples=20)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=4), st.integers(0, 1 << 30))
def test_any_part_of_it_is_read(tmp_path_factory: pytest.TempPathFactory, counts: list[int], seed: int) -> None:
    """Over chunks and shards: 8,192 texts are a chunk."""
    path, total = tmp_path_factory.mktemp("s") / "s.zarr", sum(counts)
    rng = np.random.default_rng(seed)
    values = rng.choice(["", "low", "hägh", "…"], total)
    with sp.create_store(path) as store:
        ours: Any = store
        ours.set_column("label", np.empty(0, "S5"))
        start = 0
        for count in counts:
            columns = {"label": values[start : start + count]}
            ours.append(rows(start, count), [b"crop"] * count, None, columns)
            ours.flush()
            start += count
        assert store.column("label").tolist() == values.tolist()
        chosen = rng.integers(0, total, 5)
        assert ours.column("label", chosen).tolist() == values[chosen].tolist()
        assert group(path)["columns/label"][:].tolist() == values.tolist()
    assert sp.check_store(path).whole


def rows(start: int, count: int) -> Any:
    table = np.zeros(count, sp.DETECTION)
    table["frame"] = np.arange(start, start + count)
    return table


def test_what_older_versions_wrote_is_read_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of bytes, each as long as the longest text."""
    path = tmp_path / "s.zarr"
    with monkeypatch.context() as patched, sp.create_store(path) as store:
        patched.setattr("spatterlib.stores.zarr.ShardedArray", lambda *values: ShardedArray(*values[:4]))
        fill(store, 0, 9000)
        store.set_column("label", np.array(["low", "high", "läg"] * 3000))
    assert group(path)["columns/label"].shape == (9000, 4)
    with sp.open_store(path, "a") as store:
        fill(store, 9000, 3)
        assert store.column("label")[-5:].tolist() == ["high", "läg", "", "", ""]
    assert sp.check_store(path).whole
    with sp.open_store(path, "a") as store:
        store.set_column("label", np.array(["low", "high", "läg"] * 3001))
    assert sp.check_store(path).whole
    assert replace(ShardedArray("columns/label", "", np.dtype("S4"), 1), strings=True).key(0) == "columns/label/c/0"


def test_damaged_text_is_found(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    with sp.create_store(path) as store:
        fill(store, 0, 9000)
        store.set_column("label", np.array(["low", "high", "läg"] * 3000))
    [shard] = (path / "columns/label/c").iterdir()
    whole = shard.read_bytes()
    for place in [4, 8, len(whole) // 3, len(whole) - 128, len(whole) - 1]:
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert sp.check_store(path).damage
        shard.write_bytes(whole[:place])
        with pytest.raises(DamageError), sp.open_store(path) as store:
            store.column("label")
    shard.unlink()
    assert not sp.check_store(path).whole
