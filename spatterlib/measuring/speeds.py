"""Speeds from streaks, by the estimator that the exposure allows, each with a 90 % interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.camera import Camera, check_camera
from spatterlib.measuring.speed_model import (
    END_PX,
    SpeedModel,
    flight_features,
    shutter_features,
    speed_across,
    whole_flights,
)
from spatterlib.measuring.streaks import BORDER, JOINED, ZONE

__all__ = ["ESTIMATORS", "measure_speeds"]

ESTIMATORS = ("none", "exposure", "flight")
"""How a speed was estimated."""


def measure_speeds(
    streaks: NDArray[np.void], camera: Camera, calibration: Calibration | None = None
) -> NDArray[np.void]:
    """Fill in speed, interval and estimator where the camera allows.

    Parameters
    ----------
    streaks : ndarray
        ``(n,)`` `STREAK`, places in full-frame px.
    camera : Camera
        Its profile.
    calibration : Calibration, optional
        Of this camera; without it whole flights have no speed, and speeds by exposure are those across the line of
        sight, their upper limit infinite: the way along it is unseen.

    Returns
    -------
    ndarray
        ``(n,)`` `STREAK`, a copy.
    """
    rows = streaks.copy()
    able = {quantity.name: quantity.measurable for quantity in check_camera(camera)}
    rows["speed"] = rows["speed_low"] = rows["speed_high"] = np.nan
    rows["estimator"] = 0
    if able["speed, exposure"]:
        _by_exposure(rows, camera, calibration.foreshortening if calibration else None)
    elif able["speed, flight"] and calibration is not None and calibration.flights is not None:
        _by_flight(rows, camera, calibration.flights)
    return rows


def _by_exposure(rows: NDArray[np.void], camera: Camera, model: SpeedModel | None) -> None:
    """Length over exposure, for streaks of which both ends are seen."""
    whole = (rows["cut"] & (BORDER | ZONE | JOINED)) == 0
    seen = speed_across(rows, camera)
    if model is None:
        blur = 1 + 1.645 * END_PX / np.maximum(rows["length"], END_PX)
        factors = np.column_stack([np.ones(len(rows)), 1 / blur, np.full(len(rows), np.inf)])
    else:
        factors = model.predict(shutter_features(rows, camera))
    for column, name in enumerate(("speed", "speed_low", "speed_high")):
        rows[name] = np.where(whole, seen * factors[:, column], np.nan)
    rows["estimator"] = np.where(whole, 1, 0)


def _by_flight(rows: NDArray[np.void], camera: Camera, model: SpeedModel) -> None:
    whole = whole_flights(rows, camera)
    if whole.any():
        speeds = model.predict(flight_features(rows[whole], camera))
        for column, name in enumerate(("speed", "speed_low", "speed_high")):
            rows[name][whole] = speeds[:, column]
        rows["estimator"][whole] = 2
