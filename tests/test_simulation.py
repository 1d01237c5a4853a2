"""Simulated recordings: plausible physics, calibrated looks, exact truth, the same frames every time."""

from __future__ import annotations

import dataclasses
import json
import re
import resource
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.cli.main import cli
from spatterlib.common.image_codec import encode
from spatterlib.errors import MissingFileError, OutputExistsError, ParameterError, StoreError
from spatterlib.kernels.simulation.flights import POINTS, STEP, Material, _fly, cooled, drawn_speed, stored
from spatterlib.plugins.registry import commands
from spatterlib.simulation import EVENT_TRUTH, STREAK_TRUTH, SimulationSettings, Truth, simulate_frames
from spatterlib.simulation.physics import MATERIALS, WHITE_K, planck, plume_left, schedule
from spatterlib.simulation.scene import Scene
from spatterlib.simulation.tables import curvature
from spatterlib.simulation.worlds import USUAL, drawn

Frames = list[Any]
# Small and quick, where the looks do not matter.
SMALL: dict[str, Any] = {"width": 160, "height": 96, "layer_seconds": 1.0, "recoat_seconds": 1.0}


def lit_frames(settings: SimulationSettings, count: int = 25) -> Frames:
    """The first frames with the laser on."""
    return list(simulate_frames(settings, round(0.5 * settings.fps), round(0.5 * settings.fps) + count))


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


class TestSameSeedSameFrames:
    def test_whatever_the_number_of_workers(self, tmp_path: Path) -> None:
        for workers in (1, 3):
            sp.simulate(tmp_path / f"{workers}.mp4", seconds=3, seed=5, workers=workers, **SMALL)
        assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "3.mp4").read_bytes()
        assert (tmp_path / "1.truth.npz").read_bytes() == (tmp_path / "3.truth.npz").read_bytes()

    def test_wherever_one_begins(self) -> None:
        settings = SimulationSettings(seconds=2, seed=3, **SMALL)
        whole = list(simulate_frames(settings))
        for frame in simulate_frames(settings, 21, 27):
            np.testing.assert_array_equal(frame.rgb, whole[frame.number].rgb)
            assert frame.streaks.tobytes() == whole[frame.number].streaks.tobytes()
            assert frame.events.tobytes() == whole[frame.number].events.tobytes()

    def test_another_seed_gives_other_frames(self) -> None:
        one, other = (lit_frames(SimulationSettings(seconds=2, seed=seed, **SMALL), 2)[1].rgb for seed in (1, 2))
        assert not np.array_equal(one, other)

    def test_the_recording_changes_the_picture_and_not_the_build(self) -> None:
        one, other = (Scene(SimulationSettings(seconds=2, recording=recording, **SMALL)) for recording in (1, 2))
        np.testing.assert_array_equal(one.schedule.islands, other.schedule.islands)
        assert one.nuisance != other.nuisance

    def test_confounded_recordings_of_one_level_share_their_nuisance(self) -> None:
        found = {
            (flow, recording): Scene(
                SimulationSettings(seconds=1, gas_flow=flow, recording=recording, confounded=True, **SMALL)
            ).nuisance
            for flow in ("low", "high")
            for recording in (1, 2)
        }
        assert found["low", 1] == found["low", 2] != found["high", 1] == found["high", 2]
        assert found["low", 1].gain > found["high", 1].gain


