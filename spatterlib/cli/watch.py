"""Command `watch`."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from spatterlib.cli.model_options import load_named, model_options
from spatterlib.cli.options import PluginCommand
from spatterlib.cli.run_options import detection_options, run_settings
from spatterlib.common.record_options import Command
from spatterlib.common.signals import signals
from spatterlib.errors import SpatterlibError, UsageError

__all__ = ["add_to"]

log = logging.getLogger("spatterlib")

_KEYS = ("detector", "filters", "roi", "crop_format", "quality", "gap")
_SECONDS = ("window", "hold", "remind", "every", "status", "idle", "timeout")
_CHARTS = ("reference", "camera", "calibration", "scan_start")
_OWN = ("expected", "alarm", "metrics_at", "webhook", "mqtt", "store", "overwrite", *_SECONDS, *_CHARTS)
# Of `extract`, without meaning for a stream.
_APART = ("start", "stop", "fps", "limit", "workers")


def _looking(command: Command) -> Command:
    """Options of the detector and the filters, those aside that need a recording."""
    command = detection_options(command)
    kept: Any = command
    hidden: list[click.Parameter] = kept.__click_params__
    for option in hidden:
        if option.name in _APART and isinstance(option, click.Option):
            option.hidden = True
    return command


@click.command(cls=PluginCommand)
@click.argument("source", metavar="SOURCE")
@click.option("--model", required=True, metavar="RUN", help='Run folder, folder of runs, or "simulated".')
@model_options
@click.option("--expected", metavar="CLASS", help="The class that a good build has: others are critical then.")
@click.option("--gap", metavar="S", help="Pause that separates layers.  [default: 2]")
@click.option(
    "--window", type=float, default=60.0, show_default=True, metavar="S", help="Also judge the last S seconds."
)
@click.option("--min-votes", type=int, metavar="N", help="Fewer give no verdict.  [default: 6]")
@click.option(
    "--max-far", type=float, metavar="SHARE", help="Crops unlike the training's, put up with.  [default: 0.25]"
)
@click.option(
    "--alarm", type=click.Choice(["layer", "window"]), default="layer", show_default=True, help="Which verdict alarms."
)
@click.option("--hold", type=float, default=2.0, show_default=True, metavar="S", help="So long before it alarms.")
@click.option("--remind", type=float, default=60.0, show_default=True, metavar="S", help="Tell again what goes on.")
@click.option("--reference", metavar="FILE", help="Control charts of layers too; from `monitor --save-reference`.")
@click.option("--camera", metavar="PROFILE", help="Camera profile for them.  [default: that of the reference]")
@click.option("--calibration", metavar="FILE", help="For charts of speeds, from `calibrate-camera`.")
@click.option("--scan-start", type=float, metavar="DEG", help="Scan angle of layer 0.  [default: the reference's]")
@click.option(
    "--every", type=float, default=1.0, show_default=True, metavar="S", help="Between two verdicts on stdout."
)
@click.option("--status", type=float, default=10.0, show_default=True, metavar="S", help="Between two status lines.")
@click.option("--idle", type=float, default=10.0, show_default=True, metavar="S", help="A file that rests has ended.")
@click.option("--timeout", type=float, default=10.0, show_default=True, metavar="S", help="A stream that rests is cut.")
@click.option("--give-up", type=float, metavar="S", help="End without a picture for so long.  [default: never]")
@click.option("--metrics", "metrics_at", metavar="[HOST:]PORT", help="Serve metrics for Prometheus.")
@click.option("--webhook", metavar="URL", help="POST every alarm as JSON.")
@click.option("--webhook-header", "headers", multiple=True, metavar="'NAME: VALUE'", help="For the webhook.")
@click.option("--mqtt", metavar="URL", help="Publish every alarm: mqtt://[user:password@]host[:port]/topic.")
@click.option("--store", metavar="STORE", help="Keep what is found (.h5, .zarr).")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@click.option("--crop-format", type=click.Choice(["jpeg", "png"]), help="How crops are encoded.  [default: jpeg]")
@click.option("--quality", type=int, help="JPEG quality, 1-100.  [default: 95]")
@_looking
@click.pass_context
def watch(
    ctx: click.Context,
    /,
    source: str,
    model: str,
    classifier: str | None,
    classes: str | None,
    min_votes: int | None,
    max_far: float | None,
    give_up: float | None,
    headers: tuple[str, ...],
    **values: Any,
) -> None:
    """Give a verdict on each layer while it is built.

    SOURCE is the number of a camera, a URL (rtsp, http, tcp, udp, srt, rtmp), or a file that grows (.mkv, .ts).
    JSON lines go to stdout, lines for people to stderr. Ends at Ctrl-C or SIGTERM with a summary.
    """
    from spatterlib.live.messages import json_line, text_line
    from spatterlib.live.senders import headers_of
    from spatterlib.live.watch import watch
    from spatterlib.verdicts.rules import Rules

    for name in _APART:
        if values.get(name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} belongs to recordings; a stream has no such")
    if values["gap"] == "auto":
        raise UsageError("--gap needs seconds: 'auto' needs the whole build; take what `spatterlib predict` found")
    merged = dict(vars(run_settings(ctx, values)))
    if values["gap"] is None and isinstance(merged.get("gap"), str) and merged.pop("gap") != "auto":
        # A stream may drop frames, and its rate may change: what is counted is seconds.
        log.warning("layers of a stream are told apart by seconds: the pause in frames is left out, see --gap")
    options = {key: merged[key] for key in _KEYS if merged.get(key) not in (None, "auto")}
    given = {"min_votes": min_votes, "max_far": max_far}
    rules = Rules(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    apart = {"gap", "crop_format", "quality"}
    own = {key: values[key] for key in _OWN if key not in apart}

    def notify(message: dict[str, Any]) -> None:
        click.echo(json_line(message))
        if text := text_line(message):
            click.echo(text, err=True)

    with _until_told() as told:
        found = watch(
            source,
            load_named(model, classifier, classes),
            rules=rules,
            give_up=math.inf if give_up is None else give_up,
            headers=headers_of(headers),
            notify=notify,
            stopped=told.is_set,
            **own,
            **options,
        )
    facts = found.facts
    if facts["store"] not in (None, "ok"):
        raise SpatterlibError(f"{values['store']} does not hold everything: {facts['store']}")
    if not told.is_set() and not facts["connected"]:
        what = f"{facts['source']} broke off" if give_up is None else f"gave up after {give_up:g} s without a picture"
        raise SpatterlibError(f"{what}: {facts['reason']}")


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set; a second signal ends at once."""
    told = threading.Event()
    before: dict[int, Any] = {}

    def tell(number: int, _: Any) -> None:
        told.set()
        signal.signal(number, before[number])

    for which in signals():
        before[which] = signal.signal(which, tell)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_to(cli: click.Group) -> None:
    """Add the commands of this module."""
    cli.add_command(watch)
