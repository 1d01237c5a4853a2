"""What changed between two frames, and what a box holds.

The recipe's chain is cut where it can be: `active_rgb` and `active_yuv` read both frames once at the pace of memory and
say outside which rectangle nothing can pass the threshold; only the rest is looked at pixel by pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.kernels import BLUE, GREEN, RED
from spatterlib.types import Image

BAND = 8
"""Rows that share their largest changes: fewer make the parts that are looked at tighter, and finding them dearer."""

BLOCK = 32
"""Columns that are looked at together."""


@njit(cache=True, nogil=True)
def _largest_change(first: Image, second: Image, rows: tuple[int, int], left: int, right: int, out: Image) -> None:
    """Largest absolute difference per column ``left .. right - 1``, within rows ``rows[0] .. rows[1] - 1``."""
    line = out[: right - left]
    line[:] = 0
    for i in range(rows[0], rows[1]):
        x, y = first[i, left:right], second[i, left:right]
        for j in range(line.shape[0]):
            line[j] = max(line[j], np.uint8(max(x[j], y[j]) - min(x[j], y[j])))


@njit(cache=True, nogil=True)
def _most(row: Image) -> int:
    most = np.uint8(0)
    for j in range(row.shape[0]):
        most = max(most, row[j])
    return int(most)


@njit(cache=True, nogil=True)
def _note(hits: Image, margin: int, flags: Image) -> tuple[int, int]:
    """Flag the blocks of columns near a hit; the first hit, and the one behind the last, equal if there is none.

    Eight columns at a time, which lie in one block: `hits` is a multiple of 8 long.
    """
    first, last = 0, 0
    words = hits.view(np.uint64)
    flags[:] = 0
    for k in range(words.shape[0]):
        if words[k] == 0:
            continue
        start, stop = 8 * k, 8 * k + 8
        while hits[start] == 0:
            start += 1
        while hits[stop - 1] == 0:
            stop -= 1
        first, last = first if last else start, stop
        for block in range(max(start - margin, 0) // BLOCK, min((stop - 1 + margin) // BLOCK + 1, flags.shape[0])):
            flags[block] = 1
    return first, last


@njit(cache=True, nogil=True)
def _rgb_hits(most: Image, weights: NDArray[np.int32], limit: np.int32, out: Image) -> None:
    red, green, blue = weights[0], weights[1], weights[2]
    for j in range(out.shape[0]):
        warm = np.int32(np.int32(red * np.int32(most[3 * j])) + np.int32(green * np.int32(most[3 * j + 1])))
        out[j] = np.int32(warm + np.int32(blue * np.int32(most[3 * j + 2]))) >= limit


@njit(cache=True, nogil=True)
def _rgb_reach(most: Image, weights: NDArray[np.int32], limit: np.int32, hits: Image) -> bool:
    """Note which columns' changes reach the limit; False if that is clear to be none."""
    if weights.sum() * _most(most) < limit:
        return False
    _rgb_hits(most, weights, limit, hits)
    return True


@njit(cache=True, nogil=True)
def _yuv_hits(y: Image, colour: NDArray[np.int32], factor: np.int32, limit: np.int32, out: Image) -> None:
    for j in range(out.shape[0]):
        out[j] = np.int32(np.int32(factor * np.int32(y[j])) + colour[j]) >= limit


