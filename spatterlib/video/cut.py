"""Files that were cut off: what they lack at their end, and which promises of their heads are believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

# Outermost boxes of ISO/IEC 14496-12 with whose end frames are lost.
_BOXES = (b"mdat", b"moof", b"moov")
_UNKNOWN = 0xFFFFFFFF


def believed(found: int, missing: int) -> bool:
    """Whether a head may be right that so many frames are missing: nothing is allocated from a mere promise."""
    return 0 <= missing <= 1000 * found


def lacking(path: Path, format_: str) -> int:
    """Bytes that a file lacks at its end, by the lengths of its outermost elements; 0 = none, or that is not told."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if format_.startswith("mov"):
            return _behind(file, size, _box_length, _BOXES)
        if format_ == "avi":
            return _behind(file, size, _riff_length, (b"RIFF",))
        if format_.startswith("matroska"):
            return max(_end_of_segment(file.read(256)) - size, 0)
        return _rest_of_packet(file, size) if format_ == "mpegts" else 0


def _behind(file: BinaryIO, size: int, length_of: Callable[[bytes], int], kinds: Sequence[bytes]) -> int:
    """How far the last of the elements that follow one another reaches behind the file.

    Whatever stands behind the last element and is none of `kinds` is no loss: cameras append what they like.
    """
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(16)
        length = length_of(head)
        if length < 8:
            return 0
        end += length
    return end - size if head[4:8] in kinds or head[:4] in kinds else 0


def _riff_length(head: bytes) -> int:
    """8 and what is written; a file that was written to a pipe has no length."""
    length = int.from_bytes(head[4:8], "little")
    return 0 if length == _UNKNOWN else 8 + length


def _rest_of_packet(file: BinaryIO, size: int) -> int:
    """Bytes that the last packet of a transport stream lacks (ISO/IEC 13818-1; 4 in front in M2TS, 16 behind)."""
    head = file.read(1024)
    for length, begin in ((188, 0), (192, 4), (204, 0)):
        if head[begin : begin + 3 * length : length] == b"GGG":
            file.seek(size - size % length + begin)
            return length - size % length if size % length and file.read(1) in (b"G", b"") else 0
    return 0


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
