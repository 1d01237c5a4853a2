"""A verdict as HTML: headline, layers, evidence, and one frame with its boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import spatterlib as sp
from spatterlib_demo.pictures import boxed, crop_button, data_uri, encoded_uri, gallery
from spatterlib_demo.words import simulated_mark, term

__all__ = ["evidence", "frame", "headline", "layers", "running"]

_STYLE = {"OK": "ok", "attention": "attention", "critical": "critical", "decided": "decided"}
_MEANS = {
    "OK": "as you expect",
    "attention": "not sure",
    "critical": "not as you expect",
    "decided": "decided",
    "no verdict": "no verdict",
}
_WHOLE = {
    "OK": "Gas flow looks {label}, as you expect",
    "decided": "Gas flow looks {label}",
    "critical": "Gas flow is not what you expect",
    "attention": "Not clear in every layer",
    "no verdict": "No verdict",
}


def running(done: int, expected: int, found: int, cancelling: bool = False) -> str:
    """How far it is."""
    share = f"{100 * done / max(expected, 1):.0f} %"
    text = "Cancelling …" if cancelling else f"Looking for spatter: {done:,} of {expected:,} frames, {found:,} found"
    bar = f'<progress max="{max(expected, 1)}" value="{done}" aria-label="frames looked at">{share}</progress>'
    return f'<div class="running" role="status">{bar}<span>{escape(text)}</span></div>'


def headline(verdict: sp.Verdict, name: str) -> str:
    """The answer in large letters, and what it rests on."""
    facts, model = verdict.summary, verdict.settings["model"]
    marks = []
    if verdict.settings["video"] and sp.is_simulated(verdict.settings):
        marks.append(simulated_mark("recording: computed, not filmed"))
    if model["simulated"]:
        marks.append(simulated_mark("model: learned from simulated recordings only, never tested on a machine"))
    text = facts["text"]
    hint = "" if facts["labels"] else _what_now(facts)
    return (
        f'<div class="headline {_STYLE.get(facts["state"], "none")}"><p class="soft">{escape(name)}</p>'
        f"<h2>{escape(_title(verdict))}</h2><p>{escape(text[:1].upper() + text[1:])}.{hint}</p>"
        f'<p class="soft">{facts["decoded"]:,} {term("frame", "frames")}, {facts["crops"]:,} {term("crop", "crops")} '
        f"of {facts['events']:,} {term('spatter')} events, in {facts['seconds']:.1f} s.</p>"
        f'<p class="marks">{" ".join(marks)}</p></div>'
    )


def _title(verdict: sp.Verdict) -> str:
    facts = verdict.summary
    if verdict.changes:
        change = verdict.changes[0]
        return f"Gas flow changes from {change.before} to {change.after} at {change.time:.0f} s"
    if len(facts["labels"]) == 1 and facts["state"] in ("attention", "no verdict"):
        [(label, count)] = facts["labels"].items()
        return f"Gas flow looks {label} in {count} of {facts['layers']} layers"
    return _WHOLE[facts["state"]].format(label=facts["label"])


def _what_now(facts: Mapping[str, Any]) -> str:
    if not facts["crops"]:
        return (
            " <b>Next:</b> open the tab Tune with this video; lower the threshold or the smallest area until boxes "
            "appear around the spatter, then come back."
        )
    return " <b>Next:</b> take a longer stretch of the build; a layer needs six votes."


def layers(verdict: sp.Verdict) -> str:
    """A line per layer: class, probability with its interval as a bar, votes, why."""
    if not verdict.layers:
        return ""
    lines = "".join(_layer(span, verdict.classes) for span in verdict.layers)
    low, high = escape(verdict.classes[0]), escape(verdict.classes[-1])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="layers"><table class="layers"><thead><tr>'
        f"<th>{term('layer')}</th><th>time</th><th>{term('verdict')}</th>"
        f'<th class="wide">{low} … {term("probability")}, 95 % {term("interval")} … {high}</th>'
        f'<th class="n">{term("vote", "votes")}</th><th>why</th></tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _layer(span: Any, classes: Sequence[str]) -> str:
    style = _STYLE.get(span.state, "none")
    name = f"{span.label}: {_MEANS[span.state]}" if span.label and span.state != "decided" else span.label
    why = "" if span.state == "decided" else span.reason
    shown = escape(name or _MEANS[span.state])
    return (
        f'<tr><td>{span.number}</td><td class="nowrap">{span.start:.1f}–{span.stop:.1f} s</td>'
        f'<td class="nowrap"><b class="state {style}">{shown}</b></td><td>{_interval(span, classes)}</td>'
        f'<td class="n">{span.votes}</td><td class="soft">{escape(why)}</td></tr>'
    )


def _interval(span: Any, classes: Sequence[str]) -> str:
    """Probability of the last class, from left (0) to right (1)."""
    if span.leading is None:
        return ""
    p, low, high = (v if span.leading == classes[-1] else 1 - v for v in (span.probability, span.low, span.high))
    low, high = (min(low, high), max(low, high)) if low == low else (p, p)
    text = f"{span.leading} {span.probability:.2f}" + (
        f" ({span.low:.2f}–{span.high:.2f})" if span.low == span.low else ""
    )
    return (
        f'<svg class="interval" viewBox="0 0 120 14" role="img" aria-label="{escape(text)}"><path class="rule" '
        f'd="M2 7H118M60 2V12"/><path class="range" d="M{2 + 116 * low:.1f} 7H{2 + 116 * high:.1f}"/>'
        f'<circle cx="{2 + 116 * p:.1f}" cy="7" r="4"/></svg> <span class="nowrap">{escape(text)}</span>'
    )


def evidence(verdict: sp.Verdict) -> str:
    """The crops on which it rests: surest of each class, least sure. Press one to see its frame."""
    kinds: dict[str, list[str]] = {}
    for item in verdict.evidence:
        lines = (f"{item.label} {item.probability:.2f}", f"{item.time:.1f} s")
        alt = f"crop of frame {item.frame}: {lines[0]}; show the frame"
        kinds.setdefault(item.kind, []).append(crop_button(encoded_uri(item.encoded), str(item.frame), lines, alt))
    return "".join(gallery(escape(kind[:1].upper() + kind[1:]), found) for kind, found in kinds.items())


def rejected(found: Mapping[str, tuple[int, Sequence[Any]]]) -> str:
    """Crops that a filter dropped, by filter: ``{id: (how many, [(frame, time, crop), ...])}``."""
    parts = []
    for name, (count, crops) in found.items():
        buttons = [
            crop_button(
                data_uri(crop, 160), str(number), (f"{time:.1f} s",), f"rejected by {name}; show frame {number}"
            )
            for number, time, crop in crops
        ]
        parts.append(gallery(f"Rejected by {term('filter')} “{escape(name)}”: {count:,}", buttons))
    return "".join(parts)


def frame(verdict: sp.Verdict, video: Path, number: int) -> str:
    """One frame, its boxes coloured by what the model says of each."""
    with sp.open_video(video) as source:
        [picture] = source.read(number, number + 1)
        rgb = None if picture is None else picture.rgb((0, 0, source.width, source.height))
        time = float(source.times[number])
    if rgb is None:
        return '<p class="soft">This frame cannot be decoded.</p>'
    rows = verdict.rows[verdict.rows["frame"] == number]
    boxes = [(row, *_box(row["probabilities"], verdict.classes)) for row in rows]
    text = f"Frame {number}, {time:.2f} s: {len(rows)} spatter"
    mark = " (simulated)" if sp.is_simulated(verdict.settings) else ""
    picture_ = boxed(rgb, boxes, text)
    return f'<figure class="frame">{picture_}<figcaption aria-live="polite">{escape(text + mark)}</figcaption></figure>'


def _box(probabilities: Any, classes: Sequence[str]) -> tuple[str, str]:
    if not np.isfinite(probabilities).all():
        return "none", "no vote"
    best = int(np.argmax(probabilities))
    return ("last" if best == len(classes) - 1 else "first"), f"{classes[best]} {probabilities[best]:.2f}"
