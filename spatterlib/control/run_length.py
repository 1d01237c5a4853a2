"""How long charts run until they alarm: for known parameters by Markov chains, for estimated ones by simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import erf, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from spatterlib.control.statistics import CHARTS, Baseline, Floats, advance, initial_state, learn_baseline
from spatterlib.errors import ParameterError

__all__ = ["Runs", "cusum_run_length", "ewma_run_length", "limits", "shewhart_run_length", "simulate_runs"]

_STATES = 141
_BLOCK = 64
_HORIZON = 25
_PILOT = 200
_MORE = 1.5


def _below(x: Floats) -> Floats:
    """Standard normal distribution function."""
    return np.asarray(np.vectorize(lambda value: 0.5 * (1 + erf(value / sqrt(2))))(x), np.float64)


def shewhart_run_length(limit: float, shift: float = 0.0) -> float:
    """Average number of layers until a layer is beyond `limit` standard deviations, parameters known.

    Examples
    --------
    >>> from spatterlib.control.run_length import shewhart_run_length
    >>> round(shewhart_run_length(3.0)), round(shewhart_run_length(3.0, 1.0))
    (370, 44)
    """
    inside = _below(np.array([limit - shift, -limit - shift]))
    return float(1 / (1 - inside[0] + inside[1]))


def ewma_run_length(limit: float, weight: float = 0.1, shift: float = 0.0) -> float:
    """Average number of layers until an EWMA alarms, parameters known, by a Markov chain.

    Brook and Evans (1972), *Biometrika* 59, 539; Lucas and Saccucci (1990), *Technometrics* 32, 1.

    Parameters
    ----------
    limit : float
        In standard deviations of the EWMA in the long run.
    weight : float
        Of the newest layer.
    shift : float
        Of the mean from the first layer on, in standard deviations.

    Examples
    --------
    >>> from spatterlib.control.run_length import ewma_run_length
    >>> round(ewma_run_length(2.814, 0.1)), round(ewma_run_length(2.814, 0.1, 1.0), 1)
    (499, 10.3)
    """
    border = limit * sqrt(weight / (2 - weight))
    edges = np.linspace(-border, border, _STATES + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    reach = _below((edges[None] - (1 - weight) * middle[:, None]) / weight - shift)
    return _chain(np.diff(reach, axis=1))[_STATES // 2]


def cusum_run_length(limit: float, slack: float = 0.5, shift: float = 0.0) -> float:
    """Average number of layers until a two-sided CUSUM alarms, parameters known.

    Markov chain of Brook and Evans (1972) for each side; both together after Kemp (1961).

    Examples
    --------
    >>> from spatterlib.control.run_length import cusum_run_length
    >>> round(cusum_run_length(4.774)), round(cusum_run_length(4.774, shift=1.0), 1)
    (370, 9.9)
    """
    step = 2 * limit / (2 * _STATES - 1)
    sums = step * np.arange(_STATES)
    upper = sums[None] - sums[:, None] + slack + step / 2
    rates = []
    for side in (shift, -shift):
        reach = _below(upper - side)
        move = np.diff(reach, axis=1, prepend=0.0)
        rates.append(1 / _chain(move)[0])
    return float(1 / sum(rates))


def _chain(move: Floats) -> list[float]:
    """Expected steps until the chain leaves, from each state."""
    steps = np.linalg.solve(np.eye(len(move)) - move, np.ones(len(move)))
    return [float(value) for value in steps]


@dataclass(frozen=True, eq=False)
class Runs:
    """New highest values of the charts of simulated builds: from these follows when any limit is first exceeded.

    Parameters
    ----------
    build, layer : ndarray
        ``(r,)`` int64 each, per chart: which build, which layer from 1; in the order of the layers.
    value : ndarray
        ``(r,)`` float64, the new highest value.
    builds, horizon : int
        How many builds; layers after which a build was ended.
    """

    build: Mapping[str, NDArray[np.int64]]
    layer: Mapping[str, NDArray[np.int64]]
    value: Mapping[str, Floats]
    builds: int
    horizon: int

    def lengths(self, chart: str, limit: float) -> NDArray[np.int64]:
        """``(builds,)`` int64, the layer at which a chart first exceeds a limit; the horizon where it does not."""
        first = np.full(self.builds, self.horizon, np.int64)
        over = self.value[chart] > limit
        np.minimum.at(first, self.build[chart][over], self.layer[chart][over])
        return first

    def limit(self, chart: str, arl: float) -> float:
        """Limit at which the mean run length is `arl`."""
        low, high = 0.0, float(self.value[chart].max())
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.lengths(chart, middle).mean() < arl else (low, middle)
        return (low + high) / 2


def simulate_runs(
    terms: Floats,
    phi: Floats,
    correlation: Floats,
    *,
    arl: float = 370.0,
    builds: int = 8000,
    seed: int = 1,
    weight: float = 0.1,
    slack: float = 0.5,
    ceilings: Mapping[str, float] | None = None,
    shift: Floats | None = None,
    shift_at: int = 0,
    horizon: int | None = None,
) -> Runs:
    """Builds without a fault: each learns a baseline from its own reference layers and is then charted.

    What the parameters' being estimated costs is in it, whole: the mean by angle, the autocorrelation and whether it is
    found at all, the scale, the removal of outliers (for the mean alone: Jones, Champ and Rigdon 2001, *Technometrics*
    43, 156; Jones 2002, *J. Qual. Technol.* 34, 277).

    Parameters
    ----------
    terms : ndarray
        ``(m, k)`` of the reference layers; the layers behind have the same, over and over.
    phi : ndarray
        ``(p,)`` autocorrelation of the descriptors.
    correlation : ndarray
        ``(p, p)`` of what is new in a layer.
    arl : float
        Run length that is to be looked at; a build ends after 25 times as many layers at the latest.
    builds, seed : int
        How many; of the random numbers.
    weight, slack : float
        As in `advance`.
    ceilings : dict, optional
        By chart: limits beyond which nobody asks; a build ends once all its charts are beyond.
    shift : ndarray, optional
        ``(p,)`` in standard deviations of the layers, added from layer `shift_at` (counted from 0) on.
    shift_at : int
        See `shift`.
    horizon : int, optional
        Layers after which a build ends, instead of 25 times `arl`.

    Returns
    -------
    Runs
        Of each chart the largest of its descriptors.
    """
    draw = np.random.Generator(np.random.Philox(key=[seed, 31]))
    reference, count = len(terms), len(phi)
    root = np.linalg.cholesky(correlation)
    wide = 1 / np.sqrt(1 - phi**2)
    last = draw.standard_normal((builds, count)) @ root.T * wide
    layers = np.empty((builds, reference, count))
    for index in range(reference):
        last = layers[:, index] = phi * last + draw.standard_normal((builds, count)) @ root.T
    baseline = learn_baseline(layers, terms)
    state, horizon = initial_state(baseline), horizon or int(_HORIZON * arl)
    state = state._replace(last=last - terms[-1] @ baseline.mean)
    alive, highest = np.arange(builds), np.zeros((builds, len(CHARTS)))
    tops = np.array([(ceilings or {}).get(name, np.inf) for name in CHARTS])
    records = []
    for index in range(horizon):
        last = phi * last + draw.standard_normal(last.shape) @ root.T
        moved = last if shift is None or index < shift_at else last + shift * wide
        state, charts, t2 = advance(baseline, state, moved, terms[index % reference], weight=weight, slack=slack)
        now = np.stack([*np.abs(charts[:2]).max(-1), np.abs(charts[2:]).max((0, -1)), t2], -1)
        row, chart = np.nonzero(now > highest)
        records.append((alive[row], chart, np.full(len(row), index + 1), now[row, chart]))
        highest[row, chart] = now[row, chart]
        if index % _BLOCK == _BLOCK - 1:
            on = np.asarray((highest < tops).any(-1))
            if not on.any():
                break
            alive, highest, last = alive[on], highest[on], last[on]
            baseline, state = _of(baseline, on), type(state)(*(part[on] for part in state))
    return _runs(records, builds, horizon)


def _of(baseline: Baseline, on: NDArray[np.bool_]) -> Baseline:
    return Baseline(baseline.mean[on], baseline.phi[on], baseline.scale[on], baseline.inverse[on], baseline.kept[on])


def _runs(records: Sequence[tuple[NDArray[np.int64], ...]], builds: int, horizon: int) -> Runs:
    build, chart, layer, value = (np.concatenate(parts) for parts in zip(*records, strict=True))
    own = {name: chart == number for number, name in enumerate(CHARTS)}
    return Runs(
        {name: build[mask] for name, mask in own.items()},
        {name: layer[mask] for name, mask in own.items()},
        {name: np.asarray(value[mask], np.float64) for name, mask in own.items()},
        builds,
        horizon,
    )


def _ceilings(arl: float, count: int, reference: int) -> dict[str, float]:
    """Limits that are surely high enough for a run length, by chart."""
    rare = 1 / (2 * arl * count)
    normal = NormalDist().inv_cdf(1 - rare / 2)
    room = 1 + 8 / sqrt(reference) / 4
    sum_ = log(1 + 1 / rare) + 1
    square = count * (1 - 2 / (9 * count) + normal * sqrt(2 / (9 * count))) ** 3
    return {"shewhart": room * normal, "ewma": room * normal, "cusum": room**2 * sum_, "t2": room**2 * square}


def limits(
    terms: Floats,
    phi: Floats,
    correlation: Floats,
    *,
    arl: float = 370.0,
    alarms: Sequence[str] = ("ewma", "t2"),
    builds: int = 8000,
    seed: int = 1,
    weight: float = 0.1,
    slack: float = 0.5,
) -> dict[str, float]:
    """Limits of the charts: those that raise alarms together have the stated run length, the others each alone.

    Parameters
    ----------
    terms, phi, correlation, builds, seed, weight, slack
        As in `simulate_runs`.
    arl : float
        Average number of layers from one false alarm to the next.
    alarms : sequence of str
        Charts of `CHARTS` that raise alarms. All of them get the limit of one and the same longer run length.

    Returns
    -------
    dict
        Limit by chart, for the largest of the descriptors.

    Raises
    ------
    ParameterError
        If a chart is not known or the run length is under 20 layers.
    """
    unknown = sorted(set(alarms) - set(CHARTS))
    if unknown or not alarms:
        raise ParameterError(f"alarms must name charts of {', '.join(CHARTS)}, got {', '.join(unknown) or 'none'}")
    if not 20 <= arl <= 1e5:
        raise ParameterError(f"the run length must be from 20 to 100000 layers, got {arl:g}")
    # Builds are unequal, and limits that are too narrow for one chart of a build are so for its others: together they
    # alarm sooner than charts that know nothing of each other, so each needs more than its share.
    most = _MORE * arl * len(alarms)
    tops = _ceilings(most, len(phi), len(terms))
    run = partial(simulate_runs, terms, phi, correlation, arl=arl, weight=weight, slack=slack)
    few = run(builds=_PILOT, seed=seed + 1, ceilings=tops)
    # Beyond what few builds say nobody will ask, and most builds end much sooner.
    tops = {name: 1.15 * few.limit(name, most if name in alarms else arl) for name in CHARTS}
    runs = run(builds=builds, seed=seed, ceilings=tops)
    low, high = 0.5 * arl, most
    for _ in range(12):
        each = (low + high) / 2
        together = np.min([runs.lengths(name, runs.limit(name, each)) for name in set(alarms)], 0).mean()
        low, high = (each, high) if together < arl else (low, each)
    return {name: runs.limit(name, each if name in alarms else arl) for name in CHARTS}
