"""Detector `particles`: bright blobs and short streaks of high-speed cameras, measured below the pixel."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.plugins.boxes import table_of
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Clip, Detections, Detector, Image

PARTICLE = np.dtype(
    [
        ("frame", "<i8"),
        ("time", "<f8"),
        ("x", "<f8"),
        ("y", "<f8"),
        ("error", "<f4"),
        ("brightness", "<f4"),
        ("light", "<f4"),
        ("size", "<f4"),
        ("length", "<f4"),
        ("angle", "<f4"),
        ("angle_error", "<f4"),
        ("snr", "<f4"),
        ("background", "<f4"),
        ("saturated", "<f4"),
        ("area", "<i4"),
        ("left", "<i4"),
        ("top", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
    ]
)
"""One row per particle in one frame.

``x y``: px, its middle, whole numbers in the middle of a pixel; ``error``: px, standard error of each;
``brightness``: grey levels, height of the blob above its background; ``light``: sum of these over its px; ``size``: px,
full width at half maximum across the smear; ``length``: px, of the smear within the exposure; ``angle``: degrees of its
axis, 0 to 180, 0 = right, 90 = up, and its standard error (90: it is round, nothing is known); ``snr``: brightness over
the noise of the background there; ``background``: grey levels; ``saturated``: share of its px; ``area``: px²;
``left top width height``: px, its box.
"""

_SMALLEST_ERROR = 0.05
_MOST = 4096
_FWHM = 2.355
# By how much the pixels make a round blob longer than wide, as a share of its variance.
_ROUND = 0.25
_SMOOTHING = np.array([1, 6, 1], np.float32)


@dataclass(frozen=True)
class Particles:
    """Find particles: what is small and brighter than all that lies around it.

    The frame is smoothed (3x3 binomial); its opening with a square is the background, which follows a glowing bed, a
    plume and a melt pool. What rises above it by several times the noise of places as bright is grown into segments,
    cut at their saddles, and measured by moments weighted with the particle's own shape.

    Parameters
    ----------
    snr : float
        Times the noise, least height of a particle.
    width : int
        Px, odd; what is wider than this in every direction is no particle.
    rise : float
        Grey levels, least rise of the smoothed picture, whatever the noise.
    texture : float
        Least contrast to a glowing background, as a share of its level, for each px² of its shape: what a lit powder
        bed shows is wide and weak.
    largest : int
        Px², the largest particle.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> frames = np.zeros((1, 64, 64), np.uint8)
    >>> frames[0, 20:23, 30:33] = [[60, 120, 60], [120, 240, 120], [60, 120, 60]]
    >>> detector = sp.make("detector", "particles")
    >>> detector(sp.Clip.of(frames))[["x", "y", "peak"]].tolist()
    [(29, 19, 240)]
    >>> [particle] = detector.measure(sp.Clip.of(frames))
    >>> round(float(particle["x"]), 2), round(float(particle["y"]), 2)
    (31.0, 21.0)
    """

    snr: float = field(default=5.0, metadata={"help": "least height, times the noise", "range": (1, 100)})
    width: int = field(
        default=11, metadata={"help": "px, odd; wider things are no particles", "range": (5, 101), "step": 2}
    )
    rise: float = field(
        default=2.0, metadata={"help": "grey levels, least rise of the smoothed picture", "range": (0.1, 255)}
    )
    texture: float = field(
        default=0.3, metadata={"help": "least contrast to what glows, per px² of shape", "range": (0, 10)}
    )
    largest: int = field(default=400, metadata={"help": "px², the largest particle", "range": (2, 100_000)})
    lead: ClassVar[int] = 0

    def __post_init__(self) -> None:
        limits = {"snr": (1, 100), "width": (5, 101), "rise": (0.1, 255), "texture": (0, 10), "largest": (2, 100_000)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ParameterError(f"{name} must be {low:g} to {high:g}, got {value!r}")
        if self.width % 2 == 0:
            raise ParameterError(f"width must be an odd number of px, got {self.width}")

    def __call__(self, clip: Clip) -> Detections:
        """``(n,)`` `DETECTION` for the frames of `clip`, row by row those of `measure`."""
        found = self.measure(clip)
        boxes = np.stack([found[name] for name in ("left", "top", "width", "height")], 1)
        return table_of(clip, found["frame"] - clip.start + clip.lead, boxes, found["area"])

    def measure(self, clip: Clip) -> NDArray[np.void]:
        """``(n,)`` `PARTICLE` of the frames of `clip`, px from its own upper left corner."""
        numbers = clip.numbers
        parts = [
            self.particles(grey_of(clip, index), int(numbers[index]), float(clip.times[index]))
            for index in range(clip.lead, len(numbers))
        ]
        return np.concatenate(parts) if parts else np.empty(0, PARTICLE)

    def particles(self, image: Image, number: int = 0, time: float = 0.0) -> NDArray[np.void]:
        """``(n,)`` `PARTICLE` of one grey frame, by y and x of their boxes.

        Parameters
        ----------
        image : ndarray
            ``(h, w)`` uint8.
        number, time : int, float
            Of the frame; written into the rows.
        """
        import cv2

        from spatterlib.kernels.tracking import particles as kernels

        smooth: Any = cv2.sepFilter2D(image, cv2.CV_16S, _SMOOTHING, _SMOOTHING, borderType=cv2.BORDER_REPLICATE)
        square = np.ones((self.width, self.width), np.uint8)
        opened: Any = cv2.morphologyEx(smooth, cv2.MORPH_OPEN, square, borderType=cv2.BORDER_REPLICATE)
        space = _space(image.shape)
        kernels.noise_of(image, smooth, opened, space.usual, space.spread)
        rows = space.rows[
            : kernels.find(
                image, smooth, opened, space.usual, space.spread,
                self.snr, self.rise, self.texture, self.largest, space.labels, space.places, space.rows,
            )
        ]  # fmt: skip
        return _table(rows, number, time)

    def explain(self, clip: Clip) -> dict[str, Image]:
        """What it sees in the last frame of `clip`: how far it rises above the background, ``(h, w)`` uint8."""
        import cv2

        if not len(clip.pictures):
            return {}
        grey = grey_of(clip, len(clip.pictures) - 1)
        smooth = cv2.GaussianBlur(grey, (3, 3), 0)
        square = np.ones((self.width, self.width), np.uint8)
        return {"rise": np.asarray(cv2.morphologyEx(smooth, cv2.MORPH_TOPHAT, square), np.uint8)}


def grey_of(clip: Clip, index: int) -> Image:
    """``(h, w)`` uint8, one frame of a clip in grey (ITU-R BT.601 weights)."""
    import cv2

    rgb = clip.rgb(index)
    # Grey frames come as three equal channels that are one in memory.
    if rgb.strides[2] == 0:
        return np.ascontiguousarray(rgb[..., 0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), np.uint8)


@dataclass(frozen=True, eq=False)
class _Space:
    """Arrays of one thread for frames of one shape."""

    labels: NDArray[np.int32]
    places: NDArray[np.int32]
    rows: NDArray[np.float32]
    usual: NDArray[np.float64]
    spread: NDArray[np.float64]


_own = threading.local()


def _space(shape: tuple[int, ...]) -> _Space:
    from spatterlib.kernels.tracking.particles import BINS, COLUMNS

    found: _Space | None = getattr(_own, "space", None)
    if found is None or found.labels.shape != shape:
        found = _own.space = _Space(
            np.zeros(shape, np.int32),
            np.empty(2 * shape[0] * shape[1], np.int32),
            np.empty((_MOST, COLUMNS), np.float32),
            np.empty(BINS),
            np.empty(BINS),
        )
    return found


def _table(rows: NDArray[np.float32], number: int, time: float) -> NDArray[np.void]:
    found: Any = np.empty(len(rows), PARTICLE)
    x, y, height, light, major, minor, turn, ground, noise, left, top, right, bottom, area, white = rows.T[:15]
    found["frame"], found["time"], found["x"], found["y"] = number, time, x, y
    found["brightness"], found["light"], found["background"], found["saturated"] = height, light, ground, white
    found["snr"] = height / noise
    found["error"] = np.hypot(0.8 / np.maximum(found["snr"], 0.1), _SMALLEST_ERROR)
    found["size"] = _FWHM * np.sqrt(np.maximum(minor, 0.05))
    apart = np.maximum(major - minor, 0.0)
    spread = np.sqrt(12 * apart)
    # Weighted by their own shape, the variance of long smears comes out larger than that of a line.
    found["length"] = spread * (0.79 + 0.21 / (1 + apart / np.maximum(minor, 0.05)))
    found["angle"] = np.rad2deg(turn) % 180
    mean = np.sqrt(np.maximum(major * minor, 1e-3))
    vague = np.hypot(_ROUND, 2 / np.maximum(found["snr"], 0.1)) * mean
    found["angle_error"] = np.minimum(np.rad2deg(vague / np.maximum(apart, 1e-3)), 90)
    found["area"], found["left"], found["top"] = area, left, top
    found["width"], found["height"] = right - left, bottom - top
    return np.asarray(found)


@hookimpl
def spatter_detectors() -> dict[str, type[Detector]]:
    """Particles of high-speed cameras."""
    return {"particles": Particles}
