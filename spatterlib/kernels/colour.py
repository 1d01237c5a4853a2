"""Colour: from a decoder's planes to RGB, and to the grey difference of two frames.

Row by row over small buffers, one plain loop a step: that is what the compiler turns into vector instructions. Every
operation is cast back to 32 bits, because Numba computes in 64 and would halve the width of the vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.kernels import BLUE, GREEN, RED
from spatterlib.types import Image

_HALF = np.int32(1 << 19)
_BITS = np.int32(20)


@njit(cache=True, nogil=True)
def _level(luma: np.int32, chroma: np.int32) -> np.int32:
    return np.int32(min(max(np.int32(np.int32(luma + chroma) >> _BITS), np.int32(0)), np.int32(255)))


@njit(cache=True, nogil=True)
def _luma(row: Image, matrix: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    black, factor = matrix[0], matrix[1]
    for j in range(out.shape[0]):
        above = max(np.int32(np.int32(row[j]) - black), np.int32(0))
        out[j] = np.int32(np.int32(above * factor) + _HALF)


@njit(cache=True, nogil=True)
def _copy(row: Image, out: Image) -> None:
    for j in range(out.shape[0]):
        out[j] = row[j]


@njit(cache=True, nogil=True)
def _terms(
    u: Image,
    v: Image,
    matrix: NDArray[np.int32],
    red: NDArray[np.int32],
    green: NDArray[np.int32],
    blue: NDArray[np.int32],
) -> None:
    v_red, v_green, u_green, u_blue = matrix[2], matrix[3], matrix[4], matrix[5]
    for k in range(u.shape[0]):
        a = np.int32(np.int32(u[k]) - np.int32(128))
        b = np.int32(np.int32(v[k]) - np.int32(128))
        red[k] = np.int32(v_red * b)
        green[k] = np.int32(np.int32(v_green * b) + np.int32(u_green * a))
        blue[k] = np.int32(u_blue * a)


@njit(cache=True, nogil=True)
def _spread(few: NDArray[np.int32], shift: int, many: NDArray[np.int32]) -> None:
    if shift == 0:
        for k in range(few.shape[0]):
            many[k] = few[k]
    elif shift == 1:
        for k in range(few.shape[0]):
            many[2 * k] = few[k]
            many[2 * k + 1] = few[k]
    else:
        for k in range(few.shape[0]):
            for j in range(k << shift, (k + 1) << shift):
                many[j] = few[k]


@njit(cache=True, nogil=True)
def _chroma(
    u: Image,
    v: Image,
    left: int,
    count: int,
    shift: int,
    matrix: NDArray[np.int32],
    few: NDArray[np.int32],
    bytes_: Image,
    many: NDArray[np.int32],
    start: int,
) -> None:
    """Terms that chroma adds to red, green and blue, for a row of luma from ``left >> shift << shift`` on."""
    _copy(u[left >> shift :], bytes_[0, :count])
    _copy(v[left >> shift :], bytes_[1, :count])
    _terms(bytes_[0, :count], bytes_[1, :count], matrix, few[0, :count], few[1, :count], few[2, :count])
    for channel in range(3):
        _spread(few[channel, :count], shift, many[channel, start:])


@njit(cache=True, nogil=True)
def _pack(luma: NDArray[np.int32], chroma: NDArray[np.int32], out: Image) -> None:
    for j in range(out.shape[0]):
        out[j] = np.uint8(_level(luma[j], chroma[j]))


@njit(cache=True, nogil=True)
def _interleave(red: Image, green: Image, blue: Image, out: Image) -> None:
    for j in range(red.shape[0]):
        out[j, 0] = red[j]
        out[j, 1] = green[j]
        out[j, 2] = blue[j]


@njit(cache=True, nogil=True)
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
        ``(height, width, 3)`` uint8 RGB, written.
    """
    width = out.shape[1]
    skip = left - (left >> shift[0] << shift[0])
    count = (skip + width + (1 << shift[0]) - 1) >> shift[0]
    few, halves = np.empty((3, count), np.int32), np.empty((2, count), np.uint8)
    many, luma = np.empty((3, count << shift[0]), np.int32), np.empty(width, np.int32)
    channels = np.empty((3, width), np.uint8)
    known = -1
    for i in range(out.shape[0]):
        row = (top + i) >> shift[1]
        if row != known:
            _chroma(u[row], v[row], left, count, shift[0], matrix, few, halves, many, 0)
            known = row
        _luma(y[top + i, left : left + width], matrix, luma)
        for channel in range(3):
            _pack(luma, many[channel, skip:], channels[channel])
        _interleave(channels[0], channels[1], channels[2], out[i])


