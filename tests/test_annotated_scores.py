"""How good detections are against drawn boxes; which frames are worth drawing in; the commands for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spatterlib as sp
from spatterlib.annotations.record import Annotations
from spatterlib.cli import main
from spatterlib.detection.accuracy import Accuracy, marks_of, ratio
from spatterlib.errors import ParameterError
from spatterlib.types import Detections

Box = tuple[int, int, int, int, int]


def found(*boxes: Box, peak: list[int] | None = None) -> Detections:
    table = Annotations.of([], boxes).table
    table["peak"] = [200] * len(boxes) if peak is None else peak
    return table


def score(boxes: list[Box], marks: list[Box], frames: list[int] | range, **more: Any) -> Accuracy:
    return sp.score_annotations(found(*boxes, peak=more.pop("peak", None)), Annotations.of(frames, marks), **more)


def test_only_frames_that_were_looked_at_count() -> None:
    box: Box = (3, 0, 0, 10, 10)
    accuracy = score([box, (4, 0, 0, 10, 10), (9, 0, 0, 10, 10)], [box], [3, 4])
    assert (accuracy.found, accuracy.marks, accuracy.precision.value, accuracy.recall.value) == (2, 1, 0.5, 1)


def test_iou_is_a_half_or_more_and_one_box_finds_one_mark() -> None:
    mark: Box = (0, 0, 0, 10, 10)
    assert score([(0, 0, 0, 10, 20)], [mark], [0]).f1.value == 1
    assert score([(0, 0, 0, 10, 21)], [mark], [0]).f1.value == 0
    assert score([mark, (0, 1, 0, 10, 10)], [mark], [0]).precision.value == 0.5


def test_by_distance_the_middles_count_whatever_the_boxes() -> None:
    accuracy = score([(0, 0, 0, 100, 100)], [(0, 48, 45, 10, 10)], [0], by="distance", limit=3.5)
    assert accuracy.f1.value == 1
    assert score([(0, 0, 0, 100, 100)], [(0, 50, 45, 10, 10)], [0], by="distance", limit=3.5).f1.value == 0


def test_average_precision_by_hand() -> None:
    # Falling sureness: right, false, right; a third mark is missed. AP = 1/3 * 1 + 1/3 * 2/3.
    marks: list[Box] = [(0, 0, 0, 10, 10), (1, 0, 0, 10, 10), (2, 0, 0, 10, 10)]
    boxes: list[Box] = [marks[0], (0, 50, 0, 10, 10), marks[1]]
    assert score(boxes, marks, [0, 1, 2], peak=[250, 200, 100]).average_precision.value == pytest.approx(5 / 9)
    assert score(marks, marks, [0, 1, 2]).average_precision.value == 1
    assert score([], marks, [0, 1, 2]).average_precision.value == 0


def test_what_need_not_be_found_is_neither_missed_nor_false() -> None:
    accuracy = score([(0, 0, 0, 5, 5)], [(0, 0, 0, 5, 5), (0, 50, 0, 50, 50)], [0], areas=(1000, 9000))
    assert (accuracy.marks, accuracy.recall.value) == (1, 0)
    assert np.isnan(accuracy.precision.value)


def test_intervals_are_by_recording_where_there_are_five() -> None:
    box: Box = (0, 0, 0, 10, 10)
    tables = [found(box)] * 4 + [found()]
    accuracy = sp.score_annotations(tables, [Annotations.of([0], [box])] * 5)
    assert accuracy.clusters == "5 recordings"
    assert accuracy.recall.low < accuracy.recall.value == 0.8 < accuracy.recall.high
    assert score([box], [box], range(40)).clusters == "10 stretches of time"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=9))
def test_an_interval_holds_its_share(counts: list[tuple[int, int]]) -> None:
    above, more = np.array(counts).T
    share = ratio(above, above + more)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # Ten clusters with a rate of their own each, around 0.7: 95 % of the intervals should hold it.
    draw = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        hits = draw.binomial(20, draw.beta(14, 6, 10))
        share = ratio(hits, np.full(10, 20))
        held += share.low <= 0.7 <= share.high
    assert 0.91 <= held / 400 <= 0.98


def test_the_worst_frames_come_first() -> None:
    marks: list[Box] = [(5, 0, 0, 9, 9), (5, 50, 0, 9, 9), (8, 0, 0, 9, 9)]
    assert score([(6, 0, 0, 9, 9)], marks, range(10)).worst == ((0, 5, 2, 0), (0, 6, 0, 1), (0, 8, 1, 0))


def test_recall_by_size_is_of_thirds() -> None:
    marks: list[Box] = [(n, 0, 0, 10 + n, 10) for n in range(30)]
    accuracy = score(marks[10:], marks, range(30))
    assert [(count, recall) for _, _, count, recall in accuracy.by_size] == [(10, 0.0), (10, 1.0), (10, 1.0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "area"}, "by must be"),
        ({"limit": 0}, "limit must be above 0 and at most 1, got 0"),
        ({"limit": 1.5}, "limit must be"),
        ({"by": "distance", "limit": float("inf")}, "limit must be a number of px"),
        ({"rank": "nobody"}, "rank must be a column of the table, frame"),
        ({"areas": (5, 1)}, "areas"),
    ],
)
def test_wrong_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        score([], [], [0], **options)


def test_a_truth_for_each_recording() -> None:
    with pytest.raises(ParameterError, match="got 1 recordings and 2 truths"):
        sp.score_annotations([found()], [Annotations.of([0], [])] * 2)
    with pytest.raises(ParameterError, match="at least one frame"):
        sp.score_annotations(found(), Annotations.of([], []))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("annotated") / "build.mkv"
    sp.simulate(path, seconds=4, seed=5, width=320, height=180, mm_per_px=0.8)
    sp.extract(path, path.with_suffix(".h5"), filters=[{"id": "area", "min_area": 300}, "black"])
    return path


def test_a_simulated_recording_is_scored_by_its_truth(recording: Path) -> None:
    with sp.open_store(recording.with_suffix(".h5")) as store:
        marks = marks_of(sp.simulation.Truth.load(recording), (400, 9000))
        accuracy = sp.score_annotations(store, marks, by="distance", limit=30)
    assert accuracy.frames == 100
    assert accuracy.recall.value > 0.5


@pytest.mark.parametrize("to", ["cvat", "label-studio", "coco", "yolo"])
def test_a_task_has_images_and_boxes_that_are_proposed(
    recording: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tmp_path / "task"
    options = ["--filter", "black", "--frames", "6", "--to", to, "--json"]
    assert main.main(["annotate", "export", str(recording), "-o", str(task), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    images = sorted(path.name for path in (task / "images").iterdir())
    assert told["frames"] == len(images) == 6
    assert all(name.startswith("build_frame_") for name in images)
    if to in ("cvat", "coco"):
        marked = sp.read_annotations(task / ("annotations.xml" if to == "cvat" else "annotations.json"))
        assert [f"build_frame_{frame:06d}.png" for frame in marked.frames] == images
        assert len(marked.table) == told["boxes"]
    assert main.main(["annotate", "export", str(recording), "-o", str(task)]) == 1


def test_frames_that_teach_are_doubtful_different_and_empty_ones(recording: Path) -> None:
    from spatterlib.extraction.settings import ExtractionSettings
    from spatterlib.tuning.frames import teaching_frames

    settings = ExtractionSettings(filters=[{"id": "area", "min_area": 300}, "black"])
    with sp.open_video(recording) as video:
        frames, table = teaching_frames(video, settings, range(100), 20)
        again, _ = teaching_frames(video, settings, range(100), 20)
        random, _ = teaching_frames(video, settings, range(100), 20, pick="random")
    assert frames.tolist() == again.tolist() == sorted(set(frames.tolist()))
    assert len(frames) == len(random) == 20
    lit = len(set(table["frame"].tolist()))
    assert 4 <= lit <= 16
    assert frames[-1] - frames[0] > 50


def test_score_says_how_good_a_store_is_and_draws_the_worst(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, labels = str(recording.with_suffix(".h5")), tmp_path / "labels.json"
    with sp.open_store(store) as opened:
        table = opened.table
    rows = [tuple(row) for row in table[["frame", "x", "y", "width", "height"]][:-3].tolist()]
    sp.write_annotations(Annotations.of(range(100), rows, size=(320, 180)), labels, "coco")
    pictures = ["--video", str(recording), "--pictures", str(tmp_path / "worst")]
    assert main.main(["score", store, "--truth", str(labels), *pictures, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    iou, distance = told["matchings"]
    assert iou["recall"][0] == distance["recall"][0] == 1
    assert iou["precision"][0] == pytest.approx(1 - 3 / len(table))
    assert told["pictures"]
    assert all(Path(path).is_file() for path in told["pictures"])
    assert main.main(["score", store, "--truth", str(recording)]) == 0
    assert "F1" in capsys.readouterr().out


def test_formats_are_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("frame,x,y,width,height\n1,2,3,4,5\n")
    call = ["annotate", "convert", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.xml"), "--to", "cvat"]
    assert main.main(call) == 0
    assert sp.read_annotations(tmp_path / "a.xml").table["height"].tolist() == [5]
    assert main.main(call) == 1
    assert "exists already" in capsys.readouterr().err
