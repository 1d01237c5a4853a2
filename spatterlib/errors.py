"""Every error that spatterlib raises on purpose: one line that says what, where and how to mend it.

Each class is also the built-in exception that a caller would catch anyway, so that
``except FileNotFoundError`` works without knowing spatterlib.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line: the one table, for all commands.

    Examples
    --------
    >>> from spatterlib.errors import Exit
    >>> int(Exit.ALARM), Exit.ALARM.meaning
    (5, '`monitor`: at least one layer with an alarm')
    """

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    FALSE = 4
    ALARM = 5
    LOST = 6
    UNDELIVERED = 7
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """What it says, in words."""
        return _MEANINGS[self]

    @classmethod
    def of(cls, codes: Iterable[int]) -> int:
        """Code of a run of several parts: one that failed counts before one that is not whole.

        Examples
        --------
        >>> from spatterlib.errors import Exit
        >>> Exit.of([0, 3, 1]), Exit.of([0, 3]), Exit.of([])
        (1, 3, 0)
        """
        return min((int(code) for code in codes if code), default=0)

    @classmethod
    def caused_by(cls, error: BaseException) -> int:
        """Code of a run that an error ended.

        Examples
        --------
        >>> from spatterlib.errors import Exit, UsageError
        >>> Exit.caused_by(UsageError("--rows needs A:B")), Exit.caused_by(OSError("no room"))
        (2, 1)
        """
        return int(getattr(error, "exit_code", cls.FAILED))


_MEANINGS = {
    Exit.DONE: "done",
    Exit.FAILED: "refused, or something failed; one line says what",
    Exit.USAGE: "wrong usage: an unknown command or option, an argument missing, a value that its option does not take",
    Exit.INCOMPLETE: "done, but under 99.9 % of the frames decoded",
    Exit.FALSE: "`verify`: the report does not hold; `check`: the store is damaged",
    Exit.ALARM: "`monitor`: at least one layer with an alarm",
    Exit.LOST: "`watch`: the stream was given up after `--give-up` seconds without a picture, or a file broke off",
    Exit.UNDELIVERED: "`watch`: at least one alarm was not handed over; stderr says how many",
    Exit.HANGUP: "ended by SIGHUP, a terminal that closes; stderr says what is kept",
    Exit.INTERRUPTED: "ended by Ctrl-C; stderr says what is kept",
    Exit.TERMINATED: "ended by SIGTERM; stderr says what is kept",
}


class SpatterlibError(Exception):
    """Base of all errors of spatterlib; the command line prints it as one line."""

    exit_code: int = Exit.FAILED


class MissingFileError(SpatterlibError, FileNotFoundError):
    """A video, store, model or configuration file is not there."""


class VideoError(SpatterlibError, OSError):
    """A video cannot be opened, holds no frames, or changes within the stream."""


class LostError(VideoError):
    """A stream was given up, or a file broke off while it was watched."""

    exit_code = Exit.LOST


class UndeliveredError(SpatterlibError):
    """A watch has ended, and not all of its alarms were handed over."""

    exit_code = Exit.UNDELIVERED


class StoreError(SpatterlibError, OSError):
    """A store cannot be created, opened, read or written."""


class DamageError(StoreError):
    """A store is not what was written: cut short, changed, or in part from another time."""


class MissingFolderError(MissingFileError, StoreError):
    """The folder that something is to be written to is not there."""


class OutputExistsError(SpatterlibError, FileExistsError):
    """The output is there already and overwriting was not asked for.

    Parameters
    ----------
    *args : object
        What is there.
    mends : sequence of {"overwrite", "resume"}
        Parameters of the call that lead on if they are true. Python says so in a note, the command line as options.

    Examples
    --------
    >>> from spatterlib.errors import OutputExistsError
    >>> OutputExistsError("build.h5 exists already", mends=["overwrite"]).__notes__
    ['overwrite=True replaces it']
    """

    def __init__(self, *args: object, mends: Sequence[str] = ()) -> None:
        super().__init__(*args)
        self.mends = tuple(mends)
        for name in mends:
            self.add_note(f"{name}=True {_MENDS[name]}")


_MENDS = {"overwrite": "replaces it", "resume": "goes on with it"}


class ParameterError(SpatterlibError, ValueError):
    """A parameter has a value outside its range, or a name that nobody knows."""


class UsageError(ParameterError):
    """What was typed cannot be meant: options that exclude each other, a value that its option does not take."""

    exit_code = Exit.USAGE


class PluginError(SpatterlibError, LookupError):
    """A plugin is not installed, did not load, or is there twice."""


class ContractError(SpatterlibError, TypeError):
    """A plugin returned something that its hook does not allow."""


class WorkerError(SpatterlibError, RuntimeError):
    """A worker of an executor is unlike the caller: what it found could be something else."""


class RowError(SpatterlibError, IndexError):
    """A row number lies outside the store."""


class LawError(SpatterlibError, AssertionError):
    """A plugin does not keep a sentence of its hook's documentation; raised by `spatterlib.testing` only."""


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())
