"""Watching the layers of a build: from rows of descriptors to charts, alarms and p-values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.control.reference import Reference, terms_of, values_of
from spatterlib.control.statistics import ChartState, advance, initial_state

__all__ = ["POINT", "Charted", "Point", "alarm_intervals", "monitor", "take_layer"]

POINT = np.dtype(
    [
        ("group", "<i8"),
        ("start", "<f8"),
        ("stop", "<f8"),
        ("shewhart", "<f8"),
        ("ewma", "<f8"),
        ("cusum", "<f8"),
        ("t2", "<f8"),
        ("p", "<f8"),
        ("alarm", "?"),
    ]
)
"""One row per layer: its number, s of its begin and end, of each chart the largest of its descriptors, the conformal
p-value, and whether a chart that raises alarms is beyond its limit. NaN: a descriptor was not measured."""


class Point(NamedTuple):
    """One layer on the charts: row of `POINT`, ``(4, p)`` Shewhart, EWMA, CUSUM up and down, and alarms in words."""

    row: np.void
    values: NDArray[np.float64]
    alarms: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Charted:
    """What `monitor` found.

    Parameters
    ----------
    reference : Reference
        What it was compared with.
    points : ndarray
        ``(n,)`` `POINT`.
    values : ndarray
        ``(4, n, p)``, see `Point`.
    alarms : tuple of tuple of str
        Of each layer.
    """

    reference: Reference
    points: NDArray[np.void]
    values: NDArray[np.float64]
    alarms: tuple[tuple[str, ...], ...]

    @property
    def alarm_intervals(self) -> list[tuple[int, int, str]]:
        """Layers with alarms that follow each other, as one: first, last, and alarms of the first."""
        return alarm_intervals(self.points["group"].tolist(), self.alarms)

    def draw(self, path: str | os.PathLike[str], title: str = "") -> None:
        """Write the charts as a picture, see `spatterlib.control.drawing.draw_charts`."""
        from spatterlib.control.drawing import draw_charts

        draw_charts(self, path, title)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; NaN is None."""
        base = self.reference
        layers = []
        for row, alarms in zip(self.points, self.alarms, strict=True):
            values = {name: row[name].item() for name in POINT.names or ()}
            plain = {name: None if value != value else value for name, value in values.items()}
            layers.append(plain | {"alarms": list(alarms)})
        return {
            "kind": "spatterlib monitor",
            "format": 1,
            "simulated": bool(base.about.get("simulated")),
            "descriptors": list(base.names),
            "limits": base.limits,
            "alarms": list(base.alarms),
            "arl": base.arl,
            "reference": base.about,
            "layers": layers,
        }


def alarm_intervals(layers: Sequence[int], alarms: Sequence[Sequence[str]]) -> list[tuple[int, int, str]]:
    """Layers with alarms that follow each other, as one: first, last, and alarms of the first."""
    result: list[tuple[int, int, str]] = []
    before = False
    for layer, texts in zip(layers, alarms, strict=True):
        if texts and before:
            first, _, text = result[-1]
            result[-1] = (first, int(layer), text)
        elif texts:
            result.append((int(layer), int(layer), "; ".join(texts)))
        before = bool(texts)
    return result


def take_layer(reference: Reference, state: ChartState | None, row: NDArray[np.void]) -> tuple[ChartState, Point]:
    """Put one more layer on the charts: a pure function for live use.

    Parameters
    ----------
    reference : Reference
        From `learn_reference`.
    state : ChartState or None
        What it gave for the layer before; None for the first.
    row : ndarray
        ``(1,)`` `DESCRIPTOR`, the layer, when it is over.

    Returns
    -------
    ChartState
        For the next layer.
    Point
        Where this one is, and its alarms.
    """
    row = np.atleast_1d(row)
    base, limits = reference.baseline, reference.limits
    terms, values = terms_of(row, reference.harmonics, reference.period)[0], values_of(row, reference.names)[0]
    before = initial_state(base) if state is None else state
    state, charts, t2 = advance(base, before, values, terms, weight=reference.weight, slack=reference.slack)
    shewhart, ewma, upper, lower = charts
    by_chart = {"shewhart": shewhart, "ewma": ewma, "cusum": np.where(upper > -lower, upper, lower)}
    # A chart that stands still for want of a measurement raises no alarm again.
    by_chart = {chart: np.where(np.isfinite(shewhart), each, np.nan) for chart, each in by_chart.items()}
    alarms = [
        f"{chart} of {name} {'high' if value > 0 else 'low'} ({value:+.1f}, limit {limits[chart]:.1f})"
        for chart in reference.alarms
        if chart != "t2"
        for name, value in zip(reference.names, by_chart[chart], strict=True)
        if abs(value) > limits[chart]
    ]
    if "t2" in reference.alarms and t2 > limits["t2"]:
        alarms.append(f"t2 of all descriptors together ({t2:.1f}, limit {limits['t2']:.1f})")
    point = np.zeros(1, POINT)
    point["group"], point["start"], point["stop"] = row["group"], row["start"], row["stop"]
    for chart, each in by_chart.items():
        point[chart] = _farthest(each)
    point["t2"], point["alarm"] = t2, bool(alarms)
    point["p"] = reference.conformal.p_value(values, terms)
    return state, Point(point[0], charts, tuple(alarms))


def _farthest(values: NDArray[np.float64]) -> float:
    return float(values[np.nanargmax(np.abs(values))]) if np.isfinite(values).any() else float("nan")


def monitor(reference: Reference, rows: NDArray[np.void]) -> Charted:
    """Chart the layers of a build, one after the other, as `take_layer` does.

    Parameters
    ----------
    reference : Reference
        From `learn_reference`.
    rows : ndarray
        ``(n,)`` `DESCRIPTOR`, by layer.

    Returns
    -------
    Charted

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.measuring.descriptors import DESCRIPTOR
    >>> from spatterlib.control.monitoring import monitor
    >>> from spatterlib.control.reference import learn_reference
    >>> draw, rows = np.random.default_rng(1), np.zeros(260, DESCRIPTOR)
    >>> rows["group"], rows["scan_angle"] = np.arange(260), np.nan
    >>> rows["drift"] = draw.normal(0.5, 0.05, 260)
    >>> rows["drift"][220:] -= 0.15
    >>> charted = monitor(learn_reference(rows[:200], ["drift"], builds=300), rows[200:])
    >>> bool(charted.points["alarm"][20:28].any()), bool(charted.points["alarm"][:20].any())
    (True, False)
    """
    state, points = None, []
    for index in range(len(rows)):
        state, point = take_layer(reference, state, rows[index : index + 1])
        points.append(point)
    table = np.array([point.row for point in points], POINT) if points else np.empty(0, POINT)
    values = np.stack([point.values for point in points], 1) if points else np.empty((4, 0, len(reference.names)))
    return Charted(reference, table, values, tuple(point.alarms for point in points))
