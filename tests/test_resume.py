"""A run that was cut goes on behind its last committed frame and ends with what an undisturbed run gives."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import media
import pytest
from test_extraction import Recording, flashes, write_video

import spatterlib as sp
from spatterlib.common.progress import Progress
from spatterlib.errors import OutputExistsError, ParameterError, SpatterlibError, StoreError
from spatterlib.stores.opening import create_store

SETTINGS = [
    {},
    dict(sp.ORIGINAL),
    {**sp.ORIGINAL, "start": 130, "stop": 400},
    {"limit": 77},
    {**sp.ORIGINAL, "limit": 101},
    {"crop_format": "png", "roi": (20, 10, 180, 150)},
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "flashes.mp4"
    write_video(path, flashes(450, every=3), gop=60)
    return path


@pytest.fixture(autouse=True)
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatterlib.extraction.pending._ROWS", 10)


def content(path: Path) -> tuple[bytes, bytes, list[bytes], dict[str, Any]]:
    """Table, log, crops as they were encoded, and attrs but the moment in which the store was made."""
    with sp.open_store(path) as store:
        attrs = {name: value for name, value in store.attrs.items() if name != "created"}
        return store.table.tobytes(), store.frame_log.tobytes(), store.encoded(range(len(store))), attrs


def interrupted_at(frame: int) -> Any:
    def stop(progress: Progress) -> None:
        if progress.done >= frame:
            raise KeyboardInterrupt

    return stop


def run_until(frame: int, video: Any, out: Path, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        sp.extract(video, out, **options, progress=interrupted_at(frame))


@pytest.mark.parametrize("options", SETTINGS)
def test_cut_three_times_it_ends_as_an_undisturbed_run(video: Path, out: Path, options: dict[str, Any]) -> None:
    whole = sp.extract(video, out.with_stem("whole"), **options)
    for cut in (1, 80, 100):
        run_until(cut, video, out, **options, resume=True)
        with sp.open_store(out) as store:
            assert store.attrs["complete"] is False
    report = sp.extract(video, out, **options, resume=True)
    assert content(out) == content(out.with_stem("whole"))
    assert 0 < report.resumed < report.expected
    assert (report.expected, report.detections, report.layers) == (whole.expected, whole.detections, whole.layers)
    assert "done before" in str(report)


def test_without_a_store_it_begins_and_a_complete_one_is_left_alone(video: Path, out: Path) -> None:
    first = sp.extract(video, out, resume=True)
    before = content(out)
    again = sp.extract(video, out, resume=True)
    assert content(out) == before
    assert again.resumed == again.expected == first.expected
    assert (again.decoded, again.detections, again.layers) == (first.decoded, first.detections, first.layers)


def test_cut_before_the_first_commit(video: Path, out: Path) -> None:
    """What is left is a store without rows and frames."""
    sp.extract(video, out.with_stem("whole"))
    with sp.open_store(out.with_stem("whole")) as whole:
        attrs = {name: whole.attrs[name] for name in whole.attrs if name not in ("expected", "decoded", "failed")}
    create_store(out, attrs=attrs | {"state": "running", "complete": False}).close()
    assert sp.extract(video, out, resume=True).resumed == 0
    assert content(out) == content(out.with_stem("whole"))


def test_cut_behind_the_last_row_but_before_it_said_complete(video: Path, out: Path) -> None:
    sp.extract(video, out, limit=20)
    before = content(out)
    with sp.open_store(out, "a") as store:
        store.set_attrs({"complete": False, "state": "running"})
    sp.extract(video, out, limit=20, resume=True)
    assert content(out) == before


def test_frames_that_do_not_decode_stay_counted_across_the_cut(out: Path) -> None:
    damaged = Recording(flashes(300), lost=(63, 64, 127, 128, 129, 192, 299))
    sp.extract(damaged, out.with_stem("whole"))
    for cut in (64, 128, 190):
        run_until(cut, damaged, out, resume=True)
    sp.extract(damaged, out, resume=True)
    assert content(out) == content(out.with_stem("whole"))


def test_a_damaged_video_gives_the_same_when_it_was_cut(tmp_path: Path, out: Path) -> None:
    damaged, _ = media.damage(media.write(tmp_path / "damaged.mp4", 300), range(90, 200, 20))
    options: dict[str, Any] = {"filters": [{"id": "area", "min_area": 1}]}
    sp.extract(damaged, out.with_stem("whole"), **options)
    for cut in (90, 180):
        run_until(cut, damaged, out, **options, resume=True)
    sp.extract(damaged, out, **options, resume=True)
    assert content(out) == content(out.with_stem("whole"))


def test_it_may_go_on_with_other_workers(video: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatterlib.extraction.pipeline._PART", 100)
    sp.extract(video, out.with_stem("whole"))
    run_until(100, video, out)
    run_until(200, video, out, resume=True, workers=2)
    with ThreadPoolExecutor(2) as pool:
        run_until(300, video, out, resume=True, executor=pool)
        run_until(400, video, out, resume=True, executor=pool)
        run_until(430, video, out, resume=True)
        sp.extract(video, out, resume=True, executor=pool)
    assert content(out) == content(out.with_stem("whole"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"detector": sp.make("detector", "frame-difference", threshold=30)}, r"detector threshold \(20, not 30\)"),
        ({"filters": ["area"]}, "filters"),
        ({"roi": (0, 0, 100, 100)}, "roi"),
        ({"start": 1}, "start"),
        ({"stop": 400}, "stop"),
        ({"quality": 90}, "crops quality"),
        ({"crop_format": "png"}, "crops format"),
        ({"limit": 5}, "limit"),
        ({"fps": 50}, "video"),
    ],
)
def test_other_settings_are_refused_in_one_line(video: Path, out: Path, options: dict[str, Any], said: str) -> None:
    run_until(200, video, out)
    before = content(out)
    with pytest.raises(OutputExistsError, match=f"was made with another {said}") as caught:
        sp.extract(video, out, **options, resume=True)
    assert "\n" not in str(caught.value)
    assert content(out) == before


def test_another_recording_is_refused_and_a_renamed_one_is_not(video: Path, out: Path, tmp_path: Path) -> None:
    run_until(200, video, out)
    write_video(tmp_path / video.name, flashes(450, every=4), gop=60)
    with pytest.raises(OutputExistsError, match="video digest"):
        sp.extract(tmp_path / video.name, out, resume=True)
    sp.extract(shutil.copy(video, tmp_path / "renamed.mp4"), out, resume=True)
    sp.extract(video, out.with_stem("whole"))
    assert content(out) == content(out.with_stem("whole"))


def test_what_is_no_extraction_is_refused_and_kept(video: Path, out: Path, tmp_path: Path) -> None:
    create_store(out, attrs={"mine": 1}).close()
    with pytest.raises(OutputExistsError, match="another"):
        sp.extract(video, out, resume=True)
    (tmp_path / "notes.h5").write_text("my notes")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "notes").write_text("my notes")
    for name in ("notes.h5", "folder.zarr"):
        with pytest.raises(SpatterlibError, match=name):
            sp.extract(video, tmp_path / name, resume=True)
    assert (tmp_path / "notes.h5").read_text() == (tmp_path / "folder.zarr" / "notes").read_text() == "my notes"
    with pytest.raises(ParameterError, match="choose one"):
        sp.extract(video, out, resume=True, overwrite=True)


def test_two_at_a_time_are_refused(video: Path, out: Path) -> None:
    run_until(200, video, out)
    code = (
        "import sys, spatterlib as sp; s = sp.open_store(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreError, match="another process"):
            sp.extract(video, out, resume=True)
        other.communicate()
    sp.extract(video, out, resume=True)


KILLED = """
import os, signal, sys, threading
import spatterlib as sp, spatterlib.extraction.pending as pending_
os.fsync = lambda descriptor: None
pending_._ROWS = 5
def start_the_clock(progress, started=[]):
    if not started:
        started.append(threading.Timer(float(sys.argv[3]), os.kill, (os.getpid(), signal.SIGKILL)))
        started[0].start()
