"""Colour: from a decoder's planes to RGB, and to the grey difference of two frames.

Every operation is cast back to 32 bits, because Numba computes in 64 and would halve the width of the vectors.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BLUE, GREEN, REACH, RED, Image

_BITS = np.int32(20)

Terms: TypeAlias = tuple[np.int32, np.int32, np.int32]


@kernel
def _luma(y: np.uint8, black: np.uint8, factor: np.int32) -> np.int32:
    return np.int32(np.int32(max(y, black)) * factor)


@kernel
def _level(luma: np.int32, chroma: np.int32) -> np.int32:
    return np.int32(min(max(np.int32(np.int32(luma + chroma) >> _BITS), np.int32(0)), np.int32(255)))


@kernel
def _term(u: np.uint8, v: np.uint8, factors: tuple[np.int32, np.int32, np.int32]) -> np.int32:
    """What a sample of chroma adds to a channel, with all that is always added."""
    return np.int32(np.int32(np.int32(factors[0] * np.int32(u)) + np.int32(factors[1] * np.int32(v))) + factors[2])


@kernel
def _factors(matrix: NDArray[np.int32], channel: int) -> tuple[np.int32, np.int32, np.int32]:
    """Of U and V in a channel, and what is always added: for rounding, for black, and because no colour is 128."""
    of_u = matrix[4] if channel == 1 else (matrix[5] if channel == 2 else np.int32(0))
    of_v = matrix[2] if channel == 0 else (matrix[3] if channel == 1 else np.int32(0))
    return of_u, of_v, np.int32((1 << 19) - matrix[0] * matrix[1] - 128 * (of_u + of_v))


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
    one = np.uint64(1)
    for channel in range(np.uint64(3)):
        factors = _factors(matrix, channel)
        if shift == 1:
            for k in range(count):
                term = _term(u[row, first + k], v[row, first + k], factors)
                many[channel, start + k + k] = term
                many[channel, start + k + k + one] = term
            continue
        for k in range(count):
            term = _term(u[row, first + k], v[row, first + k], factors)
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
    black, factor, three = np.uint8(matrix[0]), matrix[1], np.uint64(3)
    for j in range(count):
        a = _luma(y[row, left + j], black, factor)
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
def _change(a: np.int32, b: np.int32, one: Terms, other: Terms) -> np.uint8:
    """Grey change of two pixels, given their luma and their terms of chroma."""
    red = np.int32(abs(np.int32(_level(a, one[0]) - _level(b, other[0]))))
    green = np.int32(abs(np.int32(_level(a, one[1]) - _level(b, other[1]))))
    blue = np.int32(abs(np.int32(_level(a, one[2]) - _level(b, other[2]))))
    s = np.int32(np.int32(np.int32(RED * red) + np.int32(GREEN * green)) + np.int32(BLUE * blue))
    return np.uint8(np.int32(s + np.int32(16384)) >> np.int32(15))


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
    many, more = np.empty((3, room), np.int32), np.empty((3, room), np.int32)
    (y, u, v), (y_of_second, u_of_second, v_of_second) = first, second
    red, green, blue = _factors(matrix, 0), _factors(matrix, 1), _factors(matrix, 2)
    black, factor = np.uint8(matrix[0]), matrix[1]
    zero, unit, two = np.uint64(0), np.uint64(1), np.uint64(2)
    out[:] = 0
    for r in range(runs.shape[0]):
        i, start, stop = runs[r]
        row, left, count = np.uint64(corner[1] + i), np.uint64(corner[0] + start), np.uint64(stop - start)
        line, column, c = np.uint64(REACH + i), np.uint64(REACH + start), row >> np.uint64(shift[1])
        sample = left >> np.uint64(shift[0])
        if shift[0] == 1 and left % two == zero:
            # Two pixels to a sample of chroma: its terms stay in registers. What is left comes below.
            for k in range(count // two):
                p, q, n = u[c, sample + k], v[c, sample + k], k + k
                one = _term(p, q, red), _term(p, q, green), _term(p, q, blue)
                p, q = u_of_second[c, sample + k], v_of_second[c, sample + k]
                other = _term(p, q, red), _term(p, q, green), _term(p, q, blue)
                a, b = _luma(y[row, left + n], black, factor), _luma(y_of_second[row, left + n], black, factor)
                out[line, column + n] = _change(a, b, one, other)
                m = n + unit
                a, b = _luma(y[row, left + m], black, factor), _luma(y_of_second[row, left + m], black, factor)
                out[line, column + m] = _change(a, b, one, other)
            done = count // two * two
            left, column, count = left + done, column + done, count - done
        if count:
            sample = left >> np.uint64(shift[0])
            place = c, sample, ((left + count - unit) >> np.uint64(shift[0])) + unit - sample
            _chroma(u, v, place, shift[0], matrix, many, zero)
            _chroma(u_of_second, v_of_second, place, shift[0], matrix, more, zero)
            at = left - (sample << np.uint64(shift[0]))
            for n in range(count):
                a, b = _luma(y[row, left + n], black, factor), _luma(y_of_second[row, left + n], black, factor)
                one = many[zero, at + n], many[unit, at + n], many[two, at + n]
                other = more[zero, at + n], more[unit, at + n], more[two, at + n]
                out[line, column + n] = _change(a, b, one, other)


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
    black, factor = np.uint8(matrix[0]), matrix[1]
    red, green, blue = np.int32(0), np.int32(0), np.int32(0)
    top = np.int32(0)
    for j in range(count):
        a = _luma(y[row, left + j], black, factor)
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
