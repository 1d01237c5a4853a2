"""Exported models: the same samples bit by bit, the same probabilities, and nothing written that differs."""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from learning_data import exported_before, make_store, state_dict, state_dict_before

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import (
    ContractError,
    MissingFileError,
    OutputExistsError,
    ParameterError,
    SpatterlibError,
    StoreError,
)
from spatterlib.learning.export import Exported, comparison
from spatterlib.learning.export.comparison import Ask
from spatterlib.learning.lenet5.classifier import LenetModel
from spatterlib.learning.runs import SIMULATED, Run
from spatterlib.plugins.classifier import Exportable, Preprocessing, Scores
from spatterlib.types import Image

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

LENETS = [
    ("lenet5", {}, 1),
    ("lenet5", {"colour": "rgb", "size": 33}, 3),
    ("lenet5-classic", {"letterbox": True}, 1),
    ("lenet5-classic", {"colour": "rgb", "letterbox": True, "size": 51}, 4),
]
FEW = comparison.made_up(4)


def model_of(id_: str = "lenet5", parameters: Any = None, outputs: int = 1, temperature: float = 1.7) -> Run:
    classifier = sp.make("classifier", id_, **(parameters or {}))
    weights = state_dict(classifier.tanh, outputs)
    return Run(LenetModel(classifier, tuple("abcd"[: max(outputs, 2)]), weights)).with_temperature(temperature)


def run_folder(path: Path, model: Run | None = None, **facts: Any) -> Path:
    """A finished run without a training."""
    model = model or model_of()
    path.mkdir()
    model.save(path)
    record = {
        "format": 1,
        "state": "complete",
        "classifier": {"id": "lenet5"},
        "classes": list(model.classes),
        "simulated": True,
        "created": "2026-01-02",
        "split": {"name": "grouped"},
        "metrics": {"test": {"accuracy": 0.91, "accuracy_interval": [0.8, 0.95]}},
    }
    (path / "model.json").write_text(json.dumps(record | facts))
    return path


@dataclass(frozen=True, eq=False)
class Seen:
    """A model whose scores are its samples: what a network sees inside an exported file can be told from outside."""

    preprocessing: Preprocessing
    facts: ClassVar[Any] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.preprocessing.cut**2 * self.preprocessing.channels)))

    def scores(self, images: Image) -> Scores:
        samples = self.preprocessing.samples(images, np.arange(len(images)))
        return (samples.transpose(0, 3, 1, 2) / np.float32(255)).reshape(len(images), -1).astype(np.float64)

    def torch_network(self) -> Any:
        return pytest.importorskip("torch").nn.Flatten()

    def save(self, folder: Any, facts: Any) -> None: ...


def lenet(folder: Path) -> Run:
    """From a run folder that says all that a file tells of a model."""
    run = run_folder(folder / "run")
    shutil.copy(SIMULATED / "familiar.json", run)
    return sp.load_model(run)


# An export takes seconds: the tests share these files.
MODELS: dict[str, Callable[[Path], Run]] = {
    "lenet5": lenet,
    "lenet5-classic-rgb-letterbox": lambda _: model_of(*LENETS[3], temperature=1),
    "grey-letterbox": lambda _: Run(Seen(Preprocessing("grey", 40, 32, letterbox=True))),
    "rgb": lambda _: Run(Seen(Preprocessing("rgb", 33, 20))),
}
NETWORKS, SEEN = list(MODELS)[:2], list(MODELS)[2:]
File = tuple[Run, Exported]


def needs_export() -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip("torch", reason="PyTorch is not installed").set_num_threads(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], File]:
    @functools.cache
    def made(name: str) -> File:
        needs_export()
        folder = tmp_path_factory.mktemp("exported")
        run = MODELS[name](folder)
        return run, sp.export(run, folder / "model.onnx", crops=comparison.made_up(40))

    return made


@pytest.fixture
def exported(request: pytest.FixtureRequest, files: Callable[[str], File]) -> File:
    return files(request.param)


