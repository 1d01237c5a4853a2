"""What a plugin may have beside what its hook asks for: each capability a protocol, asked for with `isinstance`.

Whoever has none of them is complete. What each is good for stands in its docstring, its laws with the hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:  # NumPy is not loaded for what starts without it
    import numpy as np
    from numpy.typing import NDArray

    from spatterlib.plugins.classifier import Classifier, Engine
    from spatterlib.types import Clip, Detections, Image, Store

__all__ = [
    "HasClassifier",
    "HasDatasets",
    "HasKeyframes",
    "HasSeed",
    "HasSuffixes",
    "Place",
    "SupportsChunks",
    "SupportsEngines",
    "SupportsExplain",
    "SupportsExport",
    "SupportsLastLayer",
    "SupportsParts",
    "SupportsReady",
    "SupportsRecognise",
]


@runtime_checkable
class HasSuffixes(Protocol):
    """A module with a reader: its files are found in folders and patterns; a classifier: its files are loaded by it."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Such as ``(".cih",)``, in small letters; where a recording is several files, that of the one to open."""


@runtime_checkable
class SupportsExplain(Protocol):
    """A detector that shows how it sees a frame; the demo asks."""

    def explain(self, clip: Clip) -> Mapping[str, Image]:
        """Pictures of the last frame, ``(h, w)`` or ``(h, w, 3)`` uint8, by name, such as "difference" and "mask"."""


@runtime_checkable
class HasKeyframes(Protocol):
    """A video that can be read in parts, by several threads at the same time; `spatterlib.extract` asks."""

    @property
    def keyframes(self) -> NDArray[np.int64]:
        """``(k,)`` int64, increasing: numbers of frames at which reading can begin at no extra cost."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a store a crop lies that another process has written; its length is that of the crop's bytes."""

    start: int
    """Its first byte."""

    stop: int
    """The byte behind its last."""

    crc32: int
    """CRC-32 of its bytes, as `zlib.crc32` computes it."""

    def __len__(self) -> int:
        return self.stop - self.start


@runtime_checkable
class SupportsParts(Protocol):
    """A store whose crops other processes write; `spatterlib.extract` with an executor asks."""

    def part_writer(self, parts: int) -> Callable[[int, list[bytes]], list[Place]] | None:
        """What other processes write crops with, each those of its own part, straight to where they stay.

        Picklable: from the number of a part, from 0, and all its encoded crops to the places that `adopt` takes. None
        if this store cannot do it.
        """

    def adopt(self, table: Detections, places: Sequence[Place], frame_log: NDArray[np.void] | None = None) -> None:
        """Add rows whose crops a `part_writer` has written, at once, and the log of the frames they came from."""


@runtime_checkable
class SupportsChunks(Protocol):
    """A store of more rows than there is memory for; `spatterlib.convert`, `events` and `layers` read it in chunks.

    Of any other store they read the table, and each column, as a whole.
    """

    def table_rows(self, rows: Sequence[int]) -> Detections:
        """``(k,)`` `DETECTION`: some rows of ``table``, in any order and more than once."""

    @property
    def frame_count(self) -> int:
        """How many entries ``frame_log`` has."""

    def frame_log_rows(self, rows: Sequence[int]) -> NDArray[np.void]:
        """``(k,)`` `FRAME_LOG`: some entries of ``frame_log``, by their place in it."""

    def column(self, name: str, rows: Sequence[int] | None = None) -> NDArray[Any]:
        """``(n,)`` values of one column, or ``(k,)`` of some rows."""

    def append(
        self,
        table: Detections,
        encoded_crops: Sequence[bytes],
        frame_log: NDArray[np.void] | None = None,
        columns: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Add a batch of rows as ever, with their values of further columns.

        Such a column has been made by ``set_column`` before: for a store without rows, with an empty array of the type
        that is to come; for text of type ``S``, as many bytes of UTF-8 as the longest has.
        """


@runtime_checkable
class HasDatasets(Protocol):
    """A store that is divided, as files of the research system are; indexes of labels count within the parts."""

    @property
    def datasets(self) -> Mapping[str, int]:
        """Number of rows by name, in the order of the rows."""


@runtime_checkable
class SupportsExport(Protocol):
    """A class of stores that cannot be appended to: `spatterlib.convert` calls this, labels go into an index."""

    def export(self, store: Store, path: str) -> None:
        """Write a store to `path` as one of this kind."""


@runtime_checkable
class SupportsRecognise(Protocol):
    """A class of classifiers that looks into files: `spatterlib.load_model` asks where no suffix says whose one is."""

    def recognises(self, path: str) -> bool:
        """Whether the file holds a model of this classifier; a `SpatterlibError` if it holds none at all."""


@runtime_checkable
class SupportsReady(Protocol):
    """A classifier that knows before the data are read whether it can learn."""

    def ready(self, device: str) -> None:
        """Raise what `fit` would raise at once: a package or a device is missing."""


@runtime_checkable
class HasSeed(Protocol):
    """A classifier with a seed, which divides the data, too."""

    @property
    def seed(self) -> int:
        """Of everything random."""


@runtime_checkable
class SupportsEngines(Protocol):
    """A model that can be computed in several ways; `spatterlib.load_model` asks where an engine is named."""

    def with_engine(self, engine: Engine) -> Self:
        """The same model, computed by "numba", "torch" or "onnx"; a `SpatterlibError` if that is not possible."""


@runtime_checkable
class SupportsLastLayer(Protocol):
    """A model whose scores are a linear layer of what it sees; `spatterlib.adapt` and `spatterlib.monitor` ask."""

    def embed(self, images: Image) -> NDArray[np.float32]:
        """``(n, k)`` float32 of prepared crops: what its last layer sees."""

    @property
    def last_layer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``(classes, k)`` weights and ``(classes,)`` biases: ``embed(images) @ weights.T + biases`` are its scores."""

    def with_last_layer(self, weights: NDArray[np.float32], biases: NDArray[np.float32]) -> Self:
        """The same model with another last layer."""


@runtime_checkable
class HasClassifier(Protocol):
    """A model that knows what it learned by."""

    @property
    def classifier(self) -> Classifier:
        """The classifier, with its parameters."""
