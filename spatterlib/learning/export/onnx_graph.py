"""A model as one ONNX graph: what PyTorch's exporter makes of the program, and what we say about it."""

from __future__ import annotations

import math
from typing import Any

import torch

from spatterlib.common.origin import learned
from spatterlib.errors import ParameterError
from spatterlib.learning.export.torch_program import build as build_program
from spatterlib.learning.export.torch_program import reason
from spatterlib.learning.onnx_model import state
from spatterlib.learning.run_facts import ExportFacts
from spatterlib.learning.runs import Run

__all__ = ["IR_VERSION", "OPSET", "build"]

OPSET, IR_VERSION = 18, 8
"""Of the same age: runtimes that know the operators read the file."""


def build(run: Run, facts: ExportFacts) -> Any:
    """The model with everything around it.

    Parameters
    ----------
    run : Run
        Of an `Exportable` model.
    facts : dict
        JSON-able; goes into the metadata under the key ``spatterlib``.

    Returns
    -------
    onnx.ModelProto
        Input ``crops`` ``(n, h, w, 3)`` uint8; outputs ``probability`` and ``scores``, ``(n, classes)`` float32.

    Raises
    ------
    ParameterError
        If PyTorch cannot export the network.
    """
    # No number: a temperature of 1 would be optimised away, and another joined with a weight that equals it.
    program = build_program(run, math.nan)
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["crops"],
            output_names=["probability", "scores"],
            verbose=False,
        )
    except Exception as error:  # whatever an operator's translation raises
        raise ParameterError(
            f"PyTorch cannot write the network of a {type(run.model).__name__} as ONNX: {reason(error)}; "
            "export a torch program, format='torch' (--format torch)"
        ) from error
    built: Any = exported.model_proto  # type: ignore[union-attr, unused-ignore]
    built.ir_version = IR_VERSION
    built.doc_string = _describe(facts)
    _tidy(built.graph)
    for value in (*built.graph.input, *built.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, "nhw", strict=False):
            if axis.dim_param:
                axis.dim_param = name
    state(built, facts)
    return built


def _tidy(graph: Any) -> None:
    """Without what the exporter notes for whoever debugs it: names of files of this machine are among it."""
    for node in graph.node:
        node.ClearField("metadata_props")
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _tidy(inner)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.ClearField("metadata_props")
    for name in ("metadata_props", "value_info"):
        graph.ClearField(name)


def _describe(facts: ExportFacts) -> str:
    said = learned(facts["origin"])
    mark = f"{said.capitalize()}. " if said else ""
    return (
        f"{mark}crops: (n, h, w, 3) uint8 RGB of any one size; "
        f"probability: (n, {len(facts['classes'])}) of {', '.join(facts['classes'])}."
    )
