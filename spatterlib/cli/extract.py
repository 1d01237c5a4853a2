"""Commands `extract` and `forecast`: one recording or many, here or on a farm."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatterlib.cli.options import PluginCommand
from spatterlib.cli.run_options import (
    completeness,
    dask_option,
    executor_at,
    extraction_options,
    interrupted_store,
    run_settings,
    say_what_filters_took,
)
from spatterlib.cli.schema import Extracted, Forecasts, RecordingDone
from spatterlib.common.command_output import answer, answers, say
from spatterlib.common.files import check_target
from spatterlib.common.progress import columns
from spatterlib.common.run_log import periodic_progress
from spatterlib.common.signals import interrupt_note
from spatterlib.common.standard_streams import shown
from spatterlib.errors import Exit, SpatterlibError, one_line
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.plugins.registry import catalog

if TYPE_CHECKING:
    from spatterlib.extraction.batch import RecordingOutcome
    from spatterlib.extraction.forecast import Estimate, Forecast

__all__ = ["add_to"]

log = logging.getLogger("spatterlib")

_NOTHING = (
    "nothing passed the filters: look at a frame with `spatterlib show VIDEO --frame N --min-area 50`, "
    "then set --min-area and --threshold to suit your camera"
)


def _dry_run(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        raise click.UsageError("to see the rows without storing them: spatterlib detect VIDEO", ctx)


@click.command(cls=PluginCommand)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, metavar="OUT", help="Store to make (.h5, .zarr), or a folder for several.")
@extraction_options()
@click.option("--dry-run", is_flag=True, hidden=True, is_eager=True, expose_value=False, callback=_dry_run)
@click.option("--plot", metavar="FILE", help="Also plot the timeline (PNG, PDF or SVG).")
@click.option("--live", is_flag=True, help="Show a running graph of detections in the terminal.")
@click.option("--resume", is_flag=True, help="Go on with a store that was cut off; in a folder this is always done.")
@click.option("--overwrite", is_flag=True, help="Replace existing stores.")
@click.option("--suffix", metavar="SUFFIX", help="Kind of the stores in a folder.  [default: .h5; .zarr with --dask]")
@dask_option
@answers(Extracted)
@click.pass_context
def extract(
    ctx: click.Context,
    /,
    videos: tuple[str, ...],
    out: str,
    plot: str | None,
    live: bool,
    resume: bool,
    overwrite: bool,
    suffix: str | None,
    dask: str | None,
    **values: Any,
) -> None:
    """Turn recordings into stores of spatter crops with measurements.

    VIDEO is a video file, a folder or pattern of images, a multi-page TIFF or an .npy stack. With a folder for OUT,
    a broken video does not stop the rest, and a second call does only what is missing.
    """
    from spatterlib.common.progress import notifier
    from spatterlib.video.opening import expand

    settings = run_settings(ctx, values)
    if plot:
        check_target(plot, (".png", ".pdf", ".svg"))
    names = expand(videos)
    single = _is_store(out, names)
    if suffix and single:
        raise click.UsageError("--suffix is for the stores in a folder; OUT says the kind of a single one")
    if plot and (len(names) > 1 or not single):
        raise click.UsageError("--plot takes one video and one store; use it with each on its own")
    with executor_at(dask) as executor:
        run = {"executor": executor, "progress": notifier(live=live), "overwrite": overwrite}
        if single:
            outcomes = [_one(settings, names[0], out, run | {"resume": resume}, plot)]
        else:
            outcomes = _all(settings, names, out, suffix or (".zarr" if dask else ".h5"), run)
    if not single:
        say(_table(outcomes))
    answer(_extracted(outcomes), code=Exit.of(outcome.code for outcome in outcomes))


def _extracted(outcomes: Sequence[RecordingOutcome]) -> Extracted:
    videos = [RecordingDone(**outcome.row()) for outcome in outcomes]
    frames, decoded, detections = (
        sum(getattr(video, name) or 0 for video in videos) for name in ("frames", "decoded", "detections")
    )
    return Extracted(videos, sum(video.state == "failed" for video in videos), frames, decoded, detections)


def _is_store(out: str, videos: Sequence[str]) -> bool:
    """Whether OUT names a store, not a folder of stores."""
    suffixes = {suffix for class_ in catalog().stores.values() for suffix in class_.suffixes}
    if Path(out.rstrip("/")).suffix.lower() in suffixes:
        if len(videos) > 1:
            raise click.UsageError(f"{len(videos)} videos need a folder for OUT, got {out}; leave out its suffix")
        return True
    if len(videos) == 1 and Path(out).suffix:
        raise click.UsageError(f"OUT must end in {', '.join(sorted(suffixes))}, or be a folder, got {out}")
    return False


def _one(
    settings: ExtractionSettings, video: str, out: str, run: Mapping[str, Any], plot: str | None
) -> RecordingOutcome:
    from spatterlib.extraction.batch import outcome_of
    from spatterlib.extraction.extract import extract_with

    further = "the same command with --resume" + " in place of --overwrite" * bool(run["overwrite"])
    with interrupt_note(lambda: interrupted_store(out, f"{further} goes on")):
        report = extract_with(settings, video, out, **run)
    say(str(report))
    if report.resumed == report.expected:
        say("nothing to do: it is complete")
    say(f"layers: {report.gap}" if report.detections else _NOTHING)
    say(say_what_filters_took(report.filters, video))
    if plot:
        _plot(out, plot, Path(video).name)
        say(f"timeline: {plot}")
    completeness(report.decoded, report.expected, video)
    return outcome_of(video, out, report)


def _all(
    settings: ExtractionSettings, videos: Sequence[str], out: str, suffix: str, run: Mapping[str, Any]
) -> list[RecordingOutcome]:
    from spatterlib.extraction.batch import extract_all

    keep, ended = periodic_progress("recordings", every=0.0), itertools.count(1)

    def tell(outcome: RecordingOutcome) -> None:
        keep(next(ended), len(videos), failed=int(outcome.state == "failed"))
        if outcome.report is None:
            log.error("%s", outcome.error)
            return
        say(str(outcome.report))
        say(say_what_filters_took(outcome.report.filters, outcome.video))
        completeness(outcome.report.decoded, outcome.report.expected, outcome.video)

    again = "the same command" + " without --overwrite" * bool(run["overwrite"])
    with interrupt_note(
        lambda: f"what was committed to {shown(out)} is kept; {again} goes on (--resume is not needed)"
    ):
        return extract_all(videos, out, suffix=suffix, done=tell, **run, **vars(settings))


_SUMMARY = ("video", "frames", "decoded", "detections", "layers", "seconds", "state")


def _table(outcomes: Sequence[RecordingOutcome]) -> str:
    return _lines(_SUMMARY, [[_cell(outcome.row()[name]) for name in _SUMMARY] for outcome in outcomes])


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(map("  ".join, columns(header, rows)))


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


@click.command(cls=PluginCommand)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option(
    "--sample", type=float, default=60.0, show_default=True, metavar="SECONDS", help="How much of each is looked at."
)
@extraction_options(without=("limit", "gas_direction", "gap", "workers"))
@answers(Forecasts)
@click.pass_context
def forecast(ctx: click.Context, /, videos: tuple[str, ...], sample: float, **values: Any) -> None:
    """Say from a minute of each recording how long extracting it will take, and how large the store will be.

    Times are those of one worker on this machine, as it is loaded now. Bounds hold the truth in 90 % of all cases, if
    the places that were looked at are like the rest.
    """
    from spatterlib.extraction.forecast import forecast_with, total
    from spatterlib.video.opening import expand

    settings = run_settings(ctx, values)
    told: list[Forecast] = []
    errors: list[str] = []
    codes = []
    for video in expand(videos):
        try:
            told.append(forecast_with(settings, video, sample=sample))
        except (SpatterlibError, OSError) as error:
            log.error("%s", one_line(error))
            errors.append(one_line(error))
            codes.append(Exit.caused_by(error))
    together = total(told)
    if told:
        say(_forecasts(told, together))
    each: list[Any] = [*told]
    answer(Forecasts(each, together, errors), code=Exit.of(codes))  # type: ignore[arg-type]


def _forecasts(told: Sequence[Forecast], together: Forecast) -> str:
    from spatterlib.extraction.forecast import clock, size

    def line(item: Forecast) -> list[str]:
        return [item.video, str(item.frames), str(item.sampled), _range(item.seconds, clock), _range(item.bytes, size)]

    rows = [*map(line, told), *([line(together)] if len(told) > 1 else [])]
    return _lines(("video", "frames", "looked at", "time, one worker", "store"), rows)


def _range(range_: Estimate, text: Any) -> str:
    return f"{text(range_.value)} ({text(range_.low)} to {text(range_.high)})"


def _plot(store: str, path: str, title: str) -> None:
    from spatterlib.detection.layers import gap_of, layers
    from spatterlib.extraction.plots import timeline
    from spatterlib.stores.opening import is_simulated, open_store

    with open_store(store) as opened:
        table = opened.table
        if is_simulated(opened.attrs):
            title = f"{title} (simulated)"
        timeline(table, opened.frame_log, layers(table["time"], gap_of(opened.attrs), table["frame"]), path, title)


def add_to(cli: click.Group) -> None:
    """Add the commands of this module."""
    for command in (extract, forecast):
        cli.add_command(command)
