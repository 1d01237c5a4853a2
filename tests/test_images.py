"""Recordings that are images: folders, patterns, TIFF and .npy stacks, of 8 and 16 bits, grey and colour."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import SpatterlibError, VideoError
from spatterlib.video.names import in_natural_order
from spatterlib.video.opening import Recording

random = np.random.default_rng(11)
COUNT, HEIGHT, WIDTH = 12, 30, 40


def pixels(kind: str, dtype: str, count: int = COUNT) -> NDArray[Any]:
    """``(count, 30, 40[, 3])`` noise, RGB."""
    shape = (count, HEIGHT, WIDTH, 3) if kind == "colour" else (count, HEIGHT, WIDTH)
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    return random.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def scaled(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The stated rule: the range of the type becomes 0-255, rounded; grey becomes three equal channels."""
    top = 1 if values.dtype == np.bool_ else np.iinfo(values.dtype).max
    eight = np.rint(values.astype(np.float64) * 255 / top).astype(np.uint8)
    return eight if eight.ndim == 4 else np.repeat(eight[..., None], 3, 3)


def bgr(frame: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(frame[..., ::-1]) if frame.ndim == 3 else frame


def frames_of(video: Recording, start: int = 0, stop: int | None = None) -> list[NDArray[np.uint8] | None]:
    box = (0, 0, video.width, video.height)
    pictures = video.read(start, len(video.times) if stop is None else stop)
    return [None if picture is None else picture.rgb(box) for picture in pictures]


def write_folder(folder: Path, frames: NDArray[Any], suffix: str = ".png") -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames):
        (folder / f"frame{number}{suffix}").write_bytes(cv2.imencode(suffix, bgr(frame))[1].tobytes())
    return folder


def write_tiff(path: Path, frames: NDArray[Any], compression: int = 1) -> Path:
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    assert cv2.imwritemulti(str(path), [bgr(frame) for frame in frames], options)
    return path


@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
class TestEveryKind:
    """8 and 16 bits, grey and colour, come back by the stated rule, whole and in part."""

    def check(self, path: Path, frames: NDArray[Any]) -> None:
        with sp.open_video(path) as video:
            assert (video.width, video.height, len(video.times)) == (WIDTH, HEIGHT, len(frames))
            np.testing.assert_array_equal(np.array(frames_of(video)), scaled(frames))
            np.testing.assert_array_equal(np.array(frames_of(video, 5, 8)), scaled(frames[5:8]))
            [picture] = video.read(3, 4)
            assert picture is not None
            np.testing.assert_array_equal(picture.rgb((7, 4, 20, 11)), scaled(frames[3:4])[0, 4:15, 7:27])

    def test_in_a_folder_of_png(self, kind: str, dtype: str, tmp_path: Path) -> None:
        frames = pixels(kind, dtype)
        self.check(write_folder(tmp_path / "frames", frames), frames)

    def test_in_a_folder_of_single_tiff(self, kind: str, dtype: str, tmp_path: Path) -> None:
        frames = pixels(kind, dtype)
        self.check(write_folder(tmp_path / "frames", frames, ".tif"), frames)

    @pytest.mark.parametrize("compression", [1, 5, 8, 32773], ids=["none", "LZW", "deflate", "packbits"])
    def test_in_a_tiff_of_many_pages(self, kind: str, dtype: str, compression: int, tmp_path: Path) -> None:
        frames = pixels(kind, dtype)
        self.check(write_tiff(tmp_path / "stack.tif", frames, compression), frames)

    def test_in_an_npy_stack(self, kind: str, dtype: str, tmp_path: Path) -> None:
        frames = pixels(kind, dtype)
        np.save(tmp_path / "stack.npy", frames)
        self.check(tmp_path / "stack.npy", frames)

    def test_in_an_npy_stack_of_the_other_byte_order(self, kind: str, dtype: str, tmp_path: Path) -> None:
        frames = pixels(kind, dtype)
        np.save(tmp_path / "stack.npy", frames.astype(frames.dtype.newbyteorder()))
        self.check(tmp_path / "stack.npy", frames)


