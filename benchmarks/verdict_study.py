"""The experiments behind ``docs/prediction.md``, and the simulated model that comes with the package.

Run ``python benchmarks/verdict_study.py FOLDER``. It simulates recordings of both flows, trains on them, predicts on
builds that the model never saw (other seeds, so other light, viewpoint, focus, noise and spatter; steady ones and ones
that change flow in the middle), compares each layer with the truth and writes the table into the documentation.
Whatever is in FOLDER already is not made again. ``--ship`` also puts the model into the package.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from conditions_study import extracted, jpeg
from pages import publish, say

import spatterlib as sp
from spatterlib.common.files import write_text
from spatterlib.learning.model_card import model_card
from spatterlib.learning.runs import SIMULATED, write_facts
from spatterlib.simulation import Truth
from spatterlib.verdicts.judgement import Span

FLOWS = ("low", "high")
CAMERAS = ("left", "mid", "right")
# Shorter recoating than on a machine: more layers in less video, nothing else changes.
RECOAT_SECONDS, LAYER_SECONDS = 2.5, 6.8
TRAINING, BUILDS = 28, 14
EPOCHS = 50
TRAINING_SECONDS, BUILD_SECONDS = 38.0, 74.0
ANSWERS = ("right", "wrong", "open", "missed")
DOCUMENT = Path(__file__).parents[1] / "docs" / "prediction.md"
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"


def simulate(path: Path, **parameters: Any) -> Path:
    """A recording at the standard difficulty, unless it is there."""
    if not path.exists():
        sp.simulate(
            path, recoat_seconds=RECOAT_SECONDS, layer_seconds=LAYER_SECONDS, overwrite=True, workers=1, **parameters
        )
        say(f"simulated {path.name}")
    return path


def training_build(index: int, number: int) -> dict[str, Any]:
    """Parameters of a training recording of a flow: seeds from 3000 on, gas to the left or to the right.

    Many short ones, because what counts is how many recordings there are. Half have the usual camera, half other gains,
    noise, bit rates and frame rates: what differs from machine to machine and says nothing of the gas.
    """
    random = np.random.default_rng([number, index])
    other: dict[str, Any] = {}
    if number >= TRAINING // 2:
        other = {
            "gain": float(np.exp(random.uniform(np.log(0.6), np.log(2.5)))),
            "noise": float(random.uniform(1, 5)),
            "bit_rate": int(np.exp(random.uniform(np.log(120e3), np.log(900e3)))),
            "fps": float(random.choice([12.5, 25, 25, 50])),
        }
    facts = {"seed": 3000 + 100 * index + number, "camera": CAMERAS[number % 3], "seconds": TRAINING_SECONDS}
    return {**facts, "gas_flow": FLOWS[index], "gas_direction": (180.0, 0.0)[number // 3 % 2], **other}


def training_stores(folder: Path) -> dict[str, str]:
    """``{store: flow}`` of the training recordings."""
    folder.mkdir(parents=True, exist_ok=True)
    stores = {}
    for number in range(TRAINING):
        for index, flow in enumerate(FLOWS):
            store = folder / f"{flow}_{number}.h5"
            stores[str(store)] = flow
            if not store.exists():
                parameters = training_build(index, number)
                video = simulate(folder / f"{flow}_{number}.mp4", **parameters)
                # A quarter of those with another camera are coded once more, coarsely.
                coarse = jpeg(number - TRAINING // 2 + 8) if number >= TRAINING // 2 and number % 4 == 0 else None
                extracted(video, store, coarse, gas_direction=parameters["gas_direction"])
                video.unlink()
    return stores


def trained(folder: Path) -> sp.models.Run:
    """The model, trained with whole recordings held back, unless it is there."""
    stores = training_stores(folder / "training")
    runs = folder / "runs"
    if not runs.is_dir():
        say("training ...")
        sp.train(stores, "lenet5", out=runs, split="grouped", epochs=EPOCHS, progress=False)
    return sp.load_model(runs)


def ship(run: sp.models.Run) -> None:
    """Put the model into the package, without the paths of the machine that it was trained on."""
    SIMULATED.mkdir(parents=True, exist_ok=True)
    facts = json.loads(json.dumps(run.facts))
    facts["data"] = None
    for source in facts["sources"]:
        source["path"] = Path(source["path"]).name
    run.save(SIMULATED)
    write_text(SIMULATED / "MODEL_CARD.md", model_card("simulated", facts))
    write_facts(SIMULATED, facts)
    shutil.copy(Path(run.path) / "familiar.json", SIMULATED)


def builds() -> list[tuple[str, dict[str, Any]]]:
    """(name, parameters) of recordings that have no part in the training: seeds from 9000 on."""
    found: list[tuple[str, dict[str, Any]]] = []
    for number in range(BUILDS):
        for index, flow in enumerate(FLOWS):
            found.append((f"{flow}_{number}", {"gas_flow": flow, "seed": 9000 + 100 * index + number}))
        flow = ("low>high", "high>low")[number % 2]
        change = {"gas_flow": flow, "seed": 9200 + number, "change_at": 28.0 + 1.7 * number}
        found.append((f"change_{number}", change))
    each = len(found) // BUILDS
    return [
        (name, one | {"camera": CAMERAS[index // each % 3], "seconds": BUILD_SECONDS})
        for index, (name, one) in enumerate(found)
    ]


def flows_of(settings: Any, start: float, stop: float) -> set[str]:
    """Flows that a layer truly had."""
    names = settings.gas_flow.split(">")
    if len(names) == 1 or stop < settings.change_at:
        return {names[0]}
    return {names[1]} if start >= settings.change_at else set(names)


def measured(
    folder: Path, run: sp.models.Run, preset: str, chosen: list[tuple[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """A row per build: layers right, wrong, left open; change found how far off."""
    own = folder / preset
    own.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, parameters in chosen:
        kind = name.split("_")[0]
        video = simulate(own / f"{name}.mp4", preset=preset, **parameters)
        verdict = sp.predict(video, run, progress=False)
        rows.append({"name": name, "kind": kind} | compared(verdict, Truth.load(video)))
        say(f"{preset} {name}: {rows[-1]}")
    return rows


def answer(own: list[Span], flows: set[str]) -> str:
    """What the verdicts on a layer say of its true flow, one of `ANSWERS`."""
    labels = {span.label for span in own}
    if not own:
        return "missed"
    return "right" if labels == flows else "open" if labels == {None} else "wrong"


def compared(verdict: sp.Verdict, truth: Truth) -> dict[str, Any]:
    """Verdict against truth, layer by layer.

    A layer within which the flow changes is counted for itself, and so is the one that the end of the recording cuts
    short: of some there is half a second, in which no six votes can be cast.
    """
    found: dict[str, Any] = dict.fromkeys((*ANSWERS, "far"), 0) | {"changing": [], "cut": []}
    end = truth.settings.seconds - 1 / truth.settings.fps
    for layer in truth.layers:
        flows = flows_of(truth.settings, layer["start"], layer["stop"])
        own = [span for span in verdict.layers if span.start <= layer["stop"] and span.stop >= layer["start"]]
        if len(flows) > 1:
            found["changing"] += [span.label or span.state for span in own]
        elif layer["stop"] >= end:
            found["cut"].append(answer(own, flows))
        else:
            said = answer(own, flows)
            found[said] += 1
            found["far"] += said == "open" and any("unlike" in span.reason for span in own)
    found["layers"] = sum(found[name] for name in ANSWERS)
    found["changes"] = len(verdict.changes)
    if truth.settings.change_at is not None and verdict.changes:
        change = verdict.changes[0]
        at = truth.settings.change_at
        true = int(np.searchsorted(truth.layers["start"], at, side="right"))
        # Between two layers nothing can be seen: the next one is the first that shows it.
        true += int(at > truth.layers["stop"][true - 1])
        found |= {"layers_off": abs(change.layer - true), "seconds_off": round(abs(change.time - at), 2)}
    return found


def table(rows: dict[str, list[dict[str, Any]]], run: sp.models.Run) -> str:
    """What the document shows."""
    lines = ["| difficulty | builds | layers | right | wrong | left open | of these: unlike training | missed |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    titles = {"low": "steady low", "high": "steady high", "change": "changing, layers before and behind"}
    for preset, own in rows.items():
        for kind, title in titles.items():
            part = [row for row in own if row["kind"] == kind]
            if part:
                lines.append(_line(preset, f"{len(part)} {title}", part))
        lines.append(_line(preset, f"**all {len(own)}**", own))
    test = run.facts["metrics"]["test"]
    low, high = test["accuracy_interval"]
    split = run.facts["split"]
    changing = [row for row in rows["standard"] if row["kind"] == "change"]
    steady = [row for row in rows["standard"] if row["kind"] != "change"]
    off = [row.get("layers_off") for row in changing]
    seconds = [row["seconds_off"] for row in changing if "seconds_off" in row]
    within = sum(value is not None and value <= 1 for value in off)
    exact, median = sum(value == 0 for value in off), np.median(seconds)
    second, false = sum(row["changes"] > 1 for row in changing), sum(row["changes"] > 0 for row in steady)
    crops, epochs = sum(run.facts["counts"].values()), run.facts["classifier"]["epochs"]
    wrong = [
        f"{sum(bool(row['wrong']) for row in own)} of {len(own)} builds ({preset})" for preset, own in rows.items()
    ]
    lines += [
        "",
        f"All layers of a build share what makes it hard, so builds are counted: a layer is decided wrongly in "
        f"{' and '.join(wrong)}.",
        "",
        f"Changes of flow at the standard difficulty: {within} of {len(changing)} builds have it found within one "
        f"layer ({exact} in the very layer; median {median:.1f} s, at most {max(seconds):.1f} s off); {second} of them "
        f"show a second change that is none, and {false} of {len(steady)} steady builds show one.",
        "",
        _cut_short(rows["standard"]),
        "",
        f"The model, `lenet5`, grey, {epochs} epochs: {test['accuracy']:.1%} of single crops right (95 % over "
        f"recordings: {low:.1%} to {high:.1%}), {split['name']} split by {split['by']}, "
        f"{2 * TRAINING} simulated recordings of "
        f"{TRAINING_SECONDS:.0f} s, {crops:,} crops.",
    ]
    return "\n".join(lines)


def _cut_short(rows: list[dict[str, Any]]) -> str:
    """On the layers that are not in the table, and what the share would be with them."""
    cut = [name for row in rows for name in row["cut"]]
    counts = {name: cut.count(name) for name in ANSWERS}
    right = sum(row["right"] for row in rows) + counts["right"]
    total = sum(row["layers"] for row in rows) + len(cut)
    return (
        f"Not in the table: layers that the end of the recording cuts short. At the standard difficulty these are "
        f"{len(cut)}: {counts['right']} right, {counts['wrong']} wrong, {counts['open']} left open, "
        f"{counts['missed']} missed. With them {right} of {total} layers are right ({right / total:.1%})."
    )


def _line(preset: str, title: str, rows: list[dict[str, Any]]) -> str:
    total = sum(row["layers"] for row in rows)
    counts = [sum(row[name] for row in rows) for name in ("right", "wrong", "open", "far", "missed")]
    cells = [f"{counts[0]} ({counts[0] / total:.1%})", *map(str, counts[1:])]
    return f"| {preset} | {title} | {total} | {' | '.join(cells)} |"


def main() -> None:
    """Everything that is not there yet, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ship", action="store_true", help="put the model into the package")
    parser.add_argument("--shipped", action="store_true", help="train none: measure the model of the package")
    parser.add_argument("--dry", action="store_true", help="print the tables, leave the document alone")
    options = parser.parse_args()
    run = sp.load_model("simulated") if options.shipped else trained(options.folder)
    if options.ship:
        ship(run)
    rows = {preset: measured(options.folder, run, preset, builds()) for preset in ("standard", "hard")}
    (options.folder / "rows.json").write_text(json.dumps(rows))
    text = table(rows, run)
    publish(DOCUMENT, BEGIN, END, text, dry=options.dry)


if __name__ == "__main__":
    main()
