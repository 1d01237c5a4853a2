"""A task for a tool in which people draw boxes: images of frames, and boxes that are proposed already."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from spatterlib.annotations.formats import WRITERS
from spatterlib.annotations.label_studio import CONFIG
from spatterlib.annotations.record import Annotations, image_name
from spatterlib.common.files import check_folder, is_there
from spatterlib.errors import OutputExistsError, ParameterError
from spatterlib.extraction.plots import write_png
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.tuning.frames import teaching_frames
from spatterlib.types import Video
from spatterlib.video.names import stem_of

__all__ = ["FILES", "Task", "check_task", "make_task"]

FILES = {
    "cvat": "annotations.xml",
    "label-studio": "tasks.json",
    "coco": "annotations.json",
    "voc": "annotations",
    "yolo": "",
    "csv": "annotations.csv",
}
"""Where in the folder of a task the boxes are, by format; ``images/`` holds the frames."""


@dataclass(frozen=True)
class Task:
    """What `make_task` made: the folder, the file of boxes in it, how many frames and boxes."""

    folder: str
    boxes: str
    frames: int
    proposed: int


def check_task(folder: str, to: str) -> None:
    """Refuse early what `make_task` would refuse."""
    if to not in FILES:
        raise ParameterError(f"format must be one of {', '.join(FILES)}, got {to!r}")
    if is_there(folder, follow=False):
        raise OutputExistsError(f"{folder} exists already, and a folder of a task is not replaced; remove it yourself")
    check_folder(Path(folder))


def make_task(
    video: Video, folder: str, to: str, settings: ExtractionSettings, span: range, count: int = 50, pick: str = "teach"
) -> Task:
    """Write the frames of a recording that are worth annotating, and what is found in them as proposed boxes.

    Parameters
    ----------
    video : Video
        The opened recording.
    folder : str
        The task's folder; it is there as a whole or not at all.
    to : str
        One of `FILES`.
    settings : ExtractionSettings
        What proposes.
    span, count, pick
        As of `spatterlib.tuning.frames.teaching_frames`.
    """
    check_task(folder, to)
    frames, table = teaching_frames(video, settings, span, count, pick=pick)
    boxes = [tuple(int(row[name]) for name in ("frame", "x", "y", "width", "height")) for row in table]
    marked = Annotations.of(frames, boxes, size=(video.width, video.height), recording=stem_of(video.name))
    part = Path(folder).with_name(f".{Path(folder).name[:100]}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        _write(video, marked, part, to)
        part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Task(folder, str(Path(folder) / FILES[to]), len(frames), len(boxes))


def _write(video: Video, marked: Annotations, folder: Path, to: str) -> None:
    (folder / "images").mkdir()
    whole = (0, 0, video.width, video.height)
    for frame in marked.frames.tolist():
        for picture in video.read(frame, frame + 1):
            if picture is not None:
                write_png(folder / "images" / image_name(marked, frame), picture.rgb(whole))
    proposed = {"proposed": True} if to in ("cvat", "label-studio") else {}
    WRITERS[to](marked, folder / FILES[to] if FILES[to] else folder, **proposed)
    if to == "label-studio":
        (folder / "labels.xml").write_text(CONFIG, encoding="utf-8")
