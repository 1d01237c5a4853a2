"""What a `ColumnStore` stands on: arrays of bytes by name, and one header, which change together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spatterlib.plugins.capabilities import Place
from spatterlib.stores.rows import StoreHeader

__all__ = ["ByteRange", "Inspecting", "Medium", "Reserving"]

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


@runtime_checkable
class Reserving(Protocol):
    """A `Medium` that keeps places for crops which other processes write."""

    def reserve(self, count: int, parts: int) -> tuple[Callable[[int, list[bytes]], list[Place]], int]:
        """What writes crops of parts behind the first `count` bytes, and how many bytes there are with all parts."""

    def sweep_parts(self, begin: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        """Remove what parts wrote that no row came to; the crops of all rows lie from `begin` to `end`."""


@runtime_checkable
class Inspecting(Protocol):
    """A `Medium` that holds more than values, such as what other programs find them by."""

    def inspect(self) -> Iterator[str]:
        """Names of files that are not as they were written, whatever the values in them are."""
