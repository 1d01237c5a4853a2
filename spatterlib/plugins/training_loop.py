"""The training loop: Adam over batches of prepared crops, the best epoch kept, resumable after every epoch.

It knows networks only as something that has parameters and turns samples into scores; any classifier that
learns by PyTorch can use it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside
from spatterlib.common.install_hints import missing
from spatterlib.errors import ParameterError, SpatterlibError, StoreError
from spatterlib.plugins.classifier import Epoch, Notify, Preprocessing, Samples
from spatterlib.types import Image

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Adam

__all__ = ["Network", "TrainingSettings", "device_of", "fit", "import_torch"]

# Validation batches need no gradients; larger ones only cost memory.
_VALIDATION_BATCH = 2048


class Network(Protocol):
    """What the loop trains."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Leaves that require gradients, by name."""

    def __call__(self, samples: Image) -> Tensor:
        """``(m, outputs)`` scores of ``(m, cut, cut, channels)`` uint8; one output = two classes."""


class TrainingSettings(Protocol):
    """The hyper-parameters that the loop needs; a classifier's dataclass has them as fields."""

    @property
    def epochs(self) -> int:
        """Passes over the training samples."""

    @property
    def batch(self) -> int:
        """Samples per step."""

    @property
    def learning_rate(self) -> float:
        """Step size of Adam."""

    @property
    def seed(self) -> int:
        """Of order and rotations."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How samples are made of prepared crops."""


def import_torch(purpose: str = "training") -> Any:
    """The module `torch`.

    Parameters
    ----------
    purpose : str
        What needs it: the message begins with this.

    Raises
    ------
    SpatterlibError
        If it is not installed; says how to get it.
    """
    try:
        import torch
    except ImportError as error:
        raise SpatterlibError(missing(purpose, "PyTorch", "torch", error)) from error
    return torch


def device_of(name: str = "auto") -> str:
    """Name of the device to train on: "auto" takes a GPU where PyTorch finds one, else the CPU.

    Raises
    ------
    ParameterError
        If PyTorch has no such device here.
    """
    torch = import_torch()
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(
            f"PyTorch has no device {name!r} here: {str(error).splitlines()[0]}; use 'auto' or 'cpu'"
        ) from error
    return name


@dataclass
class _State:
    """Where a training is: what a checkpoint holds beside the arrays."""

    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best_accuracy(self) -> float:
        return max((epoch.validation_accuracy for epoch in self.epochs), default=-1.0)


