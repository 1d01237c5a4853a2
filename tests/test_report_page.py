"""The HTML report: one file that asks nobody, says what it rests on, and can be checked."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from predictions import build, page_of, verdict, weights

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.verdicts.report import differs, read_page

VOID = {"meta", "img", "br", "line", "rect", "path", "circle"}


class Page(HTMLParser):
    """Elements in order, text by heading, and whether all are closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data + " "


@pytest.fixture(scope="module")
def text() -> str:
    return page_of(verdict())


@pytest.fixture
def report(tmp_path: Path) -> Path:
    verdict().save(tmp_path / "report.html")
    return tmp_path / "report.html"


def test_it_is_well_formed(text: str) -> None:
    assert Page(text).open == []


def test_it_asks_nobody_and_runs_nothing(text: str) -> None:
    found = Page(text)
    assert not re.search(r"(src|href|url\()\s*=?\s*[\"']?(https?:)?//", text)
    assert {tag for tag, _ in found.elements} & {"link", "iframe", "object", "embed", "base", "form"} == set()
    assert [facts["type"] for tag, facts in found.elements if tag == "script"] == ["application/json"]
    assert all((facts.get("src") or "data:").startswith("data:image/") for tag, facts in found.elements if tag == "img")
    assert not any(name.startswith("on") for _, facts in found.elements for name in facts)


def test_it_says_simulated_and_what_the_model_is(text: str) -> None:
    shown = Page(text).text
    assert "SIMULATED" in shown
    assert "The model learned from simulated recordings only" in shown
    assert "grouped split by recording" in shown
    assert "A label is no measurement of gas flow" in shown


def test_every_layer_has_a_line_and_a_mark(text: str) -> None:
    shown = Page(text)
    assert sum(tag == "title" for tag, _ in shown.elements) == 1 + len(verdict().layers)
    for span in verdict().layers:
        assert f"layer {span.number}, {span.start:.1f}-{span.stop:.1f} s: {span.state}" in shown.text
        assert f"{span.first_frame}–{span.last_frame}" in shown.text


def test_evidence_has_frame_and_time(text: str) -> None:
    for item in verdict().evidence:
        assert f"frame {item.frame}, {item.time:.2f} s" in text
    assert text.count("data:image/jpeg;base64,") == len(verdict().evidence) > 6


def test_digests_and_settings_stand_at_the_end(text: str) -> None:
    settings = verdict().settings
    end = text[text.index("Settings and digests") :]
    for digest in (settings["video"]["digest"], settings["model"]["digest"], settings["code"]):
        assert digest in end
    assert "frame-difference" in end


def test_its_json_is_the_verdict_without_rows(text: str) -> None:
    assert read_page(text) == verdict().to_dict(rows=False, evidence=False)


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = tmp_path / "a<script>alert(1)<!--&.mp4"
    shutil.copy(build(), evil)
    found = page_of(sp.predict(evil, "simulated", stop="5s"))
    assert "<script>alert" not in found
    assert Page(found).open == []
    assert read_page(found)["settings"]["source"]["name"] == evil.name


def test_more_than_two_classes_can_be_shown(tmp_path: Path) -> None:
    run = sp.load_model(weights(tmp_path, 3), classes=("low", "mid", "high"))
    shown = Page(page_of(sp.predict(build(), run, stop="5s"))).text
    assert "probability of the leading class" in shown
    assert "How good the model is, is not known" in shown
    assert "was not checked" in shown


def test_a_true_report_holds(report: Path) -> None:
    found = sp.verify(report, source=build(), sample=0)
    assert found.faults == ()
    assert found.checked == (1, 2, 3, 4, 5)
    assert str(found).endswith("holds: 5 of 5 layers computed again")


def test_a_report_of_a_store_and_as_json_holds(tmp_path: Path) -> None:
    sp.predict(build(), "simulated", tmp_path / "v.json", store=tmp_path / "a.h5", stop="16s")
    assert sp.verify(tmp_path / "v.json", sample=1, seed=3).faults == ()


def test_a_report_with_other_settings_holds(tmp_path: Path) -> None:
    options: dict[str, Any] = {"roi": (40, 30, 620, 350), "detector": {"id": "frame-difference", "threshold": 30}}
    sp.predict(build(), "simulated", tmp_path / "v.html", stop="16s", quality=80, **options)
    assert sp.verify(tmp_path / "v.html", source=build(), sample=0).faults == ()


