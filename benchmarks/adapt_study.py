"""What a few labelled layers of another camera are worth: the table in ``docs/prediction.md``.

Run ``python benchmarks/adapt_study.py FOLDER [--model RUN]``. Each camera is unlike those of the training: a laboratory
of the preset "foreign", or builds whose frames are changed. Of every camera ten builds are simulated, five of either
flow, two layers each, with light, focus and place of the camera drawn anew for each. Two builds of either flow are
labelled, four layers of each class; the model is adapted to them and then judges the other six. Whatever is in FOLDER
already is not made again.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from conditions_study import MIRROR, Change, extracted, fouled, levels, lit, zoomed
from pages import publish, say

import spatterlib as sp
from spatterlib.simulation.worlds import drawn

FLOWS = ("low", "high")
LABELLED, JUDGED, LAYERS = 2, 3, 2
LAYER_SECONDS, RECOAT_SECONDS = 6.0, 1.5
DOCUMENT = Path(__file__).parents[1] / "docs" / "prediction.md"
BEGIN, END = "<!-- adapt: begin -->", "<!-- adapt: end -->"


@dataclass(frozen=True)
class Camera:
    """A camera unlike those of the training: builds simulated otherwise, frames changed."""

    name: str
    simulated: dict[str, Any] | None = None
    change: Change | None = None


def laboratory(key: int) -> dict[str, Any]:
    """A laboratory of the preset "foreign", the same for all its builds."""
    return {"preset": "foreign", **drawn(key, 1.0)}


BLUR: Change = lambda frame, _: np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.0), np.uint8)  # noqa: E731
CAMERAS = (
    Camera("mirrored", change=MIRROR),
    Camera("levels x 0.5", change=levels(lambda v: 0.5 * v)),
    *(Camera(f"laboratory {key}", laboratory(key)) for key in (501, 502)),
    Camera("limited range read as full", change=levels(lambda v: (16 + 219 * v) / 255)),
    Camera("lens blur", change=BLUR),
    Camera("gas towards the camera", {"gas_direction": 270.0}),
    Camera("gamma 0.6", change=levels(lambda v: v**0.6)),
    Camera("fouled window", change=fouled),
    *(Camera(f"laboratory {key}", laboratory(key)) for key in (503, 504)),
    Camera("brightness -0.1, contrast 1.3", change=levels(lambda v: 1.3 * (v - 0.5) + 0.5 - 0.1)),
    Camera("room light", change=lit),
    Camera("exposure 10 ms, 0.6 mm per px", {"exposure": 0.010, "mm_per_px": 0.6}),
    Camera("zoom 0.7", change=zoomed(0.7)),
)
# For choosing what is to be chosen; the table is of the others.
TRIED = (
    *(Camera(f"tried laboratory {key}", laboratory(key)) for key in (401, 402)),
    Camera("tried levels x 0.65, mirrored", change=lambda f, n: levels(lambda v: 0.65 * v)(MIRROR(f, n), n)),
)


def stored(folder: Path, camera: Camera, index: int, number: int) -> Path:
    """The store of a build that a camera sees, made unless it is there."""
    tried = camera.name.startswith("tried")
    name = camera.name.replace(" ", "_")
    store = folder / "stores" / name / f"{FLOWS[index]}_{number}.h5"
    if not store.exists():
        store.parent.mkdir(parents=True, exist_ok=True)
        own = name if camera.simulated else "tried" if tried else "base"
        video = folder / "builds" / own / f"{FLOWS[index]}_{number}.mp4"
        if not video.exists():
            video.parent.mkdir(parents=True, exist_ok=True)
            # Seeds that no training and no other study has; each camera its own builds.
            seed = (20_000 if tried else 30_000) + 1000 * (sum(map(ord, own)) % 97) + 100 * index + number
            facts = {"gas_flow": FLOWS[index], "seed": seed, "seconds": LAYERS * (LAYER_SECONDS + RECOAT_SECONDS)}
            facts |= {"layer_seconds": LAYER_SECONDS, "recoat_seconds": RECOAT_SECONDS}
            sp.simulate(video, workers=1, **{**facts, **(camera.simulated or {})})
        extracted(video, store, camera.change)
    return store


def judged(folder: Path, camera: Camera, base: sp.models.Run) -> dict[str, Any]:
    """Layers of builds that nobody labelled: right, wrong and decided, open, before and after; builds with such."""
    labels = {str(stored(folder, camera, i, n)): flow for n in range(LABELLED) for i, flow in enumerate(FLOWS)}
    found: dict[str, Any] = {"name": camera.name}
    models: dict[str, Any] = {"before": base}
    with tempfile.TemporaryDirectory() as out:
        try:
            models["after"] = sp.adapt(base, labels, out=out)
        except sp.errors.ParameterError as error:
            models["after"], found["refused"] = None, str(error)
        for when, run in models.items():
            counts = dict.fromkeys(("right", "wrong", "open", "builds", "wrong builds"), 0)
            for number in range(LABELLED, LABELLED + JUDGED):
                for index, flow in enumerate(FLOWS):
                    store = stored(folder, camera, index, number)
                    spans = sp.predict(store, run or base, progress=False).layers
                    answers = [
                        _answer(run and span.label, flow) for span in spans if span.votes >= sp.Rules().min_votes
                    ]
                    for answer in answers:
                        counts[answer] += 1
                    counts["builds"] += 1
                    counts["wrong builds"] += "wrong" in answers
            found[when] = counts
    return found


def _answer(label: str | None, flow: str) -> str:
    return "open" if label is None else "right" if label == flow else "wrong"


def table(rows: list[dict[str, Any]]) -> str:
    """What the document shows."""
    lines = ["| camera | layers | before: right, wrong, open | after: right, wrong, open | builds with a wrong layer |"]
    lines += ["|---|---|---|---|---|"]
    names = ("right", "wrong", "open")
    for row in rows:
        before, after = (", ".join(str(row[when][name]) for name in names) for when in ("before", "after"))
        total, builds = (sum(row["after"][name] for name in names), row["after"])
        mark = " (not adapted)" if "refused" in row else ""
        wrong = f"{builds['wrong builds']} of {builds['builds']}"
        lines.append(f"| {row['name']}{mark} | {total} | {before} | {after} | {wrong} |")
    sums = {name: sum(row["after"][name] for row in rows) for name in (*names, "builds", "wrong builds")}
    total, decided = sum(sums[name] for name in names), sums["right"] + sums["wrong"]
    lines += [
        "",
        f"Adapted to about four layers of each flow (two builds), {decided} of {total} layers of other builds are "
        f"decided ({decided / total:.0%}), {sums['wrong']} of these wrongly; a layer is decided wrongly in "
        f"{sums['wrong builds']} of {sums['builds']} builds.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Everything that is not there yet, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="simulated", help="run folder")
    parser.add_argument("--only", nargs="*", default=[], help="names of cameras")
    parser.add_argument("--tried", action="store_true", help="the cameras that choices were made with")
    parser.add_argument("--dry", action="store_true", help="print the table, leave the document alone")
    options = parser.parse_args()
    base, rows = sp.load_model(options.model), []
    for camera in TRIED if options.tried else CAMERAS:
        if not options.only or camera.name in options.only:
            rows.append(judged(options.folder, camera, base))
            say(f"{rows[-1]}")
    text = table(rows)
    publish(DOCUMENT, BEGIN, END, text, dry=options.dry)


if __name__ == "__main__":
    main()
