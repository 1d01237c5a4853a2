"""Run folders that are not what they seem: refused in one line by every command that takes a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from learning_data import make_store, state_dict
from safetensors.numpy import load_file, save_file

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import MissingFileError, StoreError
from spatterlib.learning.run_facts import RunFacts
from spatterlib.learning.runs import FORMAT, SIMULATED
from spatterlib.plugins import probabilities_of


def changed(**facts: Any) -> Callable[[Path], None]:
    """A record that says something else; None takes an entry away."""

    def damage(run: Path) -> None:
        record = json.loads((run / "model.json").read_text()) | facts
        kept = {name: value for name, value in record.items() if value is not None}
        (run / "model.json").write_text(json.dumps(kept))

    return damage


def cut(name: str, share: float) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(share * len(content))])

    return damage


def put(record: bytes) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / "model.json").write_bytes(record)

    return damage


def other_shapes(run: Path) -> None:
    save_file(
        {name: array[:3] for name, array in load_file(run / "weights.safetensors").items()}, run / "weights.safetensors"
    )


def other_network(run: Path) -> None:
    save_file(
        state_dict(tanh=True), run / "weights.safetensors", metadata={"spatterlib": '{"classes": ["high", "low"]}'}
    )


def other_classes(run: Path) -> None:
    save_file(state_dict(), run / "weights.safetensors", metadata={"spatterlib": '{"classes": ["dense", "porous"]}'})


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer": (changed(format=FORMAT + 1), f"has format 2; this version of spatterlib reads format {FORMAT}"),
    "format of another kind": (changed(format="1"), "has format '1'; this version"),
    "no format": (changed(format=None), "has format None; this version"),
    "cut record": (cut("model.json", 0.5), "model.json is damaged"),
    "empty record": (cut("model.json", 0), "model.json is damaged"),
    "a list": (
        put(b"[1]"),
        "no record of a training: it holds [1]",
    ),
    "bytes": (put(b"\xff\xfe"), "model.json is damaged"),
    "no classifier": (changed(classifier=None), "model.json is damaged: expected classifier with id, got None"),
    "no metrics": (changed(metrics={}), "model.json is damaged: expected metrics.test with accuracy, got None"),
    "no split": (changed(split="grouped"), "model.json is damaged: expected split with name, got 'grouped'"),
    "classes": (changed(classes="low"), "model.json is damaged: expected classes to be a list, got 'low'"),
    "unknown classifier": (changed(classifier={"id": "lenet6"}), "lenet6"),
    "no weights": (lambda run: (run / "weights.safetensors").unlink(), "no weights at"),
    "cut weights": (cut("weights.safetensors", 0.7), "no safetensors file that can be read"),
    "empty weights": (cut("weights.safetensors", 0), "no safetensors file that can be read"),
    "other shapes": (other_shapes, "holds weights of another shape"),
    "other network": (
        other_network,
        "holds weights of 'lenet5-classic', by the numbers of its layers, not of 'lenet5'",
    ),
    "other classes": (
        other_classes,
        "weights of another training: they tell dense, porous apart, model.json high, low",
    ),
    "unfinished": (changed(state="running"), "holds a training that is not finished"),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shutil.copytree(SIMULATED, tmp_path / "runs" / "lenet5-0001")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("command", ["predict", "evaluate", "export", "watch"])
def test_a_damaged_run_is_refused_in_one_line(
    command: str, damage: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = DAMAGE[damage]
    change(run)
    store = str(make_store(tmp_path / "a.h5", crops=2))
    arguments = {
        "predict": [store, "--model", str(run), "-o", str(tmp_path / "v.json")],
        "evaluate": [str(run), f"{store}=low", "-o", str(tmp_path / "report")],
        "export": [str(run), "-o", str(tmp_path / "m.onnx")],
        "watch": [store, "--model", str(run), "--store", str(tmp_path / "w.h5")],
    }
    assert main([command, *arguments[command]]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert len(line) < 400
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "runs"]


def test_a_whole_run_is_taken(run: Path) -> None:
    """Else the refusals above would prove nothing."""
    assert sp.load_model(run).classes == ("high", "low")
    assert sp.load_model(run.parent).path == str(run)


class TestFolderOfRuns:
    """One run that cannot be read leaves the others as good as they were."""

    def test_a_damaged_run_is_named_and_left_out_of_the_list(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        changed(format=7)(shutil.copytree(run, run.with_name("lenet5-0002")))
        assert main(["models", str(run.parent)]) == 0
        out, err = capsys.readouterr()
        assert [line.split()[0] for line in out.splitlines()] == ["lenet5-0001"]
        assert "lenet5-0002/model.json has format 7" in err

    def test_the_marked_run_is_never_replaced_by_another(self, run: Path) -> None:
        """The only other one was taken without a word."""
        second = shutil.copytree(run, run.with_name("lenet5-0002"))
        sp.models.mark_current(run.parent, "lenet5-0002")
        changed(format=7)(second)
        with pytest.raises(StoreError, match="has format 7"):
            sp.load_model(run.parent)
        shutil.rmtree(second)
        with pytest.raises(MissingFileError, match=r"marks 'lenet5-0002' as the current run, which is not there"):
            sp.load_model(run.parent)

    def test_a_new_training_is_not_kept_from_its_folder(self, run: Path) -> None:
        from spatterlib.learning.runs import run_folder

        changed(format=7)(run)
        facts: RunFacts = {
            "classifier": {"id": "lenet5"},
            "fingerprint": "f",
            "format": FORMAT,
            "state": "running",
            "created": "",
        }
        with run_folder(run.parent, facts, resume=True) as folder:
            assert folder.name == "lenet5-0002"


def test_facts_of_weights_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for facts in ('{"temperature": 0}', '{"temperature": "warm"}', '{"parameters": {"epochs": 0}}', "[]", "{"):
        save_file(state_dict(), tmp_path / "weights.safetensors", metadata={"spatterlib": facts})
        with pytest.raises(StoreError, match=r"weights\.safetensors is (damaged|no safetensors)") as caught:
            sp.load_model(tmp_path / "weights.safetensors")
        assert "\n" not in str(caught.value)


class TestTemperature:
    """A model gives logits; what they are divided by is a fact of the run."""

    CROPS: ClassVar = [np.random.default_rng(seed).integers(0, 256, (50, 60, 3), np.uint8) for seed in range(3)]

    def test_probabilities_are_the_softmax_of_the_logits_divided_by_it(self) -> None:
        run = sp.load_model("simulated")
        logits = run.model.scores(run.preprocessing.prepare(self.CROPS))
        assert run.temperature == run.facts["temperature"] != 1
        np.testing.assert_array_equal(run.probabilities(self.CROPS), probabilities_of(logits, run.temperature))

    def test_weights_alone_are_calibrated_as_their_run(self) -> None:
        alone, run = sp.load_model(SIMULATED / "weights.safetensors"), sp.load_model("simulated")
        np.testing.assert_array_equal(alone.probabilities(self.CROPS), run.probabilities(self.CROPS))

    def test_a_run_is_saved_byte_for_byte_as_it_was(self, tmp_path: Path) -> None:
        sp.load_model("simulated").save(tmp_path)
        [saved] = tmp_path.iterdir()
        assert saved.read_bytes() == (SIMULATED / saved.name).read_bytes()

    def test_calibrated_anew_and_saved_in_its_folder_a_run_stays_so(self, run: Path) -> None:
        warmer = sp.load_model(run).with_temperature(3)
        warmer.save(run)
        again = sp.load_model(run)
        assert again.temperature == 3
        np.testing.assert_array_equal(again.probabilities(self.CROPS), warmer.probabilities(self.CROPS))

    def test_the_record_says_it_where_the_weights_do_not(self, run: Path) -> None:
        save_file(
            load_file(run / "weights.safetensors"),
            run / "weights.safetensors",
            metadata={"spatterlib": '{"classes": ["high", "low"]}'},
        )
        changed(temperature=2.5)(run)
        assert sp.load_model(run).temperature == 2.5
        changed(temperature=None)(run)
        assert sp.load_model(run).temperature == 1

    @pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), "warm", [1]])
    def test_one_that_makes_no_sense_is_refused(self, run: Path, temperature: Any) -> None:
        weights = load_file(run / "weights.safetensors")
        about = json.dumps({"classes": ["high", "low"], "temperature": temperature})
        save_file(weights, run / "weights.safetensors", metadata={"spatterlib": about})
        for path in (run, run / "weights.safetensors"):
            with pytest.raises(StoreError, match="is damaged: expected a temperature above 0, got"):
                sp.load_model(path)
