"""Video files as cameras and programs leave them: headers that lie, and what else the standards did not foresee."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import number_of, write

import spatterlib as sp
from spatterlib.errors import VideoError
from spatterlib.video.cut import believed


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
