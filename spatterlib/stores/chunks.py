"""A store of any kind, chunk by chunk: of one that is not read in chunks each array is taken as a whole, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from spatterlib.plugins.capabilities import SupportsChunks
from spatterlib.types import Detections, Store

__all__ = ["column_chunks", "frame_log_chunks", "is_store", "ranges", "table_chunks"]

_ROWS = 1 << 16


def is_store(value: object) -> TypeGuard[Store]:
    """Whether it is a store, without reading it: before Python 3.12 `isinstance` would look at its whole table."""
    return all(callable(getattr(value, name, None)) for name in ("column", "encoded", "append"))


def ranges(count: int, size: int = _ROWS) -> list[range]:
    """The numbers of `count` rows, chunk by chunk."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def table_chunks(store: Store, count: int | None = None) -> Iterator[Detections]:
    """The table of a store, or its first `count` rows, over `ranges`."""
    chunks = ranges(len(store) if count is None else count)
    if isinstance(store, SupportsChunks):
        return (store.table_rows(rows) for rows in chunks)
    table = store.table
    return (table[rows.start : rows.stop] for rows in chunks)


def column_chunks(store: Store, name: str, count: int | None = None) -> Iterator[NDArray[Any]]:
    """A column of a store, or its first `count` values, over `ranges`."""
    chunks = ranges(len(store) if count is None else count)
    if isinstance(store, SupportsChunks):
        return (store.column(name, rows) for rows in chunks)
    values = store.column(name)
    return (values[rows.start : rows.stop] for rows in chunks)


def frame_log_chunks(store: Store) -> Iterator[NDArray[np.void]]:
    """The frame log of a store."""
    if isinstance(store, SupportsChunks):
        return (store.frame_log_rows(rows) for rows in ranges(store.frame_count))
    return iter([store.frame_log])
