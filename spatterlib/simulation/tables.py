"""What is true of one frame: rows of lit regions and of streaks, from what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.simulation.truth import EVENT_TRUTH, LEVEL, STREAK_TRUTH
from spatterlib.types import Image

_SMALLEST = 100.0
"""Px², lit regions with a smaller outline are no event."""


def lit_regions(clean: Image, box: tuple[int, int, int, int], track: NDArray[np.float64]) -> NDArray[np.void]:
    """Events of one frame, their place in time not yet filled in.

    Parameters
    ----------
    clean : ndarray
        ``(h, w)`` uint8, luma of the process' light, without bed and noise.
    box : tuple of int
        Left, top, right, bottom in px; what lies outside is dark.
    track : ndarray
        ``(n, 6)`` float64, where the laser was, as written by `kernels.simulation.flights.scan`.

    Returns
    -------
    ndarray
        ``(n,)`` `EVENT_TRUTH`, ordered by y, then x.
    """
    import cv2

    left, top, right, bottom = box
    part = clean[top:bottom, left:right]
    # Outlines as the published recipe draws them: grown by three 3x3 dilations.
    bright = cv2.copyMakeBorder((part > LEVEL).view(np.uint8), 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=0)
    grown = cv2.dilate(bright, np.ones((7, 7), np.uint8))
    outlines = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    large = [(outline, area) for outline in outlines if (area := cv2.contourArea(outline)) >= _SMALLEST]
    rows = [_region(part, cv2.boundingRect(outline), area, (left, top), track) for outline, area in large]
    rows.sort(key=lambda row: (row[3], row[2]))
    return np.array(rows, EVENT_TRUTH)


def _region(
    part: Image, box: Sequence[int], area: float, corner: tuple[int, int], track: NDArray[np.float64]
) -> tuple[float, ...]:
    """One row of `EVENT_TRUTH`; frame, time and what belongs to the build are filled in later."""
    # Back from the grown outline and its margin to the pixels themselves.
    x, y, width, height = box[0] - 1, box[1] - 1, box[2] - 6, box[3] - 6
    own = part[y : y + height, x : x + width]
    left, top = corner[0] + x - 3, corner[1] + y - 3
    inside = track[
        (track[:, 0] >= left) & (track[:, 0] < left + box[2]) & (track[:, 1] >= top) & (track[:, 1] < top + box[3])
    ]
    laser, source_x, source_y = 0.0, np.nan, np.nan
    if len(inside):
        source_x, source_y, _, _, laser, _ = inside.sum(0)
        source_x, source_y = source_x / len(inside), source_y / len(inside)
    known: dict[str, Any] = {
        "x": corner[0] + x, "y": corner[1] + y, "width": width, "height": height, "area": area,
        "lit": np.count_nonzero(own > LEVEL), "peak": own.max(initial=0),
        "laser": laser, "source_x": source_x, "source_y": source_y,
    }  # fmt: skip
    return tuple(known.get(name, 0) for name in EVENT_TRUTH.names or ())


def streak_rows(
    points: NDArray[np.float32],
    flights: NDArray[np.float64],
    traces: NDArray[np.float64],
    seen: NDArray[np.float64],
    shift: tuple[float, float],
) -> NDArray[np.void]:
    """Rows of the flights that left a trace; frame, event, width and noise not yet filled in.

    Parameters
    ----------
    points, flights, traces : ndarray
        As written by `kernels.simulation.flights.fly` and `streak_drawing.draw`.
    seen : ndarray
        ``(n, 2)``, as written by `kernels.simulation.streak_drawing.contrast`.
    shift : tuple of float
        Px, added to all points.

    Returns
    -------
    ndarray
        ``(n,)`` `STREAK_TRUTH`.
    """
    rows = np.zeros(len(traces), STREAK_TRUTH)
    own = flights[traces[:, 0].astype(int)]
    source = points[own[:, 1].astype(int), :2] + np.asarray(shift, np.float32)
    start, middle, end = traces[:, 1:3], traces[:, 3:5], traces[:, 5:7]
    rows["start_x"], rows["start_y"] = start.T
    rows["end_x"], rows["end_y"] = end.T
    rows["middle_x"], rows["middle_y"] = middle.T
    rows["source_x"], rows["source_y"] = source.T
    rows["kind"], rows["launch_speed"], rows["particle"] = own[:, 3], own[:, 4], own[:, 7]
    # A disc's standard deviation along a line through it, for the blur; the caller adds the focus.
    rows["width"] = 0.5 * own[:, 6] * np.sqrt(2)
    rows["length"], rows["cut"], rows["duration"] = traces[:, 9], traces[:, 11], traces[:, 8]
    rows["speed"] = traces[:, 7] / 1000 / np.maximum(traces[:, 8], 1e-9)
    way = end - start
    rows["angle"] = np.rad2deg(np.arctan2(-way[:, 1], way[:, 0])) % 360
    # Points of a blob lie too near to each other for a circle.
    rows["curvature"] = np.where(rows["length"] < 0.5, 0.0, curvature(start, middle, end))
    rows["brightness"], rows["hidden"] = seen.T
    return rows


def curvature(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[np.float64]:
    """1/px of the circle through three ``(n, 2)`` points each, positive where the way turns to its left as seen."""
    p, q, r = b - a, c - b, c - a
    cross = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
    sides = np.hypot(*p.T) * np.hypot(*q.T) * np.hypot(*r.T)
    return np.asarray(-2 * cross / np.maximum(sides, 1e-9))


def owner(rows: NDArray[np.void], events: NDArray[np.void]) -> NDArray[np.int64]:
    """``(n,)`` event in whose box each streak starts, that with the nearest laser first; -1 = none."""
    owners = np.full(len(rows), -1, np.int64)
    nearest = np.full(len(rows), np.inf)
    x, y = rows["start_x"], rows["start_y"]
    for index, event in enumerate(events):
        left, top = event["x"] - 3, event["y"] - 3
        inside = (x >= left) & (x < left + event["width"] + 6) & (y >= top) & (y < top + event["height"] + 6)
        far = 1e9
        if event["laser"] > 0:
            far = np.hypot(rows["source_x"] - event["source_x"], rows["source_y"] - event["source_y"])
        better = inside & (far < nearest)
        owners[better] = index
        nearest = np.where(better, far, nearest)
    return owners
