"""Options of the command line made of the fields of records: of settings, of rules, of plugins."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from spatterlib.common.records import default_of, hints_of, kinds_of

__all__ = ["Command", "flag_of", "given_values", "option_of", "options_of", "with_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


def given_values(record: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a command that were given and belong to a record: its keyword arguments."""
    names = [item.name for item in dataclasses.fields(record)]
    return {name: values[name] for name in names if values.get(name) not in (None, ())}


def with_options(options: Iterable[click.Option]) -> Callable[[Command], Command]:
    """A decorator that gives a command these options, in this order."""

    def give(command: Command) -> Command:
        known: Any = command
        # As `click.option` does: what is named first is added last.
        known.__click_params__ = getattr(known, "__click_params__", []) + [*options][::-1]
        return command

    return give


def options_of(record: Any, *, variables: str = "") -> list[click.Option]:
    """An option for each field of a record that says what it is for, unless it says ``option=False``.

    Its value is None where it is not given; see `given_values`.

    Parameters
    ----------
    record : dataclass
        The class; see `spatterlib.common.records.parameter`.
    variables : str
        Where options can be given by environment variables too: how these begin.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from spatterlib.common.record_options import options_of
    >>> from spatterlib.common.records import parameter
    >>> @dataclass(frozen=True)
    ... class Coffee:
    ...     sugar: int = parameter(1, "Lumps.", 0, 3)
    >>> [(option.opts, option.help) for option in options_of(Coffee)]
    [(['--sugar'], 'Lumps.  [default: 1]')]
    """
    hints = hints_of(record)
    return [
        option_of(item, hints[item.name], variable=f"{variables}{item.name.upper()}" if variables else None)
        for item in dataclasses.fields(record)
        if "help" in item.metadata and item.metadata.get("option", True)
    ]


def option_of(
    item: dataclasses.Field[Any], hint: Any, *, flag: str = "", name: str = "", variable: str | None = None
) -> click.Option:
    """The option of one field; `flag` and `name` in place of its own."""
    facts = item.metadata
    flag = flag or flag_of(item)
    kind, metavar = _click_type(get_args(hint)[0] if facts.get("multiple") else hint)
    return click.Option(
        [f"{flag}/--no-{flag[2:]}" if kind is bool else flag, name or item.name],
        type=kind,
        metavar=facts.get("metavar", metavar),
        default=None,
        multiple=facts.get("multiple", False),
        envvar=variable,
        show_envvar=variable is not None,
        help=facts.get("help", "") + _default_in_words(item),
    )


def flag_of(item: dataclasses.Field[Any]) -> str:
    """The flag of a field's option."""
    return str(item.metadata.get("flag") or f"--{item.name.strip('_').replace('_', '-')}")


def _default_in_words(item: dataclasses.Field[Any]) -> str:
    shown = item.metadata.get("shown", default_of(item))
    if isinstance(shown, tuple):
        shown = ", ".join(shown) if item.metadata.get("multiple") else list(shown)
    return "" if shown in (None, "", []) else f"  [default: {shown}]"


def _click_type(hint: Any) -> tuple[Any, str | None]:
    """A type of click's, or a function and what its values are called."""
    kinds = kinds_of(hint)
    if get_origin(kinds[0]) is Literal:
        return click.Choice(get_args(kinds[0])), None
    if kinds == (Path,):
        return click.Path(path_type=Path), None
    if len(kinds) == 1 and kinds[0] in (int, float, bool, str):
        return kinds[0], None
    if get_origin(kinds[0]) is tuple and set(get_args(kinds[0])) == {float}:
        return _numbers, None
    numbers = [kind for kind in (int, float) if kind in kinds]
    return (_number_or_text(numbers), None) if str in kinds else (_json, "JSON")


def _number_or_text(numbers: Sequence[type]) -> Callable[[Any], Any]:
    def value(given: Any) -> Any:
        for number in numbers:
            with suppress(ValueError):
                return number(given)
        return given

    return value


def _numbers(value: Any) -> Any:
    """Numbers with commas between them, such as ``0,4095``."""
    try:
        return tuple(map(float, value.split(","))) if isinstance(value, str) else value
    except ValueError:
        raise click.BadParameter(f"{value!r} is not numbers with a comma between, such as 0,4095") from None


def _json(value: Any) -> Any:
    """A value written as JSON, such as a polygon."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"{value!r} is no JSON: {error}") from None
