"""How soon a layer that is not like the good ones is found without labels: the table in ``docs/control.md``.

Run ``python benchmarks/novelty_study.py FOLDER``. Each machine has its own light, focus and place of the camera. It
builds 40 good layers at 2 m/s, then further good ones, and then four faults, three layers each.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from conditions_study import Change, extracted, fouled
from pages import publish, say

import spatterlib as sp
from spatterlib.learning.good_layers import NOVEL, GoodLayers, layer_looks, network_of

DOCUMENT = Path(__file__).parents[1] / "docs" / "control.md"
BEGIN, END = "<!-- novelty: begin -->", "<!-- novelty: end -->"
GOOD, MORE, BAD = 40, 6, 3
LAYER_SECONDS, RECOAT_SECONDS = 3.0, 1.2
DEFOCUS: Change = lambda frame, _: np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.5), np.uint8)  # noqa: E731
FAULTS: dict[str, tuple[dict[str, Any], Change | None]] = {
    "gas 2 to 1 m/s": ({"gas_speed": 1.0}, None),
    "spatter rate x 2": ({"spatter_rate": 15_000.0}, None),
    "defocus": ({}, DEFOCUS),
    "fouled window": ({}, fouled),
}


def machine(folder: Path, number: int) -> dict[str, Path]:
    """Stores of a machine by name, "good" and those of `FAULTS`, made unless they are there."""
    own = folder / str(number)
    found = {"good": own / "good.h5"} | {
        name: own / f"{name.replace(' ', '_').replace('/', '-')}.h5" for name in FAULTS
    }
    own.mkdir(parents=True, exist_ok=True)
    key = 41_000 + 10 * number
    for index, (name, store) in enumerate(found.items()):
        if not store.exists():
            other, change = FAULTS.get(name, ({}, None))
            video = own / (f"{store.stem}.mp4" if other or name == "good" else "further.mp4")
            if not video.exists():
                count = GOOD + MORE if name == "good" else BAD
                facts = {"gas_speed": 2.0, "recording": key, "seed": key + (index if other or name == "good" else 9)}
                facts |= {"seconds": count * (LAYER_SECONDS + RECOAT_SECONDS), "layer_seconds": LAYER_SECONDS}
                sp.simulate(video, workers=1, recoat_seconds=RECOAT_SECONDS, **{**facts, **other})
            extracted(video, store, change)
    return found


def p_values(folder: Path, number: int, run: sp.models.Run) -> dict[str, list[float]]:
    """Of the layers of a machine by fault; "good": of further good ones."""
    stores = machine(folder, number)
    looks = {name: layer_looks(store, run) for name, store in stores.items()}
    good = GoodLayers.of([looks["good"].part(slice(GOOD))])
    parts = {"good": looks["good"].part(slice(GOOD, GOOD + MORE))} | {
        name: looks[name].part(slice(BAD)) for name in FAULTS
    }
    return {name: [layer.p for layer in good.compare(part)] for name, part in parts.items()}


def table(rows: list[dict[str, list[float]]]) -> str:
    """What the document shows."""
    lines = ["| fault | machines | found within 3 layers | layers found |", "|---|---|---|---|"]
    for name in FAULTS:
        found = [[p <= NOVEL for p in row[name]] for row in rows]
        each, total = sum(map(sum, found)), sum(map(len, found))
        lines.append(f"| {name} | {len(rows)} | {sum(map(any, found))} | {each} of {total} |")
    good = [p <= NOVEL for row in rows for p in row["good"]]
    stated = int(NOVEL * (GOOD + 1)) / (GOOD + 1)
    lines += ["", f"Further good layers called unlike: {sum(good)} of {len(good)}, where {stated:.1%} are stated."]
    return "\n".join(lines)


def main() -> None:
    """Everything that is not there yet, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="simulated", help="run folder")
    parser.add_argument("--machines", type=int, default=12)
    parser.add_argument("--dry", action="store_true", help="print the table, leave the document alone")
    options = parser.parse_args()
    run, rows = network_of(options.model), []
    for number in range(options.machines):
        rows.append(p_values(options.folder, number, run))
        say(f"machine {number}: {rows[-1]}")
    text = table(rows)
    publish(DOCUMENT, BEGIN, END, text, dry=options.dry)


if __name__ == "__main__":
    main()
