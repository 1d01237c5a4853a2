"""What is missing is said with a command that installs it, as spatterlib itself was installed here."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.common import install_hints
from spatterlib.errors import PluginError, StoreError, VideoError

HOUSE = Path(__file__).parents[1]


class Distribution:
    """Of spatterlib, as an installer leaves its notes."""

    def __init__(self, **files: str) -> None:
        self.files = files

    def read_text(self, name: str) -> str | None:
        return self.files.get(name.partition(".")[0])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set how spatterlib was installed: the facts of ``direct_url.json``, and the installer."""

    def set_to(facts: object = None, installer: str = "pip", here: bool = True) -> None:
        files = {"INSTALLER": f"{installer}\n"} | ({"direct_url": json.dumps(facts)} if facts else {})
        real = metadata.distribution

        def found(name: str) -> object:
            if name == "spatterlib":
                if not here:
                    raise metadata.PackageNotFoundError(name)
                return Distribution(**files)
            if name in install_hints.EXAMPLES.values():
                raise metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(metadata, "distribution", found)
        install_hints._installation.cache_clear()

    yield set_to
    install_hints._installation.cache_clear()


def test_an_editable_checkout_gets_an_editable_command_of_that_folder(
    installed: Callable[..., None], tmp_path: Path
) -> None:
    place = tmp_path / "my checkout"
    place.mkdir()
    installed({"url": place.as_uri(), "dir_info": {"editable": True}})
    assert shlex.split(install_hints.extra("demo")) == ["pip", "install", "-e", f"{place}[demo]"]
    installed({"url": place.as_uri(), "dir_info": {}}, "uv")
    assert shlex.split(install_hints.extra("dask,remote")) == ["uv", "pip", "install", f"{place}[dask,remote]"]


def test_a_wheel_an_address_and_a_repository_are_named_as_pip_takes_them(
    installed: Callable[..., None], tmp_path: Path
) -> None:
    wheel = tmp_path / "spatterlib-0.1.0-py3-none-any.whl"
    wheel.touch()
    installed({"url": wheel.as_uri(), "archive_info": {}})
    assert shlex.split(install_hints.extra("demo"))[-1] == f"{wheel}[demo]"
    installed({"url": "https://example.org/spatterlib.whl", "archive_info": {}})
    assert shlex.split(install_hints.extra("demo"))[-1] == "spatterlib[demo] @ https://example.org/spatterlib.whl"
    installed({"url": "https://example.org/repo", "vcs_info": {"vcs": "git", "commit_id": "abc"}})
    assert shlex.split(install_hints.extra("demo"))[-1] == "spatterlib[demo] @ git+https://example.org/repo@abc"


def test_from_an_index_the_name_is_enough(installed: Callable[..., None]) -> None:
    installed()
    assert shlex.split(install_hints.extra("demo")) == ["pip", "install", "spatterlib[demo]"]


@pytest.mark.parametrize("here", [True, False])
def test_without_a_trace_of_it_a_checkout_is_named(installed: Callable[..., None], here: bool, tmp_path: Path) -> None:
    installed({"url": (tmp_path / "gone").as_uri(), "dir_info": {}}, here=here)
    assert install_hints.extra("demo") == "pip install '.[demo]' in a checkout of spatterlib"


def test_a_package_that_is_broken_is_not_called_missing() -> None:
    absent = ModuleNotFoundError("No module named 'gone'", name="gone")
    assert "needs Gone, which is not installed; install it with: " in install_hints.missing(
        "it", "Gone", "demo", absent
    )
    broken = ImportError("libGL.so.1: cannot open shared object file", name="cv2")
    said = install_hints.missing("it", "OpenCV", "demo", broken)
    assert "which cannot be imported: libGL.so.1: cannot open" in said
    old = ModuleNotFoundError("No module named 'json.newer'", name="json.newer")
    assert "which cannot be imported: No module named 'json.newer'" in install_hints.missing("it", "JSON", "demo", old)


def brought(package: Path) -> set[tuple[str, str]]:
    """Kinds and names that an example package announces, read from its sources."""
    found = set()
    for file in package.rglob("*.py"):
        if file.name.startswith("test_") or "build" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("spatter_"):
                continue
            kind = node.name.removeprefix("spatter_").removesuffix("s")
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and isinstance(part.value, ast.Dict):
                    found |= {(kind, key.value) for key in part.value.keys if isinstance(key, ast.Constant)}
                if isinstance(part, ast.Call) and ast.unparse(part.func) == "cli.add_command":
                    found.add((kind, ast.unparse(part.args[0])))
                if isinstance(part, ast.Tuple) and kind == "open_video":
                    found |= {("suffix", item.value) for item in part.elts if isinstance(item, ast.Constant)}
        found |= {("suffix", name) for name in re.findall(r'suffixes: .* = \("(\.\w+)",\)', file.read_text())}
    return {(str(kind), str(name)) for kind, name in found}


