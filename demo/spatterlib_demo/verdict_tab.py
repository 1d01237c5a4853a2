"""The tab Verdict: a video in, an answer per layer out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo import models, player, samples, sessions, timeline, verdict_view, words
from spatterlib_demo.jobs import Job
from spatterlib_demo.markup import area, html

__all__ = ["restored", "tab"]

_UNKNOWN = "not said"
_EACH = 6
Options = tuple[str, str, bool]
"""Expected class, name of the model, whether one that is not proven may judge."""
_EMPTY = html(
    '<div class="empty"><h2>Is the gas flow right?</h2><p>Take one of the three samples, or drop a video of '
    "your machine. A model looks at every spatter and gives a verdict per layer, with an interval that says how sure "
    "it is.</p></div>"
)


def tab() -> dict[str, gr.components.Component]:
    """Build it; returns what other tabs need."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=260, elem_classes="side"):
            area(html("<h2>Take a simulated sample</h2>"))
            buttons = {name: gr.Button(name, variant="primary", elem_classes="starts") for name in samples.SAMPLES}
            upload = gr.File(
                label="… or drop a video of your own", elem_id="own-video", elem_classes="upload", height=110
            )
            with gr.Accordion("What is expected, and which model", open=False):
                expected = gr.Radio([_UNKNOWN, "low", "high"], value=_UNKNOWN, label="Gas flow that a good build has")
                model = gr.Dropdown([models.SHIPPED], value=models.SHIPPED, label="Model", elem_id="model-choice")
                network = gr.Dropdown(
                    [models.BY_FILE, "lenet5", "lenet5-classic"], value=models.BY_FILE, label="Network of bare weights"
                )
                names = gr.Textbox(
                    label="Classes of bare weights, in order", placeholder="low,high", elem_id="own-classes"
                )
                weights = gr.File(
                    label="A model of your own (.zip of a run, .safetensors, .onnx, .mdl, .pt)",
                    height=110,
                    elem_id="own-model",
                    elem_classes="upload",
                )
                unproven = gr.Checkbox(
                    False,
                    label="Judge by a model that is not proven, too",
                    info="one whose test does not show that it is better than chance",
                    elem_id="unproven",
                )
                again = gr.Button("Give the verdict again", size="sm", elem_classes="starts")
            cancel = gr.Button("Cancel", size="sm", elem_id="cancel", variant="secondary", visible=False)
        with gr.Column(scale=3, min_width=320):
            note = area(elem_id="verdict-note")
            headline = area(_EMPTY, elem_id="headline")
            chart = timeline.component("timeline of spatter", elem_id="verdict-timeline")
            frame = player.component(elem_id="verdict-frame")
            layers = area(elem_id="layers")
            with gr.Row(visible=False) as downloads:
                report = gr.DownloadButton("Report (HTML)", size="sm", elem_id="get-report")
                table = gr.DownloadButton("Table (CSV)", size="sm", elem_id="get-table")
                store = gr.DownloadButton("Store (.h5)", size="sm", elem_id="get-store")
            evidence = timeline.picker(elem_id="evidence")
            rejected = timeline.picker(elem_id="rejected")

    shown = [note, headline, chart, frame, layers, downloads, report, table, store, evidence, rejected]
    options = [expected, model, unproven]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    run: dict[str, Any] = {"concurrency_id": "verdict", "concurrency_limit": 3, "trigger_mode": "multiple", **quiet}
    words.while_running(cancel, [*(button.click for button in buttons.values()), upload.upload, again.click])
    works = [button.click(_on_sample(name), options, shown, **run) for name, button in buttons.items()]
    works.append(upload.upload(_on_upload, [upload, *options], [*shown, upload], **run))
    works.append(again.click(_on_again, options, shown, **run))
    words.when_done(cancel, works)
    weights.upload(_on_weights, [weights, network, names], [note, model, weights], **quiet)
    cancel.click(_on_cancel, None, note, queue=False, **quiet)
    chart.select(_on_pick, None, [note, frame], **quiet)
    frame.select(_on_pick, None, [note, frame], **quiet)
    evidence.select(_on_pick, None, [note, frame], **quiet)
    rejected.select(_on_pick, None, [note, frame], **quiet)
    return {"model": model, "note": note, "expected": expected, "shown": shown, "frame": frame, "options": options}


