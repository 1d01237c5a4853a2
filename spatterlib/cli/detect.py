"""Command `detect`: the rows that `extract` would store, on stdout or in a file, without a store."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from spatterlib.cli.options import PluginCommand
from spatterlib.cli.run_options import completeness, extraction_options, run_settings, say_what_filters_took
from spatterlib.common.files import beside, check_target, json_ready
from spatterlib.common.signals import interrupt_note
from spatterlib.common.wording import counted

__all__ = ["add_to"]

_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@click.command(cls=PluginCommand)
@click.argument("video", metavar="VIDEO")
@click.option("-o", "--out", metavar="FILE", help="File of rows to write: .csv or .jsonl.  [default: stdout]")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), help="On stdout.  [default: csv]")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@extraction_options(without=("crop_format", "quality", "gas_direction", "gap"))
@click.pass_context
def detect(
    ctx: click.Context, /, video: str, out: str | None, form: str | None, overwrite: bool, **values: Any
) -> None:
    """Find spatter and print the rows that `extract` would store, without storing anything.

    One row per spatter, columns as in the table of a store: frame, time (s), x, y, width, height (px), area (px²),
    red, green, blue, peak (grey levels). What was found in all is said on stderr.
    """
    from spatterlib.detection.tally import tallies
    from spatterlib.extraction.dry_run import dry_run

    frames = decoded = rows = lit = 0
    settings = run_settings(ctx, values)
    found, sums = dry_run(video, settings), None
    with (
        _written(out, form, overwrite) as write,
        contextlib.closing(found),
        interrupt_note(lambda: "nothing was stored"),
    ):
        for batch in found:
            write(batch.table)
            frames, decoded = frames + len(batch.frame_log), decoded + int(batch.frame_log["decoded"].sum())
            sums = batch.sums if sums is None else sums + batch.sums
            rows, lit = rows + len(batch.table), lit + len(set(batch.table["frame"].tolist()))
            if getattr(sys.stdout, "failure", None) and not out:
                return
    said = f"{counted(rows, 'detection')} in {counted(lit, 'frame')}; nothing was stored"
    if sums is not None:
        click.echo(say_what_filters_took(tallies(settings.plugins()[1], sums), video), err=True)
    click.echo(f"{video}: {decoded} of {counted(frames, 'frame')}; {said}", err=True)
    ctx.exit(completeness(decoded, frames))


@contextlib.contextmanager
def _written(out: str | None, form: str | None, overwrite: bool) -> Iterator[Callable[[Any], None]]:
    """Where rows go: to stdout at once, or into a file that is whole or not there."""
    if out is None:
        yield _writer(sys.stdout, form or "csv")
        return
    kind = _FORMATS.get(Path(out).suffix.lower())
    if kind is None or form not in (None, kind):
        raise click.UsageError(f"rows are written as {', '.join(_FORMATS)}, got {out}" + f" as {form}" * bool(form))
    check_target(out, overwrite=overwrite)
    with beside(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        yield _writer(file, kind)


def _writer(stream: Any, form: str) -> Callable[[Any], None]:
    """What writes tables of rows to a stream."""
    from spatterlib.types import DETECTION

    names = DETECTION.names or ()
    if form == "csv":
        stream.write(",".join(names) + "\n")

    def write(table: Any) -> None:
        # Numbers as short as they are exact in their own width, as NumPy writes them.
        texts = [table[name].astype(str).tolist() for name in names]
        lines = io.StringIO()
        if form == "csv":
            csv.writer(lines, lineterminator="\n").writerows(zip(*texts, strict=True))
        else:
            kinds = [float if DETECTION[name].kind == "f" else int for name in names]
            for row in zip(*texts, strict=True):
                values = {name: kind(text) for name, kind, text in zip(names, kinds, row, strict=True)}
                lines.write(json.dumps(json_ready(values), allow_nan=False) + "\n")
        stream.write(lines.getvalue())
        stream.flush()

    return write


def add_to(cli: click.Group) -> None:
    """Add the command of this module."""
    cli.add_command(detect)
