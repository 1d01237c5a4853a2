"""One TOML file for everything, with the same names as the parameters in Python and on the command line.

::

    [extract]
    start = "12.5s"
    filters = ["area", { id = "black", min_peak = 50 }]

    [extract.detector]
    id = "frame-difference"
    threshold = 25
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from spatterlib.common.records import hints_of, kinds_of
from spatterlib.errors import MissingFileError, ParameterError, SpatterlibError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.plugins.registry import identity, make, nearest

__all__ = ["KEYS", "SECTIONS", "check", "effective", "load", "merge", "to_toml"]

SECTIONS = ("extract", "predict", "watch", "serve", "train")
"""Sections of the file: settings of `extract`, and of the commands that `spatterlib.cli.config_sections` reads."""

KEYS = tuple(item.name for item in fields(ExtractionSettings))
"""Keys of the section ``[extract]``."""


def load(path: str | os.PathLike[str] | None) -> dict[str, dict[str, Any]]:
    """Read and check a configuration file.

    Parameters
    ----------
    path : path or None
        None gives an empty configuration.

    Returns
    -------
    dict
        Section to settings, as the file has them.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ParameterError
        If it is no TOML, or has a section or key that nobody knows; names the nearest right one.
    """
    if path is None:
        return {}
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"no configuration file at {file}")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file} is no valid TOML: {error}") from error
    for section, values in content.items():
        if section not in SECTIONS or not isinstance(values, Mapping):
            raise ParameterError(f"{file}: no section [{section}]{nearest(section, list(SECTIONS))}")
        for key in values if section == "extract" else ():
            if key not in KEYS:
                raise ParameterError(
                    f"{file}: [{section}] has no key {key!r}{nearest(key, KEYS)}; it has {', '.join(KEYS)}"
                )
            check(key, values[key], f"{file}: [{section}]")
    return content


def check(key: str, value: Any, where: str) -> None:
    """See that a setting of `extract` has a value of its kind, and plugins the parameters that they have.

    Raises
    ------
    ParameterError
        If not; begins with `where`.
    """
    [item] = (item for item in fields(ExtractionSettings) if item.name == key)
    hint = hints_of(ExtractionSettings)[key]
    if not any(_suits(kind, value) for kind in kinds_of(hint)):
        raise ParameterError(f"{where} {key} is {item.metadata.get('wanted') or _in_words(hint)}, not {value!r}")
    specs = {"detector": [value], "filters": value}.get(key, [])
    for spec in specs:
        try:
            make(key.removesuffix("s"), spec)
        except SpatterlibError as error:
            raise ParameterError(f"{where} {key}: {error}") from error


def _suits(kind: Any, value: Any) -> bool:
    """Whether a value of a TOML file is of a type that a field has; its range is looked at where it is used."""
    if isinstance(value, Mapping):
        return get_origin(kind) is Mapping and isinstance(value.get("id"), str)
    if isinstance(value, list):
        inner = kinds_of(get_args(kind)[0]) if get_origin(kind) in (tuple, Sequence) else ()
        return bool(inner) and all(any(_suits(one, item) for one in inner) for item in value)
    types: Any = {int: int, float: (int, float), str: str}.get(str if get_origin(kind) is Literal else kind, ())
    return isinstance(value, types) and not isinstance(value, bool)


def _in_words(hint: Any) -> str:
    """What a field takes."""
    [kind] = kinds_of(hint)
    if get_origin(kind) is Literal:
        return f"a text, {' or '.join(map(repr, get_args(kind)))}"
    return {int: "a whole number", float: "a number", str: "a text"}[kind]


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one section, later ones over earlier ones; plugins with the same id keep their parameters.

    Examples
    --------
    >>> from spatterlib.cli.config import merge
    >>> merge({"detector": {"id": "a", "threshold": 9}}, {"detector": "a", "limit": 5})
    {'detector': {'id': 'a', 'threshold': 9}, 'limit': 5}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if key == "detector":
                value = _overlaid(value, [result.get(key, {})])
            elif key == "filters":
                value = [_overlaid(spec, result.get(key, [])) for spec in value]
            result[key] = value
    return result


def _overlaid(spec: Any, earlier: Sequence[Any]) -> Any:
    if not isinstance(spec, str | Mapping):
        return spec
    new = {"id": spec} if isinstance(spec, str) else dict(spec)
    for old in earlier:
        if isinstance(old, Mapping) and old.get("id") == new.get("id"):
            new = {**old, **new}
    return new


def effective(settings: ExtractionSettings) -> dict[str, Any]:
    """The section ``[extract]``: all settings, plugins with every parameter.

    Raises
    ------
    PluginError, ParameterError
        If a plugin or one of its parameters is unknown.
    """
    detector, filters = settings.plugins()
    return vars(settings) | {"detector": identity(detector), "filters": [identity(item) for item in filters]}


def to_toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Write sections as TOML; what is not set stands there as a comment."""
    import tomli_w

    text = []
    for section, values in sections.items():
        unset = [f"# {key} is not set" for key, value in values.items() if value is None]
        # TOML knows no null, and an edge that was left out is one.
        partly = [key for key, value in values.items() if isinstance(value, list | tuple) and None in value]
        unset += [f"# {key} = {values[key]} is set in part, which TOML cannot say: give it whole" for key in partly]
        body = {key: value for key, value in values.items() if value is not None and key not in partly}
        tables = {key: body.pop(key) for key in list(body) if isinstance(body[key], Mapping)}
        plain = tomli_w.dumps(body, multiline_strings=False)
        nested = tomli_w.dumps({section: tables}) if tables else ""
        text.append("\n".join([f"[{section}]", *unset, plain, nested.replace(f"[{section}]\n", "")]).strip() + "\n")
    return "\n".join(text)
