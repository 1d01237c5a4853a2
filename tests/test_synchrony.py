"""Cameras at one build are brought together by when they see spatter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import ParameterError
from spatterlib.measuring.synchrony import activity, find_offset, synchronise
from spatterlib.types import FRAME_LOG


def build(seconds: float = 60, seed: int = 1) -> Any:
    """Spatter on and off at random, 25 moments to the second."""
    draw = np.random.default_rng(seed)
    return np.repeat(draw.random(int(seconds * 2.5)) > 0.5, 10) * draw.uniform(3, 8, int(seconds * 25))


@given(st.integers(-600, 600), st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_any_offset_is_found_to_the_frame(late: int, seed: int) -> None:
    curve = build(seed=seed)
    first, second = (curve, curve[late:]) if late >= 0 else (curve[-late:], curve)
    found = find_offset(first, second, 0.04)
    assert (found.frames, found.sure) == (late, True)
    assert found.offset == pytest.approx(0.04 * late)
    assert found.correlation == pytest.approx(1)
    assert found.agreement == pytest.approx(1)


def test_a_camera_that_misses_frames_and_sees_less_is_still_brought_in_line() -> None:
    draw, curve = np.random.default_rng(2), build()
    other = np.where(draw.random(len(curve)) < 0.2, 0.0, 0.3 * curve)[100:]
    other[200:260] = np.nan
    found = find_offset(curve, other, 0.04)
    assert (found.frames, found.sure) == (100, True)
    assert 0.5 < found.agreement < 0.9


def test_two_builds_that_have_nothing_to_do_with_each_other_are_not_sure() -> None:
    assert not find_offset(build(seed=3), build(seed=4), 0.04).sure


@pytest.mark.parametrize("seed", range(4))
def test_a_common_rhythm_of_layers_makes_no_two_builds_one(seed: int) -> None:
    def layers(seed: int) -> Any:
        draw = np.random.default_rng(seed)
        lit = np.concatenate([np.repeat([1.0, 0.0], [170 + int(draw.integers(-9, 9)), 62]) for _ in range(8)])
        return lit * (draw.random(len(lit)) < 0.85) * draw.uniform(3, 8, len(lit))

    same = layers(seed)
    there = find_offset(same, layers(seed + 50), 0.04)
    assert there.correlation > 0.4
    assert not there.sure
    assert find_offset(same, 0.5 * same[90:], 0.04).sure


def test_a_clock_that_jumps_is_told() -> None:
    curve = build(120)
    other = np.concatenate([curve[:1500], curve[1505:]])
    assert find_offset(curve, other, 0.04).drift == pytest.approx(0.2, abs=0.05)


def test_the_activity_is_the_area_seen_and_unknown_where_no_frame_was_looked_at() -> None:
    table, log = np.zeros(3, sp.DETECTION), np.zeros(5, FRAME_LOG)
    log["number"], log["time"], log["decoded"] = np.arange(5), 0.04 * np.arange(5), [1, 1, 1, 0, 1]
    table["frame"], table["time"], table["area"] = [1, 1, 4], [0.04, 0.04, 0.16], [10, 20, 5]
    curve, step = activity(table, log)
    assert step == pytest.approx(0.04)
    assert curve == pytest.approx([0, np.log1p(30), 0, np.nan, np.log1p(5)], nan_ok=True)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: find_offset(np.ones(1000), build(), 0.04), "with and without some"),
        (lambda: find_offset(build()[:100], build(), 0.04), "it takes 10 s"),
        (lambda: activity(np.zeros(0, sp.DETECTION), np.zeros(0, FRAME_LOG)), "log of frames"),
        (lambda: synchronise([]), "two recordings or more"),
    ],
)
def test_what_cannot_be_synchronised_is_refused_in_one_line(make: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        make()


@pytest.mark.slow
def test_left_mid_and_right_of_one_build_are_found_to_one_frame(tmp_path: Path, capsys: Any) -> None:
    """Real simulated videos; left and right are extracted from another frame on, and their clocks begin there."""
    late = {"mid": 0, "left": 61, "right": 17}
    for camera, frames in late.items():
        video, store = tmp_path / f"{camera}.mp4", tmp_path / f"{camera}.h5"
        sp.simulate(
            video, camera=camera, gas_speed=1.0, seconds=26, seed=8, recording=frames, layer_seconds=3, recoat_seconds=4
        )
        sp.extract(str(video), str(store), start=frames, progress=False)
    recordings = []
    for camera, frames in late.items():
        with sp.open_store(str(tmp_path / f"{camera}.h5")) as opened:
            table, log = opened.table.copy(), opened.frame_log.copy()
        table["time"] -= frames / 25
        log["time"] -= frames / 25
        recordings.append((table, log))
    found, closing = synchronise(recordings)
    assert [item.frames for item in found] == pytest.approx([61, 17], abs=1)
    assert all(item.sure for item in found)
    assert closing <= 0.041
    stores = [str(tmp_path / f"{camera}.h5") for camera in late]
    assert main(["synchronize", *stores, "-o", str(tmp_path / "offsets.json")]) == 0
    # The stores keep the time of their video, so there the offset is none.
    assert "the offsets of all pairs close within" in capsys.readouterr().out
    facts = json.loads((tmp_path / "offsets.json").read_text())
    assert [abs(item["frames"]) <= 1 for item in facts["offsets"]] == [True, True]
