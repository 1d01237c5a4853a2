"""How layers of recordings that were held out came out: what can be said of the verdict on another layer.

Votes of a layer are no independent witnesses: light, scan angle and what the layer builds are the same for all. How
dependent they are is seen in recordings that were held out: layers of one recording differ by more than their votes
explain. How often a verdict is right is seen there too, and the unit that is counted is the recording: all its layers
share what makes it hard.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.student import student
from spatterlib.detection.events import VOTE_SECONDS, events, vote_numbers
from spatterlib.detection.layers import layers
from spatterlib.learning.metrics import Interval
from spatterlib.learning.run_facts import LayerRecordFields, damage_named
from spatterlib.types import Detections

__all__ = ["HeldOutLayer", "LayerRecord", "held_out_layers", "vote_means"]

FEWEST_VOTES = 6
"""Layers with fewer are not judged, and say nothing here."""
_FEWEST_BUILDS, _SHIFT = 4, 1.5
# A logistic curve of this slope is nearly the normal distribution: right as often as the interval says.
_SLOPE = math.pi / math.sqrt(3)


class HeldOutLayer(NamedTuple):
    """A layer of a recording that had no part in the training."""

    build: str
    """Which recording."""
    label: int
    """Its true class."""
    votes: NDArray[np.float64]
    """``(votes, classes)`` calibrated probabilities, as of `vote_means`."""


def vote_means(vote: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(votes, classes)``: mean probabilities of the crops of each vote, numbered as by `vote_numbers`."""
    sums = np.zeros((int(vote.max(initial=-1)) + 1, probabilities.shape[1]))
    np.add.at(sums, vote, probabilities)
    means: NDArray[np.float64] = sums / np.bincount(vote, minlength=len(sums))[:, None]
    return means


