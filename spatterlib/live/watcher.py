"""Where a watch stands, and what is done with the next frames."""

from __future__ import annotations

import dataclasses
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.defaults import Region
from spatterlib.detection.detect import found_in
from spatterlib.errors import VideoError
from spatterlib.learning.runs import Run
from spatterlib.live import alarms, control_charts, rolling
from spatterlib.live.feed import STOPPED, Feed, Frame, Lost, runs
from spatterlib.live.latency import Latencies
from spatterlib.live.messages import message, span_fields
from spatterlib.live.recorder import Keeper
from spatterlib.live.rolling import Rolling
from spatterlib.live.senders import Sender
from spatterlib.types import DETECTION, FRAME_LOG, Clip, Detector, Filter, Picture
from spatterlib.verdicts.rules import Rules, Span, judge_rows
from spatterlib.verdicts.scoring import Look, Scorer
from spatterlib.video.opening import region

__all__ = ["Plan", "Summary", "Watcher"]

# Frames that are worked on together where several wait; resamples of a verdict that will be made anew soon.
_BATCH, _DRAFT = 16, 500


@dataclass(frozen=True)
class Summary:
    """What a watch saw.

    Parameters
    ----------
    layers : tuple of Span
        The final verdicts.
    facts : dict
        Fields of the last message, see `spatterlib.live.messages.FIELDS`.
    """

    layers: tuple[Span, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a watch is to do."""

    run: Run
    rules: Rules
    detector: Detector
    filters: Sequence[Filter]
    look: Look
    roi: Region
    gap: float
    window: float
    alarm: str
    hold: float
    remind: float
    every: float
    status: float


@dataclass
class Watcher:
    """Where a watch stands."""

    plan: Plan
    source: str
    notify: Callable[[dict[str, Any]], None]
    senders: Sequence[Sender]
    keeper: Keeper | None = None
    charter: control_charts.Charter | None = None
    simulated: bool | None = None
    gaps: list[dict[str, Any]] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)
    _feed: Feed | None = None
    _lead: list[Frame] = field(default_factory=list)
    _verdict_alarm: alarms.AlarmState = field(default_factory=alarms.AlarmState)
    _chart_alarm: alarms.AlarmState = field(default_factory=alarms.AlarmState)
    _outage: alarms.Notice | None = None
    _events: int = 0
    _layers: list[Span] = field(default_factory=list)
    _spans: dict[str, Span] = field(default_factory=dict)
    _said: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    _arrivals: list[float] = field(default_factory=list)
    _decoded: int = 0
    _crops: int = 0
    _number: int = -1
    _begin: float = math.nan
    _now: float = 0.0
    _next_judgement: float = 0.0
    _next_verdict: float = 0.0
    _next_status: float = math.inf
    _unjudged: bool = False
    _unsaid: bool = False

    def __post_init__(self) -> None:
        self.scorer = Scorer.of(self.plan.run)
        self.rolling = Rolling.empty(len(self.plan.run.classes))
        self.draft = dataclasses.replace(self.plan.rules, resamples=min(self.plan.rules.resamples, _DRAFT))

    @property
    def feed(self) -> Feed:
        """Where frames come from."""
        if self._feed is None:
            raise RuntimeError("a watch has a feed once its source is open")
        return self._feed

    @feed.setter
    def feed(self, feed: Feed) -> None:
        self._feed = feed

    def tell(self, kind: str, /, **values: Any) -> dict[str, Any]:
        """Write one message."""
        facts = {"simulated": self.simulated, "model_origin": self.plan.run.origin}
        found = message(kind, time=self._now, source=self.source, **facts, **values)
        self.notify(found)
        return found

    def tally(self) -> dict[str, Any]:
        """What is known now, for messages and metrics."""
        counts = self._feed.counts if self._feed else None
        return {
            "received": counts.received if counts else 0,
            "decoded": self._decoded,
            "undecoded": counts.undecoded if counts else 0,
            "dropped": counts.dropped if counts else 0,
            "waiting": self._feed.waiting if self._feed else 0,
            "connected": bool(counts and counts.connected),
            "connections": counts.connections if counts else 0,
            "gaps": len(self.gaps),
            "gap_seconds": sum(item["seconds"] for item in self.gaps),
            "crops": self._crops,
            "events": self.rolling.events,
            "layers": self.rolling.layer,
            "latency_p50": self.latencies.quantile(0.5),
            "latency_p99": self.latencies.quantile(0.99),
            "latency_max": self.latencies.most if self.latencies.count else math.nan,
            "undelivered": sum(sender.undelivered for sender in self.senders),
            "store": self.keeper.state if self.keeper else None,
            "charts": self.charter.state if self.charter else None,
            "charted": self.charter.newest_facts if self.charter else None,
            "latencies": self.latencies,
            "spans": dict(self._spans),
            "alarm": bool(self._verdict_alarm.open or self._chart_alarm.open),
            "simulated": self.simulated,
            "model_origin": self.plan.run.origin,
        }

    def _status(self) -> dict[str, Any]:
        apart = ("latencies", "spans", "alarm", "charted", "simulated", "model_origin")
        return {name: value for name, value in self.tally().items() if name not in apart}

    def warm_up(self) -> None:
        """Load every kernel before the first frame, which must not wait for it."""
        flash = np.zeros((96, 128, 3), np.uint8)
        pictures = [_decoded_like(flash)]
        flash[20:70, 30:90] = 255
        pictures.append(_decoded_like(flash))
        clip = Clip(pictures, np.array([0.0, 0.04]), 1, 1)
        table = found_in(clip, self.plan.detector, ())
        shown = [flash[20:70, 30:90], *clip.crops(table)]
        probabilities, distances = self.scorer([self.plan.look(crop) for crop in shown])
        state = rolling.add(self.rolling, table, probabilities[1:], distances[1:], self.plan.gap)
        judge_rows(state.rows, self.plan.run.classes, self.draft, 1)

    def run(self, stopped: Callable[[], bool]) -> Summary:
        """Watch, and leave a store that says whether it is whole."""
        state = "complete"
        try:
            return self._go_on(stopped)
        except BaseException as error:
            state = f"failed: {type(error).__name__}: {error}"
            raise
        finally:
            self.feed.stop()
            if self.charter:
                self.charter.close()
            if self.keeper:
                self.keeper.close({"gaps": self.gaps, "state": state, "complete": state == "complete"})

    def _go_on(self, stopped: Callable[[], bool]) -> Summary:
        """Watch until the source ends, or somebody says so."""
        began = time.monotonic()
        self._next_status = began + self.plan.status
        reason = ""
        while not self.feed.ended:
            if stopped() and not self.feed.stopped():
                self.feed.stop()
                reason = STOPPED
            self._turn(self.feed.take(_BATCH, self._patience()))
        if self.feed.failure:
            raise self.feed.failure
        reason = reason or self.feed.reason
        if not self._decoded and reason != STOPPED:
            raise VideoError(f"{self.source}: no frame could be decoded ({reason})")
        self._judge_finished(range(self.rolling.done + 1, self.rolling.layer + 1))
        # The frames behind the last draft waited for no other: the final verdict was theirs.
        self._count_latencies()
        if self.charter:
            self.charter.close()
            self._chart(self.charter)
        notices = alarms.close(self._chart_alarm, self._now, "layer")
        notices += alarms.close(self._verdict_alarm, self._now, "verdict")
        self._chart_alarm = self._verdict_alarm = alarms.AlarmState()
        for notice in notices:
            self._alarm(notice)
        seconds = time.monotonic() - began
        facts = self.tell("end", reason=reason, seconds=seconds, **self._status())
        return Summary(tuple(self._layers), facts)

    def _patience(self) -> float:
        """S to wait for frames: less where a verdict is due."""
        return max(min(0.2, self._next_judgement - time.monotonic()), 0.0) if self._arrivals else 0.2

    def _turn(self, items: Sequence[Frame | Lost]) -> None:
        """Everything that is to be done with what has come."""
        for part in runs(items):
            if isinstance(part, Lost):
                self._break(part)
            else:
                if part[0].picture is not None:
                    self._resume(part[0])
                self._look_at(part)
        self._judge_finished(rolling.finished(self.rolling, self._now, self.plan.gap))
        if self.charter:
            self._chart(self.charter)
        now = time.monotonic()
        if self._arrivals and (not self._unjudged or now >= self._next_judgement):
            self._judge(now)
        if now >= self._next_status:
            self.tell("status", **self._status())
            self._next_status = now + self.plan.status

    def _break(self, lost: Lost) -> None:
        """The stream is gone: say so, once, however often it is connected in vain."""
        self._lead = []
        if self._outage is None:
            time_ = lost.time
            self._outage = alarms.Notice(self._events + 1, "new", "stream lost", None, time_, time_, lost.reason)
            self._alarm(self._outage)

    def _resume(self, frame: Frame) -> None:
        """The stream is back, or was never gone."""
        lost, self._outage = self._outage, None
        if lost is None:
            return
        facts = {"start": lost.since, "stop": frame.time, "seconds": frame.time - lost.since, "reason": lost.reason}
        self.gaps.append(facts)
        self._now = frame.time
        self.tell("gap", **facts)
        text = f"nothing was seen for {facts['seconds']:.1f} s"
        self._alarm(dataclasses.replace(lost, phase="end", state="stream back", reason=text))

    def _look_at(self, run: Sequence[Frame]) -> None:
        """Detect, classify, remember."""
        self._begin = run[0].time if math.isnan(self._begin) else self._begin
        self._now = run[-1].time
        shown = [frame for frame in run if frame.picture is not None]
        table, crops = self._found(shown) if shown else (np.empty(0, DETECTION), [])
        if self.keeper:
            self.keeper.add(table, [item.encoded for item in crops], self._frame_log(run, table))
        if self.charter:
            self.charter.add(table, [item.encoded for item in crops])
        self._number = run[-1].number
        probabilities, distances = self.scorer(crops)
        before = self.rolling
        self.rolling = rolling.add(before, table, probabilities, distances, self.plan.gap)
        self._decoded += len(shown)
        self._crops += len(table)
        self._unjudged |= len(table) > 0
        self._arrivals += [frame.arrived for frame in run]

    def _found(self, shown: Sequence[Frame]) -> tuple[Any, list[Any]]:
        """Rows and crops of frames that follow each other."""
        lead = self._lead if shown[0].joins else []
        frames = [*lead, *shown]
        pictures = [frame.picture for frame in frames if frame.picture is not None]
        times = np.array([frame.time for frame in frames])
        box = region(_Size(*pictures[0].shape[::-1], self.source), self.plan.roi) if self.plan.roi else None  # type: ignore[arg-type]
        clip = Clip(pictures, times, shown[0].number, len(lead), box)
        table = found_in(clip, self.plan.detector, self.plan.filters)
        keep = self.plan.detector.lead
        self._lead = frames[-keep:] if keep else []
        return table, [self.plan.look(crop) for crop in clip.crops(table)]

    def _frame_log(self, run: Sequence[Frame], table: Any) -> NDArray[np.void]:
        """A row for each frame since the last, those that were dropped too."""
        first = self._number + 1
        rows = np.zeros(run[-1].number - first + 1, FRAME_LOG)
        rows["number"], rows["time"] = np.arange(first, run[-1].number + 1), np.nan
        places = np.array([frame.number - first for frame in run])
        rows["time"][places] = [frame.time for frame in run]
        rows["decoded"][places] = [frame.picture is not None for frame in run]
        own = table["frame"][table["frame"] >= first] - first
        rows["detections"] = np.bincount(own, minlength=len(rows))
        return rows

    def _judge_finished(self, numbers: range) -> None:
        """Final verdicts on layers that have ended."""
        for number in numbers:
            rows = self.rolling.rows[self.rolling.rows["layer"] == number]
            span = judge_rows(rows, self.plan.run.classes, self.plan.rules, number)
            self._layers.append(span)
            self._spans["layer"] = span
            if self.charter:
                self.charter.end_layer(number, rows)
            self._say("layer", span, final=True)
            if self.plan.alarm == "layer":
                self._step(span, final=True)
            self.rolling = rolling.forget(self.rolling, number, self._now - self.plan.window)

    def _chart(self, charter: control_charts.Charter) -> None:
        """Tell of layers that were charted since; the first that differs begins an event."""
        for layer in charter.take():
            facts = layer.facts(charter.reference)
            self.tell("chart", **facts)
            observation = control_charts.of_layer(layer)
            if observation.normal is None:
                continue
            self._chart_alarm, notices = alarms.step(
                self._chart_alarm, observation, self._now, self._events + 1, final=True, remind=self.plan.remind
            )
            for notice in notices:
                self._alarm(dataclasses.replace(notice, reason=observation.reason), chart=facts)

    def _judge(self, now: float) -> None:
        """Verdicts as they stand, on the running layer and the last window."""
        if self._unjudged or now >= self._next_verdict:
            self._unsaid |= self._unjudged
            self._spans |= dict(self._drafts())
            self._unjudged = False
            if now >= self._next_verdict:
                self._say_drafts()
                self._next_verdict, self._unsaid = now + self.plan.every, False
        done = self._count_latencies()
        # Where a verdict takes long (many votes), at least as much time is left for the frames.
        self._next_judgement = done + (done - now)

    def _count_latencies(self) -> float:
        """Count the frames that are judged by now; when that was, s."""
        done = time.monotonic()
        self.latencies.add(done - arrived for arrived in self._arrivals)
        self._arrivals = []
        return done

    def _say_drafts(self) -> None:
        """Verdicts into which something new went, or which are others because time passed."""
        for scope, span in self._spans.items():
            running = scope != "layer" or self.rolling.layer > self.rolling.done
            if running and (self._unsaid or self._said.get(scope) != (span.state, span.label)):
                self._say(scope, span)

    def _drafts(self) -> Iterator[tuple[str, Span]]:
        since = self._now - self.plan.window
        self.rolling = rolling.forget(self.rolling, self.rolling.done, since)
        rows, classes = self.rolling.rows, self.plan.run.classes
        number = self.rolling.layer
        begin = max(since, self._begin)
        count = int((self._now - self._begin) / self.plan.window) + 1
        spans = {"window": judge_rows(rows[rows["time"] >= since], classes, self.draft, count, (begin, self._now))}
        if number > self.rolling.done:
            spans["layer"] = judge_rows(rows[rows["layer"] == number], classes, self.draft, number)
        for scope, span in spans.items():
            if scope == self.plan.alarm:
                self._step(span)
            yield scope, span

    def _say(self, scope: str, span: Span, *, final: bool = False) -> dict[str, Any]:
        self._said[scope] = (span.state, span.label)
        newest = self._arrivals[-1] if self._arrivals else math.nan
        return self.tell("verdict", scope=scope, final=final, latency=time.monotonic() - newest, **span_fields(span))

    def _step(self, span: Span, *, final: bool = False) -> None:
        self._verdict_alarm, notices = alarms.step(
            self._verdict_alarm,
            alarms.of_verdict(span),
            self._now,
            self._events + 1,
            final=final,
            hold=self.plan.hold,
            remind=self.plan.remind,
        )
        for notice in notices:
            self._alarm(notice, span)

    def _alarm(self, notice: alarms.Notice, span: Span | None = None, chart: Mapping[str, Any] | None = None) -> None:
        """Write a message of an event, and send it."""
        self._events = max(self._events, notice.event)
        names = ("event", "phase", "state", "label", "since", "reason")
        values = {name: getattr(notice, name) for name in names}
        verdict = None if span is None else {"scope": self.plan.alarm, **span_fields(span)}
        found = self.tell("alarm", id=uuid.uuid4().hex, verdict=verdict, chart=chart, **values)
        for sender in self.senders:
            sender.send(found)


@dataclass(frozen=True)
class _Size:
    """As much of a video as a region asks for."""

    width: int
    height: int
    name: str


def _decoded_like(rgb: NDArray[np.uint8]) -> Picture:
    """A picture as a decoder leaves it."""
    import av

    from spatterlib.video.decoded import picture_of

    return picture_of(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p"))
