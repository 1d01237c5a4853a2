"""Statistical process control on layers: what is usual in a reference, and charts of how far a layer is from it.

Everything works on arrays whose last axis holds the descriptors, and takes any number of axes in front: the same code
charts one build and the thousands of simulated builds that `spatterlib.control.run_length` sets the limits with.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatterlib.errors import ParameterError

__all__ = [
    "CHARTS",
    "FEWEST_LAYERS",
    "Baseline",
    "ChartState",
    "Conformal",
    "Floats",
    "advance",
    "angle_terms",
    "conformal_p",
    "initial_state",
    "learn_baseline",
    "learn_conformal",
    "squared_distance",
]

Floats = NDArray[np.float64]

CHARTS = ("shewhart", "ewma", "cusum", "t2")
"""Kinds of charts, in the order of what `advance` gives."""
FEWEST_LAYERS = 30
"""Reference layers that a baseline takes at least."""
# Chance that one reference layer of a build without any fault is taken for an outlier.
_REMOVAL = 0.02
_ROUNDS = 4
_LARGEST_PHI = 0.95
_RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class Baseline:
    """What reference layers (phase I) taught.

    Parameters
    ----------
    mean : ndarray
        ``(..., k, p)`` float64, weights of the terms of the scan angle, see `angle_terms`.
    phi : ndarray
        ``(..., p)`` float64, how much of a layer's deviation comes again in the next (AR(1)); 0 where that is not
        significant.
    scale : ndarray
        ``(..., p)`` float64, standard deviation of what is new in a layer.
    inverse : ndarray
        ``(..., p, p)`` float64, inverse covariance of what is new, in units of `scale`.
    kept : ndarray
        ``(..., m)`` bool, reference layers that were not taken for outliers.
    """

    mean: Floats
    phi: Floats
    scale: Floats
    inverse: Floats
    kept: NDArray[np.bool_]


class ChartState(NamedTuple):
    """Where the charts of a build stand: last deviation (NaN: none), EWMA, upper and lower CUSUM; ``(..., p)`` each."""

    last: Floats
    ewma: Floats
    upper: Floats
    lower: Floats


@dataclass(frozen=True, eq=False)
class Conformal:
    """What conformal p-values are computed with.

    Parameters
    ----------
    mean, inverse : ndarray
        ``(k, p)`` weights of the mean by scan angle and ``(p, p)`` inverse covariance, of every second reference layer.
    scores : ndarray
        ``(m,)`` squared distance of the others from that mean.
    """

    mean: Floats
    inverse: Floats
    scores: Floats

    def p_value(self, values: Floats, terms: Floats) -> Floats:
        """``(n,)`` p-values of layers with these descriptors and terms of the scan angle."""
        return conformal_p(self.scores, squared_distance(self.mean, self.inverse, values, terms))


def angle_terms(angle: ArrayLike, harmonics: int = 1, period: float = 180.0) -> Floats:
    """Terms that a mean by scan angle is made of: 1, then cosine and sine of each harmonic.

    With a hatch that turns by 67° from layer to layer no angle comes again within 360 layers, so that there are no
    subgroups of one angle; a smooth mean over the angle does what they would. Hatch lines scanned to and fro are the
    same after 180°.

    Parameters
    ----------
    angle : array_like
        ``(m,)`` degrees.
    harmonics : int
        How many; 0 where the angle is not known.
    period : float
        Degrees after which a hatch is the same.

    Returns
    -------
    ndarray
        ``(m, 1 + 2 * harmonics)`` float64.

    Examples
    --------
    >>> from spatterlib.control.statistics import angle_terms
    >>> angle_terms([0.0, 45.0]).round(3).tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    turn = np.asarray(angle, np.float64) * (2 * np.pi / period)
    waves = [wave(order * turn) for order in range(1, harmonics + 1) for wave in (np.cos, np.sin)]
    return np.stack([np.ones(turn.shape), *waves], -1)


