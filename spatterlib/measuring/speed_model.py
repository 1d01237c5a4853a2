"""How fast a streak is, from what it looks like: features, and a model that simulated flights of known speed teach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatterlib.measuring.camera import Camera
from spatterlib.measuring.streaks import BORDER, JOINED, ZONE

__all__ = ["END_PX", "SpeedModel", "fit_speeds", "flight_features", "shutter_features", "speed_across", "whole_flights"]

END_PX = 0.6
"""Px, standard deviation of a measured length: two ends."""
_AT_SOURCE_MM = 4.0
_NO_SOURCE_MM = 10.0
_CLASSES, _FOLDS = 6, 5
_PENALTY = 2e-3


def speed_across(streaks: NDArray[np.void], camera: Camera) -> NDArray[np.float64]:
    """``(n,)`` m/s, length over exposure: the speed across the line of sight."""
    scale = np.broadcast_to(camera.scale(streaks["start_x"], streaks["start_y"]), streaks.shape)
    return np.asarray(streaks["length"] * scale / 1e3 / camera.exposure, np.float64)


def shutter_features(streaks: NDArray[np.void], camera: Camera) -> NDArray[np.float64]:
    """``(n, 8)`` what a streak that the shutter cuts tells about the way along the line of sight, which is unseen.

    Logarithm of the speed across the line of sight: what looks slow often flies towards the camera or away from it.
    Reciprocal of its length in px: both ends are blurred. Direction along the gas and across it: particles leave the
    bed upwards, so that those which seem to fly down come towards the camera. Logarithms of brightness and width;
    logarithm of the distance from the source in mm, and cosine between the direction and the way from there.
    """
    away = np.deg2rad(streaks["angle"].astype(np.float64) - (camera.gas_direction or 0.0))
    scale = np.broadcast_to(camera.scale(streaks["start_x"], streaks["start_y"]), streaks.shape)
    x, y = ((streaks[f"start_{n}"] + streaks[f"end_{n}"]).astype(np.float64) / 2 - streaks[f"source_{n}"] for n in "xy")
    outwards = np.arctan2(-y, x) - np.deg2rad(streaks["angle"].astype(np.float64))
    return np.column_stack(
        [
            np.log(np.maximum(speed_across(streaks, camera), 1e-3)),
            1 / np.maximum(streaks["length"].astype(np.float64), 3),
            np.cos(away),
            np.sin(away),
            np.log(np.maximum(streaks["brightness"], 1)),
            np.log(np.maximum(streaks["width"], 0.5)),
            np.log(np.nan_to_num(np.hypot(x, y) * scale, nan=_NO_SOURCE_MM).clip(0.3, 100)),
            np.nan_to_num(np.cos(outwards), nan=1.0),
        ]
    ).astype(np.float64)


def whole_flights(streaks: NDArray[np.void], camera: Camera) -> NDArray[np.bool_]:
    """``(n,)`` bool: begins at the melt pool, and ends by itself, not at a border or in another streak."""
    whole: NDArray[np.bool_] = ((streaks["cut"] & ZONE) > 0) | (_from_source(streaks, camera) < _AT_SOURCE_MM)
    whole &= (streaks["cut"] & (BORDER | JOINED)) == 0
    return whole


def _from_source(streaks: NDArray[np.void], camera: Camera) -> NDArray[np.float64]:
    """Mm from the source to the start of each streak, infinite where there is no source."""
    far = np.hypot(streaks["start_x"] - streaks["source_x"], streaks["start_y"] - streaks["source_y"])
    scale = camera.scale(streaks["start_x"], streaks["start_y"])
    return np.asarray(np.nan_to_num(far.astype(np.float64) * scale, nan=np.inf), np.float64)


def flight_features(streaks: NDArray[np.void], camera: Camera) -> NDArray[np.float64]:
    """``(n, 9)`` what a whole flight tells about its speed.

    Logarithm of its length in mm: cooling bounds the time, so it grows with the speed. Turn in rad, and turn
    towards the gas: for given gravity and drag they fall with the speed. Direction along the gas and across it, fading
    from first to last third, whether it comes out of the saturated zone, distance of its start from the source in mm,
    logarithm of its brightness.
    """
    scale = np.broadcast_to(camera.scale(streaks["start_x"], streaks["start_y"]), streaks.shape)
    away = np.deg2rad(streaks["angle"].astype(np.float64) - (camera.gas_direction or 0.0))
    turn = np.clip(streaks["curvature"].astype(np.float64) * streaks["length"], -2, 2)
    fading = np.clip(streaks["last_brightness"] / np.maximum(streaks["first_brightness"], 1), 0.05, 2)
    return np.column_stack(
        [
            np.log(np.maximum(streaks["length"] * scale, 0.1)),
            np.abs(turn),
            np.cos(away),
            np.sin(away),
            np.log(fading),
            (streaks["cut"] & ZONE) > 0,
            np.minimum(_from_source(streaks, camera), 100.0),
            -turn * np.sin(away),
            np.log(np.maximum(streaks["brightness"], 1)),
        ]
    ).astype(np.float64)


@dataclass(frozen=True, eq=False)
class SpeedModel:
    """Polynomial of second degree of features of a streak, learned from simulated ones: the logarithm of a speed.

    Of whole flights it is the speed itself, of streaks that the shutter cuts the ratio to that across the line of
    sight.

    Parameters
    ----------
    mean, scale : ndarray
        ``(k,)`` float64, of the features.
    weights : ndarray
        ``(1 + k + k * (k + 1) / 2,)`` float64.
    edges, low, high : ndarray
        Logarithms that bound classes of the estimate, and 5 and 95 % of the residuals in each class.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    edges: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(n, 3)`` m/s or ratio: estimate, 5 %, 95 %; `features` is ``(n, k)``."""
        middle = _square((features - self.mean) / self.scale) @ self.weights
        part = np.searchsorted(self.edges, middle)
        return np.exp(np.column_stack([middle, middle + self.low[part], middle + self.high[part]]))


def _square(features: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded = np.clip(features, -3, 3)
    i, j = np.triu_indices(features.shape[1])
    return np.column_stack([np.ones(len(features)), bounded, bounded[:, i] * bounded[:, j]])


def fit_speeds(
    features: NDArray[np.float64], speeds: NDArray[np.float64], recording: NDArray[np.int64] | None = None
) -> SpeedModel:
    """Fit to streaks of known speed, least absolute error of the logarithm (iteratively reweighted least squares).

    Parameters
    ----------
    features : ndarray
        ``(n, k)`` as `flight_features` or `shutter_features` gives them.
    speeds : ndarray
        ``(n,)`` m/s, or their ratio to `speed_across`.
    recording : ndarray, optional
        ``(n,)`` number of the recording of each; residuals are then those of recordings left out, a fifth at a time.
    """
    target, mean, scale = np.log(speeds), features.mean(0), features.std(0) + 1e-9
    design = _square((features - mean) / scale)
    weights = _least_absolute(design, target)
    guess = design @ weights
    residual = target - guess
    for part in range(_FOLDS) if recording is not None else ():
        out = np.asarray(recording) % _FOLDS == part
        residual[out] = target[out] - design[out] @ _least_absolute(design[~out], target[~out])
    edges = np.quantile(guess, np.linspace(0, 1, _CLASSES + 1)[1:-1])
    classes = [residual[np.searchsorted(edges, guess) == part] for part in range(_CLASSES)]
    low, high = (np.array([np.quantile(part, share) for part in classes]) for share in (0.05, 0.95))
    return SpeedModel(mean, scale, weights, edges, low, high)


def _least_absolute(design: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = _weighted(design, target, np.ones(len(target)))
    for _ in range(8):
        weights = _weighted(design, target, 1 / np.maximum(np.abs(target - design @ weights), 0.05))
    return weights


def _weighted(
    design: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    left = (design * weight[:, None]).T
    penalty = _PENALTY * weight.sum() * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(left @ design + penalty, left @ target))
