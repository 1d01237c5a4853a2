"""From light to grey levels: glow, tone curve, bed and noise, only where light fell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image
from spatterlib.kernels.simulation.streak_drawing import TILE

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

CELL = 4
"""Px, size of the cells in which the smooth glow is computed."""


@kernel(fastmath=True, error_model="numpy")
def _shine(source: Light, y: float, left: int, lobes: Light, reds: Light, greens: Light, blues: Light) -> None:
    """Add the glow of one source to a line of cells, of which `left` is the first."""
    one = np.float32(1)
    for m in range(lobes.shape[0]):
        across, along = one / lobes[m, 2], one / (lobes[m, 2] * lobes[m, 3])
        dy = (np.float32(y) - source[1] - lobes[m, 1]) * along
        first = (np.float32(CELL * (left + 0.5) - 0.5) - source[0] - lobes[m, 0]) * across
        step, base = np.float32(CELL) * across, one + dy * dy
        red, green, blue = source[4] * lobes[m, 4], source[4] * lobes[m, 5], source[4] * lobes[m, 6]
        steep = m == 0
        for k in range(reds.shape[0]):
            dx = first + step * np.float32(k)
            q = base + dx * dx
            q *= q
            value = one / (q * q * q * q if steep else q)
            reds[k] += red * value
            greens[k] += green * value
            blues[k] += blue * value


@kernel(fastmath=True, error_model="numpy")
def _fall(source: Light, px: Light, py: Light, power: np.float32, radius: np.float32, out: Light) -> None:
    """Add the light of one source that falls on the bed at a line of cells, at `px`, `py` in mm."""
    one = np.float32(1)
    for k in range(out.shape[0]):
        dx, dy = (px[k] - source[2]) / radius, (py[k] - source[3]) / radius
        q = one + dx * dx + dy * dy
        out[k] += source[4] * power / (q * q)


@kernel
def _near(sources: Light, reach: tuple[float, float], lit: Image, line: int) -> tuple[int, int]:
    """First and last tile of a line of tiles that the glow of any source reaches; they are marked in `lit`."""
    first, last = lit.shape[1], -1
    for j in range(lit.shape[1]):
        for n in range(sources.shape[0]):
            dx = (TILE * (j + 0.5) - sources[n, 0]) / reach[0]
            dy = (TILE * (line + 0.5) - sources[n, 1]) / reach[1]
            if dx * dx + dy * dy < 1:
                lit[line, j] = 2
                first, last = min(first, j), j
                break
    return first, last


@kernel
def halo(
    sources: Light, lobes: Light, bed: Light, ground: Light, reach: tuple[float, float], lit: Image, veil: Light
) -> None:
    """Glow of plume and lens around the laser, and light that falls on the bed, cell by cell.

    Parameters
    ----------
    sources : ndarray
        ``(n, 5)`` float32: x, y in px, x, y in mm, weight.
    lobes : ndarray
        ``(k, 7)`` float32: offset x, y in px, radius in px, vertical stretch, red, green, blue at the middle;
        the first falls as ``(1 + r²) ** -8``, the others as ``(1 + r²) ** -2``.
    bed : ndarray
        ``(2,)`` float32: light on the bed below the laser, radius in mm; falls as ``(1 + r²) ** -2``.
    ground : ndarray
        ``(2, H, W)`` float32, x and y in mm of the bed at the middle of each cell.
    reach : tuple of float
        Px, half axes of the ellipse around each source beyond which the glow is left out.
    lit : ndarray
        As in `draw`.
    veil : ndarray
        ``(4, H, W)`` float32, written: red, green, blue of the glow, light on the bed.
    """
    veil[:] = 0
    each = TILE // CELL
    for i in range(lit.shape[0]):
        first, last = _near(sources, reach, lit, i)
        left, right = first * each, min((last + 1) * each, veil.shape[2])
        if right <= left:
            continue
        for a in range(i * each, min((i + 1) * each, veil.shape[1])):
            y = CELL * (a + 0.5) - 0.5
            red, green, blue = veil[0, a, left:right], veil[1, a, left:right], veil[2, a, left:right]
            for n in range(sources.shape[0]):
                _shine(sources[n], y, left, lobes, red, green, blue)
                _fall(
                    sources[n], ground[0, a, left:right], ground[1, a, left:right], bed[0], bed[1],
                    veil[3, a, left:right],
                )  # fmt: skip


@kernel
def compose(bed: Image, grain: NDArray[np.int8], black: int, out: Image) -> None:
    """``out = bed + grain - black``, limited to 0-255; arrays of one shape, rows contiguous."""
    cut = np.int16(black)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = min(max(np.int16(bed[i, j]) + np.int16(grain[i, j]) - cut, np.int16(0)), np.int16(255))


@kernel(fastmath=True, error_model="numpy")
def _spread(veil: Light, y: int, left: int, texture: Light, tint: Light, cells: Light, glow: Light) -> None:
    """Interpolate the cells along a line of pixels from a tile on, and light the bed there."""
    v = (y + 0.5) / CELL - 0.5
    a = min(max(int(np.floor(v)), 0), veil.shape[1] - 2)
    s = np.float32(min(max(v - a, 0.0), 1.0))
    first = left // CELL - 1
    for c in range(4):
        for k in range(texture.shape[0] // CELL + 2):
            b = min(max(first + k, 0), veil.shape[2] - 1)
            cells[c, k] = veil[c, a, b] + (veil[c, a + 1, b] - veil[c, a, b]) * s
    for j in range(texture.shape[0]):
        u = (j + CELL // 2) // CELL
        r = np.float32(((j + CELL // 2) % CELL + 0.5) / CELL)
        fallen = (cells[3, u] + (cells[3, u + 1] - cells[3, u]) * r) * texture[j]
        for c in range(3):
            glow[3 * j + c] = cells[c, u] + (cells[c, u + 1] - cells[c, u]) * r + fallen * tint[c]


@kernel(fastmath=True, error_model="numpy")
def _index(light: Light, glow: Light, top: np.float32, index: NDArray[np.int32]) -> bool:
    """Light of a line as an index into the tone curve, and whether there is any; `light` is emptied."""
    some = np.float32(0)
    for k in range(light.shape[0]):
        value = light[k] + glow[k]
        some += value
        index[k] = np.int32(min(np.sqrt(value) * np.float32(512), top))
        light[k] = 0
    return bool(some > 0)


@kernel(error_model="numpy")
def _level(
    index: NDArray[np.int32], curve: NDArray[np.int32], bed: Image, grain: NDArray[np.int8], out: Image, clean: Image
) -> None:
    """Grey levels of a line, with bed and noise, and luma without; `index` becomes the levels."""
    for k in range(index.shape[0]):
        index[k] = curve[np.uint32(index[k])]
    for k in range(index.shape[0]):
        level = index[k]
        noise = (np.int32(grain[k]) * (np.int32(128) + level)) >> np.int32(7)
        out[k] = np.uint8(min(max(level + np.int32(bed[k]) + noise, np.int32(0)), np.int32(255)))
    for j in range(clean.shape[0]):
        grey = index[3 * j] * np.int32(38) + index[3 * j + 1] * np.int32(75) + index[3 * j + 2] * np.int32(15)
        clean[j] = np.uint8(max((grey + np.int32(64)) >> np.int32(7), np.int32(0)))


@kernel
def develop(
    light: Light,
    veil: Light,
    texture: Light,
    tint: Light,
    bed: Image,
    grain: NDArray[np.int8],
    curve: NDArray[np.int32],
    lit: Image,
    out: Image,
    clean: Image,
) -> None:
    """Turn light into grey levels in the lit tiles: sum, tone curve, bed, noise; `light` and `lit` are emptied.

    Parameters
    ----------
    light : ndarray
        ``(h, 3 * w)`` float32, RGB.
    veil : ndarray
        As written by `halo`.
    texture : ndarray
        ``(h, w)`` float32, how much of the light that falls on it the bed sends to the camera.
    tint : ndarray
        ``(3,)`` float32, colour of that light.
    bed : ndarray
        ``(h, 3 * w)`` uint8 RGB, the picture without light of the process.
    grain : ndarray
        ``(h, 3 * w)`` int8 noise of a dark pixel; it grows with the level up to threefold.
    curve : ndarray
        ``(k,)`` int32, level against ``sqrt(light) * 512``; without light that to which black is cut, below 0.
    lit : ndarray
        As in `draw`.
    out : ndarray
        ``(h, 3 * w)`` uint8 RGB, written where it is lit.
    clean : ndarray
        ``(h, w)`` uint8, written where it is lit: luma of the process' light, without bed and noise.
    """
    size, top = clean.shape[1], np.float32(curve.shape[0] - 1)
    cells, index = np.empty((4, size // CELL + 4), np.float32), np.empty(3 * size, np.int32)
    glow, none = np.empty(3 * size, np.float32), np.zeros(3 * size, np.float32)
    for i in range(lit.shape[0]):
        j = 0
        while j < lit.shape[1]:
            first, shines = j, False
            while j < lit.shape[1] and lit[i, j]:
                shines = shines or lit[i, j] == 2
                lit[i, j] = 0
                j += 1
            left, right = first * TILE, min(j * TILE, size)
            j += 1
            start, stop = 3 * left, 3 * right
            for y in range(i * TILE, min((i + 1) * TILE, clean.shape[0])) if right > left else range(0):
                if shines:
                    _spread(veil, y, left, texture[y, left:right], tint, cells, glow)
                extra, levels = glow[: stop - start] if shines else none[: stop - start], index[: stop - start]
                if _index(light[y, start:stop], extra, top, levels):
                    _level(
                        levels, curve, bed[y, start:stop], grain[y, start:stop], out[y, start:stop],
                        clean[y, left:right],
                    )  # fmt: skip
