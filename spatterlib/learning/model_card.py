"""The model card of a run: what it is, what it learned from, how good it is, what not to believe."""

from __future__ import annotations

from spatterlib.common.markdown import code, escaped
from spatterlib.common.origin import learned, learned_from
from spatterlib.learning.run_facts import LayerRecordFields, RunFacts

__all__ = ["model_card"]

_BELIEVE = {
    "original": "Random crops of the same recordings were held back, so neighbouring frames are on both sides: the "
    "figures say how well these recordings are told apart, not how well the classes are.",
    "grouped": "Recordings of the test part had no crop in training.",
    "left out": "Labelled layers were left out of the fit in turn, whole recordings where a class has several.",
    "time": "Blocks of time of the same recordings were held back: the figures say nothing about other recordings.",
}


def _of_layers(record: LayerRecordFields | None) -> str:
    if not record:
        return ""
    return (
        f"Layers: in {record['wrong_builds']} of {record['builds']} recordings without a part in the training a layer "
        f"was decided wrongly ({record['layers']} layers in all; layers of one build share what makes it hard, so "
        "builds are counted).\n\n"
    )


def model_card(name: str, facts: RunFacts) -> str:
    """Text of the card in Markdown.

    Parameters
    ----------
    name : str
        Name of the run folder.
    facts : dict
        ``model.json``.
    """
    test, split = facts["metrics"]["test"], facts["split"]
    said = learned(learned_from(facts))
    simulated = f"**{said.capitalize()}.** " if said else ""
    dropped = "; ".join(
        f"{escaped(name)}: {reasons['black']} black, {reasons['undecodable']} undecodable"
        for name, reasons in facts["dropped"].items()
    )
    interval = test["accuracy_interval"]
    within = f" (95 % over recordings: {interval[0]:.2%} to {interval[1]:.2%})" if interval else ""
    sources = "\n".join(f"- {code(source['path'])}: {source['crops']} crops" for source in facts["sources"])
    parameters = "\n".join(
        f"- {escaped(key)}: {escaped(value)}" for key, value in facts["classifier"].items() if key != "id"
    )
    layers = _of_layers(facts.get("layers"))
    again = code(f"spatterlib evaluate {name}")
    classes = ", ".join(map(escaped, facts["classes"]))
    return f"""# {escaped(name)}

{simulated}Classifier {code(facts["classifier"]["id"])}; classes {classes}; trained {facts["created"]}.

## Data

{sources}

Crops by class: {escaped(facts["counts"])}. Left out: {dropped}.

## How good it is

Split: {split["name"]} ({escaped(split["by"])}); {split["train"]} crops trained, {split["validation"]} validated,
{split["test"]} tested.

Test accuracy {test["accuracy"]:.2%}{within}, calibration error {test["calibration_error_scaled"]:.3f}.

{layers}{_BELIEVE[split["name"]]} Run {again} for random beside grouped figures and the confound probe.

## Settings

{parameters}
- temperature: {facts["temperature"]:.3f}; best epoch {facts["best_epoch"]}
"""
