"""The log of a run as JSON lines: who asked for what, with what, how far it is, what went wrong, how it ended."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shlex
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from spatterlib.common.files import json_ready
from spatterlib.errors import Exit, ParameterError

__all__ = ["EVENTS", "FIELDS", "Ended", "event", "hidden", "periodic_progress", "recording", "secrets_of"]

Ended: TypeAlias = Callable[[int, Mapping[str, int], Mapping[str, Any] | None], None]

log = logging.getLogger("spatterlib")

FIELDS = {
    "time": "when, local time with its offset from UTC, ISO 8601 with milliseconds",
    "run": "of all lines of one run the same, 12 hexadecimal digits",
    "pid": "number of the process",
    "event": "one of the events below",
    "level": "DEBUG, INFO, WARNING or ERROR",
    "message": "in words",
}
"""Fields of every line, and what they mean."""

_NAMES = ", ".join(code.name.lower() for code in Exit)

EVENTS: dict[str, dict[str, str]] = {
    "start": {
        "command": "name of the command; null where none was typed",
        "argv": "what was typed, secrets as ***",
        "cwd": "folder in which it was typed; null where there is none any more",
        "versions": "of spatterlib, Python, the platform, the libraries, packages with plugins",
    },
    "settings": {"settings": "options and arguments as the command has them: typed, from a file, defaults"},
    "detection": {"settings": "detector, filters and what else says what is looked at, with all parameters"},
    "progress": {
        "done": "how many, in the unit",
        "expected": "of how many; null where not known",
        "unit": "frames, epochs, recordings, ...",
        "found": "counts so far, by name",
    },
    "message": {"error": "the traceback, where there is one"},
    "end": {
        "outcome": f"{_NAMES}, as in the table of exit codes",
        "exit_code": "see the table of exit codes",
        "seconds": "s, how long it took",
        "counts": "numbers and lengths of lists in the command's answer, by name",
        "error": "kind, message and exit_code as `--json` has them, and the traceback; null without",
    },
}
"""Fields that the lines of each event have beside these."""

_LIBRARIES = ("av", "click", "h5py", "numba", "numpy", "opencv-python-headless")
_EVERY = 10.0
_SECRET = re.compile(r"header|token|secret|passw|(^|[-_])key$|webhook")


def event(name: str, /, **fields: Any) -> dict[str, Any]:
    """What a logging call has as `extra` so that its line is of that event.

    Examples
    --------
    >>> from spatterlib.common.run_log import event
    >>> event("progress", done=3, expected=9, unit="frames", found={})["event"]
    'progress'
    """
    if set(fields) != set(EVENTS[name]):
        raise TypeError(f"{name} has fields {sorted(EVENTS[name])}, got {sorted(fields)}")
    return {"event": name, "fields": fields}


def secrets_of(arguments: Sequence[str]) -> set[str]:
    """Texts among the arguments that nobody else may read: headers, keys, tokens, passwords in addresses.

    Examples
    --------
    >>> from spatterlib.common.run_log import secrets_of
    >>> sorted(secrets_of(["watch", "rtsp://me:pass@host/1", "--webhook-header", "X-Token: abc"]))
    ['abc', 'pass']
    """
    secrets: set[str] = set()
    option = ""
    for argument in arguments:
        if not argument.startswith("--"):
            secrets |= secrets_in(option, argument)
            option = ""
            continue
        option, equals, value = argument.partition("=")
        if equals:
            secrets |= secrets_in(option, value)
            option = ""
    return secrets


def secrets_in(option: str, value: str) -> set[str]:
    """Secret parts of the value of one option, ``""`` for an argument."""
    secrets: set[str] = set()
    if "://" in value:
        parts = urlsplit(value)
        _, _, password = parts.netloc.rpartition("@")[0].partition(":")
        secrets |= {password} | {pair.partition("=")[2] for pair in parts.query.split("&")}
        if "webhook" in option:
            # Many services keep the key in the path.
            secrets.add(parts.path.strip("/"))
    elif _SECRET.search(option):
        secrets.add(value.partition(":")[2].strip() if "header" in option else value)
    return {secret for secret in secrets if secret}


def hidden(value: Any, secrets: Collection[str]) -> Any:
    """A text, or texts of any depth, with secrets as ``***``; the longest first, as one may be part of another.

    Examples
    --------
    >>> from spatterlib.common.run_log import hidden
    >>> hidden({"argv": ["--webhook-header", "X-Token: abc"]}, {"abc"})
    {'argv': ['--webhook-header', 'X-Token: ***']}
    """
    if isinstance(value, Mapping):
        return {key: hidden(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [hidden(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, "***")
    return value


class _Lines(logging.Handler):
    """Each record as one line that is written whole: several processes may append to one file."""

    def __init__(self, path: str, arguments: Sequence[str]) -> None:
        super().__init__(logging.DEBUG)
        self.path, self.secrets, self.run = path, secrets_of(arguments), uuid.uuid4().hex[:12]
        self.descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; a disk that is full is told once and does not end the run."""
        if self.descriptor is None:
            return
        line = json.dumps(self.facts(record), allow_nan=False, default=str) + "\n"
        try:
            os.write(self.descriptor, line.encode())
        except OSError as error:
            self.let_go()
            log.warning("the log file %s cannot be written any more: %s", self.path, error.strerror)

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        """Fields of a line."""
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        own: dict[str, Any] = json_ready(getattr(record, "fields", {"error": trace}))
        for option, value in own.get("settings", {}).items():
            for text in value if isinstance(value, list) else [value]:
                self.secrets |= secrets_in(option, text) if isinstance(text, str) else set()
        at = datetime.fromtimestamp(record.created).astimezone()
        return {
            "time": at.isoformat(timespec="milliseconds"),
            "run": self.run,
            "pid": os.getpid(),
            "event": getattr(record, "event", "message"),
            "level": record.levelname,
            **hidden({"message": record.getMessage(), **own}, self.secrets),
        }

    def let_go(self) -> None:
        """Let go of the file. Not in `close`: `logging.config` closes every handler that it finds."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


@contextmanager
def recording(path: str | None, command: str | None, arguments: Sequence[str]) -> Iterator[Ended]:
    """Keep the lines of a run in a file, if one is named.

    Parameters
    ----------
    path : str or None
        The file; lines are appended.
    command : str or None
        Name of the command.
    arguments : sequence of str
        What was typed.

    Yields
    ------
    callable
        To be called at the end with exit code, counts, and what failed (a dictionary, or None).

    Raises
    ------
    ParameterError
        If the file cannot be written.
    """
    if path is None:
        yield lambda code, counts, error: None
        return
    began, level = time.monotonic(), log.level
    try:
        lines = _Lines(path, arguments)
    except OSError as error:
        raise ParameterError(f"cannot write the log file {path}: {error.strerror}") from error
    log.addHandler(lines)
    log.setLevel(min(level or logging.INFO, logging.INFO))
    text = " ".join(["spatterlib", *map(shlex.quote, arguments)])
    start = event("start", command=command, argv=list(arguments), cwd=_here(), versions=_versions())
    log.info("%s", text, extra=start)

    def ended(code: int, counts: Mapping[str, int], error: Mapping[str, Any] | None) -> None:
        seconds = round(time.monotonic() - began, 3)
        outcome = next((item.name.lower() for item in Exit if item == code), "failed")
        entry = event("end", outcome=outcome, exit_code=code, seconds=seconds, counts=counts, error=error)
        log.log(logging.ERROR if error else logging.INFO, "%s after %.1f s", outcome, seconds, extra=entry)

    try:
        yield ended
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
        lines.let_go()
        lines.close()


def periodic_progress(unit: str, every: float = _EVERY) -> Callable[..., None]:
    """What writes lines of progress, the first after so many seconds, then as often.

    Parameters
    ----------
    unit : str
        What is counted, in the plural.
    every : float
        S between two lines.

    Returns
    -------
    callable
        Called with how many are done, of how many (None: not known), and counts by name.
    """
    last = time.monotonic()

    def tell(done: int, expected: int | None, /, **found: int | float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every:
            last = now
            said = event("progress", done=done, expected=expected, unit=unit, found=found)
            log.info("%s of %s %s", done, "an unknown number of" if expected is None else expected, unit, extra=said)

    return tell


def _here() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("spatterlib", *_LIBRARIES):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    packages = (entry.dist for entry in entry_points(group="spatterlib"))
    return versions | {package.name: package.version for package in packages if package}
