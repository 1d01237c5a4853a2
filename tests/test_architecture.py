"""The house stands as its plan says: imports run one way, starting is light, hooks are used, names are documented."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import spatterlib as sp
from spatterlib.plugins import hookspecs, registry

HOUSE = Path(sp.__file__).parent
PLUGINS = HOUSE.parent / "plugins"

# From the ground up: what stands on a floor imports from lower floors and from itself, nothing else of the house.
FLOORS: list[set[str]] = [
    {"errors", "kernels"},
    {"types", "common"},
    {"plugins", "simulation"},
    {"annotations", "stores", "video"},
    {"detection"},
    {"extraction", "measuring", "testing"},
    {"control", "learning", "tracking", "tuning"},
    {"verdicts"},
    {"live"},
    {"cli"},
]
FRONT = "(the front)"
"""The public names: they load when somebody asks for them, and nobody in the house asks there."""
HEAVY = [
    "torch",
    "torchvision",
    "gradio",
    "numba",
    "cv2",
    "h5py",
    "zarr",
    "av",
    "fastapi",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "jinja2",
]


def name_of(path: Path) -> str:
    """Dotted name of a module, below ``spatterlib``."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or FRONT


MODULES = {name_of(path): path for path in sorted(HOUSE.rglob("*.py"))}


def imports(text: str) -> set[tuple[str, str]]:
    """``(module, name)`` that a file takes from the house, wherever it stands: in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "spatterlib" and not node.level:
            module = ".".join((node.module or "").split(".")[1:])
            for alias in node.names:
                whole = f"{module}.{alias.name}".lstrip(".")
                found.add((whole, "") if whole in MODULES else (module or FRONT, alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports of the house are absolute"
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "spatterlib"]
            found |= {(name.partition(".")[2] or FRONT, "") for name in names}
    return found


def floor(module: str) -> int:
    entry = module.split(".")[0]
    return next(number for number, entries in enumerate(FLOORS) if entry in entries)


def wrong_imports(module: str, text: str) -> list[str]:
    """What a module takes from its own floor or from above."""
    own = module.split(".")[0]
    return [
        f"{module} imports {other}"
        for other, _ in sorted(imports(text))
        if other.split(".")[0] != own and (other == FRONT or floor(other) >= floor(module))
    ]


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other, directly or round about."""
    order = TopologicalSorter(graph)
    try:
        order.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_house_has_these_entries_and_no_others() -> None:
    entries = {path.stem for path in HOUSE.iterdir() if path.stem[0] not in "._" and path.name != "py.typed"}
    assert entries == set().union(*FLOORS)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {FRONT, "__main__"}))
def test_imports_come_from_lower_floors_only(module: str) -> None:
    assert wrong_imports(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "from spatterlib.cli.main import main",
        "def late():\n    from spatterlib.cli import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from spatterlib.cli.main import main",
        "import spatterlib.cli.main",
        "import spatterlib as sp",
        "from spatterlib.video.opening import open_video",
    ],
)
def test_an_import_that_runs_up_is_seen_wherever_it_stands(text: str) -> None:
    assert wrong_imports("stores.opening", text)


def test_no_modules_import_each_other() -> None:
    graph = {
        name: {other for other, _ in imports(path.read_text()) if other in MODULES} for name, path in MODULES.items()
    }
    del graph[FRONT]
    assert circles({name: others - {FRONT} for name, others in graph.items()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}})


@pytest.mark.parametrize("module", sorted(MODULES))
def test_private_names_stay_in_their_package(module: str) -> None:
    taken = imports(MODULES[module].read_text())
    others = {f"{other}.{name}" for other, name in taken if other.split(".")[0] != module.split(".")[0]}
    assert [name for name in sorted(others) if "._" in name] == []


