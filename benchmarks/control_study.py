"""Run lengths, delays, cameras and verdicts against the simulator; writes its tables into docs/control.md.

``python benchmarks/control_study.py`` makes all tables, ``python benchmarks/control_study.py runs shift`` some. The
builds of the tables of run lengths are layers drawn from a statistical model that was fitted to the descriptors of
simulated videos; the tables of videos go all the way from pixels.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pages import put

import spatterlib as sp
from spatterlib.control.monitoring import monitor
from spatterlib.control.reference import USUAL_DESCRIPTORS, learn_reference, values_of
from spatterlib.control.run_length import cusum_run_length, ewma_run_length, limits, shewhart_run_length
from spatterlib.control.statistics import CHARTS, Baseline, advance, angle_terms, initial_state, learn_baseline
from spatterlib.measuring.calibration import Calibration, calibrate
from spatterlib.measuring.camera import Camera
from spatterlib.measuring.descriptors import turned
from spatterlib.measuring.measurement import describe_by, measure_store
from spatterlib.measuring.synchrony import synchronise
from spatterlib.verdicts.agreement import BORDER, with_index

PAGE = Path(__file__).parent.parent / "docs" / "control.md"
LONG = Camera(frame_rate=25, exposure=0.036, mm_per_px=0.4, gas_direction=180.0)
TURN, ARL, BUILDS, FITTED = 67.0, 370.0, 500, 1500
RUNS = 10
"""False alarms of each build: its charts begin anew behind each, against the same reference."""
BRIEF: dict[str, Any] = {"layer_seconds": 2.4, "recoat_seconds": 2.0}
PERIOD = 4.4
PHIS = np.array([-0.5, -0.3, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


class Model(NamedTuple):
    """Layers as a statistical model: mean by scan angle, autocorrelation, what is new in a layer (rows drawn from)."""

    mean: Any
    phi: Any
    scale: Any
    correlation: Any
    residuals: Any


def layers_of(folder: Path, name: str, **settings: Any) -> Any:
    """Descriptors of the layers of a simulated video, scan angles known; the last, unfinished layer is left out."""
    kept = folder / f"{name}.npy"
    if not kept.exists():
        video, store = folder / f"{name}.mp4", folder / f"{name}.h5"
        sp.simulate(video, **BRIEF, **settings)
        sp.extract(str(video), str(store), overwrite=True, progress=False)
        with sp.open_store(str(store)) as opened:
            np.save(kept, describe_by(measure_store(opened, LONG), opened.table))
    return turned(np.load(kept), TURN)[:-1]


def fitted(folder: Path) -> Model:
    """The model, fitted to layers without a fault: enough of them that some are as rare as a false alarm."""
    rows = layers_of(folder, "long", gas_speed=1.5, seconds=FITTED * PERIOD, seed=79)
    values, terms = values_of(rows, USUAL_DESCRIPTORS), angle_terms(rows["scan_angle"])
    base = learn_baseline(values, terms)
    away = (values - terms @ base.mean)[base.kept]
    new = (away[1:] - base.phi * away[:-1]) / base.scale
    return Model(base.mean, base.phi, base.scale, np.linalg.inv(base.inverse), new)


def plain(phi: float) -> Model:
    """One descriptor with an angle effect of half a standard deviation."""
    return Model(np.array([[3.0], [0.4], [0.3]]), np.array([phi]), np.ones(1), np.eye(1), None)


def first_alarms(
    model: Model,
    bounds: Any,
    reference: int,
    builds: int,
    seed: int,
    *,
    shift: Any = 0.0,
    at: int = 0,
    drawn: bool = False,
    together: bool = False,
    runs: int = 1,
) -> Any:
    """``(builds * runs, 4)`` layers to the first alarm of each chart; layers are made, learned and charted one by one.

    With `together` a run ends with its first alarm of EWMA or T². The runs of one build stand beside each other.
    """
    draw, count = np.random.default_rng(seed), len(model.phi)
    root, wide = np.linalg.cholesky(model.correlation), 1 / np.sqrt(1 - model.phi**2)

    def novelty() -> Any:
        if drawn:
            return model.residuals[draw.integers(0, len(model.residuals), len(away))]
        return draw.standard_normal((len(away), count)) @ root.T

    terms = angle_terms(TURN * np.arange(360))
    away, made = np.zeros((builds, count)), np.empty((builds, reference, count))
    away = novelty() * wide
    for index in range(reference):
        away = model.phi * away + novelty()
        made[:, index] = terms[index % 360] @ model.mean + away * model.scale
    base = learn_baseline(made, terms[np.arange(reference) % 360])
    base = Baseline(*(np.repeat(getattr(base, field.name), runs, 0) for field in fields(base)))
    away = np.repeat(away, runs, 0)
    state, limit = initial_state(base), np.broadcast_to(bounds(base.phi), (len(away), len(CHARTS)))
    first = np.zeros((len(away), len(CHARTS)), int)
    for index in range(int(60 * ARL)):
        away = model.phi * away + novelty()
        row = terms[(reference + index) % 360]
        moved = away + (shift * wide if index >= at else 0.0)
        state, found, squared = advance(base, state, row @ model.mean + moved * model.scale, row)
        now = np.stack([*np.abs(found[:2]).max(-1), np.abs(found[2:]).max((0, -1)), squared], -1)
        first = np.where((first == 0) & (now > limit), index + 1, first)
        alarmed = first > 0
        done = alarmed[:, 1] | alarmed[:, 3] if together else alarmed.all(1)
        if done.all():
            break
    return np.where(first == 0, int(60 * ARL), first)


def mean_run(first: Any, runs: int) -> str:
    """Mean run length, its standard error over builds, and where it lies against the nominal one."""
    own = first.reshape(-1, runs).mean(1)
    return f"{own.mean():.0f} ({own.std() / np.sqrt(len(own)):.0f}) | {own.mean() / ARL - 1:+.0%}"


def by_phi(reference: int) -> Any:
    """Limits of one descriptor as `learn_reference` would set them, from the autocorrelation that a build found."""
    terms = angle_terms(TURN * np.arange(reference))
    table = [limits(terms, np.array([phi]), np.eye(1), arl=ARL, alarms=("ewma",), builds=6000) for phi in PHIS]
    columns = [[row[name] for row in table] for name in CHARTS]
    return lambda phi: np.stack([np.interp(phi[:, 0], PHIS, column) for column in columns], -1)


def uncorrected(_: Any) -> Any:
    """Limits for known parameters."""

    def solve(length: Any) -> float:
        low, high = 1.0, 10.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if length(middle) < ARL else (low, middle)
        return low

    one = solve(shewhart_run_length)
    return np.array([one, solve(ewma_run_length), solve(cusum_run_length), one**2])


def runs_table() -> str:
    """Mean run lengths without a fault."""
    lines = [
        "| reference layers | autocorrelation | chart | mean of 500 builds (standard error) | against 370 "
        "| mean of 10,000 builds (standard error) | against 370 | median | with limits for known parameters |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for reference, phi in ((100, 0.0), (200, 0.0), (200, 0.4)):
        bounds = by_phi(reference)
        few = first_alarms(plain(phi), bounds, reference, BUILDS, 500, runs=RUNS)
        many = first_alarms(plain(phi), bounds, reference, 10_000, 501)
        known = first_alarms(plain(phi), uncorrected, reference, 2000, 502)
        for number, chart in enumerate(("Shewhart", "EWMA", "CUSUM")):
            cells = f"{mean_run(few[:, number], RUNS)} | {mean_run(many[:, number], 1)}"
            lines.append(
                f"| {reference} | {phi:g} | {chart} | {cells} "
                f"| {np.median(many[:, number]):.0f} | {known[:, number].mean():.0f} |"
            )
    return "\n".join(lines)


def six_table(model: Model) -> str:
    """Six descriptors, EWMA and T² raise alarms together."""
    lines = [
        "| reference layers | what is new in a layer | mean of 500 builds (standard error) | against 370 "
        "| mean of 5,000 builds (standard error) | against 370 | median |",
        "|---|---|---|---|---|---|---|",
    ]
    for reference in (100, 200):
        terms = angle_terms(TURN * np.arange(reference))
        found = limits(terms, model.phi, model.correlation, arl=ARL)
        # The other two charts are of no interest here: with a limit of 0 they are done with the first layer.
        bounds = np.array([0.0, found["ewma"], 0.0, found["t2"]])
        for drawn, name in ((False, "normal, correlated as fitted"), (True, "drawn from the simulated layers")):
            cells = []
            for builds, runs, seed in ((BUILDS, RUNS, 510), (10 * BUILDS, 1, 511)):
                how: Any = {"drawn": drawn, "together": True, "runs": runs}
                own = first_alarms(model, lambda _, b=bounds: b, reference, builds, seed, **how)[:, [1, 3]].min(1)
                cells.append(mean_run(own, runs))
            lines.append(f"| {reference} | {name} | {cells[0]} | {cells[1]} | {np.median(own):.0f} |")
    return "\n".join(lines)


def model_table(model: Model) -> str:
    """What was fitted."""
    lines = [
        "| descriptor | angle effect, standard deviations | autocorrelation | kurtosis (normal: 3) |",
        "|---|---|---|---|",
    ]
    for number, name in enumerate(USUAL_DESCRIPTORS):
        size = np.hypot(*model.mean[1:, number]) / model.scale[number]
        new = model.residuals[:, number]
        lines.append(
            f"| {name} | {size:.2f} | {model.phi[number]:.2f} | {(new**4).mean() / (new**2).mean() ** 2:.1f} |"
        )
    return "\n".join(lines)


def delay(first: Any, at: int) -> str:
    """Mean delay of the builds that had not alarmed before."""
    own = first[first > at] - at
    return f"{own.mean():.1f} ({own.std() / np.sqrt(len(own)):.1f})"


def shift_table(model: Model) -> str:
    """Layers until a lasting shift of one standard deviation is found, shift at layer 31 of a build that runs."""
    lines = [
        "| charted | reference layers | autocorrelation | Shewhart | EWMA | CUSUM | T² |",
        "|---|---|---|---|---|---|---|",
    ]
    for reference, phi in ((100, 0.0), (200, 0.0), (200, 0.4)):
        first = first_alarms(plain(phi), by_phi(reference), reference, BUILDS, 520, shift=np.ones(1), at=30)
        cells = " | ".join(delay(first[:, number], 30) for number in range(3))
        lines.append(f"| one descriptor | {reference} | {phi:g} | {cells} | - |")
    terms = angle_terms(TURN * np.arange(200))
    found = limits(terms, model.phi, model.correlation, arl=ARL, alarms=("ewma",))
    bounds = np.array([found[name] for name in CHARTS])
    one = np.eye(len(USUAL_DESCRIPTORS))[USUAL_DESCRIPTORS.index("drift")]
    first = first_alarms(model, lambda _: bounds, 200, BUILDS, 521, shift=one, at=30)
    cells = " | ".join(delay(first[:, number], 30) for number in range(4))
    lines.append(f"| six, one of which shifts | 200 | as fitted | {cells} |")
    return "\n".join(lines)


def video_table(folder: Path) -> str:
    """Real simulated videos: a reference build, builds without and with a shift of the gas speed."""
    reference = layers_of(folder, "ref", gas_speed=1.5, seconds=80 * PERIOD, seed=71)
    base = learn_reference(reference, arl=ARL)
    lines = [
        "| recording | layers | shift of the gas in layer | alarms before | first alarm behind | what alarms first |",
        "|---|---|---|---|---|---|",
    ]
    for after, seed in ((0.9, 72), (1.2, 73), (None, 74)):
        flow: Any = {"gas_speed": 1.5} if after is None else {"gas_flow": f"1.5>{after}", "change_at": 70 * PERIOD}
        name = f"shift{after}" if after else "none"
        rows = layers_of(folder, name, seconds=100 * PERIOD, seed=seed, recording=71, **flow)
        changed = int(rows["group"][np.argmax(rows["start"] >= 70 * PERIOD)]) if after else len(rows) + 1
        charted = monitor(base, rows)
        number = charted.points["group"][charted.points["alarm"]]
        behind = number[number >= changed]
        what = charted.alarms[int(behind[0]) - 1][0] if len(behind) else "-"
        lines.append(
            f"| 1.5 m/s, {f'then {after} m/s' if after else 'no fault'} | {len(rows)} | {changed if after else '-'} "
            f"| {(number < changed).sum()} | {f'layer {behind[0]}' if len(behind) else '-'} | {what} |"
        )
    return "\n".join(lines)


def camera_table(folder: Path) -> str:
    """Three cameras at one build, started at other times; frames are dropped from the front of what was extracted."""
    lines = [
        "| layers | recordings of one build | offsets found exactly | within 1 frame | worst | least correlation "
        "| least agreement | called not sure |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seconds, build, scan in ((60, 31, 4.0), (120, 32, 6.8)):
        stores = []
        for index, place in enumerate(("mid", "left", "right")):
            video, store = folder / f"{place}{build}.mp4", folder / f"{place}{build}.h5"
            if not store.exists():
                settings: Any = {"gas_speed": 1.0, "seconds": seconds, "seed": build, "recording": 100 * build + index}
                sp.simulate(video, camera=place, layer_seconds=scan, recoat_seconds=1.3 * scan, **settings)
                sp.extract(str(video), str(store), overwrite=True, progress=False)
            with sp.open_store(str(store)) as opened:
                stores.append((opened.table, opened.frame_log))
        draw, errors, found = np.random.default_rng(build), [], []
        for _ in range(50):
            late = draw.integers(0, seconds * 25 // 3, 3)
            offsets, _ = synchronise([started_late(one, int(by)) for one, by in zip(stores, late, strict=True)])
            errors += [abs(item.frames - (by - late[0])) for item, by in zip(offsets, late[1:], strict=True)]
            found += offsets
        wrong = np.array(errors)
        layers = len(sp.layers(stores[0][0]["time"]))
        lines.append(
            f"| {layers}, {seconds} s | {len(wrong)} pairs | {(wrong == 0).sum()} | {(wrong <= 1).sum()} "
            f"| {wrong.max()} frames | {min(item.correlation for item in found):.2f} "
            f"| {min(item.agreement for item in found):.2f} | {sum(not item.sure for item in found)} |"
        )
    return "\n".join(lines)


def started_late(recording: Any, frames: int) -> Any:
    """The recording of a camera that was started so many frames later."""
    table, log = (part.copy() for part in recording)
    began = log["time"][frames]
    table, log = table[table["frame"] >= frames], log[frames:]
    table["frame"], log["number"] = table["frame"] - frames, log["number"] - frames
    table["time"], log["time"] = table["time"] - began, log["time"] - began
    return table, log


def witness_table(folder: Path, recordings: int = 12) -> str:
    """Index and network on recordings that neither has seen."""
    kept = folder / "camera.npz"
    calibration = Calibration.load(kept) if kept.exists() else calibrate(LONG)
    lines = [
        "| recordings | layers | network, more probable class | index, side of 1 m/s | network decided: right, wrong "
        "| index decided: right, wrong | both decided: agree, disagree |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset in ("standard", "hard"):
        rows = []
        for index in range(2 * recordings):
            flow, seed = ("low", "high")[index % 2], 9100 + index
            store = folder / f"{preset}{seed}.h5"
            if not store.exists():
                video = store.with_suffix(".mp4")
                sp.simulate(video, gas_flow=flow, preset=preset, seconds=23, seed=seed)
                sp.extract(str(video), str(store), overwrite=True, progress=False)
            verdict = sp.predict(str(store), "simulated")
            with sp.open_store(str(store)) as opened:
                verdict = with_index(verdict, measure_store(opened, LONG, calibration), calibration)
            facts = verdict.settings["measurement"]["layers"]
            rows += [(flow, span.leading, item) for span, item in zip(verdict.layers, facts, strict=True)]
        lines.append(_witnesses(f"{2 * recordings} of {preset}", rows))
    return "\n".join(lines)


def _witnesses(name: str, rows: list[Any]) -> str:
    def said(key: str) -> str:
        right = sum(item[key] == flow for flow, _, item in rows)
        return f"{right}, {sum(item[key] not in (None, flow) for flow, _, item in rows)}"

    network = np.mean([leading == flow for flow, leading, _ in rows])
    index = np.mean([("low" if item["speed"] < BORDER else "high") == flow for flow, _, item in rows])
    both = [item["agreement"] for _, _, item in rows]
    return (
        f"| {name} | {len(rows)} | {network:.0%} | {index:.0%} | {said('network')} | {said('measured')} "
        f"| {both.count('agree')}, {both.count('disagree')} |"
    )


def write(name: str, text: str) -> None:
    """Put a table between its marks."""
    put(PAGE, f"<!-- {name}: written by control_study.py -->", f"<!-- end of {name} -->", text)
    sys.stdout.write(f"{name}\n{text}\n")
    sys.stdout.flush()


def main(wanted: list[str]) -> None:
    """Make the tables that are asked for, all by default; a folder among the arguments keeps the recordings."""
    folders = [Path(item) for item in wanted if Path(item).is_dir()]
    wanted = [item for item in wanted if not Path(item).is_dir()] or [
        "model",
        "runs",
        "six",
        "shift",
        "video",
        "cameras",
        "witness",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders[0] if folders else Path(scratch)
        if "runs" in wanted:
            write("runs", runs_table())
        if {"model", "six", "shift"} & set(wanted):
            model = fitted(folder)
            for name, table in (("model", model_table), ("shift", shift_table), ("six", six_table)):
                if name in wanted:
                    write(name, table(model))
        for name, made in (("video", video_table), ("cameras", camera_table), ("witness", witness_table)):
            if name in wanted:
                write(name, made(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
