"""Rows of a table from what was found in each frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image


@kernel
def _behind(index: NDArray[np.int64], boxes: NDArray[np.int32], a: int, b: int) -> bool:
    """Whether `a` comes after `b`, by frame, y and x."""
    if index[a] != index[b]:
        return bool(index[a] > index[b])
    if boxes[a, 1] != boxes[b, 1]:
        return bool(boxes[a, 1] > boxes[b, 1])
    return bool(boxes[a, 0] > boxes[b, 0])


@kernel
def _order(
    index: NDArray[np.int64], boxes: NDArray[np.int32], frames: int, ordered: bool, order: NDArray[np.int64]
) -> int:
    """Which boxes have px, in the order of their rows; those that are equal as they come."""
    count = 0
    for k in range(len(index)):
        if not 0 <= index[k] < frames:
            raise IndexError("a box is in a frame that the clip does not have")
        if boxes[k, 2] <= 0 or boxes[k, 3] <= 0:
            continue
        place = count
        while ordered and place > 0 and _behind(index, boxes, order[place - 1], k):
            order[place] = order[place - 1]
            place -= 1
        order[place] = k
        count += 1
    return count


@kernel
def fill_rows(
    first: int,
    times: NDArray[np.float64],
    index: NDArray[np.int64],
    boxes: NDArray[np.int32],
    areas: NDArray[np.float64],
    sums: NDArray[np.int64],
    peaks: Image,
    ordered: bool,
    rows: NDArray[np.void],
) -> int:
    """Write a row for each box that has px; in NumPy it took forty steps, each found in slow memory after decoding.

    Parameters
    ----------
    first : int
        Number of the clip's first frame.
    times : ndarray
        ``(frames,)`` float64, s.
    index, boxes, areas, sums, peaks : ndarray
        ``(n,)``, ``(n, 4)``, ``(n,)``, ``(n, 3)`` and ``(n,)``: frame of the clip, box, px² of the outline, and what
        `spatterlib.plugins.boxes.sum_boxes` gives. Boxes of one frame should come together: the time to order
        them grows with how far they must go.
    ordered : bool
        By frame, y and x; otherwise as they come.
    rows : ndarray
        ``(n,)`` `DETECTION`, written.

    Returns
    -------
    int
        How many rows.

    Raises
    ------
    ValueError
        If the arrays are not equally long.
    IndexError
        If a box is in no frame of the clip.
    """
    if not len(index) == len(boxes) == len(areas) == len(sums) == len(peaks):
        raise ValueError("each box has one frame, area, sum and peak, but they are not equally many")
    order = np.empty(len(index), np.int64)
    count = _order(index, boxes, len(times), ordered, order)
    for place in range(count):
        k, row = order[place], rows[place]
        row["frame"], row["time"] = first + index[k], times[index[k]]
        row["x"], row["y"], row["width"], row["height"] = boxes[k]
        size = np.float64(boxes[k, 2]) * np.float64(boxes[k, 3])
        row["red"], row["green"], row["blue"] = sums[k, 0] / size, sums[k, 1] / size, sums[k, 2] / size
        row["area"], row["peak"] = areas[k], peaks[k]
    return count
