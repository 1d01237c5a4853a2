"""The tab Train: labelled stores in, a model out, with the random and the grouped result side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

import spatterlib as sp
from spatterlib_demo import charts, labels, models, sessions, words
from spatterlib_demo.controls import Controls
from spatterlib_demo.jobs import Job, Stopped
from spatterlib_demo.markup import Markup, area, html, joined

__all__ = ["refreshed", "tab"]


def tab() -> dict[str, Any]:
    """Build it; returns what other tabs need."""
    ids = [id_ for id_, class_ in sp.catalog().classifiers.items() if not isinstance(class_, sp.plugins.HasSuffixes)]
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=270, elem_classes="side"):
            stores = gr.CheckboxGroup([], label="Labelled stores", elem_id="train-stores")
            network = gr.Dropdown(ids, value=ids[0], label="Network", elem_id="network")
            compare = gr.Checkbox(True, label="Also train with random crops held back, to compare")
            go = gr.Button("Train", variant="primary", elem_id="train")
            cancel = gr.Button("Cancel", size="sm", elem_id="train-cancel", visible=False)
            with gr.Accordion("Settings of the network", open=False, elem_id="train-settings"):
                controls = Controls("classifier", "c", ids, ids[0])
        with gr.Column(scale=3, min_width=320):
            note = area(elem_id="train-note")
            curves = area(elem_id="curves")
            result = area(elem_id="train-result")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    network.change(controls.shown, network, controls.groups, **quiet)
    words.while_running(cancel, [go.click])
    work = go.click(
        _train(controls),
        [stores, network, compare, *controls.components],
        [note, curves, result],
        concurrency_id="train",
        concurrency_limit=1,
        **quiet,
    )
    words.when_done(cancel, [work])
    cancel.click(_cancel, None, note, queue=False, **quiet)
    return {"stores": stores, "note": note, "done": result}


def _cancel(request: gr.Request) -> str:
    return words.cancelled(sessions.of(request).stop)


def refreshed(chosen: Sequence[str], request: gr.Request) -> tuple[Any, Any]:
    """Stores with labels, as they are when the tab is opened."""
    session = sessions.of(request)
    counts = {name: labels.counts_of(path) for name, path in session.stores.items()}
    choices = [
        (f"{name}: " + ", ".join(f"{count} {label}" for label, count in found.items()), name)
        for name, found in counts.items()
        if found
    ]
    names = [name for _, name in choices]
    empty = "No labelled store yet: label crops in the tab Dataset, or make the practice recordings there."
    said = "" if names else words.note(empty)
    return gr.update(choices=choices, value=[name for name in chosen if name in names] or names), said


def _train(controls: Controls) -> Any:
    def train(
        request: gr.Request, stores: list[str], network: str, compare: bool, *values: Any
    ) -> Iterator[tuple[Any, Any, Any]]:
        session = sessions.of(request)
        if not stores:
            yield words.note("Choose labelled stores first; the tab Dataset makes some.", "wait"), gr.skip(), gr.skip()
            return
        try:
            chosen = controls.identity(network, values)
            session.stop.clear()
            yield words.note("Reading crops …", "wait"), "", ""
            job = Job(lambda tell: _work(session, stores, chosen, compare, tell), session.stop)
            for said, epochs in job.follow(0.4):
                yield words.note(said, "wait"), _curves(epochs, _simulated(session, stores)), gr.skip()
            run, evaluation, epochs = job.result()
            name = session.add("runs", f"{network} {len(session.runs) + 1}", Path(run.path))
            session.project.choose(model=name)
            yield _said(name, run), _curves(epochs, run.origin != "not stated"), _result(evaluation)
        except (Stopped, Exception) as error:
            yield words.problem(error), gr.skip(), gr.skip()

    return train


def _said(name: str, run: Any) -> Markup:
    """Whether verdicts can rest on the model, and why."""
    if run.unproven:
        text = html(
            "Trained, but <b>“{}” judges nothing</b>: {}. The tab Verdict shows what it would say, if you ask for it "
            "under “What is expected, and which model”.",
            name,
            run.unproven,
        )
        return words.note(text, "wait")
    low = run.facts["metrics"]["test"]["accuracy_interval"][0]
    return words.note(
        html(
            "Trained. On whole recordings that it never saw, at least {:.0%} of crops are right (lower end of the 95 % "
            "{}), better than chance. “{}” is the model of the tab Verdict now: try a sample there. It knows simulated "
            "or labelled recordings like these only; one that is unlike them gets no verdict.",
            low,
            words.term("interval"),
            name,
        )
    )


def _simulated(session: sessions.Session, stores: Sequence[str]) -> bool:
    for name in stores:
        with sp.open_store(session.stores[name]) as store:
            if sp.is_simulated(store.attrs):
                return True
    return False


def _work(
    session: sessions.Session, stores: Sequence[str], network: Mapping[str, Any], compare: bool, tell: Any
) -> tuple[Any, Any, list[Any]]:
    """Train, then measure; the model that is kept holds whole recordings back where the data allow."""
    epochs: list[Any] = []
    title = ["Training"]

    def follow(epoch: Any) -> None:
        if epoch.ended and title[0] == "Training":
            epochs.append(epoch)
        done = f"epoch {epoch.number} of {epoch.of}, {epoch.done:,} of {epoch.samples:,} crops"
        tell((f"{title[0]}: {done}, loss {epoch.loss:.3f}", list(epochs)))

    tell(("Reading crops …", []))
    paths = [str(session.stores[name]) for name in stores]
    chosen = sp.make("classifier", network)
    run = sp.train(paths, chosen, out=session.project.folder / "runs", resume=False, callbacks=[follow], progress=False)
    title[0] = "Measuring, random crops held back"
    splits: Any = ("original", "grouped") if compare else (run.facts["split"]["name"],)
    return run, sp.evaluate(run, splits=splits, probes=False, notify=follow), epochs


def _curves(epochs: Sequence[Any], simulated: bool) -> Markup:
    if not epochs:
        return Markup()
    mark = html(" {}", words.simulated_mark("")) if simulated else ""
    loss = {"training": [e.loss for e in epochs], "validation": [e.validation_loss for e in epochs]}
    share = {"training": [e.accuracy for e in epochs], "validation": [e.validation_accuracy for e in epochs]}
    both = charts.curves(words.term("loss") + mark, loss) + charts.curves(
        words.term("accuracy") + mark, share, share=True
    )
    return html('<div class="pair">{}</div>', both)


def _result(found: Any) -> Markup:
    """The splits side by side, and what the figures do not show."""
    names = {"original": words.term("random split"), "grouped": words.term("grouped split"), "time": "blocks of time"}
    return html(
        "<h2>How good it is {mark}</h2>"
        '<div class="scroll" tabindex="0" role="region" aria-label="results"><table><thead><tr><th>held back for the '
        'test</th><th class="n">{accuracy}</th><th>95 % {interval}</th><th class="n">{error}</th>'
        '<th class="n">tested on</th></tr></thead><tbody>{lines}</tbody></table></div>'
        '<ul class="warnings">{remarks}</ul>',
        mark=words.simulated_mark("recordings") if found.simulated else "",
        accuracy=words.term("accuracy"),
        interval=words.term("interval"),
        error=words.term("calibration error"),
        lines=joined(_line(outcome, names.get(outcome.split, outcome.split)) for outcome in found.outcomes),
        remarks=joined(html("<li>{}</li>", remark) for remark in found.remarks),
    )


def _line(outcome: Any, name: str) -> Markup:
    metrics = outcome.metrics
    if metrics is None:
        return html('<tr><td>{}</td><td colspan="4" class="soft">{}</td></tr>', name, outcome.reason)
    low, high = metrics.accuracy_interval
    interval = f"{low:.0%} to {high:.0%}" if low == low else "too few recordings to say"
    return html(
        '<tr><td>{}</td><td class="n"><b>{:.1%}</b></td><td>{}</td><td class="n">{:.3f}</td><td class="n">{:,} crops'
        "</td></tr>",
        *(name, metrics.accuracy, interval, metrics.calibrated.error, metrics.crops),
    )


def available(request: gr.Request) -> Any:
    """The list of models, for the other tabs."""
    session = sessions.of(request)
    names, chosen = models.names_of(session), session.project.chosen.get("model")
    return gr.update(choices=names, value=chosen if chosen in names else names[0])
