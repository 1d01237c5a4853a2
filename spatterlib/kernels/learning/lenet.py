"""Convolution stages of LeNet5, forward and backward: 5x5 convolution, activation and 2x2 pooling in one pass.

Sixteen crops lie side by side in the last axis ("lanes"), so every operation is the same instruction for all
of them: ``(n, channels, h, w * 16)`` float32 holds ``16 * n`` crops. A pooled value stems from the four values
of a 2x2 block, which see a 6x6 patch; what the pooling did is kept as its `trace`, whose dtype says which pooling it
is: maximum pooling, uint8, which of the four won, in the shape of the result; tanh and average pooling, float32,
``(n, channels, h, 4 * w * 16)``, the four derivatives, block after block.

The sums of a stage are plain loops over whole rows. Backward, where they must stay in registers, they are operations
written for the compiler (`spatterlib.kernels.operations`). Arrays that begin at a multiple of 64 bytes are read and
written fastest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image
from spatterlib.kernels.operations import LANES, add, load, scatter, store, unpool, weigh_patch, zeros

__all__ = ["LANES", "convolve", "dense", "pack", "spread", "weigh"]

Lanes = NDArray[np.float32]

_FAST: dict[str, Any] = {"fastmath": True, "error_model": "numpy"}
# Products and sums may become one instruction; the order of the sums stays.
_ORDERED: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}

_ONE, _TWO, _FOUR, _SIDE = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(LANES)
_LIMIT, _QUARTER = np.float32(7.90531110763549805), np.float32(0.25)
# Of Eigen's rational approximation of tanh (``generic_fast_tanh_float``), highest power of the square first.
_ABOVE = np.array((-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
                   1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03), np.float32)  # fmt: skip
_BELOW = np.array((1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03), np.float32)


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


@kernel(**_ORDERED)
def _add_row(
    values: Lanes, at: np.uint64, weights: Lanes, first: int, sums: Lanes, begin: np.uint64, count: np.uint64
) -> None:
    """Add to `count` sums, from `begin` on, what the five weights of a row make of the values from `at` on."""
    a, b, c, d, e = weights[first], weights[first + 1], weights[first + 2], weights[first + 3], weights[first + 4]
    for p in range(count):
        k = at + p
        total = sums[begin + p] + a * values[k]
        total = total + b * values[k + _SIDE]
        total = total + c * values[k + _TWO * _SIDE]
        total = total + d * values[k + np.uint64(3) * _SIDE]
        sums[begin + p] = total + e * values[k + _FOUR * _SIDE]


@kernel(**_ORDERED)
def _maximum(sums: Lanes, wide: np.uint64, out: Lanes, trace: Image, own: np.uint64) -> None:
    """Pool two rows of sums, each twice as wide, to `wide` values: k, of the block from j on, begins at ``j + k``."""
    for j in range(np.uint64(0), wide, _SIDE):
        for k in range(j, j + _SIDE):
            best, which = sums[j + k], np.uint8(0)
            for number in range(_ONE, _FOUR):
                value = sums[j + k + (number >> _ONE) * _TWO * wide + (number & _ONE) * _SIDE]
                # Without branches, so that lanes stay side by side.
                which, best = np.uint8(number) if value > best else which, value if value > best else best
            out[own + k], trace[own + k] = best, which


@kernel(**_ORDERED)
def _fraction_of_tanh(x: np.float32) -> tuple[np.float32, np.float32]:
    """Numerator and denominator, within 4e-7 in float32; the library function does not vectorise."""
    x = x if x < _LIMIT else _LIMIT
    x = x if x > -_LIMIT else -_LIMIT
    square, above, below = x * x, _ABOVE[0], _BELOW[0]
    for k in range(1, 7):
        above = above * square + _ABOVE[k]
    for k in range(1, 4):
        below = below * square + _BELOW[k]
    return x * above, below


@kernel(**_FAST)
def _mean_of_tanh(sums: Lanes, wide: np.uint64, out: Lanes, trace: Lanes, own: np.uint64) -> None:
    """Activate and pool two rows of sums, as `_maximum` does."""
    for j in range(np.uint64(0), wide, _SIDE):
        for k in range(j, j + _SIDE):
            # The traces of a block lie one behind the other.
            mean, to = np.float32(0), _FOUR * (own + j) + k - j
            for number in range(_FOUR):
                value = sums[j + k + (number >> _ONE) * _TWO * wide + (number & _ONE) * _SIDE]
                above, below = _fraction_of_tanh(value)
                activated = above / below
                quarter = activated * _QUARTER
                mean += quarter
                trace[to + number * _SIDE] = _QUARTER - quarter * activated
            out[own + k] = mean


@kernel(**_ORDERED)
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
    kernels, rows, wide = out.shape[1], out.shape[2], np.uint64(out.shape[3])
    values, taps, results, marks = x.reshape(-1), weights.reshape(-1), out.reshape(-1), trace.reshape(-1)
    sums, count, own = np.empty(4 * out.shape[3], np.float32), _TWO * wide, np.uint64(0)
    for n in range(blocks):
        for k in range(kernels):
            # Two rows of sums make one of pooled values.
            for i in range(2 * rows):
                begin = np.uint64(i % 2) * count
                for p in range(count):
                    sums[begin + p] = bias[k]
                for channel in range(channels):
                    for row in range(5):
                        at = ((n * channels + channel) * high + i + row) * step
                        first = (k * channels + channel) * 25 + 5 * row
                        _add_row(values, np.uint64(at), taps, first, sums, begin, count)
                if i % 2 == 0:
                    continue
                if marks.itemsize == 1:
                    _maximum(sums, wide, results, marks, own)
                else:
                    _mean_of_tanh(sums, wide, results, marks, own)
                own += wide


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
            first, total = (n * kernels + k) * rows * width * LANES, load(offsets, k * LANES, 1)
            for p in range(rows * width):
                four = unpool(slopes, marks, first + p * LANES)
                total = add(total, add(add(four[:1], four[1:2]), add(four[2:3], four[3:])))
            store(total, offsets, k * LANES)
            for channel in range(channels):
                place, own = (k * channels + channel) * 25 * LANES, first
                taps = load(sums, place, 25)
                for i in range(rows):
                    for j in range(width):
                        at = ((n * channels + channel) * high + 2 * i) * step + 2 * j * LANES
                        taps = weigh_patch(taps, slopes, marks, own, values, at, step)
                        own += LANES
                store(taps, sums, place)


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
                    store(unpool(slopes, marks, own), fours, 4 * k * LANES)
                for channel in range(channels):
                    # Half a patch at a time: 18 sums stay in registers, 36 do not.
                    upper, lower = zeros(18), zeros(18)
                    for k in range(kernels):
                        upper = scatter(upper, 0, fours, 4 * k * LANES, taps, (k * channels + channel) * 25)
                    for k in range(kernels):
                        lower = scatter(lower, 3, fours, 4 * k * LANES, taps, (k * channels + channel) * 25)
                    at = ((n * channels + channel) * high + 2 * i) * step + 2 * j * LANES
                    store(add(load(results, at, 6), upper[:6]), results, at)
                    store(add(load(results, at + step, 6), upper[6:12]), results, at + step)
                    store(add(load(results, at + 2 * step, 6), upper[12:]), results, at + 2 * step)
                    store(add(load(results, at + 3 * step, 6), lower[:6]), results, at + 3 * step)
                    store(add(load(results, at + 4 * step, 6), lower[6:12]), results, at + 4 * step)
                    store(add(load(results, at + 5 * step, 6), lower[12:]), results, at + 5 * step)


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
