"""The tab Verdict: a video in, an answer per layer out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo import samples, sessions, timeline, verdict_view, words
from spatterlib_demo.jobs import Job
from spatterlib_demo.markup import area, html

__all__ = ["FILTERS", "SHIPPED", "tab"]

SHIPPED = "simulated (built in)"
FILTERS = ("area", "blue", "black")
_UNKNOWN, _BY_FILE = "not said", "as the file says"
_EACH = 6
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
                model = gr.Dropdown([SHIPPED], value=SHIPPED, label="Model", elem_id="model-choice")
                network = gr.Dropdown(
                    [_BY_FILE, "lenet5", "lenet5-classic"], value=_BY_FILE, label="Network of bare weights"
                )
                names = gr.Textbox(
                    label="Classes of bare weights, in order", placeholder="low,high", elem_id="own-classes"
                )
                weights = gr.File(
                    label="A model of your own (.safetensors, .onnx, .mdl, .pt)",
                    height=110,
                    elem_id="own-model",
                    elem_classes="upload",
                )
                again = gr.Button("Give the verdict again", size="sm", elem_classes="starts")
            cancel = gr.Button("Cancel", size="sm", elem_id="cancel", variant="secondary")
        with gr.Column(scale=3, min_width=320):
            note = area(elem_id="verdict-note")
            headline = area(_EMPTY, elem_id="headline")
            chart = timeline.component("timeline of spatter", elem_id="verdict-timeline")
            frame = area(elem_id="verdict-frame")
            layers = area(elem_id="layers")
            with gr.Row(visible=False) as downloads:
                report = gr.DownloadButton("Report (HTML)", size="sm", elem_id="get-report")
                table = gr.DownloadButton("Table (CSV)", size="sm", elem_id="get-table")
                store = gr.DownloadButton("Store (.h5)", size="sm", elem_id="get-store")
            evidence = timeline.picker(elem_id="evidence")
            rejected = timeline.picker(elem_id="rejected")

    shown = [note, headline, chart, frame, layers, downloads, report, table, store, evidence, rejected]
    options = [expected, model]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    run: dict[str, Any] = {"concurrency_id": "verdict", "concurrency_limit": 3, "trigger_mode": "multiple", **quiet}
    for name, button in buttons.items():
        button.click(_on_sample(name), options, shown, **run)
    upload.upload(_on_upload, [upload, *options], [*shown, upload], **run)
    again.click(_on_again, options, shown, **run)
    weights.upload(_on_weights, [weights, network, names], [note, model, weights], **quiet)
    cancel.click(_on_cancel, None, note, queue=False, **quiet)
    chart.select(_on_pick, None, [note, frame], **quiet)
    evidence.select(_on_pick, None, [note, frame], **quiet)
    rejected.select(_on_pick, None, [note, frame], **quiet)
    return {"model": model, "note": note}


def _on_sample(name: str) -> Any:
    def run(expected: str, model: str, request: gr.Request) -> Iterator[Any]:
        session = sessions.of(request)
        session.videos.setdefault(name, samples.path_of(name)) if samples.is_there(name) else None
        yield from words.steps(_verdict(session, name, expected, model), 11)

    return run


def _on_upload(upload: str | None, expected: str, model: str, request: gr.Request) -> Iterator[Any]:
    if not upload:
        return
    session = sessions.of(request)
    name = session.take(upload, "videos")
    for answer in words.steps(_verdict(session, name, expected, model), 11):
        yield (*answer, None)


def _on_again(expected: str, model: str, request: gr.Request) -> Iterator[Any]:
    session = sessions.of(request)
    if not session.video:
        yield (words.note("Take a sample or drop a video first."), *[gr.skip()] * 10)
        return
    yield from words.steps(_verdict(session, session.video, expected, model), 11)


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
        run = _taken(session, name, network, [part.strip() for part in names.split(",") if part.strip()])
    except Exception as error:
        session.runs.pop(name)
        step = "Take a run folder's weights.safetensors or an exported .onnx; the model that was chosen stays."
        return words.problem(error, name, step), gr.skip(), None
    text = f"The model {name} tells {', '.join(run.classes)} apart. Press “Give the verdict again” to use it."
    return words.note(text), gr.update(choices=model_names(session), value=name), None


def _taken(session: sessions.Session, name: str, network: str, classes: list[str]) -> Any:
    """An uploaded model; one that does not say its classes is kept as a file that says those that were typed."""
    path = session.runs[name]
    run = sp.load_model(path, None if network == _BY_FILE else network, classes=classes)
    if run.classifier and path.suffix.lower() in (".pt", ".pth", ".mdl"):
        folder = path.with_name(f"{path.name}.named")
        folder.mkdir()
        run.save(folder)
        [session.runs[name]] = folder.iterdir()
    return run


def model_names(session: sessions.Session) -> list[str]:
    """Models that a session can use."""
    return [SHIPPED, *session.runs]


def load(session: sessions.Session, name: str) -> Any:
    """The model of that name."""
    return sp.load_model("simulated" if name == SHIPPED else session.runs[name])


def _on_pick(event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
    session = sessions.of(request)
    try:
        data = event._data
        number = int(data.get("frame", data.get("pick")))
        verdict = session.verdict
        if verdict is None or session.video not in session.videos or number < 0:
            return gr.skip(), gr.skip()
        return "", verdict_view.frame(verdict, session.videos[session.video], number)
    except Exception as error:
        return words.problem(error), gr.skip()


def _verdict(session: sessions.Session, name: str, expected: str, model: str) -> Iterator[tuple[Any, ...]]:
    """Everything that happens between the click and the last crop."""
    keep = [gr.skip()] * 11
    if not session.running.acquire(blocking=False):
        yield (words.note("One verdict at a time: cancel the one that runs, or wait for it.", "wait"), *keep[1:])
        return
    try:
        session.stop.clear()
        session.verdict = None
        yield ("", verdict_view.running(0, 0, 0), None, "", "", gr.update(visible=False), None, None, None, "", "")
        yield from _until_done(session, name, expected, model)
    except Exception as error:
        yield (words.problem(error, name), _EMPTY, None, "", "", *keep[5:])
    finally:
        session.running.release()
    mine = session.verdict
    if mine is not None:
        found = _rejected(session.videos[name], lambda: session.verdict is not mine)
        if session.verdict is mine:
            yield (*keep[:10], verdict_view.rejected(found))


def _until_done(session: sessions.Session, name: str, expected: str, model: str) -> Iterator[tuple[Any, ...]]:
    keep = [gr.skip()] * 11
    if name in samples.SAMPLES:
        if not samples.is_there(name):
            said = "The sample is being simulated, once on this machine; a few seconds."
            yield (words.note(said, "wait"), *keep[1:])
        session.videos[name] = samples.path_of(name)
    path = session.videos[name]
    store, seconds = session.place(".h5"), _seconds(path)
    job = Job(lambda tell: _work(session, path, store, model, expected, tell), session.stop)
    for done, count, rows, preparing in job.follow():
        live = timeline.of_rows(np.concatenate([np.empty(0, sp.DETECTION), *rows]), seconds)
        text = verdict_view.running(done, count, sum(map(len, rows)), session.stop.is_set(), preparing)
        yield ("", text, live, *keep[3:])
    yield _finished(session, name, job.result(), store)


def _seconds(path: Path) -> float:
    with sp.open_video(path) as video:
        times = video.times[np.isfinite(video.times)]
        return float(times[-1]) if len(times) else 1.0


def _work(session: sessions.Session, path: Path, store: Path, model: str, expected: str, tell: Any) -> sp.Verdict:
    rows: list[Any] = []

    def follow(progress: Any) -> None:
        rows.append(progress.found)
        tell((progress.done, progress.expected, list(rows), progress.preparing))

    tell((0, 0, [], None))
    run = load(session, model)
    wanted = None if expected == _UNKNOWN else expected
    try:
        return sp.predict(path, run, store=store, expected=wanted, crops=_EACH, progress=follow)
    except BaseException:
        store.unlink(missing_ok=True)
        raise


def _finished(session: sessions.Session, name: str, verdict: sp.Verdict, store: Path) -> tuple[Any, ...]:
    """Keep the verdict, write what can be downloaded, show it."""
    source = {**verdict.settings["source"], "path": "", "name": name}
    verdict = dataclasses.replace(verdict, settings={**verdict.settings, "source": source})
    session.verdict, session.video = verdict, name
    title = Path(name).stem.replace(" ", "-").lower()
    session.add("stores", f"{title}.h5", store)
    folder = session.downloads()
    for old in folder.iterdir():
        old.unlink()
    files = [folder / f"{title}.html", folder / f"{title}.csv", folder / f"{title}.h5"]
    verdict.save(files[0])
    verdict.save(files[1])
    files[2].hardlink_to(store)
    show = gr.update(visible=True)
    return (
        "",
        verdict_view.headline(verdict, name),
        timeline.of_verdict(verdict) if len(verdict.rows) else None,
        "",
        verdict_view.layers(verdict),
        show,
        *map(str, files),
        verdict_view.evidence(verdict),
        gr.skip(),
    )


def _rejected(path: Path, stop: Callable[[], bool]) -> Mapping[str, tuple[int, list[Any]]]:
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
            for row in dropped[:1] if len(kept[name]) < _EACH else ():
                kept[name].append((int(row["frame"]), float(row["time"]), clip.crops(np.array([row]))[0].copy()))
    return {name: (counts[name], kept[name]) for name in FILTERS if counts[name]}
