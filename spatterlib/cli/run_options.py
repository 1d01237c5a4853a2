"""Options that several commands share: how loud they are, what they look at, how they run."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from spatterlib.cli import config as configuration
from spatterlib.cli.options import named, settings, with_parameters
from spatterlib.common.install_hints import missing
from spatterlib.common.record_options import Command, given_values, options_of, with_options
from spatterlib.common.run_log import event
from spatterlib.common.standard_streams import shown
from spatterlib.common.wording import counted
from spatterlib.errors import Exit, ParameterError, PluginError, one_line
from spatterlib.extraction.settings import ExtractionSettings

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from spatterlib.detection.tally import FilterTally

__all__ = [
    "TERMINAL",
    "completeness",
    "dask_option",
    "detection_options",
    "executor_at",
    "extraction_options",
    "interrupted_store",
    "reading_options",
    "run_log_options",
    "run_settings",
]

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


_BOUNDS = {
    "left": "Left bound of what is looked at.",
    "right": "Right bound, not included.",
    "top": "Upper bound.",
    "bottom": "Lower bound, not included.",
}


def extraction_options(*, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command the options of the settings of an extraction, some aside; `run_settings` reads them."""

    def give(command: Command) -> Command:
        made = {option.name: [option] for option in options_of(ExtractionSettings) if option.name not in without}
        made["filters"] += [
            click.Option(
                ["--original"], is_flag=True, help="Do what the original research script did, faults included."
            ),
            click.Option(
                ["--config", "config_file"], metavar="FILE", help="TOML file with settings; options win over it."
            ),
        ]
        made["roi"] = [click.Option([f"--{side}"], type=int, metavar="PX", help=text) for side, text in _BOUNDS.items()]
        return with_options(itertools.chain.from_iterable(made.values()))(command)

    return give


reading_options = with_options(
    [option for option in options_of(ExtractionSettings) if option.name in ("fps", "value_range", "axes")]
)
"""Give a command the options that say how a recording is read."""

detection_options = extraction_options(without=("limit", "crop_format", "quality", "gas_direction", "gap", "workers"))
"""Give a command the options that say what is looked at and by which plugins."""


def run_settings(ctx: click.Context, values: Mapping[str, Any]) -> ExtractionSettings:
    """Settings from file, `--original` and options, checked before a recording is looked at."""
    given = given_values(ExtractionSettings, values)
    bounds = tuple(values[side] for side in ("left", "top", "right", "bottom"))
    if any(bound is not None for bound in bounds):
        given["roi"] = (bounds[0] or 0, bounds[1] or 0, bounds[2], bounds[3])
    if "filters" in given:
        given["filters"] = named(given["filters"])
    file, original = values["config_file"], values["original"]
    merged = with_parameters(ctx, settings(file, original=original, given=given, section=ctx.info_name), values)
    found = ExtractionSettings(**merged)
    if log.isEnabledFor(logging.INFO):
        log.info("looked at", extra=event("detection", settings=configuration.effective(found)))
    return found


def completeness(decoded: int, expected: int, video: str = "") -> Exit:
    """Exit code of a run on so many frames; warns if too many of them are missing."""
    from spatterlib.extraction.extract import is_whole

    if is_whole(decoded, expected):
        return Exit.DONE
    frames = counted(expected, "frame") + f" of {video}" * bool(video)
    log.warning("only %s of %s were decoded", decoded, frames)
    return Exit.INCOMPLETE


def say_what_filters_took(filters: Sequence[FilterTally], video: str) -> str:
    """How many rows each filter took out; warns where most of the light went with one of them."""
    from spatterlib.detection.tally import unfit

    if bad := unfit(filters):
        log.warning(
            "%s: %.0f %% of the light lies in the boxes that filter %s took out, of about %.0f px² each; change %s",
            video,
            100 * bad.light,
            bad.id,
            bad.area,
            bad.option(),
        )
    return "filters took out: " + (
        ", ".join(f"{counted(item.rows, 'row')} by {item.id}" for item in filters) or "nothing"
    )


def interrupted_store(store: str, how: str) -> str:
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


dask_option = click.option(
    "--dask", metavar="URL", help="Work on the machines of a Dask cluster, such as tcp://scheduler:8786."
)


@contextmanager
def executor_at(dask: str | None) -> Iterator[Executor | None]:
    """The workers of the cluster that `dask_option` names; None without one."""
    if dask is None:
        yield None
        return
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError as error:
        raise PluginError(missing("--dask", "Dask (distributed)", "dask", error)) from error
    try:
        # A client that fails leaves its loop behind, which the next one of this process may stumble over.
        get_address_host_port(dask, strict=True)
        client: Any = Client(dask, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ParameterError(f"no Dask scheduler answers at {dask}: {one_line(error)}") from error
    with client:
        yield client.get_executor()
