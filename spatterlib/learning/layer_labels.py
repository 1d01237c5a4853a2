"""Which layer has which label: a CSV of layers, stores with one label, or labels of crops that are whole layers'."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import check_source
from spatterlib.common.wording import counted
from spatterlib.detection.layers import gap_of, layers
from spatterlib.errors import MissingFileError, ParameterError
from spatterlib.learning.index_files import Labelled, csv_lines
from spatterlib.learning.labels import labelled
from spatterlib.stores.opening import open_store

__all__ = ["LayerLabels", "LayersOf", "label_layers"]

log = logging.getLogger("spatterlib")

LayerLabels: TypeAlias = (
    "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | Mapping[int | str, str]]"
)
"""A CSV with store,layer,label; texts such as "monday.h5:1-4=low"; stores with labels; or a dict of any of these."""

COLUMNS = ("store", "layer", "label")
_TYPED = re.compile(r"(?P<store>.+?)(?::(?P<layers>\d[\d,-]*))?=(?P<label>[^=]+)")


@dataclass(frozen=True, eq=False)
class LayersOf:
    """The labelled layers of a store.

    Parameters
    ----------
    labelled : Labelled
        Rows of these layers, with their labels.
    number : ndarray
        ``(crops of the store,)`` int64, layer of each row of the store, from 1.
    labels : dict
        Label by the number of the layer.
    """

    labelled: Labelled
    number: NDArray[np.int64]
    labels: Mapping[int, str]


@dataclass(frozen=True)
class _Said:
    """What somebody said of a store: layers as a text (empty: all of them), their label, and where it stands."""

    layers: str
    label: str
    where: str


def label_layers(given: LayerLabels, column: str = "label") -> list[LayersOf]:
    """Labelled layers of each store, in the order given.

    Parameters
    ----------
    given : path, sequence or dict
        A CSV with the columns ``store,layer,label``, whose stores lie beside it and whose layers are numbers or spans
        such as 1-4, empty for all; a CSV index of labels of crops; texts ``STORE=LABEL`` or ``STORE:1-4,7=LABEL``;
        stores with a column of labels; a dict ``{store: label}`` or ``{store: {layer: label}}``.
    column : str
        Name of that column.

    Raises
    ------
    MissingFileError
        If a file is not there.
    ParameterError
        If a layer is not there or has two labels, or a store knows no times.
    """
    said, rest = _said(given)
    found = [_of_said(store, own) for store, own in said.items()]
    if rest:
        index = len(rest) == 1 and rest[0].lower().endswith(".csv")
        found += [_of_crops(item) for item in labelled(rest[0] if index else rest, column)]
    if not found:
        raise ParameterError("no layers were given; expected a CSV with store,layer,label, or STORE:LAYERS=LABEL")
    paths = [item.labelled.path for item in found]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise ParameterError(f"{twice[0]} is labelled twice, in different ways; say it in one of them")
    return found


def _said(given: LayerLabels) -> tuple[dict[str, list[_Said]], list[str]]:
    """What is said of stores, and stores or an index that know their labels themselves."""
    said: dict[str, list[_Said]] = {}
    rest: list[str] = []
    if isinstance(given, Mapping):
        for store, label in given.items():
            pairs = label.items() if isinstance(label, Mapping) else [("", label)]
            own = [_Said(str(layer), str(name), f"{os.fspath(store)}: {name!r}") for layer, name in pairs]
            said.setdefault(os.fspath(store), []).extend(own)
        return said, rest
    for item in [given] if isinstance(given, str | os.PathLike) else given:
        text = os.fspath(item)
        typed = None if Path(text).exists() else _TYPED.fullmatch(text)
        if typed:
            said.setdefault(typed["store"], []).append(_Said(typed["layers"] or "", typed["label"], repr(text)))
        elif text.lower().endswith(".csv") and _is_of_layers(text):
            for number, line in csv_lines(text, COLUMNS):
                store = line["store"]
                path = store if "://" in store else os.path.normpath(Path(text).parent / store)
                said.setdefault(path, []).append(_Said(line["layer"], line["label"], f"{text}, line {number}"))
        else:
            rest.append(text)
    return said, rest


def _is_of_layers(path: str) -> bool:
    check_source(path)
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
            return "layer" in file.readline().strip().split(",")
    except FileNotFoundError as error:
        raise MissingFileError(f"no labels at {path}; expected a CSV with {','.join(COLUMNS)}") from error


def _numbers(path: str) -> NDArray[np.int64]:
    """Layer of each row of a store, as a verdict numbers them; 0 for crops without a time."""
    with open_store(path) as store:
        table, gap = store.table, gap_of(store.attrs)
    timed = np.isfinite(table["time"]) & (table["frame"] >= 0)
    if not timed.any():
        raise ParameterError(f"{path} knows no times, so it has no layers; label crops and train on them instead")
    number = np.zeros(len(table), np.int64)
    number[timed] = layers(table["time"][timed], gap, table["frame"][timed]).number
    return number


def _of_said(path: str, said: Iterable[_Said]) -> LayersOf:
    number, labels = _numbers(path), dict[int, str]()
    last = int(number.max())
    for item in said:
        if not item.label.strip():
            raise ParameterError(f"{item.where}: a label is missing")
        for layer in _span(item, last):
            if not 1 <= layer <= last:
                raise ParameterError(f"{item.where}: {path} has layers 1 to {last}, not {layer}")
            if labels.setdefault(layer, item.label.strip()) != item.label.strip():
                raise ParameterError(
                    f"{item.where}: layer {layer} of {path} is {labels[layer]!r} and {item.label!r}; keep one"
                )
    return _layers_of(path, number, labels)


def _span(item: _Said, last: int) -> Iterable[int]:
    if not item.layers.strip():
        return range(1, last + 1)
    found: list[int] = []
    for part in item.layers.split(","):
        first, dash, stop = part.strip().partition("-")
        if not first.isdecimal() or (dash and not stop.isdecimal()):
            raise ParameterError(f"{item.where}: layers are numbers such as 3 or 1-4,7, got {item.layers!r}")
        # As far as there are layers, and one beyond to be refused.
        found += range(int(first), min(int(stop or first), max(last, int(first)) + 1) + 1)
    return found


def _of_crops(item: Labelled) -> LayersOf:
    """Layers whose labelled crops have one label."""
    number, labels, mixed = _numbers(item.path), dict[int, str](), 0
    own = number[item.rows]
    for layer in np.unique(own[(own > 0) & (item.labels != "")]).tolist():
        names = np.unique(item.labels[(own == layer) & (item.labels != "")])
        mixed += len(names) > 1
        if len(names) == 1:
            labels[layer] = str(names[0])
    if mixed:
        log.warning("%s: %s with several labels, left out", item.path, counted(mixed, "layer"))
    return _layers_of(item.path, number, labels)


def _layers_of(path: str, number: NDArray[np.int64], labels: Mapping[int, str]) -> LayersOf:
    rows = np.flatnonzero(np.isin(number, list(labels)))
    names = np.array([labels[layer] for layer in number[rows].tolist()], np.str_)
    return LayersOf(Labelled(path, rows, names), number, labels)
