"""Inputs of the benchmarks: simulated videos, made once a session, and the real recordings where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

import spatterlib as sp
from spatterlib.extraction import pipeline

SIZES = {"640x360": (640, 360), "1280x720": (1280, 720), "1920x1080": (1920, 1080)}


@pytest.fixture(scope="session")
def measuring(request: pytest.FixtureRequest) -> bool:
    """Whether times are taken; a plain test run uses short inputs."""
    return not request.config.option.benchmark_disable


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


@pytest.fixture(scope="session")
def recorded(simulated: Callable[..., Path]) -> Callable[..., Path]:
    """As `simulated`, encoded once more as a recorder does it: x264's preset medium at the published 0.27 Mbit/s.

    It is what decoding costs that this is about: more than twice that of the simulator's own preset, ultrafast.
    """

    def make(flow: str, size: str, frames: int) -> Path:
        source = simulated(flow, size, frames)
        path = source.with_name(f"medium_{source.name}")
        if not path.exists():
            encode_anew(source, path)
        return path

    return make


def encode_anew(source: Path, path: Path) -> None:
    """The same frames by x264's preset medium, one thread, a key frame at least every 250."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        given = read.streams.video[0]
        stream: Any = written.add_stream("libx264", rate=Fraction(25), options={"preset": "medium", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = given.width, given.height, "yuv420p", 270_000
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 6
        for number, frame in enumerate(read.decode(given)):
            frame.pict_type, frame.pts, frame.time_base = 0, number, Fraction(1, 25)
            written.mux(stream.encode(frame))
        written.mux(stream.encode())


@pytest.fixture
def one_opencv_thread() -> Iterator[None]:
    """Ours works without OpenCV's threads, so what it is compared with does too."""
    with pipeline.one_opencv_thread():
        yield
