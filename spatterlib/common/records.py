"""Parameters of records: frozen dataclasses whose fields say what they are for and which values they take."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from spatterlib.errors import ParameterError

__all__ = ["check", "checked", "default_of", "hints_of", "kinds_of", "parameter"]


def parameter(default: Any, text: str, low: float | None = None, high: float = math.inf, **facts: Any) -> Any:
    """A field of a record: its default, what it is for, and the range of a number.

    Parameters
    ----------
    default : object
        Its value where nothing else is said.
    text : str
        What it is for, for a person; also the help of its option.
    low, high : float, optional
        The range of a number, both included.
    **facts
        What else the generators of options and the readers of files ask for: ``metavar``, ``flag``, ``shown`` (the
        default in words), ``multiple``, ``option=False``, ``wanted`` (what it takes in words).

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from spatterlib.common.records import check, parameter
    >>> @dataclass(frozen=True)
    ... class Coffee:
    ...     sugar: int = parameter(1, "Lumps.", 0, 3)
    >>> check(Coffee(5))
    Traceback (most recent call last):
    spatterlib.errors.ParameterError: sugar must be a whole number from 0 to 3, got 5
    """
    limits = {} if low is None else {"range": (low, high)}
    return dataclasses.field(default=default, metadata={"help": text, **limits, **facts})


def hints_of(record: Any) -> dict[str, Any]:
    """Types of the fields of a dataclass, by name."""
    return _hints(record)


_hints = cache(get_type_hints)


def default_of(parameter: dataclasses.Field[Any]) -> Any:
    """Default of a dataclass's field, from its factory if it has one; `dataclasses.MISSING` without.

    Examples
    --------
    >>> from dataclasses import dataclass, fields
    >>> from spatterlib.common.records import default_of
    >>> @dataclass(frozen=True)
    ... class Coffee:
    ...     sugar: int = 1
    >>> default_of(fields(Coffee)[0])
    1
    """
    factory = parameter.default_factory
    return parameter.default if factory is dataclasses.MISSING else factory()


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """Types that a hint joins, None aside.

    Examples
    --------
    >>> from spatterlib.common.records import kinds_of
    >>> kinds_of(int | None), kinds_of(float | str)
    ((<class 'int'>,), (<class 'float'>, <class 'str'>))
    """
    joined = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(kind for kind in joined if kind is not type(None))


def check(record: Any) -> None:
    """Refuse a value that is none of its field's choices, of another type, or outside the range.

    Raises
    ------
    ParameterError
        Names the field, what it takes and what it got.
    """
    for item in dataclasses.fields(record):
        checked(item, hints_of(type(record))[item.name], getattr(record, item.name))


def checked(item: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    """A value as the type of its field, or a refusal as in `check`; types that join several are not looked at."""
    kinds = kinds_of(hint)
    if value is None and type(None) in get_args(hint):
        return None
    if "range" in item.metadata:
        return _in_range(item, int in kinds, value)
    choices = get_args(kinds[0]) if get_origin(kinds[0]) is Literal else ()
    types = {(bool,): "one of True or False", (str,): "text"}
    if (choices and value not in choices) or (kinds in types and not isinstance(value, kinds)):
        wanted = f"one of {', '.join(map(repr, choices))}" if choices else types[kinds]
        raise ParameterError(f"{item.name} must be {wanted}, got {value!r}")
    return value


def _in_range(item: dataclasses.Field[Any], whole: bool, value: Any) -> float | int:
    low, high = item.metadata["range"]
    try:
        number = int(value) if whole and int(value) == value else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not low <= number <= high or (whole and not isinstance(number, int)):
        kind = "a whole number" if whole else "a number"
        limits = f"from {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"
        raise ParameterError(f"{item.name} must be {kind} {limits}, got {value!r}")
    return number
