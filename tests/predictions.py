"""A simulated build that changes flow in the middle, and the verdict of the model that comes with the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import spatterlib as sp
from spatterlib.verdicts.report import page

CHANGE_AT = 22.0


@cache
def build() -> Path:
    """Five layers, low flow until the middle of the third, then high."""
    path = Path(mkdtemp(prefix="spatterlib-build-")) / "build.mp4"
    sp.simulate(
        path,
        gas_flow="low>high",
        change_at=CHANGE_AT,
        seconds=43.0,
        layer_seconds=6.8,
        recoat_seconds=2.5,
        seed=9907,
    )
    return path


@cache
def verdict() -> sp.Verdict:
    """On that build, where high was expected."""
    return sp.predict(build(), "simulated", expected="high", window=20)


def weights(folder: Path, outputs: int = 1, classes: Sequence[str] = ()) -> Path:
    """A file of LeNet5 weights that are all zero; `classes` are the names that it gives."""
    shapes = {0: (6, 3, 5, 5), 2: (16, 6, 5, 5), 5: (120, 400), 7: (84, 120), 9: (outputs, 84)}
    arrays: dict[str, Any] = {f"model.{n}.weight": np.zeros(shape, np.float32) for n, shape in shapes.items()}
    arrays |= {f"model.{n}.bias": np.zeros(shape[0], np.float32) for n, shape in shapes.items()}
    facts = {"spatterlib": json.dumps({"classes": list(classes)})}
    save_file(arrays, folder / "weights.safetensors", metadata=facts)
    return folder / "weights.safetensors"


def page_of(found: sp.Verdict) -> str:
    """Its page, as `Verdict.save` writes it."""
    return page(found.to_dict(rows=False), found.sections)
