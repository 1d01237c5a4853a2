"""The recipe for all frames of a clip in one call, which needs the interpreter neither between steps nor frames."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from spatterlib.kernels.colour import grey_change_yuv, measure_yuv
from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Box, Image
from spatterlib.kernels.detection.active_blocks import active_rgb, active_yuv
from spatterlib.kernels.detection.difference import grey_change_rgb, measure
from spatterlib.kernels.detection.masks import WORD, dilate, grey_shape, shape_of_grey, smooth_above
from spatterlib.kernels.detection.outlines import RIM, outer_outlines
from spatterlib.kernels.detection.runs import most_runs, runs_of
from spatterlib.kernels.operations import pointer

Planes: TypeAlias = tuple[Image, Image, Image]


class Settings(NamedTuple):
    """What is looked for, and where.

    Parameters
    ----------
    height : int
        Rows of a picture.
    box : tuple of int
        ``(x, y, width, height)`` px: the part of the pictures that counts.
    behind : int
        The frame that is measured is that many in front of the second of the two that are compared: 0 or 1.
    threshold : int
        Grey levels.
    radius : int
        Px, of the dilation.
    margins : tuple of int
        As in `runs_of`; `weights` and `limit` as in `active_yuv`.
    weights : ndarray
        ``(3,)`` int32.
    limit : int32
        The sum that counts.
    inset : ndarray
        ``(4,)`` int32, added to an outline's rectangle to get its box.
    """

    height: int
    box: Box
    behind: int
    threshold: int
    radius: int
    margins: tuple[int, int]
    weights: NDArray[np.int32]
    limit: np.int32
    inset: NDArray[np.int32]


class Scratch(NamedTuple):
    """Memory for one frame, as large as one can need: `scratch_for` makes it."""

    runs: NDArray[np.int64]
    grey: Image
    mask: Image
    rectangles: NDArray[np.int32]
    areas: NDArray[np.float64]


class Rows(NamedTuple):
    """What is found: number of the frame that is measured, box from the corner of the part that counts, and the rest.

    Shapes ``(k,)``, ``(k, 4)``, ``(k,)``, ``(k, 3)`` and ``(k,)``; sums and peaks as in
    `spatterlib.kernels.detection.difference.measure`.
    """

    frames: NDArray[np.int64]
    boxes: NDArray[np.int32]
    areas: NDArray[np.float64]
    sums: NDArray[np.int64]
    peaks: Image


def scratch_for(width: int, height: int) -> Scratch:
    """For frames of a size."""
    most = -(-height // 2) * -(-width // 2)
    return Scratch(
        np.empty((most_runs(width, height), 3), np.int64),
        np.empty(math.prod(grey_shape(width, height)), np.uint8),
        np.empty((height + 2) * (width + WORD + 2 * RIM), np.uint8),
        np.empty((most, 4), np.int32),
        np.empty(most),
    )


def rows_for(count: int) -> Rows:
    """Room for so many."""
    boxes, sums = np.empty((count, 4), np.int32), np.empty((count, 3), np.int64)
    return Rows(np.empty(count, np.int64), boxes, np.empty(count), sums, np.empty(count, np.uint8))


@kernel
def _plane(source: NDArray[np.int64], rows: int) -> Image:
    """The array at an address, ``(rows, pitch)``: wider than the picture where its rows are padded."""
    return carray(pointer(source[0]), (rows, source[1]), np.uint8)


@kernel
def _planes(sources: NDArray[np.int64], height: int, shift: int) -> Planes:
    rows = (height + (1 << shift) - 1) >> shift
    return _plane(sources[0], height), _plane(sources[1], rows), _plane(sources[2], rows)


@kernel
def _grey_of(rectangle: Box, scratch: Scratch) -> Image:
    shape = shape_of_grey(rectangle[2], rectangle[3])
    return scratch.grey[: shape[0] * shape[1]].reshape(shape)


@kernel
def _trace(rectangle: Box, runs: NDArray[np.int64], settings: Settings, scratch: Scratch) -> int:
    """Smooth, threshold, dilate and follow the outlines; how many there are in the scratch."""
    _, _, width, height = rectangle
    pitch = -(-width // WORD) * WORD
    mask = scratch.mask[: (height + 2) * (pitch + 2 * RIM)].reshape(height + 2, pitch + 2 * RIM)
    bits = smooth_above(_grey_of(rectangle, scratch), width, settings.threshold, runs, settings.radius)
    dilate(bits, width, settings.radius, mask)
    return int(outer_outlines(mask, bits, rectangle[:2], scratch.rectangles, scratch.areas))


@kernel
def _outlines_yuv(
    one: Planes,
    other: Planes,
    shift: tuple[int, int],
    matrix: NDArray[np.int32],
    settings: Settings,
    scratch: Scratch,
) -> int:
    box, weights, limit, margins = settings.box, settings.weights, settings.limit, settings.margins
    spans, flags = active_yuv(one, other, box, shift, weights, limit, margins[1])
    rectangle, many = runs_of(spans, flags, margins, box[2:], scratch.runs)
    if rectangle[2] == 0:
        return 0
    kept, corner = scratch.runs[:many], (box[0] + rectangle[0], box[1] + rectangle[1])
    grey_change_yuv(one, other, corner, shift, matrix, kept, _grey_of(rectangle, scratch))
    return int(_trace(rectangle, kept, settings, scratch))


@kernel
def _outlines_rgb(one: Image, other: Image, settings: Settings, scratch: Scratch) -> int:
    box, weights, limit, margins = settings.box, settings.weights, settings.limit, settings.margins
    spans, flags = active_rgb(one, other, box, weights, limit, margins[1])
    rectangle, many = runs_of(spans, flags, margins, box[2:], scratch.runs)
    if rectangle[2] == 0:
        return 0
    kept, corner = scratch.runs[:many], (box[0] + rectangle[0], box[1] + rectangle[1])
    grey_change_rgb(one, other, corner, kept, _grey_of(rectangle, scratch))
    return int(_trace(rectangle, kept, settings, scratch))


@kernel
def _keep(number: int, found: int, count: int, settings: Settings, scratch: Scratch, rows: Rows) -> NDArray[np.int32]:
    """Write what is known of the outlines into the rows from `count` on; their boxes from the picture's corner."""
    placed = np.empty((found, 4), np.int32)
    for k in range(found):
        rows.frames[count + k], rows.areas[count + k] = number, scratch.areas[k]
        for side in range(4):
            rows.boxes[count + k, side] = placed[k, side] = scratch.rectangles[k, side] + settings.inset[side]
        placed[k, 0] += settings.box[0]
        placed[k, 1] += settings.box[1]
    return placed


