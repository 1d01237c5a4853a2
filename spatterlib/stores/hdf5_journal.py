"""Transactions for one file: a library writes as it likes, and all of it counts at once or not at all.

What is written behind the committed end goes straight into the file, where nobody looks yet. What would change
committed bytes is held back in memory, page by page. A commit writes these pages to a journal beside the file, renames
it into place - from here on the commit is decided - writes the pages into the file and removes the journal. Whoever
finds a journal after a kill repeats the last step. The large data are written once; the journal holds a few pages.

A file with the journal's name that is not one, or belongs to another file, is left as it is: a reader looks past it, a
writer says that it needs the name.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spatterlib.common.files import is_there, patiently
from spatterlib.errors import StoreError
from spatterlib.stores.file_io import leftovers, put, read_at, sync_folder, write_at

__all__ = ["Shadow", "check_free", "has_journal", "journal_of", "pending", "replay"]

_PAGE = 4096
_MAGIC = b"SPTRJNL1"
_HEAD = struct.Struct("<8sQQ16sI")  # magic, number of pages, where the owner's identity stands, identity, CRC-32


def journal_of(path: str) -> str:
    """Path of the journal beside a file."""
    return f"{path}.journal"


class Shadow:
    """A file as HDF5 sees it: every write is there for who wrote it, and for nobody else before `commit`.

    No method that HDF5 calls ever raises, because HDF5 does not survive that; the first error waits for `commit`.

    Parameters
    ----------
    descriptor : int
        The open file.
    pages : mapping of int to bytearray, optional
        Of a commit that cannot be finished in the file, as `pending` gives them.
    """

    def __init__(self, descriptor: int, pages: Mapping[int, bytearray] | None = None) -> None:
        self._descriptor = descriptor
        self._pages: dict[int, bytearray] = dict(pages or {})
        self._position = 0
        self.error: BaseException | None = None
        self._owner = os.getpid()
        self._committed = _rounded(os.fstat(descriptor).st_size)
        self.end = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; from the end only to the end."""
        try:
            self._position = offset if whence == os.SEEK_SET else os.fstat(self._descriptor).st_size + offset
        except BaseException as error:
            self._remember(error)
        return self._position

    def tell(self) -> int:
        """Where the position is."""
        return self._position

    def read(self, size: int) -> bytes:
        """`size` bytes from the position on; zeros behind the end."""
        data = bytearray(size)
        self.readinto(data)
        return bytes(data)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer` from the position on; zeros behind the end."""
        view, start = memoryview(buffer).cast("B"), self._position
        try:
            data = read_at(self._descriptor, len(view), start)
            view[: len(data)] = data
            view[len(data) :] = bytes(len(view) - len(data))
            for page, begin, end in self._overlap(start, start + len(view)):
                if page in self._pages:
                    origin = page * _PAGE
                    view[begin - start : end - start] = self._pages[page][begin - origin : end - origin]
        except BaseException as error:
            self._remember(error)
        return len(view)

    def write(self, buffer: bytes | memoryview) -> int:
        """Take `buffer` at the position: behind the committed end into the file, before it into memory."""
        view, start = memoryview(buffer).cast("B"), self._position
        if self.error is None and os.getpid() == self._owner:  # a forked child must not write
            try:
                self._write(view, start)
            except BaseException as error:
                self._remember(error)
        return len(view)

    def _remember(self, error: BaseException) -> None:
        """Keep the first error without its frames, which hold what HDF5 has open: Python would crash at its end."""
        self.error = self.error or error.with_traceback(None)

    def _write(self, view: memoryview, start: int) -> None:
        inside = max(0, min(len(view), self._committed - start))
        if inside < len(view):
            write_at(self._descriptor, view[inside:], start + inside)
        for page, begin, end in self._overlap(start, start + inside):
            origin = page * _PAGE
            if page not in self._pages:
                data = read_at(self._descriptor, _PAGE, origin)
                self._pages[page] = bytearray(data.ljust(_PAGE, b"\0"))
            self._pages[page][begin - origin : end - origin] = view[begin - start : end - start]

    @staticmethod
    def _overlap(start: int, stop: int) -> list[tuple[int, int, int]]:
        """(page, first byte, byte behind the last) of the pages that ``start .. stop - 1`` touches."""
        return [
            (page, max(start, page * _PAGE), min(stop, (page + 1) * _PAGE))
            for page in range(start // _PAGE, -(-stop // _PAGE) if stop > start else 0)
        ]

    def truncate(self, size: int) -> None:
        """Note where HDF5 says that the file ends."""
        self.end = size

    def flush(self) -> None:
        """Nothing: only `commit` makes anything count."""

    def settle(self) -> None:
        """Cut off what lies behind the end: it was never committed. Where something failed nobody knows the end."""
        if self.error is not None:
            raise self.error
        self._committed = _rounded(self.end)
        if os.fstat(self._descriptor).st_size > self._committed:
            os.ftruncate(self._descriptor, self._committed)

    def _reserve(self) -> None:
        """Take all the disk space up to the end now: behind the journal there is no way back."""
        start, end = self._committed, _rounded(self.end)
        if end > start and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._descriptor, start, end - start)
            except OSError as error:
                # Some file systems cannot: they are asked for room when it is written.
                if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                    raise
        if os.fstat(self._descriptor).st_size < self.end:
            os.ftruncate(self._descriptor, self.end)

    def secure(self) -> None:
        """Make sure that everything written so far is on disk, or raise what went wrong."""
        if self.error is not None:
            raise self.error
        self._reserve()
        os.fsync(self._descriptor)

    def commit(self, path: str, mark: tuple[int, bytes]) -> None:
        """Make everything written so far count.

        Parameters
        ----------
        path : str
            The file's path; the journal lies beside it.
        mark : tuple of int and bytes
            Where in the file its identity stands, and the 16 bytes of it: a journal is for this file only. The 8
            bytes before it count its commits.

        Raises
        ------
        OSError
            If something could not be written; without a journal beside the file nothing counts.
        """
        self.secure()
        # The owner's counter of commits stands before its identity. It is written first: whoever reads something and
        # then finds the counter as it was has read nothing of this commit.
        first = {page: self._pages[page] for page in ((mark[0] - 8) // _PAGE,) if page in self._pages}
        pages = first | self._pages
        try:
            put({journal_of(path): _packed(pages, mark)}, new=True)
        except FileExistsError as error:
            raise _in_the_way(path) from error
        _apply(self._descriptor, pages)
        _remove(path)
        self._pages = {}
        self._committed = _rounded(self.end)


def replay(path: str, descriptor: int) -> None:
    """Finish the commit that a kill interrupted, if there is one; needs the file open for writing, and locked.

    Raises
    ------
    StoreError
        If the pages cannot be written.
    """
    journal = Path(journal_of(path))
    for unfinished in list(leftovers(journal.parent, journal.name)):
        unfinished.unlink(missing_ok=True)
    if not has_journal(path, descriptor):
        return
    pages = pending(path, descriptor)
    try:
        _apply(descriptor, pages)
    except OSError as error:
        raise StoreError(f"{path} cannot be repaired from its journal: {error.strerror}") from error
    _remove(path)


def pending(path: str, descriptor: int) -> dict[int, bytearray]:
    """Pages of the commit that a kill interrupted, by number; none where it was not decided yet."""
    return _unpacked(Path(journal_of(path)).read_bytes(), descriptor)


def has_journal(path: str, descriptor: int) -> bool:
    """Whether a journal of this very file lies beside it, whole or not; `descriptor` is the open file."""
    try:
        with Path(journal_of(path)).open("rb") as file:
            head = file.read(_HEAD.size)
    except (FileNotFoundError, IsADirectoryError):
        return False
    return _belongs(head, descriptor)


def check_free(path: str) -> None:
    """Refuse where a writer would find that something else has the journal's name.

    Raises
    ------
    StoreError
        If so.
    """
    if is_there(journal_of(path), follow=False):
        raise _in_the_way(path)


def _in_the_way(path: str) -> StoreError:
    journal = journal_of(path)
    return StoreError(f"{path} cannot be written: {journal} is in the way and no journal of it; move that elsewhere")


def _belongs(head: bytes, descriptor: int) -> bool:
    if len(head) < _HEAD.size:
        return False
    magic, _, offset, identity, _ = _HEAD.unpack_from(head)
    if magic != _MAGIC or offset > os.fstat(descriptor).st_size:
        return False
    expected: bytes = identity
    return read_at(descriptor, 16, offset) == expected


def _rounded(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _packed(pages: dict[int, bytearray], mark: tuple[int, bytes]) -> bytes:
    numbers = np.array(list(pages), "<u8").tobytes()
    body = b"".join([numbers, *pages.values()])
    return _HEAD.pack(_MAGIC, len(pages), *mark, zlib.crc32(body)) + body


def _unpacked(data: bytes, descriptor: int) -> dict[int, bytearray]:
    """Pages of a journal of this file; none where it is not whole."""
    _, count, _, _, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    size = os.fstat(descriptor).st_size
    if len(body) != count * (8 + _PAGE) or zlib.crc32(body) != checksum:
        return {}
    numbers = np.frombuffer(body, "<u8", count)
    pages = np.frombuffer(body, np.uint8, count * _PAGE, 8 * count).reshape(-1, _PAGE)
    return {int(number): bytearray(page) for number, page in zip(numbers, pages, strict=True) if number * _PAGE < size}


def _apply(descriptor: int, pages: dict[int, bytearray]) -> None:
    for page, data in pages.items():
        write_at(descriptor, bytes(data), page * _PAGE)
    os.fsync(descriptor)


def _remove(path: str) -> None:
    patiently(Path(journal_of(path)).unlink)
    sync_folder(Path(path).parent)
