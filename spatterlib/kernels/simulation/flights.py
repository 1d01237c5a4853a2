"""Flights of hot particles: launch, gravity, drag, cooling; and where the laser is.

Lengths are mm, times s, speeds mm/s, temperatures K.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

STEP = 0.8e-3
"""S, time between two points of a flight."""
POINTS = 125
"""Points of a flight at most: 0.1 s."""
DRAWS = 10
"""Random numbers, uniform in [0, 1), that a particle needs."""
HOT, FINE, ENTRAINED = 0, 1, 2

_GRAVITY = 9810.0
# Liquid 316L steel, and argon at the film temperature of about 1200 K (see docs/simulator.md).
_DENSITY, _HEAT, _EMISSIVITY = 7.0e3, 790.0, 0.4
_VISCOSITY, _GAS_DENSITY, _CONDUCTIVITY, _PRANDTL = 6.1e-5, 0.41, 0.048, 0.67
_STEFAN, _AMBIENT = 5.67e-8, 330.0
_COLDEST = 1250.0
# Light of 0.4 ms below which a flight cannot be seen: a third of a grey level.
_DIM = 0.002
_MOMENT = 0.4e-3
_RANZ = 0.6 * _PRANDTL ** (1 / 3)
# Gas near the bed moves more slowly: one-eighth power law up to this height.
_LAYER_MM = 15.0


class Ejection(NamedTuple):
    """How particles leave the melt pool, in one gas flow."""

    gas_x: float
    gas_y: float
    tilt: float
    spread: float
    speed: float
    fine: float
    entrained: float


@kernel
def spot(
    t: float, starts: Floats, islands: Floats, hatch: float, speed: float
) -> tuple[bool, float, float, float, float]:
    """Where the laser is at time `t`: on or not, x and y in mm, direction of scanning.

    Parameters
    ----------
    t : float
        S.
    starts : ndarray
        ``(n,)`` float64, s, when each island begins, ascending.
    islands : ndarray
        ``(n, 5)`` float64: end in s, centre x and y in mm, hatch angle in rad, edge in mm.
    hatch, speed : float
        Mm between tracks, mm/s along them.
    """
    k = np.searchsorted(starts, t, side="right") - 1
    if k < 0 or t >= islands[k, 0]:
        return False, 0.0, 0.0, 0.0, 0.0
    size, angle = islands[k, 4], islands[k, 3]
    way = (t - starts[k]) * speed
    track = np.floor(way / size)
    along = way - track * size
    sign = 1.0 if track % 2 == 0 else -1.0
    a = sign * (along - size / 2)
    b = track * hatch - size / 2
    c, s = np.cos(angle), np.sin(angle)
    return True, islands[k, 1] + c * a - s * b, islands[k, 2] + s * a + c * b, sign * c, sign * s


@kernel
def _normal(u: float, v: float) -> float:
    return float(np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v))


@kernel
def _launch(draw: Floats, how: Ejection, way_x: float, way_y: float) -> tuple[int, float, float, float, float, float]:
    """Kind, diameter in m, temperature, velocity in mm/s of one particle."""
    kind = HOT
    if draw[1] < how.fine:
        kind = FINE
    elif draw[1] < how.fine + how.entrained:
        kind = ENTRAINED
    bell, other = _normal(draw[2], draw[3]), _normal(draw[4], draw[5])
    if kind == HOT:
        diameter, temperature = 43e-6 * np.exp(0.485 * bell), 2400.0 + 420.0 * draw[6]
        speed = how.speed * np.exp(0.595 * other)
    elif kind == FINE:
        diameter, temperature = 28e-6 * np.exp(0.25 * bell), 1950.0 + 450.0 * draw[6]
        speed = 0.9 * how.speed * np.exp(0.35 * other)
    else:
        diameter, temperature = 55e-6 * np.exp(0.35 * bell), 1750.0 + 350.0 * draw[6]
        speed = 0.5 * how.speed * np.exp(0.3 * other)
    speed = min(max(speed, 1000.0), 10000.0)
    polar, azimuth = how.spread * np.sqrt(draw[7]), 2 * np.pi * draw[8]
    x, y, z = np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)
    gas = np.sqrt(how.gas_x**2 + how.gas_y**2) + 1e-9
    # The axis leans downwind with the vapour jet, and somewhat back over the fresh track.
    x += how.tilt * how.gas_x / gas - 0.15 * way_x
    y += how.tilt * how.gas_y / gas - 0.15 * way_y
    norm = speed / np.sqrt(x * x + y * y + z * z)
    return kind, diameter, temperature, x * norm, y * norm, abs(z) * norm


@kernel(fastmath=True, error_model="numpy")
def _decay(x: float) -> float:
    """``exp(-x)`` by Padé's (2, 2), within x⁵ / 720: the finest particles come to x = 1 in a step, most to 0.1."""
    far, near = 1.0 + x * x / 12.0, 0.5 * x
    return (far - near) / (far + near)


