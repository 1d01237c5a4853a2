"""Streaks are found where they are, as long and as bent as they are; and what they say about speed and gas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_many import Twice

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import ContractError, MissingFileError, ParameterError, StoreError
from spatterlib.measuring.calibration import (
    Calibration,
    calibrate,
    match_streaks,
    observe,
    simulated_camera,
    streak_points,
)
from spatterlib.measuring.camera import Camera, save_camera
from spatterlib.measuring.descriptors import DESCRIPTOR, describe, windows
from spatterlib.measuring.gasflow import fit_gas, gas_features, gas_index
from spatterlib.measuring.measurement import Measured, describe_by, measure_store, streaks_path
from spatterlib.measuring.speed_model import fit_speeds, shutter_features, speed_across
from spatterlib.measuring.speeds import measure_speeds
from spatterlib.measuring.streaks import BORDER, STREAK, ZONE, Finder, find_streaks, saturated_zone
from spatterlib.simulation import STREAK_TRUTH
from spatterlib.types import Image

LONG = Camera(frame_rate=25, exposure=0.036, mm_per_px=0.4, gas_direction=180.0)
SHORT = Camera(frame_rate=1000, exposure=0.0009, mm_per_px=0.12, gas_direction=180.0)


def path_of(start: tuple[float, float], angle: float, length: float, curvature: float) -> NDArray[np.float64]:
    """Points of an arc, ten to the px; angle of its chord in degrees, 90 = up."""
    row = np.zeros(1, STREAK_TRUTH)[0]
    half = abs(curvature) * length / 2
    chord = length * (np.sin(half) / half if half else 1.0)
    row["start_x"], row["start_y"] = start
    row["end_x"] = start[0] + chord * np.cos(np.deg2rad(angle))
    row["end_y"] = start[1] - chord * np.sin(np.deg2rad(angle))
    row["curvature"] = curvature
    rough = streak_points(row)
    at = np.linspace(0, len(rough) - 1, int(10 * length))
    return np.column_stack([np.interp(at, np.arange(len(rough)), rough[:, axis]) for axis in (0, 1)])


def drawn(
    paths: list[NDArray[np.float64]], level: float = 150, shape: tuple[int, int] = (90, 120), noise: float = 1.5
) -> Image:
    """A picture of lines 1.6 px wide (full width at half maximum) with the given brightness, orange, with noise."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    light = np.zeros(shape)
    for path in paths:
        far = np.full(shape, np.inf)
        for px, py in path[::3]:
            np.minimum(far, (x - px) ** 2 + (y - py) ** 2, out=far)
        light = np.maximum(light, level * np.exp(-far / (2 * 0.68**2)))
    grain = np.random.default_rng(1).normal(4, noise, (*shape, 3))
    return np.clip(light[..., None] * [1.0, 0.75, 0.5] + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("angle", [0, 37, 90, 133, 180, 215, 270, 301])
@pytest.mark.parametrize("curvature", [0.0, 0.02, -0.02])
def test_a_drawn_streak_is_found_where_it_is(angle: float, curvature: float) -> None:
    path = path_of((60, 45), angle, 30, curvature)
    found = find_streaks(drawn([path]))
    assert len(found) == 1
    row = found[0]
    ends = {tuple(np.round(path[0])), tuple(np.round(path[-1]))}
    assert row["length"] == pytest.approx(30, abs=1.5)
    # Without a source its direction is that of the dimming light, here none: either way round.
    off = abs((row["angle"] - angle + 90) % 180 - 90)
    assert off < 2
    assert abs(abs(row["curvature"]) - abs(curvature)) < 0.004
    assert row["width"] == pytest.approx(1.6, abs=0.4)
    assert row["cut"] == 0
    for end in ends:
        assert (
            min(
                np.hypot(row["start_x"] - end[0], row["start_y"] - end[1]),
                np.hypot(row["end_x"] - end[0], row["end_y"] - end[1]),
            )
            < 1.5
        )


def test_curvature_is_positive_where_a_streak_turns_to_its_left() -> None:
    crop = drawn([path_of((75, 60), 120, 40, 0.015)])
    crop[58:67, 75:84] = 255  # the melt pool, where it begins
    found = find_streaks(crop)
    assert len(found) == 1
    assert found["curvature"][0] == pytest.approx(0.015, abs=0.004)
    assert found["cut"][0] & ZONE


def test_a_streak_flies_away_from_the_melt_pool() -> None:
    crop = drawn([path_of((30, 60), 45, 40, 0)])
    crop[56:68, 22:34] = 255
    found = find_streaks(crop)
    assert found["angle"][0] == pytest.approx(45, abs=3)
    assert found["source_x"][0] == pytest.approx(27.5, abs=1)


def test_crossing_streaks_are_two() -> None:
    found = find_streaks(drawn([path_of((30, 70), 40, 60, 0), path_of((80, 75), 130, 60, 0)]))
    assert sorted(np.round(found["length"] / 60).tolist()) == [1, 1]


def test_a_streak_parted_by_a_dark_stretch_is_one() -> None:
    path = path_of((25, 50), 10, 60, 0.0)
    found = find_streaks(drawn([path[:280], path[340:]]))
    assert len(found) == 1
    assert found["length"][0] == pytest.approx(60, abs=2)


def test_streaks_one_behind_the_other_of_another_direction_or_brightness_stay_two() -> None:
    path = path_of((25, 50), 10, 60, 0.0)
    bent = path_of((float(path[340, 0]), float(path[340, 1])), 45, 26, 0.0)
    assert len(find_streaks(drawn([path[:280], bent]))) == 2
    dim = np.maximum(drawn([path[:280]], level=170), drawn([path[340:]], level=50))
    assert len(find_streaks(dim)) == 2


def test_what_is_faint_must_be_long() -> None:
    crop = drawn([path_of((20, 25), 0, 40, 0.0), path_of((20, 60), 0, 6, 0.0)], level=45)
    assert len(find_streaks(crop, Finder(sure=0))) == 2
    found = find_streaks(crop, Finder(sure=120))
    assert len(found) == 1
    assert found["length"][0] > 30


def test_a_streak_at_the_border_says_so() -> None:
    found = find_streaks(drawn([path_of((60, 45), 0, 80, 0)]))
    assert len(found) == 1
    assert found["cut"][0] & BORDER


@pytest.mark.parametrize("shape", [(40, 40), (5, 60), (3, 3)])
def test_a_dark_or_tiny_crop_has_none(shape: tuple[int, int]) -> None:
    assert len(find_streaks(np.zeros((*shape, 3), np.uint8))) == 0


def test_noise_has_none() -> None:
    noise = np.random.default_rng(3).normal(12, 2, (150, 200, 3)).clip(0, 255).astype(np.uint8)
    assert len(find_streaks(noise)) == 0


def test_a_round_blob_is_no_streak() -> None:
    y, x = np.mgrid[0:80, 0:80]
    blob = (220 * np.exp(-((x - 40) ** 2 + (y - 40) ** 2) / (2 * 8**2))).astype(np.uint8)
    assert len(find_streaks(blob)) == 0


def test_the_saturated_zone_is_the_wide_part_only() -> None:
    luma = np.zeros((60, 60), np.float32)
    luma[20:40, 20:40] = 255
    luma[30:32, 40:58] = 255
    zone = saturated_zone(luma)
    assert zone[30, 30]
    assert not zone[31, 50]


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ContractError, match="uint8"):
        find_streaks(np.zeros((9, 9), np.float32))


