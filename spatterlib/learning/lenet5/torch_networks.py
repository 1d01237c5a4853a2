"""LeNet5 in PyTorch: the plain network, and the one that trains, which equals it and is faster.

Grey crops count as three equal channels, as published. ``w1*x + w2*x + w3*x = (w1 + w2 + w3)*x``: the first layer
is summed over its input channels and meets the grey crop itself, which is never copied; the parameters stay
three-channel, so their initial distribution, gradients and Adam steps are those of the published network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from spatterlib.learning.lenet5 import stages as stages
from spatterlib.types import Image


def plain(outputs: int, *, tanh: bool) -> nn.Sequential:
    """The network as published: ``(n, 3, 32, 32)`` float in [0, 1] to ``(n, outputs)`` scores."""
    act: list[nn.Module] = [nn.Tanh()] if tanh else []
    pool = nn.AvgPool2d if tanh else nn.MaxPool2d
    dense = nn.Sigmoid if tanh else nn.ReLU
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), *act, pool(2)),
        *(nn.Conv2d(6, 16, 5), *act, pool(2)),
        *(nn.Flatten(), nn.Linear(400, 120), dense(), nn.Linear(120, 84), dense(), nn.Linear(84, outputs)),
    )


class Scored(nn.Module):
    """A network whose single output, if it has one only, becomes the scores of two classes: 0 and the output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, samples: Tensor) -> Tensor:
        """``(n, classes)`` scores of ``(n, channels, 32, 32)`` float in [0, 1]."""
        raw: Tensor = self.network(samples)
        return raw if raw.shape[1] > 1 else torch.cat([torch.zeros_like(raw), raw], 1)


class _Stages(torch.autograd.Function):
    """Both convolution stages by the Numba kernels, with their gradients."""

    @staticmethod
    def forward(ctx: Any, samples: Image, network: Trainable, *weights: Tensor) -> Tensor:
        ctx.arrays, ctx.network = tuple(weight.detach().numpy() for weight in weights), network
        features, ctx.passed = stages.forward(samples, ctx.arrays, network.tanh, network.threads, network.spare)
        return torch.from_numpy(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        passed, ctx.passed = ctx.passed, None
        if passed is None:
            raise RuntimeError("a batch goes back through the network once: its room is used again")
        arrays = stages.backward(gradient.numpy(), passed, ctx.arrays, ctx.network.threads)
        stages.give_back(ctx.network.spare, passed)
        return None, None, *(torch.from_numpy(array) for array in arrays)


@dataclass(frozen=True, eq=False)
class Trainable:
    """What the training loop trains.

    Parameters
    ----------
    parameters : dict
        By the names of a plain state dict.
    tanh : bool
        Which of the two networks it is.
    threads : int
        Of the convolution stages on the CPU.
    spare : dict
        Room of the last batch, which the next uses again.
    """

    parameters: dict[str, Tensor]
    tanh: bool
    threads: int = 1
    spare: stages.Spare = field(default_factory=dict, repr=False)

    @classmethod
    def new(cls, outputs: int, *, tanh: bool, seed: int, device: str) -> Trainable:
        """Initialised as PyTorch does; the caller's random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = plain(outputs, tanh=tanh)
        values = {f"model.{name}": value.detach().to(device) for name, value in network.named_parameters()}
        leaves = {name: value.requires_grad_() for name, value in values.items()}
        return cls(leaves, tanh, torch.get_num_threads())

    def __call__(self, samples: Image) -> Tensor:
        """``(m, outputs)`` scores of ``(m, 32, 32, channels)`` uint8 samples."""
        weights = list(self.parameters.values())
        first = weights[0].sum(1, keepdim=True) if samples.shape[3] == 1 else weights[0]
        run = self._on_cpu if first.device.type == "cpu" else self._elsewhere
        hidden = run(samples, first, *weights[1:4])
        act = torch.sigmoid if self.tanh else torch.relu
        hidden = act(functional.linear(hidden, *weights[4:6]))
        hidden = act(functional.linear(hidden, *weights[6:8]))
        return functional.linear(hidden, *weights[8:10])

    def _on_cpu(self, samples: Image, *weights: Tensor) -> Tensor:
        contiguous = [weight.contiguous() for weight in weights]
        if torch.is_grad_enabled():
            features: Tensor = _Stages.apply(samples, self, *contiguous)  # type: ignore[no-untyped-call, unused-ignore]
            return features
        arrays: Any = tuple(weight.detach().numpy() for weight in contiguous)
        result, passed = stages.forward(samples, arrays, self.tanh, self.threads, self.spare)
        stages.give_back(self.spare, passed)
        return torch.from_numpy(result)

    def _elsewhere(self, samples: Image, first: Tensor, first_bias: Tensor, second: Tensor, bias: Tensor) -> Tensor:
        """By PyTorch's own operators, channels last; what crosses to the device are bytes."""
        batch = torch.from_numpy(np.ascontiguousarray(samples)).to(first.device)
        x = batch.permute(0, 3, 1, 2).to(first.dtype) / 255
        for weight, offset in ((first, first_bias), (second, bias)):
            x = functional.conv2d(x, weight.contiguous(memory_format=torch.channels_last), offset)
            x = functional.avg_pool2d(torch.tanh(x), 2) if self.tanh else functional.max_pool2d(x, 2)
        return x.flatten(1)
