"""Checksums of FFV1, which FFmpeg compares and, where they are wrong, paints what came before (RFC 9043, 4.9)."""

from __future__ import annotations

import zlib

_TRAILER = 8  # Bytes behind a slice: its length (3), whether it was damaged before (1), checksum (4).
# The checksum takes the highest bit of a byte first, and zlib's the lowest.
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ONES = 0xFFFFFFFF


def slices_are_whole(packet: bytes) -> bool:
    """Whether every slice of a frame agrees with the checksum behind it; not so where there are none."""
    end = len(packet)
    while end:
        length = int.from_bytes(packet[max(end - _TRAILER, 0) : end - 5], "big") + _TRAILER
        if length > end:
            return False
        # Begun with 0, a part and its checksum together leave 0.
        if zlib.crc32(packet[end - length : end].translate(_TURNED), _ONES) != _ONES:
            return False
        end -= length
    return True
