"""Pascal VOC: an XML file for each image; pixels are counted from 1, and ``xmax``, ``ymax`` belong to the box.

The frame is the number in ``<filename>``. A file without an object is a frame in which nothing is.
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree as ET

from spatterlib.annotations.files import files_in, read_xml, size_of
from spatterlib.annotations.record import Annotations, Marked, image_name, number, of_images
from spatterlib.common.files import write_text
from spatterlib.errors import ParameterError

_WHAT = "a Pascal VOC file that begins with <annotation>"
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def read(path: str | os.PathLike[str]) -> Annotations:
    """Annotations of a folder of VOC files, or of one."""
    return of_images([_image(file) for file in files_in(path, ".xml", _WHAT)], path)


def _image(file: Path) -> Marked:
    root, where = read_xml(file, _WHAT, "annotation"), str(file)
    name = (root.findtext("filename") or file.name).strip()
    boxes, labels = [], []
    for item in root.iter("object"):
        box = item.find("bndbox")
        if box is None:
            raise ParameterError(f"{where}: expected <bndbox> in each <object>, got none in {item.findtext('name')!r}")
        x0, y0, x1, y1 = (number(box.findtext(edge), edge, where) for edge in _EDGES)
        boxes.append([x0 - 1, y0 - 1, x1, y1])
        labels.append((item.findtext("name") or "").strip() or "spatter")
    return Marked(name, where, boxes, labels, size_of(root.findtext("size/width"), root.findtext("size/height"), where))


def write(annotations: Annotations, path: str | os.PathLike[str]) -> None:
    """Write a folder of VOC files, one for each frame."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for frame in annotations.frames.tolist():
        name = image_name(annotations, frame)
        write_text(folder / f"{Path(name).stem}.xml", _text(annotations, frame, name))


def _text(annotations: Annotations, frame: int, name: str) -> str:
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "images"
    ET.SubElement(root, "filename").text = name
    size = ET.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (*(annotations.size or (0, 0)), 3), strict=True):
        ET.SubElement(size, key).text = str(value)
    ET.SubElement(root, "segmented").text = "0"
    for row, label in zip(annotations.table, annotations.labels, strict=True):
        if row["frame"] == frame:
            item = ET.SubElement(root, "object")
            for key, text in {"name": label, "pose": "Unspecified", "truncated": "0", "difficult": "0"}.items():
                ET.SubElement(item, key).text = text
            box = ET.SubElement(item, "bndbox")
            edges = (row["x"] + 1, row["y"] + 1, row["x"] + row["width"], row["y"] + row["height"])
            for key, edge in zip(_EDGES, edges, strict=True):
                ET.SubElement(box, key).text = str(edge)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
