"""Long work in a thread of its own: it tells how far it is, and stops when it is asked to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar
from weakref import WeakSet

__all__ = ["Job", "Stopped", "is_running"]

T = TypeVar("T")
_jobs: WeakSet[Job[Any]] = WeakSet()


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The user has cancelled."""


class Job(Generic[T]):
    """Work that runs beside the page; iterate to follow it, then ask for the `result`.

    Parameters
    ----------
    work : callable
        Gets a function to tell how far it is, which raises `Stopped` once it is to end.
    stop : threading.Event
        Set to cancel; the caller clears it before, when it begins to show that something runs, so no click is lost.
    """

    def __init__(self, work: Callable[[Callable[[Any], None]], T], stop: threading.Event) -> None:
        self._stop, self._told = stop, None
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        _jobs.add(self)
        self._thread.start()

    def _run(self, work: Callable[[Callable[[Any], None]], T]) -> None:
        try:
            self._result.append(work(self._tell))
        except BaseException as error:
            self._error = error

    def _tell(self, what: Any) -> None:
        if self._stop.is_set():
            raise Stopped
        self._told = what

    def follow(self, every: float = 0.25) -> Iterator[Any]:
        """What was told last, a few times a second, until it ends; a page that goes away stops the work."""
        try:
            while self._thread.is_alive():
                self._thread.join(every)
                if self._thread.is_alive() and self._told is not None:
                    yield self._told
        except GeneratorExit:
            self._stop.set()
            raise

    def result(self) -> T:
        """What the work returned, or raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def stops_by(self, stop: threading.Event) -> bool:
        """Whether it still works, and ends when that is set."""
        return self._stop is stop and self._thread.is_alive()


def is_running(stop: threading.Event) -> bool:
    """Whether there is work that ends when `stop` is set."""
    return any(job.stops_by(stop) for job in list(_jobs))
