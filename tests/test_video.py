"""What all readers share: opening, clips, positions, and which recordings a pattern names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import number_of, paint, write
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import ContractError, MissingFileError, ParameterError, SpatterlibError, VideoError
from spatterlib.plugins.hook_calls import Answer, Plugin
from spatterlib.types import Clip, Picture, RgbPicture, Video
from spatterlib.video import opening as module
from spatterlib.video.opening import clips, expand, open_video, position

TICK = Fraction(1, 25)


class Memory:
    """A video in memory: frames of one colour, the number of the frame; some do not decode."""

    name, width, height = "memory", 200, 160

    def __init__(self, count: int = 100, lost: tuple[int, ...] = (), times: NDArray[np.float64] | None = None) -> None:
        self.times = np.arange(count) / 25 if times is None else times
        self.lost = lost
        self.asked: list[int] = []
        self.closed = False

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "fps": 25.0, "times": "container"}

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        for number in range(start, stop):
            self.asked.append(number)
            frame = np.full((160, 200), number, np.uint8)
            yield None if number in self.lost else RgbPicture(frame)

    def close(self) -> None:
        self.closed = True


def seen(clip: Clip) -> list[int]:
    """What the frames of a clip show: their numbers, lead included."""
    return [int(clip.crop(index, (0, 0, 1, 1))[0, 0, 0]) for index in range(len(clip.pictures))]


class TestOpening:
    """A path or an open video becomes an open video; everything else is an error in one line."""

    def test_closes_what_it_opened(self, tmp_path: Path) -> None:
        with open_video(write(tmp_path / "a.mp4", 3)) as video:
            assert isinstance(video, Video)
            assert len(video.times) == 3
            assert video.keyframes.tolist() == [0]

    def test_leaves_an_open_video_open(self) -> None:
        memory = Memory()
        with open_video(memory) as video:
            assert video.name == "memory"
            assert (video.width, video.height) == (200, 160)
            assert len(list(video.read(3, 9))) == 6
        assert not memory.closed

    def test_takes_times_from_the_rate_that_is_given(self) -> None:
        video = open_video(Memory(5), fps=1000)
        assert video.times.tolist() == [0, 0.001, 0.002, 0.003, 0.004]
        assert video.identity() == {"name": "memory", "fps": 1000.0, "times": "given 1000 fps"}
        assert open_video(Memory(5)).identity()["times"] == "container"

    @pytest.mark.parametrize("fps", [0, -25, math.nan, math.inf, "25"])
    def test_refuses_a_rate_that_is_none(self, fps: Any) -> None:
        with pytest.raises(ParameterError, match="fps must be"):
            open_video(Memory(), fps=fps)

    def test_says_what_is_missing(self, tmp_path: Path) -> None:
        for name in ("nowhere.mp4", "nowhere", "*.png"):
            with pytest.raises(MissingFileError, match=name.replace("*", r"\*")):
                open_video(tmp_path / name)

    def test_says_what_it_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(VideoError, match="is a folder without images"):
            open_video(tmp_path / "folder")
        with pytest.raises(ContractError, match="got int"):
            open_video(5)  # type: ignore[arg-type]

    def test_asks_for_a_video_and_checks_that_it_is_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Catalog:
            def ask(self, hook: str, path: str, **said: Any) -> Any:
                wrong = Answer(Plugin("theirs", "spatterlib-theirs", "2"), error=ContractError("int is no Video"))
                return {"mine": (Memory(), []), "wrong": (None, [wrong])}.get(Path(path).name, (None, []))

        monkeypatch.setattr(module, "catalog", Catalog)
        for name in ("mine", "wrong", "other"):
            (tmp_path / name).write_text("")
        assert open_video(tmp_path / "mine").name == "memory"
        with pytest.raises(ContractError, match=r"theirs of spatterlib-theirs 2 failed to open .*: int is no Video"):
            open_video(tmp_path / "wrong")
        with pytest.raises(VideoError, match="neither a video nor an image"):
            open_video(tmp_path / "other")


class TestClips:
    """Every frame that decodes is in exactly one clip, behind the frames that really precede it."""

    @given(
        count=st.integers(1, 90),
        lost=st.sets(st.integers(0, 89), max_size=12),
        lead=st.integers(0, 5),
        length=st.integers(1, 20),
        data=st.data(),
    )
    def test_laws(self, count: int, lost: set[int], lead: int, length: int, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, count - 1))
        stop = data.draw(st.integers(start + 1, count))
        memory = Memory(count, tuple(lost))
        own = []
        for clip in clips(memory, lead=lead, start=start, stop=stop, length=length):
            numbers = clip.numbers.tolist()
            assert seen(clip) == numbers
            assert clip.times.tolist() == memory.times[numbers].tolist()
            assert clip.start == numbers[clip.lead]
            assert 1 <= len(numbers) - clip.lead <= length
            # As much lead as there is: up to `lead` frames, none in front of the first or of a lost one.
            before = range(max(clip.start - lead, 0), clip.start)
            since = max((number for number in before if number in lost), default=-1)
            assert numbers[: clip.lead] == [number for number in before if number > since]
            own += numbers[clip.lead :]
        assert own == [number for number in range(start, stop) if number not in lost]

    def test_the_table_does_not_depend_on_where_one_starts(self, tmp_path: Path) -> None:
        frames = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8).repeat(20, 1).repeat(20, 2)
        np.save(tmp_path / "a.npy", frames)
        whole = np.concatenate([found for _, found in sp.detect(tmp_path / "a.npy", filters=[])])
        for start in (1, 7, 33):
            part = np.concatenate([found for _, found in sp.detect(tmp_path / "a.npy", filters=[], start=start)])
            np.testing.assert_array_equal(part, whole[whole["frame"] >= start])

    def test_frames_in_front_are_decoded_for_the_lead_only(self) -> None:
        memory = Memory()
        [clip] = clips(memory, lead=2, start=10, stop=14)
        assert memory.asked == list(range(8, 14))
        assert (clip.lead, clip.start) == (2, 10)

    def test_large_frames_make_short_clips_so_that_memory_stays_bounded(self) -> None:
        memory = Memory()
        memory.width, memory.height = 3840, 2160
        picture = RgbPicture(np.zeros((2160, 3840), np.uint8))
        memory.read = lambda start, stop: iter([picture] * (stop - start))  # type: ignore[method-assign]
        lengths = {len(clip.pictures) - clip.lead for clip in clips(memory, lead=1, start=0, stop=40)}
        assert max(lengths) * 3840 * 2160 * 3 <= 64 << 20

    @pytest.mark.parametrize(
        ("roi", "box"),
        [
            ((10, 20, 110, 100), (10, 20, 100, 80)),
            ((None, None, None, None), (0, 0, 200, 160)),
            ((50, None, None, 159), (50, 0, 150, 159)),
            (np.array([0, 0, 200, 160]), (0, 0, 200, 160)),
        ],
    )
    def test_a_region_is_handed_on(self, roi: Any, box: Any) -> None:
        [clip] = clips(Memory(3), lead=0, start=0, stop=3, roi=roi)
        assert clip.box == box
        assert clip.frames.shape == (3, box[3], box[2], 3)

    @pytest.mark.parametrize(
        "roi",
        [(0, 0, 201, 10), (-1, 0, 10, 10), (5, 5, 5, 10), (0, 0, 10), (0, 0, 1.5, 10), ("a", 0, 5, 5), 7],
    )
    def test_a_region_outside_the_frame_is_refused(self, roi: Any) -> None:
        with pytest.raises(ParameterError, match="inside the frame of 200x160 px") as caught:
            clips(Memory(), lead=0, start=0, stop=5, roi=roi)
        assert "\n" not in str(caught.value)

    def test_a_reader_that_ends_early_has_not_decoded_the_rest(self) -> None:
        memory = Memory(10)
        memory.read = lambda start, stop: iter(list(Memory(10).read(start, stop - 4)))  # type: ignore[method-assign]
        own = [number for clip in clips(memory, lead=1, start=0, stop=10) for number in clip.numbers[clip.lead :]]
        assert own == list(range(6))

    @pytest.mark.parametrize("name", ["jpeg.avi", "jpeg.mkv"])
    def test_a_frame_size_that_changes_in_the_stream_is_an_error_that_says_where(
        self, name: str, tmp_path: Path
    ) -> None:
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            streams: list[Any] = []
            for size in ((160, 120), (320, 240)):
                encoder: Any = av.CodecContext.create("mjpeg", "w")
                encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = *size, "yuvj420p", 25
                encoder.time_base = TICK
                streams.append(encoder)
            stream: Any = out.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
            for number in range(40):
                encoder, size = (streams[0], (160, 120)) if number < 25 else (streams[1], (320, 240))
                frame: Any = av.VideoFrame.from_ndarray(paint(number, *size), "rgb24").reformat(format="yuvj420p")
                frame.pts, frame.time_base = number, TICK
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    out.mux(packet)
        with open_video(path) as video:
            found = clips(video, lead=1, start=0, stop=40)
            assert [number_of(frame) for frame in next(found).frames] == list(range(25))
            with pytest.raises(VideoError, match=f"{name}: frame 25 has 320x240 px, .*began with 160x120") as caught:
                next(found)
            assert "\n" not in str(caught.value)


class TestPositions:
    """A frame number, seconds, or a string that says either."""

    @pytest.mark.parametrize(
        ("value", "number"),
        [
            (0, 0), (99, 99), (100, 100), (np.int32(7), 7), ("250", None), ("42", 42), (" 42 ", 42),
            (0.0, 0), (1.0, 25), (np.float32(0.5), 13), (0.04, 1), (0.0401, 2),
            ("3.2s", 80), ("3.2 s", 80), ("4s", 100),
            ("0:01", 25), ("0:01.5", 38), ("0:00:02", 50), (".5s", 13), (4.0, 100), (3.97, 100),
            (-1, None), (101, None), (4.5, None), (-0.1, None), ("-1", None), ("-1s", None), ("1:00", None),
        ],
    )  # fmt: skip
    def test_of_a_video_of_100_frames(self, value: Any, number: int | None) -> None:
        if number is not None:
            assert position(Memory(), value) == number
            return
        with pytest.raises(ParameterError) as caught:
            position(Memory(), value)
        assert str(value) in str(caught.value)
        assert "0-99" in str(caught.value) or "0.000 s to 4.000 s" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value", [True, False, None, "", "12.5", "soon", "1:2:3:4", math.nan, math.inf, [5]])
    def test_what_is_none_is_refused(self, value: Any) -> None:
        with pytest.raises(ParameterError, match=r"a frame number .* or a time"):
            position(Memory(), value)

    def test_seconds_are_those_of_the_container(self) -> None:
        late = Memory(times=np.arange(100) / 25 + 10)
        assert position(late, 10.4) == 10
        assert position(late, 5.0) == 0
        assert position(late, "0:12") == 50
        early = Memory(times=np.arange(100) / 25 - 1)
        assert position(early, -0.52) == 12

    @given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50), st.integers(0, 10_000))
    def test_the_first_frame_that_is_not_before(self, stamps: list[int], wanted: int) -> None:
        times = np.sort(np.array(stamps)) / 1000
        video = Memory(times=times)
        if wanted / 1000 <= times[-1]:
            assert position(video, wanted / 1000) == int(np.searchsorted(times, wanted / 1000, "left"))

    def test_frames_of_unknown_time_are_never_met(self) -> None:
        times = np.arange(10) / 25
        times[6:] = np.nan
        assert position(Memory(times=times), 0.2) == 5
        assert position(Memory(times=times), 0.24) == 10
        assert position(Memory(times=times), 8) == 8

    def test_the_times_of_a_table_find_their_frames(self, tmp_path: Path) -> None:
        with open_video(write(tmp_path / "a.mp4", 30, fps=30)) as video:
            assert [position(video, round(float(time), 6)) for time in video.times] == list(range(30))


class TestExpanding:
    """Several videos, or one recording of many images."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def make(self, *names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(b"x")

    def test_a_folder_of_images_is_one_recording(self) -> None:
        self.make("frames/1.png", "frames/2.png", "frames/notes.txt")
        assert expand(["frames"]) == ["frames"]
        assert expand(["frames/*.png"]) == ["frames/*.png"]

    def test_a_folder_of_videos_is_several_in_natural_order(self) -> None:
        self.make("runs/run10.mp4", "runs/run9.MP4", "runs/run1.avi", "runs/readme.md", "runs/deep/x.mp4")
        assert expand(["runs"]) == ["runs/run1.avi", "runs/run9.MP4", "runs/run10.mp4"]
        assert expand(["runs/*.mp4", Path("runs/run9.MP4")]) == ["runs/run10.mp4", "runs/run9.MP4"]
        assert expand(["runs/**/*.mp4"]) == ["runs/deep/x.mp4", "runs/run10.mp4"]

    def test_a_pattern_of_folders_of_images_is_one_recording_each(self) -> None:
        self.make("build10/1.png", "build9/1.png", "build9/2.png")
        assert expand(["build*"]) == ["build9", "build10"]

    def test_tiff_of_many_pages_are_recordings_of_their_own(self) -> None:
        import cv2

        page = np.zeros((8, 8), np.uint8)
        for name in ("a.tif", "b.tif"):
            assert cv2.imwritemulti(name, [page] * 3)
        assert expand(["*.tif"]) == expand(["."]) == ["a.tif", "b.tif"]
        Path("single").mkdir()
        for name in ("single/a.tif", "single/b.tif"):
            assert cv2.imwrite(name, page)
        assert expand(["single/*.tif"]) == ["single/*.tif"]
        assert expand(["single"]) == ["single"]

    def test_names_that_do_not_exist_are_passed_on(self) -> None:
        assert expand(["nowhere.mp4", "b.mp4", "nowhere.mp4"]) == ["nowhere.mp4", "b.mp4"]

    def test_a_name_that_looks_like_a_pattern_but_exists_is_a_name(self) -> None:
        self.make("run[1].mp4")
        assert expand(["run[1].mp4"]) == ["run[1].mp4"]

    def test_a_pattern_that_matches_nothing_is_missing(self) -> None:
        with pytest.raises(MissingFileError, match=r"nothing matches \*\.mp4"):
            expand(["*.mp4"])

    def test_a_mixture_is_not_guessed_at(self) -> None:
        self.make("mixed/a.mp4", "mixed/b.png")
        for name in ("mixed", "mixed/*"):
            with pytest.raises(SpatterlibError, match="1 videos and 1 images"):
                expand([name])
