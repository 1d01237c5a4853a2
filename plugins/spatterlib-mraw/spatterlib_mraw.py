"""Recordings of Photron high-speed cameras, a ``.cih`` header with a ``.mraw`` file beside it; command `photron`.

Monochrome with 8 or 16 bits a pixel, as the cameras and PFV write them: https://photron.com.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import click
import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, VideoError
from spatterlib.plugins import Picture, RgbPicture, Video, answer, answers, hookimpl, say

suffixes = (".cih",)  # one file of each recording, by which it is found in a folder


@dataclass(frozen=True, eq=False)
class Photron:
    """An opened recording.

    Parameters
    ----------
    path : Path
        The header; the frames are in the ``.mraw`` of the same name.
    header : dict
        What it says.
    """

    path: Path
    header: dict[str, str]

    def __post_init__(self) -> None:
        try:
            right = min(self.width, self.height, self.expected) > 0 and self.fps > 0 and self._bits in (8, 16)
        except (KeyError, ValueError) as error:
            raise VideoError(f"{self.path} is no header that can be read: {error}") from error
        if not right or self.header.get("Color Type", "Mono") != "Mono" or not 8 <= self._depth <= self._bits:
            raise VideoError(f"{self.path}: expected monochrome frames of 8 or 16 bits; export them so from PFV")
        if not self._frames_file.is_file():
            raise MissingFileError(f"{self.path} has no {self._frames_file.name} beside it, which holds its frames")

    @property
    def name(self) -> str:
        """The header's file name."""
        return self.path.name

    @property
    def width(self) -> int:
        """Px."""
        return int(self.header["Image Width"])

    @property
    def height(self) -> int:
        """Px."""
        return int(self.header["Image Height"])

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.header["Record Rate(fps)"])

    @property
    def expected(self) -> int:
        """Frames that the header promises."""
        return int(self.header["Total Frame"])

    @property
    def times(self) -> NDArray[np.float64]:
        """``(expected,)`` s, from 0."""
        return np.arange(self.expected) / self.fps

    @property
    def _bits(self) -> int:
        return int(self.header["Color Bit"])

    @property
    def _depth(self) -> int:
        return int(self.header.get("EffectiveBit Depth", self._bits))

    @property
    def _frames_file(self) -> Path:
        return self.path.with_suffix(".mraw")

    @cached_property
    def _frames(self) -> NDArray[Any]:
        """``(n, h, w)``, mapped; fewer than expected if the file was cut off."""
        dtype = np.dtype(np.uint8 if self._bits == 8 else "<u2")
        whole = self._frames_file.stat().st_size // (self.width * self.height * dtype.itemsize)
        shape = min(whole, self.expected), self.height, self.width
        return np.memmap(self._frames_file, dtype, "r", shape=shape) if whole else np.empty((0, *shape[1:]), dtype)

    def identity(self) -> dict[str, Any]:
        """What a result was made from."""
        ends = (self._frames[index].tobytes() for index in (0, -1) if len(self._frames))
        text = json.dumps(self.header, sort_keys=True).encode()
        digest = hashlib.blake2b(b"".join([text, *ends]), digest_size=16).hexdigest()
        return {"name": self.name, "format": "Photron", "digest": digest, "bits": self._depth, "fps": self.fps}

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        """Frames ``start .. stop - 1``; None behind the end of a file that was cut off."""
        for number in range(start, stop):
            yield RgbPicture(self._grey(self._frames[number])) if number < len(self._frames) else None

    def _grey(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """The upper 8 of the effective bits."""
        if self._bits == 8:
            return np.asarray(raw, np.uint8)
        lower = self.header.get("EffectiveBit Side", "Lower") == "Lower"
        shift = self._depth - 8 if lower else 8
        return np.asarray(np.minimum(raw >> shift, 255), np.uint8)

    def close(self) -> None:
        """Let go of the file."""
        self.__dict__.pop("_frames", None)


def _header(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(line.split(" : ", 1) for line in lines if " : " in line)


@hookimpl
def spatter_open_video(path: str) -> Video | None:
    """A ``.cih`` file, or the ``.mraw`` beside one."""
    header = Path(path).with_suffix(".cih")
    if Path(path).suffix.lower() not in (".cih", ".mraw") or not header.is_file():
        return None
    return Photron(header, _header(header))


@dataclass(frozen=True)
class Header:
    """`photron --json`: what the header says, by name."""

    header: Annotated[dict[str, str], "as the camera wrote it"]


@click.command()
@click.argument("path", metavar="FILE.cih")
@answers(Header)
def photron(path: str) -> None:
    """Print what a Photron camera wrote into a .cih header."""
    if not Path(path).is_file():
        raise MissingFileError(f"no header at {path}")
    header = _header(Path(path))
    for name, value in header.items():
        say(f"{name}: {value}")
    answer(Header(header))


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The command."""
    cli.add_command(photron)
