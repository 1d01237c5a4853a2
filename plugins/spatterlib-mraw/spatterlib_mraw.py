"""Recordings of Photron high-speed cameras, a ``.cih`` or ``.cihx`` header with a ``.mraw`` file; command `photron`.

Monochrome with 8, 12 (packed) or 16 bits a pixel, as the cameras and PFV write them: https://photron.com.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree as ET

import click
import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, VideoError
from spatterlib.plugins import Picture, RgbPicture, Video, answer, answers, hookimpl, say

log = logging.getLogger("spatterlib")

suffixes = (".cih", ".cihx")  # one file of each recording, by which it is found in a folder


# Where a .cihx, which is XML, has what a .cih says in lines.
_XML = {
    "Record Rate(fps)": "recordInfo/recordRate",
    "Start Frame": "frameInfo/startFrame",
    "Total Frame": "frameInfo/totalFrame",
    "Image Width": "imageDataInfo/resolution/width",
    "Image Height": "imageDataInfo/resolution/height",
    "Color Type": "imageDataInfo/colorInfo/type",
    "Color Bit": "imageDataInfo/colorInfo/bit",
    "EffectiveBit Depth": "imageDataInfo/effectiveBit/depth",
    "EffectiveBit Side": "imageDataInfo/effectiveBit/side",
}


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
            right = min(self.width, self.height, self.expected) > 0 and self.fps > 0 and self._bits in (8, 12, 16)
        except (KeyError, ValueError) as error:
            raise VideoError(f"{self.path} is no header that can be read: {error}") from error
        if not right or self.header.get("Color Type", "Mono") != "Mono" or not 8 <= self._depth <= self._bits:
            raise VideoError(f"{self.path}: expected monochrome frames of 8, 12 or 16 bits; export them so from PFV")
        if self._frames_file is None:
            name = self.path.with_suffix(".mraw").name
            raise MissingFileError(f"{self.path} has no {name} beside it, which holds its frames")

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

    @cached_property
    def _frames_file(self) -> Path | None:
        return _beside(self.path, (".mraw",))

    @property
    def _bytes(self) -> int:
        """Of a frame."""
        return self.width * self.height * self._bits // 8

    @cached_property
    def _frames(self) -> NDArray[Any]:
        """``(n, bytes of a frame)``, mapped; fewer than expected if the file was cut off."""
        assert self._frames_file is not None  # noqa: S101 - it is looked for when the recording is opened
        whole = self._frames_file.stat().st_size // self._bytes
        shape = min(whole, self.expected), self._bytes
        return np.memmap(self._frames_file, np.uint8, "r", shape=shape) if whole else np.empty(shape, np.uint8)

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

    def _grey(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The upper 8 of the effective bits."""
        shape = self.height, self.width
        if self._bits == 8:
            return np.asarray(raw).reshape(shape)
        if self._bits == 12:
            # Two pixels in three bytes: the upper 8 bits of the first, its lower 4, those of the second.
            first, middle, last = raw[0::3], raw[1::3].astype(np.uint16), raw[2::3]
            grey = np.empty(self.width * self.height, np.uint8)
            grey[0::2], grey[1::2] = first, (middle << 4 | last >> 4)[: len(grey) // 2]
            return grey.reshape(shape)
        shift = self._depth - 8 if self._is_lower else 8
        return np.asarray(np.minimum(raw.view("<u2") >> shift, 255), np.uint8).reshape(shape)

    @cached_property
    def _is_lower(self) -> bool:
        """Whether the effective bits are the lower ones; headers that say otherwise were seen to be wrong."""
        if self.header.get("EffectiveBit Side", "Lower") == "Lower":
            return True
        some = self._frames[:: max(len(self._frames) // 16, 1)]
        fits = bool(some.size) and int(some.view("<u2").max()) < 1 << self._depth < 1 << self._bits
        if fits:
            log.warning(
                "%s: its header says that the upper %d bits count, but no value exceeds the lower, which are taken",
                self.path,
                self._depth,
            )
        return fits

    def close(self) -> None:
        """Let go of the file."""
        self.__dict__.pop("_frames", None)


def _header(path: Path) -> dict[str, str]:
    if path.suffix.lower() == ".cihx":
        return _from_xml(path)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(line.split(" : ", 1) for line in lines if " : " in line)


def _from_xml(path: Path) -> dict[str, str]:
    """A .cihx: XML between the bytes of a preview."""
    found = re.search(rb"<cih>.*</cih>", path.read_bytes(), re.DOTALL)
    try:
        root = ET.fromstring(found[0].decode("utf-8", "replace") if found else "")  # noqa: S314 - expat bounds entities
    except ET.ParseError as error:
        raise VideoError(f"{path} is no header that can be read: {error}") from error
    values = {name: root.findtext(place) for name, place in _XML.items()}
    return {name: value.strip() for name, value in values.items() if value is not None}


def _beside(path: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The file of the same name with one of the suffixes, in capital letters or small ones."""
    files = [file for file in path.parent.glob(f"{glob.escape(path.stem)}.*") if file.suffix.lower() in suffixes]
    return min(files, default=None)


@hookimpl
def spatter_open_video(path: str) -> Video | None:
    """A ``.cih`` or ``.cihx`` file, or the ``.mraw`` beside one."""
    file = Path(path)
    if file.suffix.lower() not in (".cih", ".cihx", ".mraw"):
        return None
    header = _beside(file, suffixes) if file.suffix.lower() == ".mraw" else file
    if header is None or not header.is_file():
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