def tampered(report: Path, change: Any) -> Path:
    """The report made anew from a JSON that somebody changed."""
    text = report.read_text()
    facts = read_page(text)
    old = json.dumps(facts, allow_nan=False).replace("<", "\\u003c")
    change(facts)
    new = json.dumps(facts, allow_nan=False).replace("<", "\\u003c")
    assert old != new
    report.write_text(text.replace(old, new))
    return report


def test_a_touched_up_probability_is_found(report: Path) -> None:
    def change(facts: dict[str, Any]) -> None:
        facts["layers"][0]["probability"] += 0.01

    faults = sp.verify(tampered(report, change), source=build(), sample=0).faults
    assert any(fault.startswith("layer 1: probability was") for fault in faults)


def test_a_page_that_shows_other_than_its_json_is_found(report: Path) -> None:
    report.write_text(
        report.read_text().replace('<span class="state s-critical">critical', '<span class="state s-ok">OK')
    )
    assert (
        "the page shows something else under 'Layers' than its JSON says"
        in sp.verify(report, source=build(), sample=1).faults
    )


def test_other_markup_that_shows_the_same_is_no_fault(text: str) -> None:
    other = text.replace('<td class="n">', "<td>\n").replace("<h1>", '<h1 class="name">').replace("</b>", "</b><i></i>")
    assert other != text
    assert differs(other, read_page(other)) == []


def test_a_page_of_an_older_version_shows_what_its_json_says() -> None:
    """Who changes the words of the template leaves those of older pages as they are, or verify calls these forged."""
    old = (Path(__file__).parent / "report_of_0_1.html").read_text(encoding="utf-8")
    assert differs(old, read_page(old)) == []
    assert differs(old.replace("91.1% of single crops", "99.1% of single crops"), read_page(old)) == [
        "What the label can and cannot mean"
    ]


@pytest.mark.parametrize(
    ("shown", "instead", "heading"),
    [
        ("<dt>crops</dt><dd>", "<dt>crops</dt><dd>1", "head"),
        ('<circle cx="', '<circle cx="9', "Timeline"),
        ('"state s-critical"', '"state s-ok"', "Layers"),
        ("<td>high, as expected</td>", "<td></td><td>high, as expected</td>", "Windows of 20 s"),
        ("</section>", "<section><h2>Layers</h2></section></section>", "Layers"),
        ("only. What it says of a real one has never been tested", "only", "What the label can and cannot mean"),
        ("frame-difference", "hand-drawn", "Settings and digests"),
    ],
)
def test_what_a_page_shows_otherwise_is_named_by_its_heading(text: str, shown: str, instead: str, heading: str) -> None:
    assert heading in differs(text.replace(shown, instead), read_page(text))


def test_a_summary_that_does_not_follow_is_found(report: Path) -> None:
    def change(facts: dict[str, Any]) -> None:
        facts["summary"]["states"] = {"OK": 5}

    assert (
        "the summary does not follow from the layers"
        in sp.verify(tampered(report, change), source=build(), sample=1).faults
    )


def test_another_video_or_model_is_found(report: Path, tmp_path: Path) -> None:
    sp.simulate(tmp_path / "other.mp4", seconds=2, seed=4)
    assert "the video is another" in sp.verify(report, source=tmp_path / "other.mp4").faults[0]
    other = sp.load_model(weights(tmp_path), classes=("high", "low"))
    assert "the model is another" in sp.verify(report, source=build(), model=other, sample=1).faults[0]


@pytest.mark.parametrize(
    "text", ["", "<html>a page</html>", '<script type="application/json" id="verdict">{"a":1}</script>']
)
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(text)
    with pytest.raises(StoreError, match=r"page\.html"):
        sp.verify(tmp_path / "page.html")


def test_a_report_that_is_not_there_is_missing(tmp_path: Path, report: Path) -> None:
    with pytest.raises(MissingFileError, match="no report at"):
        sp.verify(tmp_path / "none.html")
    with pytest.raises(ParameterError, match="sample must be 0"):
        sp.verify(report, sample=-1)


def test_the_exit_code_tells(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(report), "--video", str(build()), "--sample", "2"]) == 0
    assert "holds: 2 of 5 layers computed again" in capsys.readouterr().out
    report.write_text(report.read_text().replace("critical</span>", "OK</span>"))
    assert main(["verify", str(report), "--video", str(build()), "--sample", "1"]) == 4
    assert "does NOT hold" in capsys.readouterr().out
