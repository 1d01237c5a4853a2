"""The tab Dataset: browse the crops of a store, label them by key, press or range, and see what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo import labelling, labels, montage, sessions, timeline, words
from spatterlib_demo import practice as practices
from spatterlib_demo.markup import area

__all__ = ["refreshed", "tab"]

_KEPT = "; {:,} kept the label that they had: tick “Change labels that are there” if they are wrong"


def tab() -> dict[str, Any]:
    """Build it; returns what other tabs need."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=270, elem_classes="side"):
            choice = gr.Dropdown([], label="Store", info="every verdict leaves one here", elem_id="store-choice")
            upload = gr.File(
                label="… or a store of your own (.h5)", height=110, elem_classes="upload", elem_id="own-store"
            )
            practice = gr.Button(
                f"Make {2 * practices.EACH} simulated practice recordings", size="sm", elem_id="practice"
            )
            cancel = gr.Button("Cancel", size="sm", elem_id="dataset-cancel", visible=False)
            with gr.Group():
                label = gr.Dropdown(
                    ["low", "high"], value="low", allow_custom_value=True, label="Label", elem_id="label"
                )
                mark = gr.Button("Label the crops that are marked", variant="primary", elem_id="label-marked")
                with gr.Row():
                    none = gr.Button("No label", size="sm", min_width=80, elem_id="label-none")
                    undo = gr.Button("Undo", size="sm", min_width=80, elem_id="undo")
                    unsure = gr.Button("Next uncertain", size="sm", min_width=80, elem_id="next-uncertain")
                with gr.Row():
                    start = gr.Number(value=0, label="from second", min_width=80, elem_id="range-from")
                    stop = gr.Number(value=10, label="to second", min_width=80, elem_id="range-to")
                span = gr.Button("Label this stretch of time", size="sm", elem_id="label-range")
                change = gr.Checkbox(False, label="Change labels that are there", elem_id="change-labels")
            with gr.Group():
                column = gr.Dropdown(["peak"], value="peak", label="Filter by column", elem_id="column")
                with gr.Row():
                    least = gr.Textbox(label="from", placeholder="any", min_width=80, elem_id="column-from")
                    most = gr.Textbox(label="to", placeholder="any", min_width=80, elem_id="column-to")
            number = gr.Number(value=1, precision=0, minimum=1, label="Page", elem_id="page-number")
            with gr.Accordion("Take labels out, or in", open=False):
                prepare = gr.Button("Prepare the files", size="sm", elem_id="prepare-labelled")
                save = gr.DownloadButton("Store with labels (.h5)", size="sm", elem_id="get-labelled", visible=False)
                table = gr.DownloadButton("Labels (.csv)", size="sm", elem_id="get-labels", visible=False)
                given = gr.File(
                    label="Labels of this store (.csv)", height=90, elem_classes="upload", elem_id="own-labels"
                )
        with gr.Column(scale=3, min_width=320):
            note = area(elem_id="dataset-note")
            crops = timeline.picker(elem_id="montage", more=montage.KEYS)
            report = area(elem_id="dataset-report")
    view = [column, least, most, number]
    browse = [choice, *view]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on([choice.change, *(item.change for item in view)], _browse, browse, crops, **quiet)
    choice.change(_columns, choice, [column, report, save, table], **quiet)
    upload.upload(_on_upload, upload, [note, choice, upload], **quiet)
    words.while_running(cancel, [practice.click])
    making = practice.click(practices.follow, None, [note, choice, report], **quiet)
    words.when_done(cancel, [making])
    cancel.click(practices.cancel, None, note, queue=False, **quiet)
    labelled = [note, crops, report]
    crops.select(_on_press, [*browse, change], [*labelled, number], **quiet)
    mark.click(_on_mark, [*browse, label, change], labelled, **quiet)
    none.click(_on_none, browse, labelled, **quiet)
    undo.click(_on_undo, browse, labelled, **quiet)
    unsure.click(_on_unsure, browse, [*labelled, number], **quiet)
    span.click(_on_span, [*browse, label, change, start, stop], labelled, **quiet)
    prepare.click(_on_prepare, choice, [note, save, table], **quiet)
    given.upload(_on_table, [given, *browse, change], [*labelled, given], **quiet)
    return {"choice": choice, "note": note, "report": report}


