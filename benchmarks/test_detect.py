"""Detection on frames in memory: the published calls, the same calls tuned, a peer, and ours; one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from baselines import mog2, published_calls, tuned_calls
from pytest_benchmark.fixture import BenchmarkFixture
from recordings import RECORDINGS, existing

import spatterlib as sp
from spatterlib.types import Clip
from spatterlib.video import clips

WAYS = ["ours", "published", "tuned", "MOG2"]
FRAMES = 129


pytestmark = pytest.mark.usefixtures("one_opencv_thread")


def first_clip(path: Path, frames: int) -> Clip:
    """The first frames of a video that are not black, as RGB arrays."""
    with sp.open_video(path) as video:
        start = min(len(video.times) // 4, 200)
        pictures = [
            clip.rgb(index).copy()
            for clip in clips(video, lead=0, start=start, stop=len(video.times))
            for index in range(len(clip.pictures))
        ][:frames]
    return Clip.of(np.stack(pictures))


def measure(benchmark: BenchmarkFixture, clip: Clip, way: str, name: str) -> Any:
    benchmark.group = f"detect {name}"
    benchmark.extra_info.update(way=way, frames=len(clip.pictures) - 1)
    frames = list(clip.frames)
    detector = sp.make("detector", "frame-difference")
    run: Callable[[], Any] = {
        "ours": lambda: detector(clip),
        "published": lambda: published_calls(frames),
        "tuned": lambda: tuned_calls(frames),
        "MOG2": lambda: mog2(frames),
    }[way]
    return benchmark(run)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", ["640x360", "1280x720", "1920x1080"])
@pytest.mark.parametrize("flow", ["low", "high"])
def test_simulated(
    benchmark: BenchmarkFixture, simulated: Any, measuring: bool, flow: str, size: str, way: str
) -> None:
    if not measuring and size != "640x360":
        pytest.skip("only measured, not run as a test")
    clip = first_clip(simulated(flow, size, 500), FRAMES if measuring else 30)
    check(measure(benchmark, clip, way, f"simulated {flow} {size}"), clip, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("recording", RECORDINGS)
def test_real(benchmark: BenchmarkFixture, measuring: bool, recording: str, way: str) -> None:
    path = existing(recording)
    clip = first_clip(path, FRAMES if measuring else 20)
    check(measure(benchmark, clip, way, recording), clip, way)


def check(found: Any, clip: Clip, way: str) -> None:
    """Every way but the peer finds the same areas."""
    expected = sorted(area for (_, _, w, h), area in tuned_calls(list(clip.frames)) if min(w, h) > 3)
    if way == "ours":
        assert sorted(found["area"].tolist()) == expected
    elif way != "MOG2":
        assert sorted(area for (_, _, w, h), area in found if min(w, h) > 3) == expected
