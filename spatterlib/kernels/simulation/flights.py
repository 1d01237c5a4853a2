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
DRAWS = 15
"""Numbers that a particle needs: twelve uniform in [0, 1), then what its burst gives (see `physics.particles`)."""
FLIGHT = 8
"""Numbers that are noted of a flight."""
HOT, FINE, ENTRAINED = 0, 1, 2

_GRAVITY = 9810.0
# Argon at the film temperature of about 1200 K (see docs/simulator.md).
_VISCOSITY, _GAS_DENSITY, _CONDUCTIVITY, _PRANDTL = 6.1e-5, 0.41, 0.048, 0.67
_STEFAN, _AMBIENT = 5.67e-8, 330.0
_COLDEST = 1250.0
# Light of 0.4 ms below which a flight cannot be seen: a third of a grey level.
_DIM = 0.02
_MOMENT = 0.4e-3
_RANZ = 0.6 * _PRANDTL ** (1 / 3)
# Gas near the bed moves more slowly: one-quarter power law up to this height.
_LAYER_MM = 25.0
# Mm/s, between which speeds lie.
_SLOWEST, _FASTEST = 250.0, 10_000.0
# Shares of what flies that breaks in two, and that is out of focus.
_BREAKS, _BLURRED = 0.04, 0.03
# What the bed leaves of the speed along it when something bounces.
_SKID = 0.6


class Ejection(NamedTuple):
    """How particles leave the melt pool, in one gas flow: see `fly`."""

    gas_x: float
    gas_y: float
    decay: float
    tilt: float
    spread: float
    speed: float
    heat: float
    fine: float
    entrained: float


class Material(NamedTuple):
    """Of what particles are: kg/m³, J/kg/K, J/kg of fusion, K, K, emissivity; liquid, near melting."""

    density: float
    heat: float
    latent: float
    solidus: float
    liquidus: float
    emissivity: float


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
def drawn_speed(u: float, median: float, spread: float) -> float:
    """Mm/s, quantile `u` of the log-logistic distribution truncated to what is ejected at all.

    Parameters
    ----------
    u : float
        Uniform in [0, 1).
    median : float
        Mm/s, of the whole distribution.
    spread : float
        Standard deviation of the logarithm.
    """
    scale = spread * np.sqrt(3.0) / np.pi
    low = 1 / (1 + (_SLOWEST / median) ** (-1 / scale))
    high = 1 / (1 + (_FASTEST / median) ** (-1 / scale))
    share = low + (high - low) * u
    return float(median * (share / (1 - share)) ** scale)


@kernel
def _launch(
    draw: Floats, how: Ejection, kinds: Floats, vigour: float, way_x: float, way_y: float
) -> tuple[int, float, float, float, float, float]:
    """Kind, diameter in m, temperature, velocity in mm/s of one particle."""
    kind = HOT
    if draw[1] < how.fine:
        kind = FINE
    elif draw[1] < how.fine + how.entrained:
        kind = ENTRAINED
    bell = _normal(draw[2], draw[3])
    usual, width, hottest, range_, median, spread = kinds[kind]
    diameter = usual * np.exp(width * bell)
    # The jet drives large particles less; what is fast was over the hottest place.
    speed = drawn_speed(draw[4], vigour * median * how.speed * np.exp(-0.3 * width * bell), spread)
    temperature = how.heat + hottest + range_ * draw[6] + 80.0 * np.log(speed / (median * how.speed))
    polar, azimuth = how.spread * draw[14] * np.sqrt(draw[7]), 2 * np.pi * draw[8]
    x, y, z = np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)
    gas = np.sqrt(how.gas_x**2 + how.gas_y**2) + 1e-9
    # The axis leans downwind with the vapour jet, and somewhat back over the fresh track; a burst has its own.
    x += how.tilt * how.gas_x / gas - 0.15 * way_x + draw[12]
    y += how.tilt * how.gas_y / gas - 0.15 * way_y + draw[13]
    norm = speed / np.sqrt(x * x + y * y + z * z)
    return kind, diameter, temperature, x * norm, y * norm, abs(z) * norm


