"""Plain words: what went wrong with the next step, and what a term means."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import spatterlib as sp
from spatterlib_demo.jobs import Stopped, is_running
from spatterlib_demo.markup import Markup, html, joined

__all__ = [
    "TERMS",
    "friendly",
    "glossary",
    "note",
    "problem",
    "simulated_mark",
    "term",
    "when_done",
    "while_running",
]

log = logging.getLogger("spatterlib_demo")

TERMS = {
    "spatter": "Glowing droplets that the laser throws out of the melt pool. How they fly depends on the gas flow.",
    "layer": "One pass of the laser over the powder. Layers are told apart by the pauses between them.",
    "verdict": "The answer for one layer: which class it looks like, or that there is too little to say.",
    "probability": "How sure the model is, from 0 to 1, corrected so that 0.8 is right about 8 times "
    "in 10 on data like those it was tested on.",
    "interval": "95 % interval: how far chance could move the value. It does not cover other cameras or machines.",
    "vote": "Crops of one spatter event count once per second, because a plume seen in fifty frames is one witness.",
    "crop": "The small picture cut out around one spatter in one frame.",
    "frame": "One picture of the video.",
    "detector": "The method that finds spatter in a frame.",
    "filter": "A rule that drops findings which are no spatter: too small, too large, bluish, black.",
    "difference": "What changed in brightness from one frame to the next.",
    "mask": "The places that the detector counts as changed: white is changed.",
    "store": "A file with all crops of a recording and a table of their measurements.",
    "label": "The class that somebody gave a crop, for instance low or high gas flow.",
    "epoch": "One pass over all training crops.",
    "loss": "How wrong the network is; training makes it smaller.",
    "accuracy": "Share of crops that were named right. It says little without how the test crops were chosen.",
    "random split": "Test crops are drawn at random: they come from the same recordings as the training crops.",
    "grouped split": "Whole recordings are kept for the test: the honest figure for a new recording.",
    "leak": "The same recording in training and test: the network may recognise the recording, not the gas flow.",
    "confound": "Something else that goes with the label, such as brighter light in all recordings of one class.",
    "occlusion": "A patch of the crop is covered and the model asked again: where its answer changes, it was looking.",
    "reliability": "Of the crops with probability 0.8, 80 % should be right. The line shows how far that holds.",
    "calibration error": "Mean distance between how sure the model is and how often it is right; 0 is perfect.",
    "alarm": "A control chart is beyond its limit: the layer differs from the good ones more than chance should allow.",
    "simulated": "Computed, not filmed. What holds for simulated recordings need not hold on a machine.",
}
"""Terms that a newcomer may not know; `term` makes a word that opens its explanation."""


def term(name: str, shown: str = "") -> Markup:
    """The word as a button that opens its explanation; reachable by keyboard."""
    key = name.replace(" ", "-")
    return html('<button type="button" class="term" popovertarget="term-{}">{}</button>', key, shown or name)


def glossary() -> Markup:
    """All explanations, each hidden until its word is pressed."""
    one = '<div popover id="term-{}" class="explanation" role="note"><b>{}</b><p>{}</p></div>'
    return joined(html(one, name.replace(" ", "-"), name, text) for name, text in TERMS.items())


def simulated_mark(what: str) -> Markup:
    """The mark that everything simulated carries."""
    return html('<span class="mark">SIMULATED</span> <span class="soft">{}</span>', what)


def note(text: str, kind: str = "info") -> Markup:
    """A line of news for the user: "info", "wait" or "problem"."""
    role = "alert" if kind == "problem" else "status"
    return html('<div class="note {}" role="{}">{}</div>', kind, role, text) if text else Markup()


def while_running(cancel: Any, starts: Sequence[Callable[..., Any]]) -> None:
    """Show a button while there is something to cancel; see `when_done`."""
    import gradio as gr

    for start in starts:
        start(
            lambda: gr.update(visible=True), None, cancel, queue=False, show_progress="hidden", api_visibility="private"
        )


def when_done(cancel: Any, works: Sequence[Any]) -> None:
    """Hide it behind work that ended, however it did."""
    import gradio as gr

    for work in works:
        work.then(
            lambda: gr.update(visible=False),
            None,
            cancel,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )


def cancelled(stop: threading.Event) -> Markup:
    """Ask the work of a session to end, and say whether there is any."""
    if not is_running(stop):
        return note("There is nothing to cancel.")
    stop.set()
    return note("Cancelling after this step …", "wait")


def problem(error: BaseException, what: str = "this file", step: str = "") -> Markup:
    """What went wrong and what to do next, as a note; `step` in place of the usual one."""
    sentence, usual = friendly(error, what)
    return note(html("<b>{}</b> {}", sentence, step or usual), "problem")


def friendly(error: BaseException, what: str = "this file") -> tuple[str, str]:
    """A sentence and the next step; paths of the server are left out."""
    if isinstance(error, Stopped):
        return "Cancelled.", "Nothing was kept. Start again whenever you like."
    if not isinstance(error, sp.errors.SpatterlibError):
        log.exception("unexpected", exc_info=error)
        return "Something went wrong that we did not expect.", "Try again; the app goes on working."
    for kind, step in _STEPS:
        if isinstance(error, kind):
            return _sentence(str(error), what), step
    return _sentence(str(error), what), "Change it and try again."


_STEPS: list[tuple[type[Exception], str]] = [
    (sp.errors.VideoError, "Take another file: MP4, MOV, AVI or MKV with a picture in it, or one of the samples."),
    (sp.errors.MissingFileError, "Load it again, or take one of the samples."),
    (sp.errors.StoreError, "Take another file, or make a new one with this app."),
    (sp.errors.ContractError, "Choose another detector or filter; this plugin has a fault."),
    (sp.errors.PluginError, "Choose another one from the list, or install what is missing."),
]


def _sentence(said: str, what: str) -> str:
    """An error's line without folders."""
    text = re.sub(r"(?:[A-Za-z]:)?(?:[\\/][^\s\\/:;,'\"]+)+[\\/]([^\s\\/:;,'\"]*)", r"\1", said)
    text = text.strip() or f"{what} cannot be used"
    named = "." in text.split(" ")[0]
    return (text if named else text[:1].upper() + text[1:]) + ("" if text.endswith((".", "!", "?")) else ".")


def guarded(outputs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a handler tell of an error in its first output, the note, and leave the other outputs as they are."""
    import gradio as gr

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(handler)
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return handler(*arguments, **named)
            except Exception as error:
                return (problem(error), *[gr.skip()] * (outputs - 1)) if outputs > 1 else problem(error)

        return call

    return wrap


def steps(frames: Iterator[Any], outputs: int) -> Iterator[Any]:
    """The same for a handler that yields."""
    import gradio as gr

    try:
        yield from frames
    except Exception as error:
        yield (problem(error), *[gr.skip()] * (outputs - 1))