class TestFiles:
    def test_a_lossless_video_holds_the_very_frames(self, tmp_path: Path) -> None:
        settings = SimulationSettings(seconds=1, lossless=True, **SMALL)
        sp.simulate(tmp_path / "a.mkv", settings)
        with av.open(str(tmp_path / "a.mkv")) as container:
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        np.testing.assert_array_equal(decoded, [frame.rgb for frame in simulate_frames(settings)])

    def test_an_npy_file_holds_them_too(self, tmp_path: Path) -> None:
        settings = SimulationSettings(seconds=1, **SMALL)
        sp.simulate(tmp_path / "a.npy", settings)
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), [frame.rgb for frame in simulate_frames(settings)])

    def test_a_video_says_that_it_is_simulated(self, tmp_path: Path) -> None:
        sp.simulate(tmp_path / "a.mp4", seconds=1, seed=42, fps=30, **SMALL)
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert "simulated by spatterlib" in container.metadata["comment"]
            assert "seed 42" in container.metadata["comment"]
            times = [frame.time for frame in container.decode(video=0)]
        np.testing.assert_allclose(times, np.arange(30) / 30, atol=1e-4)

    def test_the_truth_loads_without_pickle_and_says_what_it_was_made_with(self, tmp_path: Path) -> None:
        made = sp.simulate(tmp_path / "a.mp4", seconds=1, gas_flow="0.4>1.8", **SMALL)
        loaded = Truth.load(tmp_path / "a.mp4")
        assert loaded.settings == made.settings == SimulationSettings(seconds=1, gas_flow="0.4>1.8", **SMALL)
        with np.load(tmp_path / "a.truth.npz", allow_pickle=False) as tables:
            for name in ("events", "streaks", "layers"):
                assert tables[name].tobytes() == getattr(loaded, name).tobytes()
        with zipfile.ZipFile(tmp_path / "a.truth.npz") as archive:
            about = json.loads(archive.read("about.json"))
        assert about["simulated"] is True
        assert about["gas_speeds"] == [0.4, 1.8]

    def test_nothing_half_done_is_left_behind(self, tmp_path: Path) -> None:
        def stop(done: int, expected: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sp.simulate(tmp_path / "a.mp4", seconds=1, progress=stop, **SMALL)
        assert list(tmp_path.iterdir()) == []

    def test_existing_files_are_kept_unless_told(self, tmp_path: Path) -> None:
        sp.simulate(tmp_path / "a.npy", seconds=0.1, **SMALL)
        with pytest.raises(OutputExistsError, match="overwrite"):
            sp.simulate(tmp_path / "a.npy", seconds=0.1, **SMALL)
        sp.simulate(tmp_path / "a.npy", seconds=0.1, overwrite=True, **SMALL)

    def test_a_file_that_is_no_truth_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"nothing\.truth\.npz"):
            Truth.load(tmp_path / "nothing.mp4")
        (tmp_path / "a.truth.npz").write_bytes(b"no archive")
        with pytest.raises(StoreError, match="no truth file"):
            Truth.load(tmp_path / "a.mp4")

    def test_memory_does_not_grow_with_the_length(self, tmp_path: Path) -> None:
        def peak(seconds: float) -> int:
            tracemalloc.start()
            sp.simulate(tmp_path / "a.mkv", seconds=seconds, overwrite=True, **SMALL)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        peak(2)
        assert peak(40) < 1.1 * peak(12)

    def test_the_two_hundred_minute_build_can_be_laid_out(self) -> None:
        scene = Scene(SimulationSettings(seconds=12_048))
        assert scene.settings.frames == 301_200
        assert 600 < len(scene.layers()) < 750
        assert len(list(simulate_frames(scene.settings, 301_190, 301_200))) == 10


class TestCommand:
    def test_makes_a_video_and_its_truth(self, tmp_path: Path) -> None:
        commands().hook.spatter_commands(cli=cli)
        out = str(tmp_path / "a.mp4")
        options = ["--seconds", "1", "--seed", "7", "--gas-flow", "high", "--width", "160", "--height", "96"]
        done = CliRunner().invoke(cli, ["simulate", out, *options])
        assert done.exit_code == 0, done.output
        assert "simulated, 25 frames" in done.output
        assert Truth.load(out).settings == SimulationSettings(seconds=1, seed=7, gas_flow="high", width=160, height=96)

    def test_has_an_option_for_every_setting(self) -> None:
        commands().hook.spatter_commands(cli=cli)
        text = CliRunner().invoke(cli, ["simulate", "--help"]).output
        for name in SimulationSettings.__dataclass_fields__:
            assert f"--{name.replace('_', '-')}" in text


