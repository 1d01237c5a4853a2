"""The command line: `spatterlib info`, `show`, `config`; `extract` and others in modules of their own; plugins' too."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from spatterlib import config as configuration
from spatterlib.errors import ParameterError, SpatterlibError
from spatterlib.options import PluginCommand, settings, with_parameters
from spatterlib.plugins import catalog, nearest

__all__ = ["cli", "main"]

Command = TypeVar("Command", bound=Callable[..., Any])

log = logging.getLogger("spatterlib")

INCOMPLETE, INTERRUPTED = 3, 130

_NOTHING = (
    "nothing passed the filters: look at a frame with `spatterlib show VIDEO --frame N --min-area 50`, "
    "then set --min-area and --threshold to suit your camera"
)


class _Json(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {"time": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
            | ({"error": self.formatException(record.exc_info)} if record.exc_info else {})
        )


def _be_verbose(_: click.Context, __: click.Parameter, count: int) -> None:
    if count:
        log.setLevel(logging.DEBUG if count > 1 else logging.INFO)


def _log_to(_: click.Context, __: click.Parameter, path: str | None) -> None:
    if path:
        try:
            handler = logging.FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise ParameterError(f"cannot write the log file {path}: {error.strerror}") from error
        handler.setFormatter(_Json())
        handler.setLevel(logging.DEBUG)
        log.addHandler(handler)
        log.setLevel(min(log.level or logging.INFO, logging.INFO))


def common(command: Command) -> Command:
    """Give a command the options `-v` and `--log-file`."""
    verbose = click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_be_verbose,
        help="Say more; -vv: also tracebacks.",
    )
    log_file = click.option(
        "--log-file",
        metavar="FILE",
        expose_value=False,
        callback=_log_to,
        help="Append the log as JSON lines.",
    )
    return verbose(log_file(command))


class _Group(click.Group):
    """Commands of plugins beside our own; an unknown one names the nearest."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            name = args[0]
            if name in self.commands or name.startswith("-"):
                raise
            raise click.UsageError(f"no command {name!r}{nearest(name, list(self.commands))}", ctx) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="spatterlib", prog_name="spatterlib")
@common
def cli() -> None:
    """From video of laser powder-bed fusion to spatter events, crops, measurements and layers."""


