"""Store `zarr`: a Zarr v3 group with sharded arrays, in a folder or at any URL that fsspec reaches.

The root's ``zarr.json`` says what is committed, and is written last, as a whole: a kill before leaves the store of the
last commit. A commit writes the last, unfinished shard of each array anew, from memory and with more in it; what was in
it stays where it was, so a reader may read it at any time. Shards are written and read directly: values are not
compressed, inner chunks follow each other, so a crop is one range of bytes of one object. A column that is replaced,
and everything when a store is overwritten, goes into new arrays first; ``arrays`` in the root tells which count.

Several processes may write crops at the same time: each has shards of ``crops/data`` of its own, wide apart, so that
parts are joined by writing down where their crops lie. The shards in between do not exist; a reader takes them for
zeros and never asks, since ``crops/starts`` and ``crops/ends`` say where crops are.

Format: `Zarr v3 <https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html>`_ with the codec
``sharding_indexed``; one thing is added, the attribute ``spatterlib`` of the root.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, StoreError
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.stores.columns import ByteRange, ColumnStore
from spatterlib.stores.file_io import damaged
from spatterlib.stores.objects import Objects, objects_at
from spatterlib.stores.rows import COLUMN_NAME, DATA, DENSE, StoreHeader, blank
from spatterlib.types import Store, StoreKind

_ROOT = "zarr.json"
_GROUPS = ("columns", "crops", "frame_log")
_TAG = re.compile(r"([0-9a-f]{8})?")
_PART = 1 << 36  # bytes of crops that a part may have
_FRESH = 1.0  # s, how long a reader believes what it knows where looking is expensive
_TYPES = {"u1": "uint8", "b1": "bool"} | {
    f"{kind}{size}": f"{name}{8 * size}"
    for kind, name, sizes in (("i", "int", (1, 2, 4, 8)), ("u", "uint", (2, 4, 8)), ("f", "float", (2, 4, 8)))
    for size in sizes
}


class Zarr:
    """A Zarr v3 folder or URL (S3 and others); survives a kill, can be read while it is written."""

    suffixes: ClassVar[tuple[str, ...]] = (".zarr",)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Whether a Zarr group that this store wrote is at `path`, a folder or URL.

        Raises
        ------
        OSError
            If it cannot be told, as when a server does not answer.
        """
        text = objects_at(path).get(_ROOT)
        if text is not None and not _is_json(text):
            raise damaged(path, f"its {_ROOT} is cut short or overwritten")
        return _root(text) is not None

    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Store:
        """Make a new, empty store at `path`, in place of what is there, and open it for appending.

        Raises
        ------
        FileExistsError
            If there is something and `exclusive` is set.
        StoreError
            If it cannot be made.
        """
        header, arrays = blank(attrs)
        target = _absolute(path)
        medium = None
        try:
            medium = _Group(target, "a", new=True, exclusive=exclusive)
            medium.commit(header, {}, arrays)
        except OSError as error:
            if medium is not None:
                medium.close()
            if isinstance(error, StoreError | FileExistsError):
                raise
            raise StoreError(f"{path} cannot be created: {error.strerror or error}") from error
        return ColumnStore(target, lambda: medium, "a").opened()

    @classmethod
    def open(cls, path: str, mode: str = "r") -> Store:
        """Open a store: mode "r" to read, "a" to append and to set columns."""
        target = _absolute(path)
        return ColumnStore(target, partial(_Group, target, mode), mode).opened()


