"""A thread that reads a source into a bounded queue, connects again where it breaks, and counts what it must drop."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from spatterlib.live.clock import Clock, tick
from spatterlib.live.source import OpenedSource, SourceFrame, reason_of
from spatterlib.types import Picture

__all__ = ["Feed", "FrameCounts", "StreamFrame", "StreamLost", "consecutive"]

log = logging.getLogger("spatterlib")

# What waiting frames may take at most, and how many there may be at least and at most.
_BYTES, _FEWEST, _MOST = 128 << 20, 16, 240
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
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
class StreamLost:
    """The stream broke.

    Parameters
    ----------
    time : float
        S, of the last frame before.
    reason : str
        In words.
    """

    time: float
    reason: str


def consecutive(items: Sequence[StreamFrame | StreamLost]) -> Iterator[StreamLost | list[StreamFrame]]:
    """Frames that follow each other, and breaks between them."""
    number = 0
    numbered: list[tuple[int, StreamFrame | StreamLost]] = []
    for item in items:
        if isinstance(item, StreamLost) or not item.joins or item.picture is None:
            number += 1
        numbered.append((number, item))
    for _, group in groupby(numbered, key=lambda pair: pair[0]):
        part = [item for _, item in group]
        yield from [item for item in part if isinstance(item, StreamLost)]
        frames = [item for item in part if isinstance(item, StreamFrame)]
        if frames:
            yield frames


@dataclass
class FrameCounts:
    """What a feed has seen: frames that came, of these that did not decode, and were dropped; connections.

    `connected`: whether the source is there, and nothing is wrong with it.
    """

    received: int = 0
    undecoded: int = 0
    dropped: int = 0
    connections: int = 1
    connected: bool = True


class Feed:
    """Frames of a source, in order.

    Parameters
    ----------
    opened : OpenedSource
        The source, open already, so that what is wrong with it is said at once.
    connect : callable or None
        Opens it again where it breaks; None: its end is the end.
    live : bool
        Whether the source goes on when nobody reads: frames are dropped then when the queue is full. A file waits.
    clock : Clock
        Where its time begins.
    give_up : float
        S without a picture after which it ends, unless a connection is there.
    pause : float
        S, the first pause before a connection is tried again; each next is twice as long, up to 30 s, until a picture
        comes.
    """

    def __init__(
        self,
        opened: OpenedSource,
        connect: Callable[[], OpenedSource] | None,
        *,
        live: bool,
        clock: Clock,
        give_up: float = float("inf"),
        pause: float = _FIRST_PAUSE,
    ) -> None:
        self._opened, self._connect, self._live, self._clock = opened, connect, live, clock
        self._give_up, self._first_pause, self._pause = give_up, pause, pause
        self.counts = FrameCounts()
        self._queue: deque[StreamFrame | StreamLost] = deque()
        self._ready = threading.Condition()
        self._stop = threading.Event()
        self._ended, self._reason = False, ""
        self._failure: Exception | None = None
        self._last_picture = time.monotonic()
        self._dropping = False
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
    def reason(self) -> str:
        """Why it ended, in words."""
        return self._reason

    @property
    def failure(self) -> Exception | None:
        """What went wrong in here, not with the source; None as a rule."""
        return self._failure

    def take(self, most: int, seconds: float) -> list[StreamFrame | StreamLost]:
        """What has come, oldest first: at most so many, after waiting at most so many seconds for the first."""
        with self._ready:
            if not self._queue and not self._ended:
                self._ready.wait(seconds)
            items = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._ready.notify_all()
        return items

    def stop(self, seconds: float = 2.0) -> None:
        """Read no further; what was read can still be taken."""
        self._stop.set()
        with self._ready:
            self._ready.notify_all()
        # A read that hangs in the network ends with its own time-out: nobody need wait for it.
        self._thread.join(seconds)
        self._ended = True

    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._failure = error
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify_all()

    def _read(self) -> None:
        opened: OpenedSource | None = self._opened
        while opened is not None:
            before = self._last_picture
            try:
                fault = self._read_all(opened)
            finally:
                opened.close()
            if self._connect is None or self._stop.is_set():
                self.counts.connected = not fault
                self._reason = fault or (STOPPED if self._stop.is_set() else "end of the file")
                return
            self.counts.connected = False
            self._reason = fault or "the stream ended"
            self._put(StreamLost(self._clock.last or 0.0, self._reason))
            no_picture = before == self._last_picture
            opened = None if no_picture and self._too_long() else self._reconnect(self._connect)

    def _read_all(self, opened: OpenedSource) -> str:
        """Read all that comes; what broke it off, in words.

        Sources are files, cameras, networks, drivers: whatever one of them raises is its own fault, and no reason to
        stop watching.
        """
        fresh = True
        while not self._stop.is_set():
            try:
                frame = next(opened.frames, None)
            except Exception as error:
                log.debug("the source broke", exc_info=error)
                return reason_of(error)
            if frame is None:
                return ""
            self._receive(frame, fresh=fresh)
            fresh = False
        return ""

    def _reconnect(self, connect: Callable[[], OpenedSource]) -> OpenedSource | None:
        """Connect again, with pauses that grow."""
        while not self._stop.wait(self._pause):
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            try:
                opened = connect()
            except Exception as error:
                log.debug("no connection", exc_info=error)
                self._reason = reason_of(error)
                if self._too_long():
                    return None
                continue
            self.counts.connections += 1
            self.counts.connected = True
            return opened
        return None

    def _too_long(self) -> bool:
        return time.monotonic() - self._last_picture >= self._give_up

    def _receive(self, frame: SourceFrame, *, fresh: bool) -> None:
        stamp, arrived, picture = frame
        self._clock, time_ = tick(self._clock, stamp, arrived, fresh=fresh and self.counts.received > 0)
        number = self.counts.received
        self.counts.received += 1
        if picture is not None:
            self._last_picture, self._pause = time.monotonic(), self._first_pause
        if picture is None:
            self.counts.undecoded += 1
        elif self._live and self._full(picture):
            self.counts.dropped += 1
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

    def _put(self, item: StreamFrame | StreamLost) -> None:
        with self._ready:
            while not self._live and len(self._queue) >= _FEWEST and not self._stop.is_set():
                self._ready.wait(0.5)
            self._queue.append(item)
            self._ready.notify_all()
