"""H.264 whose fields are coded apart, as camcorders write it and x264 does not: bit by bit, without prediction."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from media import paint
from numpy.typing import NDArray

WIDTH, HEIGHT, CODED = 160, 120, 128


class Bits:
    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, count: int = 1) -> Bits:
        self.text += f"{value:0{count}b}" if count else ""
        return self

    def number(self, *values: int) -> Bits:
        """Exp-Golomb."""
        for value in values:
            self.put(0, (value + 1).bit_length() - 1) if value else None
            self.put(value + 1, (value + 1).bit_length())
        return self

    def aligned(self) -> bytes:
        self.text += "0" * (-len(self.text) % 8)
        return int(self.text, 2).to_bytes(len(self.text) // 8, "big")


def unit(kind: int, payload: bytes) -> bytes:
    """With a start code, and bytes put in that keep start codes out."""
    safe, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            safe.append(3)
            zeros = 0
        safe.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes([0x60 | kind]) + bytes(safe)


def parameter_sets(high: bool) -> bytes:
    bits = Bits().put(100 if high else 77, 8).put(30, 16).number(0)
    if high:
        bits.number(1, 0, 0).put(0, 2)
    bits.number(4, 0, 4, 1).put(0).number(WIDTH // 16 - 1, CODED // 32 - 1)
    # Fields may be coded apart; 8 px are cut off below; nothing about the time.
    bits.put(0b001, 3).put(1).number(0, 0, 0, (CODED - HEIGHT) // 4).put(0).put(1)
    picture = Bits().number(0, 0).put(0, 2).number(0, 0, 0).put(0, 3).number(0, 0, 0).put(0b100, 3).put(1)
    return unit(7, bits.aligned()) + unit(8, picture.aligned())


def coded_field(grey: NDArray[np.uint8], number: int, bottom: bool) -> bytes:
    first = number == 0 and not bottom
    bits = Bits().number(0, 7, 0).put(number % 256, 8).put(1).put(int(bottom))
    if first:
        bits.number(0)
    bits.put((2 * number + bottom) % 256, 8).put(0, 2 if first else 1).number(0).number(1)
    data = b""
    for y in range(0, CODED // 2, 16):
        for x in range(0, WIDTH, 16):
            bits.number(25)  # a macroblock of plain samples
            data += bits.aligned() + grey[y : y + 16, x : x + 16].tobytes() + b"\x80" * 128
            bits = Bits()
    return unit(5 if first else 1, data + b"\x80")


def write_fields(path: Path, count: int = 24, *, high: bool = False, together: bool = False) -> Path:
    """A film of frames 0, 1, 2, ...; `together` puts both fields of a frame into one packet."""
    packets = []
    for number in range(count):
        frame = np.pad(paint(number, WIDTH, HEIGHT)[..., 0], ((0, CODED - HEIGHT), (0, 0))).clip(16, 235)
        fields = [coded_field(frame[row::2], number, bool(row)) for row in range(2)]
        fields[0] = b"\0\0\0\1\x09\x10" + parameter_sets(high) + fields[0] if number % 12 == 0 else fields[0]
        packets += [b"".join(fields)] if together else fields
    plain = path.with_suffix(".plain.h264")
    plain.write_bytes(b"".join(packets))
    if path.suffix == ".h264":
        return plain.rename(path)
    clock = Fraction(1, 25 if together else 50)
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for index, data in enumerate(packets):
            packet: Any = av.Packet(data)
            packet.pts = packet.dts = index
            packet.duration, packet.time_base, packet.stream = 1, clock, stream
            packet.is_keyframe = index == 0
            out.mux(packet)
    return path
