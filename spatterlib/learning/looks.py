"""What crops look like in a few numbers that name no class: their light, their size, and the streaks in some of them.

A row of numbers for each crop. Of a span of time they become one row, which `spatterlib.learning.familiar_spans` holds
against the recordings of a training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spatterlib.types import Detections, Image

__all__ = [
    "EVERY",
    "FEWEST",
    "FLIGHT",
    "LOOKS",
    "SPAN_LOOKS",
    "STREAK_SUMS",
    "features",
    "is_measured",
    "looks_of",
    "mirrored",
    "span_looks",
    "streak_sums",
    "unseen",
]

EVERY = 8
"""Streaks are looked for in the crops of every so many frames: they cost as much as the rest together."""
FEWEST = 20
"""Streaks without which nothing is said of them."""

_LIGHT = (*(f"cell {row} {column}" for row in range(4) for column in range(4)), "spread", "across", "down")
_CROP = (*_LIGHT, "saturated", "width", "height")
FLIGHT = ("right", "up", "bend right", "bend up")
"""Columns that say where streaks fly and bend to."""
_STREAK = (*FLIGHT, "length", "thickness", "rise")
STREAK_SUMS = ("streaks", *_STREAK)
LOOKS = (*_CROP, *STREAK_SUMS)
"""Columns of a crop: roots of the mean grey levels in a 4x4 grid, of their spread, of the steps across and down, of the
share of saturated px; logarithms of width and height in px; how many streaks, and sums over these: where they fly to
(right, up) and bend to, logarithms of length, thickness and rise. -1 streaks: none were looked for."""
SPAN_LOOKS = LOOKS
"""Columns of a span: means over its votes, the root of the number of streaks of a crop, and means over the streaks."""

_CROPS = len(_CROP)
_BRIGHTEST, _GRID = 250, 4


def features(images: Image, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """What a prepared crop looks like, without saying what it shows.

    Parameters
    ----------
    images : ndarray
        ``(n, size, size, channels)`` uint8.
    rows : ndarray, optional
        Which of them.

    Returns
    -------
    ndarray
        ``(n, 19)`` float64, square roots of: the mean in each cell of a 4x4 grid, the spread, and the mean step from
        pixel to pixel, across and down. Channels are averaged.
    """
    from spatterlib.kernels.learning.crop_features import crop_statistics

    chosen = np.arange(len(images)) if rows is None else rows
    features = np.empty((len(chosen), _GRID * _GRID + 3))
    for start in range(0, len(chosen), 1024):
        part = images if rows is None and len(images) <= 1024 else images[chosen[start : start + 1024]]
        crop_statistics(np.ascontiguousarray(part), _GRID, features[start : start + 1024])
    return np.sqrt(features)


def is_measured(frame: int) -> bool:
    """Whether streaks are looked for in the crops of a frame: the same ones however a recording is cut."""
    return frame >= 0 and frame % EVERY == 0


def streak_sums(crop: Image) -> NDArray[np.float32]:
    """Of a crop at native resolution: how many streaks, and the sums over them, as in `LOOKS`.

    Parameters
    ----------
    crop : ndarray
        ``(h, w, 3)`` uint8 RGB.

    Returns
    -------
    ndarray
        ``(8,)`` float32.
    """
    from spatterlib.measuring.streaks import find_streaks

    rows = find_streaks(crop)
    angle = np.deg2rad(rows["angle"].astype(np.float64))
    turn = np.clip(rows["curvature"].astype(np.float64) * rows["length"], -2, 2)
    parts = (
        *(np.cos(angle), np.sin(angle), -turn * np.sin(angle), turn * np.cos(angle)),
        *(np.log(np.maximum(rows[name], 0.1)) for name in ("length", "width", "brightness")),
    )
    return np.array([len(rows), *(part.sum() for part in parts)], np.float32)


def unseen(count: int) -> NDArray[np.float32]:
    """``(count, len(LOOKS))`` float32 of crops at which nobody looked."""
    found = np.zeros((count, len(LOOKS)), np.float32)
    found[:, _CROPS] = -1
    return found


def looks_of(images: Image, table: Detections, streaks: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
    """What crops look like.

    Parameters
    ----------
    images : ndarray
        ``(n, size, size, channels)`` uint8, prepared.
    table : ndarray
        ``(n,)`` `DETECTION`.
    streaks : sequence of ndarray or None
        `streak_sums` of each, None where nobody looked.

    Returns
    -------
    ndarray
        ``(n, len(LOOKS))`` float32.
    """
    found = unseen(len(images))
    if len(images):
        light = len(_LIGHT)
        found[:, :light] = features(images)
        found[:, light] = np.sqrt((images >= _BRIGHTEST).mean(axis=(1, 2, 3)))
        for column, name in enumerate(("width", "height"), light + 1):
            found[:, column] = np.log(np.maximum(table[name], 1))
    for row, sums in zip(found, streaks, strict=True):
        if sums is not None:
            row[_CROPS:] = sums
    return found


def mirrored(sums: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """`streak_sums` of the crop turned left to right."""
    return None if sums is None else sums * np.array([1, -1, 1, -1, 1, 1, 1, 1], np.float32)


def span_looks(looks: NDArray[np.float32], vote: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the crops of a span look like together, a vote counting once.

    Parameters
    ----------
    looks : ndarray
        ``(n, len(LOOKS))``, from `looks_of`.
    vote : ndarray
        ``(n,)`` int, number of the vote of each crop.

    Returns
    -------
    ndarray
        ``(len(SPAN_LOOKS),)`` float64; NaN where there are fewer than `FEWEST` streaks.
    """
    found = np.full(len(SPAN_LOOKS), np.nan)
    if not len(looks):
        return found
    _, number = np.unique(vote, return_inverse=True)
    weight = 1 / np.bincount(number)[number]
    found[:_CROPS] = (weight / weight.sum()) @ looks[:, :_CROPS].astype(np.float64)
    seen = looks[looks[:, _CROPS] >= 0, _CROPS:].astype(np.float64)
    total = seen.sum(0) if len(seen) else np.zeros(len(_STREAK) + 1)
    if total[0] >= FEWEST:
        found[_CROPS] = np.sqrt(total[0] / len(seen))
        found[_CROPS + 1 :] = total[1:] / total[0]
    return found
