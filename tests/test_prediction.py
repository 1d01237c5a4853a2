"""From video to verdict: the same from a video and from its store, and honest about what it does not know."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from learning_data import crop
from predictions import CHANGE_AT, build, verdict, weights
from recordings import existing
from test_many import Twice

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.common.image_codec import encode, image_size
from spatterlib.common.progress import Progress
from spatterlib.common.workers import code_digest
from spatterlib.errors import (
    MissingFileError,
    OutputExistsError,
    ParameterError,
    PluginError,
    StoreError,
    VideoError,
)
from spatterlib.kernels import compile_progress
from spatterlib.learning.runs import Run
from spatterlib.stores.opening import create_store
from spatterlib.verdicts.judgement import Span, SpanFields
from spatterlib.verdicts.rules import Rules


def test_each_layer_has_its_verdict() -> None:
    labels = [span.label for span in verdict().layers]
    assert labels[:2] == ["low", "low"]
    assert labels[3:] == ["high", "high"]
    assert [span.state for span in verdict().layers][:2] == ["critical", "critical"]
    assert verdict().summary["state"] == "critical"
    assert verdict().summary["label"] is None


def test_a_change_in_mid_build_is_found_in_its_layer() -> None:
    (change,) = verdict().changes
    assert (change.before, change.after, change.layer) == ("low", "high", 3)
    assert change.time == pytest.approx(CHANGE_AT, abs=3)
    assert "changes from low to high in layer 3" in verdict().summary["text"]


def test_rows_are_detections_with_event_layer_and_probability() -> None:
    rows = verdict().rows
    assert set(sp.DETECTION.names or ()) < set(rows.dtype.names or ())
    np.testing.assert_allclose(rows["probabilities"].sum(1), 1)
    assert set(rows["layer"].tolist()) == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(rows["event"], sp.events(rows).number)
    assert np.isfinite(rows["distance"]).all()


def test_spans_count_their_rows() -> None:
    found = verdict()
    assert sum(span.crops for span in found.layers) == len(found.rows) == found.summary["crops"]
    assert sum(span.crops for span in found.windows) == len(found.rows)
    assert [(span.start, round(span.stop)) for span in found.windows] == [(0, 20), (20, 40), (40, 43)]
    for span in found.layers:
        own = found.rows[found.rows["layer"] == span.number]
        assert (span.first_frame, span.last_frame) == (own["frame"].min(), own["frame"].max())
        assert span.events == len(np.unique(own["event"]))


def facts(spans: Sequence[Span]) -> list[SpanFields]:
    """What was not measured is None, which is equal to itself."""
    return [span.facts() for span in spans]


def test_video_and_store_give_the_same(tmp_path: Path) -> None:
    sp.extract(build(), tmp_path / "a.h5")
    again = sp.predict(tmp_path / "a.h5", "simulated", expected="high", window=20)
    np.testing.assert_array_equal(again.rows["probabilities"], verdict().rows["probabilities"])
    np.testing.assert_array_equal(again.rows["distance"], verdict().rows["distance"])
    assert facts(again.layers) == facts(verdict().layers)
    assert facts(again.windows) == facts(verdict().windows)
    assert again.evidence == verdict().evidence
    assert again.simulated


def test_the_store_can_be_kept_and_gives_the_same(tmp_path: Path) -> None:
    found = sp.predict(build(), "simulated", store=tmp_path / "kept.zarr", expected="high")
    np.testing.assert_array_equal(found.rows["probabilities"], verdict().rows["probabilities"])
    with sp.open_store(tmp_path / "kept.zarr") as store:
        assert len(store) == len(found.rows)
        assert store.attrs["complete"]


def test_the_number_of_workers_does_not_matter() -> None:
    found = sp.predict(build(), "simulated", workers=3, expected="high", window=20)
    np.testing.assert_array_equal(found.rows, verdict().rows)
    assert facts(found.layers) == facts(verdict().layers)


def test_the_same_call_gives_the_same_verdict() -> None:
    a, b = (sp.predict(build(), "simulated", stop="12s").to_dict() for _ in range(2))
    for facts in (a, b):
        del facts["summary"]["seconds"], facts["settings"]["created"]
    assert a == b


def test_a_part_of_the_video_is_that_part() -> None:
    found = sp.predict(build(), "simulated", start="9s", stop="18s")
    rows = verdict().rows
    expected = rows[(rows["time"] >= 9) & (rows["time"] < 18)]
    np.testing.assert_array_equal(found.rows["frame"], expected["frame"])
    np.testing.assert_allclose(found.rows["probabilities"], expected["probabilities"], atol=1e-5)


def test_evidence_is_surest_and_least_sure_at_most_one_of_an_event() -> None:
    found, rows = verdict(), verdict().rows
    kinds = {kind: [item for item in found.evidence if item.kind == kind] for kind in ("surely high", "least certain")}
    sure = kinds["surely high"]
    assert 3 <= len(sure) <= 6
    assert len({rows["event"][item.row] for item in sure}) == len(sure)
    assert sure[0].probability == rows["probabilities"][:, 0].max()
    assert kinds["least certain"][0].probability == rows["probabilities"].max(1).min()
    for item in found.evidence:
        assert (item.frame, item.time) == (rows["frame"][item.row], rows["time"][item.row])
        assert image_size(item.encoded) == (rows["width"][item.row], rows["height"][item.row])


def test_settings_say_what_it_was_made_with() -> None:
    settings: Any = verdict().settings
    assert settings["video"]["digest"].startswith("sha256:")
    assert len(settings["model"]["digest"]) == len(settings["code"]) == 64
    assert settings["model"]["split"]["name"] == "grouped"
    assert settings["detector"]["id"] == "frame-difference"
    assert settings["rules"]["expected"] == "high"
    assert settings["simulated"]
    assert verdict().simulated


def test_a_foreign_recording_gets_no_verdict() -> None:
    """Sparks of an angle grinder are nothing that the model has seen."""
    found = sp.predict(existing("grinder_640x360.mp4"), "simulated", gap=2.0)
    assert found.layers
    assert {span.state for span in found.layers} == {"no verdict"}
    assert (len(found.layers), found.summary["text"]) == (1, "no verdict on the one layer")
    assert (found.summary["far"] or 0) > 0.25


def test_a_model_without_a_record_says_not_checked(tmp_path: Path) -> None:
    found = sp.predict(build(), sp.load_model(weights(tmp_path), classes=("low", "high")), stop="6s")
    assert found.summary["familiarity"] == "not checked"
    assert found.summary["far"] is None
    assert {span.state for span in found.layers} == {"attention"}
    assert {span.probability for span in found.layers} == {0.5}


def test_a_video_without_spatter_has_no_verdict_and_does_not_fail(tmp_path: Path) -> None:
    np.save(tmp_path / "dark.npy", np.zeros((30, 96, 128, 3), np.uint8))
    outs = [tmp_path / f"dark.{kind}" for kind in ("html", "json", "csv", "parquet")]
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    found = sp.predict(tmp_path / "dark.npy", "simulated", outs, expected="high")
    assert (found.layers, len(found.rows), found.evidence) == ((), 0, ())
    assert found.summary["state"] == "no verdict"
    assert found.windows[0].reason == "no spatter was seen"
    assert all(path.stat().st_size for path in outs)


def test_a_store_without_rows_has_no_verdict(tmp_path: Path) -> None:
    create_store(tmp_path / "empty.h5").close()
    assert sp.predict(tmp_path / "empty.h5", "simulated").summary["state"] == "no verdict"


class TestWithoutTimes:
    """Files of the research system: what can be said without times is said, with its limits, and nothing else."""

    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        """120 crops, every fourth stretch of ten of the other kind; rows 7 and 8 empty."""
        kinds = ["low" if row // 10 % 4 else "high" for row in range(120)]
        crops = [b"" if row in (7, 8) else crop(kind, row) for row, kind in enumerate(kinds)]
        with h5py.File(tmp_path / "day1.h5", "w") as h5:
            h5["day1_0"] = np.array(crops, "S")
        return tmp_path / "day1.h5"

    def test_the_share_of_each_class_is_said_with_an_interval_and_no_layer(self, old: Path, tmp_path: Path) -> None:
        found = sp.predict(old, "simulated", expected="high")
        best = found.rows["probabilities"].argmax(1)[np.isfinite(found.rows["probabilities"]).all(axis=1)]
        assert (found.layers, found.windows, found.summary["label"]) == ((), (), None)
        assert found.summary["state"] == "no verdict"
        assert sum(item["crops"] for item in found.summary["shares"]) == len(best) == 118
        for item in found.summary["shares"]:
            share = float((best == found.classes.index(item["label"])).mean())
            assert item["share"] == share
            assert (item["low"] or 1) < share < (item["high"] or 0)
            assert (
                f"{share:.1%} look {item['label']} (95 %: {item['low']:.1%} to {item['high']:.1%})"
                in found.summary["text"]
            )
        assert found.summary["text"].startswith("no verdict per layer, because the file has no times; of 118 crops ")
        assert "2 more have no vote, being dark, damaged or empty" in found.summary["text"]
        assert "look unlike those that the model learned from, so this says little" in found.summary["text"]

    def test_evidence_is_more_than_one_crop_of_each_kind(self, old: Path) -> None:
        found = sp.predict(old, "simulated", crops=4)
        assert [sum(item.kind == kind for item in found.evidence) for kind in ("surely low", "least certain")] == [4, 4]

    def test_terminal_page_and_json_say_it_and_can_be_verified(
        self, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page, data = tmp_path / "v.html", tmp_path / "v.json"
        arguments = ["predict", str(old), "--model", "simulated", "-o", str(page), "-o", str(data)]
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["class", "crops", "share", "95", "%"]
        assert "no verdict per layer, because the file has no times" in lines[3]
        facts, text = json.loads(data.read_text()), page.read_text()
        assert facts["summary"]["shares"][0]["crops"] == int(lines[1].split()[1])
        assert "<h2>Shares of the classes</h2>" in text
        assert "The file has no times, so there are no layers" in text
        assert not any(f"<h2>{title}" in text for title in ("Timeline", "Layers", "Windows"))
        for path in (page, data):
            assert main(["verify", str(path)]) == 0
            assert "holds: the shares of its classes computed again" in capsys.readouterr().out
        share = f"{facts['summary']['shares'][0]['share']:.1%}</td>"
        assert share in text
        page.write_text(text.replace(share, "99.9%</td>"))
        facts["summary"]["shares"][0]["crops"] += 1
        data.write_text(json.dumps(facts))
        fault = "the page shows something else under 'Shares of the classes' than its JSON says"
        for path, said in ((page, fault), (data, "the shares of the classes were")):
            assert main(["verify", str(path)]) == 4
            assert said in capsys.readouterr().err

    def test_a_converted_file_says_the_same(self, old: Path, tmp_path: Path) -> None:
        sp.convert(old, tmp_path / "day1.zarr")
        assert (
            sp.predict(tmp_path / "day1.zarr", "simulated").summary["shares"]
            == sp.predict(old, "simulated").summary["shares"]
        )

    def test_frame_numbers_alone_are_no_times(self, old: Path, tmp_path: Path) -> None:
        old.with_name("day1_spatter_at_frame.csv").write_text(
            "frame,spatter\n" + "".join(f"{n},1\n" for n in range(120))
        )
        found = sp.predict(old, "simulated", tmp_path / "v.html")
        assert "because the file has no times" in found.summary["text"]
        assert (found.summary["frames"], found.layers) == (120, ())

    def test_crops_that_are_all_black_have_no_share(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "day1.h5", "w") as h5:
            h5["day1_0"] = np.array([encode(np.full((60, 80, 3), 9, np.uint8))] * 40, "S")
        found = sp.predict(tmp_path / "day1.h5", "simulated", [tmp_path / "v.html", tmp_path / "v.json"])
        assert found.summary["shares"] == []
        assert found.summary["text"] == "no verdict: the file has no times, and none of its 40 crops has a vote"


def test_dark_and_damaged_crops_have_no_vote(tmp_path: Path) -> None:
    table = np.zeros(4, sp.DETECTION)
    table["frame"], table["time"] = np.arange(4) * 50, np.arange(4) * 2.0
    dark = encode(np.full((60, 80, 3), 10, np.uint8))
    with create_store(tmp_path / "odd.h5") as store:
        store.append(table, [crop("low", 1), dark, b"\xff\xd8\xff broken", crop("high", 2)])
    found = sp.predict(tmp_path / "odd.h5", "simulated")
    assert np.isnan(found.rows["probabilities"]).all(axis=1).tolist() == [False, True, True, False]
    assert found.summary["without_vote"] == 2
    assert sum(span.votes for span in found.layers) == 2


def test_an_unfinished_store_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    create_store(tmp_path / "half.h5", attrs={"complete": False, "state": "interrupted"}).close()
    with caplog.at_level(logging.WARNING, "spatterlib"):
        sp.predict(tmp_path / "half.h5", "simulated")
    assert "is not complete (interrupted)" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"expected": "hihg"}, ParameterError, "'hihg' cannot be expected; did you mean 'high'"),
        ({"model": "nowhere"}, MissingFileError, "no model at nowhere"),
        ({"window": 0}, ParameterError, "window must be 1 s or longer, got 0"),
        ({"gap": -1}, ParameterError, "gap must be"),
        ({"workers": 0}, ParameterError, "workers must be a whole number of 1 or more, got 0"),
        ({"crops": -1}, ParameterError, "crops must be 0 or more, got -1"),
        (
            {"out": "verdict.pdf"},
            ParameterError,
            "a verdict is saved as .html, .json, .csv, .parquet, got 'verdict.pdf'",
        ),
        ({"out": "nowhere/verdict.html"}, StoreError, "there is no folder"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        sp.predict(build(), **{"model": "simulated", **options})
    assert "\n" not in str(caught.value)


def test_an_unfinished_model_is_refused(tmp_path: Path) -> None:
    facts = {"format": 1, "created": "", "classifier": {"id": "lenet5"}, "state": "running"}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    with pytest.raises(StoreError, match="holds a training that is not finished"):
        sp.predict(build(), tmp_path)


def test_options_of_extraction_do_not_suit_a_store(tmp_path: Path) -> None:
    create_store(tmp_path / "a.h5").close()
    for option in (
        {"start": 5},
        {"roi": (0, 0, 9, 9)},
        {"filters": ["area"]},
        {"detector": {"id": "frame-difference"}},
    ):
        with pytest.raises(ParameterError, match=r"belongs to extraction, and .* is a store"):
            sp.predict(tmp_path / "a.h5", "simulated", **option)
    with pytest.raises(ParameterError, match="is a store already; leave out store="):
        sp.predict(tmp_path / "a.h5", "simulated", store=tmp_path / "b.h5")


def test_a_video_of_which_nothing_decodes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>not a video</html>")
    with pytest.raises(VideoError):
        sp.predict(tmp_path / "page.mp4", "simulated")


def test_nothing_is_replaced_unasked_and_the_work_not_begun(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        sp.predict("no video at all", "simulated", tmp_path / "v.json")
    assert (tmp_path / "v.json").read_text() == "mine"


def test_json_is_whole_and_plain(tmp_path: Path) -> None:
    verdict().save(tmp_path / "v.json")
    found = json.loads((tmp_path / "v.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found == verdict().to_dict()
    assert len(found["rows"]["frame"]) == len(verdict().rows)
    assert found["layers"][0]["label"] == "low"
    assert found["simulated"] is True


def test_csv_has_a_line_per_row(tmp_path: Path) -> None:
    verdict().save(tmp_path / "v.csv")
    with (tmp_path / "v.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(verdict().rows)
    assert float(lines[3]["probability_low"]) == verdict().rows["probabilities"][3, 1]
    assert int(lines[3]["event"]) == verdict().rows["event"][3]


def test_parquet_has_the_rows_and_the_facts(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    verdict().save(tmp_path / "v.parquet")
    found = parquet.read_table(tmp_path / "v.parquet")
    np.testing.assert_array_equal(found["probability_high"].to_numpy(), verdict().rows["probabilities"][:, 0])
    assert json.loads(found.schema.metadata[b"spatterlib"])["layers"][0]["label"] == "low"


def test_without_pyarrow_it_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PluginError, match=r"needs pyarrow, which is not installed; install it with: .*\[parquet\]"):
        sp.predict("no video at all", "simulated", tmp_path / "v.parquet")


@pytest.mark.parametrize("stored", [False, True], ids=["video", "store"])
def test_a_verdict_does_not_depend_on_who_works(stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatterlib.extraction.pipeline._PART", 100)
    source = build()
    if stored:
        source = tmp_path / "build.zarr"
        sp.extract(build(), source)
    here, there = (sp.predict(source, "simulated", executor=executor) for executor in (None, Twice()))
    assert there.rows.tobytes() == here.rows.tobytes()
    assert (there.layers, there.windows, there.evidence) == (here.layers, here.windows, here.evidence)


def test_memory_keeps_rows_and_a_few_crops_only() -> None:
    from spatterlib.extraction.settings import ExtractionSettings
    from spatterlib.verdicts.scoring import score_crops

    found, _ = score_crops(build(), sp.load_model("simulated"), ExtractionSettings(), keep=8)
    assert len(found.evidence) <= 3 * 8
    assert len(found.table) > 500


def test_the_command_shows_a_table_and_writes_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = [tmp_path / "v.html", tmp_path / "v.csv"]
    arguments = ["predict", str(build()), "--model", "simulated", "--expected", "high"]
    assert main([*arguments, *(word for path in reports for word in ("-o", str(path)))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["layer", "from", "s"]
    assert "critical" in lines[1]
    assert any("changes from low to high in layer 3" in line and "(simulated recording; " in line for line in lines)
    assert any("of crops right in its grouped split by recording" in line for line in lines)
    assert all(path.stat().st_size for path in reports)


def test_the_command_takes_the_options_of_the_detector(tmp_path: Path) -> None:
    out = tmp_path / "v.json"
    arguments = ["predict", str(build()), "--model", "simulated", "--stop", "8s", "-o", str(out)]
    assert main([*arguments, "--threshold", "60", "--min-area", "3000", "--min-votes", "4"]) == 0
    settings = json.loads(out.read_text())["settings"]
    assert settings["detector"]["threshold"] == 60
    assert settings["filters"][0]["min_area"] == 3000
    assert settings["rules"]["min_votes"] == 4
    assert settings["stop"] == 200


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(build()), "--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: no finished run in")


def test_rules_can_be_given_whole() -> None:
    found = sp.predict(build(), "simulated", stop="8s", rules=Rules(min_votes=50, expected="low"))
    assert found.layers[0].reason.endswith("of the 50 votes that are needed")
    assert found.settings["rules"]["expected"] == "low"


def test_kernels_of_the_second_pass_are_told_of_and_its_frames_are_not_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, heard = Run.scores, list[Progress]()

    def score(self: Run, images: Any) -> Any:
        compile_progress.begin(["kernel"])
        compile_progress.end()
        return scores(self, images)

    monkeypatch.setattr(Run, "scores", score)
    sp.predict(build(), "simulated", store=tmp_path / "rows.h5", progress=heard.append)
    counted = [state.done for state in heard if not state.preparing]
    assert counted == sorted(set(counted))
    assert heard[-1].preparing


def test_the_digest_of_the_code_is_that_of_all_python_files_of_the_package() -> None:
    house, digest = Path(sp.__file__).parent, hashlib.sha256()
    for file in sorted(house.rglob("*.py")):
        digest.update(file.relative_to(house).as_posix().encode() + b"\0" + file.read_bytes())
    assert code_digest() == digest.hexdigest()
