"""Classifiers `lenet5` and `lenet5-classic`: the two networks of the research system, 61,241 parameters each."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.files import beside
from spatterlib.hookspecs import hookimpl
from spatterlib.learning import Classifier, Engine, Notify, Preprocessing, Samples, Scores, probabilities_of
from spatterlib.types import Image

Array = NDArray[np.float32]

WEIGHTS = "weights.safetensors"

_SHAPES = ((6, 3, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120))
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
    temperature : float
        What scores are divided by.
    engine : {"numba", "torch", "onnx"}
        Who computes: our kernels, PyTorch or ONNX Runtime.
    """

    classifier: Lenet5
    classes: tuple[str, ...]
    weights: Mapping[str, Array] = field(repr=False)
    temperature: float = 1.0
    engine: Engine = "numba"

    @property
    def preprocessing(self) -> Preprocessing:
        """How crops are prepared."""
        return self.classifier.preprocessing

    def scores(self, images: Image) -> Scores:
        """``(n, classes)`` float64 of ``(n, 40, 40, channels)`` uint8 prepared crops, temperature not applied."""
        parts = [
            self._scores(self.preprocessing.samples(images, np.arange(start, min(start + _CHUNK, len(images)))))
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate([np.empty((0, len(self.classes))), *parts])

    def _scores(self, samples: Image) -> Scores:
        if self.engine != "numba":
            return self._ask(samples).astype(np.float64)
        from spatterlib.builtin._lenet_stages import FEW, few, forward

        arrays = list(self.weights.values())
        first = arrays[0].sum(axis=1, keepdims=True) if samples.shape[3] == 1 else arrays[0]
        stages = (np.ascontiguousarray(first), arrays[1], arrays[2], arrays[3])
        tanh = self.classifier.tanh
        is_few = len(samples) <= FEW
        hidden = few(samples, stages, tanh) if is_few else forward(samples, stages, tanh, threads=1)[0]
        layer, act = (_product if is_few else _layer), (_sigmoid if tanh else _relu)
        for weight, bias in zip(arrays[4:8:2], arrays[5:8:2], strict=True):
            hidden = act(layer(hidden, weight, bias))
        scores: Scores = layer(hidden, arrays[8], arrays[9]).astype(np.float64)
        if scores.shape[1] > 1:
            return scores
        return np.concatenate([np.zeros_like(scores), scores], axis=1)

    def probabilities(self, crops: Sequence[Image]) -> Scores:
        """``(n, classes)`` float64, calibrated, of ``(h, w, 3)`` uint8 RGB crops of any size."""
        return probabilities_of(self.scores(self.preprocessing.prepare(crops)), self.temperature)

    def with_temperature(self, temperature: float) -> Self:
        """The same model, calibrated otherwise."""
        return dataclasses.replace(self, temperature=float(temperature))

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

    def onnx_network(self) -> Any:
        """``onnx.GraphProto``: see `spatterlib.learning.Exportable`."""
        from spatterlib.builtin._lenet_engines import graph

        return graph(self.weights, tanh=self.classifier.tanh, channels=self.preprocessing.channels)

    def torch_network(self) -> Any:
        """``torch.nn.Module``: see `spatterlib.learning.Exportable`."""
        from spatterlib.builtin._lenet_engines import module

        return module(self.weights, tanh=self.classifier.tanh, channels=self.preprocessing.channels)

    @cached_property
    def _ask(self) -> Callable[[Image], Array]:
        from spatterlib.engines import scorer

        return scorer(self.engine, self.torch_network() if self.engine == "torch" else self.onnx_network())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_ask"}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``weights.safetensors`` into a folder: a plain state dict, everything else in its header."""
        from safetensors.numpy import save_file

        facts = {
            "parameters": dataclasses.asdict(self.classifier),
            "classes": list(self.classes),
            "temperature": self.temperature,
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in self.weights.items()}
        with beside(Path(folder) / WEIGHTS) as part:
            save_file(arrays, part, metadata={"spatterlib": json.dumps(facts)})


def _product(x: Array, weight: Array, bias: Array) -> Array:
    """A dense layer, for a handful of samples."""
    return np.asarray(x @ weight.T + bias, np.float32)


def _layer(x: Array, weight: Array, bias: Array) -> Array:
    """A dense layer, for many."""
    from spatterlib.kernels.lenet import dense

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
        """Train on prepared crops; see `spatterlib.learning.Classifier` and `spatterlib.fitting.fit`."""
        from spatterlib.fitting import device_of, fit, import_torch

        import_torch()
        from spatterlib.builtin._lenet_torch import Trainable

        outputs = 1 if len(classes) == 2 else len(classes)
        network = Trainable.new(outputs, tanh=self.tanh, seed=self.seed, device=device_of(device))
        weights = fit(network, train, validation, self, checkpoint=checkpoint, notify=notify)
        return LenetModel(self, tuple(classes), weights)

    @classmethod
    def load(cls, path: str, *, classes: Sequence[str] = ()) -> LenetModel:
        """Read a run folder, its ``weights.safetensors``, or a plain PyTorch state dict (``.pt``, ``.pth``).

        Parameters
        ----------
        path : str
            Folder or file. A ``.safetensors`` file is read without PyTorch; a state dict has keys
            ``model.N.weight`` and ``model.N.bias``, in any numbering, and is read by ``weights_only``.
        classes : sequence of str
            Names of the classes, where the file does not say them; numbers by default.

        Raises
        ------
        MissingFileError
            If nothing is there.
        StoreError
            If the file is damaged, holds anything but tensors, or weights of other shapes.
        """
        file = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise MissingFileError(f"no weights at {file}; expected {WEIGHTS} or a state dict (.pt, .pth)")
        arrays, facts = _read(file)
        weights = _in_order(arrays, file)
        outputs = weights[list(weights)[-1]].shape[0]
        names = tuple(facts.get("classes") or classes) or tuple(map(str, range(max(outputs, 2))))
        if len(names) != max(outputs, 2):
            raise StoreError(f"{file} tells {max(outputs, 2)} classes apart, but {len(names)} were named: {names}")
        return LenetModel(cls(**facts.get("parameters", {})), names, weights, facts.get("temperature", 1.0))


@dataclass(frozen=True)
class Lenet5Classic(Lenet5):
    """LeNet5 as of old: tanh and average pooling after the convolutions, sigmoid between the dense layers.

    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proc.
    IEEE 86 (1998). The parameters are those of `lenet5`.
    """

    tanh: ClassVar[bool] = True


def _read(file: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and facts of a file of weights; nothing in it is ever executed."""
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    return _read_state_dict(file), {}


def _read_safetensors(file: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            facts = json.loads((opened.metadata() or {}).get("spatterlib", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise StoreError(f"{file} is no safetensors file that can be read: {error}") from error
    return arrays, facts


def _read_state_dict(file: Path) -> dict[str, Array]:
    from pickle import UnpicklingError

    from spatterlib.fitting import import_torch

    torch = import_torch()
    try:
        with warnings.catch_warnings():
            # It remarks on odd files before it refuses them.
            warnings.simplefilter("ignore")
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{file} is no plain state dict: it is damaged or holds more than tensors, none of which was executed; "
            "save model.state_dict(), or use safetensors"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise StoreError(f"{file} holds a {type(state).__name__}, not a state dict; save model.state_dict()")
    return {name: value.float().numpy() for name, value in state.items()}


def _in_order(arrays: Mapping[str, Array], file: Path) -> dict[str, Array]:
    """Weights and biases, layer after layer, under their own names; refused if they are not a LeNet5's."""
    try:
        prefix = next(iter(arrays), "").rsplit(".", 2)[0]
        numbers = sorted({int(name.split(".")[-2]) for name in arrays}) or [0]
        names = [f"{prefix}.{number}.{kind}" for number in numbers for kind in ("weight", "bias")]
        ordered = {name: np.ascontiguousarray(arrays[name], np.float32) for name in names}
    except (KeyError, ValueError, IndexError) as error:
        raise StoreError(
            f"{file} has the entries {sorted(arrays)}; expected model.N.weight and model.N.bias of five layers"
        ) from error
    shapes = [array.shape for array in ordered.values()]
    outputs = shapes[-1][0] if shapes else 1
    expected = [s for shape in (*_SHAPES, (outputs, 84)) for s in (shape, shape[:1])]
    if shapes != expected:
        raise StoreError(
            f"{file} holds weights of another shape: expected {expected[::2]}, got {shapes[::2]}; "
            "is it a LeNet5 for three channels and 32x32 px?"
        )
    return ordered


@hookimpl
def spatter_classifiers() -> dict[str, type[Classifier]]:
    """The two networks."""
    return {"lenet5": Lenet5, "lenet5-classic": Lenet5Classic}
