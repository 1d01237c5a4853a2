"""Fixtures for the tests of plugins; pytest loads this module wherever spatterlib is installed.

It stands beside the package and imports it only when a fixture is used, so that pytest starts as fast without it and
a measurement of coverage misses nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def isolated_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A catalogue of the built-in plugins and of what the test names, whatever else is installed.

    Call it with the name of an installed distribution; or with a name, the source of a module and a version, and the
    module is installed for the length of the test, as pip would::

        def test_mine_is_found(isolated_catalog):
            isolated_catalog("spatterlib-mine")
            assert "mine" in spatterlib.catalog().detectors
    """
    from spatterlib.plugins.registry import catalog, commands

    def forget() -> None:
        catalog.cache_clear()
        commands.cache_clear()

    names: list[str] = []
    modules: list[str] = []
    site = tmp_path / "installed"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("SPATTERLIB_PLUGINS", "")

    def install(distribution: str, source: str | None = None, version: str = "1.2.3") -> None:
        if source is not None:
            modules.append(_put(site, distribution, source, version))
        names.append(distribution)
        monkeypatch.setenv("SPATTERLIB_PLUGINS", ",".join(names))
        forget()

    forget()
    yield install
    for module in modules:
        sys.modules.pop(module, None)
    forget()


@pytest.fixture
def command_line() -> Iterator[Callable[..., int]]:
    """The program ``spatterlib`` in this process: arguments in, exit code out.

    Commands that plugins add are gone behind the test::

        def test_my_command(isolated_catalog, command_line):
            isolated_catalog("spatterlib-mine")
            assert command_line("mine", "build.h5") == 0
    """
    from spatterlib.cli.main import cli, main

    before = dict(cli.commands)
    yield lambda *arguments: main([str(argument) for argument in arguments])
    cli.commands.clear()
    cli.commands.update(before)


def _put(site: Path, distribution: str, source: str, version: str) -> str:
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(source, encoding="utf-8")
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[spatterlib]\n{distribution} = {module}\n")
    return module
