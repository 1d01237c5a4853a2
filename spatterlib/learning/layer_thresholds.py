"""When the class of a layer is decided, by labelled layers that had no part in the fit: conformal prediction.

A class is ruled out of a layer where hardly any labelled layer spoke as little for its own class as this layer does for
that one. If the layer and the labelled ones could have come in any order, its true class is ruled out with at most
the probability that is stated (V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005). A
layer is decided where one class alone is left. Scores of layers that were left out of the fit in turn are those of
cross-conformal prediction (V. Vovk, Ann. Math. Artif. Intell. 74, 2015): nearly exact where a fit hardly changes by a
layer, and at most twice the stated error whatever it does (R. F. Barber et al., Ann. Stat. 49, 2021).

So many layers can state no smaller error than one in their number and one more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.learning.run_facts import ThresholdFields, damage_named

__all__ = ["LayerThresholds", "Ruling", "layers_needed", "leads_of"]

_ROUNDING = 1e-9


class Ruling(NamedTuple):
    """The leading class of a layer, whether it alone is left, and how surely all others are ruled out, 0-1."""

    leading: int
    clear: bool
    confidence: float


def leads_of(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(classes,)`` how far the mean probability of each class lies before the largest of the others.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.layer_thresholds import leads_of
    >>> leads_of(np.array([0.25, 0.75])).tolist()
    [-0.5, 0.5]
    """
    return np.array([mean[own] - np.delete(mean, own).max() for own in range(len(mean))])


def layers_needed(error: float) -> int:
    """How many labelled layers can state an error.

    Examples
    --------
    >>> from spatterlib.learning.layer_thresholds import layers_needed
    >>> layers_needed(0.05), layers_needed(0.01)
    (19, 99)
    """
    return math.ceil(1 / error - _ROUNDING) - 1


@dataclass(frozen=True)
class LayerThresholds:
    """What labelled layers say of when a class is decided.

    Parameters
    ----------
    leads : tuple of float
        Of labelled layers, ascending: how far the true class led where the layer had no part in the fit.
    wanted : float
        Share of layers, 0-1, that may be decided wrongly.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.layer_thresholds import LayerThresholds
    >>> eight = LayerThresholds((0.4, 0.5, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9), 0.05)
    >>> round(eight.error, 3), eight.rule(np.array([0.15, 0.85])).clear, eight.rule(np.array([0.45, 0.55])).clear
    (0.111, True, False)
    """

    leads: tuple[float, ...]
    wanted: float

    @property
    def error(self) -> float:
        """Share of layers that may be decided wrongly, as so many layers can state it."""
        return max(self.wanted, 1 / (len(self.leads) + 1))

    def plausible(self, leads: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conformal p-value of each lead: share of labelled layers, itself counted, that led by as little or less."""
        below = np.searchsorted(np.array(self.leads), leads, "right")
        return np.asarray((1 + below) / (len(self.leads) + 1), np.float64)

    def rule(self, mean: NDArray[np.float64]) -> Ruling:
        """Of ``(classes,)`` mean probabilities of a layer."""
        p = self.plausible(leads_of(mean))
        leading = int(np.argmax(mean))
        other = float(np.delete(p, leading).max())
        error = self.error + _ROUNDING
        return Ruling(leading, bool(p[leading] > error >= other), round(1 - other, 4))

    def facts(self) -> ThresholdFields:
        """JSON-able."""
        return {"leads": list(self.leads), "wanted": self.wanted}

    @classmethod
    def of(cls, leads: Sequence[float], wanted: float) -> Self:
        """From leads in any order."""
        return cls(tuple(sorted(round(float(lead), 6) for lead in leads)), wanted)

    @classmethod
    def parsed(cls, facts: Mapping[str, Any] | None, name: str) -> Self | None:
        """From the JSON of a file of that name; None if it says nothing.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        if facts is None:
            return None
        with damage_named(name, "labelled layers", "adapt again"):
            found = cls.of(facts["leads"], float(facts["wanted"]))
            if not (found.leads and all(-1 <= lead <= 1 for lead in found.leads) and 0 < found.wanted < 1):
                raise ValueError("a number is none that can be")
        return found
