"""Colour: from a decoder's planes to RGB, and to the grey difference of two frames.

Block by block of 32 columns, and by plain loops what is left over; they say the same. Every operation is cast back to
32 bits, because Numba computes in 64 and would halve the width of the vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from spatterlib.kernels import vectors
from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BLOCK, BLUE, GREEN, REACH, RED, Image
from spatterlib.kernels.vectors import BYTE, LONG

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


def _chroma_of_block(
    u: Image, v: Image, row: int, first: int, matrix: NDArray[np.int32], many: NDArray[np.int32], start: int
) -> None:
    _chroma(u, v, (np.uint64(row), np.uint64(first), np.uint64(BLOCK // 2)), 1, matrix, many, np.uint64(start))


@vectors.operation(_chroma_of_block)
def _chroma_block(typing: Any, u: Any, v: Any, row: Any, first: Any, matrix: Any, many: Any, start: Any) -> Any:
    """`_chroma` of 16 samples, each of which is that of two columns of luma."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, middle = vectors.vector(BYTE, BLOCK // 2), vectors.fill(LONG, BLOCK // 2, 128)
        samples = []
        for which, array in zip((u, v), args[:2], strict=True):
            values = vectors.read(builder, vectors.place(context, builder, which, array, args[2:4], kind))
            samples.append(builder.sub(vectors.widen(builder, values, LONG), middle))
        of = [vectors.number(context, builder, matrix, args[4], k, BLOCK // 2) for k in range(6)]
        green = builder.add(builder.mul(of[3], samples[1]), builder.mul(of[4], samples[0]))
        for channel, term in enumerate((builder.mul(of[2], samples[1]), green, builder.mul(of[5], samples[0]))):
            twice = vectors.pick(builder, term, [k // 2 for k in range(BLOCK)])
            index = vectors.whole(channel), args[6]
            vectors.store(builder, twice, vectors.place(context, builder, many, args[5], index, twice.type), 4)
        return context.get_dummy_value()

    return types.void(u, v, types.intp, types.intp, matrix, many, types.intp), code


def _luma_block(context: Any, builder: Any, kind: Any, array: Any, matrix: Any, factors: Any, index: Any) -> Any:
    pointer = vectors.place(context, builder, kind, array, index, vectors.vector(BYTE, BLOCK))
    black, factor = (vectors.number(context, builder, matrix, factors, k, BLOCK) for k in range(2))
    above = builder.sub(vectors.widen(builder, vectors.read(builder, pointer), LONG), black)
    above = vectors.higher(builder, above, vectors.fill(LONG, BLOCK, 0), signed=True)
    return builder.add(builder.mul(above, factor), vectors.fill(LONG, BLOCK, int(_HALF)))


def _level_block(context: Any, builder: Any, luma: Any, kind: Any, many: Any, index: Any) -> Any:
    """A channel's levels, given luma and where its terms of chroma are."""
    terms = vectors.read(builder, vectors.place(context, builder, kind, many, index, luma.type), 4)
    level = builder.ashr(builder.add(luma, terms), vectors.fill(LONG, BLOCK, int(_BITS)))
    level = vectors.higher(builder, level, vectors.fill(LONG, BLOCK, 0), signed=True)
    return vectors.lower(builder, level, vectors.fill(LONG, BLOCK, 255), signed=True)


@kernel
def _chroma_along(
    u: Image,
    v: Image,
    row: int,
    first: int,
    count: int,
    shift: int,
    matrix: NDArray[np.int32],
    many: NDArray[np.int32],
) -> None:
    """`_chroma` from column 0 on, by blocks where each sample is that of two columns."""
    half = BLOCK // 2
    if shift == 1 and count >= half:
        for k in range(0, count, half):
            # The last block reaches back into the one before it.
            begin = min(k, count - half)
            _chroma_block(u, v, row, first + begin, matrix, many, 2 * begin)
        return
    _chroma(u, v, (np.uint64(row), np.uint64(first), np.uint64(count)), shift, matrix, many, np.uint64(0))


@kernel
def _rgb_at(
    y: Image,
    place: tuple[np.uint64, np.uint64, np.uint64],
    matrix: NDArray[np.int32],
    many: NDArray[np.int32],
    at: np.uint64,
    out: Image,
    target: tuple[np.uint64, np.uint64],
) -> None:
    """RGB of a stretch of a row, given the terms of chroma from `at` on."""
    row, left, count = place
    black, factor = matrix[0], matrix[1]
    for j in range(count):
        a = np.int32(np.int32(max(np.int32(np.int32(y[row, left + j]) - black), np.int32(0)) * factor) + _HALF)
        for channel in range(np.uint64(3)):
            out[target[0], target[1] + j, channel] = np.uint8(_level(a, many[channel, at + j]))


def _rgb_of_block(
    y: Image,
    row: int,
    left: int,
    matrix: NDArray[np.int32],
    many: NDArray[np.int32],
    at: int,
    out: Image,
    line: int,
    column: int,
) -> None:
    place, target = (np.uint64(row), np.uint64(left), np.uint64(BLOCK)), (np.uint64(line), np.uint64(column))
    _rgb_at(y, place, matrix, many, np.uint64(at), out, target)


@vectors.operation(_rgb_of_block)
def _rgb_block(
    typing: Any,
    y: Any,
    row: Any,
    left: Any,
    matrix: Any,
    many: Any,
    at: Any,
    out: Any,
    line: Any,
    column: Any,
) -> Any:
    """`_rgb_at` of 32 columns."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        luma = _luma_block(context, builder, y, args[0], matrix, args[3], args[1:3])
        channels = []
        for channel in range(3):
            level = _level_block(context, builder, luma, many, args[4], (vectors.whole(channel), args[5]))
            channels.append(builder.trunc(level, vectors.vector(BYTE, BLOCK)))
        both = vectors.pick(builder, channels[0], range(2 * BLOCK), channels[1])
        third = vectors.pick(builder, channels[2], [*range(BLOCK)] * 2)
        mixed = [k + n * BLOCK for k in range(BLOCK) for n in range(3)]
        pixels = vectors.pick(builder, both, mixed, third)
        index = args[7], builder.mul(args[8], vectors.whole(3))
        vectors.store(builder, pixels, vectors.place(context, builder, out, args[6], index, pixels.type))
        return context.get_dummy_value()

    place = types.intp
    return types.void(y, place, place, matrix, many, place, out, place, place), code


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
        ``(height, width, 3)`` uint8 RGB, written; no gaps between the pixels of a row.
    """
    width = out.shape[1]
    skip = left - (left >> shift[0] << shift[0])
    count = (skip + width + (1 << shift[0]) - 1) >> shift[0]
    many = np.empty((3, count << shift[0]), np.int32)
    known = -1
    for i in range(out.shape[0]):
        row = (top + i) >> shift[1]
        if row != known:
            _chroma_along(u, v, row, left >> shift[0], count, shift[0], matrix, many)
            known = row
        if width >= BLOCK:
            for k in range(0, width, BLOCK):
                # The last block reaches back into the one before it.
                begin = min(k, width - BLOCK)
                _rgb_block(y, top + i, left + begin, matrix, many, skip + begin, out, i, begin)
            continue
        place = (np.uint64(top + i), np.uint64(left), np.uint64(width))
        _rgb_at(y, place, matrix, many, np.uint64(skip), out, (np.uint64(i), np.uint64(0)))


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


def _change_of_block(
    first: Image,
    second: Image,
    row: int,
    left: int,
    matrix: NDArray[np.int32],
    one: NDArray[np.int32],
    other: NDArray[np.int32],
    at: int,
    out: Image,
    line: int,
    column: int,
) -> None:
    place, target = (np.uint64(row), np.uint64(left), np.uint64(BLOCK)), (np.uint64(line), np.uint64(column))
    _change_at(first, second, place, matrix, one, other, np.uint64(at), out, target)


@vectors.operation(_change_of_block)
def _change_block(
    typing: Any,
    first: Any,
    second: Any,
    row: Any,
    left: Any,
    matrix: Any,
    one: Any,
    other: Any,
    at: Any,
    out: Any,
    line: Any,
    column: Any,
) -> Any:
    """`_change_at` of 32 columns."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        grey = vectors.fill(LONG, BLOCK, 1 << 14)
        lumas = [
            _luma_block(context, builder, signature.args[k], args[k], matrix, args[4], args[2:4]) for k in range(2)
        ]
        for channel, weight in enumerate((RED, GREEN, BLUE)):
            index = vectors.whole(channel), args[7]
            levels = (
                _level_block(context, builder, luma, signature.args[k], args[k], index)
                for k, luma in enumerate(lumas, 5)
            )
            change = vectors.apart(builder, *levels)
            grey = builder.add(grey, builder.mul(change, vectors.fill(LONG, BLOCK, int(weight))))
        grey = builder.trunc(builder.lshr(grey, vectors.fill(LONG, BLOCK, 15)), vectors.vector(BYTE, BLOCK))
        vectors.store(builder, grey, vectors.place(context, builder, out, args[8], args[9:11], grey.type))
        return context.get_dummy_value()

    place = types.intp
    return types.void(first, second, place, place, matrix, one, other, place, out, place, place), code


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
            # Not by `_chroma_along`, whose call takes longer than a block.
            column, blocks = left >> shift[0], 2 * count // BLOCK if shift[0] == 1 else 0
            for k in range(blocks):
                at, place = column + k * BLOCK // 2, start + k * BLOCK
                _chroma_block(u, v, row, at, matrix, one, place)
                _chroma_block(u_of_second, v_of_second, row, at, matrix, other, place)
            done = blocks * BLOCK // 2
            if done < count:
                rest = (np.uint64(row), np.uint64(column + done), np.uint64(count - done))
                _chroma(u, v, rest, shift[0], matrix, one, np.uint64(start + (done << shift[0])))
                _chroma(u_of_second, v_of_second, rest, shift[0], matrix, other, np.uint64(start + (done << shift[0])))
        done = start
        while done + BLOCK <= stop:
            at, column = done + skip, left + done - start
            _change_block(y, y_of_second, top, column, matrix, one, other, at, out, REACH + i, REACH + done)
            done += BLOCK
        if done < stop:
            rest = (np.uint64(top), np.uint64(left + done - start), np.uint64(stop - done))
            target = (np.uint64(REACH + i), np.uint64(REACH + done))
            _change_at(y, y_of_second, rest, matrix, one, other, np.uint64(done + skip), out, target)


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
