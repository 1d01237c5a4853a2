"""What can be said of crops whose times nobody knows: the share of each class, with an interval.

Without times there are no layers and no events, so nobody can say which crops show the same spatter. Crops still lie in
the order in which they were found, and neighbours resemble each other. The interval is that of batch means: the crops
are cut into stretches of neighbours, and Student's t is applied to the shares of the stretches (A. M. Law,
"Simulation modeling and analysis", 2015, 9.5). It is never narrower than Wilson's interval for that many independent
crops (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.student import student
from spatterlib.verdicts.document import ShareFields

__all__ = ["LEAST", "Share", "share_sentence", "shares"]

_STRETCHES, _CROPS = 20, 10
LEAST = 3 * _CROPS
"""Crops; fewer make no three stretches and get no interval."""


@dataclass(frozen=True)
class Share:
    """How many crops look like one class.

    Parameters
    ----------
    label : str
        The class.
    crops : int
        With a vote, of which it is the most probable class.
    share : float
        Of all crops with a vote, 0-1.
    low, high : float
        95 % interval of it; NaN with too few crops.
    """

    label: str
    crops: int
    share: float
    low: float
    high: float

    def facts(self) -> ShareFields:
        """JSON-able: what is not a number is None."""
        return cast("ShareFields", {name: None if value != value else value for name, value in asdict(self).items()})


def shares(probabilities: NDArray[np.float64], classes: Sequence[str]) -> tuple[Share, ...]:
    """Share of each class, largest first.

    Parameters
    ----------
    probabilities : ndarray
        ``(n, classes)``, in the order in which crops were found; rows of NaN have no vote.
    classes : sequence of str
        In the order of the columns.

    Returns
    -------
    tuple of Share
        Empty without a vote.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.verdicts.shares import shares
    >>> high = np.tile([0.9, 0.8, 0.7, 0.2], 30)
    >>> [found, _] = shares(np.stack([1 - high, high], 1), ("low", "high"))
    >>> found.label, found.share, found.low < 0.75 < found.high
    ('high', 0.75, True)
    """
    known = probabilities[np.isfinite(probabilities).all(axis=1)]
    if not len(known):
        return ()
    best = known.argmax(1)
    found = [_share(name, best == number) for number, name in enumerate(classes)]
    return tuple(sorted(found, key=lambda item: -item.crops))


def _share(label: str, own: NDArray[np.bool_]) -> Share:
    n, mean = len(own), float(own.mean())
    count = min(_STRETCHES, n // _CROPS)
    if count < 3:
        return Share(label, int(own.sum()), mean, np.nan, np.nan)
    stretches = np.array([part.mean() for part in np.array_split(own, count)])
    half = student(count - 1) * float(stretches.std(ddof=1)) / count**0.5
    low, high = _wilson(mean, n)
    return Share(label, int(own.sum()), mean, max(min(mean - half, low), 0.0), min(max(mean + half, high), 1.0))


def _wilson(share: float, n: int) -> tuple[float, float]:
    z = student(np.inf)
    middle, half = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def share_sentence(found: Sequence[ShareFields], crops: int, far: float | None, max_far: float) -> str:
    """A sentence of the facts of shares, with what limits them."""
    if not found:
        return f"no verdict: the file has no times, and none of its {crops} crops has a vote"
    voted = sum(item["crops"] for item in found)
    parts = [f"{item['share']:.1%} look {item['label']}{_within(item)}" for item in found if item["crops"]]
    text = f"no verdict per layer, because the file has no times; of {voted} crops {', '.join(parts)}"
    if crops > voted:
        text += f"; {crops - voted} more have no vote, being dark, damaged or empty"
    if far is not None and far > max_far:
        text += f"; {far:.0%} of them look unlike those that the model learned from, so this says little"
    return text


def _within(item: ShareFields) -> str:
    return "" if item["low"] is None else f" (95 %: {item['low']:.1%} to {item['high']:.1%})"