@kernel(fastmath=True, error_model="numpy")
def _fly(
    x: float,
    y: float,
    z: float,
    vx: float,
    vy: float,
    vz: float,
    diameter: float,
    temperature: float,
    gas_x: float,
    gas_y: float,
    dose: float,
    projection: Floats,
    glow: Floats,
    points: Light,
) -> int:
    """Integrate one flight until it lands or is too cold to be seen; number of points written."""
    way = 0.0
    for k in range(POINTS):
        depth = projection[2, 0] * x + projection[2, 1] * y + projection[2, 2] * z + projection[2, 3]
        level = min(max((temperature - 1000.0) / 10.0, 0.0), glow.shape[0] - 2.0)
        cell = int(level)
        part = level - cell
        row = points[k]
        row[0] = (projection[0, 0] * x + projection[0, 1] * y + projection[0, 2] * z + projection[0, 3]) / depth
        row[1] = (projection[1, 0] * x + projection[1, 1] * y + projection[1, 2] * z + projection[1, 3]) / depth
        row[2] = way
        for c in range(3):
            row[3 + c] = dose * diameter * diameter * (glow[cell, c] * (1 - part) + glow[cell + 1, c] * part)
        if temperature < _COLDEST or z < 0 or row[3] * _MOMENT < _DIM:
            return k + 1
        # The wind half a step ahead.
        share = np.sqrt(np.sqrt(np.sqrt(min(1.0, max(z + 0.5 * STEP * vz, 0.02) / _LAYER_MM))))
        wind_x, wind_y = gas_x * share, gas_y * share
        rx, ry, rz = vx - wind_x, vy - wind_y, vz
        slip = np.sqrt(rx * rx + ry * ry + rz * rz) / 1000.0
        root = np.sqrt(_GAS_DENSITY * slip * diameter / _VISCOSITY)
        rate = 18 * _VISCOSITY / (_DENSITY * diameter * diameter) * (1 + root / 9.06) ** 2
        keep = _decay(rate * STEP)
        # Exact for a drag rate that is constant over the step.
        mean = (1 - keep) / (rate * STEP)
        fall = _GRAVITY / rate
        dx, dy = (wind_x + rx * mean) * STEP, (wind_y + ry * mean) * STEP
        dz = (-fall + (rz + fall) * mean) * STEP
        x, y, z = x + dx, y + dy, z + dz
        way += np.sqrt(dx * dx + dy * dy + dz * dz)
        vx, vy, vz = wind_x + rx * keep, wind_y + ry * keep, -fall + (rz + fall) * keep
        nusselt = 2 + _RANZ * root
        flux = nusselt * _CONDUCTIVITY / diameter * (temperature - _AMBIENT) + _EMISSIVITY * _STEFAN * (
            temperature**4 - _AMBIENT**4
        )
        cooling = 6 * flux / (_DENSITY * _HEAT * diameter * (temperature - _AMBIENT))
        temperature = _AMBIENT + (temperature - _AMBIENT) * _decay(cooling * STEP)
    return POINTS


