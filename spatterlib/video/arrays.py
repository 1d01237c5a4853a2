"""Recordings that are arrays: ``.npy`` files, and datasets of HDF5, MATLAB 7.3 and Zarr, named ``file.h5::/dataset``.

They hold no times: 25 frames per second are assumed unless the caller gives `fps`. Which axis is time and which values
are black and white is what the caller says, or the usual: ``(time, rows, columns)`` or ``(time, rows, columns,
channels)``, and the range of 8 or 16 bits without a sign.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import is_hdf5
from spatterlib.common.image_codec import MAX_PIXELS
from spatterlib.errors import ParameterError, VideoError, one_line
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.plugins.registry import catalog
from spatterlib.types import Video
from spatterlib.video.cut import believed
from spatterlib.video.images import check_depth, series_of
from spatterlib.video.kinds import other_kind
from spatterlib.video.names import split_dataset
from spatterlib.video.still import Still, ValueRange, three_channels

log = logging.getLogger("spatterlib")

suffixes = (".npy",)
# NumPy reads the head of a file as a Python literal.
_NO_HEADER = (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError)
# Bytes of frames that are read at a time, and objects of a file that are looked at for frames.
_BLOCK, _LOOKED_AT = 64 << 20, 10_000
_CHANNELS = (1, 3, 4)
_USUAL = {3: "tyx", 4: "tyxc"}
# MATLAB's arrays of (rows, columns, time) lie in its files with their axes the other way round.
_MATLAB = {3: "txy", 4: "tcxy"}


@dataclass(frozen=True)
class NpyFrames:
    """Frames of an ``.npy`` file, read one by one: the file may be larger than memory, or cut off.

    Parameters
    ----------
    path : Path
        The file.
    dtype : str
        NumPy's name of the type, with its byte order.
    shape : tuple of int
        ``(n, h, w)`` or ``(n, h, w, channels)``.
    offset : int
        Bytes in front of the first frame.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, path: Path, value_range: ValueRange = None) -> NpyFrames:
        """Read the head of a file and refuse what are no frames."""
        with path.open("rb") as file:
            try:
                major = np.lib.format.read_magic(file)[0]
                head = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = head(file)
            except _NO_HEADER as error:
                raise VideoError(f"{path} is no .npy file that can be read: {one_line(error)}") from error
            offset = file.tell()
        got = f"{dtype} {shape}"
        check_depth(str(path), dtype, value_range)
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in _CHANNELS):
            raise VideoError(
                f"{path} holds {got}; frames are (n, h, w) or (n, h, w, 1, 3 or 4); a[None] adds an axis, "
                "axes='yxt' (--axes yxt) names another order"
            )
        if len(shape) == 3 and shape[2] in (3, 4):
            raise VideoError(f"{path} holds {got}, which looks like one colour image; save a[None] for one frame")
        if fortran:
            raise VideoError(f"{path} is in Fortran order; save np.ascontiguousarray(a), whose frames lie together")
        _check_size(str(path), got, shape[1], shape[2])
        found = (path.stat().st_size - offset) // (dtype.itemsize * int(np.prod(shape[1:])))
        if found and shape[0] > found and not believed(found, shape[0] - found):
            log.warning("%s: its head says %d frames, it holds %d", path, shape[0], found)
            shape = (found, *shape[1:])
        return cls(path, dtype.str, shape, offset)

    @property
    def files(self) -> tuple[str]:
        """The file."""
        return (str(self.path),)

    def __len__(self) -> int:
        return self.shape[0]

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Frames ``start .. stop - 1``; None where the file is cut off."""
        dtype, count = np.dtype(self.dtype), int(np.prod(self.shape[1:]))
        with self.path.open("rb") as file:
            for number in range(start, stop):
                file.seek(self.offset + number * count * dtype.itemsize)
                flat = np.fromfile(file, dtype, count)
                yield three_channels(flat.reshape(self.shape[1:])) if len(flat) == count else None


@dataclass(frozen=True)
class DatasetFrames:
    """Frames of an array in a file, in any order of its axes, read some at a time.

    Parameters
    ----------
    file, inside : str
        The file, and the dataset in it; none in an ``.npy`` file.
    axes : str
        Its axes in order: ``t`` time, ``y`` rows, ``x`` columns, ``c`` channels.
    shape : tuple of int
        Its length along each.
    dtype : str
        Of its values.
    together : int
        Frames that are stored, and so read, in one piece.
    """

    file: str
    inside: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    together: int

    @classmethod
    def of(cls, file: str, inside: str, axes: str | None) -> DatasetFrames:
        """Look at a dataset and refuse what are no frames."""
        name = f"{file}::{inside}" if inside else file
        with _opened(file, inside) as array:
            shape, dtype = tuple(map(int, array.shape)), np.dtype(array.dtype)
            chunks = getattr(array, "chunks", None) or (1,) * len(shape)
            usual = (_MATLAB if "MATLAB_class" in getattr(array, "attrs", ()) else _USUAL).get(len(shape), "")
        got, axes = f"{dtype} {shape}", axes or usual
        if len(shape) not in _USUAL:
            raise VideoError(f"{name} holds {got}; frames have 3 axes, or 4 with colour")
        if len(axes) != len(shape):
            raise VideoError(f"{name} holds {got}, whose axes are not {axes}")
        length = dict(zip(axes, shape, strict=True))
        if length.get("c", 1) not in _CHANNELS:
            raise VideoError(f"{name} holds {got}; along c of axes {axes} there are 1, 3 or 4 channels")
        _check_size(name, got, length["y"], length["x"])
        frame = dtype.itemsize * int(np.prod(shape)) // max(length["t"], 1)
        together = max(1, min(chunks[axes.index("t")], _BLOCK // max(frame, 1)))
        return cls(file, inside, axes, shape, dtype.str, together)

    @property
    def files(self) -> tuple[str, ...]:
        """The file; of Zarr, those of the array."""
        folder = Path(self.file)
        if folder.is_dir():
            return tuple(sorted(str(file) for file in (folder / self.inside.strip("/")).rglob("*") if file.is_file()))
        return (self.file,)

    def __len__(self) -> int:
        return self.shape[self.axes.index("t")]

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Frames ``start .. stop - 1``; None for those whose part of the file is damaged."""
        with _opened(self.file, self.inside) as array:
            while start < stop:
                behind = min(start - start % self.together + self.together, stop)
                for frame in self._block(array, start, behind):
                    yield None if frame is None else three_channels(frame)
                start = behind

    def _block(self, array: Any, start: int, stop: int) -> Iterator[NDArray[Any] | None]:
        place = tuple(slice(start, stop) if axis == "t" else slice(None) for axis in self.axes)
        order = [self.axes.index(axis) for axis in "tyxc" if axis in self.axes]
        try:
            yield from np.asarray(array[place]).transpose(order)
        except (OSError, ValueError, RuntimeError) as error:
            # A number tells a fault of the system, which may pass, from data that do not unpack.
            if getattr(error, "errno", None):
                raise
            for number in range(start, stop) if stop - start > 1 else ():
                yield from self._block(array, number, number + 1)
            if stop - start == 1:
                yield None


