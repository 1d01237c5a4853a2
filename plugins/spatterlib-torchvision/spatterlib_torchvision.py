"""Classifiers `resnet18` and `mobilenet-v3`: torchvision's networks, beginning with weights from a local file.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; A. Howard et al., "Searching for MobileNetV3",
ICCV 2019. Nothing is downloaded. Batch normalisation keeps the statistics of the weights it began with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.plugins import (
    Classifier,
    Image,
    Notify,
    Preprocessing,
    Samples,
    Scores,
    beside,
    device_of,
    fit,
    hookimpl,
    import_torch,
)

WEIGHTS = "weights.safetensors"
# Of ImageNet, on which the published weights were trained.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class TorchvisionModel:
    """A trained network; computed by PyTorch on the CPU.

    Parameters
    ----------
    classifier : ResNet18 or MobileNetV3
        The hyper-parameters it was trained with.
    classes : tuple of str
        In the order of the columns.
    weights : dict
        The network's state dict as arrays.
    facts : dict
        What was saved with it.
    """

    classifier: ResNet18
    classes: tuple[str, ...]
    weights: Mapping[str, NDArray[Any]] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def preprocessing(self) -> Preprocessing:
        """How crops are prepared."""
        return self.classifier.preprocessing

    @cached_property
    def _network(self) -> _Network:
        torch = import_torch("prediction")
        network = self.classifier.network(len(self.classes))
        network.load_state_dict({name: torch.tensor(array) for name, array in self.weights.items()})
        return _Network(network)

    def torch_network(self) -> Any:
        """``torch.nn.Module``: see `spatterlib.plugins.Exportable`."""
        return self._network.whole

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    def scores(self, images: Image) -> Scores:
        """``(n, classes)`` float64 of ``(n, size, size, 3)`` uint8 prepared crops."""
        torch = import_torch("prediction")
        with torch.no_grad():
            parts = [
                self._network(self.preprocessing.samples(images, np.arange(start, min(start + 64, len(images)))))
                for start in range(0, len(images), 64)
            ]
        return np.concatenate([np.empty((0, len(self.classes))), *(part.double().numpy() for part in parts)])

    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
        """Write ``weights.safetensors``: the state dict, everything else in its header."""
        from safetensors.numpy import save_file

        header = {"parameters": asdict(self.classifier), "classes": list(self.classes), **facts}
        with beside(Path(folder) / WEIGHTS) as part:
            save_file(dict(self.weights), part, metadata={"spatterlib": json.dumps(header)})


class _Network:
    """What the training loop trains: samples to scores."""

    def __init__(self, module: Any) -> None:
        self.parameters = dict(module.named_parameters())
        self.whole = _normalised(module).eval()  # dropout off, statistics kept

    def __call__(self, samples: Image) -> Any:
        """``(m, classes)`` scores of ``(m, cut, cut, 3)`` uint8."""
        torch = import_torch()
        device = next(iter(self.parameters.values())).device
        batch = torch.from_numpy(np.ascontiguousarray(samples)).to(device).permute(0, 3, 1, 2).float() / 255
        return self.whole(batch)


def _normalised(module: Any) -> Any:
    """A module of samples in [0, 1]; torchvision's own `Normalize` branches on values, which `torch.export` refuses."""
    torch = import_torch()

    class Normalised(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            for name, values in (("mean", _MEAN), ("spread", _SPREAD)):
                self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1).to(next(module.parameters())))

        def forward(self, samples: Any) -> Any:
            return self.module((samples - self.mean) / self.spread)

    return Normalised()


