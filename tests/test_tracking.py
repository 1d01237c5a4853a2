"""Particles are followed from frame to frame: crossing ways, gaps, bends; what chance could make is not linked."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.detection.particles import PARTICLE
from spatterlib.errors import ParameterError
from spatterlib.kernels.tracking.assignment import assign
from spatterlib.simulation import STREAK_TRUTH
from spatterlib.tracking.exchange import to_trackpy, write_tracks
from spatterlib.tracking.linking import LinkSettings, link
from spatterlib.tracking.score import score_tracks
from spatterlib.tracking.tracks import Tracks, points_of, tracks_of


def particles(number: int, places: NDArray[np.float64], light: float = 300) -> NDArray[np.void]:
    """Round particles at these places."""
    rows = np.zeros(len(places), PARTICLE)
    rows["frame"], rows["time"] = number, number / 10_000
    rows["x"], rows["y"] = places.T
    rows["error"], rows["angle_error"], rows["light"], rows["snr"] = 0.1, 90, light, 30
    return rows


def flights(count: int, frames: int, speed: float, seed: int) -> list[NDArray[np.float64]]:
    """``(count, 2)`` places in each frame of particles that leave one place in all directions."""
    draw = np.random.default_rng(seed)
    turn, fast = draw.uniform(0, 2 * np.pi, count), draw.uniform(0.5, 1.5, count) * speed
    begin = np.array([100, 100]) + 30 * np.stack([np.cos(turn), np.sin(turn)], 1)
    return [
        begin + n * np.stack([np.cos(turn), np.sin(turn)], 1) * fast[:, None] + draw.normal(0, 0.05, (count, 2))
        for n in range(frames)
    ]


def linked(frames: list[NDArray[np.void]]) -> list[NDArray[np.int64]]:
    return [numbers for _, numbers in link(frames, LinkSettings(10_000, reach=8))]


@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_particles_that_fly_apart_keep_their_numbers(speed: float) -> None:
    found = linked([particles(n, places) for n, places in enumerate(flights(25, 12, speed, 1))])
    for one, other in itertools.pairwise(found):
        assert (one >= 0).all()
        assert one.tolist() == other.tolist()
    assert len(set(found[0])) == 25


def test_crossing_ways_are_kept_apart_and_gaps_bridged() -> None:
    frames = []
    for n in range(21):
        places = np.array([[20 + 3.0 * n, 50.2], [80 - 3.0 * n, 49.8 + 0.05 * n]])
        # Where they meet, one blob is seen.
        frames.append(particles(n, places[:1] if abs(n - 10) < 2 else places))
    found = linked(frames)
    assert set(found[0]) == set(found[-1])
    assert found[0].tolist() == found[-1].tolist()


def test_what_chance_could_make_is_not_linked() -> None:
    draw = np.random.default_rng(3)
    frames = [particles(n, draw.uniform(0, 100, (60, 2))) for n in range(10)]
    assert np.mean(np.concatenate(linked(frames)) >= 0) < 0.5


def test_frames_without_particles_are_frames() -> None:
    places = flights(6, 9, 2.0, 4)
    frames = [particles(n, p if n != 4 else p[:0]) for n, p in enumerate(places)]
    found = linked(frames)
    assert len(found) == 9
    assert found[3].tolist() == found[5].tolist()
    assert linked([particles(0, np.empty((0, 2)))]) == [pytest.approx([])]


costs = st.lists(
    st.lists(st.sampled_from([0.5, 1, 2, 3, 5, 9, np.inf]), min_size=3, max_size=3), min_size=1, max_size=4
)


@given(costs, st.sampled_from([1.0, 4.0, 20.0]))
def test_the_assignment_is_the_cheapest(table: list[list[float]], alone: float) -> None:
    given, taken = np.array(table, np.float64), np.empty(len(table), np.int64)
    assign(given, alone, taken)

    def price(columns: tuple[int, ...]) -> float:
        return sum(alone if j < 0 else given[i, j] for i, j in enumerate(columns))

    choices = [
        columns
        for columns in itertools.product(range(-1, 3), repeat=len(table))
        if len({j for j in columns if j >= 0}) == sum(j >= 0 for j in columns)
    ]
    assert tuple(taken) in choices
    assert price(tuple(taken)) == pytest.approx(min(map(price, choices)))


def tracked() -> tuple[NDArray[np.void], NDArray[np.int64], Tracks]:
    frames = [particles(n, places) for n, places in enumerate(flights(10, 12, 2.0, 5))]
    rows, numbers = np.concatenate(frames), np.concatenate(linked(frames))
    points = points_of(rows, numbers)
    camera = sp.camera.Camera(frame_rate=10_000, exposure=5e-5, mm_per_px=0.1)
    return rows, numbers, Tracks(points, tracks_of(points, 10_000, camera), 12, len(rows), 10_000, (), {})


def test_a_track_has_speed_angle_and_an_interval_that_holds_them() -> None:
    _, _, found = tracked()
    row = found.tracks[0]
    places = np.stack([p[0] for p in flights(10, 12, 2.0, 5)])
    way = (places[-1] - places[0]) / 11
    assert row["points"] == 12
    assert row["velocity"] == pytest.approx(np.hypot(*way) * 10_000, rel=0.03)
    assert row["speed"] == pytest.approx(row["velocity"] * 1e-4)
    assert row["velocity_low"] < row["velocity"] < row["velocity_high"]
    assert abs((row["angle"] - np.rad2deg(np.arctan2(-way[1], way[0])) + 180) % 360 - 180) < 3


def test_right_tracks_score_one_and_swapped_ones_less() -> None:
    rows, numbers, _ = tracked()
    truth = np.zeros(len(rows), STREAK_TRUTH)
    truth["frame"], truth["middle_x"], truth["middle_y"] = rows["frame"], rows["x"], rows["y"]
    truth["particle"], truth["snr"] = np.tile(np.arange(10), 12), 30
    right = score_tracks(rows, numbers, truth)
    assert (right.f1, right.link_f1, right.whole) == (1, 1, 1)
    numbers[60:62] = numbers[[61, 60]]
    swapped = score_tracks(rows, numbers, truth)
    assert swapped.link_f1 == pytest.approx(1 - 4 / 110)
    assert swapped.whole == 0.8


def test_other_programs_get_every_point(tmp_path: Path) -> None:
    _, _, found = tracked()
    assert [Path(p).name for p in write_tracks(found, tmp_path / "t.csv")] == ["t.csv", "t.tracks.csv"]
    assert len((tmp_path / "t.csv").read_text().splitlines()) == len(found.points) + 1
    write_tracks(found, tmp_path / "t.xml")
    root = ET.parse(tmp_path / "t.xml").getroot()
    assert len(root.findall(".//Spot")) == len(found.points)
    assert len(root.findall(".//Edge")) == len(found.points) - len(found.tracks)
    pytest.importorskip("pandas")
    assert to_trackpy(found).groupby("particle").size().tolist() == found.tracks["points"].tolist()
    with pytest.raises(ParameterError, match="xml"):
        write_tracks(found, tmp_path / "t.txt")


def test_a_camera_that_is_too_slow_is_refused_with_the_way(tmp_path: Path) -> None:
    np.save(tmp_path / "slow.npy", np.zeros((3, 32, 32), np.uint8))
    with pytest.raises(ParameterError, match="streaks"):
        sp.track(tmp_path / "slow.npy", fps=25)


def test_a_recording_without_particles_has_no_tracks(tmp_path: Path) -> None:
    np.save(tmp_path / "dark.npy", np.zeros((5, 32, 32), np.uint8))
    found = sp.track(tmp_path / "dark.npy", fps=1000)
    assert (len(found.points), len(found.tracks), found.frames) == (0, 0, 5)


@pytest.mark.parametrize("wrong", [{"frame_rate": 0}, {"reach": -1}, {"chance": 2}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        LinkSettings(**{"frame_rate": 1000, **wrong})