@njit(cache=True, nogil=True)
def _terms(u: Image, v: Image, weights: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    for k in range(u.shape[0]):
        out[k] = np.int32(np.int32(weights[1] * np.int32(u[k])) + np.int32(weights[2] * np.int32(v[k])))


@njit(cache=True, nogil=True)
def _spread(few: NDArray[np.int32], shift: int, many: NDArray[np.int32]) -> None:
    if shift == 1:
        for k in range(few.shape[0]):
            many[2 * k] = few[k]
            many[2 * k + 1] = few[k]
    else:
        for k in range(few.shape[0]):
            many[k << shift : (k + 1) << shift] = few[k]


@njit(cache=True, nogil=True)
def _yuv_reach(
    y: Image,
    u: Image,
    v: Image,
    offset: int,
    shift: int,
    weights: NDArray[np.int32],
    limit: np.int32,
    few: NDArray[np.int32],
    many: NDArray[np.int32],
    hits: Image,
) -> bool:
    """As `_rgb_reach`; column j of luma has the chroma sample ``(j + offset) >> shift``."""
    if weights[0] * _most(y) + weights[1] * _most(u) + weights[2] * _most(v) < limit:
        return False
    _terms(u, v, weights, few)
    _spread(few, shift, many)
    _yuv_hits(y, many[offset:], weights[0], limit, hits)
    return True


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
        ``(3,)`` int32, of the changes of red, green and blue.
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
    most, hits = np.empty(3 * width, np.uint8), np.zeros(-(-width // 8) * 8, np.uint8)
    spans, flags = (
        np.empty((-(-height // BAND), 2), np.int64),
        np.empty((-(-height // BAND), -(-width // BLOCK)), np.uint8),
    )
    state = np.array([0, spans.shape[0], width, 0])
    more = spans.shape[0] > 0
    while more:
        band = _band_of(state, width)
        rows = (y + band * BAND, y + min((band + 1) * BAND, height))
        _largest_change(first, second, rows, 3 * x, 3 * (x + width), most)
        reached = _rgb_reach(most, weights, limit, hits[:width])
        found = _note(hits, margins[1], flags[band]) if reached else (0, 0)
        more = _next(spans, flags, state, found, width)
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
    left, right = x >> shift[0], ((x + width - 1) >> shift[0]) + 1
    luma, u, v = np.empty(width, np.uint8), np.empty(right - left, np.uint8), np.empty(right - left, np.uint8)
    few, many = np.empty(right - left, np.int32), np.empty((right - left) << shift[0], np.int32)
    hits = np.zeros(-(-width // 8) * 8, np.uint8)
    spans, flags = (
        np.empty((-(-height // BAND), 2), np.int64),
        np.empty((-(-height // BAND), -(-width // BLOCK)), np.uint8),
    )
    state = np.array([0, spans.shape[0], width, 0])
    more = spans.shape[0] > 0
    while more:
        band = _band_of(state, width)
        top, bottom = y + band * BAND, y + min((band + 1) * BAND, height)
        _largest_change(first[0], second[0], (top, bottom), x, x + width, luma)
        rows = (top >> shift[1], ((bottom - 1) >> shift[1]) + 1)
        _largest_change(first[1], second[1], rows, left, right, u)
        _largest_change(first[2], second[2], rows, left, right, v)
        offset = x - (left << shift[0])
        reached = _yuv_reach(luma, u, v, offset, shift[0], weights, limit, few, many, hits[:width])
        found = _note(hits, margins[1], flags[band]) if reached else (0, 0)
        more = _next(spans, flags, state, found, width)
    return _runs(spans, flags, margins, (width, height), runs)


@njit(cache=True, nogil=True)
def most_runs(width: int, height: int) -> int:
    """How many runs a frame can have."""
    return height * ((-(-width // BLOCK) + 1) // 2)


@njit(cache=True, nogil=True)
def grey_change_rgb(first: Image, second: Image, corner: tuple[int, int], runs: NDArray[np.int64], out: Image) -> None:
    """Grey level of the absolute difference of two RGB frames in some runs, 0 elsewhere.

    Parameters
    ----------
    first, second : ndarray
        ``(h, 3 w)`` uint8, C-contiguous, R G B R G B ...
    corner : tuple of int
        ``(x, y)`` px: upper left corner of `out` in the frames.
    runs : ndarray
        ``(k, 3)`` int64, from `active_rgb`.
    out : ndarray
        ``(height, width)`` uint8, written: ``(9798 R + 19235 G + 3735 B + 16384) >> 15``, as OpenCV does it.
    """
    out[:] = 0
    for r in range(runs.shape[0]):
        # Slices, so that the loop begins at 0: only then does the compiler know that no index is negative.
        line = out[runs[r, 0], runs[r, 1] : runs[r, 2]]
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


@njit(cache=True, nogil=True)
def _add(row: Image, totals: NDArray[np.int32]) -> None:
    for j in range(totals.shape[0]):
        totals[j] = np.int32(totals[j] + np.int32(row[j]))


@njit(cache=True, nogil=True)
def _brightest(row: Image, tops: NDArray[np.int32]) -> None:
    for j in range(tops.shape[0]):
        red, green, blue = np.int32(row[3 * j]), np.int32(row[3 * j + 1]), np.int32(row[3 * j + 2])
        warm = np.int32(np.int32(RED * red) + np.int32(GREEN * green))
        tops[j] = max(tops[j], np.int32(warm + np.int32(BLUE * blue)))


@njit(cache=True, nogil=True)
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
