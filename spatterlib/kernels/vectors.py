"""Operations written for the compiler of Numba itself (LLVM), on many bytes at a time.

Where a loop is as short as a block, what the compiler does around it (asking whether arrays overlap, adding up what is
left over) costs more than the arithmetic. An operation is code for one block and nothing else: no loop, no questions.
It is written in LLVM's own terms, so it runs on every processor, in registers as wide as that one has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import config, extending
from numba.core import cgutils

BYTE, SHORT, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32)

# Untyped on purpose: what they make of a function has another signature.
unpacked: Any = cgutils.unpack_tuple


def operation(plain: Callable[..., Any]) -> Callable[[Any], Any]:
    """An operation for the compiler; where nothing is compiled, `plain`, which says the same in Python."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return lambda _: plain
    return extending.intrinsic(prefer_literal=True)


def vector(kind: Any, count: int) -> Any:
    """Type of `count` numbers in a register."""
    return ir.VectorType(kind, count)


def whole(value: int) -> Any:
    """A number that counts places."""
    return ir.Constant(ir.IntType(64), value)


def constant(kind: Any, values: list[int]) -> Any:
    """A vector of constants."""
    return ir.Constant(vector(kind, len(values)), values)


def fill(kind: Any, count: int, value: int) -> Any:
    """A constant in all places."""
    return constant(kind, [value] * count)


def spread(builder: Any, value: Any, count: int) -> Any:
    """A number in all places."""
    kind = vector(value.type, count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(LONG, 0))
    return pick(builder, first, [0] * count)


def pick(builder: Any, values: Any, places: Iterable[int], more: Any = None) -> Any:
    """Values from some places of a vector, or of two, the places of the second counted on."""
    return builder.shuffle_vector(values, more or values, constant(LONG, list(places)))


def place(context: Any, builder: Any, kind: Any, array: Any, index: Any, vectors: Any) -> Any:
    """Pointer to a vector in an array of one axis, or of two whose rows have no gaps."""
    parts = context.make_array(kind)(context, builder, array)
    start, inner = parts.data, index[-1]
    if len(index) == 2:
        begin = builder.mul(index[0], unpacked(builder, parts.strides)[0])
        start = builder.gep(builder.bitcast(start, BYTE.as_pointer()), [begin])
        start = builder.bitcast(start, parts.data.type)
    return builder.bitcast(builder.gep(start, [inner]), vectors.as_pointer())


def read(builder: Any, pointer: Any, size: int = 1) -> Any:
    """A vector of numbers of `size` bytes."""
    return builder.load(pointer, align=size)


def store(builder: Any, value: Any, pointer: Any, size: int = 1) -> None:
    """Write a vector of numbers of `size` bytes."""
    builder.store(value, pointer, align=size)


def lower(builder: Any, a: Any, b: Any, signed: bool = False) -> Any:
    """The smaller of two."""
    smaller = (builder.icmp_signed if signed else builder.icmp_unsigned)("<", a, b)
    return builder.select(smaller, a, b)


def higher(builder: Any, a: Any, b: Any, signed: bool = False) -> Any:
    """The larger of two."""
    larger = (builder.icmp_signed if signed else builder.icmp_unsigned)(">", a, b)
    return builder.select(larger, a, b)


def number(context: Any, builder: Any, kind: Any, array: Any, index: int, count: int) -> Any:
    """A number of an array of one axis, in all places."""
    parts = context.make_array(kind)(context, builder, array)
    return spread(builder, builder.load(builder.gep(parts.data, [whole(index)])), count)


def apart(builder: Any, a: Any, b: Any) -> Any:
    """How far two are apart, unsigned."""
    return builder.sub(higher(builder, a, b), lower(builder, a, b))


def widen(builder: Any, values: Any, kind: Any) -> Any:
    """The same numbers, unsigned, with more bits."""
    return builder.zext(values, vector(kind, values.type.count))


def bits(builder: Any, held: Any) -> Any:
    """Where a condition holds, as the bits of one number; the first place is the lowest."""
    return builder.bitcast(held, ir.IntType(held.type.count))
