"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import csv
import errno
import itertools
import math
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from spatterlib.errors import MissingFolderError, OutputExistsError, ParameterError, SpatterlibError, StoreError

__all__ = [
    "SIGNATURE",
    "beside",
    "check_folder",
    "check_room",
    "check_source",
    "check_target",
    "folds_case",
    "is_for_a_store",
    "is_hdf5",
    "is_there",
    "json_ready",
    "patiently",
    "settle",
    "special",
    "write_csv",
    "write_text",
    "writing",
]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""How an HDF5 file begins."""

# Bytes in a name, on file systems of today.
_LONGEST = 255
# What a disk says that has no room left, for this user or for a file of this size.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


WINDOWS = os.name == "nt"
"""Whether a folder cannot be opened and an open file neither renamed nor removed."""

_Answer = TypeVar("_Answer")


def patiently(do: Callable[[], _Answer]) -> _Answer:
    """Rename or remove a file; where Windows refuses that because somebody reads it just now, again for a moment."""
    for power in range(10 if WINDOWS else 0):
        try:
            return do()
        except PermissionError:
            time.sleep(0.001 * 2**power)
    return do()


def folds_case(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder takes names that differ in case only for the same, as on macOS and Windows."""
    where = Path(folder).resolve()
    other = where.with_name(where.name.swapcase()) if where.name else where
    if other.name == where.name:
        return WINDOWS or sys.platform == "darwin"
    return other.exists() and other.samefile(where)


@contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Where to write what is to stand at `path`: it gets there at the end, and not at all if anything fails.

    The name is one that nothing had before, so that nobody else's file is written over or removed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from spatterlib.plugins import beside
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "report.txt"
    >>> with beside(target) as part:
    ...     _ = part.write_text("whole")
    >>> target.read_text(), part.exists()
    ('whole', False)
    """
    target = Path(path)
    part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    if len(os.fsencode(part.name)) > _LONGEST:
        part = target.with_name(f".{secrets.token_hex(8)}.part{target.suffix}")
    with writing(target):
        part.open("x").close()
        try:
            yield part
            patiently(lambda: part.replace(target))
        finally:
            with suppress(OSError):
                part.unlink()


def settle(part: str | os.PathLike[str], path: str | os.PathLike[str], *, new: bool = False) -> None:
    """Give a finished file its name, in one step.

    Parameters
    ----------
    part, path : path
        The file, and what it is to be called, in the same folder.
    new : bool
        Only if nothing has that name; otherwise what has it is replaced.

    Raises
    ------
    FileExistsError
        If something has the name and `new` is set.
    """
    if not new:
        patiently(lambda: os.replace(part, path))  # noqa: PTH105 - `Path` takes as long as renaming does
        return
    try:
        Path(path).hardlink_to(part)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError) as error:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path)) from error
        Path(part).replace(path)
    else:
        Path(part).unlink()


def is_there(path: str | os.PathLike[str], *, follow: bool = True) -> bool:
    """Whether something has this name: no only if the system says so.

    Parameters
    ----------
    path : path
        What is looked for.
    follow : bool
        Whether a link that leads nowhere is nothing.

    Raises
    ------
    StoreError
        If it cannot be told: an error that may pass, or a folder that may not be looked into. (`Path.exists` takes
        these for a no since Python 3.12.)
    """
    try:
        Path(path).stat(follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be looked at: {getattr(error, 'strerror', None) or error}") from error
    return True


def check_target(path: str | os.PathLike[str], suffixes: Sequence[str] = (), *, overwrite: bool = True) -> None:
    """Refuse early that a file cannot be written: before the work, not behind it.

    Parameters
    ----------
    path : path
        The file.
    suffixes : sequence of str
        How its name may end, whatever the case; nothing given: as it likes.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    ParameterError
        If its name ends otherwise.
    OutputExistsError
        If a file is there that may not be replaced, or what is there is no file.
    MissingFolderError
        If there is no such folder.
    StoreError
        If the folder may not be written.

    Examples
    --------
    >>> from spatterlib.common.files import check_target
    >>> check_target("frame.xyz", [".png"])
    Traceback (most recent call last):
    spatterlib.errors.ParameterError: frame.xyz: the name of this file ends in .png
    """
    target = Path(path)
    if suffixes and target.suffix.lower() not in suffixes:
        known = ", ".join(suffixes[:-1]) + " or " * (len(suffixes) > 1) + suffixes[-1]
        raise ParameterError(f"{path}: the name of this file ends in {known}")
    if target.is_dir() or special(target):
        raise OutputExistsError(f"{path} exists already and is {special(target) or 'a folder'}; name a file")
    if not overwrite and is_there(target):
        raise OutputExistsError(f"{path} exists already", mends=["overwrite"])
    check_folder(target)


def check_folder(target: str | os.PathLike[str]) -> None:
    """Refuse early that nothing can be written beside `target`, as `check_target` does."""
    folder = Path(target).absolute().parent
    if not folder.is_dir():
        raise MissingFolderError(f"{target} cannot be written: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{target} cannot be written: the folder {folder} may not be written")


def check_room(folder: str | os.PathLike[str]) -> None:
    """Refuse early a folder that is none and cannot be made, or that may not be written.

    Raises
    ------
    OutputExistsError
        If a file has its name, or that of a folder above it.
    StoreError
        If it, or the folder in which it would be made, may not be written.
    """
    path = Path(folder).absolute()
    there = next(place for place in (path, *path.parents) if is_there(place, follow=False) or place == place.parent)
    if not there.is_dir():
        raise OutputExistsError(f"{folder} cannot be a folder: {there} is a file; name another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StoreError(f"{folder} cannot be written: the folder {there} may not be written")


def check_source(path: str | os.PathLike[str]) -> None:
    """Refuse to read what is neither file nor folder: a pipe would be waited for, without end.

    Raises
    ------
    StoreError
        If it is a pipe, a socket or a device.
    """
    if what := special(path):
        raise StoreError(f"{path} is {what}, no file")


def special(path: str | os.PathLike[str]) -> str:
    """What is at a path, if it is neither file nor folder: reading it may wait for ever, and writing loses what comes.

    Examples
    --------
    >>> from spatterlib.common.files import special
    >>> special("/dev/null"), special("/")
    ('a device', '')
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of an error of the system what could not be written, and how to mend it.

    Raises
    ------
    StoreError
        In place of an OSError; what spatterlib's own errors say is said already.
    """
    try:
        yield
    except SpatterlibError:
        raise
    except OSError as error:
        advice = "; free some space, or choose another folder" if error.errno in _FULL else ""
        raise StoreError(f"{path} cannot be written: {error.strerror or error}{advice}") from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file; half a character, as in a file name that is not UTF-8, stands there as an escape."""
    with beside(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: str | os.PathLike[str], header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header line; a file name that is not UTF-8 stands there with the bytes that it has."""
    with beside(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)


def json_ready(value: Any, digits: int | None = None) -> Any:
    """What JSON can say: without NaN and infinity (None instead), NumPy scalars and tuples.

    Parameters
    ----------
    value : object
        Mappings and sequences of any depth.
    digits : int, optional
        Behind the point, to which numbers are rounded.
    """
    if isinstance(value, Mapping):
        return {str(key): json_ready(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item, digits) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, float):
        return value
    return None if not math.isfinite(value) else value if digits is None else round(value, digits)


def is_hdf5(path: str) -> bool:
    """Whether a file has the signature of HDF5, whole or damaged: at its beginning, or behind a user's block.

    Raises
    ------
    OSError
        If it cannot be told. What is not there is no HDF5 file.
    """
    try:
        # A pipe would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return False
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            places = itertools.chain([0], (512 << power for power in itertools.count()))
            for place in itertools.takewhile(lambda place: place + len(SIGNATURE) <= size, places):
                file.seek(place)
                if file.read(len(SIGNATURE)) == SIGNATURE:
                    return True
    except (FileNotFoundError, NotADirectoryError):
        pass
    return False


def is_for_a_store(path: str) -> bool:
    """Whether a path is never a recording, whatever is wrong with it: named as stores are, or an HDF5 file."""
    return Path(path).suffix.lower() in (".h5", ".hdf5", ".zarr") or is_hdf5(path)