sp.extract(sys.argv[1], sys.argv[2], resume=True, progress=start_the_clock)
os._exit(0)
"""


def killed_again_and_again(video: Path, out: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill at random moments; when a run comes to its end, begin anew. How many kills, how many runs were whole."""
    chance, happened, finished, longest = random.Random(seed), 0, 0, 0.3
    whole = out.with_stem("whole")
    sp.extract(video, whole)
    expected = content(whole)
    while happened < kills:
        command = [sys.executable, "-c", KILLED, str(video), str(out), str(chance.uniform(0, longest))]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode == -signal.SIGKILL:
            happened += 1
            check_part_of(out, expected)
            continue
        assert done.returncode == 0, done.stderr
        longest = min(longest, time.monotonic() - began)
        finished += 1
        assert content(out) == expected
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    sp.extract(video, out, resume=True)
    assert content(out) == expected
    return happened, finished


def check_part_of(out: Path, expected: tuple[bytes, bytes, list[bytes], dict[str, Any]]) -> None:
    """What a kill left opens, and holds whole rows of whole frames of the undisturbed run."""
    if not out.exists() or (out.is_dir() and not (out / "zarr.json").exists()):
        return
    table, log, crops, attrs = content(out)
    assert expected[0].startswith(table)
    assert expected[1].startswith(log)
    assert crops == expected[2][: len(crops)]
    assert len(crops) * sp.DETECTION.itemsize == len(table)
    assert attrs["video"] == expected[3]["video"]


@pytest.mark.slow
def test_sigkill_at_a_few_random_moments(video: Path, out: Path) -> None:
    happened, _ = killed_again_and_again(video, out, 3, 1)
    assert happened == 3


@pytest.mark.torture
def test_sigkill_at_a_hundred_random_moments(video: Path, out: Path) -> None:
    happened, finished = killed_again_and_again(video, out, 100, 2)
    assert happened == 100
    assert finished >= 0


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_flushed_rows_are_there_after_a_kill(video: Path, out: Path) -> None:
    """A row counts as flushed when the commit has returned: the process that made it dies right behind it."""
    code = """
import os, signal, sys
import spatterlib as sp, spatterlib.extraction.pending as pending_
pending_._ROWS = 5
commit = pending_.Pending.commit
def then_die(pending, store, *, final):
    commit(pending, store, final=final)
    if len(store) > 40:
        print(len(store), len(store.frame_log), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
pending_.Pending.commit = then_die
sp.extract(sys.argv[1], sys.argv[2])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(video), str(out)], capture_output=True, text=True, timeout=120
    )
    rows, frames = map(int, done.stdout.split())
    with sp.open_store(out) as store:
        assert (len(store), len(store.frame_log)) == (rows, frames)
        assert len(store.read(range(rows))) == rows
    report = sp.extract(video, out, resume=True)
    assert report.resumed == frames
    sp.extract(video, out.with_stem("whole"))
    assert content(out) == content(out.with_stem("whole"))
