"""Layers and events are pure functions of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import ParameterError


def build(seed: int, fps: float, layers: int, scan: float, pause: float, share: float = 0.37) -> NDArray[np.float64]:
    """Times of frames with spatter: each layer is scanned for `scan` s, then the recoater takes `pause` s."""
    random = np.random.default_rng(seed)
    frames = np.arange(int(scan * fps))
    times, start = [], 0.0
    for _ in range(layers):
        lit = frames[random.random(len(frames)) < share]
        times.append(start + lit / fps)
        start += scan + pause * random.uniform(0.95, 1.05)
    return np.concatenate(times)


def test_a_few_strange_pauses_do_not_make_a_long_build_one_layer() -> None:
    """Without spatter for half as long as the recoater takes, in 9 of 1,000 layers and by chance in two more."""
    times = build(3, fps=25, layers=1000, scan=6, pause=2)
    starts = 3 + 8.0 * np.arange(50, 950, 100)
    strange = times[~((times[:, None] > starts) & (times[:, None] < starts + 0.9)).any(axis=1)]
    within = np.diff(strange)[np.diff(strange) < 1.7]
    assert within.max() > 1
    assert 9 <= (within > 0.9).sum() < 15
    assert len(sp.layers(times)) == len(sp.layers(strange)) == 1000


@pytest.mark.parametrize("fps", [10, 25, 30, 60])
def test_twenty_layers_with_twenty_seconds_of_recoating_are_twenty(fps: float) -> None:
    found = sp.layers(build(1, fps, layers=20, scan=30, pause=20))
    assert len(found) == 20
    assert 2 < found.gap < 19
    assert "19 pauses" in found.chosen


def test_layers_are_counted_whatever_frame_rate_scan_and_pause() -> None:
    random, wrong = np.random.default_rng(1), 0
    for seed in range(600):
        fps, layers = float(random.choice([10.0, 25.0, 29.97, 60.0, 500.0])), int(random.integers(2, 13))
        scan, pause, share = random.uniform([10, 8, 0.3], [40, 30, 1])
        wrong += len(sp.layers(build(seed, fps, layers, scan, pause, share))) != layers
    assert wrong <= 6  # a pause within a layer is taken for a recoater by a chance of up to 1 %


def test_one_long_stop_of_the_machine_does_not_outvote_the_recoating() -> None:
    times = build(3, 25, layers=20, scan=30, pause=15)
    times[times > times[len(times) // 2]] += 3600
    assert len(sp.layers(times)) in (20, 21)


@pytest.mark.parametrize("fps", [10.0, 25.0, 60.0])
@pytest.mark.parametrize("share", [0.2, 0.37, 0.7, 1.0])
def test_pauses_of_one_mode_are_one_layer_but_for_the_chance_of_one_percent(fps: float, share: float) -> None:
    found = [sp.layers(build(seed, fps, layers=1, scan=40, pause=0, share=share)) for seed in range(500)]
    wrong = [layers for layers in found if len(layers) != 1]
    assert len(wrong) <= 5
    assert all("one layer" in layers.chosen for layers in found if len(layers) == 1)


def test_layers_take_times_in_any_order_and_count_from_one() -> None:
    times = build(5, 25, layers=4, scan=10, pause=10)
    shuffled = np.random.default_rng(0).permutation(len(times))
    np.testing.assert_array_equal(sp.layers(times[shuffled]).number, sp.layers(times).number[shuffled])
    assert set(sp.layers(times).number.tolist()) == {1, 2, 3, 4}


def test_a_given_gap_is_taken_and_told() -> None:
    found = sp.layers([0, 1, 2, 10], gap=0.5)
    assert len(found) == 4
    assert found.chosen == "given: pauses over 0.5 s separate layers"
    assert found.table["start"].tolist() == [0, 1, 2, 10]


@pytest.mark.parametrize(("times", "count"), [([], 0), ([3.0], 1), ([3.0, 3.0], 1), ([3.0, 9.0], 1)])
def test_few_times(times: list[float], count: int) -> None:
    found = sp.layers(times)
    assert len(found) == len(found.table) == count
    assert found.number.tolist() == [1] * len(times)


@pytest.mark.parametrize("gap", [0, -1, float("nan"), "often"])
def test_a_gap_that_is_none_is_refused(gap: Any) -> None:
    with pytest.raises(ParameterError, match="gap must be"):
        sp.layers([1.0], gap=gap)


def rows(*boxes: tuple[int, int, int]) -> NDArray[np.void]:
    """Table of (frame, x, width) boxes, all at y = 0 and 10 px high."""
    table = np.zeros(len(boxes), sp.DETECTION)
    table["frame"], table["x"], table["width"] = np.array(boxes).reshape(-1, 3).T
    table["height"], table["time"] = 10, table["frame"] / 25
    return table


def test_overlapping_boxes_of_consecutive_frames_are_one_event() -> None:
    found = sp.events(rows((1, 0, 10), (2, 5, 10), (3, 12, 10), (4, 40, 10)))
    assert found.number.tolist() == [1, 1, 1, 2]
    assert found.table["first_frame"].tolist() == [1, 4]
    assert found.table["last_frame"].tolist() == [3, 4]
    assert found.table[["x", "width"]].tolist() == [(0, 22), (40, 10)]


def test_boxes_of_one_frame_are_events_of_their_own_even_if_they_overlap() -> None:
    assert sp.events(rows((1, 0, 10), (1, 5, 10))).number.tolist() == [1, 2]


def test_two_plumes_that_merge_are_one_event() -> None:
    assert sp.events(rows((1, 0, 10), (1, 30, 10), (2, 0, 40))).number.tolist() == [1, 1, 1]


def test_a_gap_in_seconds_bridges_frames_without_spatter() -> None:
    table = rows((1, 0, 10), (4, 0, 10))
    assert len(sp.events(table)) == 2
    assert len(sp.events(table, gap=0.2)) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60), st.integers(1, 20)), max_size=25), st.randoms())
def test_events_do_not_depend_on_the_order_of_rows(boxes: list[tuple[int, int, int]], random: Any) -> None:
    assume(len(set(boxes)) == len(boxes))
    mixed = random.sample(boxes, len(boxes))
    one, other = sp.events(rows(*boxes)), sp.events(rows(*mixed))
    assert len(one) == len(other)
    of = dict(zip(boxes, one.number.tolist(), strict=True))
    for a, b in zip(mixed, other.number.tolist(), strict=True):
        for c, d in zip(mixed, other.number.tolist(), strict=True):
            assert (b == d) == (of[a] == of[c])


def test_no_rows_are_no_events() -> None:
    assert len(sp.events(rows())) == 0


def by_pairs(table: NDArray[np.void], gap: float | None) -> list[int]:
    """Events the slow way: every pair of rows, then numbers by the first row in the order of frames."""
    order = np.argsort(table["frame"], kind="stable")
    rows = table[order]
    group = list(range(len(rows)))
    for late in range(len(rows)):
        for early in range(late):
            a, b = rows[early], rows[late]
            near = b["frame"] - a["frame"] <= 1 if gap is None else b["time"] - a["time"] <= gap
            across = a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
            down = a["y"] < b["y"] + b["height"] and b["y"] < a["y"] + a["height"]
            if a["frame"] < b["frame"] and near and across and down and group[early] != group[late]:
                low, high = sorted((group[early], group[late]))
                group = [low if item == high else item for item in group]
    numbers = {item: number for number, item in enumerate(sorted(set(group)), 1)}
    result = [0] * len(rows)
    for place, row in enumerate(order):
        result[row] = numbers[group[place]]
    return result


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 40), gap=st.sampled_from([None, 0.04, 0.1, 0.5]))
def test_events_are_those_of_all_pairs(seed: int, count: int, gap: float | None) -> None:
    random = np.random.default_rng(seed)
    table = np.zeros(count, sp.DETECTION)
    table["frame"] = random.integers(0, 15, count)
    table["time"] = table["frame"] / 25
    for name in ("x", "y"):
        table[name] = random.integers(0, 60, count)
    for name in ("width", "height"):
        table[name] = random.integers(1, 30, count)
    assert sp.events(table, gap).number.tolist() == by_pairs(table, gap)


def test_unknown_times_do_not_break_the_joining() -> None:
    table = np.zeros(3, sp.DETECTION)
    table["time"] = np.nan
    assert len(sp.events(table, gap=1.0)) == 3
