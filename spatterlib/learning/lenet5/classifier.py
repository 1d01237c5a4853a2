"""Classifiers `lenet5` and `lenet5-classic`: the two networks of the research system, 61,241 parameters each."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.learning.lenet5.weights import layers_in_order, network_of, numbered, read
from spatterlib.plugins.classifier import Classifier, Engine, Notify, Preprocessing, Samples, Scores
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Image

Array = NDArray[np.float32]

WEIGHTS = "weights.safetensors"

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class LenetModel:
    """A trained LeNet5; predicts with NumPy and Numba alone.

    Parameters
    ----------
    classifier : Lenet5
        The hyper-parameters it was trained with.
    classes : tuple of str
        In the order of the columns.
    weights : dict
        float32 arrays by the names of a plain state dict (``model.N.weight``), layer after layer.
    facts : dict
        What was saved with it.
    engine : {"numba", "torch", "onnx"}
        Who computes: our kernels, PyTorch or ONNX Runtime.
    """

    classifier: Lenet5
    classes: tuple[str, ...]
    weights: Mapping[str, Array] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    engine: Engine = "numba"

    @property
    def preprocessing(self) -> Preprocessing:
        """How crops are prepared."""
        return self.classifier.preprocessing

    def scores(self, images: Image) -> Scores:
        """``(n, classes)`` float64 of ``(n, 40, 40, channels)`` uint8 prepared crops."""
        return np.concatenate([np.empty((0, len(self.classes))), *map(self._scores, self._chunks(images))])

    def embed(self, images: Image) -> Array:
        """``(n, 84)`` float32 of prepared crops: what the last layer sees; by our kernels, whatever the engine."""
        parts = [self._hidden(samples)[0] for samples in self._chunks(images)]
        return np.concatenate([np.empty((0, list(self.weights.values())[8].shape[1]), np.float32), *parts])

    @property
    def last_layer(self) -> tuple[Array, Array]:
        """``(classes, 84)`` weights and ``(classes,)`` biases; the first class of two has none."""
        weights, biases = list(self.weights.values())[8:10]
        if len(weights) > 1:
            return weights, biases
        return np.concatenate([np.zeros_like(weights), weights]), np.concatenate([np.zeros_like(biases), biases])

    def with_last_layer(self, weights: Array, biases: Array) -> Self:
        """The same model with another last layer."""
        names = list(self.weights)
        if len(self.weights[names[8]]) == 1:
            weights, biases = weights[1:] - weights[:1], biases[1:] - biases[:1]
        new = {names[8]: np.asarray(weights, np.float32), names[9]: np.asarray(biases, np.float32)}
        return dataclasses.replace(self, weights={**self.weights, **new})

    def _chunks(self, images: Image) -> Iterator[Image]:
        for start in range(0, len(images), _CHUNK):
            yield self.preprocessing.samples(images, np.arange(start, min(start + _CHUNK, len(images))))

    def _scores(self, samples: Image) -> Scores:
        if self.engine != "numba":
            return self._ask(samples).astype(np.float64)
        hidden, layer = self._hidden(samples)
        scores: Scores = layer(hidden, *list(self.weights.values())[8:10]).astype(np.float64)
        if scores.shape[1] > 1:
            return scores
        return np.concatenate([np.zeros_like(scores), scores], axis=1)

    def _hidden(self, samples: Image) -> tuple[Array, Callable[[Array, Array, Array], Array]]:
        """What the last layer sees, and who multiplies it."""
        from spatterlib.learning.lenet5.stages import FEW, few, forward

        arrays = list(self.weights.values())
        first = arrays[0].sum(axis=1, keepdims=True) if samples.shape[3] == 1 else arrays[0]
        stages = (np.ascontiguousarray(first), arrays[1], arrays[2], arrays[3])
        tanh = self.classifier.tanh
        is_few = len(samples) <= FEW
        hidden = few(samples, stages, tanh) if is_few else forward(samples, stages, tanh, threads=1)[0]
        layer, act = (_product if is_few else _layer), (_sigmoid if tanh else _relu)
        for weight, bias in zip(arrays[4:8:2], arrays[5:8:2], strict=True):
            hidden = act(layer(hidden, weight, bias))
        return hidden, layer

    def with_engine(self, engine: Engine) -> Self:
        """The same model, computed by "numba", "torch" or "onnx".

        Raises
        ------
        ParameterError, SpatterlibError
            If the engine is unknown, or not installed.
        """
        if engine not in get_args(Engine):
            raise ParameterError(f"a model is computed by {', '.join(get_args(Engine))}, not by {engine!r}")
        chosen = dataclasses.replace(self, engine=engine)
        if engine != "numba":
            _ = chosen._ask  # says now if it is not installed
        return chosen

    def torch_network(self) -> Any:
        """``torch.nn.Module``: see `spatterlib.plugins.classifier.Exportable`."""
        from spatterlib.learning.lenet5.engines import module

        return module(self.weights, tanh=self.classifier.tanh, channels=self.preprocessing.channels)

    @cached_property
    def _ask(self) -> Callable[[Image], Array]:
        from spatterlib.learning.engines import scorer
        from spatterlib.learning.lenet5.engines import graph

        if self.engine == "torch":
            return scorer("torch", self.torch_network())
        return scorer("onnx", graph(self.weights, tanh=self.classifier.tanh, channels=self.preprocessing.channels))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_ask"}

    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
        """Write ``weights.safetensors`` into a folder: a plain state dict, everything else in its header."""
        from safetensors.numpy import save_file

        header = {"parameters": dataclasses.asdict(self.classifier), "classes": list(self.classes), **facts}
        weights = numbered(self.weights, self.classifier.id)
        arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
        with beside(Path(folder) / WEIGHTS) as part:
            save_file(arrays, part, metadata={"spatterlib": json.dumps(header)})


def _product(x: Array, weight: Array, bias: Array) -> Array:
    """A dense layer, for a handful of samples."""
    return np.asarray(x @ weight.T + bias, np.float32)


def _layer(x: Array, weight: Array, bias: Array) -> Array:
    """A dense layer, for many."""
    from spatterlib.kernels.learning.lenet import dense

    out = np.empty((len(x), len(weight)), np.float32)
    dense(np.ascontiguousarray(x), np.ascontiguousarray(weight), np.ascontiguousarray(bias), out)
    return out


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))), np.float32)


@dataclass(frozen=True)
class Lenet5:
    """LeNet5 with maximum pooling and no activation after the convolutions; ReLU between the dense layers.

    Convolutions 3 to 6 and 6 to 16 of 5x5, dense layers 400-120-84-1; with more than two classes one output
    each. It sees 32x32 px.

    Parameters
    ----------
    epochs, batch : int
        Passes over the training crops; crops per step.
    learning_rate : float
        Of Adam.
    seed : int
        Of initial weights, order and rotations.
    colour : {"grey", "rgb"}
        Grey crops count as three equal channels.
    size : int
        Px, side that crops are resized to before 32x32 px are cut out of the middle.
    rotation : float
        Degrees, largest rotation to either side in training.
    letterbox : bool
        Keep the proportions of crops.

    Examples
    --------
    >>> import spatterlib as sp
    >>> sp.make("classifier", "lenet5").preprocessing.shape
    (40, 40, 1)
    """

    epochs: int = field(default=20, metadata={"help": "passes over the training crops"})
    batch: int = field(default=1024, metadata={"help": "crops per step"})
    learning_rate: float = field(default=1e-3, metadata={"help": "step size of Adam"})
    seed: int = field(default=1234, metadata={"help": "seed of initial weights, order and rotations"})
    colour: Literal["grey", "rgb"] = field(default="grey", metadata={"help": "what the network sees"})
    size: int = field(default=40, metadata={"help": "px, side that crops are resized to"})
    rotation: float = field(default=15.0, metadata={"help": "degrees, largest rotation in training"})
    letterbox: bool = field(default=False, metadata={"help": "keep the proportions of crops"})
    id: ClassVar[str] = "lenet5"
    tanh: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise ParameterError(f"learning_rate must lie between 0 and 1, got {self.learning_rate}")
        if self.seed < 0:
            raise ParameterError(f"seed must be 0 or more, got {self.seed}")
        _ = self.preprocessing

    @property
    def preprocessing(self) -> Preprocessing:
        """How it wants its crops."""
        return Preprocessing(self.colour, self.size, 32, self.rotation, self.letterbox)

    def ready(self, device: str = "auto") -> None:
        """Refuse early a device that is missing, or PyTorch itself."""
        from spatterlib.plugins.training_loop import device_of

        device_of(device)

    def fit(
        self,
        train: Samples,
        validation: Samples,
        *,
        classes: Sequence[str],
        checkpoint: str | None = None,
        device: str = "auto",
        notify: Notify | None = None,
    ) -> LenetModel:
        """Train on prepared crops; see `spatterlib.plugins.Classifier` and `spatterlib.plugins.fit`."""
        from spatterlib.plugins.training_loop import device_of, fit, import_torch

        import_torch()
        from spatterlib.learning.lenet5.torch_networks import Trainable

        outputs = 1 if len(classes) == 2 else len(classes)
        network = Trainable.new(outputs, tanh=self.tanh, seed=self.seed, device=device_of(device))
        weights = fit(network, train, validation, self, checkpoint=checkpoint, notify=notify)
        return LenetModel(self, tuple(classes), weights)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Whether a file holds weights of this network: its layers are numbered as those of the published one.

        Raises
        ------
        StoreError
            If it holds no weights of a LeNet5.
        """
        file = Path(path)
        return network_of(layers_in_order(read(file)[0], file)) == cls.id

    @classmethod
    def load(cls, path: str, *, classes: Sequence[str] = ()) -> LenetModel:
        """Read a run folder, its ``weights.safetensors``, or a plain PyTorch state dict (``.pt``, ``.pth``, ``.mdl``).

        Parameters
        ----------
        path : str
            Folder or file. PyTorch is not needed, and nothing in a file is executed. A state dict has keys
            ``model.N.weight`` and ``model.N.bias``; weights whose layers are numbered as those of the other network
            are refused, other numbers are taken as they come.
        classes : sequence of str
            Other names for the classes, as many; by default those in the file, numbers where it does not say them.

        Raises
        ------
        MissingFileError
            If nothing is there.
        StoreError
            If the file is damaged, holds anything but tensors, or weights of other shapes or of the other network.
        """
        file = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise MissingFileError(f"no weights at {file}; expected {WEIGHTS} or a state dict (.pt, .pth, .mdl)")
        arrays, facts = read(file)
        weights = layers_in_order(arrays, file)
        network = network_of(weights)
        if network not in (None, cls.id):
            raise StoreError(f"{file} holds weights of {network!r}, by the numbers of its layers, not of {cls.id!r}")
        outputs = len(list(weights.values())[-1])
        names = tuple(classes or facts.get("classes") or map(str, range(max(outputs, 2))))
        if len(names) != max(outputs, 2):
            raise StoreError(f"{file} tells {max(outputs, 2)} classes apart, but {len(names)} were named: {names}")
        try:
            classifier = cls(**facts.get("parameters", {}))
        except (TypeError, ValueError) as error:
            raise StoreError(f"{file} is damaged: what it says of its weights makes no sense: {error}") from error
        said = {name: value for name, value in facts.items() if name not in ("parameters", "classes")}
        return LenetModel(classifier, names, weights, said)


@dataclass(frozen=True)
class Lenet5Classic(Lenet5):
    """LeNet5 as of old: tanh and average pooling after the convolutions, sigmoid between the dense layers.

    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proc.
    IEEE 86 (1998). The parameters are those of `lenet5`.
    """

    id: ClassVar[str] = "lenet5-classic"
    tanh: ClassVar[bool] = True


@hookimpl
def spatter_classifiers() -> dict[str, type[Classifier]]:
    """The two networks."""
    return {class_.id: class_ for class_ in (Lenet5, Lenet5Classic)}
