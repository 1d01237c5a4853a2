"""Operations written for the compiler of Numba itself (LLVM), each behind the Python that says the same.

There are few, all of them here, because they are hard to read: `pointer`, for which Numba has no word, and what the
kernels `weigh` and `spread` of `spatterlib.kernels.learning.lenet` do on sixteen values at a time. Left to find these
in loops, the compiler keeps sums in memory that fit into registers. ``docs/performance.md`` says what that is worth,
and what was written so once and won less than 5 % of any whole job: that is plain Numba again.

An operation is a function that Numba calls with the types of the arguments; it answers with its signature and with a
function that writes the code. Where nothing is compiled the Python above it runs instead.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import config, extending, types
from numba.core import cgutils
from numpy.typing import NDArray

__all__ = ["LANES", "add", "load", "pointer", "scatter", "store", "unpool", "weigh_patch", "zeros"]

LANES = 16
"""Crops side by side: one register of 512 bits, or two of 256."""

Floats: TypeAlias = NDArray[np.float32]
Vectors: TypeAlias = Sequence[Floats]

_MEETINGS = [(a, 5 * i + j, 6 * (i + a // 2) + j + a % 2) for i in range(5) for j in range(5) for a in range(4)]
"""Which of the four values of a block, by which of the 25 weights, meets which place of the 36 of a patch."""

_FLOATS, _BYTES = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(8), LANES)

# Untyped on purpose: what they make of a function has another signature.
_unpacked: Any = cgutils.unpack_tuple


class _Vector(types.Type):
    """Numba's type of sixteen values in a register."""

    def __init__(self) -> None:
        super().__init__("lanes")


@extending.register_model(_Vector)
class _VectorModel(extending.models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)  # type: ignore[no-untyped-call]


def _operation(plain: Callable[..., Any]) -> Callable[[Any], Any]:
    """An operation for the compiler; where nothing is compiled, `plain`, which says the same in Python."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return lambda _: plain
    return extending.intrinsic(prefer_literal=True)


def _tuple(count: int) -> Any:
    return types.UniTuple(_Vector(), count)  # type: ignore[no-untyped-call]


def _whole(value: int) -> Any:
    """A number that counts places."""
    return ir.Constant(ir.IntType(64), value)


def _all(value: float, kind: Any = _FLOATS) -> Any:
    """A constant in all lanes."""
    return ir.Constant(kind, [value] * LANES)


def _start(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Pointer to one element of an array of one axis."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _lanes(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Pointer to sixteen elements of an array of one axis."""
    vectors = _BYTES if kind.dtype == types.uint8 else _FLOATS
    return builder.bitcast(_start(context, builder, kind, array, at), vectors.as_pointer())


def _read(builder: Any, pointer: Any, offset: int = 0) -> Any:
    return builder.load(builder.gep(pointer, [_whole(offset)]), align=1)


def _patch(context: Any, builder: Any, kind: Any, array: Any, at: Any, step: Any) -> list[Any]:
    """Pointers to the six rows of a patch."""
    places = [builder.add(at, builder.mul(step, _whole(row))) for row in range(6)]
    return [_lanes(context, builder, kind, array, place) for place in places]


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    # No other freedom than to fuse: the order of the sums is what keeps them in registers.
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


