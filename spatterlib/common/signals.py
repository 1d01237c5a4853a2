"""How a run ends before its time: by a signal, by a second one, or because the process that began it is gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Stopped", "end_after", "end_with_parent", "interrupt_note", "signals", "stop_signals"]

# A terminal tells a whole group of processes, and a starter such as `uv run` or `make` may pass the same on.
_SAME = 0.5


class Stopped(KeyboardInterrupt):
    """A signal asks the run to end, as Ctrl-C does.

    Parameters
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def signals() -> list[int]:
    """The signals that ask a run to end: of Ctrl-C, of `kill`, of a terminal that closes; those that the system has.

    One that whoever started the process ignores, as `nohup` does with SIGHUP, is left alone.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def stop_signals() -> Iterator[None]:
    """Within, the first signal raises `Stopped` in the main thread, and a second one ends the process at once.

    For the main thread of a process of its own: what a signal does behind the block is left to nobody else.
    """
    first: float | None = None

    def handle(number: int, _: Any) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            raise Stopped(number)
        if time.monotonic() - first > _SAME:
            with suppress(OSError):
                os.write(2, b"ended at once; what was committed before can be read\n")
            os._exit(128 + number)

    for number in signals():
        signal.signal(number, handle)
    try:
        yield
    finally:
        # What comes now finds the work done; an exception would only break the process off with a traceback.
        first = first or -_SAME


@contextmanager
def interrupt_note(message: Callable[[], str]) -> Iterator[None]:
    """Tell whoever interrupts the block what is kept and how to go on.

    ``message()`` is called then; the command line prints what it returns.

    Examples
    --------
    >>> from spatterlib.common.signals import interrupt_note
    >>> try:
    ...     with interrupt_note(lambda: "nothing was written"):
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt as error:
    ...     print(error.__notes__)
    ['nothing was written']
    """
    try:
        yield
    except KeyboardInterrupt as error:
        with suppress(Exception):
            error.add_note(message())
        raise


def end_with_parent() -> None:
    """In a process that `multiprocessing` began: leave interrupts to the parent, and end when it ends, even killed."""
    from multiprocessing import parent_process

    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if (parent := parent_process()) is not None:
        end_after(parent.join)


def end_after(wait: Callable[[], object]) -> None:
    """End this process when a function returns: ``parent.join`` of the process that `multiprocessing` calls its parent.

    The parent holds one end of a pipe (on Windows: is a handle) that the system closes with it. Linux can send a signal
    instead, but sends it when the thread ends that started this process.
    """

    def end() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=end, name="spatterlib-parent", daemon=True).start()
