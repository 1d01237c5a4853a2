"""Rows and crops of a watch, written to a store by a thread of its own: the disk may wait, the watch must not."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import one_line
from spatterlib.stores.opening import create_store
from spatterlib.types import DETECTION, FRAME_LOG, Detections

__all__ = ["Recorder"]

log = logging.getLogger("spatterlib")


class _Part(NamedTuple):
    table: Detections
    crops: Sequence[bytes]
    frame_log: NDArray[np.void]


class Recorder:
    """Append to a new store, and commit every few seconds: a kill costs no more than these.

    Parameters
    ----------
    path : path or URL
        The store to make.
    attrs : mapping
        What it was made from.
    overwrite : bool
        Replace what is there.
    every : float
        S between two commits.

    Raises
    ------
    OutputExistsError, StoreError
        As `spatterlib.stores.opening.create_store`.
    """

    def __init__(
        self, path: str | os.PathLike[str], attrs: Mapping[str, Any], *, overwrite: bool = False, every: float = 2.0
    ) -> None:
        attrs = {**attrs, "state": "running", "complete": False}
        self._store = create_store(path, attrs=attrs, overwrite=overwrite)
        self.path, self.every, self.problem = os.fspath(path), every, ""
        # Where the disk does not keep up, the watch waits at last, and frames are dropped and counted.
        self._parts: queue.Queue[_Part | None] = queue.Queue(512)
        self._thread = threading.Thread(target=self._run, name="spatterlib-store")
        self._thread.start()

    @property
    def state(self) -> str:
        """Whether all is well ("ok"), or why nothing is kept any more."""
        return self.problem or "ok"

    def add(self, table: Detections, crops: Sequence[bytes], frame_log: NDArray[np.void]) -> None:
        """Keep rows, their encoded crops, and the log of the frames that were looked at."""
        if not self.problem:
            self._parts.put(_Part(table, crops, frame_log))

    def close(self, attrs: Mapping[str, Any]) -> None:
        """Commit the rest, and say whether it is whole: ``state`` and ``complete`` are in `attrs`."""
        self._parts.put(None)
        self._thread.join()
        try:
            if not self.problem:
                self._store.set_attrs(attrs)
            self._store.close()
        except OSError as error:
            self._failed(error)

    def _run(self) -> None:
        waiting: list[_Part] = []
        due = time.monotonic() + self.every
        running = True
        while running:
            try:
                part = self._parts.get(timeout=max(due - time.monotonic(), 0.0))
                running = part is not None
                waiting += [part] if part is not None else []
            except queue.Empty:
                pass
            if waiting and (time.monotonic() >= due or not running):
                self._commit(waiting)
                waiting = []
            if time.monotonic() >= due:
                due = time.monotonic() + self.every

    def _commit(self, parts: Sequence[_Part]) -> None:
        if self.problem:
            return
        try:
            table = np.concatenate([np.empty(0, DETECTION), *(part.table for part in parts)])
            frame_log = np.concatenate([np.empty(0, FRAME_LOG), *(part.frame_log for part in parts)])
            self._store.append(table, [crop for part in parts for crop in part.crops], frame_log)
            self._store.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.problem = one_line(error)
        log.error("%s: nothing more is kept, the watch goes on: %s", self.path, self.problem)
