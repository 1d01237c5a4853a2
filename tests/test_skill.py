"""A model that is not shown to be better than chance on recordings held out judges nothing, unless it is told to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spatterlib as sp
from spatterlib.learning.run_facts import RunFacts
from spatterlib.learning.skill import unproven
from spatterlib.verdicts.verification import verify

GROUPED = {"name": "grouped", "by": "recording"}


def facts(low: float | None, split: Any = GROUPED, confusion: Any = ((50, 0), (0, 50))) -> RunFacts:
    interval = None if low is None else [low, 0.99]
    test: Any = {
        "accuracy": 0.97,
        "accuracy_interval": interval,
        "confusion": [list(row) for row in confusion],
        "groups": 8,
    }
    return {"classes": ["high", "low"], "split": split, "metrics": {"test": test}}


@given(st.floats(0, 0.97), st.lists(st.integers(1, 400), min_size=2, max_size=4))
def test_only_an_interval_above_the_share_of_the_commonest_class_proves_anything(low: float, sizes: list[int]) -> None:
    diagonal = [[size if row == column else 0 for column in range(len(sizes))] for row, size in enumerate(sizes)]
    assert (unproven(facts(low, confusion=diagonal)) == "") == (low > max(sizes) / sum(sizes))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (facts(0.4), "of crops of 8 recordings held out 97% were right (95 %: 40% to 99%), and chance alone gives 50%"),
        (facts(None), "too few recordings for an interval"),
        (facts(0.9, {"name": "original", "by": "crop"}), "only on recordings that it learned from too"),
        (facts(0.9, {"name": "time", "by": "video"}), "only on recordings that it learned from too"),
        (
            facts(0.9, {"name": "grouped", "by": "layer, recordings on both sides"}),
            "only on recordings that it learned",
        ),
    ],
)
def test_the_reason_says_what_was_measured_and_what_to_do(told: RunFacts, reason: str) -> None:
    assert reason in unproven(told)
    assert "train on more recordings of each class" in unproven(told)


@pytest.mark.parametrize("told", [{}, {"split": None}, {"split": GROUPED}, {"metrics": {"test": {"accuracy": 0.5}}}])
def test_of_a_model_of_which_nothing_is_known_nothing_is_claimed(told: Any) -> None:
    assert unproven(told) == ""


def test_an_exported_file_tells_the_same_as_its_run() -> None:
    inside = facts(0.3)
    outside: Any = {"split": inside["split"], "test": inside["metrics"]["test"], "classes": inside["classes"]}
    assert unproven(outside) == unproven(inside) != ""


def test_the_model_of_the_package_is_proven() -> None:
    assert sp.load_model("simulated").unproven == ""


@pytest.fixture(scope="module")
def chance() -> Any:
    """The model of the package, as if it had been tested and found no better than chance."""
    run = sp.load_model("simulated")
    return dataclasses.replace(run, facts={**run.facts, "metrics": facts(0.4)["metrics"]})


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skill") / "build.mp4"
    sp.simulate(path, gas_flow="high", preset="easy", seconds=8, seed=31)
    return path


def test_predict_refuses_with_the_reason_and_an_option_overrides(
    chance: Any, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = sp.predict(video, chance, expected="high", progress=False)
    assert {span.state for span in (*found.layers, *found.windows)} == {"no verdict"}
    assert {span.reason for span in found.layers} == {chance.unproven}
    assert found.summary["text"] == f"no verdict on the one layer: {chance.unproven}"
    assert "gives no verdict: the model is not shown to be better than chance" in caplog.text
    told = sp.predict(video, chance, rules=sp.Rules(expected="high", unproven=True), progress=False)
    assert told.layers[0].state in ("OK", "critical", "attention")


def test_a_watch_refuses_too_and_says_so_when_it_begins(
    chance: Any, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[Any] = []
    sp.watch(str(video), chance, notify=said.append, idle=0.1)
    assert "gives no verdict: the model is not shown" in caplog.text
    verdicts = [event for event in said if event["type"] == "verdict"]
    assert {event["state"] for event in verdicts} == {"no verdict"}
    assert chance.unproven in {event["reason"] for event in verdicts}


def test_a_report_of_a_version_that_did_not_ask_still_holds(chance: Any, video: Path, tmp_path: Path) -> None:
    found = sp.predict(video, chance, rules=sp.Rules(unproven=True), progress=False)
    told: Any = found.to_dict()
    del told["settings"]["rules"]["unproven"]
    (tmp_path / "old.json").write_text(json.dumps(told))
    again = verify(tmp_path / "old.json", model=chance)
    assert again.holds, again
