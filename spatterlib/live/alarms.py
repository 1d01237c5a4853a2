"""From a stream of verdicts, or of charted layers, to few messages: one event with a beginning, changes and an end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from spatterlib.live.settings import AlarmSettings
from spatterlib.verdicts.judgement import Span

__all__ = ["AlarmState", "Notice", "Observation", "Phase", "end_event", "observe_verdict", "step"]

Phase: TypeAlias = Literal["new", "update", "end"]


@dataclass(frozen=True)
class Observation:
    """What a verdict, or the charts of a layer, say now.

    Parameters
    ----------
    state : str
        One of `spatterlib.verdicts.judgement.STATES`, or of the charts: "layer differs", "layer as usual".
    normal : bool or None
        True: nothing is wrong; an event ends. False: an event begins or goes on. None: it cannot be told.
    reason : str
        In words.
    label : str or None
        The class.
    charts : tuple of str
        Charts beyond their limits.
    since : float or None
        S, when it began, from where it must last; None: when it is seen first.
    """

    state: str
    normal: bool | None
    reason: str
    label: str | None = None
    charts: tuple[str, ...] = ()
    since: float | None = None


@dataclass(frozen=True)
class Notice:
    """One message of an event.

    Parameters
    ----------
    event : int
        Number of the event, from 1.
    phase : str
        "new", "update" or "end".
    state, label, reason, charts
        As in `Observation`.
    since, time : float
        S, when the event began; of this message.
    """

    event: int
    phase: Phase
    state: str
    label: str | None
    since: float
    time: float
    reason: str
    charts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AlarmState:
    """Where the state machine stands.

    Parameters
    ----------
    open : Notice or None
        The last message of an event that goes on.
    candidate : tuple or None
        What is observed but has not lasted long enough, and since when (s).
    begun : float
        S, when the last event began.
    """

    open: Notice | None = None
    candidate: tuple[Observation, float] | None = None
    begun: float = -math.inf


def observe_verdict(span: Span) -> Observation:
    """What a verdict says: "OK" ends an event, "no verdict" neither begins nor ends one, others begin or change one."""
    normal = None if span.state == "no verdict" else span.state == "OK"
    return Observation(span.state, normal, span.reason, span.label)


def step(
    alarm: AlarmState,
    observation: Observation,
    time: float,
    number: int,
    settings: AlarmSettings | None = None,
    *,
    final: bool = False,
    apart: float = 0.0,
) -> tuple[AlarmState, tuple[Notice, ...]]:
    """Take one observation; give the next state, and the messages to send, if any.

    Where no class is expected, a build that goes over to another class ends one event and begins the next.

    Parameters
    ----------
    alarm : AlarmState
        Where the machine stands.
    observation : Observation
        What is seen now.
    time : float
        S, now.
    number : int
        Number that a new event gets.
    settings : AlarmSettings, optional
        How long an observation must last before it counts, and after how long an event that goes on gets another
        message.
    final : bool
        The observation will not change any more, so it need not last.
    apart : float
        S between the beginnings of two events: what comes and goes quicker is not told each time.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.live.alarms import AlarmState, observe_verdict, step
    >>> from spatterlib.verdicts.judgement import judge
    >>> from spatterlib.verdicts.rules import Rules
    >>> low = np.tile([0.9, 0.1], (8, 1))
    >>> bad = observe_verdict(judge(np.arange(8.0), np.arange(8), low, ("low", "high"), Rules(expected="high")))
    >>> alarm, notices = step(AlarmState(), bad, 8.0, 1, final=True)
    >>> notices[0].phase, notices[0].state, step(alarm, bad, 9.0, 2)[1]
    ('new', 'critical', ())
    """
    settings = settings or AlarmSettings()
    if observation.normal is None:
        return _reminded(alarm, time, settings.remind)
    if observation.normal if alarm.open is None else _same(alarm.open, observation):
        return _reminded(replace(alarm, candidate=None), time, settings.remind)
    if alarm.open is None and not final and time - alarm.begun < apart:
        return alarm, ()
    if alarm.candidate is None or not _equal(alarm.candidate[0], observation):
        alarm = replace(alarm, candidate=(observation, time))
    first = alarm.candidate[1] if alarm.candidate else time
    since = first if observation.since is None else observation.since
    if not final and time - since < settings.hold:
        return _reminded(alarm, time, settings.remind)
    event, notices = _changed(alarm.open, observation, since, time, number)
    begun = time if event is not None and alarm.open is None else alarm.begun
    return AlarmState(event, begun=begun), notices


def _same(event: Notice, seen: Observation) -> bool:
    return event.state == seen.state and seen.label in (None, event.label) and event.charts == seen.charts


def _equal(one: Observation, other: Observation) -> bool:
    return (one.state, one.label, one.charts) == (other.state, other.label, other.charts)


def _changed(
    event: Notice | None, seen: Observation, since: float, time: float, number: int
) -> tuple[Notice | None, tuple[Notice, ...]]:
    notices = []
    another = seen.state == "decided" and event is not None and event.label not in (None, seen.label)
    if event is not None and (seen.normal or another):
        notices.append(Notice(event.event, "end", seen.state, seen.label, event.since, time, seen.reason))
        event = None
    if not seen.normal:
        begun = event or Notice(number, "new", seen.state, None, since, time, seen.reason)
        # An event that was clear once keeps its class while it is not clear any more.
        label = seen.label or begun.label
        now = replace(begun, state=seen.state, label=label, time=time, reason=seen.reason, charts=seen.charts)
        event = replace(now, phase="update") if event else now
        notices.append(event)
    return event, tuple(notices)


def _reminded(alarm: AlarmState, time: float, remind: float) -> tuple[AlarmState, tuple[Notice, ...]]:
    if alarm.open is None or time - alarm.open.time < remind:
        return alarm, ()
    again = replace(alarm.open, phase="update", time=time)
    return replace(alarm, open=again), (again,)


def end_event(alarm: AlarmState, time: float, last: str) -> tuple[Notice, ...]:
    """The message that ends an event that still goes on when the watch ends; `last`: what its state is that of."""
    if alarm.open is None:
        return ()
    reason = f"the watch ended; the state is that of its last {last}"
    return (replace(alarm.open, phase="end", time=time, reason=reason),)
