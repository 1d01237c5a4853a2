"""Recordings that checks look at: plumes and flashes on dark ground, and rows whose every value is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spatterlib.types import DETECTION, FRAME_LOG, Clip, Detections, Image, RgbPicture

__all__ = ["crops_of", "cut_up", "frames_of", "plumes", "rows_of", "times_of"]

_COLOUR = np.array([1.0, 0.75, 0.45])


def plumes(frames: int = 70, height: int = 97, width: int = 131, seed: int = 3) -> Image:
    """Made-up light: glowing spots that move, grow, touch the border and go out, some for one frame only.

    Returns
    -------
    ndarray
        ``(frames, height, width, 3)`` uint8 RGB.
    """
    random = np.random.default_rng(seed)
    light = random.normal(12, 1.0, (frames, height, width))
    y, x = np.mgrid[:height, :width]
    for number in range(frames // 3):
        begin, last = int(random.integers(0, frames)), int(random.integers(1, 6))
        place, step = random.uniform(0, 1, 2) * (height, width), random.normal(0, 5, 2)
        radius = random.uniform(4, 11) * (2 if number % 7 == 0 else 1)
        for age in range(min(last, frames - begin)):
            top, left = place + age * step
            light[begin + age] += 300 * np.exp(-((y - top) ** 2 + (x - left) ** 2) / radius**2)
    return np.asarray(np.clip(light[..., None] * _COLOUR, 0, 255), np.uint8)


def times_of(frames: int) -> NDArray[np.float64]:
    """``(frames,)`` s, of a camera that does not keep time: no two pauses are alike."""
    return 3.5 + np.cumsum(0.04 + 0.01 * np.sin(np.arange(frames)))


def cut_up(frames: Image, length: int, lead: int, start: int = 0) -> Iterator[Clip]:
    """Clips of so many frames, each with as much lead as there is, as a reader cuts a recording.

    Parameters
    ----------
    frames : ndarray
        ``(n, h, w, 3)`` uint8.
    length : int
        Frames of a clip's own.
    lead : int
        Asked for.
    start : int
        Number of the first frame, before which none decoded.
    """
    times = times_of(start + len(frames))[start:]
    for begin in range(0, len(frames), length):
        context = min(begin, lead)
        part = slice(begin - context, begin + length)
        yield Clip([RgbPicture(frame) for frame in frames[part]], times[part], start + begin, context)


def rows_of(start: int, count: int) -> Detections:
    """Table rows ``start .. start + count - 1``; every value follows from the row's number."""
    number = np.arange(start, start + count)
    table = np.zeros(count, DETECTION)
    table["frame"], table["time"], table["area"] = number // 3, number / 25, number * 1.5
    table["x"], table["y"], table["width"], table["height"] = number % 640, number % 360, 20, 30
    table["red"], table["green"], table["blue"] = number % 256, number % 101, number % 99
    table["peak"] = number % 251
    return table


def frames_of(start: int, count: int) -> NDArray[np.void]:
    """Rows of a frame log, numbered ``start .. start + count - 1``; every value follows from the number."""
    frames = np.zeros(count, FRAME_LOG)
    frames["number"] = np.arange(start, start + count)
    frames["time"] = frames["number"] / 25
    frames["detections"], frames["decoded"] = frames["number"] % 4, frames["number"] % 7 > 0
    return frames


def crops_of(start: int, count: int, size: int = 200) -> list[bytes]:
    """Bytes of that many rows, `size` on average; they are no pictures, which no store minds."""
    return [b"%d." % number * (1 + (number * 7919) % (2 * size) // 8) for number in range(start, start + count)]
