"""LeNet5 in other engines' words: a PyTorch module, and an ONNX graph, which needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.learning.engines import import_onnx

Array = NDArray[np.float32]


def first_layer(weights: Mapping[str, Array], channels: int) -> Array:
    """Weights that meet `channels` channels: grey counts as three equal ones, so their weights add up."""
    first = next(iter(weights.values()))
    return first if channels == first.shape[1] else first.sum(axis=1, keepdims=True)


def graph(weights: Mapping[str, Array], *, tanh: bool, channels: int) -> Any:
    """The network as an ``onnx.GraphProto``; for ``engine="onnx"``, which weights alone must do for.

    Parameters
    ----------
    weights : dict
        float32 arrays, weight and bias, layer after layer.
    tanh : bool
        Tanh, average pooling and sigmoid, or no activation, maximum pooling and ReLU.
    channels : int
        Of the samples, 1 or 3.

    Returns
    -------
    onnx.GraphProto
        ``samples (n, channels, 32, 32)`` float32 in [0, 1] to ``scores (n, classes)`` float32; opset 18.
    """
    import_onnx()
    from onnx import numpy_helper, parser

    act, dense = ("Tanh", "Sigmoid") if tanh else ("Identity", "Relu")
    pool = "AveragePool" if tanh else "MaxPool"
    outputs = len(list(weights.values())[-1])
    zero = "nothing = Mul (raw, zero)\n  scores = Concat <axis = 1> (nothing, raw)"
    built = parser.parse_graph(f"""
lenet5 (float[n, {channels}, 32, 32] samples) => (float[n, {max(outputs, 2)}] scores) <float zero = {{0}}> {{
  c1 = Conv (samples, w0, w1)
  a1 = {act} (c1)
  p1 = {pool} <kernel_shape = [2, 2], strides = [2, 2]> (a1)
  c2 = Conv (p1, w2, w3)
  a2 = {act} (c2)
  p2 = {pool} <kernel_shape = [2, 2], strides = [2, 2]> (a2)
  flat = Flatten (p2)
  d1 = Gemm <transB = 1> (flat, w4, w5)
  h1 = {dense} (d1)
  d2 = Gemm <transB = 1> (h1, w6, w7)
  h2 = {dense} (d2)
  raw = Gemm <transB = 1> (h2, w8, w9)
  {zero if outputs == 1 else "scores = Identity (raw)"}
}}""")
    arrays = [first_layer(weights, channels), *list(weights.values())[1:]]
    built.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array), f"w{number}") for number, array in enumerate(arrays)
    )
    return built


def module(weights: Mapping[str, Array], *, tanh: bool, channels: int) -> Any:
    """The network as a ``torch.nn.Module``: the same input and output as `graph`."""
    from spatterlib.plugins.training_loop import import_torch

    torch = import_torch("engine='torch'")
    from spatterlib.learning.lenet5.torch_networks import Scored, plain

    arrays = [first_layer(weights, channels), *list(weights.values())[1:]]
    network = plain(len(arrays[-1]), tanh=tanh)
    network[0] = torch.nn.Conv2d(channels, 6, 5)
    names = [name for name, _ in network.named_parameters()]
    network.load_state_dict(
        {name: torch.from_numpy(np.array(array, copy=True)) for name, array in zip(names, arrays, strict=True)}
    )
    return Scored(network).eval().requires_grad_(False)
