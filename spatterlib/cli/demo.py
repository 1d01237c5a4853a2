"""Command `demo`: the app of the package `spatterlib_demo`, which comes with spatterlib and needs Gradio."""

from __future__ import annotations

import re

import click

from spatterlib.common.install_hints import missing
from spatterlib.errors import PluginError
from spatterlib.plugins.hookspecs import hookimpl


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for the network.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Port.")
@click.option("--browser/--no-browser", default=True, help="Open it in this machine's browser.  [default: browser]")
@click.option("--max-size", default="2gb", show_default=True, help="Largest upload, such as 500mb.")
@click.option(
    "--users", metavar="FILE|env:NAME", help="Who may log in: lines of USER:PASSWORD, in a file or a variable."
)
@click.option("--open-to-all", is_flag=True, help="Let others than this machine in without a login.")
@click.option(
    "--projects",
    type=click.Path(file_okay=False, writable=True),
    metavar="FOLDER",
    help="Where projects are kept.  [default: $XDG_DATA_HOME/spatterlib/demo]",
)
def demo(
    host: str, port: int, browser: bool, max_size: str, users: str | None, open_to_all: bool, projects: str | None
) -> None:
    """See spatter in the browser: verdict, tuning, labels, training."""
    if not re.fullmatch(r"[1-9][0-9]{0,11} ?[kmgt]?b", max_size.lower()):
        raise click.BadParameter(f"a size is a number with b, kb, mb, gb or tb, such as 500mb; got {max_size!r}")
    try:
        from spatterlib_demo.app import launch
    except ImportError as error:
        raise PluginError(missing("the demo", "Gradio", "demo", error)) from error
    launch(host, port, browser=browser, max_size=max_size, users=users, open_to_all=open_to_all, folder=projects)


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The command of this module."""
    cli.add_command(demo)
