"""Every error that spatterlib raises on purpose: one line that says what, where and how to mend it.

Each class is also the built-in exception that a caller would catch anyway, so that
``except FileNotFoundError`` works without knowing spatterlib.
"""

INCOMPLETE = 3
"""Exit code of a command that did its work on less than 99.9 % of the frames."""


class SpatterlibError(Exception):
    """Base of all errors of spatterlib; the command line prints it as one line."""

    exit_code = 1


class MissingFileError(SpatterlibError, FileNotFoundError):
    """A video, store, model or configuration file is not there."""


class VideoError(SpatterlibError, OSError):
    """A video cannot be opened, holds no frames, or changes within the stream."""


class StoreError(SpatterlibError, OSError):
    """A store cannot be created, opened, read or written."""


class OutputExistsError(SpatterlibError, FileExistsError):
    """The output is there already and overwriting was not asked for."""


class ParameterError(SpatterlibError, ValueError):
    """A parameter has a value outside its range, or a name that nobody knows."""


class PluginError(SpatterlibError, LookupError):
    """A plugin is not installed, did not load, or is there twice."""


class ContractError(SpatterlibError, TypeError):
    """A plugin returned something that its hook does not allow."""


class RowError(SpatterlibError, IndexError):
    """A row number lies outside the store."""


class LawError(SpatterlibError, AssertionError):
    """A plugin does not keep a sentence of its hook's documentation; raised by `spatterlib.testing` only."""


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())
