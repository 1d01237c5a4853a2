"""Which frames others refer to, as far as their packets say: damage to one that nobody refers to is its own only."""

from __future__ import annotations

from spatterlib.video.fields import units

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
    coded = codec in ("h264", "hevc")
    # Where no start code leads, lengths of four bytes do.
    width = 4 if coded and not packet.startswith((b"\0\0\1", b"\0\0\0\1")) else 0
    heads = [unit[:4].ljust(4, b"\0") for unit in units(packet, width)]
    if codec == "h264":
        said = [head[0] >> 5 & 3 == 0 for head in heads if head[0] & 31 in (1, 5)]
    elif codec == "hevc":
        said = [head[0] >> 1 & 63 in _HEVC_ALONE for head in heads if head[0] >> 1 & 63 < 32]
    elif codec == "mpeg4":
        said = [head[1] >> 6 == 2 for head in heads if head[0] == 0xB6]
    elif codec in ("mpeg1video", "mpeg2video"):
        said = [head[2] >> 3 & 7 == 3 for head in heads if head[0] == 0]
    else:
        said = []
    return bool(said) and all(said)
