"""The tab Dataset: browse the crops of a store, label them by click or by range, see what is wrong before training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo import labels, sessions, timeline, words
from spatterlib_demo.jobs import Job, Stopped
from spatterlib_demo.markup import Markup, area, html, joined
from spatterlib_demo.pictures import crop_button, encoded_uri

__all__ = ["refreshed", "tab"]

_PAGE = 48
_PRACTICE = [("low", seed) for seed in (201, 202, 203)] + [("high", seed) for seed in (301, 302, 303)]
_SECONDS = 12.0


def tab() -> dict[str, Any]:
    """Build it; returns what other tabs need."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=270, elem_classes="side"):
            choice = gr.Dropdown([], label="Store", info="every verdict leaves one here", elem_id="store-choice")
            upload = gr.File(
                label="… or a store of your own (.h5)", height=110, elem_classes="upload", elem_id="own-store"
            )
            practice = gr.Button("Make six simulated practice recordings", elem_id="practice")
            with gr.Group():
                column = gr.Dropdown(["peak"], value="peak", label="Filter by column", elem_id="column")
                with gr.Row():
                    least = gr.Textbox(label="from", placeholder="any", min_width=80, elem_id="column-from")
                    most = gr.Textbox(label="to", placeholder="any", min_width=80, elem_id="column-to")
            number = gr.Number(value=1, precision=0, minimum=1, label="Page", elem_id="page-number")
            with gr.Group():
                label = gr.Dropdown(
                    ["low", "high"], value="low", allow_custom_value=True, label="Label", elem_id="label"
                )
                mark = gr.Button("Label the crops that are marked", variant="primary", elem_id="label-marked")
                with gr.Row():
                    start = gr.Number(value=0, label="from second", min_width=80, elem_id="range-from")
                    stop = gr.Number(value=10, label="to second", min_width=80, elem_id="range-to")
                span = gr.Button("Label this stretch of time", elem_id="label-range")
            save = gr.DownloadButton("Download the labelled store", size="sm", elem_id="get-labelled", visible=False)
        with gr.Column(scale=3, min_width=320):
            note = area(elem_id="dataset-note")
            montage = timeline.picker(elem_id="montage")
            report = area(elem_id="dataset-report")
    browse = [choice, column, least, most, number]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on(
        [choice.change, least.change, most.change, number.change, column.change],
        _browse,
        browse,
        montage,
        **quiet,
    )
    choice.change(_columns, choice, [column, report], **quiet)
    upload.upload(_on_upload, upload, [note, choice, upload], **quiet)
    practice.click(_practice, None, [note, choice, report], **quiet)
    montage.select(_on_pick, browse, montage, **quiet)
    mark.click(_on_mark, [*browse, label], [note, montage, report, save], **quiet)
    span.click(_on_span, [*browse, label, start, stop], [note, montage, report, save], **quiet)
    return {"choice": choice, "note": note, "report": report}


def refreshed(current: str | None, request: gr.Request) -> tuple[Any, str]:
    """Stores of the session, as they are when the tab is opened."""
    stores = list(sessions.of(request).stores)
    value = current if current in stores else stores[-1] if stores else None
    empty = "No store yet. Take a sample in the tab Verdict, drop a store, or make the practice recordings."
    return gr.update(choices=stores, value=value), "" if stores else words.note(empty)


def _columns(choice: str | None, request: gr.Request) -> tuple[Any, str]:
    session = sessions.of(request)
    session.marked.clear()
    if not choice:
        return gr.skip(), ""
    with sp.open_store(session.stores[choice]) as store:
        numeric = [name for name in store.columns if store.column(name).dtype.kind in "biuf"]
    return gr.update(choices=numeric), labels.warnings_of(session.stores)


def _rows(store: Any, column: str, least: str, most: str) -> Any:
    values = store.column(column)
    low, high = _bound(least, -np.inf), _bound(most, np.inf)
    return np.flatnonzero((values >= low) & (values <= high))


def _bound(text: str, otherwise: float) -> float:
    try:
        return float(text) if text.strip() else otherwise
    except ValueError as error:
        raise sp.errors.ParameterError(f"the bounds of a column are numbers, such as 40; got {text!r}") from error


@words.guarded(1)
def _browse(choice: str | None, column: str, least: str, most: str, number: float, request: gr.Request) -> str:
    if not choice:
        return ""
    session = sessions.of(request)
    return _montage(session, session.stores[choice], column, least, most, int(number or 1))


