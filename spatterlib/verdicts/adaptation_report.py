"""The report of an adaptation: what was judged before and after, and what so few layers can state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from spatterlib.common.markdown import code, escaped
from spatterlib.common.origin import learned, learned_from
from spatterlib.common.wording import counted
from spatterlib.learning.layer_thresholds import LayerThresholds, layers_needed
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.run_facts import RunFacts
from spatterlib.verdicts.judgement import Span

__all__ = ["JudgedLayer", "adaptation_counts", "adaptation_report", "stated"]


class JudgedLayer(NamedTuple):
    """A labelled layer: store, number, label, the verdict of the model as it was, and of one adapted without it."""

    store: str
    number: int
    label: str
    before: Span
    after: Span


def adaptation_counts(layers: Sequence[JudgedLayer]) -> dict[str, dict[str, int]]:
    """Layers right, wrong and open, before and after."""
    found = {}
    for name, which in (("before", _before), ("after", _after)):
        answers = [_answer(which(layer), layer.label) for layer in layers]
        found[name] = {answer: answers.count(answer) for answer in ("right", "wrong", "open")}
    return found


def stated(thresholds: LayerThresholds) -> str:
    """What the labelled layers state, in a sentence or two.

    Examples
    --------
    >>> from spatterlib.learning.layer_thresholds import LayerThresholds
    >>> from spatterlib.verdicts.adaptation_report import stated
    >>> stated(LayerThresholds((0.5,) * 8, 0.05))
    'at most 11 % of layers like these are decided wrongly; 8 layers cannot state less, 5 % takes 19'
    """
    text = f"at most {thresholds.error:.0%} of layers like these are decided wrongly".replace("%", " %")
    if thresholds.error <= thresholds.wanted:
        return text
    needed = layers_needed(thresholds.wanted)
    return f"{text}; {len(thresholds.leads)} layers cannot state less, {100 * thresholds.wanted:g} % takes {needed}"


def _before(layer: JudgedLayer) -> Span:
    return layer.before


def _after(layer: JudgedLayer) -> Span:
    return layer.after


def _answer(span: Span, label: str) -> str:
    return "open" if span.label is None else "right" if span.label == label else "wrong"


def adaptation_report(name: str, facts: RunFacts, layers: Sequence[JudgedLayer], familiar: Familiar) -> str:
    """The report as Markdown.

    Parameters
    ----------
    name : str
        Name of the new run.
    facts : dict
        Its ``model.json``.
    layers : sequence of JudgedLayer
        All that it was adapted to.
    familiar : Familiar
        What is familiar now.
    """
    begun, counts = facts["adapted_from"], adaptation_counts(layers)
    thresholds = LayerThresholds.of(facts["thresholds"]["leads"], facts["thresholds"]["wanted"])  # type: ignore[index]
    said = learned(learned_from(facts))
    by_class = ", ".join(f"{sum(layer.label == own for layer in layers)} {escaped(own)}" for own in facts["classes"])
    stores = len({layer.store for layer in layers})
    lines = [
        f"# Adaptation: {escaped(name)}",
        "",
        *([f"**{said.capitalize()}.**", ""] if said else []),
        f"From {code(begun['path'] or 'a model without a folder')} (SHA-256 {begun['digest'][:12]}) to "
        f"{counted(len(layers), 'labelled layer')} of {counted(stores, 'recording')}: {by_class}.",
        "",
        "| labelled layers | right | wrong and decided | left open |",
        "|---|---|---|---|",
        *(f"| {when} | {row['right']} | {row['wrong']} | {row['open']} |" for when, row in counts.items()),
        "",
        f"*After*: each layer is judged by a fit that had no part of its {begun['left_out']}.",
        "",
        f"**What is stated**: {stated(thresholds)}. That holds for layers that could as well have been among the "
        "labelled ones: of this camera, with these settings. Layers of one recording share its light and its focus, so "
        "label layers of several recordings; a recording that differs from all of them is not covered.",
        "",
        _familiar(familiar),
        "",
        "| recording | layer | label | before | after |",
        "|---|---|---|---|---|",
        *(
            f"| {escaped(Path(layer.store).name)} | {layer.number} | {escaped(layer.label)} | {_said(layer, _before)} "
            f"| {_said(layer, _after)} |"
            for layer in layers
        ),
    ]
    return "\n".join(lines) + "\n"


def _familiar(familiar: Familiar) -> str:
    if familiar.spans is None:
        return (
            "**Familiar**: single crops only, as in the labelled layers. Whole layers are not compared, because the "
            "model knew no recordings of its training, or this camera sees too few streaks."
        )
    return (
        "**Familiar**: crops and layers as the labelled ones. How much recordings of one camera differ is taken over "
        "from the training; if it is true of this camera, about "
        f"{100 * familiar.spans.false_alarms:.0f} % of its recordings have a part that is called unlike."
    )


def _said(layer: JudgedLayer, which: Callable[[JudgedLayer], Span]) -> str:
    span = which(layer)
    mark = "" if _answer(span, layer.label) != "wrong" else "**wrong**: "
    reason = f": {escaped(span.reason)}" if span.label is None else ""
    return f"{mark}{escaped(span.label or span.state)}{reason}"
