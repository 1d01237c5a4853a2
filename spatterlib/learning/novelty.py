"""How far crops lie from those that a model learned from: a few plain features, a mean, a covariance.

A classifier answers whatever it is shown. Crops from another camera, lamp or process get a sure answer too, so a
training leaves beside its weights what its crops looked like, and a verdict abstains where too many lie far from that.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import write_text
from spatterlib.errors import StoreError
from spatterlib.learning.familiar_spans import FamiliarSpans
from spatterlib.learning.looks import features
from spatterlib.types import Image

__all__ = ["Familiar"]

FILE = "familiar.json"
QUANTILE = 0.995
"""Share of held-back crops that lie within the limit."""

_CROPS = 20_000
_RIDGE = 1e-3


@dataclass(frozen=True)
class Familiar:
    """What the crops of a training looked like.

    Parameters
    ----------
    mean : tuple of float
        ``(k,)``, of the features of the training crops.
    whitening : tuple of tuple
        ``(k, k)``, square root of their inverse covariance over k: the Mahalanobis distance (Mahalanobis 1936) is the
        length of ``(features - mean) @ whitening``.
    limit : float
        Distance within which `QUANTILE` of the crops lie that were held back from training.
    crops : int
        How many crops it was made from.
    spans : FamiliarSpans or None
        What its recordings looked like; None: not known, as of runs of older versions and of few recordings.
    """

    mean: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    limit: float
    crops: int
    spans: FamiliarSpans | None = None

    @classmethod
    def of(cls, images: Image, train: NDArray[np.int64], held_back: NDArray[np.int64], seed: int = 1234) -> Self:
        """From prepared crops.

        Parameters
        ----------
        images : ndarray
            ``(n, size, size, channels)`` uint8.
        train, held_back : ndarray
            Rows that were learned from, and rows of what was not; at most 20,000 of each are looked at.
        seed : int
            Of the choice.
        """
        known, other = (features(images, _some(rows, seed)) for rows in (train, held_back))
        mean, covariance = known.mean(0), np.atleast_2d(np.cov(known.T))
        size = len(covariance)
        values, vectors = np.linalg.eigh(covariance + _RIDGE * np.trace(covariance) / size * np.eye(size))
        whitening = vectors / np.sqrt(np.maximum(values, 1e-12) * size)
        limit = max(float(np.quantile(_lengths(part, mean, whitening), QUANTILE)) for part in (known, other))
        rounded = np.round(whitening, 9)
        return cls(tuple(np.round(mean, 9).tolist()), tuple(map(tuple, rounded.tolist())), limit, len(known))

    def distances(self, images: Image) -> NDArray[np.float32]:
        """``(n,)`` float32: distance of prepared crops in units of the limit; above 1 is far."""
        if not len(images):
            return np.empty(0, np.float32)
        distances = _lengths(features(images), np.array(self.mean), np.array(self.whitening)) / max(self.limit, 1e-12)
        return distances.astype(np.float32)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``familiar.json`` into a run folder."""
        write_text(Path(folder) / FILE, json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self | None:
        """Read it from a run folder; None for a model that has none.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        file = Path(folder) / FILE
        return cls.parsed(file.read_bytes(), str(file)) if file.is_file() else None

    @classmethod
    def parsed(cls, known: bytes | Mapping[str, Any], name: str) -> Self:
        """From the JSON, or what it says, of a file of that name.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        try:
            facts = json.loads(known) if isinstance(known, bytes) else known
            mean, whitening = (np.array(facts[part], np.float64) for part in ("mean", "whitening"))
            if mean.ndim != 1 or whitening.shape != (len(mean),) * 2:
                raise ValueError(f"a mean of shape {mean.shape} and a whitening of shape {whitening.shape}")
            if not (np.isfinite(mean).all() and np.isfinite(whitening).all() and math.isfinite(facts["limit"])):
                raise ValueError("a number is not finite")
            rows = tuple(map(tuple, whitening.tolist()))
            spans = FamiliarSpans.parsed(facts["spans"]) if facts.get("spans") else None
            return cls(tuple(mean.tolist()), rows, float(facts["limit"]), int(facts["crops"]), spans)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise StoreError(f"{name} is damaged: {error}; train again, or remove it to predict without it") from error


def _lengths(
    features: NDArray[np.float64], mean: NDArray[np.float64], whitening: NDArray[np.float64]
) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm((features - mean) @ whitening, axis=1)
    return lengths


def _some(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    if len(rows) <= _CROPS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _CROPS, replace=False))
