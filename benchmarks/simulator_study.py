"""The figures of docs/simulator.md: ``python benchmarks/simulator_study.py [calibration|difficulty|picture|speed]``."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from pages import say

import spatterlib as sp
from spatterlib.common.image_codec import encode

CAMERAS = ("left", "mid", "right")
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def crops_of(options: dict[str, Any], found: dict[str, Any]) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Table, crops and number of frames of one simulated recording."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        truth = sp.simulate(path, **options)
        parts = [(table, clip.crops(table)) for clip, table in sp.detect(path, **found)]
    table = np.concatenate([part for part, _ in parts])
    return table, [np.ascontiguousarray(crop) for _, crops in parts for crop in crops], truth.settings.frames


def grey(crops: list[np.ndarray]) -> np.ndarray:
    """Mean grey level of each crop."""
    return np.array([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean() for crop in crops])


def calibration(preset: str) -> None:
    """Six recordings of 53 s, original settings, against the published figures."""
    tables, levels, sizes, frames, lit = [], {"low": [], "high": []}, [], 0, []
    for number, camera in enumerate(CAMERAS):
        for flow in levels:
            seed = 21 + 10 * number + (flow == "high")
            options = {"gas_flow": flow, "seconds": 53, "seed": seed, "preset": preset, "camera": camera}
            table, crops, count = crops_of(options, dict(sp.ORIGINAL))
            frames += count
            tables.append(table)
            lit.append(np.unique(table["frame"], return_counts=True)[1])
            levels[flow].append(grey(crops)[table["peak"] >= 40])
            sizes += [len(encode(crop)) for crop in crops]
    table, counts = np.concatenate(tables), np.concatenate(lit)
    area = table["width"] * table["height"].astype(float)
    shares = np.diff([0, *(100 * np.mean(area < bound) for bound in (5e3, 1e4, 2e4, np.inf))])
    rows = {
        "height, median (range)": f"{np.median(table['height']):.1f} ({table['height'].min()}-{table['height'].max()})",
        "width, median (range)": f"{np.median(table['width']):.1f} ({table['width'].min()}-{table['width'].max()})",
        "box area, median; mean": f"{np.median(area):.0f}; {area.mean():.0f}",
        "under 5,000; to 10,000; to 20,000; over": "; ".join(f"{share:.1f}" for share in shares),
        "frames with spatter": f"{100 * len(counts) / frames:.1f} %",
        "crops per such frame": f"{counts.mean():.3f}, at most {counts.max()}",
        "black crops": f"{100 * np.mean(table['peak'] < 40):.1f} %",
        "JPEG bytes per crop": f"{np.mean(sizes):.0f}",
        **{f"mean grey level, {flow}": describe(np.concatenate(parts)) for flow, parts in levels.items()},
    }
    say(f"{preset}: {len(table)} crops of {frames} frames")
    for name, value in rows.items():
        say(f"| {name} | {value} |")


def describe(values: np.ndarray) -> str:
    """Median and the middle four fifths."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"{middle:.1f} ({low:.0f}-{high:.0f})"


def difficulty(preset: str, *, confounded: bool = False) -> None:
    """How well the mean grey level of a crop tells low from high, on recordings that gave no threshold."""
    levels: dict[str, list[np.ndarray]] = {"low": [], "high": []}
    for flow, parts in levels.items():
        for recording in range(1, 9):
            seed = 100 + recording + (50 if flow == "high" else 0)
            options = {"gas_flow": flow, "seconds": 18.5, "seed": seed, "recording": seed, "preset": preset}
            parts.append(grey(crops_of({**options, "confounded": confounded}, {})[1]))
    scores = [split_score(levels, np.random.default_rng(number)) for number in range(50)]
    pooled = area_under_curve(np.concatenate(levels["low"]), np.concatenate(levels["high"]))
    medians = {flow: [round(float(np.median(part)), 1) for part in parts] for flow, parts in levels.items()}
    say(f"{preset}{' confounded' * confounded}: balanced accuracy {np.mean(scores):.3f}, AUC {pooled:.3f}, {medians}")


def split_score(levels: dict[str, list[np.ndarray]], random: np.random.Generator) -> float:
    """Balanced accuracy of the best threshold and direction of half of the recordings on the other half."""
    parts = {}
    for flow, recordings in levels.items():
        order = random.permutation(len(recordings))
        halves = np.array_split(order, 2)
        parts[flow] = [np.concatenate([recordings[index] for index in half]) for half in halves]
    bounds = np.quantile(np.concatenate([parts["low"][0], parts["high"][0]]), np.linspace(0.01, 0.99, 99))
    score = [np.mean(parts["low"][0] > bound) + np.mean(parts["high"][0] <= bound) for bound in bounds]
    bound, turned = max((max(value, 2 - value), b, value < 1) for value, b in zip(score, bounds, strict=True))[1:]
    right = (np.mean(parts["low"][1] > bound) + np.mean(parts["high"][1] <= bound)) / 2
    return float(1 - right if turned else right)


