"""A recording that was found or filmed otherwise than the training's is warned of, and nothing unknown is claimed."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
from learning_data import make_stores
from media import write
from predictions import build, page_of, verdict

import spatterlib as sp
from spatterlib.learning.dataset import load_dataset
from spatterlib.learning.run_facts import DataSourceFields, RunFacts
from spatterlib.learning.runs import Run, load_model
from spatterlib.plugins.classifier import Preprocessing
from spatterlib.verdicts.report import page
from spatterlib.verdicts.training_mismatch import unlike

KNOWN: DataSourceFields = {"detector": {"id": "d", "threshold": 30}, "filters": [{"id": "area", "least": 4}]}
VIDEO = {"width": 640, "height": 360, "fps": 25.0}


def test_what_differs_is_said_with_what_it_was_in_the_training() -> None:
    facts: RunFacts = {"sources": [KNOWN | {"video": VIDEO}]}
    own = {"detector": {"id": "d", "threshold": 60}, "filters": [], "video": VIDEO | {"fps": 60}}
    assert unlike(facts, KNOWN | {"video": VIDEO}) == []
    assert unlike(facts, own) == [
        "detector d (threshold 60) instead of d (threshold 30)",
        "filters none instead of area (least 4)",
        "60 frames/s instead of 25",
    ]


@pytest.mark.parametrize("facts", [{}, {"sources": []}, {"sources": [{"video": {}}]}, {"sources": [{}, KNOWN]}])
def test_of_what_the_record_does_not_say_nothing_is_claimed(facts: RunFacts) -> None:
    assert unlike(facts, KNOWN | {"video": VIDEO}) == []
    assert unlike({"sources": [KNOWN | {"video": VIDEO}]}, {}) == []


def test_a_rate_that_a_container_rounds_is_the_same_rate() -> None:
    assert unlike({"sources": [{"video": VIDEO}]}, {"video": VIDEO | {"fps": 24.98}}) == []


def test_predict_warns_in_one_line_and_the_report_says_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = sp.predict(write(tmp_path / "small.mp4", 40), "simulated", progress=False)
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("small.mp4 is not like what simulated learned from: frames of 160x120 instead of 640x360")
    assert "\n" not in said
    assert found.settings["unlike_training"][0] == "frames of 160x120 instead of 640x360"
    assert "This recording is not like those that the model learned from: frames of 160x120" in page_of(found)


def test_another_detector_than_the_training_s_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    shipped = load_model("simulated")
    with_detector = [source | KNOWN for source in shipped.facts["sources"]]
    run = dataclasses.replace(shipped, facts={**shipped.facts, "sources": with_detector})
    sp.predict(build(), run, stop="2s", progress=False)
    assert "detector frame-difference (" in caplog.text
    assert "instead of d (threshold 30)" in caplog.text


def test_a_watch_warns_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sp.watch(str(write(tmp_path / "small.mp4", 40)), "simulated", idle=0.1)
    assert "frames of 160x120 instead of 640x360" in caplog.text


def test_a_recording_like_the_training_s_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    given: dict[str, Any] = {"stop": "2s", "gas_direction": 180.0, "progress": False}
    assert sp.predict(build(), "simulated", **given).settings["unlike_training"] == []
    assert sp.predict(build(), Run(load_model("simulated").model), stop="2s", progress=False)
    assert "not like" not in caplog.text


def test_training_records_what_its_crops_were_found_with(tmp_path: Path) -> None:
    data = load_dataset(make_stores(tmp_path, 1, 3), Preprocessing("grey", 40, 32))
    with sp.open_store(data.sources[0].path) as store:
        assert data.sources[0].detector == store.attrs.get("detector")
        assert data.sources[0].filters == store.attrs.get("filters")


def test_one_recording_is_one_recording_in_the_report_and_old_pages_stay_as_they_are() -> None:
    facts = load_model("simulated").facts
    run = dataclasses.replace(load_model("simulated"), facts={**facts, "sources": facts["sources"][:1]})
    found: Any = sp.predict(build(), run, stop="2s", progress=False).to_dict(rows=False, evidence=False)
    assert "its data were 1 recording. " in " ".join(page(found).split())
    del found["settings"]["model"]["origin"]
    assert "its data were 1 recordings. " in " ".join(page(found).split())


def test_the_demo_says_under_its_headline_what_differs() -> None:
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    from spatterlib_demo.verdict_view import headline

    alike = verdict()
    other = dataclasses.replace(alike, settings={**alike.settings, "unlike_training": ["60 frames/s instead of 25"]})
    assert "learned from: 60 frames/s instead of 25." in headline(other, "a.mp4")
    assert "The verdict may be wrong" not in headline(alike, "a.mp4")
