"""What belongs to one browser: its folder, its videos, stores, models and results. Nobody else ever sees them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import gradio as gr

import spatterlib as sp

__all__ = ["Session", "close", "of", "root"]

# S without a click after which a session's files go; how many stores and videos a session keeps.
_IDLE, _KEPT = 2 * 3600.0, 10


@dataclass
class Session:
    """One open page.

    Parameters
    ----------
    folder : Path
        Its own files.
    verdict : Verdict, optional
        The last one, with the name of its video in `video`.
    videos, stores, runs : dict
        Paths by the name that is shown; paths never leave the server.
    marked : set of int
        Rows that are marked in the tab Dataset.
    """

    folder: Path
    verdict: sp.Verdict | None = None
    video: str = ""
    videos: dict[str, Path] = field(default_factory=dict)
    stores: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, Path] = field(default_factory=dict)
    marked: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)
    running: threading.Lock = field(default_factory=threading.Lock)
    used: float = field(default_factory=time.monotonic)
    numbers: int = 0

    def place(self, suffix: str) -> Path:
        """A file of its own that is not there yet."""
        self.numbers += 1
        return self.folder / f"{self.numbers:04d}{suffix}"

    def downloads(self) -> Path:
        """Where files lie that the browser may fetch."""
        where = self.folder / "downloads"
        where.mkdir(exist_ok=True)
        return where

    def take(self, upload: str | os.PathLike[str], kind: str) -> str:
        """Move an uploaded file in: nothing of it stays where files are served from. Its name."""
        source = Path(upload)
        target = self.folder / f"{self.numbers:04d}" / source.name
        self.numbers += 1
        target.parent.mkdir()
        shutil.move(source, target)
        return self.add(kind, source.name, target)

    def add(self, kind: str, name: str, path: Path) -> str:
        """Keep a path under a name that is free; what is older than the last few goes."""
        known: dict[str, Path] = getattr(self, kind)
        known.pop(name, None) if known.get(name) == path else None
        free, number = name, 2
        while free in known:
            free, number = f"{name} ({number})", number + 1
        known[free] = path
        for old in list(known)[:-_KEPT]:
            _remove(known.pop(old), self.folder)
        return free


def _remove(path: Path, folder: Path) -> None:
    """Delete a file or folder, if it lies in `folder`: samples are everybody's."""
    if folder in path.parents:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@cache
def root() -> Path:
    """Where all sessions of this process keep their files; gone at the end."""
    where = Path(tempfile.mkdtemp(prefix="spatterlib-demo-"))
    atexit.register(shutil.rmtree, where, ignore_errors=True)
    return where


_sessions: dict[str, Session] = {}
_lock = threading.Lock()


def of(request: gr.Request) -> Session:
    """The session of a request of Gradio; made when it is first asked for."""
    key = str(request.session_hash)
    with _lock:
        for old in [name for name, other in _sessions.items() if time.monotonic() - other.used > _IDLE]:
            _forget(old)
        if key not in _sessions:
            _sessions[key] = Session(Path(tempfile.mkdtemp(dir=root())))
        found = _sessions[key]
        found.used = time.monotonic()
        return found


def close(request: gr.Request) -> None:
    """Stop the work of a page that was closed, and delete its files."""
    with _lock:
        _forget(str(request.session_hash))


def _forget(key: str) -> None:
    old = _sessions.pop(key, None)
    if old:
        old.stop.set()
        shutil.rmtree(old.folder, ignore_errors=True)
