"""From grey levels to the mask: smoothed and thresholded in one pass, dilated 64 px at a time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.types import Image

WORD = 64
"""Px that are dilated together."""

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONES = np.uint64(0x0101010101010101)
_EIGHT, _SIXTY_FOUR = np.uint64(8), np.uint64(64)
# Eight pixels, 0 or 255 each, of eight bits; the first is the lowest.
_SPREAD = np.array([sum(255 << (8 * k) for k in range(8) if n >> k & 1) for n in range(256)], np.uint64)


@njit(cache=True, nogil=True)
def _mirrored(index: int, count: int) -> int:
    """Index inside 0 .. count - 1 after reflection about the end pixels (OpenCV's BORDER_REFLECT_101)."""
    if count == 1:
        return 0
    while index < 0 or index >= count:
        index = -index if index < 0 else 2 * count - 2 - index
    return index


@njit(cache=True, nogil=True)
def _down(
    grey: Image,
    rows: tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64],
    start: np.uint64,
    count: np.uint64,
    sums: NDArray[np.uint16],
) -> None:
    """1-4-6-4-1 across five rows, from a column on; column j goes to place j + 2.

    Unsigned indices instead of slices, as in `spatterlib.kernels.colour`.
    """
    a, b, c, d, e = rows
    for j in range(count):
        k = start + j
        ends = np.uint16(np.uint16(grey[a, k]) + np.uint16(grey[e, k]))
        near = np.uint16(np.uint16(grey[b, k]) + np.uint16(grey[d, k]))
        sums[k + np.uint64(2)] = np.uint16(
            np.uint16(ends + np.uint16(np.uint16(4) * near)) + np.uint16(np.uint16(6) * np.uint16(grey[c, k]))
        )


@njit(cache=True, nogil=True)
def _across(
    sums: NDArray[np.uint16], start: np.uint64, count: np.uint64, limit: np.uint16, out: Image, row: np.uint64
) -> None:
    """1-4-6-4-1 along a row, whose column j is in place j + 2; 255 where the sum reaches the limit."""
    for j in range(count):
        k = start + j
        ends = np.uint16(sums[k] + sums[k + np.uint64(4)])
        near = np.uint16(sums[k + np.uint64(1)] + sums[k + np.uint64(3)])
        total = np.uint16(
            np.uint16(ends + np.uint16(np.uint16(4) * near)) + np.uint16(np.uint16(6) * sums[k + np.uint64(2)])
        )
        out[row, k] = np.uint8(255) if total >= limit else np.uint8(0)


@njit(cache=True, nogil=True)
def _rows_around(i: int, height: int) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64]:
    return (
        np.uint64(_mirrored(i - 2, height)),
        np.uint64(_mirrored(i - 1, height)),
        np.uint64(i),
        np.uint64(_mirrored(i + 1, height)),
        np.uint64(_mirrored(i + 2, height)),
    )


@njit(cache=True, nogil=True)
def smooth_above(grey: Image, threshold: int, runs: NDArray[np.int64], out: Image) -> None:
    """5x5 Gaussian and threshold in one pass: 255 where the smoothed level is greater.

    Parameters
    ----------
    grey : ndarray
        ``(h, w)`` uint8.
    threshold : int
        Grey levels, 0-254.
    runs : ndarray
        ``(k, 3)`` int64: row, first column and the one behind the last, where it may be greater.
    out : ndarray
        ``(h, w or more)`` uint8, written: ``(sum + 128) >> 8 > threshold``, weights 1-4-6-4-1 both ways, as OpenCV does
        it; 0 outside the runs.
    """
    height, width = grey.shape
    limit = np.uint16(256 * threshold + 128)
    sums = np.empty(width + 4, np.uint16)
    out[:] = 0
    for r in range(runs.shape[0]):
        i, left, right = runs[r]
        start, stop = max(left - 2, 0), min(right + 2, width)
        _down(grey, _rows_around(i, height), np.uint64(start), np.uint64(stop - start), sums)
        for j in range(1, 3):
            if left < 2:
                sums[2 - j] = sums[2 + _mirrored(-j, width)]
            if right > width - 2:
                sums[width + 1 + j] = sums[2 + _mirrored(width - 1 + j, width)]
        _across(sums, np.uint64(left), np.uint64(right - left), limit, out, np.uint64(i))


