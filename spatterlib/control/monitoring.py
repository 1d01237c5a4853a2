"""Watching the layers of a build: from rows of descriptors to charts, alarms and p-values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.control.reference import Reference, terms_of, values_of
from spatterlib.control.statistics import ChartState, advance, begin, conformal_p, distance

__all__ = ["POINT", "Charted", "Point", "monitor", "spells", "take_layer"]

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
    def spells(self) -> list[tuple[int, int, str]]:
        """Layers with alarms that follow each other, as one: first, last, and what the first said."""
        return spells(self.points["group"].tolist(), self.alarms)

    def draw(self, path: str | os.PathLike[str], title: str = "") -> None:
        """Write the charts as a picture, see `spatterlib.control.drawing.draw_charts`."""
        from spatterlib.control.drawing import draw_charts

        draw_charts(self, path, title)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; NaN is None."""
        base = self.reference
        layers = []
        for row, alarms in zip(self.points, self.alarms, strict=True):
            facts = {name: row[name].item() for name in POINT.names or ()}
            plain = {key: None if value != value else value for key, value in facts.items()}
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


def spells(layers: Sequence[int], alarms: Sequence[Sequence[str]]) -> list[tuple[int, int, str]]:
    """Layers with alarms that follow each other, as one: first, last, and what the first said."""
    found: list[tuple[int, int, str]] = []
    before = False
    for layer, said in zip(layers, alarms, strict=True):
        if said and before:
            found[-1] = (found[-1][0], int(layer), found[-1][2])
        elif said:
            found.append((int(layer), int(layer), "; ".join(said)))
        before = bool(said)
    return found


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
    base, bounds = reference.baseline, reference.limits
    terms, values = terms_of(row, reference.harmonics, reference.period)[0], values_of(row, reference.names)[0]
    state, found, squared = advance(
        base, begin(base) if state is None else state, values, terms, weight=reference.weight, slack=reference.slack
    )
    at = {"shewhart": found[0], "ewma": found[1], "cusum": np.where(found[2] > -found[3], found[2], found[3])}
    # A chart that stands still for want of a measurement raises no alarm again.
    at = {name: np.where(np.isfinite(found[0]), values, np.nan) for name, values in at.items()}
    said = [
        f"{chart} of {name} {'high' if value > 0 else 'low'} ({value:+.1f}, limit {bounds[chart]:.1f})"
        for chart in reference.alarms
        if chart != "t2"
        for name, value in zip(reference.names, at[chart], strict=True)
        if abs(value) > bounds[chart]
    ]
    if "t2" in reference.alarms and squared > bounds["t2"]:
        said.append(f"t2 of all descriptors together ({squared:.1f}, limit {bounds['t2']:.1f})")
    point = np.zeros(1, POINT)
    point["group"], point["start"], point["stop"] = row["group"], row["start"], row["stop"]
    for name, each in at.items():
        point[name] = _farthest(each)
    point["t2"], point["alarm"] = squared, bool(said)
    point["p"] = conformal_p(reference.conformal["scores"], distance(reference.conformal, values, terms))
    return state, Point(point[0], found, tuple(said))


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
    >>> found = monitor(learn_reference(rows[:200], ["drift"], builds=300), rows[200:])
    >>> bool(found.points["alarm"][20:28].any()), bool(found.points["alarm"][:20].any())
    (True, False)
    """
    state, points = None, []
    for index in range(len(rows)):
        state, point = take_layer(reference, state, rows[index : index + 1])
        points.append(point)
    table = np.array([point.row for point in points], POINT) if points else np.empty(0, POINT)
    values = np.stack([point.values for point in points], 1) if points else np.empty((4, 0, len(reference.names)))
    return Charted(reference, table, values, tuple(point.alarms for point in points))
