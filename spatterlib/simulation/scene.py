"""What stays the same from frame to frame of a simulated recording, and the arrays that frames are drawn into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.simulation import glow, imaging, physics
from spatterlib.simulation.settings import SimulationSettings
from spatterlib.simulation.truth import LAYER_TRUTH, SEEN
from spatterlib.types import Image

if TYPE_CHECKING:
    from spatterlib.kernels.simulation.flights import Ejection

MOMENTS = 160
"""Moments at which the laser's place is looked up in one exposure."""
# Spread in px that anti-aliased drawing adds to the focus.
_SPLAT = 0.45
# Share of its speed that the gas loses from the middle of the bed to its end.
_DECAY = 0.15
# Share of a recoating pause in which the blue light is on.
_LIGHT_ON = (0.06, 0.94)


class Flow(NamedTuple):
    """What a gas speed makes of ejection and glow: m/s, share of the plume left, particles per s, ejection."""

    speed: float
    left: float
    rate: float
    ejection: Ejection


class View(NamedTuple):
    """What the camera sees without the process: shift in px, texture, dark and blue bed, mm of each cell."""

    shift: tuple[float, float]
    texture: NDArray[np.float32]
    dark: Image
    blue: Image
    ground: NDArray[np.float32]


@dataclass(eq=False)
class Canvas:
    """Arrays that one thread draws into, used again for every frame; its light is empty between frames."""

    light: NDArray[np.float32]
    lit: Image
    veil: NDArray[np.float32]
    clean: Image
    points: NDArray[np.float32]
    alive: NDArray[np.float32]
    flown: NDArray[np.float64]
    traces: NDArray[np.float64]
    track: NDArray[np.float64]
    sources: NDArray[np.float64]
    blocks: dict[int, tuple[NDArray[np.float32], NDArray[np.float64], float]] = field(default_factory=dict)


