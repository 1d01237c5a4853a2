"""Streaks, speeds and gas-flow index against the simulator's truth: writes the tables of docs/measurement.md.

``python benchmarks/measurement_study.py [streaks] [speeds] [gas] [cost]``; some minutes. Everything is simulated.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pages import put

import spatterlib as sp
from spatterlib.kernels.simulation.flights import STEP
from spatterlib.measuring.calibration import Calibration, calibrate, observe, simulated_camera, streak_points
from spatterlib.measuring.camera import Camera
from spatterlib.measuring.gasflow import gas_index
from spatterlib.measuring.measurement import measure_store
from spatterlib.measuring.speeds import measure_speeds
from spatterlib.measuring.streaks import find_streaks, saturated_zone
from spatterlib.simulation import SimulationSettings
from spatterlib.simulation.scene import Scene
from spatterlib.simulation.tables import streak_rows

PAGE = Path(__file__).parents[1] / "docs" / "measurement.md"
LONG = Camera(frame_rate=25, exposure=0.036, mm_per_px=0.4, gas_direction=180.0)
SHORT = Camera(frame_rate=1000, exposure=0.0009, mm_per_px=0.12, gas_direction=180.0)
NEAR, APART, LEAST = 1.5, 2.5, 5.0
render = importlib.import_module("spatterlib.simulation.render")


class Seen(NamedTuple):
    """A crop, its truth, the px path of every truth and of what the truth does not list."""

    crop: Any
    rows: Any
    paths: list[Any]
    unlisted: list[Any]


def crops(settings: SimulationSettings, every: int, most: int, margin: int) -> Iterator[Seen]:
    """Crops around the largest event of each lit frame, with the exact paths that were drawn."""
    scene = Scene(settings)
    canvas, spare = scene.canvas(), scene.canvas()
    out = np.empty((settings.height, settings.width, 3), np.uint8)
    done = 0
    for number in range(0, settings.frames, every):
        events, rows = render.render(scene, number, canvas, out)
        if not len(events) or not len(rows):
            continue
        points, flown, traces = drawn(scene, spare, number)
        known = {(row["start_x"], row["start_y"], row["length"]): index for index, row in enumerate(rows)}
        paths: list[Any] = [None] * len(rows)
        unlisted = []
        for trace, row in zip(
            traces, streak_rows(points, flown, traces, np.zeros((len(traces), 2)), (0.0, 0.0)), strict=True
        ):
            index = known.get((row["start_x"], row["start_y"], row["length"]))
            path = way(points, flown[int(trace[0])], trace)
            if index is None:
                unlisted.append(path)
            else:
                paths[index] = path
        event = events[np.argmax(events["area"])]
        left, top = max(int(event["x"]) - margin, 0), max(int(event["y"]) - margin, 0)
        right, bottom = event["x"] + event["width"] + margin, event["y"] + event["height"] + margin
        yield Seen(
            out[top:bottom, left:right].copy(),
            rows,
            [p - [left, top] for p in paths],
            [p - [left, top] for p in unlisted],
        )
        done += 1
        if done == most:
            return


def drawn(scene: Scene, canvas: Any, number: int) -> tuple[Any, Any, Any]:
    """Points, flights and traces of a frame, drawn again."""
    settings, opened = scene.settings, number / scene.settings.fps
    bounds = np.array([settings.width, settings.height, 0, 0])
    found = render._fly(
        scene, canvas, opened, opened + settings.shutter, scene.view(opened), scene.gain(opened), bounds
    )
    canvas.light[:], canvas.lit[:] = 0, 0
    return found


def way(points: Any, flight: Any, trace: Any) -> Any:
    """``(n, 2)`` px along the part of a flight that was seen, two to the px."""
    first, end = int(flight[1]), int(flight[2])
    a, b = trace[12] / STEP, (trace[12] + trace[8]) / STEP
    k = np.concatenate([[a], np.arange(np.floor(a) + 1, b), [b]])
    low = np.minimum(k.astype(int), end - first - 2)
    own = points[first:end, :2].astype(float)
    line = own[low] + (own[low + 1] - own[low]) * (k - low)[:, None]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.linspace(0, along[-1], max(int(2 * along[-1]) + 1, 2))
    return np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], 1)


def distance(a: Any, b: Any) -> Any:
    """Px from each point of `a` to the nearest of `b`."""
    return np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1)).min(1)


def resolvable(seen: Seen, count: dict[str, int]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Visible points of each truth in the crop, and which truths can be told apart; counts why not."""
    height, width = seen.crop.shape[:2]
    zone = saturated_zone(seen.crop @ np.array([0.299, 0.587, 0.114]))
    visible, wanted, where = {}, {}, {}
    for index, path in enumerate(seen.paths):
        inside = (path >= 0).all(1) & (path[:, 0] < width - 0.5) & (path[:, 1] < height - 0.5)
        cell = np.clip(np.rint(path).astype(int), 0, [width - 1, height - 1])
        visible[index] = path[inside & (zone[cell[:, 1], cell[:, 0]] == 0)]
        where[index] = inside
    own = np.concatenate([np.full(len(path), index) for index, path in enumerate(seen.paths)])
    every, bright = np.concatenate(seen.paths), seen.rows["brightness"]
    for index in np.flatnonzero(seen.rows["snr"] > 5):
        inside, free = where[index], visible[index]
        if inside.sum() < 0.5 * len(inside):
            count["outside the crop"] += 1
            continue
        count["snr"] += 1
        if len(free) < 0.5 * inside.sum():
            count["saturated zone"] += 1
        elif 0.5 * len(free) < LEAST:
            count["short"] += 1
        else:
            rivals = every[(own != index) & (bright[own] >= 0.5 * bright[index])]
            clear = distance(free, rivals) > APART if len(rivals) else np.ones(len(free), bool)
            if clear.mean() < 0.5 or 0.5 * clear.sum() < LEAST:
                count["beside another"] += 1
            else:
                wanted[int(index)] = free
    return visible, wanted


