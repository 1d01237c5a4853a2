"""The packets of a video file, listed without decoding: which frame each holds, and when it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.video.cut import believed, lacking

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

NONE = np.iinfo(np.int64).min
REORDERED = 16
"""No decoder holds back more frames than this to put them in order (H.264 and H.265, maximum picture buffer)."""

_ROW = np.dtype(
    [("pts", "i8"), ("dts", "i8"), ("size", "i8"), ("key", "?"), ("shown", "?"), ("corrupt", "?"), ("lesson", "?")]
)
# Packets that are sent along before and behind those of a piece: where seeks of all containers land.
_AROUND = 256
_ASSUMED_FPS = 25
_RESET = 0.25  # s that decoding times fall back where a clock was reset, and not merely out of step


@dataclass(frozen=True, eq=False)
class Packets:
    """All packets of one stream, in the order in which they are decoded.

    Parameters
    ----------
    rows : ndarray
        ``(k,)`` structured: time stamps (`NONE` = unknown), bytes, whether a key frame, whether shown, whether cut
        short or damaged on the way, whether it brings along what the decoder needs behind it (a palette).
    numbers : ndarray
        ``(k,)`` int64: number of the frame in the packet; -1 where it is not shown. Where only the decoder knows
        the order (`counted`), the rank of the packet among those shown.
    times : ndarray
        ``(expected,)`` float64, s; NaN for frames that were cut off with the end of the file.
    found : int
        How many frames are in the file; the rest of those expected was cut off.
    counted : bool
        The frames are reordered and the container does not say how: numbers come from counting what is decoded.
    clock : str
        Where the times come from: ``"container"`` or ``"assumed 25 fps"``.
    cut : bool
        Whether the file was cut off at its end.
    """

    rows: NDArray[np.void]
    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    found: int
    counted: bool
    clock: str
    cut: bool

    @property
    def flattened(self) -> int:
        """How many frames have the time of the frame before, because the clock is too coarse for them."""
        return int((np.diff(self.times) == 0).sum())

    @cached_property
    def begins(self) -> NDArray[np.int64]:
        """``(m, 2)`` int64: packets at which decoding can begin, and the first frame that is whole from there."""
        index = np.flatnonzero(self.rows["key"])
        if self.counted or not len(index):
            return np.zeros((1, 2), np.int64)
        behind = np.minimum.accumulate(np.where(self.numbers < 0, self.found, self.numbers)[::-1])[::-1]
        first = np.where(self.numbers < 0, behind, self.numbers)[index]
        begins = np.stack([index, np.maximum.accumulate(first)], 1)
        return np.concatenate([[[0, 0]], begins[begins[:, 1] > 0]])

    @cached_property
    def lessons(self) -> list[int]:
        """Packets that bring along what the decoder needs behind them."""
        lessons: list[int] = np.flatnonzero(self.rows["lesson"]).tolist()
        return lessons

    def span(self, start: int, stop: int, back: int = 0) -> tuple[int, int]:
        """First and last packet needed for frames ``start .. stop - 1``; `back` key frames more before them."""
        begins = self.begins
        at = int(np.searchsorted(begins[:, 1], start, "right")) - 1
        ahead = REORDERED if self.counted else 0
        wanted = (self.numbers >= start) & (self.numbers < stop + ahead)
        last = int(np.flatnonzero(wanted)[-1])
        # The second field of the last frame is needed too.
        last += last + 1 < len(self.numbers) and bool(self.numbers[last + 1] < 0)
        return int(begins[max(at - back, 0), 0]), last

    def find(self, packet: Packet[Any]) -> int | None:
        """Which of the packets this is; None where that cannot be told for sure."""
        if packet.pts is None:
            return None
        same = np.flatnonzero((self.rows["pts"] == packet.pts) & (self.rows["size"] == packet.size))
        return int(same[0]) if len(same) == 1 else None

    @cached_property
    def _twins(self) -> NDArray[np.bool_]:
        """``(k,)``: packets that `find` cannot tell from another one."""
        _, which, count = np.unique(self.rows[["pts", "size"]], return_inverse=True, return_counts=True)
        return np.asarray(count[which] > 1)

    def piece(self, start: int, stop: int) -> Piece:
        """What is needed to read frames ``start .. stop - 1``, and around it, since a seek may land before."""
        first = last = 0
        if start < self.found:
            first, last = self.span(start, min(stop, self.found), 1)
        begin, end = max(first - _AROUND, 0), last + _AROUND
        rows = self.rows[begin:end].copy()
        rows["size"][self._twins[begin:end]] = -1
        lesson = max((at for at in self.lessons if at <= begin), default=None)
        kept = Packets(
            rows, self.numbers[begin:end], self.times[start:stop], self.found, self.counted, self.clock, self.cut
        )
        return Piece(kept, len(self.rows), begin, lesson, len(self.times), start)


@dataclass(frozen=True, eq=False)
class Piece:
    """Some of the packets, small enough to be sent with every task, whatever the length of the recording.

    Parameters
    ----------
    packets : Packets
        These; `times` only of the frames that are to be read.
    of, begin : int
        How many packets there are in all, and how many are before these.
    lesson : int or None
        The last packet up to the first one that brings along what the decoder needs behind it.
    frames, start : int
        How many frames are expected in all, and how many are before those to be read.
    """

    packets: Packets
    of: int
    begin: int
    lesson: int | None
    frames: int
    start: int

    def placed(self) -> Packets:
        """A list of all packets in which only these are told: numbers of packets and frames stay what they are."""
        part = self.packets
        rows, numbers = np.zeros(self.of, _ROW), np.full(self.of, -1)
        times = np.full(self.frames, np.nan)
        rows[self.begin : self.begin + len(part.rows)] = part.rows
        numbers[self.begin : self.begin + len(part.rows)] = part.numbers
        times[self.start : self.start + len(part.times)] = part.times
        if self.lesson is not None:
            rows["lesson"][self.lesson] = True
        return replace(part, rows=rows, numbers=numbers, times=times)


def demux(container: InputContainer, stream: VideoStream) -> Iterator[Packet[Any]]:
    """Packets that hold data, in file order; goes on behind what cannot be read."""
    import av

    came = True
    while came:
        came = False
        try:
            for packet in container.demux(stream):
                if packet.size:
                    came = True
                    yield packet
            return
        except (av.FFmpegError, IndexError):
            # IndexError: a packet of a stream that came up meanwhile, as damage makes them; PyAV does not know it.
            continue


def row(packet: Packet[Any], codec: str, beside: bool, lesson: bool) -> tuple[int, int, int, bool, bool, bool, bool]:
    """One row of `Packets.rows`; not shown is what stands `beside` another packet of the same frame."""
    pts, dts = packet.pts, packet.dts
    # VP8 keeps reference pictures that are never shown in packets of their own (RFC 6386, 9.1).
    shown = not packet.is_discard and not beside and (codec != "vp8" or bool(memoryview(packet)[0] & 0x10))
    return (
        NONE if pts is None else pts,
        NONE if dts is None else dts,
        packet.size,
        packet.is_keyframe,
        shown,
        packet.is_corrupt,
        lesson,
    )


def list_packets(
    path: Path, container: InputContainer, stream: VideoStream, rows: Iterator[tuple[Any, ...]]
) -> Packets:
    """Number the frames of a stream by their time stamps."""
    table = np.fromiter(rows, _ROW)
    # Where streams were joined, their counters begin anew, which FFmpeg takes for a loss in the packets before.
    for reset in _resets(table["dts"], stream) if container.format.name == "mpegts" else ():
        table["corrupt"][max(reset - 2, 0) : reset] = False
    shown = table[table["shown"]]
    untold = _order_is_untold(container.format.name, stream, shown)
    stamps, clock = _stamps(stream, shown, untold)
    order = _order(stamps, shown["dts"], stream)
    times = _continuous(stamps[order])
    # Frames of one time, where a coarse clock flattened them, come in an order that only the decoder knows.
    counted = untold or bool(stream.codec_context.has_b_frames and (np.diff(stamps[order]) == 0).any())
    numbers = np.full(len(table), -1)
    numbers[np.flatnonzero(table["shown"])[slice(None) if counted else order]] = np.arange(len(shown))
    cut, missing = _cut_off(path, container, stream, table, times) if len(times) else (False, 0)
    times = np.concatenate([times, np.full(missing, np.nan)])
    return Packets(table, numbers, times, len(shown), counted, clock, cut)


def _order_is_untold(format_: str, stream: VideoStream, shown: NDArray[np.void]) -> bool:
    """Whether frames are reordered and the container does not say how.

    AVI and ASF hold no presentation times, MXF not always. Those that FFmpeg makes up are in the order of decoding
    where it does not know the codec's picture types (H.264).
    """
    if not stream.codec_context.has_b_frames:
        return False
    invented = format_ in ("avi", "asf", "mxf") and bool(np.all(np.diff(shown["pts"]) > 0))
    return invented or bool((shown["pts"] == NONE).any())


def _stamps(stream: VideoStream, shown: NDArray[np.void], untold: bool) -> tuple[NDArray[np.float64], str]:
    """``(n,)`` float64, s, time of each packet that is shown, and where it comes from."""
    stamps = np.sort(shown["dts"]) if untold else np.where(shown["pts"] == NONE, shown["dts"], shown["pts"])
    known = np.flatnonzero(stamps != NONE)
    number = np.arange(len(stamps))
    if not len(known) or (untold and len(known) < len(stamps)):
        # What the parameter sets of the stream state, before what FFmpeg assumes for a file without a container.
        rate = float(stream.codec_context.framerate or stream.average_rate or stream.guessed_rate or _ASSUMED_FPS)
        return number / rate, f"assumed {rate:g} fps"
    return np.interp(number, known, _seconds(stamps[known], stream)), "container"


def _seconds(stamps: NDArray[np.int64], stream: VideoStream) -> NDArray[np.float64]:
    base = stream.time_base
    assert base is not None  # noqa: S101 - FFmpeg gives every stream of a file one
    return np.asarray(stamps * base.numerator / base.denominator, np.float64)


def _order(stamps: NDArray[np.float64], dts: NDArray[np.int64], stream: VideoStream) -> NDArray[np.intp]:
    """Packets in the order of presentation: by time, each stretch between two resets of the clock for itself."""
    resets = np.zeros(len(dts), np.int64)
    resets[_resets(dts, stream)] = 1
    return np.lexsort((stamps, np.cumsum(resets)))


def _resets(dts: NDArray[np.int64], stream: VideoStream) -> NDArray[np.intp]:
    """Packets before which the clock was reset."""
    known = np.flatnonzero(dts != NONE)
    return known[1:][np.diff(_seconds(dts[known], stream)) < -_RESET]


def _continuous(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times that go on where the clock was reset, as in recordings that were joined end to end."""
    steps = np.diff(times)
    if not (steps < 0).any():
        return times
    forward = steps[steps >= 0]
    usual = float(np.median(forward)) if len(forward) else 1 / _ASSUMED_FPS
    added = np.cumsum(np.where(steps < 0, usual - steps, 0.0))
    return np.asarray(times + np.concatenate([[0.0], added]), np.float64)


