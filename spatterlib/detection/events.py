"""Events: detections that overlap from frame to frame, joined; a pure function of the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.stores.chunks import table_chunks
from spatterlib.types import Detections, Store

__all__ = ["EVENT", "VOTE_SECONDS", "Events", "events", "vote_numbers"]

EVENT = np.dtype(
    [
        ("event", "<i8"),
        ("first_frame", "<i8"),
        ("last_frame", "<i8"),
        ("start", "<f8"),
        ("stop", "<f8"),
        ("x", "<i4"),
        ("y", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("area", "<f4"),
        ("peak", "u1"),
        ("detections", "<i8"),
    ]
)
"""One row per event: number from 1, frames and times (s) of its first and last detection, the box (px)
around all its boxes, its largest area (px²) and peak, and the number of detections."""

VOTE_SECONDS = 1.0
"""S; an event votes once in each of these that it lasts."""


@dataclass(frozen=True, eq=False)
class Events:
    """What `events` found.

    Parameters
    ----------
    number : ndarray
        ``(n,)`` int64, event of each table row, from 1.
    table : ndarray
        ``(events,)`` `EVENT`.
    """

    number: NDArray[np.int64]
    table: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.table)


# How each column of the table becomes one of an event: the first of these, the last of these, or the most.
_JOINED: tuple[tuple[str, str, np.ufunc], ...] = (
    ("first_frame", "frame", np.minimum),
    ("last_frame", "frame", np.maximum),
    ("start", "time", np.minimum),
    ("stop", "time", np.maximum),
    ("x", "x", np.minimum),
    ("y", "y", np.minimum),
    ("area", "area", np.maximum),
    ("peak", "peak", np.maximum),
)


def events(table: Detections | Store, gap: float | None = None) -> Events:
    """Join detections into events: boxes that overlap from frame to frame are one event.

    Parameters
    ----------
    table : ndarray or Store
        ``(n,)`` `DETECTION`, in any order; or a store, whose table is read in chunks if its frames ascend.
    gap : float, optional
        S, how far apart two overlapping detections may lie; by default they must be in consecutive frames.

    Returns
    -------
    Events
        Numbered by their first detection.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> table = np.zeros(3, sp.DETECTION)
    >>> table["frame"], table["x"], table["width"], table["height"] = [4, 5, 9], [10, 14, 10], 8, 8
    >>> sp.events(table).number.tolist()
    [1, 1, 2]
    """
    if gap is not None and not gap > 0:
        raise ParameterError(f"gap must be a number of seconds above 0, got {gap!r}")
    if not isinstance(table, np.ndarray):
        count = len(table)
        number = _numbers(table_chunks(table, count), count, gap)
        if number is None:
            return events(table.table, gap)
        return Events(number, _event_table(table_chunks(table, count), number))
    order = np.argsort(table["frame"], kind="stable")
    found = np.empty(len(table), np.int64)
    found[order] = _numbers([table[order]], len(table), gap)  # type: ignore[assignment]
    return Events(found, _event_table([table], found))


def vote_numbers(times: NDArray[np.float64], event: NDArray[np.int64], seconds: float) -> NDArray[np.int64]:
    """Number of the vote of each crop, from 0, in order of time: an event votes once in each `seconds` that it lasts.

    Parameters
    ----------
    times : ndarray
        ``(n,)`` float64, s.
    event : ndarray
        ``(n,)`` int, event of each crop.
    seconds : float
        S.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.detection.events import vote_numbers
    >>> vote_numbers(np.array([0.0, 0.5, 1.2, 0.7]), np.array([1, 1, 1, 2]), 1.0).tolist()
    [0, 0, 2, 1]
    """
    if not len(times):
        return np.empty(0, np.int64)
    _, number = np.unique(event, return_inverse=True)
    began = np.full(int(number.max()) + 1, np.inf)
    np.minimum.at(began, number, times)
    block = ((times - began[number]) / seconds).astype(np.int64)
    _, first, vote = np.unique(np.stack([number, block], 1), axis=0, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(times[first], kind="stable")] = np.arange(len(first))
    return np.asarray(place[vote.ravel()], np.int64)


def _numbers(chunks: Iterable[Detections], count: int, gap: float | None) -> NDArray[np.int64] | None:
    """Event of each of `count` rows, from 1; None if the rows are not in the order of their frames."""
    from spatterlib.kernels.detection.overlapping_boxes import join_overlapping, number_groups

    parent = np.empty(count, np.int64)
    # Rows that were joined and can be joined with rows to come.
    kept: Detections | None = None
    done = 0
    for chunk in chunks:
        rows = chunk if kept is None else np.concatenate([kept, chunk])
        if np.any(np.diff(rows["frame"]) < 0):
            return None
        known = len(rows) - len(chunk)
        x, y, width, height = (rows[name].astype(np.int64) for name in ("x", "y", "width", "height"))
        moments = rows["frame"] if gap is None else rows["time"]
        first = join_overlapping(
            np.ascontiguousarray(rows["frame"]),
            np.ascontiguousarray(moments, np.float64),
            np.stack([x, y, x + width, y + height], axis=1),
            1.0 if gap is None else float(gap),
            parent,
            done - known,
            known,
        )
        kept, done = rows[first:], done + len(chunk)
    number_groups(parent)
    return parent


def _event_table(chunks: Iterable[Detections], number: NDArray[np.int64]) -> NDArray[np.void]:
    count = int(number.max()) if len(number) else 0
    result = np.zeros(count, EVENT)
    result["event"] = np.arange(1, count + 1)
    result["detections"] = np.bincount(number, minlength=count + 1)[1:]
    for field, _, join in _JOINED:
        kind = EVENT[field]
        least, most = (-np.inf, np.inf) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
        result[field] = most if join is np.minimum else least
    right, bottom = np.zeros(count, np.int32), np.zeros(count, np.int32)
    done = 0
    for table in chunks:
        own = number[done : done + len(table)] - 1
        for field, column, join in _JOINED:
            with np.errstate(invalid="ignore"):  # a time that is not known stays so
                join.at(result[field], own, table[column])
        np.maximum.at(right, own, table["x"] + table["width"])
        np.maximum.at(bottom, own, table["y"] + table["height"])
        done += len(table)
    result["width"], result["height"] = right - result["x"], bottom - result["y"]
    return result
