"""``python -m spatterlib``: the command line."""

from spatterlib.cli.main import run

run()
