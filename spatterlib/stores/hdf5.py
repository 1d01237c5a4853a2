"""Store `hdf5`: one HDF5 file that any HDF5 program reads, and that a kill at any moment leaves whole.

HDF5 itself writes and understands the file's structure; every change goes through a journal (`_journal`) and counts at
once or not at all, because HDF5 alone leaves a file that does not open when it is killed while writing structure. (SWMR
mode, its own answer, forbids new columns, and marks a killed file as in use.) Values are read straight from the chunks'
places in the file: the arrays are chunked, never compressed, and never move, so a reader beside the writer needs no
lock, and reading is thread-safe. Dataset ``commit`` counts commits; a reader that sees it change looks up the places
again. The writer locks the file; other HDF5 programs, which lock too, are told that it is in use.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from spatterlib.common import files
from spatterlib.common.files import SIGNATURE, is_there, settle
from spatterlib.errors import DamageError, MissingFileError, SpatterlibError, StoreError, one_line
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.stores.columns import ColumnStore
from spatterlib.stores.file_io import beside, check_in_place, claim, damaged, leftovers, lock, read_at, sync_folder
from spatterlib.stores.hdf5_journal import Shadow, check_free, has_journal, pending, replay
from spatterlib.stores.hdf5_layout import ChunkedArray, Layout, change, counter_of, found, located, make
from spatterlib.stores.medium import ByteRange
from spatterlib.stores.rows import StoreHeader, blank
from spatterlib.types import Store, StoreKind

_PATIENCE = 10.0  # s, how long a reader waits for a writer in the middle of a commit
_TRIES = 10
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_END = 28  # where a superblock of version 2 or 3 says where the file ends
_Seen = TypeVar("_Seen", Layout, ChunkedArray)


class _ForeignError(StoreError):
    """What is there is none of ours, for certain."""


class _NoHdf5Error(_ForeignError, DamageError):
    """It has the name of an HDF5 file and is none: what was in it nobody can tell."""


class Hdf5:
    """One HDF5 file; survives a kill at any moment, can be read while it is written."""

    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Whether `path` is an HDF5 file that this store wrote.

        Raises
        ------
        StoreError
            If it cannot be told: the file cannot be read now, or is damaged.
        """
        try:
            _File(path).close()
        except (MissingFileError, _ForeignError):
            return False
        return True

    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Store:
        """Make a new, empty store at `path`, in place of what is there, and open it for appending.

        Raises
        ------
        FileExistsError
            If there is something and `exclusive` is set.
        StoreError
            If it cannot be made.
        """
        header, arrays = blank(attrs)
        target = str(Path(path).absolute())
        medium = _create(target, header, arrays, exclusive=exclusive)
        return ColumnStore(target, lambda: medium, "a").opened()

    @classmethod
    def open(cls, path: str, mode: str = "r") -> Store:
        """Open a store: mode "r" to read, "a" to append and to set columns."""
        target = str(Path(path).absolute())
        return ColumnStore(target, partial(_File, target, mode), mode).opened()


