"""Reading a video: the decoder alone, OpenCV's reader, and ours, which leaves the decoder's planes as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from baselines import capture_read, decode
from pytest_benchmark.fixture import BenchmarkFixture
from recordings import RECORDINGS, existing

import spatterlib as sp

WAYS = ["ours", "decoder alone", "cv2.VideoCapture"]


def read(video: Path) -> int:
    with sp.open_video(video) as opened:
        return sum(picture is not None for picture in opened.read(0, len(opened.times)))


def measure(benchmark: BenchmarkFixture, video: Path, way: str, name: str) -> int:
    benchmark.group = f"decode {name}"
    run = {"ours": read, "decoder alone": decode, "cv2.VideoCapture": capture_read}[way]
    frames: int = benchmark(run, video)
    benchmark.extra_info.update(way=way, frames=frames)
    return frames


@pytest.mark.parametrize("way", WAYS)
def test_simulated(benchmark: BenchmarkFixture, simulated: Any, measuring: bool, way: str) -> None:
    frames = 2000 if measuring else 50
    assert measure(benchmark, simulated("low", "640x360", frames), way, "simulated low 640x360") == frames


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("recording", RECORDINGS)
def test_real(benchmark: BenchmarkFixture, measuring: bool, recording: str, way: str) -> None:
    path = existing(recording)
    if not measuring and recording != "ded_powder_634x474.m4v":
        pytest.skip("only measured, not run as a test")
    assert measure(benchmark, path, way, recording) == RECORDINGS[recording]
