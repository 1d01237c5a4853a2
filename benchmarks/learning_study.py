"""The experiments behind ``docs/evaluation.md``: both networks, grey and RGB, random and grouped, in two designs.

Run ``python benchmarks/learning_study.py FOLDER``. It makes the simulated recordings, extracts them, trains, measures
the full published count once, and writes the tables into the documentation. Whatever is in FOLDER already is not made
again, so it can be stopped and started at will; ``--crops`` sets the size of a design.

Designs, ``--crops`` crops each:

- published: three cameras look at one build with low and one with high flow. Light, white balance and geometry go with
  the flow. Grouped: by camera; the build is the same on both sides.
- sound: eight recordings of each flow, all different. Grouped: by recording.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from pages import publish, say

import spatterlib as sp
from spatterlib.learning.confounds import probe
from spatterlib.learning.dataset import Dataset, load_dataset
from spatterlib.learning.training import Fitted, fit_split, measure_rows, split_of
from spatterlib.stores.opening import create_store

FLOWS = ("low", "high")
CAMERAS = ("left", "mid", "right")
PUBLISHED_COUNT = 598_933
NETWORKS = ("lenet5", "lenet5-classic")
COLOURS = ("grey", "rgb")
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
# Shorter recoating than on a machine: more crops in less video, nothing else changes.
RECOAT_SECONDS = 1.5
DOCUMENT = Path(__file__).parents[1] / "docs" / "evaluation.md"


def recordings(design: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, flow, parameters of `sp.simulate`) of a design."""
    if design == "published":
        return [
            (f"{camera}_{flow}", flow, {"camera": camera, "seed": 100 + number})
            for number, flow in enumerate(FLOWS)
            for camera in CAMERAS
        ]
    return [
        (f"{flow}_{number}", flow, {"camera": CAMERAS[number % 3], "seed": 200 + 10 * index + number})
        for index, flow in enumerate(FLOWS)
        for number in range(8)
    ]


