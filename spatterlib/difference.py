"""Where two frames differ: the recipe's difference, blur, threshold and dilation, only where it can matter.

A pixel passes the threshold only if the grey level of the difference exceeds it somewhere under the Gaussian kernel.
That grey level is bounded by the largest changes of the channels or of the decoder's planes, which one pass at the
pace of memory finds. Only around the columns that the bound leaves is anything computed, and of planes nothing is
converted.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels import BLUE, GREEN, RED
from spatterlib.pictures import YuvPicture
from spatterlib.types import Box, Image, Picture, RgbPicture

__all__ = ["Scratch", "changed", "measure_boxes", "scratch"]

_GREY = np.array([RED, GREEN, BLUE], np.int64)


@dataclass(frozen=True, eq=False)
class Scratch:
    """Memory used again from frame to frame: the page faults of fresh arrays cost more than the arithmetic."""

    _arrays: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def array(self, name: str, *shape: int) -> Image:
        """``shape`` uint8, C-contiguous, content undefined; the same memory at every call with this name."""
        size = math.prod(shape)
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = np.empty(size, np.uint8)
        return self._arrays[name][:size].reshape(shape)

    def pairs(self, name: str, count: int) -> NDArray[np.int64]:
        """``(count, 2)`` int64, as `array`."""
        return self.array(name, 16 * count).view(np.int64).reshape(count, 2)


_local = threading.local()


def scratch() -> Scratch:
    """The calling thread's own scratch memory."""
    if not hasattr(_local, "scratch"):
        _local.scratch = Scratch()
    return _local.scratch  # type: ignore[no-any-return]


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
    import cv2

    from spatterlib.kernels.difference import BAND, around, near

    memory, reach = scratch(), blur // 2
    pair = _pair(first, second, box, memory)
    spans = memory.pairs("spans", -(-box[3] // BAND))
    pair.active(threshold, spans)
    rectangle = around(spans, max(reach, dilations) + reach, box[2], box[3])
    if not rectangle[2]:
        return None
    left, top, width, height = rectangle
    columns, grey, binary, mask = (
        memory.pairs("columns", height),
        *(memory.array(name, height, width) for name in ("grey", "binary", "mask")),
    )
    near(spans, 2 * reach, rectangle, columns)
    pair.grey((pair.box[0] + left, pair.box[1] + top), columns, grey)
    _above(grey, threshold, blur, binary)
    if not dilations:
        return binary, (left, top)
    cv2.dilate(binary, np.ones((2 * dilations + 1, 2 * dilations + 1), np.uint8), mask)
    return mask, (left, top)


def _above(grey: Image, threshold: int, blur: int, out: Image) -> None:
    """255 where the blurred level is greater than the threshold.

    At the rim of the rectangle the blur takes mirrored values where the frame goes on. That does no harm: the rim is
    so wide that it and its mirror image hold no level above the threshold.
    """
    import cv2

    from spatterlib.kernels.difference import smooth_above

    if blur == 5:
        smooth_above(grey, threshold, out)
        return
    blurred = cv2.GaussianBlur(grey, (blur, blur), 0)
    cv2.threshold(blurred, threshold, 255, cv2.THRESH_BINARY, out)


@dataclass(frozen=True, eq=False)
class _RgbPair:
    """Two RGB frames, ``(h, 3 w)`` uint8, C-contiguous, and the part of them that counts."""

    first: Image
    second: Image
    box: Box

    def active(self, threshold: int, spans: NDArray[np.int64]) -> None:
        """Columns of each band of rows outside which no grey difference exceeds the threshold."""
        from spatterlib.kernels.difference import active_rgb

        # (sum + 16384) >> 15 exceeds the threshold exactly if the sum reaches this.
        active_rgb(self.first, self.second, self.box, _GREY, ((threshold + 1) << 15) - 16384, spans)

    def grey(self, corner: tuple[int, int], columns: NDArray[np.int64], out: Image) -> None:
        """Grey level of the absolute difference in some columns of each row, 0 elsewhere."""
        from spatterlib.kernels.difference import grey_change_rgb

        grey_change_rgb(self.first, self.second, corner, columns, out)


@dataclass(frozen=True, eq=False)
class _YuvPair:
    """Two frames of planes and the part of them that counts; the same methods."""

    first: YuvPicture
    second: YuvPicture
    box: Box

    def active(self, threshold: int, spans: NDArray[np.int64]) -> None:
        from spatterlib.kernels.difference import active_yuv

        weights, limit = _bound_weights(self.first.matrix.tobytes()), int((threshold - 0.5) * (1 << 15))
        active_yuv(_planes(self.first), _planes(self.second), self.box, self.first.shift, weights, limit, spans)

    def grey(self, corner: tuple[int, int], columns: NDArray[np.int64], out: Image) -> None:
        from spatterlib.kernels.colour import grey_change_yuv

        shift, matrix = self.first.shift, self.first.matrix
        grey_change_yuv(_planes(self.first), _planes(self.second), corner, shift, matrix, columns, out)


def _planes(picture: YuvPicture) -> tuple[Image, Image, Image]:
    return picture.y, picture.u, picture.v


@cache
def _bound_weights(matrix: bytes) -> NDArray[np.int64]:
    """What one level of change of Y, U and V can add to the grey difference, times 2**15, rounded up.

    Each channel is ``clip((luma * Y + ... + half) >> 20)``. Clipping shortens distances and rounding adds less than
    1, so a channel changes by less than ``(luma |dY| + |v| |dV| + |u| |dU|) / 2**20 + 1``. The grey level is their
    weighted mean, rounded, which adds 0.5 at most: it exceeds the threshold, an integer, only if the sum of the
    products with these weights reaches ``threshold + 1 - 1.5``.
    """
    luma, v_red, v_green, u_green, u_blue = np.abs(np.frombuffer(matrix, np.int32)[1:].astype(np.int64))
    red, green, blue = _GREY
    sums = [(red + green + blue) * luma, green * u_green + blue * u_blue, red * v_red + green * v_green]
    return np.array([-(-total >> 20) for total in sums], np.int64)


def _pair(first: Picture, second: Picture, box: Box, memory: Scratch) -> _YuvPair | _RgbPair:
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
        picture.rgb(box, memory.array(name, height, width, 3)).reshape(height, -1)
        for name, picture in (("first", first), ("second", second))
    )
    return _RgbPair(one, other, (0, 0, width, height))


def _is_plain(picture: Picture) -> TypeGuard[RgbPicture]:
    """Whether the picture is an RGB array without gaps, to be read where it lies."""
    return isinstance(picture, RgbPicture) and picture.array.ndim == 3 and picture.array.flags.c_contiguous


def measure_boxes(picture: Picture, boxes: NDArray[np.int32]) -> tuple[NDArray[np.float64], Image]:
    """Mean colour and brightest luma in boxes of one picture.

    Parameters
    ----------
    picture : Picture
        The frame.
    boxes : ndarray
        ``(n, 4)`` int32, n > 0: x, y, width, height in px from the picture's upper left corner, inside it.

    Returns
    -------
    means : ndarray
        ``(n, 3)`` float64, red, green and blue, grey levels 0-255.
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
    return sums / (boxes[:, 2:3] * boxes[:, 3:4]), peaks
