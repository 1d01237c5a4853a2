"""Inputs of the benchmarks: simulated videos, made once a session, and the real recordings where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import spatterlib as sp
from spatterlib import pipeline

SIZES = {"640x360": (640, 360), "1280x720": (1280, 720), "1920x1080": (1920, 1080)}


@pytest.fixture(scope="session")
def measuring(request: pytest.FixtureRequest) -> bool:
    """Whether times are taken; a plain test run uses short inputs."""
    return bool(request.config.getoption("benchmark_enable"))


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Path of a simulated video of some gas flow, size and number of frames; the same arguments give the same file."""
    folder = tmp_path_factory.mktemp("simulated")

    def make(flow: str, size: str, frames: int) -> Path:
        path = folder / f"{flow}_{size}_{frames}.mp4"
        if not path.exists():
            width, height = SIZES[size]
            sp.simulate(path, gas_flow=flow, seconds=frames / 25, seed=7, width=width, height=height)
        return path

    return make


@pytest.fixture
def one_opencv_thread() -> Iterator[None]:
    """Ours works without OpenCV's threads, so what it is compared with does too."""
    with pipeline.one_opencv_thread():
        yield
