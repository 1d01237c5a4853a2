"""What the benchmarks of detection and extraction time, as a fresh process can prepare it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from alone import Run, Took
from baselines import Image, decode, mog2, published_calls, published_loop, tuned_calls

import spatterlib as sp
from spatterlib.common.image_codec import encode
from spatterlib.extraction.pipeline import _CLIP
from spatterlib.stores.opening import create_store
from spatterlib.types import FRAME_LOG, Clip, RgbPicture
from spatterlib.video.opening import clips

WARM = 31


class Reading(Iterator[Any]):
    """Passes on what a reader gives, and knows how many seconds that took."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items, self.seconds = items, 0.0

    def __next__(self) -> Any:
        began = time.perf_counter()
        try:
            return next(self.items)
        finally:
            self.seconds += time.perf_counter() - began


def clips_read(path: Path, frames: int) -> Iterator[Clip]:
    """Some frames that are not black as the decoder leaves them, in the clips of an extraction."""
    with sp.open_video(path) as video:
        start = min(len(video.times) // 4, 200)
        for clip in clips(video, lead=1, start=start + 1, stop=start + frames, length=_CLIP):
            yield clip
            del clip


def frames_read(path: Path, frames: int, room: int) -> Iterator[Image]:
    """The same frames one by one, each converted just before it is wanted, into memory for so many."""
    arrays: Iterator[Image] | None = None
    for clip in clips_read(path, frames):
        new = range(clip.lead if arrays else 0, len(clip.pictures))
        if arrays is None:
            arrays = cycle([np.empty((*clip.pictures[0].shape, 3), np.uint8) for _ in range(room)])
        for index in new:
            yield clip.rgb(index, next(arrays))
        del clip


def rgb_clips_read(path: Path, frames: int) -> Iterator[Clip]:
    """The same frames as arrays of RGB, in the clips of an extraction."""
    read = map(RgbPicture, frames_read(path, frames, _CLIP + 1))
    pictures, start = [next(read)], 1
    while new := list(islice(read, _CLIP)):
        pictures = [*pictures[-1:], *new]
        yield Clip(pictures, np.arange(start - 1, start + len(new)) / 25, start, 1)
        start += len(new)


def detecting(way: str, path: Path, frames: int) -> tuple[Run, Run]:
    """Detection in frames as they come from a reader, in the first for warming up, and in all."""
    return partial(_detect, way, path, WARM), partial(_detect, way, path, frames)


def _detect(way: str, path: Path, frames: int) -> Took:
    """What is found, and the time that reading did not take."""
    calls = {"published": published_calls, "tuned": tuned_calls, "MOG2": mog2}
    if way in calls:
        reading = Reading(frames_read(path, frames, 3))
        began = time.perf_counter()
        found: Any = calls[way](reading)
    else:
        reading = Reading((clips_read if way == "ours, on planes" else rgb_clips_read)(path, frames))
        detector = sp.make("detector", "frame-difference")
        began = time.perf_counter()
        tables = []
        for clip in reading:
            tables.append(detector(clip))
            del clip  # as in an extraction: its memory goes back to the decoder before the next is filled
        found = np.concatenate(tables)
    return Took(found, time.perf_counter() - began - reading.seconds)


def by_hand(video: Path, out: Path) -> int:
    """What `sp.extract` does, in one thread and without its checks, threads, log, progress and report."""
    detector = sp.make("detector", "frame-difference")
    filters = [sp.make("filter", name) for name in ("area", "blue", "black")]
    rows: list[Any] = []
    crops: list[bytes] = []
    with create_store(str(out), attrs={}, overwrite=True) as store, sp.open_video(video) as opened:
        for clip in clips(opened, lead=1, start=0, stop=len(opened.times), length=_CLIP):
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
