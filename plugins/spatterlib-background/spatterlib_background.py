"""Detector `background`: what is brighter than the running median of the frames before; and a filter of its shapes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.plugins import Clip, Detections, Detector, Filter, hookimpl, table_of


@dataclass(frozen=True)
class Background:
    """Subtract the median of the frames before, join what lies close together: one row per plume per frame.

    Parameters
    ----------
    window : int
        Frames before the current one whose median is the background; this is its `lead`.
    threshold : int
        Grey levels 0-254 that a pixel must be brighter than its background.
    blur : int
        Px, odd size of the Gaussian kernel that takes away the camera's noise; 1 = none.
    gap : int
        Px, how far apart the pieces of one plume may be.
    """

    window: int = field(default=9, metadata={"help": "frames whose median is the background"})
    threshold: int = field(default=30, metadata={"help": "grey levels (0-254) brighter than the background"})
    blur: int = field(default=5, metadata={"help": "odd size of the Gaussian kernel in px, 1 = none"})
    gap: int = field(default=12, metadata={"help": "px between pieces that are one plume"})

    def __post_init__(self) -> None:
        if not (1 <= self.window <= 255 and 0 <= self.threshold <= 254 and self.gap >= 0):
            raise ParameterError(f"background needs a window of 1-255, a threshold of 0-254 and a gap >= 0, got {self}")
        if self.blur < 1 or self.blur % 2 == 0:
            raise ParameterError(f"blur must be an odd number of px, got {self.blur}")

    @property
    def lead(self) -> int:
        """Context frames: the window."""
        return self.window

    def __call__(self, clip: Clip) -> Detections:
        """``(n,)`` `DETECTION` for the frames of `clip`; none for a frame before which there is none."""
        import cv2

        luma = clip.luma
        frames: list[int] = []
        boxes: list[tuple[int, ...]] = []
        areas: list[float] = []
        for index in range(max(clip.lead, 1), len(luma)):
            before = luma[max(0, index - self.window) : index]
            for outline in self._outlines(
                luma[index], np.partition(before, len(before) // 2, axis=0)[len(before) // 2]
            ):
                frames.append(index)
                boxes.append(tuple(cv2.boundingRect(outline)))
                areas.append(cv2.contourArea(outline))
        return table_of(clip, frames, boxes, areas)

    def _outlines(self, grey: NDArray[np.uint8], background: NDArray[np.uint8]) -> tuple[NDArray[np.int32], ...]:
        import cv2

        brighter = cv2.GaussianBlur(cv2.subtract(grey, background), (self.blur, self.blur), 0)
        mask = (brighter > self.threshold).astype(np.uint8)
        if not mask.any():
            return ()
        kernel = np.ones((self.gap + 1, self.gap + 1), np.uint8)
        outlines, _ = cv2.findContours(
            cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        return tuple(outlines)


@dataclass(frozen=True)
class Filled:
    """Drop thin streaks and arcs, such as reflections on the recoater: what fills little of its box.

    Parameters
    ----------
    min_share : float
        Area inside the outline by area of the box, 0-1; a row stays if it has at least this.
    """

    min_share: float = field(default=0.3, metadata={"help": "smallest share (0-1) of the box inside the outline"})

    def __post_init__(self) -> None:
        if not 0 <= self.min_share <= 1:
            raise ParameterError(f"min_share must be 0-1, got {self.min_share}")

    def __call__(self, detections: Detections, clip: Clip) -> NDArray[np.bool_]:
        """``(n,)`` bool, True = keep."""
        keep: NDArray[np.bool_] = detections["area"] >= self.min_share * detections["width"] * detections["height"]
        return keep


@hookimpl
def spatter_detectors() -> dict[str, type[Detector]]:
    """The detector."""
    return {"background": Background}


@hookimpl
def spatter_filters() -> dict[str, type[Filter]]:
    """Its filter."""
    return {"filled": Filled}
