"""Outer outlines of a mask, as rectangles and areas: nobody needs the points."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.types import Image

RIM = 8
"""Px of zeros left and right of a mask, so that its rows begin at whole words; above and below one row is enough."""

_FRESH, _SEEN, _SEEN_RIGHT = np.uint8(255), np.uint8(2), np.uint8(130)
_ACROSS, _DOWN = np.array([1, 1, 0, -1, -1, -1, 0, 1]), np.array([0, -1, -1, -1, 0, 1, 1, 1])
_WORD = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True)
def _steps(width: int) -> NDArray[np.int64]:
    """Distances in a flat image to the eight neighbours, from the right one against the clock, twice round."""
    around = np.array([1, 1 - width, -width, -width - 1, -1, width - 1, width, width + 1])
    return np.concatenate((around, around))


@njit(cache=True, nogil=True)
def _follow(flat: Image, start: int, width: int, steps: NDArray[np.int64], rectangle: NDArray[np.int32]) -> int:
    """Walk once round a component from its first pixel; mark the pixels, note the rectangle; twice the area.

    The marks tell pixels that have nothing to their right, where a row leaves the component.
    """
    side = 4
    while True:
        side = (side - 1) & 7
        first = start + steps[side]
        if flat[first] or side == 4:
            break
    x, y = start % width, start // width
    left, right, top, bottom, twice = x, x, y, y, 0
    if not flat[first]:
        flat[start] = _SEEN_RIGHT
    else:
        here = start
        while True:
            end = side
            side += 1
            while not flat[here + steps[side]]:
                side += 1
            following = here + steps[side]
            side &= 7
            if 0 < side <= end:
                flat[here] = _SEEN_RIGHT
            elif flat[here] == _FRESH:
                flat[here] = _SEEN
            if following == start and here == first:
                dx, dy = start % width - x, start // width - y
                twice += x * dy - y * dx
                break
            twice += x * _DOWN[side] - y * _ACROSS[side]
            x, y = x + _ACROSS[side], y + _DOWN[side]
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
            here = following
            side = (side + 4) & 7
    rectangle[0], rectangle[1] = left, top
    rectangle[2], rectangle[3] = right - left + 1, bottom - top + 1
    return abs(twice)


@njit(cache=True, nogil=True)
def outer_outlines(
    mask: Image, corner: tuple[int, int], rectangles: NDArray[np.int32], areas: NDArray[np.float64]
) -> int:
    """Rectangle and enclosed area of each 8-connected component that lies in no hole of another.

    Border following after Suzuki and Abe (1985), `doi:10.1016/0734-189X(85)90016-7`, of outer borders only.

    Parameters
    ----------
    mask : ndarray
        ``(h + 2, w)`` uint8, C-contiguous, w a multiple of 8: 0 or 255, with a rim of 0: one row above and below,
        `RIM` columns left and right. Overwritten with marks.
    corner : tuple of int
        ``(x, y)`` px of the first pixel inside the rim.
    rectangles : ndarray
        ``(k, 4)`` int32, written: x, y, width, height, in the order in which OpenCV lists the outlines.
    areas : ndarray
        ``(k,)`` float64, written: px², of the polygon through the centres of the outline's pixels.

    Returns
    -------
    int
        How many there are; more than `k` are counted, not written.
    """
    height, width = mask.shape
    flat, words, steps = mask.reshape(-1), mask.view(np.uint64), _steps(width)
    count = 0
    scratch = np.empty(4, np.int32)
    for i in range(1, height - 1):
        before, mark = np.uint8(0), np.uint8(0)
        for k in range(words.shape[1]):
            word = words[i, k]
            if (word == 0 and before == 0) or (word == _WORD and before == _FRESH):
                continue
            # Unsigned, so that nobody asks whether an index is negative.
            begin = np.uint64(i * width + 8 * k)
            for j in range(begin, begin + np.uint64(8)):
                value = flat[j]
                if value != before:
                    if before == 0 and value == _FRESH and mark != _SEEN:
                        own = rectangles[count] if count < rectangles.shape[0] else scratch
                        twice = _follow(flat, np.int64(j), width, steps, own)  # type: ignore[arg-type]
                        own[0] += corner[0] - RIM
                        own[1] += corner[1] - 1
                        if count < rectangles.shape[0]:
                            areas[count] = twice / 2
                        count += 1
                        value = flat[j]
                    before = value
                if value in (_SEEN, _SEEN_RIGHT):
                    mark = value
    written = min(count, rectangles.shape[0])
    rectangles[:written] = rectangles[:written][::-1].copy()
    areas[:written] = areas[:written][::-1].copy()
    return count
