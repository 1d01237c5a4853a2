"""What the stores `hdf5` and `zarr` share: a table as one array per column, crops as one flat array, one header.

`ColumnStore` knows rows and columns, a `Medium` knows where bytes lie and how several arrays and the header change
together or not at all. The arrays: ``columns/<name>``, one value a row; ``crops/data``, all encoded crops one behind
the other; ``crops/ends``, where in it each crop ends; ``frame_log/<name>``, one value a frame; and checksums of all
these (`spatterlib.stores.checksums`). The header says how many rows, bytes of crops and frames are committed. Where
several workers write crops there are gaps between what they wrote, and ``crops/starts`` says where each crop begins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError, SpatterlibError, StoreError, one_line
from spatterlib.plugins.capabilities import Place
from spatterlib.stores.checked_arrays import CheckedArrays, spans_of
from spatterlib.stores.checksums import BLOCKS, CRC, crcs
from spatterlib.stores.damage import Damage, damage_of
from spatterlib.stores.file_io import damaged
from spatterlib.stores.medium import ByteRange, Grouped, Inspecting, Joining, Medium
from spatterlib.stores.rows import (
    COLUMN_NAME,
    DATA,
    ENDS,
    STARTS,
    StoreHeader,
    StoreState,
    as_text,
    check_batch,
    decoded_crop,
    dtype_of,
    fitting,
    json_copy,
    parsed,
    row_numbers,
    runs_of,
    sealed,
    split,
    storable,
    unset,
)
from spatterlib.stores.tables import to_arrow, to_pandas, to_polars, to_xarray
from spatterlib.types import DETECTION, FRAME_LOG, Detections, Image

__all__ = ["ColumnStore"]

_PENDING_BYTES = 32 << 20
_PER_CROP = 64  # bytes in memory that a crop has besides its own
_TRIES = 3


@dataclass
class _Pending:
    """Appended and not yet committed."""

    tables: list[Detections] = field(default_factory=list)
    columns: list[Mapping[str, NDArray[Any]]] = field(default_factory=list)
    crops: list[bytes] = field(default_factory=list)
    frames: list[NDArray[np.void]] = field(default_factory=list)
    bytes: int = 0
    others: int = 0
    """Bytes of everything but the crops."""

    def __bool__(self) -> bool:
        return bool(self.crops or self.frames)

    def further(self, columns: Mapping[str, np.dtype[Any]]) -> dict[str, NDArray[Any]]:
        """Values of further columns, missing where a batch brought none."""
        batches = list(zip(self.tables, self.columns, strict=True))
        return {
            f"columns/{name}": np.concatenate([own.get(name, unset(dtype, len(rows))) for rows, own in batches])
            for name, dtype in columns.items()
        }


class ColumnStore:
    """A store over a `Medium`; see `spatterlib.types.Store`.

    Parameters
    ----------
    path : str
        What messages call it.
    opener : callable
        Opens the medium, when it is first needed; picklable.
    mode : {"r", "a"}
        Read only, or append too.
    """

    def __init__(self, path: str, opener: Callable[[], Medium], mode: str = "r") -> None:
        if mode not in ("r", "a"):
            raise ParameterError(f"a store is opened with mode 'r' or 'a', not {mode!r}")
        self._path, self._opener, self._mode = path, opener, mode
        self._medium: Medium | None = None
        self._closed = False
        self._pending = _Pending()
        self._parsed: tuple[StoreHeader | None, StoreState | None] = (None, None)
        self._arrays = CheckedArrays(path, self._fetch)

    def opened(self) -> Self:
        """Itself, opened now and found to be a store that this version reads."""
        try:
            self._state()
        except BaseException:
            self._release()
            raise
        return self

    to_arrow, to_pandas, to_polars, to_xarray = to_arrow, to_pandas, to_polars, to_xarray

    def __repr__(self) -> str:
        return f"<store {self._path}, mode {self._mode!r}{', closed' if self._closed else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._mode != "r":
            raise StoreError(f"{self._path} is open for writing and cannot be sent to another process")
        return ColumnStore, (self._path, self._opener, "r")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._state().rows

    @property
    def table(self) -> Detections:
        """``(n,)`` `DETECTION`: every row that is wholly on disk."""
        state = self._state()
        return self._arrays.joined("columns", DETECTION, state, state.holds)

    @property
    def frame_log(self) -> NDArray[np.void]:
        """``(frames,)`` `FRAME_LOG`: every frame that was looked at."""
        return self._arrays.joined("frame_log", FRAME_LOG, self._state(), lambda _: True)

    def table_rows(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Detections:
        """``(k,)`` `DETECTION`: some rows of `table`; no more is read than where these lie.

        Raises
        ------
        RowError
            If a row is not there, or is negative.
        """
        state = self._state()
        chosen = row_numbers(rows, state.rows, self._path)
        return self._arrays.joined("columns", DETECTION, state, state.holds, spans_of(chosen))

    @property
    def frame_count(self) -> int:
        """How many entries `frame_log` has."""
        return self._state().frames

    def frame_log_rows(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.void]:
        """``(k,)`` `FRAME_LOG`: some entries of `frame_log`, by their place in it.

        Raises
        ------
        RowError
            If an entry is not there, or is negative.
        """
        state = self._state()
        chosen = row_numbers(rows, state.frames, f"the frame log of {self._path}", "frame")
        return self._arrays.joined("frame_log", FRAME_LOG, state, lambda _: True, spans_of(chosen))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, the fields of `DETECTION` first."""
        return (*(DETECTION.names or ()), *self._state().columns)

    @property
    def attrs(self) -> dict[str, Any]:
        """JSON-able facts about the whole; a copy, changed with `set_attrs`."""
        attrs: dict[str, Any] = json.loads(self._state().attrs)
        return attrs

    def column(self, name: str, rows: Sequence[int] | NDArray[np.integer[Any]] | None = None) -> NDArray[Any]:
        """``(n,)`` values of one column, or those of some rows; text as ``U``.

        Raises
        ------
        ParameterError
            If there is no such column.
        RowError
            If a row is not there, or is negative.
        """
        while True:
            state = self._state()
            dtype = dtype_of(name, state, self._path)
            chosen = None if rows is None else row_numbers(rows, state.rows, self._path)
            if name in (DETECTION.names or ()) and not state.holds(name):
                return unset(dtype, state.rows if chosen is None else len(chosen))
            try:
                if chosen is None:
                    values = self._arrays.items(f"columns/{name}", dtype, state)
                else:
                    values = self._arrays.chosen(f"columns/{name}", dtype, state, spans_of(chosen))
            except StoreError:
                if self._state(fresh=True) is state:
                    raise
                continue
            # A column may have been replaced by the writer while it was read.
            if name in (DETECTION.names or ()) or self._state(fresh=True) is state:
                return as_text(values, name, self._path) if dtype.kind == "S" else values

    def encoded(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> list[bytes]:
        """Encoded crops of the rows, as they were appended; neighbours are read in one go.

        Raises
        ------
        RowError
            If a row is not there, or is negative.
        StoreError
            If a crop is not what was appended.
        """
        state = self._state()
        chosen = row_numbers(rows, state.rows, self._path)
        begins, ends, expected = self._arrays.places(state, chosen)
        runs = runs_of(begins, ends)
        crops: list[bytes] = [b""] * len(chosen)
        for run, data in zip(runs, self._fetch(DATA, [(run[0][1], run[-1][2]) for run in runs]), strict=True):
            origin = run[0][1]
            for row, begin, end in run:
                crops[row] = data[begin - origin : end - origin]
        if state.checks is not None and len(wrong := np.flatnonzero(crcs(crops) != expected)):
            raise damaged(self._path, f"the crop of row {chosen[wrong[0]]} is not what was written")
        return crops

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> list[Image]:
        """Decoded crops of the rows, ``(h, w, 3)`` uint8 RGB each.

        Raises
        ------
        RowError
            If a row is not there, or is negative.
        StoreError
            If a crop is not what was appended, or does not decode.
        """
        return [decoded_crop(crop, self._path, row) for row, crop in zip(rows, self.encoded(rows), strict=True)]

    @property
    def group(self) -> Any:
        """The arrays of a Zarr store as a `zarr.Group` of zarr-python, for reading, as of the last commit.

        An array is ``store.group["columns/time"]``; what is committed later is in a later group.

        Raises
        ------
        StoreError
            If it is a store of another kind.
        """
        medium = self._ready()
        self.flush()
        if not isinstance(medium, Grouped):
            raise StoreError(f"{self._path} is no Zarr store; open it with h5py.File, or convert it to .zarr")
        with self._reading():
            return medium.group()

    @property
    def has_checksums(self) -> bool:
        """Whether it knows of everything that it holds what was written; stores of older versions do not."""
        return self._state().checks is not None

    def damage(self) -> list[Damage]:
        """Everything that is not as it was written; everything is read."""
        for _ in range(_TRIES):
            state = self._state(fresh=True)
            checks = state.checks
            expected = None if checks is None else lambda name: self._arrays.expected(checks, name, state.count(name))  # noqa: B023
            found = list(damage_of(self._fetch, state, expected))
            if isinstance(medium := self._ready(), Inspecting) and checks is not None:
                found += [Damage(f"{name}: not as it was written", np.empty(0, np.int64)) for name in medium.inspect()]
            # A column may have been replaced by the writer while it was read.
            if not found or self._state(fresh=True) is state:
                break
        return found

    def append(
        self,
        table: Detections,
        encoded_crops: Sequence[bytes],
        frame_log: NDArray[np.void] | None = None,
        columns: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Add a batch of rows with their encoded crops, and the log of the frames they came from.

        It counts when `flush` returns; reading, and much that is not yet flushed, flush too.

        Parameters
        ----------
        table : ndarray
            ``(n,)`` `DETECTION`.
        encoded_crops : sequence of bytes
            One for each row.
        frame_log : ndarray, optional
            ``(frames,)`` `FRAME_LOG`.
        columns : mapping of str to array_like, optional
            ``(n,)`` values of further columns that `set_column` has made before, each of a type that the column
            holds. Those that are left out get False, -1 (0 where unsigned), NaN, "".

        Raises
        ------
        ParameterError
            If something of the batch does not fit the rest of it, or the store.
        """
        self._check_writable()
        frames = np.empty(0, FRAME_LOG) if frame_log is None else frame_log
        check_batch(table, encoded_crops, frames)
        further = fitting(columns, len(table), self._committed().columns, self._path) if columns else {}
        pending = self._pending
        if len(table):
            pending.tables.append(table.copy())
            pending.columns.append(further)
            pending.crops.extend(encoded_crops)
            pending.bytes += sum(map(len, encoded_crops))
            pending.others += table.nbytes + _PER_CROP * len(table)
        if len(frames):
            pending.frames.append(frames.copy())
            pending.others += frames.nbytes
        if pending.bytes + pending.others >= _PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Commit everything appended so far; a kill after this loses none of it.

        Raises
        ------
        StoreError
            If it cannot be written, as on a full disk: then nothing that was appended since the last flush is in
            the store, and the store can still be used.
        """
        if not self._pending:
            return
        # Taken out first: a batch that fails must not come again with the next one.
        pending, self._pending = self._pending, _Pending()
        state = self._state()
        table = np.concatenate([np.empty(0, DETECTION), *pending.tables])
        frames = np.concatenate([np.empty(0, FRAME_LOG), *pending.frames])
        sizes = np.fromiter(map(len, pending.crops), np.int64, len(pending.crops))
        ends = state.bytes + np.cumsum(sizes)
        data = {DATA: np.frombuffer(b"".join(pending.crops), np.uint8)}
        places = (ends - sizes, ends, crcs(pending.crops))
        further = pending.further(state.columns) if any(pending.columns) else {}
        self._add(table, places, frames, data, state.bytes + pending.bytes, further=further)

    def _add(
        self,
        table: Detections,
        places: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]],
        frames: NDArray[np.void],
        data: Mapping[str, NDArray[Any]],
        count: int,
        *,
        further: Mapping[str, NDArray[Any]] | None = None,
        gaps: bool = False,
    ) -> None:
        """Commit rows whose crops lie at `places` (starts, ends, CRCs) of `count` bytes, in `data` or already there."""
        state, created = self._state(), {}
        starts, ends, crc = places
        appended: dict[str, NDArray[Any]] = {
            **data,
            ENDS: ends,
            **({STARTS: starts} if state.sparse else {}),
            **({} if state.checks is None else {CRC: crc}),
            **split("columns", table[[name for name in table.dtype.names or () if state.holds(name)]]),
            **state.unmeasured(len(table)),
            **(further or {}),
            **split("frame_log", frames),
        }
        if gaps and not state.sparse:
            created = {STARTS: np.concatenate([self._arrays.all_places(state)[0], starts])}
            state = replace(state, sparse=True)
        counts = {"rows": state.rows + len(table), "bytes": count, "frames": state.frames + len(frames)}
        self._commit(state.header(**counts), {name: array for name, array in appended.items() if len(array)}, created)

    def part_writer(self, parts: int) -> Callable[[int, list[bytes]], list[Place]] | None:
        """What other processes write crops with, each those of its own part, straight to where they stay.

        Parameters
        ----------
        parts : int
            For how many parts a place is to be kept.

        Returns
        -------
        callable or None
            Picklable: from the number of a part, from 0, and all its encoded crops to the places that `adopt` takes.
            A part that is written twice lies where it lay before. None if this kind of store cannot do it.
        """
        self._check_writable()
        medium = self._ready()
        return medium.part_writer(parts) if isinstance(medium, Joining) else None

    def adopt(self, table: Detections, places: Sequence[Place], frame_log: NDArray[np.void] | None = None) -> None:
        """Add rows whose crops a `part_writer` has written, at once, and the log of the frames they came from."""
        self._check_writable()
        frames = np.empty(0, FRAME_LOG) if frame_log is None else frame_log
        check_batch(table, [b" "] * len(places), frames)
        state, medium = self._state(), self._ready()
        starts = np.array([place.start for place in places], np.int64)
        ends = np.array([place.stop for place in places], np.int64)
        if not isinstance(medium, Joining):
            raise ParameterError(f"{self._path} takes no crops that others wrote; append them")
        with self._writing():
            joined = medium.join(starts, ends, state.bytes)
        crc = np.array([place.crc32 for place in places], np.uint32)
        follows = np.concatenate([[state.bytes], joined.ends])
        gaps = bool(np.any(joined.starts != follows[:-1])) or int(follows[-1]) != joined.count
        self._add(table, (joined.starts, joined.ends, crc), frames, {DATA: joined.data}, joined.count, gaps=gaps)

    def set_column(self, name: str, values: NDArray[Any] | Sequence[Any]) -> None:
        """Write one further column (label, group, probability), or replace it, at once and as a whole.

        Parameters
        ----------
        name : str
            Letters, digits, ``_`` and ``-``, a letter first; no field of `DETECTION`.
        values : array_like
            ``(n,)`` bool, int, float or text, as ``U``, or in UTF-8 as ``S``. Rows that are appended later without a
            value get False, -1 (0 where unsigned), NaN, "".

        Raises
        ------
        ParameterError
            If the name, the length or the type will not do.
        """
        self._check_writable()
        if not isinstance(name, str) or not COLUMN_NAME.fullmatch(name):
            raise ParameterError(f"a column's name is letters, digits, _ and -, a letter first, not {name!r}")
        if name in (DETECTION.names or ()):
            raise ParameterError(f"column {name!r} was measured and cannot be set; choose another name")
        state = self._state()
        array = storable(values, name)
        if array.shape != (state.rows,):
            raise ParameterError(
                f"column {name!r} needs one value for each of the {state.rows} rows of {self._path}, "
                f"got shape {array.shape}"
            )
        columns = {known: dtype.str for known, dtype in state.columns.items()} | {name: array.dtype.str}
        self._commit(state.header(columns=columns), {}, {f"columns/{name}": array})

    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Add to or replace entries of `attrs`, at once.

        Raises
        ------
        ParameterError
            If a value is not JSON-able.
        """
        self._check_writable()
        state = self._state()
        self._commit(state.header(attrs=json.loads(state.attrs) | json_copy(attrs)), {})

    def close(self) -> None:
        """Flush and let go of the file; may be called twice."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self._release()

    def _release(self) -> None:
        self._closed = True
        if self._medium is not None:
            self._medium.close()
            self._medium = None

    def _check_writable(self) -> None:
        if self._mode != "a":
            raise StoreError(f"{self._path} is open for reading; to change it, open it with mode='a'")

    def _ready(self) -> Medium:
        if self._closed:
            raise StoreError(f"{self._path} is closed; open it again")
        if self._medium is None:
            with self._reading():
                self._medium = self._opener()
        return self._medium

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors of the system, and of a network, as one line that names the store."""
        try:
            yield
        except SpatterlibError:
            raise
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise StoreError(f"{self._path} cannot be read: {reason}") from error
        except MemoryError as error:
            raise damaged(self._path, "it says that it holds more than there is memory for") from error

    def _state(self, *, fresh: bool = False) -> StoreState:
        """What is committed, everything appended so far included."""
        self._ready()
        self.flush()
        return self._committed(fresh=fresh)

    def _committed(self, *, fresh: bool = False) -> StoreState:
        """What is committed."""
        medium = self._ready()
        with self._reading():
            header = medium.header(fresh=fresh)
        known, state = self._parsed
        if header is not known or state is None:
            before, state = state, parsed(header, self._path)
            if before is not None and before.id != state.id:
                raise StoreError(f"{self._path} was replaced by another store; open it again")
            self._parsed = (header, state)
        return state

    def _commit(
        self,
        header: StoreHeader,
        appended: Mapping[str, NDArray[Any]],
        created: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        created, state = created or {}, self._state()
        if state.checks is not None:
            checks, records = state.checks.after(state.count, appended, created)
            header = sealed(header, checks)
            appended = {**appended, BLOCKS: records} if len(records) else appended
        with self._writing():
            self._ready().commit(header, appended, created)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the system as one line that names the store."""
        try:
            yield
        except SpatterlibError:
            raise
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            raise StoreError(f"{self._path} cannot be written: {reason}; what was there before is kept") from error

    def _fetch(self, array: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        with self._reading():
            return self._ready().fetch(array, ranges)
