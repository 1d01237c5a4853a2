"""What filters take out, in rows and in light: one that fits a camera badly drops what matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatterlib.plugins.registry import identity
from spatterlib.types import Detections, Filter

__all__ = ["FilterTally", "rows_and_light", "tallies", "unfit"]

# More of the light than this in the boxes that one filter took out: it does not fit the recording.
_MOST = 0.5


@dataclass(frozen=True)
class FilterTally:
    """What a filter took out of a recording.

    Parameters
    ----------
    id : str
        The filter's.
    rows : int
        How many rows.
    light : float
        Share of the light in all boxes that were found, 0-1.
    area : float
        Px², area of these rows, the mean by light; 0 where there are none.
    options : dict
        The filter's parameters.
    """

    id: str
    rows: int
    light: float
    area: float
    options: dict[str, object]

    def option(self) -> str:
        """The options that let through what was taken out, with their values."""
        names = list(self.options)
        if {"min_area", "max_area"} <= self.options.keys():
            names = ["max_area"] if self.area > float(str(self.options["max_area"])) else ["min_area"]
        named = (f"--{name.replace('_', '-')} (now {self.options[name]})" for name in names)
        return " or ".join(named) or f"filter {self.id}"


def rows_and_light(table: Detections) -> NDArray[np.float64]:
    """``(3,)``: rows, light in their boxes, and light times area, which add up over tables."""
    if not len(table):
        return np.zeros(3)
    grey = sum(table[name].astype(np.float64) for name in ("red", "green", "blue"))
    light = grey * table["width"] * table["height"]
    return np.array([len(table), light.sum(), (light * table["area"]).sum()])


def tallies(filters: Sequence[Filter], sums: NDArray[np.float64]) -> tuple[FilterTally, ...]:
    """Of ``(filters + 1, 3)`` sums of `rows_and_light`, the last those of rows that stayed."""
    whole = max(float(sums[:, 1].sum()), 1e-9)
    named = [identity(filter_) for filter_ in filters]
    return tuple(
        FilterTally(options.pop("id"), int(rows), light / whole, weighted / light if light else 0.0, options)
        for options, (rows, light, weighted) in zip(named, sums.tolist(), strict=False)
    )


def unfit(several: Sequence[FilterTally]) -> FilterTally | None:
    """The filter that took out most of the light, if one did."""
    return next((tally for tally in several if tally.light > _MOST), None)
