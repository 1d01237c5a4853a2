"""The published recipe, written from its description with plain OpenCV calls; shares nothing with the library."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Found:
    """One spatter: which frame, which rectangle, which area, which pixels."""

    frame: int
    box: tuple[int, int, int, int]
    area: float
    crop: NDArray[np.uint8]


def original(frames: NDArray[np.uint8]) -> list[Found]:
    """What the research script finds in ``(n, h, w, 3)`` RGB frames: all outlines, crops of the first frame."""
    found = []
    for number in range(len(frames) - 1):
        first = cv2.cvtColor(frames[number], cv2.COLOR_RGB2BGR)
        second = cv2.cvtColor(frames[number + 1], cv2.COLOR_RGB2BGR)
        for contour in contours(first, second, cv2.RETR_TREE):
            x, y, w, h = cv2.boundingRect(contour)
            area = cv2.contourArea(contour)
            if area < 2000 or area > 15000:
                continue
            crop = first[y + 2 : y + h - 1, x + 2 : x + w - 1]
            blue, green, red = (crop[:, :, channel].mean() for channel in range(3))
            if blue > red + green:
                continue
            rgb = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)
            found.append(Found(number, (x + 2, y + 2, w - 3, h - 3), area, rgb))
    return found


def contours(first: NDArray[np.uint8], second: NDArray[np.uint8], mode: int) -> list[NDArray[np.int32]]:
    """Outlines of the difference of two BGR frames."""
    difference = cv2.absdiff(first, second)
    grey = cv2.cvtColor(difference, cv2.COLOR_BGR2GRAY)
    blurred = cv2.GaussianBlur(grey, (5, 5), 0)
    _, binary = cv2.threshold(blurred, 20, 255, cv2.THRESH_BINARY)
    dilated = cv2.dilate(binary, None, iterations=3)  # type: ignore[call-overload]
    found, _ = cv2.findContours(dilated, mode, cv2.CHAIN_APPROX_SIMPLE)
    return list(found)
