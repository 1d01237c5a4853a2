"""The main job: a recording in, a store out, every frame accounted for, nothing half-done that looks whole."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.common.image_codec import decode
from spatterlib.common.progress import Progress
from spatterlib.errors import (
    ContractError,
    OutputExistsError,
    SpatterlibError,
    StoreError,
    VideoError,
)
from spatterlib.extraction.pipeline import cut
from spatterlib.types import Picture, RgbPicture, Video

Frames = NDArray[np.uint8]


def flashes(count: int, every: int = 5, height: int = 160, width: int = 200) -> Frames:
    """Black frames; each `every`-th shows a warm square that wanders."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for number in range(every, count, every):
        left = 10 + 7 * number % (width - 100)
        frames[number, 40:110, left : left + 75] = (255, 220, 150)
    return frames


@dataclasses.dataclass
class Recording:
    """A video in memory, some of whose frames do not decode."""

    frames: Frames
    lost: tuple[int, ...] = ()
    fps: float = 25.0
    name: str = "recording"
    breaks_at: int | None = None

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    @property
    def times(self) -> NDArray[np.float64]:
        return np.arange(len(self.frames)) / self.fps

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        for number in range(start, stop):
            if number == self.breaks_at:
                raise VideoError(f"{self.name}: frame {number} is broken for good")
            yield None if number in self.lost else RgbPicture(self.frames[number])

    def close(self) -> None:
        pass

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def test_rows_crops_log_and_report_agree(out: Path) -> None:
    frames = flashes(103)
    report = sp.extract(Recording(frames), out, crop_format="png")
    with sp.open_store(out) as store:
        table, log = store.table, store.frame_log
        assert table["frame"].tolist() == list(range(5, 103, 5))
        np.testing.assert_array_equal(table["time"], table["frame"] / 25)
        for row, crop in zip(table, store.read(range(len(store))), strict=True):
            x, y, width, height = (int(row[name]) for name in ("x", "y", "width", "height"))
            np.testing.assert_array_equal(crop, frames[row["frame"], y : y + height, x : x + width])
        assert log["number"].tolist() == list(range(103))
        assert log["decoded"].all()
        assert log["detections"].tolist() == [int(n > 0 and n % 5 == 0) for n in range(103)]
        assert store.attrs["complete"] is True
        assert store.attrs["detector"]["id"] == "frame-difference"
        assert [item["id"] for item in store.attrs["filters"]] == ["area", "blue", "black"]
    assert (report.expected, report.decoded, report.failed) == (103, 103, 0)
    assert (report.detections, report.spatter_frames, report.layers) == (20, 20, 1)
    assert report.whole


def test_the_same_rows_as_detect_with_the_original_settings_too(out: Path) -> None:
    recording = Recording(flashes(64 + 9))
    sp.extract(recording, out, **sp.ORIGINAL)
    found = np.concatenate([found for _, found in sp.detect(recording, **sp.ORIGINAL)])
    with sp.open_store(out) as store:
        np.testing.assert_array_equal(store.table, found)
        counts = np.bincount(found["frame"], minlength=73)
        np.testing.assert_array_equal(store.frame_log["detections"], counts)


