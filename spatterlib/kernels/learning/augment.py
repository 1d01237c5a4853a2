"""Crops to training samples: grey, resize, rotate and cut, with the arithmetic of Pillow, which torchvision calls.

Sizes are small (40x40, 32x32), so a crop is turned in a padded copy of its own, where no pixel needs a test
whether it lies inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image

__all__ = ["measure_ring", "prepare", "resize", "rotate_and_cut", "to_grey"]

_FAST: dict[str, Any] = {"error_model": "numpy"}
# Fixed point of Pillow's resampling (Resample.c, PRECISION_BITS) and of its affine transform (Geometry.c).
_BITS = 22
_ONE = 1 << 16


@kernel(**_FAST)
def to_grey(rgb: Image, out: Image) -> int:
    """Grey level of each pixel, ITU-R BT.601 weights in 16 bits as Pillow's mode ``L``; returns the brightest.

    Parameters
    ----------
    rgb : ndarray
        ``(h, w, 3)`` uint8 RGB.
    out : ndarray
        ``(h, w)`` uint8, written.
    """
    values, levels, peak = rgb.reshape(-1), out.reshape(-1), np.uint8(0)
    for k in range(levels.shape[0]):
        r, g, b = np.uint32(values[3 * k]), np.uint32(values[3 * k + 1]), np.uint32(values[3 * k + 2])
        level = np.uint32(19595) * r + np.uint32(38470) * g + np.uint32(7471) * b + np.uint32(32768)
        levels[k] = np.uint8(level >> np.uint32(16))
    for k in range(levels.shape[0]):
        peak = max(peak, levels[k])
    return int(peak)


@kernel(**_FAST)
def measure_ring(rgb: Image, width: int, out: NDArray[np.float32]) -> None:
    """Mean and deviation of the colours of a picture, and of its outermost pixels only.

    Parameters
    ----------
    rgb : ndarray
        ``(h, w, 3)`` uint8 RGB.
    width : int
        Px, of the ring.
    out : ndarray
        ``(9,)`` float32, written: mean red, green, blue of all; of the ring mean, then standard deviation.
    """
    height, length = rgb.shape[0], rgb.shape[1]
    values, whole = rgb.reshape(-1), _colours(rgb.reshape(-1))
    # Sums in variables, not in an array: each addition to memory waits for the one before.
    red = green = blue = red_square = green_square = blue_square = count = np.int64(0)
    for i in range(height):
        edge = i < width or i >= height - width or 2 * width >= length
        for part in range(1 if edge else 2):
            first = part * (length - width)
            last = length if edge or part else width
            count += last - first
            line = values[3 * (i * length + first) : 3 * (i * length + last)]
            for k in range(last - first):
                r, g, b = np.int64(line[3 * k]), np.int64(line[3 * k + 1]), np.int64(line[3 * k + 2])
                red, green, blue = red + r, green + g, blue + b
                red_square, green_square, blue_square = red_square + r * r, green_square + g * g, blue_square + b * b
    sums, squares = (red, green, blue), (red_square, green_square, blue_square)
    for c in range(3):
        mean = sums[c] / count
        out[c] = whole[c] / (height * length)
        out[3 + c] = mean
        out[6 + c] = np.sqrt(max(squares[c] / count - mean * mean, 0.0))


@kernel(**_FAST)
def _colours(values: Image) -> tuple[np.int64, np.int64, np.int64]:
    """Sums of red, green and blue; a million pixels at a time, whose sums fit into 32 bits."""
    red = green = blue = np.int64(0)
    for start in range(0, values.shape[0], 3 << 20):
        line = values[start : start + (3 << 20)]
        r = g = b = np.uint32(0)
        for k in range(line.shape[0] // 3):
            r += np.uint32(line[3 * k])
            g += np.uint32(line[3 * k + 1])
            b += np.uint32(line[3 * k + 2])
        red, green, blue = red + np.int64(r), green + np.int64(g), blue + np.int64(b)
    return red, green, blue


@kernel(**_FAST)
def _taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """First source pixel and fixed-point weights of each target pixel: a triangle as wide as the scale."""
    scale = source / target
    support = max(scale, 1.0)
    first = np.empty(target, np.int64)
    weights = np.zeros((target, int(np.ceil(support)) * 2 + 1), np.int32)
    line = np.empty(weights.shape[1], np.float64)
    for i in range(target):
        centre = (i + 0.5) * scale
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), source)
        first[i], total = low, 0.0
        for k in range(high - low):
            line[k] = max(1.0 - abs((k + low - centre + 0.5) / support), 0.0)
            total += line[k]
        for k in range(high - low):
            weights[i, k] = int(line[k] / total * (1 << _BITS) + 0.5)
    return first, weights


@kernel(**_FAST)
def resize(image: Image, out: Image) -> None:
    """Scale with an antialiased triangle filter: ``torchvision.transforms.Resize`` on a Pillow image, within one level.

    Pillow rounds between its two passes and takes them in an order that depends on its version and the shape.

    Parameters
    ----------
    image : ndarray
        ``(h, w, channels)`` uint8.
    out : ndarray
        ``(height, width, channels)`` uint8, written.
    """
    height, width, channels = out.shape
    length, half = image.shape[1] * channels, np.int32(1 << (_BITS - 1))
    first, weights = _taps(image.shape[0], height)
    pixels, sums = image.reshape(-1), np.empty(length, np.int32)
    # Column by column, so that the second pass, too, works on neighbours.
    low = np.empty((length, height), np.int32)
    for i in range(height):
        sums[:] = half
        for k in range(min(weights.shape[1], image.shape[0] - first[i])):
            weight, start = weights[i, k], (first[i] + k) * length
            line = pixels[start : start + length]
            for j in range(length):
                sums[j] += weight * np.int32(line[j])
        for j in range(length):
            low[j, i] = sums[j] >> _BITS
    first, weights = _taps(image.shape[1], width)
    totals = np.empty(height, np.int32)
    for j in range(width):
        for c in range(channels):
            totals[:] = half
            for k in range(min(weights.shape[1], image.shape[1] - first[j])):
                weight, column = weights[j, k], low[(first[j] + k) * channels + c]
                for i in range(height):
                    totals[i] += weight * column[i]
            for i in range(height):
                out[i, j, c] = totals[i] >> _BITS


@kernel(**_FAST)
def prepare(rgb: Image, out: Image) -> int:
    """`to_grey` and `resize` in one call, for a picture of one channel or three; returns the brightest grey level.

    Parameters
    ----------
    rgb : ndarray
        ``(h, w, 3)`` uint8 RGB.
    out : ndarray
        ``(height, width, channels)`` uint8, written.
    """
    grey = np.empty(rgb.shape[:2], np.uint8)
    peak: int = to_grey(rgb, grey)
    resize(grey.reshape((rgb.shape[0], rgb.shape[1], 1)) if out.shape[2] == 1 else rgb, out)
    return peak


@kernel(**_FAST)
def _fixed(value: float) -> Any:
    return np.int64(np.floor(value * _ONE + 0.5))


@kernel(**_FAST)
def _place(pixels: Image, channels: int, flat: NDArray[np.uint32]) -> None:
    """Pixels of one line, their channels packed into one number each."""
    if channels == 1:
        for j in range(flat.shape[0]):
            flat[j] = pixels[j]
    else:
        for j in range(flat.shape[0]):
            red, green, blue = np.uint32(pixels[3 * j]), np.uint32(pixels[3 * j + 1]), np.uint32(pixels[3 * j + 2])
            flat[j] = red | (green << np.uint32(8)) | (blue << np.uint32(16))


@kernel(**_FAST)
def _gather(
    flat: NDArray[np.uint32], room: int, channels: int, x: int, y: int, step_x: int, step_y: int, line: Image
) -> None:
    """Pixels along a line through a padded image; positions are in fixed point and never negative."""
    for j in range(line.shape[0] // channels):
        value = flat[np.uint64(((y + j * step_y) >> 16) * room + ((x + j * step_x) >> 16))]
        if channels == 1:
            line[j] = np.uint8(value)
        else:
            line[np.uint64(3 * j)] = np.uint8(value)
            line[np.uint64(3 * j + 1)] = np.uint8(value >> np.uint32(8))
            line[np.uint64(3 * j + 2)] = np.uint8(value >> np.uint32(16))


@kernel(**_FAST)
def rotate_and_cut(
    images: Image,
    rows: NDArray[np.int64],
    angles: NDArray[np.float64],
    padded: NDArray[np.uint32],
    out: Image,
) -> None:
    """Turn each crop about its centre (nearest pixel, black around) and cut out its middle.

    Equals ``RandomRotation`` and ``CenterCrop`` of torchvision on Pillow images, bit by bit.

    Parameters
    ----------
    images : ndarray
        ``(n, side, side, channels)`` uint8, of 1 or 3 channels.
    rows : ndarray
        ``(m,)`` int64, which of them.
    angles : ndarray
        ``(m,)`` float64, degrees, counter-clockwise.
    padded : ndarray
        ``(room, room)`` uint32, overwritten; room is even, at least the larger of side and ``1.5 * cut``.
    out : ndarray
        ``(m, cut, cut, channels)`` uint8, written.
    """
    side, cut, channels, room = images.shape[1], out.shape[1], images.shape[3], padded.shape[0]
    margin, edge, middle = (room - side) // 2, round((side - cut) / 2), side / 2
    flat, pixels, lines = padded.reshape(-1), images.reshape(-1), out.reshape(-1)
    flat[:] = 0
    for m in range(rows.shape[0]):
        for i in range(side):
            to, of = (margin + i) * room + margin, (rows[m] * side + i) * side * channels
            _place(pixels[of : of + side * channels], channels, flat[to : to + side])
        turn = -np.radians(angles[m] % 360.0)
        a, b = round(np.cos(turn), 15), round(np.sin(turn), 15)
        step_x, step_y, back_y = _fixed(a), _fixed(b), _fixed(-b)
        x = _fixed(middle + (a + b) * (0.5 - middle)) + edge * (step_x + step_y) + margin * _ONE
        y = _fixed(middle + (a - b) * (0.5 - middle)) + edge * (step_x + back_y) + margin * _ONE
        for i in range(cut):
            at = (m * cut + i) * cut * channels
            line = lines[at : at + cut * channels]
            _gather(flat, room, channels, x + i * step_y, y + i * step_x, step_x, back_y, line)
