"""From light to grey levels: glow, tone curve, bed and noise, only where light fell."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spatterlib.kernels.streaks import TILE
from spatterlib.types import Image

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

CELL = 4
"""Px, size of the cells in which the smooth glow is computed."""


@njit(cache=True, nogil=True, fastmath=True)
def _shine(x: float, y: float, place: Light, sources: Floats, lobes: Floats, bed: Floats, out: Light) -> None:
    """Glow of all sources at one point."""
    red = green = blue = fallen = 0.0
    for n in range(sources.shape[0]):
        weight = sources[n, 4]
        for m in range(lobes.shape[0]):
            dx = (x - sources[n, 0] - lobes[m, 0]) / lobes[m, 2]
            dy = (y - sources[n, 1] - lobes[m, 1]) / (lobes[m, 2] * lobes[m, 3])
            q = 1.0 + dx * dx + dy * dy
            q *= q
            value = weight / (q * q * q * q) if m == 0 else weight / q
            red += value * lobes[m, 4]
            green += value * lobes[m, 5]
            blue += value * lobes[m, 6]
        dx, dy = (place[0] - sources[n, 2]) / bed[1], (place[1] - sources[n, 3]) / bed[1]
        q = 1.0 + dx * dx + dy * dy
        fallen += weight * bed[0] / (q * np.sqrt(q))
    out[0], out[1], out[2], out[3] = red, green, blue, fallen


@njit(cache=True, nogil=True, fastmath=True)
def halo(
    sources: Floats, lobes: Floats, bed: Floats, ground: Light, reach: tuple[float, float], lit: Image, veil: Light
) -> None:
    """Glow of plume and lens around the laser, and light that falls on the bed, cell by cell.

    Parameters
    ----------
    sources : ndarray
        ``(n, 5)`` float64: x, y in px, x, y in mm, weight.
    lobes : ndarray
        ``(k, 7)`` float64: offset x, y in px, radius in px, vertical stretch, red, green, blue at the middle;
        the first falls as ``(1 + r²) ** -8``, the others as ``(1 + r²) ** -2``.
    bed : ndarray
        ``(2,)`` float64: light on the bed below the laser, radius in mm; falls as ``(1 + r²) ** -1.5``.
    ground : ndarray
        ``(H, W, 2)`` float32, x and y in mm of the bed at the middle of each cell.
    reach : tuple of float
        Px, half axes of the ellipse around each source beyond which the glow is left out.
    lit : ndarray
        As in `draw`.
    veil : ndarray
        ``(H, W, 4)`` float32, written: red, green, blue of the glow, light on the bed.
    """
    veil[:] = 0
    each = TILE // CELL
    for i in range(lit.shape[0]):
        for j in range(lit.shape[1]):
            near = False
            for n in range(sources.shape[0]):
                dx = (TILE * (j + 0.5) - sources[n, 0]) / reach[0]
                dy = (TILE * (i + 0.5) - sources[n, 1]) / reach[1]
                near = near or dx * dx + dy * dy < 1
            if near:
                lit[i, j] = 2
                for a in range(i * each, min((i + 1) * each, veil.shape[0])):
                    for b in range(j * each, min((j + 1) * each, veil.shape[1])):
                        x, y = CELL * (b + 0.5) - 0.5, CELL * (a + 0.5) - 0.5
                        _shine(x, y, ground[a, b], sources, lobes, bed, veil[a, b])


@njit(cache=True, nogil=True)
def compose(bed: Image, grain: NDArray[np.int8], out: Image) -> None:
    """``out = bed + grain``, limited to 0-255; arrays of one shape, rows contiguous."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = min(max(np.int16(bed[i, j]) + np.int16(grain[i, j]), np.int16(0)), np.int16(255))


@njit(cache=True, nogil=True, fastmath=True)
def _spread(veil: Light, y: int, left: int, glow: Light) -> None:
    """Interpolate the cells along a line of pixels; `left` is a multiple of TILE."""
    cells, lines = veil.shape[1], veil.shape[0]
    v = (y + 0.5) / CELL - 0.5
    a = min(max(int(np.floor(v)), 0), lines - 2)
    s = np.float32(min(max(v - a, 0.0), 1.0))
    for j in range(glow.shape[0]):
        u = np.float32((left + j + 0.5) / CELL - 0.5)
        k = min(max(int(u), 0), cells - 2)
        r = min(max(u - np.float32(k), np.float32(0)), np.float32(1))
        for c in range(4):
            upper = veil[a, k, c] + (veil[a, k + 1, c] - veil[a, k, c]) * r
            lower = veil[a + 1, k, c] + (veil[a + 1, k + 1, c] - veil[a + 1, k, c]) * r
            glow[j, c] = upper + (lower - upper) * s