def _on_sample(name: str) -> Any:
    def run(expected: str, model: str, unproven: bool, request: gr.Request) -> Iterator[Any]:
        session = sessions.of(request)
        session.videos.setdefault(name, samples.path_of(name)) if samples.is_there(name) else None
        yield from words.steps(_verdict(session, name, (expected, model, unproven)), 11)

    return run


def _on_upload(upload: str | None, expected: str, model: str, unproven: bool, request: gr.Request) -> Iterator[Any]:
    if not upload:
        return
    session = sessions.of(request)
    name = session.take(upload, "videos")
    for answer in words.steps(_verdict(session, name, (expected, model, unproven)), 11):
        yield (*answer, None)


def _on_again(expected: str, model: str, unproven: bool, request: gr.Request) -> Iterator[Any]:
    session = sessions.of(request)
    if not session.video:
        yield (words.note("Take a sample or drop a video first."), *[gr.skip()] * 10)
        return
    yield from words.steps(_verdict(session, session.video, (expected, model, unproven)), 11)


def _on_cancel(request: gr.Request) -> str:
    session = sessions.of(request)
    if not session.running.locked():
        return words.note("There is nothing to cancel.")
    session.stop.set()
    return words.note("Cancelling …", "wait")


def _on_weights(upload: str | None, network: str, names: str, request: gr.Request) -> tuple[Any, ...]:
    """Take a model in, if it can be used at all."""
    if not upload:
        return gr.skip(), gr.skip(), gr.skip()
    session = sessions.of(request)
    name = session.take(upload, "runs")
    try:
        run = models.taken(session, name, network, [part.strip() for part in names.split(",") if part.strip()])
    except Exception as error:
        session.project.drop("runs", name)
        step = "Take a run folder's weights.safetensors or an exported .onnx; the model that was chosen stays."
        return words.problem(error, name, step), gr.skip(), None
    text = f"The model {name} tells {', '.join(run.classes)} apart. Press “Give the verdict again” to use it."
    return words.note(text), gr.update(choices=models.names_of(session), value=name), None


