"""Which frames others refer to, as far as their packets say: damage to one that nobody refers to is its own only."""

from __future__ import annotations

import re
from collections.abc import Iterator

_START = re.compile(rb"\x00\x00\x01")
# ITU-T H.265, table 7-1: pictures that no other of their layer refers to.
_HEVC_ALONE = {0, 2, 4, 6, 8}


def stands_alone(codec: str, packet: bytes) -> bool:
    """Whether no other frame refers to that of a packet; not, where it does not say.

    Parameters
    ----------
    codec : str
        FFmpeg's name: ``"h264"`` (ITU-T H.264, 7.4.1, nal_ref_idc), ``"hevc"`` (ITU-T H.265, 7.4.2.2), and those whose
        B pictures nothing refers to: ``"mpeg4"`` (ISO/IEC 14496-2, 6.3.5), ``"mpeg1video"`` and ``"mpeg2video"`` (ITU-T
        H.262, 6.3.9).
    packet : bytes
        As the container holds it.

    Examples
    --------
    >>> from spatterlib.video.references import stands_alone
    >>> stands_alone("h264", bytes([0, 0, 0, 1, 0x01, 0x9A])), stands_alone("h264", bytes([0, 0, 0, 1, 0x41, 0x9A]))
    (True, False)
    """
    if codec == "h264":
        said = [unit[0] >> 5 & 3 == 0 for unit in _units(packet) if unit[0] & 31 in (1, 5)]
    elif codec == "hevc":
        said = [unit[0] >> 1 & 63 in _HEVC_ALONE for unit in _units(packet) if unit[0] >> 1 & 63 < 32]
    elif codec == "mpeg4":
        said = [unit[1] >> 6 == 2 for unit in _behind_starts(packet) if unit[0] == 0xB6]
    elif codec in ("mpeg1video", "mpeg2video"):
        said = [unit[2] >> 3 & 7 == 3 for unit in _behind_starts(packet) if unit[0] == 0]
    else:
        said = []
    return bool(said) and all(said)


def _units(packet: bytes) -> Iterator[bytes]:
    """The heads of the units of a packet, which are led by start codes or by lengths of four bytes."""
    if packet[:3] == b"\0\0\1" or packet[:4] == b"\0\0\0\1":
        yield from _behind_starts(packet)
        return
    at = 0
    while at + 4 < len(packet):
        yield packet[at + 4 : at + 8].ljust(4, b"\0")
        at += 4 + int.from_bytes(packet[at : at + 4], "big")


def _behind_starts(packet: bytes) -> Iterator[bytes]:
    for match in _START.finditer(packet):
        yield packet[match.end() : match.end() + 4].ljust(4, b"\0")
