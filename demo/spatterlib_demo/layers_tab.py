"""The tab Layers: is this layer like the good ones? Control charts of a store beside a reference store."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo import sessions, words
from spatterlib_demo.jobs import Job, Stopped
from spatterlib_demo.markup import Markup, area, html, joined

__all__ = ["refreshed", "tab"]

# A simulated build: s of a layer and of recoating, how many layers, behind which one the gas flow falls, seed.
_LAYER, _RECOAT, _LAYERS, _CHANGE, _SEED = 1.0, 1.5, 56, 48, 701
_OWN = 40
_WORDS = {
    "streaks": "number of streaks",
    "rate": "streaks per second",
    "per_mm2": "streaks per mm² of track",
    "speed_10": "speed of the slowest tenth",
    "speed_50": "middle speed",
    "speed_90": "speed of the fastest tenth",
    "angle": "angle of flight",
    "angle_spread": "spread of the angles",
    "length": "length of streaks",
    "turn": "turn of streaks along their way",
    "drift": "drift with the gas",
    "plume_area": "area of the plume",
    "intensity": "brightness",
    "clear_time": "time until it is dark again",
}
"""Descriptors in words."""
_FIRST = f"its own first {_OWN} layers"
_SHOWN = 20
# Builds that limits are found with: fewer than usual, so that nobody waits; run lengths are then right to some 5 %.
_SIMULATED = 2000


def tab() -> dict[str, Any]:
    """Build it; returns what other tabs need."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=270, elem_classes="side"):
            good = gr.Dropdown(
                [_FIRST], value=_FIRST, label="Good layers", info=f"{_OWN} or more", elem_id="good-layers"
            )
            store = gr.Dropdown([], label="Layers to chart", elem_id="chart-store")
            with gr.Accordion("Camera, if known", open=False, elem_id="chart-camera"):
                scale = gr.Textbox(label="mm per px", placeholder="unknown", elem_id="chart-scale")
                gas = gr.Textbox(label="gas flows to, degrees", placeholder="unknown; 0 = right, 90 = up")
            go = gr.Button("Chart the layers", variant="primary", elem_id="chart")
            make = gr.Button("Make a simulated build to try", elem_id="make-build")
            cancel = gr.Button("Cancel", size="sm", elem_id="layers-cancel", visible=False)
        with gr.Column(scale=3, min_width=320):
            note = area(elem_id="layers-note")
            result = area(elem_id="layers-result")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shared: dict[str, Any] = {"concurrency_id": "layers", "concurrency_limit": 2}
    words.while_running(cancel, [go.click, make.click])
    charting = go.click(_chart, [good, store, scale, gas], [note, result], **shared, **quiet)
    making = make.click(_make, None, [note, good, store], **shared, **quiet)
    words.when_done(cancel, [charting, making])
    cancel.click(_cancel, None, note, queue=False, **quiet)
    return {"good": good, "store": store, "note": note}


def refreshed(good: str | None, store: str | None, request: gr.Request) -> tuple[Any, Any, str]:
    """Stores of the session, as they are when the tab is opened."""
    names = list(sessions.of(request).stores)
    empty = "No store yet. Make a simulated build to try, or drop a store in the tab Dataset."
    first = gr.update(choices=[_FIRST, *names], value=good if good in names else _FIRST)
    other = gr.update(choices=names, value=store if store in names else names[-1] if names else None)
    return first, other, "" if names else words.note(empty)


def _cancel(request: gr.Request) -> str:
    return words.cancelled(sessions.of(request).stop)