def _check_size(name: str, got: str, height: int, width: int) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        raise VideoError(f"{name} holds {got}; frames have 1 to {MAX_PIXELS} px")


@contextmanager
def _opened(file: str, inside: str) -> Iterator[Any]:
    """An array that is read where it is sliced."""
    if not inside:
        yield np.load(file, mmap_mode="r")
    elif Path(file).is_dir():
        import zarr

        try:
            array = zarr.open(file, path=inside.strip("/"), mode="r")
        except (KeyError, ValueError, FileNotFoundError) as error:
            raise VideoError(f"{file} has no array {inside}{_offered(file)}") from error
        if not isinstance(array, zarr.Array):
            raise VideoError(f"{file} has no array {inside}, but a group{_offered(file)}")
        yield array
    else:
        import h5py

        try:
            h5 = h5py.File(file, "r")
        except OSError as error:
            if what := other_kind(Path(file)):
                raise VideoError(f"{file} is {what}") from error
            raise VideoError(f"{file} is no HDF5 file that can be read: {one_line(error)}") from error
        with h5:
            array = h5.get(inside)
            if not isinstance(array, h5py.Dataset):
                raise VideoError(f"{file} has no dataset {inside}{_offered(file)}")
            yield array


def _offered(file: str) -> str:
    """The datasets of a file that may hold frames, as they are to be named."""
    names = _datasets_of_zarr(file) if Path(file).is_dir() else _datasets_of_hdf5(file)
    named = ", ".join(f"{file}::{name} ({dtype} {shape})" for name, dtype, shape in names[:4])
    return f"; name one that holds frames: {named}" if named else ""


