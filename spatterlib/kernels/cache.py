"""Where compiled kernels are kept: one file for each kernel and kind of arguments, in a folder named after the sources.

The name of a file says all that its content depends on: the text of every file of this package, the versions of Python,
Numba and LLVM, the processor, the types of the arguments. So nothing is ever out of date, processes that write the same
file write the same content, and the time of a file does not matter.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

__all__ = ["Cache", "digest", "places"]

log = logging.getLogger("spatterlib")

_HOME = Path(__file__).parent
_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
_MEND = "set NUMBA_CACHE_DIR to a folder that is yours and stays, and they are compiled once"


@cache
def digest() -> str:
    """Of the sources of all kernels, as 16 hexadecimal digits."""
    found = hashlib.sha256()
    for path in sorted(_HOME.rglob("*.py")):
        found.update(path.relative_to(_HOME).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:16]


def places() -> Iterator[Path]:
    """Folders for these kernels, best first: the package's own, the user's, a temporary one.

    They are read as well as written in this order, so that what an image of a system brings along is found where
    nothing can be written. What `NUMBA_CACHE_DIR` names stands in place of the first two.
    """
    name = f"kernels-{digest()}"
    if config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(config.CACHE_DIR, f"spatterlib-{name}")  # type: ignore[attr-defined]
    else:
        yield _HOME / "__pycache__" / name
        user = Path(AppDirs("spatterlib", appauthor=False).user_cache_dir)
        if user.is_absolute():
            yield user / name
    with contextlib.suppress(OSError):
        yield _temporary() / name


def _temporary() -> Path:
    """A folder that nobody else can reach, in one where all can write; made if there is none.

    Raises
    ------
    OSError
        If there is something else in its place, or others could put something else there.
    """
    base = Path(tempfile.gettempdir())
    if not hasattr(os, "geteuid"):
        # Where there are no such users, each has a folder for temporary files of their own.
        return base / "spatterlib"
    own, around = os.geteuid(), base.stat()
    path = base / f"spatterlib-{own}"
    if around.st_uid not in (0, own) or (around.st_mode & 0o022 and not around.st_mode & stat.S_ISVTX):
        raise PermissionError(f"{base} is open to others")
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != own or found.st_mode & 0o077:
        raise PermissionError(f"{path} is not a folder that is only ours")
    return path


class Cache(NullCache):
    """What Numba asks for a compiled kernel of this package, and gives one to keep."""

    def __init__(self, function: Any) -> None:
        self._function = function

    @property
    def cache_path(self) -> str:
        """The first of `places`."""
        return str(next(places()))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What an earlier process compiled, or None; what is damaged is as if it were not there."""
        # What code needs that runs. What is needed to compile, which takes as long to load, Numba loads itself then.
        rtsys.initialize(target_context)
        name = self._name(sig, target_context)
        for place in places():
            try:
                held = (place / name).read_bytes()
            except OSError:
                continue
            if hashlib.sha256(held[32:]).digest() == held[:32]:
                return CompileResult._rebuild(target_context, *pickle.loads(held[32:]))  # noqa: S301 - written by us
        return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep it where that can be done; say so once if it does not last."""
        if cres.library.has_dynamic_globals:
            return
        content, name = dumps(cres._reduce()), self._name(sig, cres.target_context)
        for place in places():
            with contextlib.suppress(OSError):
                _write(place, name, hashlib.sha256(content).digest() + content)
                if place.parent == _HOME / "__pycache__":
                    _clear(place)
                elif place.parent.parent == Path(tempfile.gettempdir()):
                    _warn(f"in {place.parent}, which does not last")
                return
        _warn("nowhere, so that every start compiles them again")

    def _name(self, sig: Any, target_context: Any) -> str:
        versions = (sys.version, numba.__version__, llvmlite.__version__, *(getattr(config, s, 0) for s in _SETTINGS))
        what = repr((versions, target_context.codegen().magic_tuple(), self._function.__module__, sig))
        name = f"{self._function.__module__.rpartition('.')[2]}.{self._function.__qualname__}"
        return f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:24]}"


def _write(place: Path, name: str, content: bytes) -> None:
    """Whole or not at all, whoever else writes the same."""
    place.mkdir(parents=True, exist_ok=True)
    part = place / f".{name}.{uuid.uuid4().hex[:12]}"
    try:
        part.write_bytes(content)
        part.replace(place / name)
    finally:
        part.unlink(missing_ok=True)


def _clear(place: Path) -> None:
    """Remove what older sources of this very package were compiled into."""
    for other in place.parent.glob("kernels-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


@cache
def _warn(where: str) -> None:
    log.warning("compiled kernels are kept %s: %s", where, _MEND)
