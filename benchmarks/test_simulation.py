"""The simulator: frames per second with and without encoding, and what detection finds against its truth."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import spatterlib as sp
from spatterlib.simulation import SimulationSettings, simulate_frames

pytestmark = pytest.mark.usefixtures("one_opencv_thread")


# The first layer begins at 0.4 s: where it lasts 60 s, frames 12 to 412 all hold dense spatter; a usual cycle of
# layer and recoating is 430 frames.
SPANS = {"dense spatter": (12, 412, 60.0), "whole layer and recoating": (0, 430, 6.8)}


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("flow", ["low", "high"])
def test_rendering(benchmark: BenchmarkFixture, flow: str, span: str, measuring: bool) -> None:
    start, stop, layer = SPANS[span]
    start, stop = (start, stop) if measuring else (12, 20)
    settings = SimulationSettings(gas_flow=flow, seconds=60, seed=4, layer_seconds=layer)
    benchmark.group = f"simulate: {span}"
    benchmark.extra_info.update(way=f"ours, {flow} flow, frames only", frames=stop - start)
    frames = benchmark(lambda: sum(1 for _ in simulate_frames(settings, start, stop, copy=False)))
    assert frames == stop - start


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("flow", ["low", "high"])
def test_writing(benchmark: BenchmarkFixture, flow: str, span: str, measuring: bool, tmp_path: Path) -> None:
    layer, seconds = SPANS[span][2], 17.2 if measuring else 0.8
    numbers = itertools.count()
    benchmark.group = f"simulate: {span}"
    benchmark.extra_info.update(way=f"ours, {flow} flow, H.264 and truth", frames=round(25 * seconds))
    settings = SimulationSettings(gas_flow=flow, seconds=seconds, seed=4, layer_seconds=layer)
    truth = benchmark(lambda: sp.simulate(tmp_path / f"{next(numbers)}.mp4", settings))
    assert len(truth.events) > 0


@pytest.mark.parametrize("noise", [1.5, 3.0, 6.0])
@pytest.mark.parametrize("flow", ["low", "high"])
def test_detection_against_truth(
    benchmark: BenchmarkFixture, flow: str, noise: float, measuring: bool, tmp_path: Path
) -> None:
    """Default settings on the standard preset: recall and precision at least 0.95 over three builds."""
    seconds, scores = (45, []) if measuring else (7.2, [])
    benchmark.group = "simulate: detection against truth"
    for seed in (11, 12, 13) if measuring else (11,):
        path = tmp_path / f"{seed}.mp4"
        truth = sp.simulate(path, gas_flow=flow, seconds=seconds, seed=seed, noise=noise)
        assert sp.extract(path, path.with_suffix(".h5"), progress=False).detections > 0
        with sp.open_store(path.with_suffix(".h5")) as store:
            table = store.table[:]
        scores.append(sp.score(table, truth))
    benchmark.pedantic(lambda: sp.score(table, truth), rounds=1)
    recall = sum(score.matched for score in scores) / sum(score.events for score in scores)
    precision = 1 - sum(score.false for score in scores) / sum(score.found for score in scores)
    benchmark.extra_info.update(
        noise=noise, recall=round(recall, 4), precision=round(precision, 4), said=[str(score) for score in scores]
    )
    assert precision >= 0.95
    assert recall >= (0.95 if measuring else 0.9)