def _datasets_of_hdf5(file: str) -> list[tuple[str, str, tuple[int, ...]]]:
    import h5py

    found, seen = [], 0

    def look(name: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(item, h5py.Dataset) and _may_be_frames(item.shape, item.dtype):
            found.append((f"/{name}", str(item.dtype), item.shape))
        return seen >= _LOOKED_AT or None

    # What is damaged holds none that could be named.
    with suppress(OSError, RuntimeError), h5py.File(file, "r") as h5:
        h5.visititems(look)
    return found


def _datasets_of_zarr(file: str) -> list[tuple[str, str, tuple[int, ...]]]:
    import zarr

    group = zarr.open(file, mode="r")
    arrays = group.members(max_depth=None) if isinstance(group, zarr.Group) else ()
    return [
        (f"/{name}", str(item.dtype), item.shape)
        for name, item in arrays
        if isinstance(item, zarr.Array) and _may_be_frames(item.shape, item.dtype)
    ]


def _may_be_frames(shape: tuple[int, ...] | None, dtype: np.dtype[Any]) -> bool:
    return shape is not None and len(shape) in _USUAL and dtype.kind in "buif" and 0 not in shape


def check_axes(axes: object) -> None:
    """Refuse an order of axes that is none.

    Raises
    ------
    ParameterError
        If it is neither None nor the letters t, y and x, and perhaps c, in some order.
    """
    if axes is not None and (not isinstance(axes, str) or "".join(sorted(axes)) not in ("txy", "ctxy")):
        raise ParameterError(
            "axes (--axes) names the axes of an array in their order: t time, y rows, x columns, c channels, such as "
            f"tyx or yxt; got {axes!r}"
        )


@hookimpl(trylast=True)
def spatter_open_video(path: str, value_range: ValueRange, axes: str | None) -> Video | None:
    """``.npy`` files and datasets, which are named ``file.h5::/dataset``."""
    file, inside = split_dataset(path)
    given: dict[str, Any] = {"value_range": value_range, "axes": axes}
    if inside:
        frames = DatasetFrames.of(file, inside, axes)
        return series_of(path, frames, "zarr" if Path(file).is_dir() else "hdf5", **given)
    if Path(path).suffix.lower() == ".npy" and Path(path).is_file():
        whole = DatasetFrames.of(path, "", axes) if axes else NpyFrames.of(Path(path), value_range)
        return series_of(path, whole, "npy", **given)
    kind = "an HDF5 file" if is_hdf5(path) else "a Zarr group" if (Path(path) / "zarr.json").is_file() else ""
    if kind and not _is_a_store(path) and (offered := _offered(path)):
        raise VideoError(f"{path} is {kind}{offered}")
    return None


def _is_a_store(path: str) -> bool:
    """Whether a kind of store knows a file, or cannot tell: then it says best what is wrong with it."""
    try:
        return any(kind.recognises(path) for kind in catalog().stores.values())
    except OSError:
        return True
