"""Messages of a watch: one JSON object a line, the same for webhooks and MQTT; and a line of text for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypedDict, get_type_hints

from spatterlib.common.files import json_ready
from spatterlib.common.origin import Origin, marks
from spatterlib.common.wording import counted
from spatterlib.live.alarms import Phase
from spatterlib.live.source import Kind, StreamFacts
from spatterlib.verdicts.judgement import SpanFields

__all__ = [
    "COMMON",
    "FIELDS",
    "AlarmFields",
    "AlarmVerdict",
    "ChartFields",
    "EndFields",
    "EndMessage",
    "GapFields",
    "MessageHeader",
    "StartFields",
    "StatusFields",
    "VerdictFields",
    "json_line",
    "message",
    "text_line",
]


class MessageHeader(TypedDict):
    """What every message begins with."""

    type: Annotated[str, "what the message is about: one of the types below"]
    at: Annotated[str, "UTC, when it was written, ISO 8601 with milliseconds"]
    time: Annotated[float, "s, time of the stream up to which was looked"]
    source: Annotated[str, "the source, without its password"]
    simulated: Annotated[
        bool | None, "true: the stream is marked as simulated; null: it does not say where it comes from"
    ]
    model_origin: Annotated[Origin, "what the model learned from: simulated, partly simulated, or not stated"]


class StartFields(TypedDict):
    """Once, at the beginning."""

    kind: Annotated[Kind, "camera, url or file"]
    stream: Annotated[StreamFacts, "format, codec, width, height, as far as it says; the name alone: not there yet"]
    model: Annotated[Mapping[str, Any], "path, digest, classes, split and accuracy of the model"]
    settings: Annotated[Mapping[str, Any], "all that the watch was started with"]
    versions: Annotated[Mapping[str, str], "of the packages that a verdict depends on"]


class _Scoped(TypedDict):
    scope: Annotated[str, "layer or window"]


class _Timed(_Scoped):
    final: Annotated[bool, "whether the layer has ended, so that this verdict stays"]
    latency: Annotated[float | None, "s, from the arrival of the newest frame in it to this verdict"]


class VerdictFields(_Timed, SpanFields):
    """Every few seconds while something new was seen, and at the end of each layer."""


class AlarmVerdict(_Scoped, SpanFields):
    """The verdict that an alarm rests on."""


class ChartFields(TypedDict):
    """Of each layer when it has ended, where there is a reference."""

    number: Annotated[int, "of the layer, from 1"]
    start: Annotated[float, "s, time of its first crop"]
    stop: Annotated[float, "s, time of its last crop"]
    values: Annotated[Mapping[str, float], "of each charted descriptor in this layer; null where not measured"]
    shewhart: Annotated[
        float, "standard deviations of this layer from the reference, of the descriptor that is farthest"
    ]
    ewma: Annotated[float, "of recent layers, in standard deviations of the EWMA, farthest"]
    cusum: Annotated[float, "what has added up, in standard deviations, farthest"]
    t2: Annotated[float, "distance of all descriptors together"]
    p: Annotated[float, "conformal p-value: how rare this distance is among reference layers"]
    limits: Annotated[Mapping[str, float], "of each chart"]
    alarms: Annotated[list[str], "charts beyond their limits, in words; empty: as usual"]
    crops: Annotated[int, "of the layer"]
    measured: Annotated[int, "crops in which streaks were looked for: fewer where the machine did not keep up"]


class AlarmFields(TypedDict):
    """When the state changes."""

    id: Annotated[str, "of this message, to know it again if it comes twice"]
    event: Annotated[int, "number of the event, from 1"]
    phase: Annotated[Phase, "new, update or end"]
    state: Annotated[
        str,
        "as in verdicts; stream lost, stream back; pictures repeat, pictures new; layer differs, layer as usual; "
        "picture frozen, picture changes; picture dark, picture light; camera moved, camera in place; out of focus, "
        "in focus; window fouled, window clear; clock jumped, clock steady",
    ]
    label: Annotated[str | None, "the class; null where it is not clear"]
    since: Annotated[float, "s, when the event began"]
    reason: Annotated[str, "why, in words"]
    verdict: Annotated[
        AlarmVerdict | None,
        "the verdict that it rests on, with all its fields; null for the stream's, the charts', at the end",
    ]
    chart: Annotated[
        ChartFields | None, "the message `chart` that it rests on, with its own fields; null for other alarms"
    ]
    frame: Annotated[str | None, "file with the picture of its beginning, written soon after; null without `--clips`"]
    clip: Annotated[str | None, "file with 5 s before its beginning and 3 s behind, written then; null likewise"]


class GapFields(TypedDict):
    """When a stream is back, and at the end where it is not."""

    start: Annotated[float, "s, last frame before the stream broke"]
    stop: Annotated[float, "s, first frame behind; the end, where none came"]
    seconds: Annotated[float, "how long nothing was seen"]
    reason: Annotated[str, "why it broke"]
    stream: Annotated[StreamFacts, "what the stream says of itself now"]


class StatusFields(TypedDict):
    """Every few seconds."""

    received: Annotated[int, "frames that came so far"]
    decoded: Annotated[int, "frames looked at so far"]
    undecoded: Annotated[int, "frames that did not decode"]
    dropped: Annotated[int, "frames dropped because the machine did not keep up"]
    waiting: Annotated[int, "frames in the queue"]
    connected: Annotated[bool, "whether the stream is there"]
    jumps: Annotated[int, "how often time stamps jumped, so that this machine's clock was taken instead"]
    connections: Annotated[int, "how often it was connected"]
    gaps: Annotated[int, "how often it broke and came back"]
    gap_seconds: Annotated[float, "s without stream in all"]
    repeated: Annotated[int, "frames with spatter that were seen before, so that they give no votes"]
    crops: Annotated[int, "crops with and without a vote so far"]
    events: Annotated[int, "events so far"]
    layers: Annotated[int, "layers so far"]
    latency_p50: Annotated[float | None, "s; half of all frames had their verdict within"]
    latency_p99: Annotated[float | None, "s; 99 % of all frames"]
    latency_max: Annotated[float | None, "s; the slowest"]
    undelivered: Annotated[int, "messages that could not be handed over"]
    store: Annotated[str | None, "ok, or why nothing is kept any more; null without a store"]
    charts: Annotated[str | None, "ok, or why layers are not charted any more; null without a reference"]
    clips: Annotated[str | None, "ok, or why alarms keep no pictures any more; null without a folder"]


class _Ending(TypedDict):
    reason: Annotated[str, "why the watch ended"]
    seconds: Annotated[float, "how long it took"]


class EndFields(_Ending, StatusFields):
    """The last message: what `StatusFields` says, at the end."""


class StartMessage(MessageHeader, StartFields):
    """The first message, whole."""


class EndMessage(MessageHeader, EndFields):
    """The last message, whole."""


Body: TypeAlias = StartFields | VerdictFields | AlarmFields | ChartFields | GapFields | StatusFields | EndFields

_BODIES = {
    "start": StartFields,
    "verdict": VerdictFields,
    "alarm": AlarmFields,
    "chart": ChartFields,
    "gap": GapFields,
    "status": StatusFields,
    "end": EndFields,
}


def _meanings(fields: type) -> dict[str, str]:
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(fields, include_extras=True).items()}


COMMON = _meanings(MessageHeader)
"""Fields of every message, and what they mean."""
FIELDS = {kind: _meanings(fields) for kind, fields in _BODIES.items()}
"""Further fields by type of message, and what they mean."""


def message(
    kind: str, body: Body, *, time: float, source: str, simulated: bool | None, model_origin: Origin
) -> dict[str, Any]:
    """A message as JSON can say it; NaN is null.

    Examples
    --------
    >>> from spatterlib.live.messages import GapFields, message
    >>> gap = GapFields(start=2.0, stop=9.0, seconds=7.0, reason="it ended", stream={})
    >>> message("gap", gap, time=9.0, source="0", simulated=None, model_origin="not stated")["seconds"]
    7.0
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    header = MessageHeader(type=kind, at=at, time=time, source=source, simulated=simulated, model_origin=model_origin)
    return {name: json_ready(value, 6) for name, value in {**header, **body}.items()}


