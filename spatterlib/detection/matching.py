"""Which boxes of two tables belong together, frame by frame."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Measure", "centre_distance", "matched", "overlaps"]

Measure: TypeAlias = Literal["smaller", "iou", "distance"]
"""By what boxes match: intersection over the smaller one, over the union, or the distance of their middles in px."""


def centre_distance(a: NDArray[np.void], b: NDArray[np.void]) -> NDArray[np.float64]:
    """Px between the middles of boxes, row by row."""
    across = a["x"] + a["width"] / 2 - b["x"] - b["width"] / 2
    down = a["y"] + a["height"] / 2 - b["y"] - b["height"] / 2
    return np.asarray(np.hypot(across, down))


def overlaps(a: NDArray[np.void], b: NDArray[np.void]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersection over the smaller box and over the union, row by row."""
    width = np.minimum(a["x"] + a["width"], b["x"] + b["width"]) - np.maximum(a["x"], b["x"])
    height = np.minimum(a["y"] + a["height"], b["y"] + b["height"]) - np.maximum(a["y"], b["y"])
    common = np.maximum(width, 0) * np.maximum(height, 0).astype(np.float64)
    one, other = (rows["width"] * rows["height"].astype(np.float64) for rows in (a, b))
    smaller = np.maximum(np.minimum(one, other), 1)
    return common / smaller, common / np.maximum(one + other - common, 1)


def matched(
    table: NDArray[np.void],
    events: NDArray[np.void],
    limit: float,
    by: Measure = "smaller",
    first: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """``(m, 2)`` rows of table and events that belong together, and which rows of the table touch any event.

    Pairs are made one to one within a frame. The nearest come first: by intersection over union, or by distance. With
    `first`, ``(n,)``, rows of the table choose in falling order of it, as for average precision.
    """
    order = np.argsort(events["frame"], kind="stable")
    frames = events["frame"][order]
    begin, end = np.searchsorted(frames, table["frame"]), np.searchsorted(frames, table["frame"], "right")
    rows = np.repeat(np.arange(len(table)), end - begin)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
    others = order[np.repeat(begin, end - begin) + within]
    share, union = overlaps(table[rows], events[others])
    distance = centre_distance(table[rows], events[others])
    near = -distance if by == "distance" else union
    enough = {"smaller": share >= limit, "iou": union >= limit, "distance": distance <= limit}[by]
    rows, others, near = rows[enough], others[enough], near[enough]
    touched = np.zeros(len(table), np.bool_)
    touched[rows] = True
    free_rows, free_events = np.ones(len(table), np.bool_), np.ones(len(events), np.bool_)
    pairs = []
    keys = (-near,) if first is None else (-near, -first[rows])
    for index in np.lexsort(keys):
        row, other = rows[index], others[index]
        if free_rows[row] and free_events[other]:
            free_rows[row] = free_events[other] = False
            pairs.append((row, other))
    return np.array(pairs, np.intp).reshape(-1, 2), touched