def _cut_off(
    path: Path, container: InputContainer, stream: VideoStream, table: NDArray[np.void], times: NDArray[np.float64]
) -> tuple[bool, int]:
    """Whether the file was cut off, and how many frames went with its end, as far as its head tells."""
    name = container.format.name
    bytes_ = lacking(path, name)
    if not bytes_:
        return False, 0
    missing = _promised(container, stream, len(table), times)
    # What the only index lists is all there: the length of the box is wrong and not that of the file.
    if name.startswith("mov") and not missing and not table["corrupt"][-1] and stream.frames == len(table):
        return False, 0
    # Frames and bytes must tell the same story; frames that are lost may be far smaller than those that are there.
    told = believed(len(table), missing) and missing * int(table["size"].mean()) <= 64 * bytes_
    return True, missing if told else 0


def _promised(container: InputContainer, stream: VideoStream, packets: int, times: NDArray[np.float64]) -> int:
    """How many frames more than there are the head of a file promises."""
    if container.format.name.startswith("mov"):
        return len(stream.index_entries) - packets
    if container.format.name == "avi":
        return stream.frames - packets
    duration = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if not duration or len(times) < 2:
        return 0
    hours, minutes, seconds = map(float, duration.groups())
    end = 3600 * hours + 60 * minutes + seconds
    return round((end - float(times[-1])) / max(float(np.median(np.diff(times))), 1e-3)) - 1
