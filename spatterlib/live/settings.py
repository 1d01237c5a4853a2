"""Settings of a watch and of its alarms: records from which options and sections of the file are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from spatterlib.common.records import check, parameter
from spatterlib.errors import ParameterError

__all__ = [
    "AlarmSettings",
    "CalibrationSpec",
    "CameraSpec",
    "ChartSettings",
    "OutputSettings",
    "ReferenceSpec",
    "WatchSettings",
]

if TYPE_CHECKING:
    from spatterlib.control.reference import Reference
    from spatterlib.measuring.calibration import Calibration
    from spatterlib.measuring.camera import Camera

    ReferenceSpec: TypeAlias = str | Reference
    CameraSpec: TypeAlias = str | Camera
    CalibrationSpec: TypeAlias = str | Calibration
else:
    ReferenceSpec = CameraSpec = CalibrationSpec = str | object
"""A file, or the object itself."""

_seconds = partial(parameter, low=0.001, high=1e9, metavar="S")
_zero_or_more = partial(parameter, low=0, metavar="S")


@dataclass(frozen=True)
class AlarmSettings:
    """When an event begins, and how often it is repeated. The parameters are those of `spatterlib.watch`."""

    alarm: Literal["layer", "window"] = parameter("layer", "Which verdict alarms.")
    hold: float = _zero_or_more(2.0, "So long before it alarms.")
    remind: float = _seconds(60.0, "Tell again what goes on.")
    camera_alarms: bool = parameter(True, "Alarm where the camera freezes, moves, is dark, blurred or fouled.")
    camera_learn: float = parameter(120.0, "Learn so long how it sees when it is well.", 30.0, 3600.0, metavar="S")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ChartSettings:
    """What layers are compared with on control charts. The parameters are those of `spatterlib.watch`."""

    reference: ReferenceSpec | None = parameter(
        None, "Control charts of layers too; from `monitor --save-reference`.", metavar="FILE"
    )
    camera: CameraSpec | None = parameter(
        None, "Camera profile for them.", metavar="PROFILE", shown="that of the reference"
    )
    calibration: CalibrationSpec | None = parameter(
        None, "For charts of speeds, from `calibrate-camera`.", metavar="FILE"
    )
    scan_start: float | None = parameter(None, "Scan angle of layer 0.", metavar="DEG", shown="the reference's")


@dataclass(frozen=True)
class OutputSettings:
    """Where messages, rows and crops of a watch go. The parameters are those of `spatterlib.watch`."""

    metrics_at: str | None = parameter(None, "Serve metrics for Prometheus.", flag="--metrics", metavar="[HOST:]PORT")
    webhook: str | None = parameter(None, "POST every alarm as JSON.", metavar="URL")
    headers: Mapping[str, str] | None = None
    webhook_secret: str | None = parameter(
        None, "Sign what is posted with the secret in a file, or in a variable.", metavar="FILE|env:NAME"
    )
    queue: str | None = parameter(
        None, "Keep alarms that wait, over a restart.", flag="--alarm-queue", metavar="FOLDER"
    )
    mqtt: str | None = parameter(None, "Publish every alarm: mqtt://[user:password@]host[:port]/topic.", metavar="URL")
    view: str | None = parameter(None, "Serve a page to look at.", metavar="[HOST:]PORT")
    view_key: str | None = parameter(
        None, "Its key, in a file or a variable.", metavar="FILE|env:NAME", shown="a new one where others reach it"
    )
    clips: str | None = parameter(None, "Keep picture and clip of each alarm.", metavar="FOLDER")
    clips_room: float = parameter(500.0, "Room for them; the oldest go first.", 1.0, 1e9, metavar="MB")
    store: str | None = parameter(None, "Keep what is found (.h5, .zarr).", metavar="STORE")
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self)
        if self.view is None and self.view_key is not None:
            raise ParameterError("a key is for a page; say where it is too (--view [HOST:]PORT)")
        if self.webhook is None and (self.headers or self.webhook_secret is not None):
            raise ParameterError("headers and a secret are for a webhook; give its address too (--webhook URL)")
        if self.queue is not None and self.webhook is None and self.mqtt is None:
            raise ParameterError("a queue of alarms is for a webhook or MQTT; give one too (--webhook or --mqtt URL)")


@dataclass(frozen=True)
class WatchSettings:
    """How a stream is watched. The parameters are those of `spatterlib.watch`, which explains them.

    Raises
    ------
    ParameterError
        If one is out of range; names it.

    Examples
    --------
    >>> from spatterlib.live.settings import WatchSettings
    >>> WatchSettings(every=5.0).gap
    2.0
    >>> WatchSettings(window=-1)
    Traceback (most recent call last):
    spatterlib.errors.ParameterError: window must be a number from 0.001 to 1e+09, got -1
    """

    gap: float = parameter(2.0, "Pause that separates layers; `predict` finds that of a build.", metavar="S")
    window: float = _seconds(60.0, "Also judge the last S seconds.")
    every: float = _seconds(1.0, "Between two verdicts on stdout.")
    status: float = _seconds(10.0, "Between two status lines.")
    idle: float = _zero_or_more(10.0, "A file that rests has ended.")
    timeout: float = _seconds(10.0, "A stream that rests is cut.")
    give_up: float = _zero_or_more(math.inf, "End without a picture for so long.", shown="never")
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    charts: ChartSettings = field(default_factory=ChartSettings)
    outputs: OutputSettings = field(default_factory=OutputSettings)

    def __post_init__(self) -> None:
        check(self)
        if isinstance(self.gap, str) or not 0 < self.gap < math.inf:
            raise ParameterError(
                f"gap must be a number of seconds above 0, got {self.gap!r}; 'auto' needs the whole build, "
                "so take what `spatterlib predict` found for an earlier one"
            )
