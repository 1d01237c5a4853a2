"""Outer outlines of a mask, as rectangles and areas: nobody needs the points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image
from spatterlib.kernels.detection.masks import WORD

RIM = 8
"""Px of zeros left and right of a mask, so that its rows begin at whole words; above and below one row is enough."""

_FRESH, _SEEN, _SEEN_RIGHT = np.uint8(255), np.uint8(2), np.uint8(130)
_ACROSS, _DOWN = np.array([1, 1, 0, -1, -1, -1, 0, 1]), np.array([0, -1, -1, -1, 0, 1, 1, 1])
_ONE, _LAST = np.uint64(1), np.uint64(WORD - 1)
_SEQUENCE = np.uint64(0x03F79D71B4CB0A89)
_PLACES = np.argsort(_SEQUENCE << np.arange(WORD, dtype=np.uint64) >> np.uint64(58)).astype(np.uint64)


@kernel
def _steps(width: int) -> NDArray[np.int64]:
    """Distances in a flat image to the eight neighbours, from the right one against the clock, twice round."""
    around = (1, 1 - width, -width, -width - 1, -1, width - 1, width, width + 1)
    steps = np.empty(16, np.int64)
    for side in range(16):
        steps[side] = around[side & 7]
    return steps


@kernel
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


@kernel
def _lowest(word: np.uint64) -> np.uint64:
    """Place of the lowest bit of a word that is not 0: times that bit, a de Bruijn sequence begins with its own six."""
    return np.uint64(_PLACES[((word & (~word + _ONE)) * _SEQUENCE) >> np.uint64(58)])


@kernel
def _turn(rectangles: NDArray[np.int32], areas: NDArray[np.float64], count: int) -> None:
    """The last first: value by value, for which there is less to compile than for slices."""
    for k in range(count // 2):
        other = count - 1 - k
        areas[k], areas[other] = areas[other], areas[k]
        for side in range(4):
            rectangles[k, side], rectangles[other, side] = rectangles[other, side], rectangles[k, side]


@kernel
def outer_outlines(
    mask: Image,
    bits: NDArray[np.uint64],
    corner: tuple[int, int],
    rectangles: NDArray[np.int32],
    areas: NDArray[np.float64],
) -> int:
    """Rectangle and enclosed area of each 8-connected component that lies in no hole of another.

    Border following after Suzuki and Abe (1985), `doi:10.1016/0734-189X(85)90016-7`, of outer borders only. Only
    where rows enter and leave components is looked at: outside, a row always enters at a pixel of an outer border, and
    where it leaves at a pixel without a mark, or with one that is not of the right, it has entered a hole.

    Parameters
    ----------
    mask : ndarray
        ``(h + 2, 64 c + 2 RIM)`` uint8, C-contiguous: 0 or 255, with a rim of 0: one row above and below, `RIM` columns
        left and right. Overwritten with marks.
    bits : ndarray
        Uint64, the same without the rim, as `spatterlib.kernels.detection.masks.dilate` leaves them: c words a row.
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
    flat, steps = mask.reshape(-1), _steps(width)
    across, count = (width - 2 * RIM) // WORD, 0
    scratch = np.empty(4, np.int32)
    for i in range(height - 2):
        mark, before, inside = np.uint8(0), np.uint64(0), False
        for k in range(across):
            word = bits[i * across + k]
            turns = word ^ ((word << _ONE) | before)
            before = word >> _LAST
            while turns:
                # Unsigned, so that nobody asks whether an index is negative.
                at = np.uint64((i + 1) * width + RIM + WORD * k) + _lowest(turns)
                turns &= turns - _ONE
                if inside:
                    value = flat[at - _ONE]
                    mark = _SEEN if value == _FRESH else value
                elif mark != _SEEN and flat[at] == _FRESH:
                    own = rectangles[count] if count < rectangles.shape[0] else scratch
                    twice = _follow(flat, np.int64(at), width, steps, own)  # type: ignore[arg-type]
                    own[0] += corner[0] - RIM
                    own[1] += corner[1] - 1
                    if count < rectangles.shape[0]:
                        areas[count] = twice / 2
                    count += 1
                inside = not inside
    _turn(rectangles, areas, min(count, rectangles.shape[0]))
    return count
