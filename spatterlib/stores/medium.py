"""What a `ColumnStore` stands on: arrays of bytes by name, and one header, which change together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spatterlib.plugins.capabilities import Place
from spatterlib.stores.rows import StoreHeader

__all__ = ["ByteRange", "Grouped", "Inspecting", "Joined", "Joining", "Medium"]

ByteRange = tuple[int, int]


class Medium(Protocol):
    """Arrays of bytes by name and one JSON header, which change together or not at all."""

    def header(self, *, fresh: bool = False) -> StoreHeader:
        """The header as of the last commit: the same object as long as nothing was committed.

        Where looking is expensive, the answer may be a second old, unless it is to be `fresh`.
        """

    def fetch(self, array: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Bytes ``start .. stop - 1`` of an array, for each of the ranges."""

    def commit(
        self,
        header: StoreHeader,
        appended: Mapping[str, NDArray[Any]],
        created: Mapping[str, NDArray[Any]],
    ) -> None:
        """Append to arrays, make or replace others, replace the header; after an error nothing has changed."""

    def close(self) -> None:
        """Let go of everything; may be called twice."""


@dataclass(frozen=True, eq=False)
class Joined:
    """Where crops are that a `Medium` took."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    data: NDArray[np.uint8]
    """What is yet to be appended."""

    count: int
    """How many bytes there are then."""


@runtime_checkable
class Joining(Protocol):
    """A `Medium` that takes crops which other processes write."""

    def part_writer(self, parts: int) -> Callable[[int, list[bytes]], list[Place]] | None:
        """What writes crops of parts, each to a place of its own that is no place in the array of crops yet.

        None if they are better handed over.
        """

    def join(self, starts: NDArray[np.int64], ends: NDArray[np.int64], count: int) -> Joined:
        """Bring what parts wrote behind the first `count` bytes of the array; it counts when it is committed.

        ParameterError if nothing is at these places.
        """


@runtime_checkable
class Inspecting(Protocol):
    """A `Medium` that holds more than values, such as what other programs find them by."""

    def inspect(self) -> Iterator[str]:
        """Names of files that are not as they were written, whatever the values in them are."""


@runtime_checkable
class Grouped(Protocol):
    """A `Medium` that is a group of Zarr arrays."""

    def group(self) -> Any:
        """The `zarr.Group`, for reading, as of the last commit."""