class TestTruth:
    def test_streaks_of_the_truth_are_lit_in_the_frame(self) -> None:
        settings = SimulationSettings(seconds=3, seed=2, noise=0.5, preset="easy")
        dark = luma(Scene(settings).view(0).dark).astype(int)
        hits = total = 0
        for frame in lit_frames(settings):
            rise = cv2.dilate((luma(frame.rgb) - dark).clip(0).astype(np.uint8), np.ones((3, 3), np.uint8))
            clear = frame.streaks[(frame.streaks["snr"] > 5) & (frame.streaks["hidden"] < 0.5)]
            for end in ("start", "end"):
                levels = rise[clear[f"{end}_y"].round().astype(int), clear[f"{end}_x"].round().astype(int)]
                hits, total = hits + int((levels >= 5).sum()), total + len(levels)
        assert total > 500
        assert hits > 0.97 * total

    def test_events_are_what_shines(self) -> None:
        settings = SimulationSettings(seconds=3, seed=2, noise=0, drift=0)
        dark = luma(Scene(settings).view(0).dark).astype(int)
        for frame in lit_frames(settings, 15):
            bright = (luma(frame.rgb) - dark) > 23
            covered = np.zeros_like(bright)
            for event in frame.events:
                x, y, width, height = (int(event[name]) for name in ("x", "y", "width", "height"))
                covered[y : y + height, x : x + width] = True
                assert bright[y : y + height, x : x + width].sum() <= 1.02 * event["lit"] + 4
            assert (bright & ~covered).sum() < 0.01 * max(bright.sum(), 1) + 30
            assert sum(frame.events["laser"]) == pytest.approx(1, abs=0.02)

    def test_speeds_lie_where_they_were_launched(self) -> None:
        streaks = np.concatenate([frame.streaks for frame in lit_frames(SimulationSettings(seconds=3, gas_speed=0))])
        # What broke off one that slowed may be slower than anything that is ejected.
        ejected = streaks[streaks["particle"] % 3 == 0]
        assert ejected["launch_speed"].min() >= 0.249
        assert streaks["launch_speed"].max() <= 10.001
        # Without wind, drag only slows; a little is the fall.
        assert (streaks["speed"] <= streaks["launch_speed"] + 0.3).all()
        np.testing.assert_array_less(0, streaks["duration"])

    def test_short_exposures_cut_streaks_to_length_over_exposure(self) -> None:
        settings = SimulationSettings(seconds=1, fps=1000, exposure=0.0005, seed=4)
        frames = list(simulate_frames(settings, 600, 630))
        streaks = np.concatenate([frame.streaks for frame in frames])
        bounded = streaks[(streaks["cut"] & 3) == 3]
        assert len(bounded) > 20
        np.testing.assert_allclose(bounded["duration"], 0.0005, rtol=0.02)
        millimetres = bounded["speed"] * 0.5
        # Seen from an angle, a way never looks longer than it is, but for perspective.
        assert (bounded["length"] * 0.4 < 1.25 * millimetres + 0.4).all()

    def test_long_exposures_hold_whole_flights(self) -> None:
        streaks = np.concatenate([frame.streaks for frame in lit_frames(SimulationSettings(seconds=3))])
        hot = streaks[(streaks["kind"] == 0) & (streaks["length"] > 20)]
        assert np.mean((hot["cut"] & 3) == 0) > 0.5

    def test_curvature_of_a_circle_is_one_over_its_radius(self) -> None:
        turn = np.deg2rad([[10.0], [35.0], [60.0]])
        # Counter-clockwise as seen, y down: to the left.
        a, b, c = np.stack([50 * np.cos(turn), -50 * np.sin(turn)], -1)
        np.testing.assert_allclose(curvature(a, b, c), [1 / 50])
        np.testing.assert_allclose(curvature(c, b, a), [-1 / 50])

    def test_layers_begin_and_end_with_the_laser(self, tmp_path: Path) -> None:
        truth = sp.simulate(tmp_path / "a.npy", seconds=8, **SMALL)
        events, layers = truth.events, truth.layers
        assert layers["layer"].tolist() == [1, 2, 3, 4]
        lit = events[events["laser"] > 0]
        for layer in layers:
            times = lit["time"][lit["layer"] == layer["layer"]]
            assert times.min() == pytest.approx(layer["start"], abs=0.08)
            assert times.max() == pytest.approx(layer["stop"], abs=0.08)

    def test_a_change_of_gas_is_in_the_events(self, tmp_path: Path) -> None:
        truth = sp.simulate(tmp_path / "a.npy", seconds=6, gas_flow="0.4>1.8", change_at=2.5, **SMALL)
        for event in truth.events:
            assert event["gas_speed"] == pytest.approx(1.8 if event["time"] >= 2.5 else 0.4)


STEEL = Material(*MATERIALS["316L"])


