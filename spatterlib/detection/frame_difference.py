"""Detector `frame-difference`: the published recipe, pair of frames by pair of frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from spatterlib.detection.difference import difference_and_mask
from spatterlib.detection.outlines import outlines_of
from spatterlib.errors import ParameterError
from spatterlib.plugins.boxes import measured_table
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Clip, Detections, Detector, Image


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

    threshold: int = field(
        default=20, metadata={"help": "change in grey levels (0-254) that counts", "range": (0, 254)}
    )
    blur: int = field(
        default=5, metadata={"help": "odd size of the Gaussian kernel in px, 1 = none", "range": (1, 31), "step": 2}
    )
    dilations: int = field(default=3, metadata={"help": "number of 3x3 dilations", "range": (0, 20)})
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
        before, behind = self.inset
        frames, boxes, areas, sums, peaks = outlines_of(
            clip.pictures,
            max(clip.lead, 1),
            clip.box,
            np.array([before, before, -before - behind, -before - behind], np.int32),
            threshold=self.threshold,
            blur=self.blur,
            dilations=self.dilations,
            nested=self.outlines == "tree",
            behind=int(self.crop_from == "first"),
        )
        ordered = self.crop_from == "current"
        return measured_table(clip, frames, boxes, areas, sums, peaks, ordered=ordered)

    def explain(self, clip: Clip) -> dict[str, Image]:
        """What it sees in the last frame of `clip`: the blurred difference and the mask, ``(h, w)`` uint8 each."""
        if len(clip.pictures) < 2:
            return {}
        first, second = clip.frames[-2:]
        settings = {"threshold": self.threshold, "blur": self.blur, "dilations": self.dilations}
        difference, mask = difference_and_mask(first, second, **settings)
        return {"difference": difference, "mask": mask}


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ParameterError(message)


@hookimpl
def spatter_detectors() -> dict[str, type[Detector]]:
    """The published recipe."""
    return {"frame-difference": FrameDifference}
