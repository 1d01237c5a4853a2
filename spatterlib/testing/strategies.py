"""Hypothesis strategies for what passes between the parts: clips, tables, crops."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from spatterlib.types import DETECTION, Clip, Detections, Image

__all__ = ["clips", "crops", "tables"]


def clips(max_frames: int = 6, max_side: int = 64, max_lead: int = 3) -> st.SearchStrategy[Clip]:
    """Clips of small frames of any size: noise of any grain, black and white, one level.

    Parameters
    ----------
    max_frames : int
        Frames of the clip's own at most, one at least.
    max_side : int
        Px, largest width and height.
    max_lead : int
        Context frames at most.

    Examples
    --------
    >>> from spatterlib.testing import clips
    >>> clips().example().frames.dtype  # doctest: +SKIP
    dtype('uint8')
    """
    sides = st.integers(1, max_side)
    numbers = st.tuples(st.integers(1, max_frames), st.integers(0, max_lead), sides, sides, st.integers(1, 24))
    kinds = st.sampled_from(["noise", "extremes", "level", "grey"])
    return st.builds(_clip, numbers, kinds, st.integers(0, 2**32 - 1), st.integers(0, 99))


def _clip(numbers: tuple[int, int, int, int, int], kind: str, seed: int, before: int) -> Clip:
    count, lead, height, width, grain = numbers
    random = np.random.default_rng(seed)
    shape = lead + count, -(-height // grain), -(-width // grain), 3
    if kind == "level":
        shape = lead + count, 1, 1, 1
    coarse = random.choice(np.array([0, 255], np.uint8), shape) if kind == "extremes" else _noise(random, shape)
    if kind == "grey":
        coarse = coarse[..., :1]
    frames = np.broadcast_to(coarse, (*coarse.shape[:3], 3)).repeat(grain, 1).repeat(grain, 2)
    if kind == "level":
        frames = np.broadcast_to(frames[:, :1, :1], (lead + count, height, width, 3))
    return Clip.of(np.ascontiguousarray(frames[:, :height, :width]), start=before + lead, lead=lead)


def _noise(random: np.random.Generator, shape: tuple[int, ...]) -> Image:
    return random.integers(0, 256, shape, dtype=np.uint8)


def crops(max_side: int = 120) -> st.SearchStrategy[Image]:
    """Crops of any size, ``(h, w, 3)`` uint8 RGB: noise, or one colour.

    Examples
    --------
    >>> from spatterlib.testing import crops
    >>> crops(max_side=8).example().ndim  # doctest: +SKIP
    3
    """
    sides = st.integers(1, max_side)
    return st.builds(_crop, sides, sides, st.booleans(), st.integers(0, 2**32 - 1))


def _crop(height: int, width: int, plain: bool, seed: int) -> Image:
    random = np.random.default_rng(seed)
    return np.broadcast_to(_noise(random, (1, 1, 3) if plain else (height, width, 3)), (height, width, 3)).copy()


def tables(clip: Clip, max_rows: int = 12) -> st.SearchStrategy[Detections]:
    """Tables of detections in the frames of a clip: boxes inside, measured in the frames, rows in order.

    Parameters
    ----------
    clip : Clip
        In whose frames the boxes lie; they are in full-frame coordinates.
    max_rows : int
        Rows at most; there may be none.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.testing import tables
    >>> tables(sp.Clip.of(np.zeros((2, 9, 9, 3), np.uint8))).example().dtype == sp.DETECTION  # doctest: +SKIP
    True
    """
    _, _, width, height = clip.box
    frames = st.integers(clip.lead, len(clip.pictures) - 1)
    rows = st.tuples(frames, _spans(width), _spans(height), st.floats(0, 1))
    return st.lists(rows, max_size=max_rows).map(lambda drawn: _table(clip, drawn))


def _spans(length: int) -> st.SearchStrategy[tuple[int, int]]:
    """(begin, size) inside the length."""
    return st.integers(0, length - 1).flatmap(lambda begin: st.tuples(st.just(begin), st.integers(1, length - begin)))


def _table(clip: Clip, drawn: list[tuple[Any, ...]]) -> Detections:
    from spatterlib.plugins.boxes import table_of

    if not drawn:
        return np.empty(0, DETECTION)
    index = np.array([frame for frame, _, _, _ in drawn])
    boxes = np.array([(x, y, width, height) for _, (x, width), (y, height), _ in drawn], np.int32)
    areas = boxes[:, 2] * boxes[:, 3] * np.array([share for *_, share in drawn])
    table = table_of(clip, index, boxes, areas)
    table["x"] += clip.box[0]
    table["y"] += clip.box[1]
    return table