def learn_baseline(values: ArrayLike, terms: ArrayLike) -> Baseline:
    """Learn a baseline from reference layers, in the order they were built; outlying ones are left out.

    Phase I after Montgomery (2019), *Introduction to Statistical Quality Control*, 8th ed., ch. 6 and 10.4: mean by
    scan angle (least squares), layers beyond a Bonferroni limit in units of the median absolute deviation removed and
    the mean taken anew, until nothing changes; then the autocorrelation at lag 1, its bias at small numbers corrected
    (Marriott and Pope 1954), taken as 0 unless it exceeds twice its standard error; charts run on what is left.

    Parameters
    ----------
    values : array_like
        ``(..., m, p)``, descriptors of the layers; a layer with a NaN is left out.
    terms : array_like
        ``(m, k)``, from `angle_terms`.

    Returns
    -------
    Baseline

    Raises
    ------
    ParameterError
        If fewer than `FEWEST_LAYERS` are left, or a descriptor does not vary.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.control.statistics import angle_terms, learn_baseline
    >>> values = np.random.default_rng(1).normal(5, 2, (200, 1))
    >>> values[7] = 50
    >>> baseline = learn_baseline(values, angle_terms(67.0 * np.arange(200)))
    >>> bool(baseline.kept[7]), int(baseline.kept.sum()), bool(1.8 < baseline.scale[0] < 2.2)
    (False, 199, True)
    """
    values, terms = np.asarray(values, np.float64), np.asarray(terms, np.float64)
    whole = np.isfinite(values).all(-1)
    _enough(whole)
    if (np.nanmax(values, -2) == np.nanmin(values, -2)).any():
        raise ParameterError("a descriptor is the same in all reference layers; leave it out")
    values = np.where(whole[..., None], values, 0.0)
    cut = NormalDist().inv_cdf(1 - _REMOVAL / (2 * values.shape[-2] * values.shape[-1]))
    kept = whole
    for _ in range(_ROUNDS):
        deviation = values - terms @ _mean(values, terms, kept)
        away = np.abs(deviation)
        middle = 1.4826 * np.nanmedian(np.where(kept[..., None], away, np.nan), -2, keepdims=True)
        before, kept = kept, whole & (away <= cut * middle).all(-1)
        _enough(kept)
        if (before == kept).all():
            break
    mean = _mean(values, terms, kept)
    phi, scale, inverse = _innovation(values - terms @ mean, kept, terms.shape[-1])
    return Baseline(mean, phi, scale, inverse, kept)


def _enough(kept: NDArray[np.bool_]) -> None:
    least = int(kept.sum(-1).min())
    if least < FEWEST_LAYERS:
        raise ParameterError(
            f"a baseline takes at least {FEWEST_LAYERS} whole reference layers without outliers, got {least}"
        )


def _mean(values: Floats, terms: Floats, kept: NDArray[np.bool_]) -> Floats:
    """``(..., k, p)`` least squares over the layers that are kept."""
    weighed = np.where(kept[..., None], terms, 0.0)
    # With few angles some waves are the same (0 and 90 degrees: no sine); a trace of a ridge shares between them.
    square = _T(weighed) @ terms + _RIDGE * np.eye(terms.shape[-1])
    return np.asarray(np.linalg.solve(square, _T(weighed) @ values))


def _T(array: Floats) -> Floats:  # noqa: N802
    return np.swapaxes(array, -1, -2)


def _innovation(deviation: Floats, kept: NDArray[np.bool_], fitted: int) -> tuple[Floats, Floats, Floats]:
    """Autocorrelation, scale and inverse covariance of what is new in each layer."""
    pair = (kept[..., 1:] & kept[..., :-1])[..., None]
    now, before = np.where(pair, deviation[..., 1:, :], 0.0), np.where(pair, deviation[..., :-1, :], 0.0)
    count = pair.sum(-2)
    power = (before**2).sum(-2)
    raw = (now * before).sum(-2) / power
    phi = np.clip(raw + (1 + 3 * raw) / count, -_LARGEST_PHI, _LARGEST_PHI)
    phi = np.where(np.abs(raw + 1 / count) > 2 / np.sqrt(count), phi, 0.0)
    new = now - phi[..., None, :] * before
    cross = _T(new) @ new / (count - fitted - (phi != 0).any(-1, keepdims=True))[..., None]
    scale = np.sqrt(np.diagonal(cross, axis1=-2, axis2=-1))
    return phi, scale, np.linalg.inv(cross / (scale[..., None] * scale[..., None, :]))


def initial_state(baseline: Baseline) -> ChartState:
    """Charts before the first layer: all at their centre."""
    zero = np.zeros(baseline.scale.shape)
    return ChartState(np.full(zero.shape, np.nan), zero, zero, zero)


