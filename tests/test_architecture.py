"""The house stands as its plan says: imports run one way, starting is light, hooks are used, names are documented."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

import spatterlib as sp
from spatterlib import hookspecs, plugins

HOUSE = Path(sp.__file__).parent
PLUGINS = HOUSE.parent / "plugins"

# Floors from the ground up; a module imports only from floors below its own, or from its own where the floor allows.
FLOORS: list[set[str]] = [
    {
        "errors",
        "words",
        "origins",
        "suiting",
        "types",
        "files",
        "ffmpeg",
        "installing",
        "markdown",
        "contract",
        "threads",
    },
    {"stopping", "streams"},
    {"answers", "runlog", "records"},
    {"hookspecs", "kernels", "crops", "pictures", "learning", "fitting", "engines", "model_options"},
    {
        "difference",
        *("measuring.streaks", "measuring.camera", "measuring.speeds", "measuring.gasflow", "measuring.descriptors"),
        *("measuring.synchrony", "charting.control", "charting.runlength", "charting.reference"),
    },
    {"boxes", "outlining"},
    {"builtin"},
    {"plugins", "video", "stores"},
    {"grouping", "terminal"},
    {"detection", "report", "simulation"},
    {"labels", "indexes", "splits", "metrics", "callbacks", "models", "modelcard", "caching", "familiarity"},
    {"measuring.calibration", "measuring.measurement", "charting.monitoring", "charting.charts"},
    {
        "judging.verdicts",
        "judging.shares",
        "judging.change",
        "judging.outcome",
        "judging.htmlreport",
        "judging.agreement",
        "provenance",
    },
    {"dataset"},
    {"training", "exporting"},
    {"evaluation", "probe"},
    {"pipeline", "resuming"},
    {"extraction", "sightings", "forecasting", "looking"},
    {"many"},
    {"prediction", "judging.verification", "live"},
    {"config", "options", "sections", "testing"},
    {"run_options"},
    {"detect_cli", "extract_cli", "predict_cli", "watch_cli"},
    {"cli"},
    {"__main__"},
]
# Built-in plugins reach the rest as a third party would, by the public face; the face itself is lazy.
FACE = "__init__"
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
]


# Packages whose modules stand on floors of their own; other packages are one room each.
FAMILIES = {module.split(".")[0] for modules in FLOORS for module in modules if "." in module}


def room(parts: Sequence[str]) -> str:
    """The room of a module: its package's, or in a family its own."""
    return ".".join(parts[: 2 if parts[0] in FAMILIES else 1])


def floor(module: str) -> int:
    return next(number for number, modules in enumerate(FLOORS) if module in modules)


def imports(path: Path) -> set[str]:
    """Modules of the house that a file imports, wherever the import stands, typing aside."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "spatterlib":
            parts = (node.module or "").split(".")
            whole = len(parts) == 1 or (len(parts) == 2 and parts[1] in FAMILIES)
            found |= {room([*parts[1:], *([alias.name] if whole else [])]) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {room(alias.name.split(".")[1:]) for alias in node.names if alias.name.startswith("spatterlib.")}
    return found


def modules() -> list[Path]:
    fronts = [HOUSE / "__init__.py", *(HOUSE / family / "__init__.py" for family in FAMILIES)]
    return sorted(path for path in HOUSE.rglob("*.py") if path not in fronts)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_point_one_way_only(path: Path) -> None:
    own = room(path.relative_to(HOUSE).with_suffix("").parts)
    for other in imports(path) - {own}:
        assert floor(other) <= floor(own), f"{own} imports {other}, which stands above it"
        assert own != "builtin" or floor(other) < floor("builtin")


@pytest.mark.parametrize("statement", ["import spatterlib", "import spatterlib.cli as c; c.main(['--help'])"])
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
    implementations = getattr(sp.catalog().hook, hook).get_hookimpls()
    assert any(implementation.plugin_name.startswith("spatterlib.builtin.") for implementation in implementations)


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
    assert sp.catalog().failed == ()
    files = {path.stem for path in (HOUSE / "builtin").glob("[!_]*.py")}
    assert files == {*plugins.BUILTINS, *plugins.COMMANDS}


@pytest.mark.parametrize("name", [name for name in sp.__all__ if callable(getattr(sp, name, None))])
def test_every_public_callable_has_a_docstring_of_purpose_and_an_example(name: str) -> None:
    doc = inspect.getdoc(getattr(sp, name)) or ""
    assert doc.splitlines()[0].endswith(".")


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="extrakt"):
        sp.extrakt  # noqa: B018
