"""The tab Tune: one frame as two detectors see it, side by side, with controls for everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo import recipes, samples, sessions, words
from spatterlib_demo.controls import Controls, slider
from spatterlib_demo.markup import Markup, area, html, joined
from spatterlib_demo.pictures import boxed

__all__ = ["coming", "tab"]

_DEFAULT = ("area", "blue", "black")
_NONE = "none"
_VIEWS = {"frame": "Frame and boxes", "difference": "Difference", "mask": "Mask"}


def tab() -> dict[str, Any]:
    """Build it; returns what draws the pictures, its inputs and its outputs."""
    ids = list(sp.catalog().detectors)
    # Beside ours for usual cameras, a detector that somebody installed; particles are for high-speed cameras.
    second = next((id_ for id_ in ids if id_ not in ("frame-difference", "particles")), _NONE)
    names = list(samples.SAMPLES)
    terms = {name: words.term(name) for name in ("frame", "detector", "difference", "mask", "filter")}
    said = html(
        '<p class="soft">One {frame} as the {detector} sees it: the {difference} to the frame before, the {mask} of '
        "what counts as changed, and boxes. Dashed grey boxes were dropped by a {filter}.</p>",
        **terms,
    )
    area(said)
    with gr.Row():
        video = gr.Dropdown(names, value=names[0], label="Video", scale=1, elem_id="tune-video")
        frame = slider(1, 1499, 60, 1, label="Frame", scale=3, elem_id="tune-frame")
        view = gr.Radio(list(_VIEWS.values()), value=_VIEWS["frame"], label="Show", scale=2, elem_id="tune-view")
    note = area(elem_id="tune-note")
    pictures = area(elem_id="tune-pictures")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            left = gr.Dropdown(ids, value="frame-difference", label="Detector A", elem_id="tune-a")
            controls_a = Controls("detector", "a", ids, "frame-difference")
        with gr.Column(min_width=280):
            right = gr.Dropdown([_NONE, *ids], value=second, label="Detector B", elem_id="tune-b")
            controls_b = Controls("detector", "b", ids, second)
        with gr.Column(min_width=280):
            usable = [id_ for id_ in sp.catalog().filters if id_ not in ("region",)]
            kept = gr.CheckboxGroup(
                usable, value=list(_DEFAULT), label="Filters, in this order", elem_id="tune-filters"
            )
            controls_f = Controls("filter", "f", usable)
    with gr.Accordion("Copy these settings (detector A)", open=False):
        shell = gr.Code(label="Command line", language="shell", elem_id="as-command", interactive=False)
        script = gr.Code(label="Python", language="python", elem_id="as-python", interactive=False)
        config = gr.Code(label="TOML, for --config", elem_id="as-toml", interactive=False)
    parts = (controls_a, controls_b, controls_f)
    own = [component for part in parts for component in part.components]
    inputs = [video, frame, view, left, right, kept, *own]
    changing: list[Any] = inputs
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
    look = _look(*parts)
    gr.on([item.change for item in changing], look, inputs, [note, pictures, shell, script, config], **quiet)
    left.change(controls_a.shown, left, controls_a.groups, **quiet)
    right.change(controls_b.shown, right, controls_b.groups, **quiet)
    video.focus(_videos, None, video, **quiet)
    video.change(_length, [video, frame], frame, **quiet)
    return {"look": look, "inputs": inputs, "outputs": [note, pictures, shell, script, config], "video": video}


def coming(request: gr.Request) -> Any:
    """The recording that one comes from."""
    session = sessions.of(request)
    names = list(dict.fromkeys([*samples.SAMPLES, *session.videos]))
    return gr.update(choices=names, value=session.video) if session.video in names else gr.update(choices=names)


def _videos(request: gr.Request) -> Any:
    return gr.update(choices=list(dict.fromkeys([*samples.SAMPLES, *sessions.of(request).videos])))


def _path(session: sessions.Session, name: str) -> Path:
    return samples.path_of(name) if name in samples.SAMPLES else session.videos[name]


def _length(name: str, frame: float, request: gr.Request) -> Any:
    with sp.open_video(_path(sessions.of(request), name)) as source:
        last = len(source.times) - 1
    return gr.update(maximum=max(last, 1), value=min(int(frame), max(last, 1)))


def _look(controls_a: Controls, controls_b: Controls, controls_f: Controls) -> Any:
    sizes = [len(part.components) for part in (controls_a, controls_b)]

    @words.guarded(5)
    def look(
        request: gr.Request, video: str, frame: float, view: str, left: str, right: str, kept: list[str], *values: Any
    ) -> tuple[Any, ...]:
        path, number = _path(sessions.of(request), video), int(frame)
        own = values[: sizes[0]], values[sizes[0] : sum(sizes)], values[sum(sizes) :]
        filters = [controls_f.identity(id_, own[2]) for id_ in controls_f.ids if id_ in kept]
        first = controls_a.identity(left, own[0])
        seen = [_seen("A", path, number, view, first, filters)]
        if right != _NONE:
            seen.append(_seen("B", path, number, view, controls_b.identity(right, own[1]), filters))
        copies = recipes.command(video, first, filters), recipes.python(video, first, filters)
        return "", html('<div class="pair">{}</div>', joined(seen)), *copies, recipes.toml(first, filters)

    return look


def _seen(
    side: str, path: Path, number: int, view: str, detector: Mapping[str, Any], filters: Sequence[Mapping[str, Any]]
) -> Markup:
    """What one detector makes of the frame."""
    chosen = sp.make("detector", detector)
    [(clip, found)] = sp.detect(path, chosen, filters=(), start=number, stop=number + 1)
    boxes, dropped = _sorted(found, clip, [(item["id"], sp.make("filter", item)) for item in filters])
    key = next(name for name, text in _VIEWS.items() if text == view)
    picture, hint = _picture(key, clip, chosen)
    text = f"{detector['id']}: {len(boxes) - sum(dropped.values())} of {len(boxes)} boxes stay"
    why = ", ".join(f"{count} dropped by {name}" for name, count in dropped.items() if count)
    figure = boxed(picture, boxes, f"{view} of frame {number}, detector {detector['id']}")
    mark = " (simulated)" if path.parent == samples.path_of(next(iter(samples.SAMPLES))).parent else ""
    return html(
        '<figure class="frame" data-side="{side}">{figure}<figcaption aria-live="polite"><b>{side}</b> {text}{why}; '
        "{time:.2f} s{mark}{hint}</figcaption></figure>",
        side=side,
        figure=figure,
        text=text,
        why=f"; {why}" if why else "",
        time=found["time"][0] if len(found) else clip.times[-1],
        mark=mark,
        hint=f" – {hint}" if hint else "",
    )


def _sorted(found: Any, clip: sp.Clip, filters: Sequence[tuple[str, Any]]) -> tuple[list[Any], dict[str, int]]:
    """Boxes with their style and text; how many each filter dropped."""
    reason = np.full(len(found), "", dtype=object)
    for name, filter_ in filters:
        left = np.flatnonzero(reason == "")
        reason[left[~filter_(found[left], clip)]] = name
    large = found["width"].astype(int) * found["height"] > 400
    boxes = [
        (row, "dropped" if why else "kept", (f"✕ {why}" if why else f"{row['area']:.0f} px²") if big or not why else "")
        for row, why, big in zip(found, reason, large, strict=True)
    ]
    return boxes, {name: int((reason == name).sum()) for name, _ in filters}


def _picture(key: str, clip: sp.Clip, detector: Any) -> tuple[Any, str]:
    """The picture that was asked for, or the frame and why it is not there."""
    frame = clip.frames[-1]
    if key == "frame":
        return frame, ""
    seen = detector.explain(clip) if isinstance(detector, sp.plugins.SupportsExplain) else {}
    if key in seen:
        return (_brighter(seen[key]), "shown brighter") if key == "difference" else (seen[key], "")
    if key == "difference" and len(clip.frames) > 1:
        plain = np.abs(frame.astype(np.int16) - clip.frames[-2]).max(axis=2).astype(np.uint8)
        return _brighter(plain), "plain difference; this detector does not tell its own"
    return frame, f"this detector does not tell its {key}"


def _brighter(picture: Any) -> Any:
    """Differences are faint; the square root shows them."""
    return (np.sqrt(picture / 255.0) * 255).astype(np.uint8)
