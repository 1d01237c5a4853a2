"""Weights of LeNet5 in files: which of the two networks they are of, their order and their shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import StoreError
from spatterlib.learning.lenet5 import state_dict

__all__ = ["layers_in_order", "network_of", "numbered", "read"]

Array = NDArray[np.float32]

_SHAPES = ((6, 3, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120))
_NUMBERS = {"lenet5": (0, 2, 5, 7, 9), "lenet5-classic": (0, 3, 7, 9, 11)}
"""Numbers of the layers with weights in each published Sequential: the classic one has an activation behind each
convolution. Nothing else in a state dict tells the two apart."""


def read(file: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and facts of a file of weights; nothing in it is ever executed.

    Raises
    ------
    StoreError
        If it is damaged, or neither a safetensors file nor a state dict.
    """
    if file.suffix.lower() == ".safetensors":
        return _read_safetensors(file)
    return state_dict.read(file), {}


def _read_safetensors(file: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            facts = json.loads((opened.metadata() or {}).get("spatterlib", "{}"))
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        raise StoreError(f"{file} is no safetensors file that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(facts, dict):
        raise StoreError(f"{file} is damaged: what it says of its weights is no dictionary")
    return arrays, facts


def layers_in_order(arrays: Mapping[str, Array], file: Path) -> dict[str, Array]:
    """Weights and biases, layer after layer, under their own names.

    Raises
    ------
    StoreError
        If they are not a LeNet5's.
    """
    try:
        prefix = next(iter(arrays), "").rpartition(".")[0].rpartition(".")[0]
        numbers = sorted({_number(name) for name in arrays}) or [0]
        stem = f"{prefix}." if prefix else ""
        names = [f"{stem}{number}.{kind}" for number in numbers for kind in ("weight", "bias")]
        ordered = {name: np.ascontiguousarray(arrays[name], np.float32) for name in names}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        shown = ", ".join(sorted(arrays)[:6]) + (", ..." if len(arrays) > 6 else "")
        raise StoreError(
            f"{file} has the entries {shown or 'none'}; expected model.N.weight and model.N.bias of five layers"
        ) from error
    shapes = [array.shape for array in ordered.values()]
    outputs = shapes[-1][0] if shapes else 1
    expected = [s for shape in (*_SHAPES, (outputs, 84)) for s in (shape, shape[:1])]
    if shapes != expected or outputs < 1:
        raise StoreError(
            f"{file} holds weights of another shape: expected {expected[::2]}, got {shapes[::2]}; "
            "is it a LeNet5 for three channels and 32x32 px?"
        )
    if not all(np.isfinite(array).all() for array in ordered.values()):
        raise StoreError(f"{file} is damaged: a weight is not a finite number")
    return ordered


def network_of(weights: Mapping[str, Array]) -> str | None:
    """Id of the network that ordered weights are of, by the numbers of its layers; None if they do not say it."""
    numbers = [_number(name) for name in list(weights)[::2]]
    relative = tuple(number - numbers[0] for number in numbers)
    return next((id_ for id_, known in _NUMBERS.items() if known == relative), None)


def numbered(weights: Mapping[str, Array], id_: str) -> dict[str, Array]:
    """Ordered weights under names that say which network they are of; as they are if they say it already."""
    if network_of(weights) == id_:
        return dict(weights)
    names = [f"model.{number}.{kind}" for number in _NUMBERS[id_] for kind in ("weight", "bias")]
    return dict(zip(names, weights.values(), strict=True))


def _number(name: str) -> int:
    return int(name.split(".")[-2])
