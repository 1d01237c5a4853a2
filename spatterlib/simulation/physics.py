"""When and where the laser is on, how gas and heat act on what it ejects; keyed random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from spatterlib.simulation.settings import FLOWS, SimulationSettings

HATCH_MM = 0.1
"""Distance of tracks: a usual value for 316L."""
HATCH_TURN = 67.0
"""Degrees, by which the hatch turns from layer to layer."""
BLOCK = 0.02
"""S, time whose particles are drawn from one key."""
WHITE_K = 3300.0
"""K, temperature that the camera shows white."""
_CLEARING = 0.9
_BURSTS, _IN_BURSTS = 200.0, 0.6
"""Bursts per s, and the share of the particles that leave in them."""
_WAVELENGTHS = (690e-9, 620e-9, 530e-9)
_C2 = 1.4388e-2


MATERIALS = {
    "316L": (7000.0, 790.0, 285e3, 1658.0, 1723.0, 0.4),
    "IN718": (7400.0, 720.0, 227e3, 1533.0, 1609.0, 0.4),
    "Ti64": (4000.0, 830.0, 286e3, 1878.0, 1928.0, 0.4),
    "AlSi10Mg": (2370.0, 1100.0, 500e3, 830.0, 870.0, 0.2),
}
"""Density, heat capacity, heat of fusion, solidus, liquidus, emissivity (SI), see docs/simulator.md."""


KINDS = np.array(
    [
        [54e-6, 0.36, 2460.0, 300.0, 1.15, 0.62],
        [40e-6, 0.28, 2310.0, 300.0, 0.85, 0.50],
        [65e-6, 0.30, 1500.0, 800.0, 0.4, 0.40],
    ]
)
"""Hot, fine, entrained: see `kernels.simulation.flights.fly`."""


class Stream(IntEnum):
    """What a random number is for; part of its key."""

    SCHEDULE = 1
    ISLANDS = 2
    PARTICLES = 3
    RECORDING = 4
    FLICKER = 5
    BED = 6
    NOISE = 7
    GAS = 8
    POOL = 9


def random(seed: int, stream: Stream, counter: int = 0) -> np.random.Generator:
    """Random numbers that depend on (seed, stream, counter) only: Philox, counter-based (Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=[seed, int(stream)], counter=[0, counter, 0, 0]))


@dataclass(frozen=True, eq=False)
class Schedule:
    """The course of the build.

    Parameters
    ----------
    starts : ndarray
        ``(n,)`` float64, s, when each island begins.
    islands : ndarray
        ``(n, 5)`` float64: end in s, centre x and y in mm, hatch angle in rad, edge in mm.
    layer : ndarray
        ``(n,)`` int64, its layer, from 1.
    vigour : ndarray
        ``(n, 2)`` float64: share of the particles that it ejects, factor of their speed.
    """

    starts: NDArray[np.float64]
    islands: NDArray[np.float64]
    layer: NDArray[np.int64]
    vigour: NDArray[np.float64]

    def layer_at(self, time: float) -> int:
        """Number of the layer begun last at `time`, 0 before the first."""
        index = int(np.searchsorted(self.starts, time, "right")) - 1
        return int(self.layer[index]) if index >= 0 else 0

    def lit(self, start: float, stop: float) -> bool:
        """Whether the laser is on at any time from `start` to `stop`."""
        first, last = np.searchsorted(self.islands[:, 0], start, "right"), np.searchsorted(self.starts, stop)
        return bool(first < last)

    def pause(self, time: float) -> float | None:
        """How far the recoating is at `time`, 0-1; None while a layer is scanned."""
        after = int(np.searchsorted(self.starts, time, "right"))
        if after == 0 or after == len(self.starts) or self.layer[after - 1] == self.layer[after]:
            return None
        begin, end = self.islands[after - 1, 0], self.starts[after]
        return float((time - begin) / (end - begin)) if time >= begin else None


def schedule(settings: SimulationSettings) -> Schedule:
    """Lay out layers, parts and islands until one layer behind the end of the recording."""
    size = settings.island_mm
    island = size * size / (HATCH_MM * settings.world("scan_speed"))
    view = settings.mm_per_px * settings.width
    parts = random(settings.seed, Stream.SCHEDULE).uniform(-1, 1, (3, 2))
    centres = (np.array([[-0.17, 0.02], [0.0, -0.03], [0.16, 0.03]]) + parts * [0.03, 0.03]) * view
    rows: list[tuple[float, float, float, float, float, float]] = []
    numbers: list[int] = []
    time, layer = 0.4, 0
    while time < settings.seconds + settings.layer_seconds or layer < 2:
        layer += 1
        draw = random(settings.seed, Stream.ISLANDS, layer)
        end = time + settings.layer_seconds * draw.uniform(0.92, 1.08)
        angle = np.deg2rad(HATCH_TURN * layer % 360)
        for start, stop, x, y in _visits(draw, time, end, island, centres, size):
            rows.append((start, stop, x, y, angle, size))
            numbers.append(layer)
        time = end + settings.recoat_seconds * draw.uniform(0.95, 1.05)
    table = np.array(rows)
    return Schedule(
        np.ascontiguousarray(table[:, 0]),
        np.ascontiguousarray(table[:, 1:]),
        np.array(numbers),
        _vigour(settings.seed, len(rows)),
    )


