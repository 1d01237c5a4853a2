"""A model that is adapted to a few labelled layers: what it learns from them, and what so few can state."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning_data import make_layers, make_store

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.common.origin import learned_from
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.learning.dataset import load_dataset
from spatterlib.learning.familiar_spans import FamiliarSpans, Part
from spatterlib.learning.last_layer import fitted_last_layer
from spatterlib.learning.layer_labels import label_layers
from spatterlib.learning.layer_thresholds import LayerThresholds, layers_needed, leads_of
from spatterlib.learning.looks import SPAN_LOOKS
from spatterlib.learning.skill import unproven

# Narrow and wide glows stand for the two flows of a camera that no training knows.
OF = {"low": "high", "high": "low"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camera")
    for number in range(3):
        for kind in ("low", "high"):
            make_layers(folder / f"{kind}_{number}.h5", [kind] * (2 if number < 2 else 3), 10 * number + len(kind))
    return folder


@pytest.fixture(scope="module")
def adapted(stores: Path) -> sp.models.Run:
    return sp.adapt("simulated", labels_of(stores, {"low": "low", "high": "high"}), out=stores / "runs")


def labels_of(stores: Path, names: dict[str, str]) -> dict[str, str]:
    return {str(stores / f"{kind}_{number}.h5"): names[kind] for number in range(2) for kind in names}


def decided(stores: Path, run: sp.models.Run) -> dict[str, set[str]]:
    """What is said of layers that nobody labelled: of three, one may stay open."""
    found = {}
    for kind in ("low", "high"):
        labels = [span.label for span in sp.predict(stores / f"{kind}_2.h5", run, progress=False).layers]
        found[kind] = {label for label in labels if label} if labels.count(None) < 2 else set()
    return found


def test_layers_of_the_new_camera_are_told_apart_as_they_were_labelled(stores: Path, adapted: sp.models.Run) -> None:
    assert decided(stores, adapted) == {"low": {"low"}, "high": {"high"}}
    assert decided(stores, sp.load_model("simulated")) != decided(stores, adapted)


def test_other_labels_make_another_model(stores: Path, tmp_path: Path) -> None:
    run = sp.adapt("simulated", labels_of(stores, OF), out=tmp_path)
    assert decided(stores, run) == {"low": {"high"}, "high": {"low"}}


def test_a_run_says_what_it_was_adapted_from_and_to(stores: Path, adapted: sp.models.Run) -> None:
    base = sp.load_model("simulated")
    facts = sp.load_model(adapted.path).facts
    begun = facts["adapted_from"]
    assert begun["path"] == base.path
    assert begun["labels"][str(stores / "low_0.h5")] == {"1": "low", "2": "low"}
    assert begun["left_out"] == "recording"
    thresholds = facts["thresholds"]
    assert thresholds is not None
    assert len(thresholds["leads"]) == 8
    # The stores do not say that they are simulated, what the network learned from before does.
    assert learned_from(facts) == "partly simulated"
    report = (Path(adapted.path) / "adaptation.md").read_text()
    assert "| after | 8 | 0 | 0 |" in report
    assert "8 layers cannot state less, 5 % takes 19" in report
    assert "low_0.h5 | 2 | low |" in report


def test_only_the_last_layer_is_another(adapted: sp.models.Run) -> None:
    models: list[Any] = [sp.load_model("simulated").model, adapted.model]
    before, after = (model.weights for model in models)
    changed = [name for name, array in before.items() if not np.array_equal(array, after[name])]
    assert changed == ["model.9.weight", "model.9.bias"]


def test_the_network_of_a_loaded_run_is_the_one_that_was_adapted(adapted: sp.models.Run) -> None:
    crops = [np.full((50, 60, 3), level, np.uint8) for level in (30, 90, 200)]
    again = sp.load_model(adapted.path)
    assert np.array_equal(again.probabilities(crops), adapted.probabilities(crops))


def test_a_report_is_verified_by_what_the_labelled_layers_say(
    stores: Path, adapted: sp.models.Run, tmp_path: Path
) -> None:
    run = shutil.copytree(adapted.path, tmp_path / "run")
    sp.predict(stores / "low_2.h5", run, tmp_path / "page.json", progress=False)
    assert sp.verify(tmp_path / "page.json").faults == ()
    facts = json.loads((run / "model.json").read_text())
    facts["thresholds"]["leads"][0] = -0.9
    (run / "model.json").write_text(json.dumps(facts))
    assert any("labelled layers" in fault for fault in sp.verify(tmp_path / "page.json").faults)


def test_on_the_command_line(stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stores / "labels.csv").write_text("store,layer,label\nlow_0.h5,1-2,low\nlow_1.h5,2,low\nhigh_0.h5,,high\n")
    words = ["--labels", str(stores / "labels.csv"), "--labels", f"{stores / 'high_1.h5'}:1=high"]
    assert main(["adapt", "simulated", *words, "-o", str(tmp_path), "--error", "0.2"]) == 0
    said = capsys.readouterr()
    assert "after: 6 right, 0 wrong and decided, 0 left open" in said.out + said.err
    assert "at most 20 % of layers like these are decided wrongly" in said.out + said.err


REFUSED: dict[str, tuple[Any, str]] = {
    "one class": ({"low_0.h5": "low", "low_1.h5": "low"}, "got 0 of 'high', 4 of 'low'"),
    "few layers": ({"low_0.h5": "low", "low_1.h5": "low", "high_0.h5": "high"}, "got 2 of 'high', 4 of 'low'"),
    "a layer that is not there": ({"low_0.h5": {1: "low", 7: "low"}}, "has layers 1 to 2, not 7"),
    "two labels": ({"low_0.h5": {"1-2": "low", "2": "high"}}, "layer 2 of .* is 'low' and 'high'; keep one"),
    "another class": ({"low_0.h5": "lwo"}, "not 'lwo'; did you mean 'low'"),
    "no number": ({"low_0.h5": {"first": "low"}}, "layers are numbers such as 3 or 1-4,7, got 'first'"),
    "no label": ({"low_0.h5": " "}, "a label is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_labels_that_cannot_be_adapted_to_are_refused_in_one_line(stores: Path, tmp_path: Path, name: str) -> None:
    labels, words = REFUSED[name]
    with pytest.raises(ParameterError, match=words) as error:
        sp.adapt("simulated", {str(stores / key): label for key, label in labels.items()}, out=tmp_path / "runs")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_a_table_of_labels_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no labels at .*nothing\.csv; expected a CSV with store,layer,label"):
        sp.adapt("simulated", str(tmp_path / "nothing.csv"), out=tmp_path / "runs")


@pytest.mark.parametrize("error", [0, 0.5, -0.1, float("nan")])
def test_an_error_that_is_no_share_is_refused(stores: Path, tmp_path: Path, error: float) -> None:
    with pytest.raises(ParameterError, match="error is a share of layers"):
        sp.adapt("simulated", labels_of(stores, OF), out=tmp_path, error=error)


def test_layers_too_short_for_a_verdict_are_not_counted(tmp_path: Path) -> None:
    short = {str(make_store(tmp_path / f"{kind}.h5", kind, 20, 5)): kind for kind in ("low", "high")}
    with pytest.raises(ParameterError, match="got 1 of 'high', 1 of 'low'"):
        sp.adapt("simulated", short, out=tmp_path / "runs")


def test_a_model_without_a_last_layer_is_refused(stores: Path, tmp_path: Path) -> None:
    class Closed:
        classes, preprocessing = ("high", "low"), sp.load_model("simulated").preprocessing

    with pytest.raises(ParameterError, match="a Closed cannot be adapted: it has no last layer"):
        sp.adapt(Closed(), labels_of(stores, OF), out=tmp_path)  # type: ignore[arg-type]


def test_labels_of_crops_are_those_of_their_layers(stores: Path, tmp_path: Path) -> None:
    path = make_layers(tmp_path / "one.h5", ["low", "high", "low"], 77)
    with sp.open_store(path, mode="a") as store:
        labels = np.repeat(["low", "high", ""], 40)
        labels[60] = "low"
        store.set_column("label", labels)
    [found] = label_layers([path])
    # The second layer has two labels, the third none.
    assert found.labels == {1: "low"}
    assert found.labelled.rows.tolist() == list(range(40))


def test_a_model_whose_layers_come_out_by_chance_judges_nothing() -> None:
    labels = {"a.h5": {"1": "low", "2": "low", "3": "low"}, "b.h5": {"1": "high", "2": "high", "3": "high"}}
    facts: Any = {"adapted_from": {"labels": labels}, "thresholds": {"leads": [0.5] * 6, "wanted": 0.1}}
    assert unproven(facts) == ""
    facts["thresholds"]["leads"] = [-0.2] * 2 + [0.5] * 4
    assert "of 6 labelled layers left out 4 came out right, and chance alone gives 50%" in unproven(facts)


def test_one_layer_more_can_state_less() -> None:
    assert [layers_needed(error) for error in (0.5, 0.2, 0.05, 0.01)] == [1, 4, 19, 99]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(0.01, 0.4), st.floats(0, 1))
def test_no_smaller_error_is_stated_than_so_many_layers_can(leads: list[float], wanted: float, high: float) -> None:
    thresholds = LayerThresholds.of(leads, wanted)
    assert thresholds.error == max(wanted, 1 / (len(leads) + 1))
    ruling = thresholds.rule(np.array([1 - high, high]))
    assert not ruling.clear or ruling.confidence >= 1 - thresholds.error - 1e-4
    assert LayerThresholds.parsed(thresholds.facts(), "here") == thresholds


@pytest.mark.parametrize(("layers", "wanted"), [(8, 0.05), (19, 0.05), (40, 0.1)])
def test_of_layers_in_any_order_no_more_are_wrong_than_stated(layers: int, wanted: float) -> None:
    random, wrong, draws = np.random.default_rng(3), 0, 4000
    for _ in range(draws):
        leads = np.tanh(random.normal(0.4, 0.5, layers + 1))
        thresholds = LayerThresholds.of(leads[1:].tolist(), wanted)
        ruling = thresholds.rule(np.array([1 + leads[0], 1 - leads[0]]) / 2)
        wrong += ruling.clear and ruling.leading == 1
    error = thresholds.error
    assert 0 < wrong / draws <= error + 3 * np.sqrt(error / draws)


def test_of_more_than_two_classes_the_nearest_other_counts() -> None:
    assert np.allclose(leads_of(np.array([0.5, 0.3, 0.2])), [0.2, -0.2, -0.3])


@pytest.mark.parametrize("facts", [{}, {"leads": [], "wanted": 0.1}, {"leads": [2], "wanted": 0.1}, {"leads": [0.1]}])
def test_damaged_thresholds_are_said_to_be_damaged(facts: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="labelled layers"):
        LayerThresholds.parsed(facts, "model.json")


def test_without_evidence_the_last_layer_stays_as_it_is() -> None:
    old = (np.array([[0.0, 0.0], [1.0, -2.0]], np.float32), np.array([0.0, 0.5], np.float32))
    seen = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    weights, biases = fitted_last_layer(seen, np.zeros(50, np.int64), np.zeros(50), old)
    assert np.allclose(weights, old[0], atol=1e-5)
    assert np.allclose(biases, old[1], atol=1e-5)


def spans(random: np.random.Generator) -> FamiliarSpans:
    parts = [Part(number, number % 2, 10, number % 2 + random.normal(size=len(SPAN_LOOKS))) for number in range(60)]
    found = FamiliarSpans.of(parts, ("high", "low"))
    assert found is not None
    return found


def test_what_is_familiar_moves_with_the_camera() -> None:
    random = np.random.default_rng(5)
    known, shift = spans(random), 9.0
    parts = [Part(n, n % 2, 10, shift + n % 2 + random.normal(size=len(SPAN_LOOKS))) for n in range(8)]
    moved = known.moved_to(parts)
    assert moved is not None
    assert np.allclose(np.mean(np.array(moved.means) - np.array(known.means)), shift, atol=0.5)
    # A wider spread for means of so few, and the labelled layers beside the recordings of the training.
    assert np.allclose(np.array(moved.between), np.array(known.between) * 1.25)
    assert len(moved.left_out[0]) == 60 + 8


def test_a_camera_that_sees_few_streaks_has_nothing_familiar_but_crops() -> None:
    random = np.random.default_rng(5)
    parts = [Part(n, n % 2, 10, np.full(len(SPAN_LOOKS), np.nan if n < 3 else 1.0)) for n in range(8)]
    assert spans(random).moved_to(parts) is None
    assert spans(random).moved_to(parts[3:5]) is None


def test_crops_are_turned_to_where_the_gas_of_the_model_flows(tmp_path: Path) -> None:
    data = {str(make_store(tmp_path / f"{kind}.h5", kind, 8, gas_direction=0.0)): kind for kind in ("low", "high")}
    how = sp.load_model("simulated").preprocessing
    as_seen, turned = load_dataset(data, how), load_dataset(data, how, gas_direction=180.0)
    assert (as_seen.gas_direction, turned.gas_direction) == (0, 180)
    assert np.array_equal(turned.images, as_seen.images[:, :, ::-1])
    # What mirroring cannot bring about is left.
    assert load_dataset(data, how, gas_direction=90.0).gas_direction == 0


def test_an_adapted_model_knows_where_its_cameras_gas_flows_to() -> None:
    run = sp.load_model("simulated")
    from spatterlib.verdicts.scoring import Scorer

    mirrored = replace(run, facts={**run.facts, "camera_direction": 0.0})
    assert (Scorer.of(run).turn, Scorer.of(mirrored).turn, Scorer.of(mirrored, 180.0).turn) == (False, True, False)