@kernel(fastmath=True, error_model="numpy")
def _decay(x: float) -> float:
    """``exp(-x)`` by Padé's (2, 2), within x⁵ / 720: the finest particles come to x = 1 in a step, most to 0.1."""
    far, near = 1.0 + x * x / 12.0, 0.5 * x
    return (far - near) / (far + near)


@kernel
def cooled(step: float, enthalpy: float, of: Material) -> tuple[float, float]:
    """Temperature in K and enthalpy above the solidus in J/kg once ``step * of.heat`` J/kg are given off.

    Between solidus and liquidus the heat of fusion is given off too, evenly over the interval.
    """
    enthalpy -= of.heat * step
    melting = of.heat * (of.liquidus - of.solidus) + of.latent
    if enthalpy >= melting:
        return of.liquidus + (enthalpy - melting) / of.heat, enthalpy
    if enthalpy > 0:
        return of.solidus + (of.liquidus - of.solidus) * enthalpy / melting, enthalpy
    return of.solidus + enthalpy / of.heat, enthalpy


@kernel
def stored(temperature: float, of: Material) -> float:
    """J/kg, enthalpy above the solidus at a temperature in K."""
    if temperature >= of.liquidus:
        return float(of.heat * (temperature - of.solidus) + of.latent)
    if temperature > of.solidus:
        melting = of.heat * (of.liquidus - of.solidus) + of.latent
        return float(melting * (temperature - of.solidus) / (of.liquidus - of.solidus))
    return float(of.heat * (temperature - of.solidus))


@kernel(fastmath=True, error_model="numpy")
def _fly(
    state: Floats,
    diameter: float,
    bounce: float,
    gas_x: float,
    gas_y: float,
    dose: float,
    of: Material,
    projection: Floats,
    glow: Floats,
    points: Light,
) -> int:
    """Integrate one flight until it lies, is too cold to be seen, or `points` are full; number of points written.

    `state` is x, y, z in mm, velocity in mm/s, temperature in K; it becomes that of the last point.
    """
    x, y, z, vx, vy, vz, temperature = state[0], state[1], state[2], state[3], state[4], state[5], state[6]
    enthalpy, way = stored(temperature, of), 0.0
    last = points.shape[0] - 1
    for k in range(last + 1):
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
        lies = z < 0
        if lies and bounce > 0 and -vz * bounce > 60.0:
            lies, z = False, 0.0
            vx, vy, vz = _SKID * vx, _SKID * vy, -bounce * vz
        if lies or k == last or temperature < _COLDEST or row[3] * _MOMENT < _DIM:
            state[0], state[1], state[2], state[3], state[4], state[5], state[6] = x, y, z, vx, vy, vz, temperature
            return k + 1
        # The wind half a step ahead.
        share = np.sqrt(np.sqrt(min(1.0, max(z + 0.5 * STEP * vz, 0.02) / _LAYER_MM)))
        wind_x, wind_y = gas_x * share, gas_y * share
        rx, ry, rz = vx - wind_x, vy - wind_y, vz
        slip = np.sqrt(rx * rx + ry * ry + rz * rz) / 1000.0
        root = np.sqrt(_GAS_DENSITY * slip * diameter / _VISCOSITY)
        rate = 18 * _VISCOSITY / (of.density * diameter * diameter) * (1 + root / 9.06) ** 2
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
        flux = nusselt * _CONDUCTIVITY / diameter * (temperature - _AMBIENT) + of.emissivity * _STEFAN * (
            temperature**4 - _AMBIENT**4
        )
        cooling = 6 * flux / (of.density * of.heat * diameter * (temperature - _AMBIENT))
        lost = (temperature - _AMBIENT) * (1 - _decay(cooling * STEP))
        temperature, enthalpy = cooled(lost, enthalpy, of)
    return 0