@kernel
def fly(
    draws: Floats,
    begin: float,
    span: float,
    how: Ejection,
    starts: Floats,
    islands: Floats,
    vigour: Floats,
    hatch: float,
    scan_speed: float,
    dose: float,
    projection: Floats,
    glow: Floats,
    points: Light,
    flights: Floats,
) -> tuple[int, int]:
    """Launch the particles of one block of time and integrate their flights (gravity, drag, cooling).

    Drag after Abraham (1970), heat transfer after Ranz and Marshall (1952).

    Parameters
    ----------
    draws : ndarray
        ``(n, DRAWS)`` float64, uniform in [0, 1).
    begin, span : float
        S, the block of time.
    how : Ejection
        Gas in mm/s, tilt and spread of the axis, median speed in mm/s, shares of fine and entrained ones.
    starts, islands, hatch, scan_speed
        As in `spot`.
    vigour : ndarray
        ``(islands, 2)`` float64: how many of the particles an island ejects (0-1), factor of their speed.
    dose : float
        Light per second of a particle of 1 m diameter at the temperature of white.
    projection : ndarray
        ``(3, 4)`` float64, mm to px.
    glow : ndarray
        ``(k, 3)`` float64, red, green, blue against temperature from 1000 K in steps of 10 K.
    points : ndarray
        ``(n * POINTS, 6)`` float32, written: x, y in px, way in mm, red, green, blue per second.
    flights : ndarray
        ``(n, 6)`` float64, written: birth in s, first point, end of points, kind, launch speed in m/s,
        diameter in m.

    Returns
    -------
    tuple of int
        Number of flights, of points.
    """
    count = used = 0
    for k in range(draws.shape[0]):
        birth = begin + span * draws[k, 0]
        on, x, y, way_x, way_y = spot(birth, starts, islands, hatch, scan_speed)
        if not on:
            continue
        island = np.searchsorted(starts, birth, side="right") - 1
        if draws[k, 9] > vigour[island, 0]:
            continue
        kind, diameter, temperature, vx, vy, vz = _launch(draws[k], how, way_x, way_y)
        factor = vigour[island, 1]
        speed = np.sqrt(vx * vx + vy * vy + vz * vz)
        factor = min(max(factor * speed, 1000.0), 10000.0) / speed
        z = 0.05
        if kind == ENTRAINED:
            # Powder swept in from beside the pool.
            x += 3.0 * (draws[k, 2] - 0.5) * 2
            y += 3.0 * (draws[k, 4] - 0.5) * 2
            z = 0.2 + 2.0 * draws[k, 6]
        length = _fly(
            x,
            y,
            z,
            vx * factor,
            vy * factor,
            vz * factor,
            diameter,
            temperature,
            how.gas_x,
            how.gas_y,
            dose,
            projection,
            glow,
            points[used:],
        )
        if length < 2:
            continue
        flights[count, 0], flights[count, 1], flights[count, 2] = birth, used, used + length
        flights[count, 3], flights[count, 4], flights[count, 5] = kind, speed * factor / 1000.0, diameter
        count += 1
        used += length
    return count, used


@kernel
def scan(
    opened: float,
    closed: float,
    starts: Floats,
    islands: Floats,
    hatch: float,
    speed: float,
    projection: Floats,
    shift: tuple[float, float],
    track: Floats,
) -> int:
    """Sample where the laser is during an exposure.

    Parameters
    ----------
    opened, closed, starts, islands, hatch, speed, projection, shift
        As in `fly` and `draw`.
    track : ndarray
        ``(n, 6)`` float64, written, one row per moment at which the laser is on: x, y in px, x, y in mm,
        share of the exposure, time in s. Its length sets the number of moments.

    Returns
    -------
    int
        Number of rows.
    """
    count, moments = 0, track.shape[0]
    for n in range(moments):
        t = opened + (closed - opened) * (n + 0.5) / moments
        on, x, y, _, _ = spot(t, starts, islands, hatch, speed)
        if on:
            depth = projection[2, 0] * x + projection[2, 1] * y + projection[2, 3]
            row = track[count]
            row[0] = (projection[0, 0] * x + projection[0, 1] * y + projection[0, 3]) / depth + shift[0]
            row[1] = (projection[1, 0] * x + projection[1, 1] * y + projection[1, 3]) / depth + shift[1]
            row[2], row[3], row[4], row[5] = x, y, 1.0 / moments, t
            count += 1
    return count


@kernel
def gather(track: Floats, most: int, sources: Floats) -> int:
    """Join the moments of a track into sources of light; the laser's jumps separate them.

    Parameters
    ----------
    track : ndarray
        As written by `scan`.
    most : int
        How many sources there are at most, jumps aside.
    sources : ndarray
        ``(n, 5)`` float64, written: mean x, y in px, x, y in mm, sum of the shares.

    Returns
    -------
    int
        Number of sources.
    """
    count = held = 0
    for n in range(track.shape[0]):
        jump = n > 0 and np.hypot(track[n, 0] - track[n - 1, 0], track[n, 1] - track[n - 1, 1]) > 20
        if (n == 0 or jump or held * most >= track.shape[0]) and count < sources.shape[0]:
            sources[count] = 0
            count += 1
            held = 0
        held += 1
        for c in range(5):
            sources[count - 1, c] += (track[n, c] - sources[count - 1, c]) / held if c < 4 else track[n, 4]
    return count
