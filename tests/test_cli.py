"""The command line as its users meet it: in a process of its own, one line per error, an exit code that tells."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
from terminals import without_progress
from test_extraction import flashes, write_video

import spatterlib as sp


def spatterlib(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line; output is piped, as in a script."""
    command = [sys.executable, "-m", "spatterlib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def refused(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line that an error gives, progress aside."""
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    lines = without_progress(done.stderr)
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    np.save(tmp_path / "stack.npy", flashes(100))
    return tmp_path / "stack.npy"


def test_extract_writes_store_and_plot_and_says_where(stack: Path) -> None:
    out, plot = stack.with_suffix(".h5"), stack.with_suffix(".png")
    done = spatterlib("extract", stack, "-o", out, "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert "100 of 100 frames; 19 detections in 19 frames (19.0 %), 1 layer" in done.stdout
    assert str(out) in done.stdout
    assert cv2.imread(str(plot)).shape[1] > 1000  # type: ignore[union-attr]
    with sp.open_store(out) as store:
        assert len(store) == 19


def test_parameters_of_plugins_are_options(stack: Path) -> None:
    out = stack.with_suffix(".h5")
    done = spatterlib(
        "extract", stack, "-o", out, "--threshold", "30", "--min-area", "10", "--max-area", "1e6", "--limit", "3",
        "--filter", "area", "--filter", "region", "--polygon", "[[0,0],[999,0],[999,999],[0,999]]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with sp.open_store(out) as store:
        assert store.attrs["detector"]["threshold"] == 30
        assert store.attrs["filters"][0] == {"id": "area", "min_area": 10.0, "max_area": 1e6}
        assert store.attrs["filters"][1]["polygon"][2] == [999, 999]
        assert len(store) == 3


def test_help_lists_the_parameters_of_the_chosen_plugins() -> None:
    text = spatterlib("extract", "--help").stdout
    assert "Options of detector frame-difference" in text
    assert "--min-area" in text
    assert "--polygon" not in text
    assert "--polygon" in spatterlib("extract", "--filter", "region", "--help").stdout


def test_a_value_that_is_no_json_is_named(stack: Path) -> None:
    done = spatterlib("extract", stack, "-o", "x.h5", "--filter", "region", "--polygon", "[[0,0]")
    assert done.returncode == 2
    assert "'--polygon': '[[0,0]' is no JSON: Expecting ',' delimiter" in done.stderr


def test_an_option_of_a_plugin_that_is_not_chosen_says_so(stack: Path) -> None:
    done = spatterlib("extract", stack, "-o", "x.h5", "--polygon", "[]")
    assert done.returncode == 2
    assert "--polygon belongs to filter 'region'; add --filter region" in done.stderr


def test_the_order_is_defaults_file_original_options(stack: Path) -> None:
    file = stack.with_name("settings.toml")
    file.write_text(
        '[extract]\nlimit = 7\nfilters = ["area"]\n[extract.detector]\nid = "frame-difference"\nthreshold = 33\n'
    )
    done = spatterlib("config", "--config", file, "--original", "--limit", "9")
    effective = tomllib.loads(done.stdout)["extract"]
    assert effective["limit"] == 9
    assert effective["detector"]["threshold"] == 33
    assert effective["detector"]["crop_from"] == "first"
    assert [item["id"] for item in effective["filters"]] == ["area", "blue"]


def test_config_names_the_nearest_key(stack: Path) -> None:
    file = stack.with_name("settings.toml")
    file.write_text("[extract]\nstrat = 5\n")
    assert "did you mean 'start'?" in refused(spatterlib("extract", stack, "-o", "x.h5", "--config", file))


def test_info_of_a_store_and_of_a_video(stack: Path) -> None:
    out = stack.with_suffix(".zarr")
    spatterlib("extract", stack, "-o", out)
    facts = json.loads(spatterlib("info", out, "--json").stdout)
    assert (facts["kind"], facts["detections"], facts["frames"], facts["complete"]) == (
        "store",
        19,
        100,
        True,
    )
    facts = json.loads(spatterlib("info", stack, "--json").stdout)
    assert (facts["kind"], facts["width"], facts["height"], facts["frames"]) == ("video", 200, 160, 100)
    assert "detections" in spatterlib("info", out).stdout


def test_show_makes_a_montage_and_an_annotated_frame(stack: Path) -> None:
    out = stack.with_suffix(".h5")
    spatterlib("extract", stack, "-o", out)
    done = spatterlib("show", out, "-o", "montage.png", "--rows", "0:6", "--columns", "3", cwd=stack.parent)
    assert done.stdout.strip() == "montage.png"
    montage = cv2.imread(str(stack.parent / "montage.png"))
    assert montage.shape[1] == 384  # type: ignore[union-attr]
    assert 256 < montage.shape[0] < 300, "two lines of crops, and one of text"  # type: ignore[union-attr]
    assert montage.max() > 200  # type: ignore[union-attr]
    assert "crops, and --rows chooses none of them" in refused(spatterlib("show", out, "--rows", "900:"))
    done = spatterlib("show", stack, "--frame", "5", cwd=stack.parent)
    frame = cv2.imread(str(stack.parent / done.stdout.strip()))
    drawn = np.argwhere((frame == (255, 200, 0)).all(axis=2))  # type: ignore[union-attr]
    assert len(drawn) > 100
    assert done.stderr == "frame 5: 1 found\n"
    done = spatterlib("show", stack, "--frame", "5", "--min-area", "15000", cwd=stack.parent)
    assert done.stderr == "frame 5: 1 found, 1 dropped by area\n"


def test_filter_none_keeps_all_that_the_detector_found(stack: Path) -> None:
    out = stack.with_suffix(".h5")
    assert spatterlib("extract", stack, "-o", out, "--filter", "none").returncode == 0
    with sp.open_store(out) as store:
        assert store.attrs["filters"] == []
        assert len(store) == sum(len(found) for _, found in sp.detect(stack, filters=[])) > 19
    said = refused(spatterlib("extract", stack, "-o", "x.h5", "--filter", "area", "--filter", "none"), 2)
    assert "--filter none leaves nothing for other filters, got area, none" in said


def test_convert_and_back(stack: Path) -> None:
    first, second, third = (stack.with_name(name) for name in ("a.h5", "b.zarr", "c.h5"))
    spatterlib("extract", stack, "-o", first)
    assert spatterlib("convert", first, second).returncode == 0
    assert spatterlib("convert", second, third).returncode == 0
    with sp.open_store(first) as one, sp.open_store(third) as other:
        np.testing.assert_array_equal(one.table, other.table)
        assert one.encoded(range(len(one))) == other.encoded(range(len(other)))
    assert "exists" in refused(spatterlib("convert", first, second))


def test_plugins_lists_what_is_installed() -> None:
    text = spatterlib("plugins").stdout
    assert re.search(r"^  frame-difference +Find what changed", text, re.MULTILINE)
    assert "threshold = 20" in text
    assert "hdf5" in text


def test_several_videos_go_into_a_folder_and_one_bad_one_does_not_stop_the_rest(stack: Path) -> None:
    np.save(stack.with_name("other.npy"), flashes(50))
    stack.with_name("broken.npy").write_text("no stack")
    names = [stack, stack.with_name("broken.npy"), stack.with_name("other.npy")]
    done = spatterlib("extract", *names, "-o", stack.parent / "out")
    assert done.returncode == 1
    assert "broken.npy" in done.stderr
    assert sorted(path.name for path in (stack.parent / "out").iterdir()) == ["other.h5", "stack.h5"]


def test_log_file_is_json_lines(stack: Path) -> None:
    log = stack.with_suffix(".log")
    spatterlib("extract", stack.with_name("nowhere.mp4"), "-o", "x.h5", "-vv", "--log-file", log)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records[-1]["message"]
    assert {"time", "level", "message"} <= set(records[-1])


def test_a_traceback_comes_with_two_vs_only(stack: Path) -> None:
    missing = stack.with_name("nowhere.mp4")
    assert "Traceback" not in spatterlib("extract", missing, "-o", "x.h5", "-v").stderr
    assert "Traceback" in spatterlib("extract", missing, "-o", "x.h5", "-vv").stderr


def test_careless_use_is_told_in_one_line(stack: Path) -> None:
    folder = stack.parent
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "folder").mkdir()
    for bad, said in [
        ("nowhere.mp4", "nowhere.mp4"),
        ("text.mp4", "text.mp4"),
        ("empty.mp4", "empty.mp4"),
        ("folder", "folder"),
    ]:
        line = refused(spatterlib("extract", folder / bad, "-o", folder / "x.h5"))
        assert line.startswith("error: ")
        assert said in line
        assert not (folder / "x.h5").exists()
    assert "OUT must end in" in spatterlib("extract", stack, "-o", folder / "x.csv").stderr
    assert "no command 'extrakt'; did you mean 'extract'" in spatterlib("extrakt").stderr


def test_existing_output_is_refused_with_the_way_out(stack: Path) -> None:
    out = stack.with_suffix(".h5")
    spatterlib("extract", stack, "-o", out)
    assert "--overwrite" in refused(spatterlib("extract", stack, "-o", out))
    assert spatterlib("extract", stack, "-o", out, "--overwrite").returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process")
def test_control_c_leaves_a_store_that_can_be_read(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", flashes(300), gop=250, times=60)
    out = tmp_path / "long.h5"
    command = [sys.executable, "-m", "spatterlib", "extract", str(tmp_path / "long.mp4"), "-o", str(out)]
    slowed = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=slowed)
    deadline = time.monotonic() + 60
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("it was done before the interrupt came")
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told
    with sp.open_store(out) as store:
        assert store.attrs["state"] == "interrupted"
        assert len(store.table) == len(store.read(range(len(store))))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["extract", "a.mp4"], 2),
        (["extract", "a.mp4", "-o", "x.h5", "--limit", "x"], 2),
        (["extract", "a.mp4", "-o", "x.h5", "--filter", "none", "--filter", "area"], 2),
        (["show", "{store}", "--rows", "x"], 2),
        (["predict", "a.mp4", "--model", "simulated", "--calibration", "c.npz"], 2),
        (["watch", "0", "--model", "simulated", "--start", "5"], 2),
        (["train", "a.h5=low", "--set", "epochs"], 2),
        (["monitor", "{store}", "--reference", "1", "-o", "x.doc"], 2),
        (["info", "nowhere"], 1),
        (["show", "{store}", "--rows", "900:"], 1),
    ],
)
def test_wrong_usage_and_what_cannot_be_done_have_codes_of_their_own(
    stack: Path, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spatterlib.cli.main import main

    monkeypatch.chdir(stack.parent)
    sp.extract(stack, "s.h5")
    assert main([word.format(store="s.h5") for word in arguments]) == code


def test_of_several_recordings_one_that_failed_counts_most(stack: Path) -> None:
    video = media.cut(media.write(stack.with_name("cut.mkv"), 200))
    stack.with_name("broken.npy").write_text("no stack")
    done = spatterlib("extract", video, stack.with_name("broken.npy"), "-o", stack.parent / "out")
    assert done.returncode == 1
    assert spatterlib("extract", video, "-o", stack.parent / "out2").returncode == 3


class TestBadVideos:
    """What is wrong is said in one line, the exit code tells, and nothing that is not whole looks so."""

    def test_packets_damaged_in_the_middle_are_counted_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        video = media.write(tmp_path / "damaged.mp4", 200)
        video, hit = media.damage(video, range(90, 96))
        done = spatterlib("extract", video, "-o", tmp_path / "x.h5", "--min-area", "1")
        assert done.returncode == 3
        assert re.search(r"1\d\d of 200 frames, \d+ did not decode", done.stdout)
        assert re.search(r"warning: only 1\d\d of 200 frames", done.stderr)
        with sp.open_store(tmp_path / "x.h5") as store:
            lost = np.flatnonzero(~store.frame_log["decoded"])
            assert len(store.frame_log) == 200
            assert len(lost) > 0
            # Up to the next key frame, 96, frames are made from those that were damaged.
            assert set(lost) <= set(range(min(hit), 96))

    @pytest.mark.parametrize("name", ["cut.mkv", "cut.avi"])
    def test_a_file_cut_at_60_percent_gives_what_is_left_and_says_so(self, name: str, tmp_path: Path) -> None:
        video = media.cut(media.write(tmp_path / name, 200))
        done = spatterlib("extract", video, "-o", tmp_path / "x.h5", "--min-area", "1")
        assert done.returncode == 3
        # Matroska tells how long the whole was, not how many frames it had.
        assert re.search(r"of (199|200) frames", done.stderr)
        with sp.open_store(tmp_path / "x.h5") as store:
            assert 80 < store.frame_log["decoded"].sum() < 160

    def test_a_file_cut_before_its_index_is_refused(self, tmp_path: Path) -> None:
        video = media.cut(media.write(tmp_path / "cut.mp4", 200))
        assert "moov" in refused(spatterlib("extract", video, "-o", tmp_path / "x.h5"))
        assert not (tmp_path / "x.h5").exists()

    def test_sound_alone_is_refused(self, tmp_path: Path) -> None:
        sound = media.write_sound(tmp_path / "sound.mp4")
        assert "no video, only audio" in refused(spatterlib("extract", sound, "-o", tmp_path / "x.h5"))

    def test_a_frame_size_that_changes_is_told_with_its_frame(self, tmp_path: Path) -> None:
        folder = tmp_path / "frames"
        folder.mkdir()
        for number in range(6):
            cv2.imwrite(str(folder / f"{number}.png"), np.zeros((60 if number < 4 else 61, 80, 3), np.uint8))
        line = refused(spatterlib("extract", folder, "-o", tmp_path / "x.h5"))
        assert "frame 4 has 80x61 px" in line
        assert "80x60" in line

    def test_an_output_folder_that_cannot_be_written_is_refused(self, stack: Path) -> None:
        stack.with_name("file").write_text("")
        line = refused(spatterlib("extract", stack, "-o", stack.parent / "file" / "x.h5"))
        assert "file" in line

    @pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
    @pytest.mark.parametrize("suffix", [".h5", ".zarr"])
    def test_a_full_disk_is_told_and_leaves_a_store_that_is_not_whole(self, tmp_path: Path, suffix: str) -> None:
        random = np.random.default_rng(0)
        frames = flashes(400, every=2)
        frames[::2] |= random.integers(0, 120, frames[::2].shape, dtype=np.uint8) * (frames[::2] > 0)
        np.save(tmp_path / "long.npy", frames)
        code = (
            "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)); "
            "from spatterlib.cli.main import main; sys.exit(main(sys.argv[1:]))"
        )
        out = tmp_path / f"x{suffix}"
        command = [sys.executable, "-c", code, "extract", str(tmp_path / "long.npy"), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        assert str(out) in done.stderr.splitlines()[-1]
        if out.exists():
            with sp.open_store(out) as store:
                assert store.attrs.get("complete") is not True
                assert len(store.read(range(len(store)))) == len(store.table)
