"""Whether an exported model says what the model says: crops to try it on, and by how much it differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ContractError, SpatterlibError
from spatterlib.learning.run_facts import RunFacts
from spatterlib.learning.runs import Run
from spatterlib.plugins.classifier import Scores
from spatterlib.stores.opening import open_store
from spatterlib.types import Image

__all__ = ["CROPS", "TOLERANCE", "Ask", "check", "in_batches", "made_up", "references", "sample_crops"]

CROPS = 1000
"""Crops that an exported model is tried on."""

TOLERANCE = 1e-4
"""Largest difference of a probability that is let through."""

Ask: TypeAlias = Callable[[Image], NDArray[np.float32]]
"""``(n, h, w, 3)`` uint8 RGB to ``(n, classes)`` probabilities."""


def sample_crops(facts: RunFacts, count: int = CROPS) -> list[Image]:
    """Crops of what a model learned from, where that is still there, and made-up ones for the rest.

    Parameters
    ----------
    facts : dict
        ``model.json``; may be empty.
    count : int
        How many.
    """
    sources = facts.get("sources", ())
    crops: list[Image] = []
    for source in sources:
        with suppress(SpatterlibError, OSError), open_store(source["path"]) as store:
            rows = np.unique(np.linspace(0, len(store) - 1, count // len(sources)).astype(int))
            crops += store.read([int(row) for row in rows if row >= 0])
    return crops + made_up(count - len(crops))


def made_up(count: int, seed: int = 0) -> list[Image]:
    """Noise and glows of many levels in crops of many sizes, four of each; not recorded, not simulated builds."""
    random = np.random.default_rng(seed)
    crops: list[Image] = []
    while len(crops) < count:
        height, width = random.integers(1, 200, 2)
        y, x = np.mgrid[:height, :width]
        for _ in range(4):
            far = (x - random.uniform(0, width)) ** 2 + (y - random.uniform(0, height)) ** 2
            glow = random.uniform(0, 300) * np.exp(-far / random.uniform(5, 2000))
            picture = random.normal(random.uniform(0, 120), 20, (height, width, 3)) + glow[..., None]
            crops.append(np.clip(picture * random.uniform(0.3, 1, 3), 0, 255).astype(np.uint8))
    return crops[: max(count, 0)]


def in_batches(ask: Ask, crops: Sequence[Image]) -> Scores:
    """``(n, classes)``: ask for crops of the same size together."""
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, crop in enumerate(crops):
        by_shape[crop.shape].append(row)
    answers: dict[int, NDArray[np.float32]] = {}
    for rows in by_shape.values():
        answers |= zip(rows, ask(np.stack([crops[row] for row in rows])), strict=True)
    return np.array([answers[row] for row in range(len(crops))], np.float64)


def references(run: Run, network: Callable[[], Any], crops: Sequence[Image]) -> dict[str, Scores]:
    """Probabilities by the model itself, and by its network in PyTorch."""
    from spatterlib.learning.engines import scorer

    images = run.preprocessing.prepare(crops)
    samples = run.preprocessing.samples(images, np.arange(len(images)))
    return {
        "the model itself": run.calibrated(run.scores(images)),
        "PyTorch": run.calibrated(np.asarray(scorer("torch", network())(samples), np.float64)),
    }


@dataclass(frozen=True)
class _Difference:
    largest: float
    decisions: int


def _difference(given: Scores, expected: Scores) -> _Difference:
    if given.shape != expected.shape:
        return _Difference(float("inf"), len(expected))
    decisions = int((given.argmax(1) != expected.argmax(1)).sum())
    return _Difference(float(np.abs(given - expected).max(initial=0)), decisions)


def check(given: Scores, expected: Mapping[str, Scores], what: str) -> dict[str, float]:
    """Largest differences of probabilities, by what they were compared with.

    Raises
    ------
    ContractError
        If one exceeds `TOLERANCE`, or a crop is decided otherwise; says by how much.
    """
    found = {name: _difference(given, scores) for name, scores in expected.items()}
    for name, difference in found.items():
        # Not the other way round: what is no number is no match.
        if not (difference.largest <= TOLERANCE and difference.decisions == 0):
            raise ContractError(
                f"{what} differs from {name} by up to {difference.largest:.2g} in probability (allowed: {TOLERANCE:g}) "
                f"and decides {difference.decisions} of {len(given)} crops otherwise; nothing was written"
            )
    return {name: difference.largest for name, difference in found.items()}