@pytest.mark.parametrize("values", [{"sigma": 0.1}, {"seed": 2.0, "follow": 3.0}])
def test_a_finder_out_of_range_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Finder(**values)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 50), st.integers(8, 50))
def test_any_crop_gives_a_table_inside_it_and_the_crop_stays_as_it_was(seed: int, height: int, width: int) -> None:
    crop = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    before = crop.copy()
    found = find_streaks(crop)
    assert found.dtype == STREAK
    assert (crop == before).all()
    assert (found == find_streaks(crop)).all() or np.isnan(found["speed"]).all()
    for name, size in (("start_x", width), ("end_x", width), ("start_y", height), ("end_y", height)):
        assert (found[name] > -4).all()
        assert (found[name] < size + 4).all()


@pytest.mark.parametrize(("camera", "seconds", "least", "angle"), [(LONG, 3.0, 0.5, 3.0), (SHORT, 0.6, 0.4, 3.0)])
def test_most_finds_lie_on_streaks_of_the_truth(camera: Camera, seconds: float, least: float, angle: float) -> None:
    shares, off = [], []
    for found, truth, partner in observe(simulated_camera(camera, 2.0, 3, seconds), 8):
        shares.append(partner >= 0)
        good = partner >= 0
        off.append(np.abs((found["angle"][good] - truth["angle"][partner[good]] + 180) % 360 - 180))
    assert np.concatenate(shares).mean() > least
    assert np.median(np.concatenate(off)) < angle


