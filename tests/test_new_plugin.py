"""`spatterlib new-plugin`: what it writes installs, is found, and passes its own tests at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_extraction import flashes

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.cli.new_plugin import KINDS, write_package
from spatterlib.errors import OutputExistsError, ParameterError


@pytest.mark.slow
def test_every_kind_installs_is_found_and_passes_the_kit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {kind: f"spatterlib-{kind}-probe" for kind in KINDS}
    for kind, name in names.items():
        assert main(["new-plugin", name, "--kind", kind, "--folder", str(tmp_path)]) == 0
    assert f"cd {tmp_path / names['filter']}" in capsys.readouterr().out
    folders = [str(tmp_path / name) for name in names.values()]
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--no-index", "--target", str(site), *folders], check=True)
    env = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    env.pop("SPATTERLIB_PLUGINS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error"]
    done = subprocess.run(
        [*command, "--import-mode=importlib", *folders], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    listed = subprocess.run(
        [sys.executable, "-m", "spatterlib", "plugins"], env=env, capture_output=True, text=True, check=True
    ).stdout
    for kind in ("detector", "filter", "store", "classifier"):
        assert f"[spatterlib_{kind}_probe of spatterlib-{kind}-probe 0.1.0]" in listed
    use_as_the_page_says(tmp_path, env)


def use_as_the_page_says(folder: Path, env: dict[str, str]) -> None:
    """What docs/howto/own_detector.md does with a detector that is installed."""

    def run(arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spatterlib", *arguments.split()]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)

    np.save(folder / "build.npy", flashes(60))
    mine = "--detector detector-probe --threshold 50"
    assert "found, " in run(f"show build.npy --frame 5 {mine} --min-area 15000 -o frame.png").stderr
    run(f"show build.npy --frame 5 {mine} --filter none -o all.png")
    (folder / "mine.toml").write_text(run(f"config {mine} --min-area 50").stdout)
    run(f"extract build.npy -o options.h5 {mine} --min-area 50")
    run("extract build.npy -o file.h5 --config mine.toml")
    run("show file.h5 -o crops.png")
    with sp.open_store(folder / "options.h5") as one, sp.open_store(folder / "file.h5") as other:
        assert len(one) == len(other) > 0
        assert one.attrs["detector"] == other.attrs["detector"] == {"id": "detector-probe", "threshold": 50}
        assert one.attrs["versions"]["spatterlib-detector-probe"] == "0.1.0"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_tidy(tmp_path: Path, kind: str) -> None:
    package = write_package("spatterlib-my-own", kind, tmp_path)
    assert sorted(file.name for file in package.iterdir()) == [
        "README.md",
        "pyproject.toml",
        "spatterlib_my_own.py",
        "test_spatterlib_my_own.py",
    ]
    assert "$" not in "".join(file.read_text() for file in package.iterdir())
    assert [entry.name for entry in tmp_path.iterdir()] == ["spatterlib-my-own"]
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "-q", "--isolated", "--line-length", "120"], cwd=package, check=True
    )


@pytest.mark.parametrize("name", ["", "spatterlib", "My Detector", "../up", "a--b", "9lives", "a_b"])
def test_names_that_no_package_can_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="small letters, digits and single hyphens"):
        write_package(name, "detector", tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "halo").mkdir()
    with pytest.raises(OutputExistsError, match="halo exists already"):
        write_package("halo", "filter", tmp_path)
    with pytest.raises(ParameterError, match="no folder"):
        write_package("halo", "filter", tmp_path / "nowhere")
