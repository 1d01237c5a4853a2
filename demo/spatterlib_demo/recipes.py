"""The same settings as a command line, as Python and as TOML."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import spatterlib as sp
from spatterlib_demo import samples
from spatterlib_demo.controls import changed, fields_of

__all__ = ["command", "python", "toml"]

Identity = Mapping[str, Any]


def _file_of(video: str) -> str:
    return f"{video.lower().replace(' ', '-')}.mp4" if video in samples.SAMPLES else video


def command(video: str, detector: Identity, filters: Sequence[Identity]) -> str:
    """For a shell; a sample is simulated first."""
    first = ""
    if video in samples.SAMPLES:
        given = [
            part
            for name, value in samples.settings_of(video).items()
            for part in _option(name.replace("_", "-"), value)
        ]
        first = shlex.join(["spatterlib", "simulate", _file_of(video), *given]) + "\n"
    return first + _extract(_file_of(video), detector, filters)


def _extract(video: str, detector: Identity, filters: Sequence[Identity]) -> str:
    """Without any filter only a TOML file can say so."""
    if not filters:
        return shlex.join(["spatterlib", "extract", video, "-o", "spatter.h5", "--config", "settings.toml"])
    parts = ["spatterlib", "extract", video, "-o", "spatter.h5"]
    if detector["id"] != "frame-difference":
        parts += ["--detector", detector["id"]]
    ids = [item["id"] for item in filters]
    if ids != ["area", "blue", "black"]:
        parts += [part for id_ in ids for part in ("--filter", id_)]
    names = [item.name for kind, own in _all(detector, filters) for item in fields_of(_class(kind, own["id"]))]
    for kind, own in _all(detector, filters):
        for name, value in changed(kind, own).items():
            flag = f"{own['id']}-{name}" if names.count(name) > 1 else name
            parts += _option(flag.replace("_", "-"), value)
    return shlex.join(parts)


def _option(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", value if isinstance(value, str) else json.dumps(value)]


def _all(detector: Identity, filters: Sequence[Identity]) -> list[tuple[str, Identity]]:
    return [("detector", detector), *(("filter", item) for item in filters)]


def _class(kind: str, id_: str) -> type:
    found: type = getattr(sp.catalog(), f"{kind}s")[id_]
    return found


def python(video: str, detector: Identity, filters: Sequence[Identity]) -> str:
    """For a script."""

    def made(kind: str, own: Identity) -> str:
        further = "".join(f", {name}={value!r}" for name, value in changed(kind, own).items())
        return f'sp.make("{kind}", "{own["id"]}"{further})' if further else f'"{own["id"]}"'

    kept = ", ".join(made("filter", item) for item in filters)
    file, first = _file_of(video), ""
    if video in samples.SAMPLES:
        given = ", ".join(f"{name}={value!r}" for name, value in samples.settings_of(video).items())
        first = f"sp.simulate({file!r}, {given})\n"
    return (
        f"import spatterlib as sp\n\n{first}report = sp.extract(\n    {file!r},\n    'spatter.h5',\n"
        f"    detector={made('detector', detector)},\n    filters=[{kept}],\n)\n"
    )


def toml(detector: Identity, filters: Sequence[Identity]) -> str:
    """For ``spatterlib extract --config``."""
    import tomli_w

    kept = [{"id": item["id"], **changed("filter", item)} for item in filters]
    own = {"id": detector["id"], **changed("detector", detector)}
    return tomli_w.dumps({"extract": {"filters": kept, "detector": own}})
