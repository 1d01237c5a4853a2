"""Names that nobody should choose, and that files have: every command takes them, every page and picture shows them."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

import spatterlib as sp
from spatterlib.cli.main import main

NAMES = {
    "not UTF-8": b"layer\xff\xfe.mp4",
    "another alphabet": "溶接 Schicht ü.mp4".encode(),
    "a line break": b"two\nlines.mp4",
    "commands to a terminal": b"\x1b[2Jred\x1b[31m.mp4",
    "a protocol": b"layer 1:30.mp4",
    "a pattern": b"build[1]*?.mp4",
    "a format": b"frame%03d%s.mp4",
    "mathematics": b"a$b_{$^.mp4",
    "markup": b"<b onclick=x>&amp;\"'.mp4",
    "a label": b"x=low,y;z#q?.mp4",
    "255 bytes": b"n" * 251 + b".mp4",
}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")


@cache
def build() -> Path:
    path = Path(mkdtemp(prefix="spatterlib-names-")) / "build.mp4"
    sp.simulate(path, gas_flow="low", seconds=2, seed=3)
    return path


@pytest.fixture(params=list(NAMES.values()), ids=list(NAMES))
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / os.fsdecode(request.param)
    shutil.copy(build(), path)
    return path


def test_a_recording_of_any_name_is_shown_and_extracted_and_judged(
    video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "x.h5"
    assert main(["info", str(video)]) == 0
    assert main(["show", str(video), "-o", str(tmp_path / "frame.png"), "--frame", "20"]) == 0
    assert main(["extract", str(video), "-o", str(store), "--plot", str(tmp_path / "times.svg")]) == 0
    outs = [word for kind in ("html", "json", "csv") for word in ("-o", str(tmp_path / f"x.{kind}"))]
    assert main(["predict", str(video), "--model", "simulated", *outs]) == 0
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<b onclick" not in page
    assert "internal error" not in capfd.readouterr().err
    assert sp.verify(tmp_path / "x.json", source=video).holds


def test_a_store_of_any_name_is_converted_and_labelled_and_found_by_its_index(video: Path, tmp_path: Path) -> None:
    if len(os.fsencode(video.name)) == 255:
        pytest.skip("the journal beside a store has a longer name; such a store is refused")
    store, index = video.with_suffix(".h5"), tmp_path / "index.csv"
    sp.extract(video, store)
    assert main(["convert", str(store), str(video.with_suffix(".zarr"))]) == 0
    assert main(["show", str(video.with_suffix(".zarr")), "-o", str(tmp_path / "crops.png")]) == 0
    assert main(["label", str(store), "--all", "low", "--index", str(index)]) == 0
    assert [str(item.path) for item in sp.labels.read_index(index)] == [str(store)]


def test_a_store_whose_name_is_too_long_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("n" * 252 + ".h5")
    assert main(["extract", str(build()), "-o", str(out)]) == 1
    assert main(["show", str(build()), "-o", str(tmp_path / ("n" * 260 + ".png"))]) == 1
    told = capfd.readouterr().err.splitlines()
    assert all("File name too long" in line for line in told if line.startswith("error"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "show", "extract", "predict", "convert", "label"])
@pytest.mark.parametrize("name", ["pipe.mp4", "pipe.h5", "pipe.zarr"])
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path, name: str, command: str) -> None:
    os.mkfifo(tmp_path / name)
    further = {"extract": ["-o", "x.h5"], "predict": ["--model", "simulated"], "convert": [str(tmp_path / "x.zarr")]}
    assert main([command, str(tmp_path / name), *further.get(command, [])]) == 1


def test_a_table_of_labels_that_is_no_utf_8_is_refused_though_its_file_names_may_be_anything(tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    index.write_bytes("file,dataset,ds_idx,label\nx.h5,x,0,groß\n".encode("cp1252"))
    with pytest.raises(sp.errors.ParameterError, match="save it as CSV UTF-8"):
        sp.labels.read_index(index)