class _File:
    """The medium: an open HDF5 file.

    Parameters
    ----------
    path : str
        The file.
    mode : {"r", "a"}
        Read only, or change it.
    descriptor : int, optional
        The file, opened and locked already.

    Raises
    ------
    MissingFileError, StoreError
        If it is not there, or no whole file of ours.
    """

    def __init__(self, path: str, mode: str = "r", descriptor: int | None = None) -> None:
        self._path, self._mode = path, mode
        self._layout: Layout | None = None
        self._counter: int | None = None
        self._pages: dict[int, bytearray] | None = None
        self._h5: Any = None
        self._descriptor = _open(path, mode) if descriptor is None else descriptor
        self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        try:
            with _told(path):
                if read_at(self._descriptor, len(SIGNATURE), 0) != SIGNATURE:
                    raise _no_hdf5(path, self._descriptor)
                if mode == "a":
                    claim(self._descriptor, path)
                    self._begin()
                self.header()
        except BaseException:
            self.close()
            raise

    def header(self, *, fresh: bool = False) -> StoreHeader:
        """The header as of the last commit; always fresh."""
        if self._mode == "r":
            layout = self._layout
            if self._pages is not None and not has_journal(self._path, self._descriptor):
                # Somebody who may write the file has opened it.
                layout = self._pages = None
            if layout is None or self._commits(layout.counter) != layout.commits:
                layout = self._layout = self._looked_up(partial(found, read=self._read))
            self._header = layout.header
        return self._header

    def fetch(self, array: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Bytes of an array, straight from the file."""
        layout = self._layout
        if layout is None:
            with _told(self._path):
                layout = self._layout = found(self._opened(), self._read)
        try:
            place = layout.arrays[array]
            if place.offsets is None:
                place = layout.arrays[array] = self._located(array)
            return [b"".join(self._read(*piece) for piece in place.pieces(*range_)) for range_ in ranges]
        except (KeyError, ValueError) as error:
            raise damaged(self._path, f"{array} is shorter than the header says") from error

    def _located(self, array: str) -> ChunkedArray:
        """Where the chunks of an array lie, as of now: those of an earlier commit are among them, and never move."""
        if self._mode == "r":
            return self._looked_up(partial(located, array=array))
        with _told(self._path):
            return located(self._opened(), array)

    def commit(
        self, header: StoreHeader, appended: Mapping[str, NDArray[Any]], created: Mapping[str, NDArray[Any]]
    ) -> None:
        """Change the file as a whole; after an error it is as before, and open again."""
        h5 = self._opened()
        check_in_place(self._descriptor, self._path)
        try:
            change(h5, self._header, header, appended, created)
            h5.flush()
            self._shadow.commit(self._path, self._mark)
        except BaseException:
            self._end()
            self._begin()
            raise
        self._header, self._layout = header, None

    def inspect(self) -> Iterator[str]:
        """The file's name if it ends before HDF5 says that it ends: other programs do not open it then."""
        head = self._read(0, _END + 8)
        if os.fstat(self._descriptor).st_size < int.from_bytes(head[_END:], "little"):
            yield f"the end of {Path(self._path).name}"

    def close(self) -> None:
        """Let go of the file."""
        self._end()
        self._finalizer()

    def _begin(self) -> None:
        """Open for changing: as after a kill, finish the last commit and cut off what was never committed."""
        import h5py

        replay(self._path, self._descriptor)
        check_free(self._path)
        self._shadow = Shadow(self._descriptor)
        with _told(self._path):
            self._h5 = h5py.File(self._shadow, "r+", libver=("v108", "v108"), rdcc_nbytes=0)
            # An HDF5 file that is still open when Python ends takes the interpreter down with it.
            self._ending = weakref.finalize(self, _close_quietly, self._h5)
            self._h5.flush()
            self._shadow.settle()
            self._layout = found(self._h5, self._read)
        self._header = self._layout.header
        self._mark = (self._layout.counter + 8, self._read(self._layout.counter + 8, 16))

    def _opened(self) -> Any:
        if self._h5 is None:
            raise StoreError(f"{self._path} could not be written before; open it again")
        return self._h5

    def _end(self) -> None:
        if self._h5 is not None:
            self._ending()
        self._h5 = self._layout = None

    def _read(self, offset: int, count: int) -> bytes:
        if self._pages and offset >= 0:
            shadow = Shadow(self._descriptor, self._pages)
            shadow.seek(offset)
            data = shadow.read(count)
            if shadow.error is not None:
                raise shadow.error
            return data
        data = read_at(self._descriptor, count, offset) if offset >= 0 else b""
        if len(data) != count:
            raise damaged(self._path, "it is shorter than it should be")
        return data

    def _commits(self, counter: int) -> int:
        return int.from_bytes(self._read(counter, 8), "little")

    def _looked_up(self, look: Callable[[Any], _Seen]) -> _Seen:
        """What the file's structure says, read at a moment when no writer was changing it."""
        tries = 0
        while True:
            self._pages = _wait_for_writer(self._path, self._descriptor)
            try:
                if seen := self._undisturbed(look):
                    return seen
            except StoreError as error:
                if self._foreign():
                    raise _ForeignError(
                        f"{self._path} is an HDF5 file of another program: expected a store of spatterlib, or a "
                        "research file, whose datasets NAME_0, NAME_1, ... are JPEG strings"
                    ) from error
                # Torn by a commit in the meantime, or damaged for good?
                tries += not has_journal(self._path, self._descriptor)
                if tries > _TRIES:
                    raise
            time.sleep(0.002)

    def _foreign(self) -> bool:
        """Whether another program wrote the file: what its root holds of ours is there before the file has its name."""
        try:
            with self._viewed() as h5:
                foreign = "commit" not in h5
        except StoreError:
            return False
        return foreign

    @contextmanager
    def _viewed(self) -> Iterator[Any]:
        """The file as HDF5 sees it. HDF5 does not learn that a read failed, and must not be believed then."""
        import h5py

        shadow = Shadow(self._descriptor, self._pages)
        try:
            with _told(self._path), h5py.File(shadow, "r") as h5:
                yield h5
        finally:
            if shadow.error is not None:
                reason = getattr(shadow.error, "strerror", None) or one_line(shadow.error)
                raise StoreError(f"{self._path} cannot be read: {reason}") from shadow.error

    def _undisturbed(self, look: Callable[[Any], _Seen]) -> _Seen | None:
        """What the file's structure says; None if a commit came in between.

        A commit changes its counter before anything else. So what is read is of one commit if the counter, read before
        the file is opened and while no commit was under way, is the same behind the last reading.
        """
        if self._counter is None:
            with self._viewed() as h5:
                self._counter = counter_of(h5)
        before = self._commits(self._counter)
        if self._pages is None and has_journal(self._path, self._descriptor):
            return None
        with self._viewed() as h5:
            seen = look(h5)
        return seen if before == self._commits(self._counter) else None


def _open(path: str, mode: str) -> int:
    flags = (os.O_RDWR if mode == "a" else os.O_RDONLY) | getattr(os, "O_BINARY", 0)
    try:
        # A pipe would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise _ForeignError(f"{path} is no file")
        return os.open(path, flags)
    except SpatterlibError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{path}: there is no such store") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be opened: {getattr(error, 'strerror', error)}") from error


