"""Sections of the configuration file that are options of a command: `[predict]`, `[watch]`, `[serve]`, `[train]`.

A section has the names of the command's options, with ``_`` for ``-``; what says how is looked has the names that it
has in `[extract]`. The command line wins over the file's own section, that over `[extract]`, all over the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from spatterlib.cli import config
from spatterlib.cli.options import PluginCommand
from spatterlib.errors import ParameterError
from spatterlib.plugins.registry import nearest

__all__ = ["default_map", "example_section", "option", "read"]

# What belongs to one call, and what stands in the file under the names of `[extract]`.
_APART = {"config", "out", "overwrite", "fresh", "verbose", "log_file", "json", "original"}
_DETECTION = {"left", "right", "top", "bottom", "filter"}


def option(name: str) -> click.Option:
    """The option ``--config`` of a command that has none; `cli` reads the file before it parses."""
    return click.Option(
        ["--config"], metavar="FILE", expose_value=False, help=f"TOML file, its section [{name}]; options win over it."
    )


def read(path: str, commands: Mapping[str, click.Command]) -> dict[str, dict[str, Any]]:
    """The file, every section checked: names, kinds of values, plugins with their parameters.

    Parameters
    ----------
    path : path
        The file.
    commands : dict
        Commands by name. A section of one that is not installed is left as it is.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ParameterError
        If it has something that nobody knows or takes; names file, section and the nearest right name.
    """
    content = config.load(path)
    for section, values in content.items():
        command = commands.get(section)
        if section == "extract" or command is None:
            continue
        own, shared = _options(command), _shared(command)
        for key, value in values.items():
            where = f"{path}: [{section}]"
            if key in shared:
                config.check(key, value, where)
            elif key in own:
                _check(command, own[key], value, f"{where} {key}")
            else:
                names = [*own, *shared]
                said = f"{where} has no key {key!r}{nearest(key, names)}; it has {', '.join(sorted(names))}"
                raise ParameterError(said)
    return content


def default_map(path: str, commands: Mapping[str, click.Command]) -> dict[str, dict[str, Any]]:
    """What Click takes as defaults of the commands, by the names of their parameters."""
    found: dict[str, dict[str, Any]] = {}
    for section, values in read(path, commands).items():
        own = _options(commands[section]) if section in commands and section != "extract" else {}
        found[section] = {own[key].name or key: _typed(own[key], values[key]) for key in values if key in own}
    return found


def example_section(name: str, command: click.Command, given: Mapping[str, Any]) -> str:
    """A section as text: every option with its meaning, commented where it is not set."""
    import tomli_w

    lines = [f"[{name}]"]
    for key, item in _options(command).items():
        default = item.default if isinstance(item.default, str | int | float) else None
        missing = key not in given and default is None
        lines.append(f"# {key}: {item.help or 'see --help'}{' Not set.' * missing}")
        if not missing:
            text = tomli_w.dumps({key: _typed(item, given.get(key, default))}).strip()
            lines.append(text if key in given else f"# {text}")
    if shared := _shared(command):
        lines.append(f"# As in [extract], and over it: {', '.join(shared)}")
    over = {key: given[key] for key in shared if key in given}
    tables = {key: over.pop(key) for key in list(over) if isinstance(over[key], Mapping)}
    lines += [tomli_w.dumps(part).strip() for part in (over, {name: tables} if tables else {}) if part]
    return "\n".join(lines) + "\n"


def _options(command: click.Command) -> dict[str, click.Option]:
    """Options by the name that they have in the file."""
    found = {}
    for item in command.params:
        long = [flag for flag in item.opts if flag.startswith("--")]
        name = long[0][2:].replace("-", "_") if long else ""
        known = isinstance(item, click.Option) and not item.hidden and name not in _APART | _DETECTION
        if known and isinstance(item, click.Option) and item.name not in _shared(command):
            found[name] = item
    return found


def _shared(command: click.Command) -> list[str]:
    """Keys of `[extract]` that a command has options for, if it takes the settings of an extraction."""
    if not isinstance(command, PluginCommand):
        return []
    there = {item.name for item in command.params if not getattr(item, "hidden", False)}
    return [key for key in config.KEYS if key in there or (key == "roi" and "left" in there)]


def _typed(item: click.Option, value: Any) -> Any:
    """A value as Click takes it; a table is pairs NAME=VALUE."""
    if item.multiple and isinstance(value, Mapping):
        return [f"{name}={inner}" for name, inner in value.items()]
    return [value] if item.multiple and not isinstance(value, list) else value


def _check(command: click.Command, item: click.Option, value: Any, where: str) -> None:
    values = _typed(item, value)
    for one in values if item.multiple else [values]:
        text = item.type.name in ("text", "choice") and not isinstance(one, str)
        if isinstance(one, bool) != item.is_flag or isinstance(one, list | dict) or (text and not item.is_flag):
            raise ParameterError(f"{where} is {_kind(item)}, not {one!r}")
    try:
        item.type_cast_value(click.Context(command), values)
    except click.BadParameter as error:
        raise ParameterError(f"{where} is {_kind(item)}: {error.message}") from error


def _kind(item: click.Option) -> str:
    if item.is_flag:
        return "true or false"
    return {"integer": "a whole number", "float": "a number", "text": "a text"}.get(item.type.name, item.type.name)