@pytest.mark.parametrize("statement", ["import spatterlib", "import spatterlib.cli.main as c; c.main(['--help'])"])
def test_starting_is_light(statement: str) -> None:
    heavy = ["numpy", *HEAVY]
    code = f"{statement}; import sys; print('loaded:', *(m for m in {heavy} if m in sys.modules))"
    environ = {**os.environ, "SPATTERLIB_PLUGINS": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]


def hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("spatter_")]


def test_there_are_six_hooks() -> None:
    assert len(hooks()) == 6


@pytest.mark.parametrize("hook", hooks())
def test_every_hook_is_used_by_a_built_in(hook: str) -> None:
    gathered = registry.commands() if hook == "spatter_commands" else registry.catalog()
    implementations = getattr(gathered.hook, hook).get_hookimpls()
    assert any(implementation.plugin_name.startswith("spatterlib.") for implementation in implementations)


def implemented(path: Path) -> set[str]:
    """Hooks that a module implements: functions marked with `hookimpl`."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and any("hookimpl" in ast.unparse(mark) for mark in node.decorator_list)
    }


@pytest.mark.parametrize("hook", hooks())
def test_every_hook_is_used_by_an_example(hook: str) -> None:
    examples = [path for path in PLUGINS.rglob("*.py") if not path.name.startswith("test_")]
    assert [path for path in examples if hook in implemented(path)]


FACE = {"spatterlib", "spatterlib.plugins", "spatterlib.errors", "spatterlib.testing"}
"""Where the authors of plugins import from."""
# The service is more than a plugin: it scores crops one by one, says of a record what the model learned from, and looks
# at the header of an upload with FFmpeg before anything reads it.
SERVICE = {"spatterlib.verdicts.scoring", "spatterlib.common.origin", "spatterlib.video.ffmpeg"}


def shown_to_authors() -> list[Path]:
    """What shows how a plugin is written: examples with their tests, templates, pages."""
    pages = [*(HOUSE.parent / "docs").rglob("*.md"), HOUSE.parent / "README.md"]
    return [*sorted(PLUGINS.rglob("*.py")), *sorted((HOUSE / "cli" / "templates").iterdir()), *sorted(pages)]


@pytest.mark.parametrize("path", shown_to_authors(), ids=lambda path: str(path.relative_to(HOUSE.parent)))
def test_authors_of_plugins_see_one_face_of_the_house(path: Path) -> None:
    statement = r"^[ >.]*(?:from|import) (spatterlib(?:\.[\w.]+)?)(?= import|$| as)"
    taken = set(re.findall(statement, path.read_text(encoding="utf-8"), re.MULTILINE))
    assert taken - FACE - (SERVICE if "spatterlib-serve" in path.parts else set()) == set()


@pytest.mark.parametrize("folder", sorted(PLUGINS.glob("spatterlib-*")), ids=lambda folder: folder.name)
def test_every_example_is_a_package_with_a_test_and_a_readme(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == folder.name
    assert project["project"]["entry-points"]["spatterlib"]
    assert folder.name in (folder / "README.md").read_text()
    assert list(folder.rglob("test_*.py"))


def test_the_fixtures_load_nothing_of_the_house() -> None:
    code = f"import pytest_spatterlib, sys; print(*(m for m in {['spatterlib', 'numpy', *HEAVY]} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_built_in_loads() -> None:
    assert (*registry.catalog().failed, *registry.commands().failed) == ()
    announced = {path for path in HOUSE.rglob("*.py") if implemented(path)}
    names = {".".join(path.relative_to(HOUSE.parent).with_suffix("").parts) for path in announced}
    assert names == {*registry.BUILTINS, *registry.COMMANDS}


@pytest.mark.parametrize("name", [name for name in sp.__all__ if callable(getattr(sp, name, None))])
def test_every_public_callable_has_a_docstring_of_purpose_and_an_example(name: str) -> None:
    doc = inspect.getdoc(getattr(sp, name)) or ""
    assert doc.splitlines()[0].endswith(".")


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="extrakt"):
        sp.extrakt  # noqa: B018
