"""What a camera would make of known flights: simulated recordings of the same geometry, found and matched.

A calibration holds what the simulator's physics says (docs/simulator.md), not what a machine does.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.measuring.camera import BOUNDED_S, FLIGHT_S, Camera, check_same
from spatterlib.measuring.gasflow import FEWEST, GasModel, fit_gas, gas_features
from spatterlib.measuring.speed_model import (
    SpeedModel,
    fit_speeds,
    flight_features,
    shutter_features,
    speed_across,
    whole_flights,
)
from spatterlib.measuring.streaks import STREAK, find_streaks
from spatterlib.simulation import SimulationSettings, simulate_frames

__all__ = ["Calibration", "calibrate", "match_streaks", "observe", "simulated_camera", "streak_points"]

GAS_RANGE = (0.2, 3.0)
"""M/s, gas speeds over which a camera is calibrated."""
_NEAR_PX = 1.5
_MARGIN_PX = 6
# Of the file; 1 had one factor for the foreshortening.
_FORMAT = 2
_FEWEST_STREAKS, _FEWEST_RECORDINGS = 200, 8
_ELEVATION = np.deg2rad(32.0)
# Light that a short exposure needs so that the melt pool still saturates.
_DOSE = 5.4e-3


@dataclass(frozen=True, eq=False)
class Calibration:
    """What simulated recordings of one camera taught.

    Parameters
    ----------
    flights : SpeedModel, optional
        Speeds of whole flights; none where the exposure cuts them.
    foreshortening : SpeedModel, optional
        True speed over that across the line of sight; none where the exposure does not bound streaks.
    gas : GasModel, optional
        The gas-flow index.
    camera : dict
        Identity of the camera that it was made for.
    """

    flights: SpeedModel | None = None
    foreshortening: SpeedModel | None = None
    gas: GasModel | None = None
    camera: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an ``.npz`` file, beside first, then renamed."""
        about = {"format": _FORMAT, "simulated": True, "camera": self.camera}
        parts: dict[str, Any] = {"gas": self.gas, "flight": self.flights, "shutter": self.foreshortening}
        arrays = {f"{kind}_{name}": item for kind, part in parts.items() if part for name, item in vars(part).items()}
        with beside(path) as part, part.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)

    def check(self, camera: Camera) -> None:
        """Refuse a camera that it was not made for; machine, build, material and name may differ.

        Raises
        ------
        ParameterError
            If a quantity that the calibration rests on is another.
        """
        check_same(self.camera, camera, "the calibration", "make one with `spatterlib calibrate-camera`")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        MissingFileError
            If it is not there.
        StoreError
            If it is no calibration, or one of another format.
        """
        if not Path(path).is_file():
            raise MissingFileError(f"no calibration at {path}; `spatterlib calibrate-camera` makes one")
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if about.get("format", 1) != _FORMAT:
                    raise ValueError(
                        f"its format is {about.get('format', 1)}, this version reads {_FORMAT}; make it anew with "
                        "`spatterlib calibrate-camera`"
                    )
                flights, cut = (
                    SpeedModel(**_part(file, f"{kind}_")) if f"{kind}_weights" in file else None
                    for kind in ("flight", "shutter")
                )
                gas = GasModel(**_part(file, "gas_")) if "gas_weights" in file else None
                return cls(flights, cut, gas, about["camera"])
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise StoreError(f"{path} is no calibration of a camera: {error}") from error


def _part(file: Any, prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): file[name] for name in file if name.startswith(prefix)}


def simulated_camera(camera: Camera, gas_speed: float, seed: int, seconds: float) -> SimulationSettings:
    """Settings of a recording that this camera would make.

    Raises
    ------
    ParameterError
        If scale or gas direction are not known.
    """
    if camera.scale(0.0, 0.0) is None or camera.gas_direction is None:
        raise ParameterError(
            "a camera is calibrated by its mm_per_px (or homography) and gas_direction; give them in the profile"
        )
    seen = np.deg2rad(camera.gas_direction)
    above = np.rad2deg(np.arctan2(np.sin(seen) / np.sin(_ELEVATION), np.cos(seen)))
    return SimulationSettings(
        gas_speed=gas_speed,
        gas_direction=float(above),
        seconds=seconds,
        seed=seed,
        fps=camera.frame_rate,
        exposure=min(camera.exposure, 1 / camera.frame_rate),
        mm_per_px=camera.middle_scale(),
        gain=float(np.clip(_DOSE / camera.exposure, 1, 50)),
    )


def streak_points(row: np.void) -> NDArray[np.float64]:
    """``(n, 2)`` px along the arc of a row of `STREAK` or of the simulator's `STREAK_TRUTH`, two to the px."""
    a = np.array([row["start_x"], row["start_y"]], np.float64)
    way = np.array([row["end_x"], row["end_y"]], np.float64) - a
    chord = float(np.hypot(*way))
    t = np.linspace(0, 1, max(int(2 * chord), 2))
    bulge = float(row["curvature"]) * chord / 8 * np.array([-way[1], way[0]])
    return np.asarray(a + t[:, None] * way + (4 * t * (1 - t))[:, None] * bulge)


