"""Who wants to know that kernels are compiled, and how far that is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

__all__ = ["begin", "end", "follow", "following", "part_done"]

Tell: TypeAlias = Callable[[int, int], None]

_told: dict[Tell, tuple[set[Any], set[Any]]] = {}
_now: list[tuple[set[Any], set[Any]]] = []


@contextlib.contextmanager
def following(tell: Tell) -> Iterator[None]:
    """Call back while kernels are compiled, in whichever thread: how many are done, of how many.

    Nothing is told of kernels that are known already or that an earlier process compiled. What the callback raises is
    left aside.

    Examples
    --------
    >>> from spatterlib.kernels.compiling import kernel
    >>> from spatterlib.following import following
    >>> halve = kernel(lambda number: number / 2)
    >>> with following(lambda done, of: print(f"{done} of {of}")):
    ...     half = halve(3)
    0 of 1
    1 of 1
    """
    follow(tell)
    try:
        yield
    finally:
        _told.pop(tell, None)


def follow(tell: Tell) -> None:
    """The same from now on, to the end of the process."""
    _told[tell] = set(), set()
    for wanted, done in _now:
        _say(tell, wanted, done)


def begin(kernels: Iterable[Any]) -> None:
    """These are compiled now."""
    _now.append((set(kernels), set()))
    _say_all()


def part_done(kernel: Any) -> None:
    """One of them is there."""
    if _now:
        _now[-1][1].add(kernel)
        _say_all()


def end() -> None:
    """All are."""
    wanted, done = _now[-1]
    done |= wanted
    _say_all()
    _now.pop()


def _say_all() -> None:
    for tell in list(_told):
        _say(tell, *_now[-1])


def _say(tell: Tell, wanted: set[Any], done: set[Any]) -> None:
    # In the meantime it may have gone: kernels are compiled in any thread.
    known, ready = _told.get(tell, (set(), set()))
    before = len(ready), len(known)
    known |= wanted
    ready |= done & known
    if (len(ready), len(known)) != before:
        with contextlib.suppress(Exception):
            tell(len(ready), len(known))