@kernel
def _note(flights: Floats, count: int, birth: float, used: int, length: int, kind: int, state: Floats) -> None:
    flights[count, 0], flights[count, 1], flights[count, 2], flights[count, 3] = birth, used, used + length, kind
    flights[count, 4] = np.sqrt(state[3] ** 2 + state[4] ** 2 + state[5] ** 2) / 1000.0


@kernel
def fly(
    draws: Floats,
    begin: float,
    span: float,
    how: Ejection,
    kinds: Floats,
    of: Material,
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

    Drag after Abraham (1970), heat transfer after Ranz and Marshall (1952). Some break in two, some bounce off the bed.

    Parameters
    ----------
    draws : ndarray
        ``(n, DRAWS)`` float64, as `physics.particles` draws them.
    begin, span : float
        S, the block of time.
    how : Ejection
        Gas in mm/s in the middle of the bed and its loss per mm downstream, tilt and spread of the axis, median speed
        in mm/s, K that the plume adds, shares of fine and entrained particles.
    kinds : ndarray
        ``(3, 6)`` float64, one row per kind: median diameter in m and spread of its logarithm, least temperature
        and its range in K, factor of the median speed and spread of its logarithm.
    of : Material
        Of what they are.
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
        ``(n, FLIGHT)`` float64, written: birth in s, first point, end of points, kind, launch speed in m/s,
        diameter in m, blur in px, number within the block.

    Returns
    -------
    tuple of int
        Number of flights, of points.
    """
    count = used = 0
    state = np.empty(7)
    gas = np.sqrt(how.gas_x**2 + how.gas_y**2) + 1e-9
    for k in range(draws.shape[0]):
        draw = draws[k]
        birth = begin + span * draw[0]
        on, x, y, way_x, way_y = spot(birth, starts, islands, hatch, scan_speed)
        if not on or count + 3 > flights.shape[0]:
            continue
        island = np.searchsorted(starts, birth, side="right") - 1
        if draw[9] > vigour[island, 0]:
            continue
        kind, diameter, state[6], state[3], state[4], state[5] = _launch(
            draw, how, kinds, vigour[island, 1], way_x, way_y
        )
        # Along the bed the gas loses speed.
        wind = max(1 - how.decay * (x * how.gas_x + y * how.gas_y) / gas, 0.2)
        state[0], state[1], state[2] = x, y, 0.05
        if kind == ENTRAINED:
            # Powder swept in from beside the pool.
            state[0] += 3.0 * (draw[2] - 0.5) * 2
            state[1] += 3.0 * (draw[4] - 0.5) * 2
            state[2] = 0.2 + 2.0 * draw[6]
        breaks = draw[10] < _BREAKS and kind != ENTRAINED
        most = 3 + int(15 * draw[10] / _BREAKS) if breaks else POINTS
        blur = 2.2 * draw[11] / _BLURRED if draw[11] < _BLURRED else 0.0
        bounce = max(1.4 * draw[5] - 0.9, 0.0)
        for piece in range(3 if breaks else 1):
            if piece == 1:
                base, broken = state.copy(), birth + (most - 1) * STEP
                diameter *= 0.5 ** (1 / 3)
                turn = 2 * np.pi * draw[8]
            if piece > 0:
                kick = (0.35 if piece == 1 else -0.35) * np.sqrt(base[3] ** 2 + base[4] ** 2 + base[5] ** 2)
                state[:] = base
                state[3] += kick * np.cos(turn)
                state[4] += 0.3 * kick * np.sin(turn)
                state[5] += kick * np.sin(turn)
                birth, most = broken, POINTS
            _note(flights, count, birth, used, 0, kind, state)
            length = _fly(
                state,
                diameter,
                bounce,
                how.gas_x * wind,
                how.gas_y * wind,
                dose,
                of,
                projection,
                glow,
                points[used : used + most],
            )
            if length < 2:
                break
            flights[count, 2], flights[count, 5], flights[count, 6], flights[count, 7] = (
                used + length, diameter, blur, 3 * k + piece,
            )  # fmt: skip
            count += 1
            used += length
            if piece == 0 and length < most:
                break
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
