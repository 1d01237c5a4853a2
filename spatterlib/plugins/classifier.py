"""What passes between training and a classifier: the one page that the author of a classifier must read.

A classifier is a frozen dataclass of hyper-parameters. It says how it wants its crops (`preprocessing`), learns
from arrays of them (`fit`) and gives a `Model`, which turns crops into probabilities without the classifier.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.types import Image

__all__ = [
    "Classifier",
    "Engine",
    "Epoch",
    "Exportable",
    "Model",
    "Notify",
    "Preprocessing",
    "Samples",
    "probabilities_of",
]

Engine: TypeAlias = Literal["numba", "torch", "onnx"]
"""Who computes a model's scores: our kernels, PyTorch or ONNX Runtime."""

Scores: TypeAlias = NDArray[np.float64]
"""``(n, classes)``: log-odds up to a constant per row; `probabilities_of` turns them into probabilities."""


@dataclass(frozen=True)
class Preprocessing:
    """How a crop becomes a sample: resize, rotation (training only), centre crop; scaling to [0, 1] comes last.

    Parameters
    ----------
    colour : {"grey", "rgb"}
        Grey by the ITU-R BT.601 weights, or RGB.
    size : int
        Px, side of the square that a crop is resized to (antialiased, linear).
    cut : int
        Px, side of the square cut out of its centre.
    rotation : float
        Degrees, largest rotation to either side in training.
    letterbox : bool
        Keep the proportions of a crop and pad with black, instead of stretching it.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.plugins import Preprocessing
    >>> how = Preprocessing()
    >>> images = how.prepare([np.full((96, 124, 3), 200, np.uint8)])
    >>> images.shape, how.samples(images, np.array([0])).shape
    ((1, 40, 40, 1), (1, 32, 32, 1))
    """

    colour: Literal["grey", "rgb"] = "grey"
    size: int = 40
    cut: int = 32
    rotation: float = 15.0
    letterbox: bool = False

    def __post_init__(self) -> None:
        if self.colour not in ("grey", "rgb"):
            raise ParameterError(f"colour must be 'grey' or 'rgb', got {self.colour!r}")
        if not 1 <= self.cut <= self.size <= 1024:
            raise ParameterError(f"sizes need 1 <= cut <= size <= 1024 px, got {self.cut} and {self.size}")
        if not 0 <= self.rotation <= 180:
            raise ParameterError(f"rotation must be 0 to 180 degrees, got {self.rotation}")

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return 1 if self.colour == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a prepared crop: ``(size, size, channels)``."""
        return self.size, self.size, self.channels

    def prepare(self, crops: Sequence[Image]) -> Image:
        """Bring crops of any size to one.

        Parameters
        ----------
        crops : sequence of ndarray
            ``(h, w, 3)`` uint8 RGB each.

        Returns
        -------
        ndarray
            ``(n, size, size, channels)`` uint8.
        """
        images = np.zeros((len(crops), *self.shape), np.uint8)
        for crop, image in zip(crops, images, strict=True):
            self.prepare_into(crop, image)
        return images

    def prepare_into(self, crop: Image, out: Image) -> int:
        """Bring one ``(h, w, 3)`` uint8 RGB crop to ``(size, size, channels)`` in `out`, which is black before.

        Returns
        -------
        int
            The crop's brightest grey level.
        """
        from spatterlib.kernels.learning.augment import prepare

        crop = np.ascontiguousarray(crop)
        inside = self._inside(out, crop.shape[0], crop.shape[1])
        small = inside if inside.flags.c_contiguous else np.empty(inside.shape, np.uint8)
        peak = prepare(crop, small)
        if small is not inside:
            inside[...] = small
        return int(peak)

    def _inside(self, out: Image, height: int, width: int) -> Image:
        """The part of `out` that the crop fills."""
        if not self.letterbox:
            return out
        scale = self.size / max(height, width)
        tall, wide = (max(1, round(side * scale)) for side in (height, width))
        top, left = (self.size - tall) // 2, (self.size - wide) // 2
        return out[top : top + tall, left : left + wide]

    def samples(self, images: Image, rows: NDArray[np.int64], angles: NDArray[np.float64] | None = None) -> Image:
        """Samples of prepared crops, a batch at once.

        Parameters
        ----------
        images : ndarray
            ``(n, size, size, channels)`` uint8, from `prepare`.
        rows : ndarray
            ``(m,)`` int64, which of them.
        angles : ndarray, optional
            ``(m,)`` degrees, counter-clockwise; none = not rotated.

        Returns
        -------
        ndarray
            ``(m, cut, cut, channels)`` uint8.
        """
        from spatterlib.kernels.learning.augment import rotate_and_cut

        edge = round((self.size - self.cut) / 2)
        if angles is None:
            return images[rows, edge : edge + self.cut, edge : edge + self.cut]
        room = max(self.size, self.cut + self.cut // 2 + 2)
        padded = np.empty((room + (room - self.size) % 2,) * 2, np.uint32)
        out = np.empty((len(rows), self.cut, self.cut, self.channels), np.uint8)
        rotate_and_cut(images, rows, angles, padded, out)
        return out


@dataclass(frozen=True, eq=False)
class Samples:
    """Prepared crops with their labels: what a classifier learns from.

    Parameters
    ----------
    images : ndarray
        ``(n, size, size, channels)`` uint8, in memory or a memory map.
    labels : ndarray
        ``(n,)`` int64, index of the class.
    rows : ndarray
        ``(m,)`` int64, which of them belong to this set; all others are somebody else's.
    """

    images: Image
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Epoch:
    """How far a training is; sent after every batch.

    Parameters
    ----------
    number, of : int
        Epoch, from 1, and how many there will be.
    done, samples : int
        Samples seen in this epoch, and how many it has.
    loss, accuracy : float
        Mean over the samples seen in this epoch.
    validation_loss, validation_accuracy : float
        At the end of the epoch; NaN until then.
    seconds : float
        S, since the epoch began.
    """

    number: int
    of: int
    done: int
    samples: int
    loss: float
    accuracy: float
    validation_loss: float = float("nan")
    validation_accuracy: float = float("nan")
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether the epoch is over and validated."""
        return not np.isnan(self.validation_accuracy)


