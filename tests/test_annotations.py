"""Boxes that people drew: every format gives back what was written, other tools read it, odd files are refused."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spatterlib as sp
from spatterlib.annotations.formats import READERS, WRITERS, format_of
from spatterlib.annotations.record import Annotations
from spatterlib.common.image_codec import encode
from spatterlib.errors import MissingFileError, ParameterError

SIZE = (640, 360)
BOXES = [(3, 10, 20, 30, 40), (7, 0, 0, 5, 6), (7, 600, 300, 40, 60)]
NAMES = {"coco": "a.json", "yolo": "a", "voc": "a", "cvat": "a.xml", "label-studio": "a.json", "csv": "a.csv"}


def marked(**more: Any) -> Annotations:
    """Three boxes in two frames, and a frame in which nothing is."""
    return Annotations.of([3, 7, 12], BOXES, ["spatter", "spatter", "lamp"], size=SIZE, recording="build_2", **more)


def written(folder: Path, form: str, annotations: Annotations) -> Path:
    path = folder / NAMES[form]
    sp.write_annotations(annotations, path, form)
    if form == "yolo":  # sizes come from the images
        (path / "images").mkdir(exist_ok=True)
        for text in (path / "labels").glob("*.txt"):
            (path / "images" / f"{text.stem}.png").write_bytes(encode(np.zeros((*SIZE[::-1], 3), np.uint8), "png"))
    return path


def same(found: Annotations, expected: Annotations) -> None:
    names = ["frame", "x", "y", "width", "height", "area"]
    assert found.frames.tolist() == expected.frames.tolist()
    assert found.table[names].tolist() == expected.table[names].tolist()
    assert found.labels == expected.labels


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_is_read(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, form, marked())
    found = sp.read_annotations(path)
    same(found, marked())
    assert format_of(path) == form
    assert form == "csv" or (found.size, found.recording) == (SIZE, "build_2")


boxes = st.tuples(st.integers(0, 9), st.integers(0, 600), st.integers(0, 340), st.integers(1, 40), st.integers(1, 20))


@pytest.mark.parametrize("form", sorted(set(WRITERS) - {"yolo"}))
@settings(max_examples=25, deadline=None)
@given(frames=st.sets(st.integers(0, 10**6), min_size=1), rows=st.lists(boxes, max_size=6))
def test_any_boxes_come_back(
    tmp_path_factory: pytest.TempPathFactory, form: str, frames: set[int], rows: list[tuple[int, ...]]
) -> None:
    expected = Annotations.of(frames, rows, size=SIZE)
    same(sp.read_annotations(written(tmp_path_factory.mktemp("any"), form, expected)), expected)


def test_pycocotools_reads_coco(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    path = written(tmp_path, "coco", marked())
    with contextlib.redirect_stdout(io.StringIO()):
        found = coco.COCO(str(path))
    by_image = {image["file_name"]: found.loadAnns(found.getAnnIds(image["id"])) for image in found.imgs.values()}
    assert {name: [item["bbox"] for item in items] for name, items in by_image.items()} == {
        "build_2_frame_000003.png": [[10, 20, 30, 40]],
        "build_2_frame_000007.png": [[0, 0, 5, 6], [600, 300, 40, 60]],
        "build_2_frame_000012.png": [],
    }
    assert [item["name"] for item in found.loadCats(found.getCatIds())] == ["lamp", "spatter"]


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    path = written(tmp_path, "voc", marked())
    box = ET.parse(path / "build_2_frame_000007.xml").find("object/bndbox")
    assert box is not None
    assert [box.findtext(edge) for edge in ("xmin", "ymin", "xmax", "ymax")] == ["1", "1", "5", "6"]


def test_yolo_lines_are_middle_and_size_as_shares(tmp_path: Path) -> None:
    path = written(tmp_path, "yolo", Annotations.of([], [(1, 160, 90, 320, 180)], size=SIZE))
    assert (path / "labels" / "recording_frame_000001.txt").read_text().split() == ["0", *["0.50000000"] * 4]


def test_cvat_video_frames_that_were_looked_at_follow_the_task(tmp_path: Path) -> None:
    path = tmp_path / "video.xml"
    path.write_text(
        "<annotations><meta><task><start_frame>10</start_frame><stop_frame>30</stop_frame>"
        "<frame_filter>step=10</frame_filter></task></meta><track id='0' label='spatter'>"
        "<box frame='10' outside='0' xtl='1.0' ytl='2' xbr='11' ybr='12'/>"
        "<box frame='20' outside='1' xtl='1' ytl='2' xbr='11' ybr='12'/></track></annotations>"
    )
    same(sp.read_annotations(path), Annotations.of([10, 20, 30], [(10, 1, 2, 10, 10)]))


def test_label_studio_tasks_without_an_annotation_were_not_looked_at(tmp_path: Path) -> None:
    from spatterlib.annotations import label_studio

    label_studio.write(marked(), tmp_path / "a.json", proposed=True)
    tasks = json.loads((tmp_path / "a.json").read_text())
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [1, 2, 0]
    assert len(sp.read_annotations(tmp_path / "a.json").frames) == 0
    tasks[2]["annotations"] = [{"result": [], "was_cancelled": False}]
    tasks[1]["annotations"] = [{"result": [], "was_cancelled": True}]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    assert sp.read_annotations(tmp_path / "a.json").frames.tolist() == [12]


def test_ai_hub_has_its_box_under_anotation(tmp_path: Path) -> None:
    for frame, box in ((4, [1, 2, 30, 40]), (5, {"x": 1, "y": 2, "width": 3, "height": 4})):
        (tmp_path / f"layer_{frame}.json").write_text(json.dumps({"anotation": {"bbox": box}}))
    (tmp_path / "layer_6.json").write_text(json.dumps({"anotation": [{"bbox": [[9, 9, 2, 2], [20, 9, 2, 2]]}]}))
    expected = [(4, 1, 2, 30, 40), (5, 1, 2, 3, 4), (6, 9, 9, 2, 2), (6, 20, 9, 2, 2)]
    same(sp.read_annotations(tmp_path), Annotations.of([], expected))


def coco(**changes: Any) -> str:
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "f_1.png", "width": 640, "height": 360}],
        "categories": [{"id": 1, "name": "spatter"}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    return json.dumps(content | changes)


def box(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]} | changes]


CVAT = "<annotations><image id='0' name='f_1.png' width='640' height='360'>{}</image></annotations>"
TASK = {"data": {"image": "f_1.png"}, "annotations": [{"result": []}]}
VALUE = {"type": "rectanglelabels", "original_width": 640, "original_height": 360}
ODD: dict[str, tuple[str, Any, str]] = {
    "no JSON": ("a.json", "{", "expected annotations in one of the formats"),
    "another JSON": ("a.json", '{"x": 1}', "got JSON with x"),
    "a number": ("a.json", "3", "got JSON with int"),
    "another suffix": ("a.xyz", "", "ends in .xyz"),
    "no UTF-8": ("a.json", b"\xff\xfe{", "no UTF-8"),
    "a box of three": ("a.json", coco(annotations=box(bbox=[1, 2, 3])), "annotation 5: expected bbox = "),
    "a box of text": ("a.json", coco(annotations=box(bbox=[1, 2, "x", 4])), "expected a number for bbox, got 'x'"),
    "an empty box": ("a.json", coco(annotations=box(bbox=[1, 2, 0, 4])), "expected a box of some width"),
    "NaN": ("a.json", coco(annotations=box(bbox=[1, float("nan"), 3, 4])), "expected a number for bbox, got nan"),
    "outside": ("a.json", coco(annotations=box(bbox=[630, 2, 30, 4])), "inside the image of 640x360 px"),
    "a crowd": ("a.json", coco(annotations=box(iscrowd=1)), "got a crowd"),
    "no such image": ("a.json", coco(annotations=box(image_id=9)), "got one of image 9"),
    "a name without a number": ("a.json", coco(images=[{"id": 1, "file_name": "f.png"}]), "expected a frame number"),
    "a frame twice": (
        "a.json",
        coco(images=[{"id": 1, "file_name": "f_1.png"}, {"id": 2, "file_name": "g_1.png"}]),
        "got frame 1 twice",
    ),
    "two recordings": (
        "a.json",
        coco(images=[{"id": 1, "file_name": "a_frame_1.png"}, {"id": 2, "file_name": "b_frame_2.png"}]),
        "expected frames of one recording, got 'a' and 'b'",
    ),
    "no XML": ("a.xml", "<annotations>", "no XML"),
    "another XML": ("a.xml", "<svg/>", "got <svg>"),
    "entities": ("a.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "declares entities"),
    "a polygon": ("a.xml", CVAT.format("<polygon label='x' points='1,2'/>"), "got a <polygon>"),
    "an edge without": ("a.xml", CVAT.format("<box label='x' xtl='1' ytl='2' xbr='3'/>"), "for ybr, got None"),
    "turned": (
        "a.xml",
        CVAT.format("<box rotation='9' xtl='1' ytl='2' xbr='3' ybr='4'/>"),
        "got one turned by 9 degrees",
    ),
    "no box": ("a.xml", "<annotation><object><name>s</name></object></annotation>", "expected <bndbox>"),
    "a task without data": ("a.json", "[{}]", "expected an object with 'data'"),
    "two annotators": ("a.json", json.dumps([TASK | {"annotations": [{"result": []}] * 2}]), "got 2"),
    "a keypoint": (
        "a.json",
        json.dumps([TASK | {"annotations": [{"result": [VALUE | {"type": "keypointlabels"}]}]}]),
        "got 'keypointlabels'",
    ),
    "no value": ("a.json", json.dumps([TASK | {"annotations": [{"result": [VALUE]}]}]), "'value'"),
    "columns": ("a.csv", "a,b\n1,2\n", "got no column frame, x, y, width, height; there are a, b"),
    "half a frame": ("a.csv", "frame,x,y,width,height\n1.5,1,2,3,4\n", "line 2: expected a whole number"),
    "half a box": ("a.csv", "frame,x,y,width,height\n1,1,2,,4\n", "line 2: expected a number for width, got ''"),
    "no anotation.bbox": ("a.json", '{"anotation": {}}', "expected an object with 'bbox'"),
    "a strange bbox": ("a.json", '{"anotation": {"bbox": [1]}}', "expected anotation.bbox = "),
    "YOLO without images": ("y/f_1.txt", "0 0.5 0.5 0.1 0.1\n", "expected the image beside its text file"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_refused_in_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    file, content, message = ODD[name]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ParameterError) as refused:
        sp.read_annotations(path if path.parent == tmp_path else path.parent)
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("line", ["0 0.5", "0 2 2 0.1 0.1", "x 0.5 0.5 0.1 0.1"])
def test_an_odd_line_of_yolo_is_refused(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, "yolo", marked())
    (path / "labels" / "build_2_frame_000007.txt").write_text(f"\n{line}\n")
    with pytest.raises(ParameterError, match="line 2: expected"):
        sp.read_annotations(path)


@pytest.mark.parametrize(
    ("names", "label"),
    [("names: [a, 'b']", "b"), ("names:\n  0: a\n  1: b", "b"), ("names:\n- a\n- b", "b"), ("nc: 2", "1")],
)
def test_yolo_takes_names_of_classes_as_people_write_them(tmp_path: Path, names: str, label: str) -> None:
    path = written(tmp_path, "yolo", Annotations.of([], [(1, 1, 1, 8, 8)], size=SIZE))
    (path / "data.yaml").write_text(f"path: .\n{names}\nother: 3\n")
    text = next((path / "labels").iterdir())
    text.write_text(text.read_text().replace("0 ", "1 ", 1))
    assert sp.read_annotations(path).labels == (label,)


@pytest.mark.parametrize("form", READERS)
def test_nothing_there_is_said(tmp_path: Path, form: str) -> None:
    with pytest.raises(MissingFileError):
        sp.read_annotations(tmp_path / "nowhere", form)


@pytest.mark.parametrize("call", [sp.read_annotations, lambda path, form: sp.write_annotations(marked(), path, form)])
def test_a_format_that_nobody_knows_is_refused(tmp_path: Path, call: Callable[[Path, str], Any]) -> None:
    with pytest.raises(ParameterError, match="format must be one of coco, yolo"):
        call(tmp_path / "a", "pascal")


@pytest.mark.parametrize("form", ["yolo", "label-studio"])
def test_shares_of_a_frame_need_its_size(tmp_path: Path, form: str) -> None:
    with pytest.raises(ParameterError, match="know the size of a frame"):
        sp.write_annotations(Annotations.of([1], []), tmp_path / "a", form)