def match(found: Any, visible: dict[int, Any], wanted: dict[int, Any]) -> dict[int, int]:
    """Found streak to truth, one to one: three fifths of it within 1.5 px, and half of a wanted truth covered."""
    pairs = []
    for f, row in enumerate(found):
        points = streak_points(row)
        for t, path in visible.items():
            if len(path) and (share := (distance(points, path) <= NEAR).mean()) >= 0.6:
                cover = (distance(path, points) <= NEAR).mean()
                if cover >= 0.5 or t not in wanted:
                    pairs.append((share * cover, f, t))
    partner: dict[int, int] = {}
    for _, f, t in sorted(pairs, reverse=True):
        if f not in partner and t not in partner.values():
            partner[f] = t
    return partner


def on_excluded(points: Any, seen: Seen, visible: dict[int, Any], wanted: dict[int, Any]) -> bool:
    """Whether four fifths of a find lie on streaks that cannot be told apart or that the truth does not list."""
    excluded = [path for index, path in visible.items() if index not in wanted and len(path)] + seen.unlisted
    return bool(excluded) and bool((distance(points, np.concatenate(excluded)) <= NEAR).mean() >= 0.8)


def finding(
    name: str, settings: list[SimulationSettings], every: int, most: int, margin: int
) -> tuple[list[str], list[Any]]:
    """Lines of the table of recall and precision."""
    count = dict.fromkeys(("snr", "outside the crop", "saturated zone", "short", "beside another"), 0)
    wrong = good = excused = total = 0
    angles, lengths = [], []
    for one in settings:
        for seen in crops(one, every, most, margin):
            visible, wanted = resolvable(seen, count)
            found = find_streaks(seen.crop)
            partner = match(found, visible, wanted)
            total += len(wanted)
            for f, row in enumerate(found):
                if f in partner and partner[f] in wanted:
                    good += 1
                    path, truth = wanted[partner[f]], seen.rows[partner[f]]
                    step = path[-1] - path[0]
                    true = np.rad2deg(np.arctan2(-step[1], step[0]))
                    angles.append(
                        (
                            abs((row["angle"] - true + 180) % 360 - 180),
                            abs((row["angle"] - truth["angle"] + 180) % 360 - 180),
                        )
                    )
                    lengths.append(abs(row["length"] / (0.5 * len(path)) - 1))
                elif f in partner or on_excluded(streak_points(row), seen, visible, wanted):
                    excused += 1
                else:
                    wrong += 1
    angle = np.median(np.array(angles), 0)
    line = [
        f"| {name} | {good / total:.2f} | {good / (good + wrong):.2f} | {angle[0]:.1f}° | {angle[1]:.1f}° "
        f"| {np.median(lengths):.0%} | {total} of {count['snr']} | {count['saturated zone']} "
        f"| {count['beside another']} "
        f"| {count['short']} | {excused} |"
    ]
    return line, angles


