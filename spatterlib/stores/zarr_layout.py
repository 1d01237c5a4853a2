"""What a Zarr store's objects hold: documents, and shards of chunks that are not compressed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from spatterlib.stores.descriptions import attributes_of, dimension_of
from spatterlib.stores.file_io import damaged
from spatterlib.stores.rows import StoreHeader
from spatterlib.stores.zarr_text import packed, unpacked

__all__ = [
    "GROUP",
    "GROUPS",
    "ROOT",
    "ShardedArray",
    "described_in",
    "is_json",
    "is_root_document",
    "root_document",
    "root_of",
]

ROOT = "zarr.json"
GROUPS = ("columns", "crops", "frame_log")
_SEAL = "crc32"
_NONE = np.iinfo(np.uint64).max  # in an index, where there is no chunk
_TYPES = {"u1": "uint8", "b1": "bool"} | {
    f"{kind}{size}": f"{name}{8 * size}"
    for kind, name, sizes in (("i", "int", (1, 2, 4, 8)), ("u", "uint", (2, 4, 8)), ("f", "float", (2, 4, 8)))
    for size in sizes
}


@dataclass(frozen=True)
class ShardedArray:
    """One array: where it is, what it is of, how long it is."""

    name: str
    tag: str
    dtype: np.dtype[Any]
    length: int
    strings: bool = False
    """Whether text is of the type ``string``; older versions wrote it as rows of bytes."""

    @cached_property
    def path(self) -> str:
        """Its folder: a tag tells arrays of one name apart."""
        return f"{self.name}~{self.tag}" if self.tag else self.name

    def key(self, number: int) -> str:
        """Name of a shard; rows of bytes have a second axis."""
        return f"{self.path}/c/{number}" + ("/0" if self._of_bytes else "")

    @cached_property
    def _of_bytes(self) -> bool:
        return self.dtype.kind == "S" and not self.strings

    @cached_property
    def chunk(self) -> int:
        """Items in an inner chunk."""
        return 1 << 16 if self.name == "crops/data" else max(1, min(8192, (1 << 16) // self.dtype.itemsize))

    @cached_property
    def shard(self) -> int:
        """Items in a shard."""
        return self.chunk * (128 if self.name == "crops/data" else 8)

    def objects(self, start: int, data: bytes) -> dict[str, bytes]:
        """Shards that hold `data` from item `start` on, the beginning of a shard."""
        size, view = self.shard * self.dtype.itemsize, memoryview(data)
        return {
            self.key(start // self.shard + number): shard_of(
                self._chunks(view[begin : begin + size]), self.shard // self.chunk
            )
            for number, begin in enumerate(range(0, len(data), size))
        }

    def _chunks(self, view: memoryview) -> list[bytes | memoryview]:
        """Inner chunks, the last one filled up."""
        size = self.chunk * self.dtype.itemsize
        chunks: list[bytes | memoryview] = [view[begin : begin + size] for begin in range(0, len(view), size)]
        if self.strings:
            return [packed(np.frombuffer(chunk, self.dtype), self.chunk) for chunk in chunks]
        return [*chunks[:-1], *(bytes(chunk).ljust(size, b"\0") for chunk in chunks[-1:])]

    def texts_in(self, shard: bytes, start: int, stop: int) -> bytes:
        """Bytes ``start .. stop - 1`` that a shard of strings stands for, each text filled up with zeros.

        Raises
        ------
        ValueError
            If it is no such shard.
        """
        size, chunks = self.chunk * self.dtype.itemsize, self.shard // self.chunk
        first, last = start // size, -(-stop // size)
        index = np.frombuffer(shard[-16 * chunks :], "<u8").reshape(chunks, 2)[first:last].tolist()
        parts = [unpacked(shard[begin : begin + count], self.dtype, self.chunk).tobytes() for begin, count in index]
        return b"".join(parts)[start - first * size : stop - first * size]

    def pieces(self, start: int, stop: int) -> Iterator[tuple[str, int, int]]:
        """(object, first byte, byte behind the last) of the array's bytes ``start .. stop - 1``."""
        size = self.shard * self.dtype.itemsize
        if not 0 <= start <= stop <= self.length * self.dtype.itemsize:
            raise damaged("the store", f"its array {self.name} is shorter than its header says")
        while start < stop:
            number, inside = divmod(start, size)
            count = min(size - inside, stop - start)
            yield self.key(number), inside, inside + count
            start += count

    def is_described_by(self, text: bytes | None, entry: Mapping[str, Any] | None, *, late: bool) -> bool:
        """Whether this is its document, of this commit or of a later one that a kill cut off; if `late`, of any one.

        `entry` is what the root says of it; roots of older versions say nothing.
        """
        try:
            length = json.loads(text or b"")["shape"][0]
            document = self._document() | {"attributes": self._encoding()} if entry is None else dict(entry)
            shape = [length, *document["shape"][1:]]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            return False
        if entry is None:
            del document["dimension_names"]
        known = type(length) is int and (late or length >= self.length)
        return known and _text(document | {"shape": shape}) == text

    def is_indexed(self, shard: bytes | None) -> bool:
        """Whether a shard object ends with the index that its chunks have; what they hold does not matter."""
        chunks, data = self.shard // self.chunk, shard or b""
        index = np.frombuffer(data[max(len(data) - 16 * chunks, 0) :][: len(data) // 8 * 8], "<u8")
        sizes = index[1::2][index[1::2] != _NONE].tolist()
        fixed = None if self.strings else self.chunk * self.dtype.itemsize
        sound = sizes and sum(sizes) == len(data) - 16 * chunks and (fixed is None or set(sizes) == {fixed})
        return bool(sound) and _index_of(sizes, chunks) == data[-16 * chunks :]

    @cached_property
    def metadata(self) -> bytes:
        """The array's ``zarr.json``."""
        return _text(self._document())

    def _document(self) -> dict[str, Any]:
        """What describes it; text of older versions is rows of UTF-8 bytes, filled up with zeros."""
        kind, size = self.dtype.kind, self.dtype.itemsize
        width = (size,) if self._of_bytes else ()
        dimensions = (dimension_of(self.name), f"{self.name.partition('/')[2]}_byte")
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        values = {"name": "vlen-utf8"} if self.strings else little
        chunks = {"chunk_shape": (self.chunk, *width), "codecs": [values], "index_codecs": [little]}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": (self.length, *width),
            "data_type": "string" if self.strings else _TYPES["u1" if kind == "S" else f"{kind}{size}"],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (self.shard, *width)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "" if self.strings else {"b": False, "f": 0.0}.get(kind, 0),
            "codecs": [{"name": "sharding_indexed", "configuration": chunks | {"index_location": "end"}}],
            "attributes": self._encoding() | attributes_of(self.name),
            "dimension_names": dimensions[: 1 + len(width)],
        }

    def _encoding(self) -> dict[str, Any]:
        return {"encoding": "utf-8"} if self._of_bytes else {}


GROUP = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
"""The ``zarr.json`` of a group within the root."""


def root_document(header: StoreHeader, arrays: Iterable[ShardedArray]) -> bytes:
    """The root's ``zarr.json``: our header, and what describes every array, as of the same commit.

    A second checksum is of what describes the arrays: the header's own is of what it says itself.
    """
    described = [(group, GROUP) for group in GROUPS] + [(array.path, array.metadata) for array in arrays]
    # Sorted: zarr-python loses what does not stand beside the others of its group.
    entries = b", ".join(b'"%s": %s' % (path.encode(), text) for path, text in sorted(described))
    # Texts that are there already are put together: this is written with every commit.
    consolidated = b'{"kind": "inline", "must_understand": false, "metadata": {%s}}' % entries
    attributes = {"spatterlib": header, _SEAL: zlib.crc32(consolidated)}
    root = _text({"zarr_format": 3, "node_type": "group", "attributes": attributes})
    return b'%s, "consolidated_metadata": %s}' % (root[:-1], consolidated)


def is_root_document(text: bytes) -> bool:
    """Whether a root is as it was written, beside what the header's checksum says of it."""
    root = json.loads(text)
    consolidated = root.get("consolidated_metadata")
    sealed = consolidated is None or root["attributes"].get(_SEAL) == zlib.crc32(_text(consolidated))
    return sealed and _text(root) == text


def described_in(text: bytes | None) -> Mapping[str, Mapping[str, Any]] | None:
    """What a root says of each array and group, by its path; None in roots of older versions, which say nothing."""
    try:
        entries: Mapping[str, Mapping[str, Any]] = json.loads(text or b"")["consolidated_metadata"]["metadata"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return entries


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def root_of(text: bytes | None) -> dict[str, Any] | None:
    """What our root says; None if it is not ours."""
    try:
        facts = json.loads(text or b"")["attributes"]["spatterlib"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def is_json(text: bytes) -> bool:
    """Whether it is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def shard_of(parts: Sequence[bytes | memoryview], chunks: int) -> bytes:
    """A shard object: inner chunks one behind the other, then where each begins and how long it is."""
    return b"".join([*parts, _index_of([len(part) for part in parts], chunks)])


def _index_of(sizes: Sequence[int], chunks: int) -> bytes:
    index = np.full((chunks, 2), _NONE, "<u8")
    index[: len(sizes), 1] = sizes
    index[: len(sizes), 0] = np.cumsum([0, *sizes[:-1]])
    return index.tobytes()
