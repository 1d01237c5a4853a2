"""Built-in classifiers pass the conformance kit."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
from learning_data import exported_before

import spatterlib as sp
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
    """LeNet5 with made-up weights, from an exported file."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        return sp.load_model(exported_before(Path(folder) / "model.onnx")).model


@pytest.mark.parametrize("check", classifier_checks(sp.make("classifier", "onnx"), exported))
def test_exported_models(check: Check) -> None:
    check()
