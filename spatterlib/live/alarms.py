"""From a stream of verdicts to few messages: one event with a beginning, changes and an end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from spatterlib.verdicts.rules import Span, State

__all__ = ["Notice", "Phase", "Standing", "close", "step"]

Phase: TypeAlias = Literal["new", "update", "end"]


@dataclass(frozen=True)
class Notice:
    """One message of an event.

    Parameters
    ----------
    event : int
        Number of the event, from 1.
    phase : str
        "new", "update" or "end".
    state : str
        Of the verdict, as in `spatterlib.verdicts.rules.STATES`.
    label : str or None
        The class.
    since, time : float
        S, when the event began; of this message.
    reason : str
        In words.
    """

    event: int
    phase: Phase
    state: State
    label: str | None
    since: float
    time: float
    reason: str


@dataclass(frozen=True)
class Standing:
    """Where the machine of states stands.

    Parameters
    ----------
    event : int
        Number of the last event; 0 before the first.
    open : Notice or None
        What was last said of an event that goes on.
    waiting : tuple or None
        A state with its label that is not yet believed, and since when (s).
    """

    event: int = 0
    open: Notice | None = None
    waiting: tuple[State, str | None, float] | None = None


def step(
    standing: Standing,
    span: Span,
    time: float,
    *,
    final: bool = False,
    hold: float = 2.0,
    remind: float = 60.0,
) -> tuple[Standing, tuple[Notice, ...]]:
    """Take one verdict: what is to be said, if anything.

    "OK" ends an event, "no verdict" neither begins nor ends one; "attention", "critical" and "decided" begin one or
    change it. Where no class is expected, a build that goes over to another class ends one event and begins the next.

    Parameters
    ----------
    standing : Standing
        Where the machine stands.
    span : Span
        The verdict.
    time : float
        S, up to when it looked.
    final : bool
        It will not change any more, so it is believed at once.
    hold : float
        S that a verdict must last before it is believed.
    remind : float
        S, after which an event that goes on is told again.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.live.alarms import Standing, step
    >>> from spatterlib.verdicts.rules import Rules, judge
    >>> low = np.tile([0.9, 0.1], (8, 1))
    >>> bad = judge(np.arange(8.0), np.arange(8), low, ("low", "high"), Rules(expected="high"))
    >>> standing, said = step(Standing(), bad, 8.0, final=True)
    >>> said[0].phase, said[0].state, step(standing, bad, 9.0)[1]
    ('new', 'critical', ())
    """
    if span.state == "no verdict":
        return _reminded(standing, time, remind)
    told = standing.open
    if (told is None and span.state == "OK") or (told is not None and _same(told, span)):
        return _reminded(replace(standing, waiting=None), time, remind)
    now = (span.state, span.label)
    if standing.waiting is None or standing.waiting[:2] != now:
        standing = replace(standing, waiting=(*now, time))
    since = standing.waiting[2] if standing.waiting else time
    if not final and time - since < hold:
        return _reminded(standing, time, remind)
    return _told(replace(standing, waiting=None), span, since, time)


def _same(told: Notice, span: Span) -> bool:
    return told.state == span.state and span.label in (None, told.label)


def _told(standing: Standing, span: Span, since: float, time: float) -> tuple[Standing, tuple[Notice, ...]]:
    told, said = standing.open, []
    another = span.state == "decided" and told is not None and told.label not in (None, span.label)
    if told is not None and (span.state == "OK" or another):
        said.append(Notice(told.event, "end", span.state, span.label, told.since, time, span.reason))
        standing, told = replace(standing, open=None), None
    if span.state != "OK":
        event = told.event if told else standing.event + 1
        phase: Phase = "update" if told else "new"
        # An event that was clear once keeps its class while it is not clear any more.
        label = span.label or (told.label if told else None)
        began = told.since if told else since
        notice = Notice(event, phase, span.state, label, began, time, span.reason)
        standing = Standing(event, notice)
        said.append(notice)
    return standing, tuple(said)


def _reminded(standing: Standing, time: float, remind: float) -> tuple[Standing, tuple[Notice, ...]]:
    told = standing.open
    if told is None or time - told.time < remind:
        return standing, ()
    again = replace(told, phase="update", time=time)
    return replace(standing, open=again), (again,)


def close(standing: Standing, time: float) -> tuple[Standing, tuple[Notice, ...]]:
    """End an event that goes on, because nobody watches any more."""
    if standing.open is None:
        return standing, ()
    return replace(standing, open=None), (
        replace(standing.open, phase="end", time=time, reason="the watch ended; the state is that of its last verdict"),
    )
