"""Where two frames can differ by more than a threshold: read at the pace of memory, block by block of 32 px.

Outside of what `active_rgb` and `active_yuv` give nothing can pass the threshold; only the rest is looked at pixel by
pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from spatterlib.kernels import vectors
from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BAND, BLOCK, Image
from spatterlib.kernels.vectors import BYTE, SHORT

Weights: TypeAlias = tuple[np.uint16, np.uint16, np.uint16]
Active: TypeAlias = tuple[NDArray[np.int64], Image]
_MOST = np.int64(65_535)
_WEIGHTS: Any = types.UniTuple(types.uint16, 3)  # type: ignore[no-untyped-call]


@kernel
def _rounded(weights: NDArray[np.int32], limit: np.int32) -> tuple[Weights, np.uint16]:
    """Weights and limit in 16 bits: what reaches the limit reaches it still, and hardly anything else does."""
    red, green, blue = weights
    few = np.uint16(-(-red >> 8)), np.uint16(-(-green >> 8)), np.uint16(-(-blue >> 8))
    return few, np.uint16(min(max(np.int64(limit) >> 8, np.int64(0)), _MOST))


@kernel
def _apart(first: Image, second: Image, row: int, column: int) -> np.int64:
    # Not int(), which Numba takes for an unsigned number here.
    return np.int64(abs(np.int64(first[row, column]) - np.int64(second[row, column])))


@kernel
def _few_rgb(
    first: Image, second: Image, row: int, column: int, count: int, weights: Weights, limit: np.uint16
) -> np.uint32:
    """Which of `count` pixels from a byte on change so much that the weighted sum reaches the limit, as bits."""
    found = np.int64(0)
    for j in range(count):
        total = np.int64(0)
        for channel in range(3):
            total += np.int64(weights[channel]) * _apart(first, second, row, column + 3 * j + channel)
        found |= np.int64(min(total, _MOST) >= limit) << j
    return np.uint32(found)


@kernel
def _few_yuv(
    first: Image,
    second: Image,
    row: int,
    column: int,
    count: int,
    terms: NDArray[np.uint16],
    at: int,
    weight: np.uint16,
    limit: np.uint16,
) -> np.uint32:
    """The same for luma, given what chroma adds from `at` on."""
    found = np.int64(0)
    for j in range(count):
        total = np.int64(weight) * _apart(first, second, row, column + j) + np.int64(terms[at + j])
        found |= np.int64(min(total, _MOST) >= limit) << j
    return np.uint32(found)


@kernel
def _few_terms(
    one: tuple[Image, Image],
    other: tuple[Image, Image],
    row: int,
    column: int,
    count: int,
    weights: Weights,
    terms: NDArray[np.uint16],
    at: int,
    times: int,
) -> None:
    """What the changes of `count` samples of chroma add, each so many times."""
    for k in range(count):
        of_u = np.int64(weights[1]) * _apart(one[0], other[0], row, column + k)
        total = min(of_u + np.int64(weights[2]) * _apart(one[1], other[1], row, column + k), _MOST)
        for n in range(times):
            terms[at + times * k + n] = total


def _of_block(few: Any) -> Callable[..., Any]:
    return lambda *args: few(*args[:4], BLOCK, *args[4:])


def _plain_stir(first: Image, second: Image, row: int, column: int, level: int) -> bool:
    end = column + 6 * BLOCK
    return bool((np.abs(first[row, column:end].astype(int) - second[row, column:end]) >= level).any())


@vectors.operation(_plain_stir)
def _stir(typing: Any, first: Any, second: Any, row: Any, column: Any, level: Any) -> Any:
    """Whether any channel of the 64 pixels from a byte on changes by a level or more."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        most = None
        for part in range(3):
            index = args[2], builder.add(args[3], vectors.whole(2 * BLOCK * part))
            change = _change(context, builder, signature.args[:2], args[:2], index, 2 * BLOCK)
            most = change if most is None else vectors.higher(builder, most, change)
        level = vectors.spread(builder, args[4], 2 * BLOCK)
        reached = vectors.bits(builder, builder.icmp_unsigned(">=", most, level))
        return builder.icmp_unsigned("!=", reached, ir.Constant(reached.type, 0))

    return types.boolean(first, second, types.intp, types.intp, types.uint8), code


def _change(context: Any, builder: Any, kinds: Any, arrays: Any, index: Any, count: int) -> Any:
    """How far bytes of two arrays are apart."""
    chosen = vectors.vector(BYTE, count)
    pointers = (vectors.place(context, builder, *pair, index, chosen) for pair in zip(kinds, arrays, strict=True))
    return vectors.apart(builder, *(vectors.read(builder, pointer) for pointer in pointers))


