"""Cameras, streams and files that grow: opened, and read frame by frame."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from spatterlib.errors import MissingFileError, ParameterError, VideoError
from spatterlib.ffmpeg import open_input
from spatterlib.threads import quiet_opencv
from spatterlib.types import Image, Picture, RgbPicture

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["Kind", "Opened", "Seen", "kind_of", "open_source", "redacted"]

Kind: TypeAlias = Literal["camera", "url", "file"]
Seen: TypeAlias = tuple[float | None, float, Picture | None]
"""Time stamp of a frame (s, None without), when it came (s, monotonic clock), the frame (None: does not decode)."""

SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtp", "srt", "rtmp", "rtmps")
# FFmpeg looks at so many microseconds and bytes, at most, before it says what a stream holds, and at no frames to learn
# how many come in a second: those would all come late.
_LOOK = {"analyzeduration": "1000000", "probesize": "1000000", "fpsprobesize": "0"}
_TURN = 0.02


@dataclass(frozen=True, eq=False)
class Opened:
    """A source that is open.

    Parameters
    ----------
    frames : iterator
        `Seen`, one after the other; ends with the stream, raises `OSError` where it breaks.
    facts : dict
        JSON-able: format, codec, size as far as known, the container's comment.
    close : callable
        Lets go of it.
    """

    frames: Iterator[Seen]
    facts: dict[str, Any]
    close: Callable[[], None] = field(repr=False)


def kind_of(source: str) -> Kind:
    """What a source is: a number is a camera, what has ``://`` a URL, all else a file.

    Raises
    ------
    ParameterError
        If nobody knows the URL's protocol.

    Examples
    --------
    >>> from spatterlib.live.source import kind_of
    >>> kind_of("0"), kind_of("rtsp://10.0.0.7/live"), kind_of("build.mkv")
    ('camera', 'url', 'file')
    """
    if re.fullmatch(r"\d+", source):
        return "camera"
    scheme, found, _ = source.partition("://")
    if not found or scheme == "file":
        return "file"
    if scheme.lower() not in SCHEMES:
        raise ParameterError(
            f"a source is a camera number, a file, or a URL of {', '.join(SCHEMES)}; got {redacted(source)!r}"
        )
    return "url"


def redacted(source: str) -> str:
    """The source without its password, as it may be shown and kept.

    Examples
    --------
    >>> from spatterlib.live.source import redacted
    >>> redacted("rtsp://admin:secret@10.0.0.7/live")
    'rtsp://admin:***@10.0.0.7/live'
    """
    if "://" not in source:
        return source
    parts = urlsplit(source)
    name, found, host = parts.netloc.rpartition("@")
    if not found:
        return source
    shown = name.partition(":")[0] + (":***" if ":" in name else "")
    return urlunsplit(parts._replace(netloc=f"{shown}@{host}"))


def open_source(
    source: str, *, timeout: float = 10.0, idle: float = 10.0, stopped: Callable[[], bool] = lambda: False
) -> Opened:
    """Open a camera, a URL, or a file that another program still writes.

    Parameters
    ----------
    source : str
        See `kind_of`.
    timeout : float
        S without data after which a stream counts as broken.
    idle : float
        S without growth after which a file counts as whole.
    stopped : callable
        Asked while a file is waited for: whether to give up.

    Raises
    ------
    MissingFileError
        If there is no such file.
    VideoError
        If there is no such camera, the connection fails, or what comes is no video.
    """
    kind = kind_of(source)
    if kind == "camera":
        return _open_camera(int(source))
    if kind == "url":
        return _open_url(source, timeout)
    return _open_file(source.removeprefix("file://"), idle, stopped)


def _open_camera(number: int) -> Opened:
    import cv2

    with quiet_opencv():
        capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise VideoError(
            f"there is no camera {number} that can be opened; is it plugged in, and in use by nobody else?"
        )
    facts = {"format": f"camera {capture.getBackendName()}"}
    return Opened(camera_frames(capture), facts, capture.release)


def camera_frames(capture: Any) -> Iterator[Seen]:
    """Frames of an opened ``cv2.VideoCapture``: no time stamps, they have the time at which they come."""
    import cv2

    while True:
        done, frame = capture.read()
        if not done:
            raise VideoError("the camera gives no more frames")
        rgb: Image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if frame.ndim == 3 else frame
        yield None, time.monotonic(), RgbPicture(rgb)


def _open_url(url: str, timeout: float) -> Opened:
    options = dict(_LOOK)
    if url.lower().startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    return _open_container(url, redacted(url), options=options, timeout=(timeout, timeout))


def _open_file(path: str, idle: float, stopped: Callable[[], bool]) -> Opened:
    if not Path(path).exists():
        raise MissingFileError(f"no video at {path}; a source is a camera number, a URL, or a file that grows")
    if not Path(path).is_file():
        raise VideoError(f"{path} is no file; a source is a camera number, a URL, or a file that grows")
    if _is_mp4(path):
        # It has its index at the end, so nobody can follow it; one that is closed is read as it is.
        return _open_container(f"file:{path}", path)
    file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - open as long as the source
    try:
        opened = _open_container(Growing(file, idle, stopped), path)
    except BaseException:
        file.close()
        raise

    def close() -> None:
        opened.close()
        file.close()

    return Opened(opened.frames, opened.facts, close)


class Growing:
    """A file that is read to its end, and on, while somebody appends to it.

    Parameters
    ----------
    file : binary file
        Opened without a buffer.
    idle : float
        S; it ends where nothing has come for so long.
    stopped : callable
        It also ends when this says so.

    Notes
    -----
    It cannot be sought in: FFmpeg would look for the end of a file that has none yet.
    """

    def __init__(self, file: IO[bytes] | Any, idle: float, stopped: Callable[[], bool] = lambda: False) -> None:
        self.file, self.idle, self.stopped = file, idle, stopped
        self.name = str(getattr(file, "name", ""))

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none only at the end."""
        until = time.monotonic() + self.idle
        while True:
            data = bytes(self.file.read(size) or b"")
            if data or self.stopped() or time.monotonic() >= until:
                return data
            time.sleep(_TURN)


