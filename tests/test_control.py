"""Charts of layers: a reference is learned as it should be, alarms come as often as stated and soon enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatterlib import errors
from spatterlib.control.charts import draw_charts
from spatterlib.control.monitoring import monitor, take_layer
from spatterlib.control.reference import Reference, learn_reference
from spatterlib.control.run_length import cusum_run_length, ewma_run_length, limits, shewhart_run_length, simulate_runs
from spatterlib.control.statistics import CHARTS, advance, angle_terms, conformal_p, initial_state, learn_baseline
from spatterlib.measuring.descriptors import DESCRIPTOR, turned

ANGLES = 67.0 * np.arange(400)


def autoregressive(count: int, phi: float, seed: int = 1) -> Any:
    draw, found = np.random.default_rng(seed), np.zeros(count)
    for index in range(1, count):
        found[index] = phi * found[index - 1] + draw.normal()
    return found


def described(count: int, seed: int = 1, first: int = 0) -> Any:
    """Rows of layers without a fault: three descriptors, drift goes with the scan angle, rate is skewed."""
    draw, rows = np.random.default_rng(seed), np.zeros(count, DESCRIPTOR)
    rows["group"], rows["scan_angle"] = first + np.arange(count), np.nan
    rows["start"], rows["stop"] = 10.0 * rows["group"], 10.0 * rows["group"] + 6
    angle = np.deg2rad(67.0 * rows["group"])
    rows["drift"] = 0.5 + 0.1 * np.cos(2 * angle) + draw.normal(0, 0.05, count)
    rows["rate"] = np.exp(draw.normal(2, 0.3, count))
    rows["intensity"] = draw.normal(20, 2, count)
    return rows


@pytest.fixture(scope="module")
def reference() -> Reference:
    return learn_reference(turned(described(150), 67.0), ["drift", "rate", "intensity"], builds=400)


# Run lengths that stand in the literature.


def test_run_lengths_of_known_parameters_are_those_of_the_literature() -> None:
    assert shewhart_run_length(3.0) == pytest.approx(370.4, abs=0.1)
    # Lucas and Saccucci 1990, table 3; Montgomery, table 9.3 and 9.4.
    assert ewma_run_length(2.814, 0.1) == pytest.approx(500, rel=0.01)
    assert ewma_run_length(2.814, 0.1, 1.0) == pytest.approx(10.3, abs=0.05)
    assert cusum_run_length(5.0, 0.5) == pytest.approx(465, rel=0.01)
    assert cusum_run_length(5.0, 0.5, 1.0) == pytest.approx(10.4, abs=0.05)


def test_simulated_runs_with_a_very_long_reference_agree_with_the_markov_chains() -> None:
    runs = simulate_runs(np.ones((2000, 1)), np.zeros(1), np.eye(1), arl=40, builds=600, seed=3, horizon=1000)
    for chart, limit, exact in (("shewhart", 2.2, shewhart_run_length(2.2)), ("ewma", 1.8, ewma_run_length(1.8)),
                                ("cusum", 2.6, cusum_run_length(2.6))):  # fmt: skip
        found = runs.lengths(chart, limit)
        assert found.mean() == pytest.approx(exact, abs=3.5 * found.std() / np.sqrt(len(found)))


# The reference.


def test_a_mean_by_scan_angle_is_learned() -> None:
    terms = angle_terms(ANGLES)
    found = learn_baseline((5 + 3 * terms[:, 1] - 2 * terms[:, 2] + autoregressive(400, 0.0))[:, None], terms)
    assert found.mean[:, 0] == pytest.approx([5, 3, -2], abs=0.2)
    assert found.scale[0] == pytest.approx(1, abs=0.1)


def test_two_angles_in_turn_are_two_subgroups() -> None:
    angle = np.tile([0.0, 90.0], 100)
    values = np.where(angle == 0, 1.0, 7.0) + autoregressive(200, 0.0, 4)
    found = angle_terms([0.0, 90.0]) @ learn_baseline(values[:, None], angle_terms(angle)).mean
    assert found[:, 0] == pytest.approx([1, 7], abs=0.3)


@pytest.mark.parametrize("phi", [0.0, 0.5, -0.4])
def test_autocorrelation_is_found_where_there_is_some(phi: float) -> None:
    found = learn_baseline(autoregressive(400, phi, 5)[:, None], np.ones((400, 1)))
    assert found.phi[0] == pytest.approx(phi, abs=0.12)
    assert (found.phi[0] == 0) == (phi == 0)


def test_outlying_layers_are_left_out_and_change_nothing_much() -> None:
    values = np.stack([autoregressive(100, 0.0, 6), autoregressive(100, 0.0, 7)], -1)
    spoilt = values.copy()
    spoilt[[10, 40, 41]] += [[30, 0], [0, -9], [50, 50]]
    clean, robust = (learn_baseline(item, np.ones((100, 1))) for item in (values, spoilt))
    assert np.flatnonzero(~robust.kept).tolist() == [10, 40, 41]
    assert robust.mean == pytest.approx(clean.mean, abs=0.1)
    assert robust.scale == pytest.approx(clean.scale, rel=0.1)


def test_layers_that_were_not_measured_are_left_out() -> None:
    values = autoregressive(100, 0.0)[:, None]
    values[3] = np.nan
    assert learn_baseline(values, np.ones((100, 1))).kept.sum() == 99


@pytest.mark.parametrize(
    ("values", "match"),
    [(autoregressive(20, 0.0), "at least 30 whole reference layers"), (np.ones(100), "the same in all reference")],
)
def test_what_cannot_be_learned_from_is_refused(values: Any, match: str) -> None:
    with pytest.raises(errors.ParameterError, match=match):
        learn_baseline(values[:, None], np.ones((len(values), 1)))


# The charts.


def test_charts_are_what_their_recurrences_say() -> None:
    new = np.random.default_rng(8).normal(size=50) + 0.4
    base = learn_baseline(autoregressive(300, 0.0)[:, None], np.ones((300, 1)))
    base = type(base)(np.zeros((1, 1)), np.zeros(1), np.ones(1), np.eye(1), base.kept)
    state, ewma, upper, lower = initial_state(base), 0.0, 0.0, 0.0
    for value in new:
        state, found, squared = advance(base, state, np.array([value]), np.ones(1), weight=0.2, slack=0.4)
        ewma = 0.2 * value + 0.8 * ewma
        upper, lower = max(0.0, upper + value - 0.4), min(0.0, lower + value + 0.4)
        expected = [value, ewma / np.sqrt(0.2 / 1.8), upper, lower]
        assert found[:, 0] == pytest.approx(expected)
        assert squared == pytest.approx(value**2)


def test_many_builds_at_once_are_charted_as_each_alone() -> None:
    values = np.random.default_rng(9).normal(size=(3, 80, 2))
    terms = angle_terms(ANGLES[:80])
    together = learn_baseline(values, terms)
    _, found, squared = advance(together, initial_state(together), values[:, 5], terms[5])
    for index in range(3):
        alone = learn_baseline(values[index], terms)
        _, one, own = advance(alone, initial_state(alone), values[index, 5], terms[5])
        assert found[:, index] == pytest.approx(one)
        assert squared[index] == pytest.approx(float(own))


def test_a_chart_stands_still_while_nothing_is_measured() -> None:
    base = learn_baseline(autoregressive(300, 0.0)[:, None], np.ones((300, 1)))
    state, before, _ = advance(base, initial_state(base), np.array([2.0]), np.ones(1))
    _, found, squared = advance(base, state, np.array([np.nan]), np.ones(1))
    assert found[1:, 0] == pytest.approx(before[1:, 0])
    assert np.isnan(squared)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(-5, 5))
def test_a_conformal_p_value_counts(known: list[float], score: float) -> None:
    expected = (1 + sum(value >= score for value in known)) / (len(known) + 1)
    assert conformal_p(known, [score])[0] == pytest.approx(expected)


def test_conformal_p_values_are_valid_whatever_the_distribution() -> None:
    draw = np.random.default_rng(10)
    found = np.concatenate([conformal_p(draw.pareto(1.2, 99), draw.pareto(1.2, 1)) for _ in range(4000)])
    for level in (0.02, 0.1, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 4000))


# The limits.


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.3])
def test_builds_without_a_fault_run_as_long_as_stated(phi: float) -> None:
    """Other builds than those that the limits were found with, drawn and charted here, with an angle effect."""
    terms, builds, arl = angle_terms(ANGLES[:150]), 2000, 60.0
    bound = limits(terms, np.array([phi]), np.eye(1), arl=arl, alarms=("ewma",), builds=3000)
    draw = np.random.default_rng(11)
    away, made = np.zeros(builds), np.empty((builds, 150, 1))
    for index in range(150):
        away = phi * away + draw.normal(size=builds)
        made[:, index, 0] = 9 + 4 * terms[index, 1] + 7 * away
    base = learn_baseline(made, terms)
    state, first = initial_state(base), np.zeros((builds, 3), int)
    for index in range(3000):
        away = phi * away + draw.normal(size=builds)
        row = terms[index % 150]
        state, found, _ = advance(base, state, (9 + 4 * row[1] + 7 * away)[:, None], row)
        now = np.stack([np.abs(found[0, :, 0]), np.abs(found[1, :, 0]), np.abs(found[2:, :, 0]).max(0)], -1)
        first = np.where((first == 0) & (now > [bound[name] for name in CHARTS[:3]]), index + 1, first)
    assert (first > 0).mean() > 0.999
    assert first.mean(0) == pytest.approx([arl] * 3, rel=0.1)


def test_charts_that_alarm_together_have_the_stated_run_length_together() -> None:
    """Other builds than those that the limits are of; few reference layers, since these make builds most unequal."""
    terms, correlation = angle_terms(ANGLES[:40]), np.full((6, 6), 0.6) + 0.4 * np.eye(6)
    bounds = limits(terms, np.zeros(6), correlation, arl=60, builds=4000)
    runs = simulate_runs(terms, np.zeros(6), correlation, arl=60, builds=4000, seed=9)
    together = np.min([runs.lengths(name, bounds[name]) for name in ("ewma", "t2")], axis=0)
    assert together.mean() == pytest.approx(60, abs=3 * together.std() / np.sqrt(len(together)))


def test_charts_that_alarm_together_get_wider_limits() -> None:
    terms = np.ones((100, 1))
    both = limits(terms, np.zeros(2), np.eye(2), arl=50, alarms=("ewma", "t2"), builds=400)
    one = limits(terms, np.zeros(2), np.eye(2), arl=50, alarms=("ewma",), builds=400)
    assert both["ewma"] > one["ewma"]
    assert both["shewhart"] == pytest.approx(one["shewhart"], rel=0.02)


@pytest.mark.parametrize(("wrong", "match"), [({"alarms": ("cusun",)}, "cusun"), ({"arl": 3.0}, "20 to 100000")])
def test_limits_for_what_is_not_there_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(errors.ParameterError, match=match):
        limits(np.ones((100, 1)), np.zeros(1), np.eye(1), **wrong)


# From rows of descriptors to alarms.


def test_a_lasting_shift_is_found_and_named(reference: Reference) -> None:
    rows = turned(described(60, 2, first=150), 67.0)
    rows["drift"][30:] -= 0.15
    found = monitor(reference, rows)
    assert not found.points["alarm"][:30].any()
    assert found.points["alarm"][30:36].any()
    assert any(said.startswith("ewma of drift low (-") for said in found.alarms[40])
    assert found.points["p"][30:].mean() < 0.1 < found.points["p"][:30].mean()


def test_one_layer_that_stands_out_is_found_by_t2(reference: Reference) -> None:
    rows = turned(described(20, 13, first=150), 67.0)
    rows["intensity"][7] = 45
    found = monitor(reference, rows)
    assert [index for index, said in enumerate(found.alarms) if any(item.startswith("t2") for item in said)] == [7]


def test_layer_by_layer_is_the_same_as_all_at_once(reference: Reference) -> None:
    rows, state, points = turned(described(20, 4, first=150), 67.0), None, []
    for row in rows:
        state, point = take_layer(reference, state, row)
        points.append(point.row)
    assert [point.tolist() for point in points] == monitor(reference, rows).points.tolist()


def test_a_reference_is_the_same_when_it_is_read_again(reference: Reference, tmp_path: Path) -> None:
    reference.save(tmp_path / "good.json")
    rows = turned(described(20, 5, first=150), 67.0)
    again = monitor(Reference.load(tmp_path / "good.json"), rows)
    assert again.to_dict() == monitor(reference, rows).to_dict()


def test_what_is_no_reference_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingFileError, match="no reference at"):
        Reference.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"kind": "other"}')
    with pytest.raises(errors.StoreError, match="is no reference of monitored layers"):
        Reference.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("names", "match"), [(["speed_50"], "speed_50"), (["driftt"], "driftt"), (["group"], "cannot chart group")]
)
def test_descriptors_that_cannot_be_charted_are_named(names: list[str], match: str) -> None:
    rows = described(50)
    rows["speed_50"] = np.nan
    with pytest.raises(errors.ParameterError, match=match):
        learn_reference(rows, names)


def test_a_layer_without_scan_angle_does_not_fit_a_reference_with(reference: Reference) -> None:
    with pytest.raises(errors.ParameterError, match="--scan-turn"):
        monitor(reference, described(3))


def test_a_layer_that_was_not_measured_raises_no_alarm(reference: Reference) -> None:
    rows = turned(described(3, 6, first=150), 67.0)
    rows["drift"][1] = np.nan
    found = monitor(reference, rows)
    assert np.isnan(found.points["t2"][1])
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_the_charts_are_drawn_and_say_that_they_are_simulated(reference: Reference, tmp_path: Path) -> None:
    reference.about["simulated"] = True
    draw_charts(monitor(reference, turned(described(20, 7, first=150), 67.0)), tmp_path / "charts.svg", "build 7")
    text = (tmp_path / "charts.svg").read_text()
    assert "build 7 (simulated): " in text
    draw_charts(monitor(reference, turned(described(3, 7, first=150), 67.0)[:0]), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000
