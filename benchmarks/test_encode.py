"""Crops to bytes and back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from spatterlib.common.image_codec import decode, encode


@pytest.fixture(scope="module")
def crops(request: pytest.FixtureRequest) -> list[Any]:
    """Smooth random pictures of the published median size."""
    random = np.random.default_rng(2)
    coarse = [random.integers(0, 256, (9, 12, 3), dtype=np.uint8) for _ in range(64)]
    return [np.asarray(cv2.resize(crop, (119, 90), interpolation=cv2.INTER_CUBIC)) for crop in coarse]


@pytest.mark.parametrize("way", ["jpeg 95", "jpeg 80", "png"])
def test_encode(benchmark: BenchmarkFixture, crops: list[Any], way: str) -> None:
    benchmark.group = "encode"
    benchmark.extra_info.update(way=way, frames=len(crops))
    name, _, quality = way.partition(" ")
    encoded = benchmark(lambda: [encode(crop, name, int(quality or 95)) for crop in crops])
    assert decode(encoded[0]).shape == crops[0].shape


@pytest.mark.parametrize("way", ["jpeg 95", "png"])
def test_decode(benchmark: BenchmarkFixture, crops: list[Any], way: str) -> None:
    benchmark.group = "decode crops"
    benchmark.extra_info.update(way=way, frames=len(crops))
    encoded = [encode(crop, way.split()[0]) for crop in crops]
    assert len(benchmark(lambda: [decode(data) for data in encoded])) == len(crops)
