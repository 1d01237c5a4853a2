"""Wheel and source distribution hold what they should, and what is installed from them works."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest
from demo_browser import free_port

pytest.importorskip("hatchling", reason="the build backend is not installed")

HOUSE = Path(__file__).parents[1]
IN_THE_WHEEL = {"spatterlib": "spatterlib", "pytest_spatterlib.py": "pytest_spatterlib.py"}
IN_THE_WHEEL["demo/spatterlib_demo"] = "spatterlib_demo"


def build(source: Path, kind: str, where: Path) -> Path:
    """A wheel or an sdist, by the build backend itself."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(where)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [made] = where.iterdir()
    return made


def tracked(*options: str) -> list[str]:
    """Files under git that are here; `options` of ``git ls-files``."""
    git = shutil.which("git")
    if not git or not (HOUSE / ".git").exists():
        pytest.skip("no git here, or no checkout")
    done = subprocess.run([git, "ls-files", "-z", *options], cwd=HOUSE, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (HOUSE / name).is_file()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(HOUSE, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as an index's users may."""
    place = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    [source] = place.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_that_is_under_git_and_no_other(wheel: Path) -> None:
    wanted = {}
    for name in tracked():
        for place, inside in IN_THE_WHEEL.items():
            if name == place or name.startswith(f"{place}/"):
                wanted[f"{inside}{name.removeprefix(place)}"] = (HOUSE / name).read_bytes()
    assert contents(wheel) == wanted
    for kind in (".css", ".j2", ".js", ".svg", ".txt", ".safetensors", "py.typed"):
        assert [name for name in wanted if name.endswith(kind)], kind


@pytest.mark.slow
def test_the_wheel_of_the_checkout_is_that_of_the_source_distribution(wheel: Path, tmp_path: Path) -> None:
    assert contents(build(HOUSE, "wheel", tmp_path)) == contents(wheel)


@pytest.mark.slow
def test_the_source_distribution_holds_all_that_is_under_git(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert set(tracked()) <= inside
    here = set(tracked("--cached", "--others", "--exclude-standard"))
    assert inside - here == {"PKG-INFO"}


def test_classifiers_are_known_and_name_what_is_tested() -> None:
    known = pytest.importorskip("trove_classifiers").classifiers
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["classifiers"]) <= known
    minors = [
        line.rsplit(".", 1)[1]
        for line in project["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert minors == ["11", "12", "13"]
    assert project["requires-python"] == f">=3.{minors[0]}"
    assert "urls" not in project


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel; what it depends on comes from the running one, at the end of the path."""
    place = tmp_path_factory.mktemp("environment")
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    subprocess.run([base, "-m", "venv", place], check=True)
    [packages] = place.glob("lib/python3*/site-packages")
    # A line of a .pth file is a folder; .pth files in that folder, such as an editable spatterlib's, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True)
    return place


def clean(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SPATTERLIB"))}
    return kept | {"SPATTERLIB_PLUGINS": "", "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


@pytest.mark.slow
def test_what_is_installed_does_the_main_job_and_begins_a_plugin(environment: Path, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        program = [str(environment / "bin" / command[0]), *command[1:]]
        done = subprocess.run(program, cwd=tmp_path, env=clean(tmp_path), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for module in ("spatterlib", "spatterlib_demo", "pytest_spatterlib"):
        assert str(environment) in run("python", "-c", f"import {module}; print({module}.__file__)")
    run("spatterlib", "simulate", "low.mp4", "--gas-flow", "low", "--seconds", "6", "--seed", "1")
    run("spatterlib", "extract", "low.mp4", "-o", "low.h5")
    run("spatterlib", "predict", "low.h5", "--model", "simulated", "-o", "report.html")
    assert "<style>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    run("spatterlib", "new-plugin", "spatterlib-halo")
    assert (tmp_path / "spatterlib-halo" / "pyproject.toml").is_file()


@pytest.mark.slow
def test_what_is_installed_starts_the_demo(environment: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    port = free_port()
    command = [str(environment / "bin" / "spatterlib"), "demo", "--no-browser", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=clean(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == f"spatterlib demo: http://127.0.0.1:{port}\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                page = answer.read().decode()
                assert answer.status == 200
            assert "spatterlib: see spatter" in page
            assert "--tl-first" in page
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
