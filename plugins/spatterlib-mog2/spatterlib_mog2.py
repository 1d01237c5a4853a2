"""Detector `mog2`: OpenCV's adaptive mixture of Gaussians, for comparison with the built-in detector.

Z. Zivkovic, "Improved adaptive Gaussian mixture model for background subtraction", ICPR 2004.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spatterlib.errors import ParameterError
from spatterlib.plugins import Clip, Detections, Detector, hookimpl, table_of


@dataclass(frozen=True)
class Mog2:
    """Learn the background from the frames before each frame, and find what does not belong to it.

    MOG2 is usually run with a state that remembers the whole recording. A detector is a pure function of its clip,
    so that its table does not depend on where a recording is cut or begun; here a new model learns from the
    `history` frames before each frame. This is its `lead`, and costs as many updates for every frame.

    Parameters
    ----------
    history : int
        Frames before the current one that the model learns from.
    threshold : float
        Squared distance to the background, in variances, from which a pixel is foreground.
    join : int
        Px, size of the kernel that closes gaps; 1 = none.
    """

    history: int = field(default=20, metadata={"help": "frames from which the background is learned"})
    threshold: float = field(default=16.0, metadata={"help": "squared distance to the background, in variances"})
    join: int = field(default=7, metadata={"help": "px, size of the kernel that closes gaps"})

    def __post_init__(self) -> None:
        if self.history < 1 or self.threshold <= 0 or self.join < 1:
            raise ParameterError(f"mog2 needs history and join of 1 or more and a threshold above 0, got {self}")

    @property
    def lead(self) -> int:
        """Context frames: the history."""
        return self.history

    def __call__(self, clip: Clip) -> Detections:
        """``(n,)`` `DETECTION` for the frames of `clip`; none for a frame before which there is none."""
        import cv2

        frames: list[int] = []
        boxes: list[tuple[int, ...]] = []
        areas: list[float] = []
        for index in range(max(clip.lead, 1), len(clip.pictures)):
            for outline in self._outlines(clip, index):
                frames.append(index)
                boxes.append(tuple(cv2.boundingRect(outline)))
                areas.append(cv2.contourArea(outline))
        return table_of(clip, frames, boxes, areas)

    def _outlines(self, clip: Clip, index: int) -> Any:
        import cv2

        model = cv2.createBackgroundSubtractorMOG2(self.history, self.threshold, detectShadows=False)
        for before in range(max(0, index - self.history), index):
            model.apply(clip.frames[before])
        mask = model.apply(clip.frames[index], learningRate=0)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self.join, self.join))
        mask = cv2.morphologyEx(cv2.medianBlur(mask, 3), cv2.MORPH_CLOSE, kernel)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return outlines


@hookimpl
def spatter_detectors() -> dict[str, type[Detector]]:
    """The detector."""
    return {"mog2": Mog2}
