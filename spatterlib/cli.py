"""The command line: `spatterlib info`, `show`, `config`; `extract` and others in modules of their own; plugins' too."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from spatterlib import config as configuration
from spatterlib import extract_cli, predict_cli, watch_cli
from spatterlib.errors import ParameterError, SpatterlibError, one_line
from spatterlib.options import PluginCommand
from spatterlib.plugins import commands, nearest
from spatterlib.run_options import common, detection_options, run_options, run_settings
from spatterlib.stopping import stop_signals
from spatterlib.streams import lenient, unsaid

__all__ = ["cli", "main"]

log = logging.getLogger("spatterlib")

INTERRUPTED = 130


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
    import numpy as np

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
    import numpy as np

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
@detection_options
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
    from spatterlib.report import caption, write_png
    from spatterlib.stores import find_store

    if find_store(path):
        picture, said, kind = _montage(path, _slice(rows), columns)
    else:
        picture, said, kind = _annotated(path, frame or 0, run_settings(ctx, values))
    target = out or f"{Path(path).stem}_{kind}.png"
    write_png(target, caption(picture, f"{Path(path).name}, {said}"))
    click.echo(target)


def _montage(path: str, rows: slice, columns: int) -> tuple[Any, str, str]:
    from spatterlib.report import montage, readable
    from spatterlib.stores import is_simulated, open_store
    from spatterlib.words import spans

    with open_store(path) as store:
        chosen = range(len(store))[rows]
        if not chosen:
            raise ParameterError(f"{path} has {len(store)} crops, and --rows chooses none of them")
        said = f"{len(chosen)} of {len(store)} crops" + ", simulated" * is_simulated(store.attrs)
        crops, unread = readable(store, chosen)
        if unread:
            click.echo(f"warning: no image in row {spans(unread)}", err=True)
        return montage(crops, columns=columns), said, "crops"


def _annotated(path: str, frame: int, options: dict[str, Any]) -> tuple[Any, str, str]:
    from spatterlib.report import annotate
    from spatterlib.stores import is_simulated
    from spatterlib.video import open_video

    with open_video(path, fps=options.get("fps")) as video:
        said = f"frame {frame}" + ", simulated" * is_simulated({"video": video.identity()})
        clip, found = _look(video, path, frame, options)
    whole = (0, 0, *clip.pictures[-1].shape[::-1])
    return annotate(clip.pictures[-1].rgb(whole), found), said, f"frame{frame}"


def _look(video: Any, path: str, frame: int, options: dict[str, Any]) -> Any:
    """The frame and what is found in it; says how much that is, and which filter dropped the rest."""
    from spatterlib.detection import DETECTOR, FILTERS, detect, kept_by, plugins_of
    from spatterlib.plugins import identity

    detector, filters = plugins_of(options.get("detector", DETECTOR), options.get("filters", FILTERS))
    for clip, found in detect(video, detector, filters=[], roi=options.get("roi"), start=frame, stop=frame + 1):
        said = f"frame {frame}: {len(found)} found"
        for filter_ in filters:
            before, found = len(found), kept_by(filter_, found, clip)
            said += f", {before - len(found)} dropped by {identity(filter_)['id']}" if len(found) < before else ""
        click.echo(said, err=True)
        return clip, found
    raise ParameterError(f"frame {frame} of {path} does not decode; try the one before or behind it")


def _slice(text: str) -> slice:
    try:
        return slice(*(int(part) if part else None for part in text.split(":", 1)))
    except ValueError as error:
        raise ParameterError(f"--rows needs A:B, such as 0:64, got {text!r}") from error


@cli.command(cls=PluginCommand)
@detection_options
@run_options()
@common
@click.pass_context
def config(ctx: click.Context, /, **values: Any) -> None:
    """Print the effective configuration as TOML: defaults, over them --config, --original and options."""
    merged = run_settings(ctx, values)
    click.echo(configuration.to_toml({"extract": configuration.effective("extract", merged)}), nl=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit code: 0 done, 1 refused, 2 wrong usage, 3 under 99.9 % of the frames decoded, 128 + n ended by signal n:
        130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    if not log.handlers:
        log.addHandler(handler)
    try:
        _add_commands(cli)
        return int(cli.main(arguments, prog_name="spatterlib", standalone_mode=False) or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        return _ended(error)
    except Exception as error:
        return _tell(error)


for _module in (extract_cli, predict_cli, watch_cli):
    _module.add_to(cli)


def _add_commands(group: click.Group) -> None:
    """Commands of plugins; one that fails is named, one whose name is taken is left out, the rest goes on."""
    before = dict(group.commands)
    for source, _, error in commands().ask("spatter_commands", built_in_first=True, cli=group):
        if error:
            log.warning("%s failed to add its commands: %s: %s", source, type(error).__name__, one_line(error))
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
    said = one_line(error) if known else unforeseen + one_line(error)
    click.echo(f"error: {said}", err=True)
    return getattr(error, "exit_code", 1)


def _ended(error: BaseException) -> int:
    """What a run that a signal ended has kept, in one line."""
    cause = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error
    click.echo("; ".join(("interrupted", *getattr(cause, "__notes__", ()))), err=True)
    return getattr(cause, "exit_code", INTERRUPTED)


def run() -> None:
    """Entry point of the console script."""
    lenient()
    with stop_signals():
        code = main()
        if lost := unsaid():
            click.echo(f"error: the output could not be written: {lost}", err=True)
            code = code or 1
    sys.exit(code)
