"""Student's t, for intervals from few values."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["beyond", "student"]

_MANY = 1000


@lru_cache(256)
def student(degrees: float, share: float = 0.95) -> float:
    """How far from 0 that share of Student's t lies, on both sides together.

    Parameters
    ----------
    degrees : float
        Degrees of freedom, 1 or more; need not be whole.
    share : float
        0-1, of the distribution within.

    Notes
    -----
    With ``t = sqrt(degrees) * tan(angle)`` the density is ``cos(angle) ** (degrees - 1)``, which is added up. Above
    1,000 degrees it is Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5).

    Examples
    --------
    >>> from spatterlib.common.student import student
    >>> round(student(1), 2), round(student(10), 3), round(student(float("inf")), 3)
    (12.71, 2.228, 1.96)
    """
    if degrees > _MANY:
        z = NormalDist().inv_cdf((1 + share) / 2)
        return z + (z**3 + z) / (4 * degrees)
    angle, within = _within(degrees)
    return math.sqrt(degrees) * math.tan(float(np.interp(share, within, angle)))


def beyond(t: float, degrees: float) -> float:
    """Share of Student's t that lies as far from 0 as `t` or farther, on both sides together: a p-value.

    Parameters
    ----------
    t : float
        0 or more.
    degrees : float
        Degrees of freedom, 1 or more.

    Examples
    --------
    >>> from spatterlib.common.student import beyond
    >>> round(beyond(2.228, 10), 3), round(beyond(12.706, 1), 3)
    (0.05, 0.05)
    """
    angle, within = _within(degrees)
    return float(1 - np.interp(math.atan(t / math.sqrt(degrees)), angle, within))


def _within(degrees: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Angles, and the share of the distribution within each."""
    angle = np.linspace(0, np.pi / 2, 4001)
    density = np.cos(angle) ** (degrees - 1)
    below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return angle, below / below[-1]
