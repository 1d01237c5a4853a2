"""The tab Model: which parts of a crop speak for which class, how honest the probabilities are, where it fails."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib_demo import charts, labels, models, sessions, timeline, words
from spatterlib_demo.markup import Markup, area, html, joined
from spatterlib_demo.pictures import boxed, crop_button, encoded_uri, gallery, svg

__all__ = ["refreshed", "tab"]

_CROPS, _GRID, _WRONG = 14, 9, 12
# Crops measured at most, so that it takes seconds.
_MEASURED = 4000


def tab() -> dict[str, Any]:
    """Build it; returns what other tabs need."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=270, elem_classes="side"):
            model = gr.Dropdown([models.SHIPPED], value=models.SHIPPED, label="Model", elem_id="inside-model")
            store = gr.Dropdown([], label="Crops of this store", elem_id="inside-store")
            measure = gr.Button("Measure on all labelled stores", variant="primary", elem_id="measure")
            take = gr.Button("Prepare this model for download", size="sm", elem_id="prepare-model")
            file = gr.DownloadButton("Download the model (.zip)", size="sm", elem_id="get-model", visible=False)
        with gr.Column(scale=3, min_width=320):
            note = area(elem_id="model-note")
            crops = timeline.picker(elem_id="inside-crops")
            inside = area(elem_id="inside")
            report = area(elem_id="model-report")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on([model.change, store.change], _show, [model, store], [note, crops, inside], **quiet)
    crops.select(_on_pick, [model, store], [note, inside], **quiet)
    take.click(_packed, model, [note, file], **quiet)
    model.change(lambda: gr.update(visible=False), None, file, **quiet)
    measure.click(_measure, model, [note, report], **quiet)
    return {"model": model, "store": store, "note": note}


def refreshed(model: str, store: str | None, request: gr.Request) -> tuple[Any, Any, str]:
    """Models and stores of the session, as they are when the tab is opened."""
    session = sessions.of(request)
    names, stores = models.names_of(session), list(session.stores)
    chosen = store if store in stores else stores[-1] if stores else None
    empty = "No crops yet: take a sample in the tab Verdict first."
    return (
        gr.update(choices=names, value=model if model in names else names[0]),
        gr.update(choices=stores, value=chosen),
        "" if stores else words.note(empty),
    )


@words.guarded(3)
def _show(model: str, store: str | None, request: gr.Request) -> tuple[str, str, str]:
    """Crops of the store, spread over it, with what the model says of each."""
    if not store:
        # The note says already that there is none.
        return gr.skip(), "", ""
    session = sessions.of(request)
    run = models.load(session, model)
    with sp.open_store(session.stores[store]) as opened:
        if not len(opened):
            return words.note("This store has no crops; take another one."), "", ""
        rows = np.unique(np.linspace(0, len(opened) - 1, _CROPS).astype(int)).tolist()
        encoded, found = opened.encoded(rows), run.probabilities(opened.read(rows))
    buttons = [
        crop_button(
            encoded_uri(crop), str(row), (_says(run.classes, p),), f"crop {row}: {_says(run.classes, p)}; look inside"
        )
        for row, crop, p in zip(rows, encoded, found, strict=True)
    ]
    mark = words.simulated_mark(f"model ({run.origin})") if run.origin != "not stated" else ""
    return "", gallery(html("Press a crop to look inside {}", mark), buttons), ""


@words.guarded(2)
def _packed(model: str, request: gr.Request) -> tuple[Any, Any]:
    """The run folder, or the file, in a zip that the tab Verdict takes back."""
    target = models.packed(sessions.of(request), model)
    said = words.note("The file below holds weights, record and card; the tab Verdict takes it as a model of your own.")
    return said, gr.update(value=str(target), visible=True)


def _says(classes: tuple[str, ...], probabilities: Any) -> str:
    if not np.isfinite(probabilities).all():
        return "no answer"
    best = int(np.argmax(probabilities))
    return f"{classes[best]} {probabilities[best]:.2f}"


@words.guarded(2)
def _on_pick(model: str, store: str, event: gr.EventData, request: gr.Request) -> tuple[str, str]:
    session, row = sessions.of(request), int(event._data["pick"])
    run = models.load(session, model)
    with sp.open_store(session.stores[store]) as opened:
        [crop] = opened.read([row])
    return "", inside(run, crop, row)


def inside(run: Any, crop: NDArray[np.uint8], row: int) -> Markup:
    """The crop and, beside it, how the answer changes where a patch is covered."""
    base, change = occlusion(run, crop)
    most = float(np.abs(change).max())
    return html(
        '<div class="pair inside"><figure class="frame">{plain}<figcaption>crop {row}: {says}</figcaption></figure>'
        '<figure class="frame">{overlay}<figcaption>{looks}: <b class="first">orange</b> speaks for {first}, '
        '<b class="last">violet</b> for {last}; covering the strongest patch moves the probability by {most:.2f}'
        "</figcaption></figure></div>",
        plain=boxed(crop, [], f"crop {row}"),
        row=row,
        says=_says(run.classes, base),
        overlay=_overlay(crop, change, most),
        looks=words.term("occlusion", "Where it looks"),
        first=run.classes[0],
        last=run.classes[-1],
        most=most,
    )