@dataclass(frozen=True)
class ResNet18:
    """ResNet-18 of torchvision, all layers trained.

    Parameters
    ----------
    weights : str
        Path of a state dict to begin with, such as ``resnet18-f37072fd.pth``; empty = random weights.
    epochs, batch : int
        Passes over the training crops; crops per step.
    learning_rate : float
        Of Adam.
    seed : int
        Of random weights, order and rotations.
    cut : int
        Px, side of the square that the network sees; crops are resized to an eighth more.
    rotation : float
        Degrees, largest rotation to either side in training.
    """

    weights: str = field(default="", metadata={"help": "path of a state dict to begin with; empty = random weights"})
    epochs: int = field(default=5, metadata={"help": "passes over the training crops"})
    batch: int = field(default=64, metadata={"help": "crops per step"})
    learning_rate: float = field(default=1e-4, metadata={"help": "step size of Adam"})
    seed: int = field(default=1234, metadata={"help": "seed of random weights, order and rotations"})
    cut: int = field(default=64, metadata={"help": "px, side of the square that the network sees"})
    rotation: float = field(default=15.0, metadata={"help": "degrees, largest rotation in training"})
    architecture: ClassVar[str] = "resnet18"
    head: ClassVar[str] = "fc."

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or not 0 < self.learning_rate < 1 or self.seed < 0 or self.cut < 32:
            raise ParameterError(
                "epochs and batch must be 1 or more, learning_rate between 0 and 1, seed 0 or more, cut 32 px or more; "
                f"got {self}"
            )

    @property
    def preprocessing(self) -> Preprocessing:
        """How it wants its crops."""
        return Preprocessing("rgb", self.cut + self.cut // 8, self.cut, self.rotation)

    def network(self, classes: int) -> Any:
        """The network with random weights, as torchvision makes it."""
        import torchvision

        torch = import_torch()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return getattr(torchvision.models, self.architecture)(num_classes=classes)

    def fit(
        self,
        train: Samples,
        validation: Samples,
        *,
        classes: Sequence[str],
        checkpoint: str | None = None,
        device: str = "auto",
        notify: Notify | None = None,
    ) -> TorchvisionModel:
        """Train on prepared crops; see `spatterlib.plugins.Classifier` and `spatterlib.plugins.fit`."""
        module = self.network(len(classes))
        if self.weights:
            self._begin_with(module)
        network = _Network(module.to(device_of(device)))
        best = fit(network, train, validation, self, checkpoint=checkpoint, notify=notify)
        state = {name: value.cpu().numpy() for name, value in module.state_dict().items()}
        return TorchvisionModel(self, tuple(classes), state | best)

    def _begin_with(self, module: Any) -> None:
        """Load published weights; the last layer, whose classes are others, stays random."""
        torch = import_torch()
        if not Path(self.weights).is_file():
            raise MissingFileError(f"no weights at {self.weights}")
        state = torch.load(self.weights, map_location="cpu", weights_only=True)
        own = module.state_dict()
        kept = {name: value for name, value in state.items() if not name.startswith(self.head)}
        if set(kept) != {name for name in own if not name.startswith(self.head)}:
            raise StoreError(f"{self.weights} holds the weights of another network than {self.architecture}")
        module.load_state_dict(own | kept)

    @classmethod
    def load(cls, path: str, *, classes: Sequence[str] = ()) -> TorchvisionModel:
        """Read a run folder or its ``weights.safetensors``."""
        from safetensors import safe_open

        file = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise MissingFileError(f"no weights at {file}")
        with safe_open(file, framework="np") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            facts = json.loads((opened.metadata() or {}).get("spatterlib", "{}"))
        if "parameters" not in facts:
            raise StoreError(f"{file} was not written by {cls.__name__}; it has no parameters in its header")
        parameters, names = facts.pop("parameters"), facts.pop("classes")
        return TorchvisionModel(cls(**parameters), tuple(names), weights, facts)


@dataclass(frozen=True)
class MobileNetV3(ResNet18):
    """MobileNetV3 (small) of torchvision, all layers trained; the parameters are those of `resnet18`."""

    architecture: ClassVar[str] = "mobilenet_v3_small"
    head: ClassVar[str] = "classifier.3."


@hookimpl
def spatter_classifiers() -> dict[str, type[Classifier]]:
    """The two networks."""
    return {"resnet18": ResNet18, "mobilenet-v3": MobileNetV3}
