"""From boxes found in the frames of a clip to rows of the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatterlib.plugins.pictures import YuvPicture, is_plain
from spatterlib.types import DETECTION, Clip, Detections, Image, Picture

__all__ = ["in_picture", "measured_table", "sum_boxes", "table_of"]


def table_of(clip: Clip, frames: ArrayLike, boxes: ArrayLike, areas: ArrayLike, *, ordered: bool = True) -> Detections:
    """Rows of boxes that a detector found: colour and peak measured, time looked up, in order.

    Parameters
    ----------
    clip : Clip
        In whose frames they were found.
    frames : array_like
        ``(n,)`` int, index into ``clip.frames`` of each box.
    boxes : array_like
        ``(n, 4)`` int, x, y, width, height in px from the upper left corner of ``clip.frames``. Empty ones
        give no row.
    areas : array_like
        ``(n,)`` px², what each outline encloses.
    ordered : bool
        By frame, y and x, as a detector must; otherwise as they come.

    Returns
    -------
    ndarray
        `DETECTION`, one row per box.

    Raises
    ------
    ValueError
        If frames, boxes and areas are not equally many.
    IndexError
        If a box is in no frame of the clip.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.plugins import table_of
    >>> clip = sp.Clip.of(np.full((2, 48, 64, 3), 7, np.uint8))
    >>> table_of(clip, [1, 0], [(9, 9, 5, 5), (3, 4, 5, 6)], [20, 25])[["frame", "x", "area", "peak"]].tolist()
    [(0, 3, 25.0, 7), (1, 9, 20.0, 7)]
    """
    index = np.asarray(frames, np.int64).reshape(-1)
    places = np.array(boxes, np.int32).reshape(-1, 4)
    sizes = np.asarray(areas, np.float64).reshape(-1)
    if not len(index) == len(places) == len(sizes):
        counts = f"{len(index)} frames, {len(places)} boxes and {len(sizes)} areas"
        raise ValueError(f"each box has one frame and one area, got {counts}")
    if ordered:
        turn = np.argsort(index, kind="stable")
        index, places, sizes = index[turn], places[turn], sizes[turn]
    sums, peaks = np.empty((len(places), 3), np.int64), np.empty(len(places), np.uint8)
    for number in np.unique(index):
        here = index == number
        sums[here], peaks[here] = sum_boxes(clip.pictures[number], in_picture(clip, places[here]))
    return measured_table(clip, index, places, sizes, sums, peaks, ordered=ordered)


def in_picture(clip: Clip, boxes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same boxes, ``(n, 4)``, from the corner of the clip's pictures."""
    return boxes + np.array([*clip.box[:2], 0, 0], np.int32)


def measured_table(
    clip: Clip,
    index: NDArray[np.int64],
    boxes: NDArray[np.int32],
    areas: NDArray[np.float64],
    sums: NDArray[np.int64],
    peaks: Image,
    *,
    ordered: bool = True,
) -> Detections:
    """As `table_of`, from what `sum_boxes` gave for each box.

    A detector that measures frame by frame, while a frame is still in the cache, is faster for it.
    """
    from spatterlib.kernels.detection.table_rows import fill_rows

    rows = np.empty(len(index), DETECTION)
    return rows[: fill_rows(clip.start - clip.lead, clip.times, index, boxes, areas, sums, peaks, ordered, rows)]


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
    from spatterlib.kernels.detection.difference import measure

    sums, peaks = np.empty((len(boxes), 3), np.int64), np.empty(len(boxes), np.uint8)
    if isinstance(picture, YuvPicture):
        measure_yuv(picture.y, picture.u, picture.v, picture.shift, picture.matrix, boxes, sums, peaks)
    else:
        rgb = picture.array if is_plain(picture) else picture.rgb((0, 0, picture.shape[1], picture.shape[0]))
        measure(np.ascontiguousarray(rgb).reshape(len(rgb), -1), boxes, sums, peaks)
    return sums, peaks
