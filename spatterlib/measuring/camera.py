"""The camera profile: what a camera is known to see, and which quantities it can therefore measure."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatterlib.common.files import write_text
from spatterlib.errors import MissingFileError, ParameterError

__all__ = [
    "BOUNDED_S",
    "FLIGHT_S",
    "Camera",
    "Quantity",
    "check_camera",
    "check_same",
    "load_camera",
    "save_camera",
]

BOUNDED_S = 2e-3
"""S; up to this exposure the shutter, not the particle, ends most streaks: hot spatter shines for 5 to 30 ms."""
FLIGHT_S = 15e-3
"""S; from this exposure on most streaks are whole flights, ended by cooling."""
_GEOMETRY = ("frame_rate", "exposure", "mm_per_px", "homography", "gas_direction")
_FEWEST_PX = 4.0
_SLOW = 1.0
_CLEARING_S = 0.2


@dataclass(frozen=True)
class Camera:
    """What is known about a camera and its build. Unknown is None.

    The names of machine and build follow the entities of ASTM F3490 (data pedigree of additive manufacturing).

    Parameters
    ----------
    frame_rate, exposure : float
        Frames per second; s.
    mm_per_px : float, optional
        Scale in the middle of what is watched, across the line of sight.
    homography : tuple of tuple of float, optional
        ``(3, 3)``: px of the frame to mm on the powder bed (z = 0); overrules `mm_per_px`.
    gas_direction : float, optional
        Degrees, where the gas flows to as the camera sees it: 0 = right, 90 = up.
    machine, build, material, name : str
        Machine, build, powder and camera, as the plant calls them.

    Raises
    ------
    ParameterError
        If a value is outside its range.

    Examples
    --------
    >>> from spatterlib.measuring.camera import Camera
    >>> Camera(frame_rate=25, exposure=0.036, mm_per_px=0.4).scale(100, 100)
    0.4
    """

    frame_rate: float
    exposure: float
    mm_per_px: float | None = None
    homography: tuple[tuple[float, float, float], ...] | None = None
    gas_direction: float | None = None
    machine: str = ""
    build: str = ""
    material: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.frame_rate <= 1e6:
            raise ParameterError(f"frame_rate must be above 0 and at most 1e6 frames/s, got {self.frame_rate!r}")
        if not 0 < self.exposure <= 1.001 / self.frame_rate:
            raise ParameterError(
                f"exposure must be above 0 and at most 1/frame_rate = {1 / self.frame_rate:g} s, got {self.exposure!r}"
            )
        if self.mm_per_px is not None and not 0 < self.mm_per_px < 100:
            raise ParameterError(f"mm_per_px must be above 0 and below 100, got {self.mm_per_px!r}")
        if self.homography is not None:
            matrix = np.asarray(self.homography, np.float64)
            if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-12:
                raise ParameterError("homography must be an invertible 3x3 matrix, px to mm on the bed")
            object.__setattr__(self, "homography", tuple(tuple(float(v) for v in line) for line in matrix))

    def scale(self, x: ArrayLike, y: ArrayLike) -> Any:
        """Mm per px across the line of sight at px `x`, `y`; None where it is not known.

        Of a homography it is the scale along the bed where the bed is not foreshortened: the smallest mm per px.
        """
        if self.homography is None:
            return self.mm_per_px
        return _least_scale(np.asarray(self.homography), np.asarray(x, np.float64), np.asarray(y, np.float64))

    def middle_scale(self) -> float:
        """Mm per px, `mm_per_px` or the scale where the homography has its origin; NaN where it is not known."""
        if self.homography is None:
            return float(self.mm_per_px or np.nan)
        matrix = np.linalg.inv(np.asarray(self.homography))
        return float(self.scale(matrix[0, 2] / matrix[2, 2], matrix[1, 2] / matrix[2, 2]))

    def identity(self) -> dict[str, Any]:
        """JSON-able, without what is unknown."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value not in (None, "")}


def _least_scale(matrix: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smaller singular value of the Jacobian of px to mm."""
    u, v, w = (line[0] * x + line[1] * y + line[2] for line in matrix)
    a, b = (matrix[0, 0] * w - u * matrix[2, 0]) / w**2, (matrix[0, 1] * w - u * matrix[2, 1]) / w**2
    c, d = (matrix[1, 0] * w - v * matrix[2, 0]) / w**2, (matrix[1, 1] * w - v * matrix[2, 1]) / w**2
    half, det = (a * a + b * b + c * c + d * d) / 2, np.abs(a * d - b * c)
    return np.asarray(np.sqrt(np.maximum(half - np.sqrt(np.maximum(half * half - det * det, 0)), 0)))


def load_camera(path: str | os.PathLike[str]) -> Camera:
    """Read a profile: a TOML file with a table ``[camera]``, keys as the fields of `Camera`.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ParameterError
        If it is no TOML, a key is unknown or missing, or a value outside its range.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"no camera profile at {file}")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file} is no TOML file: {error}") from error
    values = content.get("camera")
    known = [item.name for item in dataclasses.fields(Camera)]
    if not isinstance(values, dict):
        raise ParameterError(f"{file} has no table [camera]; it holds {', '.join(known)}")
    unknown = sorted(set(values) - set(known))
    missing = [name for name in ("frame_rate", "exposure") if name not in values]
    if unknown or missing:
        fault = f"does not know {', '.join(unknown)}" if unknown else f"lacks {', '.join(missing)}"
        raise ParameterError(f"{file}: [camera] {fault}; it holds {', '.join(known)}")
    try:
        return Camera(**values)
    except TypeError as error:
        raise ParameterError(f"{file}: [camera] holds a value of the wrong type: {error}") from error


