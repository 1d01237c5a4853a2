"""Weights of the research system: which network they are of is told from the file, or asked; never guessed."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning_data import crop, make_store, state_dict
from safetensors.numpy import save_file
from state_dicts import published_scores, save_state_dict

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.common.image_codec import decode
from spatterlib.errors import ParameterError, SpatterlibError, StoreError

NETWORKS = {"lenet5": False, "lenet5-classic": True}


def renumbered(numbers: tuple[int, ...], prefix: str = "model.") -> dict[str, Any]:
    arrays = state_dict().items()
    return {
        f"{prefix}{number}.{name.rsplit('.', 1)[1]}": array
        for (name, array), number in zip(arrays, np.repeat(numbers, 2), strict=True)
    }


def network(run: Any) -> str:
    return str(run.classifier["id"])


class TestWhichNetwork:
    """The two state dicts differ in nothing but the numbers of their layers."""

    @pytest.mark.parametrize("id_", NETWORKS)
    @pytest.mark.parametrize("kind", ["mdl", "pth", "safetensors"])
    def test_a_file_of_either_network_predicts_what_that_network_does(
        self, id_: str, kind: str, tmp_path: Path
    ) -> None:
        arrays = state_dict(NETWORKS[id_])
        path = tmp_path / f"best.{kind}"
        save_file(arrays, path) if kind == "safetensors" else save_state_dict(path, arrays)
        run = sp.load_model(path, classes=("low", "high"))
        assert network(run) == id_
        crops = [decode(crop("low", number)) for number in range(5)]
        grey = run.preprocessing.prepare(crops)[:, 4:36, 4:36, 0] / 255
        scores = published_scores(arrays, np.repeat(grey[:, None], 3, axis=1), tanh=NETWORKS[id_])
        expected = 1 / (1 + np.exp(-scores[:, 0]))
        np.testing.assert_allclose(run.probabilities(crops)[:, 1], expected, atol=1e-6)

    def test_the_two_networks_do_not_give_the_same(self, tmp_path: Path) -> None:
        """Else the test above could not tell them apart."""
        samples = np.random.default_rng(1).random((4, 3, 32, 32))
        one, other = (published_scores(state_dict(), samples, tanh=tanh) for tanh in (False, True))
        assert abs(one - other).min() > 1e-3

    @pytest.mark.parametrize("id_", NETWORKS)
    def test_another_network_than_the_files_is_refused(self, id_: str, tmp_path: Path) -> None:
        other = next(name for name in NETWORKS if name != id_)
        path = save_state_dict(tmp_path / "best.mdl", state_dict(NETWORKS[id_]))
        with pytest.raises(
            StoreError, match=f"holds weights of '{id_}', by the numbers of its layers, not of '{other}'"
        ):
            sp.load_model(path, other)

    @pytest.mark.parametrize("numbers", [(0, 1, 2, 4, 6), (1, 3, 10, 12, 14)])
    def test_numbers_of_neither_are_asked_about(self, numbers: tuple[int, ...], tmp_path: Path) -> None:
        path = save_state_dict(tmp_path / "best.mdl", renumbered(numbers))
        with pytest.raises(ParameterError, match=r"does not say which network .* lenet5 or lenet5-classic") as caught:
            sp.load_model(path)
        assert "--classifier lenet5" in str(caught.value)
        for id_ in NETWORKS:
            assert network(sp.load_model(path, id_)) == id_

    def test_weights_that_were_asked_about_say_it_once_they_are_saved(self, tmp_path: Path) -> None:
        path = save_state_dict(tmp_path / "best.mdl", renumbered((0, 1, 2, 4, 6)))
        run = sp.load_model(path, "lenet5-classic", classes=("low", "high"))
        run.save(tmp_path)
        again = sp.load_model(tmp_path / "weights.safetensors")
        assert (network(again), again.classes) == ("lenet5-classic", ("low", "high"))
        images = np.random.default_rng(0).integers(0, 256, (3, *run.preprocessing.shape), dtype=np.uint8)
        np.testing.assert_array_equal(again.scores(images), run.scores(images))

    @pytest.mark.parametrize("prefix", ["", "net.", "module.model."])
    def test_the_prefix_of_the_names_does_not_matter(self, prefix: str, tmp_path: Path) -> None:
        path = save_state_dict(tmp_path / "best.mdl", renumbered((0, 3, 7, 9, 11), prefix))
        assert network(sp.load_model(path)) == "lenet5-classic"

    def test_layers_behind_an_input_layer_are_counted_from_there(self, tmp_path: Path) -> None:
        path = save_state_dict(tmp_path / "best.mdl", renumbered((1, 4, 8, 10, 12)))
        assert network(sp.load_model(path)) == "lenet5-classic"


class TestReading:
    """Without PyTorch, and without running what is in the file."""

    def test_pytorch_is_not_needed(self, tmp_path: Path) -> None:
        path = save_state_dict(tmp_path / "best.mdl", state_dict(tanh=True))
        code = f"import sys; sys.modules['torch'] = None; import spatterlib as sp; print(sp.load_model({str(path)!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "Lenet5Classic" in done.stdout

    @pytest.mark.torch
    @pytest.mark.parametrize("archive", [True, False])
    @pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
    def test_files_of_pytorch_itself_give_its_numbers(self, kind: str, archive: bool, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        state = {name: torch.from_numpy(array).to(getattr(torch, kind)) for name, array in state_dict().items()}
        # Neither contiguous nor alone in its storage.
        state["model.7.weight"] = state["model.7.weight"].T.contiguous().T
        both = torch.cat([torch.zeros(3, dtype=state["model.7.bias"].dtype), state["model.7.bias"]])
        state["model.7.bias"] = both[3:]
        torch.save(state, tmp_path / "best.mdl", _use_new_zipfile_serialization=archive)
        weights: Any = sp.load_model(tmp_path / "best.mdl").model
        for name, array in weights.weights.items():
            np.testing.assert_array_equal(array, state[name].float().numpy())

    @pytest.mark.torch
    @pytest.mark.parametrize("tanh", [False, True])
    def test_a_state_dict_of_the_published_sequential_is_known(self, tanh: bool, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        from spatterlib.learning.lenet5.torch_networks import plain

        network = plain(1, tanh=tanh)
        torch.save(network.state_dict(), tmp_path / "best.mdl")
        run = sp.load_model(tmp_path / "best.mdl")
        images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 1), dtype=np.uint8)
        three = torch.from_numpy(np.repeat(images[:, 4:36, 4:36], 3, axis=3)).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            np.testing.assert_allclose(run.scores(images)[:, 1:], network(three).numpy(), atol=1e-5)
        torch.save(network, tmp_path / "whole.mdl")
        with pytest.raises(StoreError, match=r"none of which was executed \(it names torch.nn.*Sequential\)"):
            sp.load_model(tmp_path / "whole.mdl")

    @pytest.mark.parametrize("archive", [True, False])
    def test_code_in_a_file_is_not_run(self, archive: bool, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return Path.mkdir, (tmp_path / "executed",)

        trap, path = pickle.dumps({"model.0.weight": Trap()}), tmp_path / "best.mdl"
        path.write_bytes(trap)
        if archive:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("best/data.pkl", trap)
        with pytest.raises(StoreError, match="none of which was executed") as caught:
            sp.load_model(path)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "executed").exists()
        pickle.loads(trap)
        assert (tmp_path / "executed").exists(), "the trap would not have sprung"

    def test_a_compressed_archive_is_refused_before_it_is_unpacked(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "best.mdl", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("best/data.pkl", bytes(10_000_000))
        with pytest.raises(StoreError, match="its entries are compressed"):
            sp.load_model(tmp_path / "best.mdl")

    @pytest.mark.parametrize(
        "content",
        [b"", b"a text", b"PK\x03\x04", pickle.dumps([1, 2]), pickle.dumps({"a": 1}), b"\x80\x02r\xff\xff\xff\x7f."],
    )
    def test_a_file_that_is_neither_is_refused_in_one_line(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "best.mdl").write_bytes(content)
        with pytest.raises(StoreError, match=r"best\.mdl (holds no weights|is no plain state dict|holds a)") as caught:
            sp.load_model(tmp_path / "best.mdl")
        assert "\n" not in str(caught.value)

    def test_whatever_is_cut_off_is_refused(self, tmp_path: Path) -> None:
        whole = save_state_dict(tmp_path / "whole.mdl", state_dict()).read_bytes()
        for length in range(0, len(whole), len(whole) // 40):
            (tmp_path / "best.mdl").write_bytes(whole[:length])
            with pytest.raises(StoreError) as caught:
                sp.load_model(tmp_path / "best.mdl")
            assert "\n" not in str(caught.value)

    def test_a_tensor_that_points_beyond_its_numbers_is_refused(self, tmp_path: Path) -> None:
        path = save_state_dict(tmp_path / "best.mdl", state_dict())
        pickled = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(pickled) as old, zipfile.ZipFile(path, "w") as new:
            for info in old.infolist():
                new.writestr(info.filename, old.read(info)[: 40 if info.filename.endswith("/4") else None])
        with pytest.raises(StoreError, match=r"a tensor of shape \(120, 400\) in a storage of 10 numbers"):
            sp.load_model(path)

    def test_weights_that_are_no_numbers_are_refused(self, tmp_path: Path) -> None:
        arrays = state_dict()
        arrays["model.5.bias"][7] = np.nan
        with pytest.raises(StoreError, match="a weight is not a finite number"):
            sp.load_model(save_state_dict(tmp_path / "best.mdl", arrays))


@pytest.fixture
def best(tmp_path: Path) -> Path:
    return save_state_dict(tmp_path / "best.mdl", state_dict(tanh=True))


class TestCommands:
    """Wherever a bare file is taken, its classifier and classes can be named."""

    def test_predict_names_them_and_the_report_can_be_verified(
        self, best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store, report = str(make_store(tmp_path / "a.h5", crops=60)), tmp_path / "v.json"
        arguments = ["predict", store, "--model", str(best), "--classes", "low,high", "--expected", "high"]
        assert main([*arguments, "-o", str(report)]) == 0
        facts = json.loads(report.read_text())
        assert facts["classes"] == ["low", "high"]
        assert facts["settings"]["model"]["classifier"]["id"] == "lenet5-classic"
        assert main(["verify", str(report)]) == 0
        assert "holds" in capsys.readouterr().out

    def test_evaluate_measures_the_network_of_the_file_whatever_the_order_of_its_classes(
        self, best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = {
            str(make_store(tmp_path / f"{kind}.h5", kind, 30, seed)): kind for seed, kind in enumerate(("low", "high"))
        }
        monkeypatch.setattr(
            "spatterlib.learning.evaluation._fold", lambda *a: pytest.fail("it trained another network")
        )
        found = sp.evaluate(sp.load_model(best, classes=("low", "high")), data, splits=(), probes=False)
        assert found.classifier["id"] == "lenet5-classic"
        crops = [image for path in data for image in sp.open_store(path).read(range(30))]
        labels = np.repeat([0, 1], 30)
        right = sp.load_model(best, classes=("low", "high")).probabilities(crops).argmax(1) == labels
        metrics = found["new data"].metrics
        assert metrics is not None
        assert metrics.accuracy == pytest.approx(right.mean())
        assert found.counts == {"low": 30, "high": 30}

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--classes", "low"], "tells 2 classes apart, but 1 were named"),
            (["--classes", "low,low"], "--classes needs different names such as low,high, got 'low,low'"),
            (["--classifier", "lenet5"], "holds weights of 'lenet5-classic'"),
            (["--classifier", "lenet"], "did you mean 'lenet5'"),
        ],
    )
    @pytest.mark.parametrize("command", ["predict", "evaluate", "export", "watch"])
    def test_what_does_not_suit_the_file_is_one_line(
        self,
        command: str,
        options: list[str],
        said: str,
        best: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        store = str(make_store(tmp_path / "a.h5", crops=4))
        arguments = {
            "predict": [store, "--model", str(best)],
            "evaluate": [str(best), store],
            "export": [str(best), "-o", str(tmp_path / "m.onnx")],
            "watch": [store, "--model", str(best)],
        }
        assert main([command, *arguments[command], *options]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
        assert said in line

    def test_a_run_folder_names_its_own(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        store = str(make_store(tmp_path / "a.h5", crops=4))
        assert main(["predict", store, "--model", "simulated", "--classes", "low,high"]) == 1
        assert "is a run folder and names its classifier and classes; leave yours out" in capsys.readouterr().err


def test_the_error_of_a_bare_file_says_what_is_missing_not_the_last_reader(tmp_path: Path) -> None:
    save_file({f"layer{n}.weight": np.zeros(3, np.float32) for n in range(40)}, tmp_path / "other.safetensors")
    with pytest.raises(
        SpatterlibError, match=r"has the entries layer0.weight, .*, \.\.\.; expected model\.N"
    ) as caught:
        sp.load_model(tmp_path / "other.safetensors")
    assert len(str(caught.value)) < 300
