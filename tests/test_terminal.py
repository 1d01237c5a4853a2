"""Progress says how fast it goes and how long it will take, from what it has seen."""

from __future__ import annotations

import dataclasses
import io
import re
import time
from typing import Any

import numpy as np
import pytest

from spatterlib.common import progress
from spatterlib.common.progress import Progress
from spatterlib.types import DETECTION


def state(done: int) -> Progress:
    return Progress(done, 1000, done // 10, np.empty(0, DETECTION))


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 50.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)


@pytest.mark.parametrize("resumed", [0, 400])
def test_the_pace_does_not_count_what_came_before_the_first_report(
    monkeypatch: pytest.MonkeyPatch, resumed: int
) -> None:
    """Kernels may be compiled meanwhile, and a run that goes on with a store begins in the middle."""
    clock, out = Clock(monkeypatch), io.StringIO()
    show = progress.lines(out)
    for seconds, done in ((20, 100), (10, 200), (10, 300), (0, 1000)):
        clock.now += seconds
        show(state(min(resumed + done, 1000)))
    assert out.getvalue().splitlines() == [
        f"frame {resumed + 100} of 1000 ({resumed // 10 + 10}%), {resumed // 10 + 10} detections",
        f"frame {resumed + 200} of 1000 ({resumed // 10 + 20}%), {resumed // 10 + 20} detections, "
        f"10 frames/s, {(800 - resumed) // 10 // 60}:{(800 - resumed) // 10 % 60:02d} left",
        f"frame {resumed + 300} of 1000 ({resumed // 10 + 30}%), {resumed // 10 + 30} detections, "
        f"10 frames/s, {(700 - resumed) // 10 // 60}:{(700 - resumed) // 10 % 60:02d} left",
    ]


def test_the_graph_and_the_bar_begin_their_pace_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    drawn, barred = io.StringIO(), io.StringIO()
    graph, bar = progress.graph(drawn), progress.bar(barred)
    clock.now += 60
    graph(state(600))
    bar(state(600))
    assert "frames/s" not in drawn.getvalue()
    clock.now += 2
    graph(state(800))
    assert drawn.getvalue().endswith("80 detections, 80% of 1000 frames, 100 frames/s, 0:02 left")
    for done in (800, 1000):
        bar(state(done))
        clock.now += 2
    assert re.search(r"1000/1000 \[00:0\d<00:00, 100\.00 frames/s", barred.getvalue())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_kernels_that_are_compiled_are_counted_in_place_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    show = progress.kernels()
    for done in (0, 1, 2):
        show(done, 2)
    shown = [f"\r\x1b[2Kpreparing kernels for this machine, once: {done} of 2" for done in (0, 1)]
    assert out.getvalue() == "".join([*shown, "\r\x1b[2K"])


def test_and_by_a_line_every_few_seconds_where_output_is_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, out = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    show = progress.kernels()
    for done in range(5):
        show(done, 4)
        clock.now += 2
    assert out.getvalue().splitlines() == [f"preparing kernels for this machine, once: {n} of 4" for n in (0, 3)]


def test_a_notebook_has_a_bar_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutStream(io.StringIO):
        """As Jupyter's, which is no terminal."""

    OutStream.__module__ = "ipykernel.iostream"
    out = OutStream()
    monkeypatch.setattr("sys.stderr", out)
    progress.progress_callback(None)(state(100))
    assert "10%" in out.getvalue()


@pytest.mark.parametrize("way", [progress.bar, progress.graph, progress.lines])
def test_progress_of_frames_is_left_alone_meanwhile(monkeypatch: pytest.MonkeyPatch, way: Any) -> None:
    clock, out = Clock(monkeypatch), io.StringIO()
    show = way(out)
    before = out.getvalue()
    clock.now += 60
    show(dataclasses.replace(state(0), preparing=(1, 2)))
    assert out.getvalue() == before
