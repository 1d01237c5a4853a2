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

import inspect
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spatterlib.errors import MissingFileError, ParameterError, SpatterlibError
from spatterlib.plugins.registry import identity, make, nearest

__all__ = ["SECTIONS", "check", "effective", "known", "load", "merge", "to_toml"]

SECTIONS = ("extract", "predict", "watch", "serve", "train")
"""Sections of the file: settings of `extract`, and of the commands that `spatterlib.cli.config_sections` reads."""

# Arguments of a call, not settings of the work.
_ARGUMENTS = {"video", "out", "progress", "overwrite", "resume", "executor"}

_POSITION = ((int, float, str), "a frame number, seconds or a text such as '12.5s'")
# By key: types, how a message says that, types of what a list holds.
_EXPECTED: dict[str, Any] = {
    "detector": ((str, dict), "an id or a table with an id"),
    "filters": ((list,), "a list of ids or of tables with an id", (str, dict)),
    "start": _POSITION,
    "stop": _POSITION,
    "roi": ((list,), "a list of four whole numbers, px", int),
    "fps": ((int, float), "a number of frames per second"),
    "limit": ((int,), "a whole number"),
    "crop_format": ((str,), "a text, 'jpeg' or 'png'"),
    "quality": ((int,), "a whole number"),
    "gap": ((int, float, str), "a number of seconds, 'auto' or a text such as '700 frames'"),
    "workers": ((int,), "a whole number"),
}


def known() -> dict[str, dict[str, Any]]:
    """Sections of the file, and of each its keys with their defaults."""
    from spatterlib.extraction.extract import extract

    parameters = inspect.signature(extract).parameters.values()
    return {"extract": {item.name: item.default for item in parameters if item.name not in _ARGUMENTS}}


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
    sections = known()
    for section, values in content.items():
        if section not in SECTIONS or not isinstance(values, Mapping):
            raise ParameterError(f"{file}: no section [{section}]{nearest(section, list(SECTIONS))}")
        for key in values if section in sections else ():
            if key not in sections[section]:
                names = list(sections[section])
                raise ParameterError(
                    f"{file}: [{section}] has no key {key!r}{nearest(key, names)}; it has {', '.join(names)}"
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
    if not _sound(key, value):
        raise ParameterError(f"{where} {key} is {_EXPECTED[key][1]}, not {value!r}")
    specs = {"detector": [value], "filters": value}.get(key, [])
    for spec in specs:
        try:
            make(key.removesuffix("s"), spec)
        except SpatterlibError as error:
            raise ParameterError(f"{where} {key}: {error}") from error


def _sound(key: str, value: Any) -> bool:
    """Whether a value is of a kind that its key may have; its range is looked at where it is used."""
    types, _, *inner = _EXPECTED.get(key, ((object,), ""))
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
        return False
    if inner and not all(isinstance(item, inner[0]) and not isinstance(item, bool) for item in value):
        return False
    tables = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, Mapping)]
    return all(isinstance(table.get("id"), str) for table in tables)


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


def effective(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a section, defaults filled in, plugins with every parameter.

    Raises
    ------
    PluginError, ParameterError
        If a plugin or one of its parameters is unknown.
    """
    values = {**known()[section], **settings}
    if "detector" in values:
        values["detector"] = identity(make("detector", values["detector"]))
    if "filters" in values:
        values["filters"] = [identity(make("filter", spec)) for spec in values["filters"]]
    return values


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
