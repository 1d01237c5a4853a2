"""What differs between laboratories, whatever the gas: directions, the camera's answer, what is melted."""

from __future__ import annotations

from typing import Any

import numpy as np

USUAL: dict[str, Any] = {
    "gas_direction": 180.0,
    "elevation": 25.0,
    "azimuth": 0.0,
    "mirrored": False,
    "gamma": 1.8,
    "black": 50.0,
    "fouling": 0.0,
    "monochrome": False,
    "material": "316L",
    "scan_speed": 1000.0,
}
"""The world of the published recordings, as far as eight crops tell it."""

_STREAM = 10


def drawn(key: int, nuisance: float) -> dict[str, Any]:
    """Another laboratory: each value drawn alone, none depends on the gas flow.

    Parameters
    ----------
    key : int
        Seed of the recording; the same key is the same laboratory.
    nuisance : float
        How far what is a number may lie from `USUAL`, 1 = as far as laboratories differ, 0 = not at all.

    Examples
    --------
    >>> from spatterlib.simulation.worlds import USUAL, drawn
    >>> drawn(7, 1.0) == drawn(7, 1.0), drawn(7, 0.0)["elevation"] == USUAL["elevation"]
    (True, True)
    """
    draw = np.random.Generator(np.random.Philox(key=[key, _STREAM]))
    even = draw.uniform(-1, 1, 6) * min(nuisance, 1.0)
    coins = draw.random(3)
    return {
        "gas_direction": float((180 + 180 * even[0]) % 360),
        "elevation": float(25 + (35 if even[1] > 0 else 10) * even[1]),
        "azimuth": float(180 * even[2]),
        "mirrored": bool(coins[0] < 0.5),
        "gamma": float(1.8 * np.exp(0.3 * even[3])),
        # Less black would show where the glow of a frame ends.
        "black": float(50 + 30 * abs(even[4])),
        "fouling": float(max(2 * even[5], 0.0)),
        "monochrome": bool(coins[1] < 0.25),
        "material": ("316L", "316L", "IN718", "Ti64", "AlSi10Mg")[int(5 * coins[2])],
        "scan_speed": float(1000 * np.exp(0.5 * draw.uniform(-1, 1) * min(nuisance, 1.0))),
    }
