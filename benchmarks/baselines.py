"""What ours is measured against, written from the descriptions: the published loop, the same calls tuned, peers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Found = tuple[tuple[int, int, int, int], float]

_KERNEL = np.ones((7, 7), np.uint8)


def published_calls(frames: Iterable[Image]) -> list[Found]:
    """Rectangles and areas as the published script finds them: fresh arrays, three dilations."""
    found: list[Found] = []
    for first, second in pairwise(frames):
        difference = cv2.absdiff(first, second)
        grey = cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY)
        blurred = cv2.GaussianBlur(grey, (5, 5), 0)
        _, binary = cv2.threshold(blurred, 20, 255, cv2.THRESH_BINARY)
        dilated = cv2.dilate(binary, None, iterations=3)
        found.extend(_described(dilated))
    return found


def tuned_calls(frames: Iterable[Image]) -> list[Found]:
    """The same OpenCV calls with outputs that are used again and one 7x7 dilation."""
    frames = iter(frames)
    first = next(frames)
    difference = np.empty_like(first)
    grey, other = (np.empty(first.shape[:2], np.uint8) for _ in range(2))
    found: list[Found] = []
    for second in frames:
        cv2.absdiff(first, second, difference)
        cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY, grey)
        cv2.GaussianBlur(grey, (5, 5), 0, other)
        cv2.threshold(other, 20, 255, cv2.THRESH_BINARY, grey)
        cv2.dilate(grey, _KERNEL, other)
        found.extend(_described(other))
        first = second
    return found


def mog2(frames: Iterable[Image]) -> list[Found]:
    """OpenCV's Gaussian-mixture background subtraction, as a peer."""
    model = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
    found: list[Found] = []
    for frame in frames:
        found.extend(_described(cv2.dilate(model.apply(frame), _KERNEL)))
    return found


def _described(mask: Image) -> list[Found]:
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(tuple(cv2.boundingRect(outline)), cv2.contourArea(outline)) for outline in outlines]  # type: ignore[misc]


def published_loop(video: Path, out: Path) -> int:
    """The published script whole, without its display: read, find, crop, encode, gzip HDF5; how many crops."""
    capture = cv2.VideoCapture(str(video))
    crops: list[bytes] = []
    read, first = capture.read()
    while read:
        read, second = capture.read()
        if not read:
            break
        difference = cv2.absdiff(first, second)
        grey = cv2.cvtColor(difference, cv2.COLOR_BGR2GRAY)
        blurred = cv2.GaussianBlur(grey, (5, 5), 0)
        _, binary = cv2.threshold(blurred, 20, 255, cv2.THRESH_BINARY)
        dilated = cv2.dilate(binary, None, iterations=3)
        outlines, _ = cv2.findContours(dilated, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        for outline in outlines:
            x, y, width, height = cv2.boundingRect(outline)
            if not 2000 <= cv2.contourArea(outline) <= 15000:
                continue
            crop = first[y + 2 : y + height - 1, x + 2 : x + width - 1]
            blue, green, red = (crop[:, :, channel].mean() for channel in range(3))
            if blue <= red + green:
                crops.append(cv2.imencode(".jpg", crop)[1].tobytes())
        first = second
    capture.release()
    with h5py.File(out, "w") as file:
        for start in range(0, len(crops), 10_000):
            part = np.array(crops[start : start + 10_000])
            file.create_dataset(f"{video.stem}_{start // 10_000}", data=part, compression="gzip")
    return len(crops)


def decode(video: Path) -> int:
    """Decode every frame with PyAV on one thread and look at none; how many there are."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return sum(1 for _ in container.decode(stream))


def capture_read(video: Path) -> int:
    """Read every frame with OpenCV, which converts to BGR; how many there are."""
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count
