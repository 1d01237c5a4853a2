"""Where the real recordings lie, and how long each is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

RECORDINGS = {
    "fireworks_night_1280x720.mp4": 600,
    "pedestrians_768x576.avi": 795,
    "grinder_640x360.mp4": 515,
    "ded_powder_634x474.m4v": 400,
}
"""Real recordings and how many frames each has."""


def real_data() -> Path:
    """Folder of the real recordings; it need not exist."""
    default = Path(__file__).parents[2] / "shared" / "data"
    return Path(os.environ.get("SPATTERLIB_REAL_DATA", default))


def existing(name: str) -> Path:
    """Path of a real recording; skips the test where it is absent."""
    path = real_data() / name
    if not path.is_file():
        pytest.skip(f"real recording {name} is not here; set SPATTERLIB_REAL_DATA")
    return path
