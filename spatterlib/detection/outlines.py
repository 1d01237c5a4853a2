"""Outlines in all pictures of a clip: in one call of a kernel where they are of one kind, else two by two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.difference import (
    Bound,
    buffers_for,
    margins_of,
    nested_outlines,
    outlines,
    planes_of,
    rgb_bound,
    yuv_bound,
)
from spatterlib.plugins.boxes import sum_boxes
from spatterlib.plugins.pictures import YuvPicture, is_plain, place
from spatterlib.types import Box, Image, Picture

__all__ = ["Found", "outlines_of"]


class Found(NamedTuple):
    """Outlines in the pictures of a clip, in its order.

    Parameters
    ----------
    frames : ndarray
        ``(n,)`` int64, index of the picture that was measured.
    boxes : ndarray
        ``(n, 4)`` int32, x, y, width, height in px from the corner of the part that counts.
    areas : ndarray
        ``(n,)`` float64, px².
    sums, peaks : ndarray
        ``(n, 3)`` int64 and ``(n,)`` uint8, as `sum_boxes` gives them.
    """

    frames: NDArray[np.int64]
    boxes: NDArray[np.int32]
    areas: NDArray[np.float64]
    sums: NDArray[np.int64]
    peaks: Image


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
) -> Found:
    """Outlines of what changed from each picture of a clip to the next, and what the boxes in them hold.

    Parameters
    ----------
    pictures : sequence of Picture
        Of one size.
    start : int
        The first that is compared with the one before it, from 1.
    box, threshold, blur, dilations
        As in `changed`.
    inset : ndarray
        ``(4,)`` int32, added to an outline's rectangle to get its box.
    nested : bool
        With nested outlines and holes too.
    behind : int
        0 to measure the second picture of each two, 1 the first.
    """
    find = None if nested or blur != 5 or start >= len(pictures) else _find(pictures)
    if find is None:
        chain = partial(nested_outlines if nested else outlines, threshold=threshold, blur=blur, dilations=dilations)
        return _one_by_one(pictures, start, box, inset, behind, chain)
    from spatterlib.kernels.detection.recipe import Rows, Settings

    run, bound = find
    margins = margins_of(blur, dilations)
    settings = Settings(pictures[0].shape[0], box, behind, threshold, dilations, margins, *bound(threshold), inset)
    rows, count = Rows(*_room(8 * len(pictures))), 0
    while start < len(pictures):
        count, start = run(start, count, settings, buffers_for(box[2], box[3]), rows)
        if start < len(pictures):
            rows = Rows(*(np.concatenate([column, np.empty_like(column)]) for column in rows))
    return Found(rows.frames[:count], rows.boxes[:count], rows.areas[:count], rows.sums[:count], rows.peaks[:count])


def _room(count: int) -> Found:
    return Found(
        np.empty(count, np.int64),
        np.empty((count, 4), np.int32),
        np.empty(count),
        np.empty((count, 3), np.int64),
        np.empty(count, np.uint8),
    )


def _one_by_one(
    pictures: Sequence[Picture],
    start: int,
    box: Box,
    inset: NDArray[np.int32],
    behind: int,
    chain: Callable[..., tuple[NDArray[np.int32], NDArray[np.float64]]],
) -> Found:
    """Where there is no kernel for it all; boxes are measured while their picture is still in the cache."""
    found, corner = [_room(0)], np.array([*box[:2], 0, 0], np.int32)
    for number in range(start, len(pictures)):
        rectangles, areas = chain(pictures[number - 1], pictures[number], box)
        if len(areas):
            boxes = rectangles + inset
            measured = sum_boxes(pictures[number - behind], boxes + corner)
            found.append(Found(np.full(len(areas), number - behind), boxes, areas.copy(), *measured))
    return Found(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _find(pictures: Sequence[Picture]) -> tuple[Callable[..., tuple[int, int]], Callable[[int], Bound]] | None:
    """The kernel for pictures that are all of one kind, and its bound for a threshold."""
    from spatterlib.kernels.detection.recipe import find_rgb, find_yuv

    first = pictures[0]
    if isinstance(first, YuvPicture):
        places = [_places_yuv(first, picture) for picture in pictures]
        if b"" in places:
            return None
        return partial(find_yuv, _table(places), first.shift, first.matrix), partial(yuv_bound, first.matrix)
    if all(is_plain(picture) for picture in pictures):
        places = [_places([picture.array]) for picture in pictures]  # type: ignore[attr-defined]
        return partial(find_rgb, _table(places)), rgb_bound
    return None


def _places_yuv(first: YuvPicture, picture: Picture) -> bytes:
    """Where the planes of a picture are, or nothing if it is not of the kind of the first."""
    if not isinstance(picture, YuvPicture) or picture.matrix is not first.matrix or picture.shift != first.shift:
        return b""
    if picture.places:
        return picture.places
    planes = planes_of(picture)
    plain = all(plane.strides[0] >= plane.shape[1] and plane.strides[1] == 1 for plane in planes)
    return _places(planes) if plain else b""


def _places(planes: Sequence[Image]) -> bytes:
    """Where each plane begins, and bytes from row to row."""
    return b"".join([place(plane.__array_interface__["data"][0], plane.strides[0]) for plane in planes])


def _table(places: Sequence[bytes]) -> NDArray[np.int64]:
    """``(n, planes, 2)`` int64, of n pictures."""
    return np.frombuffer(b"".join(places), np.int64).reshape(len(places), -1, 2)
