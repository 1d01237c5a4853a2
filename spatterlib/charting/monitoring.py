"""Watching the layers of a build: from rows of descriptors to charts, alarms and p-values."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.charting.control import (
    FEWEST_LAYERS,
    Baseline,
    State,
    advance,
    angle_terms,
    begin,
    conformal_p,
    distance,
    learn,
    split_scores,
)
from spatterlib.charting.runlength import limits
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.files import write_text
from spatterlib.measuring.camera import Camera, check_same

__all__ = ["POINT", "Charted", "Point", "Reference", "learn_reference", "monitor", "spells", "take_layer", "turned"]

USUAL = ("rate", "length", "drift", "angle_spread", "plume_area", "intensity")
"""Descriptors that are charted unless others are named, where the camera measures them."""
# Positive quantities whose spread grows with their size.
_LOGARITHMIC = {"rate", "per_mm2", "speed_10", "speed_50", "speed_90", "length", "plume_area", "gas_speed"}
_CHARTABLE = (*USUAL, "per_mm2", "speed_10", "speed_50", "speed_90", "turn", "clear_time", "gas_speed")
_WHOLE = 0.9

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


@dataclass(frozen=True, eq=False)
class Reference:
    """What reference layers taught, and the limits that follow.

    Parameters
    ----------
    names : tuple of str
        Descriptors, fields of `DESCRIPTOR`.
    baseline : Baseline
        From `spatterlib.charting.control.learn`.
    limits : dict
        By chart of `CHARTS`.
    alarms : tuple of str
        Charts that raise alarms.
    arl : float
        Layers from one false alarm of these to the next, in the mean.
    harmonics, period : int, float
        Of the mean by scan angle.
    weight, slack : float
        Of EWMA and CUSUM.
    conformal : dict
        ``mean``, ``inverse`` and ``scores`` for the p-values.
    about : dict
        JSON-able: recordings, seed, layers removed, whether simulated; the camera, the turn of the scan angle, and
        whether speeds were calibrated, as far as known.
    """

    names: tuple[str, ...]
    baseline: Baseline
    limits: dict[str, float]
    alarms: tuple[str, ...]
    arl: float
    harmonics: int
    period: float
    weight: float
    slack: float
    conformal: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def camera(self) -> Camera | None:
        """The camera that saw the reference layers, as far as known."""
        known = self.about.get("camera")
        return Camera(**known) if known else None

    def check(self, camera: Camera) -> None:
        """Refuse a camera whose layers cannot be compared with these.

        Raises
        ------
        ParameterError
            If a quantity that measurements rest on is another.
        """
        known = self.about.get("camera") or {}
        check_same(known, camera, "the reference", "learn one from this camera with `spatterlib monitor`")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, beside first, then renamed."""
        plain = vars(self) | {"baseline": {key: value.tolist() for key, value in vars(self.baseline).items()}}
        plain["conformal"] = {key: np.asarray(value).tolist() for key, value in self.conformal.items()}
        write_text(path, json.dumps({"kind": _KIND, "format": 1} | plain, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        MissingFileError
            If it is not there.
        StoreError
            If it is no reference.
        """
        if not Path(path).is_file():
            raise MissingFileError(f"no reference at {path}; `spatterlib monitor --save-reference` makes one")
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
            if facts.pop("kind") != _KIND or facts.pop("format") != 1:
                raise ValueError("another kind or format")
            facts["baseline"] = Baseline(**{key: np.array(value) for key, value in facts["baseline"].items()})
            facts["conformal"] = {key: np.array(value) for key, value in facts["conformal"].items()}
            facts["names"], facts["alarms"] = tuple(facts["names"]), tuple(facts["alarms"])
            return cls(**facts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is no reference of monitored layers: {error}") from error


_KIND = "spatterlib reference"


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
        """Write the charts as a picture, see `spatterlib.charting.charts.draw_charts`."""
        from spatterlib.charting.charts import draw_charts

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


def turned(rows: NDArray[np.void], turn: float, start: float = 0.0) -> NDArray[np.void]:
    """Rows with the scan angle of a hatch that turns by `turn` degrees from layer to layer: a copy.

    Parameters
    ----------
    rows : ndarray
        ``(n,)`` `DESCRIPTOR`, by layer.
    turn, start : float
        Degrees; `start` is the angle of a layer number 0.
    """
    rows = rows.copy()
    rows["scan_angle"] = (start + turn * rows["group"]) % 360
    return rows


def _values(rows: NDArray[np.void], names: Sequence[str]) -> NDArray[np.float64]:
    """``(n, p)`` descriptors, positive quantities as logarithms."""
    columns = []
    for name in names:
        column = rows[name].astype(np.float64)
        if name in _LOGARITHMIC:
            column = np.log(np.where(column > 0, column, np.nan))
        columns.append(column)
    return np.stack(columns, -1)


def _terms(rows: NDArray[np.void], harmonics: int, period: float) -> NDArray[np.float64]:
    angle = rows["scan_angle"].astype(np.float64)
    if harmonics and not np.isfinite(angle).all():
        raise ParameterError(
            "the reference knows scan angles, and a layer has none; give them (--scan-turn), or learn without"
        )
    return angle_terms(np.nan_to_num(angle), harmonics, period)


def learn_reference(
    rows: NDArray[np.void],
    names: Sequence[str] | None = None,
    *,
    arl: float = 370.0,
    alarms: Sequence[str] = ("ewma", "t2"),
    harmonics: int | None = None,
    period: float = 180.0,
    weight: float = 0.1,
    slack: float = 0.5,
    builds: int = 8000,
    seed: int = 1,
    about: dict[str, Any] | None = None,
) -> Reference:
    """Learn from reference layers what is usual, and set the limits.

    Parameters
    ----------
    rows : ndarray
        ``(m,)`` `DESCRIPTOR` of layers known to be good, in the order they were built.
    names : sequence of str, optional
        Descriptors; those of `USUAL` that the camera measures and that vary, by default.
    arl : float
        Layers from one false alarm to the next, in the mean over builds, of all charts that raise alarms together.
    alarms : sequence of str
        Charts that raise alarms: "shewhart", "ewma", "cusum", "t2".
    harmonics : int, optional
        Of the mean by scan angle; 1 where the angles are known, else 0.
    period, weight, slack
        As in `spatterlib.charting.control`.
    builds, seed : int
        Simulated builds that the limits are found with; of the random numbers.
    about : dict, optional
        JSON-able, kept with it.

    Returns
    -------
    Reference

    Raises
    ------
    ParameterError
        If layers are too few, or a descriptor is not known, not measured or does not vary.
    """
    if len(rows) < FEWEST_LAYERS:
        raise ParameterError(f"a reference takes at least {FEWEST_LAYERS} layers, got {len(rows)}")
    names = _chosen(rows, names)
    if harmonics is None:
        harmonics = int(np.isfinite(rows["scan_angle"]).all())
    terms, values = _terms(rows, harmonics, period), _values(rows, names)
    baseline = learn(values, terms)
    correlation = np.linalg.inv(baseline.inverse)
    bounds = limits(
        terms,
        baseline.phi,
        (correlation + correlation.T) / 2,
        arl=arl,
        alarms=alarms,
        builds=builds,
        seed=seed,
        weight=weight,
        slack=slack,
    )
    model, scores = split_scores(values, terms, baseline.kept)
    removed = [int(number) for number in rows["group"][~baseline.kept]]
    told = {"layers": len(rows), "removed": removed, "builds": builds, "seed": seed} | (about or {})
    return Reference(
        tuple(names),
        baseline,
        bounds,
        tuple(alarms),
        float(arl),
        harmonics,
        float(period),
        weight,
        slack,
        model | {"scores": scores},
        told,
    )


def _chosen(rows: NDArray[np.void], names: Sequence[str] | None) -> list[str]:
    values = {name: _values(rows, [name])[:, 0] for name in names or USUAL if name in _CHARTABLE}
    good = [name for name, column in values.items() if np.isfinite(column).mean() >= _WHOLE and np.nanstd(column) > 0]
    bad = [name for name in names or () if name not in good]
    if bad or not good:
        raise ParameterError(
            f"cannot chart {', '.join(bad) or 'any descriptor'}: not measured in {_WHOLE:.0%} of the reference layers, "
            f"constant, or none of {', '.join(_CHARTABLE)}"
        )
    return good


def take_layer(reference: Reference, state: State | None, row: NDArray[np.void]) -> tuple[State, Point]:
    """Put one more layer on the charts: a pure function for live use.

    Parameters
    ----------
    reference : Reference
        From `learn_reference`.
    state : State or None
        What it gave for the layer before; None for the first.
    row : ndarray
        ``(1,)`` `DESCRIPTOR`, the layer, when it is over.

    Returns
    -------
    State
        For the next layer.
    Point
        Where this one is, and its alarms.
    """
    row = np.atleast_1d(row)
    base, bounds = reference.baseline, reference.limits
    terms, values = _terms(row, reference.harmonics, reference.period)[0], _values(row, reference.names)[0]
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
    >>> from spatterlib.charting.monitoring import learn_reference, monitor
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
