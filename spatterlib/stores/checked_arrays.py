"""Reading a store's arrays and finding that they are what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.stores.checksums import BLOCK, BLOCKS, CRC, Checksums, crc_of_blocks
from spatterlib.stores.file_io import damaged
from spatterlib.stores.medium import ByteRange
from spatterlib.stores.rows import ENDS, STARTS, StoreState, unset

__all__ = ["CheckedArrays"]


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

    def items(self, array: str, dtype: np.dtype[Any], state: StoreState, start: int = 0) -> NDArray[Any]:
        """Items of an array from `start` on, writable, and found to be those that were written."""
        begin, item = start - start % BLOCK if state.checks else start, dtype.itemsize
        [data] = self._fetch(array, [(begin * item, state.count(array) * item)])
        if state.checks is not None:
            expected = self.expected(state.checks, array, state.count(array))[begin // BLOCK :]
            if len(wrong := np.flatnonzero(crc_of_blocks(data, item) != expected)):
                first = begin + int(wrong[0]) * BLOCK
                raise damaged(self._path, f"{array} is not what was written, from item {first} on")
        return np.frombuffer(bytearray(data), dtype)[start - begin :]

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
        self, group: str, dtype: np.dtype[Any], state: StoreState, holds: Callable[[str], bool]
    ) -> NDArray[np.void]:
        """All arrays of a group as a structured array; those that the store does not hold are missing values."""
        names, count = dtype.names or (), state.count(f"{group}/")
        # All read before any memory is taken: a damaged count must not ask for it.
        arrays = [
            self.items(f"{group}/{name}", dtype[name], state) if holds(name) else unset(dtype[name], count)
            for name in names
        ]
        table = np.empty(count, dtype)
        for name, array in zip(names, arrays, strict=True):
            table[name] = array
        return table

    def places(self, state: StoreState) -> NDArray[np.int64]:
        """``(3, rows)`` where each crop begins and ends, and its CRC-32; what is known already is not read again."""
        known = self._known
        if (count := known.shape[1]) < state.rows:
            ends = self.items(ENDS, np.dtype("<i8"), state, count)
            if state.sparse:
                starts = self.items(STARTS, np.dtype("<i8"), state, count)
            else:
                starts = np.concatenate([known[1, -1:] if count else np.zeros(1, np.int64), ends[:-1]])
            if starts.min() < 0 or np.any(ends < starts) or ends.max() > state.bytes:
                raise damaged(self._path, "its crops do not follow each other")
            crc = (
                np.zeros(len(ends), np.int64)
                if state.checks is None
                else self.items(CRC, np.dtype("<u4"), state, count)
            )
            known = self._known = np.concatenate([known, np.stack([starts, ends, crc])], axis=1)
        return known
