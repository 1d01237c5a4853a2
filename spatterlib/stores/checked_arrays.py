"""Reading a store's arrays and finding that they are what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.stores.checksums import BLOCK, BLOCKS, CRC, Checksums, crc_of_blocks
from spatterlib.stores.file_io import damaged
from spatterlib.stores.medium import ByteRange
from spatterlib.stores.rows import ENDS, STARTS, StoreState, unset

__all__ = ["CheckedArrays", "Span", "spans_of"]


_KNOWN = 1 << 21
"""Of more rows than these it is not remembered where their crops lie: 24 bytes for each."""

# Items that are looked up one by one are read together if no more than _APART lie between them. A crop is never _LARGE.
_APART, _LARGE = 128, 8 << 20

# Blocks that are read in one go.
_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class Span:
    """Items that are read in one go."""

    start: int
    stop: int
    where: NDArray[np.intp]
    """Which of the rows that were asked for are among them."""

    inside: NDArray[np.int64]
    """Where among them these are."""


def spans_of(rows: NDArray[np.int64]) -> list[Span]:
    """What is read to have the items of some rows, in any order."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    blocks = ordered // BLOCK
    cuts = np.flatnonzero((np.diff(blocks) > 1) | (np.diff(blocks // _TOGETHER) > 0)) + 1
    edges = [0, *cuts.tolist(), len(rows)] if len(rows) else []
    return [
        Span(int(ordered[a]), int(ordered[b - 1]) + 1, order[a:b], ordered[a:b] - ordered[a])
        for a, b in pairwise(edges)
    ]


class CheckedArrays:
    """The arrays of a store, as of any of its states; what never changes is read once.

    Parameters
    ----------
    path : str
        What messages call the store.
    fetch : callable
        As of a `Medium`.
    """

    def __init__(self, path: str, fetch: Callable[[str, Sequence[ByteRange]], list[bytes]]) -> None:
        self._path, self._fetch = path, fetch
        self._known: NDArray[np.int64] = np.empty((3, 0), np.int64)
        self._records: NDArray[np.uint32] = np.empty(0, np.uint32)

    def items(
        self, array: str, dtype: np.dtype[Any], state: StoreState, start: int = 0, stop: int | None = None
    ) -> NDArray[Any]:
        """Items of an array from `start` to before `stop`, writable, and found to be those that were written."""
        count, item = state.count(array), dtype.itemsize
        end = count if stop is None else stop
        begin = start
        if state.checks is not None:
            begin, end = start - start % BLOCK, min(end + -end % BLOCK, count)
        [data] = self._fetch(array, [(begin * item, end * item)])
        if state.checks is not None:
            expected = self.expected(state.checks, array, count)[begin // BLOCK :]
            found = crc_of_blocks(data, item)
            if len(wrong := np.flatnonzero(found != expected[: len(found)])):
                first = begin + int(wrong[0]) * BLOCK
                raise damaged(self._path, f"{array} is not what was written, from item {first} on")
        return np.frombuffer(bytearray(data), dtype)[start - begin : None if stop is None else stop - begin]

    def chosen(self, array: str, dtype: np.dtype[Any], state: StoreState, spans: Sequence[Span]) -> NDArray[Any]:
        """Items of an array, those of `spans_of` some rows, in the order of the rows."""
        found = np.empty(sum(len(span.where) for span in spans), dtype)
        for span in spans:
            found[span.where] = self.items(array, dtype, state, span.start, span.stop)[span.inside]
        return found

    def expected(self, checks: Checksums, array: str, count: int) -> NDArray[np.int64]:
        """CRC-32 of the blocks of an array."""
        if array not in checks.tails:
            raise damaged(self._path, f"it has no checksums of {array}")
        records = self._records
        if count >= BLOCK and len(records) * records.itemsize < (size := checks.bytes_of_records()):
            [new] = self._fetch(BLOCKS, [(len(records) * records.itemsize, size)])
            self._records = records = np.concatenate([records, np.frombuffer(new, "<u4")])
        return checks.expected(array, count, records)

    def joined(
        self,
        group: str,
        dtype: np.dtype[Any],
        state: StoreState,
        holds: Callable[[str], bool],
        spans: Sequence[Span] | None = None,
    ) -> NDArray[np.void]:
        """Arrays of a group as a structured array; those that the store does not hold are missing values."""
        count = state.count(f"{group}/") if spans is None else sum(len(span.where) for span in spans)
        table: NDArray[np.void] | None = None
        for name in dtype.names or ():
            if not holds(name):
                values = unset(dtype[name], count)
            elif spans is None:
                values = self.items(f"{group}/{name}", dtype[name], state)
            else:
                values = self.chosen(f"{group}/{name}", dtype[name], state, spans)
            # Read before any memory is taken: a damaged count must not ask for it.
            table = np.empty(count, dtype) if table is None else table
            table[name] = values
        return np.empty(count, dtype) if table is None else table

    def places(self, state: StoreState, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """``(3, k)`` where the crops of some rows begin and end, and their CRC-32."""
        if state.rows <= _KNOWN:
            return self.all_places(state)[:, rows]
        if not len(rows):
            return np.empty((3, 0), np.int64)
        ordered, where = np.unique(rows, return_inverse=True)
        ends = self._near(ENDS, np.dtype("<i8"), both := np.union1d(ordered, np.maximum(ordered - 1, 0)))
        if state.sparse:
            starts = self._near(STARTS, np.dtype("<i8"), ordered)
        else:
            starts = np.where(ordered > 0, ends[np.searchsorted(both, np.maximum(ordered - 1, 0))], 0)
        ends = ends[np.searchsorted(both, ordered)]
        self._check_order(starts, ends, state)
        # Not checked with their blocks: what lies at a wrong place has not the crop's CRC-32. But nobody shall read
        # gigabytes to find that.
        for row in ordered[ends - starts > _LARGE].tolist() if state.checks else ():
            for array in (ENDS, *([STARTS] if state.sparse else [])):
                self.items(array, np.dtype("<i8"), state, max(row - 1, 0), row + 1)
        crc = np.zeros(len(ends), np.int64) if state.checks is None else self._near(CRC, np.dtype("<u4"), ordered)
        return np.stack([starts, ends, crc])[:, where]

    def _near(self, array: str, dtype: np.dtype[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Items of an array at ascending rows, not checked; little more is read than these."""
        cuts = np.flatnonzero(np.diff(rows) > _APART) + 1
        first, last = rows[np.concatenate([[0], cuts])], rows[np.concatenate([cuts - 1, [-1]])]
        item = dtype.itemsize
        ranges = [(a * item, (b + 1) * item) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        values = np.frombuffer(b"".join(self._fetch(array, ranges)), dtype)
        lengths = last + 1 - first
        run = np.repeat(np.arange(len(first)), np.diff(np.concatenate([[0], cuts, [len(rows)]])))
        place = rows - first[run] + (np.cumsum(lengths) - lengths)[run]
        found: NDArray[Any] = values[place]
        return found

    def _check_order(self, starts: NDArray[np.int64], ends: NDArray[np.int64], state: StoreState) -> None:
        if len(ends) and (starts.min() < 0 or np.any(ends < starts) or ends.max() > state.bytes):
            raise damaged(self._path, "its crops do not follow each other")

    def all_places(self, state: StoreState) -> NDArray[np.int64]:
        """``(3, rows)`` where each crop begins and ends, and its CRC-32; what is known already is not read again."""
        known = self._known
        if (count := known.shape[1]) < state.rows:
            ends = self.items(ENDS, np.dtype("<i8"), state, count)
            if state.sparse:
                starts = self.items(STARTS, np.dtype("<i8"), state, count)
            else:
                starts = np.concatenate([known[1, -1:] if count else np.zeros(1, np.int64), ends[:-1]])
            self._check_order(starts, ends, state)
            crc = (
                np.zeros(len(ends), np.int64)
                if state.checks is None
                else self.items(CRC, np.dtype("<u4"), state, count)
            )
            known = self._known = np.concatenate([known, np.stack([starts, ends, crc])], axis=1)
        return known