def match_streaks(streaks: NDArray[np.void], truth: NDArray[np.void]) -> NDArray[np.int64]:
    """Row of the truth that each found streak lies on, one to one, -1 = none.

    A streak lies on a truth where four fifths of it are within 1.5 px of its arc; the pairs that cover each other
    best go first.
    """
    if not len(streaks) or not len(truth):
        return np.full(len(streaks), -1, np.int64)
    paths = [streak_points(row) for row in truth]
    every, own = np.concatenate(paths), np.repeat(np.arange(len(paths)), [len(path) for path in paths])
    pairs = []
    for f, row in enumerate(streaks):
        points = streak_points(row)
        middle = points[len(points) // 2]
        for t in np.unique(own[np.abs(every - middle).max(1) <= 2 * _NEAR_PX]):
            far = np.hypot(*(points[:, None] - paths[t][None]).transpose(2, 0, 1))
            share = (far.min(1) <= _NEAR_PX).mean()
            if share >= 0.8:
                pairs.append((share * (far.min(0) <= _NEAR_PX).mean(), f, int(t)))
    partner, taken = np.full(len(streaks), -1, np.int64), set()
    for _, f, t in sorted(pairs, reverse=True):
        if partner[f] < 0 and t not in taken:
            partner[f] = t
            taken.add(t)
    return partner


def observe(
    settings: SimulationSettings, most: int, every: int = 2, match: bool = True
) -> Iterator[tuple[NDArray[np.void], NDArray[np.void], NDArray[np.int64]]]:
    """Streaks found in the crops of lit frames, in full-frame px, the frame's truth, and the row that each lies on."""
    done = 0
    for frame in simulate_frames(settings, copy=False):
        if frame.number % every or not len(frame.events) or not frame.events["laser"].max() > 0:
            continue
        event = frame.events[np.argmax(frame.events["area"])]
        x, y = max(int(event["x"]) - _MARGIN_PX, 0), max(int(event["y"]) - _MARGIN_PX, 0)
        right, bottom = event["x"] + event["width"] + _MARGIN_PX, event["y"] + event["height"] + _MARGIN_PX
        streaks = find_streaks(frame.rgb[y:bottom, x:right])
        for name, shift in (
            ("start_x", x),
            ("end_x", x),
            ("source_x", x),
            ("start_y", y),
            ("end_y", y),
            ("source_y", y),
        ):
            streaks[name] += shift
        partner = match_streaks(streaks, frame.streaks) if match else np.full(len(streaks), -1)
        yield streaks, frame.streaks, partner
        done += 1
        if done == most:
            return


def calibrate(camera: Camera, recordings: int = 28, crops: int = 40, seed: int = 1000) -> Calibration:
    """Simulate recordings of this camera at gas speeds of 0.2 to 3 m/s and learn from what is found in them.

    Parameters
    ----------
    camera : Camera
        With scale and gas direction.
    recordings, crops : int
        How many recordings, and crops of each.
    seed : int
        Of the first recording.

    Returns
    -------
    Calibration
    """
    whole = camera.exposure >= FLIGHT_S
    features, speeds, windows, recording = [], [], [], []
    for index, speed in enumerate(np.geomspace(*GAS_RANGE, recordings)):
        seen = list(observe(simulated_camera(camera, float(speed), seed + index, _seconds(camera, crops)), crops))
        for streaks, truth, partner in seen:
            known = (partner >= 0) & (whole_flights(streaks, camera) if whole else streaks["cut"] == 0)
            rows, true = streaks[known], truth[partner[known]]["speed"].astype(np.float64)
            features.append(flight_features(rows, camera) if whole else shutter_features(rows, camera))
            speeds.append(true if whole else true / np.maximum(speed_across(rows, camera), 1e-6))
            recording.append(np.full(len(rows), index))
        everything = np.concatenate([streaks for streaks, _, _ in seen]) if seen else np.empty(0, STREAK)
        if whole and len(everything) >= 2 * FEWEST:
            half = len(everything) // 2
            parts = everything[:half], everything[half:]
            windows += [np.append(gas_features(part, camera), np.log(speed)) for part in parts]
    model = None
    if sum(map(len, speeds)) >= _FEWEST_STREAKS:
        own = None if whole else np.concatenate(recording)
        model = fit_speeds(np.concatenate(features), np.concatenate(speeds), own)
    return Calibration(
        model if whole else None,
        model if camera.exposure <= BOUNDED_S else None,
        fit_gas(np.array(windows)) if len(windows) >= 2 * _FEWEST_RECORDINGS else None,
        camera.identity(),
    )


def _seconds(camera: Camera, crops: int) -> float:
    """S that hold so many lit frames: the first layer begins after 0.4 s and lasts some 6.8 s."""
    return 0.6 + 2.5 * crops * 2 / camera.frame_rate if camera.frame_rate > 200 else 0.6 + 7.0 * (1 + crops / 60)
