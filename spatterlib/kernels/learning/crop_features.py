"""What a prepared crop looks like in a few numbers, in one pass over its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel


@kernel
def _to_grey(image: NDArray[np.uint8], grey: NDArray[np.int64]) -> tuple[np.int64, np.int64]:
    """Sums over the channels, and their total and sum of squares."""
    total, squares = np.int64(0), np.int64(0)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            value = np.int64(0)
            for c in range(image.shape[2]):
                value += np.int64(image[i, j, c])
            grey[i, j] = value
            total += value
            squares += value * value
    return total, squares


@kernel
def _steps(grey: NDArray[np.int64]) -> tuple[int, int]:
    """Sums of absolute steps across and down."""
    size, across, down = len(grey), 0, 0
    for i in range(size):
        for j in range(1, size):
            across += abs(grey[i, j] - grey[i, j - 1])
            down += abs(grey[j, i] - grey[j - 1, i])
    return across, down


@kernel
def _cell(grey: NDArray[np.int64], grid: int, a: int, b: int) -> float:
    """Mean of cell (a, b)."""
    size, total = len(grey), 0
    top, bottom, left, right = a * size // grid, (a + 1) * size // grid, b * size // grid, (b + 1) * size // grid
    for i in range(top, bottom):
        for j in range(left, right):
            total += grey[i, j]
    return total / ((bottom - top) * (right - left))


@kernel
def crop_statistics(images: NDArray[np.uint8], grid: int, out: NDArray[np.float64]) -> None:
    """Cell means, spread and mean steps of crops.

    Parameters
    ----------
    images : ndarray
        ``(n, size, size, channels)`` uint8, size of 2 or more and not below `grid`.
    grid : int
        Cells across and down.
    out : ndarray
        ``(n, grid * grid + 3)`` float64, written: mean of each cell, standard deviation, mean absolute step from pixel
        to pixel across and down, all of the mean over the channels.
    """
    count, size, _, channels = images.shape
    pixels, steps = size * size, size * (size - 1)
    grey = np.empty((size, size), np.int64)
    for n in range(count):
        total, squares = _to_grey(images[n], grey)
        for cell in range(grid * grid):
            out[n, cell] = _cell(grey, grid, cell // grid, cell % grid) / channels
        across, down = _steps(grey)
        variance = squares / pixels - (total / pixels) ** 2
        out[n, grid * grid] = np.sqrt(max(variance, 0.0)) / channels
        out[n, grid * grid + 1] = across / (steps * channels)
        out[n, grid * grid + 2] = down / (steps * channels)
