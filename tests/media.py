"""Small videos whose frames say which number they have, written through PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
BITS = 12


@cache
def _ground(height: int, width: int) -> Image:
    """A coarse grey texture that moves, so that encoders predict frames from one another."""
    coarse = np.random.default_rng(7).integers(40, 180, (height // 8 + 2, (width + 64) // 8 + 2), dtype=np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


@lru_cache(maxsize=16)
def paint(number: int, width: int = 160, height: int = 120) -> Image:
    """``(height, width, 3)`` RGB: `number` in binary, white and black blocks on a texture that moves."""
    left = number % 60
    frame = np.ascontiguousarray(np.repeat(_ground(height, width)[:height, left : left + width, None], 3, axis=2))
    for bit, (rows, columns) in enumerate(_blocks(height, width)):
        frame[rows, columns] = 255 if number >> bit & 1 else 0
    frame.flags.writeable = False
    return frame


def number_of(rgb: Image) -> int:
    """The number that `paint` wrote into a frame; survives strong compression."""
    return sum(
        int(rgb[rows, columns].mean() > 127) << bit for bit, (rows, columns) in enumerate(_blocks(*rgb.shape[:2]))
    )


def _blocks(height: int, width: int) -> Iterable[tuple[slice, slice]]:
    down, across = height // 2, width // (BITS // 2)
    for bit in range(BITS):
        y, x = bit // (BITS // 2) * down, bit % (BITS // 2) * across
        yield slice(y + down // 4, y + 3 * down // 4), slice(x + across // 4, x + 3 * across // 4)


def write(
    path: Path,
    count: int = 60,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (160, 120),
    pixels: str = "yuv420p",
    fps: int = 25,
    pts: Sequence[int] | None = None,
    clock: Fraction | None = None,
    x264: str = "bframes=3:b-adapt=0:scenecut=0:keyint=12:log-level=none",
    options: dict[str, str] | None = None,
    mux: dict[str, str] | None = None,
    turned: tuple[float, bool] | None = None,
    repeat: int | None = None,
) -> Path:
    """Write a video of frames 0, 1, 2, ...

    Parameters
    ----------
    path : Path
        Its suffix says which container.
    size : tuple of int
        Px, width and height.
    pts, clock
        Time stamps, in units of `clock` seconds; frame numbers at `fps` by default.
    turned : tuple, optional
        Display matrix: degrees against the clock, mirrored left to right.
    repeat : int, optional
        Begin again with number 0 after so many frames; painting takes longer than encoding.
    """
    clock = clock or Fraction(1, fps)
    settings = {"x264-params": x264} if codec == "libx264" else {"g": "12"}
    with av.open(f"file:{path}", "w", options=mux or {}) as out:
        stream: Any = out.add_stream(codec, rate=fps, options={**settings, **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.time_base = clock
        for number in range(count):
            content = paint(number % (repeat or count), *size)
            frame: Any = av.VideoFrame.from_ndarray(content, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (pts[number] if pts else number), clock
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return turn(path, *turned) if turned else path


def turn(path: Path, degrees: float, mirrored: bool) -> Path:
    """Give an .mp4 a display matrix: degrees against the clock, mirrored left to right. PyAV before 18 cannot."""
    data, angle, mirror = bytearray(path.read_bytes()), np.radians(degrees), -1 if mirrored else 1
    a, b, c, d = mirror * np.cos(angle), -np.sin(angle), mirror * np.sin(angle), np.cos(angle)
    matrix = np.rint(np.array([a, b, 0, c, d, 0, 0, 0, 1 << 14]) * 65536).astype(">i4").tobytes()
    place = data.index(b"tkhd") + 44  # behind the name: version, times, number, duration, layer, volume
    data[place : place + len(matrix)] = matrix
    return _written(path, bytes(data))


def write_sound(path: Path) -> Path:
    """Write half a second of silence, and no picture."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    """The beginning of a file, as a disk that filled up leaves it."""
    data = path.read_bytes()
    return _written(path.with_name(f"cut_{path.name}"), data[: int(len(data) * share)])


def damage(path: Path, packets: Iterable[int], spare: int = 24) -> tuple[Path, list[int]]:
    """Overwrite some packets with noise, `spare` bytes aside; the file, and the numbers of the frames in them."""
    data, random = bytearray(path.read_bytes()), np.random.default_rng(3)
    with av.open(str(path)) as source:
        found = [(packet.pts, packet.pos, packet.size) for packet in source.demux(video=0) if packet.size]
    ranks = sorted(pts for pts, _, _ in found)  # type: ignore[type-var]
    hit: list[Any] = [found[index] for index in packets]
    for _, place, size in hit:
        begin = place + min(size // 4, spare)
        data[begin : place + size] = random.integers(0, 256, place + size - begin, dtype=np.uint8).tobytes()
    return _written(path.with_name(f"bad_{path.name}"), bytes(data)), sorted(ranks.index(pts) for pts, _, _ in hit)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
