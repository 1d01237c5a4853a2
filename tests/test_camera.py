"""A profile says what a camera can measure, and why not what it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatterlib.cli.main import main
from spatterlib.errors import MissingFileError, ParameterError
from spatterlib.measuring.camera import Camera, check_camera, load_camera, save_camera


def able(camera: Camera) -> dict[str, bool]:
    return {item.name: item.measurable for item in check_camera(camera)}


def test_a_profile_comes_back_from_its_file(tmp_path: Path) -> None:
    camera = Camera(25, 0.036, homography=((0.4, 0, -100), (0, 0.8, -90), (0, 0, 1)), gas_direction=180, machine="M 1")
    save_camera(camera, tmp_path / "camera.toml")
    assert load_camera(tmp_path / "camera.toml") == camera


def test_each_exposure_has_its_estimator() -> None:
    long, short, between = (
        Camera(fps, s, mm_per_px=0.1, gas_direction=0) for fps, s in ((25, 0.036), (1000, 9e-4), (100, 8e-3))
    )
    assert (able(long)["speed, flight"], able(long)["speed, exposure"]) == (True, False)
    assert (able(short)["speed, flight"], able(short)["speed, exposure"]) == (False, True)
    assert (able(between)["speed, flight"], able(between)["speed, exposure"]) == (False, False)
    assert able(long)["gas-flow index"]
    assert not able(short)["gas-flow index"]


def test_a_coarse_camera_cannot_measure_short_streaks() -> None:
    found = {item.name: item for item in check_camera(Camera(1000, 9e-4, mm_per_px=0.4))}
    assert not found["speed, exposure"].measurable
    assert "px" in found["speed, exposure"].reason


def test_without_scale_or_gas_direction_there_is_little() -> None:
    found = able(Camera(25, 0.036))
    assert [name for name, yes in found.items() if yes] == ["streaks", "time to clear"]


@pytest.mark.parametrize(
    "values",
    [
        {"frame_rate": 0, "exposure": 0.01},
        {"frame_rate": 25, "exposure": 0.05},
        {"frame_rate": 25, "exposure": 0.036, "mm_per_px": -1},
        {"frame_rate": 25, "exposure": 0.036, "homography": ((0, 0, 0),) * 3},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Camera(**values)


def test_the_scale_of_a_homography_is_that_across_the_line_of_sight() -> None:
    # A bed seen at 30 degrees: twice as many mm per px away from the camera as across.
    camera = Camera(25, 0.036, homography=((0.4, 0, 0), (0, 0.8, 0), (0, 0, 1)))
    assert camera.scale(10.0, 20.0) == pytest.approx(0.4)
    assert camera.middle_scale() == pytest.approx(0.4)
    near, far = camera.scale(np.array([0.0, 50.0]), np.array([0.0, 9.0]))
    assert near == pytest.approx(far)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame_rate = 25", "no table"),
        ("[camera]\nframe_rate = 25", "lacks exposure"),
        ("[camera]\nframe_rate = 25\nexposure = 0.036\nzoom = 2", "does not know zoom"),
        ("[camera]\nframe_rate = '25'\nexposure = 0.036", "wrong type"),
        ("[camera", "no TOML"),
    ],
)
def test_a_faulty_profile_is_named_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "camera.toml").write_text(text)
    with pytest.raises(ParameterError, match=message):
        load_camera(tmp_path / "camera.toml")


def test_a_missing_profile_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        load_camera(tmp_path / "none.toml")


def test_the_command_says_yes_and_no_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_camera(Camera(25, 0.036), tmp_path / "camera.toml")
    assert main(["check-camera", str(tmp_path / "camera.toml")]) == 0
    said = capsys.readouterr().out
    assert "no   length in mm" in said
    assert "neither mm_per_px nor homography" in said
