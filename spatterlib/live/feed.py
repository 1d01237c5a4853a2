"""A thread that reads a source into a bounded queue, connects again where it breaks, and counts what it must drop."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from spatterlib.errors import ParameterError, PluginError
from spatterlib.live.clock import Clock, tick
from spatterlib.live.source import OpenedSource, SourceFrame, StreamFacts, reason_of
from spatterlib.types import Picture

__all__ = ["STOPPED", "Feed", "FrameCounts", "StreamFrame", "StreamItem", "StreamLost", "StreamOpened", "consecutive"]

log = logging.getLogger("spatterlib")

# What waiting frames may take at most, and how many there may be at least and at most.
_BYTES, _FEWEST, _MOST = 128 << 20, 16, 240
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# S within which a source that nothing is wrong with is opened, and has its next picture.
_PATIENCE = 5.0
STOPPED = "stopped"


@dataclass(frozen=True, eq=False)
class StreamFrame:
    """A frame that came.

    Parameters
    ----------
    number : int
        Counted from 0; frames that were dropped have numbers too.
    time : float
        S, of the stream, always increasing.
    arrived : float
        S, when its packet came, monotonic clock.
    picture : Picture or None
        None: it did not decode.
    joins : bool
        Whether it follows the frame before directly, and has its size.
    """

    number: int
    time: float
    arrived: float
    picture: Picture | None
    joins: bool


@dataclass(frozen=True)
class StreamOpened:
    """The source was connected; whether pictures come is another matter.

    Parameters
    ----------
    facts : StreamFacts
        What it says of itself.
    """

    facts: StreamFacts


@dataclass(frozen=True)
class StreamLost:
    """The stream broke, or cannot be connected.

    Parameters
    ----------
    time : float
        S, of the last frame before.
    reason : str
        In words.
    arrived : float
        S, when that frame was here at the latest, monotonic clock.
    pause : float
        S until it is tried again: the longer, the less it is to be trusted when it is back.
    """

    time: float
    reason: str
    arrived: float
    pause: float = 0.0


StreamItem: TypeAlias = StreamFrame | StreamOpened | StreamLost
"""What a feed gives."""


def consecutive(items: Sequence[StreamItem]) -> Iterator[StreamOpened | StreamLost | list[StreamFrame]]:
    """Frames that follow each other, and what happens to the stream between them."""
    number = 0
    numbered: list[tuple[int, StreamItem]] = []
    for item in items:
        if not isinstance(item, StreamFrame) or not item.joins or item.picture is None:
            number += 1
        numbered.append((number, item))
    for _, group in groupby(numbered, key=lambda pair: pair[0]):
        part = [item for _, item in group]
        yield from [item for item in part if not isinstance(item, StreamFrame)]
        frames = [item for item in part if isinstance(item, StreamFrame)]
        if frames:
            yield frames


@dataclass
class FrameCounts:
    """What a feed has seen: frames that came, of these that did not decode, and were dropped; connections.

    `jumps`: how often time stamps jumped while it was connected, and this machine's clock was taken instead.
    `connected`: whether pictures come, and nothing is wrong with the source.
    """

    received: int = 0
    undecoded: int = 0
    dropped: int = 0
    jumps: int = 0
    connections: int = 0
    connected: bool = False


class Feed:
    """Frames of a source, in order.

    Parameters
    ----------
    connect : callable
        Opens the source; also again where it breaks.
    again : bool
        Whether it is connected again. If not, its end is the end, and what is wrong when it is opened is a failure.
    clock : Clock
        Where its time begins.
    give_up : float
        S without a picture after which it ends.
    pause : float
        S, the first pause before a connection is tried again; each next is twice as long, up to 30 s, until pictures
        have come for 30 s: a stream that comes and goes does not begin at the first pause each time.
    """

    def __init__(
        self,
        connect: Callable[[], OpenedSource],
        *,
        again: bool,
        clock: Clock,
        give_up: float = float("inf"),
        pause: float = _FIRST_PAUSE,
    ) -> None:
        self._connect, self._again, self._clock = connect, again, clock
        self._give_up, self._first_pause, self._pause = give_up, pause, pause
        self.counts = FrameCounts()
        self._queue: deque[StreamItem] = deque()
        self._ready = threading.Condition()
        self._stop = threading.Event()
        self._ended, self._gave_up, self._reason = False, False, ""
        self._failure: Exception | None = None
        self._live, self._dropping = again, False
        # S, monotonic: when it began, of the last picture, and of the first since it was lost (None: none yet).
        self._began = self._last_picture = time.monotonic()
        self._back: float | None = None
        self._fault = ""
        # Time and arrival of the last frames of this connection.
        self._newest: deque[tuple[float, float]] = deque(maxlen=_FEWEST)
        # Of the frame before; None where the next one has no neighbour.
        self._shape: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name="spatterlib-feed", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many frames wait."""
        return len(self._queue)

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._ended and not self._queue

    @property
    def live(self) -> bool:
        """Whether the source goes on when nobody reads."""
        return self._live

    @property
    def reason(self) -> str:
        """Why it ended, in words."""
        return self._reason

    @property
    def failure(self) -> Exception | None:
        """What went wrong in here, not with the source; None as a rule."""
        return self._failure

    def take(self, most: int, seconds: float) -> list[StreamItem]:
        """What has come, oldest first: at most so many, after waiting at most so many seconds for the first."""
        if self._too_long() and not self._ended:
            # Here, not where it is read: whatever reading hangs in, somebody takes.
            why = self._fault or "nothing comes"
            self._lose(why)
            self._reason = f"gave up after {self._give_up:g} s without a picture: {why}"
            self._gave_up = True
            self._end()
        with self._ready:
            if not self._queue and not self._ended:
                self._ready.wait(seconds)
            items = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._ready.notify_all()
        return items

    def stop(self, seconds: float = 2.0) -> None:
        """Read no further; what was read can still be taken."""
        self._end()
        # A read that hangs in the network ends with its own time-out: nobody need wait for it.
        self._thread.join(seconds)

    def stopped(self) -> bool:
        """Whether it was told to stop, or gave up."""
        return self._stop.is_set()

    @property
    def gave_up(self) -> bool:
        """Whether no picture came for too long."""
        return self._gave_up

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._failure = error
        finally:
            self._end()

    def _end(self) -> None:
        self._stop.set()
        with self._ready:
            self._ended = True
            self._ready.notify_all()

    def _read(self) -> None:
        while not self._stop.is_set():
            fault, over = self._read_once()
            if self._stop.is_set():
                return
            if over:
                self.counts.connected, self._reason = not fault, f"broke off: {fault}" if fault else "end of the file"
                return
            self._lose(fault or "the stream ended")
            self._stop.wait(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _read_once(self) -> tuple[str, bool]:
        """Connect, and read all that comes; what broke it off, in words, and whether that is the end.

        Sources are files, cameras, networks, drivers: whatever one of them raises is its own fault, and no reason to
        stop watching.
        """
        try:
            opened = self._connect()
        except (ParameterError, PluginError):
            raise
        except Exception as error:
            if not self._again:
                raise
            log.debug("no connection", exc_info=error)
            return reason_of(error), False
        self.counts.connections += 1
        self._live = opened.live and self._again
        self._put(StreamOpened(opened.facts))
        fresh = True
        try:
            while not self._stop.is_set():
                try:
                    frame = next(opened.frames, None)
                except Exception as error:
                    log.debug("the source broke", exc_info=error)
                    return reason_of(error), not self._live
                if frame is None:
                    break
                self._receive(frame, fresh=fresh)
                fresh = False
        finally:
            opened.close()
            # PyAV keeps a frame of each connection in a cycle: rare collections would let them pile up.
            gc.collect()
        return "", opened.whole or not self._live

    def _lose(self, reason: str) -> None:
        if self._clock.last is None:
            # What comes at last has the time that has passed until then.
            self._clock = replace(self._clock, last=0.0, arrived=self._began)
        elif self._newest:
            # What a parser held back comes when the connection ends: late, so that is not when it was sent.
            earliest = min(arrived - moment for moment, arrived in self._newest)
            self._clock = replace(self._clock, arrived=earliest + self._newest[-1][0])
            self._newest.clear()
        self.counts.connected, self._fault, self._back, self._shape = False, reason, None, None
        self._put(StreamLost(self._clock.last or 0.0, reason, self._clock.arrived, self._pause))

    def _too_long(self) -> bool:
        """Whether no picture came for so long that it ends; a picture may take a moment where nothing is wrong yet."""
        limit = self._give_up if self._fault else max(self._give_up, _PATIENCE)
        return self._again and time.monotonic() - self._last_picture >= limit

    def _see(self) -> None:
        """Note that a picture came."""
        self._last_picture, self._fault, self.counts.connected = time.monotonic(), "", True
        self._back = self._last_picture if self._back is None else self._back
        if self._last_picture - self._back >= _LONGEST_PAUSE:
            self._pause = self._first_pause

    def _receive(self, frame: SourceFrame, *, fresh: bool) -> None:
        stamp, arrived, picture = frame
        before = self._clock
        self._clock, time_ = tick(before, stamp, arrived, fresh=fresh)
        if not fresh and self._clock.offset != before.offset:
            self.counts.jumps += 1
            log.debug("time stamps jump to %s s behind %.3f s", stamp, before.last or 0.0)
        self._newest.append((time_, arrived))
        number = self.counts.received
        self.counts.received += 1
        if picture is not None:
            self._see()
        if picture is None:
            self.counts.undecoded += 1
        elif self._live and self._full(picture):
            self.counts.dropped += 1
        if self._live and (self._dropping if picture is not None else self.waiting >= _MOST):
            self._shape = None
            return
        shape = None if picture is None else picture.shape
        joins = not fresh and shape is not None and shape == self._shape
        self._put(StreamFrame(number, time_, arrived, picture, joins))
        self._shape = shape

    def _full(self, picture: Picture) -> bool:
        """Whether to drop: until half the queue is free again, so that the frames that stay have neighbours."""
        capacity = self._capacity(picture)
        self._dropping = self.waiting >= (capacity // 2 if self._dropping else capacity)
        return self._dropping

    def _capacity(self, picture: Picture) -> int:
        height, width = picture.shape
        return min(max(_BYTES // max(3 * height * width, 1), _FEWEST), _MOST)

    def _put(self, item: StreamItem) -> None:
        with self._ready:
            while not self._live and len(self._queue) >= _FEWEST and not self._stop.is_set():
                self._ready.wait(0.5)
            self._queue.append(item)
            self._ready.notify_all()
