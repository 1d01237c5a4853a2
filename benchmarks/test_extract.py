"""The main job whole, against the decoder alone, the published loop and the same steps written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alone import alone, timed
from pytest_benchmark.fixture import BenchmarkFixture
from ways import extracting

import spatterlib as sp

FRAMES = 6_000
WAYS = ["ours, 1 worker", "ours, 2 workers", "ours, by hand", "decoder alone", "published loop, 2 threads"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("encoder", ["", ", recorder's encoder"])
def test_simulated(
    benchmark: BenchmarkFixture,
    simulated: Any,
    recorded: Any,
    measuring: bool,
    tmp_path: Path,
    encoder: str,
    way: str,
) -> None:
    frames = FRAMES if measuring else 600
    make = recorded if encoder else simulated
    video, short = make("low", "640x360", frames), make("low", "640x360", 100)
    benchmark.group = f"extract simulated low 640x360{encoder}"
    benchmark.extra_info.update(way=way, frames=frames)
    arguments = way, video, short, tmp_path / "out.h5"
    if measuring:
        with alone(extracting, *arguments, threads=2 if way == "published loop, 2 threads" else 1) as process:
            found = timed(benchmark, process, rounds=5)
    else:
        found = benchmark(extracting(*arguments)[1])
    if way == "decoder alone":
        assert found == frames
    elif way == "published loop, 2 threads":
        assert found > 0
    else:
        assert found == sp.extract(video, tmp_path / "again.h5").detections > 0
