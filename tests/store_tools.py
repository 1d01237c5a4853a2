"""What the tests of stores share: rows whose every value follows from the row's number, and a plain model."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.testing.scenes import crops_of as crops_of
from spatterlib.testing.scenes import frames_of as frames_of
from spatterlib.testing.scenes import rows_of as rows_of
from spatterlib.types import Store

KINDS = (".h5", ".zarr")


def look(store: Store) -> tuple[int, list[bytes], NDArray[np.void]]:
    """Which process this is, two crops and the table; another process can import this function."""
    return os.getpid(), store.encoded([0, 5]), store.table


def fill(store: Store, start: int, count: int, size: int = 200) -> None:
    store.append(rows_of(start, count), crops_of(start, count, size), frames_of(start, count))


def assert_holds(store: Store, count: int, size: int = 200) -> None:
    """The store holds rows ``0 .. count - 1``, each wholly."""
    assert len(store) == count
    np.testing.assert_array_equal(store.table, rows_of(0, count))
    np.testing.assert_array_equal(store.frame_log, frames_of(0, count))
    assert store.encoded(range(count)) == crops_of(0, count, size)


def same(one: Store, other: Store) -> None:
    """Two stores hold the same rows, crops, columns, frames and attrs."""
    np.testing.assert_array_equal(one.table, other.table)
    np.testing.assert_array_equal(one.frame_log, other.frame_log)
    assert one.encoded(range(len(one))) == other.encoded(range(len(other)))
    assert one.columns == other.columns
    for name in one.columns:
        np.testing.assert_array_equal(one.column(name), other.column(name))
    assert one.attrs == other.attrs


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def one_line(error: BaseException) -> str:
    """What an error says; it says it in one line."""
    assert "\n" not in str(error)
    return str(error)


def child(code: str, *arguments: Any) -> list[str]:
    """Command of a Python process that runs `code` with these tools at hand."""
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom store_tools import *\n"
    start += "import spatterlib as sp\nfrom spatterlib.stores.opening import create_store\n"
    return [sys.executable, "-c", start + textwrap.dedent(code), *map(str, arguments)]
