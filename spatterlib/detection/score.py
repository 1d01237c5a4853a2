"""How good what was found is, against the truth of a simulated recording."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.wording import counted
from spatterlib.detection.layers import gap_of, layers
from spatterlib.detection.matching import centre_distance, matched, overlaps
from spatterlib.errors import ParameterError
from spatterlib.simulation.truth import Truth

AREAS = (2000.0, 15000.0)
"""Px²: the events that the default filter `area` is after."""


@dataclass(frozen=True)
class Score:
    """What `score` found.

    Parameters
    ----------
    found, events : int
        Detections, and true events that had to be found.
    matched : int
        Of these events, how many were.
    false : int
        Detections without any true event, of whatever area.
    recall, precision : float
        ``matched / events``, ``1 - false / found``; NaN where there is nothing to divide by.
    position_error, area_error : float
        Medians over the matched pairs: px between the middles of the boxes; ``found / true - 1`` of the areas.
    iou : float
        Median intersection over union of the matched boxes.
    layers, layers_found : int
        True layers in which there was something to find; how many of these have a found layer of their own.
    extra_layers : int
        Found layers beyond.
    """

    found: int
    events: int
    matched: int
    false: int
    recall: float
    precision: float
    position_error: float
    area_error: float
    iou: float
    layers: int
    layers_found: int
    extra_layers: int

    def __str__(self) -> str:
        extra = f", {self.extra_layers} too many" if self.extra_layers else ""
        return (
            f"recall {self.recall:.3f} ({self.matched} of {counted(self.events, 'event')}), "
            f"precision {self.precision:.3f} "
            f"({self.false} of {counted(self.found, 'detection')} false), position {self.position_error:.1f} px, "
            f"area {self.area_error:+.0%}, layers {self.layers_found} of {self.layers}{extra}"
        )


def score(
    found: Any,
    truth: Truth | str | os.PathLike[str] | NDArray[np.void],
    *,
    overlap: float = 0.5,
    areas: tuple[float, float] = AREAS,
    gap: Any = None,
) -> Score:
    """Compare detections with the truth of a simulated recording.

    A detection and an event of the same frame match if the intersection of their boxes is at least `overlap`
    of the smaller box (frame differencing sees two frames at once, so its boxes are larger than an event);
    pairs are made one to one, those with the largest intersection over union first. Events whose area
    lies outside `areas` need not be found, but finding one is no fault.

    Parameters
    ----------
    found : ndarray or store
        ``(n,)`` `DETECTION`, or anything with such a ``table``.
    truth : Truth, path or ndarray
        The truth, its file or its video's, or ``(n,)`` `EVENT_TRUTH`.
    overlap : float
        Share of the smaller box, above 0 to 1.
    areas : tuple of float
        Px², smallest and largest event that must be found; ``(0, inf)`` = all.
    gap : float or str, optional
        Pause that separates layers; see `layers`. By default that of the store, else "auto".

    Returns
    -------
    Score

    Raises
    ------
    ParameterError
        If `overlap` or `areas` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.simulation import EVENT_TRUTH
    >>> events, found = np.zeros(1, EVENT_TRUTH), np.zeros(2, sp.DETECTION)
    >>> events["width"], events["height"], events["area"], events["layer"] = 100, 50, 4000, 1
    >>> found["x"], found["width"], found["height"], found["area"] = [4, 300], 100, 50, 4400
    >>> result = sp.score(found, events)
    >>> result.recall, result.precision, result.position_error, round(result.area_error, 3)
    (1.0, 0.5, 4.0, 0.1)
    """
    if not 0 < overlap <= 1:
        raise ParameterError(f"overlap must be above 0 and at most 1, got {overlap}")
    if not 0 <= areas[0] <= areas[1]:
        raise ParameterError(f"areas must be 0 <= smallest <= largest px², got {areas}")
    table = np.asarray(getattr(found, "table", found))
    events = _events(truth)
    pairs, best = matched(table, events, overlap)
    wanted = (events["area"] >= areas[0]) & (events["area"] <= areas[1])
    hits = int(wanted[pairs[:, 1]].sum())
    false = int((~best).sum())
    a, b = table[pairs[:, 0]], events[pairs[:, 1]]
    ious = overlaps(a, b)[1]
    return Score(
        len(table),
        int(wanted.sum()),
        hits,
        false,
        hits / int(wanted.sum()) if wanted.any() else float("nan"),
        1 - false / len(table) if len(table) else float("nan"),
        _median(centre_distance(a, b)),
        _median(a["area"] / np.maximum(b["area"], 1e-9) - 1),
        _median(ious),
        *_layers(table, events[wanted], gap_of(getattr(found, "attrs", {}), gap)),
    )


def _events(truth: Any) -> NDArray[np.void]:
    if isinstance(truth, np.ndarray):
        return truth
    return (truth if isinstance(truth, Truth) else Truth.load(truth)).events


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _layers(table: NDArray[np.void], events: NDArray[np.void], gap: Any) -> tuple[int, int, int]:
    """True layers, those with a found layer of their own, found layers beyond."""
    true = np.unique(events["layer"])
    grouped = layers(table["time"], gap, table["frame"])
    spans = {n: (events["time"][events["layer"] == n].min(), events["time"][events["layer"] == n].max()) for n in true}
    own = 0
    for number, (start, stop) in spans.items():
        touching = [row for row in grouped.table if row["start"] <= stop and row["stop"] >= start]
        alone = len(touching) == 1 and not any(
            other != number and touching[0]["start"] <= b and touching[0]["stop"] >= a
            for other, (a, b) in spans.items()
        )
        own += alone
    return len(true), own, max(len(grouped) - len(true), 0)
