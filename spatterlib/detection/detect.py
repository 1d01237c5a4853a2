"""Detection clip by clip: detector and filters applied, their contract checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.defaults import DETECTOR, FILTERS, ORIGINAL, DetectorSpec, FilterSpec, Position, Roi
from spatterlib.detection.tally import rows_and_light
from spatterlib.errors import ContractError, ParameterError, SpatterlibError, one_line
from spatterlib.plugins.registry import make, plugin_in_words
from spatterlib.types import DETECTION, Clip, Detections, Detector, Filter, Video
from spatterlib.video.opening import clips, open_video, position

__all__ = [
    "ORIGINAL",
    "apply_filter",
    "contract_problem",
    "detect",
    "detections_in",
    "frame_span",
    "plugins_of",
    "sifted",
]


def detect(
    video: str | os.PathLike[str] | Video | Clip,
    detector: DetectorSpec = DETECTOR,
    filters: Sequence[FilterSpec] = FILTERS,
    *,
    start: Position = None,
    stop: Position = None,
    roi: Roi = None,
    fps: float | None = None,
    value_range: tuple[float, float] | None = None,
    axes: str | None = None,
    gap: float | str | None = None,
) -> Iterator[tuple[Clip, Detections]]:
    """Detect spatter clip by clip.

    Parameters
    ----------
    video, detector, filters, start, stop, roi, fps, value_range, axes
        As in `extract`; a `Clip` is taken as it is.
    gap : float or str, optional
        Not used: layers are told apart afterwards. It is here so that `ORIGINAL` suits `detect` as it does `extract`.

    Yields
    ------
    tuple of Clip and ndarray
        The clip and ``(n,)`` `DETECTION` of what passed all filters, in full-frame coordinates;
        ``clip.crops(found)`` gives the crops.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> frames = np.zeros((3, 120, 160, 3), np.uint8)
    >>> frames[1, 30:90, 40:100] = 255
    >>> [found["frame"].tolist() for clip, found in sp.detect(sp.Clip.of(frames))]
    [[1]]
    """
    chosen, kept = plugins_of(detector, filters)
    if isinstance(video, Clip):
        yield video, detections_in(video, chosen, kept)
        return
    with open_video(video, fps, value_range=value_range, axes=axes) as source:
        span = frame_span(source, start, stop)
        for clip in clips(source, lead=chosen.lead, start=span.start, stop=span.stop, roi=roi):
            yield clip, detections_in(clip, chosen, kept)


def plugins_of(detector: DetectorSpec, filters: Sequence[FilterSpec]) -> tuple[Detector, list[Filter]]:
    """Objects of the ids, identities or objects that a caller gave."""
    if isinstance(filters, str | Mapping):
        raise ParameterError(f"filters is a list of filters, got {filters!r}; write [{filters!r}]")
    return make("detector", detector), [make("filter", spec) for spec in filters]


def frame_span(video: Video, start: Position, stop: Position) -> range:
    """Numbers of the frames from `start` to before `stop`."""
    first = 0 if start is None else position(video, start)
    last = len(video.times) if stop is None else position(video, stop)
    if last <= first:
        raise ParameterError(f"stop must lie behind start, got frames {first} and {last} of {video.name}")
    return range(first, last)


def detections_in(clip: Clip, detector: Detector, filters: Sequence[Filter]) -> Detections:
    """Detections that pass all filters, in full-frame coordinates, the plugins' contract checked.

    Raises
    ------
    ContractError
        If a plugin fails or breaks its contract; names it, its distribution and version, and the frames.
    """
    return sifted(clip, detector, filters)[0]


def sifted(clip: Clip, detector: Detector, filters: Sequence[Filter]) -> tuple[Detections, NDArray[np.float64]]:
    """As `detections_in`, and ``(filters + 1, 3)`` `rows_and_light` of what each filter took out and of what stayed."""
    with _named("detector", detector, clip):
        table = detector(clip)
        if problem := contract_problem(table, clip):
            raise _BrokenError(problem)
    if clip.roi is not None:
        table = table.copy()
        table["x"] += clip.roi[0]
        table["y"] += clip.roi[1]
    sums = np.zeros((len(filters) + 1, 3))
    before = rows_and_light(table)
    for number, filter_ in enumerate(filters):
        table = apply_filter(filter_, table, clip)
        after = rows_and_light(table)
        sums[number], before = before - after, after
    sums[-1] = before
    return table, sums


def apply_filter(filter_: Filter, table: Detections, clip: Clip) -> Detections:
    """Rows that a filter keeps, its contract checked.

    Raises
    ------
    ContractError
        If the filter fails or breaks its contract.
    """
    with _named("filter", filter_, clip):
        keep = filter_(table, clip)
        if not isinstance(keep, np.ndarray) or keep.dtype != np.bool_ or keep.shape != table.shape:
            raise _BrokenError(f"it must return {table.shape} bool, got {_described(keep)}")
    return table[keep]


class _BrokenError(Exception):
    """What a plugin returned is not what it must."""


@contextmanager
def _named(kind: str, plugin: Any, clip: Clip) -> Iterator[None]:
    """Say of an error whose it is and in which frames; what spatterlib's own errors say is said already."""
    try:
        yield
    except SpatterlibError:
        raise
    except Exception as error:
        numbers = clip.numbers[clip.lead :]
        place = f"in frames {numbers[0]}-{numbers[-1]}" if len(numbers) else "in a clip without frames"
        what = (
            f"broke its contract {place}: "
            if isinstance(error, _BrokenError)
            else f"failed {place}: {type(error).__name__}: "
        )
        said = one_line(error)
        raise ContractError(f"{plugin_in_words(kind, plugin)} {what}{said}") from error


def contract_problem(table: Any, clip: Clip) -> str:
    """What is wrong with a detector's table, or an empty string.

    Parameters
    ----------
    table : object
        What it returned.
    clip : Clip
        What it was given.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.detection.detect import contract_problem
    >>> contract_problem([], sp.Clip.of(np.zeros((2, 9, 9, 3), np.uint8)))
    'it must return an (n,) array of dtype DETECTION, got list'
    """
    if not isinstance(table, np.ndarray) or table.dtype != DETECTION or table.ndim != 1:
        return f"it must return an (n,) array of dtype DETECTION, got {_described(table)}"
    numbers = clip.numbers
    strange = table["frame"][(table["frame"] < numbers[0]) | (table["frame"] > numbers[-1])]
    if len(strange):
        return f"a row is of frame {strange[0]}, a frame outside {numbers[0]}-{numbers[-1]}"
    _, _, width, height = clip.box
    right, bottom = table["x"].astype(np.int64) + table["width"], table["y"].astype(np.int64) + table["height"]
    inside = (table["x"] >= 0) & (table["y"] >= 0) & (right <= width) & (bottom <= height)
    outside = table[~(inside & (table["width"] > 0) & (table["height"] > 0))]
    if len(outside):
        x, y, *size = (int(outside[0][name]) for name in ("x", "y", "width", "height"))
        return (
            f"a box lies outside the frame of {width}x{height} px or is empty: "
            f"{size[0]}x{size[1]} px at ({x}, {y}) in frame {outside[0]['frame']}"
        )
    return ""


def _described(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
