"""Detector `frame-difference`: the published recipe, pair of frames by pair of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from spatterlib.difference import changed, measure_boxes
from spatterlib.errors import ParameterError
from spatterlib.hookspecs import hookimpl
from spatterlib.types import DETECTION, Box, Clip, Detections, Detector, Picture


@dataclass(frozen=True)
class FrameDifference:
    """Find what changed from one frame to the next.

    Absolute difference of two consecutive frames, grey, Gaussian blur, threshold, dilation, outlines,
    bounding rectangle, and from it the crop box ``[x+2 : x+w-1] x [y+2 : y+h-1]``. The crop belongs to
    the second, current frame of the pair; every outer outline is one row.

    Parameters
    ----------
    threshold : int
        Grey levels 0-254; a pixel has changed if its blurred difference is greater.
    blur : int
        Px, odd size of the Gaussian kernel; 1 = no blur.
    dilations : int
        How many 3x3 dilations join what lies close together.
    inset : tuple of int
        Px, cut off the outline's rectangle (left and top, right and bottom) to get the crop box.
    outlines : {"outer", "tree"}
        Outer outlines, or as in the original script holes and nested outlines too.
    crop_from : {"current", "first"}
        Frame of the pair that gives `frame`, `time` and crop. With "first", as in the original script, a
        clip yields rows of its last lead frame, none of its last frame, and the rows of a frame keep
        the order of the outlines.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> frames = np.zeros((3, 120, 160, 3), np.uint8)
    >>> frames[1, 30:90, 40:100] = 255
    >>> sp.make("detector", "frame-difference")(sp.Clip.of(frames))[["frame", "x", "y", "peak"]].tolist()
    [(1, 38, 28, 255), (2, 38, 28, 0)]
    """

    threshold: int = field(default=20, metadata={"help": "change in grey levels (0-254) that counts"})
    blur: int = field(default=5, metadata={"help": "odd size of the Gaussian kernel in px, 1 = none"})
    dilations: int = field(default=3, metadata={"help": "number of 3x3 dilations"})
    inset: tuple[int, int] = field(
        default=(2, 1), metadata={"help": "px cut off the rectangle: left and top, right and bottom"}
    )
    outlines: Literal["outer", "tree"] = field(
        default="outer", metadata={"help": "outer outlines, or nested ones and holes too (original script)"}
    )
    crop_from: Literal["current", "first"] = field(
        default="current", metadata={"help": "frame of the pair that is cropped (original script: first)"}
    )
    lead: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check(0 <= self.threshold <= 254, f"threshold must be 0-254 grey levels, got {self.threshold}")
        _check(self.blur >= 1 and self.blur % 2 == 1, f"blur must be an odd number of px, got {self.blur}")
        _check(self.dilations >= 0, f"dilations must be 0 or more, got {self.dilations}")
        _check(
            len(self.inset) == 2 and min(self.inset) >= 0,
            f"inset must be two numbers of px, 0 or more, got {self.inset}",
        )
        _check(self.outlines in ("outer", "tree"), f"outlines must be 'outer' or 'tree', got {self.outlines!r}")
        _check(
            self.crop_from in ("current", "first"),
            f"crop_from must be 'current' or 'first', got {self.crop_from!r}",
        )

    def __call__(self, clip: Clip) -> Detections:
        """``(n,)`` `DETECTION` for the frames of `clip`."""
        shown = -1 if self.crop_from == "first" else 0
        pictures, found = clip.pictures, _Found([], [], [])
        for index in range(max(clip.lead, 1), len(pictures)):
            for outline in self._outlines(pictures[index - 1], pictures[index], clip.box):
                found.add(index + shown, outline)
        return self._table(clip, found)

    def _outlines(self, first: Picture, second: Picture, box: Box) -> Sequence[NDArray[np.int32]]:
        """Outlines of what changed, each ``(k, 1, 2)`` int32 x, y."""
        import cv2

        part = changed(first, second, box, threshold=self.threshold, blur=self.blur, dilations=self.dilations)
        if part is None:
            return ()
        mode = cv2.RETR_EXTERNAL if self.outlines == "outer" else cv2.RETR_TREE
        outlines, _ = cv2.findContours(part[0], mode, cv2.CHAIN_APPROX_SIMPLE, offset=part[1])
        return outlines  # type: ignore[return-value]

    def _table(self, clip: Clip, found: _Found) -> Detections:
        before, behind = self.inset
        boxes = np.array(found.rectangles, np.int32).reshape(-1, 4)
        boxes += np.array([before, before, -before - behind, -before - behind], np.int32)
        index, areas = np.array(found.index, np.intp), np.array(found.areas, np.float32)
        whole = (boxes[:, 2:] > 0).all(axis=1)
        boxes, index, areas = boxes[whole], index[whole], areas[whole]
        if self.crop_from == "current":
            order = np.lexsort((boxes[:, 0], boxes[:, 1], index))
            boxes, index, areas = boxes[order], index[order], areas[order]
        rows = np.zeros(len(boxes), DETECTION)
        rows["frame"], rows["time"], rows["area"] = clip.numbers[index], clip.times[index], areas
        rows["x"], rows["y"], rows["width"], rows["height"] = boxes.T
        boxes[:, :2] += np.array(clip.box[:2], np.int32)
        ends = np.searchsorted(index, np.arange(len(clip.pictures) + 1))
        for number in np.unique(index):
            part = slice(ends[number], ends[number + 1])
            means, rows["peak"][part] = measure_boxes(clip.pictures[number], boxes[part])
            rows["red"][part], rows["green"][part], rows["blue"][part] = means.T
        return rows


@dataclass(frozen=True)
class _Found:
    """Outlines of a clip: index of the picture that shows each, rectangle around it, area inside."""

    index: list[int]
    rectangles: list[Sequence[int]]
    areas: list[float]

    def add(self, index: int, outline: NDArray[np.int32]) -> None:
        import cv2

        self.index.append(index)
        self.rectangles.append(cv2.boundingRect(outline))
        self.areas.append(cv2.contourArea(outline))


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ParameterError(message)


@hookimpl
def spatter_detectors() -> dict[str, type[Detector]]:
    """The published recipe."""
    return {"frame-difference": FrameDifference}
