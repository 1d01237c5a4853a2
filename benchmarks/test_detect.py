"""Detection on frames as they come from a reader: the published calls, the same tuned, a peer, and ours; one thread.

The published calls get one frame after the other, as their script does, ours the clips of an extraction; reading and
converting are not counted. All are given RGB arrays; ours, on planes, the frames as the decoder leaves them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alone import alone, timed
from pytest_benchmark.fixture import BenchmarkFixture
from recordings import RECORDINGS, existing
from ways import detecting

WAYS = ["ours", "ours, on planes", "published", "tuned", "MOG2"]
FRAMES = 129


pytestmark = pytest.mark.usefixtures("one_opencv_thread")


def measure(benchmark: BenchmarkFixture, path: Path, frames: int, measuring: bool, way: str, name: str) -> None:
    """Time one way, in a process of its own, and hold what it found against the tuned calls."""
    benchmark.group = f"detect {name}"
    benchmark.extra_info.update(way=way, frames=frames - 1)
    if measuring:
        with alone(detecting, way, path, frames) as process:
            found = timed(benchmark, process, rounds=15)
    else:
        found = benchmark(detecting(way, path, frames)[1]).found
    expected = sorted(area for (_, _, w, h), area in detecting("tuned", path, frames)[1]().found if min(w, h) > 3)
    if way.startswith("ours"):
        assert sorted(found["area"].tolist()) == expected
    elif way != "MOG2":
        assert sorted(area for (_, _, w, h), area in found if min(w, h) > 3) == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", ["640x360", "1280x720", "1920x1080"])
@pytest.mark.parametrize("flow", ["low", "high"])
def test_simulated(
    benchmark: BenchmarkFixture, simulated: Any, measuring: bool, flow: str, size: str, way: str
) -> None:
    if not measuring and size != "640x360":
        pytest.skip("only measured, not run as a test")
    frames = FRAMES if measuring else 30
    measure(benchmark, simulated(flow, size, 500), frames, measuring, way, f"simulated {flow} {size}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("recording", RECORDINGS)
def test_real(benchmark: BenchmarkFixture, measuring: bool, recording: str, way: str) -> None:
    measure(benchmark, existing(recording), FRAMES if measuring else 20, measuring, way, recording)
