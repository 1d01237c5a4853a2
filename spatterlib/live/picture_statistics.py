"""What a picture says of the camera itself: a few cheap statistics, taken several times a second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatterlib.plugins.pictures import YuvPicture
from spatterlib.types import Image, Picture

__all__ = ["BLOCKS", "THUMB", "Look", "look_at"]

BLOCKS = (9, 16)
"""Rows and columns of blocks into which a picture is cut, whatever its size."""
THUMB = (90, 160)
"""Rows and columns of a small copy of a picture."""
# Px across at which pictures are looked at: of larger ones only every n-th px is read.
_ACROSS = 640


@dataclass(frozen=True, eq=False)
class Look:
    """One look at a picture.

    Parameters
    ----------
    time : float
        S, of the stream.
    thumb : ndarray
        ``(90, 160)`` float32, mean luma of parts of the picture.
    sample : ndarray
        ``(h, w)`` uint8, every fourth px of every fourth row: with its noise.
    blocks : ndarray
        ``(144,)`` float32, mean luma of `BLOCKS`.
    change : float
        Grey levels, mean difference of `sample` from that of the look before; NaN without one.
    light : float
        Grey levels between the brightest block and the dark ones.
    sharpness : float
        Share of fine structure: mean square of differences over 1 px, divided by that over 4 px, noise taken off.
        NaN where there is too little structure.
    """

    time: float
    thumb: NDArray[np.float32]
    sample: Image
    blocks: NDArray[np.float32]
    change: float
    light: float
    sharpness: float


def look_at(picture: Picture, time: float, before: Look | None = None) -> Look:
    """Look at a picture; `before` is the look before, of a picture of the same camera.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.live.picture_statistics import look_at
    >>> from spatterlib.types import RgbPicture
    >>> grey = RgbPicture(np.full((360, 640, 3), 90, np.uint8))
    >>> look = look_at(grey, 0.2, look_at(grey, 0.0))
    >>> look.change, look.light, round(float(look.blocks.mean()))
    (0.0, 0.0, 90)
    """
    import cv2

    luma = _luma(picture)
    sample = np.ascontiguousarray(luma[::4, ::4])
    thumb = np.asarray(cv2.resize(np.asarray(luma, np.float32), THUMB[::-1], interpolation=cv2.INTER_AREA), np.float32)
    blocks = np.asarray(cv2.resize(thumb, BLOCKS[::-1], interpolation=cv2.INTER_AREA), np.float32).ravel()
    change, noise = np.nan, 0.0
    if before is not None and before.sample.shape == sample.shape:
        change, noise = _change(np.asarray(cv2.absdiff(sample, before.sample), np.uint8))
    ordered = np.partition(blocks, (len(blocks) // 5, len(blocks) - 2))
    light = float(ordered[-2] - ordered[len(blocks) // 5])
    return Look(time, thumb, sample, blocks, change, light, _sharpness(luma, noise))


def _luma(picture: Picture) -> Image:
    """Luma of the picture, of every n-th px where it is large."""
    import cv2

    height, width = picture.shape
    step = max(round(width / _ACROSS), 1)
    if isinstance(picture, YuvPicture):
        return np.ascontiguousarray(picture.y[::step, ::step])
    rgb = np.ascontiguousarray(picture.rgb((0, 0, width, height))[::step, ::step])
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _change(differences: Image) -> tuple[float, float]:
    """Mean difference, and variance of the noise of one picture, from the px that differ little."""
    counts = np.bincount(differences.ravel(), minlength=256)
    values = np.arange(len(counts))
    median = int(np.searchsorted(np.cumsum(counts), 0.5 * differences.size))
    small = values <= max(2, 3 * median)
    noise = float((counts * values**2)[small].sum() / max(counts[small].sum(), 1)) / 2
    return float((counts * values).sum() / max(differences.size, 1)), noise


def _sharpness(luma: Image, noise: float) -> float:
    rows = luma[2::8].astype(np.float32)
    if rows.shape[1] < 16:
        return float("nan")
    fine = float(np.square(rows[:, 1:] - rows[:, :-1]).mean()) - 2 * noise
    coarse = float(np.square(rows[:, 4:] - rows[:, :-4]).mean()) - 2 * noise
    enough = coarse > max(1.0, noise)
    return max(fine, 0.01 * coarse) / coarse if enough else float("nan")