def of(names: list[str]) -> pytest.MarkDecorator:
    params = [pytest.param(name, marks=pytest.mark.torch) for name in names]
    return pytest.mark.parametrize("exported", params, indirect=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is translated: an empty file and the model's own answers. For what does not depend on either."""
    pytest.importorskip("torch").set_num_threads(1)

    def write(run: Run, facts: Any, part: Path) -> Ask:
        return lambda crops: run.probabilities(list(crops)).astype(np.float32)

    monkeypatch.setattr("spatterlib.learning.export.writing.write_onnx", write)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A file that version 0.1.0 wrote without PyTorch, of the weights that `state_dict_before` gives."""
    return exported_before(tmp_path / "before.onnx")


def opened(path: Any) -> Any:
    """As another program opens it: no options, no spatterlib."""
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


class TestOnnx:
    """A file that ONNX Runtime alone turns into probabilities."""

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(n=st.integers(0, 5), height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
    @of(NETWORKS)
    def test_any_number_of_crops_of_any_size(self, exported: File, n: int, height: int, width: int, seed: int) -> None:
        model, done = exported
        crops = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
        found, scores = _session(done.path).run(["probability", "scores"], {"crops": crops})
        expected = model.probabilities(list(crops))
        assert found.dtype == scores.dtype == np.float32
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=2e-6)
        np.testing.assert_allclose(scores, model.scores(model.preprocessing.prepare(list(crops))), atol=1e-5)

    @of(SEEN)
    def test_the_samples_inside_are_ours_bit_by_bit(self, exported: File) -> None:
        model, done = exported
        session = opened(done.path)
        for crop in comparison.made_up(60, seed=5):
            [inside] = session.run(["scores"], {"crops": crop[None]})
            np.testing.assert_array_equal(inside, model.scores(model.preprocessing.prepare([crop])))

    @of(list(MODELS))
    def test_it_passes_the_checker_and_needs_no_unusual_operators(self, exported: File) -> None:
        graph = onnx.load(exported[1].path)
        onnx.checker.check_model(graph, full_check=True)
        assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 18)]
        assert len(graph.functions) == 0

    @of(NETWORKS)
    def test_its_input_and_outputs_are_those_of_the_page(self, exported: File) -> None:
        session = opened(exported[1].path)
        [crops] = session.get_inputs()
        assert (crops.name, crops.type, crops.shape) == ("crops", "tensor(uint8)", ["n", "h", "w", 3])
        outputs = [(value.name, value.type, value.shape) for value in session.get_outputs()]
        shape = ["n", len(exported[0].classes)]
        assert outputs == [("probability", "tensor(float)", shape), ("scores", "tensor(float)", shape)]

    @of(list(MODELS))
    def test_other_runtimes_agree(self, exported: File) -> None:
        from onnx.reference import ReferenceEvaluator

        crops = np.stack(comparison.made_up(4, seed=3))
        reference: Any = ReferenceEvaluator(onnx.load(exported[1].path))
        [found] = reference.run(["probability"], {"crops": crops})
        np.testing.assert_allclose(found, exported[0].probabilities(list(crops)), atol=2e-6)

    @of(["lenet5"])
    def test_the_same_model_gives_the_same_bytes(self, exported: File, tmp_path: Path) -> None:
        run, done = exported
        again = sp.export(run, tmp_path / "again.onnx", crops=FEW)
        assert Path(again.path).read_bytes() == Path(done.path).read_bytes()

    @of(list(MODELS))
    def test_no_file_of_this_machine_is_named_in_it(self, exported: File) -> None:
        content = Path(exported[1].path).read_bytes()
        assert b".py" not in content
        assert str(Path(sp.__file__).parent).encode() not in content

    @of(["lenet5"])
    def test_it_says_what_it_is(self, exported: File) -> None:
        run, done = exported
        graph = onnx.load(done.path)
        [entry] = graph.metadata_props
        facts = json.loads(entry.value)
        assert entry.key == "spatterlib"
        assert facts["classes"] == ["a", "b"]
        assert facts["weights"] == hashlib.sha256(Path(run.path, "weights.safetensors").read_bytes()).hexdigest()
        assert facts["simulated"] is True
        assert (facts["split"]["name"], facts["test"]["accuracy"]) == ("grouped", 0.91)
        assert facts["versions"]["exported by"] == f"spatterlib {sp.__version__}"
        assert "simulated recordings" in graph.doc_string

    @of(["lenet5"])
    def test_it_knows_foreign_crops_as_its_run_does(self, exported: File) -> None:
        from spatterlib.verdicts.scoring import Scorer

        run, done = exported
        images = run.preprocessing.prepare(FEW)
        ours, theirs = Scorer.of(run), Scorer.of(sp.load_model(done.path))
        assert ours.familiar
        assert theirs.familiar
        np.testing.assert_array_equal(theirs.familiar.distances(images), ours.familiar.distances(images))
        assert theirs.black == ours.black

    @of(["lenet5-classic-rgb-letterbox"])
    def test_weights_of_unknown_origin_claim_nothing(self, exported: File) -> None:
        graph = onnx.load(exported[1].path)
        facts = json.loads(graph.metadata_props[0].value)
        assert (facts["simulated"], facts["split"], facts["test"]) == (None, None, None)
        assert "simulated" not in graph.doc_string

    @of(["lenet5"])
    def test_what_it_was_compared_with_and_how_near_it_came(self, exported: File) -> None:
        assert set(exported[1].differences) == {"the model itself", "PyTorch"}
        assert max(exported[1].differences.values()) < 1e-5


def _session(path: str, known: dict[str, Any] = {}) -> Any:  # noqa: B006
    return known.setdefault(path, None) or known.update({path: opened(path)}) or known[path]


class TestComparison:
    """What differs is not written."""

    def test_it_is_tried_on_a_thousand_crops_of_what_was_learned_from(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "low.h5", crops=30)
        gone = str(tmp_path / "gone.h5")
        crops = comparison.sample_crops({"sources": [{"path": str(store)}, {"path": gone}]})
        assert len(crops) == 1000
        with sp.open_store(store) as opened_store:
            np.testing.assert_array_equal(crops[29], opened_store.read([29])[0])

    def test_made_up_crops_are_of_many_sizes_and_lead_to_many_probabilities(self) -> None:
        crops = comparison.made_up(1000)
        assert len({crop.shape for crop in crops}) > 200
        peaks = {int(crop.max()) for crop in crops}
        assert len(peaks) > 50

    @pytest.mark.torch
    def test_a_network_that_differs_is_refused_and_leaves_nothing(self, tmp_path: Path) -> None:
        pytest.importorskip("torch").set_num_threads(1)
        other = state_dict()
        other = dict(other) | {list(other)[-1]: other[list(other)[-1]] + np.float32(0.01)}

        class Wrong(LenetModel):
            def torch_network(self) -> Any:
                return LenetModel(self.classifier, self.classes, other).torch_network()

        wrong = Wrong(sp.make("classifier", "lenet5"), ("a", "b"), state_dict())
        with pytest.raises(ContractError, match=r"differs from the model itself by up to 0\.00\d+ in probability"):
            sp.export(wrong, tmp_path / "model.pt2", crops=comparison.made_up(100))
        assert list(tmp_path.iterdir()) == []

    def test_a_decision_that_differs_is_refused_however_near(self) -> None:
        near = np.array([[0.500001, 0.499999]])
        with pytest.raises(ContractError, match="decides 1 of 1 crops otherwise"):
            comparison.check(near, {"PyTorch": near[:, ::-1]}, "it")

    def test_what_is_no_number_is_no_match(self) -> None:
        with pytest.raises(ContractError):
            comparison.check(np.full((1, 2), np.nan), {"PyTorch": np.full((1, 2), 0.5)}, "it")


@pytest.mark.torch
class TestForeignNetworks:
    """What PyTorch cannot export ends in one line that says why, and what could be done."""

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("model.onnx", r"as ONNX: .*bessel_j0.*; export a torch program, format='torch' \(--format torch\)$"),
            ("model.pt2", r"PyTorch cannot export the network of a Odd: .*; its torch_network must suit torch.export"),
        ],
        ids=["an operator that ONNX has not", "a branch on values"],
    )
    def test_one_line_and_nothing_left(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, said: str
    ) -> None:
        needs_export()
        import torch

        class Strange(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def forward(self, samples: Any) -> Any:
                total = samples.sum((1, 2, 3), keepdim=True)[..., 0, 0]
                if name == "model.pt2" and total[0] > 3:
                    return torch.cat([total, total], 1)
                return torch.cat([total, torch.special.bessel_j0(total)], 1)

        class Odd(LenetModel):
            def torch_network(self) -> Any:
                return Strange()

        odd = Odd(sp.make("classifier", "lenet5"), ("a", "b"), state_dict())
        with pytest.raises(ParameterError, match=said) as caught:
            sp.export(odd, tmp_path / name, crops=FEW)
        assert "\n" not in str(caught.value)
        assert capfd.readouterr().out == ""
        assert list(tmp_path.iterdir()) == []


@pytest.mark.torch
class TestTorchProgram:
    """A program of torch.export, preprocessing inside."""

    @pytest.mark.parametrize("kind", [LENETS[0], LENETS[3]], ids=["grey", "rgb-letterbox"])
    def test_it_takes_any_number_of_crops_of_any_size(self, tmp_path: Path, kind: Any) -> None:
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        model = model_of(*kind)
        done = sp.export(model, tmp_path / "model.pt2", crops=comparison.made_up(40))
        assert done.format == "torch"
        extra = {"spatterlib.json": ""}
        program = torch.export.load(done.path, extra_files=extra).module()
        assert json.loads(extra["spatterlib.json"])["classes"] == list(model.classes)
        for shape in [(0, 5, 5), (1, 1, 1), (1, 300, 7), (3, 40, 40), (2, 96, 124)]:
            crops = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)
            found = program(torch.from_numpy(crops))[0].numpy()
            np.testing.assert_allclose(found, model.probabilities(list(crops)), atol=2e-6)


class TestLoadedBack:
    """An exported model is a model."""

    @of(NETWORKS)
    def test_it_predicts_as_it_did(self, exported: File) -> None:
        model, done = exported
        back = sp.load_model(done.path)
        crops = comparison.made_up(50, seed=9)
        assert (back.classes, back.preprocessing.shape) == (model.classes, model.preprocessing.shape)
        assert back.temperature == model.temperature
        np.testing.assert_allclose(back.probabilities(crops), model.probabilities(crops), atol=2e-6)
        assert back.probabilities([]).shape == (0, len(model.classes))

    def test_a_file_of_an_earlier_version_does_so_without_pytorch(
        self, before: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        weights = LenetModel(sp.make("classifier", "lenet5"), ("a", "b"), state_dict_before())
        model = Run(weights).with_temperature(1.7)
        crops = comparison.made_up(50, seed=9)
        back = sp.load_model(before)
        np.testing.assert_allclose(back.probabilities(crops), model.probabilities(crops), atol=2e-6)
        assert back.simulated
        assert back.facts["classifier"]["id"] == "lenet5"

    @of(["lenet5"])
    def test_what_the_run_said_is_kept(self, exported: File) -> None:
        back = sp.load_model(exported[1].path)
        assert back.simulated
        assert back.facts["classifier"]["id"] == "lenet5"

    @pytest.mark.parametrize("name", ["before", *(pytest.param(name, marks=pytest.mark.torch) for name in NETWORKS)])
    def test_it_pickles_and_is_saved_with_its_calibration(
        self, name: str, before: Path, files: Callable[[str], File], tmp_path: Path
    ) -> None:
        back = sp.load_model(before if name == "before" else files(name)[1].path)
        crops = comparison.made_up(6)
        back.probabilities(crops)
        again = pickle.loads(pickle.dumps(back))
        np.testing.assert_array_equal(again.probabilities(crops), back.probabilities(crops))
        (tmp_path / "other").mkdir()
        cooler = back.with_temperature(0.5)
        cooler.save(tmp_path / "other")
        saved = sp.load_model(tmp_path / "other" / "model.onnx")
        np.testing.assert_array_equal(saved.probabilities(crops), cooler.probabilities(crops))
        [direct] = opened(tmp_path / "other" / "model.onnx").run(["probability"], {"crops": crops[0][None]})
        np.testing.assert_allclose(direct, cooler.probabilities(crops[:1]), atol=2e-6)

    def test_it_does_not_learn(self) -> None:
        nothing: Any = None
        with pytest.raises(ParameterError, match="does not learn"):
            sp.make("classifier", "onnx").fit(nothing, nothing, classes=("a", "b"))

    def test_it_is_not_exported_again(self, before: Path, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="cannot be exported"):
            sp.export(sp.load_model(before), tmp_path / "again.onnx")

    def test_classes_may_be_renamed_but_not_lost(self, before: Path) -> None:
        assert sp.load_model(before, classes=("low", "high")).classes == ("low", "high")
        with pytest.raises(StoreError, match="2 classes apart, but 3"):
            sp.load_model(before, classes=("a", "b", "c"))


class TestForeignFiles:
    """What is not ours says so in one line."""

    @pytest.mark.parametrize("content", [b"", b"<html>", b"\x08\x08" * 40])
    def test_damaged(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(StoreError, match=r"model\.onnx is no (ONNX )?model that") as caught:
            sp.load_model(tmp_path / "model.onnx")
        assert "\n" not in str(caught.value)

    def test_cut_short(self, before: Path) -> None:
        before.write_bytes(before.read_bytes()[:-1000])
        with pytest.raises(StoreError, match=r"no ONNX model that can be read"):
            sp.load_model(before)

    @pytest.mark.parametrize(
        ("signature", "facts"),
        [
            ("float[n, 3, 224, 224] image", None),
            ("float[n, 3, 224, 224] image", "{}"),
            ("uint8[n, h, w, 3] crops", None),
            ("uint8[n, h, w, 3] crops", "[]"),
            ("uint8[n, h, w, 3] crops", '{"classes": ["a", "b"], "temperature": 1, "preprocessing": {"size": 0}}'),
            ("uint8[n, h, w, 1] crops", '{"classes": ["a", "b"], "temperature": 1, "preprocessing": {}}'),
        ],
    )
    def test_of_another_program(self, tmp_path: Path, signature: str, facts: str | None) -> None:
        name = signature.split()[-1]
        text = f"""<ir_version: 8, opset_import: ["" : 18]>
        foreign ({signature}) => (float[n, d] probability, float[n, d] scores)
        {{ a = Cast <to = 1> ({name}) probability = Flatten (a) scores = Identity (probability) }}"""
        foreign = onnx.parser.parse_model(text)
        if facts is not None:
            onnx.helper.set_model_props(foreign, {"spatterlib": facts})
        onnx.save(foreign, tmp_path / "foreign.onnx")
        with pytest.raises(StoreError, match=r"expected the input crops .* got (image|crops) tensor") as caught:
            sp.load_model(tmp_path / "foreign.onnx")
        assert "\n" not in str(caught.value)

    def test_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError):
            sp.load_model(tmp_path / "model.onnx")

    def test_without_onnx_runtime_it_says_how_to_get_it(self, before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(SpatterlibError, match=r"is not installed; install it with: .*\[onnx\]"):
            sp.load_model(before)


class TestRefused:
    """Bad input, and what it leaves behind."""

    def test_not_a_run(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="no model at"):
            sp.export(tmp_path / "nothing")
        with pytest.raises(MissingFileError, match="no finished run"):
            sp.export(tmp_path)

    def test_a_run_that_is_not_finished(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="not finished"):
            sp.export(run_folder(tmp_path / "run", state="running"))

    @pytest.mark.parametrize(
        ("path", "format_", "message"),
        [
            ("model.onnx", "tflite", r"'onnx' or 'torch', not 'tflite'"),
            ("model.pt2", "onnx", r"a file \.onnx, got .*model\.pt2"),
            ("model.bin", None, r"a file \.onnx or \.pt2, got"),
            ("model", "torch", r"a file \.pt2, got"),
        ],
    )
    def test_formats_and_names(self, tmp_path: Path, path: str, format_: Any, message: str) -> None:
        with pytest.raises(ParameterError, match=message):
            sp.export(model_of(), tmp_path / path, format=format_)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.torch
    @pytest.mark.usefixtures("quick")
    def test_what_exists_is_kept_unless_overwriting_is_asked_for(self, tmp_path: Path) -> None:
        target = tmp_path / "model.onnx"
        target.write_text("mine")
        with pytest.raises(OutputExistsError, match="exists already"):
            sp.export(model_of(), target)
        assert target.read_text() == "mine"
        sp.export(model_of(), target, crops=FEW, overwrite=True)
        assert target.read_text() == ""

    @pytest.mark.torch
    @pytest.mark.usefixtures("quick")
    def test_nothing_is_written_into_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("spatterlib.learning.runs.SIMULATED", run_folder(tmp_path / "package"))
        monkeypatch.setattr("spatterlib.learning.export.writing.SIMULATED", tmp_path / "package")
        assert sp.export("simulated", crops=FEW).path == "simulated.onnx"

    @pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript", "torch"])
    def test_what_is_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
        if package == "onnxscript":
            pytest.importorskip("torch")
        monkeypatch.setitem(sys.modules, package, None)
        extra = "onnx" if package in ("onnx", "onnxruntime") else "torch"
        with pytest.raises(SpatterlibError, match=rf"which is not installed; install it with: .*\[{extra}\]"):
            sp.export(model_of(), tmp_path / "model.onnx", crops=FEW)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="no folder"):
            sp.export(model_of(), tmp_path / "no" / "model.onnx")

    def test_no_crops_to_compare_on(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="at least one crop"):
            sp.export(model_of(), tmp_path / "model.onnx", crops=[])
        assert list(tmp_path.iterdir()) == []

    def test_a_bare_model_needs_a_path(self) -> None:
        with pytest.raises(ParameterError, match="needs a path"):
            sp.export(model_of())

    def test_a_classifier_without_networks(self, tmp_path: Path) -> None:
        class Plain:
            classes, preprocessing = ("a", "b"), Preprocessing()
            facts: ClassVar[Any] = {}

            def scores(self, images: Any) -> Any: ...

        plain: Any = Plain()
        assert not isinstance(plain, Exportable)
        with pytest.raises(ParameterError, match="Plain cannot be exported"):
            sp.export(plain, tmp_path / "model.onnx")


class TestEngines:
    """The same model by our kernels, PyTorch and ONNX Runtime."""

    @pytest.mark.parametrize("engine", ["numba", "onnx", pytest.param("torch", marks=pytest.mark.torch)])
    @pytest.mark.parametrize("kind", LENETS, ids=str)
    def test_probabilities_are_the_same(self, tmp_path: Path, engine: Any, kind: Any) -> None:
        if engine == "torch":
            pytest.importorskip("torch").set_num_threads(1)
        model = model_of(*kind)
        folder = run_folder(tmp_path / "run", model, classifier={"id": kind[0]})
        crops = comparison.made_up(40)
        run = sp.load_model(folder, engine=engine)
        np.testing.assert_allclose(run.probabilities(crops), model.probabilities(crops), atol=1e-5)
        again = pickle.loads(pickle.dumps(run))
        np.testing.assert_array_equal(again.probabilities(crops), run.probabilities(crops))

    def test_unknown(self, tmp_path: Path) -> None:
        unknown: Any = "tensorflow"
        with pytest.raises(ParameterError, match="numba, torch, onnx, not by 'tensorflow'"):
            sp.load_model(run_folder(tmp_path / "run"), engine=unknown)

    @pytest.mark.parametrize(("engine", "package"), [("torch", "torch"), ("onnx", "onnxruntime"), ("onnx", "onnx")])
    def test_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, package: str) -> None:
        folder = run_folder(tmp_path / "run")
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(SpatterlibError, match="which is not installed; install it with"):
            sp.load_model(folder, engine=engine)

    def test_an_exported_model_has_one_way(self, before: Path) -> None:
        with pytest.raises(ParameterError, match="one way of computing"):
            sp.load_model(before, engine="numba")


class TestGuide:
    """What docs/export.md shows."""

    @of(["lenet5"])
    def test_the_file_is_used_as_it_says(self, exported: File, tmp_path: Path) -> None:
        import re
        import subprocess

        guide = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
        [code] = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
        model, written = exported
        shutil.copy(written.path, tmp_path / "model.onnx")
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        expected = model.probabilities([np.zeros((96, 124, 3), np.uint8)])[0]
        line = str({name: round(float(value), 3) for name, value in zip("ab", expected, strict=True)})
        # Nothing else is printed: no warning of a runtime either.
        assert (done.stdout.splitlines(), done.stderr) == ([line, line], "")


class TestCommand:
    """`spatterlib export`."""

    @pytest.mark.torch
    @pytest.mark.usefixtures("quick")
    def test_it_says_what_was_written_and_how_near(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = run_folder(tmp_path / "run")
        assert main(["export", str(folder)]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{folder / 'model.onnx'}: probabilities of 1000 crops within ")
        assert main(["export", str(folder)]) == 1
        assert "exists already" in capsys.readouterr().err
        assert main(["export", str(folder), "--overwrite", "-o", str(folder / "model.onnx")]) == 0

    def test_bad_input(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["export", str(tmp_path / "nothing")]) == 1
        assert main(["export", str(tmp_path), "--format", "tflite"]) == 2
        said = capsys.readouterr().err
        assert "no model at" in said
        assert "tflite" in said
