"""Named objects of bytes, in a folder or in any file system that fsspec reaches, each written as a whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from spatterlib.common.install_hints import extra, missing
from spatterlib.errors import StoreError, one_line
from spatterlib.stores.file_io import check_in_place, claim, leftovers, open_plain, put, read_at, sync_folder

__all__ = ["Bucket", "Folder", "Objects", "Piece", "objects_at"]

Piece = tuple[str, int, int]

_LARGEST = 1 << 28


class Objects(Protocol):
    """Named objects of bytes; names are relative, with ``/``."""

    cheap: bool
    """Whether looking something up costs next to nothing."""

    def get(self, name: str) -> bytes | None:
        """A whole object; None if there is none."""

    def pieces(self, wanted: Sequence[Piece]) -> list[bytes]:
        """Bytes ``start .. stop - 1`` of objects; FileNotFoundError if one is not there."""

    def put(self, objects: Mapping[str, bytes], *, safe: bool = True, new: bool = False) -> None:
        """Write objects, each as a whole; with `safe`, all outlast a power cut when it returns.

        With `new`, FileExistsError if there is one.
        """

    def names(self, prefix: str) -> list[str]:
        """Names directly under a prefix, without it."""

    def remove(self, name: str) -> None:
        """Remove an object, or everything under a prefix."""

    def claim(self, name: str) -> None:
        """Become the only writer, where that can be; StoreError if somebody else is.

        What is locked is the object of that name, which is never written again, as soon as there is one.
        """

    def close(self) -> None:
        """Stop being the only writer."""


def objects_at(path: str) -> Objects:
    """The objects under a path or URL.

    Raises
    ------
    StoreError
        If the URL's file system is not installed.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|\w+::", path):
        return Folder(path)
    parts = urlsplit(path)
    if parts.scheme == "file":
        from urllib.request import url2pathname  # loads http, ssl, socket

        return Folder(url2pathname(parts.path))
    return Bucket(path)


class Folder:
    """Objects as files of a folder."""

    cheap = True

    def __init__(self, path: str) -> None:
        self._root = Path(path).absolute()
        self._unlock: Any = None
        self._unlock_file: Any = None
        self._descriptor: int | None = None

    def get(self, name: str) -> bytes | None:
        """A whole file; None if there is none."""
        try:
            descriptor = open_plain(self._root / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            size = os.fstat(descriptor).st_size
            if size > _LARGEST:
                raise StoreError(
                    f"{self._root / name} has more than {_LARGEST >> 20} MiB, which no such file of a store has"
                )
            # A root is looked at with every read of a store: one call, and no buffer to make.
            return read_at(descriptor, size, 0)
        finally:
            os.close(descriptor)

    def pieces(self, wanted: Sequence[Piece]) -> list[bytes]:
        """Bytes of files, each file opened once for its run of pieces."""
        pieces: list[bytes] = []
        for name, run in groupby(wanted, lambda piece: piece[0]):
            descriptor = open_plain(self._root / name)
            try:
                pieces += [read_at(descriptor, stop - start, start) for _, start, stop in run]
            finally:
                os.close(descriptor)
        return pieces

    def put(self, objects: Mapping[str, bytes], *, safe: bool = True, new: bool = False) -> None:
        """Write files, each beside its place and renamed; a task that is done twice may write one twice."""
        if self._descriptor is not None:
            check_in_place(self._descriptor, str(self._root))
        put({os.path.join(self._root, name): data for name, data in objects.items()}, safe=safe, new=new)  # noqa: PTH118

    def move(self, names: Mapping[str, str]) -> None:
        """Give files other names, in place of what has these; it lasts when it returns."""
        if self._descriptor is not None:
            check_in_place(self._descriptor, str(self._root))
        targets = {self._root / old: self._root / new for old, new in names.items()}
        folders = {new.parent for new in targets.values()}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for old, new in targets.items():
            old.replace(new)
        for folder in folders:
            sync_folder(folder)

    def names(self, prefix: str) -> list[str]:
        """Files and folders directly under a prefix."""
        try:
            return sorted(entry.name for entry in (self._root / prefix).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        """Remove a file or folder; a link is removed, not followed."""
        path = self._root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def claim(self, name: str) -> None:
        """Make the folder if there is none, lock it and the file, remove what a killed writer left unfinished."""
        if self._descriptor is None:
            self._claim_folder()
        if self._unlock_file is None:
            try:
                # NFS locks only what is opened for writing, and no folders.
                file = os.open(self._root / name, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
            except FileNotFoundError:
                return
            except OSError as error:
                raise StoreError(f"{self._root} cannot be written: {name}: {error.strerror}") from error
            self._unlock_file = weakref.finalize(self, os.close, file)
            claim(file, str(self._root))

    def _claim_folder(self) -> None:
        try:
            self._root.mkdir(exist_ok=True)
            if not os.access(self._root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "the folder may not be written")
            # Windows opens no folder, and so locks none.
            descriptor = os.open(self._root, os.O_RDONLY) if hasattr(os, "O_DIRECTORY") else None
        except OSError as error:
            raise StoreError(f"{self._root} cannot be written: {error.strerror}") from error
        if descriptor is not None:
            self._unlock, self._descriptor = weakref.finalize(self, os.close, descriptor), descriptor
            claim(descriptor, str(self._root))
        for folder, _, _ in os.walk(self._root):
            for unfinished in list(leftovers(Path(folder))):
                unfinished.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the locks."""
        self._descriptor = None
        if self._unlock_file is not None:
            self._unlock_file()
        if self._unlock is not None:
            self._unlock()


class Bucket:
    """Objects of a file system that fsspec reaches; nothing keeps a second writer away."""

    cheap = False

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise StoreError(missing(f"a store at {url}", "fsspec", "remote", error)) from error
        try:
            self._fs, self._root = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            # The extra brings what S3 needs; for others fsspec says it.
            how = f"; install it with: {extra('remote')}" if url.startswith("s3:") else ""
            raise StoreError(f"{url} cannot be reached: {error}{how}") from error

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever a service's own library raises is an OSError: nobody takes it for "there is nothing"."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {one_line(error)}") from error

    def get(self, name: str) -> bytes | None:
        """A whole object; None if there is none."""
        try:
            with self._reached():
                data: bytes = self._fs.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        return data

    def pieces(self, wanted: Sequence[Piece]) -> list[bytes]:
        """Bytes of objects, all asked for at the same time."""
        names = [self._at(name) for name, _, _ in wanted]
        starts, stops = [start for _, start, _ in wanted], [stop for _, _, stop in wanted]
        with self._reached():
            pieces: list[bytes] = self._fs.cat_ranges(names, starts, stops, on_error="raise")
        return pieces

    def put(self, objects: Mapping[str, bytes], *, safe: bool = True, new: bool = False) -> None:
        """Write objects, all at the same time; new ones on condition, where the service knows that."""
        with self._reached():
            self._fs.pipe(
                {self._at(name): bytes(data) for name, data in objects.items()}, **({"mode": "create"} if new else {})
            )

    def names(self, prefix: str) -> list[str]:
        """Names directly under a prefix, as of now."""
        try:
            with self._reached():
                self._fs.invalidate_cache()
                entries = self._fs.ls(self._at(prefix), detail=False)
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in entries)

    def remove(self, name: str) -> None:
        """Remove an object, or everything under a prefix."""
        try:
            with self._reached():
                self._fs.rm(self._at(name), recursive=True)
        except FileNotFoundError:
            return

    def claim(self, name: str) -> None:
        """Nothing: there are no locks."""

    def close(self) -> None:
        """Nothing is held."""