def fit(
    network: Network,
    train: Samples,
    validation: Samples,
    settings: TrainingSettings,
    *,
    checkpoint: str | None = None,
    notify: Notify | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Train a network and give back the weights of its best epoch by validation accuracy.

    Order of samples and angles of an epoch depend on the seed and the number of the epoch only, so a training
    that goes on from a checkpoint ends with the same weights as an undisturbed one.

    Parameters
    ----------
    network : Network
        Initialised; trained in place.
    train, validation : Samples
        Prepared crops; those of `train` are rotated at random.
    settings : object
        With `epochs`, `batch`, `learning_rate`, `seed` and `preprocessing`.
    checkpoint : str, optional
        File to go on from, and to write after each epoch.
    notify : callable, optional
        Called with an `Epoch` after each batch and at the end of each epoch.

    Returns
    -------
    dict
        float32 arrays by name.

    Raises
    ------
    SpatterlibError
        If the loss is no longer finite.
    StoreError
        If the checkpoint belongs to another training or is damaged.
    """
    torch = import_torch()
    tell = notify or (lambda _: None)
    adam = torch.optim.Adam(list(network.parameters.values()), lr=settings.learning_rate)
    state = _State()
    if checkpoint and Path(checkpoint).exists():
        state = _resume(checkpoint, network, adam, settings)
        for epoch in state.epochs:
            tell(epoch)
    for number in range(len(state.epochs) + 1, settings.epochs + 1):
        with _one_thread():
            epoch = _epoch(number, network, adam, train, validation, settings, tell)
        if epoch.validation_accuracy > state.best_accuracy:
            state.best = {name: value.detach().clone() for name, value in network.parameters.items()}
        state.epochs.append(epoch)
        if checkpoint:
            _save(checkpoint, network, adam, state, settings)
        tell(epoch)
    # In the order of the network: a checkpoint has an order of its own.
    return {name: state.best[name].cpu().numpy() for name in network.parameters}


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for PyTorch's own operators.

    They are small here, and several threads wait for each other in a busy loop at the end of each: on a machine that
    has other work too this costs many times what it gains. A network may well use threads of its own.
    """
    torch = import_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _epoch(
    number: int,
    network: Network,
    adam: Adam,
    train: Samples,
    validation: Samples,
    settings: TrainingSettings,
    tell: Notify,
) -> Epoch:
    began = time.perf_counter()
    random = np.random.default_rng([settings.seed, number])
    order = random.permutation(train.rows)
    bound = settings.preprocessing.rotation
    angles = random.uniform(-bound, bound, len(order))
    losses, hits, done = 0.0, 0, 0
    for start in range(0, len(order), settings.batch):
        rows = order[start : start + settings.batch]
        samples = settings.preprocessing.samples(train.images, rows, angles[start : start + settings.batch])
        loss, right = _step(network, adam, samples, train.labels[rows])
        losses, hits, done = losses + loss * len(rows), hits + right, done + len(rows)
        if not np.isfinite(losses):
            raise SpatterlibError(
                f"the loss is no longer a number in epoch {number}; lower learning_rate ({settings.learning_rate})"
            )
        seconds = time.perf_counter() - began
        tell(Epoch(number, settings.epochs, done, len(order), losses / done, hits / done, seconds=seconds))
    return Epoch(
        number,
        settings.epochs,
        done,
        len(order),
        losses / done,
        hits / done,
        *_validate(network, validation, settings),
        seconds=time.perf_counter() - began,
    )


def _step(network: Network, adam: Adam, samples: Image, labels: NDArray[np.int64]) -> tuple[float, int]:
    """One step of Adam: mean loss and number of right answers before it."""
    adam.zero_grad()
    loss, hits = _loss(network(samples), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()
    return loss.item(), hits


def _loss(scores: Tensor, labels: NDArray[np.int64]) -> tuple[Tensor, int]:
    """Binary cross-entropy of one score per sample, else cross-entropy; and the right answers."""
    from torch import from_numpy
    from torch.nn import functional

    wanted = from_numpy(np.ascontiguousarray(labels)).to(scores.device)
    if scores.shape[1] > 1:
        return functional.cross_entropy(scores, wanted), int((scores.argmax(1) == wanted).sum())
    single = scores[:, 0]
    loss = functional.binary_cross_entropy_with_logits(single, wanted.to(single.dtype))
    return loss, int(((single > 0) == (wanted > 0)).sum())


def _validate(network: Network, validation: Samples, settings: TrainingSettings) -> tuple[float, float]:
    """Mean loss and accuracy, nothing rotated."""
    torch = import_torch()
    losses, hits = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(validation), _VALIDATION_BATCH):
            rows = validation.rows[start : start + _VALIDATION_BATCH]
            samples = settings.preprocessing.samples(validation.images, rows)
            loss, right = _loss(network(samples), validation.labels[rows])
            losses, hits = losses + loss.item() * len(rows), hits + right
    return losses / len(validation), hits / len(validation)


def _save(checkpoint: str, network: Network, adam: Adam, state: _State, settings: TrainingSettings) -> None:
    """Write everything that the next epoch depends on; tensors and JSON, beside first, then renamed."""
    from safetensors.torch import save_file

    tensors = {f"best.{name}": value.contiguous() for name, value in state.best.items()}
    for name, value in network.parameters.items():
        tensors[f"now.{name}"] = value.detach().contiguous()
        tensors |= {f"adam.{key}.{name}": item.contiguous() for key, item in adam.state[value].items()}
    facts = {"epochs": [asdict(epoch) for epoch in state.epochs], "settings": _identity(settings)}
    with beside(checkpoint) as part:
        save_file(tensors, part, metadata={"training": json.dumps(facts)})
        with part.open("rb") as file:
            os.fsync(file.fileno())


def _identity(settings: TrainingSettings) -> str:
    """What must be equal for a training to go on; more epochs may be asked for later."""
    values = {key: value for key, value in vars(settings).items() if key != "epochs"}
    return f"{type(settings).__name__} {json.dumps(values, sort_keys=True)}"


def _resume(checkpoint: str, network: Network, adam: Adam, settings: TrainingSettings) -> _State:
    """Set network and optimiser to where the checkpoint left them."""
    from safetensors import SafetensorError, safe_open

    torch = import_torch()
    try:
        with safe_open(checkpoint, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get("training", "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise StoreError(
            f"{checkpoint} is no checkpoint that can be read ({error}); delete it to start afresh"
        ) from error
    if facts.get("settings") != _identity(settings):
        raise StoreError(
            f"{checkpoint} belongs to a training with other settings; delete it, or train into another folder"
        )
    with torch.no_grad():
        for name, value in network.parameters.items():
            value.copy_(tensors[f"now.{name}"])
            prefix = {"adam." + key + "." + name: key for key in ("step", "exp_avg", "exp_avg_sq")}
            adam.state[value] = {short: tensors[key].to(_home(value, short)) for key, short in prefix.items()}
    device = next(iter(network.parameters.values())).device
    best = {key[5:]: value.to(device) for key, value in tensors.items() if key.startswith("best.")}
    return _State([Epoch(**epoch) for epoch in facts["epochs"]], best)


def _home(value: Tensor, name: str) -> Any:
    """Adam counts its steps on the CPU."""
    return "cpu" if name == "step" else value.device
