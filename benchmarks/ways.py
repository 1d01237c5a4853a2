"""What the benchmarks of detection and extraction time, as a fresh process can prepare it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from alone import Run
from baselines import decode, mog2, published_calls, published_loop, tuned_calls

import spatterlib as sp
from spatterlib.crops import encode
from spatterlib.stores import create_store
from spatterlib.types import FRAME_LOG, Clip, Picture, RgbPicture
from spatterlib.video import clips

WARM = 31


def first_clip(path: Path, frames: int) -> Clip:
    """Some frames of a video that are not black, as the decoder leaves them."""
    pictures: list[Picture] = []
    with sp.open_video(path) as video:
        start = min(len(video.times) // 4, 200)
        for clip in clips(video, lead=0, start=start, stop=len(video.times)):
            pictures += clip.pictures
            if len(pictures) >= frames:
                break
        return Clip(pictures[:frames], video.times[start : start + frames], start)


def detecting(way: str, path: Path, frames: int) -> tuple[Run, Run]:
    """Detection in frames that are in memory: in the first for warming up, and in all.

    Frames of RGB are arrays of their own, as a reader gives them: numpy asks for huge pages where there is one for all.
    """
    planes = first_clip(path, frames)
    detector = sp.make("detector", "frame-difference")
    if way == "ours, on planes":
        return partial(detector, cut(planes, planes.pictures[:WARM])), partial(detector, planes)
    arrays = [planes.rgb(index) for index in range(len(planes.pictures))]
    if way == "ours":
        whole = cut(planes, [RgbPicture(array) for array in arrays])
        return partial(detector, cut(planes, whole.pictures[:WARM])), partial(detector, whole)
    calls = {"published": published_calls, "tuned": tuned_calls, "MOG2": mog2}[way]
    return partial(calls, arrays[:WARM]), partial(calls, arrays)


def cut(clip: Clip, pictures: Sequence[Picture]) -> Clip:
    """A clip of other pictures of the same frames."""
    return Clip(list(pictures), clip.times[: len(pictures)], clip.start)


def by_hand(video: Path, out: Path) -> int:
    """What `sp.extract` does, in one thread and without its checks, threads, log, progress and report."""
    detector = sp.make("detector", "frame-difference")
    filters = [sp.make("filter", name) for name in ("area", "blue", "black")]
    rows: list[Any] = []
    crops: list[bytes] = []
    with create_store(str(out), attrs={}, overwrite=True) as store, sp.open_video(video) as opened:
        for clip in clips(opened, lead=1, start=0, stop=len(opened.times), length=16):
            table = detector(clip)
            for filter_ in filters:
                table = table[filter_(table, clip)]
            rows.append(table)
            crops += [encode(crop) for crop in clip.crops(table)]
        store.append(np.concatenate(rows), crops, np.zeros(len(opened.times), FRAME_LOG))
    return len(crops)


def extracting(way: str, video: Path, short: Path, out: Path) -> tuple[Run, Run]:
    """The same on a short video, for warming up, and on the whole one."""
    ways: dict[str, Callable[[Path], int]] = {
        "ours, 1 worker": lambda path: sp.extract(path, out, workers=1, overwrite=True, progress=False).detections,
        "ours, 2 workers": lambda path: sp.extract(path, out, workers=2, overwrite=True, progress=False).detections,
        "ours, by hand": lambda path: by_hand(path, out),
        "decoder alone": decode,
        "published loop, 2 threads": lambda path: published_loop(path, out),
    }
    return partial(ways[way], short), partial(ways[way], video)