def _no_hdf5(path: str, descriptor: int) -> StoreError:
    """Why a file that does not begin as HDF5 is none: nobody can tell what was in it."""
    if Path(path).suffix.lower() not in Hdf5.suffixes:
        return _ForeignError(f"{path} is no HDF5 file")
    what = "does not begin as one" if os.fstat(descriptor).st_size else "is empty"
    return _NoHdf5Error(str(damaged(path, f"an HDF5 file is expected there, but it {what}")))


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Errors of HDF5 as one line that names the file."""
    try:
        yield
    except SpatterlibError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise StoreError(f"{path} cannot be read: {os.strerror(error.errno)}") from error
        raise damaged(path, f"it is cut short, or was changed by another program ({one_line(error)})") from error


def _wait_for_writer(path: str, descriptor: int) -> dict[int, bytearray] | None:
    """Wait until no commit is under way; finish one that a kill interrupted, or answer with its pages."""
    limit = time.monotonic() + _PATIENCE
    while has_journal(path, descriptor):
        if time.monotonic() > limit:
            raise StoreError(f"{path} is in the middle of a commit for more than {_PATIENCE:.0f} s; try again later")
        with suppress(FileNotFoundError):
            pages = _repair(path)
            if pages is not None:
                return pages
        time.sleep(0.002)
    return None


def _repair(path: str) -> dict[int, bytearray] | None:
    """Finish the commit of a killed writer, or give its pages where nothing may be written; a living one goes on."""
    binary = getattr(os, "O_BINARY", 0)
    writable = True
    try:
        descriptor = os.open(path, os.O_RDWR | binary)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        writable, descriptor = False, os.open(path, os.O_RDONLY | binary)
    try:
        if not lock(descriptor):
            return None
        if not writable:
            return pending(path, descriptor)
        try:
            replay(path, descriptor)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            return pending(path, descriptor)
        return None
    finally:
        os.close(descriptor)


def _close_quietly(h5: Any) -> None:
    with suppress(Exception):
        h5.close()


def _create(path: str, header: StoreHeader, arrays: Mapping[str, NDArray[Any]], *, exclusive: bool) -> _File:
    """A new file: made beside, then renamed to its place, and locked all the while."""
    part = Path(beside(path))
    descriptor = old = -1
    try:
        if not exclusive and is_there(path):
            old = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            claim(old, path)
            replay(path, old)
            if files.WINDOWS:
                os.close(old)
                old = -1
        check_free(path)
        _sweep(path)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        claim(descriptor, path)
        _write_new(Shadow(descriptor), header, arrays)
        if files.WINDOWS:  # which moves no open file
            os.close(descriptor)
            descriptor = -1
        settle(part, path, new=exclusive)
        sync_folder(Path(path).parent)
    except BaseException as error:
        if descriptor >= 0:
            os.close(descriptor)
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, SpatterlibError | FileExistsError):
            reason = error.strerror or one_line(error)
            raise StoreError(f"{path} cannot be created: {reason}") from error
        raise
    finally:
        if old >= 0:
            os.close(old)
    return _File(path, "a", descriptor if descriptor >= 0 else None)


def _write_new(shadow: Shadow, header: StoreHeader, arrays: Mapping[str, NDArray[Any]]) -> None:
    """What a new file holds. HDF5's own way to a file takes Python down with it where the disk is full."""
    import h5py

    try:
        with h5py.File(shadow, "w", libver=("v108", "v108")) as h5:
            identity = np.frombuffer(secrets.token_bytes(16), "<u8")
            h5.create_dataset("commit", data=np.concatenate([[0], identity]).astype("<u8"))
            make(h5, "header", np.empty(0, np.uint8))
            change(h5, None, header, {}, arrays)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        # HDF5 reads back what could not be written.
        raise shadow.error or error from error
    shadow.secure()


def _sweep(path: str) -> None:
    """Remove what was left by killed creators of this file; a living one has locked its own."""
    target = Path(path)
    for unfinished in list(leftovers(target.parent, target.name)):
        with suppress(OSError):
            descriptor = os.open(unfinished, os.O_RDWR | getattr(os, "O_BINARY", 0))
            try:
                if lock(descriptor):
                    unfinished.unlink()
            finally:
                os.close(descriptor)


@hookimpl
def spatter_stores() -> dict[str, type[StoreKind]]:
    """HDF5."""
    return {"hdf5": Hdf5}
