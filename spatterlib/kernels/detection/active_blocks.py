"""Where two frames can differ by more than a threshold: read at the pace of memory, band by band of rows.

Outside of what `active_rgb` and `active_yuv` give nothing can pass the threshold; only the rest is looked at pixel by
pixel. A band's largest changes, column by column, bound those of its rows.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BAND, BLOCK, Box, Image

Active: TypeAlias = tuple[NDArray[np.int64], Image]


@kernel
def _apart(one: np.uint8, other: np.uint8) -> np.uint8:
    return np.uint8(max(one, other) - min(one, other))


@kernel
def _largest(values: Image) -> np.int32:
    largest = np.uint8(0)
    for j in range(values.shape[0]):
        largest = max(largest, values[j])
    return np.int32(largest)


@kernel
def _reach_rgb(most: Image, weights: NDArray[np.int32], limit: np.int32, reached: Image) -> bool:
    """Note which columns of a band can reach the limit; whether one can."""
    red, green, blue = weights
    if np.int32(red + green + blue) * _largest(most) < limit:
        return False
    for j in range(most.shape[0] // 3):
        warm = np.int32(np.int32(red * np.int32(most[3 * j])) + np.int32(green * np.int32(most[3 * j + 1])))
        reached[j] = np.uint8(np.int32(warm + np.int32(blue * np.int32(most[3 * j + 2]))) >= limit)
    return True


@kernel
def _reach_yuv(
    most: tuple[Image, Image, Image], shift: int, weights: NDArray[np.int32], limit: np.int32, reached: Image
) -> bool:
    """The same for planes, sample by sample of chroma."""
    luma, of_u, of_v = most
    y, u, v = weights
    if y * _largest(luma) + u * _largest(of_u) + v * _largest(of_v) < limit:
        return False
    for k in range(of_u.shape[0]):
        of_y = max(luma[2 * k], luma[2 * k + 1]) if shift == 1 else _largest(luma[k << shift : (k + 1) << shift])
        total = np.int32(np.int32(u * np.int32(of_u[k])) + np.int32(v * np.int32(of_v[k])))
        reached[k] = np.uint8(np.int32(total + np.int32(y * np.int32(of_y))) >= limit)
    return True


@kernel
def _flag(
    reached: Image, offset: int, shift: int, margin: int, width: int, span: NDArray[np.int64], flags: Image
) -> None:
    """From samples of a band that can reach the limit to the span of columns, and the blocks near them."""
    eights = reached.view(np.uint64)
    for n in range(eights.shape[0]):
        if not eights[n]:
            continue
        first, last = 8 * n, 8 * n + 7
        while not reached[first]:
            first += 1
        while not reached[last]:
            last -= 1
        start, stop = max((first << shift) - offset, 0), min(((last + 1) << shift) - offset, width)
        span[0], span[1] = span[0] if span[1] else start, stop
        for block in range(max(start - margin, 0) // BLOCK, min((stop - 1 + margin) // BLOCK + 1, flags.shape[0])):
            flags[block] = 1


@kernel
def _nothing(width: int, height: int) -> Active:
    bands, blocks = -(-height // BAND), -(-width // BLOCK)
    return np.zeros((bands, 2), np.int64), np.zeros((bands, blocks), np.uint8)


@kernel
def _eights(count: int) -> Image:
    return np.zeros(-(-count // 8) * 8, np.uint8)


@kernel
def active_rgb(
    first: Image, second: Image, box: Box, weights: NDArray[np.int32], limit: np.int32, margin: int
) -> Active:
    """Columns outside which, band by band, no weighted sum of channel changes reaches a limit, and blocks near one.

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
    margin : int
        Px: a block of columns is near one that reaches the limit if it has a column that near.

    Returns
    -------
    spans : ndarray
        ``(bands, 2)`` int64, of each band of `BAND` rows: the first column that can reach the limit, and the one
        behind the last, from the corner of the box; 0, 0 if there is none.
    flags : ndarray
        ``(bands, blocks)`` uint8: which blocks of `BLOCK` columns are near one.
    """
    x, y, width, height = box
    spans, flags = _nothing(width, height)
    most, reached, begin = np.empty(3 * width, np.uint8), _eights(width), np.uint64(3 * x)
    for band in range(len(spans)):
        most[:] = 0
        for i in range(np.uint64(y + band * BAND), np.uint64(y + min((band + 1) * BAND, height))):
            for j in range(np.uint64(3 * width)):
                most[j] = max(most[j], _apart(first[i, begin + j], second[i, begin + j]))
        if _reach_rgb(most, weights, limit, reached):
            _flag(reached, 0, 0, margin, width, spans[band], flags[band])
    return spans, flags


@kernel
def active_yuv(
    first: tuple[Image, Image, Image],
    second: tuple[Image, Image, Image],
    box: Box,
    shift: tuple[int, int],
    weights: NDArray[np.int32],
    limit: np.int32,
    margin: int,
) -> Active:
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
    limit, margin
        As in `active_rgb`.
    """
    x, y, width, height = box
    spans, flags = _nothing(width, height)
    left = x >> shift[0]
    offset, count = x - (left << shift[0]), ((x + width - 1) >> shift[0]) + 1 - left
    luma, of_u, of_v = np.zeros(count << shift[0], np.uint8), np.empty(count, np.uint8), np.empty(count, np.uint8)
    reached = _eights(count)
    (y_of_first, u_of_first, v_of_first), (y_of_second, u_of_second, v_of_second) = first, second
    begin, skip, sample = np.uint64(x), np.uint64(offset), np.uint64(left)
    for band in range(len(spans)):
        top, bottom = y + band * BAND, y + min((band + 1) * BAND, height)
        luma[:], of_u[:], of_v[:] = 0, 0, 0
        # The planes by turns: what comes next in each is fetched meanwhile. No calls: each would count references.
        for c in range(top >> shift[1], ((bottom - 1) >> shift[1]) + 1):
            for i in range(max(top, c << shift[1]), min(bottom, (c + 1) << shift[1])):
                row = np.uint64(i)
                for j in range(np.uint64(width)):
                    change = _apart(y_of_first[row, begin + j], y_of_second[row, begin + j])
                    luma[skip + j] = max(luma[skip + j], change)
            row = np.uint64(c)
            for k in range(np.uint64(count)):
                of_u[k] = max(of_u[k], _apart(u_of_first[row, sample + k], u_of_second[row, sample + k]))
            for k in range(np.uint64(count)):
                of_v[k] = max(of_v[k], _apart(v_of_first[row, sample + k], v_of_second[row, sample + k]))
        if _reach_yuv((luma, of_u, of_v), shift[0], weights, limit, reached):
            _flag(reached, offset, shift[0], margin, width, spans[band], flags[band])
    return spans, flags
