"""Stores of labelled crops with known properties, for the tests of learning."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.common.image_codec import encode
from spatterlib.stores.opening import create_store

SPREAD = {"low": 60.0, "high": 600.0, "mid": 220.0}


@cache
def crop(kind: str, seed: int, level: int = 20) -> bytes:
    """An encoded crop: a glow on a background of some level; low and high differ in the width of the glow."""
    random = np.random.default_rng([seed, sum(map(ord, kind))])
    height, width = random.integers(50, 90), random.integers(60, 110)
    y, x = np.mgrid[:height, :width]
    distance = (x - width / 2 + random.normal(0, 4)) ** 2 + (y - height / 2 + random.normal(0, 4)) ** 2
    light = random.normal(level, 4, (height, width)) + 200 * np.exp(-distance / SPREAD[kind])
    return encode(np.clip(light[..., None] * [1.0, 0.8, 0.5], 0, 255).astype(np.uint8))


def make_store(path: Path, kind: str = "low", crops: int = 40, seed: int = 0, level: int = 20, **attrs: Any) -> Path:
    """A store of so many crops of one kind; 25 of them a second."""
    table = np.zeros(crops, sp.DETECTION)
    table["frame"] = np.arange(crops)
    table["time"] = np.arange(crops) / 25
    table["width"], table["height"], table["peak"] = 80, 70, 220
    video = {"name": path.name, "digest": f"{path.stem}-{kind}-{seed}"}
    with create_store(path, attrs={"video": video} | attrs) as store:
        store.append(table, [crop(kind, seed * 1000 + number, level) for number in range(crops)])
    return path


def make_layers(path: Path, kinds: Sequence[str], seed: int = 0, level: int = 20, **attrs: Any) -> Path:
    """A store of layers of 8 s, each of one kind of crops, 30 s apart."""
    table = np.zeros(40 * len(kinds), sp.DETECTION)
    table["time"] = 30 * np.arange(len(kinds)).repeat(40) + np.tile(np.arange(40) / 5, len(kinds))
    table["frame"] = np.round(5 * table["time"])
    table["width"], table["height"], table["peak"] = 80, 70, 220
    video = {"name": path.name, "digest": f"{path.stem}-{seed}"}
    crops = [crop(kind, seed * 1000 + number, level) for number, kind in enumerate(np.repeat(kinds, 40).tolist())]
    with create_store(path, attrs={"video": video} | attrs) as store:
        store.append(table, crops)
    return path


def make_stores(folder: Path, recordings: int = 4, crops: int = 40, **options: Any) -> dict[str, str]:
    """``{store: label}`` with so many recordings of low and of high flow."""
    return {
        str(make_store(folder / f"{kind}_{number}.h5", kind, crops, 10 * number + (kind == "high"), **options)): kind
        for kind in ("low", "high")
        for number in range(recordings)
    }


def state_dict(tanh: bool = False, outputs: int = 1, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights of a LeNet5 under the names of a plain state dict."""
    random = np.random.default_rng(seed)
    numbers = (0, 3, 7, 9, 11) if tanh else (0, 2, 5, 7, 9)
    shapes = ((6, 3, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (outputs, 84))
    arrays = {}
    for number, shape in zip(numbers, shapes, strict=True):
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        arrays[f"model.{number}.weight"] = random.uniform(-scale, scale, shape).astype(np.float32)
        arrays[f"model.{number}.bias"] = random.uniform(-scale, scale, shape[:1]).astype(np.float32)
    return arrays


def state_dict_before() -> dict[str, NDArray[np.float32]]:
    """Weights of the file that `exported_before` gives: of few values, so that it is small."""
    return {
        name: (np.round(array / np.abs(array).max() * 8) / 4 * np.abs(array).max()).astype(np.float32)
        for name, array in state_dict().items()
    }


def exported_before(path: Path) -> Path:
    """A LeNet5 that version 0.1.0 exported to ONNX, whose exporter was spatterlib's own: such files are still read."""
    path.write_bytes(gzip.decompress((Path(__file__).parent / "exported_by_0_1.onnx.gz").read_bytes()))
    return path


def as_if_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no PyTorch, let what a training needs be judged as if there were."""

    def device_of(name: str) -> str:
        if name != "auto":
            raise sp.errors.ParameterError(f"no device {name!r}")
        return "cpu"

    if find_spec("torch") is None:
        monkeypatch.setattr("spatterlib.plugins.training_loop.device_of", device_of)
