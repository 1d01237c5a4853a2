"""Store `npz`: crops and table in one ``.npz`` file, which `numpy.load` opens anywhere.

The whole file is written anew at every flush, beside its place, and renamed: it suits results of some thousand rows
that one sends to somebody, not long recordings.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, ParameterError, RowError, StoreError
from spatterlib.plugins import DETECTION, FRAME_LOG, Detections, Image, StoreKind, beside, decode, hookimpl

_LATER: dict[str, Any] = {"b": False, "i": -1, "f": np.nan, "U": ""}
Arrays = dict[str, NDArray[Any]]


class Npz:
    """An opened store; everything is in memory.

    Parameters
    ----------
    path : str
        The file.
    mode : {"r", "a"}
        To read, or to append too.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def __init__(self, path: str, mode: str = "r") -> None:
        self._path, self._mode = os.path.abspath(path), mode  # noqa: PTH100 - no link is followed
        self._seen: tuple[int, ...] = ()
        self._arrays: Arrays = {}
        self._open = True

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Whether `path` is an ``.npz`` file with the arrays of a store; an OSError if it cannot be read now."""
        try:
            with zipfile.ZipFile(path) as file:
                return {"attrs.npy", "crop_ends.npy"} <= set(file.namelist())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, zipfile.BadZipFile):
            return False

    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Self:
        """Put a new, empty store in the place of what is there; `exclusive`: FileExistsError if anything is."""
        if exclusive:
            Path(path).open("x").close()
        store = cls(path, "a")
        store._arrays = {
            "table": np.empty(0, DETECTION),
            "frame_log": np.empty(0, FRAME_LOG),
            "crop_ends": np.empty(0, np.int64),
            "crops": np.empty(0, np.uint8),
            "attrs": np.array(_json(attrs or {})),
        }
        store.flush()
        return store

    @classmethod
    def open(cls, path: str, mode: str = "r") -> Self:
        """Open a store."""
        store = cls(path, mode)
        store._load()
        return store

    def _load(self) -> Arrays:
        """The arrays; a reader looks whether the file is another one by now."""
        if not self._open:
            raise StoreError(f"{self._path} is closed; open it again")
        if self._mode == "a" and self._arrays:
            return self._arrays
        try:
            now = Path(self._path).stat()
            if self._seen != (now.st_ino, now.st_mtime_ns, now.st_size):
                with Path(self._path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                    self._arrays = dict(file)
                self._seen = now.st_ino, now.st_mtime_ns, now.st_size
        except FileNotFoundError as error:
            raise MissingFileError(f"{self._path}: there is no such store") from error
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise StoreError(f"{self._path} is no .npz store that can be read: {error}") from error
        return self._arrays

    def _writable(self) -> Arrays:
        if self._mode != "a":
            raise StoreError(f"{self._path} is open for reading; open it with mode='a'")
        return self._load()

    @property
    def table(self) -> Detections:
        """``(n,)`` `DETECTION`."""
        return self._load()["table"].copy()

    @property
    def frame_log(self) -> NDArray[np.void]:
        """``(frames,)`` `FRAME_LOG`."""
        return self._load()["frame_log"].copy()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        further = (name.removeprefix("column_") for name in self._load() if name.startswith("column_"))
        return (*(DETECTION.names or ()), *further)

    @property
    def attrs(self) -> dict[str, Any]:
        """Facts about the whole."""
        found: dict[str, Any] = json.loads(str(self._load()["attrs"]))
        return found

    def append(
        self, table: Detections, encoded_crops: Sequence[bytes], frame_log: NDArray[np.void] | None = None
    ) -> None:
        """Add a batch, which counts with the next flush."""
        frames = np.empty(0, FRAME_LOG) if frame_log is None else frame_log
        whole = getattr(table, "dtype", None) == DETECTION and frames.dtype == FRAME_LOG and table.ndim == 1
        if not whole or len(table) != len(encoded_crops) or not all(encoded_crops):
            raise ParameterError(
                f"{self._path}: a batch is DETECTION rows, as many crops, FRAME_LOG rows; "
                f"got {len(table)} rows and {len(encoded_crops)} crops"
            )
        old = self._writable()
        ends = len(old["crops"]) + np.cumsum([len(crop) for crop in encoded_crops], dtype=np.int64)
        added: Arrays = {
            "table": table,
            "frame_log": frames,
            "crop_ends": ends,
            "crops": np.frombuffer(b"".join(encoded_crops), np.uint8),
        }
        for name, values in old.items():
            if name.startswith("column_"):
                added[name] = np.full(len(table), _LATER[values.dtype.kind], values.dtype)
        self._arrays = old | {name: np.concatenate([old[name], values]) for name, values in added.items()}

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        """Encoded crops of the rows."""
        arrays = self._load()
        ends = arrays["crop_ends"].tolist()
        for row in rows:
            if not 0 <= row < len(ends):
                raise RowError(f"{self._path} has rows 0-{len(ends) - 1}, got {row}")
        return [arrays["crops"][ends[row - 1] if row else 0 : ends[row]].tobytes() for row in rows]

    def read(self, rows: Sequence[int]) -> list[Image]:
        """Decoded crops of the rows, ``(h, w, 3)`` uint8 RGB each."""
        return [decode(crop) for crop in self.encoded(rows)]

    def column(self, name: str) -> NDArray[Any]:
        """``(n,)`` values of one column."""
        if name in (DETECTION.names or ()):
            return self.table[name]
        if f"column_{name}" not in self._load():
            raise ParameterError(f"{self._path} has no column {name!r}; it has {', '.join(self.columns)}")
        return self._load()[f"column_{name}"].copy()

    def set_column(self, name: str, values: NDArray[Any]) -> None:
        """Write one further column, or replace it."""
        array = np.asarray(values)
        if len(array) != len(self) or array.ndim != 1 or name in (DETECTION.names or ()):
            raise ParameterError(f"{self._path}: {name!r} needs a value for each of the {len(self)} rows")
        if len(array) and array.dtype.kind not in _LATER:
            raise ParameterError(f"{self._path}: a column holds bool, int, float or text, got {array.dtype}")
        self._arrays = self._writable() | {f"column_{name}": array.copy()}
        self.flush()

    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Add to or replace entries of `attrs`."""
        self._arrays = self._writable() | {"attrs": np.array(_json(self.attrs | dict(attrs)))}
        self.flush()

    def flush(self) -> None:
        """Write the whole file beside its place and rename it."""
        if self._mode != "a" or not self._arrays:
            return
        with beside(self._path) as part, part.open("wb") as file:
            np.savez(file, **self._arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Flush and let go; may be called twice."""
        if self._open:
            self.flush()
        self._open, self._arrays = False, {}

    def __len__(self) -> int:
        return len(self._load()["table"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        if self._mode != "r":
            raise StoreError(f"{self._path} is open for writing and cannot be sent to another process")
        return type(self).open, (self._path,)


def _json(attrs: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(attrs), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"attrs must be JSON: {error}") from error


@hookimpl
def spatter_stores() -> dict[str, type[StoreKind]]:
    """The store."""
    return {"npz": Npz}