def row_of(path: NDArray[np.float64], length: float) -> NDArray[np.void]:
    row = np.zeros(1, STREAK)
    for name, value in zip(("start_x", "start_y", "end_x", "end_y"), path[[0, -1]].ravel(), strict=True):
        row[name] = value
    row["length"] = length
    return row


def test_a_find_matches_one_truth_at_most() -> None:
    path = path_of((10, 10), 0, 30, 0)
    truth = np.zeros(2, STREAK_TRUTH)
    for name in ("start_x", "start_y", "end_x", "end_y"):
        truth[name] = row_of(path, 30)[name]
    truth["start_y"][1] = truth["end_y"][1] = 40
    found = np.concatenate([row_of(path, 30), row_of(path, 30)])
    assert sorted(match_streaks(found, truth).tolist()) == [-1, 0]


def test_length_over_exposure_is_the_speed_across_the_line_of_sight() -> None:
    row = row_of(path_of((10, 10), 0, 30, 0), 30)
    speed = measure_speeds(row, SHORT)
    assert speed["speed"][0] == pytest.approx(30 * 0.12e-3 / 0.0009, rel=1e-3)
    assert speed["speed_low"][0] < speed["speed"][0]
    assert np.isinf(speed["speed_high"][0])
    row["cut"] = BORDER
    assert np.isnan(measure_speeds(row, SHORT)["speed"][0])


def test_nothing_is_measured_that_the_camera_cannot() -> None:
    row = row_of(path_of((10, 10), 0, 30, 0), 30)
    for camera in (Camera(1000, 0.0009), Camera(100, 0.008, mm_per_px=0.4), LONG):
        assert np.isnan(measure_speeds(row, camera)["speed"][0])
        assert measure_speeds(row, camera)["estimator"][0] == 0


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(LONG, 10, 8)


@pytest.mark.slow
def test_a_calibration_comes_back_from_its_file(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "a.npz")
    again = Calibration.load(tmp_path / "a.npz")
    assert again.flights is not None
    assert again.gas is not None
    assert calibration.gas is not None
    assert (again.gas.weights == calibration.gas.weights).all()
    assert again.camera == LONG.identity()


def test_a_calibration_of_an_older_format_is_refused_in_one_line(tmp_path: Path) -> None:
    about = {"simulated": True, "camera": LONG.identity(), "foreshortening": [1.0, 1.1, 1.5]}
    with (tmp_path / "old.npz").open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)))
    with pytest.raises(StoreError, match="its format is 1, this version reads 2; make it anew with `spatterlib calib"):
        Calibration.load(tmp_path / "old.npz")


@pytest.fixture(scope="module")
def short_calibration() -> Calibration:
    return calibrate(SHORT, 12, 20)


@pytest.mark.slow
def test_speeds_of_short_exposures_allow_for_the_way_along_the_line_of_sight(
    short_calibration: Calibration, tmp_path: Path
) -> None:
    short_calibration.save(tmp_path / "short.npz")
    known = Calibration.load(tmp_path / "short.npz")
    assert known.flights is None
    errors: list[list[float]] = []
    inside: list[bool] = []
    for index, speed in enumerate((0.5, 2.0)):
        for found, truth, partner in observe(simulated_camera(SHORT, speed, 91 + index, 0.6), 12):
            rows, plain = measure_speeds(found, SHORT, known), measure_speeds(found, SHORT)
            good = (partner >= 0) & np.isfinite(rows["speed"]) & (truth[partner]["cut"] == 3)
            true = truth[partner]["speed"]
            errors += np.abs(np.log(np.stack([rows["speed"], plain["speed"]], 1)[good] / true[good, None])).tolist()
            inside += ((rows["speed_low"] <= true) & (true <= rows["speed_high"]))[good].tolist()
            assert (rows["speed_low"][good] < rows["speed"][good]).all()
            assert np.isfinite(rows["speed_high"][good]).all()
    assert len(errors) > 40
    ours, across = np.median(errors, 0)
    assert ours < across
    assert np.mean(inside) > 0.8


