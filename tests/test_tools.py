"""What make starts: the main job without a shell, every Python with both ends of the libraries, benchmarks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from media import damage, write

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).parents[1]


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


matrix = tool("matrix")
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def program(*words: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    # What pytest tells its own workers would be taken for theirs by the runs of pytest in here.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [*map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=300, env=inherited | environment
    )


class TestMainJob:
    """`python tools/run.py`, which `make run` starts and Windows has too."""

    def test_makes_store_pictures_and_page_and_names_them(self, tmp_path: Path) -> None:
        video, out = write(tmp_path / "build.mp4"), tmp_path / "out"
        done = program(sys.executable, ROOT / "tools" / "run.py", video, "--out", "out", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        names = ["build.crops.png", "build.h5", "build.html", "build.timeline.png"]
        assert sorted(path.name for path in out.iterdir()) == names
        assert all(str(Path("out", name)) in done.stdout for name in names)

    def test_goes_on_to_the_verdict_where_frames_do_not_decode_and_says_so(self, tmp_path: Path) -> None:
        video, _ = damage(write(tmp_path / "build.mp4"), [30])
        done = program(sys.executable, ROOT / "tools" / "run.py", video, cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert (tmp_path / "out" / "bad_build.html").exists()

    def test_ends_where_a_step_fails(self, tmp_path: Path) -> None:
        done = program(sys.executable, ROOT / "tools" / "run.py", "nowhere.mp4", cwd=tmp_path)
        assert done.returncode == 1
        assert "nowhere.mp4" in done.stderr
        assert "Results" not in done.stdout


class TestMatrix:
    """`make test-matrix`: every Python that is here, newest and lowest libraries."""

    def test_all_requirements_are_lower_bounds_so_that_both_ends_are_tested(self) -> None:
        for version in matrix.VERSIONS:
            assert {"av", "gradio", "numpy", "torch", "uvicorn", "zarr"} <= matrix.declared(version).keys()

    def test_a_bound_for_later_versions_of_python_stands_for_these(self) -> None:
        old, new = matrix.declared("3.13")["numba"], matrix.declared("3.14")["numba"]
        assert matrix._numbers(old) < matrix._numbers(new)

    @pytest.mark.skipif(os.name == "nt", reason="programs without a suffix")
    def test_a_python_that_does_not_run_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dead, alive = tmp_path / "dead", tmp_path / "pyenv" / "versions" / "3.14.10" / "bin"
        for folder, text in ((dead, "exit 127"), (alive, "echo 3.14"), (alive.parents[1] / "3.14.9" / "bin", "exit 1")):
            folder.mkdir(parents=True)
            for name in ("python", "python3.14"):
                (folder / name).write_text(f"#!/bin/sh\n{text}\n")
                (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(dead))
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
        assert matrix.interpreters()["3.14"] == alive / "python"

    def test_the_ends_are_the_oldest_with_the_lowest_and_the_newest_with_the_newest(self) -> None:
        found = {version: Path(version) for version in ("3.9", "3.11", "3.13")}
        assert matrix.plan(found, True) == [("3.9", "lowest"), ("3.13", "newest")]
        assert matrix.plan({"3.12": Path()}, True) == [("3.12", "lowest"), ("3.12", "newest")]
        assert len(matrix.plan(found, False)) == 6

    def test_what_fails_stands_in_the_table(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(matrix, "_install", lambda *_: None)
        monkeypatch.setattr(matrix, "_versions", lambda _: "numpy 2")
        monkeypatch.setattr(matrix, "_main_job", lambda *_: "5 rows")
        row = matrix.tried("3.12", Path(sys.executable), "lowest", tmp_path, 1)
        assert (row.failed, row.main_job, row.tests) == (True, "5 rows", "failed")
        assert matrix.table([row]).splitlines()[1].split()[:2] == ["3.12", "lowest"]


class TestPytest:
    """Plain pytest, and its options for benchmarks, work from the root."""

    @pytest.mark.torture
    def test_benchmark_only_takes_times(self) -> None:
        done = program(*PYTEST, "--benchmark-only", "-k", "grouping and layers")
        assert done.returncode == 0, done.stdout
        assert "test_grouping[layers]" in done.stdout
        assert "Rounds" in done.stdout

    def test_plain_runs_try_the_benchmarks_without_a_clock(self) -> None:
        done = program(*PYTEST, "benchmarks/test_layers.py")
        assert done.returncode == 0, done.stdout
        assert "Rounds" not in done.stdout

    def test_examples_that_are_not_installed_are_left_out_and_named(self) -> None:
        code = "import sys, pytest; sys.modules['spatterlib_mog2'] = None; pytest.main(['--collect-only', 'plugins'])"
        done = program(sys.executable, "-c", code)
        assert "not installed, so not tested: spatterlib-mog2" in done.stdout
        assert "test_mog2.py" not in done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not here")
class TestMake:
    """A Python that is named is the one that is used."""

    def test_a_python_that_is_named_has_an_environment_of_its_own(self) -> None:
        version = "{}.{}".format(*sys.version_info)
        by_environment = program("make", "-n", "test", PYTHON=sys.executable)
        by_argument = program("make", "-n", "test", f"PYTHON={sys.executable}")
        for done in (by_environment, by_argument):
            assert f".venv-{version}/bin/python -m pytest" in done.stdout

    def test_without_one_it_is_the_usual_environment(self) -> None:
        # A make that runs this test hands its own PYTHON on in these.
        handed_on = {"PYTHON", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"}
        environment = {name: value for name, value in os.environ.items() if name not in handed_on}
        done = subprocess.run(["make", "-n", "test"], capture_output=True, text=True, cwd=ROOT, env=environment)
        assert ".venv/bin/python -m pytest" in done.stdout

    def test_one_that_does_not_run_is_called_that(self) -> None:
        done = program("make", "run", "PYTHON=/nowhere/python3.13")
        assert done.returncode != 0
        assert "'/nowhere/python3.13', does not run" in done.stdout

    def test_one_that_is_too_old_is_called_that(self, tmp_path: Path) -> None:
        old = tmp_path / "python"
        old.write_text("#!/bin/sh\ncase $2 in *3,*) exit 1;; esac\n")
        old.chmod(0o755)
        done = program("make", "run", f"PYTHON={old}")
        assert done.returncode != 0
        assert "spatterlib needs Python 3.11 or newer" in done.stdout


class TestWorkflows:
    """`.github/workflows` does what make does; `make lint` checks its form."""

    @staticmethod
    def commands(name: str) -> list[str]:
        jobs = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))["jobs"]
        return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]

    def test_every_python_of_the_matrix_is_in_it(self) -> None:
        jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
        assert tuple(jobs["linux"]["strategy"]["matrix"]["python"]) == matrix.VERSIONS
        assert jobs["desktop"]["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]

    def test_programs_and_targets_that_it_names_are_there(self) -> None:
        rules = (ROOT / "Makefile").read_text(encoding="utf-8")
        lines = [
            line.strip()
            for name in ("ci.yml", "release.yml")
            for command in self.commands(name)
            for line in command.splitlines()
        ]
        targets = {line.split()[-1] for line in lines if line.startswith("make ")}
        assert {"run", "test", "test-matrix", "test-torch", "lint", "docs"} == targets
        assert all(f"\n{target}:" in rules for target in targets)
        assert all((ROOT / path).is_file() for line in lines for path in line.split() if path.startswith("tools/"))
