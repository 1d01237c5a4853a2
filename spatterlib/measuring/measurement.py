"""Streaks of a whole store: a pass over its crops, and the second table beside it.

The table lies in a file of its own, ``<store>.streaks.npz``: a store holds one value per detection, and a detection
has any number of streaks; a file beside it leaves every kind of store, third parties' too, as it is, can be made anew
at any time without touching crops, and is whole or not there.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside
from spatterlib.common.threads import on_every_core, one_opencv_thread
from spatterlib.common.workers import Caller, Shared, spread
from spatterlib.detection.defaults import Gap
from spatterlib.detection.events import events
from spatterlib.detection.layers import gap_of, layers
from spatterlib.errors import MissingFileError, StoreError
from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.camera import Camera, check_camera
from spatterlib.measuring.descriptors import describe, turned, windows
from spatterlib.measuring.speeds import ESTIMATORS, measure_speeds
from spatterlib.measuring.streaks import STREAK, Finder, find_streaks
from spatterlib.stores.chunks import ranges
from spatterlib.stores.opening import is_simulated, open_store
from spatterlib.types import Detections, Image, Store

__all__ = ["Measured", "crop_streaks", "describe_by", "layer_rows", "measure_store", "streaks_path"]

# Crops at a time, of a thread here and of a worker elsewhere.
_BATCH, _TASK = 64, 1024


@dataclass(frozen=True, eq=False)
class Measured:
    """The second table of a store.

    Parameters
    ----------
    streaks : ndarray
        ``(n,)`` `STREAK`, by row of the store; places in full-frame px.
    rows : int
        How many rows the store had.
    camera : Camera
        The profile that it was measured with.
    about : dict
        JSON-able: finder, what the camera cannot measure and why, whether the recording is simulated.
    """

    streaks: NDArray[np.void]
    rows: int
    camera: Camera
    about: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one array per column, beside first, then renamed."""
        facts = {"rows": self.rows, "camera": self.camera.identity(), "about": self.about, "format": 1}
        columns: dict[str, Any] = {f"streak_{name}": self.streaks[name] for name in STREAK.names or ()}
        with beside(path) as part, part.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **columns)

    @classmethod
    def load(cls, path: str | os.PathLike[str], rows: int | None = None) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
            A ``.streaks.npz`` file, or the store that it lies beside.
        rows : int, optional
            How many rows the store has now; a table made when it had another number is refused.

        Raises
        ------
        MissingFileError
            If it is not there.
        StoreError
            If it is no table of streaks, or one of another state of the store.
        """
        file = Path(path) if str(path).endswith(".streaks.npz") else streaks_path(path)
        if not file.is_file():
            raise MissingFileError(f"no streaks at {file}; `spatterlib streaks STORE --camera PROFILE` measures them")
        try:
            with np.load(file, allow_pickle=False) as columns:
                facts = json.loads(str(columns["facts"]))
                table = np.empty(len(columns["streak_row"]), STREAK)
                for name in STREAK.names or ():
                    table[name] = columns[f"streak_{name}"]
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise StoreError(f"{file} is no table of streaks: {error}") from error
        if rows is not None and rows != facts["rows"]:
            raise StoreError(
                f"{file} was measured when the store had {facts['rows']} rows, now {rows}; measure it anew"
            )
        return cls(table, facts["rows"], Camera(**facts["camera"]), facts["about"])


def streaks_path(store: str | os.PathLike[str]) -> Path:
    """Where the streaks of a store lie: ``low.h5`` -> ``low.h5.streaks.npz``."""
    return Path(f"{os.fspath(store).rstrip('/')}.streaks.npz")


def crop_streaks(crops: list[Image], table: Detections, first: int, finder: Finder) -> NDArray[np.void]:
    """Streaks of crops, in full-frame px, with the number of their row.

    Parameters
    ----------
    crops : list of ndarray
        ``(h, w, 3)`` uint8 RGB each, at native resolution.
    table : ndarray
        ``(n,)`` `DETECTION` of these crops.
    first : int
        Number of the first row.
    finder : Finder
        How streaks are looked for.

    Returns
    -------
    ndarray
        ``(m,)`` `STREAK`, speeds NaN.
    """
    parts = [find_streaks(crop, finder) for crop in crops]
    # The type named, since NumPy otherwise works it out anew, field by field, at each part.
    streaks = np.concatenate([np.empty(0, STREAK), *parts], dtype=STREAK, casting="no")
    own = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    streaks["row"] = first + own
    for name in ("start", "end", "source"):
        streaks[f"{name}_x"] += table["x"][own]
        streaks[f"{name}_y"] += table["y"][own]
    return streaks


def measure_store(
    store: Store,
    camera: Camera,
    calibration: Calibration | None = None,
    *,
    finder: Finder | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Find and measure the streaks in all crops of a store.

    Parameters
    ----------
    store : Store
        Opened; only read.
    camera : Camera
        Its profile.
    calibration : Calibration, optional
        Of this camera; what needs one is NaN without.
    finder : Finder, optional
        How streaks are looked for.
    executor : concurrent.futures.Executor, optional
        Who looks instead of threads, as in `spatterlib.extract`; the store is opened for reading then.
    progress : callable, optional
        Called with rows done and rows in all.

    Returns
    -------
    Measured

    Raises
    ------
    ParameterError
        If the calibration belongs to another camera.
    """
    if calibration:
        calibration.check(camera)
    finder, table = finder or Finder(), store.table
    parts = [np.empty(0, STREAK)]
    for stop, part in _streaks(store, table, finder, executor):
        parts.append(part)
        if progress:
            progress(stop, len(table))
    streaks = measure_speeds(np.concatenate(parts, dtype=STREAK, casting="no"), camera, calibration)
    about = {
        "finder": asdict(finder),
        "estimators": list(ESTIMATORS),
        "not measurable": {item.name: item.reason for item in check_camera(camera) if not item.measurable},
        "calibrated": calibration is not None,
        "simulated": is_simulated(store.attrs),
    }
    return Measured(streaks, len(table), camera, about)