def make_stores(folder: Path, design: str, crops: int) -> dict[str, str]:
    """Simulate and extract the recordings of a design, a minute at a time until each has its share; {store: flow}."""
    own = folder / design
    own.mkdir(parents=True, exist_ok=True)
    wanted = -(-crops // len(recordings(design)))
    stores = {}
    for name, flow, parameters in recordings(design):
        store = own / f"{name}.h5"
        stores[str(store)] = flow
        if store.exists():
            with sp.open_store(store) as opened:
                if opened.attrs.get("study") == wanted:
                    continue
        seconds = _seconds_for(wanted, own, flow, parameters)
        video = own / f"{name}.mp4"
        sp.simulate(
            video,
            gas_flow=flow,
            seconds=seconds,
            recoat_seconds=RECOAT_SECONDS,
            workers=1,
            overwrite=True,
            **parameters,
        )
        report = sp.extract(video, store, limit=wanted, overwrite=True)
        recording = f"build {flow}" if design == "published" else name
        with sp.open_store(store, mode="a") as opened:
            opened.set_attrs(
                {"simulated": True, "camera": parameters["camera"], "recording": recording, "study": wanted}
            )
        video.unlink()
        say(f"{design} {name}: {report.detections} crops from {seconds:.0f} s")
    return stores


def _seconds_for(wanted: int, folder: Path, flow: str, parameters: dict[str, Any]) -> float:
    """Length of a recording that gives so many crops, from a trial of a minute; a tenth more to be sure."""
    video = folder / "trial.mp4"
    sp.simulate(video, gas_flow=flow, seconds=60, recoat_seconds=RECOAT_SECONDS, overwrite=True, **parameters)
    found = sp.extract(video, folder / "trial.h5", overwrite=True).detections
    for path in (video, folder / "trial.h5", folder / "trial.truth.npz"):
        path.unlink(missing_ok=True)
    return 66.0 * wanted / max(found, 1)


def study(folder: Path, crops: int, epochs: int) -> list[dict[str, Any]]:
    """Every row of the table; each is kept in a file of its own."""
    stores = {design: make_stores(folder, design, crops) for design in ("published", "sound")}
    rows = []
    for colour in COLOURS:
        data: dict[str, Dataset] = {}
        for design in stores:
            for network in NETWORKS:
                for split in ("original", "grouped"):
                    file = folder / f"{design}-{network}-{colour}-{split}-{crops}-{epochs}.json"
                    if not file.exists():
                        if not data:
                            how = sp.make("classifier", "lenet5", colour=colour).preprocessing
                            data = {name: load_dataset(paths, how) for name, paths in stores.items()}
                        file.write_text(json.dumps(_row(data, design, network, colour, split, epochs)))
                        say(f"{file.stem} done")
                    rows.append(json.loads(file.read_text()))
    return rows


def _row(data: dict[str, Dataset], design: str, network: str, colour: str, name: str, epochs: int) -> dict[str, Any]:
    own, other = data[design], data["sound"]
    group = "camera" if design == "published" else "recording"
    split = split_of(own, name, group)  # type: ignore[arg-type]
    began = time.perf_counter()
    fitted: Fitted = fit_split(sp.make("classifier", network, colour=colour, epochs=epochs), own, split)
    seconds = time.perf_counter() - began
    row = {"design": design, "network": network, "colour": colour, "split": name, "by": split.by, "seconds": seconds}
    row |= {"crops": len(own), "dropped": own.dropped, "test": fitted.test.facts(), "best": fitted.best}
    row |= {"validation": fitted.validation.facts(), "temperature": fitted.run.temperature}
    if design == "published":
        row["elsewhere"] = measure_rows(fitted.run, other, np.arange(len(other))).facts()
    if network == "lenet5" and colour == "rgb":
        row["probes"] = [{"name": item.name, "accuracy": item.accuracy} for item in probe(own, split)]
    return row


def full_count(folder: Path, stores: dict[str, str], epochs: int = 20) -> dict[str, Any]:
    """The published 20 epochs over 598,933 crops: store to finished run, and the memory it took."""
    file = folder / f"full-{epochs}.json"
    if file.exists():
        return json.loads(file.read_text())
    paths = {str(folder / f"full_{flow}.h5"): flow for flow in FLOWS}
    for number, (path, flow) in enumerate(paths.items()):
        count = PUBLISHED_COUNT // 2 + (number if PUBLISHED_COUNT % 2 else 0)
        _repeat([store for store, own in stores.items() if own == flow], path, count)
    began, busy = time.perf_counter(), time.process_time()
    run = sp.train(paths, "lenet5", out=folder / "full_runs", split="original", epochs=epochs, progress=True)
    facts = {
        "epochs": epochs,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - busy,
        "crops": sum(run.facts["counts"].values()),
        "dropped": run.facts["dropped"],
        "epoch_seconds": float(np.mean([epoch["seconds"] for epoch in run.facts["epochs"]])),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "cores": len(__import__("os").sched_getaffinity(0)),
    }
    file.write_text(json.dumps(facts))
    return facts


def _repeat(stores: list[str], path: str, count: int) -> None:
    """A store of `count` crops, those of `stores` again and again."""
    if Path(path).exists():
        with sp.open_store(path) as known:
            if len(known) == count:
                return
    with create_store(path, overwrite=True, attrs={"simulated": True, "video": {"digest": Path(path).stem}}) as new:
        done = 0
        while done < count:
            for store in stores:
                with sp.open_store(store) as old:
                    rows = range(min(len(old), count - done))
                    for start in range(0, len(rows), 4096):
                        part = rows[start : start + 4096]
                        new.append(old.table[part.start : part.stop], old.encoded(part))
                    done += len(rows)


def table(rows: list[dict[str, Any]], full: dict[str, Any] | None) -> str:
    """Tables of the document, as Markdown."""
    lines = ["### Test accuracy", ""]
    lines += [
        "| design | network | colour | random crops | grouped | gap | random-split model on the 16 sound recordings |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    by = {(row["design"], row["network"], row["colour"], row["split"]): row for row in rows}
    for design, network, colour in dict.fromkeys(key[:3] for key in by):
        pair = [by[design, network, colour, split]["test"] for split in ("original", "grouped")]
        gap = 100 * (pair[0]["accuracy"] - pair[1]["accuracy"])
        elsewhere = by[design, network, colour, "original"].get("elsewhere")
        cells = (design, network, colour, *map(_accuracy, pair), f"{gap:+.1f}")
        lines.append(f"| {' | '.join(cells)} | {_accuracy(elsewhere) if elsewhere else ''} |")
    lines += ["", "### Confound probe: models that cannot see spatter (better of linear and boosted)", ""]
    lines += ["| design | split | classifier | " + " | ".join(item["name"] for item in _first_probes(rows)) + " |"]
    lines += ["|---" * (3 + len(_first_probes(rows))) + "|"]
    for row in rows:
        if "probes" in row:
            values = [f"{item['accuracy']:.1%}" for item in row["probes"]]
            lines.append(f"| {row['design']} | {row['split']} | {row['test']['accuracy']:.1%} | {' | '.join(values)} |")
    sizes = {row["design"]: row["crops"] for row in rows}
    lines += ["", "Crops: " + ", ".join(f"{design} {count:,}" for design, count in sizes.items()) + ". "]
    lines[-1] += f"Training time, 20 epochs: {_span(rows)} on {platform.machine()}, PyTorch on the cores it was given."
    if full:
        lines += ["", "### The published count", ""]
        lines += [
            f"{full['crops']:,} crops, {full['epochs']} epochs, from store to finished run: {full['seconds'] / 60:.1f} "
            f"min on {full['cores']} cores, {full['epoch_seconds']:.1f} s an epoch (published: 98 min 57 s, 297 s an "
            f"epoch, 6 loader processes), {full['cpu_seconds'] / 60:.1f} min of processor time. Largest memory "
            f"{full['memory'] / 1e9:.2f} GB."
        ]
    return "\n".join(lines)


def _first_probes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return next((row["probes"] for row in rows if "probes" in row), [])


def _accuracy(facts: dict[str, Any]) -> str:
    interval = facts["accuracy_interval"]
    within = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
    return f"{100 * facts['accuracy']:.2f} %{within}"


def _span(rows: list[dict[str, Any]]) -> str:
    seconds = [row["seconds"] for row in rows]
    return f"{min(seconds):.0f} to {max(seconds):.0f} s"


def main() -> None:
    """Everything that is not there yet, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crops", type=int, default=102_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--stage", choices=["stores", "study", "full", "all"], default="all")
    parser.add_argument("--dry", action="store_true", help="print the tables, leave the document alone")
    options = parser.parse_args()
    stores = {design: make_stores(options.folder, design, options.crops) for design in ("published", "sound")}
    if options.stage == "stores":
        return
    rows = study(options.folder, options.crops, options.epochs) if options.stage != "full" else []
    full = (
        full_count(options.folder, stores["published"] | stores["sound"], options.epochs)
        if options.stage != "study"
        else None
    )
    if rows:
        text = table(rows, full)
        publish(DOCUMENT, BEGIN, END, text, dry=options.dry)


if __name__ == "__main__":
    main()
