"""Video files: exact numbers, the container's times, the decoder's own pixels, every frame accounted for."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import cut, damage, number_of, paint, turn, write, write_sound
from numpy.typing import NDArray
from recordings import RECORDINGS

import spatterlib as sp
from spatterlib.errors import VideoError
from spatterlib.plugins.pictures import YuvPicture
from spatterlib.video import container
from spatterlib.video.container import Container
from spatterlib.video.ffmpeg import open_input

OPEN_GOP = "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12:log-level=none"
FORMATS: dict[str, dict[str, Any]] = {
    "frames.mp4": {},
    "open gop.mp4": {"x264": OPEN_GOP},
    "fragmented.mp4": {"mux": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}},
    "frames.mkv": {},
    "frames.ts": {"x264": OPEN_GOP},
    "frames.flv": {},
    "h264 with B-frames.avi": {},
    "no time stamps.h264": {},
    "no time stamps, no B-frames.h264": {"x264": "bframes=0:keyint=12:log-level=none"},
    "intra refresh.mp4": {"x264": "intra-refresh=1:keyint=20:bframes=0:log-level=none"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12"}},
    "mpeg4 with B-frames.avi": {"codec": "mpeg4", "options": {"bf": "2", "b": "2M"}},
    "jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "lossless.mkv": {"codec": "ffv1"},
    "vp8.webm": {"codec": "libvpx", "options": {"b": "1M", "auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "row-mt": "0", "lag-in-frames": "16"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "b": "2M"}},
    "wmv2.asf": {"codec": "wmv2", "options": {"b": "2M"}},
}


def opened(path: Path, threads: int = 0) -> Container:
    video = container.spatter_open_video(str(path), None)
    assert isinstance(video, Container)
    return dataclasses.replace(video, threads=threads)


def shown(video: Container, start: int = 0, stop: int | None = None) -> list[NDArray[np.uint8] | None]:
    """RGB of the frames, None where one does not decode."""
    box = (0, 0, video.width, video.height)
    pictures = video.read(start, len(video.times) if stop is None else stop)
    return [None if picture is None else picture.rgb(box) for picture in pictures]


def numbers(video: Container, start: int = 0, stop: int | None = None) -> list[int | None]:
    return [None if frame is None else number_of(frame) for frame in shown(video, start, stop)]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in zip(one, other, strict=True)
    )


class TestNumbers:
    """A frame has its number, however the container stores it and wherever reading begins."""

    @pytest.mark.parametrize("name", FORMATS)
    def test_are_exact_and_reading_from_anywhere_gives_the_same_frames(self, name: str, tmp_path: Path) -> None:
        video = opened(write(tmp_path / name, **FORMATS[name]))
        whole = shown(video)
        assert [None if frame is None else number_of(frame) for frame in whole] == list(range(60))
        random = np.random.default_rng(1)
        spans = [sorted(random.choice(61, 2, replace=False).tolist()) for _ in range(6)]
        for start, stop in [*spans, [59, 60], [12, 13], [11, 13]]:
            assert same(shown(video, start, stop), whole[start:stop]), (start, stop)

    @pytest.mark.parametrize("name", ["frames.mp4", "frames.ts", "lossless.mkv", "vp9.webm"])
    def test_and_pixels_do_not_depend_on_the_number_of_threads(self, name: str, tmp_path: Path) -> None:
        path = write(tmp_path / name, **FORMATS[name])
        assert same(shown(opened(path, threads=1)), shown(opened(path, threads=4)))

    def test_frames_that_are_not_meant_to_be_shown_have_none(self, tmp_path: Path) -> None:
        # Negative time stamps make an edit list: the first 20 frames are decoded for those behind them only.
        video = opened(write(tmp_path / "edited.mp4", pts=list(range(-20, 40))))
        assert numbers(video) == list(range(20, 60))
        assert numbers(video, 7, 9) == [27, 28]
        assert video.times[0] == pytest.approx(0)

    def test_hidden_reference_pictures_of_vp8_have_none(self, tmp_path: Path) -> None:
        path = write(tmp_path / "vp8.webm", **FORMATS["vp8.webm"])
        data = bytearray(path.read_bytes())
        with av.open(str(path)) as source:
            packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        for hidden in (15, 30):
            data[data.index(packets[hidden])] &= ~0x10
        path.write_bytes(data)
        video = opened(path)
        assert numbers(video) == [number for number in range(60) if number not in (15, 30)]

    def test_go_on_where_the_clock_was_reset(self, tmp_path: Path) -> None:
        one, two = (write(tmp_path / f"{n}.ts", 50, x264=OPEN_GOP) for n in "ab")
        joined = tmp_path / "joined.ts"
        joined.write_bytes(one.read_bytes() + two.read_bytes())
        video = opened(joined)
        got = numbers(video)
        # The transport stream's packet counter jumps at the seam, so its last packet may pass for damaged.
        assert got.count(None) <= 1
        assert all(value in (None, number % 50) for number, value in enumerate(got))
        assert len(got) == 100
        assert numbers(video, 60, 62) == [10, 11]
        np.testing.assert_allclose(np.diff(video.times), 0.04, atol=1e-6)

    def test_two_readers_at_once_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        video = opened(write(tmp_path / "frames.mp4"))
        pairs = zip(video.read(0, 30), video.read(30, 60), strict=True)
        got = [[number_of(p.rgb((0, 0, 160, 120))) for p in pair if p] for pair in pairs]
        assert got == [[number, number + 30] for number in range(30)]

    def test_key_frames_are_known_without_decoding(self, tmp_path: Path) -> None:
        assert opened(write(tmp_path / "a.mp4")).keyframes.tolist() == [0, 12, 24, 36, 48]
        assert opened(write(tmp_path / "b.avi")).keyframes.tolist() == [0]


class TestTimes:
    """Times are the container's."""

    @pytest.mark.parametrize("name", ["slowing.mp4", "slowing.mkv"])
    def test_of_a_variable_frame_rate_to_the_millisecond(self, name: str, tmp_path: Path) -> None:
        stamps = [int(1.7 * k * k) + 7 * k for k in range(60)]
        video = opened(write(tmp_path / name, pts=stamps, clock=Fraction(1, 1000)))
        np.testing.assert_allclose(video.times, np.array(stamps) / 1000, rtol=0, atol=1e-9)
        assert numbers(video) == list(range(60))

    def test_are_not_shifted_to_zero(self, tmp_path: Path) -> None:
        video = opened(write(tmp_path / "late.mkv", pts=list(range(250, 310))))
        np.testing.assert_allclose(video.times, np.arange(250, 310) / 25)

    def test_are_assumed_only_where_there_are_none_and_that_is_said(self, tmp_path: Path) -> None:
        raw = opened(write(tmp_path / "raw.h264"))
        assert raw.identity()["times"] == "assumed 25 fps"
        np.testing.assert_allclose(raw.times, np.arange(60) / 25)
        assert opened(write(tmp_path / "a.mp4")).identity()["times"] == "container"

    def test_twice_the_same_keep_both_frames(self, tmp_path: Path) -> None:
        stamps = [0, 40, 40, 80, 120, 120, *range(160, 160 + 40 * 20, 40)]
        path = tmp_path / "twice.mkv"
        with av.open(str(path), "w") as out:
            stream: Any = out.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
            for number, stamp in enumerate(stamps):
                frame = av.VideoFrame.from_ndarray(paint(number), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                for packet in stream.encode(frame):
                    packet.pts = packet.dts = stamp
                    packet.time_base = Fraction(1, 1000)
                    out.mux(packet)
        video = opened(path)
        assert (video.times * 1000).round().astype(int).tolist() == stamps
        assert numbers(video) == list(range(len(stamps)))


class TestPixels:
    """What is shown is what was stored."""

    @pytest.mark.parametrize("size", [(641, 361), (640, 360), (33, 17)])
    def test_lossless_rgb_of_any_size_comes_back_bit_by_bit(self, size: tuple[int, int], tmp_path: Path) -> None:
        video = opened(write(tmp_path / "rgb.mkv", 3, codec="ffv1", pixels="bgr0", size=size))
        assert (video.width, video.height) == size
        for number, frame in enumerate(shown(video)):
            np.testing.assert_array_equal(frame, paint(number, *size))

    @pytest.mark.parametrize(
        "pixels",
        [
            *("yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuvj420p", "yuva420p"),
            *("gray", "yuv420p10le", "gray10le", "bgra"),
        ],
    )
    @pytest.mark.parametrize("size", [(641, 361), (320, 240)])
    def test_of_every_format_agree_with_ffmpegs_conversion(
        self, pixels: str, size: tuple[int, int], tmp_path: Path
    ) -> None:
        codec = "mjpeg" if pixels == "yuvj420p" else "ffv1"
        path = write(tmp_path / "frames.mkv", 2, codec=codec, pixels=pixels, size=size)
        video = opened(path)
        with av.open(str(path)) as source:
            theirs = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
        for picture, other in zip(video.read(0, 2), theirs, strict=True):
            assert picture is not None
            ours = picture.rgb((0, 0, *size)).astype(int)
            # FFmpeg interpolates coarse chroma, ours is replicated; these frames are grey, so they agree.
            assert np.abs(ours - other).max() <= 3
            assert isinstance(picture, YuvPicture) == (pixels.startswith("yuv") and not pixels.endswith("10le"))
            x, y, width, height = 101, 3, 117, 90
            np.testing.assert_array_equal(picture.rgb((x, y, width, height)), ours[y : y + height, x : x + width])

    @pytest.mark.parametrize(("space", "weights"), [(1, (0.2126, 0.0722)), (6, (0.299, 0.114)), (9, (0.2627, 0.0593))])
    @pytest.mark.parametrize("span", [1, 2])
    def test_follow_the_colour_space_and_range_of_the_frame(
        self, space: int, weights: tuple[float, float], span: int, tmp_path: Path
    ) -> None:
        path = tmp_path / "colour.mkv"
        planes = np.random.default_rng(5).integers(16, 236, (3, 48, 64), dtype=np.uint8)
        with av.open(str(path), "w") as out:
            stream: Any = out.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
            stream.codec_context.colorspace, stream.codec_context.color_range = space, span
            frame = av.VideoFrame.from_ndarray(planes, "yuv444p")
            frame.colorspace, frame.color_range = space, span
            out.mux([*stream.encode(frame), *stream.encode(None)])
        [got] = shown(opened(path))
        y, u, v = planes.astype(float)
        luma, chroma = (1.0, 1.0) if span == 2 else (255 / 219, 255 / 224)
        y, u, v = (y - (0 if span == 2 else 16)) * luma, (u - 128) * chroma, (v - 128) * chroma
        red_weight, blue_weight = weights
        red, blue = y + 2 * (1 - red_weight) * v, y + 2 * (1 - blue_weight) * u
        green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
        expected = np.clip(np.stack([red, green, blue], 2), 0, 255)
        assert got is not None
        assert np.abs(got - expected).max() <= 1.0

    @pytest.mark.parametrize("mirrored", [False, True])
    @pytest.mark.parametrize("quarters", [0, 1, 2, 3])
    def test_stand_upright_as_the_display_matrix_says(self, quarters: int, mirrored: bool, tmp_path: Path) -> None:
        upright = paint(0b101100111010, 160, 120)
        stored = np.rot90(upright[:, ::-1] if mirrored else upright, -quarters)
        height, width = stored.shape[:2]
        path = tmp_path / "turned.mp4"
        with av.open(str(path), "w") as out:
            stream: Any = out.add_stream("libx264rgb", rate=25, options={"qp": "0", "x264-params": "log-level=none"})
            stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), "rgb24")
            out.mux([*stream.encode(frame), *stream.encode(None)])
        video = opened(turn(path, 90 * quarters, mirrored))
        assert (video.width, video.height) == (160, 120)
        [picture] = video.read(0, 1)
        assert picture is not None
        assert picture.shape == (120, 160)
        np.testing.assert_array_equal(picture.rgb((0, 0, 160, 120)), upright)
        np.testing.assert_array_equal(picture.rgb((31, 7, 50, 20)), upright[7:27, 31:81])
        out_array = np.empty((20, 50, 3), np.uint8)
        assert picture.rgb((31, 7, 50, 20), out_array) is out_array
        np.testing.assert_array_equal(out_array, upright[7:27, 31:81])

    def test_stay_valid_while_reading_goes_on(self, tmp_path: Path) -> None:
        video = opened(write(tmp_path / "frames.mp4"))
        kept = list(video.read(0, 60))
        for _ in video.read(0, 60):
            pass
        video.close()
        assert [number_of(picture.rgb((0, 0, 160, 120))) for picture in kept if picture] == list(range(60))

    def test_lie_where_they_say(self, tmp_path: Path) -> None:
        [picture] = opened(write(tmp_path / "frames.mp4")).read(5, 6)
        assert isinstance(picture, YuvPicture)
        planes = (picture.y, picture.u, picture.v)
        places = np.frombuffer(picture.places, np.int64).reshape(3, 2).tolist()
        assert places == [[plane.ctypes.data, plane.strides[0]] for plane in planes]

    def test_cannot_be_written_to(self, tmp_path: Path) -> None:
        [picture] = opened(write(tmp_path / "frames.mp4")).read(5, 6)
        assert isinstance(picture, YuvPicture)
        with pytest.raises(ValueError, match="read-only"):
            picture.y[0, 0] = 1