@kernel
def find_yuv(
    frames: NDArray[np.int64],
    shift: tuple[int, int],
    matrix: NDArray[np.int32],
    start: int,
    count: int,
    settings: Settings,
    scratch: Scratch,
    rows: Rows,
) -> tuple[int, int]:
    """Outer outlines of what changes from frame to frame, and what the boxes in them hold; frames of planes.

    Parameters
    ----------
    frames : ndarray
        ``(n, 3, 2)`` int64: address and pitch (bytes from row to row) of Y, U and V, which must outlive the call.
    shift, matrix
        As in `spatterlib.kernels.colour.yuv_to_rgb`.
    start, count : int
        First of the frames to be compared with the one before it; first row to be written.

    Returns
    -------
    tuple of int
        How many rows are filled; the frame to go on with, for whose outlines there were too few rows.
    """
    for number in range(start, len(frames)):
        one = _planes(frames[number - 1], settings.height, shift[1])
        other = _planes(frames[number], settings.height, shift[1])
        found = _outlines_yuv(one, other, shift, matrix, settings, scratch)
        end = count + found
        if end > len(rows.frames):
            return count, number
        if found:
            y, u, v = one if settings.behind else other
            boxes = _keep(number - settings.behind, found, count, settings, scratch, rows)
            measure_yuv(y, u, v, shift, matrix, boxes, rows.sums[count:end], rows.peaks[count:end])
        count = end
    return count, len(frames)


@kernel
def find_rgb(
    frames: NDArray[np.int64], start: int, count: int, settings: Settings, scratch: Scratch, rows: Rows
) -> tuple[int, int]:
    """As `find_yuv`, for RGB: `frames` is ``(n, 1, 2)`` int64, and the pitch three times the width."""
    for number in range(start, len(frames)):
        one, other = (
            _plane(frames[number - 1, 0], settings.height),
            _plane(frames[number, 0], settings.height),
        )
        found = _outlines_rgb(one, other, settings, scratch)
        end = count + found
        if end > len(rows.frames):
            return count, number
        if found:
            boxes = _keep(number - settings.behind, found, count, settings, scratch, rows)
            measure(one if settings.behind else other, boxes, rows.sums[count:end], rows.peaks[count:end])
        count = end
    return count, len(frames)
