"""LeNet5 on prepared crops by our kernels, PyTorch eager, ONNX Runtime, a thread each; `predict` beside `extract`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import spatterlib as sp
from spatterlib.learning.lenet5.classifier import Lenet5, Lenet5Classic, LenetModel
from spatterlib.plugins.classifier import Engine

BATCHES = (1, 64, 1024)
NAMES = {"numba": "ours", "torch": "PyTorch eager", "onnx": "ONNX Runtime"}
# So many calls in a round that a round takes long enough to be timed.
CALLS = {1: 400, 64: 40, 1024: 4}


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Where PyTorch is there at all."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(class_: type[Lenet5]) -> LenetModel:
    """With random weights: their values do not change the time."""
    random = np.random.default_rng(3)
    shapes = ((6, 3, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (1, 84))
    weights = {}
    for number, shape in enumerate(shapes):
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        weights[f"model.{number}.weight"] = random.uniform(-scale, scale, shape).astype(np.float32)
        weights[f"model.{number}.bias"] = random.uniform(-scale, scale, shape[:1]).astype(np.float32)
    return LenetModel(class_(), ("high", "low"), weights)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("class_", [Lenet5, Lenet5Classic], ids=["lenet5", "lenet5-classic"])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("engine", get_args(Engine))
def test_inference(benchmark: BenchmarkFixture, measuring: bool, engine: Any, batch: int, class_: type[Lenet5]) -> None:
    pytest.importorskip({"torch": "torch", "onnx": "onnxruntime", "numba": "numba"}[engine])
    ours = model(class_)
    asked = ours.with_engine(engine)
    images = np.random.default_rng(4).integers(0, 256, (batch, 40, 40, 1), dtype=np.uint8)
    calls = CALLS[batch] if measuring else 1

    def run() -> Any:
        for _ in range(calls):
            found = asked.scores(images)
        return found

    benchmark.group = f"inference: {'lenet5-classic' if class_ is Lenet5Classic else 'lenet5'}, batch {batch}"
    benchmark.extra_info.update(way=NAMES[engine], frames=calls * batch)
    found = benchmark.pedantic(run, rounds=15 if measuring else 1, warmup_rounds=1)
    np.testing.assert_allclose(found, ours.scores(images), atol=1e-5)


@pytest.mark.parametrize("way", ["ours: predict", "extract"])
def test_predict_beside_extract(
    benchmark: BenchmarkFixture, simulated: Callable[..., Path], measuring: bool, tmp_path: Path, way: str
) -> None:
    frames = 3000 if measuring else 400
    video = simulated("low", "640x360", frames)
    run = sp.load_model("simulated")
    ways: dict[str, Callable[[], int]] = {
        "ours: predict": lambda: len(sp.predict(video, run).rows),
        "extract": lambda: sp.extract(video, tmp_path / "out.h5", overwrite=True).detections,
    }
    benchmark.group = "predict simulated low 640x360"
    benchmark.extra_info.update(way=way, frames=frames)
    found = benchmark.pedantic(ways[way], rounds=7 if measuring else 1, warmup_rounds=1 if measuring else 0)
    assert found == sp.extract(video, tmp_path / "again.h5").detections > 0