def save_camera(camera: Camera, path: str | os.PathLike[str]) -> None:
    """Write a profile that `load_camera` reads."""
    import tomli_w

    write_text(path, tomli_w.dumps({"camera": camera.identity()}))


def check_same(known: Mapping[str, Any], camera: Camera, what: str, mend: str) -> None:
    """Refuse another camera than the known one; machine, build, material and name may differ.

    Parameters
    ----------
    known : mapping
        What `Camera.identity` gave, maybe by way of JSON; empty: anything suits.
    camera : Camera
        What is to be the same.
    what, mend : str
        What was made for the known one, and how to get another, for the message.

    Raises
    ------
    ParameterError
        If a quantity that measurements rest on is another.
    """
    for name in _GEOMETRY if known else ():
        ours, theirs = (json.dumps(facts.get(name)) for facts in (known, camera.identity()))
        if ours != theirs:
            raise ParameterError(f"{what} was made for a camera of {name} {ours}, this one has {theirs}; {mend}")


@dataclass(frozen=True)
class Quantity:
    """A quantity, whether a camera can measure it, and why or why not."""

    name: str
    measurable: bool
    reason: str


def check_camera(camera: Camera) -> tuple[Quantity, ...]:
    """Which quantities a camera can measure, with the reason.

    Returns
    -------
    tuple of Quantity
        What is not measurable is reported as NaN, never guessed.

    Examples
    --------
    >>> from spatterlib.measuring.camera import Camera, check_camera
    >>> found = {q.name: q.measurable for q in check_camera(Camera(frame_rate=25, exposure=0.036))}
    >>> found["streaks"], found["speed, exposure"], found["length in mm"]
    (True, False, False)
    """
    scaled = camera.mm_per_px is not None or camera.homography is not None
    scale = Quantity("length in mm", scaled, "scale known" if scaled else "neither mm_per_px nor homography is given")
    gas = camera.gas_direction is not None
    return (
        Quantity("streaks", True, "place, angle, curvature and width in px need no calibration"),
        scale,
        _by_exposure(camera, scale),
        _by_flight(camera, scale),
        Quantity("drift", gas, "gas_direction known" if gas else "gas_direction is not given"),
        _by_gas(camera, scale),
        _clearing(camera),
        _tracks(camera),
    )


def _by_exposure(camera: Camera, scale: Quantity) -> Quantity:
    name, ms = "speed, exposure", camera.exposure * 1e3
    if not scale.measurable:
        return Quantity(name, False, scale.reason)
    if camera.exposure > BOUNDED_S:
        return Quantity(
            name, False, f"particles cool or land within {ms:.3g} ms; it takes {BOUNDED_S * 1e3:g} ms or less"
        )
    pixels = _SLOW * camera.exposure * 1e3 / camera.middle_scale()
    if pixels < _FEWEST_PX:
        return Quantity(name, False, f"{_SLOW:g} m/s makes {pixels:.2g} px in {ms:.3g} ms; {_FEWEST_PX:g} are needed")
    return Quantity(name, True, f"length over exposure; {_SLOW:g} m/s makes {pixels:.3g} px in {ms:.3g} ms")


def _by_flight(camera: Camera, scale: Quantity) -> Quantity:
    name, ms = "speed, flight", camera.exposure * 1e3
    if not scale.measurable:
        return Quantity(name, False, scale.reason)
    if camera.exposure < FLIGHT_S:
        return Quantity(name, False, f"the shutter cuts flights at {ms:.3g} ms; it takes {FLIGHT_S * 1e3:g} ms or more")
    return Quantity(name, True, "length and curvature of whole flights, given a calibration of this camera")


def _by_gas(camera: Camera, scale: Quantity) -> Quantity:
    if camera.gas_direction is None:
        return Quantity("gas-flow index", False, "gas_direction is not given")
    if not scale.measurable:
        return Quantity("gas-flow index", False, scale.reason)
    if camera.exposure < FLIGHT_S:
        return Quantity(
            "gas-flow index", False, f"drift and curvature need whole flights, exposure {FLIGHT_S * 1e3:g} ms or more"
        )
    return Quantity("gas-flow index", True, "drift and curvature along the gas, given a calibration of this camera")


def _clearing(camera: Camera) -> Quantity:
    step = 1 / camera.frame_rate
    if step > _CLEARING_S:
        return Quantity("time to clear", False, f"a frame lasts {step:.3g} s; it takes {_CLEARING_S:g} s or less")
    return Quantity("time to clear", True, f"in steps of one frame, {step:.3g} s")


def _tracks(camera: Camera) -> Quantity:
    way = 5.0 / camera.frame_rate * 1e3
    return Quantity(
        "tracks from frame to frame", False, f"a particle of 5 m/s moves {way:.3g} mm between frames; streaks are used"
    )
