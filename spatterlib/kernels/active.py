"""Where two frames can differ by more than a threshold: read at the pace of memory, block by block of 32 px.

Outside of what `active_rgb` and `active_yuv` give nothing can pass the threshold; only the rest is looked at pixel by
pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.kernels.hits import BLOCK, hits_rgb, hits_yuv, rounded
from spatterlib.types import Image

BAND = 8
"""Rows that are looked at together: fewer make the parts that are looked at tighter, and finding them dearer."""


@njit(cache=True, nogil=True)
def _ends(bits: np.uint32) -> tuple[int, int]:
    """The first bit that is set, and the one behind the last."""
    start, stop = 0, BLOCK
    while not bits >> np.uint32(start) & np.uint32(1):
        start += 1
    while not bits >> np.uint32(stop - 1) & np.uint32(1):
        stop -= 1
    return start, stop


@njit(cache=True, nogil=True)
def _note(found: NDArray[np.uint32], margin: int, flags: Image) -> tuple[int, int]:
    """Flag the blocks of columns near a hit; the first hit, and the one behind the last, equal if there is none."""
    first, last = 0, 0
    flags[:] = 0
    for k in range(found.shape[0]):
        if found[k] == 0:
            continue
        start, stop = _ends(found[k])
        start, stop = BLOCK * k + start, BLOCK * k + stop
        first, last = first if last else start, stop
        for block in range(max(start - margin, 0) // BLOCK, min((stop - 1 + margin) // BLOCK + 1, flags.shape[0])):
            flags[block] = 1
    return first, last


@njit(cache=True, nogil=True)
def _next(spans: NDArray[np.int64], flags: Image, state: NDArray[np.int64], found: tuple[int, int], width: int) -> bool:
    """Note what a band's columns are and go on to the next; whether there is one.

    From the top while the columns can still become more, then from the bottom up to the first find; what lies between
    counts as changed unread. So nearly nothing is read where everything moves. `state` is first and last band to
    read, and the columns so far.
    """
    upward = state[2] == 0 and state[3] == width
    number = state[1] - 1 if upward else state[0]
    spans[number, 0], spans[number, 1] = found
    if found[1] > found[0]:
        state[2], state[3] = min(state[2], found[0]), max(state[3], found[1])
    if upward:
        state[1] -= 1
    else:
        state[0] += 1
    if upward and found[1] > found[0]:
        spans[state[0] : state[1], 0], spans[state[0] : state[1], 1] = 0, width
        flags[state[0] : state[1]] = 1
        return False
    return bool(state[0] < state[1])


@njit(cache=True, nogil=True)
def _band_of(state: NDArray[np.int64], width: int) -> int:
    return int(state[1] - 1 if state[2] == 0 and state[3] == width else state[0])


@njit(cache=True, nogil=True)
def _around(spans: NDArray[np.int64], margin: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Rectangle ``(x, y, width, height)`` around all spans, larger by a margin where the frame allows it.

    Its columns are whole blocks of `BLOCK` px as far as the frame goes: the compiler's vector loops are fast on these
    and slow on what is left over.
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


@njit(cache=True, nogil=True)
def _near(spans: NDArray[np.int64], flags: Image, bands: tuple[int, int], row: Image) -> None:
    """Which blocks some bands flag."""
    row[:] = 0
    for k in range(bands[0], bands[1]):
        if spans[k, 1] > spans[k, 0]:
            for j in range(row.shape[0]):
                row[j] |= flags[k, j]


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _runs(
    spans: NDArray[np.int64], flags: Image, margins: tuple[int, int], size: tuple[int, int], runs: NDArray[np.int64]
) -> tuple[tuple[int, int, int, int], int]:
    """Rectangle around all spans, and in each of its rows the runs of blocks near one.

    Parameters
    ----------
    spans, flags : ndarray
        Of each band: first column and the one behind the last that counts; which blocks are near one that counts.
    margins : tuple of int
        Px, how much larger the rectangle is, and how near rows are.
    size : tuple of int
        ``(width, height)`` px of the frame.
    runs : ndarray
        ``(k, 3)`` int64, written: row, first column and the one behind the last, from the rectangle's corner.

    Returns
    -------
    tuple
        The rectangle, and how many runs there are.
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
                runs[k + same] = i, runs[k, 1], runs[k, 2]
            begin, count = count, count + same
            continue
        begin, known = count, bands
        _near(spans, flags, bands, row)
        count = _row_runs(row, i, rectangle, runs, count)
    return rectangle, count