def held_out_layers(
    build: str, table: Detections, labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> list[HeldOutLayer]:
    """Layers of a recording with one label each; a layer in which the label changes says nothing.

    Parameters
    ----------
    build : str
        Name of the recording.
    table : ndarray
        ``(n,)`` `DETECTION`; crops without a time belong to no layer.
    labels : ndarray
        ``(n,)`` int64, class of each crop.
    probabilities : ndarray
        ``(n, classes)``, calibrated.
    """
    timed = np.isfinite(table["time"]) & (table["frame"] >= 0)
    table, labels, probabilities = table[timed], labels[timed], probabilities[timed]
    event, number = events(table).number, layers(table["time"]).number
    found = []
    for layer in np.unique(number):
        rows = number == layer
        if (labels[rows] == labels[rows][0]).all():
            own = vote_means(vote_numbers(table["time"][rows], event[rows], VOTE_SECONDS), probabilities[rows])
            found.append(HeldOutLayer(build, int(labels[rows][0]), own))
    return found


@dataclass(frozen=True)
class LayerRecord:
    """What recordings that were held out say of verdicts on layers.

    Parameters
    ----------
    spread : float
        Variance of a vote within a layer, of that which a vote of 0 or 1 would have.
    dependence : float
        Intraclass correlation of votes of a layer, 0-1 (R. A. Fisher 1925; by analysis of variance).
    slope, lapse : float
        Of the curve of `right`: how fast it rises, and the share of layers of which nothing that is seen tells.
    builds, wrong_builds : int
        Recordings held out, and those in which a layer was decided wrongly.
    layers : int
        Their layers with enough votes.
    """

    spread: float
    dependence: float
    slope: float
    lapse: float
    builds: int
    wrong_builds: int
    layers: int

    @classmethod
    def of(cls, layers: Iterable[HeldOutLayer]) -> Self | None:
        """From layers that were held out; None of fewer than four recordings with two layers or more.

        Parameters
        ----------
        layers : iterable of HeldOutLayer
            In any order; those with too few votes are left out.
        """
        known = [layer for layer in layers if len(layer.votes) >= FEWEST_VOTES]
        by_build: dict[str, list[HeldOutLayer]] = {}
        for layer in known:
            by_build.setdefault(layer.build, []).append(layer)
        if sum(len(own) > 1 for own in by_build.values()) < _FEWEST_BUILDS:
            return None
        spread, dependence = _dependence([[layer.votes for layer in own] for own in by_build.values()])
        begun = cls(spread, dependence, _SLOPE, 0.0, len(by_build), 0, len(known))
        judged = [(layer, *begun.lead(layer.votes.mean(0), len(layer.votes))) for layer in known]
        wrong = {layer.build for layer, leading, _, clear in judged if clear and leading != layer.label}
        right = np.array([leading == layer.label for layer, leading, _, _ in judged])
        strength = np.array([strength for _, _, strength, _ in judged])
        weight = np.array([1 / len(by_build[layer.build]) for layer in known])
        slope, lapse = _curve(strength, right, weight)
        return cls(spread, dependence, slope, lapse, len(by_build), len(wrong), len(known))

    def independent(self, votes: int) -> float:
        """Number of votes of 0 or 1, each independent, that say as much (design effect; L. Kish 1965)."""
        return votes / (self.spread * (1 + (votes - 1) * self.dependence))

    def interval(self, mean: float, votes: int) -> Interval:
        """95 % interval of the mean of so many votes: it holds the mean of the recording's other layers.

        Wilson's score interval (J. Am. Stat. Assoc. 22, 1927) of the `independent` votes, with Student's t.

        Parameters
        ----------
        mean : float
            Of the probabilities of one class, 0-1.
        votes : int
            2 or more.

        Examples
        --------
        >>> from spatterlib.learning.layer_record import LayerRecord
        >>> alone = LayerRecord(0.2, 0.0, 1.8, 0.02, 12, 0, 96)
        >>> together = LayerRecord(0.2, 0.1, 1.8, 0.02, 12, 0, 96)
        >>> [round(end, 2) for record in (alone, together) for end in record.interval(0.8, 12)]
        [0.67, 0.89, 0.6, 0.91]
        """
        t2, n = student(votes - 1) ** 2, self.independent(votes)
        middle, half = mean + t2 / (2 * n), math.sqrt(t2 * (mean * (1 - mean) / n + t2 / (4 * n**2)))
        return max((middle - half) / (1 + t2 / n), 0.0), min((middle + half) / (1 + t2 / n), 1.0)

    def lead(self, means: NDArray[np.float64], votes: int) -> tuple[int, float, bool]:
        """Leading class, how far it leads over the next in standard errors, and whether that is surely above 0."""
        order = np.argsort(-means, kind="stable")
        first, second = float(means[order[0]]), float(means[order[1]])
        share = first / max(first + second, 1e-300)
        strength = (2 * share - 1) * math.sqrt(self.independent(votes) * (first + second))
        return int(order[0]), strength, strength > student(votes - 1)

    def right(self, strength: float) -> float:
        """How often a layer is right whose class leads so far: of layers of recordings like those held out.

        Parameters
        ----------
        strength : float
            From `lead`.
        """
        return round(float(_right(np.array(strength), self.slope, self.lapse)), 4)

    def facts(self) -> LayerRecordFields:
        """JSON-able."""
        return cast("LayerRecordFields", asdict(self))

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
        with damage_named(name, "layers held out", "train again"):
            found = cls(**{key: facts[key] for key in LayerRecordFields.__annotations__})
            numbers = [float(value) for value in asdict(found).values()]
            sound = all(map(math.isfinite, numbers)) and found.spread > 0 and 0 <= found.dependence <= 1
            if not (sound and found.slope > 0 and 0 <= found.lapse <= 1):
                raise ValueError("a number is none that can be")
        return found


def _dependence(builds: Sequence[Sequence[NDArray[np.float64]]]) -> tuple[float, float]:
    """Spread and dependence, see `LayerRecord`, of the votes of layers by build."""
    between = within = scale = 0.0
    between_freedom = within_freedom = usual = 0.0
    for own in builds:
        count = np.array([len(part) for part in own], np.float64)
        means = np.stack([part.mean(0) for part in own])
        off = sum(float(((part - mean) ** 2).sum()) for part, mean in zip(own, means, strict=True))
        within, within_freedom = within + off, within_freedom + float((count - 1).sum())
        scale += float(((count - 1)[:, None] * means * (1 - means)).sum())
        if len(own) > 1:
            centre = count @ means / count.sum()
            between += float((count[:, None] * (means - centre) ** 2).sum())
            between_freedom += len(own) - 1
            usual += float(count.sum() - (count**2).sum() / count.sum())
    ratio = (between / between_freedom) / max(within / within_freedom, 1e-12)
    size = usual / between_freedom
    return max(within / max(scale, 1e-12), 1e-6), min(max((ratio - 1) / (ratio + size - 1), 0.0), 1.0)


def _right(strength: NDArray[np.float64], slope: float, lapse: float) -> NDArray[np.float64]:
    return lapse / 2 + (1 - lapse) / (1 + np.exp(-slope * np.minimum(strength, 50)))


def _curve(strength: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and lapse of the most likely curve, each build counted once.

    A logistic curve after Platt (1999), with a lapse rate (F. A. Wichmann, N. J. Hill, Percept. Psychophys. 63, 2001),
    from even odds without a lead. One more build that is right in half of its layers is counted, so that few builds
    without a mistake prove no more than they can, and slopes far from that of the normal distribution are unlikely.
    """
    best, found = -math.inf, (_SLOPE, 0.0)
    for slope in _SLOPE * np.exp(np.linspace(-2, 2, 41)):
        for lapse in np.linspace(0.002, 0.6, 150):
            share = _right(strength, float(slope), float(lapse))
            likely = float(weight @ np.log(np.where(right, share, 1 - share)))
            likely += 0.5 * math.log(lapse / 2) + 0.5 * math.log(1 - lapse / 2)
            likely -= math.log(slope / _SLOPE) ** 2 / (2 * _SHIFT**2)
            if likely > best:
                best, found = likely, (float(slope), float(lapse))
    return found
