"""Where two frames differ: the recipe's difference, blur, threshold and dilation, only where it can matter.

A pixel passes the threshold only if the grey level of the difference exceeds it somewhere under the Gaussian kernel.
That grey level is bounded by the largest changes of the channels or of the decoder's planes, which one pass at the
pace of memory finds. Only around the columns that the bound leaves is anything computed, and of planes nothing is
converted.
"""

from __future__ import annotations

import math
import threading
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.constants import BLUE, GREEN, REACH, RED
from spatterlib.plugins.pictures import YuvPicture, is_plain
from spatterlib.types import Box, Image, Picture

if TYPE_CHECKING:
    from spatterlib.kernels.detection.recipe import Scratch

__all__ = [
    "Bound",
    "buffers_for",
    "changed",
    "margins_of",
    "nested_outlines",
    "outlines",
    "planes_of",
    "rgb_bound",
    "yuv_bound",
]

Bound: TypeAlias = tuple[NDArray[np.int32], np.int32]
"""Weights of changes, and the sum of products with them below which the threshold cannot be exceeded."""

_GREY = np.array([RED, GREEN, BLUE], np.int32)
_NONE = np.empty((0, 4), np.int32), np.empty(0)

RIM = 8
"""Px of zeros left and right of a mask, so that its rows begin at whole words; above and below one row is enough."""

WORD = 64
"""Px that are dilated together, as in `spatterlib.kernels.detection.masks`, which is loaded when it is needed."""


_local = threading.local()


