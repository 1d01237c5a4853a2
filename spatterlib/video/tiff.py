"""Pages of TIFF files: where they are, and each as a file of its own that any decoder takes.

Decoders reach page n by walking over the n before it, which takes hours for long stacks. Here the walk is done
once (TIFF 6.0, section 2; BigTIFF; stacks over 4 GB as ImageJ writes them).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import MAX_PIXELS
from spatterlib.video.cut import believed
from spatterlib.video.ffmpeg import strictly_grey
from spatterlib.video.still import Still, decode_still

_Tags: TypeAlias = dict[int, tuple[int, int, bytes]]
"""By number: type, count, value."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
_UNPACK = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 254, 256, 257, 258, 259, 262, 270
_FILL_ORDER, _ORIENTATION, _SAMPLES, _ROWS, _PLANAR, _PREDICTOR = 266, 274, 277, 278, 284, 317
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_STRIPS, _TILES = (273, 279), (324, 325)
# What a decoder needs to know about a page; the rest stays behind.
_KEPT = {256, 257, 258, 259, 262, 266, 274, 277, 278, 282, 283, 284, 296, 317, 320, 322, 323, 338, 339, 347}
# Compressions that the decoder has; of others it paints black. The latter are unpacked here: it conceals their damage.
_DECODED = {1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34676, 34677}
_DEFLATE = (8, 32946)
_CONCEALED = (5, 32773, *_DEFLATE)
_NAMES = {34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 6: "old-style JPEG"}
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
        """Find the pages of a file, thumbnails aside; None if it is no TIFF."""
        with path.open("rb") as file:
            head = file.read(16).ljust(16, b"\0")
            order = {b"II": "<", b"MM": ">"}.get(head[:2])
            if order is None or struct.unpack(f"{order}H", head[2:4])[0] not in (42, 43):
                return None
            big = struct.unpack(f"{order}H", head[2:4])[0] == 43
            first = struct.unpack(f"{order}{'8xQ' if big else '4xI4x4x'}", head)[0]
            pages = cls(path, order, big, ())
            chain = list(pages._chain(file, first))
            places = tuple(place for place, beside in chain if not beside) or tuple(place for place, _ in chain)
            repeats = pages._in_one(file, places[0]) if len(places) == 1 else 1
        return cls(path, order, big, places, repeats)

    @property
    def files(self) -> tuple[str]:
        """The file."""
        return (str(self.path),)

    def __len__(self) -> int:
        return len(self.places) * self.repeats

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Pages ``start .. stop - 1``; None for one that does not decode."""
        with self.path.open("rb") as file:
            for number in range(start, stop):
                try:
                    yield self._decoded(file, number)
                except (struct.error, KeyError, ValueError):
                    yield None

    def refusal(self) -> str | None:
        """Why the pages are no frames, if they are not: their compression, or what else they are."""
        with self.path.open("rb") as file:
            try:
                tags = self._tags(file, self.places[0], {_COMPRESSION, _DESCRIPTION, _SAMPLES})
            except (struct.error, IndexError):
                return None
        [compression] = self._values(tags[_COMPRESSION])[:1] if _COMPRESSION in tags else (1,)
        if compression not in _DECODED:
            name = _NAMES.get(compression, "no known way")
            return f"its pages are compressed as {name} ({compression}), which is not read; save them as LZW or plain"
        said = tags.get(_DESCRIPTION, (0, 0, b""))[2].decode("utf-8", "replace")
        samples = self._values(tags[_SAMPLES])[0] if _SAMPLES in tags else 1
        channels, depth, times = _axes(said)
        if channels > max(samples, 1):
            return f"its pages are {channels} channels of each time; save each channel as a stack of its own"
        if depth > 1 and times > 1:
            return (
                f"its pages are {depth} depths of {times} times; save one depth, or a projection, as a stack of its own"
            )
        return None

    def _chain(self, file: BinaryIO, place: int) -> Iterator[tuple[int, bool]]:
        """Directories, and whether each is that of a thumbnail or a mask (TIFF 6.0, NewSubfileType)."""
        count, width, link = ("Q", 20, "Q") if self.big else ("H", 12, "I")
        entry, seen = self.order + ("HHQI4x" if self.big else "HHII"), set()
        while place and place not in seen:
            seen.add(place)
            beside, following = False, 0
            file.seek(place)
            try:
                entries = self._read(file, count)
                # The first of the entries, which stand in the order of their numbers.
                tag, _, _, value = struct.unpack(entry, file.read(width))
                beside = tag == _SUBFILE and bool(value & 5)
                file.seek((entries - 1) * width, 1)
                following = self._read(file, link)
            except struct.error:
                pass
            yield place, beside
            place = following

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

    def _decoded(self, file: BinaryIO, number: int) -> Still | None:
        page, repeat = (0, number) if self.repeats > 1 else (number, 0)
        tags = self._tags(file, self.places[page], _KEPT)
        compression, kind = self._value(tags, _COMPRESSION, 1), _STRIPS if _STRIPS[0] in tags else _TILES
        strips = self._strips(file, tags, kind, repeat)
        if strips is None or compression not in _DECODED:
            return None
        if compression in _CONCEALED and self._value(tags, _BITS) == 8 and self._value(tags, _FILL_ORDER, 1) == 1:
            rows = self._unpacked(compression, strips, tags, kind)
            if self._is_plain(tags, kind):
                return self._from_rows(rows, tags)
        still = decode_still(self._assembled(strips, tags, kind))
        # The decoder turns 8 bits the right way round, and leaves 16 as they are.
        white_is_zero = self._value(tags, _PHOTOMETRIC, 1) == 0
        return ~still if still is not None and still.dtype == np.uint16 and white_is_zero else still

    def _value(self, tags: _Tags, tag: int, default: int | None = None) -> int:
        return int(self._values(tags[tag])[0]) if default is None or tag in tags else default

    def _strips(self, file: BinaryIO, tags: _Tags, kind: tuple[int, int], repeat: int) -> list[bytes] | None:
        """Strips or tiles as they are in the file; None if some are cut off, or more than can be afforded."""
        sizes = self._values(tags[kind[1]])
        if self._value(tags, _WIDTH) * self._value(tags, _HEIGHT) > MAX_PIXELS or sum(sizes) > file.seek(0, 2):
            return None
        strips = []
        for place, length in zip(self._values(tags[kind[0]]), sizes, strict=True):
            file.seek(place + repeat * sum(sizes))
            strips.append(file.read(length))
            if len(strips[-1]) < length:
                return None
        return strips

    def _unpacked(self, compression: int, strips: list[bytes], tags: _Tags, kind: tuple[int, int]) -> NDArray[np.uint8]:
        """Rows of all strips or tiles below one another. ValueError if one is damaged: OpenCV paints it black."""
        apart, height = self._value(tags, _PLANAR, 1) == 2, self._value(tags, _HEIGHT)
        width = self._value(tags, _WIDTH if kind == _STRIPS else _TILE_WIDTH)
        width *= 1 if apart else self._value(tags, _SAMPLES, 1)
        most = min(self._value(tags, _ROWS, height), height) if kind == _STRIPS else self._value(tags, _TILE_HEIGHT)
        # Each plane ends with a strip of the rows that are left; tiles are all of one height.
        lengths = [most] * len(strips) if kind == _TILES else [min(most, height - y) for y in range(0, height, most)]
        planes = [
            self._unpack(compression, strips[at : at + len(lengths)], width, lengths)
            for at in range(0, len(strips), len(lengths))
        ]
        return np.concatenate(planes) if len(planes) > 1 else planes[0]

    def _unpack(self, compression: int, strips: list[bytes], width: int, rows: list[int]) -> NDArray[np.uint8]:
        if compression in _DEFLATE:
            try:
                parts = [zlib.decompress(strip)[: width * many] for strip, many in zip(strips, rows, strict=True)]
            except zlib.error as error:
                raise ValueError(error) from error
            return np.frombuffer(b"".join(parts), np.uint8).reshape(sum(rows), width)
        # Pairs of bytes as pixels of 16 bits, of which OpenCV says when they cannot be unpacked; FFmpeg takes odd rows.
        odd = width % 2
        values = {
            _WIDTH: width if odd else width // 2,
            _HEIGHT: sum(rows),
            _BITS: 8 if odd else 16,
            _COMPRESSION: compression,
            _PHOTOMETRIC: 1,
            _SAMPLES: 1,
        }
        tags: _Tags = {tag: (4, 1, struct.pack(f"{self.order}I", value)) for tag, value in values.items()}
        tags[_ROWS] = (4, 1, struct.pack(f"{self.order}I", rows[0]))
        tags[_STRIPS[1]] = (4, len(strips), struct.pack(f"{self.order}{len(strips)}I", *map(len, strips)))
        page = self._assembled(strips, tags, _STRIPS)
        if odd:
            return strictly_grey(page, "tiff")
        still = decode_still(page)
        if still is None:
            raise ValueError("a strip is damaged")
        return still.astype(f"{self.order}u2", copy=False).view(np.uint8)

    def _is_plain(self, tags: _Tags, kind: tuple[int, int]) -> bool:
        """Whether rows are pixels: grey or RGB, upright."""
        form = self._value(tags, _PHOTOMETRIC, 1), self._value(tags, _SAMPLES, 1)
        upright = self._value(tags, _ORIENTATION, 1) == 1 and self._value(tags, _PLANAR, 1) == 1
        return kind == _STRIPS and upright and form in ((0, 1), (1, 1), (2, 3))

    def _from_rows(self, rows: NDArray[np.uint8], tags: _Tags) -> Still:
        import cv2

        image = rows.reshape(len(rows), self._value(tags, _WIDTH), -1)
        if self._value(tags, _PREDICTOR, 1) == 2:
            # Turned, a sum along rows is a sum of whole rows, which takes a third of `accumulate`'s time.
            turned = np.asarray(cv2.transpose(image)).reshape(image.shape[1], -1)
            for before, row in pairwise(turned):
                np.add(before, row, out=row)
            image = np.asarray(cv2.transpose(turned.reshape(image.shape[1], len(rows), -1)))
            image = image.reshape(len(rows), self._value(tags, _WIDTH), -1)
        image = image[..., 0] if image.shape[2] == 1 else image
        return ~image if self._value(tags, _PHOTOMETRIC, 1) == 0 else image

    def _assembled(self, strips: list[bytes], tags: _Tags, kind: tuple[int, int]) -> bytes:
        """A TIFF of one page, of strips or tiles."""
        places = list(accumulate(map(len, strips[:-1]), initial=8))
        moved = (4, len(places), struct.pack(f"{self.order}{len(places)}I", *places))
        data = bytearray().join([bytes(8), *strips])
        directory = struct.pack(f"{self.order}H", len(tags | {kind[0]: moved}))
        for tag, (type_, many, value) in sorted((tags | {kind[0]: moved}).items()):
            if type_ == 16:
                type_, value = 4, struct.pack(f"{self.order}{many}I", *self._values(tags[tag]))
            if len(value) > 4:
                place = len(data)
                data += value
                value = struct.pack(f"{self.order}I", place)
            directory += struct.pack(f"{self.order}HHI4s", tag, type_, many, value)
        mark = b"II" if self.order == "<" else b"MM"
        data[:8] = mark + struct.pack(f"{self.order}HI", 42, len(data))
        return bytes(data + directory + bytes(4))


def _axes(said: str) -> tuple[int, int, int]:
    """Channels, depths and times, as ImageJ and OME describe them; 1 where they do not."""
    if said.startswith("ImageJ="):
        words = ("^channels=", "^slices=", "^frames=")
    elif "<OME" in said:
        words = ('SizeC="', 'SizeZ="', 'SizeT="')
    else:
        return 1, 1, 1
    found = [re.search(rf"{word}(\d+)", said, re.MULTILINE) for word in words]
    channels, depth, times = (int(match[1]) if match else 1 for match in found)
    return channels, depth, times
