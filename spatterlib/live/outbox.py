"""Messages that wait to be handed over: in memory and, if there is a folder for them, on disk."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spatterlib.common.files import beside, writing
from spatterlib.errors import SpatterlibError, one_line

__all__ = ["Outbox"]

log = logging.getLogger("spatterlib")

# Messages that wait at most; the oldest are given up for the newest.
_MOST = 1000
_NAME = re.compile(r"\d{20}-\d{6}\.json")


class Outbox:
    """Messages in the order in which they came, each until it is delivered or given up.

    Parameters
    ----------
    folder : path, optional
        Each message is a file here as long as it waits, so those that a program left behind are sent by the next one.

    Raises
    ------
    StoreError
        If the folder cannot be made or read.

    Examples
    --------
    >>> import tempfile
    >>> from spatterlib.live.outbox import Outbox
    >>> folder = tempfile.mkdtemp()
    >>> key = Outbox(folder).add({"id": "a"})
    >>> again = Outbox(folder)
    >>> again.first()[1], again.remove(key), Outbox(folder).first()
    ({'id': 'a'}, None, None)
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.lost = 0
        self._lock, self._waiting, self._number, self._failing = threading.Lock(), dict[str, Any](), 0, False
        if self.folder:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                for path in sorted(self.folder.iterdir()):
                    if _NAME.fullmatch(path.name):
                        self._take(path)

    def _take(self, path: Path) -> None:
        """A message that an earlier program left; what is none stays where it is."""
        try:
            message = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            log.warning("%s is not sent: %s", path, one_line(error))
            return
        if isinstance(message, dict):
            self._waiting[path.name] = message

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> dict[str, Mapping[str, Any]]:
        """All that wait, by key, oldest first."""
        with self._lock:
            return dict(self._waiting)

    def first(self) -> tuple[str, Mapping[str, Any]] | None:
        """Key and message of the oldest, or None."""
        with self._lock:
            return next(iter(self._waiting.items()), None)

    def add(self, message: Mapping[str, Any]) -> str:
        """Let a message wait; gives the key by which it is removed."""
        with self._lock:
            self._number += 1
            key = f"{datetime.now(UTC):%Y%m%d%H%M%S%f}-{self._number % 1_000_000:06d}.json"
            oldest = next(iter(self._waiting)) if len(self._waiting) >= _MOST else None
            self._waiting[key] = message
        if oldest is not None:
            self.remove(oldest, lost=True)
        if self.folder:
            self._keep(self.folder / key, message)
        return key

    def remove(self, key: str, *, lost: bool = False) -> None:
        """A message need not wait any more: it was delivered, or it is given up (`lost`)."""
        with self._lock:
            self.lost += lost and key in self._waiting
            self._waiting.pop(key, None)
        if self.folder:
            with suppress(OSError):
                (self.folder / key).unlink(missing_ok=True)

    def _keep(self, path: Path, message: Mapping[str, Any]) -> None:
        try:
            with beside(path) as part, part.open("w", encoding="utf-8") as file:
                json.dump(message, file, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, SpatterlibError) as error:
            if not self._failing:
                log.warning("alarms wait in memory only, and do not survive this program: %s", one_line(error))
            self._failing = True
        else:
            self._failing = False
