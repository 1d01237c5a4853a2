"""How good probabilities are: pure functions of scores, labels and groups.

Crops of one recording are not independent, so intervals come from drawing whole groups again, never crops.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spatterlib.learning.run_facts import MetricsFields
from spatterlib.plugins.classifier import Scores, probabilities_of

__all__ = ["Interval", "Metrics", "Reliability", "metrics_of", "reliability", "temperature_of"]

Interval = tuple[float, float]
"""95 %, lower and upper bound; NaN where there are too few groups to say."""

_BINS = 10
_RESAMPLES = 1000
_UNKNOWN = (float("nan"), float("nan"))


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often a model that is so sure is right: bins of its confidence.

    Parameters
    ----------
    confidence, accuracy : ndarray
        ``(k,)`` means of each bin that is not empty.
    counts : ndarray
        ``(k,)`` crops in it.
    error : float
        Expected calibration error: mean gap, weighted by counts.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]
    error: float


@dataclass(frozen=True, eq=False)
class Metrics:
    """How good a model is on one set of crops.

    Parameters
    ----------
    crops, groups : int
        How many.
    accuracy, auc : float
        Share of right answers; area under the ROC curve (mean over classes, one against the rest).
    accuracy_interval, auc_interval : tuple of float
        95 %, by bootstrap over groups.
    confusion : ndarray
        ``(classes, classes)`` int64: rows are true, columns predicted.
    loss : float
        Mean cross-entropy, calibrated.
    raw, calibrated : Reliability
        Before and after temperature scaling.
    """

    crops: int
    groups: int
    accuracy: float
    accuracy_interval: Interval
    auc: float
    auc_interval: Interval
    confusion: NDArray[np.int64]
    loss: float
    raw: Reliability = field(repr=False)
    calibrated: Reliability = field(repr=False)

    def facts(self) -> MetricsFields:
        """JSON-able."""
        return {
            "crops": self.crops,
            "groups": self.groups,
            "accuracy": self.accuracy,
            "accuracy_interval": _known(self.accuracy_interval),
            "auc": self.auc if np.isfinite(self.auc) else None,
            "auc_interval": _known(self.auc_interval),
            "confusion": self.confusion.tolist(),
            "loss": self.loss,
            "calibration_error": self.raw.error,
            "calibration_error_scaled": self.calibrated.error,
        }


def _known(interval: Interval) -> list[float] | None:
    return list(interval) if np.isfinite(interval).all() else None


def metrics_of(
    scores: Scores,
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    *,
    temperature: float = 1.0,
    resamples: int = _RESAMPLES,
    seed: int = 1234,
) -> Metrics:
    """Everything about one set of crops.

    Parameters
    ----------
    scores : ndarray
        ``(n, classes)`` float64.
    labels : ndarray
        ``(n,)`` int64.
    groups : ndarray
        ``(n,)``, group of each crop.
    temperature : float
        What scores are divided by.
    resamples, seed : int
        Of the bootstrap.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.metrics import metrics_of
    >>> found = metrics_of(np.array([[0, 1], [0, -1], [0, 2.0]]), np.array([1, 0, 0]), np.array(["a", "b", "c"]))
    >>> round(found.accuracy, 3), found.confusion.tolist()
    (0.667, [[1, 1], [0, 1]])
    """
    classes = scores.shape[1]
    answers = scores.argmax(1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    accuracy_interval, auc_interval = _bootstrap(scores, labels, groups, resamples, seed)
    probabilities = probabilities_of(scores, temperature)
    return Metrics(
        crops=len(labels),
        groups=len(np.unique(groups)),
        accuracy=float((answers == labels).mean()),
        accuracy_interval=accuracy_interval,
        auc=_auc(scores, labels, np.ones(len(labels))),
        auc_interval=auc_interval,
        confusion=confusion,
        loss=_loss(probabilities, labels),
        raw=reliability(probabilities_of(scores), labels),
        calibrated=reliability(probabilities, labels),
    )


def _loss(probabilities: Scores, labels: NDArray[np.int64]) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, 1e-300)).mean())


def _bootstrap(
    scores: Scores, labels: NDArray[np.int64], groups: NDArray[np.str_], resamples: int, seed: int
) -> tuple[Interval, Interval]:
    """95 % intervals of accuracy and AUC; groups are drawn with replacement, within the classes they hold."""
    names, member = np.unique(groups, return_inverse=True)
    strata: dict[bytes, list[int]] = {}
    for group in range(len(names)):
        held = np.bincount(labels[member == group], minlength=scores.shape[1]) > 0
        strata.setdefault(held.tobytes(), []).append(group)
    # One group of a kind has no spread to draw from: an interval from it would be a pretence.
    if min(map(len, strata.values())) < 2:
        return _UNKNOWN, _UNKNOWN
    random = np.random.default_rng(seed)
    right = np.bincount(member, scores.argmax(1) == labels)
    sizes = np.bincount(member)
    ranked = _Ranked(scores, labels)
    accuracies, aucs = np.empty(resamples), np.empty(resamples)
    for index in range(resamples):
        drawn = np.concatenate([random.choice(own, len(own)) for own in strata.values()])
        times = np.bincount(drawn, minlength=len(names)).astype(np.float64)
        accuracies[index] = (times @ right) / (times @ sizes)
        aucs[index] = ranked.auc(times[member])
    return _middle(accuracies), _middle(aucs)


def _middle(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _auc(scores: Scores, labels: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    return _Ranked(scores, labels).auc(weights)


class _Ranked:
    """Crops sorted by the score of each class once, so that the AUC of any weights is a sum."""

    def __init__(self, scores: Scores, labels: NDArray[np.int64]) -> None:
        columns = [1] if scores.shape[1] == 2 else range(scores.shape[1])
        self.classes = []
        for number in columns:
            others = np.delete(scores, number, axis=1)
            value = scores[:, number] - np.logaddexp.reduce(others, axis=1)
            order = np.argsort(value, kind="stable")
            ties = np.flatnonzero(np.diff(value[order], prepend=-np.inf))
            self.classes.append((order, ties, labels[order] == number))

    def auc(self, weights: NDArray[np.float64]) -> float:
        """Mann-Whitney statistic with weights; ties count half."""
        areas = []
        for order, ties, own in self.classes:
            weight = weights[order]
            positive = np.add.reduceat(np.where(own, weight, 0.0), ties)
            negative = np.add.reduceat(np.where(own, 0.0, weight), ties)
            below = np.cumsum(negative) - negative
            total = positive.sum() * negative.sum()
            areas.append((positive * (below + negative / 2)).sum() / total if total else np.nan)
        return float(np.mean(areas))


def reliability(probabilities: Scores, labels: NDArray[np.int64], bins: int = _BINS) -> Reliability:
    """Confidence against accuracy, in bins of equal width between chance and certainty.

    Parameters
    ----------
    probabilities : ndarray
        ``(n, classes)``.
    labels : ndarray
        ``(n,)`` int64.
    bins : int
        How many.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    chance = 1 / probabilities.shape[1]
    number = np.clip(((confidence - chance) / (1 - chance) * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(number, minlength=bins)
    used = counts > 0
    mean = np.bincount(number, confidence, minlength=bins)[used] / counts[used]
    hits = np.bincount(number, right, minlength=bins)[used] / counts[used]
    error = float((np.abs(mean - hits) * counts[used]).sum() / max(len(labels), 1))
    return Reliability(mean, hits, counts[used], error)


def temperature_of(scores: Scores, labels: NDArray[np.int64]) -> float:
    """Temperature that makes the mean cross-entropy of scores smallest.

    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017. The loss has
    one minimum in the temperature; it is looked for between 1/20 and 20 by golden section.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.metrics import temperature_of
    >>> sure = np.array([[0, 8.0]] * 4)
    >>> temperature_of(sure, np.array([1, 1, 1, 0])) > 5
    True
    """
    low, high, golden = np.log(1 / 20), np.log(20.0), (np.sqrt(5) - 1) / 2

    def loss(logarithm: float) -> float:
        return _loss(probabilities_of(scores, float(np.exp(logarithm))), labels)

    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = loss(a), loss(b)
    for _ in range(30):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = loss(b)
    return float(np.exp((low + high) / 2))