def occlusion(run: Any, crop: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of the crop, and ``(9, 9)`` by how much each patch raises that of the last class.

    M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014: a patch is covered with
    the crop's median colour and the model asked again.
    """
    height, width = crop.shape[:2]
    cover = np.median(crop.reshape(-1, 3), axis=0).astype(np.uint8)
    rows, columns = (np.linspace(0, side, _GRID + 1).astype(int) for side in (height, width))
    covered = [crop]
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            copy = crop.copy()
            copy[top : max(bottom, top + 1), left : max(right, left + 1)] = cover
            covered.append(copy)
    found = run.probabilities(covered)
    return found[0], (found[0, -1] - found[1:, -1]).reshape(_GRID, _GRID)


def _overlay(crop: Any, change: Any, most: float) -> Markup:
    tall, wide = (side / _GRID for side in crop.shape[:2])
    patch = '<rect class="heat {}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill-opacity="{:.2f}"/>'
    shapes = joined(
        html(patch, side, x * wide, y * tall, wide, tall, 0.75 * abs(value) / max(most, 1e-9))
        for (y, x), value in np.ndenumerate(change)
        for side in ["last" if value > 0 else "first"]
    )
    return svg(crop, "what speaks for which class", shapes)


@words.guarded(2)
def _measure(model: str, request: gr.Request) -> tuple[str, str]:
    """Reliability and mistakes on everything that is labelled."""
    session = sessions.of(request)
    run = models.load(session, model)
    right: list[Any] = []
    sure: list[Any] = []
    wrong: list[tuple[float, Markup]] = []
    marks = {f"model: {run.origin}"} - {"model: not stated"}
    for name, path in session.stores.items():
        with sp.open_store(path) as store:
            names = labels.labels_of(store)
            rows = np.flatnonzero(np.isin(names, run.classes))[:_MEASURED]
            if not len(rows):
                continue
            marks |= {"recordings"} if sp.is_simulated(store.attrs) else set()
            found = run.probabilities(store.read(rows.tolist()))
            best, top = found.argmax(1), found.max(1)
            hit = np.array(run.classes)[best] == names[rows]
            right.append(hit)
            sure.append(top)
            worst = np.flatnonzero(~hit)[np.argsort(-top[~hit])][:_WRONG]
            wrong += [
                (float(top[k]), _mistake(store, int(rows[k]), name, names[rows[k]], run.classes[best[k]], top[k]))
                for k in worst
            ]
    if not right:
        said = f"No labelled crops that this model knows ({', '.join(run.classes)}); label some in the tab Dataset."
        return words.note(said, "wait"), ""
    return "", _report(run, np.concatenate(right), np.concatenate(sure), wrong, ", ".join(sorted(marks)))


def _mistake(store: Any, row: int, name: str, truth: str, said: str, top: float) -> Markup:
    lines = (f"is {truth}", f"said {said} {top:.2f}")
    [encoded] = store.encoded([row])
    return crop_button(encoded_uri(encoded), str(row), lines, f"crop {row} of {name}: {' '.join(lines)}")


def _report(run: Any, right: Any, sure: Any, wrong: list[tuple[float, Markup]], marks: str) -> Markup:
    bins = np.minimum(((sure - 0.5) / 0.05).clip(0).astype(int), 9)
    used = [k for k in range(10) if (bins == k).any()]
    confidence = [float(sure[bins == k].mean()) for k in used]
    accuracy = [float(right[bins == k].mean()) for k in used]
    counts = [int((bins == k).sum()) for k in used]
    error = sum(n * abs(c - a) for n, c, a in zip(counts, confidence, accuracy, strict=True)) / len(right)
    split = (run.facts.get("split") or {}).get("name", "unknown")
    mark = words.simulated_mark(marks) if marks else ""
    title = html("{} {}", words.term("reliability", "Reliability"), mark)
    worst = [button for _, button in sorted(wrong, key=lambda item: -item[0])[:_WRONG]]
    return html(
        '<div class="pair">{plot}<div><p>{right:.1%} of {count:,} labelled crops right, {calibration} {error:.3f}. '
        "If the model learned from these stores, this flatters it: the figure to believe is that of the tab Train "
        "(this model was trained with the split “{split}”).</p></div></div>{worst}",
        plot=charts.reliability(title, confidence, accuracy, counts),
        right=right.mean(),
        count=len(right),
        calibration=words.term("calibration error"),
        error=error,
        split=split,
        worst=gallery("Where it fails: surest mistakes", worst, "no mistakes"),
    )
