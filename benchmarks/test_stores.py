"""Stores: appending batches, and reading single crops out of the middle, against plain bytes in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import spatterlib as sp
from spatterlib.stores.opening import create_store

WAYS = ["hdf5", "zarr", "plain file"]
SUFFIX = {"hdf5": ".h5", "zarr": ".zarr", "plain file": ".bin"}
BATCH = 2048


def material(rows: int) -> tuple[Any, list[bytes]]:
    random = np.random.default_rng(3)
    table = np.zeros(rows, sp.DETECTION)
    table["frame"] = np.arange(rows)
    return table, [random.bytes(int(size)) for size in random.integers(1500, 5500, rows)]


def fill(way: str, path: Path, table: Any, crops: list[bytes]) -> None:
    if way == "plain file":
        with path.open("wb") as file:
            for crop in crops:
                file.write(crop)
        return
    with create_store(str(path), attrs={}, overwrite=True) as store:
        for start in range(0, len(crops), BATCH):
            store.append(table[start : start + BATCH], crops[start : start + BATCH])
            store.flush()


@pytest.mark.parametrize("way", WAYS)
def test_append(benchmark: BenchmarkFixture, measuring: bool, tmp_path: Path, way: str) -> None:
    table, crops = material(40_000 if measuring else 500)
    path = tmp_path / f"store{SUFFIX[way]}"
    benchmark.group = "stores: append"
    benchmark.extra_info.update(way=way, frames=len(crops))
    benchmark.pedantic(fill, (way, path, table, crops), rounds=3 if measuring else 1)
    assert path.exists()


@pytest.mark.parametrize("way", WAYS)
def test_read_a_thousand_random_crops(benchmark: BenchmarkFixture, measuring: bool, tmp_path: Path, way: str) -> None:
    table, crops = material(40_000 if measuring else 1500)
    path = tmp_path / f"store{SUFFIX[way]}"
    fill(way, path, table, crops)
    rows = np.random.default_rng(4).choice(len(crops), 1000, replace=False)
    ends = np.cumsum([0, *map(len, crops)])

    def plain() -> list[bytes]:
        with path.open("rb") as file:
            return [_at(file, int(ends[row]), int(ends[row + 1])) for row in rows]

    def ours() -> list[bytes]:
        with sp.open_store(path) as store:
            return store.encoded(rows)

    run: Callable[[], list[bytes]] = plain if way == "plain file" else ours
    benchmark.group = "stores: 1,000 random crops"
    benchmark.extra_info.update(way=way, frames=1000)
    assert benchmark(run) == [crops[row] for row in rows]


def _at(file: Any, start: int, stop: int) -> bytes:
    file.seek(start)
    data: bytes = file.read(stop - start)
    return data
