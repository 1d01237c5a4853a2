from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from spatterlib_mog2 import Mog2

import spatterlib as sp
from spatterlib.errors import ParameterError
from spatterlib.testing import Check, detector_checks


@pytest.mark.parametrize("check", detector_checks(Mog2(history=8)))
def test_it_conforms(check: Check) -> None:
    check()


def test_it_is_found(isolated_catalog: Callable[..., None]) -> None:
    isolated_catalog("spatterlib-mog2")
    assert sp.make("detector", "mog2", history=5) == Mog2(history=5)


def test_a_flash_is_one_row_and_a_steady_light_is_none() -> None:
    frames = np.random.default_rng(0).normal(20, 2, (30, 60, 80, 3)).astype(np.uint8)
    frames[:, 40:50, 60:75] = 200
    frames[25, 10:30, 10:30] = 220
    found = Mog2()(sp.Clip.of(frames))
    [row] = found[found["area"] > 100]
    assert row["frame"] == 25
    assert (abs(row["x"] - 10) <= 2, abs(row["width"] - 20) <= 4) == (True, True)


@pytest.mark.parametrize("wrong", [{"history": 0}, {"threshold": 0}, {"join": 0}])
def test_wrong_parameters_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ParameterError):
        Mog2(**wrong)
