"""How progress shows: a bar or a running graph on a terminal, plain lines where output is piped."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, TextIO

from spatterlib.common.run_log import periodic_progress
from spatterlib.common.wording import counted
from spatterlib.kernels.compile_progress import subscribe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Progress", "bar", "columns", "graph", "lines", "notifier", "progress_callback", "report_kernels"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 40


@dataclass(frozen=True)
class Progress:
    """How far an extraction is.

    Parameters
    ----------
    done, expected : int
        Frames looked at, and to look at.
    detections : int
        Rows so far.
    found : ndarray
        ``(n,)`` `DETECTION`, the rows that came since the last call.
    preparing : tuple of int, optional
        While kernels are compiled, once a machine: how many are, of how many; None otherwise. Such calls come from any
        thread, one at a time with the others, with nothing in `found`.
    """

    done: int
    expected: int
    detections: int
    found: NDArray[np.void] = field(repr=False)
    preparing: tuple[int, int] | None = None


def notifier(*, live: bool = False, stream: TextIO | None = None) -> Callable[[Progress], None]:
    """What suits the stream (stderr by default): graph if `live`, else bar; lines if it is no terminal."""
    stream = stream or sys.stderr
    show = (graph(stream) if live else bar(stream)) if _redraws(stream) else lines(stream)
    keep = periodic_progress("frames")

    def tell(state: Progress) -> None:
        show(state)
        keep(state.done, state.expected, detections=state.detections)

    return tell


def progress_callback(progress: bool | Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    """Whom a function tells how far it is: a callable itself; True is a bar, None a bar on a terminal only."""
    if callable(progress):
        return progress
    if not progress and (progress is False or not _redraws(sys.stderr)):
        return lambda _: None
    report_kernels()
    return notifier()


def _redraws(stream: TextIO) -> bool:
    """Whether a line can be written over: on a terminal, and under a cell of a notebook."""
    return stream.isatty() or type(stream).__module__.startswith("ipykernel")


@cache
def report_kernels() -> None:
    """From now on say on stderr while kernels are compiled, which happens once a machine; otherwise nothing is said."""
    subscribe(kernels())


def kernels(every: float = 5.0) -> Callable[[int, int], None]:
    """How many kernels are compiled: in place on a terminal, else a line every few seconds (`every`, s)."""
    reported = float("-inf")

    def show(done: int, of: int) -> None:
        nonlocal reported
        stream, now = sys.stderr, time.monotonic()
        text = f"preparing kernels for this machine, once: {done} of {of}"
        if _redraws(stream):
            stream.write(f"\r\x1b[2K{text}" if done < of else "\r\x1b[2K")
        elif now - reported >= every and done < of:
            reported = now
            stream.write(f"{text}\n")
        stream.flush()

    return show


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[list[str]]:
    """The header and rows with each cell as wide as its column, flush right but in the columns `left`."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        [word.ljust(width) if place in left else word.rjust(width) for place, (word, width) in enumerate(cells)]
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    ]


def bar(stream: TextIO) -> Callable[[Progress], None]:
    """Progress bar with frames per second and time left."""
    from tqdm import tqdm

    shown = tqdm(unit=" frames", smoothing=0.1, dynamic_ncols=True, file=stream)

    def show(state: Progress) -> None:
        if state.preparing:
            return
        if shown.total is None:
            # As in `_pace`.
            shown.reset(state.expected)
            shown.n = shown.initial = shown.last_print_n = state.done
        shown.set_postfix_str(counted(state.detections, "detection"), refresh=False)
        shown.update(state.done - shown.n)
        if state.done >= state.expected:
            shown.close()

    return show


def lines(stream: TextIO, every: float = 5.0) -> Callable[[Progress], None]:
    """A plain line every few seconds (`every`, s); the end is left to the caller's own last line."""
    progress_callback, pace = time.monotonic(), _pace()

    def show(state: Progress) -> None:
        nonlocal progress_callback
        if state.preparing:
            return
        now, going = time.monotonic(), pace(state)
        if now - progress_callback < every or state.done >= state.expected:
            return
        progress_callback = now
        share = state.done / max(state.expected, 1)
        found = f"{counted(state.detections, 'detection')}{going}"
        print(f"frame {state.done} of {state.expected} ({share:.0%}), {found}", file=stream, flush=True)

    return show


def graph(stream: TextIO) -> Callable[[Progress], None]:
    """Running count in the terminal: detections of the latest clips as columns, and their total."""
    latest: deque[int] = deque(maxlen=_WIDTH)
    pace = _pace()

    def show(state: Progress) -> None:
        if state.preparing:
            return
        ended = state.done >= state.expected
        if not ended or len(state.found):
            latest.append(len(state.found))
        top = max(latest, default=0) or 1
        columns = "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // top)] for count in latest)
        share = f"{state.done / max(state.expected, 1):.0%} of {counted(state.expected, 'frame')}"
        text = f"{columns:>{_WIDTH}} {counted(state.detections, 'detection')}, {share}{pace(state)}"
        stream.write(f"\r\x1b[2K{text}" + ("\n" if ended else ""))
        stream.flush()

    return show


def _pace() -> Callable[[Progress], str]:
    """Frames per second and time left since the first report: until then kernels were compiled, or a run resumed."""
    first: list[tuple[int, float]] = []

    def said(state: Progress) -> str:
        now = time.monotonic()
        if not first:
            first.append((state.done, now))
        frames, seconds = state.done - first[0][0], now - first[0][1]
        if not frames or not seconds:
            return ""
        left = int((state.expected - state.done) * seconds / frames)
        return f", {frames / seconds:.0f} frames/s, {left // 60}:{left % 60:02d} left"

    return said