def _is_mp4(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _open_container(source: Any, name: str = "", **options: Any) -> Opened:
    import av

    try:
        container = open_input(source, **options)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{name} cannot be watched: {said(error)}{_hint(name)}") from error
    if not container.streams.video or container.format.name == "tty":
        kinds = (
            "text" if container.format.name == "tty" else " and ".join({s.type for s in container.streams}) or "nothing"
        )
        container.close()
        raise VideoError(f"{name} holds no video, only {kinds}")
    coding = container.streams.video[0].codec_context
    facts = {"format": container.format.name, "codec": coding.name, "width": coding.width, "height": coding.height}
    comment = container.metadata.get("comment") or container.metadata.get("COMMENT")
    return Opened(_frames(container), facts | ({"comment": comment} if comment else {}), container.close)


def _hint(name: str) -> str:
    suffix = Path(urlsplit(name).path).suffix.lower()
    if suffix in (".mp4", ".mov", ".m4v"):
        return f"; a {suffix} has no index before it is closed: record .mkv or .ts"
    return ""


def said(error: BaseException) -> str:
    """Why a stream could not be read, in words."""
    import av

    if isinstance(error, av.error.ExitError):
        return "no data came in time"
    if isinstance(error, av.error.InvalidDataError):
        return "what comes is no video that can be read"
    if isinstance(error, av.error.EOFError):
        return "it ended before a video began"
    return " ".join(str(getattr(error, "strerror", None) or error).split()).lower()


def _frames(container: InputContainer) -> Iterator[Seen]:
    import av

    from spatterlib.builtin._decoded import Turn, TurnedPicture, picture_of

    stream = container.streams.video[0]
    # Threads of the decoder would each hold a frame back.
    stream.codec_context.thread_count = 1
    unit: Any = stream.time_base or Fraction(1)  # a rational of PyAV's own from 19 on
    came: dict[int, float] = {}
    for packet in container.demux(stream):
        now = time.monotonic()
        if packet.pts is not None:
            came[packet.pts] = now
        frames: list[Any] = []
        with suppress(av.error.InvalidDataError, av.error.UndefinedError):
            frames = packet.decode()
        for frame in frames:
            yield from _overtaken(came, frame.pts, unit)
            turn, picture = Turn.of(frame), picture_of(frame)
            shown: Picture = TurnedPicture(picture, turn) if turn else picture
            stamp = None if frame.pts is None else _seconds(frame.pts, unit)
            yield stamp, came.pop(frame.pts, now), None if frame.is_corrupt else shown
    yield from _overtaken(came, None if not came else max(came) + 1, unit)


def _overtaken(came: dict[int, float], pts: int | None, unit: Fraction) -> Iterator[Seen]:
    """Packets that gave no frame: decoders give frames in order, so what is passed over does not come any more.

    A decoder that joins a stream waits for a key frame without a word; these frames are accounted for too.
    """
    for late in sorted(known for known in came if pts is not None and known < pts):
        yield _seconds(late, unit), came.pop(late), None


def _seconds(pts: int, unit: Fraction) -> float:
    """Rounded once, as for a recording."""
    return pts * unit.numerator / unit.denominator
