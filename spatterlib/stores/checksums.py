"""Checksums of what a store holds, beside it in the store, for every kind alike.

A crop has its CRC-32 in ``crops/crc32``, row by row. The other arrays have one for every block of `BLOCK` items: that
of the last, unfinished block stands in the header, for it changes with every commit; those of finished blocks are
``crops/blocks``, which only grows: records of three values, which array, which block of it, CRC-32. Of several for one
block the last counts, as a column can be replaced. So whoever reads a header and something that does not belong to it,
as in a copy that was taken while the store grew, is told.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "BLOCKS", "CRC", "Checksums", "crc_of_blocks", "crcs"]

BLOCK = 8192
"""Items that have a checksum in common."""

BLOCKS, CRC = "crops/blocks", "crops/crc32"

_RECORD = 3
_WITHOUT = ("crops/data", BLOCKS)


@dataclass(frozen=True)
class Checksums:
    """What a header says of checksums."""

    tails: Mapping[str, int]
    """CRC-32 of the last, unfinished block of each array; an array's number in the records is its place here."""

    records: int = 0
    """How many finished blocks are written down."""

    def after(
        self, counts: Callable[[str], int], appended: Mapping[str, NDArray[Any]], created: Mapping[str, NDArray[Any]]
    ) -> tuple[Checksums, NDArray[np.uint32]]:
        """The checksums behind a commit, and the records that it adds; `counts` says how long an array is before."""
        tails = dict(self.tails) | {name: 0 for name in created if name not in _WITHOUT}
        numbers = {name: number for number, name in enumerate(tails)}
        records: list[tuple[int, int, int]] = []
        for name, values in [*created.items(), *appended.items()]:
            if name not in numbers:
                continue
            place = 0 if name in created else counts(name)
            values = np.ascontiguousarray(values)
            while len(values):
                room = BLOCK - place % BLOCK
                tails[name] = zlib.crc32(values[:room].data, tails[name])
                place += min(room, len(values))
                values = values[room:]
                if place % BLOCK == 0:
                    records.append((numbers[name], place // BLOCK - 1, tails[name]))
                    tails[name] = 0
        return Checksums(tails, self.records + len(records)), np.array(records, np.uint32).reshape(-1)

    def expected(self, array: str, count: int, records: NDArray[np.uint32]) -> NDArray[np.int64]:
        """CRC-32 of each block of the first `count` items of an array; -1 where none is written down."""
        found = np.full(-(-count // BLOCK), -1, np.int64)
        own = records.reshape(-1, _RECORD)
        own = own[(own[:, 0] == list(self.tails).index(array)) & (own[:, 1] < len(found))]
        found[own[:, 1]] = own[:, 2]
        if count % BLOCK:
            found[-1] = self.tails[array]
        return found

    def bytes_of_records(self) -> int:
        """How many bytes the records have."""
        return self.records * _RECORD * 4


def crc_of_blocks(data: bytes, item: int) -> NDArray[np.int64]:
    """CRC-32 of the blocks of an array, from the beginning of one on."""
    view = memoryview(data)
    blocks = range(0, len(data), BLOCK * item)
    return np.fromiter((zlib.crc32(view[start : start + BLOCK * item]) for start in blocks), np.int64, len(blocks))


def crcs(crops: Sequence[bytes]) -> NDArray[np.uint32]:
    """CRC-32 of each crop."""
    return np.fromiter(map(zlib.crc32, crops), np.uint32, len(crops))