def _streaks(
    store: Store, table: Detections, finder: Finder, executor: Executor | None
) -> Iterator[tuple[int, NDArray[np.void]]]:
    """Streaks of the store's crops, and how many of these were looked at; one thread reads, or each worker its own."""
    parts = ranges(len(table), _BATCH if executor is None else _TASK)
    if executor is None:
        jobs = (partial(_look, store.read(rows), table[rows.start : rows.stop], rows, finder) for rows in parts)
        with one_opencv_thread():
            yield from on_every_core(jobs)
    else:
        shared = Shared.of(store)
        tasks = (partial(_read_and_look, shared, table[rows.start : rows.stop], rows, finder) for rows in parts)
        yield from spread(tasks, executor, Caller.here())


def _look(crops: list[Image], table: Detections, rows: range, finder: Finder) -> tuple[int, NDArray[np.void]]:
    return rows.stop, crop_streaks(crops, table, rows.start, finder)


def _read_and_look(
    store: Shared[Store], table: Detections, rows: range, finder: Finder
) -> tuple[int, NDArray[np.void]]:
    with one_opencv_thread():
        return _look(store.here().read(rows), table, rows, finder)


def describe_by(
    measured: Measured,
    table: Detections,
    by: Literal["layer", "event", "window"] = "layer",
    seconds: float = 10.0,
    calibration: Calibration | None = None,
    gap: Gap | None = None,
) -> NDArray[np.void]:
    """Descriptors of layers, events or windows of a store.

    Parameters
    ----------
    measured : Measured
        Its second table.
    table : ndarray
        ``(n,)`` `DETECTION`, its first.
    by : {"layer", "event", "window"}
        What is described.
    seconds : float
        Length of a window.
    calibration : Calibration, optional
        Of the camera; the gas-flow index is NaN without.
    gap : float or str, optional
        What separates layers, as ``store.attrs["gap"]`` says it; "auto" by default.

    Returns
    -------
    ndarray
        ``(groups,)`` `spatterlib.measuring.descriptors.DESCRIPTOR`.

    Raises
    ------
    ParameterError
        If the calibration belongs to another camera.
    """
    if calibration:
        calibration.check(measured.camera)
    event = events(table).number
    if by == "layer":
        group = layers(table["time"], gap_of({"gap": gap}), table["frame"]).number
    else:
        group = event if by == "event" else windows(table["time"], seconds)
    gas = calibration.gas if calibration else None
    return describe(measured.streaks, table, group, measured.camera, gas, event=event)


def layer_rows(
    path: str | os.PathLike[str],
    camera: Camera | None = None,
    *,
    scan_turn: float | None = None,
    scan_start: float = 0.0,
) -> tuple[NDArray[np.void], Measured]:
    """Descriptors of a store's layers, from the table of streaks beside it, or measured now where there is none.

    Parameters
    ----------
    path : path
        A store.
    camera : Camera, optional
        To measure with, where no table lies beside the store.
    scan_turn, scan_start : float, optional
        Degrees by which the hatch turns from layer to layer, and its angle in a layer number 0.

    Returns
    -------
    ndarray
        ``(layers,)`` `spatterlib.measuring.descriptors.DESCRIPTOR`.
    Measured
        The streaks.

    Raises
    ------
    MissingFileError
        If there is neither a table of streaks nor a camera.
    """
    with open_store(path) as store:
        table = store.table
        known = camera is None or streaks_path(path).is_file()
        measured = Measured.load(path, rows=len(table)) if known or camera is None else measure_store(store, camera)
        gap = store.attrs.get("gap")
    rows = describe_by(measured, table, "layer", gap=gap)
    return rows if scan_turn is None else turned(rows, scan_turn, scan_start), measured
