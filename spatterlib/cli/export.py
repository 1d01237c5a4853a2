"""Command `export`."""

from __future__ import annotations

from typing import Any

import click

from spatterlib.cli.model_options import load_named, model_options
from spatterlib.cli.schema import ModelExported
from spatterlib.common.command_output import answer, answers
from spatterlib.common.signals import interrupt_note
from spatterlib.plugins.hookspecs import hookimpl


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["onnx", "torch"]),
    help="ONNX with the preprocessing inside, or a torch.export program.  [default: by the suffix of -o, else onnx]",
)
@click.option(
    "-o", "--out", metavar="FILE", help="File .onnx or .pt2.  [default: model.onnx or .pt2 in the run folder]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@model_options
@answers(ModelExported)
@interrupt_note(lambda: "nothing was written")
def export(
    run: str, format_: Any, out: str | None, overwrite: bool, classifier: str | None, classes: str | None
) -> None:
    """Write a trained model for other programs, and compare it on 1,000 crops before it is there; needs PyTorch.

    RUN is a run folder, a folder of runs with a current one, or a file of weights.
    """
    from spatterlib.learning.export import export

    chosen = load_named(run, classifier, classes)
    found = export(chosen, out, format=format_, overwrite=overwrite)
    answer(ModelExported(found.path, found.format, found.crops, dict(found.differences)), str(found))  # type: ignore[arg-type]


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The command of this module."""
    cli.add_command(export)