def test_what_example_packages_bring_is_known() -> None:
    there = {
        key: package.name for package in sorted((HOUSE / "plugins").glob("spatterlib-*")) for key in brought(package)
    }
    assert there == dict(install_hints.EXAMPLES)


@pytest.mark.parametrize(("key", "package"), install_hints.EXAMPLES.items(), ids=lambda value: str(value))
def test_an_example_package_is_named_with_the_command_that_installs_it(
    installed: Callable[..., None], key: tuple[str, str], package: str
) -> None:
    installed({"url": HOUSE.as_uri(), "dir_info": {"editable": True}})
    said = install_hints.example_package(*key)
    subject = f"what reads {key[1]} files" if key[0] == "suffix" else "it"
    place = shlex.quote(str(HOUSE / "plugins" / package))
    assert said == f"{subject} comes with {package}, which is not installed; install it with: pip install {place}"
    installed()
    assert (
        f"pip install ./plugins/{package} (from an index, once it is released there"
        in install_hints.example_package(*key)
    )
    assert install_hints.example_package(key[0], "another") == ""


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """No example package in this process."""
    monkeypatch.setenv("SPATTERLIB_PLUGINS", "")
    monkeypatch.setattr(install_hints, "_is_installed", lambda _: False)
    sp.catalog.cache_clear()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without(monkeypatch)
    yield
    sp.catalog.cache_clear()


@pytest.mark.parametrize(("name", "package"), [("serve", "spatterlib-serve"), ("photron", "spatterlib-mraw")])
def test_the_command_of_an_example_says_whose_it_is(
    alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, package: str
) -> None:
    from spatterlib.cli import main as command_line

    group = command_line.cli
    monkeypatch.setattr(group, "commands", {key: it for key, it in group.commands.items() if key != name})
    assert main([name, "--port", "8000"]) == 2
    said = capsys.readouterr().err
    assert f"no command '{name}'; it comes with {package}, which is not installed" in said
    assert "did you mean" not in said


def test_an_unknown_command_names_the_nearest_still(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extrct"]) == 2
    assert "did you mean 'extract'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "id_"), [("detector", "mog2"), ("filter", "filled"), ("store", "npz"), ("classifier", "resnet18")]
)
def test_a_plugin_of_an_example_says_whose_it_is(alone: None, kind: str, id_: str) -> None:
    with pytest.raises(PluginError, match=f"no {kind} '{id_}' is installed; it comes with spatterlib-"):
        sp.catalog().find(kind, id_)


def test_a_config_that_names_such_a_detector_says_whose_it_is(
    alone: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.toml").write_text('[extract.detector]\nid = "background"\n')
    assert main(["config", "--config", str(tmp_path / "a.toml")]) != 0
    assert "it comes with spatterlib-background, which is not installed" in capsys.readouterr().err


def test_files_that_an_example_reads_say_whose_they_are(alone: None, tmp_path: Path) -> None:
    for name in ("camera.cih", "camera.mraw"):
        (tmp_path / name).write_bytes(b"bytes of a camera")
        with pytest.raises(VideoError, match=r"what reads .* files comes with spatterlib-mraw"):
            sp.open_video(tmp_path / name)
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"what reads \.npz files comes with spatterlib-npz"):
        sp.open_store(tmp_path / "a.npz")


def test_a_package_that_spatterlib_plugins_leaves_out_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    monkeypatch.setattr(install_hints, "_is_installed", lambda _: True)
    assert (
        install_hints.example_package("detector", "mog2")
        == "it comes with spatterlib-mog2, which SPATTERLIB_PLUGINS leaves out"
    )
    monkeypatch.delenv("SPATTERLIB_PLUGINS")
    assert install_hints.example_package("detector", "mog2") == ""
    sp.catalog.cache_clear()


HINT = re.compile(r"pip install [\"']?spatterlib\[|pip install spatterlib-")


def test_no_hint_is_written_by_hand() -> None:
    """In code they come from `installing`; in pages they name a checkout, for no index has spatterlib yet."""
    files = [*HOUSE.glob("spatterlib/**/*.py"), *HOUSE.glob("demo/**/*.py"), HOUSE / "README.md"]
    files += [*HOUSE.glob("docs/**/*.md"), *HOUSE.glob("plugins/*/README.md"), *HOUSE.glob("plugins/**/*.py")]
    written = [str(path.relative_to(HOUSE)) for path in files if HINT.search(path.read_text(encoding="utf-8"))]
    assert written == ["docs/index.md"]
    assert "Once it is released on an index,\n`pip install" in (HOUSE / "docs" / "index.md").read_text(encoding="utf-8")