def json_line(fields: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def text_line(fields: Mapping[str, Any]) -> str:
    """One line for people, or nothing where there is nothing to say."""
    kind = fields["type"]
    text = _TEXTS[kind](fields) if kind in _TEXTS else ""
    marked = kind in ("start", "alarm", "verdict", "end")
    mark = marks(fields["simulated"], fields["model_origin"]) if marked else ""
    return f"{_clock(fields['time'])}  {text}{mark}" if text else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes) // 60:d}:{int(minutes) % 60:02d}:{rest:04.1f}"


def _start(fields: StartMessage) -> str:
    stream = fields["stream"]
    size = f" {stream['width']}x{stream['height']}" if stream.get("width") else ""
    form = stream.get("format", "not there yet")
    return f"watching {fields['source']} ({form}{size}) with model {fields['model']['name']}"


def _verdict(fields: VerdictFields) -> str:
    if not fields["final"]:
        return ""
    share = "" if fields["probability"] is None else f" {fields['probability']:.2f}"
    interval = "" if fields["low"] is None else f" [{fields['low']:.2f}-{fields['high']:.2f}]"
    label = fields["label"] or (f"({fields['leading']})" if fields["leading"] else "-")
    return f"layer {fields['number']}: {fields['state']}, {label}{share}{interval}, {counted(fields['votes'], 'vote')}"


def _alarm(fields: AlarmFields) -> str:
    return f"ALARM {fields['event']} {fields['phase']}: {fields['state']}: {fields['reason']}"


def _gap(fields: GapFields) -> str:
    return f"nothing was seen for {fields['seconds']:.1f} s: {fields['reason']}"


def _status(fields: StatusFields) -> str:
    median, most = fields["latency_p50"], fields["latency_p99"]
    late = "" if median is None or most is None else f"{1e3 * median:.0f} ms (median), {1e3 * most:.0f} ms (99 %)"
    return (
        f"{fields['decoded']} of {counted(fields['received'], 'frame')}, {fields['dropped']} dropped, "
        f"{fields['undecoded']} did not decode; {counted(fields['layers'], 'layer')}, "
        f"{counted(fields['events'], 'event')}{late and f', verdict after {late}'}"
    )


def _end(fields: EndFields) -> str:
    gaps = f"{counted(fields['gaps'], 'gap')}, {fields['gap_seconds']:.1f} s"
    return f"ended ({fields['reason']}): {_status(fields)}; {gaps}"


_TEXTS: dict[str, Callable[[Any], str]] = {
    "start": _start,
    "verdict": _verdict,
    "alarm": _alarm,
    "gap": _gap,
    "status": _status,
    "end": _end,
}
