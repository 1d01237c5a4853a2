"""What the studies share: a line of progress, and tables that they write into pages of the documentation."""

from __future__ import annotations

import sys
import time
from pathlib import Path

__all__ = ["publish", "put", "say"]


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def put(page: Path, begin: str, end: str, text: str) -> None:
    """Put text between two marks of a page, instead of what stands there.

    Parameters
    ----------
    page : Path
        A file of the documentation.
    begin, end : str
        The marks; they stay.
    text : str
        Markdown.

    Raises
    ------
    ValueError
        If a mark is not there: nothing is written.
    """
    before, begun, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ended, behind = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"{page} has no marks {begin} and {end} to put the text between")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{behind}", encoding="utf-8")


def publish(page: Path, begin: str, end: str, text: str, *, dry: bool) -> None:
    """Print text, and `put` it into a page unless it is a dry run."""
    sys.stdout.write(text + "\n")
    if not dry:
        put(page, begin, end, text)
