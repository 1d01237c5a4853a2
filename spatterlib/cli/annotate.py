"""Commands `annotate` and `score`: tasks for tools in which people draw boxes, and what comes back from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatterlib.cli.options import PluginCommand
from spatterlib.cli.run_options import detection_options, run_settings
from spatterlib.cli.schema import Annotating, Matching, Scored
from spatterlib.common.command_output import answer, answers, say
from spatterlib.common.files import check_folder, check_target, is_there
from spatterlib.common.signals import interrupt_note
from spatterlib.common.wording import counted
from spatterlib.errors import OutputExistsError, ParameterError
from spatterlib.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from spatterlib.annotations.record import Annotations
    from spatterlib.detection.accuracy import Accuracy, Marks
    from spatterlib.extraction.settings import ExtractionSettings

_TO = ("cvat", "label-studio", "coco", "yolo", "voc", "csv")


@click.command(cls=PluginCommand)
@click.argument("action", type=click.Choice(["export", "convert"]))
@click.argument("path", metavar="PATH")
@click.option("-o", "--out", required=True, metavar="PATH", help="The task's folder, or the file (folder) to write.")
@click.option("--to", type=click.Choice(_TO), default="cvat", show_default=True, help="Format that is written.")
@click.option("--frames", type=click.IntRange(1), default=50, show_default=True, help="How many, at most.")
@click.option(
    "--pick",
    type=click.Choice(["teach", "random"]),
    default="teach",
    show_default=True,
    help="Those that teach most, or any: a score on these is that of the recording.",
)
@detection_options
@answers(Annotating)
@interrupt_note(lambda: "nothing was written")
@click.pass_context
def annotate(
    ctx: click.Context,
    /,
    action: str,
    path: str,
    out: str,
    to: str,
    frames: int,
    pick: str,
    **values: Any,
) -> None:
    """Make a task of frames to draw boxes in, or write drawn boxes in another format.

    `annotate export VIDEO -o TASK` picks frames, writes them as images with boxes proposed already. `annotate convert
    LABELS -o FILE` reads COCO, YOLO, Pascal VOC, CVAT XML, Label Studio JSON, CSV and the JSON of AI-Hub 71476.
    """
    settings = run_settings(ctx, values)
    if action == "export":
        _export(path, out, to, frames, pick, settings)
    else:
        _convert(path, out, to)


def _export(path: str, out: str, to: str, frames: int, pick: str, settings: ExtractionSettings) -> None:
    from spatterlib.detection.detect import frame_span
    from spatterlib.tuning.task import check_task, make_task
    from spatterlib.video.opening import open_video

    check_task(out, to)
    with open_video(path, **settings.reading) as video:
        span = frame_span(video, settings.start, settings.stop)
        made = make_task(video, out, to, settings, span, frames, pick)
    text = f"{counted(made.frames, 'frame')} in {out}/images, {counted(made.proposed, 'box', 'boxes')} proposed"
    answer(Annotating(out, to, made.frames, made.proposed), f"{text} in {made.boxes}")


def _convert(path: str, out: str, to: str) -> None:
    from spatterlib.annotations.formats import read_annotations, write_annotations

    if is_there(out, follow=False):
        raise OutputExistsError(f"{out} exists already; name another, or remove it yourself")
    check_folder(Path(out))
    found = read_annotations(path)
    write_annotations(found, out, to)
    text = f"{out}: {counted(len(found.table), 'box', 'boxes')} in {counted(len(found.frames), 'frame')}"
    answer(Annotating(out, to, len(found.frames), len(found.table)), text)


@click.command()
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("--truth", "truths", multiple=True, required=True, metavar="LABELS", help="Of each store, in order.")
@click.option("--video", "videos", multiple=True, metavar="VIDEO", help="Of each store, for pictures and brightness.")
@click.option("--limit", type=click.FloatRange(0, 1, min_open=True), default=0.5, show_default=True, help="Least IoU.")
@click.option(
    "--distance", type=click.FloatRange(0, min_open=True), help="Px, largest distance of middles.  [default: 20]"
)
@click.option("--rank", default="peak", show_default=True, metavar="COLUMN", help="How sure a detection is, for AP.")
@click.option("--min-area", type=click.FloatRange(0), help="Px², smallest mark to be found; 2000 of simulated truth.")
@click.option("--max-area", type=click.FloatRange(0), help="Px², largest mark to be found; 15000 of simulated truth.")
@click.option("--pictures", metavar="FOLDER", help="Write the worst frames there; needs --video.")
@answers(Scored)
@interrupt_note(lambda: "nothing was written")
def score(
    stores: tuple[str, ...],
    truths: tuple[str, ...],
    videos: tuple[str, ...],
    limit: float,
    distance: float | None,
    rank: str,
    min_area: float | None,
    max_area: float | None,
    pictures: str | None,
) -> None:
    """Say how good detections are against boxes that people drew: precision, recall, F1 and average precision.

    LABELS are annotations in any format that `annotate convert` reads, or a simulated recording or its .truth.npz.
    Boxes match by intersection over union, and by the distance of their middles; both are said. Intervals are of 95 %,
    by recording where there are five or more, else by stretches of time.
    """
    from spatterlib.detection.accuracy import score_annotations
    from spatterlib.stores.opening import open_store

    _check_score(stores, truths, videos, pictures)
    marks = [_marks(path, videos[place] if videos else "", (min_area, max_area)) for place, path in enumerate(truths)]
    tables = []
    for path in stores:
        with open_store(path) as store:
            tables.append(store.table)
    found: list[Accuracy] = [
        score_annotations(tables, marks, by="iou", limit=limit, rank=rank),
        score_annotations(tables, marks, by="distance", limit=distance, rank=rank),
    ]
    for accuracy in found:
        say(str(accuracy))
    for title, thirds in (("px²", found[0].by_size), ("grey levels", found[0].by_brightness)):
        for low, high, count, recall in thirds:
            say(f"  {low:.0f} to {high:.0f} {title}: recall {recall:.3f} of {counted(count, 'mark')}")
    drawn = _pictures(found[0], videos, tables, marks, Path(pictures)) if pictures else []
    for path in drawn:
        say(path)
    first = found[0]
    matchings = [_matching(accuracy) for accuracy in found]
    worst = [list(row) for row in first.worst]
    answer(Scored(first.frames, first.marks, first.found, first.clusters, matchings, worst, drawn))


def _check_score(stores: Sequence[str], truths: Sequence[str], videos: Sequence[str], pictures: str | None) -> None:
    """Refuse before the work what cannot be done."""
    from spatterlib.video.opening import open_video

    for given, name in ((truths, "--truth"), (videos or stores, "--video")):
        if len(given) != len(stores):
            raise ParameterError(f"expected one {name} for each store, got {len(given)} for {len(stores)}")
    if pictures and not videos:
        raise ParameterError("--pictures shows frames: expected --video with the recording of each store, got none")
    if pictures:
        check_target(Path(pictures) / "worst.png") if Path(pictures).is_dir() else check_folder(Path(pictures))
    for path in videos:
        open_video(path).close()


def _matching(found: Accuracy) -> Matching:
    shares = {name: [*dataclasses.astuple(getattr(found, name))] for name in _SHARES}
    thirds = [[list(row) for row in rows] for rows in (found.by_size, found.by_brightness)]
    return Matching(found.by, found.limit, *(shares[name] for name in _SHARES), *thirds)


_SHARES = ("precision", "recall", "f1", "average_precision")


def _marks(path: str, video: str, areas: tuple[float | None, float | None]) -> Marks:
    """What should be found: of annotations every box, of simulated truth what the usual filter is after."""
    from spatterlib.annotations.formats import read_annotations
    from spatterlib.detection.accuracy import marks_of
    from spatterlib.detection.score import AREAS
    from spatterlib.simulation.truth import Truth, truth_path

    simulated = path.endswith(".truth.npz") or truth_path(path).is_file()
    usual = AREAS if simulated else (0.0, float("inf"))
    low, high = (own if given is None else given for given, own in zip(areas, usual, strict=True))
    if simulated:
        return marks_of(Truth.load(path), (low, high))
    marked = read_annotations(path)
    return marks_of(marked, (low, high), _brightness(marked, video) if video else None)


def _brightness(marked: Annotations, path: str) -> Any:
    """Brightest grey level in each box."""
    import numpy as np

    from spatterlib.types import Clip
    from spatterlib.video.opening import open_video

    peak = np.full(len(marked.table), np.nan)
    with open_video(path) as video:
        for frame in np.unique(marked.table["frame"]).tolist():
            pictures = [picture for picture in video.read(frame, frame + 1) if picture is not None]
            for row in np.flatnonzero(marked.table["frame"] == frame) if pictures else ():
                box = marked.table[row]
                x, y, right, bottom = box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
                part = Clip(pictures, np.zeros(1)).luma[0, y:bottom, x:right]
                peak[row] = part.max() if part.size else np.nan
    return peak


def _pictures(
    found: Accuracy, videos: Sequence[str], tables: Sequence[Any], marks: Sequence[Marks], folder: Path
) -> list[str]:
    """The worst frames: what should be found in white, what was found in blue."""
    from spatterlib.extraction.plots import boxed, caption, write_png
    from spatterlib.video.names import stem_of
    from spatterlib.video.opening import open_video

    folder.mkdir(exist_ok=True)
    written = []
    for recording, frame, missed, false in found.worst:
        with open_video(videos[recording]) as video:
            pictures = [picture for picture in video.read(frame, frame + 1) if picture is not None]
        if not pictures:
            continue
        own, table = marks[recording], tables[recording]
        marked = own.table[own.wanted & (own.table["frame"] == frame)]
        whole = pictures[0].rgb((0, 0, *pictures[0].shape[::-1]))
        drawn = boxed(boxed(whole, marked, (255, 255, 255)), table[table["frame"] == frame], (86, 180, 233))
        name = f"{stem_of(videos[recording])}_frame_{frame:06d}.png"
        said = f"{Path(videos[recording]).name} frame {frame}: {missed} missed (white), {false} false (blue)"
        write_png(folder / name, caption(drawn, said))
        written.append(str(folder / name))
    return written


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The commands of this module."""
    cli.add_command(annotate)
    cli.add_command(score)
