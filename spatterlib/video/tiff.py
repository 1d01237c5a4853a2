"""Pages of TIFF files: where they are, and each as a file of its own that any decoder takes.

Decoders reach page n by walking over the n before it, which takes hours for long stacks. Here the walk is done
once (TIFF 6.0, section 2; BigTIFF; stacks over 4 GB as ImageJ writes them).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from spatterlib.common.image_codec import MAX_PIXELS
from spatterlib.video.cut import believed
from spatterlib.video.still import Still, decode_still

_Tags: TypeAlias = dict[int, tuple[int, int, bytes]]
"""By number: type, count, value."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
_UNPACK = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _COMPRESSION, _DESCRIPTION = 256, 257, 259, 270
_STRIPS, _TILES = (273, 279), (324, 325)
# What a decoder needs to know about a page; the rest stays behind.
_KEPT = {256, 257, 258, 259, 262, 266, 274, 277, 278, 282, 283, 284, 296, 317, 320, 322, 323, 338, 339, 347}
_KEPT |= {530, 531, 532, *_STRIPS, *_TILES}


@dataclass(frozen=True)
class TiffPages:
    """The pages of a TIFF file.

    Parameters
    ----------
    path : Path
        The file.
    order : str
        Byte order: ``"<"`` or ``">"``.
    big : bool
        Whether it is a BigTIFF.
    places : tuple of int
        Where the directory of each page is; the last may point behind the end of a file that was cut off.
    repeats : int
        How many images follow one another behind the directory of the only page.
    """

    path: Path
    order: str
    big: bool
    places: tuple[int, ...]
    repeats: int = 1

    @classmethod
    def of(cls, path: Path) -> TiffPages | None:
        """Find the pages of a file; None if it is no TIFF."""
        with path.open("rb") as file:
            head = file.read(16).ljust(16, b"\0")
            order = {b"II": "<", b"MM": ">"}.get(head[:2])
            if order is None or struct.unpack(f"{order}H", head[2:4])[0] not in (42, 43):
                return None
            big = struct.unpack(f"{order}H", head[2:4])[0] == 43
            first = struct.unpack(f"{order}{'8xQ' if big else '4xI4x4x'}", head)[0]
            pages = cls(path, order, big, ())
            places = tuple(pages._chain(file, first))
            repeats = pages._in_one(file, places[0]) if len(places) == 1 else 1
        return cls(path, order, big, places, repeats)

    def __len__(self) -> int:
        return len(self.places) * self.repeats

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Pages ``start .. stop - 1``; None for one that does not decode."""
        with self.path.open("rb") as file:
            for number in range(start, stop):
                try:
                    yield decode_still(self._page(file, number))
                except (struct.error, KeyError, ValueError):
                    yield None

    def _chain(self, file: BinaryIO, place: int) -> Iterator[int]:
        count, width, link = ("Q", 20, "Q") if self.big else ("H", 12, "I")
        seen = set()
        while place and place not in seen:
            seen.add(place)
            yield place
            file.seek(place)
            try:
                entries = self._read(file, count)
                file.seek(entries * width, 1)
                place = self._read(file, link)
            except struct.error:
                return

    def _read(self, file: BinaryIO, code: str) -> int:
        value: int = struct.unpack(self.order + code, file.read(struct.calcsize("=" + code)))[0]
        return value

    def _tags(self, file: BinaryIO, place: int, kept: set[int]) -> _Tags:
        """Tags of the directory at `place`, their values looked up."""
        entry, inline = ("HHQ8s", 8) if self.big else ("HHI4s", 4)
        file.seek(place)
        count = self._read(file, "Q" if self.big else "H")
        size = struct.calcsize("=" + entry)
        raw = file.read(min(count, 4096) * size)
        tags = {}
        for tag, type_, many, value in struct.iter_unpack(self.order + entry, raw):
            length = _SIZES.get(type_, 0) * many
            if tag in kept and length:
                if length > inline:
                    file.seek(struct.unpack(self.order + ("Q" if self.big else "I"), value)[0])
                    value = file.read(min(length, MAX_PIXELS))
                tags[tag] = (type_, many, value[:length])
        return tags

    def _in_one(self, file: BinaryIO, place: int) -> int:
        """How many images an ImageJ stack over 4 GB holds, which has a directory for the first only."""
        try:
            tags = self._tags(file, place, {_COMPRESSION, _DESCRIPTION, _STRIPS[1]})
        except struct.error:
            return 1
        description = re.match(
            rb"ImageJ=.*?^images=(\d+)", tags.get(_DESCRIPTION, (0, 0, b""))[2], re.DOTALL | re.MULTILINE
        )
        plain = _COMPRESSION not in tags or self._values(tags[_COMPRESSION]) == (1,)
        if not description or not plain:
            return 1
        images, size = int(description[1]), file.seek(0, 2)
        found = size // max(sum(self._values(tags[_STRIPS[1]])), 1) if _STRIPS[1] in tags else 0
        return max(images if believed(found, images - found) else found, 1)

    def _values(self, entry: tuple[int, int, bytes]) -> tuple[int, ...]:
        type_, many, value = entry
        return struct.unpack(f"{self.order}{many}{_UNPACK[type_]}", value)

    def _page(self, file: BinaryIO, number: int) -> bytes:
        """The page as a TIFF file of its own; nothing if it is larger than can be afforded."""
        page, repeat = (0, number) if self.repeats > 1 else (number, 0)
        tags = self._tags(file, self.places[page], _KEPT)
        if self._values(tags[_WIDTH])[0] * self._values(tags[_HEIGHT])[0] > MAX_PIXELS:
            return b""
        places, lengths = _STRIPS if _STRIPS[0] in tags else _TILES
        sizes = self._values(tags[lengths])
        data = bytearray(16)
        moved = []
        if sum(sizes) > file.seek(0, 2):
            return b""
        for place, length in zip(self._values(tags[places]), sizes, strict=True):
            file.seek(place + repeat * sum(sizes))
            moved.append(len(data))
            data += file.read(length)
            if len(data) < moved[-1] + length:
                return b""
        tags[places] = (16, len(moved), struct.pack(f"{self.order}{len(moved)}Q", *moved))
        return self._assembled(data, tags)

    def _assembled(self, data: bytearray, tags: _Tags) -> bytes:
        """Image data behind 16 bytes of room, and tags, as a BigTIFF of one page."""
        directory = struct.pack(f"{self.order}Q", len(tags))
        for tag, (type_, many, value) in sorted(tags.items()):
            if len(value) > 8:
                place, data = len(data), data + value
                value = struct.pack(f"{self.order}Q", place)
            directory += struct.pack(f"{self.order}HHQ8s", tag, type_, many, value)
        mark = b"II" if self.order == "<" else b"MM"
        data[:16] = mark + struct.pack(f"{self.order}HHHQ", 43, 8, 0, len(data))
        return bytes(data + directory + bytes(8))