def _weighed(builder: Any, change: Any, weight: Any) -> Any:
    wide = vectors.widen(builder, change, SHORT)
    return builder.mul(wide, vectors.spread(builder, weight, change.type.count))


@vectors.operation(_of_block(_few_rgb))
def _rgb_hits(typing: Any, first: Any, second: Any, row: Any, column: Any, weights: Any, limit: Any) -> Any:
    """`_few_rgb` of 32 pixels."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        change = _change(context, builder, signature.args[:2], args[:2], args[2:4], 3 * BLOCK)
        total = None
        for channel, weight in enumerate(vectors.unpacked(builder, args[4])):
            part = _weighed(builder, vectors.pick(builder, change, range(channel, 3 * BLOCK, 3)), weight)
            total = part if total is None else vectors.sum_of(builder, total, part)
        return vectors.bits(builder, builder.icmp_unsigned(">=", total, vectors.spread(builder, args[5], BLOCK)))

    return types.uint32(first, second, types.intp, types.intp, _WEIGHTS, types.uint16), code


@vectors.operation(_of_block(_few_yuv))
def _yuv_hits(
    typing: Any, first: Any, second: Any, row: Any, column: Any, terms: Any, at: Any, weight: Any, limit: Any
) -> Any:
    """`_few_yuv` of 32 pixels."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        change = _change(context, builder, signature.args[:2], args[:2], args[2:4], BLOCK)
        pointer = vectors.place(context, builder, terms, args[4], args[5:6], vectors.vector(SHORT, BLOCK))
        total = vectors.sum_of(builder, _weighed(builder, change, args[6]), vectors.read(builder, pointer, 2))
        return vectors.bits(builder, builder.icmp_unsigned(">=", total, vectors.spread(builder, args[7], BLOCK)))

    signature = types.uint32(first, second, types.intp, types.intp, terms, types.intp, types.uint16, types.uint16)
    return signature, code


