"""From the start of a process to its first detection, once the kernels have been compiled by an earlier one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

FIRST = """
import sys
import spatterlib as sp
print(next(len(found) for clip, found in sp.detect(sys.argv[1]) if len(found)))
"""
IMPORTS = "import av, cv2, numba, numpy; print(1)"
WAYS = {"ours, compiled before": FIRST, "imports alone": IMPORTS}


@pytest.mark.parametrize("way", WAYS)
def test_first_detection(
    benchmark: BenchmarkFixture, simulated: Any, measuring: bool, tmp_path: Path, way: str
) -> None:
    """A measured run compiles into a cache of its own first; a plain one uses what is there."""
    video = simulated("low", "640x360", 30)
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)} if measuring else {}

    def run() -> int:
        command = [sys.executable, "-c", WAYS[way], str(video)]
        return int(subprocess.run(command, env=os.environ | cache, capture_output=True, check=True).stdout)

    benchmark.group = "start of a process to its first detection"
    benchmark.extra_info.update(way=way, frames=1)
    assert benchmark.pedantic(run, rounds=5 if measuring else 1, warmup_rounds=1 if measuring else 0) > 0
