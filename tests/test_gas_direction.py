"""Where the gas flows to: read off streaks, said, and how crops are turned by it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.learning.gas_direction import common_direction, estimated, is_mirrored, suits
from spatterlib.learning.looks import mirrored, streak_sums
from spatterlib.verdicts.scoring import Scorer


def drifting(mean: float, crops: int = 40, seed: int = 3) -> NDArray[np.float64]:
    """Sums of crops of ten streaks each, whose cosines scatter about a mean."""
    cosines = np.random.default_rng(seed).normal(mean, 0.6, (crops, 10))
    return np.stack([np.full(crops, 10.0), cosines.sum(1)], 1)


@pytest.mark.parametrize(("mean", "direction"), [(-0.3, 180.0), (0.3, 0.0), (0.0, None)])
def test_the_drift_of_streaks_tells_the_side(mean: float, direction: float | None) -> None:
    assert estimated(drifting(mean)) == direction


def known_by(direction: float | None, seen: float | None) -> str:
    """Why there is no verdict by the model that comes with the package, with gas to the left in its training."""
    run = sp.load_model("simulated")
    told = dataclasses.replace(run, facts={**run.facts, "gas_direction": 180.0})
    familiar = dataclasses.replace(Scorer.of(told).familiar, spans=object())  # type: ignore[type-var]
    return dataclasses.replace(Scorer.of(told, direction), familiar=familiar).known(seen, sp.Rules()).refused


@pytest.mark.parametrize(
    ("direction", "seen", "words"),
    [
        (None, 180.0, ""),
        (None, None, "give gas_direction"),
        (None, 0.0, "say gas_direction=0"),
        (180.0, None, ""),
        (0.0, 180.0, ""),
        (180.0, 0.0, "against the gas direction that was given"),
        (90.0, None, "the gas flows to 90 degrees"),
    ],
)
def test_without_a_direction_that_the_model_knows_there_is_no_verdict(
    direction: float | None, seen: float | None, words: str
) -> None:
    found = known_by(direction, seen)
    assert words in found
    assert bool(words) == bool(found)


def test_few_crops_tell_nothing() -> None:
    assert estimated(drifting(-0.9, crops=5)) is None
    assert estimated(np.full((50, 2), -1.0)) is None
    assert estimated(np.empty((0, 2))) is None


@given(direction=st.floats(-360, 360))
def test_a_mirrored_direction_is_the_same_once_more_mirrored(direction: float) -> None:
    assert suits(direction, direction)
    assert suits(direction, direction + 360)
    assert is_mirrored(direction, direction) is False
    steep = abs(np.cos(np.deg2rad(direction))) < 0.7
    if not steep:
        assert is_mirrored(180 - direction, direction) is True


@pytest.mark.parametrize(
    ("all_of_them", "common"),
    [([180, 170], 180), ([0, 180], 0), ([180, None], None), ([180, 90], None), ([90, 80], 90), ([], None)],
)
def test_recordings_have_a_direction_in_common_or_none(all_of_them: list[float | None], common: float | None) -> None:
    assert common_direction(all_of_them) == common


def test_streaks_of_a_mirrored_crop_are_the_mirrored_streaks() -> None:
    import cv2

    crop = np.zeros((90, 120, 3), np.uint8)
    cv2.circle(crop, (60, 70), 8, (255, 255, 255), -1)
    for x, y in ((20, 20), (30, 60), (100, 30)):
        cv2.line(crop, (60, 70), (x, y), (190, 120, 60), 1, cv2.LINE_AA)
    crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), 0.7), np.uint8)
    ours, theirs = streak_sums(crop), streak_sums(np.ascontiguousarray(crop[:, ::-1]))
    assert ours[0] >= 3
    turned = mirrored(theirs)
    assert turned is not None
    np.testing.assert_allclose(ours, turned, atol=0.15 * ours[0])
