from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from spatterlib_background import Background, Filled

import spatterlib as sp
from spatterlib.errors import ParameterError
from spatterlib.testing import Check, detector_checks, filter_checks


@pytest.mark.parametrize("check", detector_checks(Background()))
def test_the_detector_conforms(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", filter_checks(Filled()))
def test_the_filter_conforms(check: Check) -> None:
    check()


def test_it_is_found(isolated_catalog: Callable[..., None]) -> None:
    isolated_catalog("spatterlib-background")
    assert sp.catalog().failed == ()
    assert sp.make("detector", "background", window=5) == Background(window=5)
    assert sp.make("filter", "filled") == Filled()


def frames() -> np.ndarray:
    """A lamp that is always on, and a plume of two pieces in frame 8."""
    made = np.full((12, 90, 120, 3), 10, np.uint8)
    made[:, 60:80, 80:110] = 200
    made[8, 20:40, 20:40] = 180
    made[8, 20:40, 46:60] = 180
    return made


def test_a_plume_in_pieces_is_one_row_and_a_steady_light_is_none() -> None:
    [row] = Background()(sp.Clip.of(frames()))
    assert row["frame"] == 8
    assert row["x"] <= 20
    assert row["x"] + row["width"] >= 60
    assert len(Background(gap=0)(sp.Clip.of(frames()))) == 2


def test_a_streak_is_dropped() -> None:
    table = np.zeros(2, sp.DETECTION)
    table["width"], table["height"], table["area"] = 10, 10, [80, 12]
    assert Filled()(table, sp.Clip.of(frames())).tolist() == [True, False]


@pytest.mark.parametrize("wrong", [{"window": 0}, {"threshold": 255}, {"blur": 4}, {"gap": -1}])
def test_wrong_parameters_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ParameterError):
        Background(**wrong)