@njit(cache=True, nogil=True)
def _add_change(
    luma: NDArray[np.int32],
    chroma: NDArray[np.int32],
    other_luma: NDArray[np.int32],
    other_chroma: NDArray[np.int32],
    weight: np.int32,
    sums: NDArray[np.int32],
) -> None:
    for j in range(sums.shape[0]):
        change = np.int32(abs(np.int32(_level(luma[j], chroma[j]) - _level(other_luma[j], other_chroma[j]))))
        sums[j] = np.int32(sums[j] + np.int32(weight * change))


@njit(cache=True, nogil=True)
def _round(sums: NDArray[np.int32], out: Image) -> None:
    for j in range(out.shape[0]):
        out[j] = np.uint8(np.int32(sums[j] + np.int32(16384)) >> np.int32(15))
        sums[j] = np.int32(0)


@njit(cache=True, nogil=True)
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
        As in `spatterlib.kernels.difference.grey_change_rgb`.
    shift, matrix
        As in `yuv_to_rgb`.
    """
    room = ((out.shape[1] >> shift[0]) + 2) << shift[0]
    few, halves = np.empty((3, room), np.int32), np.empty((2, room), np.uint8)
    many, luma = np.empty((2, 3, room), np.int32), np.empty((2, room), np.int32)
    sums = np.zeros(room, np.int32)
    # Of the run that begins in a column: its row of chroma, and where it ends. Two rows of luma share one of chroma.
    known = np.full((out.shape[1], 2), -1)
    out[:] = 0
    for r in range(runs.shape[0]):
        i, start, stop = runs[r]
        line = out[i]
        width, left, top = stop - start, corner[0] + start, corner[1] + i
        skip = left - (left >> shift[0] << shift[0])
        row = top >> shift[1]
        if known[start, 0] != row or known[start, 1] != stop:
            known[start, 0], known[start, 1] = row, stop
            count = (skip + width + (1 << shift[0]) - 1) >> shift[0]
            _chroma(first[1][row], first[2][row], left, count, shift[0], matrix, few, halves, many[0], start)
            _chroma(second[1][row], second[2][row], left, count, shift[0], matrix, few, halves, many[1], start)
        one, other, part = luma[0, :width], luma[1, :width], sums[:width]
        _luma(first[0][top, left : left + width], matrix, one)
        _luma(second[0][top, left : left + width], matrix, other)
        _add_change(one, many[0, 0, start + skip :], other, many[1, 0, start + skip :], RED, part)
        _add_change(one, many[0, 1, start + skip :], other, many[1, 1, start + skip :], GREEN, part)
        _add_change(one, many[0, 2, start + skip :], other, many[1, 2, start + skip :], BLUE, part)
        _round(part, line[start:stop])


@njit(cache=True, nogil=True)
def _sum(row: Image) -> int:
    total = np.int32(0)
    for j in range(row.shape[0]):
        total = np.int32(total + np.int32(row[j]))
    return int(total)


@njit(cache=True, nogil=True)
def _brighter(red: Image, green: Image, blue: Image, tops: NDArray[np.int32]) -> None:
    for j in range(tops.shape[0]):
        warm = np.int32(np.int32(RED * np.int32(red[j])) + np.int32(GREEN * np.int32(green[j])))
        tops[j] = max(tops[j], np.int32(warm + np.int32(BLUE * np.int32(blue[j]))))


@njit(cache=True, nogil=True)
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
    """As `spatterlib.kernels.difference.measure`, on planes; no RGB is written.

    Parameters
    ----------
    y, u, v, shift, matrix
        As in `yuv_to_rgb`.
    boxes, sums, peaks
        As in `measure`.
    """
    room = ((max(boxes[:, 2].max(), 0) >> shift[0]) + 2) << shift[0]
    few, halves = np.empty((3, room), np.int32), np.empty((2, room), np.uint8)
    many, luma = np.empty((3, room), np.int32), np.empty(room, np.int32)
    channels, tops = np.empty((3, room), np.uint8), np.empty(room, np.int32)
    for k in range(boxes.shape[0]):
        left, top, width, height = boxes[k]
        sums[k], peaks[k] = 0, 0
        if width <= 0 or height <= 0:
            continue
        skip = left - (left >> shift[0] << shift[0])
        count = (skip + width + (1 << shift[0]) - 1) >> shift[0]
        known = -1
        tops[:width] = 0
        for i in range(top, top + height):
            if i >> shift[1] != known:
                known = i >> shift[1]
                _chroma(u[known], v[known], left, count, shift[0], matrix, few, halves, many, 0)
            _luma(y[i, left : left + width], matrix, luma[:width])
            for channel in range(3):
                _pack(luma[:width], many[channel, skip:], channels[channel, :width])
                sums[k, channel] += _sum(channels[channel, :width])
            _brighter(channels[0], channels[1], channels[2], tops[:width])
        peaks[k] = (tops[:width].max() + 16384) >> 15
