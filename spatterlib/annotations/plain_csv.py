"""Plain CSV: a line for each box, with columns frame, x, y, width, height and perhaps label, in px.

A line with a frame and no box is a frame in which nothing is. What `spatterlib detect` writes is read too.
"""

from __future__ import annotations

import csv
import os

from spatterlib.annotations.files import text_of, wrong
from spatterlib.annotations.record import Annotations, number, pixels
from spatterlib.common.files import write_csv
from spatterlib.errors import ParameterError

_NAMES = ("frame", "x", "y", "width", "height")
_WHAT = "CSV with columns frame, x, y, width, height"


def read(path: str | os.PathLike[str]) -> Annotations:
    """Annotations of a CSV file."""
    lines = csv.DictReader(text_of(path, _WHAT).splitlines())
    if missing := [name for name in _NAMES if name not in (lines.fieldnames or ())]:
        raise wrong(
            path, _WHAT, f"no column {', '.join(missing)}; there are {', '.join(lines.fieldnames or ()) or 'none'}"
        )
    frames, boxes, labels = [], [], []
    for line in lines:
        where = f"{path}, line {lines.line_num}"
        frame = number(line["frame"], "frame", where)
        if frame != int(frame) or frame < 0:
            raise ParameterError(f"{where}: expected a whole number of 0 or more for frame, got {line['frame']!r}")
        frames.append(int(frame))
        if any(line[name] for name in _NAMES[1:]):
            x, y, width, height = (number(line[name], name, where) for name in _NAMES[1:])
            boxes.append((int(frame), *pixels((x, y, x + width, y + height), None, where)))
            labels.append(line.get("label") or "spatter")
    return Annotations.of(frames, boxes, labels)


def write(annotations: Annotations, path: str | os.PathLike[str]) -> None:
    """Write a CSV file."""
    rows = zip(annotations.table[[*_NAMES]].tolist(), annotations.labels, strict=True)
    lines = [(*box, label) for box, label in rows]
    empty = set(annotations.frames.tolist()) - {line[0] for line in lines}
    lines += [(frame, "", "", "", "", "") for frame in empty]
    write_csv(path, [*_NAMES, "label"], sorted(lines, key=lambda line: line[0]))
