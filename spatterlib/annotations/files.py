"""What the readers of several formats share: JSON and XML files, and pieces of them that must be there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from spatterlib.annotations.record import number
from spatterlib.errors import MissingFileError, ParameterError

__all__ = ["files_in", "read_json", "read_xml", "size_of", "taken", "text_of", "wrong"]

_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}


def text_of(path: str | os.PathLike[str], what: str) -> str:
    """Text of a UTF-8 file."""
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"no file of annotations at {file}")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong(file, what, f"bytes that are no UTF-8 text, at {error.start}") from error


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Content of a JSON file."""
    try:
        return json.loads(text_of(path, what))
    except (json.JSONDecodeError, RecursionError) as error:
        raise wrong(path, what, f"no JSON: {error}") from error


def read_xml(path: str | os.PathLike[str], what: str, root: str) -> ET.Element:
    """Root of an XML file, which has that name."""
    text = text_of(path, what)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise wrong(path, what, "XML that declares entities, which no tool writes")
    try:
        found = ET.fromstring(text)  # noqa: S314 - what declares entities is refused above
    except ET.ParseError as error:
        raise wrong(path, what, f"no XML: {error}") from error
    if found.tag != root:
        raise wrong(path, what, f"<{found.tag}>")
    return found


def wrong(path: Any, expected: str, got: str) -> ParameterError:
    """What a reader refuses: where, what was expected, what came."""
    return ParameterError(f"{path}: expected {expected}, got {got}")


def taken(holder: Any, name: str, kind: type, where: str) -> Any:
    """An entry of a JSON object, of that kind."""
    if not isinstance(holder, dict) or name not in holder:
        raise ParameterError(f"{where}: expected an object with {name!r}, got {_shown(holder)}")
    if not isinstance(holder[name], kind):
        raise ParameterError(f"{where}: expected {_KINDS[kind]} for {name!r}, got {_shown(holder[name])}")
    return holder[name]


def size_of(width: Any, height: Any, where: str) -> tuple[int, int] | None:
    """``(width, height)`` in px; None where a tool leaves them out or writes 0."""
    if width in (None, "", 0, "0") or height in (None, "", 0, "0"):
        return None
    size = (number(width, "the width of the image", where), number(height, "the height of the image", where))
    if not all(value == int(value) and 0 < value < 2**31 for value in size):
        raise ParameterError(f"{where}: expected the size of the image in whole px, got {width}x{height}")
    return int(size[0]), int(size[1])


def files_in(path: str | os.PathLike[str], suffix: str, what: str) -> list[Path]:
    """The file itself, or those of a folder that end so, by name."""
    where = Path(path)
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise MissingFileError(f"no file or folder of annotations at {where}")
    found = sorted(where.rglob(f"*{suffix}"))
    if not found:
        raise wrong(where, what, f"a folder without {suffix} files")
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
