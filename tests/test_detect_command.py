"""`spatterlib detect`: the rows of `extract`, without a store."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from terminals import without_progress
from test_cli import refused, spatterlib
from test_extraction import flashes, write_video

import spatterlib as sp
from spatterlib.cli.main import main

NAMES = list(sp.DETECTION.names or ())


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detect") / "a.mp4"
    write_video(path, flashes(120), gop=30)
    return path


@pytest.mark.parametrize(
    "options",
    [[], ["--limit", "5"], ["--start", "20", "--stop", "90"], ["--original"], ["--filter", "none", "--workers", "2"],
     ["--left", "40", "--min-area", "10"], ["--original", "--start", "31"]],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_are_those_that_extract_stores(video: Path, tmp_path: Path, options: list[str], suffix: str) -> None:
    assert main(["extract", str(video), "-o", str(tmp_path / "a.h5"), *options]) == 0
    assert main(["detect", str(video), "-o", str(tmp_path / f"a{suffix}"), *options]) == 0
    text = (tmp_path / f"a{suffix}").read_text()
    if suffix == ".csv":
        header, *lines = csv.reader(text.splitlines())
        assert header == NAMES
    else:
        rows = [json.loads(line) for line in text.splitlines()]
        assert all(list(row) == NAMES for row in rows)
        lines = [[str(value) for value in row.values()] for row in rows]
    found = np.array([tuple(map(float, line)) for line in lines]).reshape(-1, len(NAMES))
    with sp.open_store(tmp_path / "a.h5") as store:
        assert len(store.table) == len(found) > 0
        for number, name in enumerate(NAMES):
            np.testing.assert_array_equal(found[:, number].astype(sp.DETECTION[name]), store.table[name])


def test_rows_go_to_stdout_and_what_was_found_to_stderr_and_nothing_is_stored(video: Path, tmp_path: Path) -> None:
    done = spatterlib("detect", video, cwd=tmp_path)
    assert done.returncode == 0, done
    header, *rows = done.stdout.splitlines()
    assert header == ",".join(NAMES)
    assert f"120 of 120 frames; {len(rows)} detections in {len(rows)} frames; nothing was stored" in done.stderr
    assert list(tmp_path.iterdir()) == []
    first = spatterlib("detect", video, "--format", "jsonl", "--limit", "1")
    assert json.loads(first.stdout)["frame"] == int(rows[0].split(",")[0])
    assert "1 detection in 1 frame;" in first.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", flashes(2000, every=2))
    command = f"{sys.executable} -m spatterlib detect {tmp_path / 'long.npy'} --min-area 1 | head -n 2"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert len(done.stdout.splitlines()) == 2
    assert without_progress(done.stderr) == []


def test_a_file_is_whole_or_not_there(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    assert main(["detect", str(video), "-o", str(out)]) == 0
    assert "exists already; add --overwrite to replace it" in refused(spatterlib("detect", video, "-o", out))
    assert main(["detect", str(video), "-o", str(out), "--overwrite"]) == 0
    (tmp_path / "broken.npy").write_text("no stack")
    assert main(["detect", str(tmp_path / "broken.npy"), "-o", str(tmp_path / "b.csv")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.npy", "rows.csv"]


def test_another_suffix_is_refused_with_those_that_there_are(video: Path, tmp_path: Path) -> None:
    done = spatterlib("detect", video, "-o", tmp_path / "a.xlsx")
    assert (done.returncode, ".csv, .jsonl" in done.stderr) == (2, True)
    assert spatterlib("detect", video, "-o", tmp_path / "a.csv", "--format", "jsonl").returncode == 2


def test_a_time_that_is_not_known_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from spatterlib.cli.detect import _writer

    table = np.zeros(1, sp.DETECTION)
    table["time"] = np.nan
    _writer(sys.stdout, "jsonl")(table)
    assert json.loads(capsys.readouterr().out)["time"] is None


def test_who_looks_for_a_dry_run_finds_it(video: Path) -> None:
    done = spatterlib("extract", video, "--dry-run")
    assert done.returncode == 2
    assert "spatterlib detect VIDEO" in done.stderr
