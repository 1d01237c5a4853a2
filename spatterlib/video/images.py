"""Recordings that are images: folders and patterns of PNG, JPEG, BMP, PGM, TIFF; multi-page TIFF.

They hold no times: 25 frames per second are assumed unless the caller gives `fps`. 16 bits are scaled to 8 by one
rule, 255 / 65535, whatever the content, so that frames stay comparable, or by the range of values that the caller
gives. Images of one channel are grey.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import is_for_a_store
from spatterlib.errors import MissingFileError, VideoError
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Picture, RgbPicture, Video
from spatterlib.video.names import in_natural_order, split_dataset
from spatterlib.video.still import Still, ValueRange, decode_still, eight_bits, warn_if_dark
from spatterlib.video.tiff import TiffPages

log = logging.getLogger("spatterlib")

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf2", ".tf8"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".pnm"}
suffixes = tuple(sorted(IMAGE_SUFFIXES))
FPS = 25.0


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

    @property
    def files(self) -> Sequence[str]:
        """What they are made of, for a digest."""

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
    raw : bool
        Whether values stay as they are in the file where it states its greatest one.
    """

    files: tuple[str, ...]
    raw: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def frames(self, start: int, stop: int) -> Iterator[Still | None]:
        """Images ``start .. stop - 1``; None for one that does not decode."""
        for file in self.files[start:stop]:
            try:
                pages = TiffPages.of(Path(file)) if Path(file).suffix.lower() in TIFF_SUFFIXES else None
                yield next(pages.frames(0, 1)) if pages else decode_still(Path(file).read_bytes(), raw=self.raw)
            except OSError:
                yield None


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
        ``"images"``, ``"tiff"``, ``"npy"``, ``"hdf5"`` or ``"zarr"``.
    width, height : int
        Px, of the first image that decodes.
    depth : str
        Type of its values, such as ``"uint8"``.
    given : dict
        What the caller said of its values: ``value_range``, ``axes``.
    """

    path: str
    stills: Stills
    kind: str
    width: int
    height: int
    depth: str
    given: dict[str, Any] = field(default_factory=dict)
    times: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", np.arange(len(self.stills)) / FPS)

    @property
    def name(self) -> str:
        """Name of the file or folder; of a pattern, the folder with it."""
        file, inside = split_dataset(self.path)
        if inside:
            return f"{Path(file).name}::{inside}"
        path = Path(self.path)
        return path.name if path.exists() else str(Path(path.absolute().parent.name, path.name))

    @property
    def keyframes(self) -> NDArray[np.int64]:
        """``(n,)`` int64: reading can begin at every frame."""
        return np.arange(len(self.stills))

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name in self.stills.files:
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
            **self.given,
        }

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        """Frames ``start .. stop - 1``, one item each, in order; None where one does not decode."""
        for number, still in enumerate(_still_there(self.path, self.stills.frames(start, stop)), start):
            if still is not None and still.dtype != self.depth:
                check_depth(f"{self.name}: frame {number}", still.dtype, self._range)
            yield None if still is None else RgbPicture(eight_bits(still, self._range))

    @property
    def _range(self) -> ValueRange:
        return self.given.get("value_range")

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


def check_depth(what: str, dtype: np.dtype[Any], value_range: ValueRange) -> None:
    """Refuse values of which nobody says what is black and white."""
    if dtype.kind not in "buif":
        raise VideoError(f"{what} holds {dtype}, which are no grey values or colours")
    if value_range is None and dtype.newbyteorder("=") not in (np.uint8, np.uint16, np.bool_):
        raise VideoError(
            f"{what} holds {dtype}, whose black and white are not known; "
            "say them with value_range=(low, high), --range LOW,HIGH"
        )


@hookimpl(trylast=True)
def spatter_open_video(path: str, value_range: ValueRange) -> Video | None:
    """Folders and patterns of images, image files, TIFF stacks."""
    file = Path(path)
    suffix = file.suffix.lower()
    if is_for_a_store(path):
        return None
    if file.is_dir():
        return _series(path, [entry.path for entry in os.scandir(file) if not entry.name.startswith(".")], value_range)
    if not file.exists():
        names = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not names:
            raise MissingFileError(f"nothing matches {path}")
        return _series(path, names, value_range)
    if suffix in TIFF_SUFFIXES:
        pages = TiffPages.of(file)
        if pages is None:
            raise VideoError(f"{path} is no TIFF file that can be read")
        if reason := pages.refusal():
            raise VideoError(f"{path}: {reason}")
        return series_of(path, pages, "tiff", value_range=value_range)
    # An animated PNG is a video, and FFmpeg's.
    single = suffix in IMAGE_SUFFIXES and not is_stack(path)
    return _of_files(path, [path], value_range) if single else None


def _series(path: str, names: list[str], value_range: ValueRange) -> Series | None:
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
    return _of_files(path, files, value_range) if files else None


def _of_files(path: str, files: Sequence[str], value_range: ValueRange) -> Series:
    return series_of(path, ImageFiles(tuple(files), value_range is not None), "images", value_range=value_range)


def series_of(path: str, stills: Stills, kind: str, **given: Any) -> Series:
    """A recording of images, of which one at least decodes.

    Raises
    ------
    VideoError
        If none does, or if it is not known which of their values are black and white.
    """
    if not len(stills):
        raise VideoError(f"{path} holds no frames")
    first = next((still for still in stills.frames(0, len(stills)) if still is not None), None)
    if first is None:
        raise VideoError(f"{path}: none of its {len(stills)} images can be decoded")
    said = {name: [*value] if name == "value_range" else value for name, value in given.items() if value is not None}
    check_depth(path, first.dtype, given.get("value_range"))
    warn_if_dark(path, int(first.max()) if first.dtype == np.uint16 and "value_range" not in said else None)
    return Series(path, stills, kind, first.shape[1], first.shape[0], str(first.dtype), said)
