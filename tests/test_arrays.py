"""Frames in arrays: datasets of HDF5, MATLAB and Zarr, ``.npy``; any order of axes, any values, a given range."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import struct
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from media import number_of, paint
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.cli.main import cli
from spatterlib.errors import MissingFileError, OutputExistsError, ParameterError, VideoError
from spatterlib.video.opening import Recording, expand
from spatterlib.video.still import eight_bits

random = np.random.default_rng(7)
NUMBERS = ("uint8", "uint16", "int16", "uint32", "float16", "float32", "float64", "bool")


def expected(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """The stated rule, number by number: ``low`` is black, ``high`` is white, halves are rounded up, NaN is black."""

    def level(value: float) -> int:
        share = (value - low) / (high - low) * 255
        return 0 if math.isnan(share) else max(0, min(255, math.floor(min(max(share, -1), 256) + 0.5)))

    return np.array([level(float(value)) for value in values.ravel()], np.uint8).reshape(values.shape)


def frames_of(video: Recording, start: int = 0, stop: int | None = None) -> list[NDArray[np.uint8] | None]:
    box = (0, 0, video.width, video.height)
    pictures = video.read(start, len(video.times) if stop is None else stop)
    return [None if picture is None else picture.rgb(box).copy() for picture in pictures]


def write_h5(path: Path, values: NDArray[Any], **options: Any) -> str:
    with h5py.File(path, "w") as file:
        file.create_dataset("/entry/frames", data=values, **options)
    return f"{path}::/entry/frames"


def write_zarr(path: Path, values: NDArray[Any]) -> str:
    chunks = tuple(max(1, min(5, length) if axis == 0 else length) for axis, length in enumerate(values.shape))
    zarr.create_array(str(path), name="entry/frames", data=values, chunks=chunks)
    return f"{path}::/entry/frames"


def write_npy(path: Path, values: NDArray[Any]) -> str:
    np.save(path, values)
    return str(path)


WRITERS = {"a.h5": write_h5, "a.zarr": write_zarr, "a.npy": write_npy}


@given(
    values=st.lists(st.floats(-1e4, 1e5) | st.just(math.nan) | st.just(math.inf), min_size=1, max_size=20),
    low=st.integers(-1000, 1000),
    width=st.integers(1, 70000),
)
def test_every_value_becomes_the_nearest_level(values: list[float], low: int, width: int) -> None:
    given_ = np.array([values], np.float64)
    got, right = eight_bits(given_, (low, low + width)), expected(given_, low, low + width)  # type: ignore[arg-type]
    # Of a value half way between two levels a rounding error decides.
    half = np.abs(np.nan_to_num(given_ - low, posinf=0) / width * 255 % 1 - 0.5) < 1e-9
    np.testing.assert_array_equal(got[~half], right[~half])
    assert (np.abs(got.astype(int) - right)[half] <= 1).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
def test_without_a_range_a_type_has_its_own(dtype: str) -> None:
    every = np.arange(2 if dtype == "bool" else np.iinfo(dtype).max + 1).reshape(1, -1).astype(dtype)
    full = (0, 1 if dtype == "bool" else np.iinfo(dtype).max)
    np.testing.assert_array_equal(eight_bits(every, full), eight_bits(every))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_values_of_any_type(name: str, dtype: str, tmp_path: Path) -> None:
    values = (random.random((12, 9, 16)) * (1 if dtype == "bool" else 200)).round().astype(dtype)
    with sp.open_video(WRITERS[name](tmp_path / name, values), value_range=(10, 150)) as video:
        assert (video.width, video.height, len(video.times)) == (16, 9, 12)
        for number, frame in enumerate(frames_of(video, 3, 11), 3):
            assert frame is not None
            np.testing.assert_array_equal(frame[..., 0], expected(values[number], 10, 150))
        assert video.identity()["value_range"] == [10, 150]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("axes", ["".join(order) for order in itertools.permutations("tyx")] + ["tyxc", "ctyx", "yxct"])
def test_axes_in_any_order(name: str, axes: str, tmp_path: Path) -> None:
    shape = {"t": 11, "y": 9, "x": 16, "c": 3}
    values = random.integers(0, 256, [shape[axis] for axis in axes]).astype(np.uint8)
    with sp.open_video(WRITERS[name](tmp_path / name, values), axes=axes) as video:
        frames = frames_of(video, 2, 10)
        assert video.identity()["axes"] == axes
    for number, frame in enumerate(frames, 2):
        here: NDArray[Any] = np.take(values, [number], axes.index("t")).squeeze(axes.index("t"))
        order = [axes.replace("t", "").index(axis) for axis in "yxc" if axis in axes]
        right = here.transpose(order)
        assert frame is not None
        np.testing.assert_array_equal(frame, right if right.ndim == 3 else np.repeat(right[..., None], 3, 2))


def test_what_matlab_calls_rows_columns_time(tmp_path: Path) -> None:
    """MATLAB 7.3 writes HDF5 behind a block of text, its axes the other way round, and says its class."""
    frames = random.integers(0, 256, (12, 9, 16)).astype(np.uint8)
    with h5py.File(tmp_path / "shot.mat", "w", userblock_size=512) as file:
        file["frames"] = frames.transpose(0, 2, 1)
        file["frames"].attrs["MATLAB_class"] = np.bytes_("uint8")
    with (tmp_path / "shot.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    with sp.open_video(f"{tmp_path / 'shot.mat'}::/frames") as video:
        np.testing.assert_array_equal([f[..., 0] for f in frames_of(video) if f is not None], frames)
    with pytest.raises(VideoError, match=r"name one that holds frames: .*shot\.mat::/frames"):
        sp.open_video(tmp_path / "shot.mat")


def test_an_older_matlab_file_says_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM" + bytes(500))
    for name in ("old.mat", "old.mat::/frames"):
        with pytest.raises(VideoError, match=r"-v7\.3"):
            sp.open_video(tmp_path / name)


@pytest.mark.parametrize("chunk", [1, 4, 12, None])
def test_reading_anywhere_is_reading_all(chunk: int | None, tmp_path: Path) -> None:
    values = random.integers(0, 256, (12, 9, 16)).astype(np.uint8)
    options: dict[str, Any] = {} if chunk is None else {"chunks": (chunk, 9, 16), "compression": "gzip"}
    with sp.open_video(write_h5(tmp_path / "a.h5", values, **options)) as video:
        for start, stop in itertools.combinations(range(13), 2):
            got = frames_of(video, start, stop)
            np.testing.assert_array_equal([f[..., 0] for f in got if f is not None], values[start:stop])


def test_a_damaged_chunk_loses_its_frames_and_no_other(tmp_path: Path) -> None:
    values = random.integers(0, 256, (12, 9, 16)).astype(np.uint8)
    name = write_h5(tmp_path / "a.h5", values, chunks=(1, 9, 16), compression="gzip", fletcher32=True)
    with h5py.File(tmp_path / "a.h5") as file:
        place = file["/entry/frames"].id.get_chunk_info(5)
    with (tmp_path / "a.h5").open("r+b") as raw:
        raw.seek(place.byte_offset + place.size // 2)
        raw.write(b"\x55\xaa\x55")
    with sp.open_video(name) as video:
        frames = frames_of(video)
    assert [number for number, frame in enumerate(frames) if frame is None] == [5]
    np.testing.assert_array_equal([f[..., 0] for f in frames if f is not None], np.delete(values, 5, 0))


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_a_file_whose_dataset_is_not_named_offers_them(name: str, tmp_path: Path) -> None:
    named = WRITERS[name](tmp_path / name, np.zeros((12, 9, 16), np.uint8))
    for asked in ("", "::/nothing", "::/entry"):
        with pytest.raises(VideoError, match="name one that holds frames") as caught:
            sp.open_video(f"{tmp_path / name}{asked}")
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        (np.zeros((4, 9, 16), np.float32), {}, "value_range"),
        (np.zeros((4, 9, 16), np.int16), {}, "value_range"),
        (np.zeros((4, 9, 16), np.complex64), {"value_range": (0, 1)}, "complex64"),
        (np.zeros((9, 16), np.uint8), {}, r"3 axes|\(n, h, w\)"),
        (np.zeros((4, 9, 16, 7), np.uint8), {}, "channels|1, 3 or 4"),
        (np.zeros((4, 9, 16), np.uint8), {"axes": "tyxc"}, "axes"),
        (np.zeros((0, 9, 16), np.uint8), {}, "no frames"),
        (np.zeros((4, 0, 16), np.uint8), {}, "px"),
    ],
)
@pytest.mark.parametrize("name", WRITERS)
def test_what_are_no_frames(
    name: str, values: NDArray[Any], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(VideoError, match=says) as caught:
        sp.open_video(WRITERS[name](tmp_path / name, values), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value_range", [(1, 0), (1, 1), (0,), (0, 1, 2), "0,9", 5, (0, math.nan), (0, math.inf), (None, 1)]
)
def test_a_range_that_is_none(value_range: Any) -> None:
    with pytest.raises(ParameterError, match="value_range"):
        sp.open_video("any.npy", value_range=value_range)


@pytest.mark.parametrize("axes", ["", "ty", "tyy", "tyxz", "TYX", 3, ("t", "y", "x")])
def test_an_order_of_axes_that_is_none(axes: Any) -> None:
    with pytest.raises(ParameterError, match="axes"):
        sp.open_video("any.npy", axes=axes)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        sp.open_video(f"{tmp_path}/no.h5::/frames")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(VideoError, match="no HDF5 file"):
        sp.open_video(f"{tmp_path}/text.h5::/frames")


def test_a_file_that_is_called_so_is_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "odd::name.npy", np.zeros((3, 9, 16), np.uint8))
    with sp.open_video(tmp_path / "odd::name.npy") as video:
        assert len(video.times) == 3


def test_files_of_a_pattern(tmp_path: Path) -> None:
    for name in ("b.h5", "a.h5"):
        write_h5(tmp_path / name, np.zeros((3, 9, 16), np.uint8))
    assert expand([f"{tmp_path}/*.h5::/entry/frames"]) == [f"{tmp_path}/{name}.h5::/entry/frames" for name in "ab"]


def test_it_pickles(tmp_path: Path) -> None:
    values = random.integers(0, 256, (4, 9, 16)).astype(np.uint8)
    with sp.open_video(write_h5(tmp_path / "a.h5", values)) as video:
        again = pickle.loads(pickle.dumps(video))
        np.testing.assert_array_equal(frames_of(again), frames_of(video))


class TestRange:
    """Where values are not all of their type: the picture is as if they had been written in 8 bits."""

    def test_of_12_bits_in_images(self, tmp_path: Path) -> None:
        frames = [paint(number)[..., 0].astype(np.uint16) * 16 for number in range(5)]
        for suffix in (".png", ".tif", ".pgm"):
            folder = tmp_path / suffix[1:]
            folder.mkdir()
            for number, frame in enumerate(frames):
                cv2.imwrite(str(folder / f"{number}{suffix}"), frame)
            with sp.open_video(folder, value_range=(0, 4080)) as video:
                assert [number_of(frame) for frame in frames_of(video) if frame is not None] == [*range(5)]

    def test_of_float_and_signed_tiff(self, tmp_path: Path) -> None:
        for dtype, low in ((np.float32, 0), (np.int16, -1000)):
            for number in range(3):
                values = paint(number)[..., 0].astype(dtype) * 7 + low
                cv2.imwrite(str(tmp_path / f"{np.dtype(dtype).name}_{number}.tif"), values.astype(dtype))
            pattern = f"{tmp_path}/{np.dtype(dtype).name}_*.tif"
            with pytest.raises(VideoError, match="value_range"):
                sp.open_video(pattern)
            with sp.open_video(pattern, value_range=(low, low + 7 * 255)) as video:
                assert [number_of(frame) for frame in frames_of(video) if frame is not None] == [0, 1, 2]

    def test_of_what_a_pgm_holds_not_what_it_says(self, tmp_path: Path) -> None:
        (tmp_path / "a.pgm").write_bytes(b"P5 2 1 1000\n" + np.array([0, 500], ">u2").tobytes())
        with sp.open_video(tmp_path / "a.pgm", value_range=(0, 500)) as video:
            [frame] = frames_of(video)
        assert frame is not None
        assert frame[0, :, 0].tolist() == [0, 255]

    @pytest.mark.parametrize("bits", [8, 16])
    def test_of_a_phantom_camera(self, bits: int, tmp_path: Path) -> None:
        write_cine(tmp_path / "shot.cine", [paint(number)[..., 0] for number in range(12)], bits)
        said = None if bits == 8 else (0, 4080)
        with sp.open_video(tmp_path / "shot.cine", value_range=said) as video:
            assert [number_of(frame) for frame in frames_of(video, 4) if frame is not None] == [*range(4, 12)]
            np.testing.assert_allclose(np.diff(video.times), 1 / 5000)

    def test_where_values_are_8_bits_of_a_video_it_is_refused(self, tmp_path: Path) -> None:
        write_cine(tmp_path / "shot.cine", [paint(0)[..., 0]], 8)
        for options in ({"value_range": (0, 99)}, {"axes": "yxt"}):
            with pytest.raises(VideoError, match="leave it out"):
                sp.open_video(tmp_path / "shot.cine", **options)


def write_cine(path: Path, frames: list[NDArray[np.uint8]], bits: int) -> None:
    """A file of a Phantom camera, its values of 12 bits in 16; fields as FFmpeg's demuxer names them (cinedec.c)."""
    height, width = frames[0].shape
    stored = [(frame if bits == 8 else frame.astype("<u2") << 4)[::-1].tobytes() for frame in frames]
    setup = bytearray(5900)
    setup[140:144], setup[768:772] = struct.pack("<2sH", b"ST", 0x163C), struct.pack("<I", 5000)
    offsets = 84 + len(setup)
    places = [offsets + 8 * len(stored) + number * (8 + len(stored[0])) for number in range(len(stored))]
    head = struct.pack("<2sHHHiIiIIII8x", b"CI", 44, 0, 1, -3, len(stored), -3, len(stored), 44, 84, offsets)
    bitmap = struct.pack("<IiiHHII16x", 40, width, height, 1, bits, 0, len(stored[0]))
    images = b"".join(struct.pack("<II", 8, len(image)) + image for image in stored)
    path.write_bytes(head + bitmap + bytes(setup) + struct.pack(f"<{len(places)}q", *places) + images)


