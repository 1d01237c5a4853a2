"""Crops of labelled layers as arrays, with what is left out together, and a last layer that is fitted to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.events import VOTE_SECONDS, events, vote_numbers
from spatterlib.errors import ParameterError
from spatterlib.learning.dataset import Dataset, load_dataset
from spatterlib.learning.familiar_spans import Part
from spatterlib.learning.last_layer import fitted_last_layer
from spatterlib.learning.layer_labels import LayersOf
from spatterlib.learning.layer_record import FEWEST_VOTES
from spatterlib.learning.looks import span_looks
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.runs import Run
from spatterlib.plugins.capabilities import SupportsLastLayer
from spatterlib.plugins.classifier import Scores
from spatterlib.plugins.registry import nearest
from spatterlib.types import Detections, Image

__all__ = ["FEWEST_LAYERS", "LabelledLayers", "Refitted", "check_layers", "load_layers", "moved_familiar", "refitted"]

FEWEST_LAYERS = 3
"""Labelled layers of each class that a model is adapted to at least."""


@dataclass(frozen=True, eq=False)
class LabelledLayers:
    """Crops of labelled layers.

    Parameters
    ----------
    data : Dataset
        All that was loaded; the other fields are of some of its rows.
    rows : ndarray
        ``(n,)`` rows of `data` in layers with enough votes.
    labels : ndarray
        ``(n,)`` class of each crop, in the order of the run's classes.
    layer, vote, event : ndarray
        ``(n,)`` int64: which of `names`; number of the vote in it, of the event in the recording.
    names : tuple of tuple
        Store and number of each layer.
    fold : ndarray
        ``(layers,)`` int64, what is left out together.
    by : str
        "recording" or "layer".
    """

    data: Dataset
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    layer: NDArray[np.int64]
    vote: NDArray[np.int64]
    event: NDArray[np.int64]
    names: tuple[tuple[str, int], ...]
    fold: NDArray[np.int64]
    by: str

    @property
    def images(self) -> Image:
        """``(n, size, size, channels)`` uint8."""
        return self.data.images[self.rows]

    @property
    def table(self) -> Detections:
        """``(n,)`` `DETECTION`."""
        return self.data.table[self.rows]

    @property
    def looks(self) -> NDArray[np.float32]:
        """``(n, len(LOOKS))``."""
        return self.data.looks[self.rows]

    @property
    def classes(self) -> NDArray[np.int64]:
        """``(layers,)`` class of each layer."""
        return self.labels[np.unique(self.layer, return_index=True)[1]]

    @property
    def weight(self) -> NDArray[np.float64]:
        """``(n,)`` of each crop: every layer counts 1, every vote of it the same."""
        pairs = np.stack([self.layer, self.vote])
        votes, of_vote, crops = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
        return np.asarray(1 / crops[of_vote.ravel()] / np.bincount(votes[0])[self.layer])


def check_layers(classes: Sequence[str], given: Sequence[LayersOf]) -> None:
    """Refuse labels that the model does not know, and too few layers of a class.

    Raises
    ------
    ParameterError
        Says how many there are of each.
    """
    counts = Counter(label for item in given for label in item.labels.values())
    for label in counts:
        if label not in classes:
            raise ParameterError(
                f"the model tells {', '.join(classes)} apart, not {label!r}{nearest(label, list(classes))}"
            )
    _enough(counts, classes, "labelled layers")


def load_layers(run: Run, given: Sequence[LayersOf]) -> LabelledLayers:
    """Decode the crops of labelled layers; those of layers with too few votes for a verdict are left out.

    Raises
    ------
    ParameterError
        If too few layers of a class are left.
    """
    black = int((run.facts.get("options") or {}).get("black", 40))
    usual = run.facts.get("gas_direction")
    crops: Any = [item.labelled for item in given]
    data = load_dataset(crops, run.preprocessing, black=black, gas_direction=usual)
    layer, vote, event = (np.full(len(data), -1) for _ in range(3))
    names: list[tuple[str, int]] = []
    for number, item in enumerate(given):
        own = np.flatnonzero(data.source == number)
        event[own] = events(data.table[own]).number
        of_row = item.number[data.row[own]]
        for name in np.unique(of_row).tolist():
            rows = own[of_row == name]
            votes = vote_numbers(data.table["time"][rows], event[rows], VOTE_SECONDS)
            if votes.max() + 1 >= FEWEST_VOTES:
                layer[rows], vote[rows] = len(names), votes
                names.append((item.labelled.path, name))
    rows = np.flatnonzero(layer >= 0)
    labels = np.array([run.classes.index(name) for name in data.classes])[data.labels[rows]]
    layer = layer[rows]
    first = np.unique(layer, return_index=True)[1]
    judged = Counter(run.classes[label] for label in labels[first].tolist())
    _enough(judged, run.classes, f"layers with {FEWEST_VOTES} votes, which a verdict needs,")
    fold, by = _folds(data.source[rows][first], labels[first])
    return LabelledLayers(data, rows, labels, layer, vote[rows], event[rows], tuple(names), fold, by)


def _enough(counts: Counter[str], classes: Sequence[str], what: str) -> None:
    if min(counts[name] for name in classes) < FEWEST_LAYERS:
        found = ", ".join(f"{counts[name]} of {name!r}" for name in classes)
        raise ParameterError(f"a model is adapted to {FEWEST_LAYERS} {what} of each class, got {found}; label more")


def _folds(source: NDArray[np.int64], classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], str]:
    """What is left out together: recordings where each class has several, because their layers share so much."""
    pairs = np.unique(np.stack([source, classes]), axis=1)
    if np.bincount(pairs[1]).min() > 1:
        return np.unique(source, return_inverse=True)[1].ravel(), "recording"
    return np.arange(len(source)), "layer"


class Refitted(NamedTuple):
    """A last layer that was fitted anew, and ``(n, classes)`` scores of crops by fits that had not seen their fold."""

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    left_out: Scores


def refitted(network: SupportsLastLayer, known: LabelledLayers) -> Refitted:
    """Fit the last layer of a network to labelled layers, and again without each fold."""
    seen, weight, fold = network.embed(known.images), known.weight, known.fold[known.layer]
    scores = np.empty((len(seen), len(network.last_layer[1])))
    for own in np.unique(fold):
        others = fold != own
        weights, biases = fitted_last_layer(seen[others], known.labels[others], weight[others], network.last_layer)
        scores[~others] = seen[~others] @ weights.T + biases
    return Refitted(*fitted_last_layer(seen, known.labels, weight, network.last_layer), scores)


def moved_familiar(before: Familiar | None, known: LabelledLayers) -> Familiar:
    """What is familiar of another camera: crops as in the labelled layers, layers spread as in the training."""
    fold, images = known.fold[known.layer], known.images
    every = np.arange(len(fold))
    # As far as crops of a fold lie from the others: what is new in a recording of this camera is not unlike it.
    limits = [Familiar.of(images, every[fold != own], every[fold == own]).limit for own in np.unique(fold)]
    found = replace(Familiar.of(images, every, every), limit=max(limits))
    if before is None or before.spans is None:
        return found
    parts = []
    for layer, (own_fold, label) in enumerate(zip(known.fold.tolist(), known.classes.tolist(), strict=True)):
        own = known.layer == layer
        vote = known.vote[own]
        parts.append(Part(own_fold, label, int(vote.max()) + 1, span_looks(known.looks[own], vote)))
    return replace(found, spans=before.spans.moved_to(parts))
