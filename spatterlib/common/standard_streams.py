"""Standard streams that take any text, carry no commands of others to the terminal, and never end a run."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import sys
from typing import Any

__all__ = ["Lenient", "lenient", "output_failure", "shown"]

# Control characters and those that turn the direction of writing. What our own output needs stays: line breaks, tabs,
# colours, and what moves a bar back to the start of its line.
_OURS = r"\x1b\[(?:[0-9;]*m|2K|A)"
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
_LINE = r"\A\r|\r(?=\n|\Z)"
_UNSAFE = re.compile(rf"({_OURS}|{_LINE})|{_CONTROL}")
_IN_NAMES = re.compile(rf"{_CONTROL}|[\t\n\u2028\u2029]")


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def shown(name: object, longest: int | None = None) -> str:
    r"""A name as it can stand in a line of text: without line breaks, control characters and halves of characters.

    Parameters
    ----------
    name : object
        A name or path.
    longest : int, optional
        A longer one is cut in the middle.

    Examples
    --------
    >>> from spatterlib.common.standard_streams import shown
    >>> shown("layer\n1.mp4"), shown("a\udcff.mp4"), shown("Schicht ü.mp4")
    ('layer\\n1.mp4', 'a\\udcff.mp4', 'Schicht ü.mp4')
    """
    whole = _IN_NAMES.sub(_escaped, str(name).encode("utf-8", "backslashreplace").decode("utf-8"))
    if longest is None or len(whole) <= longest:
        return whole
    return f"{whole[: longest // 2]}…{whole[-(longest // 2) :]}"


class Lenient(io.TextIOWrapper):
    """A text stream over a file descriptor that can be written to whatever happens.

    What its encoding has no letter for, and what would command a terminal, is written as an escape. Where writing
    fails, as behind a pipe that nobody reads or on a full disk, the rest goes nowhere and `failure` says why.
    """

    failure: OSError | None = None

    def __init__(self, buffer: Any, encoding: str, **options: Any) -> None:
        # Click takes a stream that calls itself ASCII for misconfigured, and writes UTF-8 beside it.
        self._letters = encoding
        shown_as = "latin-1" if codecs.lookup(encoding).name == "ascii" else encoding
        super().__init__(buffer, shown_as, "backslashreplace", **options)

    def write(self, text: str) -> int:
        """Write what can be written; says that it was all."""
        safe = _UNSAFE.sub(lambda match: match[1] or _escaped(match), text)
        safe = safe.encode(self._letters, "backslashreplace").decode(self._letters)
        try:
            super().write(safe)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or give up."""
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.failure = self.failure or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def lenient() -> None:
    """Make the standard streams of this process `Lenient`; one that is closed becomes the null device.

    Else the next file that is opened takes its number, and what a library prints is written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the process lives
    sys.stdout = _stream(sys.stdout, 1, line_buffering=False)
    sys.stderr = _stream(sys.stderr, 2, line_buffering=True)


def _stream(stream: Any, number: int, *, line_buffering: bool) -> Any:
    if stream is None:
        return Lenient(open(number, "wb", closefd=False), "utf-8", line_buffering=line_buffering)
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding, at_once = stream.encoding, stream.line_buffering
    return Lenient(stream.detach(), encoding, line_buffering=at_once or line_buffering)


def output_failure() -> str:
    """Why what was printed did not arrive, as far as it matters; empty where it did, or where the reader left."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    return "" if failure is None or failure.errno == errno.EPIPE else failure.strerror or str(failure)
