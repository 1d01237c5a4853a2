"""Colour: from a decoder's planes to RGB, and to the grey difference of two frames.

Every operation is cast back to 32 bits, because Numba computes in 64 and would halve the width of the vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BLUE, GREEN, REACH, RED, Image

_HALF = np.int32(1 << 19)
_BITS = np.int32(20)


@kernel
def _level(luma: np.int32, chroma: np.int32) -> np.int32:
    return np.int32(min(max(np.int32(np.int32(luma + chroma) >> _BITS), np.int32(0)), np.int32(255)))


@kernel
def _chroma(
    u: Image,
    v: Image,
    place: tuple[np.uint64, np.uint64, np.uint64],
    shift: int,
    matrix: NDArray[np.int32],
    many: NDArray[np.int32],
    start: np.uint64,
) -> None:
    """Terms that chroma adds to red, green and blue, `place` = row, first column, count; luma column `start` on.

    Unsigned indices instead of slices: the compiler need not think of negative ones, and in narrow places making
    slices costs more than the arithmetic.
    """
    row, first, count = place
    one, half = np.uint64(1), np.int32(128)
    for channel in range(np.uint64(3)):
        # Factors of U and V in this channel; red has no U, blue no V.
        of_u = matrix[4] if channel == 1 else (matrix[5] if channel == 2 else np.int32(0))
        of_v = matrix[2] if channel == 0 else (matrix[3] if channel == 1 else np.int32(0))
        if shift == 1:
            for k in range(count):
                a, b = np.int32(np.int32(u[row, first + k]) - half), np.int32(np.int32(v[row, first + k]) - half)
                term = np.int32(np.int32(of_v * b) + np.int32(of_u * a))
                many[channel, start + k + k] = term
                many[channel, start + k + k + one] = term
            continue
        for k in range(count):
            a, b = np.int32(np.int32(u[row, first + k]) - half), np.int32(np.int32(v[row, first + k]) - half)
            term = np.int32(np.int32(of_v * b) + np.int32(of_u * a))
            for n in range(start + (k << np.uint64(shift)), start + ((k + one) << np.uint64(shift))):
                many[channel, n] = term


@kernel
def _rgb_at(
    y: Image,
    place: tuple[np.uint64, np.uint64, np.uint64],
    matrix: NDArray[np.int32],
    many: NDArray[np.int32],
    at: np.uint64,
    out: NDArray[np.uint8],
    begin: np.uint64,
) -> None:
    """RGB of a stretch of a row, given the terms of chroma from `at` on, into a flat array from `begin` on.

    Flat, because only so does the compiler know that three bytes that follow each other are a pixel.
    """
    row, left, count = place
    black, factor, three = matrix[0], matrix[1], np.uint64(3)
    for j in range(count):
        a = np.int32(np.int32(max(np.int32(np.int32(y[row, left + j]) - black), np.int32(0)) * factor) + _HALF)
        for channel in range(three):
            out[begin + three * j + channel] = np.uint8(_level(a, many[channel, at + j]))


@kernel
def yuv_to_rgb(
    y: Image,
    u: Image,
    v: Image,
    left: int,
    top: int,
    shift: tuple[int, int],
    matrix: NDArray[np.int32],
    out: Image,
) -> None:
    """Convert the box at (`left`, `top`) of planar YUV to RGB, chroma replicated.

    Parameters
    ----------
    y, u, v : ndarray
        ``(h, w)`` uint8 planes; chroma is smaller by ``2 ** shift``, rounded up.
    left, top : int
        Px, upper left corner of the box; its size is that of `out`.
    shift : tuple of int
        (horizontal, vertical) chroma subsampling, as powers of two.
    matrix : ndarray
        ``(6,)`` int32: black level; factors of luma, V in red, V in green, U in green, U in blue, times 2**20.
    out : ndarray
        ``(height, width, 3)`` uint8 RGB, C-contiguous, written.
    """
    width = out.shape[1]
    skip = left - (left >> shift[0] << shift[0])
    count = (skip + width + (1 << shift[0]) - 1) >> shift[0]
    many = np.empty((3, count << shift[0]), np.int32)
    pixels, known = out.reshape(-1), -1
    for i in range(out.shape[0]):
        row = (top + i) >> shift[1]
        if row != known:
            known = row
            place = (np.uint64(row), np.uint64(left >> shift[0]), np.uint64(count))
            _chroma(u, v, place, shift[0], matrix, many, np.uint64(0))
        place = (np.uint64(top + i), np.uint64(left), np.uint64(width))
        _rgb_at(y, place, matrix, many, np.uint64(skip), pixels, np.uint64(3 * i * width))


@kernel
def _change_at(
    first: Image,
    second: Image,
    place: tuple[np.uint64, np.uint64, np.uint64],
    matrix: NDArray[np.int32],
    one: NDArray[np.int32],
    other: NDArray[np.int32],
    at: np.uint64,
    out: Image,
    target: tuple[np.uint64, np.uint64],
) -> None:
    """Grey change of a stretch of two rows of luma, given the terms of chroma from `at` on."""
    row, left, count = place
    black, factor = matrix[0], matrix[1]
    red, green, blue = np.uint64(0), np.uint64(1), np.uint64(2)
    for j in range(count):
        a = np.int32(np.int32(max(np.int32(np.int32(first[row, left + j]) - black), np.int32(0)) * factor) + _HALF)
        b = np.int32(np.int32(max(np.int32(np.int32(second[row, left + j]) - black), np.int32(0)) * factor) + _HALF)
        k = at + j
        r = np.int32(abs(np.int32(_level(a, one[red, k]) - _level(b, other[red, k]))))
        g = np.int32(abs(np.int32(_level(a, one[green, k]) - _level(b, other[green, k]))))
        s = np.int32(np.int32(RED * r) + np.int32(GREEN * g))
        s = np.int32(s + np.int32(BLUE * np.int32(abs(np.int32(_level(a, one[blue, k]) - _level(b, other[blue, k]))))))
        out[target[0], target[1] + j] = np.uint8(np.int32(s + np.int32(16384)) >> np.int32(15))


@kernel
def grey_change_yuv(
    first: tuple[Image, Image, Image],
    second: tuple[Image, Image, Image],
    corner: tuple[int, int],
    shift: tuple[int, int],
    matrix: NDArray[np.int32],
    runs: NDArray[np.int64],
    out: Image,
) -> None:
    """Grey level of the absolute RGB difference of two planar YUV frames in some runs, 0 elsewhere.

    Parameters
    ----------
    first, second : tuple of ndarray
        Y, U and V planes of each frame, as in `yuv_to_rgb`.
    corner, runs, out
        As in `spatterlib.kernels.detection.difference.grey_change_rgb`.
    shift, matrix
        As in `yuv_to_rgb`.
    """
    room = ((out.shape[1] >> shift[0]) + 2) << shift[0]
    one, other = np.empty((3, room), np.int32), np.empty((3, room), np.int32)
    (y, u, v), (y_of_second, u_of_second, v_of_second) = first, second
    # Of the run that begins in a column: its row of chroma, and where it ends. Two rows of luma share one of chroma.
    known = np.empty((out.shape[1], 2), np.int64)
    known[:] = -1
    out[:] = 0
    for r in range(runs.shape[0]):
        i, start, stop = runs[r]
        left, top = corner[0] + start, corner[1] + i
        skip, row = left - (left >> shift[0] << shift[0]), top >> shift[1]
        if known[start, 0] != row or known[start, 1] != stop:
            known[start, 0], known[start, 1] = row, stop
            count = (skip + stop - start + (1 << shift[0]) - 1) >> shift[0]
            place = (np.uint64(row), np.uint64(left >> shift[0]), np.uint64(count))
            _chroma(u, v, place, shift[0], matrix, one, np.uint64(start))
            _chroma(u_of_second, v_of_second, place, shift[0], matrix, other, np.uint64(start))
        place = (np.uint64(top), np.uint64(left), np.uint64(stop - start))
        target = (np.uint64(REACH + i), np.uint64(REACH + start))
        _change_at(y, y_of_second, place, matrix, one, other, np.uint64(start + skip), out, target)


@kernel
def _measure_at(
    y: Image,
    place: tuple[np.uint64, np.uint64, np.uint64],
    matrix: NDArray[np.int32],
    many: NDArray[np.int32],
    at: np.uint64,
    sums: NDArray[np.int64],
) -> np.int32:
    """Add a stretch of a row to the sums of its channels; its brightest luma, not yet rounded."""
    row, left, count = place
    black, factor = matrix[0], matrix[1]
    red, green, blue = np.int32(0), np.int32(0), np.int32(0)
    top = np.int32(0)
    for j in range(count):
        a = np.int32(np.int32(max(np.int32(np.int32(y[row, left + j]) - black), np.int32(0)) * factor) + _HALF)
        r = _level(a, many[np.uint64(0), at + j])
        g = _level(a, many[np.uint64(1), at + j])
        b = _level(a, many[np.uint64(2), at + j])
        red, green, blue = np.int32(red + r), np.int32(green + g), np.int32(blue + b)
        top = max(top, np.int32(np.int32(np.int32(RED * r) + np.int32(GREEN * g)) + np.int32(BLUE * b)))
    sums[0] += red
    sums[1] += green
    sums[2] += blue
    return top


@kernel
def measure_yuv(
    y: Image,
    u: Image,
    v: Image,
    shift: tuple[int, int],
    matrix: NDArray[np.int32],
    boxes: NDArray[np.int32],
    sums: NDArray[np.int64],
    peaks: Image,
) -> None:
    """As `spatterlib.kernels.detection.difference.measure`, on planes; no RGB is written.

    Parameters
    ----------
    y, u, v, shift, matrix
        As in `yuv_to_rgb`.
    boxes, sums, peaks
        As in `measure`.
    """
    widest = 0
    for k in range(boxes.shape[0]):
        widest = max(widest, boxes[k, 2])
    many = np.empty((3, ((widest >> shift[0]) + 2) << shift[0]), np.int32)
    for k in range(boxes.shape[0]):
        left, top, width, height = boxes[k]
        sums[k], peaks[k] = 0, 0
        if width <= 0 or height <= 0:
            continue
        skip = left - (left >> shift[0] << shift[0])
        count = (skip + width + (1 << shift[0]) - 1) >> shift[0]
        known, most = -1, np.int32(0)
        for i in range(top, top + height):
            if i >> shift[1] != known:
                known = i >> shift[1]
                place = (np.uint64(known), np.uint64(left >> shift[0]), np.uint64(count))
                _chroma(u, v, place, shift[0], matrix, many, np.uint64(0))
            place = (np.uint64(i), np.uint64(left), np.uint64(width))
            most = max(most, _measure_at(y, place, matrix, many, np.uint64(skip), sums[k]))
        peaks[k] = (most + 16384) >> 15
