"""Files that survive a kill: locked against a second writer, written beside and renamed, read at offsets."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from spatterlib.common.files import settle
from spatterlib.errors import DamageError, StoreError

__all__ = [
    "BESIDE",
    "beside",
    "check_in_place",
    "claim",
    "damaged",
    "leftovers",
    "lock",
    "open_plain",
    "put",
    "read_at",
    "sync_folder",
    "write_at",
]

BESIDE = ".unfinished"
"""Ends the name of a file that is still being written; the rename takes it away."""

_SEEKING = threading.Lock()
_UNFINISHED = re.compile(rf"(.*)\.[0-9a-f]{{8}}{re.escape(BESIDE)}", re.DOTALL)


def beside(path: str) -> str:
    """A name for a file that is to become `path`, which nothing has: what has another name is not ours."""
    return f"{path}.{secrets.token_hex(4)}{BESIDE}"


def leftovers(folder: Path, name: str = "") -> Iterator[Path]:
    """Files in a folder that were to become `name`, or any, when their writer was killed."""
    for entry in folder.iterdir():
        match = _UNFINISHED.fullmatch(entry.name)
        if match and match[1] == (name or match[1]) and entry.is_file():
            yield entry


_ADVICE = "copy it again from where it was whole, or extract anew with --overwrite"


def lock(descriptor: int) -> bool:
    """Make this process the only writer of an open file or folder, until it closes it or dies.

    Returns
    -------
    bool
        False if another process is its writer. Where the file system knows no locks, nothing is locked: True.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def claim(descriptor: int, path: str) -> None:
    """`lock` it or raise.

    Raises
    ------
    StoreError
        If another process writes it.
    """
    if not lock(descriptor):
        raise StoreError(f"{path} is being written by another process; wait until it is done")


def check_in_place(descriptor: int, path: str) -> None:
    """Refuse to write where nobody will find it.

    Raises
    ------
    StoreError
        If `path` does not name the open file or folder any more.
    """
    try:
        there = os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        there = False
    if not there:
        raise StoreError(
            f"{path} was removed, renamed or replaced while it was written; nothing more is written to it: "
            "go on with it where it is now, or begin anew"
        )


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Up to `size` bytes from `offset`, short only at the end of the file; moves no file position."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _SEEKING:  # Windows: copies of a descriptor share one position
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def open_plain(path: str | Path) -> int:
    """A file opened for reading, that is one: a pipe would be waited for, a link could lead anywhere.

    Raises
    ------
    StoreError
        If it is something else.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise StoreError(f"{path} is a link or a device where a file is expected; put the file itself there") from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise StoreError(f"{path} is a folder, a pipe or a device where a file is expected; put the file itself there")


def write_at(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data).cast("B")
    while view:
        if hasattr(os, "pwrite"):
            done = os.pwrite(descriptor, view, offset)
        else:  # Windows
            with _SEEKING:
                os.lseek(descriptor, offset, os.SEEK_SET)
                done = os.write(descriptor, view)
        view, offset = view[done:], offset + done


def damaged(path: str, what: str) -> DamageError:
    """The error that says of a store what is wrong with it and what can be done."""
    return DamageError(f"{path} is damaged: {what}; {_ADVICE}")


def sync_folder(path: str | Path) -> None:
    """Make renames in a folder survive a power cut."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know no such thing.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def put(objects: Mapping[str, bytes | memoryview], *, safe: bool = True, new: bool = False) -> None:
    """Write files by path, each beside its place and then renamed: whole or as before, never half.

    With `safe`, all of them outlast a power cut when it returns. With `new`, FileExistsError if there is such a file.
    Two may write the same file at the same time. What fails leaves nothing beside.
    """
    folders = {os.path.dirname(path) for path in objects}  # noqa: PTH120 - a commit has many files, `Path` takes longer
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for path, data in objects.items():
        part = Path(beside(path))
        try:
            with part.open("xb") as file:
                file.write(data)
                if safe:
                    file.flush()
                    os.fsync(file.fileno())
            settle(part, path, new=new)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    for folder in folders if safe else ():
        sync_folder(folder)
