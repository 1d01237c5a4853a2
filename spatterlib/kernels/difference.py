"""What changed between two frames, and what a box holds.

The recipe's chain is cut where it can be: `active_rgb` and `active_yuv` read both frames once at the pace of memory and
say outside which rectangle nothing can pass the threshold; only the rest is looked at pixel by pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.types import Image


@njit(cache=True, nogil=True)
def _largest_change(first: Image, second: Image, start: int, stop: int, out: Image) -> None:
    """Largest absolute difference of two planes per column, within rows ``start .. stop - 1``."""
    out[:] = 0
    for i in range(start, min(stop, first.shape[0])):
        x, y = first[i], second[i]
        for j in range(out.shape[0]):
            out[j] = max(out[j], np.uint8(max(x[j], y[j]) - min(x[j], y[j])))


@njit(cache=True, nogil=True)
def _most(row: Image) -> int:
    most = np.uint8(0)
    for j in range(row.shape[0]):
        most = max(most, row[j])
    return int(most)


@njit(cache=True, nogil=True)
def _rgb_span(most: Image, weights: NDArray[np.int64], limit: int, left: int, right: int) -> tuple[int, int, bool]:
    """Columns that reach the limit, joined with those from `left` to `right`; whether there are any."""
    count = most.shape[0] // 3
    if weights.sum() * _most(most) < limit:
        return left, right, False
    first, last = count, 0
    for j in range(count):
        if weights[0] * most[3 * j] + weights[1] * most[3 * j + 1] + weights[2] * most[3 * j + 2] >= limit:
            first, last = min(first, j), j + 1
    return min(left, first), max(right, last), last > 0


@njit(cache=True, nogil=True)
def active_rgb(
    first: Image, second: Image, band: int, weights: NDArray[np.int64], limit: int
) -> tuple[int, int, int, int]:
    """Columns and bands of rows outside which no weighted sum of channel changes reaches a limit.

    Reads from the top until the columns cannot become more, then from the bottom: where everything moves, nearly
    nothing is read.

    Parameters
    ----------
    first, second : ndarray
        ``(h, 3 w)`` uint8, R G B R G B ...
    band : int
        Rows of a band.
    weights : ndarray
        ``(3,)`` int64, of the changes of red, green and blue.
    limit : int
        The sum that counts.

    Returns
    -------
    tuple of int
        First column, first band, column and band behind the last; all 0 if nothing reaches the limit.
    """
    count, bands = first.shape[1] // 3, (first.shape[0] + band - 1) // band
    most = np.empty(first.shape[1], np.uint8)
    left, right, top, bottom, k, last = count, 0, -1, 0, 0, bands
    while k < last:
        # From the top while the columns can still become more, then from the bottom up to the first find.
        upward = left == 0 and right == count
        number = last - 1 if upward else k
        _largest_change(first, second, number * band, (number + 1) * band, most)
        left, right, some = _rgb_span(most, weights, limit, left, right)
        if some:
            top, bottom = number if top < 0 else top, max(bottom, number + 1)
        if upward and some:
            break
        k, last = (k, last - 1) if upward else (k + 1, last)
    return (left, top, right, bottom) if bottom > 0 else (0, 0, 0, 0)


@njit(cache=True, nogil=True)
def _yuv_span(
    y: Image, u: Image, v: Image, shift: int, weights: NDArray[np.int64], limit: int, left: int, right: int
) -> tuple[int, int, bool]:
    """Columns that reach the limit, joined with those from `left` to `right`; whether there are any."""
    if weights[0] * _most(y) + weights[1] * _most(u) + weights[2] * _most(v) < limit:
        return left, right, False
    first, last = y.shape[0], 0
    for j in range(y.shape[0]):
        if weights[0] * y[j] + weights[1] * u[j >> shift] + weights[2] * v[j >> shift] >= limit:
            first, last = min(first, j), j + 1
    return min(left, first), max(right, last), last > 0


@njit(cache=True, nogil=True)
def active_yuv(
    first: tuple[Image, Image, Image],
    second: tuple[Image, Image, Image],
    shift: tuple[int, int],
    band: int,
    weights: NDArray[np.int64],
    limit: int,
) -> tuple[int, int, int, int]:
    """Columns and bands outside which no weighted sum of plane changes reaches a limit; as `active_rgb`.

    Parameters
    ----------
    first, second : tuple of ndarray
        Y, U and V planes, uint8; chroma is smaller by ``2 ** shift``, rounded up.
    shift : tuple of int
        (horizontal, vertical) chroma subsampling, as powers of two.
    band : int
        Rows of a band, a multiple of ``2 ** shift[1]``.
    weights : ndarray
        ``(3,)`` int64, of the changes of Y, U and V.
    limit : int
        The sum that counts.

    Returns
    -------
    tuple of int
        First column, first band, column and band behind the last; all 0 if nothing reaches the limit.
    """
    height, count = first[0].shape
    bands, low = (height + band - 1) // band, band >> shift[1]
    y, u, v = (
        np.empty(count, np.uint8),
        np.empty(first[1].shape[1], np.uint8),
        np.empty(first[2].shape[1], np.uint8),
    )
    left, right, top, bottom, k, last = count, 0, -1, 0, 0, bands
    while k < last:
        # From the top while the columns can still become more, then from the bottom up to the first find.
        upward = left == 0 and right == count
        number = last - 1 if upward else k
        _largest_change(first[0], second[0], number * band, (number + 1) * band, y)
        _largest_change(first[1], second[1], number * low, (number + 1) * low, u)
        _largest_change(first[2], second[2], number * low, (number + 1) * low, v)
        left, right, some = _yuv_span(y, u, v, shift[0], weights, limit, left, right)
        if some:
            top, bottom = number if top < 0 else top, max(bottom, number + 1)
        if upward and some:
            break
        k, last = (k, last - 1) if upward else (k + 1, last)
    return (left, top, right, bottom) if bottom > 0 else (0, 0, 0, 0)


@njit(cache=True, nogil=True)
def grey_change_rgb(first: Image, second: Image, left: int, top: int, out: Image) -> None:
    """Grey level of the absolute difference of two RGB frames, in a box.

    Parameters
    ----------
    first, second : ndarray
        ``(h, 3 w)`` uint8, C-contiguous, R G B R G B ...
    left, top : int
        Px, upper left corner of the box; its size is that of `out`.
    out : ndarray
        ``(h, w)`` uint8, written: ``(9798 R + 19235 G + 3735 B + 16384) >> 15``, as OpenCV does it.
    """
    for i in range(out.shape[0]):
        x, y, line = first[top + i, 3 * left :], second[top + i, 3 * left :], out[i]
        for j in range(out.shape[1]):
            k = 3 * j
            red = np.int32(np.uint8(max(x[k], y[k]) - min(x[k], y[k])))
            green = np.int32(np.uint8(max(x[k + 1], y[k + 1]) - min(x[k + 1], y[k + 1])))
            blue = np.int32(np.uint8(max(x[k + 2], y[k + 2]) - min(x[k + 2], y[k + 2])))
            warm = np.int32(np.int32(np.int32(9798) * red) + np.int32(np.int32(19235) * green))
            grey = np.int32(warm + np.int32(np.int32(3735) * blue))
            line[j] = np.uint8(np.int32(grey + np.int32(16384)) >> np.int32(15))


@njit(cache=True, nogil=True)
def _across(row: Image, padded: Image, out: NDArray[np.uint16]) -> None:
    """1-4-6-4-1 along a row, mirrored at its ends."""
    width = out.shape[0]
    for j in range(width):
        padded[j + 2] = row[j]
    for j in range(2):
        padded[1 - j] = row[_mirrored(-1 - j, width)]
        padded[width + 2 + j] = row[_mirrored(width + j, width)]
    for j in range(width):
        ends = np.uint16(np.uint16(padded[j]) + np.uint16(padded[j + 4]))
        near = np.uint16(np.uint16(padded[j + 1]) + np.uint16(padded[j + 3]))
        out[j] = np.uint16(ends + np.uint16(np.uint16(4) * near) + np.uint16(6) * np.uint16(padded[j + 2]))


@njit(cache=True, nogil=True)
def _mirrored(index: int, count: int) -> int:
    """Index inside 0 .. count - 1 after reflection about the end pixels (OpenCV's BORDER_REFLECT_101)."""
    if count == 1:
        return 0
    while index < 0 or index >= count:
        index = -index if index < 0 else 2 * count - 2 - index
    return index


@njit(cache=True, nogil=True)
def _down(
    a: NDArray[np.uint16],
    b: NDArray[np.uint16],
    c: NDArray[np.uint16],
    d: NDArray[np.uint16],
    e: NDArray[np.uint16],
    limit: np.uint16,
    out: Image,
) -> None:
    """1-4-6-4-1 across five rows; 255 where the sum reaches the limit."""
    for j in range(out.shape[0]):
        ends, near = np.uint16(a[j] + e[j]), np.uint16(b[j] + d[j])
        total = np.uint16(ends + np.uint16(np.uint16(4) * near) + np.uint16(np.uint16(6) * c[j]))
        out[j] = np.uint8(255) if total >= limit else np.uint8(0)


@njit(cache=True, nogil=True)
def smooth_above(grey: Image, threshold: int, out: Image) -> None:
    """5x5 Gaussian and threshold in one pass: 255 where the smoothed level is greater.

    Parameters
    ----------
    grey : ndarray
        ``(h, w)`` uint8.
    threshold : int
        Grey levels, 0-254.
    out : ndarray
        ``(h, w)`` uint8, written: ``(sum + 128) >> 8 > threshold``, weights 1-4-6-4-1 both ways, as OpenCV does it.
    """
    height, width = grey.shape
    limit = np.uint16(256 * threshold + 128)
    padded, rows = np.empty(width + 4, np.uint8), np.empty((5, width), np.uint16)
    for i in range(-2, height + 2):
        _across(grey[_mirrored(i, height)], padded, rows[(i + 2) % 5])
        if i >= 2:
            k = i - 2
            _down(
                rows[k % 5],
                rows[(k + 1) % 5],
                rows[(k + 2) % 5],
                rows[(k + 3) % 5],
                rows[(k + 4) % 5],
                limit,
                out[k],
            )


@njit(cache=True, nogil=True)
def _add(row: Image, totals: NDArray[np.int32]) -> None:
    for j in range(totals.shape[0]):
        totals[j] = np.int32(totals[j] + np.int32(row[j]))


@njit(cache=True, nogil=True)
def _brightest(row: Image, tops: NDArray[np.int32]) -> None:
    for j in range(tops.shape[0]):
        red, green, blue = np.int32(row[3 * j]), np.int32(row[3 * j + 1]), np.int32(row[3 * j + 2])
        warm = np.int32(np.int32(np.int32(9798) * red) + np.int32(np.int32(19235) * green))
        tops[j] = max(tops[j], np.int32(warm + np.int32(np.int32(3735) * blue)))


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
        totals, tops = np.zeros(3 * width, np.int32), np.zeros(width, np.int32)
        for i in range(y, y + height):
            row = rgb[i, 3 * x : 3 * (x + width)]
            _add(row, totals)
            _brightest(row, tops)
        for channel in range(3):
            sums[k, channel] = totals[channel::3].sum()
        peaks[k] = (tops.max() + 16384) >> 15
