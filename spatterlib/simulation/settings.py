"""Everything that can be set about a simulated recording, in one frozen dataclass."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Self

from spatterlib.common.records import checked, hints_of, parameter
from spatterlib.errors import ParameterError
from spatterlib.simulation import worlds

FLOWS = {"low": 0.5, "high": 2.0}
"""Gas speed in m/s that the names stand for."""

PRESETS: dict[str, dict[str, float]] = {
    "easy": {"contrast": 1.0, "nuisance": 0.3, "gas_spread": 0.05},
    "standard": {"contrast": 0.3, "nuisance": 1.0, "gas_spread": 0.1},
    "hard": {"contrast": 0.2, "nuisance": 1.5, "gas_spread": 0.3},
    "foreign": {"contrast": 0.5, "nuisance": 1.0, "gas_spread": 0.2},
}
"""What each preset sets where nothing else is said."""


def _number(default: Any, text: str, low: float, high: float) -> Any:
    return parameter(default, f"{text} ({low:g} to {high:g})", low, high)


@dataclass(frozen=True)
class SimulationSettings:
    """A simulated recording: build, gas, camera, difficulty. The same settings give the same frames.

    Parameters
    ----------
    gas_flow : str, optional
        "low" or "high" (see `FLOWS`); "low>high" or "0.4>1.8" (m/s) change in the middle of the build.
    gas_speed : float, optional
        M/s, instead of `gas_flow`.
    change_at : float, optional
        S, when `gas_flow` changes; half of the recording by default.
    gas_direction : float, optional
        Degrees, where the gas flows to, seen from above: 0 = right in the mid camera, 90 = away from it; 180 if not
        given, except with preset "foreign".
    seconds, seed : float, int
        Length of the recording; what happens in it.
    recording : int, optional
        Draws light, white balance, geometry, focus and noise; `seed` does if it is not given.
    camera : {"mid", "left", "right"}
        Where the camera stands.
    fps, exposure : float
        Frames per second; s, 0.9 of the frame interval by default.
    width, height, mm_per_px : int, int, float
        Frame in px, both even; mm per px in the middle of the bed.
    preset : {"easy", "standard", "hard", "foreign"}
        Sets `contrast`, `nuisance` and `gas_spread` where they are not given. "foreign" also draws, for each
        recording, what the fields from `elevation` to `scan_speed` and `gas_direction` leave open: another laboratory.
    elevation, azimuth : float, optional
        Degrees: how far above the bed the camera looks from; how far it is moved around from where `camera` says.
    mirrored : bool, optional
        Left and right change places in the picture.
    gamma, black : float, optional
        Tone curve: exponent, and grey levels to which black is cut.
    fouling : float, optional
        How much the glow of the lens grows per hour, as a share.
    monochrome : bool, optional
        A grey camera.
    material : {"316L", "IN718", "Ti64", "AlSi10Mg"}, optional
        What is melted.
    scan_speed : float, optional
        Mm/s, of the laser along its tracks.
    contrast : float, optional
        How much of the difference in brightness between low and high flow is left, 0-1.
    nuisance : float, optional
        How much recordings differ, as a factor of the plausible.
    gas_spread : float, optional
        Standard deviation of the logarithm of the gas speed between recordings of one named flow.
    confounded : bool
        Give all recordings of one flow level the same nuisance, so that it goes with the label.
    noise : float
        Grey levels, standard deviation of the sensor noise in the dark.
    gain : float
        Factor of all light; exposures under 1 ms need 10 to 50 for a saturated melt pool.
    spatter_rate : float
        Particles per second of laser time.
    layer_seconds, recoat_seconds, island_mm : float
        Time of scanning a layer, of recoating; edge of an island.
    drift : float
        Amplitude of the slow drift of the light, as a share.
    bump_at, bump_px : float
        S, when somebody bumps into the camera (never, if not given); px, by how much the picture moves.
    bit_rate, lossless : int, bool
        Bit/s of H.264; or RGB without any loss.

    Raises
    ------
    ParameterError
        Names the parameter, its range and what it got.

    Examples
    --------
    >>> from spatterlib.simulation import SimulationSettings
    >>> SimulationSettings(gas_flow="high").speeds
    (2.0,)
    """

    gas_flow: str | None = parameter(None, "low, high, or a change: low>high, 0.4>1.8 (m/s); low if not given")
    gas_speed: float | None = _number(None, "gas speed in m/s, instead of gas-flow", 0, 5)
    change_at: float | None = _number(None, "s, when the gas flow changes; half way if not given", 0, 1e6)
    gas_direction: float | None = _number(
        None, "degrees, where the gas flows to: 0 = right, 90 = away; 180 if not given", -360, 360
    )
    seconds: float = _number(60.0, "length in s", 0.001, 1e6)
    seed: int = _number(1, "what happens", 0, 2**63 - 1)
    recording: int | None = _number(None, "draws light, geometry, focus, noise; the seed if not given", 0, 2**63 - 1)
    camera: Literal["mid", "left", "right"] = parameter("mid", "where it stands")
    fps: float = _number(25.0, "frames per second", 0.1, 100_000)
    exposure: float | None = _number(None, "exposure in s, 0.9/fps if not given", 1e-6, 10)
    width: int = _number(640, "px, even", 64, 4096)
    height: int = _number(360, "px, even", 64, 4096)
    mm_per_px: float = _number(0.4, "mm per px in the middle of the bed", 0.02, 4)
    preset: Literal["easy", "standard", "hard", "foreign"] = parameter(
        "standard", "difficulty; foreign: a laboratory drawn for each recording"
    )
    contrast: float | None = _number(None, "brightness difference of low and high flow that is left", 0, 1)
    nuisance: float | None = _number(None, "how much recordings differ", 0, 3)
    gas_spread: float | None = _number(None, "spread of the gas speed of a named flow (log)", 0, 1)
    confounded: bool = parameter(False, "nuisance goes with the flow level")
    elevation: float | None = _number(None, "degrees above the bed from which the camera looks; 25", 5, 85)
    azimuth: float | None = _number(None, "degrees by which the camera is moved around; 0", -360, 360)
    mirrored: bool | None = parameter(None, "left and right change places in the picture")
    gamma: float | None = _number(None, "exponent of the tone curve; 1.8", 0.5, 4)
    black: float | None = _number(None, "grey levels to which black is cut; 50", 0, 120)
    fouling: float | None = _number(None, "growth of the glow of the lens per hour, share; 0", 0, 20)
    monochrome: bool | None = parameter(None, "a grey camera")
    material: Literal["316L", "IN718", "Ti64", "AlSi10Mg"] | None = parameter(None, "what is melted; 316L")
    scan_speed: float | None = _number(None, "mm/s, of the laser along its tracks; 1000", 50, 10_000)
    noise: float = _number(1.5, "sensor noise in grey levels", 0, 30)
    gain: float = _number(1.0, "gain of the sensor; 10 to 50 suit exposures under 1 ms", 0.01, 1000)
    spatter_rate: float = _number(7500.0, "particles per s of laser time", 0, 20_000)
    layer_seconds: float = _number(6.8, "s, scanning of a layer", 0.2, 3600)
    recoat_seconds: float = _number(10.4, "s, recoating", 0.2, 3600)
    island_mm: float = _number(10.0, "mm, edge of an island", 1, 100)
    drift: float = _number(0.03, "slow drift of the light, share", 0, 0.5)
    bump_at: float | None = _number(None, "s, when the camera is bumped; never if not given", 0, 1e6)
    bump_px: float = _number(6.0, "px, by how much the picture then moves", 0, 60)
    bit_rate: int = _number(270_000, "bit/s", 10_000, 100_000_000)
    lossless: bool = parameter(False, "RGB without any loss")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = checked(item, hints_of(type(self))[item.name], getattr(self, item.name))
            object.__setattr__(self, item.name, value)
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        world = worlds.USUAL
        if self.preset == "foreign":
            world = worlds.drawn(self.seed if self.recording is None else self.recording, self.nuisance or 0.0)
        for name, value in world.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.exposure is None:
            object.__setattr__(self, "exposure", 0.9 / self.fps)
        self._check_gas()
        self._check_camera()

    @classmethod
    def of(cls, settings: Self | None = None, **parameters: Any) -> Self:
        """Settings with some parameters changed; an unknown name is refused and the nearest known named."""
        known = [item.name for item in dataclasses.fields(cls)]
        for name in parameters:
            if name not in known:
                near = get_close_matches(name, known, 1, 0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ParameterError(f"a simulation has no parameter {name!r}{hint}; it has {', '.join(known)}")
        return dataclasses.replace(settings, **parameters) if settings else cls(**parameters)

    def _check_gas(self) -> None:
        if self.gas_flow is not None and self.gas_speed is not None:
            raise ParameterError(
                f"give gas_flow or gas_speed, not both; got {self.gas_flow!r} and {self.gas_speed:g} m/s"
            )
        if self.gas_flow is None and self.gas_speed is None:
            object.__setattr__(self, "gas_flow", "low")
        if len(self.speeds) > 2:
            raise ParameterError(f"gas_flow may change once, got {self.gas_flow!r}; write it as 'low>high'")
        if len(self.speeds) == 1 and self.change_at is not None:
            raise ParameterError(f"change_at needs a gas_flow that changes, such as 'low>high', got {self.gas_flow!r}")

    def _check_camera(self) -> None:
        if self.shutter > 1 / self.fps * (1 + 1e-9):
            raise ParameterError(
                f"exposure must be at most the frame interval 1/fps = {1 / self.fps:g} s, got {self.exposure:g}"
            )
        for name in ("width", "height"):
            if getattr(self, name) % 2:
                raise ParameterError(f"{name} must be an even number of px, got {getattr(self, name)}")
        seen = self.mm_per_px * self.width
        if not 4 * self.island_mm <= seen <= 2000:
            raise ParameterError(
                "mm_per_px * width is what the camera sees; it must be at least four times island_mm "
                f"({4 * self.island_mm:g} mm) and at most 2000 mm, got {seen:g} mm"
            )

    @property
    def speeds(self) -> tuple[float, ...]:
        """M/s, nominal gas speed before and, if it changes, behind `change_at`."""
        if self.gas_speed is not None:
            return (self.gas_speed,)
        return tuple(_flow(part.strip()) for part in (self.gas_flow or "low").split(">"))

    @property
    def shutter(self) -> float:
        """S, the exposure."""
        return self.exposure if self.exposure is not None else 0.9 / self.fps

    @property
    def frames(self) -> int:
        """Number of frames."""
        return max(1, round(self.seconds * self.fps))

    def world(self, name: str) -> float:
        """A number of `worlds.USUAL`, as it was given or drawn."""
        return float(getattr(self, name))

    def named(self) -> tuple[bool, ...]:
        """Whether each of `speeds` is a named flow, whose speed differs between recordings."""
        return tuple(part.strip() in FLOWS for part in self.gas_flow.split(">")) if self.gas_flow else (False,)


def _flow(text: str) -> float:
    low, high = 0.0, 5.0
    try:
        speed = FLOWS[text] if text in FLOWS else float(text)
    except ValueError:
        speed = math.nan
    if not low <= speed <= high:
        raise ParameterError(f"gas_flow must be 'low', 'high' or a speed of {low:g} to {high:g} m/s, got {text!r}")
    return speed
