"""What a Zarr store's objects hold: documents, and shards of chunks that are not compressed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from spatterlib.stores.descriptions import attributes_of, dimension_of
from spatterlib.stores.file_io import damaged
from spatterlib.stores.rows import StoreHeader

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

    @cached_property
    def path(self) -> str:
        """Its folder: a tag tells arrays of one name apart."""
        return f"{self.name}~{self.tag}" if self.tag else self.name

    def key(self, number: int) -> str:
        """Name of a shard; text has a second axis, its bytes."""
        return f"{self.path}/c/{number}" + ("/0" if self.dtype.kind == "S" else "")

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
        item, size, view = self.dtype.itemsize, self.shard * self.dtype.itemsize, memoryview(data)
        return {
            self.key(start // self.shard + number): shard_of(
                view[begin : begin + size], self.chunk * item, self.shard // self.chunk
            )
            for number, begin in enumerate(range(0, len(data), size))
        }

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
        chunk, chunks = self.chunk * self.dtype.itemsize, self.shard // self.chunk
        used, rest = divmod(len(shard or b"") - 16 * chunks, chunk)
        return (
            not rest
            and 0 < used <= chunks
            and shard_of(bytes(used * chunk), chunk, chunks)[-16 * chunks :] == (shard or b"")[-16 * chunks :]
        )

    @cached_property
    def metadata(self) -> bytes:
        """The array's ``zarr.json``."""
        return _text(self._document())

    def _document(self) -> dict[str, Any]:
        """What describes it; text is rows of UTF-8 bytes, filled up with zeros."""
        kind, size = self.dtype.kind, self.dtype.itemsize
        width = (size,) if kind == "S" else ()
        dimensions = (dimension_of(self.name), f"{self.name.partition('/')[2]}_byte")
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        chunks = {"chunk_shape": (self.chunk, *width), "codecs": [little], "index_codecs": [little]}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": (self.length, *width),
            "data_type": _TYPES["u1" if kind == "S" else f"{kind}{size}"],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (self.shard, *width)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": {"b": False, "f": 0.0}.get(kind, 0),
            "codecs": [{"name": "sharding_indexed", "configuration": chunks | {"index_location": "end"}}],
            "attributes": self._encoding() | attributes_of(self.name),
            "dimension_names": dimensions[: 1 + len(width)],
        }

    def _encoding(self) -> dict[str, Any]:
        return {"encoding": "utf-8"} if self.dtype.kind == "S" else {}


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


def shard_of(data: bytes | memoryview, chunk: int, chunks: int) -> bytes:
    """A shard object: inner chunks one behind the other, then where each begins and how long it is."""
    used = -(-len(data) // chunk)
    index = np.full((chunks, 2), np.iinfo(np.uint64).max, "<u8")
    index[:used, 0] = np.arange(used) * chunk
    index[:used, 1] = chunk
    return b"".join([data, bytes(used * chunk - len(data)), index.tobytes()])
