"""`spatterlib monitor` on stores, and the gas-flow index beside a verdict."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from predictions import build
from terminals import without_progress

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import ParameterError
from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.camera import Camera, save_camera
from spatterlib.measuring.descriptors import DESCRIPTOR
from spatterlib.measuring.gasflow import GasModel
from spatterlib.measuring.measurement import Measured, describe_by, measure_store
from spatterlib.measuring.streaks import STREAK
from spatterlib.stores.opening import create_store
from spatterlib.types import FRAME_LOG
from spatterlib.verdicts import agreement
from spatterlib.verdicts.judgement import Span

CAMERA = Camera(frame_rate=25, exposure=0.036, mm_per_px=0.4, gas_direction=180.0)
LAYERS, EACH = 70, 12
ALARM = 5


def built(path: Path, seed: int, turn_at: int = LAYERS) -> str:
    """A store of 70 layers and its streaks; from one layer on they fly another way."""
    draw = np.random.default_rng(seed)
    table = np.zeros(LAYERS * EACH, sp.DETECTION)
    layer = np.repeat(np.arange(LAYERS), EACH)
    table["time"] = 8.0 * layer + np.tile(0.04 * np.arange(EACH), LAYERS)
    table["frame"], table["width"], table["height"] = np.rint(25 * table["time"]), 40, 30
    table["area"], table["red"] = draw.normal(3000, 300, len(table)), draw.normal(40, 4, len(table))
    log = np.zeros(len(table), FRAME_LOG)
    log["number"], log["time"], log["detections"], log["decoded"] = table["frame"], table["time"], 1, True
    with create_store(str(path), attrs={"video": {"comment": "simulated by spatterlib"}, "complete": True}) as store:
        store.append(table, [b"\xff\xd8\xff"] * len(table), log)
    streaks = np.zeros(4 * len(table), STREAK)
    streaks["row"] = np.repeat(np.arange(len(table)), 4)
    mean = np.where(layer >= turn_at, 60.0, 150.0)[streaks["row"]]
    streaks["angle"], streaks["length"] = draw.normal(mean, 25), draw.normal(30, 5, len(streaks))
    Measured(streaks, len(table), CAMERA, {"simulated": True}).save(f"{path}.streaks.npz")
    return str(path)


@cache
def stores() -> dict[str, str]:
    folder = Path(mkdtemp(prefix="spatterlib-monitor-"))
    return {
        "good": built(folder / "good.h5", 1),
        "also good": built(folder / "also.h5", 2),
        "bad": built(folder / "bad.h5", 3, turn_at=50),
        "reference": str(folder / "reference.json"),
    }


@pytest.fixture(scope="module")
def learned() -> str:
    found = stores()
    options = ["--descriptor", "drift", "--descriptor", "length", "--arl", "400"]
    main(
        ["monitor", found["also good"], "--reference", found["good"], *options, "--save-reference", found["reference"]]
    )
    return found["reference"]


def test_a_build_like_the_reference_raises_no_alarm(learned: str, capsys: Any) -> None:
    assert main(["monitor", stores()["also good"], "--reference", learned]) == 0
    said = capsys.readouterr().out
    assert "0 of 70 layers with an alarm (simulated recording)" in said
    assert "one alarm in 400 layers" in said


def test_a_build_that_changes_raises_alarms_and_the_exit_code_says_so(
    learned: str, tmp_path: Path, capsys: Any
) -> None:
    outs = [tmp_path / f"charts{suffix}" for suffix in (".json", ".csv", ".png", ".svg")]
    options = [item for path in outs for item in ("-o", str(path))]
    assert main(["monitor", stores()["bad"], "--reference", learned, *options]) == ALARM
    said = capsys.readouterr().out
    assert "layers 51 to 70, the first: " in said
    facts = json.loads(outs[0].read_text())
    assert facts["simulated"] is True
    assert [layer["group"] for layer in facts["layers"] if layer["alarm"]] == list(range(51, 71))
    assert any("drift low" in text for text in facts["layers"][-1]["alarms"])
    with outs[1].open() as file:
        assert [row["group"] for row in csv.DictReader(file) if row["alarms"]] == [str(n) for n in range(51, 71)]
    assert outs[2].read_bytes().startswith(b"\x89PNG")
    assert "bad.h5 (simulated): 20 of 70 layers with an alarm" in outs[3].read_text()


def test_the_first_layers_of_a_build_can_be_its_reference(capsys: Any) -> None:
    assert main(["monitor", stores()["bad"], "--reference", "45", "--descriptor", "drift"]) == ALARM
    assert "of 25 layers with an alarm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reference", "20"], "takes at least 30 layers, got 20"),
        (["--reference", "none.json"], "no reference at none.json"),
        (["--reference", "45", "-o", "charts.pptx"], "charts are written as"),
        (["--reference", "45", "--descriptor", "speed_50"], "cannot chart speed_50"),
    ],
)
def test_what_cannot_be_monitored_is_refused_in_one_line(options: list[str], said: str, capsys: Any) -> None:
    assert main(["monitor", stores()["good"], *options]) == (2 if "charts are" in said else 1)
    error = capsys.readouterr().err
    assert said in error
    assert len(without_progress(error)) == 1


def test_python_charts_the_same_layers(learned: str, tmp_path: Path) -> None:
    found = sp.chart_layers(stores()["bad"], learned)
    assert [(first, last) for first, last, _ in found.alarm_intervals] == [(51, 70)]
    found.draw(tmp_path / "charts.svg", "bad.h5")
    assert "bad.h5 (simulated): 20 of 70 layers with an alarm" in (tmp_path / "charts.svg").read_text()
    own = sp.chart_layers(stores()["bad"], 45, names=["drift"], builds=300)
    assert own.points["group"].tolist() == list(range(46, 71))
    assert own.alarm_intervals[-1][1] == 70
    assert own.reference.about["recordings"] == ["first 45 layers of bad.h5"]
    both = sp.chart_layers(stores()["bad"], [stores()["good"], stores()["also good"]], names=["drift"], builds=300)
    assert both.reference.about["layers"] == 2 * LAYERS
    other = replace(CAMERA, exposure=0.03)
    with pytest.raises(ParameterError, match="made for a camera of exposure"):
        sp.chart_layers(stores()["bad"], replace(own.reference, about={"camera": other.identity()}))


def test_a_reference_knows_its_camera_and_refuses_another(learned: str, tmp_path: Path, capsys: Any) -> None:
    assert sp.reference.Reference.load(learned).camera == CAMERA
    other = Measured.load(stores()["good"])
    replace(other, camera=replace(CAMERA, mm_per_px=0.2)).save(tmp_path / "good.h5.streaks.npz")
    shutil.copy(stores()["good"], tmp_path / "good.h5")
    assert main(["monitor", str(tmp_path / "good.h5"), "--reference", learned]) == 1
    assert "the reference was made for a camera of mm_per_px 0.4, this one has 0.2" in capsys.readouterr().err


# The index beside the verdict.


def span(number: int, label: str | None) -> Span:
    return Span(number, 0.0, 6.0, label, label or "low", 0.9, 0.8, 0.95, 9, 9, 90, 0.0, "decided", "")


def row(number: int, low: float, high: float) -> Any:
    rows = np.zeros(1, DESCRIPTOR)
    rows["group"], rows["gas_speed"], rows["gas_low"], rows["gas_high"] = number, (low + high) / 2, low, high
    return rows


@pytest.mark.parametrize(
    ("label", "interval", "expected"),
    [
        ("low", (0.3, 0.6), ("low", "agree")),
        ("high", (0.3, 0.6), ("low", "disagree")),
        ("low", (1.4, 2.0), ("high", "disagree")),
        ("low", (0.8, 1.3), (None, "open")),
        (None, (1.4, 2.0), ("high", "open")),
        ("low", (np.nan, np.nan), (None, "open")),
    ],
)
def test_network_and_index_are_compared(label: str, interval: Any, expected: Any) -> None:
    (found,) = agreement.compare([span(1, label)], row(1, *interval))
    assert (found.measured, found.agreement) == expected
    assert len(agreement.warnings([found])) == (found.agreement == "disagree")


def test_a_layer_without_a_row_is_open() -> None:
    (found,) = agreement.compare([span(2, "low")], row(1, 0.3, 0.6))
    assert (found.measured, found.agreement) == (None, "open")


def constant(speed: float, camera: Camera = CAMERA) -> Calibration:
    """A calibration whose index is the same whatever is seen."""
    zero = np.zeros(6)
    gas = GasModel(zero, np.ones(6), np.append(zero, np.log(speed)), 0.05, np.stack([zero - 1e9, zero + 1e9]))
    return Calibration(gas=gas, camera=camera.identity())


@pytest.fixture(scope="module")
def store() -> str:
    path = Path(mkdtemp(prefix="spatterlib-index-")) / "build.h5"
    sp.extract(str(build()), str(path), progress=False)
    return str(path)


@pytest.mark.slow
def test_the_report_shows_the_index_and_warns_where_it_contradicts(store: str, tmp_path: Path, capsys: Any) -> None:
    save_camera(CAMERA, tmp_path / "camera.toml")
    constant(3.0).save(tmp_path / "camera.npz")
    options = ["--camera", str(tmp_path / "camera.toml"), "--calibration", str(tmp_path / "camera.npz")]
    report, plain = tmp_path / "build.html", tmp_path / "build.json"
    assert main(["predict", store, "--model", "simulated", *options, "-o", str(report), "-o", str(plain)]) == 0
    settings = json.loads(plain.read_text())["settings"]
    assert settings["gas_direction"] == CAMERA.gas_direction
    layers = settings["measurement"]["layers"]
    against = [item["layer"] for item in layers if item["network"] == "low"]
    assert against
    said = capsys.readouterr()
    assert [f"warning: layer {number}: the network says low" in said.err for number in against] == [True] * len(against)
    page = report.read_text()
    assert "Gas-flow index beside the verdict" in page
    assert page.count("<b>Warning:</b>") == len(against)
    assert sp.verify(report, source=store).holds


@pytest.mark.slow
def test_the_report_shows_control_charts(store: str, learned: str) -> None:
    with sp.open_store(store) as opened:
        measured = measure_store(opened, CAMERA)
    verdict = agreement.with_charts(sp.predict(store, "simulated"), measured, sp.reference.Reference.load(learned))
    assert [section.title for section in verdict.sections] == ["Control charts"]
    assert len(verdict.settings["monitor"]["layers"]) == len(verdict.layers)
    with pytest.raises(ParameterError, match=r"made for a camera of exposure 0\.036, this one has 0\.03"):
        agreement.with_charts(
            verdict, replace(measured, camera=replace(CAMERA, exposure=0.03)), sp.reference.Reference.load(learned)
        )
    with pytest.raises(ParameterError, match="low or high, this model tells a, b"):
        agreement.with_index(replace(verdict, classes=("a", "b")), measured, constant(1.0))
    with pytest.raises(ParameterError, match="measure anew"):
        agreement.with_index(verdict, replace(measured, rows=3), constant(1.0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--calibration", "a.npz"], "needs --camera PROFILE"),
        (["--camera", "a.toml"], "add --store FILE"),
        (["--reference", "a.json"], "add --store FILE"),
    ],
)
def test_measuring_needs_a_camera_and_a_store(options: list[str], said: str, capsys: Any) -> None:
    assert main(["predict", "build.mp4", "--model", "simulated", *options]) == 2
    assert said in capsys.readouterr().err


# A calibration belongs to its camera.


def test_a_calibration_of_another_camera_is_refused_in_one_line() -> None:
    other = constant(1.0, replace(CAMERA, mm_per_px=0.3))
    said = "of mm_per_px 0.3, this one has 0.4"
    with sp.open_store(stores()["good"]) as opened, pytest.raises(ParameterError, match=said):
        measure_store(opened, CAMERA, other)
    measured = Measured.load(stores()["good"])
    with sp.open_store(stores()["good"]) as opened, pytest.raises(ParameterError, match="mm_per_px"):
        describe_by(measured, opened.table, calibration=other)


def test_another_build_of_the_same_camera_keeps_its_calibration() -> None:
    homography = ((0.4, 0.0, -100.0), (0.0, 0.8, -90.0), (0.0, 0.0, 1.0))
    camera = Camera(25, 0.036, homography=homography, gas_direction=180, build="7")
    again = json.loads(json.dumps(camera.identity()))
    Calibration(camera=again).check(replace(camera, build="8", machine="M 2"))


@pytest.mark.slow
def test_a_report_has_control_charts_of_the_camera_that_the_reference_names(
    store: str, learned: str, tmp_path: Path
) -> None:
    report = tmp_path / "build.html"
    assert main(["predict", store, "--model", "simulated", "--reference", learned, "-o", str(report)]) == 0
    page = report.read_text()
    assert "Control charts" in page
    assert "layers with an alarm" in page
    assert "(simulated)" in page
    assert "data:image/svg+xml;base64," in page
    assert sp.verify(report, source=store).holds
