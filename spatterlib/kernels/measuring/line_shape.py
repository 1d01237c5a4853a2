"""What a line that was followed is like: its ends to a fraction of a px, curve, width, brightness along it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

FIELDS = 17
"""Numbers that describe a line, see `describe_lines`."""
_REACH = 8


@kernel
def _at(plane: Plane, x: float, y: float) -> float:
    """Value between pixels; the caller keeps `x`, `y` inside."""
    j, i = int(x), int(y)
    a, b = x - j, y - i
    upper = plane[i, j] * (1 - a) + plane[i, j + 1] * a
    lower = plane[i + 1, j] * (1 - a) + plane[i + 1, j + 1] * a
    return float(upper * (1 - b) + lower * b)


@kernel
def _solve(moments: Floats, right: Floats) -> tuple[float, float, float]:
    """Three unknowns by Cramer's rule."""
    a, b, c, d, e, f = moments[0], moments[1], moments[2], moments[2], moments[3], moments[4]
    det = a * (d * f - e * e) - b * (b * f - e * c) + c * (b * e - d * c)
    u, v, w = right[0], right[1], right[2]
    return (
        (u * (d * f - e * e) - b * (v * f - e * w) + c * (v * e - d * w)) / det,
        (a * (v * f - e * w) - u * (b * f - e * c) + c * (b * w - v * c)) / det,
        (a * (d * w - v * e) - b * (b * w - v * c) + u * (b * e - d * c)) / det,
    )


@kernel
def _parabola(points: Floats, way: Floats) -> tuple[float, float, float, float, float, float]:
    """X and y as polynomials of second degree of the way along the points; straight where they are few."""
    moments, right_x, right_y = np.zeros(5), np.zeros(3), np.zeros(3)
    n = points.shape[0]
    for k in range(n):
        power = 1.0
        for m in range(5):
            moments[m] += power
            if m < 3:
                right_x[m] += power * points[k, 0]
                right_y[m] += power * points[k, 1]
            power *= way[k]
    if n < 6:
        det = moments[0] * moments[2] - moments[1] * moments[1]
        slope_x = (moments[0] * right_x[1] - moments[1] * right_x[0]) / max(det, 1e-9)
        slope_y = (moments[0] * right_y[1] - moments[1] * right_y[0]) / max(det, 1e-9)
        middle = moments[1] / n
        return (
            right_x[0] / n - slope_x * middle, slope_x, 0.0, right_y[0] / n - slope_y * middle, slope_y, 0.0
        )  # fmt: skip
    a = _solve(moments, right_x)
    b = _solve(moments, right_y)
    return a[0], a[1], a[2], b[0], b[1], b[2]


@kernel
def _profile(luma: Plane, curve: Floats, low: float, reach: int, side: float, out: Plane, flank: Plane) -> int:
    """Light along a fitted line, every half px, and that beside it, from `reach` px before its begin to behind."""
    height, width = luma.shape
    count = out.shape[0]
    for k in range(count):
        t = low + 0.5 * k
        x, y = curve[0] + curve[1] * t + curve[2] * t * t, curve[3] + curve[4] * t + curve[5] * t * t
        dx, dy = curve[1] + 2 * curve[2] * t, curve[4] + 2 * curve[5] * t
        norm = max(np.hypot(dx, dy), 1e-6)
        c, s = dx / norm, dy / norm
        out[k] = -1.0
        flank[k] = 0.0
        if not (0 <= x < width - 1.001 and 0 <= y < height - 1.001):
            continue
        out[k] = _at(luma, x, y)
        least = 1e9
        for sign in range(-1, 2, 2):
            bx, by = x - sign * side * s, y + sign * side * c
            if 0 <= bx < width - 1.001 and 0 <= by < height - 1.001:
                least = min(least, _at(luma, bx, by))
        flank[k] = min(least, out[k]) if least < 1e9 else 0.0
    return int(count)


