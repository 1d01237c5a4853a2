"""The main job whole, against the decoder alone, the published loop and the same steps written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from baselines import decode, published_loop
from pytest_benchmark.fixture import BenchmarkFixture

import spatterlib as sp
from spatterlib.crops import encode
from spatterlib.stores import create_store
from spatterlib.types import FRAME_LOG
from spatterlib.video import clips

FRAMES = 6_000
WAYS = ["ours, 1 worker", "ours, 2 workers", "ours, by hand", "decoder alone", "published loop, 2 threads"]


def by_hand(video: Path, out: Path) -> int:
    """What `sp.extract` does with one worker, without its checks, log, progress and report."""
    detector = sp.make("detector", "frame-difference")
    filters = [sp.make("filter", name) for name in ("area", "blue", "black")]
    store = create_store(str(out), attrs={})
    rows: list[Any] = []
    crops: list[bytes] = []
    with sp.open_video(video) as opened:
        for clip in clips(opened, lead=1, start=0, stop=len(opened.times)):
            table = detector(clip)
            for filter_ in filters:
                table = table[filter_(table, clip)]
            rows.append(table)
            crops.extend(encode(crop) for crop in clip.crops(table))
        log = np.zeros(len(opened.times), FRAME_LOG)
    store.append(np.concatenate(rows), crops, log)
    store.close()
    return len(crops)


def with_threads(count: int, video: Path, out: Path) -> int:
    cv2.setNumThreads(count)
    try:
        return published_loop(video, out)
    finally:
        cv2.setNumThreads(1)


@pytest.mark.parametrize("way", WAYS)
def test_simulated(benchmark: BenchmarkFixture, simulated: Any, measuring: bool, tmp_path: Path, way: str) -> None:
    frames = FRAMES if measuring else 600
    video = simulated("low", "640x360", frames)
    out = tmp_path / "out.h5"

    def extract(workers: int) -> int:
        return sp.extract(video, out, workers=workers, overwrite=True).detections

    runs: dict[str, Callable[[], int]] = {
        "ours, 1 worker": lambda: extract(1),
        "ours, 2 workers": lambda: extract(2),
        "ours, by hand": lambda: (out.unlink(missing_ok=True), by_hand(video, out))[1],
        "decoder alone": lambda: decode(video),
        "published loop, 2 threads": lambda: with_threads(2, video, out),
    }
    benchmark.group = "extract simulated low 640x360"
    benchmark.extra_info.update(way=way, frames=frames)
    found = benchmark.pedantic(runs[way], rounds=5 if measuring else 1, warmup_rounds=1 if measuring else 0)
    if way == "decoder alone":
        assert found == frames
    elif way == "published loop, 2 threads":
        assert found > 0
    else:
        assert found == sp.extract(video, tmp_path / "again.h5").detections > 0
