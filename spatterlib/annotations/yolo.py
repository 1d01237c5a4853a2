"""YOLO: a folder with a text file for each image; a line is class, middle and size as shares of the image.

The frame is the number in the name of the file. A file without a line, or an image without a file, is a frame in which
nothing is. Sizes come from the images, which lie beside the text files or in ``images/`` beside ``labels/``; names of
classes from ``data.yaml`` or ``classes.txt``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from spatterlib.annotations.files import text_of, wrong
from spatterlib.annotations.record import Annotations, Marked, image_name, number, of_images
from spatterlib.common.files import write_text
from spatterlib.common.image_codec import image_size
from spatterlib.errors import MissingFileError, ParameterError, StoreError

_WHAT = "a YOLO folder with a text file for each image"
_IMAGES = (".png", ".jpg", ".jpeg")
_APART = {"classes.txt", "train.txt", "val.txt", "test.txt", "obj.names"}
_HEADER = 1 << 20


def read(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Annotations:
    """Annotations of a YOLO folder; `size` of the frames in px where no images lie beside the text files."""
    folder = Path(path)
    if not folder.is_dir():
        raise MissingFileError(f"no folder of YOLO files at {folder}")
    texts = {file.stem: file for file in sorted(folder.rglob("*.txt")) if file.name not in _APART}
    images = {file.stem: file for file in sorted(folder.rglob("*")) if file.suffix.lower() in _IMAGES}
    if not texts:
        raise wrong(folder, _WHAT, "a folder without .txt files")
    names = _names(folder)
    return of_images([_image(stem, texts.get(stem), images, size, names) for stem in sorted({*texts, *images})], path)


def _image(
    stem: str, file: Path | None, images: dict[str, Path], size: tuple[int, int] | None, names: dict[int, str]
) -> Marked:
    own = _measured(images[stem]) if stem in images else size
    lines = text_of(file, _WHAT).splitlines() if file else []
    if lines and own is None:
        raise wrong(file, "the image beside its text file, or in images/ beside labels/, for its size", "none")
    boxes, labels = [], []
    for line_number, line in enumerate(lines, 1):
        where, words = f"{file}, line {line_number}", line.split()
        if not words:
            continue
        if len(words) not in (5, 6):
            raise ParameterError(f"{where}: expected class, x, y, width, height, got {line[:60]!r}")
        kind = number(words[0], "the class", where)
        x, y, width, height = (number(word, "a box", where) for word in words[1:5])
        if max(x, y, width, height) > 1:
            raise ParameterError(f"{where}: expected shares of the image from 0 to 1, got {line[:60]!r}")
        across, down = own or (1, 1)
        boxes.append(
            [(x - width / 2) * across, (y - height / 2) * down, (x + width / 2) * across, (y + height / 2) * down]
        )
        labels.append(names.get(int(kind), f"{kind:g}"))
    return Marked(f"{stem}.png", str(file or images[stem]), boxes, labels, own)


def _measured(file: Path) -> tuple[int, int]:
    try:
        with file.open("rb") as opened:
            return image_size(opened.read(_HEADER))
    except StoreError as error:
        raise wrong(file, "a PNG or JPEG image", str(error)) from error


def _names(folder: Path) -> dict[int, str]:
    """Names of classes: of ``classes.txt``, a line each; of ``data.yaml``, in one of the three ways that are usual."""
    if (listed := folder / "classes.txt").is_file():
        return dict(enumerate(text_of(listed, "names of classes").split("\n")))
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (file := folder / name).is_file():
            return dict(_yaml_names(text_of(file, "YAML with names")))
    return {0: "spatter"}


def _yaml_names(text: str) -> Iterator[tuple[int, str]]:
    match = re.search(r"^names:[ \t]*(\[[^\]]*\])?[^\n]*\n?((?:[ \t]*(?:-|\d+[ \t]*:)[^\n]*\n?)*)", text, re.MULTILINE)
    if match is None:
        return
    listed = [word.strip() for word in match[1][1:-1].split(",")] if match[1] else []
    for position, line in enumerate(listed or match[2].splitlines()):
        numbered = re.fullmatch(r"[ \t]*(?:-|(\d+)[ \t]*:)[ \t]*(.*)", line)
        key, name = (numbered[1], numbered[2]) if numbered and not listed else (None, line)
        yield int(key) if key else position, name.strip().strip("'\"")


def write(annotations: Annotations, path: str | os.PathLike[str]) -> None:
    """Write ``labels/`` and ``data.yaml``; images belong into ``images/``."""
    if annotations.size is None:
        raise ParameterError("YOLO has boxes as shares: expected annotations that know the size of a frame, got none")
    folder, names = Path(path), sorted(set(annotations.labels)) or ["spatter"]
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    across, down = annotations.size
    for frame in annotations.frames.tolist():
        lines = []
        for row, label in zip(annotations.table, annotations.labels, strict=True):
            if row["frame"] == frame:
                middle = (row["x"] + row["width"] / 2) / across, (row["y"] + row["height"] / 2) / down
                values = (*middle, row["width"] / across, row["height"] / down)
                lines.append(f"{names.index(label)} " + " ".join(f"{value:.8f}" for value in values) + "\n")
        write_text(folder / "labels" / image_name(annotations, frame, ".txt"), "".join(lines))
    listed = f"names: {json.dumps(names, ensure_ascii=False)}"
    write_text(folder / "data.yaml", f"path: .\ntrain: images\nval: images\n{listed}\n")