def advance(
    baseline: Baseline, state: ChartState, values: Floats, terms: Floats, *, weight: float = 0.1, slack: float = 0.5
) -> tuple[ChartState, Floats, Floats]:
    """Take one layer.

    Shewhart: what is new in the layer, in standard deviations. EWMA: exponentially weighted mean of that (Roberts 1959;
    Lucas and Saccucci 1990, *Technometrics* 32, 1), in its own standard deviations in the long run. CUSUM: upper and
    lower sums of what exceeds the slack (Page 1954), the lower one negative. T²: squared distance of all descriptors
    together (Hotelling 1947). What is new is the deviation from the mean by scan angle, less `phi` times that of the
    layer before: charts on these residuals are not deceived by autocorrelation (Alwan and Roberts 1988), and a lasting
    shift shows in them reduced by ``1 - phi``.

    Parameters
    ----------
    baseline : Baseline
        From `learn_baseline`.
    state : ChartState
        From `initial_state` or the layer before.
    values : ndarray
        ``(..., p)``, the layer's descriptors; where one is NaN its charts stand still and T² is NaN.
    terms : ndarray
        ``(k,)``, of its scan angle.
    weight, slack : float
        Weight of the newest layer in the EWMA; slack of the CUSUM in standard deviations: half the shift to be found.

    Returns
    -------
    ChartState
        Where the charts stand now.
    ndarray
        ``(4, ..., p)`` float64: Shewhart, EWMA, upper and lower CUSUM of each descriptor.
    ndarray
        ``(...)`` float64, T².
    """
    deviation = values - terms @ baseline.mean
    fresh = np.isnan(state.last)
    new = np.where(fresh, deviation * np.sqrt(1 - baseline.phi**2), deviation - baseline.phi * state.last)
    new = new / baseline.scale
    measured = np.isfinite(new)
    step = np.where(measured, new, 0.0)
    ewma = np.where(measured, state.ewma + weight * (step - state.ewma), state.ewma)
    upper = np.where(measured, np.maximum(0.0, state.upper + step - slack), state.upper)
    lower = np.where(measured, np.minimum(0.0, state.lower + step + slack), state.lower)
    spread = float(np.sqrt(weight / (2 - weight)))
    squared = np.einsum("...i,...ij,...j->...", new, baseline.inverse, new)
    return ChartState(deviation, ewma, upper, lower), np.stack([new, ewma / spread, upper, lower]), squared


def conformal_p(reference: ArrayLike, scores: ArrayLike) -> Floats:
    """Conformal p-value of each score: how many reference scores are at least as large, itself counted.

    If reference layers and a new one could have come in any order (exchangeable), the chance that its p-value is at
    most ``e`` is at most ``e``, whatever the distribution (Vovk, Gammerman and Shafer 2005, *Algorithmic Learning in a
    Random World*). It cannot be smaller than ``1 / (m + 1)``.

    Parameters
    ----------
    reference : array_like
        ``(m,)`` scores of layers that had no part in learning what the score measures.
    scores : array_like
        ``(n,)``; NaN gives NaN.

    Examples
    --------
    >>> from spatterlib.control.statistics import conformal_p
    >>> conformal_p([0.1, 0.5, 0.9, 2.0], [0.0, 0.7, 3.0]).tolist()
    [1.0, 0.6, 0.2]
    """
    ordered, values = np.sort(np.asarray(reference, np.float64)), np.asarray(scores, np.float64)
    above = len(ordered) - np.searchsorted(ordered, values, "left")
    return np.where(np.isfinite(values), (1 + above) / (len(ordered) + 1), np.nan)


def learn_conformal(values: Floats, terms: Floats, kept: NDArray[np.bool_]) -> Conformal:
    """For conformal p-values: learn from every second layer, and score the others.

    Outliers stay among the scores, since a new layer would not have been left out either, but not in what is learned.
    """
    first = np.arange(len(values)) % 2 == 0
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(-1))
    used = first & kept
    mean = _mean(np.where(whole[:, None], values, 0.0), terms, used)
    rest = (values - terms @ mean)[used]
    inverse = np.linalg.inv(rest.T @ rest / max(len(rest) - terms.shape[-1], 1))
    scored = ~first & whole
    return Conformal(mean, inverse, squared_distance(mean, inverse, values[scored], terms[scored]))


def squared_distance(mean: Floats, inverse: Floats, values: Floats, terms: Floats) -> Floats:
    """``(n,)`` squared distance of layers from a mean by scan angle."""
    away = values - terms @ mean
    return np.asarray(np.einsum("...i,ij,...j->...", away, inverse, away))
