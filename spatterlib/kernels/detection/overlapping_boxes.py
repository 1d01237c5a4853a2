"""Boxes that overlap in frames near each other, joined by union-find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel


@kernel
def _root(parent: NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


@kernel
def join_overlapping(
    frames: NDArray[np.int64],
    moments: NDArray[np.float64],
    boxes: NDArray[np.int64],
    reach: float,
    parent: NDArray[np.int64],
    origin: int,
    known: int,
) -> int:
    """Join rows whose boxes overlap, of different frames at most `reach` apart.

    Parameters
    ----------
    frames : ndarray
        ``(n,)`` int64, ascending.
    moments : ndarray
        ``(n,)`` float64, what `reach` is measured in: frame numbers or s.
    boxes : ndarray
        ``(n, 4)`` int64: left, top, right, bottom, half-open.
    reach : float
        How far apart two rows may lie.
    parent : ndarray
        ``(all,)`` int64, written: a row of each row's group that is not behind it; `number_groups` makes numbers of it.
    origin : int
        Where in `parent` the first of these rows is.
    known : int
        How many of these rows have been joined before.

    Returns
    -------
    int
        The first of these rows that rows behind them can still be joined with.
    """
    start = 0
    for index in range(known, len(frames)):
        parent[origin + index] = origin + index
        while start < index and not moments[index] - moments[start] <= reach:
            start += 1
        for earlier in range(start, index):
            if (
                frames[earlier] < frames[index]
                and boxes[earlier, 0] < boxes[index, 2]
                and boxes[index, 0] < boxes[earlier, 2]
                and boxes[earlier, 1] < boxes[index, 3]
                and boxes[index, 1] < boxes[earlier, 3]
            ):
                a, b = _root(parent, origin + earlier), _root(parent, origin + index)
                parent[max(a, b)] = min(a, b)
    return start


@kernel
def number_groups(parent: NDArray[np.int64]) -> int:
    """Put in place of each row's parent the number of its group, from 1 by their first rows; how many there are."""
    for index in range(len(parent)):
        parent[index] = parent[parent[index]]
    count = 0
    for index in range(len(parent)):
        if parent[index] == index:
            count += 1
            parent[index] = count
        else:
            parent[index] = parent[parent[index]]
    return count
