"""The last minute as small pictures, for whoever looks back; an alarm keeps its picture and some seconds around it."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside, writing
from spatterlib.common.image_codec import decode, encode
from spatterlib.errors import SpatterlibError, one_line
from spatterlib.types import Picture

__all__ = ["Kept", "Lookback", "Shot", "ShownBox"]

log = logging.getLogger("spatterlib")

# S between two pictures, of pictures that are kept, before and behind an alarm in its clip.
_EVERY, _SECONDS, _BEFORE, _BEHIND = 0.1, 60.0, 5.0, 3.0
# Px across at most of what is kept; share of a core that encoding may take; s between
# two pictures at most.
_ACROSS, _SHARE, _LONGEST = 960, 0.05, 1.0
_NAME = re.compile(r"spatterlib-\d{8}T\d{6}-\d+\.(jpg|mp4)")
_MARK = b"spatterlib watch"
_READ = 16384


class ShownBox(NamedTuple):
    """A box, as shares of the picture's width and height; the leading class of its crop, and how probable it is."""

    x: float
    y: float
    width: float
    height: float
    label: str
    probability: float


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture of the last minute.

    Parameters
    ----------
    number : int
        Counted from 1.
    time : float
        S, of the stream.
    boxes : sequence of ShownBox
        Of this picture.
    jpeg : bytes
        Encoded, at most 960 px wide; empty: not yet.
    """

    number: int
    time: float
    boxes: Sequence[ShownBox]
    jpeg: bytes = b""


class Kept(NamedTuple):
    """Where the picture and the clip of an alarm are; they are there some seconds behind it."""

    frame: str
    clip: str


class _Order(NamedTuple):
    """What an alarm keeps: its picture, whole, and the shots around its time."""

    kept: Kept
    time: float
    due: float
    picture: Picture | None
    facts: Mapping[str, Any]


class Lookback:
    """Encodes some of the pictures that come, in a thread of its own, and forgets them after a minute.

    Parameters
    ----------
    folder : path, optional
        Where alarms keep their picture and clip.
    room : float
        MB that these may take; the oldest go first.

    Raises
    ------
    StoreError
        If the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, room: float = 500.0) -> None:
        self.folder, self.room, self.problem = None if folder is None else Path(folder).absolute(), room, ""
        if self.folder:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
        self._shots: deque[Shot] = deque()
        self._next: tuple[Shot, Picture] | None = None
        self._newest: Picture | None = None
        self._orders: deque[_Order] = deque()
        self._number, self._shown = 0, -np.inf
        self._ready, self._stop = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="spatterlib-lookback", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str | None:
        """Whether alarms keep their pictures ("ok"), or why not; None without a folder."""
        return (self.problem or "ok") if self.folder else None

    def show(self, picture: Picture, moment: float, boxes: Sequence[ShownBox]) -> None:
        """Take a picture, if it is time for one; never waits."""
        self._newest = picture
        if abs(moment - self._shown) < _EVERY - 1e-3:
            return
        self._shown, self._number = moment, self._number + 1
        with self._ready:
            self._next = Shot(self._number, moment, boxes), picture
            self._ready.notify()

    def shots(self) -> list[Shot]:
        """Of the last minute, oldest first."""
        with self._ready:
            return list(self._shots)

    def shot(self, number: int) -> Shot | None:
        """That of a number, if it is still there."""
        return next((shot for shot in self.shots() if shot.number == number), None)

    def keep(self, event: int, moment: float, facts: Mapping[str, Any]) -> Kept | None:
        """Keep the newest picture, and a clip around it; gives where they will be."""
        if self.folder is None or self.problem:
            return None
        stem = self.folder / f"spatterlib-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{event}"
        kept = Kept(f"{stem}.jpg", f"{stem}.mp4")
        with self._ready:
            self._orders.append(_Order(kept, moment, time.monotonic() + _BEHIND, self._newest, facts))
            self._ready.notify()
        return kept

    def close(self, seconds: float = 5.0) -> None:
        """Write what alarms still keep, and end; waits at most so long."""
        with self._ready:
            self._stop = True
            self._ready.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        rest = 0.0
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._stop, rest)
                if not (self._next or self._stop or self._due()):
                    self._ready.wait(0.5)
                coming, self._next = self._next, None
                orders = [self._orders.popleft() for _ in range(len(self._orders) if self._stop else self._due())]
                ending = self._stop
            began = time.thread_time()
            if coming:
                self._take(*coming)
            rest = min((time.thread_time() - began) / _SHARE, _LONGEST)
            for order in orders:
                self._write(order)
            if ending:
                return

    def _due(self) -> int:
        """How many alarms have waited long enough."""
        return sum(order.due <= time.monotonic() for order in self._orders)

    def _take(self, shot: Shot, picture: Picture) -> None:
        try:
            shot = replace(shot, jpeg=_jpeg(picture, _ACROSS, 80))
        except Exception as error:  # a picture of a decoder that has gone: the next one comes
            log.debug("a picture cannot be shown", exc_info=error)
            return
        with self._ready:
            if self._shots and shot.time < self._shots[-1].time:
                self._shots.clear()
            self._shots.append(shot)
            while shot.time - self._shots[0].time > _SECONDS:
                self._shots.popleft()

    def _write(self, order: _Order) -> None:
        note = json.dumps({"by": _MARK.decode(), **order.facts}, ensure_ascii=True, default=str)
        around = [shot for shot in self.shots() if -_BEFORE <= shot.time - order.time <= _BEHIND]
        try:
            if order.picture is not None:
                with beside(Path(order.kept.frame)) as part:
                    part.write_bytes(_noted(_jpeg(order.picture, 1 << 16, 95), note))
            if len(around) > 1:
                with beside(Path(order.kept.clip)) as part:
                    _write_clip(part, around, note)
            self._make_room(Path(order.kept.frame).parent)
        except (OSError, SpatterlibError, ValueError) as error:
            self.problem = one_line(error)
            log.error("%s: alarms keep no pictures any more, the watch goes on: %s", self.folder, self.problem)

    def _make_room(self, folder: Path) -> None:
        """Remove the oldest of what watches have kept here; nothing else, whatever its name is."""
        own = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and _is_ours(path))
        sizes = [path.stat().st_size for path in own]
        for path, size in zip(own, sizes, strict=True):
            if sum(sizes) <= self.room * 1e6:
                break
            path.unlink(missing_ok=True)
            sizes = sizes[1:]
            log.debug("%s: removed for newer ones, %d bytes", path, size)