@kernel
def _edge(rise: Plane, at: int, step: int, hold: int) -> float:
    """Where, from index `at` in steps of one outwards, the rise falls to half of what it is just inside."""
    level = 0.0
    for k in range(hold):
        index = at - step * k
        if 0 <= index < rise.shape[0]:
            level = max(level, rise[index])
    half = 0.5 * level
    index = at - step * (hold - 1)
    index = min(max(index, 0), rise.shape[0] - 1)
    while 0 <= index + step < rise.shape[0] and rise[index + step] >= half:
        index += step
    beyond = index + step
    if not 0 <= beyond < rise.shape[0]:
        return float(index)
    drop = rise[index] - rise[beyond]
    return float(index + step * (min(max((rise[index] - half) / drop, 0.0), 1.0) if drop > 1e-6 else 0.0))


@kernel
def _width(luma: Plane, curve: Floats, low: float, high: float, scratch: Floats) -> float:
    """Px, full width at half maximum of the light across the middle of a line, from its mean profile."""
    height, width = luma.shape
    for m in range(17):
        scratch[m] = 0.0
    for k in range(9):
        t = low + (high - low) * (0.1 + 0.1 * k)
        x, y = curve[0] + curve[1] * t + curve[2] * t * t, curve[3] + curve[4] * t + curve[5] * t * t
        dx, dy = curve[1] + 2 * curve[2] * t, curve[4] + 2 * curve[5] * t
        norm = max(np.hypot(dx, dy), 1e-6)
        for m in range(17):
            far = 0.5 * (m - 8)
            px, py = x - far * dy / norm, y + far * dx / norm
            px, py = min(max(px, 0.0), width - 1.001), min(max(py, 0.0), height - 1.001)
            scratch[m] += _at(luma, px, py) / 9
    top = max(scratch[7], scratch[8], scratch[9])
    total = 0.0
    for step in range(-1, 2, 2):
        floor = scratch[8]
        m, bottom = 8, 8
        while 0 <= m + step < 17:
            m += step
            if scratch[m] < floor:
                floor, bottom = scratch[m], m
            elif scratch[m] > floor + 0.25 * (top - floor):
                break
        half, m = 0.5 * (top + floor), 8
        while m != bottom and scratch[m + step] > half:
            m += step
        beyond = m + step
        part = 0.0
        if 0 <= beyond < 17 and scratch[m] > scratch[beyond]:
            part = min(max((scratch[m] - half) / (scratch[m] - scratch[beyond]), 0.0), 1.0)
        total += 0.5 * (abs(m - 8) + part)
    return total


