"""Command `watch`."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from typing import Any

import click

from spatterlib.cli.dashboard import dashboard, is_drawn
from spatterlib.cli.model_options import load_named, model_options
from spatterlib.cli.options import PluginCommand
from spatterlib.cli.run_options import extraction_options, run_settings
from spatterlib.common.record_options import flag_of, given_values, options_of, with_options
from spatterlib.common.signals import signals
from spatterlib.common.wording import counted
from spatterlib.errors import LostError, SpatterlibError, UndeliveredError, UsageError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.live.settings import AlarmSettings, ChartSettings, OutputSettings, WatchSettings
from spatterlib.verdicts.rules import Rules

__all__ = ["add_to"]

log = logging.getLogger("spatterlib")

# Of `extract`, without meaning for a stream.
_APART = ("start", "stop", "fps", "value_range", "axes", "limit", "workers")


def _of_recordings(_: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise UsageError(f"{option.opts[0]} belongs to recordings; a stream has no such")


def _refused() -> list[click.Option]:
    """Options that people bring along from `extract`: hidden, and refused in words."""
    flags = [flag_of(item) for item in fields(ExtractionSettings) if item.name in _APART]
    return [click.Option([flag], hidden=True, expose_value=False, callback=_of_recordings) for flag in flags]


@click.command(cls=PluginCommand)
@click.argument("source", metavar="SOURCE")
@click.option("--model", required=True, metavar="RUN", help='Run folder, folder of runs, or "simulated".')
@model_options
@with_options(options_of(Rules))
@with_options(options_of(WatchSettings))
@with_options(options_of(AlarmSettings))
@with_options(options_of(ChartSettings))
@with_options(options_of(OutputSettings))
@click.option("--webhook-header", "headers", multiple=True, metavar="'NAME: VALUE'", help="For the webhook.")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@click.option(
    "--dashboard/--no-dashboard",
    "board",
    default=None,
    help="Draw where it stands instead of lines.  [default: on a terminal]",
)
@with_options(_refused())
@extraction_options(without=("gap", *_APART))
@click.pass_context
def watch(
    ctx: click.Context,
    /,
    source: str,
    model: str,
    classifier: str | None,
    classes: str | None,
    headers: tuple[str, ...],
    board: bool | None,
    **values: Any,
) -> None:
    """Give a verdict on each layer while it is built.

    SOURCE is the number of a camera, a URL (rtsp, http, tcp, udp, srt, rtmp), or a file that grows (.mkv, .ts).
    On a terminal a dashboard is drawn (with the extra 'live'); otherwise JSON lines go to stdout, lines for
    people to stderr. Ends at Ctrl-C or SIGTERM with a summary.
    """
    from spatterlib.live.messages import json_line, text_line
    from spatterlib.live.senders import headers_of
    from spatterlib.live.watch import watch_with

    extraction = run_settings(ctx, values)
    given = given_values(WatchSettings, values)
    settings = WatchSettings(
        **({} if "gap" in given else _gap(extraction)) | given,
        alarms=AlarmSettings(**given_values(AlarmSettings, values)),
        charts=ChartSettings(**given_values(ChartSettings, values)),
        outputs=OutputSettings(**given_values(OutputSettings, values) | {"headers": headers_of(headers)}),
    )
    rules = Rules(**given_values(Rules, values))

    def write(message: dict[str, Any]) -> None:
        click.echo(json_line(message))
        if text := text_line(message):
            click.echo(text, err=True)

    drawn = is_drawn(board)
    with _until_told() as told, dashboard() if drawn else nullcontext(write) as notify:
        run = load_named(model, classifier, classes)
        summary = watch_with(settings, extraction, rules, source, run, notify=notify, stopped=told.is_set)
    facts = summary.facts
    if facts["store"] not in (None, "ok"):
        raise SpatterlibError(f"{settings.outputs.store} does not hold everything: {facts['store']}")
    if not told.is_set() and not facts["connected"]:
        raise LostError(f"{facts['source']}: {facts['reason']}")
    if facts["undelivered"]:
        kept = (
            f"; what waits is kept in {settings.outputs.queue}"
            if settings.outputs.queue
            else "; --alarm-queue keeps them"
        )
        raise UndeliveredError(f"{counted(facts['undelivered'], 'alarm')} not handed over{kept}")


def _gap(extraction: ExtractionSettings) -> dict[str, float]:
    """The pause between layers that a file for recordings names, if it is one in seconds."""
    if isinstance(extraction.gap, str) and extraction.gap != "auto":
        # A stream may drop frames, and its rate may change: what is counted is seconds.
        log.warning("layers of a stream are told apart by seconds: the pause in frames is left out, see --gap")
    return {} if extraction.gap is None or isinstance(extraction.gap, str) else {"gap": extraction.gap}


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