class TestRecordings:
    """Files as real cameras and editors write them."""

    def test_have_all_their_frames(self, recording: Path) -> None:
        video = opened(recording)
        assert len(video.times) == RECORDINGS[recording.name]
        assert sum(picture is not None for picture in video.read(0, len(video.times))) == len(video.times)
        assert (np.diff(video.times) > 0).all()

    def test_look_as_ffmpeg_and_opencv_convert_them(self, recording: Path) -> None:
        video = opened(recording)
        box = (0, 0, video.width, video.height)
        with av.open(str(recording)) as source:
            for number, (frame, picture) in enumerate(zip(source.decode(video=0), video.read(0, 60), strict=False)):
                assert picture is not None
                assert frame.pts is not None
                assert frame.pts * float(frame.time_base or 0) == pytest.approx(video.times[number])
                if number % 20:
                    continue
                ours = picture.rgb(box)
                # FFmpeg's conversion is less exact: it is fast first.
                difference = np.abs(ours.astype(int) - frame.to_ndarray(format="rgb24"))
                assert difference.mean() < 1.5
                assert difference.max() < 24
                if frame.colorspace != 1:
                    theirs = cv2.cvtColor(frame.to_ndarray(format="yuv420p"), cv2.COLOR_YUV2RGB_I420)
                    np.testing.assert_array_equal(ours, theirs)

    def test_give_the_same_frames_from_anywhere(self, recording: Path) -> None:
        video = opened(recording)
        for start in (137, 260, 399):
            ahead = shown(video, start - 20, start + 1)
            assert same(shown(video, start, start + 1), ahead[-1:])


