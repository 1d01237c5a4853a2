"""What is told: one JSON object a line, the same for webhooks and MQTT; and a line for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spatterlib.common.files import plain
from spatterlib.common.origin import marks
from spatterlib.common.wording import counted
from spatterlib.verdicts.rules import Span

__all__ = ["COMMON", "FIELDS", "human", "line", "message", "span_fields"]

COMMON = {
    "type": "what the message is about: one of the types below",
    "at": "UTC, when it was written, ISO 8601 with milliseconds",
    "time": "s, time of the stream up to which was looked",
    "source": "the source, without its password",
    "simulated": "true: the stream is marked as simulated; null: it does not say where it comes from",
    "model_origin": "what the model learned from: simulated, partly simulated, or not stated",
}
"""Fields of every message, and what they mean."""

_SPAN = {
    "number": "of the layer, from 1; of a window: how many there were",
    "start": "s, time of its first crop; of a window: where it begins",
    "stop": "s, time of its last crop; of a window: where it ends",
    "label": "the class; null where the verdict abstains",
    "leading": "the most probable class, decided or not; null without votes",
    "probability": "of `leading`, calibrated, mean over the votes; null without votes",
    "low": "lower end of its 95 % interval; null with fewer than three votes",
    "high": "upper end",
    "votes": "events by seconds",
    "events": "boxes that overlap from frame to frame are one event",
    "crops": "crops with a vote",
    "far": "share of crops unlike those of the training; null if not checked",
    "state": "OK, attention, critical, no verdict; decided where no class is expected",
    "reason": "why, in words",
    "first_frame": "number of the frame of its first crop; -1 without",
    "last_frame": "of its last",
}

FIELDS: dict[str, dict[str, str]] = {
    "start": {
        "kind": "camera, url or file",
        "stream": "format, codec, width, height, as far as the stream says",
        "model": "path, digest, classes, split and accuracy of the model",
        "settings": "all that the watch was started with",
        "versions": "of the packages that a verdict depends on",
    },
    "verdict": {
        "scope": "layer or window",
        "final": "whether the layer has ended, so that this verdict stays",
        "latency": "s, from the arrival of the newest frame in it to this verdict",
        **_SPAN,
    },
    "alarm": {
        "id": "of this message, to know it again if it comes twice",
        "event": "number of the event, from 1",
        "phase": "new, update or end",
        "state": "as in verdicts; stream lost, stream back; layer differs, layer as usual",
        "label": "the class; null where it is not clear",
        "since": "s, when the event began",
        "reason": "why, in words",
        "verdict": "the verdict that it rests on, with all its fields; null for the stream's, the charts', at the end",
        "chart": "the message `chart` that it rests on, with its own fields; null for other alarms",
    },
    "chart": {
        "number": "of the layer, from 1",
        "start": "s, time of its first crop",
        "stop": "s, time of its last crop",
        "values": "of each charted descriptor in this layer; null where not measured",
        "shewhart": "standard deviations of this layer from the reference, of the descriptor that is farthest",
        "ewma": "of recent layers, in standard deviations of the EWMA, farthest",
        "cusum": "what has added up, in standard deviations, farthest",
        "t2": "distance of all descriptors together",
        "p": "conformal p-value: how rare this distance is among reference layers",
        "limits": "of each chart",
        "alarms": "charts beyond their limits, in words; empty: as usual",
        "crops": "of the layer",
        "measured": "crops in which streaks were looked for: fewer where the machine did not keep up",
    },
    "gap": {
        "start": "s, last frame before the stream broke",
        "stop": "s, first frame behind",
        "seconds": "how long nothing was seen",
        "reason": "why it broke",
    },
    "status": {
        "received": "frames that came so far",
        "decoded": "frames looked at so far",
        "undecoded": "frames that did not decode",
        "dropped": "frames dropped because the machine did not keep up",
        "waiting": "frames in the queue",
        "connected": "whether the stream is there",
        "connections": "how often it was connected",
        "gaps": "how often it broke and came back",
        "gap_seconds": "s without stream in all",
        "crops": "crops with and without a vote so far",
        "events": "events so far",
        "layers": "layers so far",
        "latency_p50": "s; half of all frames had their verdict within",
        "latency_p99": "s; 99 % of all frames",
        "latency_max": "s; the slowest",
        "undelivered": "messages that could not be handed over",
        "store": "ok, or why nothing is kept any more; null without a store",
        "charts": "ok, or why layers are not charted any more; null without a reference",
    },
}
FIELDS["end"] = {"reason": "why the watch ended", "seconds": "how long it took", **FIELDS["status"]}
"""Of the last line: what `status` says, at the end."""


def message(kind: str, /, **values: Any) -> dict[str, Any]:
    """A message of known fields, all of them; NaN is null.

    Examples
    --------
    >>> from spatterlib.live.messages import message
    >>> known = dict(time=9.0, source="0", simulated=None, model_origin="not stated")
    >>> message("gap", **known, start=2.0, stop=9.0, seconds=7.0, reason="it ended")["seconds"]
    7.0
    """
    known = {*COMMON, *FIELDS[kind]}
    found = {"type": kind, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
    if set(found) != known:
        raise TypeError(f"{kind} has fields {sorted(known)}, got {sorted(found)}")
    return {name: plain(value, 6) for name, value in found.items()}


def span_fields(span: Span) -> dict[str, Any]:
    """Fields of a verdict."""
    return span.facts()


def line(found: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(found, ensure_ascii=False, allow_nan=False)


def human(found: Mapping[str, Any]) -> str:
    """One line for people, or nothing where there is nothing to tell them."""
    told = _TOLD.get(found["type"])
    text = told(found) if told else ""
    marked = found["type"] in ("start", "alarm", "verdict", "end")
    mark = marks(found["simulated"], found["model_origin"]) if marked else ""
    return f"{_clock(found['time'])}  {text}{mark}" if text else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes) // 60:d}:{int(minutes) % 60:02d}:{rest:04.1f}"


def _start(found: Mapping[str, Any]) -> str:
    stream = found["stream"]
    size = f" {stream['width']}x{stream['height']}" if stream.get("width") else ""
    return f"watching {found['source']} ({stream['format']}{size}) with model {found['model']['name']}"


def _verdict(found: Mapping[str, Any]) -> str:
    if not found["final"]:
        return ""
    share = "" if found["probability"] is None else f" {found['probability']:.2f}"
    within = "" if found["low"] is None else f" [{found['low']:.2f}-{found['high']:.2f}]"
    label = found["label"] or (f"({found['leading']})" if found["leading"] else "-")
    return f"layer {found['number']}: {found['state']}, {label}{share}{within}, {counted(found['votes'], 'vote')}"


def _alarm(found: Mapping[str, Any]) -> str:
    return f"ALARM {found['event']} {found['phase']}: {found['state']}: {found['reason']}"


def _gap(found: Mapping[str, Any]) -> str:
    return f"nothing was seen for {found['seconds']:.1f} s: {found['reason']}"


def _counts(found: Mapping[str, Any]) -> str:
    waited = (
        ""
        if found["latency_p99"] is None
        else (
            f", verdict after {1e3 * found['latency_p50']:.0f} ms (median), {1e3 * found['latency_p99']:.0f} ms (99 %)"
        )
    )
    return (
        f"{found['decoded']} of {counted(found['received'], 'frame')}, {found['dropped']} dropped, "
        f"{found['undecoded']} did not decode; {counted(found['layers'], 'layer')}, "
        f"{counted(found['events'], 'event')}{waited}"
    )


def _end(found: Mapping[str, Any]) -> str:
    return f"ended ({found['reason']}): {_counts(found)}; {counted(found['gaps'], 'gap')}, {found['gap_seconds']:.1f} s"


_TOLD = {"start": _start, "verdict": _verdict, "alarm": _alarm, "gap": _gap, "status": _counts, "end": _end}
