"""The JSON of AI-Hub's data set 71476: a file for each image, a box under ``anotation.bbox`` (spelt so); read only.

Known of it is that key alone. A box is taken as ``[x, y, width, height]`` in px, or as an object with these names; the
frame is the number in the image's name, where the file says one, else in its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from spatterlib.annotations.files import files_in, read_json, size_of, taken
from spatterlib.annotations.record import Annotations, Marked, number, of_images
from spatterlib.errors import ParameterError

_WHAT = "JSON of AI-Hub 71476 with a box under anotation.bbox"
_NAMES = ("x", "y", "width", "height")


def read(path: str | os.PathLike[str]) -> Annotations:
    """Annotations of a folder of such files, or of one."""
    return of_images([_image(file) for file in files_in(path, ".json", _WHAT)], path)


def _image(file: Path) -> Marked:
    content, where = read_json(file, _WHAT), str(file)
    held = taken(content, "anotation", object, where)
    boxes, labels = [], []
    for item in held if isinstance(held, list) else [held]:
        for box in _listed(taken(item, "bbox", object, where)):
            x, y, width, height = _numbers(box, where)
            boxes.append([x, y, x + width, y + height])
            labels.append(str(item.get("label") or item.get("class") or "spatter"))
    image: Any = next((content[key] for key in ("image", "images") if isinstance(content.get(key), dict)), content)
    name = next((image[key] for key in ("file_name", "filename", "name") if isinstance(image.get(key), str)), file.name)
    return Marked(name, where, boxes, labels, size_of(image.get("width"), image.get("height"), where))


def _listed(bbox: Any) -> list[Any]:
    """Boxes under one key: none, one, or a list of them."""
    nested = isinstance(bbox, list) and (not bbox or isinstance(bbox[0], list | dict))
    return bbox if nested else [bbox]


def _numbers(box: Any, where: str) -> list[float]:
    if isinstance(box, dict):
        return [number(box.get(name), f"bbox.{name}", where) for name in _NAMES]
    if not isinstance(box, list) or len(box) != 4:
        raise ParameterError(f"{where}: expected anotation.bbox = [x, y, width, height], got {box!r}")
    return [number(value, "anotation.bbox", where) for value in box]