def _filters(command: Command) -> Command:
    options = [
        click.option("--detector", metavar="ID", help="Detector to use.  [default: frame-difference]"),
        click.option(
            "--filter",
            "filters",
            metavar="ID",
            multiple=True,
            help="Filter; repeat for several.  [default: area, blue, black]",
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


_RUN_OPTIONS = (
    click.option("--limit", type=int, metavar="N", help="Stop after N detections."),
    click.option("--crop-format", type=click.Choice(["jpeg", "png"]), help="How crops are encoded.  [default: jpeg]"),
    click.option("--quality", type=int, help="JPEG quality, 1-100.  [default: 95]"),
    click.option("--gap", metavar="SECONDS", help="Pause that separates layers.  [default: auto]"),
    click.option("--workers", type=int, metavar="N", help="Parts of the video worked on side by side.  [default: 1]"),
)


def _run_options(command: Command) -> Command:
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


def _settings(ctx: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `extract` from file, `--original` and options."""
    given = {key: values[key] for key in configuration.known()["extract"] if values.get(key) not in (None, ())}
    bounds = tuple(values[side] for side in ("left", "top", "right", "bottom"))
    if any(bound is not None for bound in bounds):
        given["roi"] = (bounds[0] or 0, bounds[1] or 0, bounds[2], bounds[3])
    if given.get("gap", "auto") != "auto":
        given["gap"] = _seconds(given["gap"])
    if "filters" in given:
        given["filters"] = list(given["filters"])
    merged = settings(values["config_file"], original=values["original"], given=given)
    return with_parameters(ctx, merged, values)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ParameterError(f"--gap needs seconds or 'auto', got {text!r}") from error


@cli.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common
def info(path: str, as_json: bool) -> None:
    """Say what is in a store, a video or a model."""
    facts = _facts(path)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {json.dumps(value) if isinstance(value, dict | list) else value}")


def _facts(path: str) -> dict[str, Any]:
    from spatterlib.models import RECORD, read_facts
    from spatterlib.stores import find_store, open_store
    from spatterlib.video import open_video

    if (Path(path) / RECORD).is_file():
        return {"kind": "model", **read_facts(path)}
    if find_store(path):
        with open_store(path) as store:
            return _store_facts(store)
    with open_video(path) as video:
        times = video.times[np.isfinite(video.times)]
        return {
            "kind": "video",
            **video.identity(),
            "duration": round(float(np.ptp(times)), 3) if len(times) else 0.0,
        }


def _store_facts(store: Any) -> dict[str, Any]:
    from spatterlib.grouping import layers

    table, frame_log, attrs = store.table, store.frame_log, dict(store.attrs)
    grouped = layers(table["time"][np.isfinite(table["time"])])
    return {
        "kind": "store",
        "complete": attrs.pop("complete", None),
        "state": attrs.pop("state", None),
        "detections": len(table),
        "frames": len(frame_log),
        "decoded": int(frame_log["decoded"].sum()),
        "frames with spatter": len(np.unique(table["frame"])),
        "layers": len(grouped),
        "gap": grouped.chosen,
        "columns": list(store.columns),
        **attrs,
    }


@cli.command(cls=PluginCommand)
@click.argument("path")
@click.option("-o", "--out", metavar="FILE", help="PNG to write.  [default: beside the current folder's files]")
@click.option("--frame", type=int, help="Of a video: the frame to show, its detections boxed.")
@click.option("--rows", default="0:64", show_default=True, metavar="A:B", help="Of a store: which rows.")
@click.option("--columns", default=8, show_default=True, type=click.IntRange(1, 64), help="Of a store: crops per line.")
@_filters
@common
@click.pass_context
def show(
    ctx: click.Context,
    /,
    path: str,
    out: str | None,
    frame: int | None,
    rows: str,
    columns: int,
    **values: Any,
) -> None:
    """Write a picture: a montage of a store's crops, or one frame of a video with its detections boxed."""
    from spatterlib.report import annotate, montage, write_png
    from spatterlib.stores import find_store, open_store

    if find_store(path):
        with open_store(path) as store:
            picture = montage(store.read(range(len(store))[_slice(rows)]), columns=columns)
        target = out or f"{Path(path).stem}_crops.png"
    else:
        clip, found = _look(path, frame or 0, _settings(ctx, values))
        picture, target = (
            annotate(clip.pictures[-1].rgb((0, 0, *clip.pictures[-1].shape[::-1])), found),
            out or "",
        )
        target = target or f"{Path(path).stem}_frame{frame or 0}.png"
    write_png(target, picture)
    click.echo(target)


def _look(path: str, frame: int, options: dict[str, Any]) -> Any:
    from spatterlib.detection import detect

    chosen = {key: options[key] for key in ("detector", "filters", "roi", "fps") if key in options}
    for clip, found in detect(path, **chosen, start=frame, stop=frame + 1):
        return clip, found
    raise ParameterError(f"frame {frame} of {path} does not decode; try the one before or behind it")


def _slice(text: str) -> slice:
    try:
        return slice(*(int(part) if part else None for part in text.split(":", 1)))
    except ValueError as error:
        raise ParameterError(f"--rows needs A:B, such as 0:64, got {text!r}") from error


@cli.command(cls=PluginCommand)
@_filters
@_run_options
@common
@click.pass_context
def config(ctx: click.Context, /, **values: Any) -> None:
    """Print the effective configuration as TOML: defaults, over them --config, --original and options."""
    merged = _settings(ctx, values)
    click.echo(configuration.to_toml({"extract": configuration.effective("extract", merged)}), nl=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit code: 0 done, 1 refused, 2 wrong usage, 3 under 99.9 % of the frames decoded, 130 interrupted.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    if not log.handlers:
        log.addHandler(handler)
    try:
        from spatterlib import extract_cli, predict_cli, watch_cli

        for module in (extract_cli, predict_cli, watch_cli):
            module.add_to(cli)
        _add_commands(cli)
        return int(cli.main(arguments, prog_name="spatterlib", standalone_mode=False) or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted; what was committed before is kept and can be read", err=True)
        return INTERRUPTED
    except Exception as error:
        return _tell(error)


def _add_commands(group: click.Group) -> None:
    """Commands of plugins; one that fails is named, one whose name is taken is left out, the rest goes on."""
    before = dict(group.commands)
    for source, _, error in catalog().ask("spatter_commands", built_in_first=True, cli=group):
        if error:
            log.warning("%s failed to add its commands: %s: %s", source, type(error).__name__, _one_line(error))
        for name, command in before.items():
            if group.commands.get(name) is not command and source.foreign:
                log.warning("%s has a command %r of its own, which is left out: there is one already", source, name)
                group.commands[name] = command
        before = dict(group.commands)


def _tell(error: Exception) -> int:
    """One line for the user; the traceback goes to the log file, and to the terminal with -vv."""
    log.debug("stopped", exc_info=error)
    known = isinstance(error, SpatterlibError | OSError)
    unforeseen = f"internal error, please report it with -vv: {type(error).__name__}: "
    said = _one_line(error) if known else unforeseen + _one_line(error)
    click.echo(f"error: {said}", err=True)
    return getattr(error, "exit_code", 1)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())
