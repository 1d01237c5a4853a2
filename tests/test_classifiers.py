"""Built-in classifiers pass the conformance kit."""

from __future__ import annotations

import functools
import tempfile

import pytest
from learning_data import state_dict

import spatterlib as sp
from spatterlib.learning.lenet5.classifier import LenetModel
from spatterlib.plugins.classifier import Model
from spatterlib.testing import Check, classifier_checks

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize("check", classifier_checks(sp.make("classifier", "lenet5", epochs=3, batch=16)))
def test_lenet5(check: Check) -> None:
    check()


CLASSIC = {"epochs": 2, "batch": 16, "colour": "rgb"}


@pytest.mark.parametrize("check", classifier_checks(sp.make("classifier", "lenet5-classic", **CLASSIC)))
def test_lenet5_classic(check: Check) -> None:
    check()


@functools.cache
def exported() -> Model:
    """LeNet5 with made-up weights, exported to ONNX and loaded."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    lenet = sp.make("classifier", "lenet5")
    lenet_model = LenetModel(lenet, ("low", "high"), state_dict())
    with tempfile.TemporaryDirectory() as folder:
        path = sp.export(lenet_model, f"{folder}/model.onnx").path
        model: Model = type(sp.make("classifier", "onnx")).load(path)
        return model


@pytest.mark.parametrize("check", classifier_checks(sp.make("classifier", "onnx"), exported))
def test_exported_models(check: Check) -> None:
    check()
