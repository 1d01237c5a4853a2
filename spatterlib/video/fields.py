"""H.264 whose fields are coded apart: which packets hold the second field of a frame (ITU-T H.264, 7.3, 7.4.1.2.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

_SLICES, _SPS, _PPS = (1, 5), 7, 8
_HEAD = 48  # Bytes of a slice that hold what is read of its header.
# Profiles whose parameter sets state the form of chroma.
_HIGH = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
_START = re.compile(rb"\x00\x00\x01")


def units(data: bytes, width: int = 0) -> Iterator[bytes]:
    """The units of a packet, as far as their heads go: behind start codes, or behind lengths of `width` bytes."""
    if not width:
        places = [match.end() for match in _START.finditer(data)]
        for begin, end in pairwise([*places, len(data) + 3]):
            yield data[begin : min(end - 3, begin + 4096)]
        return
    at = 0
    while at + width < len(data):
        length = int.from_bytes(data[at : at + width], "big")
        at += width
        yield data[at : at + min(length, 4096)]
        at += length


class _Bits:
    """Reads a unit bit by bit, without the bytes that were put in to keep start codes out."""

    def __init__(self, unit: bytes) -> None:
        data = unit.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the unit is cut off")
        return self._value >> self._left & ((1 << count) - 1)

    def number(self) -> int:
        """Exp-Golomb: ue(v)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


@dataclass(frozen=True)
class _Sequence:
    """A sequence parameter set: bits of a frame number, whether planes are coded apart, whether fields may be."""

    bits: int
    planes_apart: bool
    fields: bool

    @classmethod
    def of(cls, unit: bytes) -> tuple[int, _Sequence]:
        bits = _Bits(unit)
        profile = bits.take(8)
        bits.take(16)
        number, planes_apart = bits.number(), False
        if profile in _HIGH:
            chroma = bits.number()
            planes_apart = chroma == 3 and bool(bits.take(1))
            bits.number(), bits.number(), bits.take(1)
            if bits.take(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling(bits, 16 if index < 6 else 64)
        frame_number = bits.number() + 4
        order = bits.number()
        if order == 0:
            bits.number()
        elif order == 1:
            bits.take(1), bits.number(), bits.number()
            for _ in range(bits.number()):
                bits.number()
        bits.number(), bits.take(1), bits.number(), bits.number()
        return number, cls(frame_number, planes_apart, not bits.take(1))


def _skip_scaling(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.number()
            following = (last + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        last = following or last


@dataclass
class SecondFields:
    """Tells of packet after packet, in the order of decoding, whether it ends the frame that the one before began.

    Parameters
    ----------
    extradata : bytes
        What the container says ahead: parameter sets, and whether units are led by lengths or by start codes.
    """

    extradata: bytes
    _sequences: dict[int, _Sequence] = field(default_factory=dict, repr=False)
    _pictures: dict[int, int] = field(default_factory=dict, repr=False)
    _first: tuple[int, bool] | None = field(default=None, repr=False)
    _width: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        if self.extradata[:1] == b"\1" and len(self.extradata) > 6:
            # ISO/IEC 14496-15, 5.3.3.1: sets of both kinds, each led by its length, and how many there are.
            self._width = (self.extradata[4] & 3) + 1
            rest = self.extradata[5:]
            for mask in (31, 255):
                count, rest = (rest[0] & mask if rest else 0), rest[1:]
                for _ in range(count):
                    end = 2 + int.from_bytes(rest[:2], "big")
                    self._learn(rest[2:end])
                    rest = rest[end:]
        else:
            for unit in units(self.extradata, self._width):
                self._learn(unit)

    @property
    def may_come(self) -> bool:
        """Whether a parameter set allows for fields, or none was seen yet."""
        return not self._sequences or any(sequence.fields for sequence in self._sequences.values())

    def ends(self, packet: bytes) -> bool:
        """Whether the packet is the second field of a frame."""
        fields = [picture for unit in units(packet, self._width) if (picture := self._learn(unit)) is not None]
        first, self._first = self._first, None
        alike = set(fields)
        field_ = alike.pop() if len(alike) == 1 else ()
        if not field_:
            return False
        number, bottom = field_
        if first == (number, not bottom):
            return True
        self._first = number, bottom
        return False

    def _learn(self, unit: bytes) -> tuple[int, bool] | tuple[()] | None:
        """Frame number and parity of a slice; nothing of a slice of a frame; None for another unit."""
        kind = unit[0] & 31 if unit else 0
        try:
            if kind == _SPS:
                number, sequence = _Sequence.of(unit[1:])
                self._sequences[number] = sequence
            elif kind == _PPS:
                bits = _Bits(unit[1:])
                number = bits.number()
                self._pictures[number] = bits.number()
            elif kind in _SLICES:
                return self._slice(unit[1 : 1 + _HEAD])
        except (ValueError, KeyError):
            pass
        return None

    def _slice(self, head: bytes) -> tuple[int, bool] | tuple[()]:
        bits = _Bits(head)
        bits.number(), bits.number()
        sequence = self._sequences[self._pictures[bits.number()]]
        if sequence.planes_apart:
            bits.take(2)
        number = bits.take(sequence.bits)
        return (number, bool(bits.take(1))) if sequence.fields and bits.take(1) else ()