Notify: TypeAlias = Callable[[Epoch], None]
"""Gets how far a training is; see `Epoch`."""


@runtime_checkable
class Model(Protocol):
    """What has learned: prepared crops in, scores out; `spatterlib.learning.runs.Run` makes probabilities of them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How crops are prepared."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was saved with it; empty for a model that has just learned."""

    def scores(self, images: Image) -> Scores:
        """``(n, classes)`` float64 of ``(n, size, size, channels)`` uint8 prepared crops."""

    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
        """Write its weights, and facts of its run as JSON, into an existing folder, beside first, then renamed."""


@runtime_checkable
class Exportable(Model, Protocol):
    """What a `Model` has besides, if it can be exported; everything around the network is the exporter's."""

    def torch_network(self) -> Any:
        """``torch.nn.Module`` that ``torch.export`` takes.

        From samples, ``(n, channels, cut, cut)`` float32 in [0, 1], to scores, ``(n, classes)`` float32.
        """


@runtime_checkable
class Classifier(Protocol):
    """A frozen dataclass of hyper-parameters; see `spatter_classifiers`, also for what it may have besides."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How it wants its crops."""

    def fit(
        self,
        train: Samples,
        validation: Samples,
        *,
        classes: Sequence[str],
        checkpoint: str | None = None,
        device: str = "auto",
        notify: Notify | None = None,
    ) -> Model:
        """Learn; the same seed on the same machine gives the same model.

        With `checkpoint`, the path of a file, it writes there what it needs to go on after each epoch, and goes
        on from there if the file exists; then `notify` gets the epochs that are over already once more.
        """

    @classmethod
    def load(cls, path: str, *, classes: Sequence[str] = ()) -> Model:
        """Read what `Model.save` wrote into a folder, or a file of weights."""


def probabilities_of(scores: Scores, temperature: float = 1.0) -> Scores:
    """Softmax of scores divided by the temperature, ``(n, classes)`` float64.

    Examples
    --------
    >>> from spatterlib.plugins import probabilities_of
    >>> probabilities_of([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """
    scaled = np.asarray(scores, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: Scores = powers / powers.sum(axis=1, keepdims=True)
    return result
