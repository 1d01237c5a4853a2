"""From probabilities of crops to verdicts on spans of time: pure functions of times, events and probabilities.

Crops are no independent witnesses: an event is seen in many frames. So crops vote together, an event once in each
second that it lasts. The interval of a span is that of votes as dependent as those of recordings that were held out of
the training (`spatterlib.learning.layer_record`); of a model without such a record it comes from drawing its votes
again. A model that was adapted to labelled layers decides by these (`spatterlib.learning.layer_thresholds`). The
interval says how far chance within the recording could move the answer, not whether this recording differs from those
that the model learned from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.student import student
from spatterlib.detection.events import vote_numbers
from spatterlib.learning.familiar_spans import FamiliarSpans, Unlike
from spatterlib.learning.layer_record import LayerRecord, vote_means
from spatterlib.learning.layer_thresholds import LayerThresholds
from spatterlib.verdicts.rules import Rules

__all__ = ["STATES", "Known", "Span", "SpanFields", "VerdictState", "judge", "judge_rows"]

VerdictState: TypeAlias = Literal["OK", "attention", "critical", "no verdict", "decided"]

STATES: tuple[VerdictState, ...] = ("OK", "attention", "critical", "no verdict", "decided")
"""OK: surely the expected class. Attention: enough was seen, but it is not clear which class. Critical: surely another
class than the expected. No verdict: too little was seen, or crops unlike those of the training. Decided: surely one
class, and nobody said which is expected."""


class Known(NamedTuple):
    """What is known of a model's training.

    How its recordings looked, why no verdict can rest on it here, what layers held out of it say (see
    `spatterlib.learning.layer_record`), why no verdict can rest on it anywhere (see `spatterlib.learning.skill`), and
    when a layer is decided (see `spatterlib.learning.layer_thresholds`).
    """

    spans: FamiliarSpans | None = None
    refused: str = ""
    record: LayerRecord | None = None
    unproven: str = ""
    thresholds: LayerThresholds | None = None


NOTHING = Known()
"""Of a model whose run says nothing of it."""


class SpanFields(TypedDict):
    """The fields of `Span` as JSON has them: what is not a number is None."""

    number: Annotated[int, "of the layer, from 1; of a window: how many there were"]
    start: Annotated[float | None, "s, time of its first crop; of a window: where it begins"]
    stop: Annotated[float | None, "s, time of its last crop; of a window: where it ends"]
    label: Annotated[str | None, "the class; null where the verdict abstains"]
    leading: Annotated[str | None, "the most probable class, decided or not; null without votes"]
    probability: Annotated[float | None, "of `leading`, calibrated, mean over the votes; null without votes"]
    low: Annotated[
        float | None, "lower end of its 95 % interval, for the recording's other layers; null with < 3 votes"
    ]
    high: Annotated[float | None, "upper end"]
    votes: Annotated[int, "events by seconds"]
    events: Annotated[int, "boxes that overlap from frame to frame are one event"]
    crops: Annotated[int, "crops with a vote"]
    far: Annotated[float | None, "share of crops unlike those of the training; null if not checked"]
    state: Annotated[VerdictState, "OK, attention, critical, no verdict; decided where no class is expected"]
    reason: Annotated[str, "why, in words"]
    first_frame: Annotated[int, "number of the frame of its first crop; -1 without"]
    last_frame: Annotated[int, "of its last"]
    right: Annotated[float | None, "how often a layer so judged is right in recordings held out; null if not known"]
    unlike: Annotated[float | None, "how far all of it lies from the training's recordings, above 1 is far; or null"]


@dataclass(frozen=True)
class Span:
    """A span of time and the verdict on it.

    Parameters
    ----------
    number : int
        Of the layer or window, from 1.
    start, stop : float
        S.
    label : str or None
        The class, None where the verdict abstains.
    leading : str or None
        The most probable class, decided or not; None without votes.
    probability : float
        Of `leading`: mean over the votes of their calibrated probability; NaN without votes.
    low, high : float
        95 % interval of it, which also holds the mean of the recording's other layers where the model has a record of
        layers held out; NaN with less than three votes.
    votes, events, crops : int
        Events by seconds, events, crops with a vote.
    far : float
        Share of crops far from the training's; NaN if not checked.
    unlike : float
        How far its crops together lie from those of the recordings of the training of the leading class, in units of
        the limit: above 1 is far; NaN if not checked, or if too few streaks were seen.
    state : str
        One of `STATES`.
    reason : str
        Why, in words.
    first_frame, last_frame : int
        Of its crops; -1 without.
    right : float
        How often the leading class is right in a layer that is so judged, in recordings held out; NaN if not known.
    """

    number: int
    start: float
    stop: float
    label: str | None
    leading: str | None
    probability: float
    low: float
    high: float
    votes: int
    events: int
    crops: int
    far: float
    state: VerdictState
    reason: str
    first_frame: int = -1
    last_frame: int = -1
    right: float = math.nan
    unlike: float = math.nan

    def facts(self) -> SpanFields:
        """JSON-able: what is not a number is None."""
        return cast("SpanFields", {name: None if value != value else value for name, value in asdict(self).items()})


def judge(
    times: NDArray[np.float64],
    events: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    rules: Rules | None = None,
    *,
    distances: NDArray[np.float32] | None = None,
    frames: NDArray[np.int64] | None = None,
    number: int = 1,
    span: tuple[float, float] | None = None,
    looks: NDArray[np.float32] | None = None,
    known: Known = NOTHING,
) -> Span:
    """Verdict on one span, from the crops in it.

    Parameters
    ----------
    times : ndarray
        ``(n,)`` float64, s.
    events : ndarray
        ``(n,)`` int64, event of each crop, as from `spatterlib.events`.
    probabilities : ndarray
        ``(n, classes)``, calibrated; rows of NaN have no vote.
    classes : sequence of str
        In the order of the columns.
    rules : Rules, optional
        When to abstain, and which class is expected.
    distances : ndarray, optional
        ``(n,)``, from `Familiar.distances`: above 1 is far. None or NaN: not checked.
    frames : ndarray, optional
        ``(n,)`` int64, frame numbers.
    number : int
        What the span is called.
    span : tuple of float, optional
        S, start and stop; by default the first and the last time.
    looks : ndarray, optional
        ``(n, len(LOOKS))``, of `spatterlib.learning.looks`. None: not compared with the recordings of the training.
    known : Known
        Of the training.

    Returns
    -------
    Span

    Notes
    -----
    With a record the interval is its own, and a class is decided if its lead over the next is surely above 0 by it.
    Without one the interval is the expanded percentile interval of the bootstrap (T. C. Hesterberg, "What teachers
    should know about the bootstrap", Am. Stat. 69, 2015), as if votes were independent. For more than two classes a
    class is decided if its lead over the next is surely above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.verdicts.judgement import judge
    >>> from spatterlib.verdicts.rules import Rules
    >>> high = np.linspace(0.8, 0.9, 12)
    >>> found = judge(np.arange(12.0), np.arange(12), np.stack([1 - high, high], 1), ("low", "high"))
    >>> found.label, found.votes, round(found.probability, 2)
    ('high', 12, 0.85)
    """
    rules = rules or Rules()
    use = np.isfinite(probabilities).all(axis=1)
    times, events, probable = times[use], events[use], probabilities[use]
    far = _share_far(None if distances is None else distances[use])
    vote = vote_numbers(times, events, rules.vote_seconds)
    means = vote_means(vote, probable)
    leading, probability, low, high, clear, right = _interval(means, rules, known)
    name = None if leading is None else classes[leading]
    unlike = None
    if name is not None and looks is not None and known.spans is not None and len(means) >= rules.min_votes:
        unlike = known.spans.compare(looks[use], vote, name)
    state, reason = _state(name, len(means), far, clear, rules, unlike, known)
    decided = state in ("OK", "critical", "decided")
    begin, end = span or ((float(times.min()), float(times.max())) if len(times) else (np.nan, np.nan))
    seen = frames[use] if frames is not None and use.any() else np.array([-1])
    return Span(
        number=number,
        start=begin,
        stop=end,
        label=name if decided else None,
        leading=name,
        probability=probability,
        low=low,
        high=high,
        votes=len(means),
        events=len(np.unique(events)),
        crops=len(times),
        far=far,
        state=state,
        reason=reason,
        first_frame=int(seen.min()),
        last_frame=int(seen.max()),
        right=right,
        unlike=unlike.distance if unlike and math.isfinite(unlike.distance) else math.nan,
    )


def judge_rows(
    rows: NDArray[np.void],
    classes: Sequence[str],
    rules: Rules,
    number: int,
    span: tuple[float, float] | None = None,
    known: Known = NOTHING,
) -> Span:
    """`judge` on rows of `spatterlib.verdicts.verdict.row_dtype`; by default from first to last of them."""
    times = rows["time"]
    if span is None and len(rows):
        span = float(times.min()), float(times.max())
    return judge(
        times,
        rows["event"],
        rows["probabilities"],
        classes,
        rules,
        distances=rows["distance"],
        frames=rows["frame"],
        number=number,
        span=span,
        looks=rows["looks"],
        known=known,
    )


def _share_far(distances: NDArray[np.float32] | None) -> float:
    if distances is None or not len(distances) or np.isnan(distances).any():
        return float("nan")
    return float((distances > 1).mean())


def _interval(
    means: NDArray[np.float64], rules: Rules, known: Known
) -> tuple[int | None, float, float, float, bool, float]:
    """Leading class, its probability, the 95 % interval of that, whether it surely leads, how often that is right."""
    if not len(means):
        return None, np.nan, np.nan, np.nan, False, np.nan
    mean, record = means.mean(0), known.record
    if record is not None and len(means) >= 3:
        first, strength, clear = record.lead(mean, len(means))
        low, high = record.interval(float(mean[first]), len(means))
        return first, float(mean[first]), low, high, clear, record.right(strength)
    order = np.argsort(-mean, kind="stable")
    leading, next_ = int(order[0]), int(order[1])
    if len(means) < 3:
        return leading, float(mean[leading]), np.nan, np.nan, False, np.nan
    # In an order of their own: which crop came first must not decide which votes are drawn together.
    drawn = _drawn(means[np.lexsort(means.T)], rules)
    share = _expanded(len(means))
    low, high = np.quantile(drawn[:, leading], [share, 1 - share])
    lead = np.quantile(drawn[:, leading] - drawn[:, next_], share)
    if known.thresholds is not None:
        ruling = known.thresholds.rule(mean)
        return leading, float(mean[leading]), float(low), float(high), ruling.clear, ruling.confidence
    return leading, float(mean[leading]), float(low), float(high), bool(lead > 0), np.nan


def _drawn(means: NDArray[np.float64], rules: Rules) -> NDArray[np.float64]:
    """``(resamples, classes)`` means of votes drawn with replacement, a hundred thousand at a time."""
    random, n = np.random.default_rng(rules.seed), len(means)
    step = max(1, 100_000 // n)
    columns, drawn = np.ascontiguousarray(means.T), np.empty((rules.resamples, means.shape[1]))
    for start in range(0, rules.resamples, step):
        part = drawn[start : start + step]
        chosen = random.integers(0, n, (len(part), n))
        for number, column in enumerate(columns):
            part[:, number] = column.take(chosen).mean(axis=1)
    return drawn


def _expanded(n: int) -> float:
    """Share to leave out at either end so that an interval of n votes is as wide as Student's t demands."""
    return NormalDist().cdf(-student(n - 1) * np.sqrt(n / (n - 1)))


def _state(
    leading: str | None, count: int, far: float, clear: bool, rules: Rules, unlike: Unlike | None, known: Known
) -> tuple[VerdictState, str]:
    if leading is None:
        return "no verdict", "no spatter was seen"
    if known.unproven:
        return "no verdict", known.unproven
    if count < rules.min_votes:
        return "no verdict", f"{count} of the {rules.min_votes} votes that are needed"
    if known.refused:
        return "no verdict", known.refused
    if unlike is not None and unlike.distance > 1:
        return "no verdict", f"unlike the recordings of the training that were {leading}: {unlike.reason}"
    if far > rules.max_far:
        return "no verdict", f"{far:.0%} of the crops look unlike those that the model learned from"
    if not clear:
        return "attention", f"{leading} leads, but not clearly"
    if rules.expected is None:
        return "decided", f"{leading}"
    return ("OK", f"{leading}, as expected") if leading == rules.expected else ("critical", f"{leading}, not expected")
