"""What somebody marked in a recording: frames that were looked at, and a box for each spatter in them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.types import DETECTION, Detections

__all__ = ["LABEL", "Annotations", "Marked", "frame_of", "image_name", "number", "of_images", "pixels"]

LABEL = "spatter"
"""What a box is called where nothing else is said."""

_OWN = re.compile(r"(.+)_frame_(\d+)")
_DIGITS = re.compile(r"\d+")
# Boxes that tools write with a little noise behind the point are not outside.
_SLACK = 1.0
_LARGEST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Annotations:
    """Boxes in frames of one recording.

    Parameters
    ----------
    frames : ndarray
        ``(f,)`` int64, ascending: every frame that was looked at, those in which nothing is too.
    table : ndarray
        ``(n,)`` `DETECTION`, by frame: ``area`` is that of the box; ``time`` is NaN; colours and ``peak`` are 0, nobody
        measured them.
    labels : tuple of str
        ``n``, what each box is called.
    size : tuple of int, optional
        ``(width, height)`` of the frames in px, where the file says it.
    recording : str
        Name of the recording without its suffix, where the file says it.

    Examples
    --------
    >>> from spatterlib.annotations.record import Annotations
    >>> marked = Annotations.of([3, 4], [(4, 10, 20, 30, 40)], size=(640, 360))
    >>> len(marked.frames), marked.table[["frame", "x", "area"]].tolist(), marked.labels
    (2, [(4, 10, 1200.0)], ('spatter',))
    """

    frames: NDArray[np.int64]
    table: Detections
    labels: tuple[str, ...]
    size: tuple[int, int] | None = None
    recording: str = ""

    @classmethod
    def of(
        cls,
        frames: Iterable[int],
        boxes: Iterable[Sequence[int]],
        labels: Sequence[str] | None = None,
        *,
        size: tuple[int, int] | None = None,
        recording: str = "",
    ) -> Annotations:
        """Of the frames that were looked at and of boxes ``(frame, x, y, width, height)`` in any order."""
        rows = np.array([tuple(box) for box in boxes], np.int64).reshape(-1, 5)
        order = np.argsort(rows[:, 0], kind="stable")
        names = [LABEL] * len(rows) if labels is None else list(labels)
        table = np.zeros(len(rows), DETECTION)
        for name, column in zip(("frame", "x", "y", "width", "height"), rows[order].T, strict=True):
            table[name] = column
        table["time"], table["area"] = np.nan, table["width"].astype(np.float64) * table["height"]
        seen = np.unique(np.concatenate([np.fromiter(frames, np.int64), rows[:, 0]]))
        return cls(seen, table, tuple(names[row] for row in order), size, recording)


@dataclass(frozen=True)
class Marked:
    """One image of a file: its name, its boxes ``(x0, y0, x1, y1)`` in px and their labels, its size if known."""

    name: str
    where: str
    boxes: Sequence[Sequence[float]]
    labels: Sequence[str]
    size: tuple[int, int] | None = None
    frame: int | None = None


def of_images(images: Iterable[Marked], path: Any) -> Annotations:
    """What a format's reader found, image by image, as annotations of one recording.

    Raises
    ------
    ParameterError
        If two images are one frame or have several sizes or recordings, if a name has no number, or a box is none.
    """
    frames: dict[int, str] = {}
    rows, labels, sizes, recordings = [], [], set(), set()
    for image in images:
        recording, in_name = frame_of(image.name, image.where) if image.frame is None else ("", image.frame)
        match = _OWN.fullmatch(PurePosixPath(image.name).stem)
        recordings.add(match[1] if match else recording)
        if in_name in frames:
            raise ParameterError(
                f"{image.where}: expected one image of each frame, got frame {in_name} twice, of {frames[in_name]} and "
                f"{image.name}; export one recording per file"
            )
        frames[in_name] = image.name
        sizes |= {image.size} if image.size else set()
        for box, label in zip(image.boxes, image.labels, strict=True):
            rows.append((in_name, *pixels(box, image.size, f"{image.where}, image {image.name}")))
            labels.append(label)
    if len(sizes) > 1 or len(recordings) > 1:
        got = sorted(recordings) if len(recordings) > 1 else [f"{w}x{h} px" for w, h in sorted(sizes)]
        raise ParameterError(
            f"{path}: expected frames of one recording, got {' and '.join(map(repr, got[:3]))}; export one per file"
        )
    return Annotations.of(
        frames, rows, labels, size=next(iter(sizes), None), recording=next(iter(recordings), "") if recordings else ""
    )


def frame_of(name: str, where: str) -> tuple[str, int]:
    """Recording and frame number that the name of an image says: ``build_frame_000123.png``, or the last number in it.

    Examples
    --------
    >>> from spatterlib.annotations.record import frame_of
    >>> frame_of("images/build_frame_000123.png", ""), frame_of("cam2-17.jpg", "")
    (('build', 123), ('', 17))
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if own := _OWN.fullmatch(stem):
        return own[1], int(own[2])
    digits = _DIGITS.findall(stem)
    if not digits:
        raise ParameterError(
            f"{where}: expected a frame number in the name of each image, such as frame_000123.png, got {name!r}"
        )
    return "", int(digits[-1])


def image_name(annotations: Annotations, frame: int, suffix: str = ".png") -> str:
    """What the image of a frame is called."""
    return f"{annotations.recording or 'recording'}_frame_{frame:06d}{suffix}"


def pixels(box: Sequence[float], size: tuple[int, int] | None, where: str) -> tuple[int, int, int, int]:
    """``(x, y, width, height)`` in whole px of edges ``(x0, y0, x1, y1)``, cut to the frame if its size is known."""
    x0, y0, x1, y1 = box
    if not (all(map(math.isfinite, box)) and x1 > x0 and y1 > y0 and max(map(abs, box)) < _LARGEST):
        raise ParameterError(f"{where}: expected a box of some width and height in px, got {[*map(float, box)]}")
    limits = size or (_LARGEST, _LARGEST)
    if min(x0, y0) < -_SLACK or x1 > limits[0] + _SLACK or y1 > limits[1] + _SLACK:
        within = f" of {size[0]}x{size[1]} px" if size else ""
        raise ParameterError(f"{where}: expected boxes inside the image{within}, got edges {[*map(float, box)]}")
    left, top = (min(max(round(value), 0), limit - 1) for value, limit in zip((x0, y0), limits, strict=True))
    right, bottom = (min(round(value), limit) for value, limit in zip((x1, y1), limits, strict=True))
    return left, top, max(right - left, 1), max(bottom - top, 1)


def number(value: Any, what: str, where: str) -> float:
    """A finite number that a file has as a number or as text."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ParameterError(f"{where}: expected a number for {what}, got {value!r}")
    return found
