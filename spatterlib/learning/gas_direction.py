"""Where the gas flows to in the picture: said, or read off the streaks, and how crops are turned so that it is one way.

Gas takes spatter along. A picture turned left to right is one of gas from the other side, so a network that has seen
gas flow to the left reads a recording of gas to the right once its crops are mirrored. Any other turn would also turn
the up and down of the machine, and is no picture that a camera takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "common_direction", "estimated", "is_mirrored", "suits"]

TOLERANCE = 45.0
"""Degrees by which a direction may differ from another and still count as the same."""

_SURE = 4.0
_FEWEST = 6


def is_mirrored(direction: float, wanted: float) -> bool | None:
    """Whether crops must be turned left to right so that the gas flows as wanted; None: that does not help.

    Examples
    --------
    >>> from spatterlib.learning.gas_direction import is_mirrored
    >>> is_mirrored(170, 180), is_mirrored(0, 180), is_mirrored(90, 180)
    (False, True, None)
    """
    if suits(direction, wanted):
        return False
    return True if suits(180 - direction, wanted) else None


def suits(direction: float, wanted: float) -> bool:
    """Whether two directions in degrees are the same but for `TOLERANCE`."""
    return abs((direction - wanted + 180) % 360 - 180) <= TOLERANCE


def estimated(sums: NDArray[np.float64]) -> float | None:
    """Where the gas flows to, from the streaks: 180, to the left, or 0, to the right; None: they do not tell.

    Particles fly to all sides, and the gas takes them along: their mean drift lies on its side. Only the sides are
    told apart, since all streaks rise, and a camera foreshortens what flies away from it. The mean must lie four
    standard errors from 0, which come from how crops differ from each other.

    Parameters
    ----------
    sums : ndarray
        ``(n, 2 or more)``, of crops: how many streaks, and the sum of their cosines; see `looks.streak_sums`.
    """
    seen = sums[sums[:, 0] > 0] if len(sums) else sums
    if len(seen) < _FEWEST:
        return None
    total = seen[:, 0].sum()
    mean = seen[:, 1].sum() / total
    error = np.sqrt(((seen[:, 1] - mean * seen[:, 0]) ** 2).sum()) / total
    return None if abs(mean) < _SURE * error else 180.0 if mean < 0 else 0.0


def common_direction(directions: Sequence[float | None]) -> float | None:
    """The direction that all recordings have, mirrored or not: the first one's; None where one is not known or differs.

    Examples
    --------
    >>> from spatterlib.learning.gas_direction import common_direction
    >>> common_direction([180, 0, 170]), common_direction([180, None]), common_direction([180, 90])
    (180, None, None)
    """
    known = [direction for direction in directions if direction is not None]
    if not known or len(known) < len(directions):
        return None
    return known[0] if all(is_mirrored(direction, known[0]) is not None for direction in known) else None
