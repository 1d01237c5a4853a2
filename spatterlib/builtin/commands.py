"""Commands `convert`, `plugins` and `simulate`, added as any plugin would add its own."""

from __future__ import annotations

import dataclasses

import click

from spatterlib.contract import default_of
from spatterlib.hookspecs import hookimpl
from spatterlib.stopping import keeping
from spatterlib.streams import shown


@click.command()
@click.argument("source", metavar="A")
@click.argument("target", metavar="B")
@click.option("--to", metavar="ID", help="Kind of store; by default B's suffix says it. 'original': research layout.")
@click.option("--overwrite", is_flag=True, help="Replace an existing B.")
def convert(source: str, target: str, to: str | None, overwrite: bool) -> None:
    """Copy store A to a new store B of another kind: rows, crops, columns, frame log."""
    import spatterlib as sp

    begun = f"{shown(target)} may have been begun and says that it is not complete; the same command with --overwrite"
    with keeping(lambda: f"{begun} makes it anew"):
        sp.convert(source, target, to=to, overwrite=overwrite)
    click.echo(f"{source} -> {target}")


@click.command()
def plugins() -> None:
    """List what is installed, with its parameters, and what failed and why."""
    import spatterlib as sp

    found = sp.catalog()
    for kind in ("detectors", "filters", "stores", "classifiers"):
        click.secho(kind, bold=True)
        for id_, class_ in getattr(found, kind).items():
            source = found.origins[(kind[:-1], id_)]
            purpose = (class_.__doc__ or "").strip().split("\n")[0]
            click.echo(f"  {id_:<18} {purpose}" + (f"  [{source}]" if source.version else ""))
            for parameter in dataclasses.fields(class_) if dataclasses.is_dataclass(class_) else ():
                click.echo(f"    {parameter.name} = {default_of(parameter)!r}  {parameter.metadata.get('help', '')}")
    for source in found.failed:
        click.secho(f"did not load: {source}: {source.error}", fg="red", err=True)
    for (kind, id_), sources in found.clashes.items():
        click.secho(f"{kind} {id_!r} is there twice: {', '.join(map(str, sources))}", fg="red", err=True)


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The commands of this module."""
    for command in (convert, plugins):
        cli.add_command(command)
