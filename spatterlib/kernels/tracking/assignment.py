"""Which row goes with which column at the least cost, where a row may also stay alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def _nearest(row: int, reached: float, costs: Floats, gain: Floats, price: Floats, far: Floats, before: Ints) -> int:
    """Look at all columns from one row, and give the nearest that is not done, -1 = none."""
    column = -1
    for j in range(costs.shape[1]):
        if before[j] < -1:
            continue
        through = reached + costs[row, j] - gain[row] - price[j]
        if through < far[j]:
            far[j], before[j] = through, row
        if far[j] < np.inf and (column < 0 or far[j] < far[column]):
            column = j
    return column


@kernel
def assign(costs: Floats, alone: float, taken: Ints) -> None:
    """Solve an assignment by shortest augmenting paths.

    Parameters
    ----------
    costs : ndarray
        ``(n, m)`` float64; infinite: never together.
    alone : float
        Cost of a row without a column; columns without a row cost nothing.
    taken : ndarray
        ``(n,)`` int64, written: the column of each row, -1 = none.
    """
    rows, columns = costs.shape
    owner, price, gain = np.full(columns, -1, np.int64), np.zeros(columns), np.zeros(rows)
    far, before, source = np.empty(columns), np.empty(columns, np.int64), np.empty(columns, np.int64)
    for first in range(rows):
        taken[first] = -1
        far[:], before[:] = np.inf, -1
        row, reached, last = first, 0.0, -1
        # The best end so far: a row that is left alone, its own column given up.
        best, free = alone - gain[first], first
        while True:
            column = _nearest(row, reached, costs, gain, price, far, before)
            if column < 0 or far[column] >= best:
                reached = best
                break
            reached = far[column]
            # Done: its row is kept, and it is not looked at again.
            source[column], before[column] = before[column], -2
            if owner[column] < 0:
                last = column
                break
            row = owner[column]
            if reached + alone - gain[row] < best:
                best, free = reached + alone - gain[row], row
        for j in range(columns):
            if before[j] == -2:
                price[j] += far[j] - reached
                if owner[j] >= 0:
                    gain[owner[j]] += reached - far[j]
        gain[first] += reached
        if last < 0:
            last, taken[free] = taken[free], -1
        _turn(first, last, source, owner, taken)


@kernel
def _turn(first: int, last: int, source: Ints, owner: Ints, taken: Ints) -> None:
    """Give every row of a path the next column; no path where the first row itself stays alone."""
    while last >= 0:
        row = source[last]
        owner[last] = row
        last, taken[row] = taken[row] if row != first else -1, last