@vectors.operation(_of_block(_few_terms))
def _terms(
    typing: Any, one: Any, other: Any, row: Any, column: Any, weights: Any, terms: Any, at: Any, times: Any
) -> Any:
    """`_few_terms` of 32 samples, each once or twice."""
    count = times.literal_value

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        total, weight = None, vectors.unpacked(builder, args[4])
        arrays = list(zip(*(vectors.unpacked(builder, frame) for frame in args[:2]), strict=True))
        for k, kinds in enumerate(zip(one, other, strict=True)):
            change = _change(context, builder, kinds, arrays[k], args[2:4], BLOCK)
            part = _weighed(builder, change, weight[1 + k])
            total = part if total is None else vectors.sum_of(builder, total, part)
        total = vectors.pick(builder, total, [k // count for k in range(count * BLOCK)])
        pointer = vectors.place(context, builder, terms, args[5], args[6:7], total.type)
        vectors.store(builder, total, pointer, 2)
        return context.get_dummy_value()

    return types.void(one, other, types.intp, types.intp, _WEIGHTS, terms, types.intp, times), code


@kernel
def _hits_rgb(
    first: Image,
    second: Image,
    rows: tuple[int, int],
    x: int,
    width: int,
    weights: Weights,
    limit: np.uint16,
    level: np.uint8,
    found: NDArray[np.uint32],
) -> None:
    """Note which columns reach the limit in some rows, 32 as the bits of one number."""
    found[:], over = 0, width % BLOCK
    for i in range(rows[0], rows[1]):
        if width < BLOCK:
            found[0] |= _few_rgb(first, second, i, 3 * x, width, weights, limit)
            continue
        for k in range(width // BLOCK // 2):
            at = 3 * (x + 2 * BLOCK * k)
            if _stir(first, second, i, at, level):
                found[2 * k] |= _rgb_hits(first, second, i, at, weights, limit)
                found[2 * k + 1] |= _rgb_hits(first, second, i, at + 3 * BLOCK, weights, limit)
        if width // BLOCK % 2:
            last = width // BLOCK - 1
            found[last] |= _rgb_hits(first, second, i, 3 * (x + BLOCK * last), weights, limit)
        if over:
            # The last block reaches back into the one before it.
            hits = _rgb_hits(first, second, i, 3 * (x + width - BLOCK), weights, limit)
            found[-1] |= hits >> np.uint32(BLOCK - over)


@kernel
def _hits_yuv(
    first: tuple[Image, Image, Image],
    second: tuple[Image, Image, Image],
    rows: tuple[int, int],
    x: int,
    width: int,
    shift: tuple[int, int],
    weights: Weights,
    limit: np.uint16,
    terms: NDArray[np.uint16],
    found: NDArray[np.uint32],
) -> None:
    """The same for planes; `terms` has room for what chroma adds to each column."""
    one, other, luma, luma_of_other = (first[1], first[2]), (second[1], second[2]), first[0], second[0]
    left, known, over = x >> shift[0], -1, width % BLOCK
    count, offset = ((x + width - 1) >> shift[0]) + 1 - left, x - (left << shift[0])
    found[:] = 0
    for i in range(rows[0], rows[1]):
        if i >> shift[1] != known:
            known = i >> shift[1]
            if count < BLOCK or shift[0] > 1:
                _few_terms(one, other, known, left, count, weights, terms, 0, 1 << shift[0])
            elif shift[0] == 1:
                for k in range(0, count, BLOCK):
                    begin = min(k, count - BLOCK)
                    _terms(one, other, known, left + begin, weights, terms, 2 * begin, 2)
            else:
                for k in range(0, count, BLOCK):
                    begin = min(k, count - BLOCK)
                    _terms(one, other, known, left + begin, weights, terms, begin, 1)
        if width < BLOCK:
            found[0] |= _few_yuv(luma, luma_of_other, i, x, width, terms, offset, weights[0], limit)
            continue
        for k in range(width // BLOCK):
            at = offset + BLOCK * k
            found[k] |= _yuv_hits(luma, luma_of_other, i, x + BLOCK * k, terms, at, weights[0], limit)
        if over:
            begin = width - BLOCK
            hits = _yuv_hits(luma, luma_of_other, i, x + begin, terms, offset + begin, weights[0], limit)
            found[-1] |= hits >> np.uint32(BLOCK - over)


@kernel
def _ends(bits: np.uint32) -> tuple[int, int]:
    """The first bit that is set, and the one behind the last."""
    start, stop = 0, BLOCK
    while not bits >> np.uint32(start) & np.uint32(1):
        start += 1
    while not bits >> np.uint32(stop - 1) & np.uint32(1):
        stop -= 1
    return start, stop


@kernel
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


@kernel
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


@kernel
def _band_of(state: NDArray[np.int64], width: int) -> int:
    return int(state[1] - 1 if state[2] == 0 and state[3] == width else state[0])


@kernel
def _begun(width: int, height: int) -> tuple[NDArray[np.uint32], NDArray[np.int64], Image, NDArray[np.int64]]:
    """Room for the hits of one band, and for the spans and flags of all; the state of `_next`."""
    bands, blocks = -(-height // BAND), -(-width // BLOCK)
    spans, flags = np.empty((bands, 2), np.int64), np.empty((bands, blocks), np.uint8)
    return np.empty(blocks, np.uint32), spans, flags, np.array([0, bands, width, 0])


@kernel
def active_rgb(
    first: Image,
    second: Image,
    box: tuple[int, int, int, int],
    weights: NDArray[np.int32],
    limit: np.int32,
    margin: int,
) -> Active:
    """Columns outside which, band by band, no weighted sum of channel changes reaches a limit, and blocks near one.

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
    margin : int
        Px: a block of columns is near one that reaches the limit if it has a column that near.

    Returns
    -------
    spans : ndarray
        ``(bands, 2)`` int64, of each band of `BAND` rows: the first column that reaches the limit, and the one behind
        the last, from the corner of the box; equal if there is none. Bands that need not be read, because everything
        moves, are given whole.
    flags : ndarray
        ``(bands, blocks)`` uint8: which blocks of `BLOCK` columns are near one.
    """
    x, y, width, height = box
    few, least = _rounded(weights, limit)
    # Some channel changes that much where the sum reaches the limit.
    level = np.uint8(min(max(-(-limit // max(weights.sum(), 1)), 0), 255))  # type: ignore[operator,unused-ignore]
    found, spans, flags, state = _begun(width, height)
    more = height > 0
    while more:
        band = _band_of(state, width)
        rows = (y + band * BAND, y + min((band + 1) * BAND, height))
        _hits_rgb(first, second, rows, x, width, few, least, level, found)
        more = _next(spans, flags, state, _note(found, margin, flags[band]), width)
    return spans, flags


@kernel
def active_yuv(
    first: tuple[Image, Image, Image],
    second: tuple[Image, Image, Image],
    box: tuple[int, int, int, int],
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
    room = (((x + width - 1) >> shift[0]) + 1 - (x >> shift[0])) << shift[0]
    terms = np.empty(room, np.uint16)
    few, least = _rounded(weights, limit)
    found, spans, flags, state = _begun(width, height)
    more = height > 0
    while more:
        band = _band_of(state, width)
        rows = (y + band * BAND, y + min((band + 1) * BAND, height))
        _hits_yuv(first, second, rows, x, width, shift, few, least, terms, found)
        more = _next(spans, flags, state, _note(found, margin, flags[band]), width)
    return spans, flags