def spearman(a: Any, b: Any) -> float:
    """Rank correlation."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def streaks_table() -> str:
    """Recall, precision, angle."""
    head = [
        "| simulated recordings | recall | precision | angle, seen part | angle, whole flight | length "
        "| could be told apart | hidden in the zone | beside another | under 5 px | excused finds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, camera, every, margin in (("36 ms, 0.4 mm/px", LONG, 7, 6), ("0.9 ms, 0.12 mm/px", SHORT, 9, 60)):
        for speed in (0.5, 2.0):
            one = [simulated_camera(camera, speed, seed, 14.0 if camera is LONG else 0.9) for seed in range(301, 307)]
            head += finding(f"{name}, gas {speed:g} m/s", one, every, 20, margin)[0]
    return "\n".join(head)


def speeds_table(long: Calibration, short: Calibration) -> str:
    """Speed errors and coverage."""
    lines = [
        "| estimator | median error of the speed | across the line of sight | truths in the 90 % interval | streaks |",
        "|---|---|---|---|---|",
    ]
    for name, camera, calibration, seconds in (("exposure", SHORT, short, 0.9), ("flight", LONG, long, 14.0)):
        errors, inside, across = [], [], []
        for index, speed in enumerate((0.3, 0.6, 1.2, 2.4)):
            for found, truth, partner in observe(simulated_camera(camera, speed, 401 + index, seconds), 25):
                rows = measure_speeds(found, camera, calibration)
                known = (partner >= 0) & np.isfinite(rows["speed"])
                if camera is SHORT:
                    known &= truth[partner]["cut"] == 3
                else:
                    known &= truth[partner]["cut"] == 0
                rows, true = rows[known], truth[partner[known]]
                errors.append(np.abs(rows["speed"] / true["speed"] - 1))
                across.append(np.abs(rows["length"] / true["length"] - 1))
                inside.append((true["speed"] >= rows["speed_low"]) & (true["speed"] <= rows["speed_high"]))
        every = np.concatenate(errors)
        seen = f"{np.median(np.concatenate(across)):.1%}" if camera is SHORT else "-"
        lines.append(
            f"| {name} | {np.median(every):.1%} | {seen} | {np.concatenate(inside).mean():.2f} | {len(every)} |"
        )
    return "\n".join(lines)


def gas_table(calibration: Calibration, recordings: int = 16) -> str:
    """Index against truth, recordings never seen, each its own nuisance."""
    draw = np.random.Generator(np.random.Philox(key=[5, 5]))
    speeds = np.exp(draw.uniform(np.log(0.2), np.log(3.0), recordings))
    rows = []
    for index, speed in enumerate(speeds):
        settings = simulated_camera(LONG, float(speed), 501 + index, 14.0)
        found = np.concatenate([part for part, _, _ in observe(settings, 40, match=False)])
        rows.append(gas_index(found, LONG, calibration.gas))
    table = np.array(rows)
    error = np.abs(table[:, 0] / speeds - 1)
    inside = (speeds >= table[:, 1]) & (speeds <= table[:, 2])
    return "\n".join(
        [
            "| recordings | rank correlation | median relative error | mean | truths in the 90 % interval |",
            "|---|---|---|---|---|",
            f"| {recordings} | {spearman(speeds, table[:, 0]):.2f} | {np.median(error):.0%} | {error.mean():.0%} "
            f"| {inside.mean():.2f} |",
        ]
    )


def cost_table(calibration: Calibration) -> str:
    """Processor time and time by the clock of an extraction and of the pass over its store, by turns, best of five."""

    def now() -> Any:
        return np.array([time.process_time(), time.perf_counter()])

    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "low.mp4"
        sp.simulate(video, gas_flow="low", seconds=120, seed=9)
        without, extra = [], []
        for _ in range(5):
            begin = now()
            sp.extract(str(video), str(Path(folder) / "low.h5"), overwrite=True, progress=False)
            middle = now()
            with sp.open_store(str(Path(folder) / "low.h5")) as store:
                found = measure_store(store, LONG, calibration)
            without.append(middle - begin)
            extra.append(now() - middle)
    alone, pass_ = np.min(without, axis=0), np.min(extra, axis=0)
    busy, clock = alone / (alone + pass_)
    return "\n".join(
        [
            "| crops | streaks | pass over the store per crop, processor time "
            "| extraction with streaks, speed relative to without: by processor time | by the clock |",
            "|---|---|---|---|---|",
            f"| {found.rows} | {len(found.streaks)} | {pass_[0] / found.rows * 1e3:.1f} ms "
            f"| {busy:.2f} | {clock:.2f} |",
        ]
    )


def write(name: str, text: str) -> None:
    """Put a table between its marks."""
    put(PAGE, f"<!-- {name}: written by measurement_study.py -->", f"<!-- end of {name} -->", text)
    sys.stdout.write(f"{name}\n{text}\n")
    sys.stdout.flush()


def main(wanted: list[str]) -> None:
    """Make the tables that are asked for, all by default."""
    wanted = wanted or ["streaks", "speeds", "gas", "cost"]
    if "streaks" in wanted:
        write("streaks", streaks_table())
    if {"speeds", "gas", "cost"} & set(wanted):
        long = calibrate(LONG)
        if "gas" in wanted:
            write("gas", gas_table(long))
        if "cost" in wanted:
            write("cost", cost_table(long))
        if "speeds" in wanted:
            write("speeds", speeds_table(long, calibrate(SHORT)))


if __name__ == "__main__":
    main(sys.argv[1:])
