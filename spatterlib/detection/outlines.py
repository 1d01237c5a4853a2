"""Outlines of what changes in the pictures of a clip: one call of a kernel, or at rare settings OpenCV's functions.

A pixel passes the threshold only if the grey level of the difference exceeds it somewhere under the Gaussian kernel.
That grey level is bounded by the largest changes of the channels or of the decoder's planes, which one pass at the
pace of memory finds. Only around the columns that the bound leaves does the kernel compute anything, and of planes
nothing is converted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.difference import difference_and_mask
from spatterlib.kernels.constants import BLUE, GREEN, REACH, RED
from spatterlib.plugins.boxes import sum_boxes
from spatterlib.plugins.pictures import YuvPicture, is_plain, place
from spatterlib.types import Box, Image, Picture, RgbPicture

if TYPE_CHECKING:
    from spatterlib.kernels.detection.recipe import Rows, Scratch

__all__ = ["outlines_of"]

_Bound: TypeAlias = tuple[NDArray[np.int32], np.int32]
_Kernel: TypeAlias = tuple[Callable[..., tuple[int, int]], Callable[[int], _Bound]]
# As many as fit into one word of 64 px of the kernel's masks.
_MOST_DILATIONS = 63
_GREY = np.array([RED, GREEN, BLUE], np.int32)
# As `yuv_matrix` gives them: red, green and blue are what luma is.
_NO_COLOUR = np.array([0, 1 << 20, 0, 0, 0, 0], np.int32)
_local = threading.local()


def outlines_of(
    pictures: Sequence[Picture],
    start: int,
    box: Box,
    inset: NDArray[np.int32],
    *,
    threshold: int = 20,
    blur: int = 5,
    dilations: int = 3,
    nested: bool = False,
    behind: int = 0,
) -> Rows:
    """Outlines of what changed from each picture of a clip to the next, and what the boxes in them hold.

    Parameters
    ----------
    pictures : sequence of Picture
        Of one size.
    start : int
        The first that is compared with the one before it, from 1.
    box : tuple of int
        ``(x, y, width, height)`` px: the part of the pictures that counts as the frame.
    inset : ndarray
        ``(4,)`` int32, added to an outline's rectangle to get its box.
    threshold, blur, dilations
        As in `spatterlib.detection.difference.difference_and_mask`.
    nested : bool
        With nested outlines and holes too.
    behind : int
        0 to measure the second picture of each two, 1 the first.

    Returns
    -------
    Rows
        In the order of the pictures, of each in that of ``cv2.findContours``.
    """
    from spatterlib.kernels.detection.recipe import Rows, rows_for

    pictures, (_, _, width, height) = _without_grey(pictures), box
    usual = blur == 5 and dilations <= _MOST_DILATIONS and not nested
    if usual and start < len(pictures) and (kernel := _kernel_for(pictures)):
        return _by_kernel(kernel, pictures, start, box, inset, threshold, dilations, behind)
    by_kernel = partial(outlines_of, start=1, box=(0, 0, width, height), threshold=threshold, dilations=dilations)
    by_opencv = partial(_by_opencv, threshold=threshold, blur=blur, dilations=dilations, nested=nested)
    find = by_kernel if usual else by_opencv
    # Pictures of several kinds have RGB in common; two frames at a time, because a clip may be as large as memory.
    frames = (RgbPicture(each.rgb(box, np.empty((height, width, 3), np.uint8))) for each in pictures[start - 1 :])
    found = [rows_for(0)]
    for number, pair in enumerate(pairwise(frames), start - 1):
        rows = find(pair, inset=inset, behind=behind)
        found.append(rows._replace(frames=rows.frames + number))
    return Rows(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _by_opencv(
    pair: tuple[RgbPicture, RgbPicture],
    inset: NDArray[np.int32],
    threshold: int,
    blur: int,
    dilations: int,
    nested: bool,
    behind: int,
) -> Rows:
    import cv2

    from spatterlib.kernels.detection.recipe import Rows

    first, second = (picture.array for picture in pair)
    _, mask = difference_and_mask(first, second, threshold=threshold, blur=blur, dilations=dilations)
    found, _ = cv2.findContours(mask, cv2.RETR_TREE if nested else cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = np.array([cv2.boundingRect(outline) for outline in found], np.int32).reshape(-1, 4) + inset
    areas = np.array([cv2.contourArea(outline) for outline in found])
    return Rows(np.full(len(found), 1 - behind), boxes, areas, *sum_boxes(pair[1 - behind], boxes))


def _by_kernel(
    kernel: _Kernel,
    pictures: Sequence[Picture],
    start: int,
    box: Box,
    inset: NDArray[np.int32],
    threshold: int,
    dilations: int,
    behind: int,
) -> Rows:
    from spatterlib.kernels.detection.recipe import Rows, Settings, rows_for

    run, bound = kernel
    # How far beyond what exceeds the threshold the mask goes, and the grey levels that matter.
    margins = max(REACH, dilations) + REACH, 2 * REACH
    settings = Settings(pictures[0].shape[0], box, behind, threshold, dilations, margins, *bound(threshold), inset)
    scratch, rows, count = _scratch(box[2], box[3]), rows_for(8 * len(pictures)), 0
    while start < len(pictures):
        count, start = run(start, count, settings, scratch, rows)
        if start < len(pictures):
            rows = Rows(*(np.concatenate([column, np.empty_like(column)]) for column in rows))
    return Rows(rows.frames[:count], rows.boxes[:count], rows.areas[:count], rows.sums[:count], rows.peaks[:count])


def _scratch(width: int, height: int) -> Scratch:
    """The calling thread's own memory for frames of a size; that of the last size is given up.

    Memory that is used again: the page faults of fresh arrays cost more than the arithmetic.
    """
    from spatterlib.kernels.detection.recipe import scratch_for

    if getattr(_local, "size", None) != (width, height):
        _local.scratch, _local.size = scratch_for(width, height), (width, height)
    return _local.scratch  # type: ignore[no-any-return]


def _without_grey(pictures: Sequence[Picture]) -> Sequence[Picture]:
    """Grey pictures as planes without colour, which are the same in RGB: nothing is converted; others as they are."""
    if not any(_is_grey(picture) for picture in pictures):
        return pictures
    height, width = pictures[0].shape
    none = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
    return [
        YuvPicture(np.ascontiguousarray(each.array), none, none, (1, 1), _NO_COLOUR) if _is_grey(each) else each
        for each in pictures
    ]


def _is_grey(picture: Picture) -> TypeGuard[RgbPicture]:
    return isinstance(picture, RgbPicture) and picture.array.ndim == 2


def _kernel_for(pictures: Sequence[Picture]) -> _Kernel | None:
    """The kernel for pictures, and its bound for a threshold, if they are all of one kind."""
    from spatterlib.kernels.detection.recipe import find_rgb, find_yuv

    first = pictures[0]
    if isinstance(first, YuvPicture):
        places = [_places_yuv(first, picture) for picture in pictures]
        if b"" in places:
            return None
        return partial(find_yuv, _table(places), first.shift, first.matrix), partial(_yuv_bound, first.matrix)
    if all(is_plain(picture) for picture in pictures):
        places = [_places([picture.array]) for picture in pictures]  # type: ignore[attr-defined]
        return partial(find_rgb, _table(places)), _rgb_bound
    return None


def _places_yuv(first: YuvPicture, picture: Picture) -> bytes:
    """Where the planes of a picture are, or nothing if it is not of the kind of the first."""
    if not isinstance(picture, YuvPicture) or picture.matrix is not first.matrix or picture.shift != first.shift:
        return b""
    if picture.places:
        return picture.places
    planes = picture.y, picture.u, picture.v
    plain = all(plane.strides[0] >= plane.shape[1] and plane.strides[1] == 1 for plane in planes)
    return _places(planes) if plain else b""


def _places(planes: Sequence[Image]) -> bytes:
    """Where each plane begins, and bytes from row to row."""
    return b"".join([place(plane.__array_interface__["data"][0], plane.strides[0]) for plane in planes])


def _table(places: Sequence[bytes]) -> NDArray[np.int64]:
    """``(n, planes, 2)`` int64, of n pictures."""
    return np.frombuffer(b"".join(places), np.int64).reshape(len(places), -1, 2)


def _rgb_bound(threshold: int) -> _Bound:
    """Weights of changes of the channels, and the sum of products with them that exceeds the threshold, no other does.

    ``(sum + 16384) >> 15`` exceeds it exactly if the sum reaches this limit.
    """
    return _GREY, np.int32(((threshold + 1) << 15) - 16384)


def _yuv_bound(matrix: NDArray[np.int32], threshold: int) -> _Bound:
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