def test_rows_of_a_frame_are_committed_together_with_its_log(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatterlib.extraction.pending._ROWS", 1)
    recording = Recording(flashes(300, every=3), breaks_at=250)
    with pytest.raises(VideoError, match="frame 250"):
        sp.extract(recording, out, **sp.ORIGINAL)
    with sp.open_store(out) as store:
        table, log = store.table, store.frame_log
        whole = np.concatenate([f for _, f in sp.detect(Recording(flashes(300, every=3)), **sp.ORIGINAL)])
        assert len(log) > 100
        np.testing.assert_array_equal(table, whole[whole["frame"] < len(log)])
        assert store.attrs["complete"] is False
        assert store.attrs["state"].startswith("failed: VideoError: recording: frame 250")


def test_frames_that_do_not_decode_are_counted_and_the_rest_goes_on(out: Path) -> None:
    recording = Recording(flashes(100), lost=(9, 40, 41, 99))
    report = sp.extract(recording, out)
    assert (report.expected, report.decoded, report.failed) == (100, 96, 4)
    assert not report.whole
    with sp.open_store(out) as store:
        assert np.flatnonzero(~store.frame_log["decoded"]).tolist() == [9, 40, 41, 99]
        # Frame 10 has no frame before it to differ from; 40 is lost itself.
        assert set(range(5, 100, 5)) - set(store.table["frame"].tolist()) == {10, 40}


def test_nothing_that_decodes_is_an_error_and_leaves_no_store(out: Path) -> None:
    with pytest.raises(VideoError, match="none of its 10 frames"):
        sp.extract(Recording(flashes(10), lost=tuple(range(10))), out)
    assert not out.exists()


def test_roi_cuts_frames_and_boxes_stay_in_full_frame_coordinates(out: Path) -> None:
    frames = np.zeros((3, 200, 300, 3), np.uint8)
    frames[1, 100:170, 200:280] = (255, 220, 150)
    frames[1, 10:80, 10:90] = (255, 220, 150)
    sp.extract(Recording(frames), out, roi=(150, 50, 300, 200), crop_format="png")
    with sp.open_store(out) as store:
        [row], [crop] = store.table, store.read([0])
        assert (row["x"], row["y"]) == (198, 98)
        box = frames[1, row["y"] : row["y"] + row["height"], row["x"] : row["x"] + row["width"]]
        np.testing.assert_array_equal(crop, box)
        assert store.attrs["roi"] == [150, 50, 150, 150]


def test_start_stop_and_limit(out: Path) -> None:
    report = sp.extract(Recording(flashes(100)), out, start=20, stop="3.2s", limit=5)
    with sp.open_store(out) as store:
        assert store.table["frame"].tolist() == [20, 25, 30, 35, 40]
        assert store.frame_log["number"].tolist() == list(range(20, 41))
    assert (report.expected, report.detections) == (21, 5)


def test_an_interrupt_keeps_what_was_done_and_says_so(out: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sp.extract(Recording(flashes(300)), out, progress=stop)
    with sp.open_store(out) as store:
        assert len(store.frame_log) >= 127
        assert store.attrs["state"] == "interrupted"
        assert store.attrs["complete"] is False
        assert [decode(crop).ndim for crop in store.encoded(range(len(store)))] == [3] * len(store)


def test_progress_tells_frames_and_new_rows(tmp_path: Path) -> None:
    told: list[Progress] = []
    sp.extract(Recording(flashes(150)), tmp_path / "a.h5", progress=told.append)
    assert told[-1].done == told[-1].expected == 150
    assert sum(len(state.found) for state in told) == told[-1].detections == 29


def test_an_existing_output_is_refused_and_replaced_when_asked(out: Path) -> None:
    sp.extract(Recording(flashes(20)), out)
    with pytest.raises(OutputExistsError, match=str(out)):
        sp.extract(Recording(flashes(40)), out)
    with sp.open_store(out) as store:
        assert len(store.frame_log) == 20
    sp.extract(Recording(flashes(40)), out, overwrite=True)
    with sp.open_store(out) as store:
        assert len(store.frame_log) == 40


def test_a_failed_overwrite_does_not_cost_the_old_store(out: Path) -> None:
    sp.extract(Recording(flashes(20)), out)
    with pytest.raises(VideoError):
        sp.extract(Recording(flashes(10), lost=tuple(range(10))), out, overwrite=True)
    with sp.open_store(out) as store:
        assert len(store.frame_log) == 20


class Liar:
    lead = 0

    def __call__(self, clip: sp.Clip) -> Any:
        return None if clip.start > 100 else np.empty(0, sp.DETECTION)


def test_a_contract_broken_in_the_middle_names_the_plugin_and_keeps_what_was_done(out: Path) -> None:
    with pytest.raises(ContractError, match="Liar"):
        sp.extract(Recording(flashes(300)), out, detector=Liar())
    with sp.open_store(out) as store:
        assert "ContractError" in store.attrs["state"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit"),
        ({"quality": 101}, "quality"),
        ({"crop_format": "gif"}, "crop_format"),
        ({"gap": -1}, "gap"),
        ({"workers": 0}, "workers"),
        ({"filters": "area"}, "list of filters"),
        ({"start": 5, "stop": 5}, "behind start"),
        ({"start": -1}, "-1"),
        ({"start": 1000}, "1000"),
        ({"roi": (0, 0, 9999, 10)}, "200x160"),
        ({"detector": "nothing"}, "nothing"),
    ],
)
def test_wrong_options_are_refused_in_one_line_before_anything_is_written(
    out: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpatterlibError, match=message) as caught:
        sp.extract(Recording(flashes(20)), out, **options)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_an_output_that_cannot_be_written_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreError, SpatterlibError)):
        sp.extract(Recording(flashes(20)), tmp_path / "file" / "result.h5")
    with pytest.raises(SpatterlibError, match=r"\.h5"):
        sp.extract(Recording(flashes(20)), tmp_path / "result.csv")


def test_two_extractions_give_the_same_rows_and_bytes(tmp_path: Path) -> None:
    tables, crops = [], []
    for name in ("a.h5", "b.zarr"):
        sp.extract(Recording(flashes(100)), tmp_path / name)
        with sp.open_store(tmp_path / name) as store:
            tables.append(store.table)
            crops.append(store.encoded(range(len(store))))
    np.testing.assert_array_equal(tables[0], tables[1])
    assert crops[0] == crops[1]


@pytest.mark.parametrize("options", [{}, dict(sp.ORIGINAL), {"start": 130, "stop": 1390}, {"limit": 77}])
def test_rows_crops_and_log_are_the_same_for_any_number_of_workers(tmp_path: Path, options: dict[str, Any]) -> None:
    video = tmp_path / "flashes.mp4"
    write_video(video, flashes(1500, every=3), gop=120)
    results = []
    for workers in (1, 2, 3):
        out = tmp_path / f"{workers}.h5"
        report = sp.extract(video, out, workers=workers, **options)
        with sp.open_store(out) as store:
            results.append((store.table, store.encoded(range(len(store))), store.frame_log, report.expected))
    for other in results[1:]:
        for ours, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(ours, expected)
    assert len(results[0][0]) > 50