@njit(cache=True, nogil=True, fastmath=True)
def _index(
    light: Light,
    glow: Light,
    texture: Light,
    tints: tuple[np.float32, np.float32, np.float32],
    top: np.int32,
    index: NDArray[np.int32],
) -> None:
    """Sum all light of a line, as an index into the tone curve; `light` is emptied."""
    for j in range(light.shape[0]):
        fallen = glow[j, 3] * texture[j]
        for c in range(3):
            value = np.sqrt(light[j, c] + glow[j, c] + fallen * tints[c]) * np.float32(512)
            index[j, c] = min(np.int32(value), top)
            light[j, c] = 0


@njit(cache=True, nogil=True, fastmath=True)
def _plain(light: Light, top: np.int32, index: NDArray[np.int32]) -> bool:
    """As `_index`, where there is no glow; whether there is any light."""
    some = np.float32(0)
    for j in range(light.shape[0]):
        for c in range(3):
            some += light[j, c]
    if some == 0:
        return False
    for j in range(light.shape[0]):
        for c in range(3):
            index[j, c] = min(np.int32(np.sqrt(light[j, c]) * np.float32(512)), top)
            light[j, c] = 0
    return True


@njit(cache=True, nogil=True)
def _level(
    index: NDArray[np.int32], curve: Image, bed: Image, grain: NDArray[np.int8], out: Image, clean: Image
) -> None:
    """Grey levels of a line, with bed and noise, and luma without."""
    for j in range(index.shape[0]):
        grey = np.int32(64)
        for c in range(3):
            level = np.int32(curve[index[j, c]])
            grey += level * np.int32(38 if c == 0 else 75 if c == 1 else 15)
            noisy = level + np.int32(bed[j, c]) + ((np.int32(grain[j, c]) * (np.int32(128) + level)) >> np.int32(7))
            out[j, c] = min(max(noisy, np.int32(0)), np.int32(255))
        clean[j] = np.uint8(grey >> np.int32(7))


@njit(cache=True, nogil=True, fastmath=True)
def develop(
    light: Light,
    veil: Light,
    texture: Light,
    tint: Floats,
    bed: Image,
    grain: NDArray[np.int8],
    curve: Image,
    lit: Image,
    out: Image,
    clean: Image,
) -> None:
    """Turn light into grey levels in the lit tiles: sum, tone curve, bed, noise; `light` and `lit` are emptied.

    Parameters
    ----------
    light : ndarray
        ``(h, w, 3)`` float32.
    veil : ndarray
        As written by `halo`.
    texture : ndarray
        ``(h, w)`` float32, how much of the light that falls on it the bed sends to the camera.
    tint : ndarray
        ``(3,)`` float64, colour of that light.
    bed : ndarray
        ``(h, w, 3)`` uint8, the picture without light of the process.
    grain : ndarray
        ``(h, w, 3)`` int8 noise of a dark pixel; it grows with the level up to threefold.
    curve : ndarray
        ``(k,)`` uint8, level against ``sqrt(light) * 512``.
    lit : ndarray
        As in `draw`.
    out : ndarray
        ``(h, w, 3)`` uint8 RGB, written where it is lit.
    clean : ndarray
        ``(h, w)`` uint8, written where it is lit: luma of the process' light, without bed and noise.
    """
    tints = (np.float32(tint[0]), np.float32(tint[1]), np.float32(tint[2]))
    top = np.int32(curve.shape[0] - 1)
    glow, index = np.empty((TILE, 4), np.float32), np.empty((TILE, 3), np.int32)
    for i in range(lit.shape[0]):
        for j in range(lit.shape[1]):
            state, lit[i, j] = lit[i, j], 0
            if state == 0:
                continue
            left, right = j * TILE, min((j + 1) * TILE, out.shape[1])
            part = right - left
            for y in range(i * TILE, min((i + 1) * TILE, out.shape[0])):
                if state == 2:
                    _spread(veil, y, left, glow[:part])
                    _index(light[y, left:right], glow, texture[y, left:right], tints, top, index[:part])
                elif not _plain(light[y, left:right], top, index[:part]):
                    continue
                _level(
                    index[:part],
                    curve,
                    bed[y, left:right],
                    grain[y, left:right],
                    out[y, left:right],
                    clean[y, left:right],
                )
