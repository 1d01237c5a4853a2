"""From grey levels to the mask: smoothed and thresholded 32 px at a time, dilated 64 px at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from spatterlib.kernels import vectors
from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import BLOCK, REACH, Image
from spatterlib.kernels.vectors import BYTE, SHORT

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


def _plain_block(grey: Image, row: int, column: int, limit: int) -> np.uint32:
    around = grey[row : row + 5, column : column + BLOCK + 4].astype(int)
    down = np.array([1, 4, 6, 4, 1]) @ around
    sums = sum(weight * down[k : k + BLOCK] for k, weight in enumerate((1, 4, 6, 4, 1)))
    return np.uint32((sums >= limit) @ (1 << np.arange(BLOCK)))


@vectors.operation(_plain_block)
def _smooth_block(typing: Any, grey: Any, row: Any, column: Any, limit: Any) -> Any:
    """1-4-6-4-1 both ways of the 32 pixels right of and below the rim, and which sums reach the limit, as bits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, down = vectors.vector(BYTE, BLOCK), []
        # The sums of each column, from the first on, and again from the fifth on.
        for begin in (0, 4):
            levels = []
            for k in range(5):
                index = builder.add(args[1], vectors.whole(k)), builder.add(args[2], vectors.whole(begin))
                pointer = vectors.place(context, builder, grey, args[0], index, kind)
                levels.append(vectors.widen(builder, vectors.read(builder, pointer), SHORT))
            down.append(_weighed(builder, levels))
        across = [[*range(k, BLOCK), *range(2 * BLOCK - 4, 2 * BLOCK - 4 + k)] for k in range(5)]
        taps = [vectors.pick(builder, down[0], places, down[1]) for places in across]
        reached = builder.icmp_unsigned(">=", _weighed(builder, taps), vectors.spread(builder, args[3], BLOCK))
        return vectors.bits(builder, reached)

    return types.uint32(grey, types.intp, types.intp, types.uint16), code


def _weighed(builder: Any, five: list[Any]) -> Any:
    """1-4-6-4-1 of five vectors."""
    near = builder.mul(builder.add(five[1], five[3]), vectors.fill(SHORT, BLOCK, 4))
    middle = builder.mul(five[2], vectors.fill(SHORT, BLOCK, 6))
    return builder.add(builder.add(builder.add(five[0], five[4]), near), middle)


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
    _fill_rim(grey, width)
    for r in range(runs.shape[0]):
        i, left, right = runs[r]
        line = 2 * (i + radius) * words
        for column in range(left, right, BLOCK):
            found = _smooth_block(grey, i, column, limit)
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
