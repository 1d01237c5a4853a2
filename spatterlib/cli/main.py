"""The command line: `info`, `show`, `config`, and what is common to all commands; those of plugins are added here."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from spatterlib.cli import config as configuration
from spatterlib.cli import config_sections, detect, extract, predict, watch
from spatterlib.cli.config import SECTIONS
from spatterlib.cli.options import PluginCommand
from spatterlib.cli.run_options import (
    TERMINAL,
    detection_options,
    extraction_options,
    reading_options,
    run_log_options,
    run_settings,
)
from spatterlib.cli.schema import Configuration, ModelInfo, Shown, StoreInfo, VideoInfo
from spatterlib.common import run_log
from spatterlib.common.command_output import CommandRun, Failed, Failure, answer, answers, counts, document, say
from spatterlib.common.command_output import facts as answers_facts
from spatterlib.common.files import check_target
from spatterlib.common.install_hints import example_package
from spatterlib.common.progress import report_kernels
from spatterlib.common.signals import stop_signals
from spatterlib.common.standard_streams import lenient, output_failure
from spatterlib.errors import Exit, ParameterError, SpatterlibError, UsageError, one_line
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.plugins.hook_calls import now_called
from spatterlib.plugins.registry import commands, nearest

if TYPE_CHECKING:
    from spatterlib.types import Clip, Detections, Image, Store, Video

__all__ = ["cli", "main"]

log = logging.getLogger("spatterlib")


class _Group(click.Group):
    """Commands of plugins beside our own, which stay; an unknown one names the nearest."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        plugin, key = now_called(), name or cmd.name
        if plugin and plugin.foreign and self.commands.get(key or "", cmd) is not cmd:
            log.warning("%s has a command %r of its own, which is left out: there is one already", plugin, key)
        else:
            super().add_command(cmd, name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            name = args[0]
            if name in self.commands or name.startswith("-"):
                raise
            raise click.UsageError(_no_command(name, list(self.commands)), ctx) from error


def _no_command(name: str, known: list[str]) -> str:
    """An example package's, or perhaps another one is meant; what did not load may have brought it."""
    hint = example_package("command", name)
    said = f"; {hint}" if hint else nearest(name, known)
    return f"no command {name!r}{said}" + "".join(f"; {item} did not load: {item.error}" for item in commands().failed)


_CODES = "\n".join(f"{code.value:>4}  {code.meaning}" for code in Exit)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=f"\b\nExit codes of all commands:\n{_CODES}\n\n\b\nFor scripts (--json, --log-file): docs/scripting.md",
)
@click.version_option(package_name="spatterlib", prog_name="spatterlib")
def cli() -> None:
    """From video of laser powder-bed fusion to spatter events, crops, measurements and layers."""


@cli.command()
@click.argument("path")
@reading_options
@answers(StoreInfo, VideoInfo, ModelInfo)
def info(path: str, **reading: Any) -> None:
    """Say what is in a store, a video or a model."""
    found = _facts(path, reading)
    shown: dict[str, Any] = {}
    for name, value in answers_facts(found).items():
        facts = value if name in ("attrs", "identity", "facts") else {name.replace("_", " "): value}
        # What is said in a sentence, as the gap, is not said again as a bare value.
        shown |= {key: fact for key, fact in facts.items() if key not in shown}
    width = max(map(len, shown))
    for name, value in shown.items():
        say(f"{name:<{width}}  {json.dumps(value) if isinstance(value, dict | list) else value}")
    answer(found)


def _facts(path: str, reading: dict[str, Any]) -> StoreInfo | VideoInfo | ModelInfo:
    import numpy as np

    from spatterlib.learning.runs import RECORD, read_facts
    from spatterlib.stores.opening import find_store, open_store
    from spatterlib.video.opening import open_video

    if (Path(path) / RECORD).is_file():
        return ModelInfo("model", dict(read_facts(path)))
    if find_store(path):
        with open_store(path) as store:
            return _store_facts(store)
    with open_video(path, **reading) as video:
        times = video.times[np.isfinite(video.times)]
        duration = round(float(np.ptp(times)), 3) if len(times) else 0.0
        return VideoInfo("video", video.width, video.height, len(video.times), duration, video.identity())


