"""Whether a layer is like the good ones: what is unlike is found, and good ones are called so as often as is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_data import make_layers

import spatterlib as sp
from spatterlib.errors import ParameterError
from spatterlib.learning.good_layers import ASPECTS, FEWEST_GOOD, NOVEL, GoodLayers, LayerLooks

SIZES = (8, 5, 3, 1)


def looks(random: np.random.Generator, count: int, shift: tuple[float, ...] = (0, 0, 0, 0)) -> LayerLooks:
    aspects = tuple(random.normal(away, 1, (count, size)) for size, away in zip(SIZES, shift, strict=True))
    return LayerLooks(np.arange(count), np.arange(count, dtype=float), aspects)


def test_layers_of_another_kind_are_found_among_good_ones(tmp_path: Path) -> None:
    kinds = ["low"] * (FEWEST_GOOD + 2) + ["high"] * 2
    found = sp.novel_layers(make_layers(tmp_path / "build.h5", kinds), FEWEST_GOOD)
    assert [layer.layer for layer in found] == [21, 22, 23, 24]
    # Of so few good layers none can be rarer than this.
    assert [layer.p for layer in found[2:]] == [pytest.approx(1 / 21)] * 2


def test_good_layers_may_come_from_other_stores(tmp_path: Path) -> None:
    good = [make_layers(tmp_path / f"{number}.h5", ["low"] * 10, number) for number in range(2)]
    [layer] = sp.novel_layers(make_layers(tmp_path / "new.h5", ["high"], 5, 60), good)
    assert layer.p == pytest.approx(1 / 21)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.integers(0, 99))
def test_it_is_said_in_what_a_layer_is_unlike(aspect: int, seed: int) -> None:
    random, shift = np.random.default_rng(seed), [0.0] * 4
    shift[aspect] = 50.0
    [found] = GoodLayers.of([looks(random, 40)]).compare(looks(random, 1, tuple(shift)))
    assert found.p == pytest.approx(1 / 41)
    assert found.aspect == ASPECTS[aspect]


def test_good_layers_are_called_unlike_as_often_as_is_said() -> None:
    random = np.random.default_rng(2)
    p = [layer.p for _ in range(60) for layer in GoodLayers.of([looks(random, 39)]).compare(looks(random, 20))]
    assert abs(np.mean(np.array(p) <= NOVEL) - NOVEL) < 0.03
    assert abs(np.mean(np.array(p) <= 0.5) - 0.5) < 0.06


def test_the_order_of_good_layers_does_not_matter() -> None:
    random = np.random.default_rng(4)
    good, new = looks(random, 30), looks(random, 5)
    turned = LayerLooks(good.number, good.start, tuple(aspect[::-1] for aspect in good.aspects))
    assert GoodLayers.of([good]).compare(new) == GoodLayers.of([turned]).compare(new)


def test_too_few_good_layers_are_refused() -> None:
    with pytest.raises(ParameterError, match="20 good ones or more, got 19"):
        GoodLayers.of([looks(np.random.default_rng(0), FEWEST_GOOD - 1)])


def test_a_model_that_does_not_say_what_it_sees_is_refused(tmp_path: Path) -> None:
    class Closed:
        classes, preprocessing = ("high", "low"), sp.load_model("simulated").preprocessing

    with pytest.raises(ParameterError, match="a Closed does not say what it sees"):
        sp.novel_layers(tmp_path / "a.h5", 20, Closed())  # type: ignore[arg-type]
