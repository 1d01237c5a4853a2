"""From bands of rows and blocks of columns that are active to the rectangle around them and to runs of its rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BAND, BLOCK, Image


@kernel
def _around(spans: NDArray[np.int64], margin: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Rectangle ``(x, y, width, height)`` around all spans, larger by a margin where the frame allows it.

    Its columns are whole blocks as far as the frame goes: what is computed is computed block by block.
    """
    left, right, first, last = width, 0, 0, 0
    for k in range(spans.shape[0]):
        if spans[k, 1] > spans[k, 0]:
            left, right = min(left, spans[k, 0]), max(right, spans[k, 1])
            first, last = first if last else k, k + 1
    if last == 0:
        return 0, 0, 0, 0
    x, y = max(left - margin, 0) // BLOCK * BLOCK, max(first * BAND - margin, 0)
    right = min(-(-(right + margin) // BLOCK) * BLOCK, width)
    return x, y, right - x, min(min(last * BAND, height) + margin, height) - y


@kernel
def _near(spans: NDArray[np.int64], flags: Image, bands: tuple[int, int], row: Image) -> None:
    """Which blocks some bands flag."""
    row[:] = 0
    for k in range(bands[0], bands[1]):
        if spans[k, 1] > spans[k, 0]:
            for j in range(row.shape[0]):
                row[j] |= flags[k, j]


@kernel
def _row_runs(row: Image, i: int, rectangle: tuple[int, int, int, int], runs: NDArray[np.int64], count: int) -> int:
    """Append the runs of blocks in one row; how many runs there are then."""
    x, width, open_ = rectangle[0], rectangle[2], False
    for j in range(x // BLOCK, -(-(x + width) // BLOCK)):
        if row[j] and not open_:
            runs[count, 0], runs[count, 1] = i, j * BLOCK - x
            count += 1
        if row[j]:
            runs[count - 1, 2] = min((j + 1) * BLOCK - x, width)
        open_ = row[j] != 0
    return count


@kernel
def runs_of(
    spans: NDArray[np.int64], flags: Image, margins: tuple[int, int], size: tuple[int, int], runs: NDArray[np.int64]
) -> tuple[tuple[int, int, int, int], int]:
    """Rectangle around all spans, and in each of its rows the runs of blocks near one.

    Parameters
    ----------
    spans, flags : ndarray
        As `spatterlib.kernels.detection.active_blocks.active_rgb` gives them.
    margins : tuple of int
        Px, how much larger the rectangle is, and how near rows are.
    size : tuple of int
        ``(width, height)`` px of the frame.
    runs : ndarray
        ``(k, 3)`` int64, written: row, first column and the one behind the last, from the rectangle's corner; in
        whole blocks of `BLOCK` as far as the frame goes. `most_runs` says how many there can be.

    Returns
    -------
    rectangle : tuple of int
        ``(x, y, width, height)`` px; width 0 if nothing counts.
    count : int
        Of the runs.
    """
    rectangle = _around(spans, margins[0], size[0], size[1])
    y, height = rectangle[1], rectangle[3]
    row, count, begin, known = np.empty(flags.shape[1], np.uint8), 0, 0, (-1, -1)
    for i in range(height):
        bands = max(y + i - margins[1], 0) // BAND, min((y + i + margins[1]) // BAND + 1, spans.shape[0])
        if bands == known:
            # The same bands are near as in the row before, so its runs are the same.
            same = count - begin
            for k in range(begin, begin + same):
                runs[k + same, 0], runs[k + same, 1], runs[k + same, 2] = i, runs[k, 1], runs[k, 2]
            begin, count = count, count + same
            continue
        begin, known = count, bands
        _near(spans, flags, bands, row)
        count = _row_runs(row, i, rectangle, runs, count)
    return rectangle, count


def most_runs(width: int, height: int) -> int:
    """How many runs a frame can have."""
    return height * ((-(-width // BLOCK) + 1) // 2)
