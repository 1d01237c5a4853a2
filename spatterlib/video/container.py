"""Video files, through PyAV: exact frame numbers, the container's own times, every frame accounted for."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import is_for_a_store
from spatterlib.errors import VideoError
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Picture, Video
from spatterlib.video.decoded import (
    Orientation,
    TurnedPicture,
    brightest_of_16_bits,
    has_plain_values,
    picture_in_range,
    picture_of,
    says_no_range,
)
from spatterlib.video.ffmpeg import open_input
from spatterlib.video.ffv1 import slices_are_whole
from spatterlib.video.fields import SecondFields
from spatterlib.video.kinds import is_guess, is_text, other_kind
from spatterlib.video.packets import REORDERED, Packets, Piece, demux, list_packets, row
from spatterlib.video.references import stands_alone
from spatterlib.video.still import ValueRange, warn_if_dark
from spatterlib.video.streams import contents, lessons, moving, prepare, say_what_is_left_out, shown, teaches

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.packet import Packet, PacketSideData
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

log = logging.getLogger("spatterlib")

_SUFFIXES = (
    ".mp4 .m4v .mov .3gp .avi .mkv .webm .ts .mts .m2ts .mpg .mpeg .m2v .vob .wmv .asf .flv .ogv .mxf .y4m "
    ".h264 .264 .hevc .265 .mjpeg .mjpg .gif .cine"
)
suffixes = tuple(_SUFFIXES.split())
# Share of frames without a time of their own of which one is told.
_MANY = 0.05
# Packets that a decoder may swallow before the first frame: what it reorders, and what its threads hold.
_SILENT = 4 * REORDERED
# Packets that are decoded with as little as can be in between, and px of their frames, which are kept meanwhile.
_AT_ONCE, _AT_ONCE_PX = 8, 2 << 20


@dataclass(frozen=True, eq=False)
class Container:
    """An opened video file.

    All packets are listed when it is opened, without decoding them; the number of a frame is the rank of its time
    stamp, so numbers stay exact where frames fail and behind a seek. `times` are the container's, in seconds; they
    are not shifted to begin at zero. Only where a container holds none are they computed from its frame rate,
    which `identity` then says.

    A frame counts as decoded if the decoder returns it and flags no error in it: what it invents to conceal
    damage is not taken for a picture, nor what it makes of frames behind a damaged one up to the next key frame.

    Reading changes nothing in the object: several threads may read at the same time, each `read` from a decoder
    of its own; forked processes too.

    Parameters
    ----------
    path : Path
        The file.
    packets : Packets
        What is in it.
    width, height : int
        Px, as shown.
    turn : Orientation
        How stored frames are turned to be shown.
    facts : dict
        What `identity` says about coding.
    threads : int
        Decoder threads; 0 = as many as there are cores. ``dataclasses.replace(video, threads=1)`` is the same video
        read with one, without listing the packets again.
    index : int
        Which of the file's streams.
    has_check_sums : bool
        Whether packets hold check sums that the decoder does not go by: FFV1.
    value_range : tuple of float, optional
        Values of 16 bits that are shown as 0 and 255.
    """

    path: Path
    packets: Packets = field(repr=False)
    width: int
    height: int
    turn: Orientation
    facts: dict[str, Any] = field(repr=False)
    threads: int = 1
    index: int = 0
    has_check_sums: bool = False
    value_range: ValueRange = None
    # By process: a forked one has the files of its parent at the same position, which is nobody's then.
    _idle: dict[tuple[int, int], list[InputContainer]] = field(
        init=False, repr=False, default_factory=lambda: defaultdict(list)
    )
    _learned: dict[int, list[PacketSideData]] = field(init=False, repr=False, default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def times(self) -> NDArray[np.float64]:
        """``(expected,)`` float64, s; NaN for frames that were cut off with the end of the file."""
        return self.packets.times

    @cached_property
    def keyframes(self) -> NDArray[np.int64]:
        """``(k,)`` int64, from 0: numbers of the frames at which decoding can begin."""
        return np.unique(self.packets.begins[:, 1])

    @cached_property
    def _digest(self) -> str:
        with self.path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def identity(self) -> dict[str, Any]:
        """JSON-able: name, digest of the content, coding, size, number of frames, where the times come from."""
        return {
            "name": self.name,
            "digest": self._digest,
            **self.facts,
            "width": self.width,
            "height": self.height,
            "frames": len(self.times),
            "fps": _mean_rate(self.times),
            "times": self.packets.clock,
            **({"value_range": [*self.value_range]} if self.value_range else {}),
        }

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        """Frames ``start .. stop - 1``, one item each, in order; None where one does not decode.

        Pictures stay valid when reading goes on. Where a frame fails to which others refer, so do those behind it up to
        the next key frame: the decoder makes them from a picture that is not there. They are decoded anew by one thread
        from the key frame before, so that the result depends neither on the number of threads nor on where reading
        began.
        """
        end = min(stop, self.packets.found)
        while start < end:
            # Looked at from the key frame on: damage in front of `start` tells on the frames behind it.
            first = self._key_before(start)
            for number, picture in enumerate(self._in_order(first, end, 0, self.threads), first):
                if picture is None:
                    break
                if number >= start:
                    yield picture
                    start += 1
            if start < end:
                first = self._key_before(start)
                edge = min(self._key_behind(start), end)
                whole = True
                for number, picture in enumerate(self._in_order(first, edge, 1, 1), first):
                    whole = whole and (picture is not None or self._stands_alone(number))
                    if number >= start:
                        yield picture if whole else None
                start = edge
        yield from [None] * (stop - max(start, end))

    def _in_order(self, start: int, stop: int, back: int, threads: int) -> Iterator[Picture | None]:
        """Frames by number, None for one that others have overtaken by more than a decoder reorders."""
        waiting: dict[int, Picture | None] = {}
        silent = 0
        decoded = self._decoded(start, stop, back, threads)
        for number, picture in _count(decoded) if self.packets.counted else decoded:
            silent = silent + 1 if number < 0 else 0
            if number >= start:
                waiting[number] = picture
            while start in waiting or len(waiting) > REORDERED or silent > _SILENT:
                yield waiting.pop(start, None)
                start, silent = start + 1, 0
                if start == stop:
                    return
        for number in range(start, stop):
            yield waiting.get(number)

    def _decoded(self, start: int, stop: int, back: int, threads: int) -> Iterator[tuple[int, Picture | None]]:
        """Number and picture in the decoder's order, None for a flawed one; number -1 for a packet without one."""
        first, last = self.packets.span(start, stop, back)
        numbers: list[int | None] = self.packets.numbers[first : last + 1].tolist()
        flawed: set[int] = set(self.packets.numbers[self.packets.rows["corrupt"]].tolist())
        threads = 1 if self.packets.counted else threads
        source, packets = self._packets_from(first, threads)
        following = zip([*numbers, None], chain(packets, [None]), strict=False)
        stream, at_once = self._stream(source), max(1, min(_AT_ONCE, _AT_ONCE_PX // max(self.width * self.height, 1)))
        try:
            # What Python does with a packet and its frame takes a fraction of the time when several come in a row:
            # decoding throws it out of the processor's cache. And threads meet less often.
            while some := list(islice(following, at_once)):
                decoded = self._decode(stream, some, flawed)
                while decoded:
                    frames = decoded.popleft()
                    for frame in frames:
                        shown = -1 if frame.pts is None else frame.pts
                        whole = not frame.is_corrupt and shown not in flawed
                        yield shown, self._picture(frame) if whole else None
                    if not frames:
                        yield -1, None
        finally:
            self._idle[os.getpid(), threads].append(source)

    def _key_before(self, number: int) -> int:
        return int(self.keyframes[self.keyframes <= number][-1])

    def _key_behind(self, number: int) -> int:
        return int(min(self.keyframes[self.keyframes > number], default=self.packets.found))

    def _stands_alone(self, number: int) -> bool:
        """Whether no other frame refers to one; where numbers come from counting nobody knows which is meant.

        What a piece of the packets lacks is decoded behind all that is read of it.
        """
        places = np.flatnonzero(self.packets.numbers == number)
        if self.packets.counted or not len(places):
            return True
        source, packets = self._packets_from(int(places[0]), 1)
        try:
            packet = next(packets, None)
            return packet is not None and stands_alone(self.facts["codec"], bytes(packet))
        finally:
            self._idle[os.getpid(), 1].append(source)

    def _decode(
        self, stream: VideoStream, packets: Sequence[tuple[int | None, Packet[Any] | None]], flawed: set[int]
    ) -> deque[list[VideoFrame]]:
        """The frames that come for each packet, with its number as time stamp; for a number None, the last ones."""
        import av

        for number, packet in packets:
            if packet is not None:
                if self.has_check_sums and number is not None and not slices_are_whole(bytes(packet)):
                    # States go from frame to frame: none up to the next key frame is right.
                    flawed.update(range(number, self._key_behind(number)))
                # The decoder hands a packet's time stamp on to its frame: the surest way to know its number.
                packet.pts, packet.dts = number, None
        decode, came = stream.codec_context.decode, deque[list["VideoFrame"]]()
        for number, packet in packets:
            try:
                came.append(decode(packet if number is not None else None))
            except av.FFmpegError as error:
                _is_flaw(error)
                log.debug("%s: frame %s: %s", self.name, number, error)
                came.append([])
        return came

    @cached_property
    def _picture(self) -> Callable[[VideoFrame], Picture]:
        picture = partial(picture_in_range, value_range=self.value_range) if self.value_range else picture_of
        return (lambda frame: TurnedPicture(picture(frame), self.turn)) if self.turn else picture

    def _packets_from(self, first: int, threads: int) -> tuple[InputContainer, Iterator[Packet[Any]]]:
        """Packets from number `first` on: by seeking if that lands where it should, else by skipping."""
        idle = self._idle[os.getpid(), threads]
        source = idle.pop() if idle else self._open(threads)
        packets = self._sought(source, first)
        if packets is None:
            source.close()
            source = self._open(threads)
            packets = islice(demux(source, self._stream(source)), first, None)
        before = [at for at in self.packets.lessons if at <= first]
        return source, self._taught(packets, before[-1]) if before else packets

    def _taught(self, packets: Iterator[Packet[Any]], lesson: int) -> Iterator[Packet[Any]]:
        """Packets of which the first brings along what the decoder learned from the packet of number `lesson`."""
        if lesson not in self._learned:
            with self._open(1) as source:
                teacher = next(islice(demux(source, self._stream(source)), lesson, None), None)
                self._learned[lesson] = [] if teacher is None else list(lessons(teacher))
        for packet in islice(packets, 1):
            for item in self._learned[lesson]:
                packet.set_sidedata(item)
            yield packet
        yield from packets

    def _open(self, threads: int) -> InputContainer:
        import av

        try:
            source = open_input(f"file:{self.path}")
            stream = self._stream(source)
        except (av.FFmpegError, IndexError) as error:
            raise VideoError(f"{self.path} can no longer be read; was it moved, cut or replaced meanwhile?") from error
        prepare(stream)
        stream.codec_context.thread_count = threads
        return source

    def _stream(self, source: InputContainer) -> VideoStream:
        return cast("VideoStream", source.streams[self.index])

    def _sought(self, source: InputContainer, first: int) -> Iterator[Packet[Any]] | None:
        import av

        stamps = [int(self.packets.rows[name][first]) for name in ("pts", "dts")]
        known = [stamp for stamp in stamps if stamp > np.iinfo(np.int64).min]
        if not known:
            return None
        stream = self._stream(source)
        try:
            source.seek(min(known), stream=stream)
        except av.FFmpegError:
            return None
        packets = demux(source, stream)
        landed = next(packets, None)
        at = None if landed is None else self.packets.find(landed)
        if landed is None or at is None or at > first:
            return None
        return islice(chain([landed], packets), first - at, None)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        for (process, _), idle in self._idle.items():
            while process == os.getpid() and idle:
                idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, item.name) for item in dataclasses.fields(self) if item.init)

    @cached_property
    def _sample(self) -> str:
        return _sample(self.path)

    def piece(self, start: int, stop: int) -> ContainerPiece:
        """What another process needs to read frames ``start .. stop - 1``; it reads no more of the file than these."""
        piece = self.packets.piece(start, stop)
        shell = dataclasses.replace(self, path=self.path.absolute(), packets=piece.packets)
        return ContainerPiece(shell, piece, self._sample)


