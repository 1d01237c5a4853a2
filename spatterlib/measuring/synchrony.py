"""Several cameras at one build: how much later each started, from when they see spatter, and how well they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.types import Detections

__all__ = ["Offset", "activity", "find_offset", "synchronise"]

Floats = NDArray[np.float64]

_FEWEST_S = 10.0
_ASIDE_S = 1.0
_CLEAR, _MARGIN = 0.5, 0.01
# What changes faster than this is no rhythm of layers, and two builds do not share it.
_DETAIL_S, _DETAIL = 0.5, 0.45


class Offset(NamedTuple):
    """How two cameras go together.

    ``offset``: s; a moment that the first camera shows at ``t`` the second shows at ``t - offset``: positive where the
    second was started later. ``frames``: the same in frames of the first. ``correlation``: of the two curves there.
    ``runner_up``: the highest correlation more than a second away from it. ``detail``: correlation of what changes
    within half a second; layers come in a rhythm, so two builds that have nothing to do with each other share all but
    this.
    ``agreement``: Cohen's kappa of "something is seen" over the frames that both recorded, 1 = always the same.
    ``drift``: s, offset in the second half less that in the first; NaN where halves are too short.
    """

    offset: float
    frames: int
    correlation: float
    runner_up: float
    agreement: float
    drift: float
    detail: float

    @property
    def sure(self) -> bool:
        """Whether one offset stands out, and both show the same there moment by moment."""
        stands_out = self.correlation >= _CLEAR and self.correlation > self.runner_up + _MARGIN
        return stands_out and self.detail >= _DETAIL


def activity(table: Detections, frame_log: NDArray[np.void], step: float | None = None) -> tuple[Floats, float]:
    """How much is seen at each moment: the curve that cameras are synchronised by.

    Parameters
    ----------
    table : ndarray
        ``(n,)`` `DETECTION`.
    frame_log : ndarray
        ``(frames,)`` `FRAME_LOG`.
    step : float, optional
        S between the moments; the recording's own frame interval by default.

    Returns
    -------
    ndarray
        ``(moments,)`` float64 from time 0 on: logarithm of the area of all detections, 0 where nothing is seen, NaN
        where no frame was looked at.
    float
        S, the step.

    Raises
    ------
    ParameterError
        If the log has fewer than two frames of known time.
    """
    known = frame_log[np.isfinite(frame_log["time"]) & frame_log["decoded"]]
    if len(known) < 2:
        raise ParameterError("a store needs a log of frames with known times to be synchronised; extract it anew")
    step = step or float(np.median(np.diff(np.sort(known["time"]))))
    place = np.rint(known["time"] / step).astype(np.int64)
    curve = np.full(int(place.max()) + 1, np.nan)
    curve[place] = 0.0
    lit = np.rint(table["time"] / step)
    inside = np.isfinite(lit) & (lit >= 0) & (lit < len(curve))
    areas = np.bincount(lit[inside].astype(np.int64), table["area"][inside], len(curve))
    return curve + np.log1p(areas), step


def find_offset(first: Floats, second: Floats, step: float, most: float | None = None) -> Offset:
    """Offset at which two curves of activity fit best: the highest correlation over what both recorded.

    Parameters
    ----------
    first, second : ndarray
        ``(n,)`` and ``(m,)``, from `activity` with the same step; NaN where nothing is known.
    step : float
        S.
    most : float, optional
        S, largest offset that is looked at; by default all that leave 10 s, or a quarter of the shorter, in common.

    Returns
    -------
    Offset

    Raises
    ------
    ParameterError
        If a curve is too short or shows nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.measuring.synchrony import find_offset
    >>> curve = np.repeat(np.random.default_rng(1).random(60) > 0.5, 20).astype(float)
    >>> find_offset(curve, curve[37:], 0.04).frames
    37
    """
    for curve in (first, second):
        if len(curve) * step < _FEWEST_S or not np.nanstd(curve) > 0:
            raise ParameterError(
                f"a recording is synchronised by when it sees spatter; it takes {_FEWEST_S:g} s with and without some"
            )
    lags, values = _correlations(first, second, step, most)
    best = int(np.argmax(values))
    lag = int(lags[best])
    away = np.abs(lags - lag) * step > _ASIDE_S
    runner_up = float(values[away].max()) if away.any() else -1.0
    one, two = _overlap(first, second, lag)
    agreement, detail = _kappa(one > 0, two > 0), _detail(first, second, lag, step)
    return Offset(lag * step, lag, float(values[best]), runner_up, agreement, _drift(one, two, step), detail)


def _correlations(first: Floats, second: Floats, step: float, most: float | None) -> tuple[NDArray[np.int64], Floats]:
    """Lags, and the correlation over what both know at each: sums of products by FFT."""
    size = len(first) + len(second)
    shorter = min(len(first), len(second))
    middle = float(np.nanmean(np.concatenate([first, second])))
    x, u = _filled(first - middle)
    y, v = _filled(second - middle)

    def crossed(a: Floats, b: Floats) -> Floats:
        return np.asarray(np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size))

    count = np.maximum(np.rint(crossed(u, v)), 1)
    sx, sy, sxy = crossed(x, v), crossed(u, y), crossed(x, y)
    sxx, syy = crossed(x * x, v), crossed(u, y * y)
    spread = np.maximum(sxx - sx * sx / count, 1e-9) * np.maximum(syy - sy * sy / count, 1e-9)
    correlations = (sxy - sx * sy / count) / np.sqrt(spread)
    lags = np.where(np.arange(size) < len(first), np.arange(size), np.arange(size) - size)
    usable = count * step >= min(_FEWEST_S, shorter * step / 4)
    usable &= count >= shorter / 4
    if most is not None:
        usable &= np.abs(lags) * step <= most
    if not usable.any():
        raise ParameterError(f"no offset up to {most:g} s leaves enough in common")
    return lags[usable], correlations[usable]


def _filled(curve: Floats) -> tuple[Floats, Floats]:
    known = np.isfinite(curve)
    return np.where(known, curve, 0.0), known.astype(np.float64)


def _overlap(first: Floats, second: Floats, lag: int) -> tuple[Floats, Floats]:
    """What both know, moment by moment."""
    begin, end = max(lag, 0), min(len(first), len(second) + lag)
    one, two = first[begin:end], second[begin - lag : end - lag]
    both = np.isfinite(one) & np.isfinite(two)
    return one[both], two[both]


def _detail(first: Floats, second: Floats, lag: int, step: float) -> float:
    """Correlation of what each shows beside its mean over half a second."""
    width = 2 * max(1, round(_DETAIL_S / step / 2)) + 1
    one, two = _overlap(_fast(first, width), _fast(second, width), lag)
    return float(np.corrcoef(one, two)[0, 1]) if len(one) > 1 and one.std() > 0 and two.std() > 0 else 0.0


def _fast(curve: Floats, width: int) -> Floats:
    filled, known = _filled(curve)
    window = np.ones(width)
    return curve - np.convolve(filled, window, "same") / np.maximum(np.convolve(known, window, "same"), 1)


def _kappa(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    """Agreement beyond chance (Cohen 1960)."""
    same = float((one == two).mean())
    chance = float(one.mean() * two.mean() + (1 - one.mean()) * (1 - two.mean()))
    return (same - chance) / (1 - chance) if chance < 1 else 1.0


def _drift(one: Floats, two: Floats, step: float) -> float:
    """S by which the offset moves from the first half of the overlap to the second."""
    half = len(one) // 2
    if half * step < 3 * _FEWEST_S:
        return float("nan")
    offsets = []
    for part in (slice(0, half), slice(half, None)):
        if not (one[part].std() > 0 and two[part].std() > 0):
            return float("nan")
        lags, values = _correlations(one[part], two[part], step, 2.0)
        offsets.append(int(lags[np.argmax(values)]))
    return (offsets[1] - offsets[0]) * step


def synchronise(
    recordings: Sequence[tuple[Detections, NDArray[np.void]]], most: float | None = None
) -> tuple[list[Offset], float]:
    """Offsets of the second, third ... recording to the first.

    Parameters
    ----------
    recordings : sequence of tuple
        ``(n,)`` `DETECTION` and ``(frames,)`` `FRAME_LOG` of each.
    most : float, optional
        As in `find_offset`.

    Returns
    -------
    list of Offset
        One for each but the first.
    float
        S by which the offsets of all pairs contradict each other at most: 0 where they close, NaN for two recordings.

    Raises
    ------
    ParameterError
        If there are fewer than two, or one shows too little.
    """
    if len(recordings) < 2:
        raise ParameterError(f"it takes two recordings or more to synchronise, got {len(recordings)}")
    step = activity(*recordings[0])[1]
    curves = [activity(*one, step)[0] for one in recordings]
    offsets = [find_offset(curves[0], other, step, most) for other in curves[1:]]
    closing = [float("nan")]
    for i in range(1, len(curves)):
        for j in range(i + 1, len(curves)):
            between = find_offset(curves[i], curves[j], step, most).offset
            closing.append(abs(offsets[j - 1].offset - offsets[i - 1].offset - between))
    return offsets, max(closing[1:], default=closing[0])
