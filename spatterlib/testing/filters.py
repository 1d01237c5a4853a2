"""Checks of filters: `spatterlib.plugins.hookspecs.spatter_filters`, sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from spatterlib.testing.laws import DATACLASS, Check, checks, must, shortened, steady
from spatterlib.testing.scenes import plumes
from spatterlib.types import DETECTION, Clip, Detections, Filter

__all__ = ["filter_checks"]


def filter_checks(filter_: Filter, clip: Clip | None = None) -> tuple[Check, ...]:
    """The laws of a filter as checks.

    Parameters
    ----------
    filter_ : Filter
        An instance.
    clip : Clip, optional
        In whose frames the rows lie, where it needs certain ones, such as those of a mask's size.

    Returns
    -------
    tuple of callable
        Checks, named as the laws; each raises `spatterlib.errors.LawError` if its law is broken.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.testing import filter_checks
    >>> for check in filter_checks(sp.make("filter", "area")):
    ...     check()
    """
    return checks(LAWS, filter_, clip or Clip.of(plumes(8), start=102, lead=2))


def _on_any_table(clip: Clip, look: Callable[[Detections], None]) -> None:
    from hypothesis import given

    from spatterlib.testing.strategies import tables

    steady(40)(given(tables(clip))(look))()


def _answer(filter_: Filter, table: Detections, clip: Clip) -> NDArray[np.bool_]:
    keep = filter_(table, clip)
    right = isinstance(keep, np.ndarray) and keep.dtype == np.bool_ and keep.shape == table.shape
    must(right, f"for {len(table)} rows it returned {shortened(repr(keep))}")
    return keep


def it_returns_a_bool_per_row(filter_: Filter, clip: Clip) -> None:
    """The answer is a mask: "it returns ``(n,)`` bool, True = keep"."""
    _on_any_table(clip, lambda table: must(_answer(filter_, table, clip) is not None, ""))


def no_rows_are_rows_too(filter_: Filter, clip: Clip) -> None:
    """Most clips hold no spatter: "for an empty table too"."""
    _answer(filter_, np.empty(0, DETECTION), clip)


def other_rows_do_not_matter(filter_: Filter, clip: Clip) -> None:
    """Each row stands for itself: "the answer for a row does not depend on the other rows"."""

    def look(table: Detections) -> None:
        keep = _answer(filter_, table, clip)
        for row in range(len(table)):
            alone = _answer(filter_, table[row : row + 1], clip)
            must(alone[0] == keep[row], f"row {row} of {len(table)} gets {keep[row]} and alone {alone[0]}")
        must(np.array_equal(_answer(filter_, table[::-1], clip), keep[::-1]), "the other way round it keeps others")

    _on_any_table(clip, look)


def nothing_is_modified(filter_: Filter, clip: Clip) -> None:
    """Other filters come behind it: "neither table nor clip is modified"."""
    frames = clip.frames.copy()

    def look(table: Detections) -> None:
        before = table.copy()
        filter_(table, clip)
        must(np.array_equal(table, before), "it modified the table")

    _on_any_table(clip, look)
    again = np.stack([clip.rgb(index) for index in range(len(frames))])
    must(np.array_equal(again, frames), "it modified a frame")


def the_same_rows_get_the_same_answer(filter_: Filter, clip: Clip) -> None:
    """Whatever was looked at before: "the same rows get the same answer"."""

    def look(table: Detections) -> None:
        first = _answer(filter_, table, clip)
        _answer(filter_, table[: len(table) // 2], clip)
        must(np.array_equal(_answer(filter_, table, clip), first), "the second time it keeps other rows")

    _on_any_table(clip, look)


LAWS = (
    it_returns_a_bool_per_row,
    no_rows_are_rows_too,
    other_rows_do_not_matter,
    nothing_is_modified,
    the_same_rows_get_the_same_answer,
    *DATACLASS,
)
