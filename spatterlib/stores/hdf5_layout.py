"""What the HDF5 store's file holds, written by HDF5 and found again as places in the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.stores.descriptions import attributes_of, dimension_of
from spatterlib.stores.rows import COLUMN_NAME, StoreHeader

__all__ = ["GROUPS", "ChunkedArray", "Layout", "change", "counter_of", "found", "located", "make"]

GROUPS = ("columns", "crops", "frame_log")
_ROWS_PER_CHUNK, _BYTES_PER_CHUNK = 8192, 1 << 20
# Arrays of more chunks are located when they are read: to look through all of them takes longer than to open the file.
_FEW = 256

ByteRange = tuple[int, int]


@dataclass(frozen=True)
class ChunkedArray:
    """Where an array's chunks lie: chunk k holds its bytes from ``k * chunk`` on."""

    size: int
    chunk: int
    offsets: NDArray[np.int64] | None = None
    """None until they are `located`."""

    def pieces(self, start: int, stop: int) -> list[ByteRange]:
        """(offset in the file, number of bytes) of the array's bytes ``start .. stop - 1``."""
        if self.offsets is None or not 0 <= start <= stop <= self.size:
            raise ValueError
        places = []
        while start < stop:
            chunk, inside = divmod(start, self.chunk)
            count = min(self.chunk - inside, stop - start)
            offset = int(self.offsets[chunk])
            places.append((offset + inside if offset >= 0 else -1, count))
            start += count
        return places


@dataclass(frozen=True)
class Layout:
    """Where everything lies, as of one commit."""

    counter: int
    commits: int
    header: StoreHeader
    arrays: dict[str, ChunkedArray]


def change(
    h5: Any,
    before: StoreHeader | None,
    header: StoreHeader,
    appended: Mapping[str, NDArray[Any]],
    created: Mapping[str, NDArray[Any]],
) -> None:
    """Write the header, columns that are new and values that are appended, and count the commit."""
    for name, values in created.items():
        if name in h5:
            del h5[name]
        make(h5, name, values)
    for name, values in appended.items():
        _extend(h5[name].id, _for_hdf5(values))
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    h5["header"].resize(text.shape)
    h5["header"][:] = text
    if before is None or _facts(before) != _facts(header):
        # For people: numbers of rows, which change with every commit, they see by the lengths of the data sets.
        h5.attrs["spatterlib"] = json.dumps(_facts(header))
    h5["commit"][0] += np.uint64(1)


def _facts(header: StoreHeader) -> dict[str, Any]:
    return {name: header[name] for name in ("format", "id", "measured", "columns", "attrs") if name in header}


def _extend(dataset: Any, values: NDArray[Any]) -> None:
    """Append to a data set as HDF5 does it: what h5py does around it takes as long as checksums of all crops."""
    from h5py import h5s

    count, more = dataset.shape[0], len(values)
    dataset.set_extent((count + more,))
    place = dataset.get_space()
    place.select_hyperslab((count,), (more,))
    dataset.write(h5s.create_simple((more,)), place, np.ascontiguousarray(values))


def make(h5: Any, name: str, values: NDArray[Any]) -> None:
    """Create a data set that grows in chunks, without filter and fill values, with these values in it."""
    item = values.dtype.itemsize
    rows = _BYTES_PER_CHUNK if name == "crops/data" else max(1, min(_ROWS_PER_CHUNK, _BYTES_PER_CHUNK // item))
    data = _for_hdf5(values)
    # Without a filter and fill values, HDF5 writes just the bytes that it is given, and they never move.
    dataset = h5.create_dataset(name, data=data, dtype=data.dtype, maxshape=(None,), chunks=(rows,), fill_time="never")
    if "/" in name:
        dataset.attrs.update(attributes_of(name))
        dataset.dims[0].label = dimension_of(name)


def _for_hdf5(values: NDArray[Any]) -> NDArray[Any]:
    """Text marked as UTF-8; anything else as it is."""
    import h5py

    if values.dtype.kind != "S":
        return values
    return values.astype(h5py.string_dtype("utf-8", values.dtype.itemsize))


def counter_of(h5: Any) -> int:
    """Where in the file its commits are counted: the place never changes."""
    offset: int | None = _child(h5, "commit").id.get_offset()
    if offset is None:
        raise ValueError("its commits are not counted where spatterlib counts them; was the file repacked?")
    return offset


def found(h5: Any, read: Callable[[int, int], bytes]) -> Layout:
    """Places of the header and of every array in the file."""
    counter = counter_of(h5)
    commits = int.from_bytes(read(counter, 8), "little")
    text = _placed(_child(h5, "header"))
    header = json.loads(b"".join(read(*piece) for piece in text.pieces(0, text.size)))
    groups = {group: _child(h5, group) for group in GROUPS}
    arrays = {
        f"{group}/{name}": _placed(_child(children, name), most=_FEW)
        for group, children in groups.items()
        for name in children
        if COLUMN_NAME.fullmatch(name)
    }
    return Layout(counter, commits, header, arrays)


def _child(group: Any, name: str) -> Any:
    """A member that lies in this file itself: a link could lead to any file of the machine."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise KeyError(f"it has no {name!r} of its own")
    return group[name]


def located(h5: Any, array: str) -> ChunkedArray:
    """An array with the places of its chunks."""
    group, _, name = array.partition("/")
    return _placed(_child(_child(h5, group), name))


def _placed(dataset: Any, most: int | None = None) -> ChunkedArray:
    """Where a dataset's chunks lie; not yet if there are more than `most`."""
    from h5py import h5d

    plan = dataset.id.get_create_plist()
    if plan.get_layout() != h5d.CHUNKED or plan.get_nfilters() or dataset.ndim != 1:
        raise ValueError(f"{dataset.name} is not stored as spatterlib stores it; was the file repacked?")
    item, rows = dataset.dtype.itemsize, plan.get_chunk()[0]
    count = -(-len(dataset) // rows)
    if len(dataset) * item > dataset.file.id.get_filesize():
        raise ValueError(f"{dataset.name} is longer than the file")
    if most is not None and count > most:
        return ChunkedArray(len(dataset) * item, rows * item)
    offsets = np.full(count, -1, np.int64)

    def note(chunk: Any) -> None:
        if chunk.chunk_offset[0] // rows < count:
            offsets[chunk.chunk_offset[0] // rows] = chunk.byte_offset

    if count:
        dataset.id.chunk_iter(note)
    return ChunkedArray(len(dataset) * item, rows * item, offsets)
