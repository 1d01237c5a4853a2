"""A watch on a terminal: where it stands, drawn anew in place, instead of line after line."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from spatterlib.common.install_hints import missing
from spatterlib.common.origin import marks
from spatterlib.common.standard_streams import shown
from spatterlib.errors import PluginError, UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Dashboard", "dashboard", "is_drawn"]

log = logging.getLogger("spatterlib")

_COLOURS = {"OK": "green", "decided": "green", "critical": "red", "attention": "yellow"}
_SIGNS = {"OK": "✓", "decided": "✓", "critical": "✕", "attention": "!"}
_BARS = " ▁▂▃▄▅▆▇█"


def is_drawn(asked: bool | None) -> bool:
    """Whether to draw it: where stdout is a terminal and Rich is installed, or somebody asks for it.

    Raises
    ------
    UsageError
        If it is asked for and stdout is no terminal.
    PluginError
        If it is asked for and Rich is not installed.
    """
    terminal = sys.stdout.isatty()
    if not asked:
        return asked is None and terminal and find_spec("rich") is not None
    if not terminal:
        raise UsageError("a dashboard is drawn on a terminal; stdout is none, so leave out --dashboard")
    try:
        import rich  # noqa: F401
    except ImportError as error:
        raise PluginError(missing("--dashboard", "rich", "live", error)) from error
    return True


@dataclass
class Dashboard:
    """What the messages of a watch have said, as something that Rich can draw.

    Examples
    --------
    >>> from spatterlib.cli.dashboard import Dashboard
    >>> board = Dashboard()
    >>> board.take({"type": "alarm", "event": 1, "phase": "new", "state": "critical", "reason": "low", "time": 3.0})
    >>> board.alarms[0][1]
    '1 new: critical: low'
    """

    start: Mapping[str, Any] | None = None
    spans: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    shares: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    alarms: deque[tuple[float, str, bool]] = field(default_factory=lambda: deque(maxlen=8))
    open: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    last: Mapping[str, Any] | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        """Remember what a message says."""
        kind = message["type"]
        self.last = message
        if kind == "start":
            self.start = message
        elif kind == "verdict":
            self.spans[message["scope"]] = message
            if message["scope"] == "layer":
                self.layers[message["number"]] = message
                self.layers.pop(message["number"] - 60, None)
            elif message["probability"] is not None:
                self.shares.append(message["probability"])
        elif kind == "alarm":
            text = f"{message['event']} {message['phase']}: {message['state']}: {message['reason']}"
            self.alarms.appendleft((message["time"], text, message["phase"] == "end"))
            self.open[message["event"]] = message
            if message["phase"] == "end":
                del self.open[message["event"]]
        elif kind == "gap":
            text = f"nothing was seen for {message['seconds']:.1f} s: {message['reason']}"
            self.alarms.appendleft((message["time"], text, False))
        elif kind in ("status", "end"):
            self.status = message

    def __rich__(self) -> RenderableType:
        """All of it."""
        from rich.console import Group
        from rich.panel import Panel

        return Group(
            self._head(),
            Panel(self._layers(), title="layers", title_align="left", border_style="dim"),
            Panel(self._alarms(), title="alarms", title_align="left", border_style="dim"),
            Panel(self._facts(), title="the watch", title_align="left", border_style="dim"),
        )

    def _head(self) -> RenderableType:
        from rich.panel import Panel
        from rich.text import Text

        span = self.spans.get("layer") or self.spans.get("window")
        others = [found for found in self.open.values() if found["state"] not in _COLOURS]
        state = others[0]["state"] if others else span["state"] if span else "waiting"
        colour = "yellow" if others else _COLOURS.get(state, "white")
        head = Text(f"{'!' if others else _SIGNS.get(state, '–')} {shown(state)}", style=f"bold {colour}")
        if span and (label := span["label"] or span["leading"]):
            interval = "" if span["low"] is None else f" [{span['low']:.2f}-{span['high']:.2f}]"
            head.append(f"   {shown(label)} {span['probability'] or 0:.2f}{interval}, {span['votes']} votes", "bold")
        reason = others[0]["reason"] if others else span["reason"] if span else "no spatter was seen yet"
        head.append(f"\n{shown(reason)}\n", "default")
        head.append("".join(_BARS[round(8 * share)] for share in self.shares), colour)
        source = shown(self.start["source"]) if self.start else "spatterlib watch"
        mark = (
            marks(self.last["simulated"], self.last["model_origin"]) if self.last and "simulated" in self.last else ""
        )
        return Panel(head, title=Text(f"{source}{mark}"), title_align="left", border_style=colour)

    def _layers(self) -> RenderableType:
        from rich.text import Text

        strip = Text("" if self.layers else "none yet")
        for number, layer in sorted(self.layers.items()):
            sign = _SIGNS.get(layer["state"], "–") + ("" if layer["final"] else "…")
            strip.append(f"{number}{sign} ", _COLOURS.get(layer["state"], "dim"))
        return strip

    def _alarms(self) -> RenderableType:
        from rich.text import Text

        lines = Text("" if self.alarms else "none so far")
        for number, (time, text, over) in enumerate(self.alarms):
            line = f"{int(time) // 3600}:{int(time) // 60 % 60:02d}:{int(time) % 60:02d}  {shown(text)}"
            lines.append(line + ("\n" if number < len(self.alarms) - 1 else ""), "green" if over else "red")
        return lines

    def _facts(self) -> RenderableType:
        from rich.text import Text

        if not self.status:
            return Text("no frame yet")
        found = self.status
        late = [found["latency_p50"], found["latency_p99"]]
        facts = [
            f"{found['decoded']} of {found['received']} frames",
            f"{found['dropped']} dropped",
            f"{found['undecoded']} not decoded",
            "no verdict yet" if None in late else f"verdict after {1e3 * late[0]:.0f} ms, 99 % {1e3 * late[1]:.0f} ms",
            f"{found['gaps']} gaps, {found['gap_seconds']:.1f} s",
            f"{found['undelivered']} not handed over",
            "pictures come" if found["connected"] else "no pictures",
        ]
        facts += [f"{name}: {found[name]}" for name in ("store", "charts", "clips") if found.get(name)]
        return Text(" · ".join(facts))


@contextmanager
def dashboard(console: Console | None = None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Draw a watch on the terminal until it ends; gives what takes its messages.

    What is logged meanwhile stands above it.
    """
    from rich.console import Console as RichConsole
    from rich.live import Live

    board = Dashboard()
    screen = console or RichConsole()
    with Live(board, console=screen, refresh_per_second=4, vertical_overflow="ellipsis"):
        # Who logs holds the stream that was stderr when it began.
        moved = [
            (handler, stream)
            for handler in log.handlers
            if isinstance(handler, logging.StreamHandler) and (stream := handler.setStream(sys.stderr)) is not None
        ]
        try:
            yield board.take
        finally:
            for handler, stream in moved:
                handler.setStream(stream)
