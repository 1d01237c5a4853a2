"""Streaks: the lines that hot particles draw in one exposure, found in a crop and measured in px."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ContractError, ParameterError
from spatterlib.types import Image

__all__ = ["BORDER", "JOINED", "STREAK", "ZONE", "Finder", "find_streaks", "saturated_zone"]

STREAK = np.dtype(
    [
        ("row", "<i8"),
        ("start_x", "<f4"),
        ("start_y", "<f4"),
        ("end_x", "<f4"),
        ("end_y", "<f4"),
        ("length", "<f4"),
        ("angle", "<f4"),
        ("curvature", "<f4"),
        ("width", "<f4"),
        ("brightness", "<f4"),
        ("first_brightness", "<f4"),
        ("last_brightness", "<f4"),
        ("snr", "<f4"),
        ("source_x", "<f4"),
        ("source_y", "<f4"),
        ("cut", "u1"),
        ("speed", "<f4"),
        ("speed_low", "<f4"),
        ("speed_high", "<f4"),
        ("estimator", "u1"),
    ]
)
"""One row per streak.

``row``: row of the detection that it was found in; ``start end``: px, where it leaves the dark or the saturated zone
and where it ends; ``length``: px along it; ``angle``: degrees from start to end, full circle, 0 = right, 90 = up;
``curvature``: 1/px, positive = turns to its left as seen; ``width``: px, full width at half maximum; ``brightness``:
grey levels, mean rise above what is beside it, and the same of its first and last third; ``snr``: that over the noise
of the dark; ``source``: px, the brightest place of the crop that it flies from, NaN where there is none; ``cut``: see
`BORDER`, `ZONE`, `JOINED`, summed over both ends; ``speed``: m/s and its 90 % interval, NaN where it cannot be
measured; ``estimator``: index into `spatterlib.measuring.speeds.ESTIMATORS`, 0 = none.
"""

BORDER, ZONE, JOINED = 1, 2, 4
"""Bits of ``cut``: it reaches the border of the crop, the saturated zone, or a stronger streak that it merges with."""

_SATURATED = 225
# Grey levels, below which a wide bright place is no melt pool.
_DIMMEST = 60
# Texture of the lit bed, as a share of its light.
_TEXTURE = 0.04
# Px, root mean square by which the points of a streak may lie off its curve.
_CROOKED = 0.9
# How much bluer than what is beside it a streak may be, as a share of its rise.
_BLUE = 0.08
# Px by which light from the edge of the zone reaches the ridge filter.
_MARGIN = 2
_LEAST_NOISE = 0.7
# Px, over which noise is averaged.
_AROUND = 25
# Mean amount of a normal deviate over its median.
_USUAL = 1.18


@dataclass(frozen=True)
class Finder:
    """How streaks are looked for.

    Parameters
    ----------
    sigma : float
        Px, standard deviation of the Gaussian whose second derivatives are taken; about half a streak's width.
    seed, follow : float
        Times the noise: a streak begins where its ridge is over the first, and goes on while it is over the second.
    mean : float
        Times the noise, least mean of the ridge along a streak.
    gap : int
        Px, weaker stretches up to this length are bridged.
    shortest : float
        Px, shorter streaks are dropped.
    least_snr : float
        Streaks whose mean rise over the noise is lower are dropped.
    sure : float
        Likewise that times the root of the length in px: what is faint must be long.

    Raises
    ------
    ParameterError
        If a value is outside its range.
    """

    sigma: float = 0.8
    seed: float = 15.0
    follow: float = 8.0
    mean: float = 9.0
    gap: int = 1
    shortest: float = 4.0
    least_snr: float = 3.0
    sure: float = 35.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.sigma <= 5:
            raise ParameterError(f"sigma must be 0.5 to 5 px, got {self.sigma:g}")
        if not 0 < self.follow <= self.seed:
            raise ParameterError(f"a finder needs 0 < follow <= seed, got {self.follow:g} and {self.seed:g}")


def find_streaks(crop: Image, finder: Finder | None = None) -> NDArray[np.void]:
    """Find the streaks in a crop and measure them in px.

    Parameters
    ----------
    crop : ndarray
        ``(h, w, 3)`` uint8 RGB or ``(h, w)`` uint8 grey, at native resolution.
    finder : Finder, optional
        How they are looked for.

    Returns
    -------
    ndarray
        ``(n,)`` `STREAK`, strongest first; places from the crop's upper left corner; `row` -1, speeds NaN.

    Raises
    ------
    ContractError
        If the crop is no uint8 picture.

    Examples
    --------
    >>> import cv2, numpy as np
    >>> from spatterlib.measuring.streaks import find_streaks
    >>> crop = np.zeros((60, 80, 3), np.uint8)
    >>> crop = cv2.line(crop, (10, 50), (60, 10), (180, 120, 60), 1, cv2.LINE_AA)
    >>> found = find_streaks(cv2.GaussianBlur(crop, (0, 0), 0.7))
    >>> len(found), bool(abs(found["length"][0] - np.hypot(50, 40)) < 2)
    (1, True)
    """
    finder = finder or Finder()
    grey = _grey(crop)
    if min(grey.shape) < 8:
        return np.empty(0, STREAK)
    luma, opened = grey.astype(np.float32), _wide(grey)
    noise, zone = _noise(luma, opened), _zone(opened)
    lines = _lines(luma, _tint(crop), zone, noise, finder)
    # What is bluer than what is beside it is the lit bed, not hot metal.
    hot = (lines[0][:, 14] <= _CROOKED) & (lines[0][:, 16] >= -_BLUE * lines[0][:, 9])
    streaks = _rows(lines[0][hot], lines[1][hot], _quantile(noise[::4, ::4], 0.2))
    sure = streaks["snr"] * np.sqrt(streaks["length"]) >= finder.sure
    streaks = streaks[sure & (streaks["snr"] >= finder.least_snr) & (streaks["length"] >= 0.5 * finder.shortest)]
    return _directed(streaks, opened)


def saturated_zone(luma: NDArray[Any]) -> Image:
    """Where the picture is saturated over more than a streak's width, so that nothing in it can be told apart.

    Parameters
    ----------
    luma : ndarray
        ``(h, w)`` grey levels.

    Returns
    -------
    ndarray
        ``(h, w)`` uint8, 1 inside.
    """
    return _zone(_wide(np.asarray(luma, np.float32)))


def _wide(luma: NDArray[Any]) -> NDArray[Any]:
    """The picture without what is narrower than 5 px: an opening; of bytes it takes half the time."""
    import cv2

    return np.asarray(cv2.morphologyEx(luma, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), luma.dtype)


def _zone(wide: NDArray[Any]) -> Image:
    import cv2

    level = np.clip(np.float32(0.6) * np.float32(wide.max()), _DIMMEST, _SATURATED)
    core = (wide >= (math.ceil(level) if wide.dtype == np.uint8 else level)).view(np.uint8)
    size = 2 * _MARGIN + 1
    return np.asarray(cv2.dilate(core, np.ones((size, size), np.uint8)), np.uint8)


def _grey(crop: Image) -> Image:
    if crop.dtype != np.uint8 or crop.ndim not in (2, 3):
        raise ContractError(f"find_streaks expects a uint8 crop (h, w, 3) or (h, w), got {crop.dtype} {crop.shape}")
    if crop.ndim == 2:
        return np.ascontiguousarray(crop)
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY), np.uint8)


def _tint(crop: Image) -> NDArray[np.float32]:
    """Red less blue."""
    if crop.ndim == 2:
        return np.zeros(crop.shape, np.float32)
    import cv2

    red, blue = cv2.extractChannel(crop, 0), cv2.extractChannel(crop, 2)
    return np.asarray(cv2.subtract(red, blue, dtype=cv2.CV_32F), np.float32)


def _noise(luma: NDArray[np.float32], wide: Image) -> NDArray[np.float32]:
    """``(h, w)`` grey levels, standard deviation of noise and texture around each px, streaks left out.

    Second differences as of Immerkaer (1996), Comput. Vis. Image Underst. 64, 300; large ones are clipped, so that
    streaks count little.
    """
    import cv2

    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    second = np.asarray(cv2.filter2D(luma, cv2.CV_32F, mask, borderType=cv2.BORDER_REFLECT_101), np.float32)
    np.abs(second, out=second)
    whole = max(_USUAL * _quantile(second[::4, ::4], 0.5), _LEAST_NOISE)
    np.minimum(second, 2.0 * whole, out=second)
    local = np.asarray(cv2.blur(second, (_AROUND, _AROUND)), np.float32)
    ground = np.asarray(cv2.boxFilter(wide, cv2.CV_32F, (7, 7)), np.float32)
    np.multiply(local, np.float32(np.sqrt(np.pi / 2)), out=local)
    np.multiply(ground, np.float32(_TEXTURE), out=ground)
    noise = np.asarray(cv2.magnitude(local, ground), np.float32)
    np.maximum(noise, np.float32(_LEAST_NOISE), out=noise)
    return noise


def _quantile(values: NDArray[np.float32], share: float) -> float:
    """One of the values: a share of all is below it."""
    order = np.sort(values, axis=None)
    return float(order[int(share * len(order))])


def _lines(
    luma: NDArray[np.float32], tint: NDArray[np.float32], zone: Image, noise: NDArray[np.float32], finder: Finder
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``(n, FIELDS)`` of the lines, and the bits of their two ends."""
    from spatterlib.kernels.measuring.line_joining import join_pieces
    from spatterlib.kernels.measuring.line_shape import FIELDS, describe_lines
    from spatterlib.kernels.measuring.ridges import seeds, trace

    xx, xy, yy = _derivatives(luma, finder.sigma)
    # Of white noise of one level (Steger 1998).
    level = noise * np.float32(np.sqrt(3 / (16 * np.pi)) / finder.sigma**3)
    starts = np.empty((luma.size // 4, 4))
    starts = starts[: seeds(xx, xy, yy, level, finder.seed, zone, starts)]
    starts = starts[np.argsort(-starts[:, 0], kind="stable")]
    points, lines = np.empty((luma.size, 3)), np.empty((len(starts) + 1, 4), np.int64)
    count = trace(
        xx, xy, yy, level, zone, starts, finder.follow, finder.mean, finder.gap, finder.shortest, points, lines
    )
    lines = lines[:count]
    points = points[: lines[-1, 1] if count else 0]
    joined, whole = np.empty_like(points), np.empty_like(lines)
    count = join_pieces(points, lines, joined, whole)
    fields = np.empty((count, FIELDS))
    describe_lines(luma, tint, joined, whole[:count], 3.5 * finder.sigma, fields)
    return fields, whole[:count, 2:]


@lru_cache(maxsize=8)
def _taps(sigma: float) -> tuple[NDArray[np.float64], ...]:
    """A Gaussian and its first two derivatives, exact for parabolas."""
    half = int(np.ceil(3.5 * sigma))
    t = np.arange(-half, half + 1)
    smooth = np.exp(-(t**2) / (2 * sigma**2))
    smooth /= smooth.sum()
    slope = t / sigma**2 * smooth
    slope /= (slope * t).sum()
    bend = (t**2 / sigma**4 - 1 / sigma**2) * smooth
    bend -= bend.mean()
    bend /= (bend * t**2).sum() / 2
    return smooth, slope, bend


def _derivatives(luma: NDArray[np.float32], sigma: float) -> tuple[NDArray[np.float32], ...]:
    """Second derivatives of the picture smoothed by a Gaussian: along x, mixed, along y."""
    import cv2

    smooth, slope, bend = _taps(sigma)
    return tuple(
        np.asarray(cv2.sepFilter2D(luma, cv2.CV_32F, a, b, borderType=cv2.BORDER_REPLICATE), np.float32)
        for a, b in ((bend, smooth), (slope, slope), (smooth, bend))
    )


def _rows(lines: NDArray[np.float64], ends: NDArray[np.int64], noise: float) -> NDArray[np.void]:
    rows = np.zeros(len(lines), STREAK)
    for name, column in (
        ("start_x", 0), ("start_y", 1), ("end_x", 4), ("end_y", 5), ("length", 6), ("curvature", 7), ("width", 8),
        ("brightness", 9), ("first_brightness", 10), ("last_brightness", 11),
    ):  # fmt: skip
        rows[name] = lines[:, column]
    rows["row"], rows["snr"] = -1, lines[:, 9] / noise
    rows["cut"] = ends[:, 0] | ends[:, 1]
    for name in ("source_x", "source_y", "speed", "speed_low", "speed_high"):
        rows[name] = np.nan
    return rows


def _directed(rows: NDArray[np.void], wide: Image) -> NDArray[np.void]:
    """Turn streaks so that they begin at the end nearer to the source, the brighter end where there is none."""
    source = _source(wide)
    if source is None:
        turn = rows["last_brightness"] > rows["first_brightness"]
    else:
        rows["source_x"], rows["source_y"] = source
        near = (rows["start_x"] - source[0]) ** 2 + (rows["start_y"] - source[1]) ** 2
        far = (rows["end_x"] - source[0]) ** 2 + (rows["end_y"] - source[1]) ** 2
        turn = far < near
    for a, b in (("start_x", "end_x"), ("start_y", "end_y"), ("first_brightness", "last_brightness")):
        rows[a], rows[b] = np.where(turn, rows[b], rows[a]), np.where(turn, rows[a], rows[b])
    rows["curvature"][turn] *= -1
    rows["angle"] = np.rad2deg(np.arctan2(rows["start_y"] - rows["end_y"], rows["end_x"] - rows["start_x"])) % 360
    return rows


def _source(wide: Image) -> tuple[float, float] | None:
    """Px, middle of the brightest place that is wider than a streak."""
    top = int(wide.max())
    if top < _DIMMEST:
        return None
    y, x = np.divmod(np.flatnonzero(wide >= math.ceil(np.float32(0.9 * top))), wide.shape[1])
    return float(x.mean()), float(y.mean())
