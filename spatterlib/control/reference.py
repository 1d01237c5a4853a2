"""What layers without a fault teach: the reference that a build is charted against."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import write_text
from spatterlib.control.run_length import limits
from spatterlib.control.statistics import (
    FEWEST_LAYERS,
    Baseline,
    Conformal,
    angle_terms,
    learn_baseline,
    learn_conformal,
)
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.measuring.camera import Camera, check_same

__all__ = [
    "USUAL_DESCRIPTORS",
    "Reference",
    "ReferenceFacts",
    "check_learning",
    "learn_reference",
    "terms_of",
    "values_of",
]

_KIND = "spatterlib reference"
USUAL_DESCRIPTORS = ("rate", "length", "drift", "angle_spread", "plume_area", "intensity")
"""Descriptors that are charted unless others are named, where the camera measures them."""
# Positive quantities whose spread grows with their size.
_LOGARITHMIC = {"rate", "per_mm2", "speed_10", "speed_50", "speed_90", "length", "plume_area", "gas_speed"}
_CHARTABLE = (*USUAL_DESCRIPTORS, "per_mm2", "speed_10", "speed_50", "speed_90", "turn", "clear_time", "gas_speed")
_WHOLE = 0.9


class ReferenceFacts(TypedDict, total=False):
    """Where a reference comes from: how it was learned, from which layers of which recordings, seen by which camera."""

    layers: int
    removed: list[int]
    builds: int
    seed: int
    recordings: list[str]
    simulated: bool
    camera: dict[str, Any]
    calibrated: bool
    scan_turn: float
    scan_start: float


@dataclass(frozen=True, eq=False)
class Reference:
    """What reference layers taught, and the limits that follow.

    Parameters
    ----------
    names : tuple of str
        Descriptors, fields of `DESCRIPTOR`.
    baseline : Baseline
        From `spatterlib.control.statistics.learn_baseline`.
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
    conformal : Conformal
        For the p-values.
    about : ReferenceFacts
        JSON-able, as far as known.
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
    conformal: Conformal
    about: ReferenceFacts = field(default_factory=ReferenceFacts)

    @property
    def camera(self) -> Camera | None:
        """The camera that saw the reference layers, as far as known."""
        camera = self.about.get("camera")
        return Camera(**camera) if camera else None

    def check(self, camera: Camera) -> None:
        """Refuse a camera whose layers cannot be compared with these.

        Raises
        ------
        ParameterError
            If a quantity that measurements rest on is another.
        """
        own = self.about.get("camera") or {}
        check_same(own, camera, "the reference", "learn one from this camera with `spatterlib monitor`")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, beside first, then renamed."""
        plain = vars(self) | {"baseline": _lists(self.baseline), "conformal": _lists(self.conformal)}
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
            facts["conformal"] = Conformal(**{key: np.array(value) for key, value in facts["conformal"].items()})
            facts["names"], facts["alarms"] = tuple(facts["names"]), tuple(facts["alarms"])
            return cls(**facts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is no reference of monitored layers: {error}") from error


def _lists(arrays: Baseline | Conformal) -> dict[str, list[Any]]:
    return {name: array.tolist() for name, array in vars(arrays).items()}


def values_of(rows: NDArray[np.void], names: Sequence[str]) -> NDArray[np.float64]:
    """``(n, p)`` descriptors, positive quantities as logarithms."""
    columns = []
    for name in names:
        column = rows[name].astype(np.float64)
        if name in _LOGARITHMIC:
            column = np.log(np.where(column > 0, column, np.nan))
        columns.append(column)
    return np.stack(columns, -1)


def terms_of(rows: NDArray[np.void], harmonics: int, period: float) -> NDArray[np.float64]:
    """``(n, k)`` terms of the layers' scan angles, see `spatterlib.control.statistics.angle_terms`."""
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
    about: ReferenceFacts | None = None,
) -> Reference:
    """Learn from reference layers what is usual, and set the limits.

    Parameters
    ----------
    rows : ndarray
        ``(m,)`` `DESCRIPTOR` of layers known to be good, in the order they were built.
    names : sequence of str, optional
        Descriptors; those of `USUAL_DESCRIPTORS` that the camera measures and that vary, by default.
    arl : float
        Layers from one false alarm to the next, in the mean over builds, of all charts that raise alarms together.
    alarms : sequence of str
        Charts that raise alarms: "shewhart", "ewma", "cusum", "t2".
    harmonics : int, optional
        Of the mean by scan angle; 1 where the angles are known, else 0.
    period, weight, slack
        As in `spatterlib.control.statistics`.
    builds, seed : int
        Simulated builds that the limits are found with; of the random numbers.
    about : ReferenceFacts, optional
        Kept with it.

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
    terms, values = terms_of(rows, harmonics, period), values_of(rows, names)
    baseline = learn_baseline(values, terms)
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
    removed = [int(number) for number in rows["group"][~baseline.kept]]
    learned: ReferenceFacts = {"layers": len(rows), "removed": removed, "builds": builds, "seed": seed}
    return Reference(
        names=tuple(names),
        baseline=baseline,
        limits=bounds,
        alarms=tuple(alarms),
        arl=float(arl),
        harmonics=harmonics,
        period=float(period),
        weight=weight,
        slack=slack,
        conformal=learn_conformal(values, terms, baseline.kept),
        about={**learned, **(about or {})},
    )


def check_learning(names: Sequence[str] = (), arl: float = 370.0, *angles: float | None) -> None:
    """Refuse what no reference can be learned with, before anything is measured.

    Parameters
    ----------
    names : sequence of str
        Descriptors that are to be charted.
    arl : float
        Layers from one false alarm to the next.
    *angles : float or None
        Degrees.

    Raises
    ------
    ParameterError
        Names the one.
    """
    if unknown := [name for name in names if name not in _CHARTABLE]:
        raise ParameterError(f"cannot chart {', '.join(unknown)}: none of {', '.join(_CHARTABLE)}")
    if not arl > 1:
        raise ParameterError(f"arl must be a number of layers above 1, got {arl!r}")
    if any(angle is not None and not math.isfinite(angle) for angle in angles):
        raise ParameterError(f"an angle is a number of degrees, got {', '.join(map(str, angles))}")


def _chosen(rows: NDArray[np.void], names: Sequence[str] | None) -> list[str]:
    values = {name: values_of(rows, [name])[:, 0] for name in names or USUAL_DESCRIPTORS if name in _CHARTABLE}
    good = [name for name, column in values.items() if np.isfinite(column).mean() >= _WHOLE and np.nanstd(column) > 0]
    bad = [name for name in names or () if name not in good]
    if bad or not good:
        raise ParameterError(
            f"cannot chart {', '.join(bad) or 'any descriptor'}: not measured in {_WHOLE:.0%} of the reference layers, "
            f"constant, or none of {', '.join(_CHARTABLE)}"
        )
    return good
