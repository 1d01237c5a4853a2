"""How good probabilities are: pure functions of scores, labels and groups.

Crops of one recording are not independent, so intervals come from how whole groups differ, never crops.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.student import student
from spatterlib.learning.run_facts import MetricsFields
from spatterlib.plugins.classifier import Scores, probabilities_of

__all__ = ["Interval", "Metrics", "Reliability", "group_interval", "metrics_of", "reliability", "temperature_of"]

Interval = tuple[float, float]
"""95 %, lower and upper bound; NaN where there are too few groups to say."""

_BINS = 10
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
        95 %, from how groups differ; see `group_interval`.
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
    names, member = np.unique(groups, return_inverse=True)
    held = np.zeros((len(names), classes), bool)
    held[member, labels] = True
    _, strata = np.unique(held, axis=0, return_inverse=True)
    right = answers == labels
    accuracy = float(right.mean())
    auc, placements = _auc(scores, labels)
    shares = np.bincount(member, (right - accuracy) / len(labels)).astype(np.float64)
    influence = np.bincount(member, placements).astype(np.float64)
    probabilities = probabilities_of(scores, temperature)
    return Metrics(
        crops=len(labels),
        groups=len(names),
        accuracy=accuracy,
        accuracy_interval=group_interval(accuracy, shares, strata.ravel()),
        auc=auc,
        auc_interval=group_interval(auc, influence, strata.ravel()),
        confusion=confusion,
        loss=_loss(probabilities, labels),
        raw=reliability(probabilities_of(scores), labels),
        calibrated=reliability(probabilities, labels),
    )


def _loss(probabilities: Scores, labels: NDArray[np.int64]) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, 1e-300)).mean())


def group_interval(estimate: float, influence: NDArray[np.float64], strata: NDArray[np.int64]) -> Interval:
    """95 % interval of a share that few groups were measured for.

    Parameters
    ----------
    estimate : float
        The share, 0-1.
    influence : ndarray
        ``(groups,)`` float64: how far each group moves the estimate; they add up to 0.
    strata : ndarray
        ``(groups,)`` int64, kind of each group: those that hold the same classes.

    Returns
    -------
    tuple of float
        NaN where a kind has one group only, whose spread nobody knows.

    Notes
    -----
    The variance is that of the linearised estimate, stratified (D. A. Binder, Int. Stat. Rev. 51, 1983). The interval
    is Student's on the scale of log-odds, so that it stays within 0 and 1. Its degrees of freedom are the harmonic mean
    of Satterthwaite's (Biometrics Bulletin 2, 1946), which few groups estimate too low, and those of equal spreads:
    between 1.3 and 2 with two groups of either class, where percentiles of a bootstrap cover 71 % instead of 95 %.
    Where every group is wholly right, the lower bound is that of Clopper and Pearson (Biometrika 26, 1934) for as many
    groups.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.metrics import group_interval
    >>> shares = np.array([0.88, 0.92, 0.85, 0.95])
    >>> low, high = group_interval(0.9, (shares - 0.9) / 4, np.array([0, 0, 1, 1]))
    >>> round(low, 2), round(high, 2)
    (0.63, 0.98)
    """
    if not np.isfinite(estimate) or np.bincount(strata)[strata].min() < 2:
        return _UNKNOWN
    if estimate >= 1:
        return 0.025 ** (1 / len(influence)), 1.0
    if estimate <= 0:
        return 0.0, 1 - 0.025 ** (1 / len(influence))
    parts, freedom = [], []
    for kind in np.unique(strata):
        own = influence[strata == kind]
        parts.append(len(own) * float(own.var(ddof=1)))
        freedom.append(len(own) - 1)
    variance = sum(parts)
    if not variance:
        return estimate, estimate
    estimated = variance**2 / sum(part**2 / own for part, own in zip(parts, freedom, strict=True))
    degrees = 2 / (1 / estimated + 1 / sum(freedom))
    half = student(degrees) * variance**0.5 / (estimate * (1 - estimate))
    odds = np.log(estimate / (1 - estimate)) + np.array([-half, half])
    low, high = np.exp(-np.logaddexp(0, -odds))
    return float(low), float(high)


def _auc(scores: Scores, labels: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """Mann-Whitney statistic, ties count half, mean over classes; and ``(n,)`` how far each crop moves it.

    A crop moves it by its placement among those of the other kind, less the mean; placements of a group add up
    (N. A. Obuchowski, Biometrics 53, 1997).
    """
    columns = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas, influence = [], np.zeros(len(labels))
    for number in columns:
        value = scores[:, number] - np.logaddexp.reduce(np.delete(scores, number, axis=1), axis=1)
        own = labels == number
        count, rest = int(own.sum()), int((~own).sum())
        if not (count and rest):
            return float("nan"), np.zeros(len(labels))
        for part, others, sign in ((own, ~own, 1), (~own, own, -1)):
            known = np.sort(value[others])
            below = (np.searchsorted(known, value[part]) + np.searchsorted(known, value[part], "right")) / 2
            placed = below / len(known) if sign > 0 else 1 - below / len(known)
            influence[part] += (placed - placed.mean()) / (len(placed) * len(columns))
        areas.append(float(placed.mean()))
    return float(np.mean(areas)), influence


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