@dataclasses.dataclass
class Long(Recording):
    """One that can be cut in two, and a frame of which may be broken."""

    @property
    def keyframes(self) -> NDArray[np.int64]:
        return np.array([0, len(self.frames) // 2])


class Slow:
    """A detector that counts the clips it looks at, and takes its time for each."""

    lead = 0

    def __init__(self) -> None:
        self.clips: list[int] = []

    def __call__(self, clip: sp.Clip) -> Any:
        self.clips.append(clip.start)
        time.sleep(0.005)
        return np.empty(0, sp.DETECTION)


class TestPartsSideBySide:
    """Threads that work ahead of the part whose turn it is do not show, whatever happens."""

    def test_what_is_done_is_told_before_its_part_is(self, out: Path) -> None:
        told: list[int] = []
        detector = Slow()
        sp.extract(Long(black(6400)), out, detector=detector, progress=lambda state: told.append(state.done))
        assert told == [*range(64, 6401, 64)]
        assert sorted(detector.clips) == [*range(0, 6400, 32)]

    @given(frames=st.integers(0, 4_000), every=st.integers(1, 700), start=st.integers(0, 900), lead=st.integers(0, 3))
    def test_become_shorter_towards_the_end_so_that_all_end_together(
        self, frames: int, every: int, start: int, lead: int
    ) -> None:
        video = SimpleNamespace(keyframes=np.arange(0, start + frames, every))
        parts = cut(cast(Video, video), range(start, start + frames), lead)
        assert [number for part in parts for number in part] == list(range(start, start + frames))
        assert all((part.start - lead) % every == 0 for part in parts[1:])
        for part in parts:
            wanted = min(max((start + frames - part.start) // 8, 125), 500)
            assert len(part) >= min(wanted, frames)
            assert len(part) < wanted + every or start + frames - (part.start + wanted) < 125 + every

    def test_an_interrupt_stops_those_that_work_ahead(self, out: Path) -> None:
        detector = Slow()
        before = []

        def stop(progress: Progress) -> None:
            before.append(len(detector.clips))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sp.extract(Long(black(6400)), out, detector=detector, progress=stop)
        assert len(detector.clips) < before[0] + 50
        with sp.open_store(out) as store:
            assert store.attrs["state"] == "interrupted"

    @pytest.mark.parametrize("recording", [Long, Recording])
    def test_no_thread_works_on_behind_an_error(self, out: Path, recording: type[Recording]) -> None:
        """Nor waits for the garbage collector, which may come while a thread begins: that one then waits forever."""

        def stop(progress: Progress) -> None:
            raise ValueError("enough")

        before = set(threading.enumerate())
        with pytest.raises(ValueError, match="enough") as held:
            sp.extract(recording(black(6400)), out, detector=Slow(), progress=stop)
        assert held.tb is not None
        new = set(threading.enumerate()) - before
        assert not [thread for thread in new if thread.name.startswith("ThreadPool")]

    @pytest.mark.parametrize("broken", [1700, 600])
    def test_an_error_comes_behind_what_was_done_before_it(self, out: Path, broken: int) -> None:
        with pytest.raises(VideoError, match=f"frame {broken}"):
            sp.extract(Long(flashes(2000), breaks_at=broken), out)
        with sp.open_store(out) as store:
            done = broken // 64 * 64 if broken < 1000 else 1000 + (broken - 1001) // 64 * 64
            assert done <= len(store.frame_log) + 1 <= broken
            assert store.frame_log["number"].tolist() == list(range(len(store.frame_log)))
            assert "VideoError" in store.attrs["state"]


def black(count: int) -> Frames:
    return np.zeros((count, 8, 8, 3), np.uint8)


@pytest.mark.torture
def test_a_video_of_300000_frames_stays_under_500_mb(tmp_path: Path) -> None:
    video = tmp_path / "long.mp4"
    write_video(video, flashes(300, height=180, width=320), gop=250, times=1000)
    code = (
        "import resource, sys, spatterlib as sp; "
        "report = sp.extract(sys.argv[1], sys.argv[2]); "
        "print(report.decoded, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    command = [sys.executable, "-c", code, str(video), str(tmp_path / "long.h5")]
    decoded, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(decoded) == 300_000
    assert int(megabytes) < 500


def write_video(path: Path, frames: Frames, gop: int, times: int = 1) -> None:
    """H.264 with a key frame every `gop` frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.gop_size = gop
        for frame in itertools.chain.from_iterable(itertools.repeat(frames, times)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_original_settings_are_a_mapping_of_keyword_arguments() -> None:
    assert dict(sp.ORIGINAL)["filters"] == ("area", "blue")
    assert sp.make("detector", sp.ORIGINAL["detector"]).outlines == "tree"
    assert pickle.loads(pickle.dumps(dict(sp.ORIGINAL))) == dict(sp.ORIGINAL)