def _visits(
    draw: np.random.Generator, time: float, end: float, island: float, centres: NDArray[np.float64], size: float
) -> list[tuple[float, float, float, float]]:
    """(start, stop, x, y) of the islands of one layer: part after part, the laser off between parts."""
    visits: list[tuple[float, float, float, float]] = []
    order, share = draw.permutation(len(centres)), (end - time) / len(centres)
    for place, part in enumerate(order):
        cell = draw.integers(-1, 2, 2)
        until = end if place == len(order) - 1 else min(time + share, end)
        while time < until - 1e-9:
            stop = min(time + island, end)
            visits.append((time, stop, *(centres[part] + cell * size * [1.0, 1.0])))
            # A jump to the next island takes the mirrors a millisecond.
            time = stop + 1e-3
            step = draw.integers(0, 2)
            cell[step] = (cell[step] + draw.choice([-1, 1]) + 1) % 3 - 1
        time += draw.uniform(0.05, 0.5)
    return visits


def _vigour(seed: int, count: int) -> NDArray[np.float64]:
    """Islands differ: overhangs, thin layers and the state of the plume make spatter livelier."""
    bell = random(seed, Stream.SCHEDULE, 1).standard_normal((count, 2))
    share = np.clip(0.52 * np.exp(0.25 * (0.8 * bell[:, 0] + 0.6 * bell[:, 1])), 0.4, 1.0)
    return np.stack([share, np.exp(0.25 * bell[:, 1])], 1)


def gas_speeds(settings: SimulationSettings) -> tuple[float, ...]:
    """M/s before and behind the change; a named flow differs from recording to recording."""
    key = settings.seed if settings.recording is None else settings.recording
    bell = random(key, Stream.GAS).standard_normal(2)
    return tuple(
        float(min(speed * np.exp((settings.gas_spread or 0.0) * bell[index]), 5.0)) if named else speed
        for index, (speed, named) in enumerate(zip(settings.speeds, settings.named(), strict=True))
    )


def plume_left(speed: float, contrast: float) -> float:
    """Share of the plume that the gas leaves over the bed.

    The residence time of fume falls with gas speed, here ``exp(-speed / 0.9 m/s)``; `contrast` draws the
    speed towards the one that leaves as much as low and high flow do in the mean, 0 = all the way.
    """
    mean = np.mean([np.exp(-known / _CLEARING) for known in FLOWS.values()])
    middle = -_CLEARING * np.log(mean)
    return float(np.exp(-(middle + contrast * (speed - middle)) / _CLEARING))


def planck(size: int = 260) -> NDArray[np.float64]:
    """``(size, 3)`` red, green, blue of a black body from 1000 K in steps of 10 K, white at `WHITE_K`."""
    kelvin = 1000.0 + 10.0 * np.arange(size)
    waves = np.array(_WAVELENGTHS)
    return np.asarray(np.expm1(_C2 / (waves * WHITE_K)) / np.expm1(_C2 / (waves * kelvin[:, None])), np.float64)


def particles(settings: SimulationSettings, block: int, rate: float) -> NDArray[np.float64]:
    """``(n, DRAWS)`` numbers for the particles of one block of time.

    The melt pool sputters: most particles leave in bursts, each from one place in one narrow cone.
    """
    from spatterlib.kernels.simulation.flights import DRAWS

    draw = random(settings.seed, Stream.PARTICLES, block)
    count = draw.poisson(rate * BLOCK * np.exp(0.15 * draw.standard_normal()))
    draws = np.empty((count, DRAWS))
    draw.random(out=draws)
    bursts = 1 + draw.poisson(_BURSTS * BLOCK)
    begin, axis = draw.random(bursts), 0.5 * draw.standard_normal((bursts, 2))
    size = np.cumsum(draw.standard_exponential(bursts))
    of = np.searchsorted(size, draws[:, 13] * size[-1])
    inside = draws[:, 12] < _IN_BURSTS
    late = -0.0004 / BLOCK * np.log(1 - draws[:, 14])
    draws[inside, 0] = np.minimum(begin[of] + late, 1 - 1e-9)[inside]
    draws[:, 12:14] = np.where(inside[:, None], axis[of], 0.0)
    draws[:, 14] = np.where(inside, 0.45, 1.0)
    return draws
