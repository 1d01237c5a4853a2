"""Votes of a layer are as dependent as in recordings held out, and how often a verdict is right is counted there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning_data import make_stores
from liars import Nearest

import spatterlib as sp
from spatterlib.errors import StoreError
from spatterlib.learning.dataset import load_dataset
from spatterlib.learning.layer_record import HeldOutLayer, LayerRecord, held_out_layers
from spatterlib.verdicts.judgement import Known, judge
from spatterlib.verdicts.verification import verify

RECORD = LayerRecord(0.2, 0.06, 2.0, 0.05, 20, 1, 160)


def builds(seed: int, count: int, mean: float, of_build: float, of_layer: float = 0.4) -> list[HeldOutLayer]:
    """Layers by construction: a build is so easy, each of its layers differs, and votes scatter; all in log-odds."""
    random, found = np.random.default_rng(seed), []
    for build in range(count):
        label, easy = int(random.integers(2)), random.normal(mean, of_build)
        for _ in range(8):
            votes = easy + random.normal(0, of_layer) + random.normal(0, 0.9, int(random.integers(6, 22)))
            own = 1 / (1 + np.exp(-votes))
            found.append(HeldOutLayer(str(build), label, np.stack([own, 1 - own][:: 1 - 2 * label], 1)))
    return found


class TestByConstruction:
    """What is said of layers holds where the truth is known."""

    @pytest.mark.parametrize(("mean", "of_layer"), [(1.5, 0.4), (0.8, 0.3), (2.0, 0.6), (1.5, 0.0)])
    def test_an_interval_holds_the_mean_of_the_other_layers(self, mean: float, of_layer: float) -> None:
        record = LayerRecord.of(builds(1, 16, mean, 0.6, of_layer))
        assert record
        held, layers = [], builds(2, 250, mean, 0.6, of_layer)
        for start in range(0, len(layers), 8):
            means = np.array([layer.votes[:, 0].mean() for layer in layers[start : start + 8]])
            for layer, own in zip(layers[start : start + 8], means, strict=True):
                low, high = record.interval(float(own), len(layer.votes))
                held.append(low <= (means.sum() - own) / 7 <= high)
        assert 0.92 <= np.mean(held) <= 0.98

    @pytest.mark.parametrize(("mean", "of_build"), [(1.5, 0.6), (2.0, 1.2)])
    def test_a_layer_is_right_as_often_as_is_said(self, mean: float, of_build: float) -> None:
        record, layers = LayerRecord.of(builds(3, 300, mean, of_build)), builds(4, 1500, mean, of_build)
        assert record
        judged = [record.lead(layer.votes.mean(0), len(layer.votes)) for layer in layers]
        said = np.array([record.right(strength) for _, strength, _ in judged])
        right = np.array([first == layer.label for (first, _, _), layer in zip(judged, layers, strict=True)])
        for rows in np.array_split(np.argsort(said), 10):
            assert abs(said[rows].mean() - right[rows].mean()) < 0.05

    def test_few_builds_without_a_mistake_prove_little(self) -> None:
        few, many = (LayerRecord.of(builds(5, count, 4.0, 0.1)) for count in (6, 60))
        assert few
        assert many
        assert few.right(99) < 0.95 < 0.985 < many.right(99)

    def test_layers_that_are_the_same_but_for_their_votes_have_independent_votes(self) -> None:
        record = LayerRecord.of(builds(6, 60, 1.0, 0.5, 0.0))
        assert record
        assert record.dependence < 0.02
        assert LayerRecord.of(builds(6, 3, 1.0, 0.5)) is None


class TestVerdicts:
    """The record decides, is shown and is verified."""

    def test_votes_that_hang_together_decide_later(self) -> None:
        high = np.linspace(0.5, 0.8, 12)
        given: Any = np.arange(12.0), np.arange(12), np.stack([1 - high, high], 1), ("low", "high")
        records = (replace(RECORD, dependence=share) for share in (0.0, 0.6))
        alone, together = (judge(*given, known=Known(record=record)) for record in records)
        assert (alone.label, together.label, together.state) == ("high", None, "attention")
        assert together.high - together.low > alone.high - alone.low
        assert 0.5 < together.right < alone.right < 1
        assert np.isnan(judge(*given).right)

    def test_six_votes_that_agree_are_enough_and_a_lead_of_three_classes_is_one_over_the_next(self) -> None:
        found = judge(
            np.arange(6.0), np.arange(6), np.tile([0.001, 0.999], (6, 1)), ("low", "high"), known=Known(record=RECORD)
        )
        assert found.label == "high"
        three = np.tile([0.1, 0.2, 0.7], (9, 1))
        assert judge(np.arange(9.0), np.arange(9), three, ("a", "b", "c"), known=Known(record=RECORD)).label == "c"

    def test_a_report_shows_it_and_one_of_the_version_before_still_holds(self, tmp_path: Path) -> None:
        sp.simulate(tmp_path / "build.mp4", seconds=4, seed=5)
        run = sp.load_model("simulated")
        verdict = sp.predict(tmp_path / "build.mp4", run, tmp_path / "new.html", progress=False)
        assert 0.5 < verdict.layers[0].right < 1
        page = (tmp_path / "new.html").read_text()
        assert '<th class="n">right</th>' in page
        assert "so builds are counted" in page.replace("\n", " ")
        assert verify(tmp_path / "new.html").holds
        before = replace(run, facts={**run.facts, "layers": None})
        old = sp.predict(tmp_path / "build.mp4", before, progress=False)
        facts: Any = old.to_dict() | {"format": 2}
        del facts["settings"]["model"]["layers"]
        for span in facts["layers"] + facts["windows"]:
            del span["right"]
        (tmp_path / "old.json").write_text(json.dumps(facts))
        assert verify(tmp_path / "old.json", model=run).holds
        (tmp_path / "new.html").write_text(page.replace('"wrong_builds": 0', '"wrong_builds": 3'))
        assert any("held out" in fault for fault in verify(tmp_path / "new.html").faults)

    def test_a_damaged_record_is_no_record(self) -> None:
        assert LayerRecord.parsed(RECORD.facts(), "run") == RECORD
        for damage in ({"spread": 0}, {"dependence": "much"}, {"lapse": float("nan")}):
            with pytest.raises(StoreError, match="layers held out"):
                LayerRecord.parsed({**RECORD.facts(), **damage}, "run")


def test_a_training_that_holds_recordings_back_leaves_the_record(tmp_path: Path) -> None:
    data = load_dataset(make_stores(tmp_path, 10, 60), Nearest().preprocessing)
    row = np.arange(len(data)) % 60
    data.table["time"], data.table["frame"] = row / 25 + 30 * (row // 20), 40 * row
    run = sp.train(data, Nearest(), out=tmp_path / "runs", split="grouped", progress=False)
    assert run.facts["layers"]
    assert run.facts["layers"]["builds"] == 8
    assert "so builds are counted" in (Path(run.path) / "MODEL_CARD.md").read_text()
    random = sp.train(data, Nearest(), out=tmp_path / "runs", split="original", progress=False)
    assert random.facts["layers"] is None


def test_a_layer_in_which_the_label_changes_says_nothing() -> None:
    table = np.zeros(30, sp.DETECTION)
    table["time"] = np.arange(30) / 25 + 20 * (np.arange(30) // 10)
    table["frame"], table["width"], table["height"] = 50 * np.arange(30), 9, 9
    labels = (np.arange(30) > 14).astype(np.int64)
    found = held_out_layers("build", table, labels, np.full((30, 2), 0.5))
    assert [(layer.label, len(layer.votes)) for layer in found] == [(0, 10), (1, 10)]
