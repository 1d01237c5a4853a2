"""Kernels are compiled whole, once a machine, and kept where that can be done."""

from __future__ import annotations

import ctypes
import errno
import gc
import hashlib
import logging
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from spatterlib.common.progress import Progress
from spatterlib.extraction.extract import followed
from spatterlib.kernels import cache, compile_progress
from spatterlib.kernels.compiling import kernel
from spatterlib.types import DETECTION

PACKAGE = Path(cache.__file__).parent.parent
ROWS = """
import numba, numpy as np
from spatterlib.kernels.compile_progress import subscribed
from spatterlib.kernels.detection.table_rows import fill_rows
from spatterlib.types import DETECTION
told = []
with subscribed(lambda done, of: told.append((done, of))):
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


def kept(folder: Path) -> list[Path]:
    return list(folder.rglob("table_rows.fill_rows-*"))


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
    with compile_progress.subscribed(lambda done, of: told.append((done, of))):
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


@pytest.mark.parametrize("name", ["operations.py", "detection/masks.py"])
def test_a_change_in_any_file_of_kernels_compiles_anew(copy: Path, name: str) -> None:
    ran(copy)
    [first] = kept(copy)
    changed = copy / "spatterlib" / "kernels" / name
    changed.write_text(changed.read_text() + "# changed\n")
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


def sealed(folder: Path) -> None:
    """Readable and not writable, by anybody but root, down to its leaves."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def without_privileges() -> None:
    """Root that may no more than the rights of files allow."""
    if os.geteuid() == 0:
        drop = ctypes.CDLL(None).prctl
        for capability in range(64):
            drop(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A package and a home that cannot be written to, and a folder for temporary files that all can."""
    shutil.copytree(PACKAGE, tmp_path / "house" / "spatterlib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "home").mkdir()
    sealed(tmp_path / "house")
    sealed(tmp_path / "home")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    yield tmp_path
    for path in tmp_path.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755)


def told_by(base: Path, **environment: str) -> tuple[str, str]:
    environ = {"HOME": str(base / "home"), "TMPDIR": str(base / "tmp"), "PYTHONPATH": str(base / "house")}
    command = [sys.executable, "-P", "-B", "-c", "import logging; logging.basicConfig(format='%(message)s')\n" + ROWS]
    done = subprocess.run(
        command, env=environ | environment, cwd="/", capture_output=True, text=True, preexec_fn=without_privileges
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="privileges are dropped as Linux does it")
def test_without_a_writable_place_kernels_are_kept_in_a_private_temporary_folder(base: Path) -> None:
    out, said = told_by(base)
    assert out.startswith("2 [3, 9] ")
    [line] = said.splitlines()
    [private] = (base / "tmp").iterdir()
    assert str(private) in line
    assert "NUMBA_CACHE_DIR" in line
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert told_by(base) == ("2 [3, 9] 0", "")


@pytest.mark.skipif(sys.platform != "linux", reason="privileges are dropped as Linux does it")
@pytest.mark.parametrize("hostile", ["link", "theirs", "open", "no sticky bit", "file"])
def test_a_temporary_folder_that_others_can_reach_is_not_used(base: Path, hostile: str) -> None:
    place = base / "tmp" / f"spatterlib-{os.geteuid()}"
    if hostile == "link":
        (base / "elsewhere").mkdir(mode=0o777)
        place.symlink_to(base / "elsewhere")
    elif hostile == "file":
        place.touch()
    elif hostile == "no sticky bit":
        (base / "tmp").chmod(0o777)
    else:
        place.mkdir()
        place.chmod(0o777 if hostile == "open" else 0o700)
        if hostile == "theirs":
            if os.geteuid():
                pytest.skip("only root can make a folder of somebody else's")
            os.chown(place, 65534, 65534)
    out, said = told_by(base)
    assert out.startswith("2 [3, 9] ")
    [line] = said.splitlines()
    assert "every start compiles them again" in line
    assert not kept(base)


@pytest.mark.skipif(sys.platform != "linux", reason="privileges are dropped as Linux does it")
def test_a_folder_that_can_only_be_read_is_read(base: Path) -> None:
    for path in [base / "house", *(base / "house").rglob("*")]:
        path.chmod(0o755)
    assert not ran(base / "house")[0].endswith(" 0")
    sealed(base / "house")
    assert told_by(base) == ("2 [3, 9] 0", "")
    assert not list((base / "tmp").iterdir())


def test_a_disk_that_is_full_loses_nothing_but_what_would_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(cache, "places", lambda: iter([tmp_path / "one", tmp_path / "other"]))
    monkeypatch.setattr(most_of, "__module__", "spatterlib.kernels.most")
    cache._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        most: Any = kernel(most_of)
        assert most(3, 4) == 4
        assert most(3.5, 4.0) == 4.0
    assert [record.message for record in caplog.records] == [
        "compiled kernels are kept nowhere, so that every start compiles them again: "
        "set NUMBA_CACHE_DIR to a folder that is yours and stays, and they are compiled once"
    ]


def most_of(one: float, other: float) -> float:
    return max(one, other)


def test_who_is_told_of_frames_is_told_of_kernels_between(tmp_path: Path) -> None:
    heard: list[Progress] = []
    with followed(heard.append, 9) as tell:
        tell(Progress(4, 9, 2, np.zeros(2, DETECTION)))
        fresh: Any = kernel(most_of)
        assert fresh(1, 2) == 2
    assert [(state.done, state.detections, len(state.found), state.preparing) for state in heard] == [
        (4, 2, 2, None),
        (4, 2, 0, (0, 1)),
        (4, 2, 0, (1, 1)),
    ]


def test_who_comes_later_hears_what_is_going_on() -> None:
    late: list[tuple[int, int]] = []
    compile_progress.begin(["one", "two", "three"])
    compile_progress.part_done("one")
    with compile_progress.subscribed(lambda done, of: late.append((done, of))):
        compile_progress.part_done("two")
        compile_progress.end()
        compile_progress.begin(["four"])
        compile_progress.end()
    compile_progress.begin(["five"])
    compile_progress.end()
    assert late == [(1, 3), (2, 3), (3, 3), (3, 4), (4, 4)]


def test_a_callback_that_fails_does_not_end_the_compiling() -> None:
    def fail(done: int, of: int) -> None:
        raise RuntimeError("gone")

    fresh: Any = kernel(most_of)
    with compile_progress.subscribed(fail):
        assert fresh(1, 2) == 2


def test_python_looks_for_garbage_again_when_all_is_compiled() -> None:
    fresh: Any = kernel(most_of)
    collecting: list[bool] = []
    with compile_progress.subscribed(lambda done, of: collecting.append(gc.isenabled())):
        with pytest.raises(numba.TypingError):
            fresh("one", 2)
        fresh(1, 2)
    assert collecting[0] is False
    assert gc.isenabled()