def _montage(session: sessions.Session, path: Path, column: str, least: str, most: str, number: int) -> Markup:
    """A page of crops, each with its row, label and the column that is looked at."""
    with sp.open_store(path) as store:
        rows = _rows(store, column, least, most)
        pages = max(1, -(-len(rows) // _PAGE))
        shown = rows[(min(number, pages) - 1) * _PAGE :][:_PAGE]
        names, values, times = labels.labels_of(store), store.column(column), store.table["time"]
        crops = store.encoded([int(row) for row in shown])
        simulated = sp.is_simulated(store.attrs)
    buttons = [
        crop_button(
            encoded_uri(crop),
            str(row),
            (names[row] or "no label", f"{times[row]:.1f} s", f"{column} {values[row]:g}"),
            f"crop {row}, label {names[row] or 'none'}; mark it",
            pressed=int(row) in session.marked,
        )
        for row, crop in zip(shown, crops, strict=True)
    ]
    mark = html(" {}", words.simulated_mark("")) if simulated else ""
    text = f"{len(rows):,} crops, page {min(number, pages)} of {pages}, {len(session.marked)} marked"
    page = '<p class="soft" role="status">{}; press crops to mark them{}</p><div class="crops">{}</div>'
    return html(page, text, mark, joined(buttons))


def _on_pick(
    choice: str, column: str, least: Any, most: Any, number: float, event: gr.EventData, request: gr.Request
) -> str:
    session, row = sessions.of(request), int(event._data["pick"])
    session.marked ^= {row}
    return _montage(session, session.stores[choice], column, least, most, int(number or 1))


def _on_mark(
    choice: str | None, column: str, least: Any, most: Any, number: float, label: str, request: gr.Request
) -> tuple[Any, ...]:
    session = sessions.of(request)
    rows = sorted(session.marked)
    if not choice or not rows:
        return words.note("Mark crops first: press them in the montage.", "wait"), gr.skip(), gr.skip(), gr.skip()
    session.marked.clear()
    answer: tuple[Any, ...] = _labelled(session, choice, np.array(rows), label, (column, least, most, int(number or 1)))
    return answer


def _on_span(
    choice: str | None,
    column: str,
    least: Any,
    most: Any,
    number: float,
    label: str,
    start: float | None,
    stop: float | None,
    request: gr.Request,
) -> tuple[Any, ...]:
    session = sessions.of(request)
    if not choice or start is None or stop is None or stop <= start:
        said = "Choose a store, and a stretch whose end lies behind its beginning."
        return words.note(said, "wait"), gr.skip(), gr.skip(), gr.skip()
    with sp.open_store(session.stores[choice]) as store:
        times = store.table["time"]
    rows = np.flatnonzero((times >= start) & (times < stop))
    answer: tuple[Any, ...] = _labelled(session, choice, rows, label, (column, least, most, int(number or 1)))
    return answer


@words.guarded(4)
def _labelled(session: sessions.Session, choice: str, rows: Any, label: str, view: tuple[Any, ...]) -> tuple[Any, ...]:
    """Save the label in the store's column, and show it."""
    path, name = session.stores[choice], str(label or "").strip()
    with sp.open_store(path, "a") as store:
        new = labels.labels_of(store).astype(object)
        new[rows] = name
        store.set_column("label", new.astype(str))
    said = f"{len(rows):,} crops of {choice} are now “{name or 'no label'}”; saved in the column “label”."
    copy = shutil.copy(path, session.downloads() / f"{Path(choice).stem}-labelled.h5")
    told = labels.warnings_of(session.stores)
    return words.note(said), _montage(session, path, *view), told, gr.update(value=str(copy), visible=True)


def _on_upload(upload: str | None, request: gr.Request) -> tuple[Any, Any, Any]:
    if not upload:
        return gr.skip(), gr.skip(), gr.skip()
    session = sessions.of(request)
    name = session.take(upload, "stores")
    try:
        with sp.open_store(session.stores[name], "a") as store:
            count = len(store)
    except Exception as error:
        session.stores.pop(name)
        return words.problem(error, name), gr.skip(), None
    said = words.note(f"{name}: {count:,} crops. Labels you give are saved in this copy; download it when done.")
    return said, gr.update(choices=list(session.stores), value=name), None


def _practice(request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
    """Three recordings of low and three of high flow, extracted and labelled, to train on."""
    session = sessions.of(request)
    try:
        session.stop.clear()
        job = Job(lambda tell: _make(session, tell), session.stop)
        for done in job.follow():
            text = f"Simulating and extracting recording {done + 1} of {len(_PRACTICE)} …"
            yield words.note(text, "wait"), gr.skip(), gr.skip()
        names = job.result()
        said = f"{len(names)} simulated stores are here, labelled. Look at them, then open the tab Train."
        update = gr.update(choices=list(session.stores), value=names[0])
        yield words.note(said), update, labels.warnings_of(session.stores)
    except (Stopped, Exception) as error:
        yield words.problem(error), gr.skip(), gr.skip()


def _make(session: sessions.Session, tell: Any) -> list[str]:
    names = []
    for done, (flow, seed) in enumerate(_PRACTICE):
        tell(done)
        video, path = session.place(".mp4"), session.place(".h5")
        sp.simulate(video, gas_flow=flow, seed=seed, seconds=_SECONDS, recoat_seconds=1.0)
        sp.extract(video, path, progress=False)
        video.unlink()
        with sp.open_store(path, "a") as store:
            store.set_column("label", np.full(len(store), flow))
        names.append(session.add("stores", f"practice-{flow}-{seed}.h5", path))
    return names
