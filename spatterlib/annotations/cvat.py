"""CVAT's own XML, version 1.1, "for images" and "for video"; boxes are edges in px.

For images the frame is the number in the image's name, and each image in the file was looked at. For video it is the
number that the box has, which CVAT counts in the recording from 0, and the frames that were looked at are those of
``<start_frame>`` to ``<stop_frame>``, by the step of ``<frame_filter>``. Written is what is for images.
"""

from __future__ import annotations

import os
import re
from xml.etree import ElementTree as ET

from spatterlib.annotations.files import read_xml, size_of
from spatterlib.annotations.record import Annotations, Marked, image_name, number, of_images
from spatterlib.common.files import write_text
from spatterlib.errors import ParameterError

_WHAT = "CVAT's XML that begins with <annotations>"
_EDGES = ("xtl", "ytl", "xbr", "ybr")
_SHAPES = ("polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")


def read(path: str | os.PathLike[str]) -> Annotations:
    """Annotations of a file of CVAT, for images or for video."""
    root, where = read_xml(path, _WHAT, "annotations"), str(path)
    for shape in _SHAPES:
        if root.find(f".//image/{shape}") is not None or root.find(f".//track/{shape}") is not None:
            raise ParameterError(f"{where}: expected boxes (<box>), got a <{shape}>; mark spatter with rectangles")
    return of_images(_tracks(root, where) if root.find("track") is not None else _images(root, where), path)


def _images(root: ET.Element, where: str) -> list[Marked]:
    found = []
    for item in root.iter("image"):
        name = item.get("name") or ""
        boxes = item.findall("box")
        size = size_of(item.get("width"), item.get("height"), f"{where}, image {name}")
        labels = [box.get("label") or "spatter" for box in boxes]
        found.append(Marked(name, where, [_edges(box, f"{where}, image {name}") for box in boxes], labels, size))
    return found


def _tracks(root: ET.Element, where: str) -> list[Marked]:
    size = size_of(
        root.findtext("meta/task/original_size/width") or root.findtext("meta/original_size/width"),
        root.findtext("meta/task/original_size/height") or root.findtext("meta/original_size/height"),
        where,
    )
    frames: dict[int, list[tuple[list[float], str]]] = {frame: [] for frame in _looked_at(root, where)}
    for track in root.iter("track"):
        for box in track.iter("box"):
            if box.get("outside") != "1":
                frame = int(number(box.get("frame"), "the frame of a box", where))
                frames.setdefault(frame, []).append(
                    (_edges(box, f"{where}, frame {frame}"), track.get("label") or "spatter")
                )
    return [
        Marked(f"frame {frame}", where, [box for box, _ in own], [label for _, label in own], size, frame)
        for frame, own in sorted(frames.items())
    ]


def _looked_at(root: ET.Element, where: str) -> range:
    task = root.find("meta/task") if root.find("meta/task") is not None else root.find("meta/job")
    first, last = (task.findtext(name) if task is not None else None for name in ("start_frame", "stop_frame"))
    if task is None or not first or not last:
        return range(0)
    step = re.search(r"step\s*=\s*(\d+)", task.findtext("frame_filter") or "")
    start, stop = (int(number(value, name, where)) for value, name in ((first, "start_frame"), (last, "stop_frame")))
    return range(start, stop + 1, max(int(step[1]) if step else 1, 1))


def _edges(box: ET.Element, where: str) -> list[float]:
    if number(box.get("rotation", 0), "rotation", where):
        raise ParameterError(f"{where}: expected upright boxes, got one turned by {box.get('rotation')} degrees")
    return [number(box.get(edge), edge, where) for edge in _EDGES]


def write(annotations: Annotations, path: str | os.PathLike[str], *, proposed: bool = False) -> None:
    """Write a file for images; boxes that a detector proposed are of source ``auto``."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for name in sorted(set(annotations.labels)) or ["spatter"]:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
    width, height = annotations.size or (0, 0)
    for number_, frame in enumerate(annotations.frames.tolist()):
        about = {"id": number_, "name": image_name(annotations, frame), "width": width, "height": height}
        image = ET.SubElement(root, "image", {key: str(value) for key, value in about.items()})
        for row, label in zip(annotations.table, annotations.labels, strict=True):
            if row["frame"] == frame:
                edges = (row["x"], row["y"], row["x"] + row["width"], row["y"] + row["height"])
                values = {key: f"{value:.2f}" for key, value in zip(_EDGES, edges, strict=True)}
                source = "auto" if proposed else "manual"
                ET.SubElement(
                    image, "box", {"label": label, "source": source, "occluded": "0", **values, "z_order": "0"}
                )
    ET.indent(root)
    write_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n")
