"""A camera on the network, as far as a watch can tell: H.264 in MPEG-TS over TCP, paced in real time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av


def transport_stream(path: Path, frames: int, fps: int = 60, gop: int = 30) -> list[bytes]:
    """Frames of a recording as an encoder of a camera sends them: the bytes of each frame, no frame held back."""
    parts: list[bytes] = []
    into = _Bytes()
    with av.open(into, "w", format="mpegts", options={"flush_packets": "1"}) as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(gop), "x264-params": "log-level=none"}
        stream: Any = out.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *_size(path), "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, fps)
        for number, frame in enumerate(_frames(path, frames)):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, fps), 0
            out.mux(stream.encode(frame))
            parts.append(into.taken())
        out.mux(stream.encode(None))
    parts[-1] += into.taken()
    return parts


def _size(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        return stream.codec_context.width, stream.codec_context.height


def _frames(path: Path, count: int) -> Iterable[Any]:
    """So many frames, from the beginning again where the recording is shorter."""
    done = 0
    while done < count:
        with av.open(str(path)) as source:
            for frame in source.decode(video=0):
                yield frame
                done += 1
                if done == count:
                    return


class _Bytes:
    """What was written since it was last asked."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> int:
        self.data += bytes(data)
        return len(data)

    def taken(self) -> bytes:
        data, self.data = self.data, b""
        return data


class Camera:
    """Sends a stream to whoever connects, one at a time, in real time; may cut it and take it up again.

    Parameters
    ----------
    parts : sequence of bytes
        Of each frame.
    fps : float
        How many are sent a second.
    cuts : sequence of int
        Frames before which it hangs up; it begins with that frame when somebody connects again.
    away : float
        S that nobody can connect after a cut.
    """

    def __init__(self, parts: Sequence[bytes], fps: float = 60, cuts: Sequence[int] = (), away: float = 0.0) -> None:
        self.parts, self.fps, self.cuts, self.away = parts, fps, list(cuts), away
        self.sent = 0
        self.sent_at: list[float] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join(10)

    def _run(self) -> None:
        for stop in [*self.cuts, len(self.parts)]:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self._send(connection, stop)
                except OSError:
                    return
            if stop < len(self.parts):
                self._rest()
        self._server.close()

    def _send(self, connection: socket.socket, stop: int) -> None:
        began, first = time.monotonic(), self.sent
        while self.sent < stop:
            due = began + (self.sent - first) / self.fps
            time.sleep(max(due - time.monotonic(), 0))
            self.sent_at.append(time.monotonic())
            connection.sendall(self.parts[self.sent])
            self.sent += 1

    def _rest(self) -> None:
        """Nobody answers for a while, as where a camera starts anew."""
        self._server.close()
        time.sleep(self.away)
        self._server = socket.create_server(("127.0.0.1", self.port))
