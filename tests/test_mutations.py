"""Whatever a file holds, using it gives a result or an error in one line: no crash, no hang, no memory without end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="limits of POSIX")
pytest.importorskip("onnxruntime", reason="exported models are among the inputs")
pytest.importorskip("onnx", reason="exported models are among the inputs")

QUICK, ALL, RETYPED, END = 48, 2000, 2012, 2400


def results(folder: Path, first: int, stop: int) -> Iterator[dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).with_name("mutating.py")), str(folder), str(first), str(stop)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "NUMBA_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        yield from map(json.loads, process.stdout)
    assert process.returncode == 0


def check(folder: Path, first: int, stop: int) -> None:
    found = list(results(folder, first, stop))
    assert [result["case"] for result in found] == list(range(first, stop))
    bad = [result for result in found if result["code"] not in (0, 1)]
    assert not bad, "\n".join(f"case {result['case']}, {result['damage']}: {result['said'][-600:]}" for result in bad)
    assert {result["code"] for result in found} == {0, 1}, "no damage did anything"


@pytest.mark.slow
def test_sixty_mutated_inputs(tmp_path: Path) -> None:
    check(tmp_path, 0, QUICK)
    check(tmp_path / "retyped", ALL, RETYPED)


@pytest.mark.torture
def test_two_thousand_mutated_inputs(tmp_path: Path) -> None:
    check(tmp_path, QUICK, ALL)


@pytest.mark.torture
def test_values_of_the_wrong_kind(tmp_path: Path) -> None:
    check(tmp_path, RETYPED, END)
