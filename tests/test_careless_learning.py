"""Careless commands of learning: refused in one line, before anything is made; nothing is taken for another."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from learning_data import as_if_torch, make_store, make_stores

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import ParameterError
from spatterlib.learning.dataset import load_dataset
from spatterlib.learning.runs import SIMULATED
from spatterlib.learning.splits import timed
from spatterlib.stores.opening import create_store

HOW = sp.make("classifier", "lenet5").preprocessing


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    """Two recordings of each class, and what is wrong in some way."""
    (tmp_path / "d").mkdir()
    stores = make_stores(tmp_path / "d", 2, 10)
    create_store(tmp_path / "d" / "void.h5").close()
    make_store(tmp_path / "d" / "one.h5", "low", 1, 99)
    whole = Path(next(iter(stores))).read_bytes()
    (tmp_path / "d" / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d" / "text.csv").write_text("a,b\n1,2\n")
    return stores


LOW, HIGH = "d/low_0.h5=low", "d/high_0.h5=high"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["d/low_0.h5=low", "d/low_1.h5=low"], "needs two classes or more, found only 'low'"),
        (["d/low_0.h5", "d/high_0.h5"], "has no column 'label'; label it with `spatterlib label`"),
        (["d/void.h5=low", HIGH], "d/void.h5 holds no crops"),
        (["d/cut.h5=low", HIGH], "d/cut.h5 is damaged"),
        (["d/one.h5=low", HIGH], "part has no crop of class 'low' (11 crops in all)"),
        (["d/text.csv"], "needs the columns file,dataset,ds_idx,label, got a,b"),
        ([LOW, "d/nowhere.h5=high"], "d/nowhere.h5: there is no such store"),
        ([LOW, "./d/low_0.h5=high"], "labels contradict each other"),
        ([LOW, "d/high_0.h5=Low"], "labels 'Low' and 'low' differ in nothing but case and spaces"),
        ([LOW, HIGH, "--split", "grouped"], "comes from one recording only"),
        (
            [LOW, HIGH, "--ratio", "low=x,high=1"],
            "--ratio needs CLASS=NUMBER,..., such as low=1,high=1, got 'low=x,high=1'",
        ),
        ([LOW, HIGH, "--black", "300"], "black is a grey level from 0 to 255, got 300"),
        ([LOW, HIGH, "--split", "time", "--purge", "-1"], "purge must be 0 s or more, got -1"),
        ([LOW, HIGH, "-o", "d/text.csv"], "d/text.csv cannot be a folder: "),
    ],
)
def test_a_training_that_cannot_work_is_refused_before_anything_is_made(
    arguments: list[str],
    said: str,
    data: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_if_torch(monkeypatch)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    out = [] if "-o" in arguments else ["-o", "runs"]
    assert main(["train", *arguments, "--set", "epochs=1", *out]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line
    assert "internal error" not in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "said"), [(["--classifier", "onnx"], "does not learn"), (["--device", "abacus"], "abacus")]
)
def test_what_only_the_classifier_can_refuse_leaves_no_run_behind(
    options: list[str],
    said: str,
    data: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "--device" in options:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    for out in ("runs", "kept"):
        assert main(["train", LOW, HIGH, *options, "-o", out]) == 1
        assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "runs").exists()
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_unfinished_store_is_learned_from_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    low = make_store(tmp_path / "low.h5", "low", 4, 1, complete=False, state="interrupted")
    high = make_store(tmp_path / "high.h5", "high", 4, 2)
    with caplog.at_level(logging.WARNING):
        load_dataset({low: "low", high: "high"}, HOW)
    assert f"{low} is not complete (interrupted): what it holds is learned from" in caplog.text
    assert "high.h5 is not" not in caplog.text


class TestEvaluate:
    def test_parameters_of_a_trained_model_are_not_ignored(
        self, data: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["evaluate", "simulated", *data, "--set", "epochs=3"]) == 2
        assert "--set is for a classifier; simulated was trained with its own parameters" in capsys.readouterr().err

    def test_nothing_is_written_into_the_package(
        self, data: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The report on the model that comes along went beside it, into site-packages."""
        as_if_torch(monkeypatch)
        monkeypatch.setattr(
            "spatterlib.learning.evaluation._outcomes", lambda made, *_: [_nothing(name) for name, *_ in made]
        )
        before = sorted(SIMULATED.iterdir())
        assert main(["evaluate", "simulated", *(f"{path}={name}" for path, name in data.items()), "--no-probe"]) == 0
        assert "report:" not in capsys.readouterr().out
        assert sorted(SIMULATED.iterdir()) == before

    def test_a_file_in_place_of_the_folder_is_refused_first(self, data: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        monkey = [f"{path}={name}" for path, name in data.items()]
        assert main(["evaluate", "simulated", *monkey, "-o", str(tmp_path / "file")]) == 1
        assert (tmp_path / "file").read_text() == "mine"


def _nothing(name: str) -> object:
    from spatterlib.learning.evaluation import SplitOutcome

    return SplitOutcome(name, "", None, "not tried")


def test_a_file_is_no_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["models", str(tmp_path / "file")]) == 1
    assert "is a file, not a folder with runs" in capsys.readouterr().err


def test_runs_that_say_little_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SIMULATED, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.json").write_text(
        '{"format": 1, "state": "running", "created": "", "classifier": {"id": "lenet5"}}'
    )
    assert main(["models", str(tmp_path), "--compare"]) == 0
    assert "not finished" in capsys.readouterr().out


@pytest.mark.parametrize("purge", [-1.0, float("nan"), float("inf")])
def test_a_gap_of_time_is_a_number_of_seconds(purge: float) -> None:
    with pytest.raises(ParameterError, match="purge must be 0 s or more"):
        timed([0, 1] * 50, ["a"] * 100, np.arange(100.0), purge=purge)
