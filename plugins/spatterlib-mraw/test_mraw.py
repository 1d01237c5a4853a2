from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from spatterlib_mraw import spatter_open_video

import spatterlib as sp
from spatterlib.errors import MissingFileError, VideoError
from spatterlib.testing import Check, video_checks


def write(folder: Path, frames: int = 12, bits: int = 8, depth: int = 8, side: str = "Lower", **other: str) -> Path:
    """A made-up recording of 16x9 px: frame n is a ramp that begins with n."""
    header = {
        "Record Rate(fps)": "10000",
        "Total Frame": str(frames),
        "Image Width": "16",
        "Image Height": "9",
        "File Format": "MRaw",
        "Color Type": "Mono",
        "Color Bit": str(bits),
        "EffectiveBit Depth": str(depth),
        "EffectiveBit Side": side,
    } | other
    ramp = np.arange(9 * 16).reshape(9, 16)
    grey = np.stack([(ramp + number) % 256 for number in range(frames)])
    raw = grey << (depth - 8 if side == "Lower" else 8) if bits == 16 else grey
    (folder / "shot.cih").write_text("\n".join(["#Camera Information Header", *map(" : ".join, header.items())]))
    (folder / "shot.mraw").write_bytes(raw.astype("<u2" if bits == 16 else np.uint8).tobytes())
    return folder / "shot.cih"


@pytest.mark.parametrize("check", video_checks(spatter_open_video, write))
def test_it_conforms(check: Check) -> None:
    check()


@pytest.mark.parametrize(("bits", "depth", "side"), [(8, 8, "Lower"), (16, 12, "Lower"), (16, 12, "Higher")])
def test_grey_levels_are_the_upper_bits(
    isolated_catalog: Callable[..., None], tmp_path: Path, bits: int, depth: int, side: str
) -> None:
    isolated_catalog("spatterlib-mraw")
    path = write(tmp_path, bits=bits, depth=depth, side=side)
    with sp.open_video(path.with_suffix(".mraw")) as video:
        frames = [picture.rgb((0, 0, 16, 9)) for picture in video.read(0, 12) if picture]
        assert video.times[1] == 1e-4
    assert [frame[0, 3].tolist() for frame in frames[:2]] == [[3, 3, 3], [4, 4, 4]]


def test_what_was_cut_off_is_accounted_for(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = path.with_suffix(".mraw").read_bytes()
    path.with_suffix(".mraw").write_bytes(data[: 9 * 16 * 7 + 5])
    video = spatter_open_video(str(path))
    assert video is not None
    assert [picture is None for picture in video.read(0, 12)] == [False] * 7 + [True] * 5


def test_what_it_cannot_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="monochrome frames of 8, 12 or 16 bits"):
        spatter_open_video(str(write(tmp_path, **{"Color Bit": "24"})))
    with pytest.raises(VideoError, match="no header that can be read"):
        spatter_open_video(str(write(tmp_path, **{"Image Width": "wide"})))
    write(tmp_path).with_suffix(".mraw").unlink()
    with pytest.raises(MissingFileError, match=r"shot\.mraw"):
        spatter_open_video(str(tmp_path / "shot.cih"))


@pytest.mark.parametrize(("header", "frames"), [("CIH", "MRAW"), ("Cih", "mraw"), ("cih", "MRaw")])
def test_names_may_be_in_capital_letters(
    isolated_catalog: Callable[..., None], tmp_path: Path, header: str, frames: str
) -> None:
    isolated_catalog("spatterlib-mraw")
    path = write(tmp_path)
    for old, new in ((path, header), (path.with_suffix(".mraw"), frames)):
        old.rename(old.with_suffix(".old")).rename(tmp_path / f"SHOT 7.{new}")
    for name in (header, frames):
        with sp.open_video(tmp_path / f"SHOT 7.{name}") as video:
            assert [picture is None for picture in video.read(0, 12)] == [False] * 12


def test_a_cihx_says_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, bits=16, depth=12)
    text = (
        "<cih><recordInfo><recordRate>10000</recordRate></recordInfo><frameInfo><totalFrame>12</totalFrame></frameInfo>"
        "<imageDataInfo><resolution><width>16</width><height>9</height></resolution><colorInfo><type>Mono</type>"
        "<bit>16</bit></colorInfo><effectiveBit><depth>12</depth><side>Lower</side></effectiveBit></imageDataInfo></cih>"
    )
    lines = spatter_open_video(str(path))
    assert lines is not None
    path.unlink()
    path.with_suffix(".cihx").write_bytes(b"\0\xffpreview" + text.encode() + b"\xff")
    xml = spatter_open_video(str(path.with_suffix(".mraw")))
    assert xml is not None
    assert xml.times.tolist() == lines.times.tolist()
    for one, other in zip(xml.read(0, 12), lines.read(0, 12), strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.rgb((0, 0, 16, 9)), other.rgb((0, 0, 16, 9)))


def test_packed_pixels_of_12_bits(tmp_path: Path) -> None:
    path = write(tmp_path, depth=12, **{"Color Bit": "12"})
    values = np.random.default_rng(1).integers(0, 4096, (12, 9 * 16))
    first, second = values[:, 0::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 2).astype(np.uint8)
    path.with_suffix(".mraw").write_bytes(packed.tobytes())
    video = spatter_open_video(str(path))
    assert video is not None
    for number, picture in enumerate(video.read(0, 12)):
        assert picture is not None
        np.testing.assert_array_equal(picture.rgb((0, 0, 16, 9))[..., 0].ravel(), values[number] >> 4)


def test_a_header_that_names_the_wrong_side_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, bits=16, depth=12)
    path.write_text(path.read_text().replace("EffectiveBit Side : Lower", "EffectiveBit Side : Higher"))
    video = spatter_open_video(str(path))
    assert video is not None
    [picture] = video.read(0, 1)
    assert picture is not None
    assert picture.rgb((0, 0, 16, 9))[0, :4, 0].tolist() == [0, 1, 2, 3]
    assert "no value exceeds the lower" in caplog.text


def test_recordings_are_found_in_a_folder(isolated_catalog: Callable[..., None], tmp_path: Path) -> None:
    isolated_catalog("spatterlib-mraw")
    (tmp_path / "runs").mkdir()
    for name in ("run9", "run10"):
        header = write(tmp_path)
        for file in (header, header.with_suffix(".mraw")):
            file.rename(tmp_path / "runs" / f"{name}{file.suffix}")
    outcomes = sp.extract_all(tmp_path / "runs", tmp_path / "stores")
    assert [Path(outcome.video).name for outcome in outcomes] == ["run9.cih", "run10.cih"]
    assert {outcome.state for outcome in outcomes} == {"done"}


def test_the_command_prints_the_header(
    isolated_catalog: Callable[..., None],
    command_line: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    isolated_catalog("spatterlib-mraw")
    assert command_line("photron", write(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["header"]["Record Rate(fps)"] == "10000"
    assert command_line("photron", write(tmp_path)) == 0
    assert "Record Rate(fps): 10000" in capsys.readouterr().out
    assert command_line("photron", "nowhere.cih") == 1
