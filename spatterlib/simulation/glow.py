"""Light that is no streak: the melt pool, the plume around it, the lens, the lit bed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spatterlib.simulation import physics
from spatterlib.simulation.imaging import Nuisance
from spatterlib.simulation.settings import SimulationSettings

REACH = (95.0, 60.0)
"""Px at 0.4 mm per px: half axes of the ellipse beyond which the glow is under one level."""
SOURCES = 8
TINT = (0.85, 1.0, 0.84)
"""Colour of the light that the bed sends back."""
_MELT = 9000.0
_COLOURS = np.array([[1.0, 0.97, 0.9], [1.0, 0.72, 0.42], [0.85, 1.0, 0.95]])


def melt_power(settings: SimulationSettings, scale: float, gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(3,)`` light of the melt pool over a whole exposure."""
    return np.asarray(_MELT * settings.shutter * scale * scale * np.array([1.0, 0.93, 0.8]) * gain)


def boiling(settings: SimulationSettings, track: NDArray[np.float64], scale: float, number: int) -> NDArray[np.float64]:
    """The track with the pool's light and place as they jump while it boils."""
    bell = physics.random(settings.seed, physics.Stream.POOL, number).standard_normal((len(track), 3))
    lively = track.copy()
    lively[:, :2] += [0.4 * scale, 0.7 * scale] * bell[:, :2]
    lively[:, 4] *= np.exp(0.6 * bell[:, 2] - 0.18)
    return lively


@lru_cache(maxsize=4)
def melt_pool(scale: float) -> NDArray[np.float32]:
    """The pool of one moment as the sensor sees it: ``(k, k)`` float32, a few px of white heat, sum 1."""
    size = 2 * max(int(np.ceil(4 * scale)), 1) + 1
    axis = np.arange(size) - size // 2
    weight = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * (0.95 * max(scale, 0.4)) ** 2))
    return np.asarray(weight / weight.sum(), np.float32)


def glow(
    settings: SimulationSettings,
    nuisance: Nuisance,
    left: float,
    speed: float,
    scale: float,
    gain: NDArray[np.float64],
    sources: NDArray[np.float64],
    number: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lobes of the glow in one frame and the light on the bed, as `kernels.simulation.exposure.halo` takes them.

    The dense plume is uneven: `sources` are moved and weighted as clouds beside and above the melt pool.

    Parameters
    ----------
    settings, found : SimulationSettings, Nuisance
        The recording.
    left : float
        Share of the plume that the gas leaves there.
    speed : float
        M/s, of the gas.
    scale : float
        Px per 0.4 mm.
    gain : ndarray
        ``(3,)`` factors of red, green, blue.
    sources : ndarray
        ``(n, 5)``, as written by `kernels.simulation.flights.gather`; changed in place.
    number : int
        Of the frame.
    """
    bell = physics.random(settings.seed, physics.Stream.FLICKER, number).standard_normal((len(sources) + 1, 3))
    weight = sources[:, 4] * np.exp(1.0 * bell[1:, 0])
    sources[:, 4] = weight * (sources[:, 4].sum() / weight.sum())
    sources[:, 0] += 6 * left * scale * bell[1:, 1]
    sources[:, 1] -= 11 * left * scale * np.abs(bell[1:, 2])
    left *= float(np.exp(0.12 * bell[0, 0]))
    # Of the light of a whole exposure at 25 frames/s.
    share = settings.shutter * 25 / 0.9
    way = np.deg2rad(settings.world("gas_direction"))
    lean = 10 * scale * min(speed, 2.5) * float(np.cos(way)) * float(np.exp(0.2 * bell[0, 1]))
    white, warm, cold = share * _COLOURS * gain
    dirt = nuisance.dirt * (1 + settings.world("fouling") * number / settings.fps / 3600)
    lobes = np.array(
        [
            # The dense plume over the pool, and the lens: the white blob.
            [0.0, -4 * scale, (4 + 19 * left) * scale, 0.85, *(dirt * (0.3 + 60 * left * left) * white)],
            # Fume that glows and scatters, drawn away by the gas.
            [lean, -7 * scale, 15 * scale, 0.8, *(0.01 * warm)],
            # Veil of the lens.
            [0.0, 0.0, 45 * scale, 1.0, *(dirt * 0.02 * left * cold)],
        ],
        np.float32,
    )
    return lobes, np.array([share * float(gain[1]) * 17.0 * left**3, 7.0], np.float32)
