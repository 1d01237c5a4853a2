"""A model as a program of ``torch.export``: uint8 RGB crops in, probabilities out, preprocessing inside."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from spatterlib.errors import ParameterError
from spatterlib.learning.runs import Run
from spatterlib.plugins.classifier import Preprocessing

__all__ = ["build", "reason"]

_PARTS = float(1 << 22)


class _Whole(nn.Module):
    """A network between crops and probabilities.

    Resizing is two products with matrices of weights which the program makes from the size of the crops: PyTorch's and
    ONNX's own round otherwise than `spatterlib.kernels.learning.augment.resize`. The weights are whole numbers of
    parts, 2^22 to one, and the products are float64, so every sum is exact, and the samples are those of
    `Preprocessing`, bit by bit.
    """

    def __init__(self, network: nn.Module, how: Preprocessing, temperature: float) -> None:
        super().__init__()
        self.network, self.how = network, how
        self.grey: Tensor
        self.register_buffer("grey", torch.tensor([19595.0, 38470.0, 7471.0], dtype=torch.float64))
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """``(n, classes)`` float32 probabilities and scores of ``(n, h, w, 3)`` uint8."""
        pixels = crops.double()
        if self.how.colour == "grey":
            pixels = (((pixels * self.grey).sum(3, keepdim=True) + 32768) / 65536).floor()
        # Sizes as tensors: numbers would make it a program for these sizes only.
        height, width = (torch.ones(crops.shape[axis], dtype=torch.float64).sum() for axis in (1, 2))
        scale = self.how.size / torch.maximum(height, width)
        rows = _weights(crops.shape[1], height, scale, self.how)
        columns = _weights(crops.shape[2], width, scale, self.how)
        low = ((rows @ pixels.permute(0, 3, 1, 2) + _PARTS / 2) / _PARTS).floor()
        levels = ((low @ columns.T + _PARTS / 2) / _PARTS).floor()
        scores = self.network(levels.float() / 255)
        return torch.softmax(scores / self.temperature, 1), scores


def _weights(length: int, side: Tensor, scale: Tensor, how: Preprocessing) -> Tensor:
    """``(cut, length)`` whole numbers in float64: parts of 2^22 that each source pixel has in each target pixel."""
    line = (torch.arange(how.cut, dtype=torch.float64) + round((how.size - how.cut) / 2))[:, None]
    target = torch.full_like(side, how.size)
    if how.letterbox:
        target = (side * scale).round().clamp(min=1)
        line = line - ((how.size - target) / 2).floor()
    step = side / target
    support = step.clamp(min=1)
    centre = (line + 0.5) * step
    low, high = (centre - support + 0.5).floor().clamp(min=0), (centre + support + 0.5).floor()
    k = torch.arange(length, dtype=torch.float64)
    taps = (1 - ((k - centre + 0.5) / support).abs()).clamp(min=0)
    taps = torch.where((k >= low) & (k < high), taps, 0.0)
    inside = (line >= 0) & (line < target)
    total = torch.where(inside, taps.cumsum(1)[:, -1:], 1.0)
    return torch.where(inside, (taps / total * _PARTS + 0.5).floor(), 0.0)


def build(run: Run, temperature: float) -> torch.export.ExportedProgram:
    """The model with everything around it.

    Parameters
    ----------
    run : Run
        Of an `Exportable` model.
    temperature : float
        What the scores are divided by.

    Returns
    -------
    torch.export.ExportedProgram
        ``(n, h, w, 3)`` uint8 to ``(n, classes)`` float32 probabilities and scores, any n, h and w.

    Raises
    ------
    ParameterError
        If PyTorch cannot export the network.
    """
    model: Any = run.model
    whole = _Whole(model.torch_network(), run.preprocessing, temperature).eval()
    sizes = {0: torch.export.Dim("n"), 1: torch.export.Dim("h"), 2: torch.export.Dim("w")}
    example = torch.zeros((3, 51, 67, 3), dtype=torch.uint8)
    try:
        # Where it fails, it prints the whole program.
        with redirect_stderr(io.StringIO()):
            return torch.export.export(whole, (example,), dynamic_shapes=(sizes,))
    except Exception as error:  # whatever the network raises where it is traced
        raise ParameterError(
            f"PyTorch cannot export the network of a {type(model).__name__}: {reason(error)}; "
            "its torch_network must suit torch.export, for any number of samples"
        ) from error


def reason(error: BaseException) -> str:
    """What was wrong at first, in one line: PyTorch wraps it in advice of many lines."""
    while error.__cause__ is not None:
        error = error.__cause__
    first, _, _ = str(error).strip().partition("\n")
    return shorten(f"{type(error).__name__}: {first}", 200, placeholder=" ...")
