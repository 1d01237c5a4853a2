from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from spatterlib_torchvision import MobileNetV3, ResNet18

import spatterlib as sp
from spatterlib.errors import MissingFileError, StoreError
from spatterlib.testing import Check, classifier_checks
from spatterlib.testing.classifiers import Subject

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
FEW = {"epochs": 2, "batch": 16, "cut": 32}


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
    subject = Subject(classifier)
    model = subject.fit(subject.samples())
    name = next(iter(published))
    assert abs(model.weights[name] - published[name].numpy()).max() < 1e-6
    other = Subject((MobileNetV3 if class_ is ResNet18 else ResNet18)(str(tmp_path / "published.pth"), 1, 16, cut=32))
    other = Subject((MobileNetV3 if class_ is ResNet18 else ResNet18)(str(tmp_path / "published.pth"), 1, 16, cut=32))
    with pytest.raises(StoreError, match="another network"):
        other.fit(other.samples())


def test_missing_weights_are_told() -> None:
    subject = Subject(ResNet18("nowhere.pth", cut=32))
    with pytest.raises(MissingFileError, match=r"nowhere\.pth"):
        subject.fit(subject.samples())
