"""Crops as encoded images and back. RGB in and out: no BGR array leaves this module."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from spatterlib.errors import ContractError, ParameterError, StoreError
from spatterlib.kernels.constants import Image

__all__ = ["MAX_PIXELS", "decode", "encode", "resize"]

MAX_PIXELS = 64 << 20
"""Largest image that `decode` unpacks, in px: its header is asked before any memory is taken."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def encode(rgb: Image, format: str = "jpeg", quality: int = 95) -> bytes:  # noqa: A002
    """Pack one crop into an encoded image.

    Parameters
    ----------
    rgb : ndarray
        ``(h, w, 3)`` uint8 RGB.
    format : str
        ``"jpeg"`` (4:2:0) or ``"png"`` (lossless).
    quality : int
        JPEG quality, 1 to 100; PNG ignores it.

    Returns
    -------
    bytes
        A whole image file.

    Raises
    ------
    ContractError
        If `rgb` has another dtype or shape.
    ParameterError
        If the format or the quality is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.plugins import decode, encode
    >>> decode(encode(np.full((4, 6, 3), 200, np.uint8), "png")).shape
    (4, 6, 3)
    """
    import cv2

    array = np.asarray(rgb)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ContractError(f"a crop is uint8 RGB of shape (h, w, 3), got {array.dtype} {array.shape}")
    if format not in ("jpeg", "png"):
        raise ParameterError(f"crops are encoded as 'jpeg' or 'png', not {format!r}")
    if format == "jpeg" and not 1 <= quality <= 100:
        raise ParameterError(f"JPEG quality is a number from 1 to 100, not {quality!r}")
    bgr = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)] if format == "jpeg" else []
    done, data = cv2.imencode(".jpg" if format == "jpeg" else ".png", bgr, options)
    if not done:
        raise StoreError(f"OpenCV could not encode a crop of shape {array.shape} as {format}")
    return bytes(data)


def decode(data: bytes) -> Image:
    """Unpack one encoded crop.

    Parameters
    ----------
    data : bytes
        A JPEG or PNG file.

    Returns
    -------
    ndarray
        ``(h, w, 3)`` uint8 RGB; grey images replicated to three channels.

    Raises
    ------
    StoreError
        If the bytes are no JPEG or PNG image, are cut short, or promise more than `MAX_PIXELS`.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.plugins import decode, encode
    >>> int(decode(encode(np.full((4, 6, 3), 200, np.uint8)))[0, 0, 0])
    200
    """
    import cv2

    width, height = image_size(data)
    if not 0 < width * height <= MAX_PIXELS:
        raise StoreError(f"a crop says that it is {width}x{height} px; at most {MAX_PIXELS} px are unpacked")
    if data.startswith(_JPEG) and b"\xff\xd9" not in data.rstrip(b"\0")[-64:]:
        raise StoreError(f"a JPEG crop of {len(data)} bytes is cut short: its end marker is missing")
    try:
        rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise StoreError(f"a crop of {len(data)} bytes does not decode: {error}") from error
    if rgb is None:
        raise StoreError(f"a crop of {len(data)} bytes does not decode: the image data are damaged")
    return np.asarray(rgb, np.uint8)


def image_size(data: bytes) -> tuple[int, int]:
    """``(width, height)`` in px from the header of a JPEG or PNG image, without decoding it.

    Raises
    ------
    StoreError
        If the bytes are neither.
    """
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack(">II", data[16:24])
            return width, height
        if data.startswith(_JPEG):
            return _jpeg_size(data)
    except (struct.error, IndexError):
        pass
    if not data.rstrip(b"\0"):
        raise StoreError("the crop is empty: no image was kept")
    raise StoreError(f"a crop of {len(data)} bytes is no JPEG or PNG image: it begins with {data[:8]!r}")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the segments (ITU-T T.81, B.1.1) up to the start of frame."""
    position = 2
    while True:
        while data[position] == data[position + 1] == 0xFF:
            position += 1
        marker, length = struct.unpack(">xBH", data[position : position + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        if data[position] != 0xFF or length < 2:
            raise IndexError
        position += 2 + length


def resize(rgb: Image, size: tuple[int, int]) -> Image:
    """Scale a picture: area averaging when it shrinks, linear interpolation when it grows.

    Parameters
    ----------
    rgb : ndarray
        ``(h, w, 3)`` or ``(h, w)`` uint8.
    size : tuple of int
        ``(width, height)`` of the result in px.

    Returns
    -------
    ndarray
        ``(height, width, ...)`` uint8.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.common.image_codec import resize
    >>> resize(np.zeros((90, 120, 3), np.uint8), (40, 30)).shape
    (30, 40, 3)
    """
    import cv2

    width, height = size
    if width < 1 or height < 1:
        raise ParameterError(f"a picture is resized to (width, height) of at least 1 px, not {size!r}")
    shrinks = width * height < rgb.shape[0] * rgb.shape[1]
    scaled: Any = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return scaled  # type: ignore[no-any-return]
