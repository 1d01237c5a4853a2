"""Where a watch stands, and what is done with the next frames."""

from __future__ import annotations

import dataclasses
import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import compress
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.detect import detections_in
from spatterlib.errors import LostError, VideoError
from spatterlib.live.alarms import AlarmState, Notice, Observation, end_event, observe_verdict, step
from spatterlib.live.camera_health import FAULTS, CameraFault, CameraHealth
from spatterlib.live.clock import ClockSteps
from spatterlib.live.control_charts import LayerCharts, observe_layer
from spatterlib.live.feed import (
    STOPPED,
    Feed,
    FrameCounts,
    StreamFrame,
    StreamItem,
    StreamLost,
    StreamOpened,
    consecutive,
)
from spatterlib.live.latency import Latencies
from spatterlib.live.lookback import Kept, Lookback, ShownBox
from spatterlib.live.messages import (
    AlarmFields,
    AlarmVerdict,
    Body,
    ChartFields,
    EndFields,
    EndMessage,
    GapFields,
    StatusFields,
    VerdictFields,
    message,
)
from spatterlib.live.plan import Plan, Summary
from spatterlib.live.prometheus import Snapshot
from spatterlib.live.recorder import Recorder
from spatterlib.live.repeats import Repeats
from spatterlib.live.rolling import Rolling, add_rows, finished_layers, forget_rows
from spatterlib.live.senders import Sender
from spatterlib.live.settings import AlarmSettings
from spatterlib.live.source import StreamFacts
from spatterlib.stores.opening import is_simulated
from spatterlib.types import DETECTION, FRAME_LOG, Clip, Detections, Picture
from spatterlib.verdicts.judgement import Span, judge_rows
from spatterlib.verdicts.rules import Rules
from spatterlib.verdicts.scoring import PreparedCrop, Scorer, seen_direction
from spatterlib.video.opening import region

__all__ = ["Watcher"]

# Frames that are worked on together where several wait; resamples of a verdict that will be made anew soon.
_BATCH, _DRAFT = 16, 500
AlarmKind: TypeAlias = Literal["chart", "verdict", "repeats", "stream", "clock"] | CameraFault
# What is watched for, in the order in which it ends, and what its last state is that of.
_SUBJECTS: dict[AlarmKind, str] = {
    "chart": "layer",
    "verdict": "verdict",
    **dict.fromkeys(FAULTS, "picture"),
    "repeats": "picture",
    "clock": "picture",
    "stream": "picture",
}