def _plain_pointer(address: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(int(address))


@_operation(_plain_pointer)
def pointer(typing: Any, address: Any) -> Any:
    """What `numba.carray` takes, from an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), code


def _plain_zeros(count: int) -> Vectors:
    return (np.zeros(LANES, np.float32),) * count


@_operation(_plain_zeros)
def zeros(typing: Any, count: Any) -> Any:
    """`count` vectors of 0."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [_all(0)] * number)

    number = count.literal_value
    return _tuple(number)(count), code


def _plain_load(array: NDArray[Any], at: int, count: int) -> Vectors:
    return tuple(array[at : at + count * LANES].reshape(count, LANES).copy())


@_operation(_plain_load)
def load(typing: Any, array: Any, at: Any, count: Any) -> Any:
    """`count` vectors, one behind the other."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = _lanes(context, builder, array, args[0], args[1])
        return context.make_tuple(builder, signature.return_type, [_read(builder, first, k) for k in range(number)])

    number = count.literal_value
    return _tuple(number)(array, types.intp, count), code


def _plain_store(values: Vectors, array: NDArray[Any], at: int) -> None:
    array[at : at + len(values) * LANES] = np.concatenate(values)


@_operation(_plain_store)
def store(typing: Any, values: Any, array: Any, at: Any) -> Any:
    """Write vectors, one behind the other."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = _lanes(context, builder, array, args[1], args[2])
        for number, value in enumerate(_unpacked(builder, args[0])):
            builder.store(value, builder.gep(first, [_whole(number)]), align=1)
        return context.get_dummy_value()

    return types.void(values, array, types.intp), code


def _plain_add(a: Vectors, b: Vectors) -> Vectors:
    return tuple(x + y for x, y in zip(a, b, strict=True))


@_operation(_plain_add)
def add(typing: Any, a: Any, b: Any) -> Any:
    """Sums, vector by vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = zip(*(_unpacked(builder, arg) for arg in args), strict=True)
        return context.make_tuple(builder, signature.return_type, [builder.fadd(*pair) for pair in pairs])

    return a(a, b), code


def _plain_unpool(gradient: Floats, trace: NDArray[Any], at: int) -> Vectors:
    value = gradient[at : at + LANES]
    if trace.dtype == np.uint8:
        return tuple(np.where(trace[at : at + LANES] == which, value, np.float32(0)) for which in range(4))
    return tuple(value * slope for slope in _plain_load(trace, 4 * at, 4))


@_operation(_plain_unpool)
def unpool(typing: Any, gradient: Any, trace: Any, at: Any) -> Any:
    """Gradient of the four values of a block from that of the pooled value, itself at `at`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _read(builder, _lanes(context, builder, gradient, args[0], args[2]))
        four = _four(context, builder, value, trace, *args[1:])
        return context.make_tuple(builder, signature.return_type, four)

    return _tuple(4)(gradient, trace, types.intp), code


def _four(context: Any, builder: Any, value: Any, kind: Any, trace: Any, at: Any) -> list[Any]:
    if kind.dtype == types.uint8:
        which = _read(builder, _lanes(context, builder, kind, trace, at))
        chosen = [builder.icmp_unsigned("==", which, _all(number, _BYTES)) for number in range(4)]
        return [builder.select(own, value, _all(0)) for own in chosen]
    slopes = _lanes(context, builder, kind, trace, builder.mul(at, _whole(4)))
    return [builder.fmul(value, _read(builder, slopes, number)) for number in range(4)]


def _plain_weigh_patch(
    sums: Vectors, gradient: Floats, trace: NDArray[Any], own: int, x: Floats, at: int, step: int
) -> Any:
    totals, four = list(sums), _plain_unpool(gradient, trace, own)
    patch = [x[at + row * step + k * LANES :][:LANES] for row in range(6) for k in range(6)]
    for which, tap, place in _MEETINGS:
        totals[tap] = totals[tap] + four[which] * patch[place]
    return tuple(totals)


@_operation(_plain_weigh_patch)
def weigh_patch(typing: Any, sums: Any, gradient: Any, trace: Any, own: Any, x: Any, at: Any, step: Any) -> Any:
    """Add to the gradients of 25 weights what a pooled value's gradient makes of its patch."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals, rows = _unpacked(builder, args[0]), _patch(context, builder, x, *args[4:])
        value = _read(builder, _lanes(context, builder, gradient, args[1], args[3]))
        if trace.dtype == types.uint8:
            _weigh_one(builder, totals, value, _read(builder, _lanes(context, builder, trace, *args[2:4])), rows)
        else:
            _weigh_four(builder, totals, _four(context, builder, value, trace, *args[2:4]), rows)
        return context.make_tuple(builder, signature.return_type, totals)

    return sums(sums, gradient, trace, types.intp, x, types.intp, types.intp), code


def _weigh_four(builder: Any, totals: list[Any], four: list[Any], rows: list[Any]) -> None:
    last = None
    for which, tap, place in sorted(_MEETINGS, key=lambda meeting: meeting[2]):
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


def _plain_scatter(half: Vectors, row: int, fours: Floats, at: int, weights: Floats, first: int) -> Vectors:
    sums, four = list(half), _plain_load(fours, at, 4)
    for which, tap, place in _MEETINGS:
        if 0 <= place - 6 * row < 18:
            sums[place - 6 * row] = sums[place - 6 * row] + weights[first + tap] * four[which]
    return tuple(sums)


@_operation(_plain_scatter)
def scatter(typing: Any, half: Any, row: Any, fours: Any, at: Any, weights: Any, first: Any) -> Any:
    """Add to three rows of a patch, from `row` on, what 25 weights make of the four values of a block."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, values = _unpacked(builder, args[0]), _lanes(context, builder, fours, args[2], args[3])
        four = [_read(builder, values, number) for number in range(4)]
        taps = _start(context, builder, weights, args[4], args[5])
        for which, tap, place in _MEETINGS:
            own = place - 6 * begin
            if 0 <= own < 18:
                weight = _spread(builder, builder.load(builder.gep(taps, [_whole(tap)])))
                sums[own] = _fma(builder, weight, four[which], sums[own])
        return context.make_tuple(builder, signature.return_type, sums)

    begin = row.literal_value
    return half(half, row, fours, types.intp, weights, types.intp), code


def _spread(builder: Any, value: Any) -> Any:
    """A number in all lanes."""
    first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))
