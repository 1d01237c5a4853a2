"""Kernels are compiled whole, once a machine, and kept where that can be done."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from spatterlib.kernels import cache
from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.following import following

PACKAGE = Path(cache.__file__).parent.parent
ROWS = """
import numba, numpy as np
from spatterlib.kernels.following import following
from spatterlib.kernels.rows import fill_rows
from spatterlib.types import DETECTION
told = []
with following(lambda done, of: told.append((done, of))):
    rows = np.empty(2, DETECTION)
    boxes, sums = np.array([(9, 9, 5, 5), (3, 4, 5, 6)], np.int32), np.zeros((2, 3), np.int64)
    some = np.zeros(2), np.array([1, 0]), boxes, np.ones(2), sums, np.zeros(2, np.uint8)
    count = fill_rows(7, *some, True, rows)
print(count, rows["x"].tolist(), len(told))
"""


def begun(path: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that finds the package at `path` and calls one kernel."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    environ |= {"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"} | environment
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", ROWS], env=environ, stdout=pipe, stderr=pipe, text=True)


def ran(path: Path, **environment: str) -> tuple[str, str]:
    """What it says."""
    process = begun(path, **environment)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.strip(), err


def kept(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("rows.fill_rows-*")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package on its own."""
    shutil.copytree(PACKAGE, tmp_path / "house" / "spatterlib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "house"


@kernel
def twice(values: np.ndarray) -> int:
    return int(2 * values.sum())


@kernel
def both(values: np.ndarray, more: np.ndarray) -> int:
    if len(values) != len(more):
        raise ValueError("as many of one as of the other")
    return twice(values) + twice(more)


def test_a_kernel_calls_kernels_and_python_calls_either() -> None:
    one, other = np.arange(5), np.arange(5, dtype=np.uint8)
    assert both(one, other) == 40
    assert twice(other) == 20
    with pytest.raises(ValueError, match="as many"):
        both(one, other[:2])


def test_numbas_own_functions_may_call_a_kernel() -> None:
    @numba.njit
    def thrice(values: np.ndarray) -> int:
        return twice(values) + int(values.sum())

    assert thrice(np.arange(5)) == 30


def test_what_a_kernel_calls_has_no_machine_code_of_its_own() -> None:
    told: list[tuple[int, int]] = []
    with following(lambda done, of: told.append((done, of))):
        both(np.arange(3, dtype=np.int16), np.arange(3, dtype=np.int16))
        assert told == [(0, 2), (1, 2), (2, 2)]
        both(np.arange(3, dtype=np.int16), np.arange(3, dtype=np.int16))
        assert told == [(0, 2), (1, 2), (2, 2)]
    parts: Any = twice
    [inner] = [found for kinds, found in parts._part.overloads.items() if str(kinds[0].dtype) == "int16"]
    with pytest.raises(ValueError, match="object caching not enabled"):
        inner.library._get_compiled_object()


def test_a_second_process_compiles_nothing(copy: Path, tmp_path: Path) -> None:
    told = ran(copy, NUMBA_CACHE_DIR=str(tmp_path / "kept"))[0]
    assert told.startswith("2 [3, 9] ")
    assert not told.endswith(" 0")
    first = kept(tmp_path / "kept")
    assert len(first) == 1
    for path in copy.rglob("*.py"):
        os.utime(path, (1, 1))
    assert ran(copy, NUMBA_CACHE_DIR=str(tmp_path / "kept")) == ("2 [3, 9] 0", "")
    assert kept(tmp_path / "kept") == first


def test_a_change_in_any_file_of_kernels_compiles_anew(copy: Path, tmp_path: Path) -> None:
    ran(copy)
    [first] = kept(copy)
    vectors = copy / "spatterlib" / "kernels" / "vectors.py"
    vectors.write_text(vectors.read_text() + "# changed\n")
    assert not ran(copy)[0].endswith(" 0")
    [second] = kept(copy)
    assert second.parent != first.parent
    assert second.name == first.name


def test_a_damaged_file_is_written_anew(copy: Path, tmp_path: Path) -> None:
    ran(copy, NUMBA_CACHE_DIR=str(tmp_path))
    [path] = kept(tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        assert ran(copy, NUMBA_CACHE_DIR=str(tmp_path))[0].startswith("2 [3, 9] ")
        assert hashlib.sha256(path.read_bytes()[32:]).digest() == path.read_bytes()[:32]


def test_processes_that_begin_together_leave_one_whole_file(copy: Path, tmp_path: Path) -> None:
    several = [begun(copy, NUMBA_CACHE_DIR=str(tmp_path / "kept")) for _ in range(2)]
    for process in several:
        assert process.communicate()[0].startswith("2 [3, 9] ")
    [path] = kept(tmp_path / "kept")
    assert list(path.parent.iterdir()) == [path]
    assert ran(copy, NUMBA_CACHE_DIR=str(tmp_path / "kept"))[0] == "2 [3, 9] 0"
