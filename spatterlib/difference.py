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

# Rows that share their largest changes: fewer make the rectangle tighter and finding it dearer.
_BAND = 16
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
    memory, reach = scratch(), blur // 2
    pair = _pair(first, second, box, memory)
    active = pair.active(threshold)
    if active is None:
        return None
    passing = _grown(active, reach, box)
    wide = _grown(passing, reach, box)
    grey = memory.array("grey", wide[3], wide[2])
    pair.grey(wide, grey)
    binary = memory.array("binary", wide[3], wide[2])
    _above(grey, threshold, blur, binary)
    # The rim is blurred with mirrored values where the frame goes on; nothing there can pass.
    x, y = passing[0] - wide[0], passing[1] - wide[1]
    return _dilated(binary[y : y + passing[3], x : x + passing[2]], passing, dilations, box, memory)


def _grown(rectangle: Box, by: int, box: Box) -> Box:
    """Rectangle inside the frame of `box`'s size, larger by so many px on each side where there is room."""
    x, y, width, height = rectangle
    left, top = max(x - by, 0), max(y - by, 0)
    return left, top, min(x + width + by, box[2]) - left, min(y + height + by, box[3]) - top


def _above(grey: Image, threshold: int, blur: int, out: Image) -> None:
    import cv2

    from spatterlib.kernels.difference import smooth_above

    if blur == 5:
        smooth_above(grey, threshold, out)
        return
    blurred = cv2.GaussianBlur(grey, (blur, blur), 0)
    cv2.threshold(blurred, threshold, 255, cv2.THRESH_BINARY, out)


def _dilated(binary: Image, rectangle: Box, dilations: int, box: Box, memory: Scratch) -> tuple[Image, tuple[int, int]]:
    import cv2

    left, top, width, height = _grown(rectangle, dilations, box)
    if not dilations:
        return binary, (left, top)
    padded, mask = memory.array("padded", height, width), memory.array("mask", height, width)
    padded[:] = 0
    x, y = rectangle[0] - left, rectangle[1] - top
    padded[y : y + rectangle[3], x : x + rectangle[2]] = binary
    size = 2 * dilations + 1
    cv2.dilate(padded, np.ones((size, size), np.uint8), mask)
    return mask, (left, top)


@dataclass(frozen=True, eq=False)
class _RgbPair:
    """Two RGB frames, ``(h, 3 w)`` uint8, C-contiguous."""

    first: Image
    second: Image

    def active(self, threshold: int) -> Box | None:
        """Rectangle outside which no grey difference exceeds the threshold."""
        from spatterlib.kernels.difference import active_rgb

        # (sum + 16384) >> 15 exceeds the threshold exactly if the sum reaches this.
        limit = ((threshold + 1) << 15) - 16384
        found = active_rgb(self.first, self.second, _BAND, _GREY, limit)
        return _rectangle(found, self.first.shape[0])

    def grey(self, rectangle: Box, out: Image) -> None:
        """Grey level of the absolute difference in the rectangle."""
        from spatterlib.kernels.difference import grey_change_rgb

        grey_change_rgb(self.first, self.second, rectangle[0], rectangle[1], out)


@dataclass(frozen=True, eq=False)
class _YuvPair:
    """Two frames of planes and the part of them that counts."""

    first: YuvPicture
    second: YuvPicture
    box: Box

    def active(self, threshold: int) -> Box | None:
        """Rectangle outside which no grey difference can exceed the threshold; see `_bound_weights`."""
        from spatterlib.kernels.difference import active_yuv

        across, down = self.first.shift
        # Whole chroma samples, so that bands of luma and chroma cover the same rows.
        left, top = self.box[0] >> across << across, self.box[1] >> down << down
        right, bottom = self.box[0] + self.box[2], self.box[1] + self.box[3]
        luma = np.s_[top:bottom, left:right]
        chroma = np.s_[top >> down : _up(bottom, down), left >> across : _up(right, across)]
        one, other = ((picture.y[luma], picture.u[chroma], picture.v[chroma]) for picture in (self.first, self.second))
        weights, limit = _bound_weights(self.first.matrix.tobytes()), int((threshold - 0.5) * (1 << 15))
        found = _rectangle(active_yuv(one, other, (across, down), _BAND, weights, limit), bottom - top)
        return None if found is None else _inside(found, left - self.box[0], top - self.box[1], self.box)

    def grey(self, rectangle: Box, out: Image) -> None:
        """Grey level of the absolute RGB difference in the rectangle."""
        from spatterlib.kernels.colour import grey_change_yuv

        one, other = self.first, self.second
        left, top = rectangle[0] + self.box[0], rectangle[1] + self.box[1]
        grey_change_yuv((one.y, one.u, one.v), (other.y, other.u, other.v), left, top, one.shift, one.matrix, out)


def _up(value: int, shift: int) -> int:
    return -(-value >> shift)


def _inside(rectangle: Box, dx: int, dy: int, box: Box) -> Box | None:
    """Rectangle moved by (dx, dy) and cut to the size of `box`; None if nothing is left."""
    x, y = max(rectangle[0] + dx, 0), max(rectangle[1] + dy, 0)
    right = min(rectangle[0] + rectangle[2] + dx, box[2])
    bottom = min(rectangle[1] + rectangle[3] + dy, box[3])
    return (x, y, right - x, bottom - y) if right > x and bottom > y else None


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


def _rectangle(found: tuple[int, int, int, int], height: int) -> Box | None:
    left, first, right, last = found
    if last == 0:
        return None
    top = first * _BAND
    return left, top, right - left, min(last * _BAND, height) - top


def _pair(first: Picture, second: Picture, box: Box, memory: Scratch) -> _YuvPair | _RgbPair:
    if (
        isinstance(first, YuvPicture)
        and isinstance(second, YuvPicture)
        and first.shift == second.shift
        and first.matrix is second.matrix
    ):
        return _YuvPair(first, second, box)
    return _RgbPair(_flat(first, box, memory, "first"), _flat(second, box, memory, "second"))


def _flat(picture: Picture, box: Box, memory: Scratch, name: str) -> Image:
    """``(h, 3 w)`` uint8 of the box: a view of a plain RGB array as far as its rows are whole, else converted."""
    _, y, width, height = box
    if _is_plain(picture) and width == picture.shape[1]:
        return picture.array.reshape(picture.shape[0], -1)[y : y + height]
    return picture.rgb(box, memory.array(name, height, width, 3)).reshape(height, 3 * width)


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
    from spatterlib.kernels.difference import measure

    sums, peaks = np.empty((len(boxes), 3), np.int64), np.empty(len(boxes), np.uint8)
    if _is_plain(picture):
        measure(picture.array.reshape(picture.shape[0], -1), boxes, sums, peaks)
    else:
        left, top = boxes[:, :2].min(axis=0).tolist()
        right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist()
        out = scratch().array("shown", bottom - top, right - left, 3)
        picture.rgb((left, top, right - left, bottom - top), out)
        measure(out.reshape(len(out), -1), boxes - np.array([left, top, 0, 0], np.int32), sums, peaks)
    return sums / (boxes[:, 2:3] * boxes[:, 3:4]), peaks
