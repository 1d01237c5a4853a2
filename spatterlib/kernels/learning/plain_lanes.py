"""What the operations of `lenet` on sixteen lanes do, in NumPy: they stand in where nothing is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["LANES", "MEETINGS", "add", "gather", "load", "pool", "same", "scatter", "store", "unpool", "weigh"]

LANES = 16
"""Crops side by side: one register of 512 bits, or two of 256."""

MEETINGS = [(a, 5 * i + j, 6 * (i + a // 2) + j + a % 2) for i in range(5) for j in range(5) for a in range(4)]
"""Which of the four values of a block, by which of the 25 weights, meets which place of the 36 of a patch."""

Floats: TypeAlias = NDArray[np.float32]
Vectors: TypeAlias = Sequence[Floats]


def same(value: np.float32, count: int) -> Vectors:
    """`count` vectors of one number."""
    return (np.full(LANES, value, np.float32),) * count


def load(array: NDArray[Any], at: int, count: int) -> Vectors:
    """`count` vectors, one behind the other."""
    return tuple(array[at : at + count * LANES].reshape(count, LANES).copy())


def store(values: Vectors, array: NDArray[Any], at: int) -> None:
    """Write vectors, one behind the other."""
    array[at : at + len(values) * LANES] = np.concatenate(values)


def add(a: Vectors, b: Vectors) -> Vectors:
    """Sums, vector by vector."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def gather(four: Vectors, weights: Floats, first: int, x: Floats, at: int, step: int) -> Vectors:
    """Add to the four values of a block what the 25 weights make of a patch."""
    sums, patch = list(four), _patch(x, at, step)
    for which, tap, place in MEETINGS:
        sums[which] = sums[which] + weights[first + tap] * patch[place]
    return tuple(sums)


def pool(four: Vectors, trace: NDArray[Any], at: int) -> Vectors:
    """Activation and pooling of a block; leaves the trace."""
    values = np.stack(four)
    if trace.dtype == np.uint8:
        trace[at : at + LANES] = values.argmax(0)
        return (values.max(0),)
    values = np.tanh(values)
    trace[4 * at : 4 * (at + LANES)] = (0.25 * (1 - values * values)).ravel()
    return (values.mean(0),)


def unpool(gradient: Floats, trace: NDArray[Any], at: int) -> Vectors:
    """Gradient of the four values of a block from that of the pooled value, itself at `at`."""
    value = gradient[at : at + LANES]
    if trace.dtype == np.uint8:
        return tuple(np.where(trace[at : at + LANES] == which, value, np.float32(0)) for which in range(4))
    return tuple(value * slope for slope in load(trace, 4 * at, 4))


def weigh(sums: Vectors, gradient: Floats, trace: NDArray[Any], own: int, x: Floats, at: int, step: int) -> Vectors:
    """Add to the gradients of 25 weights what a pooled value's gradient makes of its patch."""
    totals, four, patch = list(sums), unpool(gradient, trace, own), _patch(x, at, step)
    for which, tap, place in MEETINGS:
        totals[tap] = totals[tap] + four[which] * patch[place]
    return tuple(totals)


def scatter(half: Vectors, row: int, fours: Floats, at: int, weights: Floats, first: int) -> Vectors:
    """Add to three rows of a patch, from `row` on, what 25 weights make of the four values of a block."""
    sums, four = list(half), load(fours, at, 4)
    for which, tap, place in MEETINGS:
        if 0 <= place - 6 * row < 18:
            sums[place - 6 * row] = sums[place - 6 * row] + weights[first + tap] * four[which]
    return tuple(sums)


def _patch(x: Floats, at: int, step: int) -> list[Floats]:
    return [x[at + row * step + k * LANES :][:LANES] for row in range(6) for k in range(6)]
