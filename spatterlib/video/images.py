"""Recordings that are images: folders and patterns of PNG, JPEG, BMP, PGM, TIFF; multi-page TIFF; ``.npy`` stacks.

They hold no times: 25 frames per second are assumed unless the caller gives `fps`. 16 bits are scaled to 8 by one
rule, 255 / 65535, whatever the content, so that frames stay comparable. Images of one channel are grey.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import is_for_a_store
from spatterlib.common.image_codec import MAX_PIXELS
from spatterlib.errors import MissingFileError, VideoError, one_line
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Picture, RgbPicture, Video
from spatterlib.video.cut import believed
from spatterlib.video.names import in_natural_order
from spatterlib.video.still import Still, decode_still, eight_bits, warn_if_dark
from spatterlib.video.tiff import TiffPages

log = logging.getLogger("spatterlib")

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf2", ".tf8"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".pnm"}
suffixes = (".npy", *sorted(IMAGE_SUFFIXES))
FPS = 25.0
# NumPy reads the head of a file as a Python literal.
_NO_HEADER = (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError)


def is_stack(path: str) -> bool:
    """Whether a file is a TIFF of several pages or an animated PNG, and so a recording by itself."""
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".png":
            return is_animated(path)
        pages = TiffPages.of(Path(path)) if suffix in TIFF_SUFFIXES else None
    except OSError:
        return False
    return pages is not None and len(pages) > 1


def is_animated(path: str) -> bool:
    """Whether a PNG has frames: its chunk acTL stands before the first data (PNG, third edition, 11.3.6)."""
    with Path(path).open("rb") as file:
        head = file.read(4096)
    return b"acTL" in head.partition(b"IDAT")[0]


class Stills(Protocol):
    """Where the frames of a `Series` come from."""

    def __len__(self) -> int: ...

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Images ``start .. stop - 1``; None for one that does not decode."""


@dataclass(frozen=True)
class ImageFiles:
    """One image a file.

    Parameters
    ----------
    files : tuple of str
        Their paths, in order.
    """

    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Images ``start .. stop - 1``; None for one that does not decode."""
        for file in self.files[start:stop]:
            try:
                pages = TiffPages.of(Path(file)) if Path(file).suffix.lower() in TIFF_SUFFIXES else None
                yield next(pages.frames(0, 1)) if pages else decode_still(Path(file).read_bytes())
            except OSError:
                yield None


@dataclass(frozen=True)
class NpyFrames:
    """Frames of an ``.npy`` file, read one by one: the file may be larger than memory, or cut off.

    Parameters
    ----------
    path : Path
        The file.
    dtype : str
        NumPy's name of the type, with its byte order.
    shape : tuple of int
        ``(n, h, w)`` or ``(n, h, w, channels)``.
    offset : int
        Bytes in front of the first frame.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, path: Path) -> NpyFrames:
        """Read the head of a file and refuse what are no frames."""
        with path.open("rb") as file:
            try:
                major = np.lib.format.read_magic(file)[0]
                head = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = head(file)
            except _NO_HEADER as error:
                raise VideoError(f"{path} is no .npy file that can be read: {one_line(error)}") from error
            offset = file.tell()
        got = f"{dtype} {shape}"
        if dtype.kind not in "ub" or dtype.itemsize > 2:
            raise VideoError(
                f"{path} holds {got}; frames are uint8, uint16 or bool; "
                "convert it, such as with (255 * a / a.max()).astype('uint8')"
            )
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
            raise VideoError(f"{path} holds {got}; frames are (n, h, w) or (n, h, w, 1, 3 or 4); a[None] adds an axis")
        if len(shape) == 3 and shape[2] in (3, 4):
            raise VideoError(f"{path} holds {got}, which looks like one colour image; save a[None] for one frame")
        if fortran:
            raise VideoError(f"{path} is in Fortran order; save np.ascontiguousarray(a), whose frames lie together")
        if 0 in shape[1:] or shape[1] * shape[2] > MAX_PIXELS:
            raise VideoError(f"{path} holds {got}; frames have 1 to {MAX_PIXELS} px")
        found = (path.stat().st_size - offset) // (dtype.itemsize * int(np.prod(shape[1:])))
        if found and shape[0] > found and not believed(found, shape[0] - found):
            log.warning("%s: its head says %d frames, it holds %d", path, shape[0], found)
            shape = (found, *shape[1:])
        return cls(path, dtype.str, shape, offset)

    def __len__(self) -> int:
        return self.shape[0]

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Frames ``start .. stop - 1``; None where the file is cut off."""
        dtype, count = np.dtype(self.dtype), int(np.prod(self.shape[1:]))
        with self.path.open("rb") as file:
            for number in range(start, stop):
                file.seek(self.offset + number * count * dtype.itemsize)
                flat = np.fromfile(file, dtype, count)
                yield _three_channels(flat.reshape(self.shape[1:])) if len(flat) == count else None


def _three_channels(frame: NDArray[Any]) -> Still:
    """``(h, w, 3)`` or ``(h, w)``, in the machine's byte order."""
    native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    if native.ndim == 3 and native.shape[2] != 3:
        return native[..., 0] if native.shape[2] == 1 else np.ascontiguousarray(native[..., :3])
    return native


