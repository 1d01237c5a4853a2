"""Decoding crops, each once, into a compact cache in memory or on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import decode
from spatterlib.common.threads import on_every_core
from spatterlib.errors import StoreError
from spatterlib.learning.looks import is_measured, streak_sums
from spatterlib.plugins.classifier import Preprocessing
from spatterlib.types import Image, Store

__all__ = ["BATCH", "FEATURES", "CropBatch", "allocate", "decoded_batches"]

FEATURES = (
    *("red", "green", "blue", "ring_red", "ring_green", "ring_blue"),
    *("ring_red_spread", "ring_green_spread", "ring_blue_spread", "height", "width"),
)
"""What is measured of every crop beside its picture: mean colours, of the crop and of its outermost pixels, the
latter's standard deviation, and its size in px. The confound probe looks at these."""

BATCH = 512
"""Crops that are read and decoded at a time."""

_RING = 0.08


def allocate(shape: tuple[int, ...], budget: int, folder: str | None) -> Image:
    """Zeros, uint8; more than `budget` bytes in a file in `folder` that vanishes with the process.

    Raises
    ------
    StoreError
        If there is no room for the file.
    """
    if int(np.prod(shape)) <= budget:
        return np.zeros(shape, np.uint8)
    try:
        # Nameless from the beginning: gone with the process, however that ends.
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise StoreError(
            f"the cache of {np.prod(shape) / 1e9:.1f} GB could not be made in {folder or tempfile.gettempdir()}: "
            f"{error.strerror}; free some space, or choose another folder with TMPDIR"
        ) from error


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Decoded crops; the peak of one that does not decode is -1. Streaks are looked for in some, see `looks.EVERY`."""

    images: Image
    features: NDArray[np.float32]
    peaks: NDArray[np.int64]
    streaks: list[NDArray[np.float32] | None]


def decoded_batches(
    store: Store, rows: NDArray[np.int64], frames: NDArray[np.int64], preprocessing: Preprocessing, digest: Any
) -> Iterator[tuple[slice, CropBatch]]:
    """Batches of crops, of these frames, in order: one thread reads, as many decode as there are cores."""

    def jobs() -> Iterator[Callable[[], tuple[slice, CropBatch]]]:
        for start in range(0, len(rows), BATCH):
            part = slice(start, min(start + BATCH, len(rows)))
            encoded = store.encoded(rows[part])  # type: ignore[arg-type]
            # At once: each update would let go of the interpreter and wait for it again.
            digest.update(b"".join(encoded))
            yield partial(_decode_batch, part, encoded, frames[part], preprocessing)

    yield from on_every_core(jobs())


def _decode_batch(
    part: slice, encoded: Sequence[bytes], frames: NDArray[np.int64], preprocessing: Preprocessing
) -> tuple[slice, CropBatch]:
    from spatterlib.kernels.learning.augment import measure_ring

    images = np.zeros((len(encoded), *preprocessing.shape), np.uint8)
    features = np.zeros((len(encoded), len(FEATURES)), np.float32)
    peaks = np.full(len(encoded), -1, np.int64)
    streaks: list[NDArray[np.float32] | None] = [None] * len(encoded)
    for index, data in enumerate(encoded):
        try:
            crop = decode(data)
        except StoreError:
            continue
        height, width = crop.shape[:2]
        measure_ring(crop, max(1, round(_RING * min(height, width))), features[index, :9])
        features[index, 9:] = height, width
        peaks[index] = preprocessing.prepare_into(crop, images[index])
        if is_measured(int(frames[index])):
            streaks[index] = streak_sums(crop)
    return part, CropBatch(images, features, peaks, streaks)
