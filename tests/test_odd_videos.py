"""Video files as cameras and programs leave them: headers that lie, and what else the standards did not foresee."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from h264_fields import write_fields
from media import number_of, paint, write

import spatterlib as sp
from spatterlib.errors import VideoError
from spatterlib.live.source import open_source
from spatterlib.video import container
from spatterlib.video.container import Container
from spatterlib.video.cut import believed
from spatterlib.video.fields import SecondFields


def numbers(path: Path | str) -> list[int | None]:
    """What the frames of a recording show; None where one does not decode."""
    with sp.open_video(path) as video:
        whole = (0, 0, video.width, video.height)
        pictures = video.read(0, len(video.times))
        return [None if picture is None else number_of(picture.rgb(whole)) for picture in pictures]


def jpeg(path: Path, count: int = 20) -> Path:
    return write(path, count, codec="mjpeg", pixels="yuvj420p")


class TestHeadersThatLie:
    """Nothing is allocated from a promise; what stands behind the last element is no cut."""

    @pytest.mark.parametrize(("length", "cut"), [(0xFFFFFFFF, False), (0x7FFFFFFF, True), (0, False)])
    @pytest.mark.parametrize("codec", ["mjpeg", "rawvideo", "ffv1"])
    def test_an_avi_from_a_pipe_has_the_frames_that_are_there(
        self, codec: str, length: int, cut: bool, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "a.avi", 20, codec=codec, pixels="yuvj420p" if codec == "mjpeg" else "yuv420p")
        data = bytearray(path.read_bytes())
        data = data[: data.index(b"idx1")]
        struct.pack_into("<I", data, 4, length)
        struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 1 << 30)
        struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 1 << 30)
        path.write_bytes(data)
        assert numbers(path) == list(range(20))
        with sp.open_video(path) as video:
            assert video.identity().get("cut", False) == cut

    def test_an_npy_has_the_frames_that_are_there(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        np.save(tmp_path / "a.npy", np.zeros((12, 48, 64), np.uint8))
        data = (tmp_path / "a.npy").read_bytes()
        (tmp_path / "a.npy").write_bytes(data.replace(b"(12, 48, 64), }         ", b"(1200000000, 48, 64), } "))
        with caplog.at_level(logging.WARNING, "spatterlib"), sp.open_video(tmp_path / "a.npy") as video:
            assert len(video.times) == 12
        assert "its head says 1200000000 frames, it holds 12" in caplog.text

    def test_an_imagej_stack_has_the_images_that_are_there(self, tmp_path: Path) -> None:
        said = b"ImageJ=1.54f\nimages=99999999999\n\0"
        entries = [(256, 16), (257, 12), (258, 8), (259, 1), (262, 1), (270, 200), (273, 300), (278, 12), (279, 192)]
        head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
        for tag, value in entries:
            head += struct.pack("<HHII", tag, 2 if tag == 270 else 4, len(said) if tag == 270 else 1, value)
        data = (head + bytes(4)).ljust(200, b"\0") + said.ljust(100, b"\0") + bytes(192 * 5)
        (tmp_path / "a.tif").write_bytes(data)
        with sp.open_video(tmp_path / "a.tif") as video:
            assert 5 <= len(video.times) <= 6

    def test_a_strip_of_a_tiff_that_promises_much_is_damaged(self, tmp_path: Path) -> None:
        entries = [(256, 16), (257, 12), (258, 8), (259, 1), (262, 1), (273, 300), (278, 12), (279, 0xFFFFFFF0)]
        head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
        head += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        (tmp_path / "a.tif").write_bytes((head + bytes(4)).ljust(300, b"\0") + bytes(192))
        with pytest.raises(VideoError, match="none of its 1 images"):
            sp.open_video(tmp_path / "a.tif")

    @pytest.mark.parametrize(
        "trailer", [b"Camera 7\xff\xff\xff\xff data" * 40, bytes(range(256)), b"\x7f\xff\xff\xffmakr" + bytes(90)]
    )
    @pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.avi", "a.mkv", "a.ts"])
    def test_what_a_camera_appends_is_no_cut(
        self, name: str, trailer: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write(tmp_path / name, 20)
        path.write_bytes(path.read_bytes() + trailer)
        assert numbers(path) == list(range(20))
        with sp.open_video(path) as video:
            assert len(video.times) == 20
            assert "cut" not in video.identity()
        assert "cut off" not in caplog.text

    def test_a_box_that_is_longer_than_the_film_is_no_cut(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", 20, mux={"movflags": "faststart"})
        data = bytearray(path.read_bytes())
        place = data.index(b"mdat") - 4
        data[place : place + 4] = (1 << 30).to_bytes(4, "big")
        path.write_bytes(data)
        assert numbers(path) == list(range(20))
        with sp.open_video(path) as video:
            assert "cut" not in video.identity()

    @pytest.mark.parametrize(("found", "missing", "right"), [(60, 600, True), (60, 1 << 30, False), (60, -1, False)])
    def test_a_promise_is_measured_by_what_is_there(self, found: int, missing: int, right: bool) -> None:
        assert believed(found, missing) is right


def paletted(path: Path, codec: str, count: int = 30) -> Path:
    """A film of 8 bits and a palette that is upside down."""
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0], palette[:, 1:] = 255, np.arange(255, -1, -1)[:, None]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "pal8"
        for number in range(count):
            pair: Any = 255 - paint(number)[..., 0], palette.copy()
            frame = av.VideoFrame.from_ndarray(pair, "pal8")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


class TestWhatADecoderLearns:
    """What the first packet brings along for the decoder survives every seek."""

    @pytest.mark.parametrize(
        ("name", "codec"), [("a.avi", "rawvideo"), ("a.mov", "rawvideo"), ("b.mov", "smc"), ("b.avi", "msrle")]
    )
    def test_a_palette_holds_from_anywhere(self, name: str, codec: str, tmp_path: Path) -> None:
        path = paletted(tmp_path / name, codec)
        assert numbers(path) == list(range(30))
        with sp.open_video(path) as video:
            for start in (20, 7, 29, 0, 13):
                [picture] = video.read(start, start + 1)
                assert picture is not None
                assert number_of(picture.rgb((0, 0, 160, 120))) == start

    def test_a_palette_travels_to_another_process(self, tmp_path: Path) -> None:
        video = pickle.loads(pickle.dumps(sp.open_video(paletted(tmp_path / "a.avi", "rawvideo")).video))
        [picture] = video.read(17, 18)
        assert number_of(picture.rgb((0, 0, 160, 120))) == 17

    def test_a_palette_that_changes_holds_from_where_it_changes(self, tmp_path: Path) -> None:
        first, second = (paletted(tmp_path / name, "rawvideo").read_bytes() for name in ("a.avi", "b.avi"))
        assert first == second
        # A chunk xxpc replaces colours from the given one on: here all of them, by black.
        chunk = struct.pack("<4sIBBH", b"00pc", 4 + 1024, 0, 0, 0) + bytes(1024)
        place = first.index(b"movi") - 8
        frames = first.index(b"idx1")
        size = (frames - first.index(b"00dc", place)) // 30
        at = first.index(b"00dc", place) + 20 * size
        data = bytearray(first[:at] + chunk + first[at:frames])
        struct.pack_into("<I", data, 4, len(data) - 8)
        struct.pack_into("<I", data, place + 4, len(data) - place - 8)
        path = tmp_path / "c.avi"
        path.write_bytes(data)
        assert numbers(path) == [*range(20), *[0] * 10]
        with sp.open_video(path) as video:
            shown = [next(iter(video.read(at, at + 1))) for at in (25, 5, 21, 0)]
        assert [number_of(picture.rgb((0, 0, 160, 120))) for picture in shown if picture] == [0, 5, 0, 0]


def rewritten(path: Path, change: Any) -> Path:
    """The same container with packets changed: `change` gets number and bytes of each."""
    out_path = path.with_name(f"changed_{path.name}")
    with av.open(str(path)) as source, av.open(str(out_path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                new: Any = av.Packet(change(number, bytes(packet)))
                new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
                new.duration, new.stream, new.is_keyframe = packet.duration, stream, packet.is_keyframe
                out.mux(new)
    return out_path


class TestPicturesThatADecoderInvents:
    """A JPEG that was cut short is no picture, though FFmpeg paints its rest grey."""

    @pytest.mark.parametrize("name", ["a.avi", "a.mov", "a.mkv"])
    @pytest.mark.parametrize("pixels", ["yuvj420p", "yuvj444p"])
    @pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
    def test_of_frames_cut_short(self, name: str, pixels: str, share: float, tmp_path: Path) -> None:
        path = write(tmp_path / name, 20, codec="mjpeg", pixels=pixels)
        path = rewritten(path, lambda number, data: data[: int(share * len(data))] if number in (5, 13) else data)
        assert numbers(path) == watched(path) == [None if number in (5, 13) else number for number in range(20)]

    def test_of_lossless_jpeg(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.avi", 20, codec="ljpeg", pixels="bgr24")
        path = rewritten(path, lambda number, data: data[:-2000] if number == 7 else data)
        assert numbers(path) == watched(path) == [*range(7), None, *range(8, 20)]

    @pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.nut"])
    @pytest.mark.parametrize(("group", "lost"), [("1", [13]), ("12", list(range(13, 24)))])
    @pytest.mark.parametrize("slices", ["4", "9"])
    def test_of_ffv1_whose_check_sums_are_wrong(
        self, name: str, group: str, lost: list[int], slices: str, tmp_path: Path
    ) -> None:
        options = {"slicecrc": "1", "level": "3", "slices": slices, "g": group}
        path = write(tmp_path / name, 30, codec="ffv1", options=options)
        assert numbers(path) == list(range(30))
        place = np.random.default_rng(4).integers(40, 400)
        path = rewritten(path, lambda n, data: data[:place] + b"\x55\xaa\x55" + data[place + 3 :] if n == 13 else data)
        assert numbers(path) == [None if number in lost else number for number in range(30)]
        with sp.open_video(path) as video:
            assert [next(iter(video.read(at, at + 1))) is None for at in (23, 13, 12)] == [23 in lost, True, False]

    def test_of_ffv1_without_check_sums_nothing_is_known(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mkv", 20, codec="ffv1", options={"slicecrc": "0", "level": "3"})
        assert numbers(path) == list(range(20))

    @pytest.mark.parametrize(
        "habit",
        [lambda data: data[:-2], lambda data: data + bytes(9), lambda data: data[:2] + b"\xff\xe3\0\1" + data[2:]],
    )
    def test_but_what_cameras_leave_out_or_add_is_no_damage(self, habit: Any, tmp_path: Path) -> None:
        path = rewritten(jpeg(tmp_path / "a.avi"), lambda _, data: habit(data))
        assert numbers(path) == list(range(20))


def several(path: Path, films: list[tuple[int, tuple[int, int]]], codecs: list[str], default: int) -> Path:
    """A file of several video streams: how many frames each has, and their size; the first frame shows number 100."""
    with av.open(str(path), "w") as out:
        streams: list[Any] = []
        for index, ((_, size), codec) in enumerate(zip(films, codecs, strict=True)):
            stream: Any = out.add_stream(codec, rate=25)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = Disposition.default if index == default else Disposition(0)
            streams.append(stream)
        for (count, size), stream in zip(films, streams, strict=True):
            for number in range(count):
                content = paint(number + 100 * (count < 60), *size)
                frame: Any = av.VideoFrame.from_ndarray(content, "rgb24").reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def watched(path: Path) -> list[int | None]:
    """Numbers of the frames that a watch of a file sees."""
    source = open_source(str(path), idle=0.05)
    try:
        return [
            None if picture is None else number_of(picture.rgb((0, 0, *picture.shape[::-1])))
            for _, _, picture in source.frames
        ]
    finally:
        source.close()


class TestWhichStream:
    """The stream that a player shows is read, and what is left out is said."""

    @pytest.mark.parametrize(("name", "default"), [("a.mp4", 0), ("a.mp4", 1), ("a.mov", 0), ("a.mkv", 1)])
    def test_a_film_comes_before_a_still(
        self, name: str, default: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = several(tmp_path / name, [(1, (160, 120)), (60, (160, 120))], ["mjpeg", "libx264"], default)
        assert numbers(path) == list(range(60))
        assert "holds 2 video streams; stream 1 is read, as players do, and not stream 0 (mjpeg" in caplog.text

    def test_a_preview_is_left_out(self, tmp_path: Path) -> None:
        path = several(tmp_path / "a.mkv", [(3, (80, 64)), (60, (160, 120))], ["libx264", "libx264"], 1)
        assert numbers(path) == list(range(60))

    def test_a_watch_sees_what_a_player_shows(self, tmp_path: Path) -> None:
        path = several(tmp_path / "a.mkv", [(3, (80, 64)), (60, (160, 120))], ["libx264", "libx264"], 1)
        assert watched(path) == list(range(60))

    def test_a_stream_that_begins_late_is_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        films = []
        for pid, name in ((256, "a.ts"), (300, "b.ts")):
            films.append(write(tmp_path / name, 60, mux={"mpegts_start_pid": str(pid)}).read_bytes())
        (tmp_path / "c.ts").write_bytes(b"".join(films))
        assert numbers(tmp_path / "c.ts") == list(range(60))
        assert "c.ts holds 2 video streams; stream 0 is read" in caplog.text

    def test_streams_that_were_joined_lose_no_frame(self, tmp_path: Path) -> None:
        for coding in ("bframes=0:keyint=12:log-level=none", "bframes=3:b-adapt=0:keyint=12:log-level=none"):
            film = write(tmp_path / "a.ts", 60, x264=coding).read_bytes()
            (tmp_path / "b.ts").write_bytes(film * 3)
            assert numbers(tmp_path / "b.ts") == [*range(60)] * 3


class TestFields:
    """A packet is not a frame: two fields are one."""

    @pytest.mark.parametrize("name", ["a.ts", "a.m2ts", "a.mp4", "a.mkv", "a.avi", "a.flv", "a.h264"])
    @pytest.mark.parametrize("together", [False, True])
    def test_coded_apart_are_one_frame_in_any_container(self, name: str, together: bool, tmp_path: Path) -> None:
        path = write_fields(tmp_path / name, together=together)
        assert numbers(path) == list(range(24))
        with sp.open_video(path) as video:
            assert len(video.times) == 24
            for start in (23, 5, 17, 12):
                [picture] = video.read(start, start + 1)
                assert picture is not None
                assert number_of(picture.rgb((0, 0, 160, 120))) == start
            if name != "a.avi":
                np.testing.assert_allclose(np.diff(video.times), 0.04)

    def test_of_the_high_profile(self, tmp_path: Path) -> None:
        assert numbers(write_fields(tmp_path / "a.mkv", 30, high=True)) == list(range(30))

    def test_with_any_number_of_threads(self, tmp_path: Path) -> None:
        video = container.spatter_open_video(str(write_fields(tmp_path / "a.ts")), None)
        assert isinstance(video, Container)
        for threads in (1, 2, 5):
            pictures = dataclasses.replace(video, threads=threads).read(3, 20)
            assert [number_of(picture.rgb((0, 0, 160, 120))) for picture in pictures if picture] == list(range(3, 20))

    @pytest.mark.parametrize("form", ["tff=1", "bff=1", "fake-interlaced=1"])
    def test_coded_together_are_frames_as_ever(self, form: str, tmp_path: Path) -> None:
        coding = f"{form}:bframes=3:b-adapt=0:keyint=12:scenecut=0:log-level=none"
        for name in ("a.mp4", "a.ts"):
            assert numbers(write(tmp_path / name, 30, x264=coding)) == list(range(30))

    @pytest.mark.parametrize(
        "data", [b"", b"\0\0\1", b"\0\0\1\x67", b"\0\0\1\x67\x4d\0\x1e\0\0", b"\xff" * 90, bytes(90)]
    )
    def test_what_is_no_parameter_set_is_no_field(self, data: bytes) -> None:
        for extradata in (data, b"\1" + data):
            assert not SecondFields(extradata).ends(data + b"\0\0\1\x65\x88\x84" + data)


class TestCoarseClocks:
    """Frames that a clock gives one time stay in order, and the clock is told of."""

    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [
            ("a.mkv", "libx264", {}),
            ("a.flv", "libx264", {}),
            ("b.mkv", "libx265", {"x265-params": "log-level=none:keyint=12:bframes=3:b-adapt=0"}),
            ("c.mkv", "mpeg4", {"bf": "2", "b": "4M"}),
        ],
    )
    @pytest.mark.parametrize("fps", [1500, 3100])
    def test_equal_times_keep_the_order(
        self, name: str, codec: str, options: dict[str, str], fps: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write(tmp_path / name, 60, codec=codec, options=options, fps=fps)
        assert numbers(path) == list(range(60))
        with sp.open_video(path) as video:
            assert (np.diff(video.times) >= 0).all()
            [picture] = video.read(41, 42)
            assert picture is not None
            assert number_of(picture.rgb((0, 0, 160, 120))) == 41
        assert "too coarse for them; give the camera's rate (fps, --fps)" in caplog.text
        with sp.open_video(path, fps=fps) as video:
            np.testing.assert_allclose(np.diff(video.times), 1 / fps)

    @pytest.mark.parametrize("fps", [25, 400, 999])
    def test_a_clock_that_is_fine_enough_is_no_news(
        self, fps: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert numbers(write(tmp_path / "a.mkv", 60, fps=fps)) == list(range(60))
        assert caplog.text == ""


@pytest.mark.parametrize("name", ["a.avi", "a.wmv", "a.mxf", "a.h264"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"])
def test_containers_that_hold_times_of_decoding_only_are_put_in_order(name: str, pixels: str, tmp_path: Path) -> None:
    assert numbers(write(tmp_path / name, 40, pixels=pixels)) == list(range(40))


class TestDepthAndRate:
    """What fills few of its bits is told of; a rate in the stream itself is read."""

    @pytest.mark.parametrize(
        ("name", "codec"), [("a.mkv", "ffv1"), ("a.avi", "ffv1"), ("a.mov", "png"), ("b.nut", "rawvideo")]
    )
    @pytest.mark.parametrize("bits", [10, 12, 16])
    def test_values_of_few_bits_in_16(
        self, name: str, codec: str, bits: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        pixels = "gray16be" if codec == "png" else "gray16le"
        with av.open(str(tmp_path / name), "w") as out:
            stream: Any = out.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, pixels
            for number in range(3):
                grey: Any = paint(number + 1)[..., 0].astype(np.uint16) << (bits - 8)
                frame: Any = av.VideoFrame.from_ndarray(grey, "gray16le").reformat(format=pixels)
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        with sp.open_video(tmp_path / name):
            assert ("16 bits are scaled by 255/65535" in caplog.text) == (bits < 16)

    @pytest.mark.parametrize("fps", [10, 24, 60, 500])
    def test_the_rate_of_an_elementary_stream(self, fps: int, tmp_path: Path) -> None:
        x265 = {"x265-params": "log-level=none:keyint=12"}
        for name, codec, options in (("a.h264", "libx264", {}), ("a.hevc", "libx265", x265)):
            with sp.open_video(write(tmp_path / name, 20, codec=codec, fps=fps, options=options)) as video:
                np.testing.assert_allclose(video.times, np.arange(20) / fps)
                assert video.identity()["times"] == f"assumed {fps} fps"