def refreshed(current: str | None, request: gr.Request) -> tuple[Any, str]:
    """Stores of the session, as they are when the tab is opened."""
    stores = list(sessions.of(request).stores)
    value = current if current in stores else stores[-1] if stores else None
    empty = "No store yet. Take a sample in the tab Verdict, drop a store, or make the practice recordings."
    return gr.update(choices=stores, value=value), "" if stores else words.note(empty)


@words.guarded(4)
def _columns(choice: str | None, request: gr.Request) -> tuple[Any, ...]:
    session, hidden = sessions.of(request), gr.update(visible=False)
    session.marked.clear()
    session.last = None
    if not choice:
        return gr.skip(), "", hidden, hidden
    with sp.open_store(session.stores[choice]) as store:
        numeric = [name for name in store.columns if store.column(name).dtype.kind in "biuf"]
    return gr.update(choices=numeric), labels.warnings_of(session.stores), hidden, hidden


def _shown(session: sessions.Session, choice: str, view: montage.View) -> Any:
    return montage.shown(session, session.stores[choice], view, labelling.keys(session))


@words.guarded(1)
def _browse(choice: str | None, column: str, least: str, most: str, number: float, request: gr.Request) -> Any:
    return _shown(sessions.of(request), choice, montage.View(column, least, most, number)) if choice else ""


def _done(session: sessions.Session, choice: str, view: montage.View, said: str, kind: str = "info") -> tuple[Any, ...]:
    """Note, montage and report behind a change of labels."""
    return words.note(said, kind), _shown(session, choice, view), labels.warnings_of(session.stores)


def _give(
    session: sessions.Session, choice: str, view: montage.View, rows: Any, name: str, change: bool
) -> tuple[Any, ...]:
    """Label rows, and say what was changed and what was not."""
    found = labelling.give(session, choice, np.asarray(rows, np.int64), name, change=change)
    said = f"{found.changed:,} crops of {choice} are now “{name or 'no label'}”; saved in the column “label”"
    if not found.changed and found.kept:
        said = f"No label of {choice} was changed"
    return _done(session, choice, view, said + (_KEPT.format(found.kept) if found.kept else "."))


@words.guarded(4)
def _on_press(
    choice: str,
    column: str,
    least: str,
    most: str,
    number: float,
    change: bool,
    event: gr.EventData,
    request: gr.Request,
) -> tuple[Any, ...]:
    """A crop was pressed, or a key."""
    session, view, data = sessions.of(request), montage.View(column, least, most, number), event._data
    if not choice:
        return (gr.skip(),) * 4
    if "pick" in data:
        montage.mark(session, session.stores[choice], view, int(data["pick"]), shift=bool(data.get("shift")))
        return gr.skip(), _shown(session, choice, view), gr.skip(), gr.skip()
    key = str(data.get("key", ""))
    if key == "z":
        return (*_undone(session, choice, view), gr.skip())
    if key == "u":
        return _unsure(session, choice, view)
    return (*_keyed(session, choice, view, labelling.class_of_key(session, key), change), gr.skip())


def _keyed(
    session: sessions.Session, choice: str, view: montage.View, name: str | None, change: bool
) -> tuple[Any, ...]:
    if name is None:
        return (gr.skip(),) * 3
    if not session.marked:
        return words.note("Mark crops first: press them in the montage.", "wait"), gr.skip(), gr.skip()
    rows = sorted(session.marked)
    session.marked.clear()
    return _give(session, choice, view, rows, name, change or not name)


@words.guarded(3)
def _on_mark(
    choice: str | None,
    column: str,
    least: str,
    most: str,
    number: float,
    label: str,
    change: bool,
    request: gr.Request,
) -> tuple[Any, ...]:
    session, name = sessions.of(request), str(label or "").strip()
    return _keyed(session, choice or "", montage.View(column, least, most, number), name, change)


@words.guarded(3)
def _on_none(choice: str | None, column: str, least: str, most: str, number: float, request: gr.Request) -> Any:
    return _keyed(sessions.of(request), choice or "", montage.View(column, least, most, number), "", True)


