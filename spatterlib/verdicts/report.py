"""One HTML page that holds all it shows: no script, no request to anywhere, light and dark, made to be printed too."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatterlib.common.origin import learned
from spatterlib.errors import ParameterError, StoreError
from spatterlib.verdicts.change import Change
from spatterlib.verdicts.rules import Span
from spatterlib.verdicts.shares import LEAST

if TYPE_CHECKING:
    from spatterlib.verdicts.verdict import Evidence, Verdict

__all__ = ["differs", "page", "parse", "read_page"]

# A browser runs nothing and asks nobody, whatever a name in the page looks like.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_BEGIN, _END = '<script type="application/json" id="verdict">', "</script>"
_CLASS = {"OK": "s-ok", "attention": "s-attention", "critical": "s-critical", "decided": "s-decided"}
_STATES = {
    "OK": "surely the expected class",
    "attention": "enough was seen, but not clear which class",
    "critical": "surely another class than expected",
    "decided": "surely one class; nobody said which is expected",
    "no verdict": "too little was seen, or crops unlike those of the training",
}
# Of the drawing, px of its view box.
_WIDTH, _LEFT, _RIGHT, _TOP, _PLOT = 1012, 62, 8, 26, 170

_OF_TIMES = ("timeline", "table of layers", "table of windows")

_SPLITS = {
    "original": "Its accuracy was measured on random crops of the recordings it also learned from, so it says how well "
    "those recordings are told apart, and little about a new one.",
    "grouped": "Its accuracy was measured on whole groups that had no part in the training.",
    "time": "Its accuracy was measured on other stretches of time of the recordings it also learned from.",
}

_SIMULATED = "The model learned from simulated recordings only. What it says of a real one has never been tested."
_PARTLY = "The model learned partly from simulated recordings: how good it is on real ones alone is not known."
_VOTES = (
    "Crops of one event are one vote in each {vote_seconds:g} s that it lasts. A layer is decided if the 95 % interval "
    "of its votes (bootstrap, {resamples} draws) leaves no doubt which class leads, and not before {min_votes} votes. "
    "The interval covers chance within the layer; it does not cover that this camera, lamp or machine may differ from "
    "those of the training. Among many layers a few wrong ones are to be expected."
)
_UNTIMED = (
    "The file has no times, so there are no layers, windows and events, and nobody can say which crops show the same "
    "spatter. Crops are counted, not votes. The interval comes from how the share differs between stretches of "
    f"neighbouring crops; below {LEAST} crops there is none. It does not cover that this camera, lamp or machine may "
    "differ from those of the training, and a share is no state of the build."
)
_FAMILIAR = (
    "Crops unlike those of the training are found by a few features of how their brightness is spread; where more than "
    "{} of a layer's crops lie beyond, there is no verdict.",
    "Whether the crops look like those of the training was not checked: the model does not say what they looked like.",
)


def page(verdict: Verdict) -> str:
    """The page as text; its JSON (without rows and crops) stands in it for `read_page`."""
    facts = verdict.to_dict(rows=False, evidence=False)
    name = _name(facts)
    data = json.dumps(facts, allow_nan=False).replace("<", "\\u003c")
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    body = [
        _head(facts, name),
        *(_shared(facts["summary"]) if "shares" in facts["summary"] else _timed(verdict, facts)),
        *(_section(item.title, item.body) for item in verdict.sections),
        _section("Evidence", _evidence(verdict.evidence)),
        *([] if "shares" in facts["summary"] else [_windows(verdict.windows, facts)]),
        _section("What the label can and cannot mean", _meaning(facts)),
        _section("Settings and digests", _settings(facts)),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Verdict on {escape(name)}{' (simulated)' if facts['simulated'] else ''}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{''.join(body)}</main>\n"
        f"{_BEGIN}{data}{_END}\n</body>\n</html>\n"
    )


def _timed(verdict: Verdict, facts: Mapping[str, Any]) -> list[str]:
    return [
        _section("Timeline", _timeline(verdict.layers, verdict.windows, verdict.changes, verdict.classes)),
        _section("Layers", _table(verdict.layers, "layer"), f"Layers are told apart: {facts['summary']['gap']}."),
    ]


def _windows(spans: Sequence[Span], facts: Mapping[str, Any]) -> str:
    return _section(f"Windows of {facts['settings'].get('window', 0):g} s", _table(spans, "window"))


def _shared(summary: Mapping[str, Any]) -> list[str]:
    """What stands in place of timeline, layers and windows where no crop has a time."""
    return [_section("Shares of the classes", _shares(summary["shares"]), _UNTIMED)]


def _shares(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "<p>No crop has a vote: all are too dark or damaged.</p>\n"
    lines = []
    for item in found:
        within = "–" if item["low"] is None else f"{item['low']:.1%} to {item['high']:.1%}"
        cells = "".join(f'<td class="n">{cell}</td>' for cell in (f"{item['crops']:,}", f"{item['share']:.1%}", within))
        lines.append(f"<tr><td>{escape(item['label'])}</td>{cells}</tr>")
    titles = "".join(f'<th class="n">{name}</th>' for name in ("crops", "share", "95 % interval"))
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table><thead><tr><th>most probable class</th>{titles}</tr></thead><tbody>\n{body}\n'
        "</tbody></table></div>\n"
    )


def read_page(text: str) -> dict[str, Any]:
    """The JSON that a page holds.

    Raises
    ------
    StoreError
        If it holds none, or it is damaged.
    """
    _, begin, rest = text.partition(_BEGIN)
    data, end, _ = rest.partition(_END)
    if not begin or not end:
        raise StoreError("it is no report of spatterlib: no JSON of a verdict in it")
    return parse(data)


def differs(text: str, facts: Mapping[str, Any], layers: Sequence[Span], windows: Sequence[Span]) -> list[str]:
    """Names of the parts of a page that do not show what the JSON in it says."""
    parts = {
        "head": _head(facts, _name(facts)),
        "timeline": _timeline(layers, windows, [Change(**item) for item in facts["changes"]], facts["classes"]),
        "table of layers": _table(layers, "layer"),
        "table of windows": _table(windows, "window"),
        "table of shares": _shares(facts["summary"].get("shares", ())),
        "account of the model": _meaning(facts),
        "list of settings": _settings(facts),
    }
    absent = _OF_TIMES if "shares" in facts["summary"] else ("table of shares",)
    return [name for name, part in parts.items() if name not in absent and part not in text]


def parse(data: str) -> dict[str, Any]:
    """The JSON of a verdict, checked for being one.

    Raises
    ------
    StoreError
        If it is damaged, or something else.
    """
    try:
        facts = json.loads(data)
    except json.JSONDecodeError as error:
        raise StoreError(f"the JSON of the verdict is damaged: {error}") from error
    if not isinstance(facts, dict) or facts.get("kind") != "spatterlib verdict":
        raise StoreError("it is JSON, but not of a verdict of spatterlib")
    if facts.get("format") not in (1, 2):
        raise ParameterError(f"the verdict has format {facts.get('format')!r}; this version reads formats 1 and 2")
    return facts


def _name(facts: Mapping[str, Any]) -> str:
    return str((facts["settings"].get("source") or {}).get("name") or "recording")


def _section(title: str, body: str, note: str = "") -> str:
    below = f'<p class="soft">{escape(note)}</p>\n' if note else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}{below}</section>\n"


def _state(state: str) -> str:
    return f'<span class="state {_CLASS.get(state, "s-none")}">{escape(state)}</span>'


def _head(facts: Mapping[str, Any], name: str) -> str:
    summary = facts["summary"]
    expected = summary["expected"]
    tiles = {
        "build": _state(summary["state"]),
        "expected class": escape(expected) if expected else "not given",
        "layers": f"{summary['layers']:,}",
        "events": f"{summary['events']:,}",
        "crops": f"{summary['crops']:,}",
        "frames decoded": f"{summary['decoded']:,}<small> of {summary['frames']:,}</small>",
    }
    if "shares" in summary:
        del tiles["layers"], tiles["events"], tiles["frames decoded"]
    cells = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in tiles.items())
    return (
        f'<header>\n<p class="soft">Verdict on the spatter of a recording</p>\n<h1>{escape(name)}</h1>\n{_marks(facts)}'
        f'<p class="lead">{escape(_sentence(summary["text"]))}</p>\n<dl class="tiles">{cells}</dl>\n</header>\n'
    )


def _marks(facts: Mapping[str, Any]) -> str:
    """Where the recording and what the model learned from come from: two facts, each for itself."""
    if facts["format"] == 1:  # which had one flag for both
        return '<p><span class="mark">SIMULATED: not from a machine</span></p>\n' if facts["simulated"] else ""
    said = learned(facts["settings"]["model"]["origin"])
    marked = ["SIMULATED RECORDING: not from a machine"] * bool(facts["simulated"]) + [f"MODEL: {said}"] * bool(said)
    shown = "".join(f'<span class="mark">{text}</span>\n' for text in marked)
    soft = "" if facts["simulated"] else '<span class="soft">The recording does not say where it comes from.</span>\n'
    return f'<p class="marks">\n{shown}{soft}</p>\n'


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _timeline(layers: Sequence[Span], windows: Sequence[Span], moved: Sequence[Change], classes: Sequence[str]) -> str:
    """Probability of each layer with its interval over time, as SVG."""
    if not layers:
        return "<p>No spatter was seen at a known time.</p>\n"
    begin, end = windows[0].start, max(windows[-1].stop, windows[0].start + 1e-3)
    scale = (_WIDTH - _LEFT - _RIGHT) / (end - begin)

    def x(time: float) -> float:
        return _LEFT + (time - begin) * scale

    two = len(classes) == 2
    parts = [_axes(begin, end, x, classes if two else ("0", "1"))]
    parts += [_layer_mark(span, x, classes[1] if two else None) for span in layers]
    parts += [_change_mark(item, x) for item in moved]
    states = dict.fromkeys(span.state for span in layers)
    legend = "".join(f"<span>{_state(state)} {_STATES[state]}</span>" for state in states)
    what = f"probability of {classes[1]}" if two else "probability of the leading class"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_TOP + _PLOT + 40}" role="img" '
        f'aria-label="{escape(what)} of each layer over time">\n'
        f'{"".join(parts)}</svg>\n<div class="legend">{legend}</div>\n'
        f'<p class="soft">Each mark is a layer, as wide as it lasts: mean {escape(what)} over its votes, with the 95 % '
        "interval.</p>\n"
    )


def _y(probability: float) -> float:
    return _TOP + _PLOT * (1 - probability)


def _axes(begin: float, end: float, x: Any, names: Sequence[str]) -> str:
    parts = []
    for value, name in ((1.0, names[1]), (0.5, "0.5"), (0.0, names[0])):
        kind = "half" if value == 0.5 else "rule"
        parts.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(value):g}" y2="{_y(value):g}"/>'
        )
        shown = escape(name if len(name) <= 8 else f"{name[:7]}…")
        ink = "" if value == 0.5 else ' class="ink"'
        parts.append(f'<text{ink} x="{_LEFT - 8}" y="{_y(value) + 4:g}" text-anchor="end">{shown}</text>')
    unit, name = (60.0, "min") if end - begin > 600 else (1.0, "s")
    step = _step((end - begin) / unit)
    tick = -(-begin // (step * unit)) * step
    base = _TOP + _PLOT
    while tick * unit <= end:
        place = x(tick * unit)
        parts.append(f'<line class="rule" x1="{place:.1f}" x2="{place:.1f}" y1="{base}" y2="{base + 5}"/>')
        parts.append(f'<text x="{place:.1f}" y="{base + 19}" text-anchor="middle">{tick:g}</text>')
        tick += step
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{base + 36}" text-anchor="end">time in {name}</text>')
    return "\n".join(parts) + "\n"


def _step(length: float) -> float:
    """A round step that makes about ten ticks."""
    power = 10.0 ** len(str(int(max(length, 1) / 10))) / 10 if length >= 10 else 0.1
    return next(power * factor for factor in (1, 2, 5, 10, 20, 50, 100) if length / (power * factor) <= 11)


def _layer_mark(span: Span, x: Any, upper: str | None) -> str:
    left, right = x(span.start), max(x(span.stop), x(span.start) + 2)
    middle = (left + right) / 2
    about = f"layer {span.number}, {span.start:.1f}-{span.stop:.1f} s: {span.state}, {span.reason}"
    if span.leading is None:
        body = f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{_y(0.5):g}" y2="{_y(0.5):g}" stroke-width="2"/>'
    else:
        flip = upper is not None and span.leading != upper
        p, low, high = (1 - v if flip else v for v in (span.probability, span.low, span.high))
        body = f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{_y(p):.1f}" y2="{_y(p):.1f}" stroke-width="3"/>'
        if low == low:
            ends = f'y1="{_y(low):.1f}" y2="{_y(high):.1f}"'
            body += f'<line x1="{middle:.1f}" x2="{middle:.1f}" {ends} stroke-width="1.2"/>'
        body += _shape(span.state, middle, _y(p))
    return f'<g class="{_CLASS.get(span.state, "s-none")}"><title>{escape(about)}</title>{body}</g>\n'


def _shape(state: str, x: float, y: float) -> str:
    """Another shape for each state, so that colour is not all."""
    if state == "critical":
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    if state == "attention":
        return f'<path d="M{x:.1f} {y - 6:.1f}L{x + 5.5:.1f} {y + 4.5:.1f}H{x - 5.5:.1f}Z"/>'
    if state == "no verdict":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill:var(--ground)"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'


def _change_mark(item: Change, x: Any) -> str:
    place = x(item.time)
    anchor = "start" if place < _WIDTH / 2 else "end"
    beside = place + (6 if anchor == "start" else -6)
    text = escape(f"{item.before} → {item.after}, layer {item.layer}, {item.time:.1f} s")
    return (
        f'<line class="change" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP - 16}" y2="{_TOP + _PLOT}"/>'
        f'<text class="ink" x="{beside:.1f}" y="{_TOP - 8}" text-anchor="{anchor}">{text}</text>\n'
    )


def _table(spans: Sequence[Span], what: str) -> str:
    if not spans:
        return f"<p>There is no {what}.</p>\n"
    head = [what, "from s", "to s", "frames", "state", "class", "probability", "95 % interval", "votes", "events"]
    head += ["crops", "unlike training", "why"]
    left = {"state", "class", "why"}
    titles = "".join(f"<th>{name}</th>" if name in left else f'<th class="n">{name}</th>' for name in head)
    lines = "\n".join(_line(span) for span in spans)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>\n{lines}\n</tbody></table></div>\n'


def _line(span: Span) -> str:
    known, within = span.probability == span.probability, span.low == span.low
    label = span.label or (f"({span.leading})" if span.leading else "–")
    frames = f"{span.first_frame}–{span.last_frame}" if span.first_frame >= 0 else "–"
    numbers = [str(span.number), f"{span.start:.1f}", f"{span.stop:.1f}", frames]
    further = [f"{span.probability:.2f}" if known else "–", f"{span.low:.2f}–{span.high:.2f}" if within else "–"]
    further += [str(span.votes), str(span.events), str(span.crops)]
    further += [f"{span.far:.0%}" if span.far == span.far else "–"]
    cells = "".join(f'<td class="n">{value}</td>' for value in numbers)
    cells += f"<td>{_state(span.state)}</td><td>{escape(label)}</td>"
    cells += "".join(f'<td class="n">{value}</td>' for value in further)
    return f"<tr>{cells}<td>{escape(span.reason)}</td></tr>"


def _evidence(found: Sequence[Evidence]) -> str:
    kinds: dict[str, list[str]] = {}
    for item in found:
        kind = "png" if item.encoded.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(item.encoded).decode()
        where = f"frame {item.frame}, {item.time:.2f} s" if item.layer else f"row {item.row}, time unknown"
        layer = f"<br>layer {item.layer}" if item.layer else ""
        kinds.setdefault(item.kind, []).append(
            f'<figure><div><img alt="crop of {where}" src="data:image/{kind};base64,{data}"></div><figcaption>'
            f"<b>{escape(item.label)} {item.probability:.3f}</b><br>{where}{layer}"
            "</figcaption></figure>"
        )
    parts = [
        f'<h3>{escape(_title(kind))}</h3>\n<div class="crops">{"".join(items)}</div>\n' for kind, items in kinds.items()
    ]
    each = "At most one crop of an event; the" if any(item.layer for item in found) else "The"
    note = f'<p class="soft">{each} number is the calibrated probability of that class.</p>\n'
    return "".join(parts) + note if parts else "<p>No crop was kept as evidence.</p>\n"


def _title(kind: str) -> str:
    return kind[:1].upper() + kind[1:]


def _meaning(facts: Mapping[str, Any]) -> str:
    model, rules = facts["settings"]["model"], facts["settings"]["rules"]
    known, unknown = _FAMILIAR
    origin = model.get("origin", "simulated" if model["simulated"] else "not stated")  # format 1 has none
    simulated = {"simulated": [_SIMULATED], "partly simulated": [_PARTLY]}.get(origin, [])
    texts = [
        f"The model tells {', '.join(facts['classes'])} apart, as its training crops were labelled. Whatever else it "
        "is shown it also calls one of these.",
        *simulated,
        *_differing(facts["settings"].get("unlike_training")),
        _accuracy(model),
        *([] if "shares" in facts["summary"] else [_VOTES.format(**rules)]),
        (known if model["familiarity"] else unknown).format(f"{rules['max_far']:.0%}"),
        "A label is no measurement of gas flow, and says nothing of the quality of the part.",
    ]
    return '<div class="note">' + "".join(f"<p>{escape(text)}</p>" for text in texts) + "</div>\n"


def _differing(found: Sequence[str] | None) -> list[str]:
    said = f"This recording is not like those that the model learned from: {'; '.join(found or ())}."
    return [f"{said} The verdict may be wrong."] if found else []


def _data(model: Mapping[str, Any]) -> str:
    old = "origin" not in model  # pages of format 1 are compared with what this gives
    if model["recordings"] == 1 and not old:
        return "its data were 1 recording"
    return f"its data were {model['recordings']} recordings"


def _accuracy(model: Mapping[str, Any]) -> str:
    split, accuracy = model["split"], model["accuracy"]
    if not split or accuracy is None:
        return "How good the model is, is not known: it came as bare weights without a record of its training."
    interval = model["accuracy_interval"]
    within = f" (95 % over recordings: {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    return (
        f"{accuracy:.1%} of single crops{within} were right in the test part of its {split['name']} split by "
        f"{split['by']}; {_data(model)}. {_SPLITS.get(split['name'], '')}"
    )


def _settings(facts: Mapping[str, Any]) -> str:
    settings = facts["settings"]
    model, video = settings["model"], settings.get("video") or {}
    span = f"frames {settings.get('start')} to {settings.get('stop')}, not included"
    rows = {
        "source": f"{settings['source'].get('kind')} {settings['source'].get('path')}",
        "video": ", ".join(f"{key} {value}" for key, value in video.items() if key != "digest"),
        "digest of the video": video.get("digest"),
        "looked at": span + (f", region {settings['roi']}" if settings.get("roi") else ""),
        "detector": settings.get("detector"),
        "filters": settings.get("filters"),
        "crops": settings.get("crops"),
        "gap between layers": f"{settings.get('gap')} ({facts['summary']['gap']})",
        "rules": settings.get("rules"),
        "model": f"{model['name']} {model['path']}".strip(),
        "classifier": model["classifier"],
        "trained": f"{model['created']}, split {model['split']}" if model["created"] else None,
        "digest of the model": f"sha256:{model['digest']}",
        "digest of the code": f"sha256:{settings.get('code')}",
        "versions": settings.get("versions"),
        "made": settings.get("created"),
        "crops without a vote": f"{facts['summary']['without_vote']} too dark or damaged",
    }
    lines = "".join(f"<tr><td>{key}</td><td>{_value(value)}</td></tr>" for key, value in rows.items() if value)
    return f'<table class="settings"><tbody>{lines}</tbody></table>\n'


def _value(value: Any) -> str:
    return f"<code>{escape(json.dumps(value))}</code>" if isinstance(value, dict | list) else escape(str(value))
