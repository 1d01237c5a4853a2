"""The gas-flow index: an estimate of the gas speed from how streaks drift and bend, label-free, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.measuring.camera import Camera

__all__ = ["FEWEST", "GasIndex", "GasModel", "fit_gas", "gas_features", "gas_index"]

FEWEST = 20
"""Streaks that an index takes at least."""
_RIDGE, _ROOM = 1e-3, 0.1
_FEATURES = ("drift along the gas", "drift across the gas", "turn towards the gas", "", "", "logarithm of the length")
# Squares lie outside with what they are squares of.
_NAMED = np.array([True, True, True, False, False, True])
_DRAWS = 100


class GasIndex(NamedTuple):
    """Gas speed in m/s as the calibration's simulation would have it, with its 90 % interval, and the streaks used.

    Where it is NaN, `reason` says why.
    """

    speed: float
    low: float
    high: float
    streaks: int
    reason: str = ""


@dataclass(frozen=True, eq=False)
class GasModel:
    """Linear model of the logarithm of the gas speed on the features of a window.

    Parameters
    ----------
    mean, scale : ndarray
        ``(k,)`` float64, of the features over the calibration.
    weights : ndarray
        ``(k + 1,)`` float64, the constant last.
    error : float
        Standard deviation of the logarithm of the speed in windows left out.
    reach : ndarray
        ``(2, k)`` float64, least and largest features of the calibration.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    error: NDArray[np.float64] | float
    reach: NDArray[np.float64]

    def outside(self, features: NDArray[np.float64]) -> str:
        """Which of the ``(k,)`` features of a window no recording of the calibration had, in words; empty if none.

        A tenth of the calibration's range on either side is put up with: its recordings are few.
        """
        room = _ROOM * (self.reach[1] - self.reach[0])
        below, above = features < self.reach[0] - room, features > self.reach[1] + room
        told = [
            f"{name} {value:.2f}, calibrated from {low:.2f} to {high:.2f}"
            for name, value, low, high, out in zip(
                _FEATURES, features, *self.reach, (below | above) & _NAMED[: len(features)], strict=True
            )
            if out
        ]
        return "; ".join(told)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(n,)`` logarithm of the gas speed, within 0.1 to 6 m/s; `features` is ``(n, k)``."""
        inside = np.clip(features, self.reach[0], self.reach[1])
        value = ((inside - self.mean) / self.scale) @ self.weights[:-1] + self.weights[-1]
        return np.asarray(np.clip(value, np.log(0.1), np.log(6.0)))


def gas_features(
    streaks: NDArray[np.void], camera: Camera, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """``(6,)`` what the streaks of a window say about the gas; directions are relative to it.

    Mean drift of the directions along the gas, across it, mean turn towards it, and squares of the first and third;
    mean logarithm of the length in mm.
    """
    weight = np.ones(len(streaks)) if weights is None else weights
    weight = weight / weight.sum()
    scale = np.broadcast_to(camera.scale(streaks["start_x"], streaks["start_y"]), streaks.shape)
    away = np.deg2rad(streaks["angle"].astype(np.float64) - (camera.gas_direction or 0.0))
    turn = np.clip(streaks["curvature"].astype(np.float64) * streaks["length"], -2, 2) * np.sin(-away)
    drift, bent = float(weight @ np.cos(away)), float(weight @ turn)
    length = float(weight @ np.log(np.maximum(streaks["length"] * scale, 0.1)))
    return np.array([drift, float(weight @ np.abs(np.sin(away))), bent, drift * drift, bent * bent, length])


def fit_gas(windows: NDArray[np.float64]) -> GasModel:
    """Fit the model to windows of known gas speed: ``(n, k + 1)``, features, logarithm of the speed.

    Its error is that of windows left out, two neighbours at a time: they come from one recording.
    """
    features, target = windows[:, :-1], windows[:, -1]
    mean, scale = features.mean(0), features.std(0) + 1e-9
    design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    residuals = []
    for first in range(0, len(windows), 2):
        kept = np.ones(len(windows), bool)
        kept[first : first + 2] = False
        residuals.append(target[~kept] - design[~kept] @ _solve(design[kept], target[kept]))
    error = float(np.sqrt(np.mean(np.concatenate(residuals) ** 2)))
    return GasModel(mean, scale, _solve(design, target), error, np.stack([features.min(0), features.max(0)]))


def _solve(design: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    penalty = np.full(design.shape[1], _RIDGE * len(design))
    penalty[-1] = 0.0
    return np.asarray(np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ target), np.float64)


def gas_index(streaks: NDArray[np.void], camera: Camera, model: GasModel | None) -> GasIndex:
    """Gas speed from the streaks of a window, NaN where there are fewer than `FEWEST` or no model.

    Outside the features of the calibration it is NaN too: of a picture that is mirrored, turned, or of another scale it
    would be sure and wrong. The interval joins the model's error with how much the estimate moves when the streaks are
    drawn anew (bootstrap).
    """
    known = streaks[np.isfinite(streaks["angle"])]
    features = gas_features(known, camera) if len(known) >= FEWEST and camera.gas_direction is not None else None
    if model is None or camera.gas_direction is None:
        reason = "no calibration of this camera" if model is None else "gas_direction is not given"
    elif features is None:
        reason = f"{len(known)} of the {FEWEST} streaks that are needed"
    else:
        reason = model.outside(features)
    if model is None or features is None or reason:
        return GasIndex(np.nan, np.nan, np.nan, len(known), reason)
    draw = np.random.Generator(np.random.Philox(key=[len(known), 7]))
    counts = draw.multinomial(len(known), np.full(len(known), 1 / len(known)), _DRAWS).astype(np.float64)
    drawn = np.array([gas_features(known, camera, count) for count in counts])
    middle = float(model.predict(features[None])[0])
    spread = 1.645 * float(np.hypot(float(model.error), model.predict(drawn).std()))
    return GasIndex(float(np.exp(middle)), float(np.exp(middle - spread)), float(np.exp(middle + spread)), len(known))
