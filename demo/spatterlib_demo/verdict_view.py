"""A verdict as HTML: headline, layers, evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import spatterlib as sp
from spatterlib_demo.markup import Markup, html, joined
from spatterlib_demo.pictures import crop_button, data_uri, encoded_uri, gallery
from spatterlib_demo.words import simulated_mark, term

__all__ = ["FILTERS", "dropped", "evidence", "headline", "layers", "running"]

FILTERS = ("area", "blue", "black")
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


def running(
    done: int, expected: int, found: int, cancelling: bool = False, preparing: tuple[int, int] | None = None
) -> Markup:
    """How far it is; `expected` is 0 while that is not known, `preparing` how many kernels of how many are compiled."""
    what = "frames looked at"
    text = f"Looking for spatter: {done:,} of {expected:,} frames, {found:,} found" if expected else "Opening …"
    if preparing:
        (done, expected), what = preparing, "kernels compiled"
        text = f"Preparing kernels for this machine, once: {done} of {expected}"
    most = max(expected, 1)
    return html(
        '<div class="running" role="status"><progress max="{}" value="{}" aria-label="{}">{:.0f} %'
        "</progress><span>{}</span></div>",
        *(most, done, what, 100 * done / most, "Cancelling …" if cancelling else text),
    )


def headline(verdict: sp.Verdict, name: str) -> Markup:
    """The answer in large letters, and what it rests on."""
    facts, model = verdict.summary, verdict.settings["model"]
    marks = []
    if verdict.simulated:
        marks.append(simulated_mark("recording: computed, not filmed"))
    if model["origin"] == "simulated":
        marks.append(simulated_mark("model: learned from simulated recordings only, never tested on a machine"))
    elif model["origin"] == "partly simulated":
        marks.append(simulated_mark("model: learned partly from simulated recordings"))
    text = facts["text"]
    return html(
        '<div class="headline {style}"><p class="soft">{name}</p><h2>{title}</h2><p>{text}.{hint}</p>{differs}'
        '<p class="soft">{facts[decoded]:,} {frames}, {facts[crops]:,} {crops} of {facts[events]:,} {spatter} events, '
        'in {facts[seconds]:.1f} s.</p><p class="marks">{marks}</p></div>',
        style=_STYLE.get(facts["state"], "none"),
        name=name,
        title=_title(verdict),
        text=text[:1].upper() + text[1:],
        hint="" if facts["labels"] else _what_now(facts),
        differs=_differing(verdict.settings.get("unlike_training") or ()),
        facts=facts,
        frames=term("frame", "frames"),
        crops=term("crop", "crops"),
        spatter=term("spatter"),
        marks=html(" ").join(marks),
    )


def _differing(found: Sequence[str]) -> Markup:
    if not found:
        return Markup()
    return html(
        "<p><b>The verdict may be wrong:</b> this recording is not like those that the model learned from: {}.</p>",
        "; ".join(found),
    )


def _title(verdict: sp.Verdict) -> str:
    facts = verdict.summary
    if verdict.changes:
        change = verdict.changes[0]
        return f"Gas flow changes from {change.before} to {change.after} at {change.time:.0f} s"
    if len(facts["labels"]) == 1 and facts["state"] in ("attention", "no verdict"):
        [(label, count)] = facts["labels"].items()
        return f"Gas flow looks {label} in {count} of {facts['layers']} layer{'s' * (facts['layers'] != 1)}"
    return _WHOLE[facts["state"]].format(label=facts["label"])


def _what_now(facts: Mapping[str, Any]) -> Markup:
    if not facts["crops"]:
        return html(
            " <b>Next:</b> open the tab Tune with this video; lower the threshold or the smallest area until boxes "
            "appear around the spatter, then come back."
        )
    if "better than chance" in facts["text"] or "learned from too" in facts["text"]:
        return html(
            " <b>Next:</b> choose another model under “What is expected, and which model”, or train on more recordings."
        )
    return html(" <b>Next:</b> take a longer stretch of the build; a layer needs six votes.")


def layers(verdict: sp.Verdict) -> Markup:
    """A line per layer: class, probability with its interval as a bar, votes, why."""
    if not verdict.layers:
        return Markup()
    return html(
        '<div class="scroll" tabindex="0" role="region" aria-label="layers"><table class="layers"><thead><tr>'
        "<th>{layer}</th><th>time</th><th>{verdict}</th>"
        '<th class="wide">{low} … {probability}, 95 % {interval} … {high}</th>'
        '<th class="n">{votes}</th><th>why</th></tr></thead><tbody>{lines}</tbody></table></div>',
        **{name: term(name) for name in ("layer", "verdict", "probability", "interval")},
        votes=term("vote", "votes"),
        low=verdict.classes[0],
        high=verdict.classes[-1],
        lines=joined(_layer(span, verdict.classes) for span in verdict.layers),
    )


def _layer(span: Any, classes: Sequence[str]) -> Markup:
    name = f"{span.label}: {_MEANS[span.state]}" if span.label and span.state != "decided" else span.label
    return html(
        '<tr><td>{span.number}</td><td class="nowrap">{span.start:.1f}–{span.stop:.1f} s</td>'
        '<td class="nowrap"><b class="state {style}">{name}</b></td><td>{interval}</td>'
        '<td class="n">{span.votes}</td><td class="soft">{why}</td></tr>',
        span=span,
        style=_STYLE.get(span.state, "none"),
        name=name or _MEANS[span.state],
        interval=_interval(span, classes),
        why="" if span.state == "decided" else span.reason,
    )


def _interval(span: Any, classes: Sequence[str]) -> Markup:
    """Probability of the last class, from left (0) to right (1)."""
    if span.leading is None:
        return Markup()
    p, low, high = (v if span.leading == classes[-1] else 1 - v for v in (span.probability, span.low, span.high))
    low, high = (min(low, high), max(low, high)) if low == low else (p, p)
    text = f"{span.leading} {span.probability:.2f}" + (
        f" ({span.low:.2f}–{span.high:.2f})" if span.low == span.low else ""
    )
    low, high, p = (2 + 116 * value for value in (low, high, p))
    return html(
        '<svg class="interval" viewBox="0 0 120 14" role="img" aria-label="{text}"><path class="rule" '
        'd="M2 7H118M60 2V12"/><path class="range" d="M{low:.1f} 7H{high:.1f}"/>'
        '<circle cx="{p:.1f}" cy="7" r="4"/></svg> <span class="nowrap">{text}</span>',
        text=text,
        low=low,
        high=high,
        p=p,
    )


def evidence(verdict: sp.Verdict) -> Markup:
    """The crops on which it rests: surest of each class, least sure. Press one to see its frame."""
    kinds: dict[str, list[Markup]] = {}
    for item in verdict.evidence:
        lines = (f"{item.label} {item.probability:.2f}", f"{item.time:.1f} s")
        alt = f"crop of frame {item.frame}: {lines[0]}; show the frame"
        kinds.setdefault(item.kind, []).append(crop_button(encoded_uri(item.encoded), str(item.frame), lines, alt))
    return joined(gallery(kind[:1].upper() + kind[1:], found) for kind, found in kinds.items())


def dropped(path: Path, each: int, stop: Callable[[], bool]) -> Mapping[str, tuple[int, list[Any]]]:
    """What the first filter to object dropped: how many, and a few crops spread over the recording."""
    chosen = [(name, sp.make("filter", name)) for name in FILTERS]
    counts = dict.fromkeys(FILTERS, 0)
    kept: dict[str, list[Any]] = {name: [] for name in FILTERS}
    for clip, found in sp.detect(path, filters=()):
        if stop():
            break
        for name, filter_ in chosen:
            keep = filter_(found, clip)
            dropped, found = found[~keep], found[keep]
            counts[name] += len(dropped)
            for row in dropped[:1] if len(kept[name]) < each else ():
                kept[name].append((int(row["frame"]), float(row["time"]), clip.crops(np.array([row]))[0].copy()))
    return {name: (counts[name], kept[name]) for name in FILTERS if counts[name]}


def _brighter(crop: Any) -> Any:
    """What was dropped is often dark: its brightest pixel becomes white, and the square root shows the rest."""
    return (255 * np.sqrt(crop / max(int(crop.max()), 1))).astype(np.uint8)


def rejected(found: Mapping[str, tuple[int, Sequence[Any]]]) -> Markup:
    """Crops that a filter dropped, by filter: ``{id: (how many, [(frame, time, crop), ...])}``."""
    parts = []
    for name, (count, crops) in found.items():
        buttons = [
            crop_button(
                data_uri(_brighter(crop), 160),
                str(number),
                (f"{time:.1f} s",),
                f"rejected by {name}; show frame {number}",
            )
            for number, time, crop in crops
        ]
        parts.append(gallery(html("Rejected by {} “{}”: {:,} (shown brighter)", term("filter"), name, count), buttons))
    return joined(parts)
