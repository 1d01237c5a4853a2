"""Ridges: bright lines followed point by point through the second derivatives of a picture.

The ridge measure is the second derivative across the line (Steger 1998, IEEE Trans. Pattern Anal. Mach. Intell. 20,
113). It is taken across the direction that the line has had so far, not across the local one, so that a line is
followed through a crossing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

_HISTORY = 6
# A line that runs beside a stronger one this far is the same line.
_BESIDE = 3
# Largest ratio of the second derivatives along and across at a seed.
_ROUND = 0.4
_STEEPEST = 2 / (1 - _ROUND) + 1e-3
# A line ends where its ridge falls below this share of what it was over the last few px.
_DROP = 0.35
# And where it rises above so many times that: there it came upon another.
_LEAP = 2.5
# A line of which more than this share lies on stronger ones, whatever their direction, is one of them once more.
_TAKEN = 0.3


@kernel
def _across(xx: Plane, xy: Plane, yy: Plane, x: float, y: float, c: float, s: float) -> float:
    """Ridge measure between pixels, across the direction ``(c, s)``; the caller keeps `x`, `y` inside."""
    j, i = int(x), int(y)
    a, b = x - j, y - i
    p, q, r, t = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    along_x = p * xx[i, j] + q * xx[i, j + 1] + r * xx[i + 1, j] + t * xx[i + 1, j + 1]
    mixed = p * xy[i, j] + q * xy[i, j + 1] + r * xy[i + 1, j] + t * xy[i + 1, j + 1]
    along_y = p * yy[i, j] + q * yy[i, j + 1] + r * yy[i + 1, j] + t * yy[i + 1, j + 1]
    return -float(s * s * along_x - 2 * s * c * mixed + c * c * along_y)


@kernel
def seeds(xx: Plane, xy: Plane, yy: Plane, noise: Plane, least: float, zone: Image, out: Floats) -> int:
    """Pixels on the crest of a ridge.

    Parameters
    ----------
    xx, xy, yy : ndarray
        ``(h, w)`` float32, second derivatives.
    noise : ndarray
        ``(h, w)`` float32, standard deviation of the ridge measure.
    least : float
        A seed is at least so many times above the noise.
    zone : ndarray
        ``(h, w)`` uint8, not 0 where nothing is looked for.
    out : ndarray
        ``(n, 4)`` float64, written: ridge measure over noise, x, y, angle in rad.

    Returns
    -------
    int
        Number of seeds.
    """
    height, width = xx.shape
    count = 0
    for i in range(2, height - 2):
        for j in range(2, width - 2):
            if zone[i, j]:
                continue
            # `value` below is at most `_STEEPEST` times this, else it is round: most pixels need no root.
            if -0.5 * (xx[i, j] + yy[i, j]) * _STEEPEST < least * noise[i, j]:
                continue
            half, other = 0.5 * (xx[i, j] - yy[i, j]), xy[i, j]
            root = np.sqrt(half * half + other * other)
            value = root - 0.5 * (xx[i, j] + yy[i, j])
            # Along a line the light hardly bends; at the end of a line, on a blob, it does.
            along = abs(-root - 0.5 * (xx[i, j] + yy[i, j]))
            if value < least * noise[i, j] or along > _ROUND * value or count == out.shape[0]:
                continue
            # The eigenvector of the largest second derivative, in amount, points across.
            angle = 0.5 * np.arctan2(2 * other, xx[i, j] - yy[i, j])
            c, s = np.cos(angle), np.sin(angle)
            way = angle
            if c * c * xx[i, j] + 2 * c * s * other + s * s * yy[i, j] > -value + 1e-4:
                way = angle + 0.5 * np.pi
            c, s = np.cos(way), np.sin(way)
            before = _across(xx, xy, yy, j - c, i - s, -s, c)
            after = _across(xx, xy, yy, j + c, i + s, -s, c)
            if value >= before and value > after:
                row = out[count]
                row[0], row[1], row[2], row[3] = value / noise[i, j], j, i, way + 0.5 * np.pi
                count += 1
    return count


@kernel
def _owned(owner: NDArray[np.int32], bearing: Plane, x: float, y: float, angle: float) -> int:
    """Line that runs here the same way, -1 = none."""
    i, j = int(y + 0.5), int(x + 0.5)
    if owner[i, j] < 0:
        return -1
    turn = abs(np.sin(angle - bearing[i, j]))
    return int(owner[i, j]) if turn < 0.35 else -1


@kernel
def _crest(xx: Plane, xy: Plane, yy: Plane, px: float, py: float, c: float, s: float) -> tuple[float, float]:
    """Highest ridge measure within a px to either side of the way ``(c, s)``, and how far to the side it is."""
    best, shift = -1e9, 0.0
    for k in range(-2, 3):
        value = _across(xx, xy, yy, px - 0.5 * k * s, py + 0.5 * k * c, c, s)
        if value > best:
            best, shift = value, 0.5 * k
    before = _across(xx, xy, yy, px - (shift - 0.5) * s, py + (shift - 0.5) * c, c, s)
    after = _across(xx, xy, yy, px - (shift + 0.5) * s, py + (shift + 0.5) * c, c, s)
    bend = before - 2 * best + after
    if bend < 0:
        shift += 0.25 * min(max((before - after) / bend, -1.0), 1.0)
    return best, shift


@kernel
def _follow(
    xx: Plane, xy: Plane, yy: Plane, noise: Plane, least: float, gap: int, zone: Image,
    owner: NDArray[np.int32], bearing: Plane, x: float, y: float, angle: float, out: Floats,
) -> tuple[int, int]:  # fmt: skip
    """Walk along a ridge from a point: points written, and why it ended (1 border, 2 zone, 4 another line)."""
    height, width = xx.shape
    count = weak = beside = 0
    good = why = 0
    usual = 0.0
    while count < out.shape[0]:
        c, s = np.cos(angle), np.sin(angle)
        px, py = x + c, y + s
        if not (2.5 <= px < width - 3.5 and 2.5 <= py < height - 3.5):
            why = 1
            break
        best, shift = _crest(xx, xy, yy, px, py, c, s)
        x, y = px - shift * s, py + shift * c
        if not (2.5 <= x < width - 3.5 and 2.5 <= y < height - 3.5):
            why = 1
            break
        i, j = int(y + 0.5), int(x + 0.5)
        if zone[i, j]:
            why = 2
            break
        row = out[count]
        row[0], row[1], row[2] = x, y, best
        count += 1
        faint = best < max(least * noise[i, j], _DROP * usual)
        weak = weak + 1 if faint or (usual > 0.0 and best > _LEAP * usual) else 0
        usual = best if usual == 0.0 else usual + 0.2 * (best - usual) * (weak == 0)
        beside = beside + 1 if _owned(owner, bearing, x, y, angle) >= 0 else 0
        if weak > gap:
            break
        if beside >= _BESIDE:
            why = 4
            break
        if weak == 0 and beside == 0:
            good = count
        back = max(count - 1 - _HISTORY, 0)
        if count - 1 > back:
            toward = np.arctan2(y - out[back, 1], x - out[back, 0])
            turn = (toward - angle + np.pi) % (2 * np.pi) - np.pi
            angle += 0.5 * min(max(turn, -0.6), 0.6)
    return good, why


@kernel
def _worth(points: Floats, noise: Plane, owner: NDArray[np.int32]) -> tuple[float, int]:
    """Sum of the ridge over the noise, and how many of the points lie on lines found before."""
    strength, taken = 0.0, 0
    for k in range(points.shape[0]):
        i, j = int(points[k, 1] + 0.5), int(points[k, 0] + 0.5)
        strength += points[k, 2] / noise[i, j]
        taken += owner[i, j] >= 0
    return strength, taken


@kernel
def copy_point(points: Floats, row: int, out: Floats, place: int) -> None:
    """Copy one point; a slice on both sides of an assignment takes a second to compile."""
    for k in range(3):
        out[place, k] = points[row, k]


@kernel
def trace(
    xx: Plane,
    xy: Plane,
    yy: Plane,
    noise: Plane,
    zone: Image,
    starts: Floats,
    least: float,
    mean: float,
    gap: int,
    shortest: float,
    points: Floats,
    lines: NDArray[np.int64],
) -> int:
    """Follow ridges from their seeds, the strongest first.

    Parameters
    ----------
    xx, xy, yy, noise, zone
        As in `seeds`.
    starts : ndarray
        ``(k, 4)`` float64, seeds, strongest first.
    least : float
        A line goes on while it is so many times above the noise.
    mean : float
        In the mean along it, a line is at least so many times above the noise.
    gap : int
        Px, weaker stretches up to this length are bridged.
    shortest : float
        Px, shorter lines are dropped.
    points : ndarray
        ``(n, 3)`` float64, written: x, y in px, ridge measure, one after the other.
    lines : ndarray
        ``(m, 4)`` int64, written: first point, end of points, why it ends there and there (1 border, 2 zone, 4
        another line).

    Returns
    -------
    int
        Number of lines.
    """
    height, width = xx.shape
    owner = np.zeros((height, width), np.int32)
    owner -= 1
    bearing = np.zeros((height, width), np.float32)
    forth, back = np.empty((500, 3)), np.empty((500, 3))
    count = used = 0
    for n in range(starts.shape[0]):
        x, y, angle = starts[n, 1], starts[n, 2], starts[n, 3]
        if owner[int(y), int(x)] >= 0:
            continue
        ahead, why = _follow(
            xx, xy, yy, noise, least, gap, zone, owner, bearing, x, y, angle, forth
        )  # fmt: skip
        behind, other = _follow(
            xx, xy, yy, noise, least, gap, zone, owner, bearing, x, y, angle + np.pi, back
        )  # fmt: skip
        total = ahead + behind
        strength, taken = _worth(forth[:ahead], noise, owner)
        more, also = _worth(back[:behind], noise, owner)
        if strength + more < total * mean or taken + also > _TAKEN * total:
            continue
        if total < shortest or used + total + 1 > points.shape[0] or count == lines.shape[0]:
            continue
        first = used
        for k in range(behind):
            copy_point(back, behind - 1 - k, points, used)
            used += 1
        points[used, 0], points[used, 1] = x, y
        points[used, 2] = _across(xx, xy, yy, x, y, np.cos(angle), np.sin(angle))
        used += 1
        for k in range(ahead):
            copy_point(forth, k, points, used)
            used += 1
        lines[count, 0], lines[count, 1], lines[count, 2], lines[count, 3] = first, used, other, why
        _own(points[first:used], count, owner, bearing)
        count += 1
    return count


@kernel
def _own(points: Floats, number: int, owner: NDArray[np.int32], bearing: Plane) -> None:
    """Mark the pixels along a line, a pixel to either side."""
    for k in range(points.shape[0]):
        a, b = max(k - 2, 0), min(k + 2, points.shape[0] - 1)
        angle = np.arctan2(points[b, 1] - points[a, 1], points[b, 0] - points[a, 0])
        i, j = int(points[k, 1] + 0.5), int(points[k, 0] + 0.5)
        for di in range(-1, 2):
            for dj in range(-1, 2):
                if owner[i + di, j + dj] < 0:
                    owner[i + di, j + dj] = number
                    bearing[i + di, j + dj] = angle
