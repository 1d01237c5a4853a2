"""Rows, headers and columns of stores: pure functions that check what comes in from a caller or from a file."""

from __future__ import annotations

import json
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import decode
from spatterlib.errors import ParameterError, RowError, StoreError
from spatterlib.stores.checksums import BLOCKS, CRC, Checksums
from spatterlib.stores.file_io import damaged
from spatterlib.types import DETECTION, FRAME_LOG, Image

__all__ = [
    "COLUMN_NAME",
    "DATA",
    "DENSE",
    "ENDS",
    "FORMATS",
    "STARTS",
    "StoreHeader",
    "StoreState",
    "as_text",
    "blank",
    "check_batch",
    "decoded_crop",
    "dtype_of",
    "fitting",
    "json_copy",
    "parsed",
    "row_numbers",
    "runs_of",
    "sealed",
    "split",
    "storable",
    "unset",
]

FORMATS = DENSE, SPARSE = 1, 2
"""Versions of the layout; a store of a newer one is refused. In a sparse store crops need not follow each other."""

COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

DATA, STARTS, ENDS = "crops/data", "crops/starts", "crops/ends"

_CHECKS, _SEAL = "checksums", "crc32"

_FIRST = frozenset(["frame", "time", "x", "y", "width", "height", "area", "red", "green", "blue", "peak"])
"""Fields of `DETECTION` that every store has; the header of a store names those of later versions that it has."""

# Crops nearer to each other than _GAP bytes are read in one go, of at most _SPAN bytes.
_GAP, _SPAN = 16 << 10, 8 << 20

StoreHeader = Mapping[str, Any]


def blank(attrs: Mapping[str, Any] | None) -> tuple[StoreHeader, dict[str, NDArray[Any]]]:
    """Header and arrays of a store without rows."""
    later = {name: DETECTION[name] for name in DETECTION.names or () if name not in _FIRST}
    header = StoreState(secrets.token_hex(8), 0, 0, 0, {}, json.dumps(json_copy(attrs or {})), later=later).header()
    arrays = {
        DATA: np.empty(0, np.uint8),
        ENDS: np.empty(0, "<i8"),
        CRC: np.empty(0, "<u4"),
        BLOCKS: np.empty(0, "<u4"),
    }
    arrays |= split("columns", np.empty(0, DETECTION)) | split("frame_log", np.empty(0, FRAME_LOG))
    return sealed(header, Checksums({}).after(len, {}, arrays)[0]), arrays


@dataclass(frozen=True)
class StoreState:
    """A header, checked."""

    id: str
    rows: int
    bytes: int
    frames: int
    columns: dict[str, np.dtype[Any]]
    attrs: str
    sparse: bool = False
    later: dict[str, np.dtype[Any]] = field(default_factory=dict)
    checks: Checksums | None = None
    """None in a store that an older version has made or written to."""

    def holds(self, name: str) -> bool:
        """Whether the store has that field of `DETECTION`: one that is newer than the store was never measured."""
        return name in _FIRST or name in self.later

    def unmeasured(self, count: int) -> dict[str, NDArray[Any]]:
        """Values of the columns that a batch of `count` rows does not bring: set by others, or of a newer version."""
        newer = {name: dtype for name, dtype in self.later.items() if name not in (DETECTION.names or ())}
        return {f"columns/{name}": unset(dtype, count) for name, dtype in (newer | self.columns).items()}

    def header(self, **changed: Any) -> StoreHeader:
        """The header of this state; what is changed is given by name."""
        columns = {name: dtype.str for name, dtype in self.columns.items()}
        kept = {"id": self.id, "rows": self.rows, "bytes": self.bytes, "frames": self.frames}
        return (
            {"format": SPARSE if self.sparse else DENSE}
            | kept
            | ({"measured": {name: dtype.str for name, dtype in self.later.items()}} if self.later else {})
            | {"columns": columns, "attrs": json.loads(self.attrs)}
            | changed
        )

    def count(self, array: str) -> int:
        """How many items an array has, other than the crops' bytes."""
        return self.frames if array.startswith("frame_log/") else self.rows


