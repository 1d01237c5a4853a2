"""The two convolution stages of LeNet5 on the CPU, forward and backward: the Numba kernels over all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spatterlib.types import Image

Array = NDArray[np.float32]

# Parts of a batch that are summed one after the other, however many threads there are: the same weights with
# one thread and with eight.
_PARTS = 8

FEW = 4
"""Samples that `few` is faster for."""


@dataclass(frozen=True, eq=False)
class Passed:
    """What `backward` needs of a part of a batch: input, trace and result of both stages."""

    samples: int
    tanh: bool
    x: Array
    middle: Array
    trace: NDArray[Any]
    last: Array
    last_trace: NDArray[Any]


def forward(
    samples: Image, weights: tuple[Array, Array, Array, Array], tanh: bool, threads: int
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

    Returns
    -------
    tuple
        ``(m, 400)`` float32 features in PyTorch's order, and what `backward` needs.
    """
    features = np.empty((len(samples), 400), np.float32)
    cuts = _cuts(len(samples))

    def work(part: slice) -> Passed:
        passed = _stages(samples[part], weights, tanh)
        features[part] = _flat(passed.last, passed.samples)
        return passed

    return features, _each(work, cuts, threads)


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
    from spatterlib.kernels.lenet import LANES

    step = max(-(-count // (_PARTS * LANES)), 1) * LANES
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _each(work: Callable[[Any], Any], items: list[Any], threads: int) -> list[Any]:
    if threads <= 1 or len(items) <= 1:
        return [work(item) for item in items]
    return list(_pool(threads).map(work, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "lenet")


def _stages(samples: Image, weights: tuple[Array, Array, Array, Array], tanh: bool) -> Passed:
    from spatterlib.kernels.lenet import LANES, convolve, pack

    channels = samples.shape[3]
    blocks = -(-len(samples) // LANES)
    x = np.empty((blocks, channels, 32, 32 * LANES), np.float32)
    pack(samples, x)
    middle, last = (np.empty((blocks, k, s, s * LANES), np.float32) for k, s in ((6, 14), (16, 5)))
    trace, last_trace = _trace(middle, tanh), _trace(last, tanh)
    convolve(x, weights[0].reshape(6, channels, 25), weights[1], tanh, middle, trace)
    convolve(middle, weights[2].reshape(16, 6, 25), weights[3], tanh, last, last_trace)
    return Passed(len(samples), tanh, x, middle, trace, last, last_trace)


def _trace(pooled: Array, tanh: bool) -> NDArray[Any]:
    if not tanh:
        return np.empty(pooled.shape, np.uint8)
    return np.empty((*pooled.shape[:3], 4 * pooled.shape[3]), np.float32)


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
        From `forward`.
    weights : tuple of ndarray
        As given to `forward`.
    threads : int
        How many parts are worked on at a time.

    Returns
    -------
    tuple of ndarray
        In the shapes of `weights`.
    """
    padded = np.zeros((16, 6, 35), np.float32)
    padded[..., 5:30] = weights[2].reshape(16, 6, 25)
    items = list(zip(_cuts(len(gradient)), passed, strict=True))
    parts = _each(lambda item: _gradients(gradient[item[0]], item[1], padded), items, threads)
    first, first_bias, second, second_bias = (np.sum(arrays, axis=0) for arrays in zip(*parts, strict=True))
    return (
        first.reshape(weights[0].shape),
        first_bias,
        second.reshape(weights[2].shape),
        second_bias,
    )


def _gradients(gradient: Array, passed: Passed, padded: Array) -> tuple[Array, Array, Array, Array]:
    from spatterlib.kernels.lenet import LANES, spread, weigh

    blocks = len(passed.last)
    rows = np.zeros((blocks * LANES, 400), np.float32)
    rows[: len(gradient)] = gradient
    last = np.ascontiguousarray(rows.reshape(blocks, LANES, 400).transpose(0, 2, 1)).reshape(passed.last.shape)
    middle = np.empty_like(passed.middle)
    channels = passed.x.shape[1]
    sums = [
        np.zeros(shape, np.float32)
        for shape in ((6, channels, 25 * LANES), (6, LANES), (16, 6, 25 * LANES), (16, LANES))
    ]
    weigh(passed.middle, last, passed.last_trace, passed.tanh, sums[2], sums[3])
    spread(padded, last, passed.last_trace, passed.tanh, middle)
    weigh(passed.x, middle, passed.trace, passed.tanh, sums[0], sums[1])
    first, first_bias, second, second_bias = (
        array.reshape(*array.shape[:-1], -1, LANES).sum(axis=-1) for array in sums
    )
    return first, first_bias[:, 0], second, second_bias[:, 0]
