"""One image file as an array: RGB or grey, 8 or 16 bits. No BGR array leaves this module."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import MAX_PIXELS, image_size
from spatterlib.common.threads import quiet_opencv
from spatterlib.errors import ParameterError, StoreError
from spatterlib.types import Image

log = logging.getLogger("spatterlib")

Still: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""``(h, w, 3)`` RGB or ``(h, w)`` grey, uint8 or uint16."""

ValueRange: TypeAlias = tuple[float, float] | None
"""Values that are shown as 0 and 255; None: those of the type."""

_DARK = 4096  # What 12 bits hold: a 16-bit frame below that may come from a camera that leaves the upper bits empty.
# Netpbm, raw: magic number, width, height, greatest value; comments run to the end of their line.
_PNM = re.compile(rb"(P[56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"


def decode_still(data: bytes, *, raw: bool = False) -> Still | None:
    """Decode an image file.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, BMP, PGM, PPM or TIFF file; the first page of several.
    raw : bool
        Whether values stay as they are where a file states its greatest one.

    Returns
    -------
    ndarray or None
        ``(h, w, 3)`` RGB or ``(h, w)`` grey, transparency dropped, upright as its EXIF orientation says; None where
        it is damaged, cut short, or promises more than `crops.MAX_PIXELS`.
    """
    import cv2

    if not _whole(data):
        return None
    with quiet_opencv():
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
        except cv2.error:
            return None
    if image is None:
        return None
    if image.ndim == 3 and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image if raw else _full_range(image, data)  # type: ignore[arg-type,return-value]


def _full_range(image: Still, data: bytes) -> Still:
    """Netpbm files state their greatest value, which 12 bits in 16 do not reach: 4095 becomes 65535."""
    head = _PNM.match(data)
    if not head:
        return image
    top, full = int(head[4]), int(np.iinfo(image.dtype).max)
    if not 0 < top < full:
        return image
    values = (image.astype(np.uint32).clip(max=top) * full + top // 2) // top
    return values.astype(np.uint16) if full > 255 else values.astype(np.uint8)


def _whole(data: bytes) -> bool:
    """Whether an image file has its end and a size that can be afforded; what is not known is let pass."""
    try:
        if data.startswith(_PNG):
            width, height = image_size(data)
            return b"IEND" in data[-64:] and width * height <= MAX_PIXELS
        if data.startswith(_JPEG):
            # Within coded data neither marker occurs; an embedded thumbnail ends before the image's own scan.
            width, height = image_size(data)
            return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") and width * height <= MAX_PIXELS
    except StoreError:
        return False
    if head := _PNM.match(data):
        return int(head[2]) * int(head[3]) <= MAX_PIXELS
    if data.startswith(_BMP):
        width, height = np.abs(np.frombuffer(data[18:26].ljust(8, b"\0"), "<i4").astype(np.int64)).tolist()
        return bool(width * height <= MAX_PIXELS)
    return bool(data)


def eight_bits(still: Still, value_range: ValueRange = None) -> Image:
    """Scale to 8 bits by the type alone, or by the range that is given, so that frames stay comparable.

    Parameters
    ----------
    still : ndarray
        uint8, uint16 or bool; with a range, any real numbers.
    value_range : tuple of float, optional
        Values that become 0 and 255.

    Returns
    -------
    ndarray
        uint8: 8 bits as they are; 16 bits times 255 / 65535, rounded, that is ``(v + 128) // 257``; False and True
        are 0 and 255; with a range ``(v - low) * 255 / (high - low)``, rounded, within 0 and 255, and NaN is 0.
    """
    if value_range is not None:
        return _scaled(still, *value_range)
    if still.dtype == np.uint8:
        return still  # type: ignore[return-value]
    if still.dtype == np.bool_:
        return still.astype(np.uint8) * np.uint8(255)
    import cv2

    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(still, np.uint16), alpha=1 / 257), np.uint8)


def three_channels(frame: NDArray[Any]) -> Still:
    """``(h, w, 3)`` or ``(h, w)`` of an array of 1, 3 or 4 channels, in the machine's byte order."""
    native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    if native.ndim == 3 and native.shape[2] != 3:
        return native[..., 0] if native.shape[2] == 1 else np.ascontiguousarray(native[..., :3])
    return native


def _scaled(values: NDArray[Any], low: float, high: float) -> Image:
    if values.dtype.kind in "bu" and values.dtype.itemsize <= 2:
        every = np.arange(1 << 8 * values.dtype.itemsize)
        return np.asarray(_levels(every, low, high)[values.astype(np.uint16)])
    return _levels(values, low, high)


def _levels(values: NDArray[Any], low: float, high: float) -> Image:
    scaled = (np.asarray(values, np.float64) - low) * (255 / (high - low)) + 0.5
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def check_value_range(value_range: object) -> None:
    """Refuse a range of values that is none.

    Raises
    ------
    ParameterError
        If it is neither None nor two numbers of which the second is greater.
    """
    if value_range is None:
        return
    given = [*value_range] if isinstance(value_range, Sequence) and not isinstance(value_range, str) else []
    numbers = [item for item in given if isinstance(item, int | float | np.number) and np.isfinite(item)]
    if not (len(given) == len(numbers) == 2 and numbers[0] < numbers[1]):
        raise ParameterError(
            "value_range (--range) is two numbers, the values of black and of white, such as 0,4095; got "
            f"{value_range!r}"
        )


def warn_if_dark(path: str | PathLike[str], brightest: int | None) -> None:
    """Warn of a recording of 16 bits whose first frame leaves the upper bits empty, by its greatest value."""
    if brightest is not None and brightest < _DARK:
        log.warning(
            "%s: 16 bits are scaled by 255/65535, so the brightest value of its first frame, %d, becomes %d; "
            "if its camera fills fewer bits, give the range of its values, for 12 bits value_range=(0, 4095), "
            "--range 0,4095",
            path,
            brightest,
            (brightest + 128) // 257,
        )
