"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

# One browser and one server a process: Playwright refuses a second loop beside its own.
from demo_browser import chromium as chromium
from demo_browser import page as page
from demo_browser import server as server
from recordings import RECORDINGS, existing
from store_tools import KINDS

os.environ.setdefault("SPATTERLIB_PLUGINS", "")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
# What a shell starts in the background ignores Ctrl-C, and hands that down to the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """What tests share and what killed processes leave behind lies in one folder, removed with the run."""
    if hasattr(config, "workerinput"):
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    scratch = tempfile.mkdtemp(prefix="spatterlib-tests-")
    tempfile.tempdir = os.environ["TMPDIR"] = scratch
    config.add_cleanup(lambda: shutil.rmtree(scratch, ignore_errors=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged of a name that is not UTF-8 can be sent to the process that collects reports."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(params=RECORDINGS)
def recording(request: pytest.FixtureRequest) -> Path:
    """Path of each real recording in turn; skips where it is absent."""
    return existing(str(request.param))


@pytest.fixture(autouse=True)
def one_opencv_thread() -> None:
    """Two cores only: tests run beside each other."""
    import cv2

    cv2.setNumThreads(1)


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a store of each kind may be made."""
    return tmp_path / f"store{request.param}"


@pytest.fixture(params=KINDS)
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the result of an extraction may go, in each kind of store."""
    return tmp_path / f"result{request.param}"


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut is not tested here; kills are, and the processes that are killed do wait."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
