"""What streaks and detections say about an event, a window or a layer: one row of a structured array each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.measuring.camera import Camera, check_camera
from spatterlib.measuring.gasflow import GasModel, gas_index
from spatterlib.types import Detections

__all__ = ["DESCRIPTOR", "describe", "turned", "windows"]

DESCRIPTOR = np.dtype(
    [
        ("group", "<i8"),
        ("start", "<f8"),
        ("stop", "<f8"),
        ("detections", "<i8"),
        ("streaks", "<i8"),
        ("rate", "<f4"),
        ("per_mm2", "<f4"),
        ("speed_10", "<f4"),
        ("speed_50", "<f4"),
        ("speed_90", "<f4"),
        ("angle", "<f4"),
        ("angle_spread", "<f4"),
        ("length", "<f4"),
        ("turn", "<f4"),
        ("drift", "<f4"),
        ("plume_area", "<f4"),
        ("intensity", "<f4"),
        ("clear_time", "<f4"),
        ("scan_angle", "<f4"),
        ("gas_speed", "<f4"),
        ("gas_low", "<f4"),
        ("gas_high", "<f4"),
    ]
)
"""One row per group (event, window or layer).

``group``: its number; ``start stop``: s, first and last detection; ``detections streaks``: how many; ``rate``:
streaks per detection; ``per_mm2``: streaks per mm² scanned, NaN where the area is not known; ``speed``: m/s, 10, 50 and
90 % of the measured speeds; ``angle``: degrees, circular mean of the directions; ``angle_spread``: 0 = all the same
way, 1 = all ways; ``length``: mm, median; ``turn``: rad, median amount by which a streak bends; ``drift``: mean cosine
between the streaks and the gas, -1 to 1; ``plume_area``: px², median area of the detections; ``intensity``: grey
levels, median of their mean; ``clear_time``: s, mean over events from the last saturated detection to the last;
``scan_angle``: degrees, as given; ``gas``: m/s, the gas-flow index and its 90 % interval. NaN: not measurable, not
known, or nothing there.
"""

_SATURATED = 250


def windows(times: NDArray[np.float64], seconds: float) -> NDArray[np.int64]:
    """``(n,)`` number of the window of each time, from 1, counted from the first.

    Raises
    ------
    ParameterError
        If the window is not longer than 0 s.
    """
    if not seconds > 0:
        raise ParameterError(f"a window must be longer than 0 s, got {seconds!r}")
    return np.asarray((times - (times.min() if len(times) else 0)) // seconds, np.int64) + 1


def describe(
    streaks: NDArray[np.void],
    table: Detections,
    group: NDArray[np.int64],
    camera: Camera,
    gas: GasModel | None = None,
    *,
    event: NDArray[np.int64] | None = None,
    scanned: dict[int, float] | None = None,
    scan_angle: dict[int, float] | None = None,
) -> NDArray[np.void]:
    """Describe groups of detections and their streaks.

    Parameters
    ----------
    streaks : ndarray
        ``(m,)`` `STREAK`, its `row` counting in `table`.
    table : ndarray
        ``(n,)`` `DETECTION`.
    group : ndarray
        ``(n,)`` int, group of each detection: ``layers(times).number``, ``events(table).number`` or `windows`.
    camera : Camera
        What it cannot measure stays NaN.
    gas : GasModel, optional
        Of a calibration of this camera.
    event : ndarray, optional
        ``(n,)`` int, event of each detection, for the time to clear.
    scanned, scan_angle : dict, optional
        Mm² scanned and scan angle in degrees by group.

    Returns
    -------
    ndarray
        ``(groups,)`` `DESCRIPTOR`, by group.

    Raises
    ------
    ParameterError
        If `group` has not one number per detection.
    """
    if len(group) != len(table):
        raise ParameterError(f"group needs one number per detection, got {len(group)} for {len(table)}")
    numbers = np.unique(group)
    result = np.zeros(len(numbers), DESCRIPTOR)
    for name in DESCRIPTOR.names or ():
        if DESCRIPTOR[name].kind == "f":
            result[name] = np.nan
    able = {item.name for item in check_camera(camera) if item.measurable}
    of_streak = group[streaks["row"]] if len(streaks) else np.empty(0, np.int64)
    for row, number in zip(result, numbers, strict=True):
        own, lines = group == number, streaks[of_streak == number]
        row["group"], row["streaks"] = number, len(lines)
        _from_table(row, table[own])
        if "time to clear" in able and event is not None:
            row["clear_time"] = _clear_time(table[own], event[own])
        _from_streaks(row, lines, camera, able)
        if "gas-flow index" in able:
            row["gas_speed"], row["gas_low"], row["gas_high"] = gas_index(lines, camera, gas)[:3]
        row["scan_angle"] = (scan_angle or {}).get(int(number), np.nan)
        row["per_mm2"] = len(lines) / (scanned or {}).get(int(number), np.nan)
    return result


def _from_table(row: np.void, table: Detections) -> None:
    row["start"], row["stop"], row["detections"] = table["time"].min(), table["time"].max(), len(table)
    row["rate"] = row["streaks"] / len(table)
    row["plume_area"] = np.median(table["area"])
    grey = 0.299 * table["red"] + 0.587 * table["green"] + 0.114 * table["blue"]
    row["intensity"] = np.median(grey)


def _from_streaks(row: np.void, lines: NDArray[np.void], camera: Camera, able: set[str]) -> None:
    if not len(lines):
        return
    angle = np.deg2rad(lines["angle"].astype(np.float64))
    mean = np.exp(1j * angle).mean()
    row["angle"], row["angle_spread"] = np.rad2deg(np.angle(mean)) % 360, 1 - abs(mean)
    row["turn"] = np.median(np.abs(lines["curvature"] * lines["length"]))
    if "length in mm" in able:
        row["length"] = np.median(lines["length"] * camera.scale(lines["start_x"], lines["start_y"]))
    if "drift" in able:
        row["drift"] = np.cos(angle - np.deg2rad(camera.gas_direction or 0.0)).mean()
    speeds = lines["speed"][np.isfinite(lines["speed"])]
    if len(speeds):
        row["speed_10"], row["speed_50"], row["speed_90"] = np.quantile(speeds, [0.1, 0.5, 0.9])


def _clear_time(table: Detections, event: NDArray[np.int64]) -> float:
    """S, mean over events of how long they go on behind their last saturated detection."""
    spans = []
    for number in np.unique(event):
        own = table[event == number]
        bright = own["time"][own["peak"] >= _SATURATED]
        if len(bright):
            spans.append(float(own["time"].max() - bright.max()))
    return float(np.mean(spans)) if spans else np.nan


def turned(rows: NDArray[np.void], turn: float, start: float = 0.0) -> NDArray[np.void]:
    """Rows with the scan angle of a hatch that turns by `turn` degrees from layer to layer: a copy.

    Parameters
    ----------
    rows : ndarray
        ``(n,)`` `DESCRIPTOR`, by layer.
    turn, start : float
        Degrees; `start` is the angle of a layer number 0.
    """
    rows = rows.copy()
    rows["scan_angle"] = (start + turn * rows["group"]) % 360
    return rows
