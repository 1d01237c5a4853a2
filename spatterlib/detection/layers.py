"""Layers of a build, by the pauses between spatter: a pure function of the times of the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatterlib.detection.defaults import Gap
from spatterlib.errors import ParameterError
from spatterlib.stores.chunks import column_chunks, is_store
from spatterlib.types import Store

__all__ = ["LAYER", "Layers", "gap_of", "layers"]

_FRAMES = re.compile(r"(\d+) ?(?:frames?|f)")

LAYER = np.dtype([("layer", "<i8"), ("start", "<f8"), ("stop", "<f8"), ("detections", "<i8")])
"""One row per layer: number from 1, time of its first and last spatter in s, number of detections."""

# No recoater crosses a powder bed and back in less than this, whatever the machine.
_SHORTEST_PAUSE = 1.0
# A recoating pause stands out from the pauses within a layer by at least this factor.
_LEAST_RATIO = 2.0
# One pause of no kind in so many layers is let pass.
_LAYERS_PER_STRANGE = 100


@dataclass(frozen=True, eq=False)
class Layers:
    """What `layers` found.

    Parameters
    ----------
    number : ndarray
        ``(n,)`` int64, layer of each time, from 1.
    gap : float
        S, pauses longer than this separate layers; infinity where there is one mode of pauses only, NaN where frames
        were counted.
    chosen : str
        How the gap came about, as a sentence.
    table : ndarray
        ``(layers,)`` `LAYER`.
    """

    number: NDArray[np.int64]
    gap: float
    chosen: str
    table: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.table)


def layers(times: ArrayLike | Store, gap: Gap = "auto", frames: ArrayLike | None = None) -> Layers:
    """Number the layers of a build by the pauses between spatter.

    Parameters
    ----------
    times : array_like or Store
        ``(n,)`` s, times of detections, in any order; or a store, whose times are read in chunks.
    gap : float or str
        S; a longer pause without spatter begins a new layer. "auto" finds the gap between the two modes of
        the pauses (within a layer; recoating), and one layer where there is only one mode. "700 frames" counts
        frames, as the original script does, whatever the frame rate.
    frames : array_like, optional
        ``(n,)`` int, frame of each detection; needed for a gap in frames, except of a store.

    Returns
    -------
    Layers

    Raises
    ------
    ParameterError
        If the gap is not a positive number, "auto", or a number of frames; or if that needs `frames`.

    Examples
    --------
    >>> import spatterlib as sp
    >>> found = sp.layers([0.0, 0.04, 0.08, 20.0, 20.04])
    >>> found.number.tolist(), len(found)
    ([1, 1, 1, 2, 2], 2)
    """
    counted = _frames_of(gap)
    if is_store(times):
        if counted is not None:
            return layers(times.column("time"), gap, times.column("frame"))
        store, count = times, len(times)
        return _layers(lambda: column_chunks(store, "time", count), count, gap)
    values = np.asarray(times, np.float64).reshape(-1)
    return (
        _layers(lambda: [values], len(values), gap) if counted is None else _layers_by_frames(values, counted, frames)
    )


def _layers(read: Callable[[], Iterable[NDArray[np.float64]]], count: int, gap: float | str) -> Layers:
    """Layers of times that come in chunks, as often as they are read."""
    moments = np.unique(np.concatenate([np.empty(0), *map(np.unique, read())]))
    pauses = np.diff(moments)
    limit, chosen = _auto_gap(pauses[pauses > 0]) if gap == "auto" else _given_gap(gap)
    begins = moments[1:][pauses > limit]
    number = np.empty(count, np.int64)
    done = 0
    for times in read():
        number[done : done + len(times)] = 1 + np.searchsorted(begins, times, side="right")
        done += len(times)
    return Layers(number, limit, chosen, _layer_table(read(), number))


def _layers_by_frames(times: NDArray[np.float64], count: int, frames: ArrayLike | None) -> Layers:
    order = np.argsort(times, kind="stable")
    if frames is None and len(order):
        raise ParameterError("a gap in frames needs the frame numbers: layers(times, gap, frames)")
    pauses = np.diff(np.asarray([] if frames is None else frames, np.float64)[order])
    number = np.empty(len(times), np.int64)
    number[order] = 1 + np.concatenate([[0], np.cumsum(pauses > count)])[: len(times)]
    chosen = f"given: pauses over {count} frames separate layers"
    return Layers(number, float("nan"), chosen, _layer_table([times], number))


def gap_of(attrs: Mapping[str, Any], given: Gap | None = None) -> Gap:
    """The gap that tells the layers of a store apart: the one that is given, else the store's own, else "auto".

    Examples
    --------
    >>> from spatterlib.detection.layers import gap_of
    >>> gap_of({"gap": 30.0}), gap_of({"gap": 30.0}, "auto"), gap_of({})
    (30.0, 'auto', 'auto')
    """
    if given is not None:
        return given
    own = attrs.get("gap")
    try:
        layers([], own if own is not None else "auto")
    except (ParameterError, TypeError):
        # Not of our making: what another program wrote into a store under this name.
        return "auto"
    return "auto" if own is None else own


def _frames_of(gap: object) -> int | None:
    """Number of frames that a gap says, if it says frames."""
    match = _FRAMES.fullmatch(gap.strip()) if isinstance(gap, str) else None
    return int(match[1]) if match and int(match[1]) else None


def _given_gap(gap: float | str) -> tuple[float, str]:
    if isinstance(gap, str) or not gap > 0:
        raise ParameterError(f"gap must be a number of seconds above 0, 'auto', or as '700 frames', got {gap!r}")
    return float(gap), f"given: pauses over {gap:g} s separate layers"


def _auto_gap(pauses: NDArray[np.float64]) -> tuple[float, str]:
    """Gap between the two modes of the pauses.

    Each step in the sorted pauses is a candidate if the pauses above it are long enough for a recoater, at
    least twice as long as those below, and longer than chance allows if spatter within a layer comes at
    random (exponential pauses: the longest of N is improbable beyond ``mean * ln(N / 0.01)``). The longer a
    build, the stranger its strangest pause: in one of a hundred layers one may lie between those below and those
    above. Among the candidates the step that is wide (on a logarithmic scale) and has many pauses above wins, so
    that one long stop of the machine does not outvote the recoating; the gap is its widest part.
    """
    sorted_ = np.sort(pauses)
    below, above = sorted_[:-1], sorted_[1:]
    counts = np.arange(1, len(sorted_))
    by_chance = np.cumsum(below) / counts * np.log(counts / 0.01)
    strange = (len(sorted_) - counts) // _LAYERS_PER_STRANGE
    usual = sorted_[np.maximum(counts - 1 - strange, 0)]
    usable = (above >= _SHORTEST_PAUSE) & (above >= _LEAST_RATIO * usual) & (above > by_chance)
    if not usable.any():
        return float("inf"), f"one layer: the {len(pauses)} pauses between spatter have one mode only"
    score = np.where(usable, np.log(above / usual) * np.log1p(len(sorted_) - counts), -np.inf)
    best = int(np.argmax(score))
    lowest = max(best - int(strange[best]), 0)
    best = lowest + int(np.argmax(np.log(above / below)[lowest : best + 1]))
    gap = float(np.sqrt(below[best] * above[best]))
    count = len(sorted_) - 1 - best
    longer = f"{count} pauses from {above[best]:.3g} s on" if count > 1 else f"one pause of {above[best]:.3g} s"
    return gap, f"{gap:.3g} s: between the pauses within a layer (up to {below[best]:.3g} s) and the {longer}"


def _layer_table(chunks: Iterable[NDArray[np.float64]], number: NDArray[np.int64]) -> NDArray[np.void]:
    count = int(number.max()) if len(number) else 0
    table = np.zeros(count, LAYER)
    table["layer"] = np.arange(1, count + 1)
    table["start"], table["stop"] = np.inf, -np.inf
    table["detections"] = np.bincount(number, minlength=count + 1)[1:]
    done = 0
    for times in chunks:
        own = number[done : done + len(times)] - 1
        with np.errstate(invalid="ignore"):  # a time that is not known stays so
            np.minimum.at(table["start"], own, times)
            np.maximum.at(table["stop"], own, times)
        done += len(times)
    return table