@dataclass(frozen=True)
class _Array:
    """One array: where it is, what it is of, how long it is."""

    name: str
    tag: str
    dtype: np.dtype[Any]
    length: int

    @property
    def path(self) -> str:
        return f"{self.name}~{self.tag}" if self.tag else self.name

    def key(self, number: int) -> str:
        """Name of a shard; text has a second axis, its bytes."""
        return f"{self.path}/c/{number}" + ("/0" if self.dtype.kind == "S" else "")

    @property
    def chunk(self) -> int:
        """Items in an inner chunk."""
        return 1 << 16 if self.name == "crops/data" else max(1, min(8192, (1 << 16) // self.dtype.itemsize))

    @property
    def shard(self) -> int:
        """Items in a shard."""
        return self.chunk * (128 if self.name == "crops/data" else 8)

    def objects(self, start: int, data: bytes) -> dict[str, bytes]:
        """Shards that hold `data` from item `start` on, the beginning of a shard."""
        item, size = self.dtype.itemsize, self.shard * self.dtype.itemsize
        return {
            self.key(start // self.shard + number): _shard(
                data[begin : begin + size], self.chunk * item, self.shard // self.chunk
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

    def metadata(self) -> bytes:
        """The array's ``zarr.json``; text is rows of UTF-8 bytes, filled up with zeros."""
        kind, size = self.dtype.kind, self.dtype.itemsize
        width = (size,) if kind == "S" else ()
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        chunks = {"chunk_shape": (self.chunk, *width), "codecs": [little], "index_codecs": [little]}
        document = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": (self.length, *width),
            "data_type": _TYPES["u1" if kind == "S" else f"{kind}{size}"],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (self.shard, *width)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": {"b": False, "f": 0.0}.get(kind, 0),
            "codecs": [{"name": "sharding_indexed", "configuration": chunks | {"index_location": "end"}}],
            "attributes": {"encoding": "utf-8"} if kind == "S" else {},
        }
        return json.dumps(document).encode()


class _Group:
    """The medium: a group of sharded arrays.

    Parameters
    ----------
    path : str
        Folder or URL.
    mode : {"r", "a"}
        Read only, or change it.
    new : bool
        Begin with no arrays, whatever is there.
    exclusive : bool
        With `new`: only if nothing is there.

    Raises
    ------
    MissingFileError, StoreError
        If it is not there, or no group of ours.
    FileExistsError
        If something is there and `exclusive` is set.
    """

    def __init__(self, path: str, mode: str = "r", *, new: bool = False, exclusive: bool = False) -> None:
        self._path = path
        self._mode = mode
        self._objects: Objects = objects_at(path)
        self._text: bytes | None = None
        self._header: StoreHeader | None = None
        self._arrays: dict[str, _Array] = {}
        self._tails: dict[str, bytes] = {}
        self._looked = -_FRESH
        if mode == "a":
            if not new and self._objects.get(_ROOT) is None:
                self.header()
            self._objects.claim()
        try:
            if not new:
                self.header()
            else:
                text = self._objects.get(_ROOT)
                if exclusive and (text is not None or (self._objects.cheap and self._objects.names(""))):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
                self._arrays = self._known(_root(text) or {"arrays": {}})
        except BaseException:
            self.close()
            raise
        if mode == "a":
            self._sweep(self._arrays.values())
        self._replaces, self._exclusive = new, exclusive

    def header(self, *, fresh: bool = False) -> StoreHeader:
        """The header as of the last commit; at a URL up to `_FRESH` old."""
        new = not fresh and not self._objects.cheap and time.monotonic() - self._looked < _FRESH
        if self._header is not None and (new or self._mode == "a"):
            return self._header
        text, first = self._objects.get(_ROOT), self._header is None
        while first or text != self._text:
            root = _root(text)
            if root is None:
                raise self._no_store(text)
            self._text, self._arrays, self._header = text, self._known(root), root
            try:
                if first and self._objects.cheap:
                    self._check_ends(root)
                break
            except StoreError:
                # A writer may have replaced an array in the meantime.
                if (text := self._objects.get(_ROOT)) == self._text:
                    raise
        self._looked = time.monotonic()
        header: StoreHeader = self._header or {}
        return header

    def _check_ends(self, root: Mapping[str, Any]) -> None:
        """Find the last byte of every array: what was cut off or left out in copying is told at once."""
        for array in self._arrays.values():
            # Where crops have gaps, the last place may be one that was kept and never filled.
            if array.length and (array.name != DATA or root.get("format") == DENSE):
                size = array.length * array.dtype.itemsize
                self.fetch(array.name, [(size - 1, size)])

    def _no_store(self, text: bytes | None) -> StoreError:
        if text is None and not self._objects.names(""):
            if self._objects.cheap and Path(self._path).exists():
                return StoreError(f"{self._path} is an empty folder, or a file, and no Zarr store")
            return MissingFileError(f"{self._path}: there is no such store")  # type: ignore[return-value]
        if text is not None and _is_json(text):
            return StoreError(f"{self._path} is a Zarr group of something else, and no store of spatterlib")
        lost = "missing" if text is None else "cut short or overwritten"
        if text is None and not set(_GROUPS) & set(self._objects.names("")):
            return StoreError(
                f"{self._path} is no Zarr store: its {_ROOT} is missing, and so is everything else of one"
            )
        return damaged(self._path, f"its {_ROOT} is {lost}")

    def _known(self, root: Mapping[str, Any]) -> dict[str, _Array]:
        try:
            arrays = {
                name: _Array(name, tag, np.dtype(text), length) for name, (tag, text, length) in root["arrays"].items()
            }
            for array in arrays.values():
                group, _, name = array.name.partition("/")
                sound = group in _GROUPS and COLUMN_NAME.fullmatch(name) and _TAG.fullmatch(array.tag)
                if not sound or type(array.length) is not int or array.dtype.kind not in "biufS":
                    raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(self._path, f"its {_ROOT} does not say what it holds") from error
        return arrays

    def fetch(self, array: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Bytes of an array, straight from the shards."""
        arrays = self._arrays
        if array not in arrays:
            raise damaged(self._path, f"it has no array {array}")
        parts: list[list[bytes]] = [[] for _ in ranges]
        places = ((number, piece) for number, range_ in enumerate(ranges) for piece in arrays[array].pieces(*range_))
        try:
            # Not all at once: a damaged length could ask for any number of shards.
            while batch := list(islice(places, 1024)):
                data = self._objects.pieces([piece for _, piece in batch])
                for (number, _), part in zip(batch, data, strict=True):
                    parts[number].append(part)
        except FileNotFoundError as error:
            raise damaged(self._path, f"a shard of {array} is missing") from error
        pieces = [b"".join(run) for run in parts]
        if any(len(got) != stop - start for got, (start, stop) in zip(pieces, ranges, strict=True)):
            raise damaged(self._path, f"a shard of {array} is cut short")
        return pieces

    def commit(
        self, header: StoreHeader, appended: Mapping[str, NDArray[Any]], created: Mapping[str, NDArray[Any]]
    ) -> None:
        """Write shards, then the root; what fails before the root leaves everything as it was."""
        before = self._arrays
        arrays = {} if self._replaces else dict(before)
        tails = dict(self._tails)
        shards: dict[str, bytes] = {}
        documents = {f"{group}/{_ROOT}": _document(None) for group in _GROUPS} if self._replaces else {}
        for name, values in created.items():
            # Names that differ in case only are one folder on macOS and Windows, and stores travel.
            taken = name.casefold() in {array.path.casefold() for array in (*before.values(), *arrays.values())}
            arrays[name] = _Array(name, secrets.token_hex(4) if taken else "", values.dtype, 0)
            tails[name] = b""
        for name, values in [*created.items(), *appended.items()]:
            old = arrays[name]
            data = self._tail(old, tails) + values.tobytes()
            new = arrays[name] = _Array(name, old.tag, old.dtype, old.length + len(values))
            documents[f"{new.path}/{_ROOT}"] = new.metadata()
            shards |= new.objects(old.length - old.length % old.shard, data)
            tails[name] = data[len(data) - new.length % new.shard * new.dtype.itemsize :]
        if arrays[DATA].length < header["bytes"]:
            # Kept for parts that others write; the last shard is looked up anew if anybody appends.
            arrays[DATA] = replace(arrays[DATA], length=header["bytes"])
            documents[f"{arrays[DATA].path}/{_ROOT}"] = arrays[DATA].metadata()
            tails.pop(DATA, None)
        root = {**header, "arrays": {a.name: [a.tag, a.dtype.str, a.length] for a in arrays.values()}}
        try:
            self._objects.put(shards)
            if not self._replaces:
                self._objects.put(documents, safe=False)
            self._objects.put({_ROOT: _document(root)}, new=self._exclusive)
            if self._replaces:
                # Empty arrays need no shards: the root comes first, so that there is a store or nothing.
                self._objects.put(documents, safe=False)
        except BaseException:
            # Whether a remote root has been written is not known: look.
            self._header, self._tails, self._text = None, {}, None
            raise
        self._arrays, self._tails, self._header = arrays, tails, root
        self._replaces = self._exclusive = False
        kept = {array.path for array in arrays.values()}
        for array in before.values():
            if array.path not in kept:
                self._objects.remove(array.path)

    def reserve(self, count: int, parts: int) -> tuple[partial[list[range]], int]:
        """What writes crops of parts behind the first `count` bytes, and how many bytes there are with all parts."""
        first = -(-count // _PART)
        return partial(_write_part, self._path, self._arrays[DATA].tag, first), (first + parts) * _PART

    def _tail(self, array: _Array, tails: dict[str, bytes]) -> bytes:
        """What the last, unfinished shard of an array holds."""
        if array.name not in tails:
            item = array.dtype.itemsize
            begin = array.length - array.length % array.shard
            [tails[array.name]] = self.fetch(array.name, [(begin * item, array.length * item)])
        return tails[array.name]

    def _sweep(self, arrays: Iterable[_Array]) -> None:
        """Remove arrays that a killed writer left and no commit names."""
        kept = {array.path for array in arrays}
        ours = {array.name for array in arrays}
        for group in _GROUPS:
            for name in self._objects.names(group):
                path, (base, _, tag) = f"{group}/{name}", name.partition("~")
                if path not in kept and (f"{group}/{base}" in ours) and _TAG.fullmatch(tag):
                    self._objects.remove(path)

    def close(self) -> None:
        """Let go of the lock."""
        self._objects.close()


def _write_part(path: str, tag: str, first: int, number: int, crops: list[bytes]) -> list[range]:
    """Write the crops of a part into shards of its own; where each lies."""
    array = _Array(DATA, tag, np.dtype("u1"), 0)
    data, begin = b"".join(crops), (first + number) * _PART
    if len(data) > _PART:
        raise StoreError(f"{path}: a part has {len(data)} bytes of crops, more than {_PART}; extract with workers=1")
    if data:
        objects_at(path).put(array.objects(begin, data))
    return [range(*pair) for pair in pairwise(accumulate(map(len, crops), initial=begin))]


def _absolute(path: str) -> str:
    return path if "://" in path or "::" in path else str(Path(path).absolute())


def _document(header: StoreHeader | None) -> bytes:
    """A group's ``zarr.json``."""
    attributes = {} if header is None else {"spatterlib": header}
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}).encode()


def _root(text: bytes | None) -> dict[str, Any] | None:
    """What our root says; None if it is not ours."""
    try:
        facts = json.loads(text or b"")["attributes"]["spatterlib"]
    except (ValueError, KeyError, TypeError):
        return None
    return facts if isinstance(facts, dict) else None


def _is_json(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _shard(data: bytes, chunk: int, chunks: int) -> bytes:
    """A shard object: inner chunks one behind the other, then where each begins and how long it is."""
    used = -(-len(data) // chunk)
    index = np.full((chunks, 2), np.iinfo(np.uint64).max, "<u8")
    index[:used, 0] = np.arange(used) * chunk
    index[:used, 1] = chunk
    return data.ljust(used * chunk, b"\0") + index.tobytes()


@hookimpl
def spatter_stores() -> dict[str, type[StoreKind]]:
    """Zarr."""
    return {"zarr": Zarr}
