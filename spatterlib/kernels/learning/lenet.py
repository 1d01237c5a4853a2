"""Convolution stages of LeNet5, forward and backward: 5x5 convolution, activation and 2x2 pooling in one pass.

Sixteen crops lie side by side in the last axis ("lanes"), so every operation is the same instruction for all
of them: ``(n, channels, h, w * 16)`` float32 holds ``16 * n`` crops. A pooled value stems from the four values
of a 2x2 block, which see a 6x6 patch; what the pooling did is kept as its `trace`, whose dtype says which pooling it
is: maximum pooling, uint8, which of the four won, in the shape of the result; tanh and average pooling, float32,
``(n, channels, h, 4 * w * 16)``, the four derivatives, block after block.

The innermost operations are written for the compiler of Numba itself (LLVM), on vectors of sixteen values: left to
find them in loops, it keeps sums in memory that fit into registers, which takes more than twice as long. Arrays that
begin at a multiple of 64 bytes are read and written fastest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numpy.typing import NDArray

from spatterlib.kernels import vectors
from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image
from spatterlib.kernels.learning import plain_lanes
from spatterlib.kernels.learning.plain_lanes import LANES, MEETINGS

__all__ = ["LANES", "convolve", "dense", "pack", "spread", "weigh"]

Lanes = NDArray[np.float32]

_FAST: dict[str, Any] = {"fastmath": True, "error_model": "numpy"}

_FLOATS, _BYTES = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(8), LANES)
_LIMIT = 7.90531110763549805
# Of Eigen's rational approximation of tanh (``generic_fast_tanh_float``), highest power of the square first.
_ABOVE = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
          1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)  # fmt: skip
_BELOW = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def _operation(code: Any) -> Any:
    """An operation for the compiler; where nothing is compiled, what says the same in NumPy."""
    return vectors.operation(getattr(plain_lanes, code.__name__.removeprefix("_")))(code)


class _Vector(types.Type):
    """Numba's type of sixteen values in a register."""

    def __init__(self) -> None:
        super().__init__("lanes")


@extending.register_model(_Vector)
class _VectorModel(extending.models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)  # type: ignore[no-untyped-call]


def _tuple(count: int) -> Any:
    return types.UniTuple(_Vector(), count)  # type: ignore[no-untyped-call]


def _all(value: float, kind: Any = _FLOATS) -> Any:
    return ir.Constant(kind, [value if kind is _BYTES else float(np.float32(value))] * LANES)


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Pointer to one element of an array of one axis."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _vectors(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Pointer to sixteen elements of an array of one axis."""
    kinds = _BYTES if kind.dtype == types.uint8 else _FLOATS
    return vectors.place(context, builder, kind, array, (at,), kinds)


def _read(builder: Any, pointer: Any, offset: int = 0) -> Any:
    return builder.load(builder.gep(pointer, [vectors.whole(offset)]), align=1)


def _write(builder: Any, value: Any, pointer: Any, offset: int = 0) -> None:
    builder.store(value, builder.gep(pointer, [vectors.whole(offset)]), align=1)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    # No other freedom than to fuse: the order of the sums is what keeps them in registers.
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


def _lines(context: Any, builder: Any, kind: Any, array: Any, at: Any, step: Any) -> list[Any]:
    """Pointers to the six rows of a patch."""
    places = [builder.add(at, builder.mul(step, vectors.whole(row))) for row in range(6)]
    return [_vectors(context, builder, kind, array, place) for place in places]


@_operation
def _same(typing: Any, value: Any, count: Any) -> Any:
    """`count` vectors of one float32."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [vectors.spread(builder, args[0], LANES)] * number)

    number = count.literal_value
    return _tuple(number)(types.float32, count), code


@_operation
def _load(typing: Any, array: Any, at: Any, count: Any) -> Any:
    """`count` vectors, one behind the other."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _vectors(context, builder, array, args[0], args[1])
        return context.make_tuple(builder, signature.return_type, [_read(builder, pointer, k) for k in range(number)])

    number = count.literal_value
    return _tuple(number)(array, types.intp, count), code


