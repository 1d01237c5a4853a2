"""What whole recordings look like beside their spatter: traits that a class must not go with.

Traits are measured on some crops of each recording and stand for it as one number. What is stated of a recording
(coding, size, rate, camera) stands beside. Twins are crops of two recordings that show the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import decode
from spatterlib.errors import SpatterlibError
from spatterlib.learning.crop_cache import FEATURES
from spatterlib.learning.dataset import Dataset
from spatterlib.stores.opening import open_store
from spatterlib.types import Image

__all__ = ["TRAITS", "crop_hashes", "crop_traits", "measured_traits", "stated_traits", "twins"]

TRAITS = (
    *("bytes per pixel", "dark level", "bright level", "red of bright pixels", "blue of bright pixels", "noise"),
    *("sharpness", "blocks of 8 px", "asymmetry across", "asymmetry down", "slant"),
)
"""What is measured of every recording. Few, because each more makes the others harder to tell from chance."""

_CROPS, _HASHED, _MOST = 150, 200, 5000
# Crops are twins at this many different bits of 112 and px of their sides; recordings, if more than half of them are.
_TWIN, _PIXELS, _SAME = 12, 2, 0.5


def crop_traits(crop: Image, size: int) -> NDArray[np.float64]:
    """Traits of one crop, those of `TRAITS`.

    Parameters
    ----------
    crop : ndarray
        ``(h, w, 3)`` uint8 RGB, of 16 px or more either way.
    size : int
        Bytes that it takes encoded.

    Returns
    -------
    ndarray
        ``(11,)`` float64; quantities above 0 as logarithms.

    Notes
    -----
    Noise is the median of the filter of J. Immerkær, "Fast noise variance estimation", Comput. Vis. Image Underst. 64,
    1996. Sharpness is the step from pixel to pixel over that from pixel to the fourth. Blocks: how much larger steps
    are in the steepest of eight columns, as at the borders of JPEG. Slant is the normalised mixed moment of the
    gradient: it changes its sign where a picture is mirrored.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.recording_traits import TRAITS, crop_traits
    >>> crop = np.add.outer(np.arange(40), 2 * np.arange(50)).astype(np.uint8)[..., None].repeat(3, axis=2)
    >>> here, there = (dict(zip(TRAITS, crop_traits(own, 900), strict=True)) for own in (crop, crop[:, ::-1]))
    >>> round(float(here["slant"]), 2), round(float(there["slant"]), 2)
    (0.8, -0.8)
    """
    grey = crop.mean(axis=2)
    height, width = grey.shape
    across, down = np.diff(grey, axis=1), np.diff(grey, axis=0)
    second = grey[:, :-2] - 2 * grey[:, 1:-1] + grey[:, 2:]
    noise = np.median(np.abs(second[:-2] - 2 * second[1:-1] + second[2:]))
    far = np.abs(grey[:, 4:] - grey[:, :-4]).mean() + np.abs(grey[4:] - grey[:-4]).mean()
    steps = np.abs(across).mean(axis=0)
    near = steps.mean() + np.abs(down).mean()
    steepest = max(steps[first::8].mean() for first in range(8))
    dark, edge, bright = np.percentile(grey, [5, 97, 99])
    red, green, blue = crop[grey >= edge].mean(axis=0) + 1
    light = np.maximum(grey - dark, 0)
    total = light.sum() + 1
    left, right = light[:, : width // 2].sum(), light[:, -(width // 2) :].sum()
    top, bottom = light[: height // 2].sum(), light[-(height // 2) :].sum()
    gx, gy = across[:-1], down[:, :-1]
    positive = (size / grey.size, dark + 1, bright + 1, red / green, blue / green, noise + 0.2)
    ratios = ((near + 0.1) / (far + 0.1), (steepest + 0.01) / (steps.mean() + 0.01))
    slant = 2 * (gx * gy).sum() / ((gx**2 + gy**2).sum() + 1)
    return np.array([*np.log([*positive, *ratios]), (right - left) / total, (bottom - top) / total, slant])


def measured_traits(data: Dataset) -> NDArray[np.float64]:
    """``(recordings, 11)`` medians over some crops of each recording, in the order of their names; NaN: not known."""
    names, member = np.unique(data.group("recording"), return_inverse=True)
    found = np.full((len(names), len(TRAITS)), np.nan)
    for number in range(len(names)):
        rows = np.flatnonzero(member == number)
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _CROPS)).astype(np.int64)]
        traits = [row for source in np.unique(data.source[rows]) for row in _traits_of(data, source, rows)]
        if traits:
            found[number] = np.median(traits, axis=0)
    return found


def _traits_of(data: Dataset, source: int, rows: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Of those of some crops that are from one store; none where that is not there any more."""
    try:
        with open_store(data.sources[source].path) as store:
            encoded = store.encoded(data.row[rows[data.source[rows] == source]])
        pairs = [(decode(crop), len(crop)) for crop in encoded]
    except SpatterlibError:
        return []
    return [crop_traits(crop, size) for crop, size in pairs if min(crop.shape[:2]) >= 16]


