"""COCO: one JSON file with images, annotations and categories; a box is ``[x, y, width, height]`` in px.

The frame of an image is the number in its file name. An image without annotations is a frame in which nothing is.
"""

from __future__ import annotations

import json
import os
from typing import Any

from spatterlib.annotations.files import read_json, size_of, taken
from spatterlib.annotations.record import Annotations, Marked, image_name, number, of_images
from spatterlib.common.files import write_text
from spatterlib.errors import ParameterError

_WHAT = "a COCO file with images, annotations and categories"


def read(path: str | os.PathLike[str]) -> Annotations:
    """Annotations of a COCO file."""
    content = read_json(path, _WHAT)
    images = taken(content, "images", list, str(path))
    names = {
        taken(item, "id", int, f"{path}, categories"): taken(item, "name", str, f"{path}, categories")
        for item in (content.get("categories") or [])
    }
    own: dict[Any, list[tuple[list[float], str]]] = {}
    for item in taken(content, "annotations", list, str(path)):
        where = f"{path}, annotation {item.get('id', '?') if isinstance(item, dict) else item!r}"
        image = taken(item, "image_id", object, where)
        own.setdefault(_key(image), []).append(_box(item, names, where))
    found = [_marked(item, own, str(path)) for item in images]
    if own:
        raise ParameterError(f"{path}: expected annotations of images in the file, got one of image {next(iter(own))}")
    return of_images(found, path)


def _key(value: Any) -> Any:
    return value if isinstance(value, int | str) else repr(value)


def _box(item: Any, names: dict[int, str], where: str) -> tuple[list[float], str]:
    if item.get("iscrowd"):
        raise ParameterError(f"{where}: expected a box for each spatter, got a crowd (iscrowd = {item['iscrowd']!r})")
    box = taken(item, "bbox", list, where)
    if len(box) != 4:
        raise ParameterError(f"{where}: expected bbox = [x, y, width, height], got {box}")
    x, y, width, height = (number(value, "bbox", where) for value in box)
    return [x, y, x + width, y + height], names.get(item.get("category_id"), str(item.get("category_id", "spatter")))


def _marked(item: Any, own: dict[Any, list[tuple[list[float], str]]], path: str) -> Marked:
    name = taken(item, "file_name", str, f"{path}, images")
    boxes = own.pop(_key(taken(item, "id", object, f"{path}, image {name}")), [])
    size = size_of(item.get("width"), item.get("height"), f"{path}, image {name}")
    return Marked(name, path, [box for box, _ in boxes], [label for _, label in boxes], size)


def write(annotations: Annotations, path: str | os.PathLike[str]) -> None:
    """Write a COCO file."""
    names = sorted(set(annotations.labels)) or ["spatter"]
    width, height = annotations.size or (0, 0)
    content = {
        "info": {"description": "boxes by spatterlib"},
        "licenses": [],
        "images": [
            {"id": number, "file_name": image_name(annotations, frame), "width": width, "height": height}
            for number, frame in enumerate(annotations.frames.tolist(), 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        "annotations": [
            {
                "id": number,
                "image_id": int(annotations.frames.searchsorted(row["frame"])) + 1,
                "category_id": names.index(label) + 1,
                "bbox": [int(row[name]) for name in ("x", "y", "width", "height")],
                "area": int(row["width"]) * int(row["height"]),
                "iscrowd": 0,
            }
            for number, (row, label) in enumerate(zip(annotations.table, annotations.labels, strict=True), 1)
        ],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")
