"""Who else computes a network: ONNX Runtime and PyTorch, imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.install_hints import missing
from spatterlib.errors import SpatterlibError
from spatterlib.types import Image

__all__ = ["import_onnx", "scorer", "session_of"]

Array = NDArray[np.float32]


def import_onnx(name: str = "onnx", extra: str = "onnx") -> Any:
    """The module `onnx`, or another that an ONNX model needs and that `extra` of spatterlib brings.

    Raises
    ------
    SpatterlibError
        If it is not installed; says how to get it.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise SpatterlibError(missing("an ONNX model", name, extra, error)) from error


def session_of(model: bytes) -> Any:
    """An ONNX Runtime session of a serialised model, on the CPU, with one thread."""
    runtime = import_onnx("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Its fallback tries the same again, and prints on the way.
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def scorer(engine: str, network: Any) -> Callable[[Image], Array]:
    """A function of ``(m, cut, cut, channels)`` uint8 samples that asks PyTorch or ONNX Runtime for their scores.

    Parameters
    ----------
    engine : {"torch", "onnx"}
        Who is asked.
    network : torch.nn.Module or onnx.GraphProto
        From `module` or `graph`.
    """
    if engine == "torch":
        import torch

        def ask(x: Array) -> Array:
            with torch.inference_mode():
                return np.asarray(network(torch.from_numpy(x)).numpy())
    else:
        from onnx import helper

        model = helper.make_model(network, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        session = session_of(model.SerializeToString())

        def ask(x: Array) -> Array:
            return np.asarray(session.run(["scores"], {"samples": x})[0])

    def scores(samples: Image) -> Array:
        return ask(np.ascontiguousarray(samples.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255))

    return scores
