from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spatterlib_torchvision import MobileNetV3, ResNet18, TorchvisionModel

import spatterlib as sp
from spatterlib.errors import MissingFileError, StoreError
from spatterlib.plugins import Samples
from spatterlib.testing import Check, classifier_checks

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
FEW = {"epochs": 2, "batch": 16, "cut": 32}


def learned(classifier: ResNet18) -> Any:
    """A model that saw noise of two brightnesses."""
    random = np.random.default_rng(0)
    crops = [random.integers(0, 100 + number % 2 * 100, (40, 50, 3), np.uint8) for number in range(48)]
    images, labels = classifier.preprocessing.prepare(crops), np.arange(48) % 2
    train, validation = (Samples(images, labels, rows) for rows in (np.arange(36), np.arange(36, 48)))
    return classifier.fit(train, validation, classes=("dark", "bright"), device="cpu")


@pytest.mark.parametrize("check", classifier_checks(ResNet18(**FEW)))
def test_resnet18_conforms(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", classifier_checks(MobileNetV3(**FEW)))
def test_mobilenet_v3_conforms(check: Check) -> None:
    check()


def test_they_are_found(isolated_catalog: Callable[..., None]) -> None:
    isolated_catalog("spatterlib-torchvision")
    assert {"resnet18", "mobilenet-v3"} <= set(sp.catalog().classifiers)


@pytest.mark.parametrize("class_", [ResNet18, MobileNetV3])
def test_it_begins_with_the_weights_of_a_local_file(class_: type[ResNet18], tmp_path: Path) -> None:
    published = class_(seed=7).network(1000).state_dict()
    torch.save(published, tmp_path / "published.pth")
    # So small a step that the weights stay where they were.
    classifier = class_(str(tmp_path / "published.pth"), 1, 16, 1e-9, cut=32)
    model = learned(classifier)
    name = next(iter(published))
    assert abs(model.weights[name] - published[name].numpy()).max() < 1e-6
    other = MobileNetV3 if class_ is ResNet18 else ResNet18
    with pytest.raises(StoreError, match="another network"):
        learned(other(str(tmp_path / "published.pth"), 1, 16, cut=32))


@pytest.mark.parametrize("class_", [ResNet18, MobileNetV3])
def test_it_is_exported_to_onnx_and_predicts_there_as_it_did(class_: type[ResNet18], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.set_num_threads(1)
    classifier = class_(cut=32)
    network = classifier.network(2)
    # A new network has no statistics to normalise by, and all crops look alike to it.
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1
    network(torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    model = TorchvisionModel(classifier, ("dark", "bright"), state)
    done = sp.export(model, tmp_path / "model.onnx")
    assert set(done.differences) == {"the model itself", "PyTorch"}
    back = sp.load_model(done.path)
    crops = [np.random.default_rng(seed).integers(0, 256, (30 + seed, 40, 3), np.uint8) for seed in range(8)]
    expected = model.scores(model.preprocessing.prepare(crops))
    assert np.ptp(expected[:, 0]) > 0.01
    np.testing.assert_allclose(back.scores(back.preprocessing.prepare(crops)), expected, atol=1e-5, rtol=1e-5)


def test_missing_weights_are_told() -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.pth"):
        learned(ResNet18("nowhere.pth", cut=32))
