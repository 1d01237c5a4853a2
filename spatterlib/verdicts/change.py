"""Where a build goes over from one flow to another: a pure function of its layers' verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatterlib.verdicts.judgement import Span

__all__ = ["Change", "changes"]


@dataclass(frozen=True)
class Change:
    """Where a build goes over from one class to another.

    Parameters
    ----------
    layer : int
        In which it happens.
    time : float
        S, of the first crop behind it.
    before, after : str
        The classes.
    """

    layer: int
    time: float
    before: str
    after: str


def changes(
    layers: Sequence[Span],
    times: NDArray[np.float64],
    numbers: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
) -> list[Change]:
    """Where decided layers go over to another class and stay there for two layers, or to the end.

    Within the layers between the last of the old and the first of the new class, the moment is the one that explains
    the crops best (largest sum of log-odds before and behind it).

    Parameters
    ----------
    layers : sequence of Span
        Verdicts in order.
    times, numbers : ndarray
        ``(n,)`` s and layer of each crop.
    probabilities : ndarray
        ``(n, classes)``.
    classes : sequence of str
        In the order of the columns.
    """
    decided = [layer for layer in layers if layer.label is not None]
    found: list[Change] = []
    current = 0
    for index in range(1, len(decided)):
        following = decided[index + 1].label if index + 1 < len(decided) else decided[index].label
        if decided[index].label != decided[current].label and following == decided[index].label:
            found.append(_moment(decided[current], decided[index], times, numbers, probabilities, classes))
            current = index
        elif decided[index].label == decided[current].label:
            current = index
    return found


def _moment(
    last: Span,
    first: Span,
    times: NDArray[np.float64],
    numbers: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
) -> Change:
    before, after = str(last.label), str(first.label)
    use = (numbers >= last.number) & (numbers <= first.number) & np.isfinite(probabilities).all(axis=1)
    order = np.argsort(times[use], kind="stable")
    known, moments, layer = (values[use][order] for values in (probabilities, times, numbers))
    logs = np.log(np.maximum(known, 1e-6))
    gain = np.cumsum(logs[:, classes.index(before)] - logs[:, classes.index(after)])
    split = min(int(np.argmax(gain)) + 1, len(gain) - 1)
    return Change(int(layer[split]), float(moments[split]), before, after)
