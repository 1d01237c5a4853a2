"""What stays: a folder on disk for each user or browser, with recordings, stores, models, labels, what was chosen."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spatterlib as sp

__all__ = ["Project", "opened", "place_projects", "sweep"]

_INDEX, _DAMAGED = "project.json", "project.damaged.json"
_KINDS = ("videos", "stores", "runs")
_KEPT: Mapping[str, int] = {"videos": 12, "stores": 60, "runs": 20}
"""How many of each stay; older ones go."""
_DAY = 24 * 3600.0
_UNUSED = 60 * _DAY
"""S after which a project that nobody opened goes."""


@dataclass
class Project:
    """What one user or browser has made.

    Parameters
    ----------
    folder : Path
        Its files.
    videos, stores, runs : dict
        Paths by the name that is shown; paths never leave the server.
    chosen : dict
        What was looked at last: video, store, model, expected.
    """

    folder: Path
    videos: dict[str, Path] = field(default_factory=dict)
    stores: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, Path] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def place(self, suffix: str) -> Path:
        """A file of its own that is not there yet."""
        return self.folder / f"{secrets.token_hex(6)}{suffix}"

    def take(self, upload: str | os.PathLike[str], kind: str) -> str:
        """Move an uploaded file in: nothing of it stays where files are served from. Its name."""
        source = Path(upload)
        target = self.place("") / source.name
        target.parent.mkdir()
        shutil.move(source, target)
        return self.add(kind, source.name, target)

    def add(self, kind: str, name: str, path: Path) -> str:
        """Keep a path under a name that is free; what is older than the last few goes."""
        with self._lock:
            known: dict[str, Path] = getattr(self, kind)
            known.pop(name, None) if known.get(name) == path else None
            free, number = name, 2
            while free in known:
                free, number = f"{name} ({number})", number + 1
            known[free] = path
            for old in list(known)[: -_KEPT[kind]]:
                self.drop(kind, old)
            self.save()
            return free

    def drop(self, kind: str, name: str) -> None:
        """Forget a name, and delete its file if it lies here: samples are everybody's."""
        with self._lock:
            path = getattr(self, kind).pop(name, None)
            if path is not None and self.folder in path.parents:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            self.save()

    def choose(self, **what: Any) -> None:
        """Remember what is looked at."""
        with self._lock:
            self.chosen |= what
            self.save()

    def save(self) -> None:
        """Write the index beside, then rename it; names of files that lie elsewhere are not kept."""
        with self._lock:
            facts: dict[str, Any] = {"format": 1, "chosen": self.chosen}
            for kind in _KINDS:
                own = getattr(self, kind).items()
                facts[kind] = {
                    name: path.relative_to(self.folder).as_posix()
                    for name, path in own
                    if path.is_relative_to(self.folder)
                }
            new = self.folder / f".{_INDEX}.{secrets.token_hex(4)}"
            new.write_text(json.dumps(facts, indent=1), encoding="utf-8")
            new.replace(self.folder / _INDEX)


_projects: dict[str, Project] = {}
_lock = threading.Lock()
_root: list[Path] = []


def place_projects(folder: str | os.PathLike[str] | None) -> Path:
    """Say where projects lie; by default where programs of this user keep their data."""
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    where = Path(folder) if folder else base / "spatterlib" / "demo"
    try:
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise sp.errors.ParameterError(
            f"no projects can be kept in {where}: {error.strerror}; name a folder"
        ) from error
    _root[:] = [where]
    return where


def opened(owner: str) -> Project:
    """The project of a user or browser, made when it is first asked for.

    An index that is damaged is kept under another name, and with it every file of the project.
    """
    key = hashlib.sha256(owner.encode()).hexdigest()[:40]
    with _lock:
        if key not in _projects:
            folder = _root[0] / key
            folder.mkdir(exist_ok=True, mode=0o700)
            project = _read(folder)
            if project is None:
                (folder / _INDEX).replace(folder / _DAMAGED)
                project = Project(folder)
            project.save()
            _projects[key] = project
        return _projects[key]


def _read(folder: Path) -> Project | None:
    """Of a folder; None if its index is damaged. What a hostile one says outside of the folder is left out."""
    project = Project(folder)
    try:
        facts = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        for kind in _KINDS:
            for name, place in facts.get(kind, {}).items():
                path = (folder / place).resolve()
                if path.is_relative_to(folder.resolve()) and path.exists():
                    getattr(project, kind)[str(name)] = folder / place
        project.chosen = dict(facts.get("chosen") or {})
    except FileNotFoundError:
        pass
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    return project


def sweep() -> None:
    """Delete projects that nobody opened for long, and files that a killed server left half written in others."""
    for folder in [path for path in _root[0].iterdir() if (path / _INDEX).is_file()]:
        if time.time() - (folder / _INDEX).stat().st_mtime > _UNUSED:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            project = None if (folder / _DAMAGED).exists() else _read(folder)
        except OSError:
            continue
        if project is None:
            continue
        used = [path for kind in _KINDS for path in getattr(project, kind).values()]
        for path in folder.iterdir():
            is_used = path.name in (_INDEX, "runs", "undo") or any(path == own or path in own.parents for own in used)
            if not is_used and time.time() - path.stat().st_mtime > _DAY:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
