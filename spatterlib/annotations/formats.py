"""Which formats there are, and which one a file is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from spatterlib.annotations import ai_hub, coco, cvat, label_studio, plain_csv, voc, yolo
from spatterlib.annotations.files import read_json, wrong
from spatterlib.annotations.record import Annotations
from spatterlib.errors import MissingFileError, ParameterError

__all__ = ["READERS", "WRITERS", "format_of", "read_annotations", "write_annotations"]

READERS: Mapping[str, Callable[..., Annotations]] = MappingProxyType(
    {
        "coco": coco.read,
        "yolo": yolo.read,
        "voc": voc.read,
        "cvat": cvat.read,
        "label-studio": label_studio.read,
        "csv": plain_csv.read,
        "ai-hub": ai_hub.read,
    }
)
WRITERS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "coco": coco.write,
        "yolo": yolo.write,
        "voc": voc.write,
        "cvat": cvat.write,
        "label-studio": label_studio.write,
        "csv": plain_csv.write,
    }
)
_EXPECTED = "annotations in one of the formats " + ", ".join(READERS)


def read_annotations(path: str | os.PathLike[str], format: str | None = None) -> Annotations:  # noqa: A002
    r"""Read boxes that people drew.

    Parameters
    ----------
    path : path
        A file; for YOLO, Pascal VOC and AI-Hub a folder.
    format : str, optional
        "coco", "yolo", "voc", "cvat", "label-studio", "csv" or "ai-hub"; by default what the file looks like.

    Returns
    -------
    Annotations
        ``frames`` that were looked at, ``table`` of boxes, ``labels``. Boxes are rounded to whole px.

    Raises
    ------
    MissingFileError
        If nothing is there.
    ParameterError
        If it is none of the formats or holds what is no box; says what was expected, what came, and where.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "labels.csv"
    >>> _ = file.write_text("frame,x,y,width,height\n7,10,20,30,40\n8,,,,\n")
    >>> marked = sp.read_annotations(file)
    >>> marked.frames.tolist(), marked.table["width"].tolist()
    ([7, 8], [30])
    """
    return READERS[_known(format, READERS) or format_of(path)](path)


def write_annotations(annotations: Annotations, path: str | os.PathLike[str], format: str) -> None:  # noqa: A002
    r"""Write boxes for another tool.

    Parameters
    ----------
    annotations : Annotations
        What is written.
    path : path
        The file, which is replaced; for YOLO and Pascal VOC a folder.
    format : str
        "coco", "yolo", "voc", "cvat", "label-studio" or "csv".

    Raises
    ------
    ParameterError
        If there is no such format, or the format needs the size of a frame and nobody knows it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "labels.csv").write_text("frame,x,y,width,height\n7,10,20,30,40\n")
    >>> sp.write_annotations(sp.read_annotations(folder / "labels.csv"), folder / "labels.json", "coco")
    >>> sp.read_annotations(folder / "labels.json").table["x"].tolist()
    [10]
    """
    WRITERS[_known(format, WRITERS) or ""](annotations, path)


def _known(name: str | None, there: Mapping[str, object]) -> str | None:
    if name is not None and name not in there:
        raise ParameterError(f"format must be one of {', '.join(there)}, got {name!r}")
    return name


def format_of(path: str | os.PathLike[str]) -> str:
    """Which format a file or folder has, by its suffix and by what it begins with.

    Raises
    ------
    MissingFileError, ParameterError
        If nothing is there, or none of the formats.
    """
    file = Path(path)
    if file.is_dir():
        return _of_folder(file)
    if not file.is_file():
        raise MissingFileError(f"no annotations at {file}")
    suffix = file.suffix.lower()
    if suffix == ".csv":
        return "csv"
    if suffix == ".xml":
        with file.open("rb") as opened:
            return "cvat" if b"<annotations" in opened.read(1 << 16) else "voc"
    if suffix != ".json":
        raise wrong(file, _EXPECTED, f"a file that ends in {suffix or 'nothing'}; say which with its format")
    content = read_json(file, _EXPECTED)
    if isinstance(content, list):
        return "label-studio"
    if isinstance(content, dict) and "images" in content and "annotations" in content:
        return "coco"
    if isinstance(content, dict) and "anotation" in content:
        return "ai-hub"
    keys = ", ".join(list(content)[:4]) if isinstance(content, dict) else type(content).__name__
    raise wrong(file, _EXPECTED, f"JSON with {keys or 'nothing'}")


def _of_folder(folder: Path) -> str:
    for suffix, name in ((".xml", "voc"), (".txt", "yolo"), (".json", "ai-hub")):
        if next(folder.rglob(f"*{suffix}"), None) is not None:
            return name
    raise wrong(folder, _EXPECTED, "a folder without .xml, .txt or .json files")