def test_the_model_of_speeds_finds_a_law_and_bounds_what_is_left() -> None:
    draw = np.random.default_rng(4)
    features = draw.normal(size=(3000, 3))
    speeds = np.exp(0.5 * features[:, 0] - 0.2 * features[:, 1] * features[:, 2] + draw.normal(0, 0.1, 3000))
    model = fit_speeds(features[:2000], speeds[:2000], np.arange(2000) // 100)
    found = model.predict(features[2000:])
    assert np.median(np.abs(np.log(found[:, 0] / speeds[2000:]))) < 0.08
    assert 0.85 < np.mean((found[:, 1] <= speeds[2000:]) & (speeds[2000:] <= found[:, 2])) < 0.95


def test_a_streak_without_source_has_features_too() -> None:
    row = row_of(path_of((10, 10), 0, 30, 0), 30)
    row["source_x"] = row["source_y"] = np.nan
    assert np.isfinite(shutter_features(row, SHORT)).all()
    assert speed_across(row, SHORT)[0] == pytest.approx(4.0)


@pytest.mark.slow
def test_the_gas_flow_index_ranks_recordings_never_seen(calibration: Calibration) -> None:
    found = []
    for index, speed in enumerate((0.3, 2.5)):
        settings_ = simulated_camera(LONG, speed, 77 + index, 7.0)
        streaks = np.concatenate([part for part, _, _ in observe(settings_, 15, match=False)])
        found.append(gas_index(streaks, LONG, calibration.gas))
    assert found[0].speed < found[1].speed
    assert all(one.low < one.speed < one.high for one in found)


def test_an_index_takes_enough_streaks_and_a_model() -> None:
    assert np.isnan(gas_index(np.zeros(5, STREAK), LONG, None).speed)


def flying(drift: float, seed: int, count: int = 200) -> NDArray[np.void]:
    """Streaks of 4 to 12 px whose directions scatter about the gas of `LONG` with a mean cosine near `drift`."""
    draw = np.random.default_rng(seed)
    streaks = np.zeros(count, STREAK)
    away = np.arccos(np.clip(draw.normal(drift, 0.2, count), -1, 1)) * draw.choice([-1, 1], count)
    streaks["angle"] = (LONG.gas_direction + np.rad2deg(away)) % 360
    streaks["length"] = draw.uniform(4, 12, count)
    return streaks


def test_the_index_says_nothing_outside_what_it_was_calibrated_for() -> None:
    """Of a mirrored picture of high flow it was sure of 0.1 m/s: drift against the gas was clipped to none."""
    speeds = np.geomspace(0.2, 3, 28)
    windows = [
        np.append(gas_features(flying(0.2 + 0.2 * np.log(v / 0.2), k), LONG), np.log(v)) for k, v in enumerate(speeds)
    ]
    model = fit_gas(np.array(windows))
    inside = gas_index(flying(0.6, 99), LONG, model)
    assert np.isfinite(inside.speed)
    assert inside.reason == ""
    mirrored = gas_index(flying(-0.6, 99), LONG, model)
    assert np.isnan([mirrored.speed, mirrored.low, mirrored.high]).all()
    assert mirrored.reason.startswith("drift along the gas -0.")
    far = flying(0.6, 99)
    far["length"] *= 10
    assert "logarithm of the length" in gas_index(far, LONG, model).reason
    assert gas_index(far[:5], LONG, model).reason == "5 of the 20 streaks that are needed"


def test_the_gas_model_finds_a_law_that_it_was_shown() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(60, 6))
    model = fit_gas(np.column_stack([features, features[:, 0] * 0.4]))
    assert model.error < 0.02
    assert model.predict(features) == pytest.approx(features[:, 0] * 0.4, abs=0.05)


def detections(times: list[float]) -> NDArray[np.void]:
    table = np.zeros(len(times), sp.DETECTION)
    table["time"], table["frame"], table["peak"] = times, np.arange(len(times)), 255
    return table


