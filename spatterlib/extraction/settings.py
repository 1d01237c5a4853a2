"""What an extraction is done with: one record, from which options, sections of the file and REST are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from spatterlib.common.records import check, parameter
from spatterlib.detection.defaults import DETECTOR, FILTERS, DetectorSpec, FilterSpec, Gap, Position, Roi
from spatterlib.errors import ParameterError

if TYPE_CHECKING:
    from spatterlib.types import Detector, Filter, Image

__all__ = ["ExtractionSettings"]

_POSITION = "a frame number, seconds or a text such as '12.5s'"


@dataclass(frozen=True)
class ExtractionSettings:
    """How a recording is looked at and what is kept of it: all that the rows and crops of a store depend on.

    The parameters are those of `spatterlib.extract`, which explains them. This module loads nothing heavy.

    Raises
    ------
    ParameterError, PluginError
        If one is wrong for every recording; names it.

    Examples
    --------
    >>> from spatterlib.extraction.settings import ExtractionSettings
    >>> ExtractionSettings(quality=80).crop_format
    'jpeg'
    >>> ExtractionSettings(quality=0)
    Traceback (most recent call last):
    spatterlib.errors.ParameterError: quality must be a whole number from 1 to 100, got 0
    """

    detector: DetectorSpec = parameter(DETECTOR, "Detector to use.", metavar="ID", wanted="an id or a table with an id")
    filters: Sequence[FilterSpec] = parameter(
        FILTERS,
        "Filter; repeat for several; none: no filter.",
        metavar="ID",
        flag="--filter",
        multiple=True,
        wanted="a list of ids or of tables with an id",
    )
    start: Position = parameter(
        None, "First frame: a number (250) or a time (12.5s, 1:23.5).", metavar="POSITION", wanted=_POSITION
    )
    stop: Position = parameter(None, "Frame behind the last.", metavar="POSITION", wanted=_POSITION)
    roi: Roi = parameter(None, "The part of the frame that is looked at.", wanted="a list of four whole numbers, px")
    fps: float | None = parameter(
        None,
        "The camera's frames per second, if the file's times are not its own.",
        wanted="a number of frames per second",
    )
    value_range: tuple[float, float] | None = parameter(
        None,
        "Values that are black and white, such as 0,4095, if not all of 8 or 16 bits.",
        flag="--range",
        metavar="LOW,HIGH",
        wanted="a list of two numbers",
    )
    axes: str | None = parameter(
        None, "Order of an array's axes t, y, x, c, such as yxt, if time is not first.", metavar="AXES"
    )
    gas_direction: float | None = parameter(
        None,
        "Where the gas flows to as the camera sees it: 0 = right, 90 = up.",
        -360,
        360,
        metavar="DEGREES",
        wanted="a number of degrees",
    )
    limit: int | None = parameter(None, "Stop after N detections.", 1, metavar="N")
    crop_format: Literal["jpeg", "png"] = parameter("jpeg", "How crops are encoded.")
    quality: int = parameter(95, "JPEG quality, 1-100.", 1, 100)
    gap: Gap | None = parameter(
        None,
        "Pause between layers: S, auto, or '700 frames'.",
        metavar="SECONDS",
        shown="auto",
        wanted="a number of seconds, 'auto' or a text such as '700 frames'",
    )
    workers: int = parameter(1, "Two threads each; processes for several videos.", 1, metavar="N")

    def __post_init__(self) -> None:
        from spatterlib.detection.layers import gap_of, layers
        from spatterlib.video.opening import check_position, check_reading

        self.plugins()
        check(self)
        check_reading(**self.reading)
        check_position(self.start)
        check_position(self.stop, least=1)
        layers([], gap_of({}, self.gap))
        bounds = self.roi if isinstance(self.roi, Sequence) else ()
        if any(isinstance(bound, int) and bound < 0 for bound in bounds):
            raise ParameterError(f"the bounds of what is looked at are 0 px or more, got {', '.join(map(str, bounds))}")

    @property
    def reading(self) -> dict[str, Any]:
        """How a recording is read: keyword arguments of `open_video`."""
        range_ = None if self.value_range is None else tuple(self.value_range)
        return {"fps": self.fps, "value_range": range_, "axes": self.axes}

    def plugins(self) -> tuple[Detector, list[Filter]]:
        """The detector and the filters as objects."""
        from spatterlib.detection.detect import plugins_of

        return plugins_of(self.detector, self.filters)

    def changed(self) -> list[str]:
        """Names of the settings that are not the usual ones.

        Examples
        --------
        >>> from spatterlib.extraction.settings import ExtractionSettings
        >>> ExtractionSettings(filters=["area", "blue", "black"], quality=90).changed()
        ['quality']
        """
        own = vars(self) | {"filters": tuple(self.filters)}
        return [name for name, usual in vars(ExtractionSettings()).items() if own[name] != usual]

    def encoder(self) -> Callable[[Image], bytes]:
        """What makes bytes of a crop."""
        from spatterlib.common.image_codec import encode

        return partial(encode, format=self.crop_format, quality=self.quality)
