"""The grey change of two RGB frames, and what a box of one holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BLUE, GREEN, REACH, RED, Image


@kernel
def grey_change_rgb(first: Image, second: Image, corner: tuple[int, int], runs: NDArray[np.int64], out: Image) -> None:
    """Grey level of the absolute difference of two RGB frames in some runs, 0 elsewhere.

    Parameters
    ----------
    first, second : ndarray
        ``(h, 3 w)`` uint8, C-contiguous, R G B R G B ...
    corner : tuple of int
        ``(x, y)`` px in the frames: what lies in the upper left corner of `out`, inside the rim.
    runs : ndarray
        ``(k, 3)`` int64, from `spatterlib.kernels.detection.active_blocks.active_rgb`.
    out : ndarray
        Uint8 of `spatterlib.kernels.detection.masks.grey_shape`, written behind a rim of `REACH` px:
        ``(9798 R + 19235 G + 3735 B + 16384) >> 15``, as OpenCV does it.
    """
    out[:] = 0
    for r in range(runs.shape[0]):
        # Slices, so that the loop begins at 0: only then does the compiler know that no index is negative.
        line = out[REACH + runs[r, 0], REACH + runs[r, 1] : REACH + runs[r, 2]]
        left, row = 3 * (corner[0] + runs[r, 1]), corner[1] + runs[r, 0]
        x, y = first[row, left:], second[row, left:]
        for j in range(line.shape[0]):
            k = 3 * j
            red = np.int32(np.uint8(max(x[k], y[k]) - min(x[k], y[k])))
            green = np.int32(np.uint8(max(x[k + 1], y[k + 1]) - min(x[k + 1], y[k + 1])))
            blue = np.int32(np.uint8(max(x[k + 2], y[k + 2]) - min(x[k + 2], y[k + 2])))
            warm = np.int32(np.int32(RED * red) + np.int32(GREEN * green))
            grey = np.int32(warm + np.int32(BLUE * blue))
            line[j] = np.uint8(np.int32(grey + np.int32(16384)) >> np.int32(15))


@kernel
def _add(row: Image, totals: NDArray[np.int32]) -> None:
    for j in range(totals.shape[0]):
        totals[j] = np.int32(totals[j] + np.int32(row[j]))


@kernel
def _brightest(row: Image, tops: NDArray[np.int32]) -> None:
    for j in range(tops.shape[0]):
        red, green, blue = np.int32(row[3 * j]), np.int32(row[3 * j + 1]), np.int32(row[3 * j + 2])
        warm = np.int32(np.int32(RED * red) + np.int32(GREEN * green))
        tops[j] = max(tops[j], np.int32(warm + np.int32(BLUE * blue)))


@kernel
def measure(rgb: Image, boxes: NDArray[np.int32], sums: NDArray[np.int64], peaks: Image) -> None:
    """Sum the channels and find the brightest luma in each box.

    Parameters
    ----------
    rgb : ndarray
        ``(h, 3 w)`` uint8, C-contiguous, R G B R G B ...
    boxes : ndarray
        ``(n, 4)`` int32: x, y, width, height in px, inside the frame.
    sums : ndarray
        ``(n, 3)`` int64, written: sum of red, green and blue.
    peaks : ndarray
        ``(n,)`` uint8, written: brightest luma (ITU-R BT.601 weights, rounded).
    """
    for k in range(boxes.shape[0]):
        x, y, width, height = boxes[k]
        sums[k], peaks[k] = 0, 0
        if width <= 0 or height <= 0:
            continue
        totals, tops = np.zeros(3 * width, np.int32), np.zeros(width, np.int32)
        for i in range(y, y + height):
            row = rgb[i, 3 * x : 3 * (x + width)]
            _add(row, totals)
            _brightest(row, tops)
        for channel in range(3):
            sums[k, channel] = totals[channel::3].sum()
        peaks[k] = (tops.max() + 16384) >> 15
