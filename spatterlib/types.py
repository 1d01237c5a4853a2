"""The nouns that carry everything: detections, frame logs, pictures and clips, and the plugin protocols.

Colour is RGB, coordinates are x right and y down in pixels, boxes are ``(x, y, width, height)`` and
half-open, times are seconds, frame numbers are exact integers from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ContractError
from spatterlib.kernels.constants import Box, Image

__all__ = [
    "DETECTION",
    "FRAME_LOG",
    "Box",
    "Clip",
    "Detections",
    "Detector",
    "Filter",
    "Image",
    "Picture",
    "Store",
    "StoreKind",
    "Video",
]

Detections: TypeAlias = NDArray[np.void]
"""``(n,)`` array of dtype `DETECTION`."""

DETECTION = np.dtype(
    [
        ("frame", "<i8"),
        ("time", "<f8"),
        ("x", "<i4"),
        ("y", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("area", "<f4"),
        ("red", "<f4"),
        ("green", "<f4"),
        ("blue", "<f4"),
        ("peak", "u1"),
    ]
)
"""One row per spatter in one frame.

========== ==== ================================================================
field      type unit, meaning
========== ==== ================================================================
``frame``  i8   number of the frame in which the spatter is visible, from 0
``time``   f8   s, presentation time of that frame
``x``      i4   px, left edge of the crop box
``y``      i4   px, top edge of the crop box
``width``  i4   px, size of the crop box
``height`` i4   px, size of the crop box
``area``   f4   px², area enclosed by the outline that the detector found
``red``    f4   grey levels 0-255, mean over the crop box; so are green and blue
``peak``   u1   brightest luma in the crop box
========== ==== ================================================================
"""

FRAME_LOG = np.dtype([("number", "<i8"), ("time", "<f8"), ("detections", "<i4"), ("decoded", "?")])
"""One row per expected frame: number, time in s (NaN where unknown), detections kept, decoded or not."""


class Picture(Protocol):
    """One decoded frame that can be turned into RGB, whole or in part."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in px."""

    def rgb(self, box: Box, out: Image | None = None) -> Image:
        """``(height, width, 3)`` uint8 RGB of `box`; equal to the whole frame's RGB cut to the box.

        With `out`, a C-contiguous array of that shape, the result is written there and returned.
        """


@dataclass(frozen=True, eq=False)
class RgbPicture:
    """A picture that is an RGB or grey array already.

    Parameters
    ----------
    array : ndarray
        ``(h, w, 3)`` uint8 RGB or ``(h, w)`` uint8 grey.
    """

    array: Image

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in px."""
        return self.array.shape[0], self.array.shape[1]

    def rgb(self, box: Box, out: Image | None = None) -> Image:
        """``(height, width, 3)`` uint8 RGB of `box`, grey replicated to three channels."""
        x, y, width, height = box
        part = self.array[y : y + height, x : x + width]
        if part.ndim == 2:
            part = np.broadcast_to(part[..., None], (*part.shape, 3))
        if out is None:
            return part
        out[...] = part
        return out


@dataclass(frozen=True, eq=False)
class Clip:
    """A run of consecutive frames; what a detector gets. Immutable.

    Parameters
    ----------
    pictures : sequence of Picture
        The ``lead + n`` frames.
    times : ndarray
        ``(lead + n,)`` float64, s, presentation times from the container.
    start : int
        Number of the first frame that may yield detections.
    lead : int
        How many context frames stand in front of it.
    roi : tuple of int, optional
        ``(x, y, width, height)``: the part of the full frame that the clip shows; the whole by default.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> clip = sp.Clip.of(np.zeros((3, 48, 64, 3), np.uint8), fps=25)
    >>> clip.frames.shape, clip.times.tolist()
    ((3, 48, 64, 3), [0.0, 0.04, 0.08])
    """

    pictures: Sequence[Picture]
    times: NDArray[np.float64]
    start: int = 0
    lead: int = 0
    roi: Box | None = None
    _cache: dict[str, Image] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, frames: Image, fps: float = 25, *, start: int | None = None, lead: int = 0) -> Self:
        """Make a clip of a plain array.

        Parameters
        ----------
        frames : ndarray
            ``(lead + n, h, w, 3)`` uint8 RGB or ``(lead + n, h, w)`` uint8 grey.
        fps : float
            Frames per second, from which the times are computed.
        start : int, optional
            Number of the first frame that may yield detections; `lead` by default.
        lead : int
            How many of the frames are context.

        Raises
        ------
        ContractError
            If the array has another dtype or number of dimensions.
        """
        array = np.asarray(frames)
        if array.dtype != np.uint8 or array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3):
            raise ContractError(
                "Clip.of expects uint8 frames of shape (n, h, w, 3) or (n, h, w), "
                f"got {array.dtype} {array.shape}; convert with .astype('uint8') or pick three channels"
            )
        first = lead if start is None else start
        times = (np.arange(len(array)) + first - lead) / fps
        return cls([RgbPicture(frame) for frame in array], times, first, lead)

    @property
    def box(self) -> Box:
        """The part of the full frame that the clip shows, ``(x, y, width, height)`` in px."""
        if self.roi is not None or not self.pictures:
            return self.roi or (0, 0, 0, 0)
        height, width = self.pictures[0].shape
        return 0, 0, width, height

    @property
    def numbers(self) -> NDArray[np.int64]:
        """``(lead + n,)`` int64, number of each frame."""
        return np.arange(len(self.pictures), dtype=np.int64) + (self.start - self.lead)

    @property
    def frames(self) -> Image:
        """``(lead + n, h, w, 3)`` uint8 RGB, read-only; converted once and kept."""
        if "frames" not in self._cache:
            _, _, width, height = self.box
            frames = np.empty((len(self.pictures), height, width, 3), np.uint8)
            for index, picture in enumerate(self.pictures):
                picture.rgb(self.box, frames[index])
            frames.flags.writeable = False
            self._cache["frames"] = frames
        return self._cache["frames"]

    @property
    def luma(self) -> Image:
        """``(lead + n, h, w)`` uint8, grey level of `frames` (ITU-R BT.601 weights), read-only."""
        if "luma" not in self._cache:
            import cv2

            luma = np.empty(self.frames.shape[:3], np.uint8)
            for frame, grey in zip(self.frames, luma, strict=True):
                cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY, grey)
            luma.flags.writeable = False
            self._cache["luma"] = luma
        return self._cache["luma"]

    def rgb(self, index: int, out: Image | None = None) -> Image:
        """``(h, w, 3)`` uint8 RGB, ``frames[index]`` without keeping it; written to `out` if given."""
        return self.pictures[index].rgb(self.box, out)

    def crop(self, frame: int, box: Box) -> Image:
        """Cut one box out of one frame: always equal to ``frames[frame]`` cut to the box.

        Parameters
        ----------
        frame : int
            Index into `frames`, from 0.
        box : tuple of int
            ``(x, y, width, height)`` in px, from the clip's own upper left corner.

        Returns
        -------
        ndarray
            ``(height, width, 3)`` uint8 RGB.
        """
        x, y, width, height = (int(value) for value in box)
        return self.pictures[frame].rgb((x + self.box[0], y + self.box[1], width, height))

    def crops(self, detections: Detections) -> list[Image]:
        """Crops of table rows, whose boxes are in full-frame coordinates.

        Parameters
        ----------
        detections : ndarray
            ``(n,)`` `DETECTION`, rows of frames of this clip or its lead.

        Returns
        -------
        list of ndarray
            ``(height, width, 3)`` uint8 RGB each.
        """
        first = self.start - self.lead
        columns = [detections[name].tolist() for name in ("frame", "x", "y", "width", "height")]
        return [self.pictures[frame - first].rgb((*box,)) for frame, *box in zip(*columns, strict=True)]


@runtime_checkable
class Detector(Protocol):
    """A frozen dataclass that finds spatter; a pure function of a clip."""

    @property
    def lead(self) -> int:
        """How many context frames it needs in front of the first frame."""

    def __call__(self, clip: Clip) -> Detections:
        """``(n,)`` `DETECTION` for the frames of the clip, boxes from the clip's own upper left corner."""


