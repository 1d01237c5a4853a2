"""The packets of a video file, listed without decoding: which frame each holds, and when it is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

NONE = np.iinfo(np.int64).min
REORDERED = 16
"""No decoder holds back more frames than this to put them in order (H.264 and H.265, maximum picture buffer)."""

_ROW = np.dtype([("pts", "i8"), ("dts", "i8"), ("size", "i8"), ("key", "?"), ("shown", "?"), ("corrupt", "?")])
_ASSUMED_FPS = 25
_RESET = 0.25  # s that decoding times fall back where a clock was reset, and not merely out of step


@dataclass(frozen=True, eq=False)
class Packets:
    """All packets of one stream, in the order in which they are decoded.

    Parameters
    ----------
    rows : ndarray
        ``(k,)`` structured: time stamps (`NONE` = unknown), bytes, whether a key frame, whether shown, whether cut
        short or damaged on the way.
    numbers : ndarray
        ``(k,)`` int64: number of the frame in the packet; -1 where it is not shown. Where only the decoder knows
        the order (`counted`), the rank of the packet among those shown.
    times : ndarray
        ``(expected,)`` float64, s; NaN for frames that were cut off with the end of the file.
    counted : bool
        The frames are reordered and the container does not say how: numbers come from counting what is decoded.
    clock : str
        Where the times come from: ``"container"`` or ``"assumed 25 fps"``.
    """

    rows: NDArray[np.void]
    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    counted: bool
    clock: str

    @property
    def found(self) -> int:
        """How many frames are in the file; the rest of those expected was cut off."""
        return int(self.rows["shown"].sum())

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

    def span(self, start: int, stop: int, back: int = 0) -> tuple[int, int]:
        """First and last packet needed for frames ``start .. stop - 1``; `back` key frames more before them."""
        begins = self.begins
        at = int(np.searchsorted(begins[:, 1], start, "right")) - 1
        ahead = REORDERED if self.counted else 0
        wanted = (self.numbers >= start) & (self.numbers < stop + ahead)
        return int(begins[max(at - back, 0), 0]), int(np.flatnonzero(wanted)[-1])

    def find(self, packet: Packet[Any]) -> int | None:
        """Which of the packets this is; None where that cannot be told for sure."""
        if packet.pts is None:
            return None
        same = np.flatnonzero((self.rows["pts"] == packet.pts) & (self.rows["size"] == packet.size))
        return int(same[0]) if len(same) == 1 else None


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
        except av.FFmpegError:
            continue


def row(packet: Packet[Any], codec: str) -> tuple[int, int, int, bool, bool, bool]:
    """One row of `Packets.rows`."""
    pts, dts = packet.pts, packet.dts
    # VP8 keeps reference pictures that are never shown in packets of their own (RFC 6386, 9.1).
    shown = not packet.is_discard and (codec != "vp8" or bool(memoryview(packet)[0] & 0x10))
    return (
        NONE if pts is None else pts,
        NONE if dts is None else dts,
        packet.size,
        packet.is_keyframe,
        shown,
        packet.is_corrupt,
    )


def list_packets(
    path: Path, container: InputContainer, stream: VideoStream, rows: Iterator[tuple[Any, ...]]
) -> Packets:
    """Number the frames of a stream by their time stamps."""
    table = np.fromiter(rows, _ROW)
    shown = table[table["shown"]]
    counted = _only_decoder_knows(container.format.name, stream, shown)
    stamps, clock = _stamps(stream, shown, counted)
    order = np.arange(len(shown)) if counted else _order(stamps, shown["dts"], stream)
    numbers = np.full(len(table), -1)
    numbers[np.flatnonzero(table["shown"])[order]] = np.arange(len(shown))
    times = _continuous(stamps[order])
    missing = _cut_off(path, container, stream, len(table), times) if len(times) else 0
    return Packets(table, numbers, np.concatenate([times, np.full(missing, np.nan)]), counted, clock)


def _only_decoder_knows(format_: str, stream: VideoStream, shown: NDArray[np.void]) -> bool:
    """Whether frames are reordered and the container does not say how.

    AVI holds no presentation times. Those that FFmpeg makes up for it are in the order of decoding where it
    does not know the codec's picture types (H.264).
    """
    if not stream.codec_context.has_b_frames:
        return False
    invented = format_ == "avi" and bool(np.all(np.diff(shown["pts"]) > 0))
    return invented or bool((shown["pts"] == NONE).any())


def _stamps(stream: VideoStream, shown: NDArray[np.void], counted: bool) -> tuple[NDArray[np.float64], str]:
    """``(n,)`` float64, s, time of each packet that is shown, and where it comes from."""
    stamps = np.sort(shown["dts"]) if counted else np.where(shown["pts"] == NONE, shown["dts"], shown["pts"])
    known = np.flatnonzero(stamps != NONE)
    number = np.arange(len(stamps))
    if not len(known) or (counted and len(known) < len(stamps)):
        rate = float(stream.average_rate or stream.guessed_rate or _ASSUMED_FPS)
        return number / rate, f"assumed {rate:g} fps"
    return np.interp(number, known, _seconds(stamps[known], stream)), "container"


def _seconds(stamps: NDArray[np.int64], stream: VideoStream) -> NDArray[np.float64]:
    base = stream.time_base
    assert base is not None  # noqa: S101 - FFmpeg gives every stream of a file one
    return np.asarray(stamps * base.numerator / base.denominator, np.float64)


def _order(stamps: NDArray[np.float64], dts: NDArray[np.int64], stream: VideoStream) -> NDArray[np.intp]:
    """Packets in the order of presentation: by time, each stretch between two resets of the clock for itself."""
    known = np.flatnonzero(dts != NONE)
    resets = np.zeros(len(dts), np.int64)
    resets[known[1:][np.diff(_seconds(dts[known], stream)) < -_RESET]] = 1
    return np.lexsort((stamps, np.cumsum(resets)))


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
    path: Path, container: InputContainer, stream: VideoStream, packets: int, times: NDArray[np.float64]
) -> int:
    """How many frames were cut off with the end of the file, as far as its head tells."""
    name = container.format.name
    if not is_cut(path, name):
        return 0
    if name.startswith("mov"):
        return max(len(stream.index_entries) - packets, 0)
    if name == "avi":
        return max(stream.frames - packets, 0)
    duration = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if not duration or len(times) < 2:
        return 0
    hours, minutes, seconds = map(float, duration.groups())
    end = 3600 * hours + 60 * minutes + seconds
    return max(round((end - float(times[-1])) / max(float(np.median(np.diff(times))), 1e-3)) - 1, 0)


def is_cut(path: Path, format_: str) -> bool:
    """Whether a file ends before an outermost element of it does, by the length that is written at its head."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if format_.startswith("mov"):
            return _end(file, size, _box_length) > size
        if format_ == "avi":
            return _end(file, size, lambda head: 8 + int.from_bytes(head[4:8], "little")) > size
        if format_.startswith("matroska"):
            return _end_of_segment(file.read(256)) > size
    return format_ == "mpegts" and all(size % length for length in (188, 192, 204))


def _end(file: BinaryIO, size: int, length_of: Callable[[bytes], int]) -> int:
    """Where the last of the elements that follow one another ends; 0 = that is not told."""
    end = 0
    while end < size:
        file.seek(end)
        length = length_of(file.read(16))
        if length < 8:
            return 0
        end += length
    return end


def _box_length(head: bytes) -> int:
    """ISO/IEC 14496-12, 4.2."""
    length = int.from_bytes(head[:4], "big")
    return int.from_bytes(head[8:], "big") if length == 1 else length


def _end_of_segment(head: bytes) -> int:
    """Where the segment of a Matroska file ends (RFC 8794); 0 = that is not told."""
    length, behind = _variable_length(head, 4)
    begin = behind + length
    length, behind = _variable_length(head, begin + 4)
    unknown = head[begin : begin + 4] != b"\x18\x53\x80\x67" or length == 0
    return 0 if unknown else behind + length


def _variable_length(data: bytes, at: int) -> tuple[int, int]:
    """An EBML length, 0 = unknown, and where it ends."""
    width = 9 - data[at].bit_length() if at < len(data) else 8
    ones = (1 << 7 * width) - 1
    value = int.from_bytes(data[at : at + width], "big") & ones
    return (0 if value == ones else value), at + width