@kernel
def describe_lines(
    luma: Plane, tint: Plane, points: Floats, lines: NDArray[np.int64], side: float, out: Floats
) -> None:
    """What each line is like: ends to a fraction of a px, curve, width, brightness.

    Parameters
    ----------
    luma : ndarray
        ``(h, w)`` float32.
    tint : ndarray
        ``(h, w)`` float32, red less blue.
    points, lines : ndarray
        As written by `spatterlib.kernels.measuring.ridges.trace`, lines cut to their number.
    side : float
        Px, how far beside a line its background is taken; the darker of both sides.
    out : ndarray
        ``(n, FIELDS)`` float64, written: start x, y, middle x, y, end x, y in px, length along it, curvature in 1/px
        (positive = turns to its left as seen), width, mean rise in grey levels, rise in the first third, in the
        last third, direction at its start and end in rad (y down), root mean square distance of the points from the
        curve, highest rise, mean of `tint` above that on both sides.
    """
    scratch, curve = np.empty(17), np.empty(6)
    for n in range(lines.shape[0]):
        own = points[lines[n, 0] : lines[n, 1]]
        way = np.zeros(own.shape[0])
        for k in range(1, own.shape[0]):
            way[k] = way[k - 1] + np.hypot(own[k, 0] - own[k - 1, 0], own[k, 1] - own[k - 1, 1])
        total = way[-1]
        curve[0], curve[1], curve[2], curve[3], curve[4], curve[5] = _parabola(own, way)
        spread = 0.0
        for k in range(own.shape[0]):
            t = way[k]
            ex = own[k, 0] - curve[0] - curve[1] * t - curve[2] * t * t
            ey = own[k, 1] - curve[3] - curve[4] * t - curve[5] * t * t
            spread += (ex * ex + ey * ey) / own.shape[0]
        reach = _REACH
        size = int(2 * (total + 2 * reach)) + 1
        rise, flank = np.empty(size, np.float32), np.empty(size, np.float32)
        _profile(luma, curve, -float(reach), reach, side, rise, flank)
        for k in range(size):
            rise[k] = rise[k] - flank[k] if rise[k] >= 0 else 0.0
        first, last = 2 * reach, 2 * reach + int(2 * total)
        hold = min(8, max((last - first) // 2, 1) + 1)
        low = _edge(rise, first, -1, hold) if lines[n, 2] == 0 else float(first)
        high = _edge(rise, last, 1, hold) if lines[n, 3] == 0 else float(last)
        low, high = max(low, first - 6.0), min(high, last + 6.0)
        if high - low < 1:
            low, high = float(first), float(max(last, first + 1))
        _fill(out[n], curve, rise, low, high, reach)
        out[n, 8] = _width(luma, curve, 0.5 * low - reach, 0.5 * high - reach, scratch)
        out[n, 14] = np.sqrt(spread)
        out[n, 16] = _warmth(tint, curve, total, side)


@kernel
def _warmth(tint: Plane, curve: Floats, total: float, side: float) -> float:
    """How much redder than beside it a line is, in the mean."""
    height, width = tint.shape
    found = 0.0
    count = int(total) + 1
    for k in range(count):
        x, y = curve[0] + curve[1] * k + curve[2] * k * k, curve[3] + curve[4] * k + curve[5] * k * k
        dx, dy = curve[1] + 2 * curve[2] * k, curve[4] + 2 * curve[5] * k
        norm = max(np.hypot(dx, dy), 1e-6)
        for m in range(-1, 2):
            px, py = x - m * side * dy / norm, y + m * side * dx / norm
            px, py = min(max(px, 0.0), width - 1.001), min(max(py, 0.0), height - 1.001)
            found += _at(tint, px, py) * (1.0 if m == 0 else -0.5)
    return found / count


@kernel
def _mean(values: Plane, start: int, stop: int) -> float:
    """Mean of values from `start` to `stop`, as far as there are any."""
    total, stop = np.float32(0), min(stop, values.shape[0])
    for k in range(start, stop):
        total += values[k]
    return float(np.float32(total / (stop - start)))


@kernel
def _fill(row: Floats, curve: Floats, rise: Plane, low: float, high: float, reach: int) -> None:
    a, b = 0.5 * low - reach, 0.5 * high - reach
    for m in range(3):
        t = a + (b - a) * 0.5 * m
        row[2 * m] = curve[0] + curve[1] * t + curve[2] * t * t
        row[2 * m + 1] = curve[3] + curve[4] * t + curve[5] * t * t
    px, py, qx, qy = row[2] - row[0], row[3] - row[1], row[4] - row[2], row[5] - row[3]
    rx, ry = row[4] - row[0], row[5] - row[1]
    chord, first, second = np.hypot(rx, ry), np.hypot(px, py), np.hypot(qx, qy)
    row[7] = -2 * (px * qy - py * qx) / max(chord * first * second, 1e-9)
    half = 0.5 * abs(row[7]) * chord
    row[6] = chord * (np.arcsin(min(half, 1.0)) / half if half > 1e-3 else 1.0)
    i, j = int(np.ceil(low)), int(np.floor(high)) + 1
    third = max((j - i) // 3, 1)
    row[9] = _mean(rise, i, j) if j > i else 0.0
    row[10], row[11] = _mean(rise, i, i + third), _mean(rise, max(j - third, 0), j)
    row[12] = np.arctan2(curve[4] + 2 * curve[5] * a, curve[1] + 2 * curve[2] * a)
    row[13] = np.arctan2(curve[4] + 2 * curve[5] * b, curve[1] + 2 * curve[2] * b)
    row[15] = 0.0
    for k in range(i, j):
        row[15] = max(row[15], rise[k]) if k > i else rise[k]
