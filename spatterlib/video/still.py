"""One image file as an array: RGB or grey, 8 or 16 bits. No BGR array leaves this module."""

from __future__ import annotations

import logging
import re
from os import PathLike
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import MAX_PIXELS, image_size
from spatterlib.common.threads import quiet_opencv
from spatterlib.errors import StoreError
from spatterlib.types import Image

log = logging.getLogger("spatterlib")

Still: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""``(h, w, 3)`` RGB or ``(h, w)`` grey, uint8 or uint16."""

_DARK = 4096  # What 12 bits hold: a 16-bit frame below that may come from a camera that leaves the upper bits empty.
# Netpbm, raw: magic number, width, height, greatest value; comments run to the end of their line.
_PNM = re.compile(rb"(P[56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"


def decode_still(data: bytes) -> Still | None:
    """Decode an image file.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, BMP, PGM, PPM or TIFF file; the first page of several.

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
    return _full_range(image, data)  # type: ignore[arg-type]


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


def eight_bits(still: Still) -> Image:
    """Scale to 8 bits by the type alone, so that frames stay comparable.

    Parameters
    ----------
    still : ndarray
        uint8, uint16 or bool.

    Returns
    -------
    ndarray
        uint8: 8 bits as they are; 16 bits times 255 / 65535, rounded, that is ``(v + 128) // 257``; False and True
        are 0 and 255.
    """
    if still.dtype == np.uint8:
        return still  # type: ignore[return-value]
    if still.dtype == np.bool_:
        return still.astype(np.uint8) * np.uint8(255)
    import cv2

    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(still, np.uint16), alpha=1 / 257), np.uint8)


def warn_if_dark(path: str | PathLike[str], brightest: int | None) -> None:
    """Warn of a recording of 16 bits whose first frame leaves the upper bits empty, by its greatest value."""
    if brightest is not None and brightest < _DARK:
        log.warning(
            "%s: 16 bits are scaled by 255/65535, so the brightest value of its first frame, %d, becomes %d; "
            "if its camera fills fewer bits, shift them up before",
            path,
            brightest,
            (brightest + 128) // 257,
        )