def _on_pick(event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
    session = sessions.of(request)
    try:
        data = event._data
        number = int(data.get("frame", data.get("pick")))
        verdict = session.verdict
        if verdict is None or session.video not in session.videos or number < 0:
            return gr.skip(), gr.skip()
        count = int(data.get("count", 1))
        video, shown = session.videos[session.video], count == 1
        return "", player.pictures(verdict, session.video, video, number, count, show=shown)
    except Exception as error:
        return words.problem(error), gr.skip()


def _verdict(session: sessions.Session, name: str, options: Options) -> Iterator[tuple[Any, ...]]:
    """Everything that happens between the click and the last crop."""
    keep = [gr.skip()] * 11
    if not session.running.acquire(blocking=False):
        yield (words.note("One verdict at a time: cancel the one that runs, or wait for it.", "wait"), *keep[1:])
        return
    try:
        session.stop.clear()
        session.verdict = None
        yield ("", verdict_view.running(0, 0, 0), None, None, "", gr.update(visible=False), None, None, None, "", "")
        yield from _until_done(session, name, options)
    except Exception as error:
        yield (words.problem(error, name), _EMPTY, None, None, "", *keep[5:])
    finally:
        session.running.release()
    mine = session.verdict
    if mine is not None:
        found = verdict_view.dropped(session.videos[name], _EACH, lambda: session.verdict is not mine)
        if session.verdict is mine:
            yield (*keep[:10], verdict_view.rejected(found))


def _until_done(session: sessions.Session, name: str, options: Options) -> Iterator[tuple[Any, ...]]:
    keep = [gr.skip()] * 11
    if name in samples.SAMPLES:
        if not samples.is_there(name):
            said = "The sample is being simulated, once on this machine; a few seconds."
            yield (words.note(said, "wait"), *keep[1:])
        session.videos[name] = samples.path_of(name)
    path = session.videos[name]
    store, seconds = session.place(".h5"), _seconds(path)
    job = Job(lambda tell: _work(session, path, store, options, tell), session.stop)
    for done, count, rows, preparing in job.follow():
        live = timeline.of_rows(np.concatenate([np.empty(0, sp.DETECTION), *rows]), seconds)
        text = verdict_view.running(done, count, sum(map(len, rows)), session.stop.is_set(), preparing)
        yield ("", text, live, *keep[3:])
    yield _finished(session, name, job.result(), store, options)


def _seconds(path: Path) -> float:
    with sp.open_video(path) as video:
        times = video.times[np.isfinite(video.times)]
        return float(times[-1]) if len(times) else 1.0


def _work(session: sessions.Session, path: Path, store: Path, options: Options, tell: Any) -> sp.Verdict:
    rows: list[Any] = []

    def follow(progress: Any) -> None:
        rows.append(progress.found)
        tell((progress.done, progress.expected, list(rows), progress.preparing))

    tell((0, 0, [], None))
    try:
        return sp.predict(
            path, models.load(session, options[1]), store=store, rules=_rules(options), crops=_EACH, progress=follow
        )
    except BaseException:
        store.unlink(missing_ok=True)
        raise


def _rules(options: Options) -> sp.Rules:
    expected, _, unproven = options
    return sp.Rules(expected=None if expected == _UNKNOWN else expected, unproven=unproven)


def _finished(
    session: sessions.Session, name: str, verdict: sp.Verdict, store: Path, options: Options
) -> tuple[Any, ...]:
    """Keep the verdict, write what can be downloaded, show it."""
    source = {**verdict.settings["source"], "path": "", "name": name}
    verdict = dataclasses.replace(verdict, settings={**verdict.settings, "source": source})
    session.verdict, session.video = verdict, name
    title = Path(name).stem.replace(" ", "-").lower()
    kept = next((known for known, path in session.stores.items() if path == store), None)
    kept = kept or session.add("stores", f"{title}.h5", store)
    session.project.choose(video=name, store=kept, expected=options[0], model=options[1], unproven=options[2])
    folder = session.downloads()
    for old in folder.iterdir():
        old.unlink()
    files = [folder / f"{title}.html", folder / f"{title}.csv", folder / f"{title}.h5"]
    verdict.save(files[0])
    verdict.save(files[1])
    shutil.copyfile(store, files[2])
    show = gr.update(visible=True)
    return (
        "",
        verdict_view.headline(verdict, name),
        timeline.of_verdict(verdict) if len(verdict.rows) else None,
        None,
        verdict_view.layers(verdict),
        show,
        *map(str, files),
        verdict_view.evidence(verdict),
        gr.skip(),
    )


def restored(request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """What a project showed last, when its page is opened anew; or the recording and frame that an address names."""
    session = sessions.of(request)
    linked, frame = (request.query_params.get(name) for name in ("recording", "frame"))
    chosen = session.project.chosen
    name = linked or chosen.get("video", "")
    names = models.names_of(session)
    model = chosen.get("model") if chosen.get("model") in names else names[0]
    options: Options = (chosen.get("expected", _UNKNOWN), str(model), bool(chosen.get("unproven")))
    # What was never chosen stays as it is: somebody may have chosen already while this was on its way.
    controls: tuple[Any, ...] = (options[0], gr.update(choices=names, value=model), options[2])
    controls = controls if chosen else (gr.skip(),) * 3
    keep = [gr.skip()] * 11
    if name not in session.videos and name not in samples.SAMPLES:
        said = words.note(f"There is no recording “{name}” in your project.") if linked else gr.skip()
        yield (said, *keep[1:], *controls)
        return
    store = session.stores.get(chosen.get("store", "")) if name == chosen.get("video") else None
    if name in samples.SAMPLES and samples.is_there(name):
        session.videos[name] = samples.path_of(name)
    if store is None and linked is None:
        yield (*keep, *controls)
        return
    try:
        for answer in [_judged(session, name, store, options)] if store else _verdict(session, name, options):
            yield (*answer, *controls)
        if frame is not None and session.verdict is not None:
            shown = player.pictures(session.verdict, name, session.videos[name], int(float(frame)))
            yield (*keep[:3], shown, *keep[4:], *controls)
    except Exception as error:
        yield (words.problem(error, name), *keep[1:], *controls)


def _judged(session: sessions.Session, name: str, store: Path, options: Options) -> tuple[Any, ...]:
    """The verdict on a store again: the recording need not be looked through for it."""
    verdict = sp.predict(store, models.load(session, options[1]), rules=_rules(options), crops=_EACH, progress=False)
    return _finished(session, name, verdict, store, options)