@njit(cache=True, nogil=True)
def active_rgb(
    first: Image,
    second: Image,
    box: tuple[int, int, int, int],
    weights: NDArray[np.int32],
    limit: np.int32,
    margins: tuple[int, int],
    runs: NDArray[np.int64],
) -> tuple[tuple[int, int, int, int], int]:
    """Rectangle, and runs of its rows, outside which no weighted sum of channel changes reaches a limit.

    Parameters
    ----------
    first, second : ndarray
        ``(h, 3 w)`` uint8, C-contiguous, R G B R G B ...
    box : tuple of int
        ``(x, y, width, height)`` px: the part that counts.
    weights : ndarray
        ``(3,)`` int32, of the changes of red, green and blue, 65,536 at most.
    limit : int32
        The sum that counts.
    margins : tuple of int
        Px, how far beyond what reaches the limit the rectangle goes, and the runs.
    runs : ndarray
        ``(k, 3)`` int64, written: row, first column and the one behind the last, from the rectangle's corner; in
        whole blocks of `BLOCK`. `most_runs` says how many there can be.

    Returns
    -------
    rectangle : tuple of int
        ``(x, y, width, height)`` px from the corner of the box; width 0 if nothing reaches the limit.
    count : int
        Of the runs. Bands that need not be read, because everything moves, are given whole.
    """
    x, y, width, height = box
    few, least = rounded(weights, limit)
    # Some channel changes that much where the sum reaches the limit.
    level = np.uint8(min(max(-(-limit // max(weights.sum(), 1)), 0), 255))
    bands, blocks = -(-height // BAND), -(-width // BLOCK)
    found, spans, flags = (
        np.empty(blocks, np.uint32),
        np.empty((bands, 2), np.int64),
        np.empty((bands, blocks), np.uint8),
    )
    state = np.array([0, bands, width, 0])
    more = bands > 0
    while more:
        band = _band_of(state, width)
        rows = (y + band * BAND, y + min((band + 1) * BAND, height))
        hits_rgb(first, second, rows, x, width, few, least, level, found)
        more = _next(spans, flags, state, _note(found, margins[1], flags[band]), width)
    return _runs(spans, flags, margins, (width, height), runs)


@njit(cache=True, nogil=True)
def active_yuv(
    first: tuple[Image, Image, Image],
    second: tuple[Image, Image, Image],
    box: tuple[int, int, int, int],
    shift: tuple[int, int],
    weights: NDArray[np.int32],
    limit: np.int32,
    margins: tuple[int, int],
    runs: NDArray[np.int64],
) -> tuple[tuple[int, int, int, int], int]:
    """As `active_rgb`, for weighted sums of plane changes.

    Parameters
    ----------
    first, second : tuple of ndarray
        Y, U and V planes, uint8; chroma is smaller by ``2 ** shift``, rounded up.
    box : tuple of int
        ``(x, y, width, height)`` px of luma.
    shift : tuple of int
        (horizontal, vertical) chroma subsampling, as powers of two.
    weights : ndarray
        ``(3,)`` int32, of the changes of Y, U and V.
    limit, margins, runs
        As in `active_rgb`.
    """
    x, y, width, height = box
    room = (((x + width - 1) >> shift[0]) + 1 - (x >> shift[0])) << shift[0]
    terms = np.empty(room, np.uint16)
    few, least = rounded(weights, limit)
    bands, blocks = -(-height // BAND), -(-width // BLOCK)
    found, spans, flags = (
        np.empty(blocks, np.uint32),
        np.empty((bands, 2), np.int64),
        np.empty((bands, blocks), np.uint8),
    )
    state = np.array([0, bands, width, 0])
    more = bands > 0
    while more:
        band = _band_of(state, width)
        rows = (y + band * BAND, y + min((band + 1) * BAND, height))
        hits_yuv(first, second, rows, x, width, shift, few, least, terms, found)
        more = _next(spans, flags, state, _note(found, margins[1], flags[band]), width)
    return _runs(spans, flags, margins, (width, height), runs)


@njit(cache=True, nogil=True)
def most_runs(width: int, height: int) -> int:
    """How many runs a frame can have."""
    return height * ((-(-width // BLOCK) + 1) // 2)