class Scene:
    """All that does not change from frame to frame.

    Parameters
    ----------
    settings : SimulationSettings
        What is simulated.
    """

    def __init__(self, settings: SimulationSettings) -> None:
        from spatterlib.kernels.simulation.flights import Material

        self.settings = settings
        self.schedule = physics.schedule(settings)
        self.speeds = physics.gas_speeds(settings)
        self.nuisance = imaging.nuisance(settings)
        self.projection = imaging.projection(settings, self.nuisance)
        self.curve, self.linear = imaging.tone(settings)
        self.grain = imaging.grain(settings, self.nuisance)
        self.planck = physics.planck()
        self.material = Material(*physics.MATERIALS[settings.material or "316L"])
        self.spread = float(np.hypot(self.nuisance.focus, _SPLAT))
        self.visible = float(self.linear[SEEN])
        # Px per 0.4 mm: the calibration was made at that scale.
        self.scale = 0.4 / (settings.mm_per_px * self.nuisance.zoom)
        self._flows = {speed: self._flow(speed) for speed in self.speeds}
        self._views = [self._view((0.0, 0.0))]
        if settings.bump_at is not None:
            self._views.append(self._view((0.8 * settings.bump_px, -0.6 * settings.bump_px)))

    def _view(self, shift: tuple[float, float]) -> View:
        from spatterlib.kernels.simulation.exposure import CELL

        moved = self.projection.copy()
        moved[:2] += np.outer(shift, moved[2])
        lines, cells = -(-self.settings.height // CELL), -(-self.settings.width // CELL)
        y, x = np.mgrid[0:lines, 0:cells] * CELL + (CELL - 1) / 2
        place = np.ascontiguousarray(np.moveaxis(imaging.ground(moved, x, y), -1, 0))
        return View(shift, *imaging.bed(self.settings, moved), place)

    def _flow(self, speed: float) -> Flow:
        from spatterlib.kernels.simulation.flights import Ejection

        settings = self.settings
        way = np.deg2rad(settings.world("gas_direction"))
        left = physics.plume_left(speed, settings.contrast or 0.0)
        # The vapour jet leans with the cross-flow, which also flattens the fan; what the gas carries off
        # is not swept in again.
        ejection = Ejection(
            gas_x=1000.0 * speed * float(np.cos(way)),
            gas_y=1000.0 * speed * float(np.sin(way)),
            decay=_DECAY / (0.5 * settings.mm_per_px * settings.width),
            tilt=0.42 * speed,
            spread=float(np.deg2rad(69.0 + 5.5 * min(speed, 2.5))),
            speed=515.0 + 480.0 * min(speed, 2.5) ** 2,
            heat=580.0 * left,
            fine=0.60,
            entrained=0.25,
        )
        rate = settings.spatter_rate * (0.06 + 18.5 * left**1.4)
        return Flow(speed, left, rate, ejection)

    def flow(self, time: float) -> Flow:
        """The gas at a time in s."""
        settings = self.settings
        change = settings.seconds / 2 if settings.change_at is None else settings.change_at
        return self._flows[self.speeds[-1 if time >= change else 0]]

    def view(self, time: float) -> View:
        """What the camera sees of the bed: another part once it was bumped."""
        bump = self.settings.bump_at
        return self._views[-1 if bump is not None and time >= bump else 0]

    def gain(self, time: float) -> NDArray[np.float64]:
        """``(3,)`` factors of red, green and blue: the recording's, and the slow drift (period 10 min)."""
        nuisance = self.nuisance
        drift = 1 + self.settings.drift * np.sin(2 * np.pi * time / 600 + nuisance.phase)
        return np.asarray(self.settings.gain * nuisance.gain * drift * np.array([nuisance.red, 1.0, nuisance.blue]))

    def bed(self, view: View, time: float) -> Image:
        """The bed without the process; while recoating under blue light, with the blade on its way and back."""
        paused = self.schedule.pause(time)
        first, last = _LIGHT_ON
        if paused is None or not first < paused < last:
            return view.dark
        width = self.settings.width
        way = 1 - abs(2 * (paused - first) / (last - first) - 1)
        x, half = int(way * 1.1 * width - 0.05 * width), max(width // 45, 2)
        picture = view.blue.copy()
        # Light above black is what the blade shades and its edge throws back.
        black = imaging.black(self.settings)
        shade, edge = (
            picture[:, max(x - half, 0) : max(x + half, 0)],
            picture[:, max(x + half, 0) : max(x + half + 2, 0)],
        )
        shade[...] = black + (shade.astype(np.int16) - black) // 3
        edge[...] = np.minimum(black + 2 * (edge.astype(np.int16) - black), 255)
        return picture

    def window(self, number: int) -> NDArray[np.int8]:
        """Noise of a frame: a window into the tile, at one of 64 x 64 places."""
        mixed = (number * 0x9E3779B97F4A7C15 + self.settings.seed * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & (2**64 - 1)
        y, x = (mixed >> 40) % 64, (mixed >> 50) % 64
        return self.grain[y : y + self.settings.height, x : x + self.settings.width]

    def layers(self) -> NDArray[np.void]:
        """``(n,)`` `LAYER_TRUTH` of the recording."""
        course, end = self.schedule, self.settings.frames / self.settings.fps
        rows = np.zeros(int(course.layer[-1]), LAYER_TRUTH)
        rows["layer"] = np.arange(1, len(rows) + 1)
        first = np.searchsorted(course.layer, rows["layer"])
        last = np.searchsorted(course.layer, rows["layer"], "right") - 1
        rows["start"], rows["stop"] = course.starts[first], np.minimum(course.islands[last, 0], end)
        return rows[rows["start"] < end]

    def canvas(self) -> Canvas:
        """Arrays for one thread."""
        from spatterlib.kernels.simulation.exposure import CELL
        from spatterlib.kernels.simulation.flights import FLIGHT, POINTS
        from spatterlib.kernels.simulation.streak_drawing import TILE

        height, width = self.settings.height, self.settings.width
        most = int(16 * self.settings.spatter_rate * physics.BLOCK) + 40
        return Canvas(
            light=np.zeros((height, width, 3), np.float32),
            lit=np.zeros((-(-height // TILE), -(-width // TILE)), np.uint8),
            veil=np.zeros((4, -(-height // CELL), -(-width // CELL)), np.float32),
            clean=np.zeros((height, width), np.uint8),
            points=np.empty((most * POINTS, 6), np.float32),
            alive=np.empty((most * POINTS, 6), np.float32),
            flown=np.empty((most, FLIGHT)),
            traces=np.empty((most, 13)),
            track=np.empty((MOMENTS, 6)),
            sources=np.empty((2 * glow.SOURCES, 5)),
        )
