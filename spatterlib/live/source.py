"""Cameras, streams and files that grow: opened, and read frame by frame."""

from __future__ import annotations

import dataclasses
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, cast
from urllib.parse import urlsplit

from spatterlib.common.threads import quiet_opencv
from spatterlib.errors import MissingFileError, ParameterError, SpatterlibError, VideoError, one_line
from spatterlib.types import Image, Picture, RgbPicture
from spatterlib.video.ffmpeg import open_input
from spatterlib.video.kinds import is_text_art
from spatterlib.video.streams import contents, moving, prepare, shown

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["Kind", "OpenedSource", "SourceFrame", "StreamFacts", "kind_of", "open_source", "reason_of", "redacted"]

Kind: TypeAlias = Literal["camera", "url", "file"]


class SourceFrame(NamedTuple):
    """A frame: its time stamp (s, None without), when it came (s, monotonic clock), the picture (None: not decoded)."""

    stamp: float | None
    arrived: float
    picture: Picture | None


class StreamFacts(TypedDict, total=False):
    """What a stream says of itself: container, codec, size (px), and the comment in which the simulator says so."""

    name: str
    format: str
    codec: str
    width: int
    height: int
    comment: str


SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtp", "srt", "rtmp", "rtmps")
# FFmpeg looks at so many microseconds and bytes, at most, before it says what a stream holds, and at no frames to learn
# how many come in a second: those would all come late.
_PROBING = {"analyzeduration": "1000000", "probesize": "1000000", "fpsprobesize": "0"}
# In a path or query: cameras and services take passwords in either.
_SECRET = re.compile(r"((?:pass(?:w(?:or)?d)?|passphrase|pwd|secret|token|key|auth|sig(?:nature)?)=)[^&;/#]*", re.I)
_PAUSE = 0.02
# S without a picture, however much comes, after which a stream counts as broken. Cameras that save bandwidth send a key
# frame every 40 s.
_BLIND = 60.0


@dataclass(frozen=True, eq=False)
class OpenedSource:
    """A source that is open.

    Parameters
    ----------
    frames : iterator
        `SourceFrame`, one after the other; ends with the stream, raises `VideoError` where it breaks.
    facts : StreamFacts
        As far as known.
    close : callable
        Lets go of it.
    live : bool
        Whether it goes on when nobody reads. Files and recordings at a URL wait.
    whole : bool
        Whether it has a length, so that behind it nothing comes.
    """

    frames: Iterator[SourceFrame]
    facts: StreamFacts
    close: Callable[[], None] = field(repr=False)
    live: bool = True
    whole: bool = False


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
    scheme, separator, _ = source.partition("://")
    if not separator or scheme == "file":
        return "file"
    if scheme.lower() not in SCHEMES:
        raise ParameterError(
            f"a source is a camera number, a file, or a URL of {', '.join(SCHEMES)}; got {redacted(source)!r}"
        )
    return "url"


