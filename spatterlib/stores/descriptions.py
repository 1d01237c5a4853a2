"""What the arrays of a store are, in words and units that other programs show."""

from __future__ import annotations

from spatterlib.stores.checksums import BLOCKS, CRC
from spatterlib.stores.rows import DATA, ENDS, STARTS

__all__ = ["attributes_of", "dimension_of"]

_ABOUT = {
    "columns/frame": ("", "number of the frame in which the spatter is visible, from 0"),
    "columns/time": ("s", "presentation time of the frame"),
    "columns/x": ("px", "left edge of the crop box"),
    "columns/y": ("px", "top edge of the crop box"),
    "columns/width": ("px", "width of the crop box"),
    "columns/height": ("px", "height of the crop box"),
    "columns/area": ("px^2", "area enclosed by the outline that the detector found"),
    "columns/red": ("", "mean red over the crop box, grey levels 0 to 255"),
    "columns/green": ("", "mean green over the crop box, grey levels 0 to 255"),
    "columns/blue": ("", "mean blue over the crop box, grey levels 0 to 255"),
    "columns/peak": ("", "brightest luma in the crop box, grey levels 0 to 255"),
    "frame_log/number": ("", "number of a frame that was looked at, from 0"),
    "frame_log/time": ("s", "presentation time, NaN where unknown"),
    "frame_log/detections": ("", "how many spatters of the frame were kept"),
    "frame_log/decoded": ("", "whether the frame could be decoded"),
    DATA: ("", "encoded crops, JPEG or PNG; that of a row lies from its start to its end"),
    STARTS: ("byte", "where in data the crop of a row begins"),
    ENDS: ("byte", "behind which byte of data the crop of a row ends"),
    CRC: ("", "CRC-32 of the crop of a row"),
    BLOCKS: ("", "for every 8192 items of an array: number of the array, of the block, CRC-32"),
}

_DIMENSIONS = {DATA: "byte", BLOCKS: "checksum"}


def attributes_of(array: str) -> dict[str, str]:
    """``units`` and ``long_name`` of an array, as far as they are known; a column that somebody set has none."""
    units, name = _ABOUT.get(array, ("", ""))
    return ({"units": units} if units else {}) | ({"long_name": name} if name else {})


def dimension_of(array: str) -> str:
    """What the items of an array are counted by; arrays of one dimension are of one length."""
    return _DIMENSIONS.get(array) or ("frame" if array.startswith("frame_log/") else "row")