class TestDamage:
    """Packets damaged in the middle: go on, and every number stays exact."""

    @pytest.mark.parametrize(
        "name", ["jpeg.avi", "frames.mp4", "frames.mkv", "mpeg4 with B-frames.avi", "lossless.mkv"]
    )
    def test_costs_the_frames_it_hits_and_no_others(self, name: str, tmp_path: Path) -> None:
        path = write(tmp_path / name, **FORMATS[name])
        # A packet that nothing else refers to: the last of its group in the order of decoding.
        bad, hit = damage(path, [11, 35, 47, 59])
        got = numbers(opened(bad))
        assert [number for number in range(60) if got[number] is None] == hit
        assert all(value in (None, number) for number, value in enumerate(got))

    @pytest.mark.parametrize("name", ["frames.mp4", "vp9.webm", "hevc.mp4", "mpeg4 with B-frames.avi"])
    def test_gives_the_same_frames_for_any_number_of_threads_and_any_start(self, name: str, tmp_path: Path) -> None:
        path = write(tmp_path / name, **FORMATS[name])
        bad, _ = damage(path, [3, 24, 31, 50, 57], spare=6)
        whole = shown(opened(bad, threads=1))
        assert 0 < sum(frame is None for frame in whole) < 40
        video = opened(bad, threads=4)
        assert same(shown(video), whole)
        for start, stop in [(1, 60), (5, 9), (24, 40), (30, 60), (45, 58), (59, 60)]:
            assert same(shown(video, start, stop), whole[start:stop]), (start, stop)

    @pytest.mark.parametrize("lost", [[], [24, 31, 50]], ids=["whole", "damaged"])
    @pytest.mark.parametrize("name", FORMATS)
    def test_a_piece_for_another_process_reads_what_the_whole_reads(
        self, name: str, lost: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("spatterlib.video.packets._AROUND", 2)
        path = write(tmp_path / name, **FORMATS[name])
        if lost and not name.startswith("no time stamps"):
            path, _ = damage(path, lost, spare=6)
        video = opened(path, threads=1)
        random = np.random.default_rng(2)
        end = len(video.times)
        spans = [sorted(random.choice(end + 1, 2, replace=False).tolist()) for _ in range(4)]
        for start, stop in [*spans, [end - 1, end], [12, 13], [0, end]]:
            part = pickle.loads(pickle.dumps(video.piece(start, stop))).opened()
            assert same(shown(part, start, stop), shown(video, start, stop)), (start, stop)
            np.testing.assert_array_equal(part.times[start:stop], video.times[start:stop])

    @pytest.mark.parametrize("name", ["frames.mp4", "frames.mkv", "hevc.mp4", "mpeg4 with B-frames.avi"])
    def test_to_a_frame_that_others_refer_to_costs_those_behind_it_up_to_the_next_key_frame(
        self, name: str, tmp_path: Path
    ) -> None:
        path = write(tmp_path / name, **FORMATS[name])
        # The packet behind a key frame: all others of its group are made from it.
        bad, [hit] = damage(path, [25])
        video = opened(bad)
        got, [behind] = numbers(video), video.keyframes[video.keyframes > hit][:1]
        if got[hit] is None:
            assert got[hit:behind] == [None] * (behind - hit)
        assert got[behind:] == list(range(behind, 60))

    @pytest.mark.parametrize(("name", "most"), [("lossless.mkv", 0), ("jpeg.avi", 24), ("frames.mp4", 36)])
    def test_at_40_places_leaves_hardly_a_frame_that_is_not_what_it_counts_as(
        self, name: str, most: int, tmp_path: Path
    ) -> None:
        data, random = write(tmp_path / name, **FORMATS[name]).read_bytes(), np.random.default_rng(3)
        decoded = wrong = 0
        for _ in range(40):
            bad, place = bytearray(data), int(random.integers(len(data) // 20, len(data)))
            length = min(int(random.choice([1, 4, 30, 188])), len(data) - place)
            bad[place : place + length] = random.bytes(length)
            (tmp_path / f"bad_{name}").write_bytes(bad)
            with suppress(VideoError), sp.open_video(tmp_path / f"bad_{name}") as video:
                times = video.times - video.times[0]
                for time, frame in zip(times, numbers(video.video), strict=True):  # type: ignore[arg-type]
                    decoded += frame is not None
                    wrong += frame is not None and frame != round(float(np.nan_to_num(time)) * 25)
        assert decoded > 1800
        assert wrong <= most

    def test_of_every_packet_leaves_no_frame_and_ends(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.avi", codec="ffv1")
        bad, _ = damage(path, range(60))
        assert numbers(opened(bad)) == [None] * 60

    def test_where_only_the_decoder_knows_the_order_is_counted(self, tmp_path: Path) -> None:
        bad, [lost] = damage(write(tmp_path / "a.avi"), [29])
        got = numbers(opened(bad))
        assert got.count(None) == 1
        assert len(got) == 60
        assert got[48:] == list(range(48, 60))
        assert got[: lost - 16] == list(range(lost - 16))

    def test_says_nothing_on_the_terminal(self, tmp_path: Path) -> None:
        bad, _ = damage(write(tmp_path / "a.mp4"), [5, 30])
        code = (
            "import sys, spatterlib as sp\n"
            "with sp.open_video(sys.argv[1]) as video: print(len(list(video.read(0, 60))))"
        )
        done = subprocess.run([sys.executable, "-c", code, str(bad)], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("60\n", "")


class TestCutOff:
    """A file cut at 60 %: what is left is read, and what the head promised is missed."""

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("index first.mp4", {"mux": {"movflags": "faststart"}}),
            ("frames.mkv", {}),
            ("jpeg.avi", FORMATS["jpeg.avi"]),
            ("mpeg4 with B-frames.avi", FORMATS["mpeg4 with B-frames.avi"]),
            ("vp9.webm", FORMATS["vp9.webm"]),
        ],
    )
    def test_all_frames_are_expected(
        self, name: str, options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        video = opened(cut(write(tmp_path / name, **options)))
        got = numbers(video)
        assert 56 <= len(got) <= 60
        decoded = [number for number, value in enumerate(got) if value is not None]
        assert 20 <= len(decoded) <= 40
        assert got[:20] == list(range(20))
        assert np.isnan(video.times[45:]).all()
        assert video.identity()["cut"] is True
        assert "is cut off at its end" in caplog.text

    def test_frames_of_the_last_fragment_are_expected(self, tmp_path: Path) -> None:
        got = numbers(opened(cut(write(tmp_path / "a.mp4", **FORMATS["fragmented.mp4"]))))
        assert got[:24] == list(range(24))
        assert None in got

    def test_a_stream_that_does_not_tell_its_length_is_read_to_its_end(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        video = opened(cut(write(tmp_path / "a.ts")))
        got = numbers(video)
        assert 25 <= len(got) < 60
        assert got[:25] == list(range(25))
        assert "unknown number of frames" in caplog.text

    def test_without_its_index_it_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match=r"cut_a\.mp4 .*index \(moov\) is missing"):
            opened(cut(write(tmp_path / "a.mp4")))

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
    def test_whole_files_are_not_taken_for_cut(self, name: str, tmp_path: Path) -> None:
        assert "cut" not in opened(write(tmp_path / name)).identity()


def text(path: Path) -> None:
    path.write_text("this is no video\n" * 200)


def no_frames(path: Path) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "empty_moov"}) as out:
        stream: Any = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()


class TestRefusals:
    """What is no video is refused in one line that says what it is."""

    @pytest.mark.parametrize(
        ("name", "make", "said"),
        [
            ("text.mp4", text, "is no video that can be read"),
            ("notes.txt", text, "holds no video, only text"),
            ("empty.mp4", lambda path: path.write_bytes(b""), "the file is empty"),
            ("sound.m4a", write_sound, "holds no video, only audio"),
            ("nothing.mp4", no_frames, "without any frames"),
        ],
    )
    def test_in_one_line(self, name: str, make: Callable[[Path], object], said: str, tmp_path: Path) -> None:
        make(tmp_path / name)
        with pytest.raises(VideoError, match=said) as caught:
            sp.open_video(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_there_is_left_to_others(self, tmp_path: Path) -> None:
        assert container.spatter_open_video(str(tmp_path / "nowhere.mp4"), None) is None
        assert container.spatter_open_video(str(tmp_path), None) is None


@pytest.mark.parametrize("name", ["layer 1:30.mp4", "%03d.mp4", "Schweißspritzer 熔融.mp4", "-i.mp4"])
def test_names_of_all_kinds_are_opened(name: str, tmp_path: Path) -> None:
    video = opened(write(tmp_path / name, 3))
    assert numbers(video) == [0, 1, 2]
    assert video.name == name


def test_identity_is_json_and_depends_on_the_content(tmp_path: Path) -> None:
    one, other = opened(write(tmp_path / "a.mp4", 5)), opened(write(tmp_path / "b.mp4", 6))
    facts = json.loads(json.dumps(one.identity()))
    assert facts["name"] == "a.mp4"
    assert facts["codec"] == "h264"
    assert (facts["width"], facts["height"], facts["frames"], facts["fps"]) == (160, 120, 5, 25.0)
    assert facts["digest"].startswith("sha256:")
    assert facts["digest"] != other.identity()["digest"]


def test_it_pickles_and_reads_on_in_another_process(tmp_path: Path) -> None:
    video = opened(write(tmp_path / "a.mp4", 10))
    list(video.read(0, 10))
    again = pickle.loads(pickle.dumps(video))
    assert numbers(again) == numbers(video) == list(range(10))
    video.close()
    video.close()


def test_pictures_that_travel_leave_their_addresses_behind(tmp_path: Path) -> None:
    video = opened(write(tmp_path / "a.mp4", 10))
    clip = sp.Clip([picture for picture in video.read(0, 10) if picture], video.times, 1, 1)
    detector = sp.make("detector", "frame-difference")
    for again in (pickle.loads(pickle.dumps(clip)), copy.deepcopy(clip)):
        assert [getattr(picture, "places", None) for picture in again.pictures] == [b""] * 10
        np.testing.assert_array_equal(again.frames, clip.frames)
        np.testing.assert_array_equal(detector(again), detector(clip))


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    video = opened(write(tmp_path / "one.mp4", 1))
    assert numbers(video) == [0]
    assert video.identity()["fps"] is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", 600, codec="mpeg4", size=(480, 360), repeat=12)
    code = """
import sys
import spatterlib as sp
from spatterlib.video.opening import clips
with sp.open_video(sys.argv[1]) as video:
    peaks = []
    for clip in clips(video, lead=1, start=0, stop=600):
        status = open('/proc/self/status').read()
        peaks.append(int(status.split('VmHWM:')[1].split()[0]))
    print(peaks[3], peaks[-1])
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late - early < 30_000  # KiB; the planes of the whole take 150 MB
    assert late < 300_000


def named_in_latin_1(path: Path, suffix: str) -> Path:
    """A video whose comment is not UTF-8, as cameras of some makers write them."""
    source = write(path / f"plain{suffix}", 5, x264="bframes=0:log-level=none")
    named = path / f"named{suffix}"
    with av.open(str(source)) as old, av.open(str(named), "w") as new:
        new.metadata["comment"] = "Gerxt 7"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = named.read_bytes()
    assert b"Gerxt 7" in data
    named.write_bytes(data.replace(b"Gerxt 7", b"Ger\xe4t 7"))
    return named


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi"])
def test_metadata_in_any_encoding_never_keep_a_video_from_opening(suffix: str, tmp_path: Path) -> None:
    video = opened(named_in_latin_1(tmp_path, suffix))
    assert [number_of(frame) for frame in shown(video) if frame is not None] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("version", "told"), [("17.0.0", True), ("18.1.0", True), ("19.0.2", False), ("20.0.0", False)]
)
def test_no_version_of_pyav_is_handed_an_option_that_it_does_not_know(
    version: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[dict[str, Any]] = []
    monkeypatch.setattr(av, "__version__", version)
    monkeypatch.setattr(av, "open", lambda source, **options: handed.append(options))
    open_input("file:any.mp4", timeout=1)
    assert handed == [{"timeout": 1, **({"metadata_errors": "ignore"} if told else {})}]


def test_only_one_module_opens_with_pyav() -> None:
    """What a newer PyAV changes is mended once; two modules write videos."""
    house = Path(sp.__file__).parent
    readers = {
        path.name
        for path in [*house.rglob("*.py"), *(house.parent / "plugins").rglob("spatterlib_*/*.py")]
        if "av.open(" in path.read_text(encoding="utf-8")
    }
    assert readers == {"ffmpeg.py", "lookback.py", "writer.py"}


def test_want_of_memory_is_no_flaw_of_the_recording() -> None:
    """A decoder that could not be opened may not be asked again: PyAV 19 crashes then."""

    def stream(number: int) -> Any:
        def decode(_: Any) -> None:
            raise av.FFmpegError(number, "said by FFmpeg")

        return SimpleNamespace(codec_context=SimpleNamespace(decode=decode))

    assert container._try(stream(errno.EINVAL), None) == []
    with pytest.raises(VideoError, match="not enough memory"):
        container._try(stream(errno.ENOMEM), None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_and_its_parent_read_the_same_opened_video(tmp_path: Path) -> None:
    """A file that is open in both has one position: what one reads, the other misses."""
    video = opened(write(tmp_path / "v.mp4", 400), threads=1)
    whole = numbers(video)
    go, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go, 1)
        os._exit(0 if numbers(video) == whole else 1)
    reading = video.read(0, 400)
    parents = [next(reading) for _ in range(20)]
    os.write(told, b"1")
    assert os.waitpid(child, 0)[1] == 0
    parents += reading
    box = (0, 0, video.width, video.height)
    assert [None if picture is None else number_of(picture.rgb(box)) for picture in parents] == whole
    os.close(go)
    os.close(told)
    video.close()
