"""The pause that separates layers is kept with a store, and whatever tells its layers apart goes by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_tools import KINDS
from test_extraction import flashes, write_video

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.detection.layers import gap_of
from spatterlib.errors import ParameterError

FPS = 25
# Flashes of 12 frames each, between them pauses of 3, 5 and 3 s.
BLOCKS = (0, 87, 224, 311)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "build.mp4"
    frames = flashes(325, every=3)
    for number in range(len(frames)):
        if not any(begin <= number < begin + 12 for begin in BLOCKS):
            frames[number] = 0
    write_video(path, frames, gop=60)
    return path


def told(*command: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main([str(part) for part in command]) == 0
    return json.loads(capsys.readouterr().out)


def extracted(*command: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    return told(*command, capsys=capsys)["videos"]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize(("gap", "layers"), [("30", 1), ("4", 2), ("1", 4), ("100 frames", 2), ("auto", 4)])
def test_info_predict_and_convert_say_as_extract_did(
    video: Path, tmp_path: Path, suffix: str, gap: str, layers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    store, copy = tmp_path / f"build{suffix}", tmp_path / "copy.h5"
    [row] = extracted("extract", video, "-o", store, "--gap", gap, "--json", capsys=capsys)
    sp.convert(store, copy)
    for path in (store, copy):
        facts = told("info", path, "--json", capsys=capsys)
        verdict = sp.predict(path, "simulated")
        assert (row["layers"], facts["layers"], len(verdict.layers)) == (layers, layers, layers)
        if gap != "auto":
            number = gap.removesuffix(" frames")
            assert facts["gap"].startswith(f"given: pauses over {number} ")
            assert verdict.summary["gap"] == facts["gap"]
        assert sp.score(sp.open_store(path), np.zeros(0, sp.simulation.EVENT_TRUTH)).layers_found == 0


def test_what_is_given_wins_over_what_is_kept(video: Path, tmp_path: Path) -> None:
    sp.extract(video, tmp_path / "s.h5", gap=30)
    assert len(sp.predict(tmp_path / "s.h5", "simulated").layers) == 1
    assert len(sp.predict(tmp_path / "s.h5", "simulated", gap=1).layers) == 4
    assert len(sp.predict(tmp_path / "s.h5", "simulated", gap="auto").layers) == 4
    verdict = sp.predict(video, "simulated", gap=30, store=tmp_path / "kept.zarr")
    assert (len(verdict.layers), sp.open_store(tmp_path / "kept.zarr").attrs["gap"]) == (1, 30)


def test_resuming_keeps_it_or_takes_another_one(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"

    def stop(progress: Any) -> None:
        if progress.done > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sp.extract(video, out, gap=30, progress=stop)
    assert sp.open_store(out).attrs["gap"] == 30
    assert sp.extract(video, out, resume=True).layers == 1
    assert sp.extract(video, out, resume=True).layers == 1
    rows = sp.open_store(out).table.tobytes()
    assert sp.extract(video, out, resume=True, gap=4).layers == 2
    assert sp.open_store(out).attrs["gap"] == 4
    assert sp.open_store(out).table.tobytes() == rows


def test_many_recordings_and_a_second_call(video: Path, tmp_path: Path) -> None:
    [first] = sp.extract_all([video], tmp_path / "out", gap=30)
    [again] = sp.extract_all([video], tmp_path / "out")
    assert first.report is not None
    assert again.report is not None
    assert (first.report.layers, again.state, again.report.layers) == (1, "there", 1)
    assert sp.open_store(first.out).attrs["gap"] == 30


def test_descriptors_of_layers_and_the_timeline_go_by_it(video: Path, tmp_path: Path) -> None:
    camera = sp.camera.Camera(frame_rate=FPS, exposure=0.036)
    for gap, layers in ((30, 1), (4, 2), ("auto", 4)):
        sp.extract(video, tmp_path / "s.h5", gap=gap, overwrite=True)
        rows, _ = sp.measurement.layer_rows(tmp_path / "s.h5", camera)
        assert len(rows) == layers


def test_original_waits_for_700_frames_whatever_their_rate(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 25 frames/s that is 28 s; in seconds another recording would get other layers."""
    [row] = extracted("extract", video, "-o", tmp_path / "s.h5", "--original", "--json", capsys=capsys)
    facts = told("info", tmp_path / "s.h5", "--json", capsys=capsys)
    assert sp.open_store(tmp_path / "s.h5").attrs["gap"] == "700 frames"
    assert (row["layers"], facts["layers"], facts["gap"]) == (1, 1, "given: pauses over 700 frames separate layers")
    sp.extract(video, tmp_path / "same.h5", **sp.ORIGINAL)
    assert sp.open_store(tmp_path / "same.h5").attrs["gap"] == "700 frames"
    [row] = extracted("extract", video, "-o", tmp_path / "o.h5", "--original", "--gap", "1", "--json", capsys=capsys)
    assert row["layers"] == 4
    assert [len(found) for _, found in sp.detect(video, **sp.ORIGINAL)]
    assert main(["forecast", str(video), "--original"]) == 0
    assert main(["config", "--original"]) == 0
    assert 'gap = "700 frames"' in capsys.readouterr().out


@given(st.lists(st.integers(0, 5000), max_size=30), st.integers(1, 1000), st.sampled_from([1.0, 25.0, 10_000.0]))
def test_layers_by_frames_do_not_depend_on_the_rate(frames: list[int], gap: int, rate: float) -> None:
    numbers = np.array(frames, np.int64)
    found = sp.layers(numbers / rate, f"{gap} frames", numbers)
    ordered = np.sort(numbers)
    assert len(found) == (1 + int((np.diff(ordered) > gap).sum()) if len(ordered) else 0)
    # As many frames without spatter lie between two layers, at least.
    for number in range(1, len(found)):
        assert numbers[found.number == number + 1].min() - numbers[found.number == number].max() - 1 >= gap


def test_gaps_that_will_not_do() -> None:
    for gap in (0, -1, "0 frames", "700 seconds", "often", float("nan")):
        with pytest.raises(ParameterError, match="gap must be"):
            sp.layers([], gap)
    with pytest.raises(ParameterError, match="needs the frame numbers"):
        sp.layers([0.0, 1.0], "700 frames")
    foreign: list[Any] = ["often", -3, None, {}, []]
    for own in foreign:
        assert gap_of({"gap": own}) == "auto"