def redacted(source: str) -> str:
    """The source without its passwords, as it may be shown and kept.

    Examples
    --------
    >>> from spatterlib.live.source import redacted
    >>> redacted("rtsp://admin:secret@10.0.0.7/live"), redacted("http://cam/video?user=me&pwd=secret")
    ('rtsp://admin:***@10.0.0.7/live', 'http://cam/video?user=me&pwd=***')
    """
    if "://" not in source:
        return source
    # Not taken apart as a URL: what is none, such as one with a wrong port, must not show its password either.
    scheme, _, rest = source.partition("://")
    place, slash, path = re.fullmatch(r"([^/?#]*)([/?#]?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    name, at, host = place.rpartition("@")
    name = name.partition(":")[0] + (":***" if ":" in name else "")
    return f"{scheme}://{name}{at}{host}{slash}" + _SECRET.sub(r"\1***", path)


def open_source(
    source: str, *, timeout: float = 10.0, idle: float = 10.0, stopped: Callable[[], bool] = lambda: False
) -> OpenedSource:
    """Open a camera, a URL, or a file that another program still writes.

    Parameters
    ----------
    source : str
        See `kind_of`.
    timeout : float
        S without data after which a stream or camera counts as broken.
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
        return _open_camera(int(source), timeout)
    if kind == "url":
        return _open_url(source, timeout)
    return _open_file(source.removeprefix("file://"), idle, stopped)


def _open_camera(number: int, timeout: float) -> OpenedSource:
    import cv2

    with quiet_opencv():
        capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise VideoError(
            f"there is no camera {number} that can be opened; is it plugged in, and in use by nobody else?"
        )
    frames = camera_frames(capture, timeout)
    return OpenedSource(frames, StreamFacts(format=f"camera {capture.getBackendName()}"), frames.close)


_Read: TypeAlias = tuple[float, Image | Exception | None]


def camera_frames(capture: Any, timeout: float = 10.0) -> Generator[SourceFrame, None, None]:
    """Frames of an opened ``cv2.VideoCapture``: no time stamps, they have the time at which they come.

    OpenCV may wait in a driver for ever. So a thread of its own reads, and lets go of the camera once that returns.
    """
    import cv2

    reads: queue.Queue[_Read] = queue.Queue(1)
    stop = threading.Event()
    threading.Thread(target=_read_camera, args=(capture, reads, stop), name="spatterlib-camera", daemon=True).start()
    try:
        while True:
            arrived, image = reads.get(timeout=timeout)
            if isinstance(image, Exception):
                raise VideoError(f"the camera cannot be read: {reason_of(image)}") from image
            if image is None:
                raise VideoError("the camera gives no more frames")
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)
            yield SourceFrame(None, arrived, RgbPicture(cast(Image, rgb)))
    except queue.Empty:
        raise VideoError(f"no frame came for {timeout:g} s") from None
    finally:
        stop.set()
        with suppress(queue.Empty):
            reads.get_nowait()


def _read_camera(capture: Any, reads: queue.Queue[_Read], stop: threading.Event) -> None:
    """Read until it is stopped: frames with the times at which they came, None at the end, or what went wrong."""
    try:
        while not stop.is_set():
            done, frame = capture.read()
            reads.put((time.monotonic(), frame if done else None))
            if not done:
                break
    except Exception as error:  # cv2.error, and whatever a driver's wrapper raises
        reads.put((time.monotonic(), error))
    finally:
        capture.release()


def _open_url(url: str, timeout: float) -> OpenedSource:
    options = dict(_PROBING)
    if url.lower().startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    return _open_container(url, redacted(url), options=options, timeout=(timeout, timeout))


def _open_file(path: str, idle: float, stopped: Callable[[], bool]) -> OpenedSource:
    if not Path(path).exists():
        raise MissingFileError(f"no video at {path}; a source is a camera number, a URL, or a file that grows")
    if not Path(path).is_file():
        raise VideoError(f"{path} is no file; a source is a camera number, a URL, or a file that grows")
    if _is_mp4(path):
        # It has its index at the end, so nobody can follow it; one that is closed is read as it is.
        return dataclasses.replace(_open_container(f"file:{path}", path), live=False)
    file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - open as long as the source
    try:
        opened = _open_container(GrowingFile(file, idle, stopped), path)
    except BaseException:
        file.close()
        raise

    def close() -> None:
        opened.close()
        file.close()

    return OpenedSource(opened.frames, opened.facts, close, live=False)


class GrowingFile:
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

    def __init__(self, file: IO[bytes] | FileIO, idle: float, stopped: Callable[[], bool] = lambda: False) -> None:
        self.file, self.idle, self.stopped = file, idle, stopped
        self.name = str(getattr(file, "name", ""))

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none only at the end."""
        until = time.monotonic() + self.idle
        while True:
            data = bytes(self.file.read(size) or b"")
            if data or self.stopped():
                return data
            if time.monotonic() >= until:
                if self.file.seekable() and self.file.tell() > os.fstat(self.file.fileno()).st_size:
                    raise OSError("it became shorter while it was watched: who records began it anew")
                return data
            time.sleep(_PAUSE)


def _is_mp4(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _open_container(source: str | GrowingFile, name: str = "", **options: Any) -> OpenedSource:
    import av

    try:
        container = open_input(source, **options)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{name} cannot be watched: {reason_of(error)}{_hint(name)}") from _without_secrets(
            error, name
        )
    text = is_text_art(container.format.name)
    if not moving(container) or text:
        kinds = "text" if text else contents(container)
        container.close()
        raise VideoError(f"{name} holds no video, only {kinds}")
    stream = shown(container)
    prepare(stream)
    # Threads of the decoder would each hold a frame back.
    stream.codec_context.thread_count = 1
    coding = stream.codec_context
    facts = StreamFacts(format=container.format.name, codec=coding.name, width=coding.width, height=coding.height)
    if comment := container.metadata.get("comment") or container.metadata.get("COMMENT"):
        facts["comment"] = comment
    blind = _BLIND if options else math.inf  # a file has no time-out
    # Only a recording knows how long it is; TS at a URL says no more than its bytes. Where frames are sent as they are
    # due, as by RTSP, a server that goes away looks like the end, whatever length it has promised.
    whole = not isinstance(source, str) or urlsplit(source).scheme.lower() in ("http", "https", "file")
    recording, sized = whole and container.duration is not None, whole and (container.size or 0) > 0
    frames = _frames(container, stream, name, blind)
    return OpenedSource(frames, facts, container.close, live=not recording, whole=recording or sized)


def _hint(name: str) -> str:
    suffix = Path(urlsplit(name).path).suffix.lower()
    if suffix in (".mp4", ".mov", ".m4v"):
        return f"; a {suffix} has no index before it is closed: record .mkv or .ts"
    return ""


def reason_of(error: BaseException) -> str:
    """Why a source could not be read, in words."""
    import av

    if isinstance(error, av.error.ExitError):
        return "no data came in time"
    if isinstance(error, av.error.InvalidDataError):
        return "what comes is no video that can be read"
    if isinstance(error, av.error.EOFError):
        return "it ended before a video began"
    if text := getattr(error, "strerror", None):
        return " ".join(str(text).split()).lower()
    known = isinstance(error, SpatterlibError | OSError)
    return one_line(error) if known and str(error) else f"{type(error).__name__}: {one_line(error)}".rstrip(": ")


def _without_secrets(error: Exception, name: str) -> Exception:
    """The same error of FFmpeg, but its text has the name that may be shown: where the address has a password."""
    import av

    if not isinstance(error, av.FFmpegError):
        return error
    return type(error)(error.errno or 0, error.strerror or "", name)


def _frames(container: InputContainer, stream: VideoStream, name: str, blind: float) -> Iterator[SourceFrame]:
    """All frames; whatever goes wrong is a `VideoError`."""
    arrivals: dict[int, float] = {}
    unit: Any = stream.time_base or Fraction(1)  # a rational of PyAV's own from 19 on
    try:
        yield from _decoded(container.demux(stream), arrivals, unit, blind)
    except Exception as error:
        yield from _left(arrivals, unit)
        raise VideoError(reason_of(error)) from _without_secrets(error, name)
    yield from _left(arrivals, unit)


def _decoded(
    packets: Iterator[Packet[Any]], arrivals: dict[int, float], unit: Fraction, blind: float
) -> Iterator[SourceFrame]:
    """Frames that decode, and those that they overtook; `arrivals`: of packets that gave no frame yet."""
    import av

    from spatterlib.video.decoded import Orientation, TurnedPicture, picture_of

    decoded = time.monotonic()
    turn, seen = Orientation(), (0, 0)
    for packet in packets:
        now = time.monotonic()
        if packet.pts is not None:
            arrivals[packet.pts] = now
        frames: list[VideoFrame] = []
        with suppress(av.error.InvalidDataError, av.error.UndefinedError):
            frames = packet.decode()
        if frames:
            decoded = now
        elif now - decoded > blind:
            raise VideoError(f"of what came for {blind:g} s nothing could be decoded")
        for frame in frames:
            yield from _overtaken(arrivals, frame.pts, unit)
            size = frame.width, frame.height
            if size != seen:
                # Not of each frame: one that was asked for its side data is let go by the garbage collector only.
                turn, seen = Orientation.of(frame), size
            picture = picture_of(frame)
            upright: Picture = TurnedPicture(picture, turn) if turn else picture
            stamp = None if frame.pts is None else _seconds(frame.pts, unit)
            arrived = now if frame.pts is None else arrivals.pop(frame.pts, now)
            yield SourceFrame(stamp, arrived, None if frame.is_corrupt else upright)


def _left(arrivals: dict[int, float], unit: Fraction) -> Iterator[SourceFrame]:
    """Packets that gave no frame before it ended."""
    return _overtaken(arrivals, max(arrivals) + 1 if arrivals else None, unit)


def _overtaken(arrivals: dict[int, float], pts: int | None, unit: Fraction) -> Iterator[SourceFrame]:
    """Packets that gave no frame: decoders give frames in order, so what is passed over does not come any more.

    A decoder that joins a stream waits for a key frame without a word; these frames are accounted for too.
    """
    for late in sorted(waiting for waiting in arrivals if pts is not None and waiting < pts):
        yield SourceFrame(_seconds(late, unit), arrivals.pop(late), None)


def _seconds(pts: int, unit: Fraction) -> float:
    """Rounded once, as for a recording."""
    return pts * unit.numerator / unit.denominator
