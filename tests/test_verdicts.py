"""A verdict on a span is a pure function of times, events and probabilities, and abstains where it must."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spatterlib.detection.events import vote_numbers
from spatterlib.errors import ParameterError
from spatterlib.learning.layer_record import vote_means
from spatterlib.verdicts.change import Change, changes
from spatterlib.verdicts.judgement import STATES, Span, judge
from spatterlib.verdicts.rules import Rules

CLASSES = ("low", "high")


def two(high: Any) -> NDArray[np.float64]:
    """Probabilities of (low, high)."""
    values = np.asarray(high, np.float64)
    return np.stack([1 - values, values], axis=1)


def judged(high: Any, rules: Rules | None = None, **options: Any) -> Span:
    """Verdict on crops that are an event each, one a second."""
    count = len(high)
    return judge(np.arange(count, dtype=float), np.arange(count), two(high), CLASSES, rules, **options)


def test_sure_votes_decide() -> None:
    found = judged([0.9, 0.8, 0.85, 0.95, 0.9, 0.88])
    assert (found.label, found.state, found.votes, found.events, found.crops) == ("high", "decided", 6, 6, 6)
    assert found.low <= found.probability <= found.high
    assert found.probability == pytest.approx(0.88)


@pytest.mark.parametrize(("expected", "state"), [("high", "OK"), ("low", "critical")])
def test_what_a_class_means_is_a_setting(expected: str, state: str) -> None:
    found = judged([0.9, 0.8, 0.85, 0.95, 0.9, 0.88], Rules(expected=expected))
    assert (found.label, found.state) == ("high", state)


def test_an_interval_that_straddles_one_half_abstains() -> None:
    found = judged([0.9, 0.2, 0.6, 0.3, 0.8, 0.7], Rules(expected="low"))
    assert found.low < 0.5 < found.high
    assert (found.label, found.leading, found.state) == (None, "high", "attention")
    assert found.reason == "high leads, but not clearly"


@pytest.mark.parametrize(("count", "reason"), [(0, "no spatter was seen"), (5, "5 of the 6 votes that are needed")])
def test_too_little_abstains(count: int, reason: str) -> None:
    found = judged([0.99] * count)
    assert (found.label, found.state, found.reason) == (None, "no verdict", reason)


def test_a_hundred_crops_of_one_event_within_a_second_are_one_vote() -> None:
    times = np.linspace(0, 0.9, 100)
    found = judge(times, np.ones(100, int), two(np.full(100, 0.99)), CLASSES)
    assert (found.votes, found.events, found.crops, found.state) == (1, 1, 100, "no verdict")


def test_an_event_votes_once_in_each_second_that_it_lasts() -> None:
    times = np.array([5.0, 5.4, 5.9, 6.1, 6.2, 8.3])
    found = vote_means(vote_numbers(times, np.ones(6, int), 1.0), two([0.1, 0.2, 0.3, 0.5, 0.7, 0.9]))
    np.testing.assert_allclose(found[:, 1], [0.2, 0.6, 0.9])


def test_a_crowded_event_does_not_outvote_the_others() -> None:
    """Nine events say low; a tenth says high with a thousand crops."""
    times = np.concatenate([np.arange(9.0) * 2, np.full(1000, 20.0)])
    number = np.concatenate([np.arange(9), np.full(1000, 9)])
    found = judge(times, number, two(np.concatenate([np.full(9, 0.1), np.full(1000, 0.95)])), CLASSES)
    assert found.label == "low"


def test_crops_far_from_the_training_abstain() -> None:
    far = np.array([2, 0.5, 2, 0.5, 0.5, 0.5], np.float32)
    found = judged([0.99] * 6, distances=far)
    assert (found.label, found.state) == (None, "no verdict")
    assert found.far == pytest.approx(1 / 3)
    assert "33%" in found.reason
    assert judged([0.99] * 6, Rules(max_far=0.4), distances=far).label == "high"


def test_without_distances_it_was_not_checked() -> None:
    assert np.isnan(judged([0.9] * 6).far)
    assert np.isnan(judged([0.9] * 6, distances=np.full(6, np.nan, np.float32)).far)
    assert judged([0.9] * 6).facts()["far"] is None


def test_crops_without_probability_have_no_vote() -> None:
    found = judged([0.9, np.nan, 0.9, 0.9, 0.9])
    assert (found.votes, found.crops) == (4, 4)


def test_of_three_classes_the_lead_must_be_clear() -> None:
    names = ("low", "mid", "high")
    times, number = np.arange(8.0), np.arange(8)
    near = np.tile([[0.45, 0.4, 0.15], [0.38, 0.47, 0.15]], (4, 1))
    assert judge(times, number, near, names).state == "attention"
    clear = np.tile([[0.42, 0.31, 0.27], [0.40, 0.33, 0.27]], (4, 1))
    found = judge(times, number, clear, names)
    assert found.label == "low"
    assert found.probability < 0.5


@settings(deadline=None, max_examples=60)
@given(
    high=st.lists(st.floats(0, 1), min_size=0, max_size=40),
    seed=st.integers(0, 99),
    expected=st.sampled_from([None, "low", "high"]),
)
def test_the_contract(high: list[float], seed: int, expected: str | None) -> None:
    """Any input gives a state; a label only where it decides; the order of the crops does not matter."""
    rules = Rules(expected=expected, resamples=200)
    random = np.random.default_rng(seed)
    number, times = random.integers(0, 6, len(high)), random.uniform(0, 9, len(high))
    found = judge(times, number, two(high), CLASSES, rules)
    assert found.state in STATES
    assert (found.label is not None) == (found.state in ("OK", "critical", "decided"))
    assert found.label in (None, found.leading)
    assert found.reason
    json.dumps(found.facts(), allow_nan=False)
    order = random.permutation(len(high))
    again = judge(times[order], number[order], two(high)[order], CLASSES, rules)
    assert (again.label, again.state, again.votes) == (found.label, found.state, found.votes)
    if found.votes >= 3:
        assert found.low - 1e-9 <= found.probability <= found.high + 1e-9


@pytest.mark.parametrize("count", [6, 12])
def test_the_interval_holds_what_it_promises_with_few_votes(count: int) -> None:
    """95 % of intervals hold the true mean, give or take; plain percentiles hold 85 % with six votes."""
    random = np.random.default_rng(3)
    hit = 0
    for _ in range(400):
        found = judged(np.clip(random.normal(0.6, 0.12, count), 0, 1), Rules(resamples=600))
        low, high = (found.low, found.high) if found.leading == "high" else (1 - found.high, 1 - found.low)
        hit += low <= 0.6 <= high
    assert hit >= 0.90 * 400


def spans(labels: list[str | None]) -> list[Span]:
    """Layers of ten seconds each."""
    return [
        Span(n, 10.0 * n, 10.0 * n + 9, label, label or "low", 0.9, 0.8, 1.0, 9, 9, 9, 0.0, "decided", "")
        for n, label in enumerate(labels, 1)
    ]


def moved(labels: list[str | None], high: Any) -> list[Change]:
    """Changes of layers of ten crops each, one a second, with these probabilities of high."""
    count = len(labels)
    times = np.arange(10.0, 10.0 * count + 10)
    return changes(spans(labels), times, np.repeat(np.arange(1, count + 1), 10), two(high), CLASSES)


def test_a_change_is_found_at_its_crop_in_its_layer() -> None:
    high = np.repeat([0.1, 0.1, 0.1, 0.9, 0.9], 10)
    high[20:24], high[24:30] = 0.1, 0.9
    found = moved(["low", "low", None, "high", "high"], high)
    assert found == [Change(3, 34.0, "low", "high")]


def test_one_odd_layer_is_no_change() -> None:
    labels: list[str | None] = ["low", "low", "high", "low", "low"]
    assert moved(labels, np.repeat([0.1, 0.1, 0.9, 0.1, 0.1], 10)) == []


def test_the_last_layer_may_be_the_first_of_another_class() -> None:
    found = moved(["low", "low", "high"], np.repeat([0.1, 0.1, 0.9], 10))
    assert [(item.layer, item.time) for item in found] == [(3, 30.0)]


def test_there_and_back_are_two_changes() -> None:
    labels: list[str | None] = ["low", "low", "high", "high", "low", "low"]
    found = moved(labels, np.repeat([0.1, 0.1, 0.9, 0.9, 0.1, 0.1], 10))
    assert [(item.layer, item.before, item.after) for item in found] == [(3, "low", "high"), (5, "high", "low")]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"min_votes": 2}, "min_votes must be a whole number of 3 or more, got 2"),
        ({"max_far": 1.5}, "max_far must be a number from 0 to 1, got 1.5"),
        ({"unproven": "yes"}, "unproven must be one of True or False, got 'yes'"),
        ({"vote_seconds": 0}, "vote_seconds must be above 0 s, got 0"),
        ({"resamples": 5}, "resamples must be a whole number of 100 or more, got 5"),
    ],
)
def test_rules_that_make_no_sense_are_refused(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        Rules(**parameters)
    assert str(caught.value) == said


def test_a_class_that_the_model_does_not_know_cannot_be_expected() -> None:
    with pytest.raises(ParameterError, match="tells low, high apart, so 'hgh' cannot be expected; did you mean 'high'"):
        Rules(expected="hgh").check(CLASSES)
