"""From a decoder's frame to a picture: its own planes, not copied, upright."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.plugins.pictures import YuvPicture, place, yuv_matrix
from spatterlib.types import Box, Image, Picture, RgbPicture
from spatterlib.video.still import eight_bits

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane

_Size: TypeAlias = tuple[int, int]
_Layout: TypeAlias = tuple[_Size, NDArray[np.int32], _Size, _Size, _Size]

# Pixel formats of 8 bits in three planes, luma first: (horizontal, vertical) subsampling as powers of two.
_SHIFTS = {"410": (2, 2), "411": (2, 0), "420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0)}
_PLANAR = {f"{family}{name}p": shift for family in ("yuv", "yuvj", "yuva") for name, shift in _SHIFTS.items()}
# ITU-T H.273, tables 4 and 6: matrix coefficients that luma is made with; 2 = not stated.
_SPACES = {1: "bt709", 2: "bt601", 4: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020"}
_FULL_RANGE = 2
_LIMITED_RANGE = 1


@dataclass(frozen=True)
class Orientation:
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
    def of(cls, frame: VideoFrame) -> Orientation:
        """What the frame's display matrix says; quarter turns and mirror images only."""
        try:
            matrix = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item,unused-ignore]
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
        return self != Orientation()


@dataclass(frozen=True, eq=False)
class TurnedPicture:
    """A picture that is turned when it is looked at.

    Parameters
    ----------
    stored : Picture
        As the decoder left it.
    turn : Orientation
        How it is to be shown.
    """

    stored: Picture
    turn: Orientation

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


class DecodedPicture(YuvPicture):
    """A picture whose planes become arrays when somebody asks for them: most frames are only looked at by kernels."""

    def __init__(
        self,
        planes: tuple[VideoPlane, ...],
        shapes: list[_Size],
        shift: tuple[int, int],
        matrix: NDArray[np.int32],
        places: bytes,
    ) -> None:
        self.__dict__.update(planes=planes, shapes=shapes, shift=shift, matrix=matrix, places=places)

    @property
    def shape(self) -> _Size:
        """``(height, width)`` in px."""
        return self.__dict__["shapes"][0]  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[Any, ...]:
        # Addresses mean nothing elsewhere, and pickled planes are copies.
        return YuvPicture, (self.y, self.u, self.v, self.shift, self.matrix)

    def __getattr__(self, name: str) -> Image:
        if name not in ("y", "u", "v"):
            raise AttributeError(name)
        for own, plane, shape in zip("yuv", self.__dict__["planes"], self.__dict__["shapes"], strict=False):
            self.__dict__[own] = _array(plane, shape)
        return self.__dict__[name]  # type: ignore[no-any-return]


def picture_of(frame: VideoFrame) -> Picture:
    """A picture on the frame's own planes; RGB at once where they are not three planes of 8 bits.

    What does not say which colour space it has is taken for BT.601, and for television range unless its pixel
    format (yuvj420p and its like) says otherwise.
    """
    name = frame.format.name
    layout = _layout(name, frame.colorspace, frame.color_range, frame.height, frame.width)
    if layout is not None:
        shift, matrix, *shapes = layout
        planes = frame.planes
        if planes[0].line_size < 0:
            y, u, v = map(_array, planes, shapes)
            return YuvPicture(y, u, v, shift, matrix)
        places = b"".join([place(plane.buffer_ptr, plane.line_size) for plane in planes[:3]])
        return DecodedPicture(planes, shapes, shift, matrix, places)
    if name == "gray" and frame.color_range != _LIMITED_RANGE:
        return RgbPicture(_array(frame.planes[0], (frame.height, frame.width)))
    return RgbPicture(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


def brightest_of_16_bits(frame: VideoFrame) -> int | None:
    """The greatest value of the first plane, if its values are whole numbers of 16 bits."""
    name, plane = frame.format.name, frame.planes[0]
    if frame.format.components[0].bits != 16 or "f16" in name:
        return None
    across = frame.width * (len(frame.format.components) if len(frame.planes) == 1 else 1)
    memory: Any = plane
    values = np.frombuffer(memory, ">u2" if name.endswith("be") else "<u2").reshape(frame.height, -1)
    return int(values[:, :across].max())


def picture_in_range(frame: VideoFrame, value_range: tuple[float, float]) -> RgbPicture:
    """A picture of grey or RGB of 16 bits, by the values that are shown as 0 and 255."""
    values = frame.to_ndarray(format="rgb48le" if frame.format.is_rgb else "gray16le")
    return RgbPicture(eight_bits(np.asarray(values, np.uint16), value_range))


def says_no_range(frame: VideoFrame) -> bool:
    """Whether a frame has luma and chroma, and neither its marks nor its format say of which range."""
    return frame.format.name.startswith("yuv") and not frame.format.name.startswith("yuvj") and not frame.color_range


def has_plain_values(frame: VideoFrame) -> bool:
    """Whether a frame is grey or RGB, so that a range of values applies to it."""
    return frame.format.is_rgb or frame.format.name.startswith(("gray", "ya"))


@lru_cache(maxsize=64)
def _layout(name: str, space: int, span: int, height: int, width: int) -> _Layout | None:
    """What frames of one kind have in common, worked out once: every microsecond counts where this is asked."""
    shift = _PLANAR.get(name)
    if shift is None or space not in _SPACES:
        return None
    matrix = yuv_matrix(_SPACES[space], full_range=span == _FULL_RANGE or name.startswith("yuvj"))
    chroma = -(-height >> shift[1]), -(-width >> shift[0])
    return shift, matrix, (height, width), chroma, chroma


def _array(plane: VideoPlane, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """``(h, w)`` uint8, read-only, on the plane's memory, which lives as long as the array."""
    pitch = plane.line_size
    # A negative pitch means that the last row comes first in memory.
    offset = -pitch * (shape[0] - 1) if pitch < 0 else 0
    memory: Any = plane
    array = np.ndarray(shape, np.uint8, memory, offset, (pitch, 1))
    array.setflags(write=False)
    return array