def _store_facts(store: Store) -> StoreInfo:
    import numpy as np

    from spatterlib.detection.layers import gap_of, layers
    from spatterlib.stores.chunks import column_chunks, frame_log_chunks
    from spatterlib.stores.opening import check_readable

    attrs = dict(store.attrs)
    check_readable(store)
    grouped = layers(store, gap_of(attrs))
    timed = any(np.isfinite(times).any() for times in column_chunks(store, "time"))
    lit = np.unique(np.concatenate([np.empty(0, np.int64), *map(np.unique, column_chunks(store, "frame"))]))
    frames = [(len(chunk), int(chunk["decoded"].sum())) for chunk in frame_log_chunks(store)]
    return StoreInfo(
        kind="store",
        complete=attrs.pop("complete", None),
        state=attrs.pop("state", None),
        detections=len(grouped.number),
        frames=sum(count for count, _ in frames),
        decoded=sum(decoded for _, decoded in frames),
        spatter_frames=int((lit >= 0).sum()),
        layers=len(grouped) if timed else 0,
        gap=grouped.chosen if timed or not len(grouped.number) else "not known: the file has no times",
        columns=list(store.columns),
        attrs=attrs,
    )


@cli.command(cls=PluginCommand)
@click.argument("path")
@click.option("-o", "--out", metavar="FILE", help="PNG to write.  [default: beside the current folder's files]")
@click.option("--frame", type=int, help="Of a video: the frame to show, its detections boxed.")
@click.option("--rows", default="0:64", show_default=True, metavar="A:B", help="Of a store: which rows.")
@click.option("--columns", default=8, show_default=True, type=click.IntRange(1, 64), help="Of a store: crops per line.")
@detection_options
@answers(Shown)
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
    from spatterlib.extraction.plots import caption, write_png
    from spatterlib.stores.opening import find_store
    from spatterlib.video.names import stem_of

    chosen = _slice(rows)
    if given := [name for name in ("start", "stop") if values[name] is not None]:
        raise click.UsageError(f"--{given[0]} belongs to runs; `show` takes --frame N")
    if out:
        check_target(out, (".png",))
    kind: Literal["crops", "frame"]
    if find_store(path):
        picture, said, kind, count = _montage(path, chosen, columns)
    else:
        picture, said, kind, count = _annotated(path, frame or 0, run_settings(ctx, values))
    target = out or f"{stem_of(path)}_{f'frame{frame or 0}' if kind == 'frame' else kind}.png"
    write_png(target, caption(picture, f"{Path(path).name}, {said}"))
    number = (frame or 0) if kind == "frame" else None
    answer(Shown(target, kind, number, count, said.endswith("simulated") or None), target)


def _montage(path: str, rows: slice, columns: int) -> tuple[Image, str, Literal["crops"], int]:
    from spatterlib.common.wording import counted, spans
    from spatterlib.extraction.plots import montage, readable
    from spatterlib.stores.opening import is_simulated, open_store

    with open_store(path) as store:
        chosen = range(len(store))[rows]
        if not chosen:
            raise ParameterError(f"{path} has {counted(len(store), 'crop')}, and --rows chooses none of them")
        said = f"{len(chosen)} of {counted(len(store), 'crop')}" + ", simulated" * is_simulated(store.attrs)
        crops, unread = readable(store, chosen)
        if unread:
            log.warning("no image in row %s", spans(unread))
        return montage(crops, columns=columns), said, "crops", len(crops)


