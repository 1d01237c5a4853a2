"""A model knows what its crops looked like, and tells what does not look like that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import StoreError
from spatterlib.learning.looks import features
from spatterlib.learning.novelty import QUANTILE, Familiar


def glows(count: int, seed: int, level: float = 20, width: float = 60) -> NDArray[np.uint8]:
    """Prepared crops: a glow on a background."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    places = random.normal(20, 2, (count, 2, 1, 1))
    distance = (x - places[:, 0]) ** 2 + (y - places[:, 1]) ** 2
    light = level + random.normal(0, 4, (count, 40, 40)) + 200 * np.exp(-distance / width)
    grey: NDArray[np.uint8] = np.clip(light, 0, 255).astype(np.uint8)
    return grey[..., None]


def known() -> Familiar:
    return Familiar.of(glows(600, 1), np.arange(400), np.arange(400, 600))


@settings(deadline=None, max_examples=20)
@given(size=st.integers(4, 50), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_features_are_what_they_say(size: int, channels: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, size, size, channels), dtype=np.uint8)
    edges = np.arange(5) * size // 4
    for grey, found in zip(images.mean(3), features(images), strict=True):
        cells = [grey[edges[a] : edges[a + 1], edges[b] : edges[b + 1]].mean() for a in range(4) for b in range(4)]
        steps = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (1, 0)]
        np.testing.assert_allclose(found**2, [*cells, grey.std(), *steps], atol=1e-9)


def test_features_of_some_rows_are_those_of_the_rows() -> None:
    images = glows(30, 2)
    np.testing.assert_array_equal(features(images, np.array([7, 3])), features(images)[[7, 3]])


def test_crops_of_the_same_kind_are_near() -> None:
    assert (known().distances(glows(500, 9)) > 1).mean() < 4 * (1 - QUANTILE)


@pytest.mark.parametrize("other", [{"level": 120}, {"width": 600}, {"level": 0, "width": 5}])
def test_crops_of_another_kind_are_far(other: dict[str, float]) -> None:
    assert (known().distances(glows(100, 9, **other)) > 1).mean() > 0.95


def test_it_is_saved_and_read(tmp_path: Path) -> None:
    known().save(tmp_path)
    assert Familiar.load(tmp_path) == known()
    assert Familiar.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["", "{}", '{"mean": [1, 2], "whitening": [[1]], "limit": 1, "crops": 3}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "familiar.json").write_text(text)
    with pytest.raises(StoreError, match=r"familiar\.json is damaged"):
        Familiar.load(tmp_path)


def test_crops_that_are_all_alike_do_not_break_it() -> None:
    same = np.zeros((5, 40, 40, 1), np.uint8)
    found = Familiar.of(same, np.arange(3), np.arange(3, 5))
    assert np.isfinite(found.distances(glows(3, 1))).all()
    assert found.distances(same[:0]).shape == (0,)


def test_the_model_that_comes_with_the_package_has_it() -> None:
    run = sp.load_model("simulated")
    assert run.simulated
    assert run.facts["split"]["name"] == "grouped"
    assert Familiar.load(run.path) is not None
    assert not any("/" in source["path"] for source in run.facts["sources"])