def area_under_curve(low: np.ndarray, high: np.ndarray) -> float:
    """Chance that a crop of low flow is the brighter of two."""
    ranks = np.argsort(np.argsort(np.concatenate([low, high]))) + 1
    return float((ranks[: len(low)].sum() - len(low) * (len(low) + 1) / 2) / (len(low) * len(high)))


def picture(path: Path) -> None:
    """Simulated crops by camera and flow, laid out like the published figure of samples."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 6, figsize=(13, 6), layout="constrained")
    for column, (flow, camera) in enumerate([(flow, camera) for flow in ("low", "high") for camera in CAMERAS]):
        options = {"gas_flow": flow, "camera": camera, "seconds": 14, "seed": 61 + column, "preset": "easy"}
        table, crops, _ = crops_of(options, dict(sp.ORIGINAL))
        bright = np.flatnonzero(table["peak"] >= 200)
        levels = grey([crops[index] for index in bright])
        usual = bright[np.argsort(np.abs(levels - np.median(levels)))]
        for axis, index in zip(axes[:, column], usual[[3, 9]], strict=True):
            axis.imshow(crops[index], interpolation="nearest")
            shape = f"{crops[index].shape[0]}x{crops[index].shape[1]}"
            axis.set_title(f"{camera}, {flow} flow\n{shape}, mean {grey([crops[index]])[0]:.1f}", fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle("SIMULATED spatter by camera and gas flow (preset easy)", fontweight="bold")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=80)


STAGES = {
    "physics.particles": "random numbers",
    "flights.fly": "integration of flights",
    "streaks.draw": "drawing of streaks",
    "cv2.GaussianBlur": "focus",
    "exposure.halo": "glow (bloom, plume, bed)",
    "exposure.compose": "bed and noise",
    "exposure.develop": "exposure, tone, saturation, noise where lit",
    "render._events": "truth: events",
    "render._streaks": "truth: streaks",
    "writer._Video.add": "YUV and H.264",
    "writer._Video._parts": "of it RGB to YUV",
}
"""What is timed, by place."""


def speed(flow: str) -> None:
    """Milliseconds of processor time per frame of dense spatter by stage, and frames per second; least of five."""
    from spatterlib.kernels.simulation import exposure, flights, streak_drawing
    from spatterlib.simulation import SimulationSettings, physics, render, writer

    cv2.setNumThreads(1)
    settings = SimulationSettings(gas_flow=flow, seconds=17.2, seed=4, layer_seconds=60)
    homes = {"physics": physics, "flights": flights, "render": render, "streaks": streak_drawing, "cv2": cv2}
    homes |= {"exposure": exposure, "writer": writer}
    with tempfile.TemporaryDirectory() as folder:
        rounds = [timed(settings, Path(folder) / "a.mp4", homes) for _ in range(5)]
    for name, label in STAGES.items():
        say(f"| {label}, {flow} | {min(spent[name] for spent in rounds):.2f} |")
    total = min(spent["all"] for spent in rounds)
    say(f"| all, {flow} | {total:.2f} | {1000 / total:.0f} frames/s, load {os.getloadavg()[0]:.1f}")


def timed(settings: Any, path: Path, homes: dict[str, Any]) -> dict[str, float]:
    """Milliseconds per frame that each stage took in one recording."""
    spent: dict[str, float] = defaultdict(float)

    def watched(name: str, function: Any) -> Any:
        def watch(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += 1000 * (time.thread_time() - start) / settings.frames

        return watch

    with contextlib.ExitStack() as stack:
        for name in STAGES:
            home, *inner, last = name.split(".")
            place = getattr(homes[home], inner[0]) if inner else homes[home]
            stack.enter_context(mock.patch.object(place, last, watched(name, getattr(place, last))))
        watched("all", sp.simulate)(path, settings, overwrite=True)
    return spent


def main(wanted: list[str]) -> None:
    """What is asked for, or everything."""
    for what in wanted or ["calibration", "difficulty", "picture", "speed"]:
        if what == "calibration":
            for preset in ("easy", "standard", "hard"):
                calibration(preset)
        elif what == "difficulty":
            for preset in ("easy", "standard", "hard"):
                difficulty(preset)
            difficulty("standard", confounded=True)
        elif what == "speed":
            for flow in ("low", "high"):
                speed(flow)
        else:
            picture(IMAGES / "simulated_crops.png")


if __name__ == "__main__":
    main(sys.argv[1:])
