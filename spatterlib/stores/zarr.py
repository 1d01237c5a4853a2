"""Store `zarr`: a Zarr v3 group with sharded arrays, in a folder or at any URL that fsspec reaches.

The root's ``zarr.json`` says what is committed, and is written last, as a whole: a kill before leaves the store of the
last commit. A commit writes the last, unfinished shard of each array anew, from memory and with more in it; what was in
it stays where it was, so a reader may read it at any time. Shards are written and read directly: values are not
compressed, inner chunks follow each other, so a crop is one range of bytes of one object. A column that is replaced,
and everything when a store is overwritten, goes into new arrays first; ``arrays`` in the root tells which count. When
the old ones are gone the new ones are written once more in their place: other programs show the folder's name.

Several processes may write crops at the same time: each part into shards that no commit names yet. When its rows are
added, a part of one shard is copied to behind what is there, without gaps, so that the array's shape is its content.
A larger one is renamed to be the next shards of ``crops/data``, which copies nothing and leaves the rest of its last
shard empty: then ``crops/starts`` and ``crops/ends`` say where crops are.

Format: `Zarr v3 <https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html>`_ with the codec
``sharding_indexed``; one thing is added, the attribute ``spatterlib`` of the root.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.plugins.capabilities import Place
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.stores.columns import ColumnStore
from spatterlib.stores.file_io import damaged
from spatterlib.stores.medium import ByteRange, Joined
from spatterlib.stores.objects import Folder, Objects, Piece, objects_at
from spatterlib.stores.rows import COLUMN_NAME, DATA, DENSE, StoreHeader, blank
from spatterlib.stores.zarr_layout import (
    GROUP,
    GROUPS,
    ROOT,
    ShardedArray,
    described_in,
    is_json,
    is_root_document,
    root_document,
    root_of,
)
from spatterlib.types import Store, StoreKind

_TAG = re.compile(r"([0-9a-f]{8})?")
_LOCK = f"crops/{ROOT}"  # what a writer locks
_PART = 1 << 36  # bytes of crops that a part may have; a place is that of a part and that within it
_STRINGS = "string"
_FRESH = 1.0  # s, how long a reader believes what it knows where looking is expensive


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
        text = objects_at(path).get(ROOT)
        if text is not None and not is_json(text):
            raise damaged(path, f"its {ROOT} is cut short or overwritten")
        return root_of(text) is not None

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
        self._described = False
        self._header: StoreHeader | None = None
        self._arrays: dict[str, ShardedArray] = {}
        self._tails: dict[str, bytes] = {}
        self._late: dict[str, bytes] = {}  # documents that are yet to be written
        self._looked = -_FRESH
        # What parts write lies where `_sweep` finds it.
        self._part_tag, self._parts = secrets.token_hex(4), 0
        self._joined: dict[int, int] = {}  # where large parts begin, that were renamed
        self._copied: set[int] = set()
        try:
            if mode == "a":
                if not new and self._objects.get(ROOT) is None:
                    self.header()
                self._objects.claim(_LOCK)
            if not new:
                self.header()
            else:
                text = self._objects.get(ROOT)
                if exclusive and (text is not None or (self._objects.cheap and self._objects.names(""))):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
                self._arrays = self._known(root_of(text) or {"arrays": {}})
            if mode == "a":
                self._sweep(self._arrays.values())
        except BaseException:
            self.close()
            raise
        self._replaces, self._exclusive = new, exclusive

    def header(self, *, fresh: bool = False) -> StoreHeader:
        """The header as of the last commit; at a URL up to `_FRESH` old."""
        new = not fresh and not self._objects.cheap and time.monotonic() - self._looked < _FRESH
        if self._header is not None and (new or self._mode == "a"):
            return self._header
        text, first = self._objects.get(ROOT), self._header is None
        while first or text != self._text:
            root = root_of(text)
            if root is None:
                raise self._no_store(text)
            self._text, self._arrays, self._header = text, self._known(root), root
            self._described = described_in(text) is not None
            try:
                if first and self._objects.cheap:
                    self._check_ends(root)
                break
            except StoreError:
                # A writer may have replaced an array in the meantime.
                if (text := self._objects.get(ROOT)) == self._text:
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
        if text is not None and is_json(text):
            return StoreError(f"{self._path} is a Zarr group of something else, and no store of spatterlib")
        lost = "missing" if text is None else "cut short or overwritten"
        if text is None and not set(GROUPS) & set(self._objects.names("")):
            return StoreError(f"{self._path} is no Zarr store: its {ROOT} is missing, and so is everything else of one")
        return damaged(self._path, f"its {ROOT} is {lost}")

    def _known(self, root: Mapping[str, Any]) -> dict[str, ShardedArray]:
        try:
            arrays = {
                name: ShardedArray(name, tag, np.dtype(text), length, kind == [_STRINGS])
                for name, (tag, text, length, *kind) in root["arrays"].items()
            }
            for array in arrays.values():
                group, _, name = array.name.partition("/")
                sound = group in GROUPS and COLUMN_NAME.fullmatch(name) and _TAG.fullmatch(array.tag)
                kinds = "S" if array.strings else "biufS"
                if not sound or type(array.length) is not int or array.dtype.kind not in kinds:
                    raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(self._path, f"its {ROOT} does not say what it holds") from error
        return arrays

    def fetch(self, array: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Bytes of an array, straight from the shards."""
        known = self._arrays.get(array)
        if known is None:
            raise damaged(self._path, f"it has no array {array}")
        parts: list[list[bytes]] = [[] for _ in ranges]
        places = ((number, piece) for number, range_ in enumerate(ranges) for piece in known.pieces(*range_))
        read = partial(self._texts, known) if known.strings else self._objects.pieces
        try:
            # Not all at once: a damaged length could ask for any number of shards.
            while batch := list(islice(places, 1024)):
                data = read([piece for _, piece in batch])
                for (number, _), part in zip(batch, data, strict=True):
                    parts[number].append(part)
        except FileNotFoundError as error:
            raise damaged(self._path, f"a shard of {array} is missing") from error
        pieces = [b"".join(run) for run in parts]
        if any(len(got) != stop - start for got, (start, stop) in zip(pieces, ranges, strict=True)):
            raise damaged(self._path, f"a shard of {array} is cut short")
        return pieces

    def _texts(self, array: ShardedArray, wanted: Sequence[Piece]) -> list[bytes]:
        """As `Objects.pieces` would give it, were each text of the same length."""
        try:
            return [array.texts_in(self._objects.get(name) or b"", start, stop) for name, start, stop in wanted]
        except ValueError as error:
            raise damaged(self._path, f"a shard of {array.name} is missing or holds no texts") from error

    def commit(
        self, header: StoreHeader, appended: Mapping[str, NDArray[Any]], created: Mapping[str, NDArray[Any]]
    ) -> None:
        """Write shards, then the root; what fails before the root leaves everything as it was."""
        before = self._arrays
        arrays = {} if self._replaces else dict(before)
        tails = dict(self._tails)
        shards: dict[str, bytes] = {}
        groups = {f"{group}/{ROOT}": GROUP for group in GROUPS} if self._replaces else {}
        # The file that is locked must stay the one that has the name.
        documents = {
            name: text for name, text in groups.items() if not self._objects.cheap or self._objects.get(name) != text
        }
        for name, values in created.items():
            # Names that differ in case only are one folder on macOS and Windows, and stores travel.
            taken = name.casefold() in {array.path.casefold() for array in (*before.values(), *arrays.values())}
            tag, strings = secrets.token_hex(4) if taken else "", values.dtype.kind == "S"
            arrays[name] = ShardedArray(name, tag, values.dtype, 0, strings)
            tails[name] = b""
        for name, values in [*created.items(), *appended.items()]:
            old = arrays[name]
            data = b"".join([self._tail(old, tails), np.ascontiguousarray(values).data])
            new = arrays[name] = replace(old, length=old.length + len(values))
            shards |= new.objects(old.length - old.length % old.shard, data)
            tails[name] = data[len(data) - new.length % new.shard * new.dtype.itemsize :]
        if arrays[DATA].length < header["bytes"]:
            # Joined; the last shard is looked up anew if anybody appends.
            arrays[DATA] = replace(arrays[DATA], length=header["bytes"])
            tails.pop(DATA, None)
        # In a store of an older version all are described anew.
        described = {} if self._replaces or not self._described else before
        documents |= {f"{a.path}/{ROOT}": a.metadata for a in arrays.values() if described.get(a.name) != a}
        # At a URL they wait until nothing more is appended: the root says the same of all arrays.
        late = self._late | documents
        documents, late = ({}, late) if appended and before and not self._objects.cheap else (late, {})
        self._write(header, arrays, tails, shards, documents)
        self._late = late
        if created:
            with suppress(OSError):  # it is committed, under a name that does
                # Those too that a kill, or an older version, has left.
                self._rename([a for a in arrays.values() if a.tag and (a.name != DATA or not a.length)])

    def _write(
        self,
        header: StoreHeader,
        arrays: dict[str, ShardedArray],
        tails: dict[str, bytes],
        shards: Mapping[str, bytes],
        documents: Mapping[str, bytes],
    ) -> None:
        """Write objects, the root among them, and remove arrays that it does not name any more."""
        root = {**header, "arrays": {array.name: _entry(array) for array in arrays.values()}}
        text = root_document(root, arrays.values())
        try:
            self._objects.put(shards)
            if not self._replaces:
                self._objects.put(documents, safe=False)
            self._objects.put({ROOT: text}, new=self._exclusive)
            if self._replaces:
                # Empty arrays need no shards: the root comes first, so that there is a store or nothing.
                self._objects.put(documents, safe=False)
                self._objects.claim(_LOCK)
        except BaseException:
            # Whether a remote root has been written is not known: look.
            self._header, self._tails, self._text, self._joined = None, {}, None, {}
            raise
        before, kept = self._arrays, {array.path for array in arrays.values()}
        self._arrays, self._tails, self._header, self._text = arrays, tails, root, text
        self._described, self._replaces, self._exclusive = True, False, False
        for array in before.values():
            if array.path not in kept:
                self._objects.remove(array.path)

    def _rename(self, replaced: Sequence[ShardedArray]) -> None:
        """Write arrays that took the place of others once more, where these were: programs show the folder's name."""
        paths = {array.path.casefold() for array in self._arrays.values()}
        arrays = dict(self._arrays)
        shards: dict[str, bytes] = {}
        documents: dict[str, bytes] = {}
        for array in replaced:
            if array.name.casefold() not in paths:
                plain = arrays[array.name] = replace(array, tag="")
                shards |= plain.objects(0, self.fetch(array.name, [(0, array.length * array.dtype.itemsize)])[0])
                documents[f"{plain.path}/{ROOT}"] = plain.metadata
        if documents and self._header is not None:
            header = {name: value for name, value in self._header.items() if name != "arrays"}
            self._write(header, arrays, self._tails, shards, documents)
            for array in replaced:
                self._late.pop(f"{array.path}/{ROOT}", None)

    def part_writer(self, parts: int) -> partial[list[Place]] | None:
        """What writes crops of parts, to where nobody looks; None at a URL: to bring them in is another upload."""
        if not isinstance(self._objects, Folder):
            return None
        first, self._parts = self._parts, self._parts + parts
        return partial(_write_part, self._path, self._part_tag, first)

    def join(self, starts: NDArray[np.int64], ends: NDArray[np.int64], count: int) -> Joined:
        """Copy what small parts wrote, so that it lies without gaps, and rename what large ones did."""
        array, parts = self._arrays[DATA], starts // _PART
        begun, copied = dict(self._joined), list[bytes]()
        moves: dict[str, str] = {}
        shards = {part: self._shards(self._part(part)) for part in dict.fromkeys(parts.tolist()) if part not in begun}
        small = [part for part, numbers in shards.items() if len(numbers) <= 1]
        for part in small:
            own = parts == part
            begin, end = int(starts[own].min()) % _PART, (int(ends[own].max()) - 1) % _PART + 1
            if end > array.shard:
                raise self._no_places()
            try:
                copied += self._objects.pieces([(self._part(part).key(0), begin, end)])
            except FileNotFoundError as error:
                raise self._no_places() from error
            begun[part] = count - begin
            count += len(copied[-1])
        for part in [part for part, numbers in shards.items() if len(numbers) > 1]:
            first = -(-count // array.shard)
            moves |= {self._part(part).key(number): array.key(first + number) for number in shards[part]}
            begun[part] = first * array.shard
            count = (first + len(shards[part])) * array.shard
        offsets = np.array([begun[part] - part * _PART for part in parts.tolist()], np.int64)
        starts, ends = starts + offsets, ends + offsets
        if np.any((starts < 0) | (ends <= starts) | (ends > count)):
            raise self._no_places()
        if isinstance(self._objects, Folder):
            self._objects.move(moves)
        for part in self._copied.difference(parts.tolist()):
            self._objects.remove(self._part(part).path)
        self._copied, self._joined = set(small), {part: begun[part] for part in begun if part not in small}
        return Joined(starts, ends, np.frombuffer(b"".join(copied), np.uint8), count)

    def _no_places(self) -> ParameterError:
        return ParameterError(f"{self._path} kept no such places; take those that its part_writer gave")

    def _part(self, number: int) -> ShardedArray:
        return ShardedArray(DATA, f"{self._part_tag}/{number}", np.dtype("u1"), 0)

    def _shards(self, array: ShardedArray) -> list[int]:
        """Numbers of the shards that there are."""
        names = self._objects.names(f"{array.path}/c")
        return sorted({int(name) for name in names if name.isascii() and name.isdigit()})

    def inspect(self) -> Iterator[str]:
        """Names of documents and shards that are not as they were written, beside the values in them."""
        header, text = self.header(fresh=True), self._text or b""
        if not (sound := is_root_document(text)):
            yield ROOT
        yield from (name for group in GROUPS if self._objects.get(name := f"{group}/{ROOT}") != GROUP)
        entries = described_in(text)
        for array in self._arrays.values():
            entry = None if entries is None else entries.get(array.path, {})
            told = self._objects.get(name := f"{array.path}/{ROOT}")
            if sound and not array.is_described_by(told, entry, late=not self._objects.cheap):
                yield name
            # Of those in between, that were kept and not filled, there are none.
            sparse = array.name == DATA and header.get("format") != DENSE
            shards = self._shards(array) if sparse else range(-(-array.length // array.shard))
            yield from (name for n in shards if not array.is_indexed(self._objects.get(name := array.key(n))))

    def group(self) -> Any:
        """The group as zarr-python has it."""
        import zarr  # loads asyncio and more, a third of a second

        return zarr.open_group(self._path, mode="r")

    def _tail(self, array: ShardedArray, tails: dict[str, bytes]) -> bytes:
        """What the last, unfinished shard of an array holds."""
        if array.name not in tails:
            item = array.dtype.itemsize
            begin = array.length - array.length % array.shard
            [tails[array.name]] = self.fetch(array.name, [(begin * item, array.length * item)])
        return tails[array.name]

    def _sweep(self, arrays: Iterable[ShardedArray]) -> None:
        """Remove arrays that a killed writer left and no commit names."""
        kept = {array.path for array in arrays}
        ours = {array.name for array in arrays}
        for group in GROUPS:
            for name in self._objects.names(group):
                path, (base, _, tag) = f"{group}/{name}", name.partition("~")
                if path not in kept and (f"{group}/{base}" in ours) and _TAG.fullmatch(tag):
                    self._objects.remove(path)
        for array in arrays if self._objects.cheap else ():
            if array.name == DATA:
                for number in self._shards(array):
                    if number * array.shard >= array.length:
                        self._objects.remove(array.key(number))

    def close(self) -> None:
        """Let go of the lock."""
        if late := self._late:
            self._late = {}
            with suppress(OSError):  # the root says the same
                self._objects.put(late, safe=False)
        if self._parts:
            with suppress(OSError):  # it is swept when the store is next opened for writing
                self._objects.remove(f"{DATA}~{self._part_tag}")
            self._parts = 0
        self._objects.close()


def _entry(array: ShardedArray) -> list[Any]:
    """What the root says of an array."""
    return [array.tag, array.dtype.str, array.length, *([_STRINGS] if array.strings else [])]


def _write_part(path: str, tag: str, first: int, number: int, crops: list[bytes]) -> list[Place]:
    """Write the crops of a part into shards of its own; where each lies."""
    array = ShardedArray(DATA, f"{tag}/{first + number}", np.dtype("u1"), 0)
    data, begin = b"".join(crops), (first + number) * _PART
    if len(data) > _PART:
        raise StoreError(f"{path}: a part has {len(data)} bytes of crops, more than {_PART}; extract with workers=1")
    if data:
        objects_at(path).put(array.objects(0, data))
    spans = pairwise(accumulate(map(len, crops), initial=begin))
    return [Place(*span, zlib.crc32(crop)) for span, crop in zip(spans, crops, strict=True)]


def _absolute(path: str) -> str:
    return path if "://" in path or "::" in path else str(Path(path).absolute())


@hookimpl
def spatter_stores() -> dict[str, type[StoreKind]]:
    """Zarr."""
    return {"zarr": Zarr}
