"""Pieces of one line, parted by a crossing or by noise, made one again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.measuring.ridges import copy_point

Floats = NDArray[np.float64]

# Px, over which direction and brightness of an end are taken.
_END = 8
# Px, how far two ends may lie apart, and how far they may overlap.
_REACH, _BACK = 12.0, 1.0
# Px off the other's course, and how much more for each px between them.
_ASIDE, _SPREAD = 1.0, 0.1
# Rad between their directions; logarithm of the ratio of their brightness.
_TURN, _BRIGHT = 0.3, 0.916
# Sum of the four, each as a share of its limit.
_WORST = 2.0
_PAIRS = 4096


@kernel
def _outward(points: Floats, first: int, last: int, row: Floats) -> None:
    """Place, direction and ridge measure of the end at `last` of a piece that begins at `first`."""
    step = 1 if last >= first else -1
    back = min(_END, abs(last - first))
    inner = last - step * back
    dx, dy = points[last, 0] - points[inner, 0], points[last, 1] - points[inner, 1]
    norm = max(np.hypot(dx, dy), 1e-6)
    row[0], row[1], row[2], row[3] = points[last, 0], points[last, 1], dx / norm, dy / norm
    total = 0.0
    for k in range(back + 1):
        total += points[last - step * k, 2]
    row[4] = total / (back + 1)


@kernel
def _misfit(a: Floats, b: Floats) -> float:
    """How badly end `b` goes on with what end `a` began, 0 = as if never parted, `_WORST` and more = not at all."""
    vx, vy = b[0] - a[0], b[1] - a[1]
    ahead, facing = a[2] * vx + a[3] * vy, -(b[2] * vx + b[3] * vy)
    if vx * vx + vy * vy > _REACH * _REACH or ahead < -_BACK or facing < -_BACK:
        return _WORST
    far = np.hypot(vx, vy)
    off = max(abs(a[2] * vy - a[3] * vx), abs(b[2] * vy - b[3] * vx))
    turn = np.arccos(min(max(-(a[2] * b[2] + a[3] * b[3]), -1.0), 1.0))
    bright = np.log(max(a[4], b[4]) / max(min(a[4], b[4]), 1e-6))
    if off > _ASIDE + _SPREAD * far or turn > _TURN or bright > _BRIGHT:
        return _WORST
    return float(far / _REACH + off / _ASIDE + turn / _TURN + bright / _BRIGHT)


@kernel
def _order(values: Floats, order: NDArray[np.int64]) -> None:
    """Which of the first values comes where, the least first; equal ones as they stand."""
    for k in range(order.shape[0]):
        place = k
        while place > 0 and values[order[place - 1]] > values[k]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = k


@kernel
def _partners(points: Floats, lines: NDArray[np.int64], partner: NDArray[np.int64]) -> None:
    """Which end goes on at which, the best pairs first; end ``2 k + 1`` is the last point of line k, -1 = none."""
    n = lines.shape[0]
    ends, open_ends = np.empty((2 * n, 5)), np.empty(2 * n, np.int64)
    count = 0
    for e in range(2 * n):
        first, last = lines[e // 2, 0], lines[e // 2, 1] - 1
        _outward(points, last if e % 2 == 0 else first, first if e % 2 == 0 else last, ends[e])
        partner[e] = -1
        # Border and zone are true ends.
        if lines[e // 2, 2 + e % 2] & 3 == 0:
            open_ends[count] = e
            count += 1
    bad, pairs = np.empty(_PAIRS), np.empty((_PAIRS, 2), np.int64)
    found = 0
    for k in range(count):
        for m in range(k + 1, count):
            a, b = open_ends[k], open_ends[m]
            worth = _misfit(ends[a], ends[b])
            if a // 2 != b // 2 and worth < _WORST and found < _PAIRS:
                bad[found], pairs[found, 0], pairs[found, 1] = worth, a, b
                found += 1
    root, order = np.arange(n), np.empty(found, np.int64)
    _order(bad, order)
    for place in range(found):
        k = order[place]
        a, b = pairs[k, 0], pairs[k, 1]
        old, new = root[b // 2], root[a // 2]
        if partner[a] >= 0 or partner[b] >= 0 or old == new:
            continue
        partner[a], partner[b] = b, a
        for line in range(n):
            if root[line] == old:
                root[line] = new


@kernel
def join_pieces(points: Floats, lines: NDArray[np.int64], joined: Floats, out: NDArray[np.int64]) -> int:
    """Make pieces that go on with each other one line.

    Two ends belong together where each lies ahead of the other, near the other's course, with about its direction and
    brightness. The best pairs go first, every end has one partner.

    Parameters
    ----------
    points, lines
        As written by `spatterlib.kernels.measuring.ridges.trace`, lines cut to their number.
    joined, out : ndarray
        Written: points and lines in the same form; of the shape of `points` and `lines` or larger.

    Returns
    -------
    int
        Number of lines.
    """
    n = lines.shape[0]
    partner, done = np.empty(2 * n, np.int64), np.zeros(n, np.bool_)
    _partners(points, lines, partner)
    count = used = 0
    for start in range(2 * n):
        if partner[start] >= 0 or done[start // 2]:
            continue
        out[count, 0], out[count, 2] = used, lines[start // 2, 2 + start % 2]
        end = start
        while end >= 0:
            piece, far = end // 2, end ^ 1
            done[piece] = True
            first, last = lines[piece, 0], lines[piece, 1] - 1
            for k in range(last - first + 1):
                copy_point(points, first + k if end % 2 == 0 else last - k, joined, used)
                used += 1
            out[count, 1], out[count, 3] = used, lines[piece, 2 + far % 2]
            end = partner[far]
        count += 1
    return count
