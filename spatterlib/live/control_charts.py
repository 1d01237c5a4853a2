"""Layers of a stream on control charts: a thread of its own looks for streaks, so that no frame waits for them."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import decode
from spatterlib.control.monitoring import Point, take_layer
from spatterlib.control.reference import Reference
from spatterlib.control.statistics import ChartState
from spatterlib.errors import ParameterError, one_line
from spatterlib.live.alarms import Observation
from spatterlib.live.messages import ChartFields
from spatterlib.live.settings import ChartSettings
from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.camera import Camera, check_camera, load_camera
from spatterlib.measuring.descriptors import DESCRIPTOR, describe, turned
from spatterlib.measuring.measurement import crop_streaks
from spatterlib.measuring.speeds import measure_speeds
from spatterlib.measuring.streaks import STREAK, Finder, find_streaks
from spatterlib.types import Detections

__all__ = ["AS_USUAL", "DIFFERS", "ChartedLayer", "LayerCharts", "observe_layer", "open_charts"]

log = logging.getLogger("spatterlib")

DIFFERS, AS_USUAL = "layer differs", "layer as usual"
"""States of the alarms that charts raise."""
# Parts of a stream, of a few crops each, that wait to be looked at.
_QUEUE = 512
# What a camera must be able to measure for a descriptor, see `spatterlib.measuring.camera.check_camera`.
_NEEDS = {"length": "length in mm", "drift": "drift", "clear_time": "time to clear", "gas_speed": "gas-flow index"}


class ChartedLayer(NamedTuple):
    """A layer on the charts: its number and row of `DESCRIPTOR`, its crops and in how many streaks were looked for."""

    number: int
    row: np.void
    point: Point
    crops: int
    measured: int

    def fields(self, reference: Reference) -> ChartFields:
        """Fields of the message "chart"."""
        point = self.point.row
        return ChartFields(
            number=self.number,
            start=self.row["start"],
            stop=self.row["stop"],
            values={name: self.row[name] for name in reference.names},
            shewhart=point["shewhart"],
            ewma=point["ewma"],
            cusum=point["cusum"],
            t2=point["t2"],
            p=point["p"],
            limits=reference.limits,
            alarms=list(self.point.alarms),
            crops=self.crops,
            measured=self.measured,
        )


class LayerCharts:
    """Look for streaks in crops as they come, and chart each layer when it has ended.

    Parameters
    ----------
    reference : Reference
        What layers are compared with.
    camera : Camera
        Its profile.
    calibration : Calibration, optional
        Of this camera; speeds and the gas-flow index need it.
    scan_start : float, optional
        Degrees, scan angle of layer 0, where it is not that of the reference.
    wait : bool
        Whether crops wait where it does not keep up; they are left out of the descriptors otherwise.
    """

    def __init__(
        self,
        reference: Reference,
        camera: Camera,
        calibration: Calibration | None = None,
        *,
        scan_start: float | None = None,
        wait: bool = False,
    ) -> None:
        self.reference, self.camera, self.calibration = reference, camera, calibration
        self.newest: ChartedLayer | None = None
        self.problem = ""
        about = reference.about
        self._turn, self._start = about.get("scan_turn"), about.get("scan_start") or 0.0
        self._start = self._start if scan_start is None else scan_start
        self._wait, self._room = wait, threading.Semaphore(_QUEUE)
        self._rows_added = self._rows_ended = 0
        self._todo: queue.SimpleQueue[_Crops | _Layer | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[ChartedLayer] = queue.SimpleQueue()
        self._state: ChartState | None = None
        self._streaks: list[tuple[range, NDArray[np.void]]] = []
        # Kernels are there before the first frame.
        find_streaks(np.zeros((32, 32, 3), np.uint8))
        self._thread = threading.Thread(target=self._run, name="spatterlib-charts", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        """Whether all is well ("ok"), or why layers are not charted any more."""
        return self.problem or "ok"

    def identity(self) -> dict[str, Any]:
        """JSON-able: what layers are compared with, and how."""
        base = self.reference
        return {
            "descriptors": base.names,
            "alarms": base.alarms,
            "arl": base.arl,
            "limits": base.limits,
            "reference": base.about,
            "camera": self.camera.identity(),
            "scan_start": self._start,
        }

    def add(self, table: Detections, crops: Sequence[bytes]) -> None:
        """Take rows and their encoded crops, in the order of the stream."""
        first, self._rows_added = self._rows_added, self._rows_added + len(table)
        if len(table) and self._room.acquire(blocking=self._wait):
            self._todo.put(_Crops(first, table, crops))

    def end_layer(self, number: int, rows: NDArray[np.void]) -> None:
        """Say that the next rows, so many as these, were a layer: of `DETECTION` and ``event``."""
        first, self._rows_ended = self._rows_ended, self._rows_ended + len(rows)
        self._todo.put(_Layer(number, first, rows))

    @property
    def newest_fields(self) -> ChartFields | None:
        """Fields of the message on the last layer that was taken."""
        return self.newest.fields(self.reference) if self.newest else None

    def take(self) -> list[ChartedLayer]:
        """Layers charted since it was asked last."""
        layers = []
        while not self._done.empty():
            layers.append(self._done.get())
        self.newest = layers[-1] if layers else self.newest
        return layers

    def close(self) -> None:
        """Come to the end of what has been given to it."""
        if self._thread.is_alive():
            self._todo.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._todo.get()) is not None:
            try:
                if not self.problem:
                    self._handle(item)
            except Exception as error:
                self.problem = one_line(error)
                log.error("no more layers are charted, the watch goes on: %s", self.problem)
            finally:
                if isinstance(item, _Crops):
                    self._room.release()

    def _handle(self, item: _Crops | _Layer) -> None:
        if isinstance(item, _Layer):
            self._done.put(self._chart(item))
            return
        crops = [decode(data) for data in item.crops]
        streaks = crop_streaks(crops, item.table, item.first, Finder())
        self._streaks.append((range(item.first, item.first + len(item.table)), streaks))

    def _chart(self, layer: _Layer) -> ChartedLayer:
        stop = layer.first + len(layer.rows)
        parts = [part for part in self._streaks if part[0].start < stop]
        self._streaks = [part for part in self._streaks if part[0].stop > stop]
        measured = np.zeros(len(layer.rows), bool)
        for rows, _ in parts:
            measured[max(rows.start - layer.first, 0) : rows.stop - layer.first] = True
        streaks = np.concatenate([np.empty(0, STREAK), *(streaks for _, streaks in parts)])
        streaks = streaks[(streaks["row"] >= layer.first) & (streaks["row"] < stop)]
        streaks["row"] = (np.cumsum(measured) - 1)[streaks["row"] - layer.first]
        row = self._described(layer, measure_speeds(streaks, self.camera, self.calibration), layer.rows[measured])
        self._state, point = take_layer(self.reference, self._state, row)
        return ChartedLayer(layer.number, row[0], point, len(measured), int(measured.sum()))

    def _described(self, layer: _Layer, streaks: NDArray[np.void], rows: NDArray[np.void]) -> NDArray[np.void]:
        gas = self.calibration.gas if self.calibration else None
        group, event = np.full(len(rows), layer.number, np.int64), rows["event"].astype(np.int64)
        row = describe(streaks, rows, group, self.camera, gas, event=event)
        row = row if len(row) else _empty_row()
        row["group"], row["start"], row["stop"] = layer.number, layer.rows["time"].min(), layer.rows["time"].max()
        return row if self._turn is None else turned(row, self._turn, self._start)


class _Crops(NamedTuple):
    first: int
    table: Detections
    crops: Sequence[bytes]


class _Layer(NamedTuple):
    number: int
    first: int
    rows: NDArray[np.void]


def _empty_row() -> NDArray[np.void]:
    """A row of a layer of which nothing was measured."""
    row = np.zeros(1, DESCRIPTOR)
    for name in DESCRIPTOR.names or ():
        if DESCRIPTOR[name].kind == "f":
            row[name] = np.nan
    return row


def open_charts(settings: ChartSettings, *, wait: bool) -> LayerCharts | None:
    """Charts of files or objects, None without a reference; the camera is the reference's where none is given.

    Raises
    ------
    MissingFileError, StoreError
        If a file is not there, or is something else.
    ParameterError
        If reference, camera and calibration do not belong together, or a descriptor that is charted cannot be had live.
    """
    if settings.reference is None:
        if settings != ChartSettings():
            raise ParameterError("camera, calibration and scan_start are for charts; give a reference too")
        return None
    reference, camera, calibration = settings.reference, settings.camera, settings.calibration
    reference = Reference.load(reference) if isinstance(reference, str) else reference
    camera = load_camera(camera) if isinstance(camera, str) else camera or reference.camera
    if camera is None:
        raise ParameterError("the reference does not say which camera it is of; give its profile (--camera)")
    calibration = Calibration.load(calibration) if isinstance(calibration, str) else calibration
    reference.check(camera)
    if calibration:
        calibration.check(camera)
    _check(reference, camera, calibration)
    return LayerCharts(reference, camera, calibration, scan_start=settings.scan_start, wait=wait)


def _check(reference: Reference, camera: Camera, calibration: Calibration | None) -> None:
    """Refuse charts that would stand still for ever, or compare what is not the same."""
    able = {item.name: item for item in check_camera(camera)}
    for name in reference.names:
        need = able.get(_NEEDS.get(name, ""))
        if need and not need.measurable:
            raise ParameterError(f"the reference charts {name}, which this camera cannot measure: {need.reason}")
        if name == "per_mm2":
            raise ParameterError("the reference charts per_mm2, which takes the area scanned: a watch does not know it")
        if name.startswith(("speed_", "gas_")) and reference.about.get("calibrated", True) and calibration is None:
            raise ParameterError(f"the reference charts {name}, which takes a calibration; give one (--calibration)")
    if reference.harmonics and reference.about.get("scan_turn") is None:
        raise ParameterError(
            "the reference knows scan angles but not by how much they turn; learn it with `monitor --scan-turn`"
        )


def observe_layer(layer: ChartedLayer) -> Observation:
    """What charts say of a layer: one within all limits ends an event; one that was not measured says nothing."""
    number, alarms = layer.number, layer.point.alarms
    if not alarms:
        measured = any(np.isfinite(layer.point.row[name]) for name in ("shewhart", "t2"))
        return Observation(AS_USUAL, True if measured else None, f"layer {number}: as usual")
    charts = tuple(text.split(" (")[0] for text in alarms)
    since = float(layer.row["start"])
    return Observation(DIFFERS, False, f"layer {number}: {'; '.join(alarms)}", charts=charts, since=since)
