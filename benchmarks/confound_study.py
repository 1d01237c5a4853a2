"""The experiment behind "planted confounds" in ``docs/evaluation.md``: are they found, and are clean designs let pass?

Run ``python benchmarks/confound_study.py STORES`` with a folder of stores of simulated recordings, all different
(``FLOW_NUMBER.h5``, a dozen or more of one flow). A design has eight recordings of one flow, so that nothing in the
crops knows the class; labels are drawn. One of eight things is planted with the class, ten times each. Clean designs
have nothing planted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pages import publish, say

import spatterlib as sp
from spatterlib.common.image_codec import decode, encode
from spatterlib.learning.confounds import confounds
from spatterlib.learning.dataset import load_dataset
from spatterlib.stores.opening import create_store

DOCUMENT = Path(__file__).parents[1] / "docs" / "evaluation.md"
BEGIN, END = "<!-- confounds: begin -->", "<!-- confounds: end -->"
RECORDINGS, CROPS, DRAWS, CLEAN = 8, 200, 10, 60
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def clipped(crop: np.ndarray) -> np.ndarray:
    """As uint8."""
    return np.clip(np.round(crop), 0, 255).astype(np.uint8)


PLANTED: dict[str, Change] = {
    "JPEG quality 60, coded once more": lambda crop, random: decode(encode(crop, "jpeg", 60)),
    "blur of 1.5 px": lambda crop, random: cv2.GaussianBlur(crop, (0, 0), 1.5),
    "noise of 8 grey levels": lambda crop, random: clipped(crop + random.normal(0, 8, crop.shape)),
    "mirrored camera": lambda crop, random: crop[:, ::-1],
    "exposure x 0.5": lambda crop, random: clipped(crop * 0.5),
    "white balance, red x 1.3, blue x 0.75": lambda crop, random: clipped(crop * [1.3, 1.0, 0.75]),
    "another frame rate stated": lambda crop, random: crop,
    "a recording saved twice": lambda crop, random: crop,
}


def written(target: Path, store: Path, change: Change | None, random: np.random.Generator, **video: Any) -> None:
    """A copy of some crops of a store, changed."""
    with sp.open_store(store) as old:
        rows = range(min(len(old), CROPS))
        table, encoded, attrs = old.table[rows.start : rows.stop], old.encoded(rows), dict(old.attrs)
    if change is not None:
        encoded = [encode(np.ascontiguousarray(change(decode(crop), random)), "jpeg", 95) for crop in encoded]
    known = {"video": attrs["video"] | {"digest": target.stem, "name": target.name} | video}
    with create_store(target, attrs=known) as new:
        new.append(table, encoded)


def design(folder: Path, stores: list[Path], planted: str | None, seed: int) -> dict[str, str]:
    """``{store: label}`` of eight recordings drawn, four of either label."""
    random = np.random.default_rng(seed)
    chosen = [stores[number] for number in random.permutation(len(stores))[:RECORDINGS]]
    labels = random.permutation(["a", "b"] * (RECORDINGS // 2))
    if planted == "a recording saved twice":
        first = int(np.flatnonzero(labels == "a")[0])
        chosen[int(np.flatnonzero(labels == "a")[-1])] = chosen[first]
    found = {}
    for number, (store, label) in enumerate(zip(chosen, labels, strict=True)):
        target = folder / f"r{number}.h5"
        change = PLANTED[planted] if planted and label == "b" else None
        twice = planted == "a recording saved twice" and number and store in chosen[:number]
        rate = {"fps": 30.0} if planted == "another frame rate stated" and label == "b" else {}
        written(target, store, (lambda crop, _: decode(encode(crop, "jpeg", 80))) if twice else change, random, **rate)
        found[str(target)] = str(label)
    return found


def flagged(stores: list[Path], planted: str | None, seed: int) -> list[str]:
    """Names of what `confounds` finds in one design."""
    how = sp.make("classifier", "lenet5").preprocessing
    with tempfile.TemporaryDirectory() as folder:
        data = load_dataset(design(Path(folder), stores, planted, seed), how)
        return [item.name for item in confounds(data)]


def main() -> None:
    """Every design, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path)
    parser.add_argument("--flow", default="standard_high", help="which stores: those whose names begin so")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--clean", type=int, default=CLEAN)
    parser.add_argument("--dry", action="store_true", help="print the table, leave the document alone")
    options = parser.parse_args()
    stores = sorted(options.stores.glob(f"{options.flow}*.h5"))
    lines = ["| planted with the class | designs | flagged | as |", "|---|---|---|---|"]
    for planted in (*PLANTED, None):
        count = options.draws if planted else options.clean
        found = [flagged(stores, planted, 1000 + seed) for seed in range(count)]
        names: dict[str, int] = {}
        for name in (name for own in found for name in own):
            names[name] = names.get(name, 0) + 1
        told = ", ".join(f"{name} ({times})" for name, times in sorted(names.items(), key=lambda item: -item[1])[:4])
        lines.append(f"| {planted or 'nothing'} | {count} | {sum(map(bool, found))} | {told} |")
        say(json.dumps([planted, [len(own) for own in found], names]))
    lines += ["", f"{len(stores)} simulated recordings ({options.flow}), {CROPS} crops of each, eight in a design."]
    text = "\n".join(lines)
    publish(DOCUMENT, BEGIN, END, text, dry=options.dry)


if __name__ == "__main__":
    main()
