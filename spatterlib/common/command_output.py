"""What a command answers: lines for people, or with ``--json`` one document of a known form.

A command says with `answers` which record it answers with, tells people with `say`, and ends with `answer`. Commands
of plugins do the same.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from spatterlib.common.files import json_ready
from spatterlib.errors import Exit

__all__ = ["CommandRun", "Failed", "Failure", "answer", "answers", "counts", "document", "say"]

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclasses.dataclass
class CommandRun:
    """What is known of the command that runs: whether it answers in JSON, and what it answered."""

    as_json: bool = False
    answer: Any = None


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a command failed.

    Parameters
    ----------
    kind : str
        Name of the error's class, such as ``MissingFileError``; ``UsageError`` for wrong usage.
    message : str
        The line that stderr shows.
    exit_code : int
        See the table of exit codes.
    """

    kind: str
    message: str
    exit_code: int


@dataclasses.dataclass(frozen=True)
class Failed:
    """What every command answers instead where it fails.

    Parameters
    ----------
    error : Failure
        Why.
    """

    error: Failure


def answers(*records: type) -> Callable[[Command], Command]:
    """Give a command the option ``--json``, and say which dataclass it answers with, or one of which.

    Examples
    --------
    >>> import dataclasses
    >>> import click
    >>> from spatterlib.plugins import answer, answers
    >>> @dataclasses.dataclass(frozen=True)
    ... class Sum:
    ...     total: int
    >>> @click.command()
    ... @click.argument("numbers", nargs=-1, type=int)
    ... @answers(Sum)
    ... def add(numbers):
    ...     answer(Sum(sum(numbers)), f"together {sum(numbers)}")
    >>> add(["1", "2"], standalone_mode=False)
    together 3
    >>> add(["1", "2", "--json"], standalone_mode=False)
    {
      "total": 3
    }
    """

    def give(command: Command) -> Command:
        command.answers = records  # type: ignore[attr-defined]
        return click.option(
            "--json",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_in_json,
            help="Answer in JSON on stdout; see the page on JSON for its form.",
        )(command)

    return give


def _in_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    _run(ctx).as_json |= value


def _run(ctx: click.Context | None = None) -> CommandRun:
    run: CommandRun = (ctx or click.get_current_context()).find_root().ensure_object(CommandRun)
    return run


def say(text: str, *, end: str = "\n") -> None:
    """A line for people on stdout; nothing with ``--json``."""
    if not _run().as_json:
        click.echo(text + end, nl=False)


def answer(record: Any, text: str | None = None, *, code: int = Exit.DONE) -> None:
    """End a command: print its record with ``--json``, else `text`, if any; then leave with the exit code.

    Parameters
    ----------
    record : dataclass
        Of a type that `answers` was given.
    text : str, optional
        For people.
    code : int
        Of `spatterlib.errors.Exit`.
    """
    run = _run()
    run.answer = record
    if run.as_json:
        click.echo(document(record))
    elif text is not None:
        click.echo(text)
    if code:
        click.get_current_context().exit(code)


def counts(record: Any) -> dict[str, int]:
    """Whole numbers of a record, and how long its lists are, by name; of no record none.

    Examples
    --------
    >>> from spatterlib.common.command_output import Failure, counts
    >>> counts(Failure("OSError", "no", 1))
    {'exit_code': 1}
    """
    values = facts(record) if record is not None else {}
    numbers = {name: len(value) if isinstance(value, list) else value for name, value in values.items()}
    return {name: int(value) for name, value in json_ready(numbers).items() if type(value) is int}


def document(record: Any) -> str:
    """A record as strict JSON, in ASCII: any terminal and any program takes it; NaN and infinity are null."""
    return json.dumps(json_ready(facts(record)), indent=2, allow_nan=False)


def facts(record: Any) -> dict[str, Any]:
    """A record as a dictionary; paths are texts."""
    return {item.name: _plain(getattr(record, item.name)) for item in dataclasses.fields(record)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return facts(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
