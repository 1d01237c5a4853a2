"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from recordings import RECORDINGS, real_data

os.environ.setdefault("SPATTERLIB_PLUGINS", "")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")


@pytest.fixture(params=RECORDINGS)
def recording(request: pytest.FixtureRequest) -> Path:
    """Path of each real recording in turn; skips where it is absent."""
    path = real_data() / str(request.param)
    if not path.is_file():
        pytest.skip(f"real recording {request.param} is not here; set SPATTERLIB_REAL_DATA")
    return path


@pytest.fixture(autouse=True)
def one_opencv_thread() -> None:
    """Two cores only: tests run beside each other."""
    import cv2

    cv2.setNumThreads(1)