def _is_ours(path: Path) -> bool:
    """Whether a watch wrote it: its beginning or its end says so."""
    with path.open("rb") as file:
        start = file.read(_READ)
        file.seek(max(path.stat().st_size - _READ, 0))
        return _MARK in start or _MARK in file.read()


def _jpeg(picture: Picture, across: int, quality: int) -> bytes:
    import cv2

    height, width = picture.shape
    rgb = np.asarray(picture.rgb((0, 0, width, height)))
    if width > across:
        rgb = np.asarray(
            cv2.resize(rgb, (across, max(round(height * across / width), 1)), interpolation=cv2.INTER_AREA)
        )
    return encode(rgb, "jpeg", quality)


def _noted(jpeg: bytes, note: str) -> bytes:
    """The JPEG with a comment (ITU-T T.81, B.2.4.5: marker FFFE and a length that counts its own two bytes)."""
    text = note.encode()[:60_000]
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def _write_clip(path: Path, shots: Sequence[Shot], note: str) -> None:
    """H.264 in MP4, which any browser plays; at the times of the stream."""
    import av

    pictures = [decode(shot.jpeg) for shot in shots]
    size: tuple[int, int] = pictures[-1].shape[:2]
    with av.open(str(path), "w", format="mp4") as out:
        out.metadata["comment"] = note
        options = {"preset": "ultrafast", "crf": "23", "x264-params": "log-level=none"}
        stream: Any = out.add_stream("libx264", rate=round(1 / _EVERY), options=options)
        stream.width, stream.height, stream.pix_fmt = size[1] // 2 * 2, size[0] // 2 * 2, "yuv420p"
        stream.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 1000)
        for shot, picture in zip(shots, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(_fitting(picture, stream.height, stream.width), "rgb24")
            frame.pts, frame.time_base = round(1000 * (shot.time - shots[0].time)), Fraction(1, 1000)
            out.mux(stream.encode(frame))
            time.sleep(0.01)  # frames of the stream come first
        out.mux(stream.encode(None))


def _fitting(picture: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Cut to an even size, where the camera changed it too."""
    if picture.shape[0] >= height and picture.shape[1] >= width:
        return np.ascontiguousarray(picture[:height, :width])
    return np.zeros((height, width, 3), np.uint8)