def _annotated(path: str, frame: int, settings: ExtractionSettings) -> tuple[Image, str, Literal["frame"], int]:
    from spatterlib.extraction.plots import annotate
    from spatterlib.stores.opening import is_simulated
    from spatterlib.video.opening import open_video

    with open_video(path, **settings.reading) as video:
        said = f"frame {frame}" + ", simulated" * is_simulated({"video": video.identity()})
        clip, found = _look(video, path, frame, settings)
    whole = (0, 0, *clip.pictures[-1].shape[::-1])
    return annotate(clip.pictures[-1].rgb(whole), found), said, "frame", len(found)


def _look(video: Video, path: str, frame: int, settings: ExtractionSettings) -> tuple[Clip, Detections]:
    """The frame and what is found in it; says how much that is, and which filter dropped the rest."""
    from spatterlib.detection.detect import apply_filter, detect
    from spatterlib.plugins.registry import identity

    detector, filters = settings.plugins()
    for clip, found in detect(video, detector, filters=[], roi=settings.roi, start=frame, stop=frame + 1):
        said = f"frame {frame}: {len(found)} found"
        for filter_ in filters:
            before, found = len(found), apply_filter(filter_, found, clip)
            said += f", {before - len(found)} dropped by {identity(filter_)['id']}" if len(found) < before else ""
        click.echo(said, err=True)
        return clip, found
    raise ParameterError(f"frame {frame} of {path} does not decode; try the one before or behind it")


def _slice(text: str) -> slice:
    try:
        return slice(*(int(part) if part else None for part in text.split(":", 1)))
    except ValueError as error:
        raise UsageError(f"--rows needs A:B, such as 0:64, got {text!r}") from error


@cli.command(cls=PluginCommand)
@extraction_options()
@answers(Configuration)
@click.pass_context
def config(ctx: click.Context, /, **values: Any) -> None:
    """Print the effective configuration as TOML: defaults, over them --config, --original and options.

    Below [extract] stand the sections of other commands with all their options, commented where they are not set.
    """
    merged = {"extract": configuration.effective(run_settings(ctx, values))}
    say(configuration.to_toml(merged), end="")
    read = configuration.load(values["config_file"])
    for name in SECTIONS[1:]:
        if name in cli.commands:
            say("\n" + config_sections.example_section(name, cli.commands[name], read.get(name, {})), end="")
    answer(Configuration(read | merged))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        One of `spatterlib.errors.Exit`.
    """
    typed = sys.argv[1:] if arguments is None else list(arguments)
    given, command = _ahead(typed)
    run = CommandRun(as_json="--json" in given)
    report_kernels()
    with _on_terminal():
        try:
            with run_log.recording(given.get("--log-file"), command, typed) as ended:
                code, error = _done(typed, run, given.get("--config"))
                ended(code, counts(run.answer), error)
                return code
        except SpatterlibError as unwritable:
            return _failed(unwritable, run)[0]


def _ahead(typed: Sequence[str]) -> tuple[dict[str, str], str | None]:
    """What must be known before anything is parsed: some options with their values, and the name of the command."""
    found: dict[str, str] = {}
    names = []
    words = iter(typed)
    for word in itertools.takewhile(lambda word: word != "--", words):
        name, equals, value = word.partition("=")
        if name in ("--log-file", "--config"):
            value = value if equals else next(words, "")
        if name in ("--log-file", "--config", "--json"):
            found[name] = value
        elif not word.startswith("-"):
            names.append(word)
    return {name: value for name, value in found.items() if value or name == "--json"}, next(iter(names), None)


@contextlib.contextmanager
def _on_terminal() -> Iterator[None]:
    """What is logged shows on stderr from warnings on, events of the run aside: they show otherwise."""
    handler = logging.StreamHandler()
    handler.name = TERMINAL
    handler.setFormatter(_Plain())
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: not hasattr(record, "event"))
    level = log.level
    log.setLevel(level or logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class _Plain(logging.Formatter):
    """``warning: what``, as errors are told."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and below it the traceback, if any."""
        return f"{record.levelname.lower()}: {super().format(record)}"


