"""The command `spatterlib serve`: videos and crops in, verdicts out, over HTTP."""

from __future__ import annotations

import click

from spatterlib.plugins import hookimpl

__all__ = ["spatter_commands"]


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """Add `serve`."""
    from spatterlib_serve.command import serve

    cli.add_command(serve)
