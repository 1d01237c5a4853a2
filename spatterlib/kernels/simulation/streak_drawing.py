"""Streaks: the light that flights and the laser leave in one exposure, drawn anti-aliased.

Light is linear, 1 = the sensor's full scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image
from spatterlib.kernels.simulation.flights import STEP

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

TILE = 16
"""Px, size of the tiles of which only those with light are developed."""
CUT_OPEN, CUT_CLOSE, CUT_FRAME = 1, 2, 4
WHITE = 248
"""Grey level from which on the sensor counts as saturated."""
APART = 5
"""Px, wider than a particle, and less than the saturated zone."""
_RAYS = 7


@kernel
def _mark(lit: Image, x: float, y: float) -> None:
    """Set the tiles within 4 px of a point."""
    left, right = int(max(x - 4, 0)) // TILE, min(int(x + 4) // TILE, lit.shape[1] - 1)
    for i in range(int(max(y - 4, 0)) // TILE, min(int(y + 4) // TILE, lit.shape[0] - 1) + 1):
        for j in range(left, right + 1):
            if lit[i, j] == 0:
                lit[i, j] = 1


@kernel
def _at(points: Light, age: float, shift: tuple[float, float]) -> tuple[float, float]:
    """Px, where a flight is, `age` steps behind its first point."""
    k = min(int(age), points.shape[0] - 2)
    p, q, part = points[k], points[k + 1], age - k
    return p[0] + (q[0] - p[0]) * part + shift[0], p[1] + (q[1] - p[1]) * part + shift[1]


@kernel
def _inside(x: float, y: float, margin: float, light: Light) -> bool:
    return bool(margin <= x <= light.shape[1] - 1 - margin and margin <= y <= light.shape[0] - 1 - margin)


@kernel
def _norm(spread: float, blur: float) -> float:
    """1/px, height of the profile across a streak whose light is 1; a disc of radius `blur` widens it."""
    return float(1 / np.sqrt(2 * np.pi * (spread * spread + 0.5 * blur * blur)))


@kernel(fastmath=True, error_model="numpy")
def _stroke(
    p: Light,
    q: Light,
    part: float,
    time: float,
    line: tuple[float, float, float, float],
    gain: Floats,
    width: int,
    light: Light,
) -> float:
    """Add the light of one step, spread evenly along the line, which lies `_inside`; its grey sum."""
    x0, y0, x1, y1 = line
    pieces = int(1.2 * np.hypot(x1 - x0, y1 - y0)) + 1
    share = time / pieces
    red = np.float32((p[3] + (q[3] - p[3]) * part) * gain[0] * share)
    green = np.float32((p[4] + (q[4] - p[4]) * part) * gain[1] * share)
    blue = np.float32((p[5] + (q[5] - p[5]) * part) * gain[2] * share)
    step_x, step_y = np.float32((x1 - x0) / pieces), np.float32((y1 - y0) / pieces)
    first_x, first_y = np.float32(x0) + np.float32(0.5) * step_x, np.float32(y0) + np.float32(0.5) * step_y
    below = np.uint32(3 * width)
    for n in range(pieces):
        x, y = first_x + step_x * np.float32(n), first_y + step_y * np.float32(n)
        j, i = np.uint32(x), np.uint32(y)
        a, b = x - np.float32(j), y - np.float32(i)
        k = np.uint32(3) * (i * np.uint32(width) + j)
        one = np.float32(1)
        for down in range(2):
            for aside in range(2):
                weight = (a if aside else one - a) * (b if down else one - b)
                at = k + (below if down else np.uint32(0)) + np.uint32(3 * aside)
                light[at] += weight * red
                light[at + np.uint32(1)] += weight * green
                light[at + np.uint32(2)] += weight * blue
    return float((0.299 * red + 0.587 * green + 0.114 * blue) * pieces)


@kernel
def _strokes(
    p: Light,
    q: Light,
    part: float,
    time: float,
    line: tuple[float, float, float, float],
    gain: Floats,
    blur: float,
    width: int,
    light: Light,
) -> float:
    """`_stroke`, or a disc of them, evenly spread by the golden angle; the grey sum."""
    rays = 1 if blur == 0 else _RAYS
    grey = 0.0
    for ray in range(rays):
        out, turn = blur * np.sqrt(ray / _RAYS), 2.4 * ray
        u, v = out * np.cos(turn), out * np.sin(turn)
        moved = (line[0] + u, line[1] + v, line[2] + u, line[3] + v)
        grey += _stroke(p, q, part, time / rays, moved, gain, width, light)
    return grey


@kernel
def draw(
    points: Light,
    flights: Floats,
    opened: float,
    closed: float,
    shift: tuple[float, float],
    gain: Floats,
    spread: float,
    visible: float,
    light: Light,
    lit: Image,
    bounds: NDArray[np.int64],
    traces: Floats,
) -> int:
    """Add the light of all flights within one exposure, anti-aliased, and note where each is seen.

    Parameters
    ----------
    points, flights
        As written by `fly`, cut to what counts.
    opened, closed : float
        S, when the shutter opens and closes.
    shift : tuple of float
        Px, added to all points.
    gain : ndarray
        ``(3,)`` float64, factors of red, green, blue.
    spread : float
        Px, standard deviation of the point spread across a streak.
    visible : float
        Linear light from which on a streak counts as seen.
    light : ndarray
        ``(h, w, 3)`` float32, added to.
    lit : ndarray
        ``(ceil(h / TILE), ceil(w / TILE))`` uint8, set to 1 where light falls; `halo` sets 2 where the glow falls.
    bounds : ndarray
        ``(4,)`` int64 left, top, right, bottom of what was lit, widened.
    traces : ndarray
        ``(n, 13)`` float64, written: flight, start x, y, middle x, y, end x, y in px, way in mm,
        duration in s, length in px, mean light, cut, age of the particle at the start in s.

    Returns
    -------
    int
        Number of traces.
    """
    count = 0
    flat, width = light.reshape(-1), light.shape[1]
    for f in range(flights.shape[0]):
        birth, first, last = flights[f, 0], int(flights[f, 1]), int(flights[f, 2])
        low = max(opened - birth, 0.0) / STEP
        high = min((closed - birth) / STEP, last - first - 1.0)
        if high <= low:
            continue
        trace = traces[count]
        blur = flights[f, 6]
        norm, margin = _norm(spread, blur), 1 + blur
        seen = False
        outside = False
        length = mass = 0.0
        k = int(low)
        while k < high:
            a, b = max(low, float(k)), min(high, k + 1.0)
            p, q = points[first + k], points[first + k + 1]
            x0, y0 = _at(points[first:last], a, shift)
            x1, y1 = _at(points[first:last], b, shift)
            if not _inside(x0, y0, margin, light) or not _inside(x1, y1, margin, light):
                outside = True
                k += 1
                continue
            pixels = np.hypot(x1 - x0, y1 - y0)
            moment, time = 0.5 * (a + b) - k, (b - a) * STEP
            grey = _strokes(p, q, moment, time, (x0, y0, x1, y1), gain, blur, width, flat)
            grey *= norm / max(pixels, 1.0)
            _mark(lit, x0, y0)
            _mark(lit, x1, y1)
            bounds[0], bounds[1] = min(bounds[0], int(min(x0, x1)) - 3), min(bounds[1], int(min(y0, y1)) - 3)
            bounds[2], bounds[3] = max(bounds[2], int(max(x0, x1)) + 5), max(bounds[3], int(max(y0, y1)) + 5)
            if grey >= visible:
                if not seen:
                    seen = True
                    trace[0], trace[1], trace[2] = f, x0, y0
                    trace[7], trace[8] = p[2] + (q[2] - p[2]) * (a - k), a * STEP
                    trace[11] = CUT_OPEN if a == low and opened > birth else 0
                trace[5], trace[6] = x1, y1
                trace[9], trace[10] = p[2] + (q[2] - p[2]) * (b - k), b * STEP
                length += pixels
                mass += grey * pixels
                if b == high and closed < birth + (last - first - 1) * STEP:
                    trace[11] = int(trace[11]) | CUT_CLOSE
            k += 1
        if not seen or length < 1e-6:
            continue
        trace[3], trace[4] = _at(points[first:last], 0.5 * (trace[8] + trace[10]) / STEP, shift)
        trace[12] = trace[8]
        trace[7], trace[8] = trace[9] - trace[7], trace[10] - trace[8]
        trace[9], trace[10] = length, mass / length
        if outside:
            trace[11] = int(trace[11]) | CUT_FRAME
        count += 1
    return count


@kernel
def melt(track: Floats, power: Floats, kernel: Light, light: Light, lit: Image, bounds: NDArray[np.int64]) -> None:
    """Add the melt pool along the track: `kernel` (odd size) at every moment, weighted by its share.

    Parameters
    ----------
    track : ndarray
        As written by `scan`.
    power : ndarray
        ``(3,)`` float64, light of the whole exposure.
    kernel : ndarray
        ``(k, k)`` float32, sum 1.
    light, lit, bounds
        As in `draw`.
    """
    half = kernel.shape[0] // 2
    height, width = light.shape[0], light.shape[1]
    for n in range(track.shape[0]):
        x, y = int(np.round(track[n, 0])), int(np.round(track[n, 1]))
        _mark(lit, track[n, 0], track[n, 1])
        for di in range(-half, half + 1):
            for dj in range(-half, half + 1):
                i, j = y + di, x + dj
                if 0 <= i < height and 0 <= j < width:
                    weight = kernel[di + half, dj + half] * np.float32(track[n, 4])
                    light[i, j, 0] += weight * np.float32(power[0])
                    light[i, j, 1] += weight * np.float32(power[1])
                    light[i, j, 2] += weight * np.float32(power[2])
        bounds[0], bounds[1] = min(bounds[0], x - half), min(bounds[1], y - half)
        bounds[2], bounds[3] = max(bounds[2], x + half + 1), max(bounds[3], y + half + 1)


@kernel
def _around(clean: Image, x: int, y: int) -> float:
    """Median of four grey levels around a place: that without a particle, on a slope of light too."""
    total = 0.0
    least, most = 255.0, 0.0
    for down, aside in ((-APART, 0), (APART, 0), (0, -APART), (0, APART)):
        i, j = min(max(y + down, 0), clean.shape[0] - 1), min(max(x + aside, 0), clean.shape[1] - 1)
        level = float(clean[i, j])
        total, least, most = total + level, min(least, level), max(most, level)
    return (total - least - most) / 2


@kernel
def contrast(
    points: Light,
    flights: Floats,
    traces: Floats,
    shift: tuple[float, float],
    gain: Floats,
    spread: float,
    curve: NDArray[np.int32],
    linear: Floats,
    clean: Image,
    out: Floats,
) -> None:
    """How far each streak stands out of what else is there.

    Parameters
    ----------
    points, flights, traces, shift, gain, spread
        As in `draw`.
    curve : ndarray
        As in `develop`.
    linear : ndarray
        ``(256,)`` float64, light against level, the inverse of `curve`.
    clean : ndarray
        ``(h, w)`` uint8 as written by `develop`.
    out : ndarray
        ``(n, 2)`` float64, written: mean rise in grey levels outside the saturated zone, share of the streak
        inside it.
    """
    for n in range(traces.shape[0]):
        f = int(traces[n, 0])
        norm = _norm(spread, flights[f, 6])
        first, last = int(flights[f, 1]), int(flights[f, 2])
        low = traces[n, 12] / STEP
        high = min(low + traces[n, 8] / STEP, last - first - 1.0)
        if traces[n, 9] < APART and int(traces[n, 11]) & 3 == CUT_OPEN | CUT_CLOSE:
            # A blob of a high-speed camera may be white by its own light: it is seen where the dark lies beside it.
            at_x, at_y = _at(points[first:last], 0.5 * (low + high), shift)
            x = min(max(int(np.round(at_x)), 0), clean.shape[1] - 1)
            y = min(max(int(np.round(at_y)), 0), clean.shape[0] - 1)
            around = _around(clean, x, y)
            out[n, 0] = max(clean[y, x] - around, 0.0)
            out[n, 1] = 1.0 if around >= WHITE else 0.0
            continue
        rise = 0.0
        free = hidden = 0
        for k in range(int(low), int(np.ceil(high))):
            # Of a short exposure only a part of a step is seen, and from its beginning the particle has flown on.
            a, b = max(low, float(k)), min(high, k + 1.0)
            p, q, part = points[first + k], points[first + k + 1], b - a
            at_x, at_y = _at(points[first:last], 0.5 * (a + b), shift)
            x, y = int(np.round(at_x)), int(np.round(at_y))
            if x < 0 or y < 0 or x >= clean.shape[1] or y >= clean.shape[0]:
                continue
            level = clean[y, x]
            if level >= WHITE:
                hidden += 1
                continue
            pixels = max(part * np.hypot(q[0] - p[0], q[1] - p[1]), 1.0)
            light = 0.299 * p[3] * gain[0] + 0.587 * p[4] * gain[1] + 0.114 * p[5] * gain[2]
            own = light * part * STEP * norm / pixels
            rest = max(linear[level] - own, 0.0)
            rise += level - max(curve[min(int(np.sqrt(rest) * 512), curve.shape[0] - 1)], 0)
            free += 1
        out[n, 0] = rise / max(free, 1)
        out[n, 1] = hidden / max(hidden + free, 1)
