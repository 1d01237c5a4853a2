"""Label Studio's JSON: a list of tasks; a box is ``rectanglelabels`` in percent of the image.

The frame is the number in the image's name, ``data.image``. A task was looked at if it has an annotation that was not
cancelled, which may hold no box; its predictions are proposals of a detector, and are not read.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import unquote

from spatterlib.annotations.files import read_json, size_of, taken, wrong
from spatterlib.annotations.record import Annotations, Marked, image_name, number, of_images
from spatterlib.common.files import write_text
from spatterlib.errors import ParameterError

_WHAT = "Label Studio's JSON, a list of tasks"

CONFIG = """<View>
  <Image name="image" value="$image" zoom="true" zoomControl="true" brightnessControl="true"/>
  <RectangleLabels name="label" toName="image">
    <Label value="spatter" background="#D55E00"/>
  </RectangleLabels>
</View>
"""
"""The labelling interface that the tasks are for."""


def read(path: str | os.PathLike[str]) -> Annotations:
    """Annotations of a JSON export of Label Studio."""
    tasks = read_json(path, _WHAT)
    if not isinstance(tasks, list):
        raise wrong(path, _WHAT, f"a JSON {type(tasks).__name__}")
    return of_images([image for task in tasks if (image := _image(task, str(path)))], path)


def _image(task: Any, path: str) -> Marked | None:
    data = taken(task, "data", dict, path)
    name = unquote(str(taken(data, "image", str, path))).split("?d=")[-1]
    where = f"{path}, image {name}"
    done = [item for item in taken(task, "annotations", list, where) if not item.get("was_cancelled")]
    if not done:
        return None
    if len(done) > 1:
        raise ParameterError(
            f"{where}: expected one annotation of each task, got {len(done)}; keep the one that counts"
        )
    boxes, labels, size = [], [], None
    for item in taken(done[0], "result", list, where):
        if item.get("type") != "rectanglelabels":
            raise ParameterError(f"{where}: expected boxes (rectanglelabels), got {item.get('type')!r}")
        size = size_of(item.get("original_width"), item.get("original_height"), where)
        if size is None:
            raise ParameterError(f"{where}: expected original_width and original_height in px, got none")
        value = taken(item, "value", dict, where)
        if number(value.get("rotation", 0), "rotation", where):
            raise ParameterError(f"{where}: expected upright boxes, got one turned by {value['rotation']} degrees")
        x, y, width, height = (number(value.get(key), key, where) / 100 for key in ("x", "y", "width", "height"))
        boxes.append([x * size[0], y * size[1], (x + width) * size[0], (y + height) * size[1]])
        labels.append(next(iter(value.get("rectanglelabels") or ["spatter"])))
    return Marked(name.replace("\\", "/").rsplit("/", 1)[-1], where, boxes, labels, size)


def write(annotations: Annotations, path: str | os.PathLike[str], *, proposed: bool = False, folder: str = "") -> None:
    """Write tasks; boxes that a detector proposed are predictions, which Label Studio shows to be put right.

    `folder` is what stands before the names of images, such as ``/data/local-files/?d=task/images/``.
    """
    if annotations.size is None:
        raise ParameterError(
            "Label Studio has boxes in percent: expected annotations that know the size of a frame, got none"
        )
    tasks = []
    for frame in annotations.frames.tolist():
        rows = (annotations.table["frame"] == frame).nonzero()[0]
        result = [_result(annotations, row, f"{frame}-{row}") for row in rows]
        own = {"result": result} | ({"model_version": "spatterlib", "score": 0.5} if proposed else {})
        kept = {"predictions": [own], "annotations": []} if proposed else {"annotations": [own]}
        tasks.append({"data": {"image": folder + image_name(annotations, frame)}, **kept})
    write_text(path, json.dumps(tasks, indent=1) + "\n")


def _result(annotations: Annotations, row: int, key: str) -> dict[str, Any]:
    width, height = annotations.size or (1, 1)
    box = annotations.table[row]
    value = {
        "x": 100 * float(box["x"]) / width,
        "y": 100 * float(box["y"]) / height,
        "width": 100 * float(box["width"]) / width,
        "height": 100 * float(box["height"]) / height,
        "rotation": 0,
        "rectanglelabels": [annotations.labels[row]],
    }
    about = {"id": key, "type": "rectanglelabels", "from_name": "label", "to_name": "image", "image_rotation": 0}
    return {**about, "original_width": width, "original_height": height, "value": value}