def flight(
    gas: float = 0.0,
    diameter: float = 80e-6,
    up: float = 1500.0,
    bounce: float = 0.0,
    z: float = 0.05,
    of: Material = STEEL,
) -> Any:
    """x and z in mm, way and light of one flight, along x at 1 m/s and up, looked at from the side."""
    side = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    points, state = np.empty((POINTS, 6), np.float32), np.array([0.0, 0.0, z, 1000.0, 0.0, up, 2700.0])
    count = _fly(state, diameter, bounce, gas, 0.0, 1e13, of, side, planck(), points)
    return points[:count].astype(float)


def by_small_steps(gas: float, seconds: float, diameter: float = 80e-6, up: float = 1500.0) -> NDArray[np.float64]:
    """The same flight by the equations of the documentation, a hundred times finer, in metres."""
    position, velocity = np.array([0.0, 0.05e-3]), np.array([1.0, up / 1000])
    step = 4e-6
    for _ in range(round(seconds / step)):
        wind = np.array([gas / 1000 * min(max(position[1], 2e-5) / 25e-3, 1) ** 0.25, 0])
        slip = np.linalg.norm(velocity - wind)
        reynolds = 0.41 * slip * diameter / 6.1e-5
        rate = 18 * 6.1e-5 / (7000 * diameter**2) * (1 + np.sqrt(reynolds) / 9.06) ** 2
        velocity = velocity + step * (-rate * (velocity - wind) - np.array([0, 9.81]))
        position = position + step * velocity
    return 1000 * position