@words.guarded(3)
def _on_undo(choice: str | None, column: str, least: str, most: str, number: float, request: gr.Request) -> Any:
    return _undone(sessions.of(request), choice, montage.View(column, least, most, number))


def _undone(session: sessions.Session, choice: str | None, view: montage.View) -> tuple[Any, ...]:
    found = labelling.undo(session)
    if found is None or not choice:
        return words.note("There is nothing to take back."), gr.skip(), gr.skip()
    return _done(session, choice, view, f"Taken back: {found[1]:,} crops of {found[0]} have the label of before.")


@words.guarded(4)
def _on_unsure(choice: str | None, column: str, least: str, most: str, number: float, request: gr.Request) -> Any:
    return _unsure(sessions.of(request), choice, montage.View(column, least, most, number))


def _unsure(session: sessions.Session, choice: str | None, view: montage.View) -> tuple[Any, ...]:
    row = labelling.least_sure(session, choice) if choice else None
    if row is None:
        return words.note("Every crop here has a label, or was offered."), gr.skip(), gr.skip(), gr.skip()
    page = montage.page_of(session.stores[str(choice)], view, row)
    if page is None:
        return words.note("The next uncertain crop is left out by the filter; widen it.", "wait"), *[gr.skip()] * 3
    session.marked, session.last = {row}, row
    said = words.note(f"The model is least sure of crop {row}: it is marked. Label it by its key.")
    return said, _shown(session, str(choice), view._replace(number=page)), gr.skip(), page


@words.guarded(3)
def _on_span(
    choice: str | None,
    column: str,
    least: str,
    most: str,
    number: float,
    label: str,
    change: bool,
    start: float | None,
    stop: float | None,
    request: gr.Request,
) -> tuple[Any, ...]:
    session = sessions.of(request)
    if not choice or start is None or stop is None or stop <= start:
        said = "Choose a store, and a stretch whose end lies behind its beginning."
        return words.note(said, "wait"), gr.skip(), gr.skip()
    with sp.open_store(session.stores[choice]) as store:
        times = store.column("time")
    rows = np.flatnonzero((times >= start) & (times < stop))
    view, name = montage.View(column, least, most, number), str(label or "").strip()
    return _give(session, choice, view, rows, name, change or not name)


@words.guarded(3)
def _on_prepare(choice: str | None, request: gr.Request) -> tuple[Any, ...]:
    session = sessions.of(request)
    if not choice:
        return words.note("Choose a store first.", "wait"), gr.skip(), gr.skip()
    title = Path(choice).stem
    copy = shutil.copy(session.stores[choice], session.downloads() / f"{title}-labelled.h5")
    table = session.downloads() / f"{title}-labels.csv"
    labelling.to_table(session.stores[choice], table)
    return "", gr.update(value=str(copy), visible=True), gr.update(value=str(table), visible=True)


@words.guarded(4)
def _on_table(
    given: str | None,
    choice: str | None,
    column: str,
    least: str,
    most: str,
    number: float,
    change: bool,
    request: gr.Request,
) -> tuple[Any, ...]:
    if not given or not choice:
        return words.note("Choose the store that the labels are of.", "wait"), gr.skip(), gr.skip(), None
    session = sessions.of(request)
    found = labelling.from_table(session, choice, Path(given), change=change)
    said = f"{found.changed:,} labels were taken" + (_KEPT.format(found.kept) if found.kept else ".")
    return (*_done(session, choice, montage.View(column, least, most, number), said), None)


def _on_upload(upload: str | None, request: gr.Request) -> tuple[Any, Any, Any]:
    if not upload:
        return gr.skip(), gr.skip(), gr.skip()
    session = sessions.of(request)
    name = session.take(upload, "stores")
    try:
        with sp.open_store(session.stores[name], "a") as store:
            count = len(store)
    except Exception as error:
        session.project.drop("stores", name)
        return words.problem(error, name), gr.skip(), None
    said = words.note(f"{name}: {count:,} crops. Labels you give are saved in this copy; download it when done.")
    return said, gr.update(choices=list(session.stores), value=name), None
