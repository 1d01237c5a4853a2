"""Crops: encoded and decoded in RGB, and nothing that calls itself a picture is trusted."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from spatterlib.common.image_codec import MAX_PIXELS, decode, encode, image_size, resize
from spatterlib.errors import ContractError, ParameterError, SpatterlibError, StoreError

PICTURES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))


def gradient(height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards, blue is low: channels that cannot be mistaken."""
    y, x = np.mgrid[:height, :width]
    return np.stack([80 + x, 40 + y, np.full_like(x, 10)], axis=-1).astype(np.uint8)


@settings(deadline=None)
@given(PICTURES)
def test_png_gives_the_picture_back(rgb: NDArray[np.uint8]) -> None:
    data = encode(rgb, "png")
    np.testing.assert_array_equal(decode(data), rgb)
    assert image_size(data) == (rgb.shape[1], rgb.shape[0])


@settings(deadline=None)
@given(PICTURES, st.integers(1, 100))
def test_jpeg_has_the_size_of_the_picture(rgb: NDArray[np.uint8], quality: int) -> None:
    data = encode(rgb, quality=quality)
    assert decode(data).shape == rgb.shape
    assert image_size(data) == (rgb.shape[1], rgb.shape[0])


def test_channels_are_rgb_in_and_out() -> None:
    rgb = gradient()
    for format_ in ("jpeg", "png"):
        assert abs(decode(encode(rgb, format_)).astype(int) - rgb).mean() < 3
        seen = cv2.imdecode(np.frombuffer(encode(rgb, format_), np.uint8), cv2.IMREAD_COLOR)
        assert seen[..., 2].mean() > seen[..., 1].mean() > seen[..., 0].mean()  # type: ignore[index]


def test_a_better_quality_is_nearer_and_larger() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = [encode(rgb, quality=quality) for quality in (20, 60, 95)]
    errors = [abs(decode(each).astype(int) - rgb).mean() for each in data]
    assert errors[0] > errors[1] > errors[2]
    assert len(data[0]) < len(data[1]) < len(data[2])


def test_grey_images_become_rgb() -> None:
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    rgb = decode(cv2.imencode(".png", grey)[1].tobytes())
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=2))


def test_rotation_marks_in_a_jpeg_are_not_applied() -> None:
    plain = encode(gradient(20, 30))
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + plain[2:]
    assert decode(turned).shape == (20, 30, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        "picture",
    ],
)
def test_what_is_no_rgb_picture_is_refused(array: Any) -> None:
    with pytest.raises(ContractError, match=r"uint8 RGB of shape \(h, w, 3\)"):
        encode(array)


@pytest.mark.parametrize(
    ("options", "message"), [({"format": "gif"}, "'gif'"), ({"quality": 0}, "0"), ({"quality": 101}, "101")]
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        encode(gradient(), **options)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing: a bomb."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_header(width: int, height: int) -> bytes:
    plain = bytearray(encode(gradient(20, 30)))
    start = plain.index(b"\xff\xc0")
    plain[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(plain)


@pytest.mark.parametrize(
    "data",
    [png_header(2**31 - 1, 2**31 - 1), png_header(MAX_PIXELS + 1, 1), png_header(0, 5), jpeg_header(65535, 65535)],
)
def test_bombs_are_refused_before_they_take_memory(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"at most|no JPEG or PNG"):
        decode(data)


@pytest.mark.parametrize("format_", ["jpeg", "png"])
@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.9, 0.99])
def test_pictures_cut_short_are_refused(format_: str, share: float) -> None:
    data = encode(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8), format_)
    with pytest.raises(StoreError) as caught:
        decode(data[: int(share * len(data))])
    assert "\n" not in str(caught.value)


def test_zeros_behind_a_jpeg_do_not_matter() -> None:
    data = encode(gradient())
    np.testing.assert_array_equal(decode(data + bytes(5000)), decode(data))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(StoreError) as caught:
            decode(start + data)
        assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["jpeg", "png"]),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_flipped_bytes_give_a_picture_or_a_clean_error(format_: str, flips: list[tuple[float, int]]) -> None:
    data = bytearray(encode(gradient(), format_))
    for share, value in flips:
        data[int(share * len(data))] = value
    with suppress(SpatterlibError):
        rgb = decode(bytes(data))
        assert rgb.dtype == np.uint8
        assert rgb.ndim == 3


def test_resize_averages_down_and_interpolates_up() -> None:
    checks = np.indices((40, 40)).sum(axis=0) % 2 * np.uint8(200)
    assert set(resize(checks.astype(np.uint8), (20, 20)).ravel()) == {100}
    assert resize(gradient(10, 20), (40, 30)).shape == (30, 40, 3)
    for wrong in ((0, 5), (5, -1)):
        with pytest.raises(ParameterError, match="at least 1 px"):
            resize(gradient(), wrong)