@dataclass
class Watcher:
    """Where a watch stands."""

    plan: Plan
    source: str
    notify: Callable[[dict[str, Any]], None]
    senders: Sequence[Sender]
    recorder: Recorder | None = None
    charts: LayerCharts | None = None
    lookback: Lookback | None = None
    simulated: bool | None = None
    meet: Callable[[StreamFacts], None] = lambda _: None
    started: bool = False
    gaps: list[GapFields] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)
    repeats: Repeats = field(default_factory=Repeats)
    _feed: Feed | None = None
    _lead: list[StreamFrame] = field(default_factory=list)
    _alarms: dict[AlarmKind, AlarmState] = field(default_factory=lambda: dict.fromkeys(_SUBJECTS, AlarmState()))
    _outage: StreamLost | None = None
    _stream: StreamFacts = field(default_factory=StreamFacts)
    _back: StreamLost | None = None
    _blind: float = 0.0
    _health: CameraHealth | None = None
    _clock_steps: ClockSteps = field(default_factory=ClockSteps)
    _arrived: float = field(default_factory=time.monotonic)
    _last_event: int = 0
    _kept: dict[int, Kept | None] = field(default_factory=dict)
    _layers: list[Span] = field(default_factory=list)
    _spans: dict[str, Span] = field(default_factory=dict)
    _published: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    _arrivals: list[float] = field(default_factory=list)
    _decoded: int = 0
    _crops: int = 0
    _last_frame: int = -1
    _begin: float = math.nan
    _now: float = 0.0
    _next_draft: float = 0.0
    _next_verdict: float = 0.0
    _next_status: float = math.inf
    _unjudged: bool = False
    _unpublished: bool = False

    def __post_init__(self) -> None:
        self.scorer = Scorer.of(self.plan.run, self.plan.direction)
        self.rolling = Rolling.empty(len(self.plan.run.classes))
        alarms = self.plan.settings.alarms
        self._health = CameraHealth(alarms.camera_learn) if alarms.camera_alarms else None
        self.draft_rules = dataclasses.replace(self.plan.rules, resamples=min(self.plan.rules.resamples, _DRAFT))

    @property
    def feed(self) -> Feed:
        """Where frames come from."""
        if self._feed is None:
            raise RuntimeError("a watch has a feed once its source is open")
        return self._feed

    @feed.setter
    def feed(self, feed: Feed) -> None:
        self._feed = feed

    def publish(self, kind: str, body: Body) -> dict[str, Any]:
        """Give a message to the callback."""
        origin = self.plan.run.origin
        fields = message(kind, body, time=self._now, source=self.source, simulated=self.simulated, model_origin=origin)
        self.notify(fields)
        return fields

    def snapshot(self) -> Snapshot:
        """Where the watch stands now, for metrics."""
        return Snapshot(
            status=self.status(),
            latencies=self.latencies,
            spans=dict(self._spans),
            events=tuple(alarm.open for alarm in list(self._alarms.values()) if alarm.open),
            chart=self.charts.newest_fields if self.charts else None,
            simulated=self.simulated,
            model_origin=self.plan.run.origin,
        )

    def status(self) -> StatusFields:
        """Fields of the message "status"."""
        counts = self._feed.counts if self._feed else FrameCounts()
        return StatusFields(
            received=counts.received,
            decoded=self._decoded,
            undecoded=counts.undecoded,
            dropped=counts.dropped,
            waiting=self._feed.waiting if self._feed else 0,
            connected=counts.connected,
            jumps=counts.jumps,
            connections=counts.connections,
            gaps=len(self.gaps),
            gap_seconds=sum(gap["seconds"] for gap in self.gaps),
            repeated=self.repeats.count,
            crops=self._crops,
            events=self.rolling.events,
            layers=self.rolling.layer,
            latency_p50=self.latencies.quantile(0.5),
            latency_p99=self.latencies.quantile(0.99),
            latency_max=self.latencies.longest if self.latencies.count else math.nan,
            undelivered=sum(sender.undelivered for sender in self.senders),
            store=self.recorder.state if self.recorder else None,
            charts=self.charts.state if self.charts else None,
            clips=self.lookback.state if self.lookback else None,
        )

    def warm_up(self) -> None:
        """Load every kernel before the first frame, which must not wait for it."""
        flash = np.zeros((96, 128, 3), np.uint8)
        pictures = [_decoded_like(flash)]
        flash[20:70, 30:90] = 255
        pictures.append(_decoded_like(flash))
        clip = Clip(pictures, np.array([0.0, 0.04]), 1, 1)
        table = detections_in(clip, self.plan.detector, ())
        images = [flash[20:70, 30:90], *clip.crops(table)]
        scored = self.scorer([self.plan.look(image) for image in images], np.concatenate([table[:1], table]))
        probabilities, distances, looks = scored
        gap = self.plan.settings.gap
        rolling = add_rows(self.rolling, table, probabilities[1:], distances[1:], looks[1:], gap=gap)
        self._judged(rolling.rows, self.draft_rules, 1)

    def run(self, stopped: Callable[[], bool]) -> Summary:
        """Watch, and leave a store that says whether it is whole."""
        state = "complete"
        try:
            return self._watch(stopped)
        except BaseException as error:
            state = f"failed: {type(error).__name__}: {error}"
            raise
        finally:
            self.feed.stop()
            if self.charts:
                self.charts.close()
            if self.recorder:
                facts = {"gaps": self.gaps, "simulated": self.simulated, "state": state}
                self.recorder.close({**facts, "complete": state == "complete"})

    def _watch(self, stopped: Callable[[], bool]) -> Summary:
        """Watch until the source ends, or the caller says so."""
        began = time.monotonic()
        self._next_status = began + self.plan.settings.status
        reason = ""
        while not self.feed.ended:
            if stopped() and not self.feed.stopped():
                self.feed.stop()
                reason = STOPPED
            self._process(self.feed.take(_BATCH, self._patience()))
        if self.feed.failure:
            raise self.feed.failure
        reason = reason or self.feed.reason
        if self._outage:
            self._end_gap(self._outage, self._moment())
        self._judge_finished(range(self.rolling.done + 1, self.rolling.layer + 1))
        # The frames behind the last draft waited for no other: the final verdict was theirs.
        self._count_latencies()
        if self.charts:
            self.charts.close()
            self._take_charts(self.charts)
        self._end_events()
        ending = EndFields(reason=reason, seconds=time.monotonic() - began, **self.status())
        told = cast(EndMessage, self.publish("end", ending))
        if not self._decoded and reason != STOPPED:
            if self.feed.gave_up:
                raise LostError(f"{self.source}: {reason}")
            raise VideoError(f"{self.source}: no frame could be decoded ({reason})")
        return Summary(tuple(self._layers), told)

    def _patience(self) -> float:
        """S to wait for frames: less where a verdict is due."""
        return max(min(0.2, self._next_draft - time.monotonic()), 0.0) if self._arrivals else 0.2

    def _process(self, items: Sequence[StreamItem]) -> None:
        """Everything that is to be done with what has come."""
        for part in consecutive(items):
            if isinstance(part, StreamOpened):
                self._open_stream(part.facts)
            elif isinstance(part, StreamLost):
                self._lose_stream(part)
            else:
                if part[0].picture is not None:
                    self._resume_stream(part[0])
                self._take_frames(part)
        self._judge_finished(finished_layers(self.rolling, self._now, self.plan.settings.gap))
        if self.charts:
            self._take_charts(self.charts)
        self._observe_stream()
        self._observe_repeats()
        if self._health is not None:
            self._observe_camera(self._health)
        now = time.monotonic()
        if self._arrivals and (not self._unjudged or now >= self._next_draft):
            self._draft(now)
        if now >= self._next_status:
            self.publish("status", self.status())
            self._next_status = now + self.plan.settings.status

    def _open_stream(self, facts: StreamFacts) -> None:
        """There is a connection, maybe to another stream than before."""
        first, self._stream = not self._stream, StreamFacts(name=self.source, **facts)
        # What was simulated once stays so.
        self.simulated = is_simulated({"video": self._stream}) or self.simulated
        if first:
            self.meet(self._stream)

    def _lose_stream(self, lost: StreamLost) -> None:
        """One outage, however often it is connected in vain."""
        self._lead = []
        if self._health is not None:
            self._health.forget()
        if not self.started:
            self.meet(StreamFacts(name=self.source))
        self._now, self._arrived = lost.time, lost.arrived
        self._outage = dataclasses.replace(self._outage or lost, pause=lost.pause)

    def _resume_stream(self, frame: StreamFrame) -> None:
        """The stream is back, or was never gone."""
        if self._outage:
            self._now, self._arrived = frame.time, frame.arrived
            self._end_gap(self._outage, frame.time)
            self._back = dataclasses.replace(self._outage, time=frame.time)
            self._outage = None

    def _end_gap(self, lost: StreamLost, stop: float) -> None:
        seconds = stop - lost.time
        gap = GapFields(start=lost.time, stop=stop, seconds=seconds, reason=lost.reason, stream=self._stream)
        self.gaps.append(gap)
        self._blind += seconds
        self.publish("gap", gap)

    def _moment(self) -> float:
        """S, time of the stream now, also while nothing comes."""
        return self._now + max(time.monotonic() - self._arrived, 0.0)

    def _observe_stream(self) -> None:
        """Lost for a while: an event. It ends when pictures come for a while, see `StreamLost.pause`."""
        now, settings, final = self._moment(), self.plan.settings.alarms, self.feed.gave_up
        if self._outage:
            seen = Observation("stream lost", False, self._outage.reason, since=self._outage.time)
        else:
            reason, back = f"nothing was seen for {self._blind:.1f} s", self._back
            seen = Observation("stream back", True, reason, since=back.time if back else None)
            settings = dataclasses.replace(settings, hold=max(settings.hold, 2 * back.pause if back else 0.0))
        self._observe("stream", seen, now, settings, final=final, apart=settings.remind)
        if self._alarms["stream"].open is None and not self._outage:
            self._blind = 0.0

    def _observe_repeats(self) -> None:
        """Nothing new for a while: an event. A stream that is away has another."""
        if self._outage:
            return
        if self.repeats.lasting(self.plan.settings.alarms.hold):
            reason = "every frame with spatter was seen before: none gives a vote"
            seen = Observation("pictures repeat", False, reason, since=self.repeats.since)
        else:
            seen = Observation("pictures new", True, "frames with spatter are new again")
        self._observe("repeats", seen, self._moment())

    def _observe_camera(self, health: CameraHealth) -> None:
        """What the pictures say of the camera, and the times of the clocks; each kind is an event of its own."""
        apart = self.plan.settings.alarms.remind
        for kind, seen in health.findings():
            self._observe(kind, seen, self._now, apart=apart)
        if self.feed.live and not self._outage:
            offset = datetime.now(UTC).timestamp() - time.monotonic()
            seen = self._clock_steps.observe(self._moment(), self.feed.counts.jumps, offset)
            self._observe("clock", seen, self._moment(), apart=apart)

    def _take_frames(self, frames: Sequence[StreamFrame]) -> None:
        """Detect, classify, remember."""
        self._begin = frames[0].time if math.isnan(self._begin) else self._begin
        self._now, self._arrived = frames[-1].time, frames[-1].arrived
        decoded = [frame for frame in frames if frame.picture is not None]
        table, crops = self._detect(decoded) if decoded else (np.empty(0, DETECTION), [])
        encoded = [crop.encoded for crop in crops]
        if self.feed.live:
            fresh = self.repeats.fresh(table, encoded)
            table, crops, encoded = table[fresh], list(compress(crops, fresh)), list(compress(encoded, fresh))
        if self.recorder:
            self.recorder.add(table, encoded, self._frame_log(frames, table))
        if self.charts:
            self.charts.add(table, encoded)
        self._last_frame = frames[-1].number
        scored = self.scorer(crops, table)
        self.rolling = add_rows(self.rolling, table, *scored, gap=self.plan.settings.gap)
        if self.lookback and decoded and (newest := decoded[-1]).picture is not None:
            own = table["frame"] == newest.number
            self._show(self.lookback, newest.picture, table[own], scored.probabilities[own])
        self._decoded += len(decoded)
        self._crops += len(table)
        self._unjudged |= len(table) > 0
        self._arrivals += [frame.arrived for frame in frames]
        # Before the first spatter the chamber may be dark, or open: that is not how the camera sees.
        if self._health is not None and self._crops:
            for frame in decoded:
                if frame.picture is not None and self._health.due(frame.time):
                    self._health.look(frame.picture, frame.time)

    def _show(self, lookback: Lookback, picture: Picture, rows: Detections, probabilities: NDArray[np.float64]) -> None:
        """Hand a picture and its boxes to whoever looks; never waits."""
        height, width = picture.shape
        labels = [self.plan.run.classes[best] for best in probabilities.argmax(1)]
        boxes = [
            ShownBox(row["x"] / width, row["y"] / height, row["width"] / width, row["height"] / height, label, share)
            for row, label, share in zip(rows, labels, probabilities.max(1), strict=True)
        ]
        lookback.show(picture, self._now, boxes)

    def _detect(self, decoded: Sequence[StreamFrame]) -> tuple[Detections, list[PreparedCrop]]:
        """Rows and crops of frames that follow each other."""
        lead = self._lead if decoded[0].joins else []
        frames = [*lead, *decoded]
        pictures = [frame.picture for frame in frames if frame.picture is not None]
        times = np.array([frame.time for frame in frames])
        box = region(_Size(*pictures[0].shape[::-1], self.source), self.plan.roi) if self.plan.roi else None  # type: ignore[arg-type]
        clip = Clip(pictures, times, decoded[0].number, len(lead), box)
        table = detections_in(clip, self.plan.detector, self.plan.filters)
        keep = self.plan.detector.lead
        self._lead = frames[-keep:] if keep else []
        return table, [self.plan.look(crop) for crop in clip.crops(table)]

    def _frame_log(self, frames: Sequence[StreamFrame], table: Detections) -> NDArray[np.void]:
        """A row for each frame since the last, those that were dropped too."""
        first = self._last_frame + 1
        rows = np.zeros(frames[-1].number - first + 1, FRAME_LOG)
        rows["number"], rows["time"] = np.arange(first, frames[-1].number + 1), np.nan
        places = np.array([frame.number - first for frame in frames])
        rows["time"][places] = [frame.time for frame in frames]
        rows["decoded"][places] = [frame.picture is not None for frame in frames]
        own = table["frame"][table["frame"] >= first] - first
        rows["detections"] = np.bincount(own, minlength=len(rows))
        return rows

    def _judge_finished(self, numbers: range) -> None:
        """Final verdicts on layers that have ended."""
        for number in numbers:
            rows = self.rolling.rows[self.rolling.rows["layer"] == number]
            span = self._judged(rows, self.plan.rules, number)
            self._layers.append(span)
            self._spans["layer"] = span
            if self.charts:
                self.charts.end_layer(number, rows)
            self._publish_verdict("layer", span, final=True)
            if self.plan.settings.alarms.alarm == "layer":
                self._observe("verdict", observe_verdict(span), self._now, final=True, span=span)
            self.rolling = forget_rows(self.rolling, number, self._now - self.plan.settings.window)

    def _draft(self, now: float) -> None:
        """Verdicts as they stand, on the running layer and the last window."""
        if self._unjudged or now >= self._next_verdict:
            self._unpublished |= self._unjudged
            self._spans |= dict(self._drafts())
            self._unjudged = False
            if now >= self._next_verdict:
                self._publish_drafts()
                self._next_verdict, self._unpublished = now + self.plan.settings.every, False
        done = self._count_latencies()
        # Where a verdict takes long (many votes), at least as much time is left for the frames.
        self._next_draft = done + (done - now)

    def _count_latencies(self) -> float:
        """Count the frames that are judged by now; when that was, s."""
        done = time.monotonic()
        self.latencies.add(done - arrived for arrived in self._arrivals)
        self._arrivals = []
        return done

    def _drafts(self) -> Iterator[tuple[str, Span]]:
        since = self._now - self.plan.settings.window
        self.rolling = forget_rows(self.rolling, self.rolling.done, since)
        rows = self.rolling.rows
        number = self.rolling.layer
        begin = max(since, self._begin)
        count = int((self._now - self._begin) / self.plan.settings.window) + 1
        window = self._judged(rows[rows["time"] >= since], self.draft_rules, count, (begin, self._now))
        spans = {"window": window}
        if number > self.rolling.done:
            spans["layer"] = self._judged(rows[rows["layer"] == number], self.draft_rules, number)
        for scope, span in spans.items():
            if scope == self.plan.settings.alarms.alarm:
                self._observe("verdict", observe_verdict(span), self._now, span=span)
            yield scope, span

    def _judged(
        self, rows: NDArray[np.void], rules: Rules, number: int, span: tuple[float, float] | None = None
    ) -> Span:
        known = self.scorer.known(seen_direction(self.rolling.rows["looks"]), rules)
        return judge_rows(rows, self.plan.run.classes, rules, number, span, known)

    def _publish_drafts(self) -> None:
        """Verdicts into which something new went, or which are others because time passed."""
        for scope, span in self._spans.items():
            running = scope != "layer" or self.rolling.layer > self.rolling.done
            if running and (self._unpublished or self._published.get(scope) != (span.state, span.label)):
                self._publish_verdict(scope, span)

    def _publish_verdict(self, scope: str, span: Span, *, final: bool = False) -> None:
        self._published[scope] = (span.state, span.label)
        newest = self._arrivals[-1] if self._arrivals else math.nan
        latency = time.monotonic() - newest
        self.publish("verdict", VerdictFields(scope=scope, final=final, latency=latency, **span.facts()))

    def _observe(
        self,
        kind: AlarmKind,
        seen: Observation,
        now: float,
        settings: AlarmSettings | None = None,
        *,
        final: bool = False,
        apart: float = 0.0,
        span: Span | None = None,
        chart: ChartFields | None = None,
    ) -> None:
        """Give an observation to the state machine of its kind, and send what that says."""
        settings, number = settings or self.plan.settings.alarms, self._last_event + 1
        self._alarms[kind], notices = step(self._alarms[kind], seen, now, number, settings, final=final, apart=apart)
        for notice in notices:
            self._send(notice if chart is None else dataclasses.replace(notice, reason=seen.reason), span, chart)

    def _take_charts(self, charts: LayerCharts) -> None:
        """Publish layers that were charted since; the first that differs begins an event."""
        for layer in charts.take():
            fields = layer.fields(charts.reference)
            self.publish("chart", fields)
            seen = observe_layer(layer)
            if seen.normal is not None:
                self._observe("chart", seen, self._now, final=True, chart=fields)

    def _end_events(self) -> None:
        """End the events that still go on, because the watch ends."""
        notices = [
            notice
            for kind, subject in _SUBJECTS.items()
            for notice in end_event(self._alarms[kind], self._moment() if kind == "stream" else self._now, subject)
        ]
        self._alarms = dict.fromkeys(_SUBJECTS, AlarmState())
        for notice in notices:
            self._send(notice)

    def _send(self, notice: Notice, span: Span | None = None, chart: ChartFields | None = None) -> None:
        """Publish a message of an event, and send it."""
        self._last_event = max(self._last_event, notice.event)
        if self.lookback and notice.phase == "new":
            facts = {"source": self.source, "event": notice.event, "state": notice.state, "simulated": self.simulated}
            self._kept[notice.event] = self.lookback.keep(notice.event, self._now, facts)
        kept = self._kept.get(notice.event)
        if notice.phase == "end":
            self._kept.pop(notice.event, None)
        alarm = AlarmFields(
            id=uuid.uuid4().hex,
            verdict=None if span is None else AlarmVerdict(scope=self.plan.settings.alarms.alarm, **span.facts()),
            chart=chart,
            event=notice.event,
            phase=notice.phase,
            state=notice.state,
            label=notice.label,
            since=notice.since,
            reason=notice.reason,
            frame=kept and kept.frame,
            clip=kept and kept.clip,
        )
        fields = self.publish("alarm", alarm)
        for sender in self.senders:
            sender.send(fields)


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
