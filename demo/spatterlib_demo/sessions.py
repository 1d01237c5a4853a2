"""What belongs to one open page: its project, what it shows, what runs for it. Nobody else ever sees it."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

import spatterlib as sp
from spatterlib_demo.access import token_of
from spatterlib_demo.projects import Project, opened

__all__ = ["Session", "close", "of", "root", "sweep"]

# S without a click after which what a page has in memory goes.
_IDLE = 2 * 3600.0
_PREFIX = "spatterlib-demo-"


@dataclass
class Session:
    """One open page.

    Parameters
    ----------
    project : Project
        Of its user or browser; pages of one browser share it.
    folder : Path
        Files that go with the page: what can be downloaded.
    verdict : Verdict, optional
        The last one, with the name of its video in `video`.
    marked : set of int
        Rows that are marked in the tab Dataset; `last` is the one that was pressed last.
    """

    project: Project
    folder: Path
    verdict: sp.Verdict | None = None
    video: str = ""
    marked: set[int] = field(default_factory=set)
    last: int | None = None
    unsure: dict[str, Any] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    running: threading.Lock = field(default_factory=threading.Lock)
    used: float = field(default_factory=time.monotonic)

    @property
    def videos(self) -> dict[str, Path]:
        """Recordings by name."""
        return self.project.videos

    @property
    def stores(self) -> dict[str, Path]:
        """Stores by name."""
        return self.project.stores

    @property
    def runs(self) -> dict[str, Path]:
        """Models by name."""
        return self.project.runs

    def place(self, suffix: str) -> Path:
        """A file of the project that is not there yet."""
        return self.project.place(suffix)

    def downloads(self) -> Path:
        """Where files lie that the browser may fetch."""
        where = self.folder / "downloads"
        where.mkdir(exist_ok=True)
        return where

    def take(self, upload: str | os.PathLike[str], kind: str) -> str:
        """See `Project.take`."""
        return self.project.take(upload, kind)

    def add(self, kind: str, name: str, path: Path) -> str:
        """See `Project.add`."""
        return self.project.add(kind, name, path)


@cache
def root() -> Path:
    """Where pages of this process keep what goes with them; gone at the end, and held by a lock till then."""
    where = Path(tempfile.mkdtemp(prefix=_PREFIX))
    held = (where / "lock").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    atexit.register(lambda: (held.close(), shutil.rmtree(where, ignore_errors=True)))
    return where


def sweep() -> None:
    """Delete what servers left that were killed: their locks are free."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/lock"):
        try:
            with old.open("r+") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old.parent, ignore_errors=True)
        except OSError:
            continue


_sessions: dict[str, Session] = {}
_lock = threading.Lock()


def of(request: gr.Request) -> Session:
    """The session of a request of Gradio; made when it is first asked for."""
    key, owner = str(request.session_hash), _owner(request)
    with _lock:
        for old in [name for name, other in _sessions.items() if time.monotonic() - other.used > _IDLE]:
            _forget(old)
        found = _sessions.get(f"{owner} {key}")
        if found is None:
            found = _sessions[f"{owner} {key}"] = Session(opened(owner), Path(tempfile.mkdtemp(dir=root())))
        found.used = time.monotonic()
        return found


def _owner(request: gr.Request) -> str:
    """The user who is logged in, else the browser; a browser that keeps no cookies has a project for each page."""
    if request.username:
        return f"user {request.username}"
    return f"browser {token_of(str(request.headers.get('cookie', ''))) or request.session_hash}"


def close(request: gr.Request) -> None:
    """Stop the work of a page that was closed, and delete its files."""
    with _lock:
        _forget(f"{_owner(request)} {request.session_hash}")


def _forget(key: str) -> None:
    old = _sessions.pop(key, None)
    if old:
        old.stop.set()
        shutil.rmtree(old.folder, ignore_errors=True)
