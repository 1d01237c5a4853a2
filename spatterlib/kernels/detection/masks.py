"""From grey levels to the mask: smoothed and thresholded run by run, dilated 64 px at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BLOCK, REACH, Image

WORD = 64
"""Px that are dilated together."""

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_EIGHT, _SIXTY_FOUR = np.uint64(8), np.uint64(64)
# Eight pixels, 0 or 255 each, of eight bits; the first is the lowest.
_SPREAD = np.array([sum(255 << (8 * k) for k in range(8) if n >> k & 1) for n in range(256)], np.uint64)


def grey_shape(width: int, height: int) -> tuple[int, int]:
    """Of an array for grey levels that are smoothed: with a rim, and in whole blocks."""
    return height + 2 * REACH, -(-width // BLOCK) * BLOCK + 2 * REACH


shape_of_grey = kernel(grey_shape)
"""The same for kernels."""


@kernel
def _mirrored(index: int, count: int) -> int:
    """Index inside 0 .. count - 1 after reflection about the end pixels (OpenCV's BORDER_REFLECT_101)."""
    if count == 1:
        return 0
    while index < 0 or index >= count:
        index = -index if index < 0 else 2 * count - 2 - index
    return index


@kernel
def _fill_rim(grey: Image, width: int) -> None:
    height = grey.shape[0] - 2 * REACH
    far, near = REACH + _mirrored(-2, width), REACH + _mirrored(-1, width)
    next_, last = REACH + _mirrored(width, width), REACH + _mirrored(width + 1, width)
    for i in range(REACH, REACH + height):
        grey[i, 0], grey[i, 1] = grey[i, far], grey[i, near]
        grey[i, REACH + width], grey[i, REACH + width + 1] = grey[i, next_], grey[i, last]
    for i in (-2, -1, height, height + 1):
        line = REACH + _mirrored(i, height)
        for j in range(grey.shape[1]):
            grey[REACH + i, j] = grey[line, j]


@kernel
def _weighed(a: int, b: int, c: int, d: int, e: int) -> np.uint16:
    """1-4-6-4-1; of levels, and of what it makes of levels, it fits into 16 bits."""
    return np.uint16(np.uint16(a) + np.uint16(e) + 4 * (np.uint16(b) + np.uint16(d)) + 6 * np.uint16(c))


@kernel
def _smooth_down(grey: Image, row: np.uint64, first: np.uint64, last: np.uint64, sums: NDArray[np.uint16]) -> None:
    """Five rows, column by column."""
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    for k in range(first, last):
        sums[k] = _weighed(
            grey[row, k], grey[row + one, k], grey[row + two, k], grey[row + three, k], grey[row + four, k]
        )


@kernel
def _smooth_across(sums: NDArray[np.uint16], first: np.uint64, limit: np.uint16) -> np.uint32:
    """Five columns, for 32 pixels: which reach the limit, as bits."""
    bits, one, two, three, four = np.uint32(0), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    for n in range(np.uint64(BLOCK)):
        k = first + n
        reached = _weighed(sums[k], sums[k + one], sums[k + two], sums[k + three], sums[k + four]) >= limit
        bits |= np.uint32(np.uint32(reached) << np.uint32(n))
    return bits


@kernel
def smooth_above(grey: Image, width: int, threshold: int, runs: NDArray[np.int64], radius: int) -> NDArray[np.uint64]:
    """5x5 Gaussian and threshold in one pass: where the smoothed level is greater.

    Parameters
    ----------
    grey : ndarray
        Uint8, C-contiguous, of `grey_shape`: the levels begin behind a rim of `REACH` px, which is written.
    width : int
        Px.
    threshold : int
        Grey levels, 0-254.
    runs : ndarray
        ``(k, 3)`` int64: row, first column, a multiple of 32, and the one behind the last, where it may be greater.
    radius : int
        Px, of the dilation that is to come.

    Returns
    -------
    ndarray
        Uint64, what `dilate` takes. A bit is ``(sum + 128) >> 8 > threshold``, weights 1-4-6-4-1 both ways, as OpenCV
        does it; 0 outside the runs.
    """
    words = -(-width // WORD)
    bits = np.zeros((grey.shape[0] - 2 * REACH + 2 * radius) * words, np.uint64)
    halves, limit = bits.view(np.uint32), np.uint16(256 * threshold + 128)
    sums = np.empty(grey.shape[1], np.uint16)
    _fill_rim(grey, width)
    for r in range(runs.shape[0]):
        i, left, right = runs[r]
        line = 2 * (i + radius) * words
        end = left + -(-(right - left) // BLOCK) * BLOCK
        _smooth_down(grey, np.uint64(i), np.uint64(left), np.uint64(end + 2 * REACH), sums)
        for column in range(left, right, BLOCK):
            found = _smooth_across(sums, np.uint64(column), limit)
            if right - column < BLOCK:
                found &= np.uint32((1 << (right - column)) - 1)
            halves[line + column // BLOCK] = found
    return bits


@kernel
def _widen(bits: NDArray[np.uint64], at: np.uint64, count: np.uint64, radius: int) -> None:
    """Spread the bits of a row both ways, in ever wider steps."""
    done, last = 0, at + count - np.uint64(1)
    while done < radius:
        step = min(done + 1, radius - done)
        near, far, before = np.uint64(step), np.uint64(64 - step), np.uint64(0)
        for k in range(at, at + count):
            here, after = bits[k], bits[k + np.uint64(1)] if k < last else np.uint64(0)
            bits[k] = here | (here << near) | (here >> near) | (before >> far) | (after << far)
            before = here
        done += step


@kernel
def dilate(bits: NDArray[np.uint64], width: int, radius: int, mask: Image) -> None:
    """Dilation by a square, into a mask with the rim that `spatterlib.kernels.detection.outlines` wants.

    Parameters
    ----------
    bits : ndarray
        Uint64: row by row the pixels, the first the lowest bit, in whole words that are 0 from `width` on; `radius`
        rows of 0 above and below. Overwritten with those of the mask, from the first row on, without rows above.
    width : int
        Px; beyond it nothing is dilated.
    radius : int
        Px, 0-63; the square's side is ``2 * radius + 1``.
    mask : ndarray
        ``(h + 2, w + 2 * RIM)`` uint8, C-contiguous, written: 0 or 255, the rim 0; w is `width` in whole words.
    """
    height, across = mask.shape[0] - 2, -(-width // WORD)
    count, inside = np.uint64(across), _ALL >> (_SIXTY_FOUR * np.uint64(across) - np.uint64(width))
    for i in range(np.uint64(height)):
        at, some = (i + np.uint64(radius)) * count, np.uint64(0)
        for k in range(count):
            some |= bits[at + k]
        if some:
            _widen(bits, at, count, radius)
            bits[at + count - np.uint64(1)] &= inside
    # Each row becomes the union of itself and those that follow, in steps that double.
    span = 1
    while span < 2 * radius + 1:
        step = min(span, 2 * radius + 1 - span)
        for j in range(bits.shape[0] - step * across):
            bits[j] |= bits[j + step * across]
        span += step
    mask[:] = 0
    spread, pitch = mask.reshape(-1).view(np.uint64), np.uint64(mask.shape[1] // 8)
    for i in range(np.uint64(height)):
        for k in range(count):
            word, at = bits[i * count + k], (i + np.uint64(1)) * pitch + np.uint64(1) + _EIGHT * k
            if word:
                for n in range(_EIGHT):
                    spread[at + n] = _SPREAD[(word >> (_EIGHT * n)) & np.uint64(255)]
