"""Parameters of any plugin as values that can be varied: from the fields of its dataclass, ranges and defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from spatterlib.common.records import hints_of, kinds_of
from spatterlib.errors import SpatterlibError

__all__ = ["ladder", "neighbours", "replaced", "variable"]

# Of a number without a range: as far from the default as it is tried.
_REACH = 32.0


def variable(plugin: Any) -> list[str]:
    """Names of the parameters that can be varied: numbers, choices and switches.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.tuning.variation import variable
    >>> variable(sp.make("detector", "frame-difference"))
    ['threshold', 'blur', 'dilations', 'outlines', 'crop_from']
    """
    hints = hints_of(type(plugin))
    return [item.name for item in dataclasses.fields(plugin) if item.init and _kind(hints[item.name]) is not None]


def _kind(hint: Any) -> Any:
    kinds = kinds_of(hint)
    if len(kinds) == 1 and (kinds[0] in (int, float, bool) or get_origin(kinds[0]) is Literal):
        return kinds[0]
    return None


def ladder(plugin: Any, name: str, steps: int = 12) -> list[Any]:
    """Values of a parameter from end to end, its own among them.

    Even steps where the range is short, even factors where it is long or where no range is said: then up to 32 times
    the default and a 32nd of it.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.tuning.variation import ladder
    >>> ladder(sp.make("detector", "frame-difference"), "dilations", 6)
    [0, 2, 3, 6, 11, 20]
    """
    [item] = (item for item in dataclasses.fields(plugin) if item.name == name)
    kind, own = _kind(hints_of(type(plugin))[name]), getattr(plugin, name)
    if kind is bool:
        return [False, True]
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    low, high = item.metadata.get("range", (abs(own) / _REACH, abs(own) * _REACH))
    step = item.metadata.get("step", 1 if kind is int else 0)
    high = min(high, max(abs(own), 1.0) * _REACH)
    first = low if low > 0 else max(step, min(abs(own) or 1.0, high) / _REACH)
    values = {own, kind(low)}
    for power in range(steps):
        value = first * (high / first) ** (power / max(steps - 1, 1)) if high > first else first
        values.add(kind(low + round((value - low) / step) * step) if step else kind(float(f"{value:.3g}")))
    found = sorted(value for value in values if low <= value <= high or value == own)
    while len(found) > max(steps, 2):
        inner = [value for value in found[1:-1] if value != own]
        found.remove(min(inner, key=lambda value: found[found.index(value) + 1] - found[found.index(value) - 1]))
    return found


def neighbours(plugin: Any, name: str) -> list[Any]:
    """Values a little below and above a parameter's own."""
    values = ladder(plugin, name, 24)
    place = values.index(getattr(plugin, name))
    return values[max(place - 1, 0) : place] + values[place + 1 : place + 2]


def replaced(plugin: Any, name: str, values: list[Any]) -> Iterator[Any]:
    """The plugin with a parameter changed to each of the values; those that it refuses are left out."""
    for value in values:
        if value != getattr(plugin, name):
            with suppress(SpatterlibError, ValueError, TypeError):
                yield dataclasses.replace(plugin, **{name: value})
