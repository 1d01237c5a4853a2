"""What a report says of the build, and which of its layers it lists: for an auditor, and for builds of many layers."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from demo_browser import CHROMIUM
from predictions import build, page_of, verdict

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import Exit, ParameterError
from spatterlib.verdicts.judgement import Span
from spatterlib.verdicts.report import differs, local, read_page

LAYERS, BAD = 1000, {100, 101, 417, 1000}


@cache
def long_build(**report: Any) -> sp.Verdict:
    """The verdict on a build of 1,000 layers of 40 s, all OK but four."""
    ok, bad = (next(span for span in verdict().layers if span.state == state) for state in ("OK", "critical"))
    spans = tuple(_placed(bad if number in BAD else ok, number) for number in range(1, LAYERS + 1))
    states = {"OK": LAYERS - len(BAD), "critical": len(BAD)}
    summary: Any = {**verdict().summary, "layers": LAYERS, "states": states}
    return dataclasses.replace(
        verdict(),
        layers=spans,
        windows=spans,
        changes=(),
        summary=summary,
        settings=verdict().settings | {"report": sp.ReportSettings(**report).facts()},
    )


def _placed(span: Span, number: int) -> Span:
    start = 40.0 * number
    return dataclasses.replace(
        span, number=number, start=start, stop=start + 36, first_frame=1000 * number, last_frame=1000 * number + 900
    )


def listed(text: str, heading: str = "Layers") -> list[int]:
    """Numbers in the table under a heading."""
    part = text[text.index(f"<h2>{heading}") :].split("</section>")[0]
    return [int(number) for number in re.findall(r'<tr><td class="n">(\d+)</td>', part)]


def test_what_is_said_of_the_build_stands_in_the_head_as_text_and_whoever_signs_has_a_line() -> None:
    said = {"machine": "<b>M2</b>", "job": "A&B-17", "operator": 'Åsa "x"', "material": "Ti-6Al-4V <img src=x>"}
    text = page_of(long_build(**said, sign_off=("operator", "<i>quality</i>")))
    head = text[text.index("<header>") : text.index("</header>")]
    for shown in ("&lt;b&gt;M2&lt;/b&gt;", "A&amp;B-17", "Åsa &#34;x&#34;", "Ti-6Al-4V &lt;img src=x&gt;"):
        assert shown in head
    assert not re.search(r"<(b>M2|img src=x|i>quality)", text)
    assert re.findall(r"<div><b>(.*?)</b><span>name</span>", text) == ["operator", "&lt;i&gt;quality&lt;/i&gt;"]
    assert differs(text, read_page(text)) == []


def test_a_report_of_alarms_only_lists_what_is_not_ok_and_draws_all() -> None:
    text = page_of(long_build(alarms_only=True))
    assert listed(text) == sorted(BAD) == listed(text, "Windows")
    runs = re.findall(r"<title>layers? (\d+)(?: to (\d+))?: (\w+)</title>", text)
    seen = {number: state for a, b, state in runs for number in range(int(a), int(b or a) + 1)}
    assert seen == {span.number: span.state for span in long_build().layers}
    assert "4 of 1000 layers are listed" in " ".join(text.split()).replace("1,000", "1000")
    assert differs(text, read_page(text)) == []
    assert differs(text.replace("layers 102 to 200: OK", "layers 102 to 200: no verdict"), read_page(text)) == [
        "Layers"
    ]


def test_an_alarm_of_a_chart_and_an_index_that_contradicts_are_listed_too() -> None:
    found = long_build(alarms_only=True)
    settings: Any = {
        "monitor": {"layers": [{"group": 7, "alarms": ["T2"]}, {"group": 8, "alarms": []}]},
        "measurement": {"layers": [{"layer": 9, "agreement": "disagree"}, {"layer": 10, "agreement": "agree"}]},
    }
    text = page_of(dataclasses.replace(found, settings=found.settings | settings))
    assert listed(text) == sorted(BAD | {7, 9})


@pytest.mark.parametrize(
    ("layers", "numbers"), [("100-200", range(100, 201)), ("7", [7]), ("990-1200", range(990, 1001)), ("2000", [])]
)
def test_a_range_of_layers_is_listed_and_drawn_and_the_verdict_is_on_all(layers: str, numbers: Any) -> None:
    text = page_of(long_build(layers=layers))
    assert listed(text) == [*numbers]
    drawn = {int(number) for number in re.findall(r"<title>layer (\d+),", text)}
    assert drawn == set(numbers)
    assert f"{layers}<small> of 1,000</small>" in text
    assert read_page(text)["summary"] == long_build().summary
    assert differs(text, read_page(text)) == []


def test_the_page_of_a_prediction_names_no_folder_of_this_machine_and_verify_finds_what_lies_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("recordings", "reports", "elsewhere"):
        (tmp_path / folder).mkdir()
    video, out = tmp_path / "recordings" / "build.mp4", tmp_path / "reports" / "build.html"
    video.hardlink_to(build()) if build().stat().st_dev == tmp_path.stat().st_dev else video.write_bytes(
        build().read_bytes()
    )
    arguments = ["--stop", "12s", "--expected", "high", "--alarms-only", "--machine", "M2", "--sign-off", "operator"]
    assert main(["predict", str(video), "--model", "simulated", "-o", str(out), "--layers", "1-3", *arguments]) == 0
    text = out.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert str(Path(sp.__file__).parent) not in text
    assert read_page(text)["settings"]["source"]["path"] == "../recordings/build.mp4"
    assert read_page(text)["settings"]["report"] == {
        "machine": "M2",
        "layers": "1-3",
        "alarms_only": True,
        "sign_off": ["operator"],
    }
    assert sp.verify(out, sample=1).holds
    moved = out.rename(tmp_path / "elsewhere" / "build.html")
    video.rename(tmp_path / "elsewhere" / "build.mp4")
    assert main(["verify", str(moved)]) == Exit.FAILED
    assert "give it with --video" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert sp.verify(moved, source="elsewhere/build.mp4", sample=1).holds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sign_off": "operator"}, "sign_off must be roles"),
        ({"sign_off": ("x",) * 13}, "at most 12 roles, got 13"),
        ({"layers": "9-3"}, 'layers must be such as "100-200"'),
        ({"job": "a\x1b[2J"}, "job must be one line"),
        ({"machine": 3}, "machine must be text"),
    ],
)
def test_what_no_report_can_say_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(said)):
        sp.ReportSettings(**given)


def test_without_an_expected_class_no_layer_is_an_alarm() -> None:
    with pytest.raises(ParameterError, match="needs an expected class"):
        sp.predict(build(), "simulated", report=sp.ReportSettings(alarms_only=True))


def test_what_lies_far_away_is_named_by_its_name_only() -> None:
    found = verdict().to_dict(rows=False)
    assert local(found, Path("/of/somebody/else"))["settings"]["source"]["path"] == "build.mp4"
    assert local(found, build().parent)["settings"]["source"]["path"] == "build.mp4"
    assert found["settings"]["source"]["path"] == str(build())


@pytest.mark.skipif(CHROMIUM is None or find_spec("playwright") is None, reason="no Chromium with Playwright here")
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_build_of_a_thousand_layers_prints_on_a_few_pages(scheme: Any, chromium: Any) -> None:
    """As black on white, whatever the screen is."""
    printed = chromium.new_page(color_scheme=scheme)
    try:
        printed.set_content(page_of(long_build(alarms_only=True, sign_off=("operator", "quality"))))
        pdf = printed.pdf(prefer_css_page_size=True, print_background=True)
        printed.emulate_media(media="print")
        background = printed.evaluate("getComputedStyle(document.body).backgroundColor")
        split = printed.evaluate(
            "[...document.querySelectorAll('.tiles div, .note, .facts, .sign, figure, svg, tr')]"
            ".filter(one => getComputedStyle(one).breakInside !== 'avoid').length"
        )
    finally:
        printed.close()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6
    assert background == "rgb(255, 255, 255)"
    assert split == 0
