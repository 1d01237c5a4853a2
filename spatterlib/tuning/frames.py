"""Which frames of a recording are worth a person's time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.detect import apply_filter, sifted
from spatterlib.detection.matching import matched
from spatterlib.errors import ParameterError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.tuning.variation import neighbours, replaced, variable
from spatterlib.types import DETECTION, Clip, Detections, Video
from spatterlib.video.opening import clips

__all__ = ["spread", "teaching_frames"]

_LOOKED_AT = 1600
_BLOCK = 16
_OVERLAP = 0.5


def spread(first: int, last: int, most: int = _LOOKED_AT, block: int = _BLOCK) -> list[range]:
    """Stretches of consecutive frames, evenly over a recording; all frames where they are few.

    Examples
    --------
    >>> from spatterlib.tuning.frames import spread
    >>> spread(0, 100, 40, 20)
    [range(0, 20), range(80, 100)]
    """
    if last - first <= most:
        return [range(first, last)]
    count = max(most // block, 1)
    starts = np.linspace(first, last - block, count).astype(int).tolist()
    return [range(start, start + block) for start in starts]


def _committee(settings: ExtractionSettings) -> list[tuple[Any, list[Any]]]:
    """The detector and filters, and with each number moved a little up and down."""
    detector, filters = settings.plugins()
    found: list[tuple[Any, list[Any]]] = [(detector, filters)]
    for name in variable(detector):
        if isinstance(getattr(detector, name), int | float):
            found += [(other, filters) for other in replaced(detector, name, neighbours(detector, name))]
    for place, filter_ in enumerate(filters):
        for name in variable(filter_):
            if isinstance(getattr(filter_, name), int | float):
                for other in replaced(filter_, name, neighbours(filter_, name)):
                    found.append((detector, [*filters[:place], other, *filters[place + 1 :]]))
    return found


def teaching_frames(
    video: Video, settings: ExtractionSettings, span: range, count: int, *, pick: str = "teach", seed: int = 1
) -> tuple[NDArray[np.int64], Detections]:
    """Numbers of frames to annotate, and what is found in them.

    Parameters
    ----------
    video : Video
        The opened recording.
    settings : ExtractionSettings
        What proposes boxes.
    span : range
        Frames to choose from; of a long recording stretches that are spread over it.
    count : int
        How many, at most.
    pick : {"teach", "random"}
        "teach": half are those about which the settings and settings a little beside them disagree most, a fifth
        those in which nothing is found, the rest those that are least alike. "random": any; of these a score
        is that of the recording.
    seed : int
        Of "random".

    Returns
    -------
    tuple of ndarray
        ``(count,)`` int64, ascending, and ``(n,)`` `DETECTION`.
    """
    if pick not in ("teach", "random"):
        raise ParameterError(f"pick must be 'teach' or 'random', got {pick!r}")
    looked, table, doubt = _looked_at(video, settings, span, doubting=pick == "teach")
    if pick == "random":
        order = np.random.default_rng(seed).permutation(len(looked))
        chosen = np.sort(looked[order[:count]])
    else:
        chosen = _chosen(looked, table, doubt, count, video.width, video.height)
    return chosen, table[np.isin(table["frame"], chosen)]


def _looked_at(
    video: Video, settings: ExtractionSettings, span: range, *, doubting: bool
) -> tuple[NDArray[np.int64], Detections, NDArray[np.float64]]:
    members = _committee(settings) if doubting else [settings.plugins()]
    lead = max(detector.lead for detector, _ in members)
    numbers, tables, doubts = [], [np.zeros(0, DETECTION)], []
    for clip in _clips(video, spread(span.start, span.stop), lead, settings.roi):
        own, others = _found(clip, members)
        mine = clip.numbers[clip.lead :]
        numbers.append(mine)
        tables.append(own)
        doubts.append(sum((_disagreement(own, other, mine) for other in others), np.zeros(len(mine))))
    if not numbers:
        raise ParameterError(f"{video.name}: no frame between {span.start} and {span.stop} decodes")
    return np.concatenate(numbers), np.concatenate(tables), np.concatenate(doubts)


def _clips(video: Video, spans: Iterable[range], lead: int, roi: Any) -> Iterator[Clip]:
    return itertools.chain.from_iterable(
        clips(video, lead=lead, start=span.start, stop=span.stop, roi=roi) for span in spans
    )


def _found(clip: Clip, members: Sequence[tuple[Any, list[Any]]]) -> tuple[Detections, list[Detections]]:
    """What each member finds; a detector that several have looks once."""
    raw: dict[str, Detections] = {}
    tables = []
    for detector, filters in members:
        key = repr(detector)
        if key not in raw:
            raw[key] = sifted(clip, detector, [])[0]
        table = raw[key]
        for filter_ in filters:
            table = apply_filter(filter_, table, clip)
        tables.append(table)
    return tables[0], tables[1:]


def _disagreement(own: Detections, other: Detections, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Boxes of one that the other has not, frame by frame."""
    pairs, _ = matched(own, other, _OVERLAP)
    alone = np.concatenate([np.delete(own["frame"], pairs[:, 0]), np.delete(other["frame"], pairs[:, 1])])
    return np.bincount(np.searchsorted(numbers, alone), minlength=len(numbers)).astype(np.float64)[: len(numbers)]


def _chosen(
    looked: NDArray[np.int64], table: Detections, doubt: NDArray[np.float64], count: int, width: int, height: int
) -> NDArray[np.int64]:
    features = _features(looked, table, width, height)
    counts = features[:, 1] > 0
    chosen: list[int] = []
    quotas = ((count // 2, doubt > 0, doubt), (count // 5, ~counts, np.zeros(len(looked))))
    for quota, allowed, worth in quotas:
        _take(chosen, features, np.flatnonzero(allowed), worth, quota)
    _take(chosen, features, np.arange(len(looked)), np.zeros(len(looked)), count - len(chosen))
    return np.sort(looked[chosen])


def _features(looked: NDArray[np.int64], table: Detections, width: int, height: int) -> NDArray[np.float64]:
    """``(n, 5)``: time, how many boxes, their mean place and size, each about 0 to 1."""
    place = np.searchsorted(looked, table["frame"])
    counts = np.bincount(place, minlength=len(looked)).astype(np.float64)
    columns = [(looked - looked[0]) / max(looked[-1] - looked[0], 1), np.log1p(counts)]
    middles = (
        (table["x"] + table["width"] / 2) / width,
        (table["y"] + table["height"] / 2) / height,
        np.log1p(table["area"]) / 10,
    )
    columns += [np.bincount(place, values, len(looked)) / np.maximum(counts, 1) for values in middles]
    return np.stack(columns, axis=1)


def _take(
    chosen: list[int], features: NDArray[np.float64], allowed: NDArray[np.intp], worth: NDArray[np.float64], count: int
) -> None:
    """Add frames one by one: the one of most worth, and as far as may be from those that are chosen."""
    if not len(allowed):
        return
    far = np.full(len(features), np.inf)
    for index in chosen:
        far = np.minimum(far, _distance(features, index))
    scale = max(float(worth[allowed].max()), 1.0)
    free = np.zeros(len(features), np.bool_)
    free[allowed] = True
    free[chosen] = False
    for _ in range(min(count, int(free.sum()))):
        value = np.minimum(far, 2.0) * (0.1 + worth / scale)
        best = int(np.argmax(np.where(free, value, -1.0)))
        chosen.append(best)
        free[best] = False
        far = np.minimum(far, _distance(features, best))


def _distance(features: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(((features - features[index]) ** 2).sum(axis=1)))
