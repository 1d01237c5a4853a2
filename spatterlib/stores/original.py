"""Store `original`: read-only over files of the research system, and the way back to its layout.

One ``.h5`` file per video; datasets ``<video>_0``, ``<video>_1``, ... of 10,000 JPEG byte strings each, gzip.
Fixed-length strings (filled up with zeros), variable-length ones, opaque items and arrays of bytes are read, in the
root or in groups.
``<video>_spatter_at_frame.csv`` beside it, if there is one, is the frame log: a line ``frame,spatter`` and then for
each frame its number and how many spatters were found in it.
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside, is_hdf5, is_there
from spatterlib.common.image_codec import decode, encode
from spatterlib.errors import MissingFileError, OutputExistsError, ParameterError, SpatterlibError, StoreError, one_line
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.stores.file_io import damaged, put
from spatterlib.stores.rows import decoded_crop, row_numbers
from spatterlib.stores.tables import to_arrow, to_pandas, to_polars, to_xarray
from spatterlib.types import DETECTION, FRAME_LOG, Detections, Image, Store, StoreKind

log = logging.getLogger("spatterlib")

_NUMBERED = re.compile(r"(.*)_(\d+)")
_ROWS = 10_000
_BLOCK = 256
_DEPTH = 3
_JPEG = b"\xff\xd8\xff"


class Original:
    """Files of the research system, read-only: JPEG strings by the 10,000 in one HDF5 file per video.

    What those files never recorded reads as -1 or NaN: time, box and area, colours; `peak`, which cannot be
    negative, as 0. The frame numbers are known if the frame log beside the file counts exactly its crops.

    Parameters
    ----------
    path : str
        The file.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: str) -> None:
        self._path = path
        self._h5: Any = None
        self._owner = 0
        self._closed = False
        self._datasets: list[Any] = []
        self._first: NDArray[np.int64] = np.zeros(1, np.int64)
        self._last: tuple[tuple[int, int, int], list[bytes]] = ((-1, 0, 0), [])

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Whether `path` is an HDF5 file with numbered datasets of byte strings.

        Raises
        ------
        StoreError
            If it cannot be told: the file cannot be read now, or is damaged.
        """
        if not is_hdf5(path):
            return False
        with _told(path):
            import h5py

            with h5py.File(path, "r", locking=False) as h5:
                return bool(_numbered(h5))

    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Store:
        """Refused: this kind is only read, or written from another store by `spatterlib.convert`."""
        raise StoreError(
            f"{path} cannot be created: 'original' is read-only; extract to .h5 or .zarr, "
            "then run: spatterlib convert STORE FILE.h5 --to original"
        )

    @classmethod
    def open(cls, path: str, mode: str = "r") -> Store:
        """Open a file for reading; mode "a" is refused."""
        if mode != "r":
            raise StoreError(f"{path} is a file of the research system and read-only; convert it to .h5 or .zarr")
        if not Path(path).exists():
            raise MissingFileError(f"{path}: there is no such store")
        store = cls(str(Path(path).absolute()))
        store._opened()
        return store

    @classmethod
    def export(cls, source: Store, path: str) -> None:
        """Write a store's crops and frame log to `path` as the research system did.

        Parameters
        ----------
        source : Store
            Any store; crops that are no JPEG are encoded anew, at quality 95.
        path : str
            ``<video>.h5``; ``<video>_spatter_at_frame.csv`` goes beside it.

        Raises
        ------
        StoreError
            If the name does not end in .h5 or cannot be written; then nothing is at `path`.
        OutputExistsError
            If the frame log would take the place of one that belongs to something else.
        """
        import h5py

        target = Path(path).absolute()
        if target.suffix != ".h5":
            raise StoreError(f"{path}: files of the research system end in .h5")
        log_path = _frame_log_of(target)
        if is_there(log_path, follow=False) and not _is_replaced_with(target, log_path):
            raise OutputExistsError(f"{log_path} exists already and would be replaced; choose another name, or move it")
        try:
            with beside(target) as part:
                with h5py.File(part, "w", locking=False) as h5:
                    for number, start in enumerate(range(0, max(len(source), 1), _ROWS)):
                        crops = source.encoded(range(start, min(start + _ROWS, len(source))))
                        _write(h5, f"{target.stem}_{number}", [_as_jpeg(crop) for crop in crops])
                put({str(log_path): _frame_log_text(source.frame_log)})
        except SpatterlibError:
            raise
        except (OSError, RuntimeError) as error:
            raise StoreError(f"{path} cannot be written: {one_line(error)}") from error

    to_arrow, to_pandas, to_polars, to_xarray = to_arrow, to_pandas, to_polars, to_xarray

    def __repr__(self) -> str:
        return f"<store {self._path}, of the research system>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Original, (self._path,)

    def __len__(self) -> int:
        self._opened()
        return int(self._first[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def table(self) -> Detections:
        """``(n,)`` `DETECTION`, mostly unknown; see the class."""
        table = np.zeros(len(self), DETECTION)
        for name in DETECTION.names or ():
            kind = DETECTION[name].kind
            table[name] = np.nan if kind == "f" else -1 if kind == "i" else 0
        frames = self.frame_log
        if len(frames) and frames["detections"].sum() == len(table):
            table["frame"] = np.repeat(frames["number"], frames["detections"])
        return table

    @property
    def frame_log(self) -> NDArray[np.void]:
        """``(frames,)`` `FRAME_LOG` from the CSV beside the file, times NaN; empty without one."""
        path = _frame_log_of(Path(self._path))
        if not path.is_file():
            return np.empty(0, FRAME_LOG)
        try:
            return _frame_log(path)
        except (ValueError, OverflowError, OSError, csv.Error) as error:
            log.warning("%s is no frame log and is left aside: %s", path, error)
            return np.empty(0, FRAME_LOG)

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields of `DETECTION`."""
        return DETECTION.names or ()

    @property
    def attrs(self) -> dict[str, Any]:
        """What the file's name and its datasets' names tell."""
        self._opened()
        names = [dataset.name.removeprefix("/") for dataset in self._datasets]
        sizes = [len(dataset) for dataset in self._datasets]
        facts = {"layout": "original", "datasets": names, "dataset_sizes": sizes}
        return {"video": {"name": Path(self._path).stem}, **facts}

    @property
    def datasets(self) -> dict[str, int]:
        """Number of crops by dataset, in the order of the rows; an index of labels counts within these."""
        self._opened()
        return {dataset.name.removeprefix("/"): len(dataset) for dataset in self._datasets}

    def column(self, name: str) -> NDArray[Any]:
        """``(n,)`` values of one field of `DETECTION`."""
        if name not in self.columns:
            raise ParameterError(f"{self._path} has no column {name!r}; it has {', '.join(self.columns)}")
        return np.ascontiguousarray(self.table[name])

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        """JPEG bytes of the rows, without the zeros that fill a string up."""
        numbers = row_numbers(rows, len(self), self._path)
        crops: list[bytes] = [b""] * len(numbers)
        places = np.searchsorted(self._first, numbers, side="right") - 1
        for place in np.unique(places):
            own = np.flatnonzero(places == place)
            inside = numbers[own] - self._first[place]
            for begin, stop in _stretches(inside, *self._block_of(int(place))):
                strings = self._strings(int(place), begin, stop)
                these = (inside >= begin) & (inside < stop)
                for index, row in zip(own[these].tolist(), inside[these].tolist(), strict=True):
                    crops[index] = strings[row - begin]
        return crops

    def _block_of(self, place: int) -> tuple[int, int]:
        """How many rows of a dataset are compressed together, and how many rows it has."""
        dataset = self._datasets[place]
        return (dataset.chunks[0] if dataset.chunks else _BLOCK), len(dataset)

    def _strings(self, place: int, begin: int, stop: int) -> list[bytes]:
        """Neighbouring crops; the last ones read are kept for the next call."""
        (known, first, last), crops = self._last
        if (known, begin >= first, stop <= last) != (place, True, True):
            dataset = self._datasets[place]
            try:
                values = dataset[begin:stop]
                crops = _plain(values)
            except (OSError, RuntimeError) as error:
                reason = one_line(error)
                raise damaged(self._path, f"in dataset {dataset.name}, {reason}") from error
            first, self._last = begin, ((place, begin, stop), crops)
        return crops[begin - first : stop - first]

    def read(self, rows: Sequence[int]) -> list[Image]:
        """Decoded crops of the rows, ``(h, w, 3)`` uint8 RGB each."""
        return [decoded_crop(crop, self._path, row) for row, crop in zip(rows, self.encoded(rows), strict=True)]

    def append(
        self, table: Detections, encoded_crops: Sequence[bytes], frame_log: NDArray[np.void] | None = None
    ) -> None:
        """Refused."""
        self._refuse()

    def set_column(self, name: str, values: NDArray[Any]) -> None:
        """Refused."""
        self._refuse()

    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Refused."""
        self._refuse()

    def _refuse(self) -> None:
        raise StoreError(f"{self._path} is a file of the research system and read-only; convert it to .h5 or .zarr")

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._h5 is not None:
            self._h5.close()
        self._h5, self._closed = None, True

    def _opened(self) -> None:
        import h5py

        if self._closed:
            raise StoreError(f"{self._path} is closed; open it again")
        if self._h5 is not None and self._owner == os.getpid():
            return
        with _told(self._path):
            self._h5 = h5py.File(self._path, "r", locking=False)
            self._datasets = _numbered(self._h5)
        if not self._datasets:
            raise StoreError(
                f"{self._path} is no file of the research system: no datasets NAME_0, NAME_1, ... of JPEG strings"
            )
        self._owner = os.getpid()
        self._first = np.cumsum([0, *map(len, self._datasets)])


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Errors of HDF5 as one line that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such store") from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno:
            raise StoreError(f"{path} cannot be read: {os.strerror(error.errno)}") from error
        raise damaged(path, one_line(error)) from error


def _stretches(rows: NDArray[np.int64], block: int, count: int) -> list[tuple[int, int]]:
    """(begin, stop) of whole blocks that hold the rows; neighbours together, up to `_BLOCK` rows."""
    stretches: list[tuple[int, int]] = []
    for number in np.unique(rows // block).tolist():
        begin, stop = number * block, min((number + 1) * block, count)
        if stretches and stretches[-1][1] == begin and stop - stretches[-1][0] <= _BLOCK:
            stretches[-1] = stretches[-1][0], stop
        else:
            stretches.append((begin, stop))
    return stretches


def _numbered(h5: Any) -> list[Any]:
    """Datasets of crops in their natural order: 2 before 10."""
    numbered = []
    for dataset in _datasets(h5):
        match = _NUMBERED.fullmatch(dataset.name.removeprefix("/"))
        if match and _holds_crops(dataset):
            numbered.append(((match[1], int(match[2])), dataset))
    return [dataset for _, dataset in sorted(numbered, key=lambda item: item[0])]


def _datasets(group: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """Datasets of a group and the groups in it, that lie in the file itself."""
    import h5py

    for name in group:
        # A link, or data kept outside, could lead to any file of the machine.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        member = group[name]
        if isinstance(member, h5py.Group) and depth:
            yield from _datasets(member, depth - 1)
        elif isinstance(member, h5py.Dataset) and not member.is_virtual and not member.external:
            yield member


def _holds_crops(dataset: Any) -> bool:
    import h5py

    type_ = dataset.dtype
    if dataset.ndim != 1:
        return False
    if type_.kind == "V" and type_.fields is None:
        return _begins_with_images(dataset)
    texts = h5py.check_string_dtype(type_) is not None or h5py.check_vlen_dtype(type_) == np.uint8 or type_.kind == "S"
    # In a group, texts may be anything; in the root, numbered ones are crops, as the research scripts wrote them.
    return texts and ("/" not in dataset.name.removeprefix("/") or _begins_with_images(dataset))


def _begins_with_images(dataset: Any) -> bool:
    return any(crop.startswith(_JPEG) for crop in _plain(dataset[:_BLOCK]))


def _plain(values: NDArray[Any]) -> list[bytes]:
    """Crops as bytes, without the zeros that fill a string up: a JPEG ends in FF D9."""
    if values.dtype.kind == "V":
        values = np.ascontiguousarray(values).view(f"S{values.dtype.itemsize}")
    if values.dtype.kind == "S":
        # NumPy strips the zeros itself, all at once.
        return list(values.tolist())
    return [(item.tobytes() if isinstance(item, np.ndarray) else bytes(item)).rstrip(b"\0") for item in values]


def _as_jpeg(crop: bytes) -> bytes:
    """As it is, or encoded anew; one that is empty stays so."""
    return crop if crop.startswith(b"\xff\xd8") or not crop.rstrip(b"\0") else encode(decode(crop))


def _write(h5: Any, name: str, crops: list[bytes]) -> None:
    length = max(map(len, crops), default=1)
    compression = "gzip" if crops else None
    dataset = h5.create_dataset(name, (len(crops),), f"S{length}", compression=compression)
    # A slice at a time: filled up to the longest, 10,000 crops are much larger than they are.
    for start in range(0, len(crops), _BLOCK):
        dataset[start : start + _BLOCK] = np.array(crops[start : start + _BLOCK], f"S{length}")


def _frame_log_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_spatter_at_frame.csv")


def _is_replaced_with(target: Path, log_path: Path) -> bool:
    """Whether a frame log goes with the file beside it, which is to be replaced."""
    try:
        return is_there(target) and len(_frame_log(log_path)) >= 0
    except (ValueError, OverflowError, csv.Error):
        return False


def _frame_log_text(frames: NDArray[np.void]) -> bytes:
    lines = [f"{number},{count}" for number, count in zip(frames["number"], frames["detections"], strict=True)]
    return "\n".join(["frame,spatter", *lines, ""]).encode()


def _frame_log(path: Path) -> NDArray[np.void]:
    rows = list(_counts(path))
    frames = np.zeros(len(rows), FRAME_LOG)
    frames["number"] = [number for number, _ in rows]
    frames["detections"] = [count for _, count in rows]
    frames["time"], frames["decoded"] = np.nan, True
    if (frames["number"] < 0).any() or (frames["detections"] < 0).any():
        raise ValueError("a number is negative")
    return frames


def _counts(path: Path) -> Iterator[tuple[int, int]]:
    """(frame, spatters) of a CSV whose first line names its columns."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = {name.strip().lower(): name for name in reader.fieldnames or () if name}
        if not {"frame", "spatter"} <= set(names):
            raise ValueError(f"its first line must be frame,spatter, not {','.join(names)[:60]!r}")
        for row in reader:
            yield int(row[names["frame"]] or ""), int(row[names["spatter"]] or "")


@hookimpl
def spatter_stores() -> dict[str, type[StoreKind]]:
    """The research layout."""
    return {"original": Original}
