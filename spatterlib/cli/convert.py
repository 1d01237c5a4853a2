"""Commands `convert`, `check` and `plugins`."""

from __future__ import annotations

import dataclasses

import click

from spatterlib.cli.schema import Converted, Parameter, PluginEntry, PluginFault, Plugins, StoreChecked
from spatterlib.common.command_output import answer, answers, say
from spatterlib.common.records import default_of
from spatterlib.common.signals import interrupt_note
from spatterlib.common.standard_streams import shown
from spatterlib.errors import Exit
from spatterlib.plugins.hookspecs import hookimpl


@click.command()
@click.argument("source", metavar="A")
@click.argument("target", metavar="B")
@click.option(
    "--to",
    metavar="ID",
    help="Kind of store; by default B's suffix says it. 'original': research layout; 'images': folder of image files.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing B.")
@answers(Converted)
def convert(source: str, target: str, to: str | None, overwrite: bool) -> None:
    """Copy store A to a new store B of another kind: rows, crops, columns, frame log; or to a table.

    B.csv and B.parquet have the rows with all columns, without crops. With --to images, B is a new folder with an image
    file for each crop, by label, and metadata.csv.
    """
    from spatterlib.stores.opening import convert
    from spatterlib.stores.tables import writer_of

    begun = f"{shown(target)} may have been begun and says that it is not complete; the same command with --overwrite"
    note = "nothing was written" if writer_of(target, to) else f"{begun} makes it anew"
    with interrupt_note(lambda: note):
        convert(source, target, to=to, overwrite=overwrite)
    answer(Converted(source, target), f"{source} -> {target}")


@click.command()
@click.argument("store", metavar="STORE")
@answers(StoreChecked)
def check(store: str) -> None:
    """Read everything in a store, and say what is not as it was written and how many rows are safe.

    Exit code 0: it is whole; 4: it is damaged; 1: it could not be looked at.
    """
    from spatterlib.stores.checking import check_store

    found = check_store(store)
    for text in found.damage:
        click.echo(text, err=True)
    record = StoreChecked(store, found.whole, found.rows, found.safe, found.checksums, list(found.damage))
    answer(record, str(found), code=Exit.DONE if found.whole else Exit.FALSE)


@click.command()
@answers(Plugins)
def plugins() -> None:
    """List what is installed, with its parameters, and what failed and why."""
    from spatterlib.plugins.registry import catalog

    found = catalog()
    listed = []
    for kind in ("detectors", "filters", "stores", "classifiers"):
        say(click.style(kind, bold=True))
        for id_, class_ in getattr(found, kind).items():
            source = found.origins[(kind[:-1], id_)]
            purpose = (class_.__doc__ or "").strip().split("\n")[0]
            say(f"  {id_:<18} {purpose}" + (f"  [{source}]" if source.version else ""))
            parameters = _parameters(class_)
            for item in parameters:
                say(f"    {item.name} = {item.default!r}  {item.help}")
            listed.append(PluginEntry(kind[:-1], id_, purpose, source.distribution, source.version or None, parameters))
    faults = [PluginFault(str(source), source.error) for source in found.failed]
    for fault in faults:
        click.secho(f"did not load: {fault.plugin}: {fault.reason}", fg="red", err=True)
    for (kind, id_), sources in found.clashes.items():
        faults.append(PluginFault(f"{kind} {id_!r}", f"is there twice: {', '.join(map(str, sources))}"))
        click.secho(f"{faults[-1].plugin} {faults[-1].reason}", fg="red", err=True)
    answer(Plugins(listed, faults))


def _parameters(class_: type) -> list[Parameter]:
    fields = dataclasses.fields(class_) if dataclasses.is_dataclass(class_) else ()
    return [Parameter(item.name, default_of(item), item.metadata.get("help", "")) for item in fields]


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The commands of this module."""
    for command in (convert, check, plugins):
        cli.add_command(command)
