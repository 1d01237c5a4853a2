"""How good what was found is, against boxes that people drew: precision, recall, F1, average precision, intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spatterlib.annotations.record import Annotations
from spatterlib.common.student import student
from spatterlib.common.wording import counted
from spatterlib.detection.matching import matched
from spatterlib.errors import ParameterError
from spatterlib.simulation.truth import Truth
from spatterlib.types import Detections

__all__ = ["Accuracy", "Marks", "Share", "counts_by_frame", "marks_of", "ratio", "score_annotations"]

_UNKNOWN = (float("nan"), float("nan"))
_FEWEST_RECORDINGS = 5
_STRETCHES = 10
_FEWEST_IN_A_BIN = 5
# Of the smaller box: what lies on a mark that need not be found is no fault.
_ON_UNWANTED = 0.5


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; NaN where nobody can know it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, eq=False)
class Marks:
    """What should be found in the frames that were looked at.

    Parameters
    ----------
    frames : ndarray
        ``(f,)`` int64, ascending.
    table : ndarray
        ``(n,)`` with fields frame, x, y, width, height, area; perhaps ``peak``.
    wanted : ndarray
        ``(n,)`` bool: False for what need not be found; finding it is no fault.
    peak : ndarray
        ``(n,)`` float64, grey levels, NaN where it is not known.
    """

    frames: NDArray[np.int64]
    table: NDArray[np.void]
    wanted: NDArray[np.bool_]
    peak: NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """What `score_annotations` found.

    Parameters
    ----------
    by : {"iou", "distance"}
        How boxes were matched.
    limit : float
        Least intersection over union, or largest distance of middles in px.
    frames, marks, found : int
        Frames that were looked at; boxes that had to be found in them; boxes that were found in them.
    precision, recall, f1, average_precision : Share
        With 95 % intervals. Average precision ranks by `rank`.
    clusters : str
        What the intervals take for independent: recordings, or stretches of time.
    rank : str
        The column that says how sure a detection is.
    by_size, by_brightness : tuple
        ``(low, high, marks, recall)`` of thirds of the marks: px² of the box; grey levels of the brightest pixel.
    worst : tuple of (recording, frame, missed, false)
        Frames with most faults, worst first.
    """

    by: Literal["iou", "distance"]
    limit: float
    frames: int
    marks: int
    found: int
    precision: Share
    recall: Share
    f1: Share
    average_precision: Share
    clusters: str
    rank: str
    by_size: tuple[tuple[float, float, int, float], ...] = ()
    by_brightness: tuple[tuple[float, float, int, float], ...] = ()
    worst: tuple[tuple[int, int, int, int], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        how = f"IoU {self.limit:g}" if self.by == "iou" else f"middles within {self.limit:g} px"
        return (
            f"{how}: F1 {self.f1}, precision {self.precision}, recall {self.recall}, "
            f"AP {self.average_precision} ({counted(self.marks, 'mark')} in {counted(self.frames, 'frame')}, "
            f"{counted(self.found, 'detection')}; 95 % intervals by {self.clusters})"
        )


def marks_of(
    truth: Annotations | Truth | NDArray[np.void],
    areas: tuple[float, float] = (0.0, float("inf")),
    peak: NDArray[np.float64] | None = None,
) -> Marks:
    """Marks of annotations, or of the truth of a simulated recording, whose every frame was looked at.

    `areas`, px²: what need not be found lies outside; of annotations it is the area of the box.
    """
    if not 0 <= areas[0] <= areas[1]:
        raise ParameterError(f"areas must be 0 <= smallest <= largest px², got {areas}")
    if isinstance(truth, Annotations):
        table, frames = truth.table, truth.frames
        bright = np.full(len(table), np.nan) if peak is None else np.asarray(peak, np.float64)
    else:
        table = truth.events if isinstance(truth, Truth) else truth
        last = truth.settings.frames if isinstance(truth, Truth) else int(table["frame"].max(initial=-1)) + 1
        frames, bright = np.arange(last), table["peak"].astype(np.float64)
    wanted = (table["area"] >= areas[0]) & (table["area"] <= areas[1])
    return Marks(frames, table, wanted, bright)


def counts_by_frame(found: Detections, marks: Marks, limit: float, by: Literal["iou", "distance"]) -> NDArray[np.int64]:
    """``(frames, 3)``: hits, false detections and missed marks in each frame that was looked at."""
    table = found[np.isin(found["frame"], marks.frames)]
    marked = marks.table[marks.wanted]
    pairs, false, missed = _faults(table, marks, marked, matched(table, marked, limit, by)[0])
    return np.stack(
        [
            _per_frame(marked["frame"][pairs[:, 1]], marks.frames),
            _per_frame(table["frame"][false], marks.frames),
            _per_frame(marked["frame"][missed], marks.frames),
        ],
        axis=1,
    )


def _faults(
    table: Detections, marks: Marks, marked: NDArray[np.void], pairs: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """The pairs, which rows are false, which marks were missed; a row on a mark that need not be found is neither."""
    false, missed = np.ones(len(table), np.bool_), np.ones(len(marked), np.bool_)
    false &= ~matched(table, marks.table[~marks.wanted], _ON_UNWANTED)[1]
    false[pairs[:, 0]] = missed[pairs[:, 1]] = False
    return pairs, false, missed


def _per_frame(numbers: NDArray[np.int64], frames: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(frames, numbers), minlength=len(frames))[: len(frames)]


def ratio(above: NDArray[Any], below: NDArray[Any]) -> Share:
    """A share of sums over clusters, with the 95 % interval of Student's t on the scale of log-odds.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.detection.accuracy import ratio
    >>> str(ratio(np.array([8, 9, 7, 9]), np.array([10, 10, 10, 10])))
    '0.825 (0.621 to 0.931)'
    """
    total, count = float(below.sum()), len(below)
    if not total:
        return Share(float("nan"), *_UNKNOWN)
    value = float(above.sum() / total)
    moved = (above - value * below) / total
    return Share(value, *_interval(value, count / max(count - 1, 1) * float((moved**2).sum()), count))


def _interval(value: float, variance: float, clusters: int) -> tuple[float, float]:
    if clusters < 2:
        return _UNKNOWN
    if value >= 1:
        return 0.025 ** (1 / clusters), 1.0
    if value <= 0:
        return 0.0, 1 - 0.025 ** (1 / clusters)
    half = student(clusters - 1) * variance**0.5 / (value * (1 - value))
    low, high = np.exp(-np.logaddexp(0, -(np.log(value / (1 - value)) + np.array([-half, half]))))
    # Rounding must not put a bound on the other side of what it bounds.
    return min(float(low), value), max(float(high), value)


def score_annotations(
    found: Any,
    truth: Any,
    *,
    by: Literal["iou", "distance"] = "iou",
    limit: float | None = None,
    rank: str = "peak",
    areas: tuple[float, float] = (0.0, float("inf")),
) -> Accuracy:
    """Compare detections with boxes that people drew, in the frames that they looked at.

    Parameters
    ----------
    found : ndarray, store, or sequence of these
        ``(n,)`` `DETECTION`, or anything with such a ``table``; one for each recording.
    truth : Annotations, Truth, or sequence of these
        What is right: annotations from `read_annotations`, or the truth of a simulated recording.
    by : {"iou", "distance"}
        A detection and a mark of the same frame match by intersection over union, or by the distance of middles.
    limit : float, optional
        Least intersection over union, 0.5 if not given; or largest distance in px, 20.
    rank : str
        The column that says how sure a detection is, for average precision: "peak", "area", or any other of the table.
    areas : tuple of float
        Px², smallest and largest mark that must be found.

    Returns
    -------
    Accuracy

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.annotations.record import Annotations
    >>> marked = Annotations.of(range(4), [(1, 10, 10, 40, 40), (2, 10, 10, 40, 40)])
    >>> found = np.zeros(3, sp.DETECTION)
    >>> found["frame"], found["x"], found["y"], found["width"], found["height"] = [1, 2, 3], 12, 10, 40, 40
    >>> accuracy = sp.score_annotations(found, marked)
    >>> round(accuracy.precision.value, 3), accuracy.recall.value, accuracy.f1.value
    (0.667, 1.0, 0.8)
    """
    if by not in ("iou", "distance"):
        raise ParameterError(f"by must be 'iou' or 'distance', got {by!r}")
    limit = (0.5 if by == "iou" else 20.0) if limit is None else limit
    if not limit > 0 or (by == "iou" and limit > 1) or not np.isfinite(limit):
        raise ParameterError(
            f"limit must be {'above 0 and at most 1' if by == 'iou' else 'a number of px above 0'}, got {limit}"
        )
    pairs = _pairs(found, truth, areas)
    if rank not in (pairs[0][0].dtype.names or ()):
        raise ParameterError(
            f"rank must be a column of the table, {', '.join(pairs[0][0].dtype.names or ())}, got {rank!r}"
        )
    counts = [counts_by_frame(table, marks, limit, by) for table, marks in pairs]
    groups, said = _clusters([marks.frames for _, marks in pairs])
    whole = np.concatenate(counts)
    sums = np.stack([whole[groups == key].sum(axis=0) for key in np.unique(groups)])
    hits, false, missed = sums.T
    ranked = [_ranked(table, marks, limit, by, rank) for table, marks in pairs]
    offsets = np.cumsum([0, *(len(marks.frames) for _, marks in pairs)])
    return Accuracy(
        by,
        float(limit),
        len(whole),
        int(hits.sum() + missed.sum()),
        sum(int(np.isin(table["frame"], marks.frames).sum()) for table, marks in pairs),
        ratio(hits, hits + false),
        ratio(hits, hits + missed),
        ratio(2 * hits, 2 * hits + false + missed),
        _average_precision(ranked, whole, groups, offsets),
        said,
        rank,
        _thirds(pairs, limit, by, lambda marks: marks.table["area"].astype(np.float64)),
        _thirds(pairs, limit, by, lambda marks: marks.peak),
        _worst(counts, [marks.frames for _, marks in pairs]),
    )


def _pairs(found: Any, truth: Any, areas: tuple[float, float]) -> list[tuple[Detections, Marks]]:
    several = isinstance(truth, Sequence)
    founds, truths = (list(found), list(truth)) if several else ([found], [truth])
    if len(founds) != len(truths) or not truths:
        raise ParameterError(
            f"expected a truth for each recording, got {len(founds)} recordings and {len(truths)} truths"
        )
    marks = [item if isinstance(item, Marks) else marks_of(item, areas) for item in truths]
    if not sum(len(item.frames) for item in marks):
        raise ParameterError("expected annotations of at least one frame, got none")
    return [(np.asarray(getattr(table, "table", table)), own) for table, own in zip(founds, marks, strict=True)]


def _clusters(frames: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], str]:
    """A cluster for each frame: its recording where there are enough, else its stretch of time."""
    if len(frames) >= _FEWEST_RECORDINGS:
        return np.repeat(np.arange(len(frames)), [len(own) for own in frames]), counted(len(frames), "recording")
    parts, first = [], 0
    for own in frames:
        number = min(_STRETCHES, len(own))
        parts.append(first + np.arange(len(own)) * number // max(len(own), 1))
        first += number
    return np.concatenate(parts), f"{first} stretches of time"


def _ranked(
    table: Detections, marks: Marks, limit: float, by: Literal["iou", "distance"], rank: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
    """Of the detections that count: how sure they are, whether they are right, place of their frame."""
    table = table[np.isin(table["frame"], marks.frames)]
    sure = table[rank].astype(np.float64)
    marked = marks.table[marks.wanted]
    pairs, false, _ = _faults(table, marks, marked, matched(table, marked, limit, by, sure)[0])
    right = np.zeros(len(table), np.bool_)
    right[pairs[:, 0]] = True
    counted_ = right | false
    return sure[counted_], right[counted_], np.searchsorted(marks.frames, table["frame"])[counted_]


def _average_precision(
    ranked: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]],
    counts: NDArray[np.int64],
    groups: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> Share:
    """Area under precision over recall, all points; its interval from leaving out one cluster after the other."""
    sure = np.concatenate([own[0] for own in ranked])
    right = np.concatenate([own[1] for own in ranked])
    place = np.concatenate([own[2] + first for own, first in zip(ranked, offsets, strict=False)])
    wanted = counts[:, 0] + counts[:, 2]
    value = _area(sure, right, int(wanted.sum()))
    keys = np.unique(groups)
    if not np.isfinite(value) or len(keys) < 2:
        return Share(value, *_UNKNOWN)
    without = np.array(
        [
            _area(sure[keep], right[keep], int(wanted[groups != key].sum()))
            for key in keys
            for keep in [groups[place] != key]
        ]
    )
    without = without[np.isfinite(without)]
    variance = (len(without) - 1) / max(len(without), 1) * float(((without - without.mean()) ** 2).sum())
    return Share(value, *_interval(value, variance, len(without)))


def _area(sure: NDArray[np.float64], right: NDArray[np.bool_], wanted: int) -> float:
    if not wanted:
        return float("nan")
    if not len(sure):
        return 0.0
    order = np.argsort(-sure, kind="stable")
    hits = np.cumsum(right[order])
    # Detections that are equally sure are one point of the curve.
    last = np.append(np.diff(sure[order]) != 0, True)
    precision, recall = (hits / np.arange(1, len(hits) + 1))[last], (hits / wanted)[last]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(np.concatenate([[0.0], recall])) * envelope).sum())


def _thirds(
    pairs: Sequence[tuple[Detections, Marks]],
    limit: float,
    by: Literal["iou", "distance"],
    of: Callable[[Marks], NDArray[np.float64]],
) -> tuple[tuple[float, float, int, float], ...]:
    """Recall by thirds of what the marks have."""
    values, hits = [], []
    for table, marks in pairs:
        marked = marks.table[marks.wanted]
        hit = np.zeros(len(marked), np.bool_)
        hit[matched(table, marked, limit, by)[0][:, 1]] = True
        values.append(of(marks)[marks.wanted])
        hits.append(hit)
    value, hit = np.concatenate(values), np.concatenate(hits)
    value, hit = value[np.isfinite(value)], hit[np.isfinite(value)]
    if len(value) < 3 * _FEWEST_IN_A_BIN:
        return ()
    edges = np.unique(np.quantile(value, [0, 1 / 3, 2 / 3, 1]))
    bins = np.clip(np.searchsorted(edges, value, "right") - 1, 0, max(len(edges) - 2, 0))
    return tuple(
        (float(value[own].min()), float(value[own].max()), int(own.sum()), float(hit[own].mean()))
        for number in range(max(len(edges) - 1, 1))
        if (own := bins == number).any()
    )


def _worst(
    counts: Sequence[NDArray[np.int64]], frames: Sequence[NDArray[np.int64]], most: int = 12
) -> tuple[tuple[int, int, int, int], ...]:
    rows = [
        (recording, int(frame), int(missed), int(false))
        for recording, (own, numbers) in enumerate(zip(counts, frames, strict=True))
        for frame, (_, false, missed) in zip(numbers.tolist(), own.tolist(), strict=True)
        if missed + false
    ]
    return tuple(sorted(rows, key=lambda row: (-row[2] - row[3], row[0], row[1]))[:most])
