"""Options that several commands share: how loud they are, what they look at, how they run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from spatterlib.cli import config as configuration
from spatterlib.cli.options import named, settings, with_parameters
from spatterlib.common.run_log import event
from spatterlib.common.standard_streams import shown
from spatterlib.extraction.settings import ExtractionSettings

__all__ = [
    "TERMINAL",
    "Command",
    "detection_options",
    "kept_in",
    "run_log_options",
    "run_options",
    "run_settings",
]

Command = TypeVar("Command", bound=Callable[..., Any])

log = logging.getLogger("spatterlib")

TERMINAL = "spatterlib-terminal"
"""Name of the logging handler that writes to stderr."""


def run_log_options() -> list[click.Option]:
    """Options `-v` and `--log-file`, which every command has; `cli` looks for the file before it parses."""
    return [
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_be_verbose,
            help="Say more; -vv: also tracebacks.",
        ),
        click.Option(["--log-file"], metavar="FILE", expose_value=False, help="Append a log of the run as JSON lines."),
    ]


def _be_verbose(_: click.Context, __: click.Parameter, count: int) -> None:
    level = logging.DEBUG if count > 1 else logging.INFO
    if count:
        log.setLevel(min(log.level, level))
        for handler in log.handlers:
            if handler.name == TERMINAL:
                handler.setLevel(level)


def detection_options(command: Command) -> Command:
    """Give a command the options that say what is looked at and by which plugins."""
    options = [
        click.option("--detector", metavar="ID", help="Detector to use.  [default: frame-difference]"),
        click.option(
            "--filter",
            "filters",
            metavar="ID",
            multiple=True,
            help="Filter; repeat for several; none: no filter.  [default: area, blue, black]",
        ),
        click.option("--original", is_flag=True, help="Do what the original research script did, faults included."),
        click.option("--config", "config_file", metavar="FILE", help="TOML file with settings; options win over it."),
        click.option("--start", metavar="POSITION", help="First frame: a number (250) or a time (12.5s, 1:23.5)."),
        click.option("--stop", metavar="POSITION", help="Frame behind the last."),
        click.option("--left", type=int, metavar="PX", help="Left bound of what is looked at."),
        click.option("--right", type=int, metavar="PX", help="Right bound, not included."),
        click.option("--top", type=int, metavar="PX", help="Upper bound."),
        click.option("--bottom", type=int, metavar="PX", help="Lower bound, not included."),
        click.option("--fps", type=float, help="The camera's frames per second, if the file's times are not its own."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_RUN_OPTIONS = {
    "limit": click.option("--limit", type=int, metavar="N", help="Stop after N detections."),
    "crop_format": click.option(
        "--crop-format", type=click.Choice(["jpeg", "png"]), help="How crops are encoded.  [default: jpeg]"
    ),
    "quality": click.option("--quality", type=int, help="JPEG quality, 1-100.  [default: 95]"),
    "gap": click.option(
        "--gap",
        metavar="SECONDS",
        help="Pause between layers: S, auto, or '700 frames'.  [default: auto]",
    ),
    "workers": click.option(
        "--workers", type=int, metavar="N", help="Two threads each; processes for several videos.  [default: 1]"
    ),
}


def run_options(*, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Give a command the options of a run of `extract`, some aside."""

    def give(command: Command) -> Command:
        for name in reversed([name for name in _RUN_OPTIONS if name not in without]):
            command = _RUN_OPTIONS[name](command)
        return command

    return give


def run_settings(ctx: click.Context, values: Mapping[str, Any]) -> ExtractionSettings:
    """Settings from file, `--original` and options, checked before a recording is looked at."""
    given = {key: values[key] for key in configuration.KEYS if values.get(key) not in (None, ())}
    bounds = tuple(values[side] for side in ("left", "top", "right", "bottom"))
    if any(bound is not None for bound in bounds):
        given["roi"] = (bounds[0] or 0, bounds[1] or 0, bounds[2], bounds[3])
    if "gap" in given:
        given["gap"] = _number_or_text(given["gap"])
    if "filters" in given:
        given["filters"] = named(given["filters"])
    file, original = values["config_file"], values["original"]
    merged = with_parameters(ctx, settings(file, original=original, given=given, section=ctx.info_name), values)
    found = ExtractionSettings(**merged)
    if log.isEnabledFor(logging.INFO):
        log.info("looked at", extra=event("detection", settings=configuration.effective(found)))
    return found


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def kept_in(store: str, how: str) -> str:
    """What an interrupted extraction has left in a store, and `how` to go on with it."""
    from spatterlib.stores.opening import find_store, open_store

    if not find_store(store):
        return "nothing was written"
    with open_store(store) as opened:
        done, attrs = len(opened.frame_log), opened.attrs
    if attrs.get("complete"):
        return f"{shown(store)} is complete"
    of = int(attrs.get("stop", done)) - int(attrs.get("start", 0))
    return f"{shown(store)} holds {done} of {of} frames and can be read; {how}"
