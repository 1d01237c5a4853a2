"""What the tests of stores share: rows whose every value follows from the row's number, and a plain model."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.types import FRAME_LOG, Store

KINDS = (".h5", ".zarr")


def rows_of(start: int, count: int) -> NDArray[np.void]:
    """Table rows ``start .. start + count - 1``; every value follows from the row's number."""
    number = np.arange(start, start + count)
    table = np.zeros(count, sp.DETECTION)
    table["frame"], table["time"], table["area"] = number // 3, number / 25, number * 1.5
    table["x"], table["y"], table["width"], table["height"] = number % 640, number % 360, 20, 30
    table["red"], table["green"], table["blue"] = number % 256, number % 101, number % 99
    table["peak"] = number % 251
    return table


def look(store: Store) -> tuple[int, list[bytes], NDArray[np.void]]:
    """Which process this is, two crops and the table; another process can import this function."""
    return os.getpid(), store.encoded([0, 5]), store.table


def crops_of(start: int, count: int, size: int = 200) -> list[bytes]:
    """Bytes of that many rows, `size` on average; they are no pictures, which no store minds."""
    return [b"%d." % number * (1 + (number * 7919) % (2 * size) // 8) for number in range(start, start + count)]


def frames_of(start: int, count: int) -> NDArray[np.void]:
    frames = np.zeros(count, FRAME_LOG)
    frames["number"] = np.arange(start, start + count)
    frames["time"] = frames["number"] / 25
    frames["detections"], frames["decoded"] = frames["number"] % 4, frames["number"] % 7 > 0
    return frames


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
    start += "import spatterlib as sp\nfrom spatterlib.stores import create_store\n"
    return [sys.executable, "-c", start + textwrap.dedent(code), *map(str, arguments)]