def _make(request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
    """A build whose gas flow falls near its end."""
    session = sessions.of(request)
    try:
        session.stop.clear()
        yield words.note("Simulating …", "wait"), gr.skip(), gr.skip()
        job = Job(lambda tell: _simulate(session, tell), session.stop)
        for said in job.follow():
            yield words.note(said, "wait"), gr.skip(), gr.skip()
        name = job.result()
        said = words.note(f"{name} has {_LAYERS} layers; behind layer {_CHANGE} the gas flow falls. Chart it.")
        names = list(session.stores)
        yield said, gr.update(choices=[_FIRST, *names], value=_FIRST), gr.update(choices=names, value=name)
    except (Stopped, Exception) as error:
        yield words.problem(error), gr.skip(), gr.skip()


def _simulate(session: sessions.Session, tell: Any) -> str:
    video, path = session.place(".mp4"), session.place(".h5")
    tell(f"Simulating {_LAYERS} layers …")
    each = _LAYER + _RECOAT
    sp.simulate(
        video,
        gas_flow="high>low",
        change_at=_CHANGE * each,
        seconds=_LAYERS * each,
        layer_seconds=_LAYER,
        recoat_seconds=_RECOAT,
        seed=_SEED,
    )
    tell("Extracting …")
    sp.extract(video, path, progress=False)
    video.unlink()
    return session.add("stores", "build-that-changes.h5", path)


def _chart(
    good: str | None, store: str | None, scale: str | None, gas: str | None, request: gr.Request
) -> Iterator[tuple[Any, Any]]:
    session = sessions.of(request)
    if not good or not store:
        yield words.note("Choose a store of good layers and one to chart.", "wait"), gr.skip()
        return
    try:
        session.stop.clear()
        yield words.note("Looking for streaks in all crops …", "wait"), gr.skip()
        places = _OWN if good == _FIRST else session.stores[good], session.stores[store]
        known = {"mm_per_px": _number("mm per px", scale), "gas_direction": _number("the gas direction", gas)}
        job = Job(lambda _: _charted(*places, known, session.place(".svg"), store), session.stop)
        for _ in job.follow():
            pass
        yield "", _shown(*job.result(), good, store)
    except (Stopped, Exception) as error:
        yield words.problem(error), ""


def _number(name: str, text: str | None) -> float | None:
    try:
        return float(text) if text and text.strip() else None
    except ValueError as error:
        raise sp.errors.ParameterError(f"{name} must be a number, such as 0.4; got {text!r}") from error


def _charted(good: int | Path, path: Path, known: dict[str, Any], picture: Path, title: str) -> tuple[Any, bytes, bool]:
    with sp.open_store(path) as store:
        times = store.frame_log["time"]
        simulated = sp.is_simulated(store.attrs)
    rate = 1 / float(np.median(np.diff(times[np.isfinite(times)])))
    # The exposure decides on speeds only, which are not charted here.
    camera = {"frame_rate": rate, "exposure": 0.9 / rate, **known}
    found = sp.chart_layers(path, good, camera=camera, builds=_SIMULATED)
    found.draw(picture, title)
    data = picture.read_bytes()
    picture.unlink()
    return found, data, simulated


def _in_words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def _said(text: str) -> str:
    """An alarm, with names of descriptors in words."""
    return re.sub(r"\b[a-z]+(?:_[a-z0-9]+)+\b", lambda found: _in_words(found[0]), text)


def _shown(found: Any, picture: bytes, simulated: bool, good: str, store: str) -> Markup:
    """What was found: in words, then the charts."""
    facts = found.to_dict()
    alarms, count, intervals = (
        sum(layer["alarm"] for layer in facts["layers"]),
        len(facts["layers"]),
        found.alarm_intervals,
    )
    said = joined(
        html(
            "<li>{}{}</li>",
            f"Layers {first} to {last}, the first: " if last > first else f"Layer {first}: ",
            _said(text),
        )
        for first, last, text in intervals[:_SHOWN]
    )
    more = html("<p>… and {} more.</p>", len(intervals) - _SHOWN) if len(intervals) > _SHOWN else ""
    return html(
        '<h2 class="headline">{store}: {alarms} of {count} layers with an alarm {mark}</h2>'
        '<ul class="warnings">{said}</ul>{more}'
        '<div class="scroll" tabindex="0" role="region" aria-label="control charts"><img class="charts" '
        'alt="Control charts of {store} over its layers; the alarms are listed above" '
        'src="data:image/svg+xml;base64,{data}"></div>'
        '<p class="soft">Charted: {descriptors}, beside {facts[reference][layers]} layers: {good}. Without a fault one '
        "{alarm} in {facts[arl]:g} layers is to be expected. "
        "It says that a layer differs from the good ones, not why, nor whether the part is bad.</p>",
        store=store,
        alarms=alarms,
        count=count,
        said=said,
        more=more,
        facts=facts,
        good=good,
        mark=words.simulated_mark("") if simulated or facts["simulated"] else "",
        data=base64.b64encode(picture).decode(),
        descriptors=", ".join(_in_words(name) for name in facts["descriptors"]),
        alarm=words.term("alarm"),
    )
