"""The streams of a video file: which one is read, how its decoder is set, what packets teach it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet, PacketSideData, PktSideDataT
    from av.video.stream import VideoStream

log = logging.getLogger("spatterlib")

# Decoders that paint what is missing unless they are told to fail; of what others conceal, they say that it is flawed.
_STRICT = ("mjpeg", "ljpeg")
# What a packet brings along for the decoder, and for all packets behind it: a seek loses it.
_LEARNED: tuple[PktSideDataT, ...] = ("palette", "new_extradata")


def lessons(packet: Packet[Any]) -> Iterator[PacketSideData]:
    """What a packet brings along for the decoder."""
    return (packet.get_sidedata(kind) for kind in _LEARNED if packet.has_sidedata(kind))


def teaches(packet: Packet[Any]) -> bool:
    """Whether a packet brings along what the decoder needs for those behind it."""
    return any(map(packet.has_sidedata, _LEARNED))


def prepare(stream: VideoStream) -> None:
    """Settings of a decoder, before it is opened."""
    stream.thread_type = "AUTO"
    if stream.codec_context.name in _STRICT:
        stream.codec_context.options = {"err_detect": "explode"}


def moving(source: InputContainer) -> list[VideoStream]:
    """Streams of moving pictures: the cover of a piece of music is none."""
    return [
        stream
        for stream in source.streams.video
        if "attached_pic" not in str(stream.disposition) and stream.codec_context is not None
    ]


def contents(source: InputContainer) -> str:
    """What a source holds, in words."""
    unknown = {"video": "a picture or video of an unknown kind"}
    return " and ".join(sorted({unknown.get(stream.type, stream.type) for stream in source.streams})) or "nothing"


def shown(source: InputContainer) -> VideoStream:
    """The stream that a player shows: a film before a still, else FFmpeg's choice."""
    streams = moving(source)
    films = [stream for stream in streams if stream.frames != 1] or streams
    best = source.streams.best("video")
    return next((stream for stream in films if stream is best), films[0])


def say_what_is_left_out(path: Path, source: InputContainer, chosen: VideoStream) -> None:
    """Warn of streams that are not read; some are known only when the packets have been listed."""
    others = [stream for stream in moving(source) if stream.index != chosen.index]
    if others:
        log.warning(
            "%s holds %d video streams; stream %d is read, as players do, and not %s; "
            "to read another, write it into a file of its own",
            path,
            len(others) + 1,
            chosen.index,
            " and ".join(_described(stream) for stream in others),
        )


def _described(stream: VideoStream) -> str:
    coding = stream.codec_context
    size = f", {coding.width}x{coding.height} px" if coding.width else ""
    return f"stream {stream.index} ({coding.name}{size})"
