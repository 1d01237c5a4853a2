"""Command `new-plugin`: a package that installs, is found and passes the conformance kit as it is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from string import Template

import click

from spatterlib.cli.schema import PluginWritten
from spatterlib.common.command_output import answer, answers
from spatterlib.common.files import write_text
from spatterlib.errors import OutputExistsError, ParameterError
from spatterlib.plugins.hookspecs import hookimpl

TEMPLATES = Path(__file__).parent / "templates"
KINDS = ("detector", "filter", "store", "classifier", "video", "command")


@click.command("new-plugin")
@click.argument("name", metavar="NAME")
@click.option("--kind", type=click.Choice(KINDS), default="detector", show_default=True, help="What it is to be.")
@click.option("--folder", default=".", metavar="DIR", help="Where the package's folder goes.  [default: here]")
@answers(PluginWritten)
def new_plugin(name: str, kind: str, folder: str) -> None:
    """Write a package NAME with a plugin that works, its test and a README, to begin with."""
    made = write_package(name, kind, folder)
    answer(PluginWritten(str(made), kind), f'{made}: now  cd {made}; pip install -e ".[test]"; pytest')


def write_package(name: str, kind: str, folder: str | Path = ".") -> Path:
    """Write the package.

    Parameters
    ----------
    name : str
        Of the distribution, such as ``spatterlib-halo``; the plugin's id is the name without ``spatterlib-``.
    kind : str
        One of `KINDS`.
    folder : path
        Where the package's folder goes.

    Returns
    -------
    Path
        The package's folder.

    Raises
    ------
    ParameterError
        If the name is none that a package can have, or `folder` is none.
    OutputExistsError
        If there is such a folder already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or name == "spatterlib":
        raise ParameterError(
            f"a name is small letters, digits and single hyphens, such as spatterlib-halo; got {name!r}"
        )
    if not Path(folder).is_dir():
        raise ParameterError(f"there is no folder {folder}; make it first")
    target = Path(folder) / name
    if target.exists():
        raise OutputExistsError(f"{target} exists already; choose another name, or remove it")
    id_, module = name.removeprefix("spatterlib-"), name.replace("-", "_")
    class_ = "".join(part.capitalize() for part in id_.split("-"))
    class_ = class_ if class_.isidentifier() else f"Plugin{class_}"
    words = {"name": name, "id": id_, "module": module, "class_": class_, "kind": kind}
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{kind}.py": f"{module}.py",
        f"test_{kind}.py": f"test_{module}.py",
    }
    part = target.with_name(f".{name}.part")
    part.mkdir()
    try:
        for template, file in files.items():
            text = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
            write_text(part / file, Template(text).substitute(words))
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The command of this module."""
    cli.add_command(new_plugin)
