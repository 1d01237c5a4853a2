"""Rows of a stream as they come: joined into events, cut into layers, forgotten when nothing needs them any more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.events import events
from spatterlib.types import Detections
from spatterlib.verdicts.verdict import row_dtype

__all__ = ["Rolling", "add_rows", "finished_layers", "forget_rows"]

# Fields that joining looks at.
_JOINED_BY = ("frame", "time", "x", "y", "width", "height", "area", "peak")


@dataclass(frozen=True, eq=False)
class Rolling:
    """What is remembered of a stream.

    Parameters
    ----------
    rows : ndarray
        ``(n,)`` of `spatterlib.verdicts.verdict.row_dtype`: crops of layers without a final verdict, and of the last
        window.
    layer : int
        Number of the newest layer, from 1; 0 before the first spatter.
    last : float
        S, time of the last spatter.
    events : int
        How many events there were, those that turned out to be one counted once.
    done : int
        Number of the last layer that has its final verdict.
    numbered : int
        Last number that an event got.
    """

    rows: NDArray[np.void]
    layer: int = 0
    last: float = float("-inf")
    events: int = 0
    done: int = 0
    numbered: int = 0

    @classmethod
    def empty(cls, classes: int) -> Rolling:
        """Before the first frame."""
        return cls(np.empty(0, row_dtype(classes)))


def add_rows(
    rolling: Rolling,
    table: Detections,
    probabilities: NDArray[np.float64],
    distances: NDArray[np.float32],
    looks: NDArray[np.float32],
    *,
    gap: float,
) -> Rolling:
    """Take rows of the next frames; layers and events come out as `layers` and `events` find them afterwards.

    Parameters
    ----------
    rolling : Rolling
        What is remembered.
    table : ndarray
        ``(n,)`` `DETECTION`, in the order of frames.
    probabilities, distances, looks : ndarray
        ``(n, classes)``, ``(n,)`` and ``(n, len(LOOKS))``, as a `Scorer` gives them.
    gap : float
        S, a longer pause without spatter begins a layer.
    """
    if not len(table):
        return rolling
    rows = np.zeros(len(table), rolling.rows.dtype)
    for name in table.dtype.names or ():
        rows[name] = table[name]
    rows["probabilities"], rows["distance"], rows["looks"] = probabilities, distances, looks
    pauses = np.diff(rows["time"], prepend=rolling.last)
    rows["layer"] = rolling.layer + np.cumsum(pauses > gap)
    joined, count, numbered = _joined(rolling, rows)
    last = max(rolling.last, float(rows["time"][-1]))
    return replace(rolling, rows=joined, layer=int(rows["layer"][-1]), last=last, events=count, numbered=numbered)


def _joined(rolling: Rolling, rows: NDArray[np.void]) -> tuple[NDArray[np.void], int, int]:
    """Old and new rows with their events, how many events there were, and the last number given."""
    first = int(rows["frame"][0])
    before = np.flatnonzero(rolling.rows["frame"] >= first - 1)
    both = np.concatenate([rolling.rows[before], rows])
    group = events(both[list(_JOINED_BY)]).number
    known = both["event"].copy()
    old, count, numbered = rolling.rows, rolling.events, rolling.numbered
    for number in np.unique(group):
        own = group == number
        earlier = np.unique(known[own & (known > 0)])
        if not len(earlier):
            numbered, count = numbered + 1, count + 1
            known[own] = numbered
            continue
        known[own] = earlier[0]
        if len(earlier) > 1:
            old, count = old.copy() if old is rolling.rows else old, count - (len(earlier) - 1)
            merged = np.isin(old["event"], earlier[1:])
            old["event"][merged] = earlier[0]
            known[np.isin(known, earlier[1:])] = earlier[0]
    rows["event"] = known[len(before) :]
    return np.concatenate([old, rows]), count, numbered


def finished_layers(rolling: Rolling, now: float, gap: float) -> range:
    """Numbers of layers that have ended and have no final verdict yet: nothing can come to them any more."""
    ended = rolling.layer if now - rolling.last > gap else rolling.layer - 1
    return range(rolling.done + 1, ended + 1)


def forget_rows(rolling: Rolling, done: int, since: float) -> Rolling:
    """Keep rows of layers behind `done`, those not before `since` (s), and those of the last frame."""
    rows = rolling.rows
    keep = (rows["layer"] > done) | (rows["time"] >= since)
    return replace(rolling, rows=rows if keep.all() else rows[keep], done=max(done, rolling.done))