@runtime_checkable
class Filter(Protocol):
    """A frozen dataclass that says which detections stay."""

    def __call__(self, detections: Detections, clip: Clip) -> NDArray[np.bool_]:
        """``(n,)`` bool, True = keep; boxes are in full-frame coordinates."""


@runtime_checkable
class Video(Protocol):
    """An opened recording: what `spatter_open_video` returns.

    ``times`` has one entry per frame that the recording should hold, so ``len(video.times)`` is
    the expected number of frames; NaN where a frame's time is unknown because it is missing.
    """

    @property
    def name(self) -> str:
        """What messages and stores call it: the file's or folder's name."""

    @property
    def width(self) -> int:
        """Px, as shown (rotation applied)."""

    @property
    def height(self) -> int:
        """Px, as shown (rotation applied)."""

    @property
    def times(self) -> NDArray[np.float64]:
        """``(expected,)`` float64, s, presentation time of each expected frame."""

    def identity(self) -> dict[str, Any]:
        """JSON-able: name, digest of the content, codec, size - what a result was made from."""

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        """Frames ``start .. stop - 1``, one item each, in order; None where one does not decode."""

    def close(self) -> None:
        """Let go of the file; may be called twice."""


class StoreKind(Protocol):
    """A class of stores: how one is recognised, made and opened."""

    suffixes: ClassVar[tuple[str, ...]]

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Whether `path` holds a store of this kind; an OSError if that cannot be told."""

    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Store:
        """Make a new, empty store at `path`, in place of what is there, and open it for appending.

        With `exclusive`, FileExistsError if anything is there.
        """

    @classmethod
    def open(cls, path: str, mode: str = "r") -> Store:
        """Open a store: mode "r" to read, "a" to append and to set columns."""


@runtime_checkable
class Store(Protocol):
    """An opened store: crops row by row beside their table; see `spatter_stores` for the laws."""

    @property
    def table(self) -> Detections:
        """``(n,)`` `DETECTION`: every row that is wholly on disk."""

    @property
    def frame_log(self) -> NDArray[np.void]:
        """``(frames,)`` `FRAME_LOG`: every frame that was looked at."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, the fields of `DETECTION` first."""

    @property
    def attrs(self) -> dict[str, Any]:
        """JSON-able facts about the whole: identities, versions, digests."""

    def append(
        self, table: Detections, encoded_crops: Sequence[bytes], frame_log: NDArray[np.void] | None = None
    ) -> None:
        """Add a batch of rows with their encoded crops, and the log of the frames they came from."""

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        """Encoded crops of the rows, as they were appended."""

    def read(self, rows: Sequence[int]) -> list[Image]:
        """Decoded crops of the rows, ``(h, w, 3)`` uint8 RGB each."""

    def column(self, name: str) -> NDArray[Any]:
        """``(n,)`` values of one column."""

    def set_column(self, name: str, values: NDArray[Any]) -> None:
        """Write one further column (label, group, probability), or replace it."""

    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Add to or replace entries of `attrs`."""

    def flush(self) -> None:
        """Commit everything appended so far; a kill after this loses none of it."""

    def close(self) -> None:
        """Flush and let go of the file; may be called twice."""

    def __len__(self) -> int: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