@_operation
def _store(typing: Any, values: Any, array: Any, at: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _vectors(context, builder, array, args[1], args[2])
        for number, value in enumerate(vectors.unpacked(builder, args[0])):
            _write(builder, value, pointer, number)
        return context.get_dummy_value()

    return types.void(values, array, types.intp), code


@_operation
def _add(typing: Any, a: Any, b: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = zip(*(vectors.unpacked(builder, arg) for arg in args), strict=True)
        return context.make_tuple(builder, signature.return_type, [builder.fadd(*pair) for pair in pairs])

    return a(a, b), code


@_operation
def _gather(typing: Any, four: Any, weights: Any, first: Any, x: Any, at: Any, step: Any) -> Any:
    """Add to the four values of a block what the 25 weights make of a patch."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, last = vectors.unpacked(builder, args[0]), None
        taps = _place(context, builder, weights, args[1], args[2])
        rows = _lines(context, builder, x, *args[3:])
        for which, tap, place in sorted(MEETINGS, key=lambda meeting: meeting[2]):
            if place != last:
                last, value = place, _read(builder, rows[place // 6], place % 6)
            weight = vectors.spread(builder, builder.load(builder.gep(taps, [vectors.whole(tap)])), LANES)
            sums[which] = _fma(builder, weight, value, sums[which])
        return context.make_tuple(builder, signature.return_type, sums)

    return four(four, weights, types.intp, x, types.intp, types.intp), code


@_operation
def _pool(typing: Any, four: Any, trace: Any, at: Any) -> Any:
    """Activation and pooling of a block; leaves the trace."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        way = _maximum if trace.dtype == types.uint8 else _mean_of_tanh
        at = args[2] if way is _maximum else builder.mul(args[2], vectors.whole(4))
        to = _vectors(context, builder, trace, args[1], at)
        pooled = way(builder, vectors.unpacked(builder, args[0]), to)
        return context.make_tuple(builder, signature.return_type, [pooled])

    return _tuple(1)(four, trace, types.intp), code


def _maximum(builder: Any, four: list[Any], trace: Any) -> Any:
    best, which = four[0], _all(0, _BYTES)
    for number, value in enumerate(four[1:], 1):
        more = builder.fcmp_ordered(">", value, best)
        best, which = builder.select(more, value, best), builder.select(more, _all(number, _BYTES), which)
    _write(builder, which, trace)
    return best


def _mean_of_tanh(builder: Any, four: list[Any], trace: Any) -> Any:
    mean = _all(0)
    for number, value in enumerate(four):
        activated = _tanh(builder, value)
        quarter = builder.fmul(activated, _all(0.25))
        mean = builder.fadd(mean, quarter)
        _write(builder, builder.fsub(_all(0.25), builder.fmul(quarter, activated)), trace, number)
    return mean


def _tanh(builder: Any, x: Any) -> Any:
    """Within 4e-7 in float32; the library function does not vectorise."""
    x = builder.select(builder.fcmp_ordered("<", x, _all(_LIMIT)), x, _all(_LIMIT))
    x = builder.select(builder.fcmp_ordered(">", x, _all(-_LIMIT)), x, _all(-_LIMIT))
    square, parts = builder.fmul(x, x), []
    for coefficients in (_ABOVE, _BELOW):
        total = _all(coefficients[0])
        for coefficient in coefficients[1:]:
            total = _fma(builder, total, square, _all(coefficient))
        parts.append(total)
    return builder.fdiv(builder.fmul(x, parts[0]), parts[1])


@_operation
def _unpool(typing: Any, gradient: Any, trace: Any, at: Any) -> Any:
    """Gradient of the four values of a block from that of the pooled value, itself at `at`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _read(builder, _vectors(context, builder, gradient, args[0], args[2]))
        four = _four(context, builder, value, trace, *args[1:])
        return context.make_tuple(builder, signature.return_type, four)

    return _tuple(4)(gradient, trace, types.intp), code


def _four(context: Any, builder: Any, value: Any, kind: Any, trace: Any, at: Any) -> list[Any]:
    if kind.dtype == types.uint8:
        which = _read(builder, _vectors(context, builder, kind, trace, at))
        chosen = [builder.icmp_unsigned("==", which, _all(number, _BYTES)) for number in range(4)]
        return [builder.select(own, value, _all(0)) for own in chosen]
    slopes = _vectors(context, builder, kind, trace, builder.mul(at, vectors.whole(4)))
    return [builder.fmul(value, _read(builder, slopes, number)) for number in range(4)]


@_operation
def _weigh(typing: Any, sums: Any, gradient: Any, trace: Any, own: Any, x: Any, at: Any, step: Any) -> Any:
    """Add to the gradients of 25 weights what a pooled value's gradient makes of its patch."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals, rows = vectors.unpacked(builder, args[0]), _lines(context, builder, x, *args[4:])
        value = _read(builder, _vectors(context, builder, gradient, args[1], args[3]))
        if trace.dtype == types.uint8:
            _weigh_one(builder, totals, value, _read(builder, _vectors(context, builder, trace, *args[2:4])), rows)
        else:
            _weigh_four(builder, totals, _four(context, builder, value, trace, *args[2:4]), rows)
        return context.make_tuple(builder, signature.return_type, totals)

    return sums(sums, gradient, trace, types.intp, x, types.intp, types.intp), code


def _weigh_four(builder: Any, totals: list[Any], four: list[Any], rows: list[Any]) -> None:
    last = None
    for which, tap, place in sorted(MEETINGS, key=lambda meeting: meeting[2]):
        if place != last:
            last, value = place, _read(builder, rows[place // 6], place % 6)
        totals[tap] = _fma(builder, four[which], value, totals[tap])


def _weigh_one(builder: Any, totals: list[Any], gradient: Any, which: Any, rows: list[Any]) -> None:
    """Three of four are nought: a weight meets one value, and choosing it is cheaper than four products."""
    right, below = (
        builder.icmp_unsigned("!=", builder.and_(which, _all(bit, _BYTES)), _all(0, _BYTES)) for bit in (1, 2)
    )
    above = None
    for row in range(6):
        values = [_read(builder, rows[row], column) for column in range(6)]
        line = [builder.select(right, values[column + 1], values[column]) for column in range(5)]
        if above is not None:
            for column in range(5):
                tap = 5 * (row - 1) + column
                met = builder.select(below, line[column], above[column])
                totals[tap] = _fma(builder, gradient, met, totals[tap])
        above = line


@_operation
def _scatter(typing: Any, half: Any, row: Any, fours: Any, at: Any, weights: Any, first: Any) -> Any:
    """Add to three rows of a patch, from `row` on, what 25 weights make of the four values of a block."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums = vectors.unpacked(builder, args[0])
        pointer = _vectors(context, builder, fours, args[2], args[3])
        four = [_read(builder, pointer, number) for number in range(4)]
        taps = _place(context, builder, weights, args[4], args[5])
        for which, tap, place in MEETINGS:
            own = place - 6 * begin
            if 0 <= own < 18:
                weight = vectors.spread(builder, builder.load(builder.gep(taps, [vectors.whole(tap)])), LANES)
                sums[own] = _fma(builder, weight, four[which], sums[own])
        return context.make_tuple(builder, signature.return_type, sums)

    begin = row.literal_value
    return half(half, row, fours, types.intp, weights, types.intp), code


@kernel(**_FAST)
def pack(images: Image, out: Lanes) -> None:
    """Lay crops side by side and scale 0-255 to [0, 1].

    Parameters
    ----------
    images : ndarray
        ``(m, h, w, channels)`` uint8.
    out : ndarray
        ``(n, channels, h, w * 16)`` float32 with ``16 * n >= m``, written; spare lanes are 0.
    """
    height, width, channels = images.shape[1:]
    out[-1] = 0
    for m in range(images.shape[0]):
        block, lane = m // LANES, m % LANES
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    out[block, c, i, j * LANES + lane] = np.float32(images[m, i, j, c]) / np.float32(255)


@kernel(**_FAST)
def convolve(x: Lanes, weights: Lanes, bias: NDArray[np.float32], out: Lanes, trace: NDArray[Any]) -> None:
    """One stage forward.

    Parameters
    ----------
    x : ndarray
        ``(n, c, h, w * 16)`` float32.
    weights, bias : ndarray
        ``(k, c, 25)`` and ``(k,)`` float32.
    out : ndarray
        ``(n, k, (h - 4) / 2, (w - 4) / 2 * 16)`` float32, written.
    trace : ndarray
        What the pooling did, written; its dtype chooses the pooling (see above).
    """
    blocks, channels, high, step = x.shape
    kernels, rows, width = out.shape[1], out.shape[2], out.shape[3] // LANES
    values, taps, results, marks = x.reshape(-1), weights.reshape(-1), out.reshape(-1), trace.reshape(-1)
    own = 0
    for n in range(blocks):
        for k in range(kernels):
            for i in range(rows):
                for j in range(width):
                    four = _same(bias[k], 4)
                    for channel in range(channels):
                        at = ((n * channels + channel) * high + 2 * i) * step + 2 * j * LANES
                        four = _gather(four, taps, (k * channels + channel) * 25, values, at, step)
                    _store(_pool(four, marks, own), results, own)
                    own += LANES


@kernel(**_FAST)
def weigh(x: Lanes, gradient: Lanes, trace: NDArray[Any], weights: Lanes, bias: Lanes) -> None:
    """Gradient of one stage's weights and bias, lane by lane.

    Parameters
    ----------
    x : ndarray
        ``(n, c, h, w * 16)`` float32, what went in.
    gradient, trace : ndarray
        ``(n, k, i, j * 16)`` float32, gradient of what came out, and the trace that `convolve` left.
    weights, bias : ndarray
        ``(k, c, 25 * 16)`` and ``(k, 16)`` float32; the gradients are added, to be summed over lanes.
    """
    blocks, channels, high, step = x.shape
    kernels, rows, width = gradient.shape[1], gradient.shape[2], gradient.shape[3] // LANES
    values, slopes, marks = x.reshape(-1), gradient.reshape(-1), trace.reshape(-1)
    sums, offsets = weights.reshape(-1), bias.reshape(-1)
    for n in range(blocks):
        for k in range(kernels):
            first, total = (n * kernels + k) * rows * width * LANES, _load(offsets, k * LANES, 1)
            for p in range(rows * width):
                four = _unpool(slopes, marks, first + p * LANES)
                total = _add(total, _add(_add(four[:1], four[1:2]), _add(four[2:3], four[3:])))
            _store(total, offsets, k * LANES)
            for channel in range(channels):
                place, own = (k * channels + channel) * 25 * LANES, first
                taps = _load(sums, place, 25)
                for i in range(rows):
                    for j in range(width):
                        at = ((n * channels + channel) * high + 2 * i) * step + 2 * j * LANES
                        taps = _weigh(taps, slopes, marks, own, values, at, step)
                        own += LANES
                _store(taps, sums, place)


@kernel(**_FAST)
def spread(weights: Lanes, gradient: Lanes, trace: NDArray[Any], out: Lanes) -> None:
    """Gradient of what went into one stage.

    Parameters
    ----------
    weights : ndarray
        ``(k, c, 25)`` float32, as of `convolve`.
    gradient, trace : ndarray
        ``(n, k, i, j * 16)`` float32, gradient of what came out, and the trace that `convolve` left.
    out : ndarray
        ``(n, c, h, w * 16)`` float32, written.
    """
    blocks, channels, high, step = out.shape
    kernels, rows, width = gradient.shape[1], gradient.shape[2], gradient.shape[3] // LANES
    taps, slopes, marks, results = weights.reshape(-1), gradient.reshape(-1), trace.reshape(-1), out.reshape(-1)
    fours = np.empty(kernels * 4 * LANES, np.float32)
    out[:] = 0
    for n in range(blocks):
        for i in range(rows):
            for j in range(width):
                for k in range(kernels):
                    own = (((n * kernels + k) * rows + i) * width + j) * LANES
                    _store(_unpool(slopes, marks, own), fours, 4 * k * LANES)
                for channel in range(channels):
                    # Half a patch at a time: 18 sums stay in registers, 36 do not.
                    upper, lower = _same(np.float32(0), 18), _same(np.float32(0), 18)
                    for k in range(kernels):
                        upper = _scatter(upper, 0, fours, 4 * k * LANES, taps, (k * channels + channel) * 25)
                    for k in range(kernels):
                        lower = _scatter(lower, 3, fours, 4 * k * LANES, taps, (k * channels + channel) * 25)
                    at = ((n * channels + channel) * high + 2 * i) * step + 2 * j * LANES
                    _store(_add(_load(results, at, 6), upper[:6]), results, at)
                    _store(_add(_load(results, at + step, 6), upper[6:12]), results, at + step)
                    _store(_add(_load(results, at + 2 * step, 6), upper[12:]), results, at + 2 * step)
                    _store(_add(_load(results, at + 3 * step, 6), lower[:6]), results, at + 3 * step)
                    _store(_add(_load(results, at + 4 * step, 6), lower[6:12]), results, at + 4 * step)
                    _store(_add(_load(results, at + 5 * step, 6), lower[12:]), results, at + 5 * step)


@kernel(**_FAST)
def dense(x: Lanes, weights: Lanes, bias: NDArray[np.float32], out: Lanes) -> None:
    """A dense layer, in the calling thread alone.

    A matrix product of NumPy's calls up threads that wait busily, and here the other cores have work.

    Parameters
    ----------
    x, weights, bias : ndarray
        ``(n, k)``, ``(m, k)``, ``(m,)`` float32.
    out : ndarray
        ``(n, m)`` float32, written.
    """
    for n in range(x.shape[0]):
        for m in range(weights.shape[0]):
            total = bias[m]
            for k in range(x.shape[1]):
                total += x[n, k] * weights[m, k]
            out[n, m] = total