def test_descriptors_count_and_stay_silent_about_what_is_unknown() -> None:
    table = detections([0.0, 0.04, 20.0])
    streaks = np.concatenate([row_of(path_of((10, 10), 0, 30, 0), 30)] * 3)
    streaks["row"], streaks["angle"], streaks["speed"] = [0, 0, 2], [170, 190, 0], np.nan
    rows = describe(streaks, table, np.array([1, 1, 2]), LONG, scanned={1: 4.0})
    assert rows.dtype == DESCRIPTOR
    assert rows["streaks"].tolist() == [2, 1]
    assert rows["rate"].tolist() == [1.0, 1.0]
    assert rows["per_mm2"][0] == pytest.approx(0.5)
    assert np.isnan(rows["per_mm2"][1])
    assert rows["angle"][0] == pytest.approx(180)
    assert rows["drift"][0] == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-4)
    assert rows["length"][0] == pytest.approx(12)
    assert np.isnan(rows["speed_50"]).all()
    assert np.isnan(rows["gas_speed"]).all()
    unscaled = describe(streaks, table, np.array([1, 1, 2]), Camera(25, 0.036))
    assert np.isnan(unscaled["length"]).all()
    assert np.isnan(unscaled["drift"]).all()


def test_time_to_clear_is_what_follows_the_last_saturated_detection() -> None:
    table = detections([0.0, 0.04, 0.08, 0.12])
    table["peak"][2:] = 90
    row = describe(np.empty(0, STREAK), table, np.ones(4, int), LONG, event=np.ones(4, int))
    assert row["clear_time"][0] == pytest.approx(0.08)


def test_windows_count_from_the_first_time() -> None:
    assert windows(np.array([5.0, 6.9, 7.1]), 2.0).tolist() == [1, 1, 2]
    with pytest.raises(ParameterError, match="window"):
        windows(np.array([1.0]), 0)


@pytest.fixture(scope="module")
def measured_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    sp.simulate(folder / "high.npy", gas_flow="high", seconds=2, seed=4)
    sp.extract(str(folder / "high.npy"), str(folder / "high.h5"), progress=False)
    return folder / "high.h5"


def test_the_second_table_of_a_store_comes_back_and_points_into_the_first(measured_store: Path) -> None:
    with sp.open_store(str(measured_store)) as store:
        found, table = measure_store(store, LONG), store.table
    target = streaks_path(measured_store)
    found.save(target)
    again = Measured.load(measured_store, rows=len(table))
    assert again.streaks.tobytes() == found.streaks.tobytes()
    assert again.camera == LONG
    boxes = table[again.streaks["row"]]
    assert len(again.streaks) > len(table)
    assert (again.streaks["start_x"] >= boxes["x"] - 4).all()
    assert (again.streaks["start_x"] <= boxes["x"] + boxes["width"] + 4).all()
    rows = describe_by(again, table, "layer")
    assert rows["streaks"].sum() == len(again.streaks)
    assert describe_by(again, table, "event")["detections"].sum() == len(table)


def test_streaks_do_not_depend_on_who_looks_for_them(measured_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatterlib.measuring.measurement._TASK", 7)
    told: list[tuple[int, int]] = []
    with sp.open_store(str(measured_store)) as store:
        here = measure_store(store, LONG)
        there = measure_store(store, LONG, executor=Twice(), progress=lambda *rows: told.append(rows))
        assert told[-1] == (len(store), len(store))
    assert len(told) > 3
    assert there.streaks.tobytes() == here.streaks.tobytes()
    with sp.open_store(str(measured_store), "a") as store, pytest.raises(StoreError, match="open for writing"):
        measure_store(store, LONG, executor=Twice())


def test_a_table_of_another_state_of_the_store_is_refused(measured_store: Path, tmp_path: Path) -> None:
    Measured(np.empty(0, STREAK), 5, LONG).save(tmp_path / "a.streaks.npz")
    with pytest.raises(StoreError, match="5 rows, now 6"):
        Measured.load(tmp_path / "a.streaks.npz", rows=6)
    with pytest.raises(MissingFileError, match="spatterlib streaks"):
        Measured.load(tmp_path / "b.h5")


def test_the_command_measures_a_store(measured_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile, out = str(tmp_path / "camera.toml"), str(tmp_path / "s.streaks.npz")
    save_camera(LONG, profile)
    arguments = ["streaks", str(measured_store), "--camera", profile, "-o", out]
    assert main([*arguments, "--describe", str(tmp_path / "layers.csv")]) == 0
    said = capsys.readouterr().out
    assert "not measured: speed, exposure" in said
    assert "layer 1:" in said
    assert (tmp_path / "layers.csv").read_text().startswith("group,start")
    assert main(arguments) != 0
