"""Whether a layer is like the good ones, without any label: how far it lies from its nearest neighbours among them.

A layer is what a network sees of its crops in the mean, what light and size they have, and how many streaks of what
kind are in them. Good layers are kept as they are, and a new one is held against the nearest of these, as PatchCore
does with patches of pictures (K. Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022,
https://arxiv.org/abs/2106.08265); layers are so few that no coreset has to be drawn of them.

How far is far the good layers say themselves, each left out in turn: the conformal p-value of a layer is the share of
good layers, itself counted, that lie as far out (V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random
World", 2005). If layers could come in any order, a good one has a p-value of at most e with probability e. None is
smaller than one in the number of good layers and one more. Layers whose light drifts do not come in any order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import decode
from spatterlib.detection.layers import gap_of, layers
from spatterlib.errors import ParameterError, StoreError
from spatterlib.learning.looks import LOOKS, STREAK_SUMS, looks_of, streak_sums
from spatterlib.learning.runs import Run, run_of
from spatterlib.plugins.capabilities import SupportsLastLayer
from spatterlib.plugins.classifier import Model
from spatterlib.stores.opening import open_store
from spatterlib.types import Image, Store

__all__ = [
    "FEWEST_GOOD",
    "NOVEL",
    "GoodLayers",
    "LayerLooks",
    "NovelLayer",
    "layer_looks",
    "network_of",
    "novel_layers",
]

FEWEST_GOOD = 20
"""Good layers that others are compared with at least."""
NOVEL = 0.05
"""A layer with this p-value or a smaller one is unlike the good ones; so is one in twenty of good ones."""
ASPECTS = ("what the network sees", "light and size of crops", "kind of streaks", "number of streaks")
"""What layers are compared in."""

Array = NDArray[np.float64]
_EVERY, _NEIGHBOURS, _USUAL, _BATCH = 2, 3, 0.95, 512


class LayerLooks(NamedTuple):
    """Layers of a recording: number, s of the first crop, and ``(layers, k)`` of each of `ASPECTS`."""

    number: NDArray[np.int64]
    start: Array
    aspects: tuple[Array, ...]

    def part(self, rows: slice) -> LayerLooks:
        """Some of the layers."""
        return LayerLooks(self.number[rows], self.start[rows], tuple(aspect[rows] for aspect in self.aspects))


class NovelLayer(NamedTuple):
    """A layer with its conformal p-value, and in what it lies furthest from the good ones."""

    layer: int
    start: float
    p: float
    aspect: str


@dataclass(frozen=True, eq=False)
class GoodLayers:
    """Layers that are known to be good.

    Parameters
    ----------
    aspects : tuple of ndarray
        ``(m, k)`` of each of `ASPECTS`.
    units : ndarray
        ``(4,)`` distance within which 95 % of the good layers lie, each left out in turn.
    left_out : ndarray
        ``(m,)`` ascending: of each good layer, left out, the largest distance in these units.
    """

    aspects: tuple[Array, ...]
    units: Array
    left_out: Array

    @classmethod
    def of(cls, looks: Sequence[LayerLooks]) -> GoodLayers:
        """From good layers of one or several recordings of a camera.

        Raises
        ------
        ParameterError
            If they are too few.
        """
        known = tuple(np.concatenate(parts) for parts in zip(*(own.aspects for own in looks), strict=True))
        count = len(known[0])
        if count < FEWEST_GOOD:
            raise ParameterError(f"layers are compared with {FEWEST_GOOD} good ones or more, got {count}")
        rest = np.arange(count)
        found = np.array(
            [[_far(aspect[rest != own], aspect[own : own + 1])[0] for aspect in known] for own in range(count)]
        )
        units = np.maximum(np.quantile(found, _USUAL, axis=0), 1e-9)
        return cls(known, units, np.sort((found / units).max(axis=1)))

    def compare(self, looks: LayerLooks) -> list[NovelLayer]:
        """The p-value of each layer."""
        pairs = zip(self.aspects, looks.aspects, strict=True)
        far = np.stack([_far(own, other) for own, other in pairs], axis=1) / self.units
        above = len(self.left_out) - np.searchsorted(self.left_out, far.max(axis=1, initial=0), "left")
        p = (1 + above) / (len(self.left_out) + 1)
        names = [ASPECTS[index] for index in far.argmax(axis=1)]
        return [
            NovelLayer(*row) for row in zip(looks.number.tolist(), looks.start.tolist(), p.tolist(), names, strict=True)
        ]


def _far(known: Array, other: Array) -> Array:
    """``(n,)`` mean distance to the nearest known layers, in their standard deviations; of one number, to the mean."""
    # A layer without streaks says nothing of their kind.
    seen = np.isfinite(known)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.nan_to_num(known).sum(axis=0) / count
    spread = np.sqrt((np.nan_to_num(known - mean) ** 2).sum(axis=0) / count) + 1e-3
    known, other = (np.nan_to_num((part - mean) / spread) for part in (known, other))
    if known.shape[1] == 1:  # what lies at the edge of a line has near neighbours, too
        return np.asarray(np.abs(other[:, 0]))
    apart = np.sqrt(((other[:, None] - known[None]) ** 2).mean(axis=2))
    return np.asarray(np.sort(apart, axis=1)[:, :_NEIGHBOURS].mean(axis=1))


def _network(run: Run) -> SupportsLastLayer:
    """The network of a run, if it says what it sees."""
    model = run.model
    if not isinstance(model, SupportsLastLayer):
        raise ParameterError(f"a {type(model).__name__} does not say what it sees of crops; name another model")
    return model


def network_of(model: Run | Model | str | os.PathLike[str]) -> Run:
    """The run of a network that can say what it sees.

    Raises
    ------
    ParameterError
        If it cannot.
    """
    run = run_of(model)
    _network(run)
    return run


def layer_looks(source: str | os.PathLike[str], run: Run) -> LayerLooks:
    """What the layers of a store look like.

    Parameters
    ----------
    source : path
        A store.
    run : Run
        From `network_of`.

    Raises
    ------
    ParameterError
        If the store knows no times.
    """
    with open_store(source) as store:
        table = store.table
        timed = np.flatnonzero(np.isfinite(table["time"]) & (table["frame"] >= 0))
        if not len(timed):
            raise ParameterError(f"{os.fspath(source)} knows no times, so it has no layers")
        seen, looks = _seen(store, timed, run)
        table = table[timed]
        number = layers(table["time"], gap_of(store.attrs), table["frame"]).number
    names, own = np.unique(number, return_inverse=True)
    crops = np.bincount(own)
    mean = [np.stack([np.bincount(own, column) for column in part.T], 1) / crops[:, None] for part in (seen, looks)]
    first = len(LOOKS) - len(STREAK_SUMS)
    measured = looks[:, first] >= 0
    sums = np.stack([np.bincount(own[measured], column, len(names)) for column in looks[measured, first:].T], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.sqrt(sums[:, :1] / np.bincount(own[measured], minlength=len(names))[:, None])
        kind = sums[:, 1:] / np.where(sums[:, :1] > 0, sums[:, :1], np.nan)
    start = np.array([table["time"][number == name].min() for name in names.tolist()])
    return LayerLooks(names, start, (mean[0], mean[1][:, :first], kind, count))


def _seen(store: Store, rows: NDArray[np.int64], run: Run) -> tuple[Array, Array]:
    """``(n, k)`` embedding and ``(n, len(LOOKS))`` looks of crops; one that does not decode is black."""
    network, how = _network(run), run.preprocessing
    seen, looks = [], []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        table = store.table[part]
        crops = [_decoded(data) for data in store.encoded(part)]  # type: ignore[arg-type]
        images = how.prepare(crops)
        measured = (table["frame"] % _EVERY == 0).tolist()
        streaks = [streak_sums(crop) if wanted else None for crop, wanted in zip(crops, measured, strict=True)]
        seen.append(network.embed(images))
        looks.append(looks_of(images, table, streaks))
    return np.concatenate(seen).astype(np.float64), np.concatenate(looks).astype(np.float64)


def _decoded(data: bytes) -> Image:
    try:
        return decode(data)
    except StoreError:
        return np.zeros((16, 16, 3), np.uint8)


def novel_layers(
    source: str | os.PathLike[str],
    good: int | str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    model: Run | Model | str | os.PathLike[str] = "simulated",
) -> list[NovelLayer]:
    """How well each layer of a store fits the good ones, without labels: a conformal p-value per layer.

    Parameters
    ----------
    source : path
        A store.
    good : int, path or sequence of paths
        Stores of good layers of the same camera, 20 layers or more; a number: the first so many of `source`, which
        are then not judged.
    model : path, Run or Model
        A network whose last layer is linear: a run of yours, or the one that comes with the package.

    Returns
    -------
    list of NovelLayer
        Layer, s of its start, p-value, and in what it lies furthest from the good ones. A good layer has a p-value of
        at most e with probability e; of 40 good layers the smallest is 1/41.

    Raises
    ------
    MissingFileError
        If a store or the model is not there.
    ParameterError
        If there are too few good layers, or the model does not say what it sees.

    Examples
    --------
    >>> import spatterlib as sp
    >>> for layer in sp.novel_layers("tonight.h5", "good.h5"):  # doctest: +SKIP
    ...     if layer.p <= 0.025:
    ...         print(layer.layer, layer.aspect)
    """
    run = network_of(model)
    if isinstance(good, int):
        looks = layer_looks(source, run)
        return GoodLayers.of([looks.part(slice(good))]).compare(looks.part(slice(good, None)))
    stores = [good] if isinstance(good, str | os.PathLike) else list(good)
    return GoodLayers.of([layer_looks(store, run) for store in stores]).compare(layer_looks(source, run))