class TestPhysics:
    @pytest.mark.parametrize("gas", [0.0, -2000.0])
    def test_flights_follow_the_equations(self, gas: float) -> None:
        points = flight(gas)
        for k in (5, 20, len(points) - 2):
            np.testing.assert_allclose(points[k, :2], by_small_steps(gas, STEP * k), rtol=0.02, atol=0.15)

    def test_gravity_bends_flights_down(self) -> None:
        height = flight()[:, 1]
        assert (np.diff(height, 2) < 0).all()

    def test_without_wind_energy_only_falls(self) -> None:
        points = flight()
        speed = np.diff(points[:, 2]) / STEP
        height = 0.5 * (points[1:, 1] + points[:-1, 1])
        assert (np.diff(0.5 * speed**2 + 9810 * height) < 1e-6 * speed[0] ** 2).all()

    def test_large_particles_shine_longer(self) -> None:
        assert len(flight(diameter=30e-6)) < len(flight(diameter=60e-6)) < len(flight(diameter=90e-6))

    def test_cooling_turns_white_to_orange(self) -> None:
        red, green, blue = flight()[:, 3:6].T
        assert (np.diff(red) <= 0).all()
        assert (np.diff(blue / red)[:-1] < 0).all()
        assert (blue[1:] < green[1:]).all()
        white = planck()[round((WHITE_K - 1000) / 10)]
        np.testing.assert_allclose(white, 1, rtol=1e-9)

    def test_a_particle_stays_longer_at_its_melting_point(self) -> None:
        step, held = 1.0, stored(2000.0, STEEL)
        temperature, course = 2000.0, []
        while temperature > 1500:
            temperature, held = cooled(step, held, STEEL)
            course.append(temperature)
        within = sum(STEEL.solidus < value < STEEL.liquidus for value in course)
        # Each step gives off 790 J/kg, so the interval takes its own 65 steps and those of the heat of fusion.
        assert within == pytest.approx((STEEL.liquidus - STEEL.solidus) + STEEL.latent / STEEL.heat, abs=1.5)
        assert len(course) == pytest.approx(500 + STEEL.latent / STEEL.heat, abs=1.5)

    @given(temperature=st.floats(400, 3300), step=st.floats(0, 800))
    def test_enthalpy_and_temperature_are_one(self, temperature: float, step: float) -> None:
        cold, held = cooled(step, stored(temperature, STEEL), STEEL)
        assert held == pytest.approx(stored(cold, STEEL), abs=1e-3)
        assert cold <= temperature + 1e-9

    def test_speeds_are_drawn_from_a_truncated_distribution(self) -> None:
        share = np.linspace(0, 1 - 1e-9, 2001)
        speeds = np.array([drawn_speed(u, 900.0, 0.6) for u in share])
        assert (np.diff(speeds) > 0).all(), "no speed gathers more than its share"
        assert speeds[0] == pytest.approx(250)
        assert speeds[-1] <= 10_000
        # Against the cumulative log-logistic itself.
        scale = 0.6 * np.sqrt(3) / np.pi
        below = 1 / (1 + (speeds / 900) ** (-1 / scale))
        np.testing.assert_allclose((below - below[0]) / (below[-1] - below[0]), share, atol=1e-6)

    def test_some_particles_bounce_off_the_bed(self) -> None:
        lies, bounced = flight(up=-800.0, z=2.0)[:, 1], flight(up=-800.0, z=2.0, bounce=0.5)[:, 1]
        assert len(bounced) > len(lies)
        turn = int(np.argmin(bounced[:5]))
        assert bounced[turn + 2] > bounced[turn]

    def test_more_gas_drives_streaks_further(self) -> None:
        drift = []
        for speed in (0.2, 1.0, 2.5):
            streaks = np.concatenate(
                [frame.streaks for frame in lit_frames(SimulationSettings(seconds=3, gas_speed=speed, seed=6))]
            )
            drift.append(np.mean(streaks["end_x"] - streaks["source_x"]))
        assert 0 > drift[0] > drift[1] > drift[2]

    def test_the_gas_can_flow_elsewhere(self) -> None:
        right = lit_frames(SimulationSettings(seconds=3, gas_speed=2, gas_direction=0, seed=6))
        streaks = np.concatenate([frame.streaks for frame in right])
        assert np.mean(streaks["end_x"] - streaks["source_x"]) > 0

    def test_gas_clears_the_plume(self) -> None:
        left = [plume_left(speed, 1.0) for speed in (0.0, 0.5, 1.0, 2.0, 4.0)]
        assert left == sorted(left, reverse=True)
        assert plume_left(0.5, 0.0) == plume_left(2.0, 0.0)

    def test_the_hatch_turns_by_67_degrees(self) -> None:
        course = schedule(SimulationSettings(seconds=100))
        angle = {int(layer): np.rad2deg(a) for layer, a in zip(course.layer, course.islands[:, 3], strict=True)}
        turns = np.diff([angle[layer] for layer in sorted(angle)]) % 360
        np.testing.assert_allclose(turns, 67)

    def test_recoating_is_blue(self) -> None:
        settings = SimulationSettings(seconds=40)
        course = schedule(settings)
        pause = course.islands[course.layer == 1, 0].max()
        number = round((pause + 0.5 * settings.recoat_seconds) * 25)
        [frame] = simulate_frames(settings, number, number + 1)
        red, green, blue = frame.rgb.reshape(-1, 3).mean(0)
        assert blue > red + green
        assert len(frame.events) == 0

    @pytest.mark.parametrize("camera", ["left", "right"])
    def test_cameras_see_the_same_build_from_elsewhere(self, camera: str) -> None:
        mid, other = (
            lit_frames(SimulationSettings(seconds=2, seed=3, camera=where, nuisance=0), 3)[2]  # type: ignore[arg-type]
            for where in ("mid", camera)
        )
        assert len(mid.streaks) > 5
        assert abs(len(mid.streaks) - len(other.streaks)) < 0.5 * len(mid.streaks)
        assert not np.array_equal(mid.rgb, other.rgb)

    def test_a_bump_moves_the_picture(self) -> None:
        still, bumped = (
            next(simulate_frames(SimulationSettings(seconds=2, seed=3, bump_at=bump, bump_px=10), 40, 41))
            for bump in (None, 1.0)
        )
        moved = bumped.events["source_x"] - still.events["source_x"]
        np.testing.assert_allclose(moved[~np.isnan(moved)], 8, atol=0.01)