def buffers_for(width: int, height: int) -> Scratch:
    """The calling thread's own memory for frames of a size; that of the last size is given up.

    Memory that is used again: the page faults of fresh arrays cost more than the arithmetic.
    """
    if getattr(_local, "size", None) != (width, height):
        from spatterlib.kernels.detection.masks import grey_shape
        from spatterlib.kernels.detection.recipe import Scratch
        from spatterlib.kernels.detection.runs import most_runs

        most = -(-height // 2) * -(-width // 2)
        _local.buffers = Scratch(
            np.empty((most_runs(width, height), 3), np.int64),
            np.empty(math.prod(grey_shape(width, height)), np.uint8),
            np.empty((height + 2) * (width + WORD + 2 * RIM), np.uint8),
            np.empty((most, 4), np.int32),
            np.empty(most),
        )
        _local.size = (width, height)
    return _local.buffers  # type: ignore[no-any-return]


def changed(
    first: Picture, second: Picture, box: Box, *, threshold: int = 20, blur: int = 5, dilations: int = 3
) -> tuple[Image, tuple[int, int]] | None:
    """Mask of what changed between two frames, cut to where something may have changed.

    Parameters
    ----------
    first, second : Picture
        Of one size. Pictures of planes are compared as planes; RGB arrays without a copy.
    box : tuple of int
        ``(x, y, width, height)`` px: the part of the pictures that counts as the frame.
    threshold : int
        Grey levels 0-254; a pixel has changed if its blurred difference is greater.
    blur : int
        Px, odd size of the Gaussian kernel; 1 = no blur.
    dilations : int
        How many 3x3 dilations.

    Returns
    -------
    mask : ndarray
        ``(h, w)`` uint8, 0 or 255; equal to that part of the mask of the whole frame, which is 0 elsewhere. It lies in
        memory that the thread's next call overwrites.
    corner : tuple of int
        ``(x, y)`` of the mask's upper left corner, px from that of `box`.
        None instead of both if nothing can have changed.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.detection.difference import changed
    >>> from spatterlib.types import RgbPicture
    >>> dark = np.zeros((100, 100, 3), np.uint8)
    >>> light = dark.copy()
    >>> light[50:60, 40:60] = 255
    >>> mask, corner = changed(RgbPicture(dark), RgbPicture(light), (0, 0, 100, 100))
    >>> mask[58 - corner[1], 50 - corner[0]], corner
    (np.uint8(255), (32, 43))
    """
    found = _mask(first, second, box, threshold, blur, dilations)
    return None if found is None else (found.mask[1:-1, RIM : RIM + found.width], found.corner)


def outlines(
    first: Picture, second: Picture, box: Box, *, threshold: int = 20, blur: int = 5, dilations: int = 3
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Outer outlines of what changed between two frames: rectangles and enclosed areas.

    Parameters
    ----------
    first, second, box, threshold, blur, dilations
        As in `changed`.

    Returns
    -------
    rectangles : ndarray
        ``(n, 4)`` int32: x, y, width, height in px from the corner of `box`, in the order of ``cv2.findContours``.
    areas : ndarray
        ``(n,)`` float64, px², as ``cv2.contourArea`` has them.
        Both lie in memory that the thread's next call overwrites.
    """
    from spatterlib.kernels.detection.outlines import outer_outlines

    found = _mask(first, second, box, threshold, blur, dilations)
    if found is None:
        return _NONE
    buffers = buffers_for(box[2], box[3])
    count = outer_outlines(found.mask, found.bits, found.corner, buffers.rectangles, buffers.areas)
    return buffers.rectangles[:count], buffers.areas[:count]


def nested_outlines(
    first: Picture, second: Picture, box: Box, *, threshold: int = 20, blur: int = 5, dilations: int = 3
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """As `outlines`, with nested outlines and holes too."""
    import cv2

    part = changed(first, second, box, threshold=threshold, blur=blur, dilations=dilations)
    if part is None:
        return _NONE
    found, _ = cv2.findContours(part[0], cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=part[1])
    rectangles = np.array([cv2.boundingRect(outline) for outline in found], np.int32).reshape(-1, 4)
    return rectangles, np.array([cv2.contourArea(outline) for outline in found])


def margins_of(blur: int, dilations: int) -> tuple[int, int]:
    """Px: how far beyond what exceeds the threshold the mask goes, and the grey levels that matter."""
    return max(blur // 2, dilations) + blur // 2, 2 * (blur // 2)


class _Mask(NamedTuple):
    """Mask with a rim and its bits, as `outer_outlines` wants them; corner and width without the rim."""

    mask: Image
    bits: NDArray[np.uint64]
    corner: tuple[int, int]
    width: int


def _mask(first: Picture, second: Picture, box: Box, threshold: int, blur: int, dilations: int) -> _Mask | None:
    from spatterlib.kernels.detection.masks import dilate, grey_shape

    buffers, pair = buffers_for(box[2], box[3]), _pair(first, second, box)
    (left, top, width, height), count = pair.active(threshold, margins_of(blur, dilations), buffers.runs)
    if not width:
        return None
    runs, pitch = buffers.runs[:count], -(-width // WORD) * WORD
    shape = grey_shape(width, height)
    grey = buffers.grey[: math.prod(shape)].reshape(shape)
    mask = buffers.mask[: (height + 2) * (pitch + 2 * RIM)].reshape(height + 2, pitch + 2 * RIM)
    pair.grey((pair.box[0] + left, pair.box[1] + top), runs, grey)
    bits = _above(grey, width, threshold, blur, runs, dilations)
    dilate(bits, width, dilations, mask)
    return _Mask(mask, bits, (left, top), width)


def _above(
    grey: Image, width: int, threshold: int, blur: int, runs: NDArray[np.int64], radius: int
) -> NDArray[np.uint64]:
    """Where the blurred level is greater than the threshold, as `dilate` takes it.

    At the rim of the rectangle the blur takes mirrored values where the frame goes on. That does no harm: the rim is
    so wide that it and its mirror image hold no level above the threshold.
    """
    from spatterlib.kernels.detection.masks import smooth_above

    if blur == 5:
        return smooth_above(grey, width, threshold, runs, radius)
    import cv2

    levels = np.ascontiguousarray(grey[REACH:-REACH, REACH : REACH + width])
    packed = np.packbits(cv2.GaussianBlur(levels, (blur, blur), 0) > threshold, axis=1, bitorder="little")
    rows = np.zeros((len(levels) + 2 * radius, -(-width // WORD) * 8), np.uint8)
    rows[radius : radius + len(levels), : packed.shape[1]] = packed
    return rows.reshape(-1).view(np.uint64)


class _RgbPair(NamedTuple):
    """Two RGB frames, ``(h, 3 w)`` uint8, C-contiguous, and the part of them that counts."""

    first: Image
    second: Image
    box: Box

    def active(self, threshold: int, margins: tuple[int, int], runs: NDArray[np.int64]) -> tuple[Box, int]:
        """Rectangle and runs outside which no grey difference exceeds the threshold; how many runs."""
        from spatterlib.kernels.detection.active_blocks import active_rgb
        from spatterlib.kernels.detection.runs import runs_of

        spans, flags = active_rgb(self.first, self.second, self.box, *rgb_bound(threshold), margins[1])
        return runs_of(spans, flags, margins, self.box[2:], runs)

    def grey(self, corner: tuple[int, int], runs: NDArray[np.int64], out: Image) -> None:
        """Grey level of the absolute difference in some runs, 0 elsewhere."""
        from spatterlib.kernels.detection.difference import grey_change_rgb

        grey_change_rgb(self.first, self.second, corner, runs, out)


class _YuvPair(NamedTuple):
    """Two frames of planes and the part of them that counts; the same methods."""

    first: YuvPicture
    second: YuvPicture
    box: Box

    def active(self, threshold: int, margins: tuple[int, int], runs: NDArray[np.int64]) -> tuple[Box, int]:
        from spatterlib.kernels.detection.active_blocks import active_yuv
        from spatterlib.kernels.detection.runs import runs_of

        one, other, shift = planes_of(self.first), planes_of(self.second), self.first.shift
        bound = yuv_bound(self.first.matrix, threshold)
        spans, flags = active_yuv(one, other, self.box, shift, *bound, margins[1])
        return runs_of(spans, flags, margins, self.box[2:], runs)

    def grey(self, corner: tuple[int, int], runs: NDArray[np.int64], out: Image) -> None:
        from spatterlib.kernels.colour import grey_change_yuv

        shift, matrix = self.first.shift, self.first.matrix
        grey_change_yuv(planes_of(self.first), planes_of(self.second), corner, shift, matrix, runs, out)


def planes_of(picture: YuvPicture) -> tuple[Image, Image, Image]:
    """Y, U and V."""
    return picture.y, picture.u, picture.v


def rgb_bound(threshold: int) -> Bound:
    """Weights and limit of channels: ``(sum + 16384) >> 15`` exceeds the threshold exactly if the sum reaches it."""
    return _GREY, np.int32(((threshold + 1) << 15) - 16384)


def yuv_bound(matrix: NDArray[np.int32], threshold: int) -> Bound:
    """The same for planes: below the limit the threshold cannot be exceeded, see `_bound_weights`."""
    return _bound_weights(matrix.tobytes()), np.int32((threshold - 0.5) * (1 << 15))


@cache
def _bound_weights(matrix: bytes) -> NDArray[np.int32]:
    """What one level of change of Y, U and V can add to the grey difference, times 2**15, rounded up.

    Each channel is ``clip((luma * Y + ... + half) >> 20)``. Clipping shortens distances and rounding adds less than
    1, so a channel changes by less than ``(luma |dY| + |v| |dV| + |u| |dU|) / 2**20 + 1``. The grey level is their
    weighted mean, rounded, which adds 0.5 at most: it exceeds the threshold, an integer, only if the sum of the
    products with these weights reaches ``threshold + 1 - 1.5``.
    """
    luma, v_red, v_green, u_green, u_blue = np.abs(np.frombuffer(matrix, np.int32)[1:].astype(np.int64))
    red, green, blue = _GREY.astype(np.int64)
    sums = [(red + green + blue) * luma, green * u_green + blue * u_blue, red * v_red + green * v_green]
    return np.array([-(-total >> 20) for total in sums], np.int32)


def _pair(first: Picture, second: Picture, box: Box) -> _YuvPair | _RgbPair:
    if (
        isinstance(first, YuvPicture)
        and isinstance(second, YuvPicture)
        and first.shift == second.shift
        and first.matrix is second.matrix
    ):
        return _YuvPair(first, second, box)
    if is_plain(first) and is_plain(second):
        rows = first.shape[0]
        return _RgbPair(first.array.reshape(rows, -1), second.array.reshape(rows, -1), box)
    _, _, width, height = box
    one, other = (
        picture.rgb(box, np.empty((height, width, 3), np.uint8)).reshape(height, -1) for picture in (first, second)
    )
    return _RgbPair(one, other, (0, 0, width, height))
