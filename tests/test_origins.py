"""A recording's origin and its model's are two facts: kept and shown apart, and nothing is claimed that nobody said."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, get_type_hints

import pytest
from learning_data import make_stores
from media import write
from predictions import build, page_of

import spatterlib as sp
from spatterlib.common.origin import learned_from, marks
from spatterlib.learning.dataset import load_dataset
from spatterlib.learning.model_card import model_card
from spatterlib.learning.run_facts import RunFacts
from spatterlib.learning.runs import Run, load_model
from spatterlib.live.messages import text_line
from spatterlib.plugins.classifier import Preprocessing
from spatterlib.verdicts.report import differs, parse, read_page

MACHINE, MODEL = "SIMULATED RECORDING: not from a machine", "MODEL: learned from simulated recordings only"


@cache
def unmarked() -> Path:
    """A recording that does not say where it comes from."""
    return write(Path(mkdtemp(prefix="spatterlib-origin-")) / "filmed.mp4", 40)


@cache
def verdict(path: Path) -> sp.Verdict:
    return sp.predict(path, "simulated", expected="high", progress=False)


def test_a_recording_is_not_called_simulated_because_its_model_is() -> None:
    found = verdict(unmarked())
    assert found.simulated is None
    assert (found.to_dict()["simulated"], found.to_dict()["settings"]["simulated"]) == (None, None)
    assert found.settings["model"]["simulated"] is True
    assert found.settings["model"]["origin"] == "simulated"
    assert str(found).endswith(" (model learned from simulated recordings only)")
    text = page_of(found)
    assert MACHINE not in text
    assert "(simulated)</title>" not in text
    assert MODEL in text
    assert "The recording does not say where it comes from." in text


def test_where_both_are_simulated_both_are_marked() -> None:
    found = verdict(build())
    assert found.simulated is True
    assert str(found).endswith(" (simulated recording; model learned from simulated recordings only)")
    assert MACHINE in page_of(found)
    assert MODEL in page_of(found)


def test_of_bare_weights_nothing_is_said() -> None:
    bare = Run(load_model("simulated").model)
    found = sp.predict(build(), bare, progress=False)
    assert (found.settings["model"]["simulated"], found.settings["model"]["origin"]) == (None, "not stated")
    assert "MODEL:" not in page_of(found)
    assert str(found).endswith(" (simulated recording)")


def test_a_report_of_an_older_version_still_says_what_it_said() -> None:
    facts = json.loads(json.dumps(verdict(unmarked()).to_dict(rows=False, evidence=False)))
    facts |= {"format": 1, "simulated": True}
    del facts["settings"]["model"]["origin"]
    old = '<p><span class="mark">SIMULATED: not from a machine</span></p>'
    now = page_of(verdict(unmarked()))
    begin = now.index('<p class="marks">')
    text = now[:begin] + old + now[now.index("</p>", begin) + 4 :]
    assert parse(json.dumps(facts)) == facts
    assert differs(text, facts) == []
    assert differs(now, facts) == ["head"]


def test_verify_finds_a_report_that_calls_a_recording_what_it_is_not(tmp_path: Path) -> None:
    verdict(unmarked()).save(tmp_path / "a.json")
    assert sp.verify(tmp_path / "a.json").holds
    facts = json.loads((tmp_path / "a.json").read_text())
    facts["settings"]["simulated"] = True
    facts["settings"]["model"]["origin"] = "not stated"
    (tmp_path / "a.json").write_text(json.dumps(facts))
    first, second = sp.verify(tmp_path / "a.json").faults
    assert first == "the recording is not marked as simulated, and the report says otherwise"
    assert second.startswith("the model's training recordings are 'simulated'")
    assert read_page(page_of(verdict(unmarked())))["format"] == 3


def test_data_that_say_nothing_are_unknown_and_a_mix_is_a_mix(tmp_path: Path) -> None:
    how = Preprocessing("grey", 40, 32)
    for name in ("plain", "marked"):
        (tmp_path / name).mkdir()
    plain = make_stores(tmp_path / "plain", 2, 3)
    marked = make_stores(tmp_path / "marked", 2, 3, simulated=True)
    parts = load_dataset(plain, how), load_dataset(marked, how)
    mix = replace(parts[0], sources=(*parts[0].sources, *parts[1].sources))
    assert [(data.origin, data.simulated) for data in (*parts, mix)] == [
        ("not stated", None),
        ("simulated", True),
        ("partly simulated", None),
    ]
    assert {source.simulated for source in mix.sources} == {None, True}


@pytest.mark.parametrize(
    ("facts", "origin"),
    [
        ({}, "not stated"),
        ({"simulated": False}, "not stated"),
        ({"simulated": True}, "simulated"),
        ({"simulated": True, "sources": [{"simulated": True}, {"simulated": False}]}, "partly simulated"),
        ({"simulated": None, "sources": [{"simulated": None}]}, "not stated"),
        ({"simulated": None, "origin": "partly simulated"}, "partly simulated"),
    ],
)
def test_records_of_any_age_say_what_a_model_learned_from(facts: RunFacts, origin: str) -> None:
    assert learned_from(facts) == origin
    assert Run(load_model("simulated").model, "", facts).origin == origin


def test_the_card_of_a_mix_does_not_say_only() -> None:
    facts = load_model("simulated").facts.copy()
    assert "**Learned from simulated recordings only.**" in model_card("a", facts)
    facts["sources"] = [*facts["sources"], facts["sources"][0] | {"simulated": None}]
    assert "**Learned partly from simulated recordings.**" in model_card("a", facts)


def test_a_watch_keeps_them_apart_in_every_message_and_line() -> None:
    messages: list[dict[str, Any]] = []
    sp.watch(str(unmarked()), "simulated", idle=0.1, notify=messages.append)
    assert {(found["simulated"], found["model_origin"]) for found in messages} == {(None, "simulated")}
    said = [text_line(found) for found in messages if found["type"] in ("start", "end")]
    assert all(text.endswith(" (model learned from simulated recordings only)") for text in said)


def test_prometheus_has_a_gauge_for_each() -> None:
    pytest.importorskip("prometheus_client")
    from spatterlib.live.latency import Latencies
    from spatterlib.live.messages import StatusFields
    from spatterlib.live.prometheus import Snapshot, metric_families

    status: Any = dict.fromkeys(get_type_hints(StatusFields), 0)
    snapshot = Snapshot(status, Latencies(), {}, events=(), chart=None, simulated=None, model_origin="simulated")
    families = [family for family in metric_families(snapshot) if "simulated" in family.name]
    values = {family.name: family.samples[0].value for family in families}
    assert values == {"spatterlib_watch_simulated": 0.0, "spatterlib_watch_model_simulated": 1.0}


def test_marks_say_only_what_is_known() -> None:
    assert marks(None, "partly simulated") == " (model learned partly from simulated recordings)"
    assert marks(None, "not stated") == ""
