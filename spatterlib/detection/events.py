"""Events: detections that overlap from frame to frame, joined; a pure function of the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.types import Detections

__all__ = ["EVENT", "Events", "events"]

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


def events(table: Detections, gap: float | None = None) -> Events:
    """Join detections into events: boxes that overlap from frame to frame are one event.

    Parameters
    ----------
    table : ndarray
        ``(n,)`` `DETECTION`, in any order.
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
    order = np.argsort(table["frame"], kind="stable")
    rows = table[order]
    _, number = np.unique(_roots(rows, gap), return_inverse=True)
    result = np.empty(len(rows), np.int64)
    result[order] = number + 1
    return Events(result, _event_table(table, result))


def _roots(rows: Detections, gap: float | None) -> NDArray[np.int64]:
    """First row of each row's event; rows in the order of their frames."""
    from spatterlib.kernels.detection.overlapping_boxes import join_overlapping

    x, y, width, height = (rows[name].astype(np.int64) for name in ("x", "y", "width", "height"))
    moments = rows["frame"] if gap is None else rows["time"]
    parent = np.empty(len(rows), np.int64)
    join_overlapping(
        np.ascontiguousarray(rows["frame"]),
        np.ascontiguousarray(moments, np.float64),
        np.stack([x, y, x + width, y + height], axis=1),
        1.0 if gap is None else float(gap),
        parent,
    )
    return parent


def _event_table(table: Detections, number: NDArray[np.int64]) -> NDArray[np.void]:
    count = int(number.max()) if len(number) else 0
    result = np.zeros(count, EVENT)
    result["event"] = np.arange(1, count + 1)
    result["detections"] = np.bincount(number - 1, minlength=count)
    right, bottom = np.zeros(count, np.int32), np.zeros(count, np.int32)
    for field, values, join in (
        ("first_frame", table["frame"], np.minimum),
        ("last_frame", table["frame"], np.maximum),
        ("start", table["time"], np.minimum),
        ("stop", table["time"], np.maximum),
        ("x", table["x"], np.minimum),
        ("y", table["y"], np.minimum),
        ("area", table["area"], np.maximum),
        ("peak", table["peak"], np.maximum),
    ):
        target = result[field]
        first = np.full(count, np.nan)
        first[number[::-1] - 1] = values[::-1]
        target[:] = first
        join.at(target, number - 1, values)
    np.maximum.at(right, number - 1, table["x"] + table["width"])
    np.maximum.at(bottom, number - 1, table["y"] + table["height"])
    result["width"], result["height"] = right - result["x"], bottom - result["y"]
    return result