def _done(typed: list[str], run: CommandRun, file: str | None) -> tuple[int, dict[str, Any] | None]:
    """Exit code of the command, and why it failed; whatever happens, it comes back here."""
    try:
        _add_commands(cli)
        defaults = config_sections.default_map(file, cli.commands) if file else None
        code = _left_with(typed, run, defaults)
        if not code and (lost := output_failure()):
            raise OSError(f"the output could not be written: {lost}")
        return code, None
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error, run)


def _left_with(typed: list[str], run: CommandRun, defaults: dict[str, Any] | None) -> int:
    try:
        further: dict[str, Any] = {"obj": run, "default_map": defaults}
        return int(cli.main(typed, prog_name="spatterlib", standalone_mode=False, **further) or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(bool(error.code))


def _failed(error: BaseException, run: CommandRun) -> tuple[int, dict[str, Any]]:
    """Tell it: a line for the user, with ``--json`` a document too; the traceback with -vv, and for the log file."""
    log.debug("stopped", exc_info=error)
    failure = _failure(error)
    trace = None
    if isinstance(error, click.ClickException):
        error.show()
    else:
        trace = "".join(traceback.format_exception(error))
        lead = "" if failure.kind == "Interrupted" else "error: "
        click.echo(lead + failure.message, err=True)
    if run.as_json:
        click.echo(document(Failed(failure)))
    return failure.exit_code, dataclasses.asdict(failure) | {"traceback": trace}


def _failure(error: BaseException) -> Failure:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        cause = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error
        said = "; ".join(("interrupted", *getattr(cause, "__notes__", ())))
        return Failure("Interrupted", said, int(getattr(cause, "exit_code", Exit.INTERRUPTED)))
    if isinstance(error, click.ClickException):
        kind = "UsageError" if error.exit_code == Exit.USAGE else type(error).__name__
        return Failure(kind, " ".join(error.format_message().split()), error.exit_code)
    known = isinstance(error, SpatterlibError | OSError)
    unforeseen = f"internal error, please report it with -vv: {type(error).__name__}: "
    said = one_line(error) if known else unforeseen + one_line(error)
    mends = " or ".join(_MENDS[name] for name in getattr(error, "mends", ()))
    return Failure(type(error).__name__, said + f"; add {mends}" * bool(mends), Exit.caused_by(error))


_MENDS = {"overwrite": "--overwrite to replace it", "resume": "--resume to go on with it"}


cli.params += run_log_options()
for _module in (detect, extract, predict, watch):
    _module.add_to(cli)


def _add_commands(group: click.Group) -> None:
    """Commands of plugins; one that fails is named, the rest goes on."""
    for added in commands().ask("spatter_commands", cli=group)[1]:
        if error := added.error:
            log.warning("%s failed to add its commands: %s: %s", added.plugin, type(error).__name__, one_line(error))
    for command in group.commands.values():
        _prepared(command)


def _prepared(command: click.Command) -> None:
    """Give a command the options that all have, as far as it has none of its own; its settings are logged."""
    if command.callback is None or hasattr(command.callback, "logged"):
        return
    there = {flag for param in command.params for flag in param.opts}
    further = (
        [config_sections.option(command.name), *run_log_options()] if command.name in SECTIONS else run_log_options()
    )
    command.params += [option for option in further if not there & set(option.opts)]
    command.callback = _logged(command.callback)
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _prepared(inner)


def _logged(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def call(*args: Any, **values: Any) -> Any:
        if log.isEnabledFor(logging.INFO):
            ctx = click.get_current_context()
            names = {param.name: param.opts[-1].lstrip("-") for param in ctx.command.get_params(ctx)}
            given = {names[name]: value for name, value in ctx.params.items() if value is not None}
            log.info("settings", extra=run_log.event("settings", settings=given))
        return callback(*args, **values)

    call.logged = True  # type: ignore[attr-defined]
    return call


def run() -> None:
    """Entry point of the console script."""
    lenient()
    with stop_signals():
        code = main()
    sys.exit(code)
