"""Images as cameras and programs leave them: names, TIFF of all kinds, Netpbm, animated PNG."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import number_of, paint, write
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import VideoError
from spatterlib.video.names import in_natural_order


def numbers(path: Path) -> list[int | None]:
    """What the frames of a recording show; None where one does not decode."""
    with sp.open_video(path) as video:
        whole = (0, 0, video.width, video.height)
        pictures = video.read(0, len(video.times))
        return [None if picture is None else number_of(picture.rgb(whole)) for picture in pictures]


def grey(number: int) -> NDArray[np.uint8]:
    return paint(number)[..., 0]


class TestNames:
    """Images are in the order of their numbers, with sign and decimals."""

    @pytest.mark.parametrize(
        "names",
        [
            ["shot_-10", "shot_-2", "shot_-1", "shot_0", "shot_7", "shot_11"],
            ["shot_-000002", "shot_-000001"],
            ["-1.5", "-0.5", "-0.25", "0", "+2", "10"],
            ["a-6.png", "a-1.png", "a0.png", "a5.png"],
            ["t=-2ms", "t=-1ms", "t=3ms"],
            ["1700000000.0", "1700000000.25", "1700000000.5", "1700000000.75", "1700000001.0"],
            ["0.25s.png", "0.5s.png", "1s.png", "1.125s.png"],
            ["scan 1.9", "scan 1.10", "scan 1.11", "scan 2.1"],
            ["v1.2.9", "v1.2.10"],
            ["a-1", "a-2", "a-10"],
            ["2024-04-30 23-59-59 1", "2024-05-01 00-00-00 0", "2024-05-01 00-00-10 0"],
            ["20240430T235959.750", "20240430T235959.950", "20240501T000000.050"],
        ],
    )
    def test_sort_by_what_they_say(self, names: list[str]) -> None:
        assert in_natural_order(reversed(names)) == names
        assert in_natural_order(sorted(names)) == names

    @given(st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), unique=True))
    def test_sort_as_their_numbers_do(self, values: list[float]) -> None:
        assert in_natural_order(f"cam_{value:.3f}s.png" for value in values) == [
            f"cam_{value:.3f}s.png" for value in sorted(values)
        ]

    @given(st.lists(st.text("a-+.1029_ ", max_size=8)))
    def test_every_name_is_there_in_an_order_that_does_not_depend_on_theirs(self, names: list[str]) -> None:
        assert sorted(in_natural_order(names)) == sorted(names)
        assert in_natural_order(names) == in_natural_order(names[::-1])

    def test_order_the_frames_of_a_folder(self, tmp_path: Path) -> None:
        for number in range(12):
            cv2.imwrite(str(tmp_path / f"shot_{number - 6:07d}.png"), grey(number))
        assert numbers(tmp_path) == list(range(12))
        assert numbers(tmp_path / "*.png") == list(range(12))

    def test_one_frame_in_two_formats_is_refused(self, tmp_path: Path) -> None:
        for number in range(3):
            for suffix in (".png", ".jpg"):
                cv2.imwrite(str(tmp_path / f"a{number}{suffix}"), grey(number))
        with pytest.raises(
            VideoError, match=r"a0\.jpg and a0\.png, one frame in two formats; name which, such as .*\*\.png"
        ):
            sp.open_video(tmp_path)
        assert numbers(tmp_path / "*.png") == [0, 1, 2]


class TestNetpbm:
    """A folder of .pgm or .ppm is a recording, and their greatest value is white."""

    @pytest.mark.parametrize("top", [1, 15, 255, 1023, 4095, 65535])
    @pytest.mark.parametrize("kind", ["P5", "P6"])
    def test_frames_of_any_depth(self, kind: str, top: int, tmp_path: Path) -> None:
        for number in range(12):
            values = (paint(number) if kind == "P6" else grey(number)).astype(np.uint32) * top // 255
            head = f"{kind}\n# a camera\n160 120\n{top}\n".encode()
            suffix = {"P5": "pgm", "P6": "ppm"}[kind]
            (tmp_path / f"{number}.{suffix}").write_bytes(head + values.astype(">u2" if top > 255 else "u1").tobytes())
        assert numbers(tmp_path) == list(range(12))
        with sp.open_video(tmp_path) as video:
            [picture] = video.read(11, 12)
            assert picture is not None
            assert picture.rgb((0, 0, 160, 120)).max() > 150

    def test_a_file_that_is_cut_is_no_frame(self, tmp_path: Path) -> None:
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{number}.pgm"), grey(number))
        (tmp_path / "1.pgm").write_bytes((tmp_path / "1.pgm").read_bytes()[:-1])
        assert numbers(tmp_path) == [0, None, 2]

    def test_a_size_that_is_only_promised_takes_no_memory(self, tmp_path: Path) -> None:
        (tmp_path / "a.pgm").write_bytes(b"P5 1000000 1000000 255\n" + bytes(100))
        with pytest.raises(VideoError, match="none of its 1 images"):
            sp.open_video(tmp_path / "a.pgm")


Entries = dict[int, tuple[int, int | bytes]]


def tiff(path: Path, pages: list[tuple[list[bytes], Entries]], order: str = "<") -> Path:
    """A TIFF file of strips and tags: types are 2 (text), 3 (16 bits) and 4 (32 bits)."""
    data = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 0))
    link = 4
    for strips, tags in pages:
        places = []
        for strip in strips:
            places.append(len(data))
            data += strip
        tiled = 322 in tags
        lengths = [len(strip) for strip in strips]
        packed = {324 if tiled else 273: (4, struct.pack(f"{order}{len(places)}I", *places))}
        packed[325 if tiled else 279] = (4, struct.pack(f"{order}{len(places)}I", *lengths))
        for tag, (type_, value) in tags.items():
            packed[tag] = (
                type_,
                value if isinstance(value, bytes) else struct.pack(order + {3: "H", 4: "I"}[type_], value),
            )
        entries = b""
        for tag, (type_, value) in sorted(packed.items()):
            count = len(value) // {2: 1, 3: 2, 4: 4}[type_]
            if len(value) > 4:
                value, place = struct.pack(order + "I", len(data)), value
                data += place
            entries += struct.pack(order + "HHI", tag, type_, count) + value.ljust(4, b"\0")
        struct.pack_into(order + "I", data, link, len(data))
        data += struct.pack(order + "H", len(packed)) + entries
        link = len(data)
        data += bytes(4)
    path.write_bytes(data)
    return path


def page(image: NDArray[Any], order: str = "<", **more: Any) -> tuple[list[bytes], Entries]:
    """A grey page without compression."""
    bits = image.dtype.itemsize * 8
    tags: Entries = {256: (4, image.shape[1]), 257: (4, image.shape[0]), 258: (3, bits), 259: (3, 1), 262: (3, 1)}
    tags |= {277: (3, 1), 278: (4, image.shape[0])}
    tags |= {int(tag[1:]): value for tag, value in more.items()}
    return [image.astype(image.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()], tags


def compressed(path: Path, code: int, rows: int, count: int = 12, colour: bool = False) -> Path:
    options = [cv2.IMWRITE_TIFF_COMPRESSION, code, cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows]
    assert cv2.imwritemulti(str(path), [paint(n) if colour else grey(n) for n in range(count)], options)
    return path


def strips_of(data: bytes | bytearray, number: int) -> list[tuple[int, int]]:
    """Place and length of the strips of a page of a little-endian TIFF."""
    place = struct.unpack_from("<I", data, 4)[0]
    for _ in range(number):
        place = struct.unpack_from("<I", data, place + 2 + 12 * struct.unpack_from("<H", data, place)[0])[0]
    found = {}
    for at in range(place + 2, place + 2 + 12 * struct.unpack_from("<H", data, place)[0], 12):
        tag, type_, count, value = struct.unpack_from("<HHII", data, at)
        size = {3: 2, 4: 4}.get(type_, 1)
        inside = count * size <= 4
        if tag in (273, 279):
            found[tag] = struct.unpack_from(f"<{count}{'H' if size == 2 else 'I'}", data, at + 8 if inside else value)
    return list(zip(found[273], found[279], strict=True))


LZW, DEFLATE, PACKBITS = 5, 8, 32773


class TestTiff:
    """A page that cannot be unpacked is no black picture; thumbnails are no frames; white may be zero."""

    @pytest.mark.parametrize("code", [LZW, DEFLATE, 32946, PACKBITS])
    @pytest.mark.parametrize("rows", [20, 7, 120])
    @pytest.mark.parametrize("colour", [False, True])
    def test_a_damaged_strip_costs_its_frame(self, code: int, rows: int, colour: bool, tmp_path: Path) -> None:
        path = compressed(tmp_path / "a.tif", code, rows, colour=colour)
        assert numbers(path) == list(range(12))
        data = bytearray(path.read_bytes())
        place, length = strips_of(data, 5)[-1]
        data[place + length // 3 : place + length] = b"\x7f" * (length - length // 3)
        path.write_bytes(data)
        assert numbers(path) == [*range(5), None, *range(6, 12)]

    @pytest.mark.parametrize("width", [160, 159])
    @pytest.mark.parametrize("code", [LZW, DEFLATE, PACKBITS])
    @pytest.mark.parametrize("colour", [False, True])
    def test_pages_that_are_whole_come_back_bit_by_bit(
        self, code: int, width: int, colour: bool, tmp_path: Path
    ) -> None:
        frames = [(paint(n) if colour else grey(n))[:, :width] for n in range(4)]
        options = [cv2.IMWRITE_TIFF_COMPRESSION, code, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 7]
        assert cv2.imwritemulti(str(tmp_path / "a.tif"), frames, options)
        with sp.open_video(tmp_path / "a.tif") as video:
            got = [picture.rgb((0, 0, width, 120)) for picture in video.read(0, 4) if picture is not None]
        expected = [frame if colour else np.repeat(frame[..., None], 3, 2) for frame in frames]
        np.testing.assert_array_equal(got, expected)

    @pytest.mark.parametrize("code", [6, 34712, 34925, 50000, 50001, 60000])
    def test_an_unknown_compression_is_refused(self, code: int, tmp_path: Path) -> None:
        path = tiff(tmp_path / "a.tif", [page(grey(n), t259=(3, code)) for n in range(4)])
        with pytest.raises(VideoError, match=rf"compressed as .*\({code}\), which is not read; save them as LZW"):
            sp.open_video(path)

    def test_an_unknown_compression_of_one_page_is_no_black_picture(self, tmp_path: Path) -> None:
        pages = [page(grey(n), t259=(3, 34712 if n == 2 else 1)) for n in range(4)]
        assert numbers(tiff(tmp_path / "a.tif", pages)) == [0, 1, None, 3]
        (tmp_path / "folder").mkdir()
        for number, one in enumerate(pages):
            tiff(tmp_path / "folder" / f"{number}.tif", [one])
        assert numbers(tmp_path / "folder") == [0, 1, None, 3]

    @pytest.mark.parametrize("kind", [1, 4, 5])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_thumbnails_and_masks_are_no_frames(self, order: str, kind: int, tmp_path: Path) -> None:
        pages = []
        for number in range(12):
            pages += [page(grey(number), order), page(grey(number)[::4, ::4], order, t254=(4, kind))]
        assert numbers(tiff(tmp_path / "a.tif", pages, order)) == list(range(12))
        assert numbers(tiff(tmp_path / "b.tif", pages[1:], order))[1:] == [] or numbers(tmp_path / "b.tif") == [
            *range(1, 12)
        ]

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_white_may_be_zero(self, order: str, dtype: Any, tmp_path: Path) -> None:
        factor = 257 if dtype == np.uint16 else 1
        pages = [page(~(grey(n).astype(dtype) * dtype(factor)), order, t262=(3, 0)) for n in range(4)]
        assert numbers(tiff(tmp_path / "a.tif", pages, order)) == [0, 1, 2, 3]

    @pytest.mark.parametrize("suffix", [".btf", ".tf8", ".ome.btf", ".ome.tif"])
    def test_other_names_of_tiff(self, suffix: str, tmp_path: Path) -> None:
        assert numbers(tiff(tmp_path / f"a{suffix}", [page(grey(n)) for n in range(4)])) == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("said", "wrong"),
        [
            (b"ImageJ=1.53\nimages=24\nchannels=3\nframes=8\nhyperstack=true\nmode=composite\n", "3 channels"),
            (b"ImageJ=1.53\nimages=24\nslices=3\nframes=8\nhyperstack=true\n", "3 depths of 8 times"),
            (b'<OME><Image><Pixels SizeC="2" SizeT="6" SizeZ="1"/></Image></OME>', "2 channels"),
            (
                b'<OME><Image><Pixels SizeC="1" SizeT="6" SizeZ="2"/></Image></OME>',
                "2 depths of 6",
            ),
        ],
    )
    def test_channels_and_depths_are_no_frames(self, said: bytes, wrong: str, tmp_path: Path) -> None:
        pages = [page(grey(0), t270=(2, said + b"\0"))] + [page(grey(0)) for _ in range(23)]
        with pytest.raises(VideoError, match=f"{wrong}.*as a stack of its own"):
            sp.open_video(tiff(tmp_path / "a.tif", pages))

    @pytest.mark.parametrize(
        "said",
        [
            b"ImageJ=1.53\nimages=6\nslices=6\n",
            b"ImageJ=1.53\nimages=6\nframes=6\n",
            b'<OME><Image><Pixels SizeC="1" SizeT="6" SizeZ="1"/></Image></OME>',
            b"camera 7, channels=3",
        ],
    )
    def test_a_stack_of_one_axis_is_a_recording(self, said: bytes, tmp_path: Path) -> None:
        pages = [page(grey(0), t270=(2, said + b"\0"))] + [page(grey(n)) for n in range(1, 6)]
        assert numbers(tiff(tmp_path / "a.tif", pages)) == list(range(6))

    def test_tiles_are_looked_at_too(self, tmp_path: Path) -> None:
        def tiles(number: int) -> tuple[list[bytes], Entries]:
            image = np.pad(grey(number), ((0, 8), (0, 32)))
            parts = [image[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
            tags = page(grey(number))[1] | {259: (3, DEFLATE), 322: (4, 64), 323: (4, 64)}
            del tags[278]
            return [zlib.compress(part.tobytes()) for part in parts], tags

        pages = [tiles(number) for number in range(4)]
        assert numbers(tiff(tmp_path / "a.tif", pages)) == [0, 1, 2, 3]
        pages[2][0][4] = pages[2][0][4][:40] + b"\x55" * (len(pages[2][0][4]) - 40)
        assert numbers(tiff(tmp_path / "a.tif", pages)) == [0, 1, None, 3]


class TestAnimatedPng:
    """A PNG with frames is a video, not its first picture."""

    def test_has_its_frames(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.apng", 6, codec="apng", pixels="rgb24")
        assert numbers(path.rename(tmp_path / "a.png")) == list(range(6))

    def test_among_images_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "a.apng", 6, codec="apng", pixels="rgb24").rename(tmp_path / "a.png")
        cv2.imwrite(str(tmp_path / "b.png"), grey(0))
        with pytest.raises(VideoError, match=r"a\.png holds several pages"):
            sp.open_video(tmp_path)


def test_a_folder_of_pgm_is_one_recording_for_commands_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.pgm"), grey(number))
    with caplog.at_level(logging.WARNING, "spatterlib"):
        assert sp.open_video(tmp_path / "*.pgm").times.tolist() == [0, 0.04, 0.08, 0.12]
    assert caplog.text == ""
