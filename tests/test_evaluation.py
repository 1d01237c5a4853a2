"""Splits that keep apart what belongs together, figures that say what they mean, and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_data import make_store, make_stores
from liars import Nearest
from test_many import Twice

import spatterlib as sp
from spatterlib.common.image_codec import decode, encode
from spatterlib.errors import MissingFileError, ParameterError
from spatterlib.learning.confounds import PROBES, confounds, probe, trait_p
from spatterlib.learning.dataset import load_dataset
from spatterlib.learning.evaluation import Evaluation
from spatterlib.learning.metrics import group_interval, metrics_of, reliability, temperature_of
from spatterlib.learning.splits import grouped, original, timed
from spatterlib.learning.training import split_of
from spatterlib.plugins.classifier import probabilities_of
from spatterlib.stores.opening import create_store

QUICK: dict[str, Any] = {"epochs": 2, "batch": 32, "device": "cpu"}


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="PyTorch is not installed")
    module.set_num_threads(1)
    return module


def together(split: Any) -> list[int]:
    return sorted([*split.train, *split.validation, *split.test])


class TestSplits:
    """Which crops train, validate, test."""

    @given(st.integers(5, 500), st.integers(0, 2**32 - 1))
    def test_random_crops_are_60_20_20_and_every_one_of_them(self, count: int, seed: int) -> None:
        split = original(np.zeros(count), seed)
        assert together(split) == list(range(count))
        assert abs(len(split.train) - 0.6 * count) <= 1
        assert abs(len(split.test) - 0.2 * count) <= 1

    @settings(deadline=None)
    @given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**32 - 1), st.booleans())
    def test_no_group_trains_and_tests(self, low: int, high: int, seed: int, mixed: bool) -> None:
        random = np.random.default_rng(seed)
        counts = random.integers(5, 60, low + high)
        groups = np.repeat([f"g{number}" for number in range(low + high)], counts)
        labels = np.repeat([0] * low + [1] * high, counts)
        if mixed:
            groups = np.tile(groups, 2)
            labels = np.concatenate([labels, 1 - labels])
        split = grouped(labels, groups, seed)
        assert together(split) == list(range(len(labels)))
        assert not set(groups[split.train]) & set(groups[split.test])
        assert not set(groups[split.validation]) & set(groups[split.test])
        if min(low, high) > 3 and not mixed:
            assert not set(groups[split.train]) & set(groups[split.validation])
        for part in (split.train, split.test):
            assert set(labels[part]) == {0, 1}

    def test_shares_of_many_equal_groups_are_60_20_20(self) -> None:
        groups, labels = np.repeat(np.arange(20), 10).astype(str), np.repeat([0, 1], 100)
        split = grouped(labels, groups)
        assert (len(split.train), len(split.validation), len(split.test)) == (120, 40, 40)

    def test_a_class_from_one_recording_cannot_be_grouped(self) -> None:
        with pytest.raises(ParameterError, match="class 'low' comes from one recording only; record") as caught:
            grouped([0, 0, 1], ["a", "b", "c"], by="recording", classes=("high", "low"))
        assert "\n" not in str(caught.value)

    @given(st.integers(0, 2**32 - 1), st.floats(0, 3))
    def test_blocks_of_different_parts_are_a_gap_apart(self, seed: int, purge: float) -> None:
        times = np.tile(np.sort(np.random.default_rng(seed).uniform(0, 100, 400)), 2)
        recordings = np.repeat(["a", "b"], 400)
        split = timed(np.repeat([0, 1], 400), recordings, times, seed, blocks=10, purge=purge)
        part = np.full(800, -1)
        for number, rows in enumerate((split.train, split.validation, split.test)):
            assert len(rows)
            part[rows] = number
        for name in "ab":
            own = (recordings == name) & (part >= 0)
            differ = np.diff(part[own]) != 0
            assert (np.diff(times[own])[differ] >= 2 * purge - 1e-9).all() or purge == 0

    def test_without_times_there_is_no_time_split(self) -> None:
        with pytest.raises(ParameterError, match="needs the time of every crop"):
            timed([0, 1], ["a", "b"], [0.0, np.nan])

    def test_a_purge_that_leaves_nothing_is_refused(self) -> None:
        with pytest.raises(ParameterError, match="nothing is left"):
            timed([0] * 100, ["a"] * 100, np.arange(100.0), purge=50)

    def test_auto_is_grouped_where_the_data_allow_it(self, tmp_path: Path) -> None:
        how = sp.make("classifier", "lenet5").preprocessing
        several = load_dataset(make_stores(tmp_path, 2, 4), how)
        assert split_of(several).name == "grouped"
        folder = tmp_path / "single"
        folder.mkdir()
        assert split_of(load_dataset(make_stores(folder, 1, 4), how)).name == "original"
        with pytest.raises(ParameterError, match="'auto', 'original'"):
            split_of(several, "random")  # type: ignore[arg-type]
        with pytest.raises(ParameterError, match="'camera'"):
            split_of(several, "grouped", "camera")


def scored(seed: int, count: int = 300, classes: int = 2) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    scores = random.normal(0, 1, (count, classes))
    scores[np.arange(count), labels] += 1
    return np.round(scores, 1), labels


class TestMetrics:
    """Figures are those of scikit-learn where it has them."""

    @pytest.mark.parametrize("classes", [2, 3])
    def test_accuracy_confusion_auc_and_loss(self, classes: int) -> None:
        sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
        scores, labels = scored(1, classes=classes)
        found = metrics_of(scores, labels, np.arange(len(labels)).astype(str))
        probabilities = probabilities_of(scores)
        value = probabilities[:, 1] if classes == 2 else probabilities
        assert found.accuracy == pytest.approx(sk.accuracy_score(labels, scores.argmax(1)))
        assert found.auc == pytest.approx(sk.roc_auc_score(labels, value, multi_class="ovr"), abs=1e-4)
        assert found.loss == pytest.approx(sk.log_loss(labels, probabilities))
        np.testing.assert_array_equal(found.confusion, sk.confusion_matrix(labels, scores.argmax(1)))

    def test_intervals_come_from_groups_never_from_crops(self) -> None:
        scores, labels = scored(2, 40)
        groups = np.arange(40).astype(str)
        once = metrics_of(scores, labels, groups)
        often = metrics_of(np.repeat(scores, 50, 0), np.repeat(labels, 50), np.repeat(groups, 50))
        assert often.accuracy_interval == pytest.approx(once.accuracy_interval)
        assert often.auc_interval == pytest.approx(once.auc_interval)
        low, high = once.accuracy_interval
        assert low < once.accuracy < high

    @pytest.mark.parametrize(("mean", "spread"), [(0.92, 0.03), (0.85, 0.08), (0.97, 0.02)])
    @pytest.mark.parametrize("recordings", [2, 3, 4, 8, 16])
    def test_an_interval_holds_the_truth_as_often_as_it_says(self, recordings: int, mean: float, spread: float) -> None:
        random, held = np.random.default_rng(recordings), 0
        total = mean * (1 - mean) / spread**2 - 1
        for _ in range(1500):
            crops = random.integers(200, 600, 2 * recordings)
            right = random.binomial(crops, random.beta(mean * total, (1 - mean) * total, len(crops)))
            share = right.sum() / crops.sum()
            low, high = group_interval(share, (right - share * crops) / crops.sum(), np.repeat([0, 1], recordings))
            held += low <= mean <= high
        assert 0.92 <= held / 1500 <= 0.98

    def test_influences_are_what_a_group_moves(self) -> None:
        scores, labels = scored(6, 2000, 3)
        groups = np.repeat(np.arange(40), 50)
        whole = metrics_of(scores, labels, groups.astype(str))
        left_out = [metrics_of(*(part[groups != name] for part in (scores, labels, groups))) for name in range(40)]
        for name in ("accuracy", "auc"):
            pseudo = np.array([40 * getattr(whole, name) - 39 * getattr(part, name) for part in left_out])
            error, (low, high) = pseudo.std(ddof=1) / 40**0.5, getattr(whole, f"{name}_interval")
            assert high - low == pytest.approx(2 * 2.02 * error, rel=0.1)

    def test_recordings_without_a_mistake_prove_no_more_than_their_number(self) -> None:
        low, high = group_interval(1.0, np.zeros(4), np.array([0, 0, 1, 1]))
        assert (round(low, 3), high) == (0.398, 1.0)

    def test_too_few_groups_give_no_interval(self) -> None:
        scores, labels = scored(3)
        found = metrics_of(scores, labels, labels.astype(str))
        assert np.isnan(found.accuracy_interval).all()
        assert found.facts()["accuracy_interval"] is None
        json.dumps(found.facts(), allow_nan=False)

    def test_calibrated_probabilities_have_no_calibration_error(self) -> None:
        random = np.random.default_rng(4)
        sure = random.uniform(0.5, 1, 200_000)
        labels = (random.uniform(size=len(sure)) < sure).astype(np.int64)
        curve = reliability(np.stack([1 - sure, sure], 1), labels)
        assert curve.error < 0.005
        assert curve.counts.sum() == len(sure)
        assert (np.diff(curve.confidence) > 0).all()

    @pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
    def test_temperature_scaling_finds_the_factor(self, factor: float) -> None:
        random = np.random.default_rng(5)
        logit = random.normal(0, 2, 100_000)
        labels = (random.uniform(size=len(logit)) < 1 / (1 + np.exp(-logit))).astype(np.int64)
        scores = np.stack([np.zeros_like(logit), factor * logit], 1)
        assert temperature_of(scores, labels) == pytest.approx(factor, rel=0.03)


class TestProbe:
    """Models that cannot see spatter."""

    def test_they_find_the_confound_and_nothing_else(self, tmp_path: Path) -> None:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        stores = {
            make_store(tmp_path / f"{kind}{number}.h5", "mid", 40, 50 + number + 10 * index, level): kind
            for index, (kind, level) in enumerate((("low", 40), ("high", 12)))
            for number in range(2)
        }
        data = load_dataset(stores, sp.make("classifier", "lenet5").preprocessing)
        found = {item.name: item for item in probe(data, original(data.labels))}
        assert tuple(found) == PROBES
        assert found["background ring"].accuracy > 0.95
        assert found["mean colour"].accuracy > 0.8
        assert found["crop size"].accuracy < 0.75
        assert found["table columns"].accuracy < 0.75


CHANGES: dict[str, Any] = {
    "asymmetry across": lambda crop: crop[:, ::-1],
    "blocks of 8 px": lambda crop: decode(encode(crop, "jpeg", 30)),
}


class TestConfounds:
    """What goes with the class from recording to recording."""

    def stores(self, folder: Path, change: Any = None, twice: bool = False, **rate: Any) -> dict[str, str]:
        """Eight recordings of the same kind, each with a light and a tilt of its own; four are changed."""
        found = {}
        for number in range(8):
            own = 3 if twice and number == 5 else number
            path = make_store(folder / f"{number}.h5", "mid", 20, own, 20 + 2 * (own * 3 % 7))
            with sp.open_store(path) as store:
                crops, table = [decode(crop) for crop in store.encoded(range(20))], store.table
            path.unlink()
            ramp = np.linspace(0, 60 + 5 * (own % 3), 200)
            crops = [np.clip(crop + ramp[: crop.shape[1], None], 0, 255) for crop in crops]
            if number % 2 and change:
                crops = [change(crop.astype(np.uint8)) for crop in crops]
            video = {"name": path.name, "digest": f"{number}", "fps": 25.0} | (rate if number % 2 else {})
            with create_store(path, attrs={"video": video}) as store:
                store.append(table, [encode(np.ascontiguousarray(crop, np.uint8)) for crop in crops])
            found[str(path)] = "ab"[number % 2]
        return found

    def found(self, folder: Path, *given: Any, **options: Any) -> dict[str, str]:
        data = load_dataset(self.stores(folder, *given, **options), Nearest().preprocessing)
        return {item.name: item.text for item in confounds(data)}

    def test_a_clean_design_is_let_pass(self, tmp_path: Path) -> None:
        assert self.found(tmp_path) == {}

    @pytest.mark.parametrize("trait", CHANGES)
    def test_what_is_planted_is_found(self, tmp_path: Path, trait: str) -> None:
        assert trait in self.found(tmp_path, CHANGES[trait])

    def test_what_is_stated_and_what_was_saved_twice_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "rate").mkdir()
        assert "a: 25.0; b: 30.0" in self.found(tmp_path / "rate", fps=30.0)["frame rate"]
        assert self.found(tmp_path, twice=True)["twins"].startswith("3 and 5 show the same")

    def test_recordings_alike_are_flagged_as_seldom_as_is_said(self) -> None:
        random, labels = np.random.default_rng(3), np.array([0, 1] * 4)
        flagged = sum((trait_p(random.standard_t(9, (8, 11)), labels) <= 0.03).any() for _ in range(400))
        assert flagged / 400 <= 0.05

    def test_three_against_three_tell_nothing(self) -> None:
        assert trait_p(np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]]), np.array([0, 0, 0, 1, 1, 1])).tolist() == [
            1.0
        ]

    def test_a_class_of_three_that_stands_apart_is_found(self) -> None:
        values = np.array([0, 0.1, 0.2, 0.15, 0.1, 0.05, 0.2, 0.0, 5, 5.1, 5.2, 5.05])
        traits = np.stack([values, np.random.default_rng(1).normal(size=12)], 1)
        found = trait_p(traits, np.repeat([0, 1, 2], 4))
        assert found[0] < 1e-6 < 0.03 < found[1]


def test_figures_do_not_depend_on_who_trains(tmp_path: Path) -> None:
    stores = make_stores(tmp_path, 3, 20)
    here, there = (
        sp.evaluate(Nearest(), stores, splits=("original", "grouped", "time"), probes=False, executor=executor)
        for executor in (None, Twice())
    )
    assert here["grouped"].metrics
    assert there.facts() == here.facts()


@pytest.mark.torch
class TestReport:
    """Random stands beside grouped, and what cannot be known is said in plain words."""

    @pytest.fixture
    def report(self, torch: Any, tmp_path: Path) -> Evaluation:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        return sp.evaluate("lenet5", make_stores(tmp_path, 3, 20, simulated=True), out=tmp_path / "report", **QUICK)

    def test_random_stands_beside_grouped(self, report: Evaluation, tmp_path: Path) -> None:
        assert [outcome.split for outcome in report.outcomes] == ["original", "grouped"]
        assert all(outcome.metrics for outcome in report.outcomes)
        assert len(report.probes) == 2 * len(PROBES)
        text = (tmp_path / "report" / "evaluation.md").read_text()
        for piece in ("| original |", "| grouped |", "the label cannot be told from the recording", "Confound probe"):
            assert piece in text
        facts = json.loads((tmp_path / "report" / "evaluation.json").read_text())
        assert facts["outcomes"][1]["metrics"]["groups"] == 2
        assert (tmp_path / "report" / "reliability.png").read_bytes().startswith(b"\x89PNG")

    def test_simulated_recordings_are_marked(self, report: Evaluation) -> None:
        assert report.simulated
        assert "simulated" in str(report).splitlines()[0]
        assert any("simulated" in remark for remark in report.remarks)

    def test_a_split_that_is_not_possible_is_said_beside_the_random_one(self, torch: Any, tmp_path: Path) -> None:
        found = sp.evaluate("lenet5", make_stores(tmp_path, 1, 20), probes=False, **QUICK)
        assert found["original"].metrics
        assert found["grouped"].metrics is None
        assert "not enough groups" in found["grouped"].reason
        assert any("comes from one recording only" in remark for remark in found.remarks)
        assert "not possible" in str(found)

    def test_labels_that_change_within_recordings_are_not_called_confounded(self, torch: Any, tmp_path: Path) -> None:
        stores = list(make_stores(tmp_path, 2, 20))
        for path in stores:
            with sp.open_store(path, mode="a") as store:
                store.set_column("label", np.tile(["low", "high"], 10))
        found = sp.evaluate("lenet5", stores, probes=False, splits=("original",), **QUICK)
        assert not any("cannot be told" in remark for remark in found.remarks)

    def test_a_trained_model_is_measured_on_recordings_that_it_has_not_seen(self, torch: Any, tmp_path: Path) -> None:
        run = sp.train(make_stores(tmp_path, 2, 20), out=tmp_path / "runs", progress=False, **QUICK)
        folder = tmp_path / "other"
        folder.mkdir()
        other = {
            make_store(folder / f"{kind}{number}.h5", kind, 20, 500 + number): kind
            for kind in ("low", "high")
            for number in range(2)
        }
        found = sp.evaluate(run, other, splits=(), probes=False)
        assert [outcome.split for outcome in found.outcomes] == ["new data"]
        assert found["new data"].test == 80
        again = sp.evaluate(run.path, probes=False)
        test = run.facts["metrics"]["test"]
        assert again["grouped"].metrics is not None
        assert again["grouped"].metrics.facts() == test

    def test_it_is_measured_as_it_was_trained(self, torch: Any, tmp_path: Path) -> None:
        stores = list(make_stores(tmp_path, 2, 20))
        for path in stores:
            with sp.open_store(path, mode="a") as store:
                store.set_column("flow", np.full(20, "low" if "low" in path else "high"))
                store.set_column("batch", np.tile(["a", "b"], 10))
        run = sp.train(stores, out=tmp_path / "runs", progress=False, label="flow", group="batch", **QUICK)
        assert run.facts["split"]["by"] == "batch, recordings on both sides"
        found = sp.evaluate(run, probes=False, splits=("grouped",))
        assert found["grouped"].metrics is not None
        assert found["grouped"].metrics.facts() == run.facts["metrics"]["test"]

    def test_data_of_other_classes_are_refused(self, torch: Any, tmp_path: Path) -> None:
        run = sp.train(make_stores(tmp_path, 2, 20), out=tmp_path / "runs", progress=False, **QUICK)
        data = {path: label.upper() for path, label in make_stores(tmp_path / "runs", 1, 5).items()}
        with pytest.raises(ParameterError, match="the model tells high, low apart, the data have HIGH, LOW"):
            sp.evaluate(run, data)

    def test_nothing_to_evaluate_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="needs data"):
            sp.evaluate("lenet5")
        with pytest.raises(MissingFileError, match="no model at"):
            sp.evaluate(tmp_path / "nowhere")


class TestOneBuildOnBothSides:
    """Groups that cut through a recording put it into training and test: never unasked, never unsaid."""

    @pytest.fixture
    def cameras(self, tmp_path: Path) -> Any:
        """Two builds, each of one class and filmed by three cameras."""
        paths = {}
        for seed, (flow, build) in enumerate((("low", "b1"), ("high", "b2"))):
            for number, camera in enumerate(("left", "mid", "right")):
                path = tmp_path / f"{camera}_{flow}.h5"
                paths[str(make_store(path, flow, 6, 10 * seed + number, recording=build, camera=camera))] = flow
        return load_dataset(paths, sp.make("classifier", "lenet5").preprocessing)

    def test_auto_does_not_cut_through_a_build(self, cameras: Any) -> None:
        assert split_of(cameras).name == "original"
        with pytest.raises(ParameterError, match="comes from one recording only"):
            split_of(cameras, "grouped")

    def test_on_request_it_does_and_says_so(self, cameras: Any, caplog: pytest.LogCaptureFixture) -> None:
        found = split_of(cameras, "grouped", "camera")
        assert found.by == "camera, recordings on both sides"
        assert (
            "2 recordings lie in training and in test, because groups by 'camera' cut through it, such as b1"
            in caplog.text
        )

    def test_whole_recordings_are_grouped_without_a_word(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = load_dataset(make_stores(tmp_path, 2, 4, camera="left"), sp.make("classifier", "lenet5").preprocessing)
        assert (split_of(data).name, split_of(data).by) == ("grouped", "recording")
        assert caplog.text == ""
