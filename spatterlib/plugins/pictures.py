"""Pictures that keep the decoder's own planes and become RGB only where somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import ClassVar, TypeGuard

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ContractError
from spatterlib.types import Box, Image, Picture, RgbPicture

__all__ = ["YuvPicture", "is_plain", "place", "yuv_matrix"]

place = Struct("2q").pack
"""From address and bytes from row to row of a plane to its row of `YuvPicture.places`."""

# Red and blue weights of luma (ITU-T H.273, table 4).
_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
_FIXED = 1 << 20


@cache
def yuv_matrix(space: str = "bt601", *, full_range: bool = False) -> NDArray[np.int32]:
    """Fixed-point factors that turn YUV into RGB.

    Parameters
    ----------
    space : {"bt601", "bt709", "bt2020"}
        Which weights of red and blue luma has.
    full_range : bool
        Whether luma spans 0-255 (JPEG) or 16-235 (television).

    Returns
    -------
    ndarray
        ``(6,)`` int32, read-only: black level; factors of luma, V in red, V in green, U in green, U in blue, times
        2**20. For television BT.601 they are OpenCV's, so that results agree to the last bit.

    Examples
    --------
    >>> from spatterlib.plugins.pictures import yuv_matrix
    >>> yuv_matrix("bt601", full_range=True)[1] / 2**20
    np.float64(1.0)
    """
    red, blue = _WEIGHTS[space]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)
    v_red, u_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    factors = np.array([luma, v_red, -v_red * red / green, -u_blue * blue / green, u_blue]) * _FIXED
    if space == "bt601" and not full_range:
        factors = np.array([1220542, 1673527, -852492, -409993, 2116026])
    matrix = np.concatenate([[0 if full_range else 16], np.rint(factors)]).astype(np.int32)
    matrix.flags.writeable = False
    return matrix


@dataclass(frozen=True, eq=False)
class YuvPicture:
    """A picture in three planes of 8 bits, as a decoder leaves it.

    Parameters
    ----------
    y, u, v : ndarray
        ``(h, w)`` uint8; rows contiguous, strides between rows as they are; chroma is smaller by ``2 ** shift``,
        rounded up.
    shift : tuple of int
        (horizontal, vertical) chroma subsampling, as powers of two: (1, 1) is 4:2:0.
    matrix : ndarray
        From `yuv_matrix`.

    Raises
    ------
    ContractError
        If the rows of a plane have gaps between their pixels.
    """

    y: Image
    u: Image
    v: Image
    shift: tuple[int, int]
    matrix: NDArray[np.int32]
    places: ClassVar[bytes] = b""
    """``(3, 2)`` int64: address of each plane, and bytes from row to row, not less than a row has px, where a reader
    knows them: asking NumPy for the addresses takes longer than all else that Python does for a frame."""

    def __post_init__(self) -> None:
        # The kernels read rows as bytes one behind the other.
        for plane in (self.y, self.u, self.v):
            if plane.shape[1] > 1 and plane.strides[1] != 1:
                raise ContractError(
                    f"rows of a plane are contiguous, got a plane of shape {plane.shape} with strides {plane.strides}; "
                    "use numpy.ascontiguousarray"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in px."""
        return self.y.shape[0], self.y.shape[1]

    def rgb(self, box: Box, out: Image | None = None) -> Image:
        """``(height, width, 3)`` uint8 RGB of `box`, chroma replicated."""
        from spatterlib.kernels.colour import yuv_to_rgb

        x, y, width, height = box
        if out is None:
            out = np.empty((height, width, 3), np.uint8)
        if not out.flags.c_contiguous:
            out[...] = self.rgb(box)
            return out
        yuv_to_rgb(self.y, self.u, self.v, x, y, self.shift, self.matrix, out)
        return out


def is_plain(picture: Picture) -> TypeGuard[RgbPicture]:
    """Whether the picture is an RGB array without gaps, to be read where it lies."""
    return isinstance(picture, RgbPicture) and picture.array.ndim == 3 and picture.array.flags.c_contiguous
