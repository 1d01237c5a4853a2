"""Numba kernels: arrays in, arrays out, nothing else. Outputs are allocated by the caller and reused.

Each kernel has one text; its plain reference lives in the tests.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.types import Image

_FIXED = 20


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def yuv_to_rgb(
    y: Image, u: Image, v: Image, left: int, top: int, shift: tuple[int, int], matrix: NDArray[np.int32], out: Image
) -> None:
    """Convert the box at (`left`, `top`) of planar YUV to RGB, chroma replicated.

    Parameters
    ----------
    y, u, v : ndarray
        ``(h, w)`` uint8 planes; chroma is smaller by ``2 ** shift``, rounded up.
    left, top : int
        Px, upper left corner of the box; its size is that of `out`.
    shift : tuple of int
        (horizontal, vertical) chroma subsampling, as powers of two.
    matrix : ndarray
        ``(6,)`` int32: black level; factors of luma, V in red, V in green, U in green, U in blue, times 2**20.
    out : ndarray
        ``(height, width, 3)`` uint8 RGB, written.
    """
    black, luma, v_red, v_green, u_green, u_blue = matrix
    half = np.int32(1 << (_FIXED - 1))
    for i in range(out.shape[0]):
        row, urow, vrow, line = y[top + i], u[(top + i) >> shift[1]], v[(top + i) >> shift[1]], out[i]
        for j in range(out.shape[1]):
            column = (left + j) >> shift[0]
            blue, red = np.int32(urow[column]) - np.int32(128), np.int32(vrow[column]) - np.int32(128)
            grey = max(np.int32(row[left + j]) - black, 0) * luma + half
            line[j, 0] = min(max((grey + v_red * red) >> _FIXED, 0), 255)
            line[j, 1] = min(max((grey + v_green * red + u_green * blue) >> _FIXED, 0), 255)
            line[j, 2] = min(max((grey + u_blue * blue) >> _FIXED, 0), 255)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def measure(rgb: Image, boxes: NDArray[np.int32], sums: NDArray[np.int64], peaks: Image) -> None:
    """Sum the channels and find the brightest luma in each box.

    Parameters
    ----------
    rgb : ndarray
        ``(h, w, 3)`` uint8 RGB.
    boxes : ndarray
        ``(n, 4)`` int32: x, y, width, height in px, inside the frame.
    sums : ndarray
        ``(n, 3)`` int64, written: sum of red, green and blue.
    peaks : ndarray
        ``(n,)`` uint8, written: brightest luma (ITU-R BT.601 weights, rounded).
    """
    for k in range(boxes.shape[0]):
        x, y, width, height = boxes[k]
        red, green, blue, peak = 0, 0, 0, 0
        for i in range(y, y + height):
            for j in range(x, x + width):
                r, g, b = np.int64(rgb[i, j, 0]), np.int64(rgb[i, j, 1]), np.int64(rgb[i, j, 2])
                red += r
                green += g
                blue += b
                peak = max(peak, 9798 * r + 19235 * g + 3735 * b)
        sums[k, 0], sums[k, 1], sums[k, 2] = red, green, blue
        peaks[k] = (peak + 16384) >> 15
