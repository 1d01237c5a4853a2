"""Filters `area`, `blue`, `black` and `region`: which detections stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, ParameterError
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Clip, Detections, Filter, Image
from spatterlib.video.still import decode_still, eight_bits


@dataclass(frozen=True)
class Area:
    """Keep outlines of a plausible size.

    Parameters
    ----------
    min_area, max_area : float
        Px², bounds of `area`, both included.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> table = np.zeros(3, sp.DETECTION)
    >>> table["area"] = 1999.5, 2000, 15000
    >>> sp.make("filter", "area")(table, None).tolist()
    [False, True, True]
    """

    min_area: float = field(default=2000, metadata={"help": "smallest area inside the outline in px²"})
    max_area: float = field(default=15000, metadata={"help": "largest area inside the outline in px²"})

    def __post_init__(self) -> None:
        if not 0 <= self.min_area <= self.max_area:
            raise ParameterError(f"area needs 0 <= min_area <= max_area, got {self.min_area} and {self.max_area}")

    def __call__(self, detections: Detections, clip: Clip) -> NDArray[np.bool_]:
        """``(n,)`` bool, True = keep."""
        area = detections["area"]
        keep: NDArray[np.bool_] = (area >= self.min_area) & (area <= self.max_area)
        return keep


@dataclass(frozen=True)
class Blue:
    """Drop what is bluer than red and green together: the light of the recoater.

    Parameters
    ----------
    balance : float
        A row stays if ``blue <= balance * (red + green)``, each the mean over its crop box.
    """

    balance: float = field(default=1.0, metadata={"help": "largest ratio of blue to red plus green"})

    def __call__(self, detections: Detections, clip: Clip) -> NDArray[np.bool_]:
        """``(n,)`` bool, True = keep."""
        red, green, blue = (detections[name].astype(np.float64) for name in ("red", "green", "blue"))
        keep: NDArray[np.bool_] = blue <= self.balance * (red + green)
        return keep


@dataclass(frozen=True)
class Black:
    """Drop crops without information, such as places where the light has just gone out.

    Parameters
    ----------
    min_peak : int
        Grey levels 0-255; a row stays if the brightest luma in its crop box is at least this.
    """

    min_peak: int = field(
        default=40, metadata={"help": "grey level (0-255) that the brightest pixel must reach", "range": (0, 255)}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.min_peak <= 255:
            raise ParameterError(f"min_peak must be 0-255 grey levels, got {self.min_peak}")

    def __call__(self, detections: Detections, clip: Clip) -> NDArray[np.bool_]:
        """``(n,)`` bool, True = keep."""
        keep: NDArray[np.bool_] = detections["peak"] >= self.min_peak
        return keep


@dataclass(frozen=True)
class Region:
    """Keep what has the centre of its crop box inside a polygon or a mask image.

    Parameters
    ----------
    polygon : tuple of (x, y)
        Px, corners in full-frame coordinates; the border belongs to the inside. Empty = use `mask`.
    mask : str
        Path of a grey image of the frame's size; inside is where it is not black.
    invert : bool
        Keep what lies outside instead.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> table = np.zeros(2, sp.DETECTION)
    >>> table["x"], table["width"], table["height"] = [10, 200], 20, 20
    >>> sp.make("filter", "region", polygon=[[0, 0], [100, 0], [100, 100], [0, 100]])(table, None).tolist()
    [True, False]
    """

    polygon: tuple[tuple[float, float], ...] = field(
        default=(), metadata={"help": "corners in px, full frame: [[x, y], [x, y], [x, y], ...]"}
    )
    mask: str = field(default="", metadata={"help": "path of a mask image of the frame's size, black = outside"})
    invert: bool = field(default=False, metadata={"help": "keep what lies outside"})

    def __post_init__(self) -> None:
        if bool(self.polygon) == bool(self.mask):
            raise ParameterError("region needs a polygon or a mask, one of the two")
        if self.polygon and (len(self.polygon) < 3 or any(len(corner) != 2 for corner in self.polygon)):
            raise ParameterError(f"a polygon needs three or more corners [x, y], got {list(self.polygon)}")

    def __call__(self, detections: Detections, clip: Clip) -> NDArray[np.bool_]:
        """``(n,)`` bool, True = keep."""
        x = detections["x"] + (detections["width"] - 1) / 2
        y = detections["y"] + (detections["height"] - 1) / 2
        inside = self._in_mask(x, y) if self.mask else self._in_polygon(x, y)
        keep: NDArray[np.bool_] = inside != self.invert
        return keep

    def _in_polygon(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        import cv2

        polygon = np.array(self.polygon, np.float32)
        tests = [cv2.pointPolygonTest(polygon, (float(a), float(b)), False) for a, b in zip(x, y, strict=True)]
        inside: NDArray[np.bool_] = np.array(tests, np.float64) >= 0
        return inside

    def _in_mask(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        mask = _read_mask(self.mask)
        columns, rows = x.astype(np.intp), y.astype(np.intp)
        if len(x) and (columns.max() >= mask.shape[1] or rows.max() >= mask.shape[0]):
            raise ParameterError(
                f"mask {self.mask} is {mask.shape[1]}x{mask.shape[0]} px, smaller than the frame; "
                "make it the frame's size"
            )
        inside: NDArray[np.bool_] = mask[rows, columns] > 0
        return inside


@lru_cache(maxsize=8)
def _read_mask(path: str) -> Image:
    import cv2

    if not Path(path).is_file():
        raise MissingFileError(f"no mask image at {path}")
    image = decode_still(Path(path).read_bytes())
    if image is None:
        raise ParameterError(f"{path} is no image that can be read; a mask is a grey PNG of the frame's size")
    image = eight_bits(image)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image, np.uint8)


@hookimpl
def spatter_filters() -> dict[str, type[Filter]]:
    """The three default filters and `region`."""
    return {"area": Area, "blue": Blue, "black": Black, "region": Region}