class TestScaling:
    """16 bits become 8 by the type alone."""

    def test_every_value_is_rounded(self, tmp_path: Path) -> None:
        values = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
        np.save(tmp_path / "all.npy", values)
        with sp.open_video(tmp_path / "all.npy") as video:
            [frame] = frames_of(video)
        assert frame is not None
        np.testing.assert_array_equal(frame[..., 0], (values[0].astype(np.int64) + 128) // 257)

    def test_does_not_depend_on_what_else_a_frame_shows(self, tmp_path: Path) -> None:
        values = np.full((2, 8, 8), 20000, np.uint16)
        values[1, 0, 0] = 65535
        np.save(tmp_path / "a.npy", values)
        with sp.open_video(tmp_path / "a.npy") as video:
            one, other = frames_of(video)
        assert one is not None
        assert other is not None
        assert one[4, 4, 0] == other[4, 4, 0] == 78

    def test_warns_where_a_camera_seems_to_leave_the_upper_bits_empty(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        np.save(tmp_path / "dim.npy", np.full((2, 8, 8), 4095, np.uint16))
        sp.open_video(tmp_path / "dim.npy")
        assert "brightest value of its first frame, 4095, becomes 16" in caplog.text

    def test_true_is_white(self, tmp_path: Path) -> None:
        frames = pixels("grey", "bool")
        np.save(tmp_path / "mask.npy", frames)
        with sp.open_video(tmp_path / "mask.npy") as video:
            np.testing.assert_array_equal(np.array(frames_of(video)), scaled(frames))


class TestChannels:
    """Transparency is dropped, one channel is grey."""

    @pytest.mark.parametrize("channels", [1, 4])
    def test_of_npy(self, channels: int, tmp_path: Path) -> None:
        frames = random.integers(0, 256, (3, 20, 30, channels), dtype=np.uint8)
        np.save(tmp_path / "a.npy", frames)
        with sp.open_video(tmp_path / "a.npy") as video:
            np.testing.assert_array_equal(
                np.array(frames_of(video)), np.broadcast_to(frames[..., : min(channels, 3)], (3, 20, 30, 3))
            )

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_of_files(self, suffix: str, tmp_path: Path) -> None:
        frame = random.integers(0, 256, (20, 30, 4), dtype=np.uint8)
        path = tmp_path / f"a{suffix}"
        path.write_bytes(cv2.imencode(suffix, frame)[1].tobytes())
        with sp.open_video(path) as video:
            np.testing.assert_array_equal(frames_of(video)[0], frame[..., 2::-1])

    def test_photographs_stand_upright(self, tmp_path: Path) -> None:
        image = np.zeros((40, 60, 3), np.uint8)
        image[:, :30, 0] = 255
        data = cv2.imencode(".jpg", bgr(image))[1].tobytes()
        # An EXIF segment that says: orientation 6, turn a quarter clockwise to view.
        exif = b"Exif\0\0MM\0\x2a\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
        turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
        (tmp_path / "photo.jpg").write_bytes(turned)
        with sp.open_video(tmp_path / "photo.jpg") as video:
            assert (video.width, video.height) == (40, 60)
            [frame] = frames_of(video)
        assert frame is not None
        assert frame[5, 20, 0] > 200
        assert frame[55, 20, 0] < 50


class TestOrder:
    """Numbers in names count."""

    def test_is_natural(self, tmp_path: Path) -> None:
        names = ["frame10.png", "frame9.png", "Frame1.png", "frame010b.png", "a2.png", "a10.png"]
        assert in_natural_order(names) == [
            "a2.png", "a10.png", "Frame1.png", "frame9.png", "frame10.png", "frame010b.png",
        ]  # fmt: skip

    def test_holds_for_folders_and_patterns(self, tmp_path: Path) -> None:
        frames = pixels("grey", "uint8", 23)
        folder = write_folder(tmp_path / "frames", frames)
        (folder / "notes.txt").write_text("x")
        (folder / "._frame0.png").write_bytes(b"left by a copy to a stick")
        for path in (folder, folder / "frame*.png"):
            with sp.open_video(path) as video:
                np.testing.assert_array_equal(np.array(frames_of(video)), scaled(frames))
        with sp.open_video(folder / "frame1?.png") as video:
            np.testing.assert_array_equal(np.array(frames_of(video)), scaled(frames[10:20]))
            assert video.name == str(Path("frames", "frame1?.png"))


class TestDamage:
    """An image that does not decode is None, not the end; nothing is said on the terminal."""

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
    @pytest.mark.parametrize("harm", ["cut", "empty", "text", "gone"])
    def test_of_a_file(self, suffix: str, harm: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        folder = write_folder(tmp_path / "frames", pixels("colour", "uint8"), suffix)
        with sp.open_video(folder) as video:
            bad = folder / f"frame4{suffix}"
            data = bad.read_bytes()
            bad.write_bytes({"cut": data[: len(data) // 2], "text": b"no image" * 50}.get(harm, b""))
            if harm == "gone":
                bad.unlink()
            got = frames_of(video)
        assert [number for number, frame in enumerate(got) if frame is None] == [4]
        assert "".join(capfd.readouterr()) == ""

    def test_of_the_first_file(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "frames", pixels("colour", "uint8"))
        (folder / "frame0.png").write_bytes(b"")
        with sp.open_video(folder) as video:
            assert (video.width, video.height) == (WIDTH, HEIGHT)
            assert [frame is None for frame in frames_of(video)] == [True] + [False] * 11

    def test_a_thumbnail_does_not_make_half_a_photograph_whole(self, tmp_path: Path) -> None:
        small, large = (cv2.imencode(".jpg", np.full((n, n, 3), 9, np.uint8))[1].tobytes() for n in (16, 400))
        inside = large[:2] + b"\xff\xe2" + struct.pack(">H", len(small) + 2) + small + large[2:]
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "a.jpg").write_bytes(inside)
        (folder / "b.jpg").write_bytes(inside[:-40])
        with sp.open_video(folder) as video:
            assert [frame is None for frame in frames_of(video)] == [False, True]

    def test_of_a_tiff_that_is_cut_off(self, tmp_path: Path) -> None:
        frames = pixels("grey", "uint16")
        path = write_tiff(tmp_path / "stack.tif", frames)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        with sp.open_video(path) as video:
            got = frames_of(video)
        assert len(got) == 8
        np.testing.assert_array_equal(np.array(got[:7]), scaled(frames[:7]))
        assert got[7] is None

    def test_of_one_page(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path = write_tiff(tmp_path / "stack.tif", pixels("grey", "uint8"), 8)
        data = bytearray(path.read_bytes())
        place = directories(data)[5]
        [strips] = [at for at in range(place + 2, place + 200, 12) if data[at : at + 2] == b"\x11\x01"]
        struct.pack_into("<I", data, strips + 8, len(data) - 10)
        path.write_bytes(data)
        with sp.open_video(path) as video:
            got = frames_of(video)
        assert [number for number, frame in enumerate(got) if frame is None] == [5]
        assert "".join(capfd.readouterr()) == ""

    def test_of_an_npy_that_is_cut_off(self, tmp_path: Path) -> None:
        frames = pixels("colour", "uint8", 10)
        np.save(tmp_path / "a.npy", frames)
        path = tmp_path / "a.npy"
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        with sp.open_video(path) as video:
            got = frames_of(video)
        assert [frame is None for frame in got] == [False] * 5 + [True] * 5
        np.testing.assert_array_equal(np.array(got[:5]), frames[:5])


class TestTiff:
    """Pages are found without walking over those before, in every flavour."""

    def big(self, path: Path, frames: NDArray[np.uint8], order: str) -> Path:
        """A BigTIFF, directories in front of the data."""
        mark = b"II" if order == "<" else b"MM"
        out = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        for number, frame in enumerate(frames):
            height, width = frame.shape
            values = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, 1), (278, height)]
            length = 8 + 9 * 20 + 8
            values += [(273, len(out) + length), (279, frame.size)]
            entries = b"".join(struct.pack(f"{order}HHQQ", tag, 16, 1, value) for tag, value in sorted(values))
            last = number == len(frames) - 1
            following = 0 if last else len(out) + length + frame.size
            out += struct.pack(f"{order}Q", 9) + entries + struct.pack(f"{order}Q", following) + frame.tobytes()
        path.write_bytes(out)
        return path

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_bigtiff_of_both_byte_orders(self, order: str, tmp_path: Path) -> None:
        frames = pixels("grey", "uint8")
        with sp.open_video(self.big(tmp_path / "big.tif", frames, order)) as video:
            np.testing.assert_array_equal(np.array(frames_of(video)), scaled(frames))

    def test_stacks_of_imagej_with_one_directory_for_all(self, tmp_path: Path) -> None:
        frames = pixels("grey", "uint16")
        said = b"ImageJ=1.54f\nimages=12\nslices=12\n\0"
        entries = [
            (256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
            (270, 2, len(said), 200), (273, 4, 1, 300), (277, 3, 1, 1), (278, 3, 1, HEIGHT),
            (279, 4, 1, WIDTH * HEIGHT * 2),
        ]  # fmt: skip
        head = b"MM" + struct.pack(">HIH", 42, 8, len(entries))
        for tag, type_, count, value in entries:
            head += struct.pack(">HHI", tag, type_, count) + struct.pack(
                ">HH" if type_ == 3 else ">I", *((value, 0) if type_ == 3 else (value,))
            )
        data = (head + bytes(4)).ljust(200, b"\0") + said.ljust(100, b"\0") + frames.astype(">u2").tobytes()
        (tmp_path / "long.tif").write_bytes(data)
        with sp.open_video(tmp_path / "long.tif") as video:
            np.testing.assert_array_equal(np.array(frames_of(video)), scaled(frames))

    def test_a_chain_that_bites_its_tail_ends(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "a.tif", pixels("grey", "uint8", 3))
        data = bytearray(path.read_bytes())
        first, *_, last = directories(data)
        struct.pack_into("<I", data, last + 2 + 12 * struct.unpack_from("<H", data, last)[0], first)
        path.write_bytes(data)
        with sp.open_video(path) as video:
            assert len(video.times) == 3


def directories(data: bytes | bytearray) -> list[int]:
    """Where the directory of each page of a little-endian TIFF is."""
    places, place = [], struct.unpack_from("<I", data, 4)[0]
    while place:
        places.append(place)
        entries = struct.unpack_from("<H", data, place)[0]
        place = struct.unpack_from("<I", data, place + 2 + 12 * entries)[0]
    return places


REFUSED: dict[str, tuple[Any, str]] = {
    "floats": (np.zeros((3, 8, 8)), "float64, whose black and white are not known; .*--range"),
    "signed": (np.zeros((3, 8, 8), np.int16), "int16"),
    "one frame": (np.zeros((8, 8), np.uint8), r"a\[None\]"),
    "one colour frame": (np.zeros((8, 8, 3), np.uint8), r"one colour image; save a\[None\]"),
    "two channels": (np.zeros((3, 8, 8, 2), np.uint8), "1, 3 or 4"),
    "nothing": (np.zeros((0, 8, 8), np.uint8), "no frames"),
    "no pixels": (np.zeros((3, 0, 8), np.uint8), "px"),
    "Fortran order": (np.asfortranarray(np.zeros((3, 8, 9), np.uint8)), "Fortran order"),
    "a table": (np.zeros(3, sp.DETECTION), "no grey values"),
}


class TestRefusals:
    """What is no recording is refused in one line that says how to make one."""

    def refused(self, path: Path, message: str) -> None:
        with pytest.raises(VideoError, match=message) as caught:
            sp.open_video(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", REFUSED)
    def test_of_npy(self, name: str, tmp_path: Path) -> None:
        array, message = REFUSED[name]
        np.save(tmp_path / "a.npy", array)
        self.refused(tmp_path / "a.npy", message)

    def test_of_npy_that_is_none_or_would_run_code(self, tmp_path: Path) -> None:
        (tmp_path / "text.npy").write_text("no stack")
        self.refused(tmp_path / "text.npy", r"is no \.npy file")
        np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
        self.refused(tmp_path / "objects.npy", "object")

    def test_of_files_that_are_no_images(self, tmp_path: Path) -> None:
        for name in ("a.png", "a.jpg"):
            (tmp_path / name).write_text("no image")
            self.refused(tmp_path / name, "none of its 1 images can be decoded")
        (tmp_path / "a.tif").write_text("no image")
        self.refused(tmp_path / "a.tif", "is no TIFF")

    def test_of_stacks_among_single_images(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "frames", pixels("grey", "uint8"))
        write_tiff(folder / "z.tif", pixels("grey", "uint8"))
        self.refused(folder, r"z\.tif holds several pages")

    def test_of_images_that_promise_to_fill_the_memory(self, tmp_path: Path) -> None:
        data = bytearray(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes())
        struct.pack_into(">II", data, 16, 50000, 50000)
        (tmp_path / "bomb.png").write_bytes(data)
        self.refused(tmp_path / "bomb.png", "none of its 1 images")
        path = write_tiff(tmp_path / "bomb.tif", pixels("grey", "uint8", 1))
        page = bytearray(path.read_bytes())
        for at in range(directories(page)[0] + 2, len(page) - 11, 12):
            if page[at : at + 2] in (b"\x00\x01", b"\x01\x01"):  # type: ignore[comparison-overlap]  # width, height
                page[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 50000)
        path.write_bytes(page)
        self.refused(path, "none of its 1 images")

    def test_of_floating_point_tiff(self, tmp_path: Path) -> None:
        assert cv2.imwrite(str(tmp_path / "a.tif"), np.zeros((8, 8), np.float32))
        self.refused(tmp_path / "a.tif", "holds float32")

    def test_of_sizes_that_change(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "frames", pixels("colour", "uint8"))
        (folder / "frame7.png").write_bytes(cv2.imencode(".png", np.zeros((31, 40, 3), np.uint8))[1].tobytes())
        with pytest.raises(SpatterlibError, match="frame 7 has 40x31 px, but the recording began with 40x30"):
            list(sp.detect(folder))


def test_times_are_assumed_and_that_is_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", pixels("colour", "uint8"))
    with sp.open_video(folder) as video:
        np.testing.assert_allclose(video.times, np.arange(12) / 25)
        facts = json.loads(json.dumps(video.identity()))
        assert facts["times"] == "assumed 25 fps"
        assert (facts["name"], facts["format"], facts["depth"], facts["frames"]) == ("frames", "images", "uint8", 12)
    with sp.open_video(folder, fps=1000) as video:
        np.testing.assert_allclose(video.times, np.arange(12) / 1000)
        assert video.identity()["times"] == "given 1000 fps"


def test_the_digest_depends_on_content_and_order(tmp_path: Path) -> None:
    frames = pixels("grey", "uint8")
    digests = []
    for name, values in (("a", frames), ("b", frames), ("c", frames[::-1])):
        with sp.open_video(write_folder(tmp_path / name, values)) as video:
            digests.append(video.identity()["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_every_kind_pickles(tmp_path: Path) -> None:
    frames = pixels("grey", "uint8")
    np.save(tmp_path / "a.npy", frames)
    for path in (write_folder(tmp_path / "a", frames), write_tiff(tmp_path / "a.tif", frames), tmp_path / "a.npy"):
        again = pickle.loads(pickle.dumps(sp.open_video(path)))
        np.testing.assert_array_equal(np.array(frames_of(again)), scaled(frames))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_stacks_are_never_loaded_whole(tmp_path: Path) -> None:
    stack = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (3000, 360, 480))
    del stack
    code = """
import sys
import spatterlib as sp
from spatterlib.video.opening import clips
with sp.open_video(sys.argv[1]) as video:
    frames = sum(len(clip.pictures) - clip.lead for clip in clips(video, lead=1, start=0, stop=3000))
print(frames, open('/proc/self/status').read().split('VmHWM:')[1].split()[0])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.npy")]
    frames, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert frames == 3000
    assert peak < 250_000  # KiB; the file has 518 MB
