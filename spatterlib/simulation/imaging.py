"""Where the camera stands, how it turns light into levels, and what the bed looks like."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.simulation.physics import Stream, random
from spatterlib.simulation.settings import SimulationSettings
from spatterlib.types import Image

DISTANCE_MM = 600.0
AZIMUTH = {"left": -32.0, "mid": 0.0, "right": 32.0}
"""Degrees: from which side the camera looks."""


@dataclass(frozen=True)
class Nuisance:
    """What differs between recordings and has nothing to do with the gas.

    Parameters
    ----------
    gain, red, blue : float
        Factors of all light, of red and of blue.
    yaw, pitch : float
        Degrees, added to azimuth and elevation.
    zoom : float
        Factor of mm per px.
    shift_x, shift_y : float
        Px, of the picture.
    focus : float
        Px, standard deviation of the point spread.
    noise : float
        Factor of the sensor noise.
    dirt : float
        Factor of the glow around bright places.
    phase : float
        Rad, of the slow drift.
    """

    gain: float = 1.0
    red: float = 1.0
    blue: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0
    zoom: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    focus: float = 0.5
    noise: float = 1.0
    dirt: float = 1.0
    phase: float = 0.0


def nuisance(settings: SimulationSettings) -> Nuisance:
    """Draw the nuisance of a recording; of the flow level, if the design is confounded."""
    key = settings.seed if settings.recording is None else settings.recording
    bias = 0.0
    if settings.confounded:
        # The published design: one recording per level, low the brighter one.
        high = settings.speeds[0] > 1.0
        key, bias = (2 if high else 1), (-0.35 if high else 0.35)
    bell = random(key, Stream.RECORDING).standard_normal(11) * (settings.nuisance or 0.0)
    return Nuisance(
        gain=float(np.exp(0.3 * np.clip(bell[0], -2.5, 2.5) + bias)),
        red=float(np.exp(0.05 * bell[1])),
        blue=float(np.exp(0.06 * bell[2])),
        yaw=float(2.0 * bell[3]),
        pitch=float(1.2 * bell[4]),
        zoom=float(np.exp(0.03 * np.clip(bell[5], -3, 3))),
        shift_x=float(8 * bell[6]),
        shift_y=float(5 * bell[7]),
        focus=float(np.clip(0.42 * np.exp(0.15 * bell[8]), 0.3, 1.0)),
        noise=float(np.exp(0.15 * bell[9])),
        dirt=float(np.exp(0.12 * bell[10])),
        phase=float(2 * np.pi * (bell[3] % 1.0)),
    )


def nuisance_facts(nuisance: Nuisance) -> dict[str, Any]:
    """The nuisance as JSON-able values."""
    return {name: round(value, 6) for name, value in asdict(nuisance).items()}


def projection(settings: SimulationSettings, nuisance: Nuisance) -> NDArray[np.float64]:
    """``(3, 4)`` float64: homogeneous px of a point in mm (x right, y away, z up in the mid camera).

    A pinhole that looks at the middle of the bed, which lies at 60 % of the frame's height.
    """
    azimuth = np.deg2rad(AZIMUTH[settings.camera] + settings.world("azimuth") + nuisance.yaw)
    elevation = np.deg2rad(settings.world("elevation") + nuisance.pitch)
    away = np.array([-np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), -np.sin(elevation)])
    right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    down = np.cross(away, right)
    if settings.mirrored:
        right = -right
    focal = DISTANCE_MM / (settings.mm_per_px * nuisance.zoom)
    middle = (settings.width / 2 + nuisance.shift_x, 0.6 * settings.height + nuisance.shift_y)
    depth = np.append(away, DISTANCE_MM)
    return np.stack(
        [np.append(focal * right, 0.0) + middle[0] * depth, np.append(focal * down, 0.0) + middle[1] * depth, depth]
    )


def ground(matrix: NDArray[np.float64], x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float32]:
    """``(..., 2)`` float32: mm on the bed (z = 0) that is seen at px `x`, `y`."""
    back = np.linalg.inv(matrix[:, [0, 1, 3]])
    points = np.stack([x, y, np.ones_like(x)], -1) @ back.T
    return np.asarray(points[..., :2] / points[..., 2:], np.float32)


def black(settings: SimulationSettings) -> int:
    """Grey levels to which black is cut."""
    return round(settings.world("black"))


def tone(settings: SimulationSettings) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Tone curve: ``(2048,)`` int32 level against ``sqrt(light) * 512``, and ``(256,)`` light against level.

    Level = (255 + black) · (1 - exp(-1.6 light)) ** (1 / gamma) - black.
    """
    light, cut = (np.arange(2048) / 512) ** 2, black(settings)
    levels = (255 + cut) * (-np.expm1(-1.6 * light)) ** (1 / settings.world("gamma")) - cut
    linear = np.interp(np.arange(256), levels, light)
    return np.minimum(np.rint(levels), 255).astype(np.int32), linear


def bed(settings: SimulationSettings, matrix: NDArray[np.float64]) -> tuple[NDArray[np.float32], Image, Image]:
    """What is seen of the powder bed.

    Returns
    -------
    tuple of ndarray
        ``(h, w)`` float32, how much light it sends back; ``(h, w, 3)`` uint8, the dark bed; the same under the
        blue light of the recoater.
    """
    import cv2

    height, width = settings.height, settings.width
    draw = random(settings.seed, Stream.BED)
    grains = cv2.GaussianBlur(draw.standard_normal((height, width)).astype(np.float32), (3, 3), 0)
    # Seen flatly, ripples of the recoater run across.
    ripples = cv2.resize(
        draw.standard_normal((height // 3, max(width // 24, 2))).astype(np.float32),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    place = ground(matrix, x, y)
    texture = 1 + 0.10 * grains + 0.10 * ripples
    half = 0.42 * settings.mm_per_px * settings.width
    for part in np.linspace(-0.55, 0.55, 4):
        line = np.abs(place[..., 0] - part * half - 0.04 * place[..., 1])
        texture *= 1 - 0.55 * np.exp(-((line / 1.2) ** 2)) * (np.abs(place[..., 1] + 0.1 * half) < 0.30 * half)
    inside = np.clip((half - np.abs(place).max(-1)) / 4, 0, 1)
    texture = np.clip(texture, 0.1, 2).astype(np.float32) * (0.35 + 0.65 * inside.astype(np.float32))
    dark = np.clip(texture[..., None] * np.array([0.7, 0.9, 0.8]), 0, 3)
    fall = np.exp(-((x / width - 0.5) ** 2) * 1.5)[..., None]
    blue = texture[..., None] * np.array([5.0, 14.0, 62.0]) * fall
    return (
        texture,
        np.rint(dark).astype(np.uint8),
        np.rint(np.clip(blue + black(settings), 0, 255)).astype(np.uint8),
    )


def grain(settings: SimulationSettings, nuisance: Nuisance) -> NDArray[np.int8]:
    """``(h + 64, w + 64, 3)`` int8 noise, from which every frame takes a window at a place of its own."""
    draw = random(settings.seed if settings.recording is None else settings.recording, Stream.NOISE)
    shape = (settings.height + 64, settings.width + 64, 3)
    noise = draw.standard_normal(shape, np.float32) * (settings.noise * nuisance.noise)
    return np.asarray(np.clip(np.rint(noise), -127, 127), np.int8)
