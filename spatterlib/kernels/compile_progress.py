"""How far the compiling of kernels is, for whoever shows it. Loads nothing heavy, Numba neither."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

__all__ = ["begin", "end", "part_done", "subscribe", "subscribed"]

Callback: TypeAlias = Callable[[int, int], None]

# For each callback: kernels that are or were compiled since it came, and those that are done.
_callbacks: dict[Callback, tuple[set[Any], set[Any]]] = {}
# The same for each kernel that is being compiled, as one may be compiled while another is.
_running: list[tuple[set[Any], set[Any]]] = []


@contextlib.contextmanager
def subscribed(callback: Callback) -> Iterator[None]:
    """Call back while kernels are compiled, in whichever thread: how many are done, of how many.

    Kernels that are compiled already, by this process or an earlier one, do not count. Errors of the callback are
    ignored.

    Examples
    --------
    >>> from spatterlib.kernels.compiling import kernel
    >>> from spatterlib.kernels.compile_progress import subscribed
    >>> halve = kernel(lambda number: number / 2)
    >>> counts = []
    >>> with subscribed(lambda done, of: counts.append((done, of))):
    ...     half = halve(3)
    >>> counts in ([(0, 1), (1, 1)], [])  # nothing where the kernel was compiled before
    True
    """
    subscribe(callback)
    try:
        yield
    finally:
        _callbacks.pop(callback, None)


def subscribe(callback: Callback) -> None:
    """The same from now on, to the end of the process."""
    _callbacks[callback] = set(), set()
    for kernels, done in _running:
        _notify(callback, kernels, done)


def begin(kernels: Iterable[Any]) -> None:
    """These are compiled now."""
    _running.append((set(kernels), set()))
    _notify_all()


def part_done(kernel: Any) -> None:
    """One of them is compiled."""
    if _running:
        _running[-1][1].add(kernel)
        _notify_all()


def end() -> None:
    """All of them are."""
    kernels, done = _running[-1]
    done |= kernels
    _notify_all()
    _running.pop()


def _notify_all() -> None:
    for callback in list(_callbacks):
        _notify(callback, *_running[-1])


def _notify(callback: Callback, kernels: set[Any], done: set[Any]) -> None:
    # The callback may be gone by now: kernels are compiled in any thread.
    known, ready = _callbacks.get(callback, (set(), set()))
    before = len(ready), len(known)
    known |= kernels
    ready |= done & known
    if (len(ready), len(known)) != before:
        with contextlib.suppress(Exception):
            callback(len(ready), len(known))