@njit(cache=True, nogil=True)
def _packed(words: NDArray[np.uint64], at: np.uint64) -> np.uint64:
    """64 pixels, 0 or 255 each, as bits."""
    some, bits = np.uint64(0), np.uint64(0)
    for n in range(_EIGHT):
        some |= words[at + n]
    if some == 0:
        return some
    for n in range(_EIGHT):
        bits |= words[at + n] & (_ONES << n)
    # Bit 8 k + n is pixel 8 n + k: transposed as in Warren, Hacker's Delight, 7-3.
    swap = (bits ^ (bits >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
    bits ^= swap ^ (swap << np.uint64(7))
    swap = (bits ^ (bits >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
    bits ^= swap ^ (swap << np.uint64(14))
    swap = (bits ^ (bits >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
    return bits ^ swap ^ (swap << np.uint64(28))


@njit(cache=True, nogil=True)
def _widen(bits: NDArray[np.uint64], at: np.uint64, count: np.uint64, radius: int) -> None:
    """Spread the bits of a row both ways, in ever wider steps; the word behind it is 0."""
    done = 0
    while done < radius:
        step = min(done + 1, radius - done)
        near, far, before = np.uint64(step), np.uint64(64 - step), np.uint64(0)
        for k in range(at, at + count):
            here, after = bits[k], bits[k + np.uint64(1)]
            bits[k] = here | (here << near) | (here >> near) | (before >> far) | (after << far)
            before = here
        done += step


@njit(cache=True, nogil=True)
def _row_bits(binary: Image, width: int, radius: int) -> NDArray[np.uint64]:
    """Rows of bits, spread along the row, with `radius` rows of 0 above and below and one word more."""
    words, height, count = binary.reshape(-1).view(np.uint64), binary.shape[0], np.uint64(binary.shape[1] // 64)
    bits = np.zeros((height + 2 * radius) * (binary.shape[1] // 64) + 1, np.uint64)
    inside = _ALL >> (_SIXTY_FOUR * count - np.uint64(width))
    for i in range(np.uint64(height)):
        at, some = (i + np.uint64(radius)) * count, np.uint64(0)
        for k in range(count):
            packed = _packed(words, (i * count + k) * _EIGHT)
            bits[at + k] = packed
            some |= packed
        if some:
            _widen(bits, at, count, radius)
            bits[at + count - np.uint64(1)] &= inside
    return bits


@njit(cache=True, nogil=True)
def dilate(binary: Image, width: int, radius: int, mask: Image) -> None:
    """Dilation by a square, into a mask with the rim that `spatterlib.kernels.outlines` wants.

    Parameters
    ----------
    binary : ndarray
        ``(h, w)`` uint8, C-contiguous, w `width` rounded up to a multiple of 64: 0 or 255, and 0 from `width` on.
    width : int
        Px; beyond it nothing is dilated.
    radius : int
        Px, 0-63; the square's side is ``2 * radius + 1``.
    mask : ndarray
        ``(h + 2, w + 2 * RIM)`` uint8, C-contiguous, written: 0 or 255, the rim 0.
    """
    bits, across = _row_bits(binary, width, radius), binary.shape[1] // 64
    # Each row becomes the union of itself and those that follow, in steps that double.
    span = 1
    while span < 2 * radius + 1:
        step = min(span, 2 * radius + 1 - span)
        for j in range(bits.shape[0] - 1 - step * across):
            bits[j] |= bits[j + step * across]
        span += step
    mask[:] = 0
    spread, count, pitch = mask.reshape(-1).view(np.uint64), np.uint64(across), np.uint64(mask.shape[1] // 8)
    for i in range(np.uint64(binary.shape[0])):
        for k in range(count):
            word, at = bits[i * count + k], (i + np.uint64(1)) * pitch + np.uint64(1) + _EIGHT * k
            if word:
                for n in range(_EIGHT):
                    spread[at + n] = _SPREAD[(word >> (_EIGHT * n)) & np.uint64(255)]