@dataclass(frozen=True, eq=False)
class ContainerPiece:
    """Some frames of a video file that another process is to read.

    Parameters
    ----------
    video : Container
        The file, without a list of its packets.
    piece : Piece
        Those that are needed.
    sample : str
        What `_sample` says of the file where the packets were listed.
    """

    video: Container
    piece: Piece
    sample: str

    def opened(self) -> Container:
        """The video, of which only these frames can be read; the file stays open for the next piece.

        Raises
        ------
        VideoError
            If the file is another one here.
        """
        video = dataclasses.replace(self.video, packets=self.piece.placed())
        idle, learned = _kept(self.video.path, self.sample, os.getpid())
        object.__setattr__(video, "_idle", idle)
        object.__setattr__(video, "_learned", learned)
        return video


@lru_cache(maxsize=4)
def _kept(
    path: Path, sample: str, process: int
) -> tuple[dict[tuple[int, int], list[InputContainer]], dict[int, list[PacketSideData]]]:
    """What a process keeps of a recording from piece to piece, after a look at whether it is the same."""
    if _sample(path) != sample:
        raise VideoError(f"{path} is another recording where it is worked on than where the work was given out")
    return defaultdict(list), {}


def _sample(path: Path) -> str:
    """Digest of the length of a file and of 4 KiB at each of 64 places: cheap, and other recordings have another."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(b"%d" % size)
            for number in range(64):
                file.seek(number * max(size - 4096, 0) // 63)
                digest.update(file.read(4096))
    except OSError as error:
        raise VideoError(f"{path} cannot be read where it is to be worked on: {error.strerror}") from error
    return digest.hexdigest()


def _count(decoded: Iterator[tuple[int, Picture | None]]) -> Iterator[tuple[int, Picture | None]]:
    """Number frames by counting them, where only the order in which they come tells.

    Where a packet fails, that is known once `REORDERED` further ones came: so far may the numbers in between be
    too low by one, and from there on they are exact again.
    """
    number, low = 0, 0
    came: set[int] = set()
    for rank, picture in decoded:
        if rank < 0:
            yield rank, picture
            continue
        came.add(rank)
        for late in range(low, rank - REORDERED):
            number += late not in came
            came.discard(late)
        low = max(low, rank - REORDERED)
        yield number, picture
        number += 1


def _mean_rate(times: NDArray[np.float64]) -> float | None:
    known = times[np.isfinite(times)]
    duration = float(known[-1] - known[0]) if len(known) else 0.0
    return round((len(known) - 1) / duration, 6) if duration > 0 else None


@hookimpl(trylast=True)
def spatter_open_video(path: str, value_range: ValueRange) -> Video | None:
    """Any file that FFmpeg can read a video from."""
    import av

    file = Path(path)
    if not file.is_file() or is_for_a_store(path):
        return None
    if what := other_kind(file):
        raise VideoError(f"{path} is no video, but {what}")
    try:
        with open_input(f"file:{file}") as source:
            guess = is_guess(file, source.format.name)
            if not moving(source) or guess:
                text = "text" if is_text(file) else "data" if guess else contents(source)
                raise VideoError(f"{path} holds no video, only {text}")
            return _opened(file, source, value_range)
    except av.FFmpegError as error:
        raise VideoError(f"{path} is no video that can be read: {_reason(file, error)}") from error


def _opened(path: Path, source: InputContainer, value_range: ValueRange) -> Container:
    stream = shown(source)
    prepare(stream)
    seen: list[VideoFrame] = []
    packets = list_packets(path, source, stream, _look(source, stream, seen))
    say_what_is_left_out(path, source, stream)
    if not packets.found:
        raise VideoError(f"{path} holds a video stream without any frames")
    coding = stream.codec_context
    turn, width, height = Orientation(), coding.width, coding.height
    if seen:
        turn, width, height = Orientation.of(seen[0]), seen[0].width, seen[0].height
    height, width = turn.shape(height, width)
    if packets.cut:
        lost = len(packets.times) - packets.found
        log.warning("%s is cut off at its end: %s frames are missing", path, lost or "an unknown number of")
    if packets.flattened > _MANY * packets.found:
        log.warning(
            "%s: %d of its %d frames have the time of the frame before: its clock, which ticks every %g s, is too "
            "coarse for them; give the camera's rate (fps, --fps)",
            path,
            packets.flattened,
            packets.found,
            stream.time_base or 0,
        )
    brightest = brightest_of_16_bits(seen[0]) if seen else None
    if value_range is None:
        warn_if_dark(path, brightest)
    elif brightest is None or not has_plain_values(seen[0]):
        raise VideoError(f"{path}: value_range (--range) is for grey or RGB of 16 bits; leave it out")
    if seen and says_no_range(seen[0]):
        log.info("%s does not mark its range of values: television range (16-235) is taken", path)
    facts = {
        "format": source.format.name,
        "codec": coding.name,
        "pixel_format": seen[0].format.name if seen else coding.pix_fmt,
        **({"cut": True} if packets.cut else {}),
        **({"comment": source.metadata["comment"]} if source.metadata.get("comment") else {}),
    }
    return Container(
        path,
        packets,
        width,
        height,
        turn,
        facts,
        index=stream.index,
        has_check_sums=_has_check_sums(path, stream),
        value_range=value_range,
    )


def _has_check_sums(path: Path, stream: VideoStream) -> bool:
    """Whether one of the first packets agrees with check sums in it."""
    if stream.codec_context.name != "ffv1":
        return False
    with open_input(f"file:{path}") as source:
        same = cast("VideoStream", source.streams[stream.index])
        return any(slices_are_whole(bytes(packet)) for packet in islice(demux(source, same), _AT_ONCE))


def _look(source: InputContainer, stream: VideoStream, seen: list[VideoFrame]) -> Iterator[tuple[Any, ...]]:
    """Rows of all packets; on the way, the first frame that decodes is put into `seen`."""
    codec = stream.codec_context.name
    fields = SecondFields(stream.codec_context.extradata or b"") if codec == "h264" else None
    for packet in demux(source, stream):
        beside = fields is not None and fields.ends(bytes(packet))
        if fields is not None and not fields.may_come:
            fields = None
        yield row(packet, codec, beside, teaches(packet))
        if not seen:
            seen.extend(_try(stream, packet))
    if not seen:
        seen.extend(_try(stream, None))


def _try(stream: VideoStream, packet: Packet[Any] | None) -> list[VideoFrame]:
    import av

    try:
        return stream.codec_context.decode(packet)
    except av.FFmpegError as error:
        _is_flaw(error)
        return []
    except ValueError as error:  # PyAV 19, where the decoder could not be made
        raise VideoError("its decoder cannot be opened; there may not be enough memory") from error


def _is_flaw(error: FFmpegError) -> None:
    """Raise what is no fault of the recording: want of memory, behind which FFmpeg's decoder must not be used again."""
    if error.errno == errno.ENOMEM:
        raise VideoError("there is not enough memory to decode the recording") from error


def _reason(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        return "the file is empty"
    if is_text(path):
        return "it is text"
    if head[4:] == b"ftyp":
        return "it begins as MP4, but its index (moov) is missing or damaged; was the recording cut off?"
    return str(getattr(error, "strerror", "") or error).lower()
