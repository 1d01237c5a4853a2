"""Where two frames differ: the recipe's difference, blur, threshold and dilation, only where it can matter.

A pixel passes the threshold only if the grey level of the difference exceeds it somewhere under the Gaussian kernel.
That grey level is bounded by the largest changes of the channels or of the decoder's planes, which one pass at the
pace of memory finds. Outside the rectangle that the bound leaves, nothing is computed, and of planes nothing is converted.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from spatterlib.pictures import YuvPicture
from spatterlib.types import Box, Image, Picture, RgbPicture

__all__ = ["Scratch", "changed", "measure_boxes", "scratch"]

_GREY = np.array([9798, 19235, 3735])


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

    def spans(self, height: int) -> NDArray[np.int64]:
        """``(bands, 2)`` int64 for a frame of that height; see `spatterlib.kernels.difference.active_rgb`."""
        from spatterlib.kernels.difference import BAND

        bands = -(-height // BAND)
        return self.array("spans", 16 * bands).view(np.int64).reshape(bands, 2)


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
    (np.uint8(255), (35, 43))
    """
    memory = scratch()
    found = _pair(first, second, box, memory).grey(threshold, blur // 2, memory)
    if found is None:
        return None
    grey, rectangle = found
    binary = memory.array("binary", *grey.shape)
    _above(grey, threshold, blur, binary)
    return _dilated(binary, rectangle, dilations, box, memory)


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


def _dilated(binary: Image, rectangle: Box, dilations: int, box: Box, memory: Scratch) -> tuple[Image, tuple[int, int]]:
    from spatterlib.kernels.difference import dilate

    x, y, width, height = rectangle
    left, top = max(x - dilations, 0), max(y - dilations, 0)
    right, bottom = min(x + width + dilations, box[2]), min(y + height + dilations, box[3])
    mask = memory.array("mask", bottom - top, right - left)
    dilate(binary, dilations, (x - left, y - top), mask)
    return mask, (left, top)


@dataclass(frozen=True, eq=False)
class _RgbPair:
    """Two RGB frames, ``(h, 3 w)`` uint8, C-contiguous, and the part of them that counts."""

    first: Image
    second: Image
    box: Box

    def grey(self, threshold: int, reach: int, memory: Scratch) -> tuple[Image, Box] | None:
        """Grey level of the absolute difference wherever it can matter, 0 elsewhere, and the rectangle it fills."""
        from spatterlib.kernels.difference import active_rgb, around, grey_change_rgb

        spans = memory.spans(self.box[3])
        # (sum + 16384) >> 15 exceeds the threshold exactly if the sum reaches this.
        active_rgb(self.first, self.second, self.box, _GREY, ((threshold + 1) << 15) - 16384, spans)
        rectangle = around(spans, 2 * reach, self.box[2], self.box[3])
        if not rectangle[2]:
            return None
        grey = memory.array("grey", rectangle[3], rectangle[2])
        grey_change_rgb(self.first, self.second, self.box[:2], spans, 2 * reach, rectangle, grey)
        return grey, rectangle


@dataclass(frozen=True, eq=False)
class _YuvPair:
    """Two frames of planes and the part of them that counts."""

    first: YuvPicture
    second: YuvPicture
    box: Box

    def grey(self, threshold: int, reach: int, memory: Scratch) -> tuple[Image, Box] | None:
        """As that of `_RgbPair`; what is looked at follows from `_bound_weights`."""
        from spatterlib.kernels.colour import grey_change_yuv
        from spatterlib.kernels.difference import active_yuv, around

        shift, matrix, spans = self.first.shift, self.first.matrix, memory.spans(self.box[3])
        one, other = ((picture.y, picture.u, picture.v) for picture in (self.first, self.second))
        limit = int((threshold - 0.5) * (1 << 15))
        active_yuv(one, other, self.box, shift, _bound_weights(matrix.tobytes()), limit, spans)
        rectangle = around(spans, 2 * reach, self.box[2], self.box[3])
        if not rectangle[2]:
            return None
        grey = memory.array("grey", rectangle[3], rectangle[2])
        grey_change_yuv(one, other, self.box[:2], shift, matrix, spans, 2 * reach, rectangle, grey)
        return grey, rectangle


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