class TestWorlds:
    def test_a_named_preset_is_the_published_laboratory(self) -> None:
        for preset in ("easy", "standard", "hard"):
            settings = SimulationSettings(preset=preset, recording=9)
            assert {name: getattr(settings, name) for name in USUAL} == USUAL

    def test_each_recording_of_a_foreign_one_is_another(self) -> None:
        worlds = [drawn(key, 1.0) for key in range(200)]
        for name in USUAL:
            assert len({world[name] for world in worlds}) > (1 if isinstance(USUAL[name], bool | str) else 50), name
        for key in range(200):
            SimulationSettings(preset="foreign", recording=key)
        assert np.ptp([world["gas_direction"] for world in worlds]) > 300

    def test_a_laboratory_does_not_depend_on_the_flow(self) -> None:
        low, high = (SimulationSettings(preset="foreign", gas_flow=flow, recording=4) for flow in ("low", "high"))
        assert dataclasses.replace(high, gas_flow="low") == low

    def test_what_is_given_is_not_drawn(self) -> None:
        settings = SimulationSettings(preset="foreign", gas_direction=90, material="Ti64", recording=4)
        assert (settings.gas_direction, settings.material) == (90, "Ti64")

    def test_a_mirrored_picture_has_left_on_the_right(self) -> None:
        one, other = (
            lit_frames(SimulationSettings(seconds=2, seed=3, nuisance=0, mirrored=mirrored), 3)[2]
            for mirrored in (False, True)
        )
        np.testing.assert_allclose(other.events["source_x"], 640 - one.events["source_x"], atol=1.5)
        np.testing.assert_allclose(other.events["source_y"], one.events["source_y"], atol=1.5)

    def test_a_grey_camera_has_no_colour(self) -> None:
        frame = lit_frames(SimulationSettings(seconds=2, seed=3, monochrome=True, **SMALL), 2)[1]
        assert len(frame.events)
        np.testing.assert_array_equal(frame.rgb[..., 0], frame.rgb[..., 2])

    def test_a_lens_fouls_over_a_build(self) -> None:
        def glow(fouling: float) -> float:
            settings = SimulationSettings(seconds=60, seed=3, gas_flow="low", fouling=fouling)
            return float(np.mean([frame.rgb.mean() for frame in simulate_frames(settings, 1300, 1310)]))

        assert glow(20.0) > glow(0.0)

    @pytest.mark.parametrize("material", ["IN718", "Ti64", "AlSi10Mg"])
    def test_materials_shine_for_other_times(self, material: str) -> None:
        shine = [len(flight(of=Material(*MATERIALS[name]))) for name in ("316L", material)]
        assert shine[0] != shine[1]

    def test_a_particle_keeps_its_number_from_frame_to_frame(self) -> None:
        settings = SimulationSettings(
            seconds=1, fps=5000, exposure=0.0001, gain=40, monochrome=True, width=256, height=192
        )
        frames = [frame.streaks for frame in simulate_frames(settings, 2600, 2606)]
        for rows in frames:
            assert len(np.unique(rows["particle"])) == len(rows)
        both, before, after = np.intersect1d(frames[0]["particle"], frames[1]["particle"], return_indices=True)
        assert len(both) > 10
        moved = np.hypot(*(frames[1][f"middle_{axis}"][after] - frames[0][f"middle_{axis}"][before] for axis in "xy"))
        # In 0.2 ms nothing flies farther than 10 m/s allow, and perspective adds little.
        assert moved.max() < 1.3 * 10_000 * 0.0002 / settings.mm_per_px


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"exposure": -0.1}, r"exposure must be a number from 1e-06 to 10, got -0\.1"),
        ({"fps": 0}, "fps must be a number from"),
        ({"exposure": 0.05}, "at most the frame interval"),
        ({"width": 641}, "width must be an even number"),
        ({"width": 64.5}, "width must be a whole number"),
        ({"mm_per_px": 0.02}, "at least four times island_mm"),
        ({"gas_flow": "strong"}, "'low', 'high' or a speed"),
        ({"gas_flow": "low", "gas_speed": 1}, "not both"),
        ({"gas_flow": "low>high>low"}, "may change once"),
        ({"change_at": 3}, "change_at needs"),
        ({"camera": "top"}, "camera must be one of 'mid', 'left', 'right'"),
        ({"contrast": 1.5}, "contrast must be a number from 0 to 1"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seconds": float("nan")}, "seconds must be"),
        ({"confounded": 1}, "confounded must be one of True or False"),
        ({"gas_sped": 1}, "did you mean 'gas_speed'"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(tmp_path: Path, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        sp.simulate(tmp_path / "a.mp4", **parameters)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


RANGED = {item.name: item for item in dataclasses.fields(SimulationSettings) if "range" in item.metadata}


@pytest.mark.parametrize("name", RANGED)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_number_outside_its_range_is_refused_by_name_and_range(name: str, data: st.DataObject) -> None:
    low, high = RANGED[name].metadata["range"]
    outside = st.one_of(
        st.floats(max_value=low, exclude_max=True, allow_nan=False),
        st.floats(min_value=high * (1 + 1e-9), exclude_min=True, allow_nan=False),
        st.sampled_from([float("nan"), "many", "", True, [1.0], object()]),
    )
    with pytest.raises(ParameterError) as caught:
        SimulationSettings.of(None, **{name: data.draw(outside)})
    assert re.match(
        rf"{name} must be a (whole )?number from {re.escape(f'{low:g}')} to {re.escape(f'{high:g}')}, got ",
        str(caught.value),
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".npy"])
@pytest.mark.parametrize("room", [1_000, 20_000, 100_000])
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, suffix: str, room: int) -> None:
    """A limit on the size of files stands for the disk: the system refuses what goes beyond it."""
    video, limits = tmp_path / f"low{suffix}", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(StoreError) as caught:
            sp.simulate(video, seconds=4, seed=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(f"{video} cannot be written: ")
    assert str(caught.value).endswith("; free some space, or choose another folder")
    assert not list(tmp_path.iterdir())


def test_wrong_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"\.mp4, \.mkv or \.npy"):
        sp.simulate(tmp_path / "a.gif")
    with pytest.raises(MissingFileError, match="no folder"):
        sp.simulate(tmp_path / "nowhere" / "a.mp4")
    with pytest.raises(ParameterError, match="workers"):
        sp.simulate(tmp_path / "a.mp4", workers=0)


PUBLISHED = {"height": 90.5, "width": 119.0, "area": 10_885.0}
SHARES = {5_000.0: 12.4, 10_000.0: 33.5, 20_000.0: 38.8, np.inf: 15.3}
"""What the research system measured: medians in px and px², percent of the crop boxes by area."""


RECORDINGS = [
    (21, "left", "low"),
    (22, "left", "high"),
    (31, "mid", "low"),
    (32, "mid", "high"),
    (41, "right", "low"),
    (42, "right", "high"),
]


@pytest.mark.torture
def test_crops_are_like_the_published_ones(tmp_path: Path) -> None:
    """Preset easy, H.264 at 0.27 Mbit/s, the original settings: medians within 10 %, shares within 5 points."""
    tables: list[Any] = []
    greys: dict[str, list[float]] = {"low": [], "high": []}
    sizes, frames = [], 0
    for seed, camera, flow in RECORDINGS:
        path = tmp_path / f"{flow}{seed}.mp4"
        sp.simulate(path, gas_flow=flow, seed=seed, seconds=53, preset="easy", camera=camera)
        frames += 53 * 25
        for clip, found in sp.detect(path, **sp.ORIGINAL):
            crops = clip.crops(found)
            greys[flow] += [luma(np.ascontiguousarray(crop)).mean() for crop in crops]
            sizes += [len(encode(crop)) for crop in crops]
            tables.append(found)
    table = np.concatenate(tables)
    black = table["peak"] < 40
    area = table["width"] * table["height"].astype(float)
    assert np.median(table["height"]) == pytest.approx(PUBLISHED["height"], rel=0.1)
    assert np.median(table["width"]) == pytest.approx(PUBLISHED["width"], rel=0.1)
    assert np.median(area) == pytest.approx(PUBLISHED["area"], rel=0.1)
    shares = np.diff([0, *(100 * np.mean(area < bound) for bound in SHARES)])
    np.testing.assert_allclose(shares, list(SHARES.values()), atol=5)
    each = [np.unique(part["frame"], return_counts=True)[1] for part in tables if len(part)]
    counts = np.concatenate(each)
    assert len(counts) / frames == pytest.approx(0.37, abs=0.04)
    assert np.mean(counts <= 2) > 0.998
    assert counts.mean() == pytest.approx(1.005, abs=0.02)
    assert 0.005 < black.mean() < 0.025
    assert 3_000 < np.mean(sizes) < 4_000
    assert 30 < np.median(greys["low"]) < 48
    # The five published samples: median 12.2, from 8.5 to 24.
    assert 8 < np.median(greys["high"]) < 14.7


def test_the_dtypes_are_documented() -> None:
    from spatterlib.simulation import truth

    text = Path(truth.__file__).read_text(encoding="utf-8")
    for name in {*EVENT_TRUTH.names, *STREAK_TRUTH.names} - {"frame", "time"}:  # type: ignore[misc]
        assert text.count(name.split("_")[0]) >= 2
