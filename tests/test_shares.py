"""Shares of classes without times: the interval says what neighbouring crops leave unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spatterlib.verdicts.shares import LEAST, shares


def two(own: NDArray[np.bool_]) -> NDArray[np.float64]:
    sure = np.where(own, 0.9, 0.1)
    return np.stack([sure, 1 - sure], 1)


def drawn(random: np.random.Generator, length: int, count: int, share: float = 0.6) -> NDArray[np.bool_]:
    """Crops in runs of the same kind."""
    return np.repeat(random.random(count // length) < share, length)


@pytest.mark.parametrize(("length", "least"), [(1, 0.93), (5, 0.92), (20, 0.88)])
def test_the_interval_holds_the_true_share_though_neighbours_are_alike(length: int, least: float) -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        found = {item.label: item for item in shares(two(drawn(random, length, 2000)), ("a", "b"))}
        held += found["a"].low <= 0.6 <= found["a"].high
    assert held / 400 >= least


def test_an_interval_of_independent_crops_would_not_hold_it() -> None:
    """Else stretches of neighbours would not be needed."""
    random = np.random.default_rng(1)
    means = np.array([drawn(random, 20, 2000).mean() for _ in range(400)])
    assert (abs(means - 0.6) <= 1.96 * (0.24 / 2000) ** 0.5).mean() < 0.5


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_shares_add_up_and_lie_within_their_intervals(own: list[bool]) -> None:
    found = shares(two(np.array(own)), ("a", "b"))
    assert sum(item.crops for item in found) == len(own)
    assert sum(item.share for item in found) == pytest.approx(1)
    for item in found:
        assert np.isnan(item.low) == np.isnan(item.high) == (len(own) < LEAST)
        assert not item.low > item.share
        assert not item.high < item.share


def test_all_of_one_class_is_not_certainty() -> None:
    [one, other] = shares(two(np.ones(60, bool)), ("a", "b"))
    assert (one.share, one.high) == (1, 1)
    assert 0.9 < one.low < 0.96
    assert other.low == 0 < other.high


def test_crops_without_a_vote_do_not_count() -> None:
    known = two(np.arange(80) % 4 > 0)
    known[::2] = np.nan
    assert sum(item.crops for item in shares(known, ("a", "b"))) == 40
    assert shares(np.full((5, 2), np.nan), ("a", "b")) == ()
