"""The two networks: the published number of parameters, the published results, and weights from anywhere."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning_data import state_dict
from safetensors.numpy import save_file

import spatterlib as sp
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.learning.runs import Run

NETWORKS = ["lenet5", "lenet5-classic"]


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="PyTorch is not installed")
    module.set_num_threads(1)
    return module


def samples(count: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, channels), dtype=np.uint8)


def plain_input(torch: Any, images: np.ndarray) -> Any:
    """As published: float in [0, 1], grey copied to three channels."""
    three = np.repeat(images, 3 // images.shape[3], axis=3)
    return torch.from_numpy(three).permute(0, 3, 1, 2).float() / 255


def pair(torch: Any, tanh: bool, outputs: int = 1) -> tuple[Any, Any]:
    """The network that trains and the plain one, with the same weights."""
    from spatterlib.learning.lenet5.torch_networks import Trainable, plain

    ours = Trainable.new(outputs, tanh=tanh, seed=3, device="cpu")
    theirs = plain(outputs, tanh=tanh)
    theirs.load_state_dict({name[6:]: value.detach() for name, value in ours.parameters.items()})
    return ours, theirs


@pytest.mark.torch
class TestPublishedNetwork:
    """Ours is the plain three-channel network of PyTorch, only faster."""

    @pytest.mark.parametrize("tanh", [False, True])
    def test_it_has_61241_parameters(self, torch: Any, tanh: bool) -> None:
        ours, theirs = pair(torch, tanh)
        assert sum(value.numel() for value in ours.parameters.values()) == 61_241
        assert sum(value.numel() for value in theirs.parameters()) == 61_241
        assert list(ours.parameters) == [f"model.{name}" for name, _ in theirs.named_parameters()]

    @pytest.mark.parametrize("tanh", [False, True])
    def test_it_begins_as_the_plain_network_does(self, torch: Any, tanh: bool) -> None:
        from spatterlib.learning.lenet5.torch_networks import Trainable, plain

        before = torch.random.get_rng_state()
        ours = Trainable.new(1, tanh=tanh, seed=1234, device="cpu")
        assert torch.equal(torch.random.get_rng_state(), before)
        with torch.random.fork_rng():
            torch.manual_seed(1234)
            theirs = plain(1, tanh=tanh)
        for value, expected in zip(ours.parameters.values(), theirs.parameters(), strict=True):
            assert torch.equal(value, expected)

    @pytest.mark.parametrize("count", [1, 15, 16, 17, 200])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("tanh", [False, True])
    def test_outputs_and_gradients_are_those_of_the_plain_network(
        self, torch: Any, tanh: bool, channels: int, count: int
    ) -> None:
        ours, theirs = pair(torch, tanh)
        images = samples(count, channels)
        wanted = torch.from_numpy(np.arange(count) % 2).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        scores, expected = ours(images), theirs(plain_input(torch, images))
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
        loss(scores[:, 0], wanted).backward()
        loss(expected[:, 0], wanted).backward()
        for (name, value), reference in zip(ours.parameters.items(), theirs.parameters(), strict=True):
            # Among the 300,000 maxima of 200 crops one may be a tie that rounding decides the other way.
            bound = (2e-2 if count == 200 else 2e-4) * reference.grad.abs().max().item()
            assert (value.grad - reference.grad).abs().max().item() <= bound, name

    @pytest.mark.parametrize("tanh", [False, True])
    def test_on_another_device_it_computes_the_same(self, torch: Any, tanh: bool) -> None:
        ours, theirs = pair(torch, tanh)
        images = samples(20, 1)
        weights = list(ours.parameters.values())
        features = ours._elsewhere(images, weights[0].sum(1, keepdim=True), *weights[1:4])
        cut = 7 if tanh else 5
        torch.testing.assert_close(features, theirs[:cut](plain_input(torch, images)), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("count", [1, 2, 4])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("tanh", [False, True])
    def test_a_handful_is_reckoned_as_many_are(self, tanh: bool, channels: int, count: int) -> None:
        from spatterlib.learning.lenet5.stages import few, forward

        random = np.random.default_rng(count)
        weights = tuple(
            random.normal(scale=0.2, size=shape).astype(np.float32)
            for shape in ((6, channels, 5, 5), (6,), (16, 6, 5, 5), (16,))
        )
        images = samples(count, channels)
        expected, _ = forward(images, weights, tanh, threads=1)  # type: ignore[arg-type]
        np.testing.assert_allclose(few(images, weights, tanh), expected, atol=1e-5)  # type: ignore[arg-type]

    @pytest.mark.parametrize("tanh", [False, True])
    def test_gradients_do_not_depend_on_the_number_of_threads(self, torch: Any, tanh: bool) -> None:
        from spatterlib.learning.lenet5 import stages as stages

        ours, _ = pair(torch, tanh)
        values = [value.detach().numpy() for value in ours.parameters.values()]
        weights: Any = (values[0].sum(1, keepdims=True), *values[1:4])
        results = []
        for threads in (1, 3):
            features, passed = stages.forward(samples(100, 1), weights, tanh, threads)
            results.append((features, *stages.backward(np.ones_like(features), passed, weights, threads)))
        for one, three in zip(*results, strict=True):
            np.testing.assert_array_equal(one, three)

    @pytest.mark.parametrize("tanh", [False, True])
    def test_batches_may_overlap_and_be_looked_at_between(self, torch: Any, tanh: bool) -> None:
        """Room is used again from batch to batch, never while a batch still needs it."""
        ours, fresh = pair(torch, tanh)[0], pair(torch, tanh)[0]
        first, second = samples(40, 1, seed=1), samples(40, 1, seed=2)
        ours(samples(40, 1, seed=3)).sum().backward()
        for value in ours.parameters.values():
            value.grad = None
        early, late = ours(first).sum(), ours(second).sum()
        with torch.no_grad():
            ours(samples(40, 1, seed=4))
        early.backward()
        with torch.no_grad():
            ours(samples(40, 1, seed=4))
        late.backward()
        fresh(first).sum().backward()
        fresh(second).sum().backward()
        for value, expected in zip(ours.parameters.values(), fresh.parameters.values(), strict=True):
            assert torch.equal(value.grad, expected.grad)

    def test_a_second_way_back_through_a_batch_is_refused(self, torch: Any) -> None:
        ours, _ = pair(torch, tanh=False)
        total = ours(samples(20, 1)).sum()
        total.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="once"):
            total.backward()

    @pytest.mark.parametrize("id_", NETWORKS)
    @pytest.mark.parametrize("outputs", [1, 3])
    @pytest.mark.parametrize("colour", ["grey", "rgb"])
    def test_a_model_without_pytorch_predicts_what_the_plain_network_does(
        self, torch: Any, id_: str, outputs: int, colour: str
    ) -> None:
        from spatterlib.learning.lenet5.classifier import LenetModel
        from spatterlib.learning.lenet5.torch_networks import plain

        classifier = sp.make("classifier", id_, colour=colour)
        arrays = state_dict(classifier.tanh, outputs)
        model = LenetModel(classifier, tuple("abc"[: max(outputs, 2)]), arrays)
        network = plain(outputs, tanh=classifier.tanh)
        network.load_state_dict({name[6:]: torch.from_numpy(array) for name, array in arrays.items()})
        images = np.random.default_rng(1).integers(0, 256, (70, *model.preprocessing.shape), dtype=np.uint8)
        with torch.no_grad():
            expected = network(plain_input(torch, images[:, 4:36, 4:36])).numpy()
        scores = model.scores(images)
        np.testing.assert_allclose(scores if outputs > 1 else scores[:, 1:], expected, atol=1e-5)


class TestParameters:
    """Hyper-parameters are the fields of the dataclass."""

    @pytest.mark.parametrize("id_", NETWORKS)
    def test_a_classifier_pickles_and_survives_json(self, id_: str) -> None:
        from spatterlib.plugins.registry import identity

        classifier = sp.make("classifier", id_, epochs=3, colour="rgb")
        assert sp.make("classifier", identity(classifier)) == classifier
        assert pickle.loads(pickle.dumps(classifier)) == classifier

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"epochs": 0}, "epochs"),
            ({"batch": 0}, "batch"),
            ({"learning_rate": 2}, "learning_rate"),
            ({"colour": "red"}, "'grey' or 'rgb'"),
            ({"size": 20}, "cut <= size"),
            ({"seed": -1}, "seed"),
            ({"epoch": 3}, "did you mean 'epochs'"),
        ],
    )
    def test_wrong_parameters_are_refused(self, parameters: dict[str, Any], message: str) -> None:
        with pytest.raises(ParameterError, match=message):
            sp.make("classifier", "lenet5", **parameters)


class TestWeights:
    """Weights are arrays and nothing else."""

    @pytest.mark.torch
    @pytest.mark.parametrize("numbers", [(0, 2, 5, 7, 9), (0, 1, 2, 4, 6), (1, 3, 10, 12, 14)])
    def test_a_published_state_dict_loads_whatever_its_numbering(
        self, torch: Any, tmp_path: Path, numbers: tuple[int, ...]
    ) -> None:
        arrays = state_dict()
        renamed = {}
        for (name, array), number in zip(arrays.items(), np.repeat(numbers, 2), strict=True):
            renamed[f"model.{number}.{name.rsplit('.', 1)[1]}"] = torch.from_numpy(array)
        torch.save(dict(reversed(renamed.items())), tmp_path / "lenet5.pth")
        model = sp.load_model(tmp_path / "lenet5.pth", "lenet5", classes=("low", "high"))
        assert model.classes == ("low", "high")
        for array, expected in zip(model.model.weights.values(), arrays.values(), strict=True):  # type: ignore[attr-defined]
            np.testing.assert_array_equal(array, expected)

    @pytest.mark.torch
    def test_a_file_with_a_pickle_that_runs_code_does_not_run_it(self, torch: Any, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return os.system, (f"touch {tmp_path / 'executed'}",)

        torch.save({"model.0.weight": Trap()}, tmp_path / "trap.pth")
        (tmp_path / "bare.pt").write_bytes(pickle.dumps(Trap()))
        for name in ("trap.pth", "bare.pt"):
            with pytest.raises(StoreError, match="none of which was executed") as caught:
                sp.load_model(tmp_path / name)
            assert "\n" not in str(caught.value)
        assert not (tmp_path / "executed").exists()

    @pytest.mark.torch
    def test_the_trap_of_the_test_before_would_spring(self, torch: Any, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "executed"),)

        pickle.loads(pickle.dumps(Trap()))
        assert (tmp_path / "executed").exists()

    def test_weights_of_another_shape_are_refused(self, tmp_path: Path) -> None:
        arrays = state_dict() | {"model.5.weight": np.zeros((120, 256), np.float32)}
        save_file(arrays, tmp_path / "other.safetensors")
        with pytest.raises(StoreError, match=r"another shape: expected .*\(120, 400\).* got .*\(120, 256\)"):
            sp.load_model(tmp_path / "other.safetensors")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no safetensors"),
            (b"\x08" + b"\0" * 7 + b"{}      ", "expected model.N.weight"),
            (b"x" * 99, "no safeten"),
        ],
    )
    def test_a_damaged_file_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "w.safetensors").write_bytes(content)
        with pytest.raises(StoreError, match=message):
            sp.load_model(tmp_path / "w.safetensors")

    def test_a_wrong_number_of_class_names_is_refused(self, tmp_path: Path) -> None:
        save_file(state_dict(outputs=3), tmp_path / "three.safetensors")
        with pytest.raises(StoreError, match="tells 3 classes apart, but 2 were named"):
            sp.load_model(tmp_path / "three.safetensors", classes=("low", "high"))
        assert sp.load_model(tmp_path / "three.safetensors").classes == ("0", "1", "2")

    def test_nothing_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="no model at"):
            sp.load_model(tmp_path / "nowhere")

    @pytest.mark.parametrize("id_", NETWORKS)
    def test_own_weights_come_back_with_everything_and_without_pytorch(self, id_: str, tmp_path: Path) -> None:
        from spatterlib.learning.lenet5.classifier import LenetModel

        classifier = sp.make("classifier", id_, colour="rgb", letterbox=True, epochs=7)
        model = LenetModel(classifier, ("low", "high"), state_dict(classifier.tanh))
        model.save(tmp_path, {"temperature": 1.7})
        back = type(classifier).load(str(tmp_path))
        assert (back.classifier, back.classes, back.facts) == (classifier, ("low", "high"), {"temperature": 1.7})
        crop = np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        np.save(tmp_path / "crop.npy", crop)
        code = (
            "import sys; sys.modules['torch'] = None\n"
            "import numpy as np, spatterlib as sp\n"
            f"model = sp.load_model({str(tmp_path / 'weights.safetensors')!r}, {id_!r})\n"
            f"print(model.probabilities([np.load({str(tmp_path / 'crop.npy')!r})])[0].tolist())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        run = Run(model).with_temperature(1.7)
        np.testing.assert_array_equal(
            np.array([float(v) for v in done.stdout.strip(" []\n").split(",")]), run.probabilities([crop])[0]
        )
        assert run.probabilities([]).shape == (0, 2)
