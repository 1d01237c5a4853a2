"""From a decoder's frame to a picture: its own planes, not copied, upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.pictures import YuvPicture, yuv_matrix
from spatterlib.types import Box, Image, Picture, RgbPicture

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane

# Pixel formats of 8 bits in three planes, luma first: (horizontal, vertical) subsampling as powers of two.
_SHIFTS = {"410": (2, 2), "411": (2, 0), "420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0)}
_PLANAR = {f"{family}{name}p": shift for family in ("yuv", "yuvj", "yuva") for name, shift in _SHIFTS.items()}
# ITU-T H.273, tables 4 and 6: matrix coefficients that luma is made with; 2 = not stated.
_SPACES = {1: "bt709", 2: "bt601", 4: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020"}
_FULL_RANGE = 2
_LIMITED_RANGE = 1


@dataclass(frozen=True)
class Turn:
    """How a stored frame is turned to be shown: first transposed, then mirrored.

    Parameters
    ----------
    transposed : bool
        Rows become columns.
    mirrored : tuple of bool
        Left and right swapped; top and bottom swapped.
    """

    transposed: bool = False
    mirrored: tuple[bool, bool] = (False, False)

    @classmethod
    def of(cls, frame: VideoFrame) -> Turn:
        """What the frame's display matrix says; quarter turns and mirror images only."""
        try:
            matrix = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]
        except (KeyError, ValueError):  # ValueError: the frame has side data that PyAV does not know
            return cls()
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        if a == d == 0 and b and c:
            return cls(True, (c < 0, b < 0))
        if b == c == 0 and a and d:
            return cls(False, (a < 0, d < 0))
        return cls()

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """``(height, width)`` in px, as shown."""
        return (width, height) if self.transposed else (height, width)

    def __bool__(self) -> bool:
        return self != Turn()


@dataclass(frozen=True, eq=False)
class TurnedPicture:
    """A picture that is turned when it is looked at.

    Parameters
    ----------
    stored : Picture
        As the decoder left it.
    turn : Turn
        How it is to be shown.
    """

    stored: Picture
    turn: Turn

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in px, as shown."""
        return self.turn.shape(*self.stored.shape)

    def rgb(self, box: Box, out: Image | None = None) -> Image:
        """``(height, width, 3)`` uint8 RGB of `box`, as shown."""
        x, y, width, height = box
        shown_height, shown_width = self.shape
        across, down = self.turn.mirrored
        x = shown_width - x - width if across else x
        y = shown_height - y - height if down else y
        if self.turn.transposed:
            part = self.stored.rgb((y, x, height, width)).transpose(1, 0, 2)
        else:
            part = self.stored.rgb((x, y, width, height))
        part = part[:: -1 if down else 1, :: -1 if across else 1]
        if out is None:
            return np.ascontiguousarray(part)
        out[...] = part
        return out


def picture_of(frame: VideoFrame) -> Picture:
    """A picture on the frame's own planes; RGB at once where they are not three planes of 8 bits.

    What does not say which colour space it has is taken for BT.601, and for television range unless its pixel
    format (yuvj420p and its like) says otherwise.
    """
    name = frame.format.name
    shift, space = _PLANAR.get(name), _SPACES.get(frame.colorspace)
    if shift is not None and space is not None:
        full = frame.color_range == _FULL_RANGE or name.startswith("yuvj")
        y, u, v = (_array(plane) for plane in frame.planes[:3])
        return YuvPicture(y, u, v, shift, yuv_matrix(space, full_range=full))
    if name == "gray" and frame.color_range != _LIMITED_RANGE:
        return RgbPicture(_array(frame.planes[0]))
    return RgbPicture(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


def _array(plane: VideoPlane) -> NDArray[np.uint8]:
    """``(h, w)`` uint8, read-only, on the plane's memory, which lives as long as the array."""
    height, pitch = plane.height, plane.line_size
    # A negative pitch means that the last row comes first in memory.
    offset = -pitch * (height - 1) if pitch < 0 else 0
    memory: Any = plane
    array = np.ndarray((height, plane.width), np.uint8, memory, offset, (pitch, 1))
    array.flags.writeable = False
    return array