@dataclass(frozen=True, eq=False)
class Series:
    """A recording that is a series of images.

    Parameters
    ----------
    path : str
        File, folder or pattern.
    stills : Stills
        Where the frames come from.
    kind : str
        ``"images"``, ``"tiff"`` or ``"npy"``.
    width, height : int
        Px, of the first image that decodes.
    depth : str
        Type of its values: ``"uint8"``, ``"uint16"`` or ``"bool"``.
    """

    path: str
    stills: Stills
    kind: str
    width: int
    height: int
    depth: str
    times: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", np.arange(len(self.stills)) / FPS)

    @property
    def name(self) -> str:
        """Name of the file or folder; of a pattern, the folder with it."""
        path = Path(self.path)
        return path.name if path.exists() else str(Path(path.absolute().parent.name, path.name))

    @property
    def keyframes(self) -> NDArray[np.int64]:
        """``(n,)`` int64: reading can begin at every frame."""
        return np.arange(len(self.stills))

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        files = self.stills.files if isinstance(self.stills, ImageFiles) else (self.path,)
        for name in files:
            with Path(name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"sha256:{digest.hexdigest()}"

    def identity(self) -> dict[str, Any]:
        """JSON-able: name, digest of the content, kind, size, number of frames, where the times come from."""
        return {
            "name": self.name,
            "digest": self._digest,
            "format": self.kind,
            "depth": self.depth,
            "width": self.width,
            "height": self.height,
            "frames": len(self.times),
            "fps": FPS,
            "times": f"assumed {FPS:g} fps",
        }

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        """Frames ``start .. stop - 1``, one item each, in order; None where one does not decode."""
        for number, still in enumerate(_still_there(self.path, self.stills.frames(start, stop)), start):
            if still is not None and still.dtype not in (np.uint8, np.uint16, np.bool_):
                raise VideoError(f"{self.name}: frame {number} holds {still.dtype}; convert it to 8 or 16 bits")
            yield None if still is None else RgbPicture(eight_bits(still))

    def close(self) -> None:
        """Nothing is held open between reads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _still_there(path: str, frames: Iterator[Still | None]) -> Iterator[Still | None]:
    try:
        yield from frames
    except OSError as error:
        raise VideoError(f"{path} can no longer be read: {error.strerror}; was it moved meanwhile?") from error


@hookimpl(trylast=True)
def spatter_open_video(path: str) -> Video | None:
    """Folders and patterns of images, image files, TIFF and ``.npy`` stacks."""
    file = Path(path)
    suffix = file.suffix.lower()
    if is_for_a_store(path):
        return None
    if file.is_dir():
        return _series(path, [entry.path for entry in os.scandir(file) if not entry.name.startswith(".")])
    if not file.exists():
        names = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not names:
            raise MissingFileError(f"nothing matches {path}")
        return _series(path, names)
    if suffix == ".npy":
        return _opened(path, NpyFrames.of(file), "npy")
    if suffix in TIFF_SUFFIXES:
        pages = TiffPages.of(file)
        if pages is None:
            raise VideoError(f"{path} is no TIFF file that can be read")
        if reason := pages.refusal():
            raise VideoError(f"{path}: {reason}")
        return _opened(path, pages, "tiff")
    # An animated PNG is a video, and FFmpeg's.
    single = suffix in IMAGE_SUFFIXES and not is_stack(path)
    return _opened(path, ImageFiles((path,)), "images") if single else None


def _series(path: str, names: list[str]) -> Series | None:
    files = in_natural_order(name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    if stack := next(filter(is_stack, files), None):
        raise VideoError(f"{path}: {Path(stack).name} holds several pages; open such a stack by itself")
    stems = {os.path.splitext(name)[0]: name for name in files}  # noqa: PTH122 - Path takes ten times as long
    if len(stems) < len(files):
        one, other = next((name, stems[stem]) for name in files if stems[stem := os.path.splitext(name)[0]] != name)  # noqa: PTH122
        raise VideoError(
            f"{path} holds {Path(one).name} and {Path(other).name}, one frame in two formats; "
            f"name which, such as {Path(other).with_name('*' + Path(other).suffix)}"
        )
    return _opened(path, ImageFiles(tuple(files)), "images") if files else None


def _opened(path: str, stills: Stills, kind: str) -> Series:
    if not len(stills):
        raise VideoError(f"{path} holds no frames")
    first = next((still for still in stills.frames(0, len(stills)) if still is not None), None)
    if first is None:
        raise VideoError(f"{path}: none of its {len(stills)} images can be decoded")
    warn_if_dark(path, int(first.max()) if first.dtype == np.uint16 else None)
    return Series(path, stills, kind, first.shape[1], first.shape[0], str(first.dtype))
