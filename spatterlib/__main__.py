"""``python -m spatterlib``: the command line."""

from spatterlib.cli import run

run()
