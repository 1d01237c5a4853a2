"""Where two frames differ: the recipe's difference, blur, threshold and dilation, only where it can matter.

A pixel passes the threshold only if the grey level of the difference exceeds it somewhere under the Gaussian kernel.
That grey level is bounded by the largest changes of the channels or of the decoder's planes, which one pass at the
pace of memory finds. Only around the columns that the bound leaves is anything computed, and of planes nothing is
converted.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels import BLUE, GREEN, RED
from spatterlib.pictures import YuvPicture
from spatterlib.types import Box, Image, Picture, RgbPicture

__all__ = ["changed", "nested_outlines", "outlines", "sum_boxes"]

_GREY = np.array([RED, GREEN, BLUE], np.int32)
_NONE = np.empty((0, 4), np.int32), np.empty(0)

RIM = 8
"""Px of zeros left and right of a mask, so that its rows begin at whole words; above and below one row is enough."""


@dataclass(frozen=True, eq=False)
class _Buffers:
    """Memory for one size of frame, used again: the page faults of fresh arrays cost more than the arithmetic."""

    runs: NDArray[np.int64]
    grey: Image
    binary: Image
    mask: Image
    rectangles: NDArray[np.int32]
    areas: NDArray[np.float64]


_local = threading.local()


def _buffers(width: int, height: int) -> _Buffers:
    """The calling thread's own memory for frames of a size; that of the last size is given up."""
    if getattr(_local, "size", None) != (width, height):
        from spatterlib.kernels.difference import most_runs

        pixels, most = height * width, -(-height // 2) * -(-width // 2)
        _local.buffers = _Buffers(
            np.empty((most_runs(width, height), 3), np.int64),
            np.empty(pixels, np.uint8),
            np.empty(pixels, np.uint8),
            np.empty((height + 2) * (width + 3 * RIM), np.uint8),
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
    >>> from spatterlib.difference import changed
    >>> from spatterlib.types import RgbPicture
    >>> dark = np.zeros((100, 100, 3), np.uint8)
    >>> light = dark.copy()
    >>> light[50:60, 40:60] = 255
    >>> mask, corner = changed(RgbPicture(dark), RgbPicture(light), (0, 0, 100, 100))
    >>> mask[58 - corner[1], 50 - corner[0]], corner
    (np.uint8(255), (32, 43))
    """
    rim = _mask(first, second, box, threshold, blur, dilations)
    return None if rim is None else (rim[0][1:-1, RIM : RIM + rim[2]], rim[1])


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
    from spatterlib.kernels.outlines import outer_outlines

    rim = _mask(first, second, box, threshold, blur, dilations)
    if rim is None:
        return _NONE
    buffers = _buffers(box[2], box[3])
    count = outer_outlines(rim[0], rim[1], buffers.rectangles, buffers.areas)
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


def _mask(
    first: Picture, second: Picture, box: Box, threshold: int, blur: int, dilations: int
) -> tuple[Image, tuple[int, int], int] | None:
    """`changed` with a rim as `outer_outlines` wants it: mask, corner and width without the rim."""
    import cv2

    buffers, reach = _buffers(box[2], box[3]), blur // 2
    pair = _pair(first, second, box)
    margins = (max(reach, dilations) + reach, 2 * reach)
    (left, top, width, height), count = pair.active(threshold, margins, buffers.runs)
    if not width:
        return None
    runs = buffers.runs[:count]
    grey, binary = (flat[: height * width].reshape(height, width) for flat in (buffers.grey, buffers.binary))
    pair.grey((pair.box[0] + left, pair.box[1] + top), runs, grey)
    _above(grey, threshold, blur, runs, binary)
    stride = -(-width // RIM) * RIM + 2 * RIM
    mask = buffers.mask[: (height + 2) * stride].reshape(height + 2, stride)
    mask[0] = mask[-1] = 0
    mask[:, :RIM] = mask[:, RIM + width :] = 0
    inner = mask[1:-1, RIM : RIM + width]
    if dilations:
        cv2.dilate(binary, _square(2 * dilations + 1), inner)
    else:
        inner[:] = binary
    return mask, (left, top), width


@cache
def _square(side: int) -> Image:
    return np.ones((side, side), np.uint8)


def _above(grey: Image, threshold: int, blur: int, runs: NDArray[np.int64], out: Image) -> None:
    """255 where the blurred level is greater than the threshold.

    At the rim of the rectangle the blur takes mirrored values where the frame goes on. That does no harm: the rim is
    so wide that it and its mirror image hold no level above the threshold.
    """
    from spatterlib.kernels.difference import smooth_above

    if blur == 5:
        smooth_above(grey, threshold, runs, out)
        return
    import cv2

    blurred = cv2.GaussianBlur(grey, (blur, blur), 0)
    cv2.threshold(blurred, threshold, 255, cv2.THRESH_BINARY, out)


class _RgbPair(NamedTuple):
    """Two RGB frames, ``(h, 3 w)`` uint8, C-contiguous, and the part of them that counts."""

    first: Image
    second: Image
    box: Box

    def active(self, threshold: int, margins: tuple[int, int], runs: NDArray[np.int64]) -> tuple[Box, int]:
        """Rectangle and runs outside which no grey difference exceeds the threshold; how many runs."""
        from spatterlib.kernels.difference import active_rgb

        # (sum + 16384) >> 15 exceeds the threshold exactly if the sum reaches this.
        limit = np.int32(((threshold + 1) << 15) - 16384)
        return active_rgb(self.first, self.second, self.box, _GREY, limit, margins, runs)

    def grey(self, corner: tuple[int, int], runs: NDArray[np.int64], out: Image) -> None:
        """Grey level of the absolute difference in some runs, 0 elsewhere."""
        from spatterlib.kernels.difference import grey_change_rgb

        grey_change_rgb(self.first, self.second, corner, runs, out)


class _YuvPair(NamedTuple):
    """Two frames of planes and the part of them that counts; the same methods."""

    first: YuvPicture
    second: YuvPicture
    box: Box

    def active(self, threshold: int, margins: tuple[int, int], runs: NDArray[np.int64]) -> tuple[Box, int]:
        from spatterlib.kernels.difference import active_yuv

        weights, limit = _bound_weights(self.first.matrix.tobytes()), np.int32((threshold - 0.5) * (1 << 15))
        one, other, shift = _planes(self.first), _planes(self.second), self.first.shift
        return active_yuv(one, other, self.box, shift, weights, limit, margins, runs)

    def grey(self, corner: tuple[int, int], runs: NDArray[np.int64], out: Image) -> None:
        from spatterlib.kernels.colour import grey_change_yuv

        shift, matrix = self.first.shift, self.first.matrix
        grey_change_yuv(_planes(self.first), _planes(self.second), corner, shift, matrix, runs, out)


def _planes(picture: YuvPicture) -> tuple[Image, Image, Image]:
    return picture.y, picture.u, picture.v


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
    if _is_plain(first) and _is_plain(second):
        rows = first.shape[0]
        return _RgbPair(first.array.reshape(rows, -1), second.array.reshape(rows, -1), box)
    _, _, width, height = box
    one, other = (
        picture.rgb(box, np.empty((height, width, 3), np.uint8)).reshape(height, -1) for picture in (first, second)
    )
    return _RgbPair(one, other, (0, 0, width, height))


def _is_plain(picture: Picture) -> TypeGuard[RgbPicture]:
    """Whether the picture is an RGB array without gaps, to be read where it lies."""
    return isinstance(picture, RgbPicture) and picture.array.ndim == 3 and picture.array.flags.c_contiguous


def sum_boxes(picture: Picture, boxes: NDArray[np.int32]) -> tuple[NDArray[np.int64], Image]:
    """Sum of each channel and brightest luma in boxes of one picture.

    Parameters
    ----------
    picture : Picture
        The frame.
    boxes : ndarray
        ``(n, 4)`` int32, n > 0: x, y, width, height in px from the picture's upper left corner, inside it. A box
        without width or height gives 0.

    Returns
    -------
    sums : ndarray
        ``(n, 3)`` int64, red, green and blue.
    peaks : ndarray
        ``(n,)`` uint8, luma with ITU-R BT.601 weights.
    """
    from spatterlib.kernels.colour import measure_yuv
    from spatterlib.kernels.difference import measure

    sums, peaks = np.empty((len(boxes), 3), np.int64), np.empty(len(boxes), np.uint8)
    if isinstance(picture, YuvPicture):
        measure_yuv(picture.y, picture.u, picture.v, picture.shift, picture.matrix, boxes, sums, peaks)
    else:
        rgb = picture.array if _is_plain(picture) else picture.rgb((0, 0, picture.shape[1], picture.shape[0]))
        measure(np.ascontiguousarray(rgb).reshape(len(rgb), -1), boxes, sums, peaks)
    return sums, peaks