def flashes(count: int = 60) -> NDArray[np.uint8]:
    frames = np.zeros((count, 120, 160), np.uint8)
    for number in range(2, count, 7):
        frames[number, 30:90, 40:100] = 250
    return frames


class TestCommands:
    def test_a_dataset_gives_the_rows_of_the_same_frames(self, tmp_path: Path) -> None:
        np.save(tmp_path / "plain.npy", flashes())
        name = write_h5(tmp_path / "a.h5", (flashes().transpose(1, 2, 0) * 4.0 - 100).astype(np.float32))
        options = ["--range", "-100,920", "--axes", "yxt"]
        for source, more in ((str(tmp_path / "plain.npy"), []), (name, options)):
            done = CliRunner().invoke(cli, ["extract", source, "-o", str(tmp_path / "out"), *more])
            assert done.exit_code == 0, done.output
        tables = [sp.open_store(tmp_path / "out" / stem).table for stem in ("plain.h5", "a_entry_frames.h5")]
        assert len(tables[0]) == 9
        np.testing.assert_array_equal(tables[0], tables[1])

    def test_the_range_belongs_to_what_is_gone_on_with(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", flashes().astype(np.float32))
        sp.extract(tmp_path / "a.npy", tmp_path / "a.h5", value_range=(0, 255))
        assert sp.extract(tmp_path / "a.npy", tmp_path / "a.h5", value_range=(0, 255), resume=True).resumed == 60
        with pytest.raises(OutputExistsError, match="value_range"):
            sp.extract(tmp_path / "a.npy", tmp_path / "a.h5", value_range=(0, 200), resume=True)

    def test_a_report_says_it_and_is_verified_with_it(self, tmp_path: Path) -> None:
        name = write_h5(tmp_path / "a.h5", flashes(120).astype(np.float32))
        page = tmp_path / "a.json"
        done = CliRunner().invoke(cli, ["predict", name, "--model", "simulated", "--range", "0,255", "-o", str(page)])
        assert done.exit_code in (0, 1, 3, 4), done.output
        assert json.loads(page.read_text())["settings"]["video"]["value_range"] == [0, 255]
        assert sp.verify(page).faults == ()

    @pytest.mark.parametrize("text", ["0", "a,b", "0,1,2", "9,1", ""])
    def test_a_range_that_is_none(self, text: str, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", flashes())
        done = CliRunner().invoke(
            cli, ["extract", str(tmp_path / "a.npy"), "-o", str(tmp_path / "a.h5"), "--range", text]
        )
        assert done.exit_code != 0
        assert not (tmp_path / "a.h5").exists()

    def test_info_says_what_a_dataset_is(self, tmp_path: Path) -> None:
        name = write_h5(tmp_path / "a.h5", flashes().astype(np.float64))
        done = CliRunner().invoke(cli, ["info", name, "--range", "0,255", "--fps", "1000"])
        assert done.exit_code == 0, done.output
        assert "float64" in done.output
        assert "0.059" in done.output


@settings(max_examples=20)
@given(data=st.data())
def test_any_array_reads_as_it_is(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the container, the type, the axes, the chunks and the place: the frame is that of the array."""
    axes = data.draw(st.permutations("tyx").map("".join))
    length = {axis: data.draw(st.integers(1, 9), axis) for axis in axes}
    dtype = data.draw(st.sampled_from(NUMBERS))
    values = (random.random([length[axis] for axis in axes]) * 100).astype(dtype)
    name = data.draw(st.sampled_from(sorted(WRITERS)))
    folder = tmp_path_factory.mktemp("arrays")
    with sp.open_video(WRITERS[name](folder / name, values), axes=axes, value_range=(-5, 80)) as video:
        start = data.draw(st.integers(0, length["t"] - 1))
        [frame] = frames_of(video, start, start + 1)
    here = values.take(start, axes.index("t"))
    right = here if axes.index("y") < axes.index("x") else here.T
    assert frame is not None
    np.testing.assert_array_equal(frame[..., 0], expected(right, -5, 80))
