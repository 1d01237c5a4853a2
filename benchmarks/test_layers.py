"""Layers and events of a long build."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import spatterlib as sp


@pytest.mark.parametrize("way", ["layers", "events"])
def test_grouping(benchmark: BenchmarkFixture, measuring: bool, way: str) -> None:
    random = np.random.default_rng(5)
    count = 100_000 if measuring else 2000
    table = np.zeros(count, sp.DETECTION)
    table["frame"] = np.cumsum(random.integers(1, 4, count)) + np.arange(count) // 500 * 500
    table["time"] = table["frame"] / 25
    table["x"], table["y"] = random.integers(0, 500, (2, count))
    table["width"], table["height"] = 120, 90
    benchmark.group = "layers"
    benchmark.extra_info.update(way=way, frames=count)
    found = benchmark(lambda: sp.layers(table["time"]) if way == "layers" else sp.events(table))
    assert len(found) == count // 500 if way == "layers" else len(found) > 1000