def stated_traits(data: Dataset) -> Mapping[str, tuple[str, ...]]:
    """Values of each recording, in the order of their names, by what is stated; only what differs."""
    first = np.unique(data.group("recording"), return_index=True)[1]
    sources = [data.sources[number] for number in data.source[first]]
    videos: list[Mapping[str, Any]] = [source.video or {} for source in sources]
    stated: dict[str, list[Any]] = {
        "coding": [(video.get("codec"), video.get("pixel_format")) for video in videos],
        "frame size": [(video.get("width"), video.get("height")) for video in videos],
        "frame rate": [video.get("fps") and round(float(video["fps"]), 1) for video in videos],
        "tone range": [video.get("value_range") or video.get("color_range") for video in videos],
        "detector": [source.detector and (source.detector, source.filters) for source in sources],
        "crop coding": [_quantisation(source.path) for source in sources],
    }
    for name, values in data.groups.items():
        if name not in ("recording", "video"):
            stated[name] = values[first].tolist()
    found = {name: tuple(map(str, values)) for name, values in stated.items()}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _quantisation(path: str) -> int | None:
    """Sum of the first quantisation table of a store's first crop: which JPEG quality it has; None for others."""
    try:
        with open_store(path) as store:
            data = store.encoded([0])[0]
    except (SpatterlibError, IndexError):
        return None
    start = data.find(b"\xff\xdb")
    return sum(data[start + 5 : start + 69]) if start > 0 and data[:2] == b"\xff\xd8" else None


def crop_hashes(images: Image) -> NDArray[np.uint8]:
    """Difference hash of prepared crops: whether each cell of an 8x8 grid is brighter than the next, across and down.

    Parameters
    ----------
    images : ndarray
        ``(n, size, size, channels)`` uint8, size of 8 or more.

    Returns
    -------
    ndarray
        ``(n, 14)`` uint8, 112 bits (dHash, N. Krawetz, "Kind of like that", 2013).
    """
    edges = np.arange(8) * images.shape[1] // 8
    grey = images.sum(axis=3, dtype=np.int64)
    sums = np.add.reduceat(np.add.reduceat(grey, edges, axis=1), edges, axis=2)
    sides = np.diff(edges, append=images.shape[1])
    cells = sums / np.outer(sides, sides)
    bits = [(np.diff(cells, axis=axis) > 0).reshape(len(images), -1) for axis in (1, 2)]
    return np.packbits(np.concatenate(bits, axis=1), axis=1)


def twins(data: Dataset) -> list[tuple[str, str, float]]:
    """Pairs of recordings that show the same, and the share of crops of the shorter that have a twin in the other."""
    names, member = np.unique(data.group("recording"), return_inverse=True)
    if data.images.shape[1] < 8:
        return []
    held = [np.flatnonzero(member == number)[:_MOST] for number in range(len(names))]
    sizes = data.features[:, FEATURES.index("height") : FEATURES.index("width") + 1]
    seen = [(crop_hashes(data.images[rows]), sizes[rows]) for rows in held]
    found = []
    for a, b in combinations(range(len(names)), 2):
        share = _twin_share(*sorted((seen[a], seen[b]), key=lambda own: len(own[0])))
        if share > _SAME:
            found.append((str(names[a]), str(names[b]), share))
    return found


def _twin_share(few: tuple[Any, Any], many: tuple[Any, Any]) -> float:
    """Share of some crops that have a twin among others: of the same size, and with nearly the same hash."""
    chosen = np.linspace(0, len(few[0]) - 1, min(len(few[0]), _HASHED)).astype(np.int64)
    found = 0
    for own, size in zip(few[0][chosen], few[1][chosen], strict=True):
        alike = (np.abs(many[1] - size) <= _PIXELS).all(axis=1)
        found += bool((np.bitwise_count(many[0][alike] ^ own).sum(axis=1) <= _TWIN).any())
    return found / len(chosen)
