"""What the labelled stores of a session say about themselves: balance, black crops, leaks, confounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib_demo.charts import bars
from spatterlib_demo.markup import Markup, html, joined
from spatterlib_demo.words import term

__all__ = ["counts_of", "labels_of", "warnings_of"]

_BLACK = 40
# From this share of pairs on, one plain measurement tells the labels apart.
_TELLS = 0.8


def labels_of(store: Any) -> NDArray[Any]:
    """``(n,)`` text, empty where there is none."""
    return store.column("label").astype(str) if "label" in store.columns else np.full(len(store), "", "U8")


def counts_of(path: Path) -> dict[str, int]:
    """Crops by label."""
    with sp.open_store(path) as store:
        names, counts = np.unique(labels_of(store), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True) if name}


def warnings_of(stores: Mapping[str, Path]) -> Markup:
    """A report on all stores together, as HTML."""
    labels, tables, recordings = [], [], []
    for name, path in stores.items():
        with sp.open_store(path) as store:
            labels.append(labels_of(store))
            tables.append(store.table)
            video = store.attrs.get("video") or {}
            recordings.append(np.full(len(store), str(video.get("digest") or name)))
    if not labels:
        return Markup()
    label, table, recording = map(np.concatenate, (labels, tables, recordings))
    known = label != ""
    classes = np.unique(label[known])
    counts = {str(name): int((label == name).sum()) for name in classes} | {"no label": int((~known).sum())}
    found = [
        *_black(table, label),
        *_balance(counts),
        *_leaks(label[known], recording[known], classes),
        *_confounds(table[known], label[known], classes),
    ]
    lines = joined(html("<li>{}</li>", line) for line in found or ["Nothing strange was found."])
    chart = bars(counts, "Crops by label, all stores here")
    return html('{}<h2>Before you train</h2><ul class="warnings">{}</ul>', chart, lines)


def _black(table: Any, label: Any) -> Iterable[str]:
    black = table["peak"] < _BLACK
    if black.any():
        yield f"{int(black.sum()):,} crops are black (brightest pixel below {_BLACK}): they teach nothing."


def _balance(counts: Mapping[str, int]) -> Iterable[str]:
    sizes = [count for name, count in counts.items() if name != "no label"]
    if len(sizes) < 2:
        yield "Two labels are needed to train: label some crops, or make the practice recordings."
    elif max(sizes) > 2 * min(sizes):
        yield "One label has more than twice as many crops as another: accuracy alone will look better than it is."


def _leaks(label: Any, recording: Any, classes: Any) -> Iterable[str]:
    names = np.unique(recording)
    if len(classes) < 2:
        return
    if all(len(np.unique(label[recording == name])) == 1 for name in names):
        yield html(
            "Every recording has one label throughout. With a {} that is a {}: the network may learn the recording. "
            "Trust the {}.",
            *map(term, ("random split", "leak", "grouped split")),
        )
    for name in classes:
        if len(np.unique(recording[label == name])) == 1:
            yield f"“{name}” comes from one recording only: no split tells label from recording."


def _confounds(table: Any, label: Any, classes: Any) -> Iterable[str]:
    """Measurements that tell the first two labels apart by themselves: share of pairs in the right order."""
    if len(classes) < 2:
        return
    size = table["width"].astype(float) * table["height"]
    plain = {"mean brightness": table["red"] + table["green"] + table["blue"], "size of the crop": size}
    for what, values in plain.items():
        share = _pairs(values[label == classes[0]], values[label == classes[1]])
        if max(share, 1 - share) >= _TELLS:
            yield html(
                "The {} alone tells {} from {} in {:.0%} of pairs: a {}, if it comes from the lamp or camera.",
                *(what, classes[0], classes[1], max(share, 1 - share), term("confound")),
            )


def _pairs(first: Any, second: Any) -> float:
    """Chance that a value of the first lies above one of the second."""
    order = np.sort(second)
    below = np.searchsorted(order, first, "left") + np.searchsorted(order, first, "right")
    return float(below.mean() / 2 / len(second))
