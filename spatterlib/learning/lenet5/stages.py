"""The two convolution stages of LeNet5 on the CPU, forward and backward: the Numba kernels over all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spatterlib.types import Image

Array = NDArray[np.float32]
Trace: TypeAlias = NDArray[np.float32] | NDArray[np.uint8]
"""What pooling keeps for the way back: activations, or which of four was the largest."""
Item = TypeVar("Item")
Result = TypeVar("Result")

# Parts of a batch that are summed one after the other, however many threads there are: the same weights with
# one thread and with eight.
_PARTS = 8

FEW = 4
"""Samples that `few` is faster for."""


@dataclass(frozen=True, eq=False)
class Passed:
    """What `backward` needs of a part of a batch: input, trace and result of both stages; it overwrites them."""

    samples: int
    x: Array
    middle: Array
    trace: Trace
    last: Array
    last_trace: Trace


Spare: TypeAlias = dict[tuple[int, int, bool], list[Passed]]
"""Room that a batch is done with, for the next of the same number, channels and pooling."""


def forward(
    samples: Image, weights: tuple[Array, Array, Array, Array], tanh: bool, threads: int, spare: Spare | None = None
) -> tuple[Array, list[Passed]]:
    """Features of samples.

    Parameters
    ----------
    samples : ndarray
        ``(m, 32, 32, channels)`` uint8.
    weights : tuple of ndarray
        Weight and bias of both stages: ``(6, channels, 5, 5)``, ``(6,)``, ``(16, 6, 5, 5)``, ``(16,)`` float32.
    tanh : bool
        Tanh and average pooling, or no activation and maximum pooling.
    threads : int
        How many parts are worked on at a time.
    spare : dict, optional
        Room to be used again; taken out of it.

    Returns
    -------
    tuple
        ``(m, 400)`` float32 features in PyTorch's order, and what `backward` needs.
    """
    features = np.empty((len(samples), 400), np.float32)
    cuts = _cuts(len(samples))
    passed = _taken(spare, (len(samples), samples.shape[3], tanh)) or [
        _room(len(samples[part]), samples.shape[3], tanh) for part in cuts
    ]

    def work(item: tuple[slice, Passed]) -> None:
        part, room = item
        _stages(samples[part], weights, room)
        features[part] = _flat(room.last, room.samples)

    _each(work, list(zip(cuts, passed, strict=True)), threads)
    return features, passed


def _taken(spare: Spare | None, key: tuple[int, int, bool]) -> list[Passed]:
    """Room for such a batch, if there is some; what fits another kind of batch only is let go."""
    if not spare:
        return []
    buffers = spare.pop(key, [])
    spare.clear()
    return buffers


def give_back(spare: Spare, passed: list[Passed]) -> None:
    """Let the next batch use this room: memory that the system gives anew costs as much as a tenth of a step."""
    if passed:
        key = sum(part.samples for part in passed), passed[0].x.shape[1], passed[0].trace.dtype != np.uint8
        spare[key] = passed


def _room(samples: int, channels: int, tanh: bool) -> Passed:
    from spatterlib.kernels.learning.lenet import LANES

    blocks = -(-samples // LANES)
    x, middle, last = (
        _aligned((blocks, k, side, side * LANES), np.float32) for k, side in ((channels, 32), (6, 14), (16, 5))
    )
    traces = (
        _aligned((*pooled.shape[:3], 4 * pooled.shape[3]), np.float32) if tanh else _aligned(pooled.shape, np.uint8)
        for pooled in (middle, last)
    )
    return Passed(samples, x, middle, next(traces), last, next(traces))


def _aligned(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Uninitialised; begins with a line of the cache: 64 bytes that lie across two lines cost twice as much."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def few(samples: Image, weights: tuple[Array, Array, Array, Array], tanh: bool) -> Array:
    """As `forward`, for a handful of samples: sixteen lanes for one crop are fifteen too many.

    Matrix products over patches instead, which round otherwise in the last places. `FEW` says up to how many it pays.
    """
    x = np.ascontiguousarray(samples.transpose(0, 3, 1, 2)).astype(np.float32)
    x /= np.float32(255)
    for weight, bias in (weights[:2], weights[2:]):
        count, channels, side = x.shape[:3]
        patches = sliding_window_view(x, (side - 4, side - 4), axis=(2, 3))
        y = weight.reshape(len(weight), -1) @ patches.reshape(count, 25 * channels, (side - 4) ** 2)
        y += bias[:, None]
        if tanh:
            np.tanh(y, out=y)
        pairs = y.reshape(count, len(weight), (side - 4) // 2, 2, (side - 4) // 2, 2)
        four = [pairs[:, :, :, i, :, j] for i in (0, 1) for j in (0, 1)]
        x = sum(four[1:], four[0]) * np.float32(0.25) if tanh else np.maximum.reduce(four)
    return x.reshape(len(samples), 400)


def _cuts(count: int) -> list[slice]:
    from spatterlib.kernels.learning.lenet import LANES

    step = max(-(-count // (_PARTS * LANES)), 1) * LANES
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _each(work: Callable[[Item], Result], items: list[Item], threads: int) -> list[Result]:
    if threads <= 1 or len(items) <= 1:
        return [work(item) for item in items]
    return list(_pool(threads).map(work, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "lenet")


def _stages(samples: Image, weights: tuple[Array, Array, Array, Array], room: Passed) -> None:
    from spatterlib.kernels.learning.lenet import convolve, pack

    pack(samples, room.x)
    convolve(room.x, weights[0].reshape(6, -1, 25), weights[1], room.middle, room.trace)
    convolve(room.middle, weights[2].reshape(16, 6, 25), weights[3], room.last, room.last_trace)


def _flat(lanes: Array, count: int) -> Array:
    """``(n, 16, 5, 5 * 16)`` with crops side by side to ``(count, 400)``."""
    blocks = lanes.reshape(len(lanes), 400, -1)
    return blocks.transpose(0, 2, 1).reshape(-1, 400)[:count]


def backward(
    gradient: Array, passed: list[Passed], weights: tuple[Array, Array, Array, Array], threads: int
) -> tuple[Array, Array, Array, Array]:
    """Gradients of the weights and biases of both stages.

    Parameters
    ----------
    gradient : ndarray
        ``(m, 400)`` float32, of the features.
    passed : list
        From `forward`; used up.
    weights : tuple of ndarray
        As given to `forward`.
    threads : int
        How many parts are worked on at a time.

    Returns
    -------
    tuple of ndarray
        In the shapes of `weights`.
    """
    items = list(zip(_cuts(len(gradient)), passed, strict=True))
    second = weights[2].reshape(16, 6, 25)
    parts = _each(lambda item: _gradients(gradient[item[0]], item[1], second), items, threads)
    first, first_bias, last, last_bias = (np.sum(arrays, axis=0) for arrays in zip(*parts, strict=True))
    return first.reshape(weights[0].shape), first_bias, last.reshape(weights[2].shape), last_bias


def _gradients(gradient: Array, room: Passed, second: Array) -> tuple[Array, Array, Array, Array]:
    from spatterlib.kernels.learning.lenet import LANES, spread, weigh

    lanes = room.last.reshape(-1, 400, LANES)
    _into_lanes(gradient, lanes)
    shapes = ((6, room.x.shape[1], 25 * LANES), (6, LANES), (16, 6, 25 * LANES), (16, LANES))
    sums = [_aligned(shape, np.float32) for shape in shapes]
    for array in sums:
        array[:] = 0
    weigh(room.middle, room.last, room.last_trace, sums[2], sums[3])
    # What was in the middle is needed no more: its gradient takes its place.
    spread(second, room.last, room.last_trace, room.middle)
    weigh(room.x, room.middle, room.trace, sums[0], sums[1])
    first, first_bias, last, last_bias = (array.reshape(*array.shape[:-1], -1, LANES).sum(axis=-1) for array in sums)
    return first, first_bias[:, 0], last, last_bias[:, 0]


def _into_lanes(rows: Array, lanes: Array) -> None:
    """``(m, 400)`` to ``(n, 400, 16)`` with crops side by side; spare lanes become 0."""
    count, whole = lanes.shape[2], len(rows) // lanes.shape[2]
    lanes[:whole] = rows[: whole * count].reshape(whole, count, 400).transpose(0, 2, 1)
    if whole < len(lanes):
        lanes[whole] = 0
        lanes[whole, :, : len(rows) - whole * count] = rows[whole * count :].T
