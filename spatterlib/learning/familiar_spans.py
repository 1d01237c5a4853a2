"""What whole recordings of a training looked like, class by class, and how far a span of another one lies from them.

The mean look of a span scatters for two reasons: recordings differ (light, lens, place of the camera), and a span has
few votes. Both are covariances, learned from the recordings of the training, and the distance of a span is that of
Mahalanobis (1936) under their sum, to the class that the network says (class-conditional, as of K. Lee et al., "A
simple unified framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018).

How far is far comes from recordings held out: each recording of the training in turn is left out of means and
covariances, and its most distant part counts. A new recording that is like them lies further than all but a share of
these with that probability (conformal prediction by leaving out; R. F. Barber et al., "Predictive inference with the
jackknife+", Ann. Stat. 49, 2021). The unit counted is the recording.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.learning.looks import FLIGHT, SPAN_LOOKS, span_looks

__all__ = ["RATE", "FamiliarSpans", "Part", "Unlike", "parts_of"]

RATE = 0.05
"""Share of recordings that are like those of the training of which a part is called unlike."""

_VOTES = 10
_FEWEST = 4
_SHRINK = 0.1
_STEEP = 2.5
# Share of the parts of another camera in which enough streaks must be seen.
_MEASURED = 0.8

Array = NDArray[np.float64]
# Two tests, each with half of the false alarms: all columns, and where the streaks fly and bend to, which among thirty
# columns would count little.
_TESTS = (np.arange(len(SPAN_LOOKS)), np.array([SPAN_LOOKS.index(name) for name in FLIGHT]))


class Part(NamedTuple):
    """Some ten votes of a recording: whose, of which class, how many, and what they look like together."""

    recording: int
    label: int
    votes: int
    look: Array


class Unlike(NamedTuple):
    """How far a span lies from the class that leads, above 1 is far, and what about it is unlike, in words."""

    distance: float
    reason: str


@dataclass(frozen=True)
class FamiliarSpans:
    """What the recordings of a training looked like.

    Parameters
    ----------
    classes : tuple of str
        In the order of the rows of `means`.
    means : tuple of tuple
        ``(classes, k)``, of the recordings of each class, by `spatterlib.learning.looks.SPAN_LOOKS`.
    between, within : tuple of tuple
        ``(k, k)``, covariance of recordings of a class, and of a single vote within a recording.
    left_out : tuple of tuple
        Of each of the two tests, of all columns and of the streaks' flight, ascending: for each recording, itself left
        out, the distance of its most distant part.
    rate : float
        Share of recordings like these that are called unlike.
    """

    classes: tuple[str, ...]
    means: tuple[tuple[float, ...], ...]
    between: tuple[tuple[float, ...], ...]
    within: tuple[tuple[float, ...], ...]
    left_out: tuple[tuple[float, ...], ...]
    rate: float = RATE

    @classmethod
    def of(cls, parts: Sequence[Part], classes: Sequence[str]) -> Self | None:
        """From the parts of recordings; None where a class has fewer than four recordings with streaks.

        Parameters
        ----------
        parts : sequence of Part
            Of all recordings; those with too few streaks are left out.
        classes : sequence of str
            Names of the labels.
        """
        known = [part for part in parts if np.isfinite(part.look).all()]
        if not known:
            return None
        recording, label, votes = (np.array([part[index] for part in known]) for index in range(3))
        looks = np.stack([part.look for part in known])
        groups = np.unique(np.stack([recording, label], 1), axis=0, return_inverse=True)[1].ravel()
        of_group = np.array([label[groups == group][0] for group in range(groups.max() + 1)])
        if (np.bincount(of_group, minlength=len(classes)) < _FEWEST).any():
            return None
        left_out = []
        for name in np.unique(recording):
            own = recording == name
            fitted = _fitted(looks[~own], votes[~own], groups[~own], of_group)
            found = [_distances(*fitted, *known[row][1:]) for row in np.flatnonzero(own)]
            left_out.append(np.max(found, axis=0))
        means, between, within = (_rows(array) for array in _fitted(looks, votes, groups, of_group))
        return cls(tuple(classes), means, between, within, _rows(np.sort(left_out, axis=0).T))

    def moved_to(self, parts: Sequence[Part]) -> Self | None:
        """The same spread of recordings about the means of another camera; None where too few parts have streaks.

        How recordings of one camera differ is taken over from this training. The means of few recordings are uncertain,
        so the spread is that of a mean and of a recording together, and the parts that were left out in turn count
        beside the recordings of the training.

        Parameters
        ----------
        parts : sequence of Part
            Of labelled layers, the recording being what is left out together: two or more of each class.
        """
        known = [part for part in parts if np.isfinite(part.look).all()]
        groups = {(part.label, part.recording) for part in known}
        count = [sum(label == own for label, _ in groups) for own in range(len(self.classes))]
        if min(count) < 2 or len(known) < _MEASURED * len(parts):
            return None
        between, within = np.array(self.between), np.array(self.within)
        left_out = []
        for label, recording in sorted(groups):
            means = _means([part for part in known if part.recording != recording], len(self.classes))
            wide = between * (1 + 1 / (count[label] - 1))
            own = [part for part in known if (part.label, part.recording) == (label, recording)]
            left_out.append(np.max([_distances(means, wide, within, *part[1:]) for part in own], axis=0))
        ordered = _rows(np.sort(np.concatenate([np.array(self.left_out), np.array(left_out).T], axis=1), axis=1))
        spread = _rows(between * (1 + 1 / min(count)))
        return replace(self, means=_rows(_means(known, len(self.classes))), between=spread, left_out=ordered)

    @property
    def limits(self) -> Array:
        """Distance of each test above which a span is unlike: the next recording has such a part in half of `rate`."""
        count = len(self.left_out[0])
        place = min(math.ceil((count + 1) * (1 - self.rate / len(_TESTS))), count)
        return np.array([distances[place - 1] for distances in self.left_out])

    @property
    def false_alarms(self) -> float:
        """Share of recordings like these of which a part is called unlike: `rate`, more where there are few."""
        return max(self.rate, len(_TESTS) / (len(self.left_out[0]) + 1))

    def compare(self, looks: NDArray[np.float32], vote: NDArray[np.int64], label: str) -> Unlike:
        """Hold a span against the recordings of the class that leads in it.

        Parameters
        ----------
        looks : ndarray
            ``(n, len(LOOKS))``, of its crops.
        vote : ndarray
            ``(n,)`` int, number of the vote of each crop.
        label : str
            The class.
        """
        look = span_looks(looks, vote)
        if not np.isfinite(look).all():
            return Unlike(math.inf, "too few streaks to see whether they fly as in the training")
        votes, index = len(np.unique(vote)), self.classes.index(label)
        means, between, within = (np.array(rows) for rows in (self.means, self.between, self.within))
        distance = float((_distances(means, between, within, index, votes, look) / self.limits).max())
        if not distance > 1:
            return Unlike(distance, "")
        steps = (look - means[index]) / np.sqrt(np.diag(between + within / votes))
        return Unlike(distance, _reason(dict(zip(SPAN_LOOKS, steps, strict=True)), look, means[index]))

    @classmethod
    def parsed(cls, facts: Mapping[str, Any]) -> Self:
        """From the JSON; ValueError, KeyError or TypeError if it is damaged."""
        means, between, within = (np.array(facts[name], np.float64) for name in ("means", "between", "within"))
        left_out, size, classes = np.array(facts["left_out"], np.float64), len(SPAN_LOOKS), tuple(facts["classes"])
        if means.shape != (len(classes), size) or between.shape != (size, size) or within.shape != (size, size):
            raise ValueError(f"spans of {means.shape}, {between.shape} and {within.shape} numbers")
        finite = all(np.isfinite(array).all() for array in (means, between, within, left_out))
        if left_out.ndim != 2 or len(left_out) != len(_TESTS) or not left_out.size:
            raise ValueError(f"left_out of shape {left_out.shape}")
        if not finite or not left_out.min() > 0 or not 0 < facts["rate"] < 1:
            raise ValueError("a number of the spans is none that can be")
        ordered = _rows(np.sort(left_out, axis=1))
        return cls(classes, _rows(means), _rows(between), _rows(within), ordered, float(facts["rate"]))


def parts_of(looks: NDArray[np.float32], vote: NDArray[np.int64], recording: int, label: int) -> list[Part]:
    """Parts of some ten votes of a recording of one class.

    Parameters
    ----------
    looks : ndarray
        ``(n, len(LOOKS))``, of its crops.
    vote : ndarray
        ``(n,)`` int, number of the vote of each crop, from 0, in order of time.
    recording, label : int
        Whose they are.
    """
    count = int(vote.max(initial=-1)) + 1
    pieces = max(1, round(count / _VOTES))
    part = vote * pieces // max(count, 1)
    return [
        Part(
            recording, label, len(np.unique(vote[part == piece])), span_looks(looks[part == piece], vote[part == piece])
        )
        for piece in range(pieces)
    ]


def _fitted(
    looks: Array, votes: NDArray[np.int64], groups: NDArray[np.int64], of_group: NDArray[np.int64]
) -> tuple[Array, Array, Array]:
    """Means of the classes, covariance between recordings of a class, and of a vote within a recording."""
    names, number = np.unique(groups, return_inverse=True)
    total = np.bincount(number, votes)
    centres = np.stack([np.bincount(number, votes * column) / total for column in looks.T], 1)
    inner = np.sqrt(votes)[:, None] * (looks - centres[number])
    within = inner.T @ inner / max(len(looks) - len(names), 1)
    label = of_group[names]
    means = np.stack([centres[label == index].mean(0) for index in range(int(of_group.max()) + 1)])
    outer = centres - means[label]
    between = outer.T @ outer / max(len(names) - len(means), 1)
    return means, _shrunk(between), _shrunk(within)


def _means(parts: Sequence[Part], classes: int) -> Array:
    """``(classes, k)``, each recording of a class counted once."""
    centres: list[dict[int, list[Array]]] = [{} for _ in range(classes)]
    for part in parts:
        centres[part.label].setdefault(part.recording, []).append(part.look)
    return np.stack([np.mean([np.mean(looks, axis=0) for looks in own.values()], axis=0) for own in centres])


def _shrunk(covariance: Array) -> Array:
    """Towards no correlation, so that as few recordings as there are do not make some direction impossibly narrow."""
    diagonal = np.diag(np.diag(covariance) + 1e-9)
    return np.asarray((1 - _SHRINK) * covariance + _SHRINK * diagonal)


def _distances(means: Array, between: Array, within: Array, label: int, votes: int, look: Array) -> Array:
    """Of each test."""
    off, covariance = look - means[label], between + within / votes
    parts = ((off[own], covariance[np.ix_(own, own)]) for own in _TESTS)
    return np.array([np.sqrt(part @ np.linalg.solve(square, part) / len(part)) for part, square in parts])


def _rows(array: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, np.round(array, 9).tolist()))


def _reason(steps: Mapping[str, float], look: Array, mean: Array) -> str:
    """What lies furthest off, in words: up to two things."""
    light = float(np.mean([value for name, value in steps.items() if name.startswith("cell")]))
    sharp = float(np.mean([steps["across"], steps["down"]]))
    size = float(np.mean([steps["width"], steps["height"]]))
    side, usual = look[SPAN_LOOKS.index("right")], mean[SPAN_LOOKS.index("right")]
    turned = "streaks that drift to the other side: mirrored, or gas from another side"
    along = "streaks that fly another way: gas from another side, or a turned camera"
    found = {
        turned if side * usual < 0 else along: max(abs(steps["right"]), abs(steps["bend right"])),
        "streaks that rise or bend otherwise: gas from another side, or a turned camera": max(
            abs(steps["up"]), abs(steps["bend up"])
        ),
        ("darker" if light < 0 else "brighter") + " crops": abs(light),
        ("less" if steps["saturated"] < 0 else "more") + " saturated light": abs(steps["saturated"]),
        "blurred or flat crops" if sharp < 0 else "sharper or noisier crops": abs(sharp),
        ("smaller" if size < 0 else "larger") + " crops: another zoom, or less or more of the glow": abs(size),
        ("fewer" if steps["streaks"] < 0 else "more") + " streaks": abs(steps["streaks"]),
        ("shorter" if steps["length"] < 0 else "longer") + " streaks: another exposure or zoom": abs(steps["length"]),
        ("thinner" if steps["thickness"] < 0 else "thicker") + " streaks: another focus or zoom": abs(
            steps["thickness"]
        ),
        ("fainter" if steps["rise"] < 0 else "brighter") + " streaks": abs(steps["rise"]),
    }
    worst = sorted(found, key=lambda name: -found[name])[:2]
    told = [name for name in worst if found[name] > _STEEP]
    return " and ".join(told) or "light, size and streaks that no recording of the training has together"
