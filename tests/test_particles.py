"""The detector of particles: what is small and bright is found to a fraction of a pixel, whatever glows behind it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.detection.particles import Particles
from spatterlib.errors import ParameterError

SPREAD = 0.7


def drawn(
    spots: list[tuple[float, float, float, float]], noise: float = 0.0, glow: float = 0.0, size: int = 96
) -> NDArray[np.uint8]:
    """Spots of x, y, length and angle, each as many small blobs along its smear, over a plume-like glow."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    light = glow * np.exp(-((x - 48) ** 2 + (y - 60) ** 2) / (2 * 20.0**2))
    for middle_x, middle_y, length, angle in spots:
        for part in np.linspace(-0.5, 0.5, 41):
            u = middle_x + part * length * np.cos(np.deg2rad(angle))
            v = middle_y - part * length * np.sin(np.deg2rad(angle))
            light += 170 / 41 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * SPREAD**2))
    grain = np.random.default_rng(5).normal(0, noise, light.shape)
    return np.asarray(np.clip(np.rint(light + grain), 0, 255), np.uint8)


GRID = [(12.3 + 18 * i, 11.8 + 17.7 * j, 0.0, 0.0) for i in range(5) for j in range(5)]


@pytest.mark.parametrize(("noise", "glow", "within"), [(0, 0, 0.06), (3, 0, 0.12), (0, 60, 0.08), (3, 60, 0.15)])
def test_each_particle_is_found_once_and_in_its_place(noise: float, glow: float, within: float) -> None:
    found = Particles().particles(drawn(GRID, noise, glow))
    apart = np.hypot(found["x"][:, None] - [s[0] for s in GRID], found["y"][:, None] - [s[1] for s in GRID])
    assert len(found) == len(GRID)
    assert sorted(apart.argmin(1)) == list(range(len(GRID)))
    assert np.median(apart.min(1)) < within
    assert np.percentile(apart.min(1) / found["error"], 90) < 3


@pytest.mark.parametrize("angle", [0, 25, 90, 135])
def test_a_smear_tells_its_direction_and_length(angle: float) -> None:
    (found,) = Particles().particles(drawn([(48.2, 47.6, 6.0, angle)], noise=2))
    assert abs((found["angle"] - angle + 90) % 180 - 90) < 3
    assert found["length"] == pytest.approx(6, abs=1.5)
    assert found["angle_error"] < 10
    assert np.hypot(found["x"] - 48.2, found["y"] - 47.6) < 0.2


def test_of_a_round_particle_no_direction_is_claimed() -> None:
    (found,) = Particles().particles(drawn([(48, 48, 0, 0)], noise=2))
    assert found["angle_error"] > 20
    assert found["size"] == pytest.approx(2.355 * SPREAD, abs=0.3)


def test_two_that_touch_are_two() -> None:
    found = Particles().particles(drawn([(40, 40, 0, 0), (43, 40, 0, 0)]))
    assert np.round(np.sort(found["x"])).tolist() == [40, 43]


@pytest.mark.parametrize("level", [0, 40, 255])
def test_a_frame_without_particles_has_none(level: int) -> None:
    assert len(Particles().particles(np.full((64, 80), level, np.uint8))) == 0


def test_a_melt_pool_is_no_particle() -> None:
    y, x = np.mgrid[0:128, 0:128]
    pool = np.clip(400 * np.exp(-((x - 64) ** 2 + (y - 64) ** 2) / (2 * 12**2)), 0, 255).astype(np.uint8)
    assert len(Particles().particles(pool)) == 0


def test_noise_alone_is_no_particle() -> None:
    grain = np.random.default_rng(1).normal(60, 4, (20, 128, 128))
    assert sum(len(Particles().particles(frame)) for frame in np.clip(grain, 0, 255).astype(np.uint8)) <= 6


def test_rows_and_measures_belong_together_in_a_part_of_the_frame_too() -> None:
    frames = np.stack([drawn(GRID), drawn(GRID[:7])])
    clip = sp.Clip.of(frames, 1000)
    detector = Particles()
    table, measured = detector(clip), detector.measure(clip)
    assert table["frame"].tolist() == measured["frame"].tolist()
    assert (np.abs(table["x"] + table["width"] / 2 - 0.5 - measured["x"]) < 2).all()
    assert table["frame"].tolist().count(1) == 7


@pytest.mark.parametrize("wrong", [{"snr": 0}, {"width": 8}, {"rise": -1}, {"texture": float("nan")}, {"largest": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Particles(**wrong)  # type: ignore[arg-type]
