"""Names from outside are text in everything that is written: report, model card, evaluation, pictures."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from predictions import page_of, verdict

import spatterlib as sp
from spatterlib.common.markdown import code, escaped
from spatterlib.detection.layers import layers
from spatterlib.extraction.plots import timeline
from spatterlib.learning.evaluation import Evaluation, SplitOutcome, to_markdown
from spatterlib.learning.model_card import model_card
from spatterlib.types import FRAME_LOG
from spatterlib.verdicts.agreement import Witness, warnings
from spatterlib.verdicts.report import Section

HOSTILE = "<img src=hurt onerror=alert(1)>\"'&]]>--></script><script>alert(2)</script> `|*_[x](javascript:alert(3))"


class Elements(HTMLParser):
    """Tags with the names of their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def everywhere(value: Any, add: str) -> Any:
    """The same with `add` behind every text in it."""
    if isinstance(value, str):
        return value + add
    if isinstance(value, dict):
        return {key: everywhere(item, add) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(everywhere(item, add) for item in value)
    return value


def renamed(found: sp.Verdict, add: str) -> sp.Verdict:
    """A verdict in which everything that somebody may have named ends with `add`."""

    def changed(item: Any, *names: str) -> Any:
        return dataclasses.replace(item, **{name: everywhere(getattr(item, name), add) for name in names})

    summary: Any = {**found.summary} | {
        name: everywhere(value, add) for name, value in found.summary.items() if name in ("text", "label", "expected")
    }
    plain: sp.Verdict = changed(found, "settings", "classes")
    return dataclasses.replace(
        plain,
        summary=summary,
        layers=tuple(changed(span, "label", "leading", "reason") for span in found.layers),
        windows=tuple(changed(span, "label", "leading", "reason") for span in found.windows),
        changes=tuple(changed(item, "before", "after") for item in found.changes),
        evidence=tuple(changed(item, "label", "kind") for item in found.evidence),
    )


def test_a_report_has_the_same_elements_whatever_the_names_are() -> None:
    harmless, hostile = (Elements(page_of(renamed(verdict(), add))) for add in (" x", HOSTILE))
    assert hostile.found == harmless.found
    assert hostile.text.count("<img src=hurt") > 20


def test_further_sections_of_a_report_have_the_same_elements_whatever_the_names_are() -> None:
    def found(add: str) -> Elements:
        witness = Witness(3, f"low{add}", 2.0, 1.5, 2.5, f"high{add}", "disagree")
        index = {"border": 1.0, "layers": [witness], "warnings": warnings([witness])}
        charts = {
            "layers": [{"alarm": True}],
            "arl": 400.0,
            "alarm_intervals": [(1, 2, f"drift{add}")] * 21,
            "chart": "",
        }
        sections = Section(f"a{add}", "gas_flow_index.html.j2", index), Section("b", "control_charts.html.j2", charts)
        return Elements(page_of(dataclasses.replace(verdict(), sections=sections)))

    harmless, hostile = found(" x"), found(HOSTILE)
    assert hostile.found == harmless.found
    assert hostile.text.count(HOSTILE) == 1 + 2 + 2 + 20


def test_a_report_forbids_the_browser_scripts_and_requests() -> None:
    head = page_of(verdict()).partition("<title>")[0]
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'" in head


def rendered(text: str) -> Elements:
    """As a strict reader of Markdown shows it that lets HTML through."""
    markdown_it = pytest.importorskip("markdown_it")
    return Elements(
        markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    )


FACTS: dict[str, Any] = {
    "metrics": {"test": {"accuracy": 0.9, "accuracy_interval": None, "calibration_error_scaled": 0.01}},
    "split": {"name": "grouped", "by": "recording", "train": 6, "validation": 2, "test": 2},
    "simulated": False,
    "dropped": {"a": {"black": 1, "undecodable": 0}},
    "sources": [{"path": "a.h5", "crops": 10}],
    "classifier": {"id": "lenet5", "size": 40},
    "classes": ["low", "high"],
    "created": "2026",
    "counts": {"low": 5, "high": 5},
    "temperature": 1.0,
    "best_epoch": 3,
}


def facts(add: str) -> Any:
    keyed = {name + add: value for name, value in FACTS["dropped"].items()}
    named = {name: everywhere(FACTS[name], add) for name in ("sources", "classifier", "classes", "counts")}
    return FACTS | named | {"dropped": keyed, "split": FACTS["split"] | {"by": f"recording{add}"}}


def test_a_model_card_has_the_same_elements_whatever_the_names_are() -> None:
    harmless, hostile = (rendered(model_card(f"run{add}", facts(add))) for add in ("x", HOSTILE))
    assert hostile.found == harmless.found
    assert hostile.text.count(HOSTILE) >= 6


def test_an_evaluation_has_the_same_elements_whatever_the_names_are() -> None:
    def found(add: str) -> str:
        outcome = SplitOutcome("grouped", f"recording{add}", None, f"too few{add}", 0, 3, 1.0)
        values: dict[str, Any] = {
            "classifier": {"id": f"lenet5{add}"},
            "counts": {f"low{add}": 3},
            "classes": (f"low{add}", f"high{add}"),
            "simulated": False,
            "outcomes": (outcome,),
            "remarks": (f"Class low{add} comes from one recording only.",),
            "probes": (),
        }
        return to_markdown(Evaluation(**values))

    harmless, hostile = (rendered(found(add)) for add in ("x", HOSTILE))
    assert hostile.found == harmless.found
    assert hostile.text.count(HOSTILE) == 4


@given(st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" `\\|<>&_*[]()!~$\n")))
@example("__0__")
def test_any_text_in_markdown_is_that_text(text: str) -> None:
    wanted = " ".join(text.split())
    assert rendered(f"x{escaped(text)}x").text.strip() == f"x{wanted}x"
    if wanted:
        assert rendered(f"x {code(text)} x").text.strip() == f"x {wanted} x"


@pytest.mark.parametrize("name", ["$x_{$.mp4", r"$\bad$", "100 % $", "a_$b^$c"])
def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path, name: str) -> None:
    rows, log = np.zeros(1, sp.DETECTION), np.zeros(2, FRAME_LOG)
    log["decoded"], log["time"] = True, (0.0, 1.0)
    timeline(rows, log, layers(rows["time"]), tmp_path / "timeline.png", name)
    assert (tmp_path / "timeline.png").stat().st_size > 1000