def row_numbers(rows: Any, count: int, path: str, what: str = "row") -> NDArray[np.int64]:
    """``(k,)`` int64 row numbers, each found to be in ``0 .. count - 1``; `what` they count, in one word.

    Raises
    ------
    RowError
        If one is not, or if they are no whole numbers.
    """
    if isinstance(rows, range):
        # Seen to be right before there is memory for all of them.
        for row in (rows[0], rows[-1]) if rows else ():
            if not 0 <= row < count:
                raise RowError(f"{path} has {count} {what}s, from 0; there is no {what} {row}")
        return np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)
    numbers = np.asarray(rows)
    if numbers.size == 0 and numbers.ndim == 1:
        return np.empty(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise RowError(
            f"{what}s of {path} are given as a list of whole numbers, not {numbers.dtype} {numbers.shape}; "
            "turn a mask into numbers with np.flatnonzero, a slice into a range"
        )
    outside = (numbers < 0) | (numbers >= count)
    if outside.any():
        raise RowError(f"{path} has {count} {what}s, from 0; there is no {what} {numbers[outside][0]}")
    return numbers.astype(np.int64)


def decoded_crop(crop: bytes, path: str, row: int) -> Image:
    """The picture in an encoded crop; an error says which row of which store it is."""
    try:
        return decode(crop)
    except StoreError as error:
        raise StoreError(f"{path}, row {row}: {error}") from error


def runs_of(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> list[list[tuple[int, int, int]]]:
    """Crops that are read in one go: of each its number among those given, where it begins and where it ends."""
    order = np.argsort(begins, kind="stable")
    starts, stops = begins[order].tolist(), ends[order].tolist()
    spans = list(zip(order.tolist(), starts, stops, strict=True))
    return [spans[first:last] for first, last in _together(starts, stops)]


def _together(starts: Sequence[int], ends: Sequence[int]) -> list[tuple[int, int]]:
    """Runs ``[first, last)`` of sorted spans that are near each other."""
    groups: list[tuple[int, int]] = []
    first = 0
    for index in range(1, len(starts) + 1):
        if index == len(starts) or starts[index] - ends[index - 1] > _GAP or ends[index] - starts[first] > _SPAN:
            groups.append((first, index))
            first = index
    return groups


def split(group: str, table: NDArray[np.void]) -> dict[str, NDArray[Any]]:
    """Fields of a structured array as arrays of their own."""
    return {f"{group}/{name}": np.ascontiguousarray(table[name]) for name in table.dtype.names or ()}


def unset(dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """Values of a further column for rows that came later."""
    value: dict[str, Any] = {"f": np.nan, "i": -1, "u": 0, "b": False, "S": b""}
    return np.full(count, value[dtype.kind], dtype)


def storable(values: Any, name: str) -> NDArray[Any]:
    """A column's values as little-endian numbers, bool, or text as UTF-8 bytes of fixed length."""
    array = np.asarray(values)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        array = array.astype(np.str_)
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8")
        return array.astype(f"S{max(array.dtype.itemsize, 1)}")
    if array.dtype.kind == "S" and array.dtype.itemsize:
        return _utf8(array, name)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ParameterError(f"column {name!r} must be bool, int, float or text, got {array.dtype}")
    return array.astype(array.dtype.newbyteorder("<"))


def _utf8(array: NDArray[np.bytes_], name: str) -> NDArray[np.bytes_]:
    """Text that is encoded already, found to be text."""
    try:
        np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise ParameterError(
            f"column {name!r} must be bool, int, float or text, got bytes that are no UTF-8"
        ) from error
    return array


def fitting(
    columns: Mapping[str, Any], count: int, known: Mapping[str, np.dtype[Any]], path: str
) -> dict[str, NDArray[Any]]:
    """Values of further columns for a batch of rows, as the columns hold them."""
    found = {}
    for name, values in columns.items():
        if name not in known:
            raise ParameterError(f"{path} has no further column {name!r}; make it with set_column first")
        array, dtype = storable(values, name), known[name]
        if array.shape != (count,):
            raise ParameterError(f"column {name!r} needs one value for each of the {count} rows, got {array.shape}")
        if (array.dtype.kind == "S") != (dtype.kind == "S") or not np.can_cast(array.dtype, dtype):
            raise ParameterError(
                f"column {name!r} of {path} holds {dtype}, not {array.dtype}; give such values, or set the column anew"
            )
        found[name] = array.astype(dtype)
    return found


def check_batch(table: Any, crops: Any, frames: Any) -> None:
    """Refuse a batch whose rows, crops and frames are not what `append` takes."""
    for array, dtype, what in ((table, DETECTION, "DETECTION"), (frames, FRAME_LOG, "FRAME_LOG")):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            raise ParameterError(f"append needs an (n,) array of dtype {what}, got {type(array).__name__}")
    if len(table) != len(crops):
        raise ParameterError(f"append needs one crop for each row, got {len(crops)} for {len(table)} rows")
    if not all(isinstance(crop, bytes) and crop for crop in crops):
        raise ParameterError("append needs each crop as an encoded image, in bytes; see spatterlib.plugins.encode")


def json_copy(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """A copy as JSON gives it back."""
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(attrs), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(f"attrs of a store must be JSON-able: {error}") from error
    return copy


def sealed(header: StoreHeader, checks: Checksums) -> StoreHeader:
    """The header with these checksums of arrays, and with a checksum of itself."""
    header = dict(header) | {_CHECKS: {"tails": dict(checks.tails), "records": checks.records}}
    return header | {_SEAL: _seal(header)}


def _seal(header: StoreHeader) -> int:
    """CRC-32 of what a header says; media add entries of their own."""
    said = {name: value for name, value in header.items() if name not in (_SEAL, "arrays")}
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


def parsed(header: StoreHeader, path: str) -> StoreState:
    """The state that a header says, checked: it may come from a newer version, or from another program."""
    version = header.get("format")
    if isinstance(version, int) and version > max(FORMATS):
        raise StoreError(
            f"{path} has store format {version}, this spatterlib reads up to {max(FORMATS)}: "
            "install a newer spatterlib to open it"
        )
    try:
        columns = {name: np.dtype(text) for name, text in header["columns"].items()}
        later = {name: np.dtype(text) for name, text in header.get("measured", {}).items()}
        counts = [header["rows"], header["bytes"], header["frames"]]
        sound = all(type(count) is int and count >= 0 for count in counts) and version in FORMATS
        sound &= all(COLUMN_NAME.fullmatch(name) is not None for name in columns | later)
        sound &= all(dtype.kind in "biufS" and dtype.itemsize > 0 for dtype in (columns | later).values())
        sound &= isinstance(header["attrs"], dict)
        # Older versions leave out what they do not know: then there are no checksums any more.
        checks = Checksums(header[_CHECKS]["tails"], header[_CHECKS]["records"]) if _CHECKS in header else None
        sound &= header.get(_SEAL) == (None if checks is None else _seal(header))
        sound &= checks is None or all(type(n) is int and n >= 0 for n in (checks.records, *checks.tails.values()))
        if sound:
            rows, data, frames = counts
            sparse, attrs = version == SPARSE, json.dumps(header["attrs"])
            return StoreState(str(header["id"]), rows, data, frames, columns, attrs, sparse, later, checks)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        pass
    raise damaged(path, "its header does not say what it holds")


def as_text(values: NDArray[Any], name: str, path: str) -> NDArray[np.str_]:
    """A column of text, as it is stored, as text."""
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"column {name!r} holds bytes that are no text") from error


def dtype_of(name: str, state: StoreState, path: str) -> np.dtype[Any]:
    """Type of a column; ParameterError if there is none."""
    if name in (DETECTION.names or ()):
        return DETECTION[name]
    if name in state.columns:
        return state.columns[name]
    known = ", ".join([*(DETECTION.names or ()), *state.columns])
    raise ParameterError(f"{path} has no column {name!r}; it has {known}")
