"""Text in a Zarr store, as its codec ``vlen-utf8`` has it: how many, then of each how many bytes, and these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "unpacked"]


def packed(values: NDArray[np.bytes_], count: int) -> bytes:
    """A chunk of `count` texts, those behind `values` empty."""
    item = values.dtype.itemsize
    lengths = np.char.str_len(values)
    table = np.zeros((len(values), 4 + item), np.uint8)
    table[:, :4] = lengths.astype("<u4").view(np.uint8).reshape(-1, 4)
    table[:, 4:] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, item)
    held = table[np.arange(4 + item) < 4 + lengths[:, None]]
    return b"".join([count.to_bytes(4, "little"), held.tobytes(), bytes(4 * (count - len(values)))])


def unpacked(data: bytes, dtype: np.dtype[Any], count: int) -> NDArray[np.bytes_]:
    """The `count` texts of a chunk.

    Raises
    ------
    ValueError
        If the chunk is no such one.
    """
    texts: list[bytes] = []
    place, end = 4, len(data.rstrip(b"\0"))  # behind it all are empty
    while place < end and len(texts) < count:
        begin = place + 4
        place = begin + int.from_bytes(data[place:begin], "little")
        texts.append(data[begin:place])
    rest = count - len(texts)
    fits = data[:4] == count.to_bytes(4, "little") and len(data) - place == 4 * rest
    if not fits or max(map(len, texts), default=0) > dtype.itemsize:
        raise ValueError(f"it holds no {count} texts of up to {dtype.itemsize} bytes")
    return np.array([*texts, *[b""] * rest], dtype)
