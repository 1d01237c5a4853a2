"""Convolution stages of LeNet5, forward and backward: 5x5 convolution, activation and 2x2 pooling in one pass.

Sixteen crops lie side by side in the last axis ("lanes"), so every operation is the same instruction for all
of them: ``(n, channels, h, w * 16)`` float32 holds ``16 * n`` crops. A pooled value stems from the four values
of a 2x2 block, which see a 6x6 patch; what the pooling did is kept as its `trace`: with maximum pooling
which of the four won (uint8, same shape as the result), with tanh and average pooling the four derivatives
(float32, ``(n, channels, h, 4 * w * 16)``, block after block).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.types import Image

__all__ = ["LANES", "convolve", "pack", "spread", "weigh"]

LANES = 16
"""Crops side by side: one register of 512 bits, or two of 256."""

Lanes = NDArray[np.float32]

_FAST: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy", "cache": True}


@njit(**_FAST)  # type: ignore[untyped-decorator]
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


@njit(inline="always", **_FAST)
def _row(k, first, r, s):  # type: ignore[no-untyped-def]
    """Five taps of one row: weights from `first` on, values from `s` on."""
    near = k[first] * r[s] + k[first + 1] * r[s + LANES] + k[first + 2] * r[s + 2 * LANES]
    return near + k[first + 3] * r[s + 3 * LANES] + k[first + 4] * r[s + 4 * LANES]


@njit(inline="always", **_FAST)
def _tanh(x):  # type: ignore[no-untyped-def]
    """Rational approximation, within 4e-7 in float32; the library function does not vectorise.

    The coefficients are those of Eigen (``generic_fast_tanh_float``).
    """
    x = min(max(x, np.float32(-7.90531110763549805)), np.float32(7.90531110763549805))
    y = x * x
    p = y * np.float32(-2.76076847742355e-16) + np.float32(2.00018790482477e-13)
    p = y * p + np.float32(-8.60467152213735e-11)
    p = y * p + np.float32(5.12229709037114e-08)
    p = y * p + np.float32(1.48572235717979e-05)
    p = y * p + np.float32(6.37261928875436e-04)
    p = x * (y * p + np.float32(4.89352455891786e-03))
    q = y * np.float32(1.19825839466702e-06) + np.float32(1.18534705686654e-04)
    q = y * q + np.float32(2.26843463243900e-03)
    return p / (y * q + np.float32(4.89352518554385e-03))


@njit(inline="always", **_FAST)
def _maximum(a, b, c, d, out, trace, at):  # type: ignore[no-untyped-def]
    for lane in range(LANES):
        best, which = a[lane], np.uint8(0)
        if b[lane] > best:
            best, which = b[lane], np.uint8(1)
        if c[lane] > best:
            best, which = c[lane], np.uint8(2)
        if d[lane] > best:
            best, which = d[lane], np.uint8(3)
        out[at + lane] = best
        trace[at + lane] = which


@njit(inline="always", **_FAST)
def _mean_of_tanh(block, out, trace, at, step):  # type: ignore[no-untyped-def]
    quarter = np.float32(0.25)
    for lane in range(LANES):
        out[at + lane] = 0
    for which in range(4):
        values = block[which]
        for lane in range(LANES):
            value = _tanh(values[lane])
            out[at + lane] += quarter * value
            trace[which * step + at + lane] = quarter - quarter * value * value


@njit(**_FAST)  # type: ignore[untyped-decorator]
def convolve(
    x: Lanes, weights: Lanes, bias: NDArray[np.float32], tanh: bool, out: Lanes, trace: NDArray[np.generic]
) -> None:
    """One stage forward.

    Parameters
    ----------
    x : ndarray
        ``(n, c, h, w * 16)`` float32.
    weights, bias : ndarray
        ``(k, c, 25)`` and ``(k,)`` float32.
    tanh : bool
        False: no activation, maximum pooling. True: tanh, average pooling.
    out : ndarray
        ``(n, k, (h - 4) / 2, (w - 4) / 2 * 16)`` float32, written.
    trace : ndarray
        What the pooling did (see above), written.
    """
    block = np.empty((4, LANES), np.float32)
    a, b, c, d = block[0], block[1], block[2], block[3]
    width = out.shape[3] // LANES
    for n in range(x.shape[0]):
        for k in range(weights.shape[0]):
            for i in range(out.shape[2]):
                for j in range(width):
                    block[:] = bias[k]
                    for channel in range(x.shape[1]):
                        w, plane = weights[k, channel], x[n, channel]
                        r0, r1, r2 = plane[2 * i], plane[2 * i + 1], plane[2 * i + 2]
                        r3, r4, r5 = plane[2 * i + 3], plane[2 * i + 4], plane[2 * i + 5]
                        for lane in range(LANES):
                            u = 2 * j * LANES + lane
                            v = u + LANES
                            a[lane] += (
                                _row(w, 0, r0, u) + _row(w, 5, r1, u) + _row(w, 10, r2, u)
                                + _row(w, 15, r3, u) + _row(w, 20, r4, u)
                            )  # fmt: skip
                            b[lane] += (
                                _row(w, 0, r0, v) + _row(w, 5, r1, v) + _row(w, 10, r2, v)
                                + _row(w, 15, r3, v) + _row(w, 20, r4, v)
                            )  # fmt: skip
                            c[lane] += (
                                _row(w, 0, r1, u) + _row(w, 5, r2, u) + _row(w, 10, r3, u)
                                + _row(w, 15, r4, u) + _row(w, 20, r5, u)
                            )  # fmt: skip
                            d[lane] += (
                                _row(w, 0, r1, v) + _row(w, 5, r2, v) + _row(w, 10, r3, v)
                                + _row(w, 15, r4, v) + _row(w, 20, r5, v)
                            )  # fmt: skip
                    if tanh:
                        _mean_of_tanh(block, out[n, k, i], trace[n, k, i], j * LANES, width * LANES)
                    else:
                        _maximum(a, b, c, d, out[n, k, i], trace[n, k, i], j * LANES)


@njit(inline="always", **_FAST)
def _unpool(gradient, trace, at, step, tanh, block):  # type: ignore[no-untyped-def]
    """Gradient of the four values of a block from that of the pooled value."""
    a, b, c, d = block[0], block[1], block[2], block[3]
    zero = np.float32(0)
    if tanh:
        for lane in range(LANES):
            value, own = gradient[at + lane], at + lane
            a[lane], b[lane] = value * trace[own], value * trace[own + step]
            c[lane], d[lane] = value * trace[own + 2 * step], value * trace[own + 3 * step]
    else:
        for lane in range(LANES):
            value, which = gradient[at + lane], trace[at + lane]
            a[lane] = value if which == 0 else zero
            b[lane] = value if which == 1 else zero
            c[lane] = value if which == 2 else zero
            d[lane] = value if which == 3 else zero


@njit(inline="always", **_FAST)
def _weigh_row(sums, first, lane, a, b, c, d, r, s, u):  # type: ignore[no-untyped-def]
    for tap in range(5):
        v = u + tap * LANES
        sums[(first + tap) * LANES + lane] += a * r[v] + b * r[v + LANES] + c * s[v] + d * s[v + LANES]


@njit(**_FAST)  # type: ignore[untyped-decorator]
def weigh(
    x: Lanes,
    gradient: Lanes,
    trace: NDArray[np.generic],
    tanh: bool,
    weights: Lanes,
    bias: Lanes,
) -> None:
    """Gradient of one stage's weights and bias, lane by lane.

    Parameters
    ----------
    x : ndarray
        ``(n, c, h, w * 16)`` float32, what went in.
    gradient, trace : ndarray
        ``(n, k, i, j * 16)`` float32, gradient of what came out, and the trace that `convolve` left.
    tanh : bool
        As in `convolve`.
    weights, bias : ndarray
        ``(k, c, 25 * 16)`` and ``(k, 16)`` float32; the gradients are added, to be summed over lanes.
    """
    block = np.empty((4, LANES), np.float32)
    a, b, c, d = block[0], block[1], block[2], block[3]
    width = gradient.shape[3] // LANES
    for n in range(x.shape[0]):
        for k in range(gradient.shape[1]):
            for i in range(gradient.shape[2]):
                for j in range(width):
                    _unpool(gradient[n, k, i], trace[n, k, i], j * LANES, width * LANES, tanh, block)
                    for lane in range(LANES):
                        bias[k, lane] += a[lane] + b[lane] + c[lane] + d[lane]
                    for channel in range(x.shape[1]):
                        sums, plane = weights[k, channel], x[n, channel]
                        r0, r1, r2 = plane[2 * i], plane[2 * i + 1], plane[2 * i + 2]
                        r3, r4, r5 = plane[2 * i + 3], plane[2 * i + 4], plane[2 * i + 5]
                        for lane in range(LANES):
                            u = 2 * j * LANES + lane
                            e, f, g, h = a[lane], b[lane], c[lane], d[lane]
                            _weigh_row(sums, 0, lane, e, f, g, h, r0, r1, u)
                            _weigh_row(sums, 5, lane, e, f, g, h, r1, r2, u)
                            _weigh_row(sums, 10, lane, e, f, g, h, r2, r3, u)
                            _weigh_row(sums, 15, lane, e, f, g, h, r3, r4, u)
                            _weigh_row(sums, 20, lane, e, f, g, h, r4, r5, u)


@njit(inline="always", **_FAST)
def _spread_row(patch, u, w, above, a, b, c, d):  # type: ignore[no-untyped-def]
    """One row of a patch: weights of its own row meet `a` and `b`, those of the row above `c` and `d`."""
    own = above + 5
    patch[u] += a * w[own] + c * w[above]
    for tap in range(1, 5):
        near = a * w[own + tap] + b * w[own + tap - 1]
        patch[u + tap * LANES] += near + c * w[above + tap] + d * w[above + tap - 1]
    patch[u + 5 * LANES] += b * w[own + 4] + d * w[above + 4]


@njit(**_FAST)  # type: ignore[untyped-decorator]
def spread(weights: Lanes, gradient: Lanes, trace: NDArray[np.generic], tanh: bool, out: Lanes) -> None:
    """Gradient of what went into one stage.

    Parameters
    ----------
    weights : ndarray
        ``(k, c, 35)`` float32: the 25 of `convolve` with five zeros before and behind.
    gradient, trace : ndarray
        ``(n, k, i, j * 16)`` float32, gradient of what came out, and the trace that `convolve` left.
    tanh : bool
        As in `convolve`.
    out : ndarray
        ``(n, c, h, w * 16)`` float32, written.
    """
    kernels, width = gradient.shape[1], gradient.shape[3] // LANES
    blocks = np.empty((kernels, 4, LANES), np.float32)
    # All rows of a patch in one array: the compiler vectorises stores only where it sees that none overlap.
    patch = np.empty(36 * LANES, np.float32)
    for n in range(out.shape[0]):
        out[n] = 0
        for i in range(gradient.shape[2]):
            for j in range(width):
                for k in range(kernels):
                    _unpool(gradient[n, k, i], trace[n, k, i], j * LANES, width * LANES, tanh, blocks[k])
                for channel in range(out.shape[1]):
                    patch[:] = 0
                    for k in range(kernels):
                        w = weights[k, channel]
                        a, b, c, d = blocks[k, 0], blocks[k, 1], blocks[k, 2], blocks[k, 3]
                        for lane in range(LANES):
                            e, f, g, h = a[lane], b[lane], c[lane], d[lane]
                            _spread_row(patch, lane, w, 0, e, f, g, h)
                            _spread_row(patch, lane + 6 * LANES, w, 5, e, f, g, h)
                            _spread_row(patch, lane + 12 * LANES, w, 10, e, f, g, h)
                            _spread_row(patch, lane + 18 * LANES, w, 15, e, f, g, h)
                            _spread_row(patch, lane + 24 * LANES, w, 20, e, f, g, h)
                            _spread_row(patch, lane + 30 * LANES, w, 25, e, f, g, h)
                    for row in range(6):
                        line, s = out[n, channel, 2 * i + row], 2 * j * LANES
                        for value in range(6 * LANES):
                            line[s + value] += patch[6 * LANES * row + value]
