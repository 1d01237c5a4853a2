"""Which crop has which label: whole stores, columns, and the CSV files of the research system."""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import check_target, write_csv
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.learning.index_files import (
    INDEX,
    Labelled,
    Line,
    csv_lines,
    places_of,
    read_index,
    shuffled,
    whole_number,
)
from spatterlib.plugins.capabilities import SupportsExport
from spatterlib.stores.opening import find_store, open_store
from spatterlib.types import Store

__all__ = [
    "INDEX",
    "Labelled",
    "edit_labels",
    "is_read_only",
    "labelled",
    "read_index",
    "relabelled",
    "sorted_classes",
    "write_index",
]


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names without repetition, in a fixed order: numbers by value, then words."""

    def key(name: str) -> tuple[bool, float, str]:
        number = re.fullmatch(r"-?\d+(\.\d+)?", name)
        return (number is None, float(name) if number else 0.0, name)

    return tuple(sorted({str(name) for name in names}, key=key))


def labelled(data: Any, column: str = "label") -> list[Labelled]:
    """Rows and labels of everything that `train` accepts as data.

    Parameters
    ----------
    data : dict, path or sequence of paths
        ``{store: label}`` (label None = the store's column); stores with a column; a CSV index; or what this returns.
    column : str
        Name of the column.

    Returns
    -------
    list of Labelled
        One per store, in the order given.

    Raises
    ------
    MissingFileError
        If a store is not there.
    StoreError
        If a store is empty.
    ParameterError
        If labels contradict each other, or there is nothing.
    """
    if not isinstance(data, str | os.PathLike) and data and all(isinstance(item, Labelled) for item in data):
        items = list(data)
    elif isinstance(data, Mapping):
        items = [_whole(os.fspath(path), label, column) for path, label in data.items()]
        _check_twins(items, {os.fspath(path): label for path, label in data.items()})
    elif isinstance(data, str | os.PathLike):
        path = os.fspath(data)
        items = read_index(path) if path.lower().endswith(".csv") else [_whole(path, None, column)]
        _check_twins(items, {})
    else:
        items = [_whole(os.fspath(path), None, column) for path in data]
        _check_twins(items, {})
    if not items:
        raise ParameterError("no stores were given; expected {store: label}, stores with a label column, or a CSV")
    return items


def _whole(path: str, label: object, column: str) -> Labelled:
    with open_store(path) as store:
        if not len(store):
            raise StoreError(f"{path} holds no crops; extract a video with spatter into it, or leave it out")
        labels = _column(store, path, column) if label is None else np.full(len(store), str(label))
        return Labelled(path, np.arange(len(store)), labels)


def _column(store: Store, path: str, column: str) -> NDArray[np.str_]:
    if column not in store.columns:
        raise ParameterError(
            f"{path} has no column {column!r}; label it with `spatterlib label`, or say {{{path!r}: label}}"
        )
    values = store.column(column)
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.round(values))
        names = np.where(
            whole, np.round(np.nan_to_num(values)).astype(np.int64).astype(np.str_), values.astype(np.str_)
        )
        return np.where(np.isfinite(values), names, "").astype(np.str_)
    names = values.astype(np.str_)
    return np.where(values == -1, "", names).astype(np.str_) if values.dtype.kind == "i" else names


def _check_twins(items: Sequence[Labelled], labels: Mapping[str, object]) -> None:
    """The same recording must not be there twice."""
    seen: dict[str, str] = {}
    for item in items:
        with open_store(item.path) as store:
            digest = (store.attrs.get("video") or {}).get("digest") or str(Path(item.path).resolve())
        if digest in seen:
            other = seen[digest]
            a, b = labels.get(other), labels.get(item.path)
            if a != b:
                raise ParameterError(
                    f"labels contradict each other: {other} ({a!r}) and {item.path} ({b!r}) are of the same video; "
                    "leave one out"
                )
            raise ParameterError(f"{other} and {item.path} are of the same video; leave one out")
        seen[digest] = item.path


def write_index(data: Any, path: str | os.PathLike[str], *, column: str = "label", seed: int | None = None) -> int:
    """Write an index ``file,dataset,ds_idx,label`` that the research system's scripts read.

    Parameters
    ----------
    data : dict, path, sequence of paths or of Labelled
        As for `labelled`; the files are named relative to the folder of `path`.
    path : path
        The CSV to write, beside first, then renamed.
    column : str
        Name of the column of labels.
    seed : int, optional
        Shuffle the lines (``images.csv``); in order without it (``unshuffled_images.csv``).

    Returns
    -------
    int
        Number of lines.

    Raises
    ------
    ParameterError
        If no crop has a label.
    StoreError
        If the file cannot be written.
    """
    target, files = Path(path), []
    check_target(target)
    lines: list[Line] = []
    for item in labelled(data, column):
        with open_store(item.path) as store:
            places = places_of(store)
        file = item.path if "://" in item.path else Path(os.path.relpath(item.path, target.parent)).as_posix()
        files.append(file)
        lines += [(file, *places[row], str(name)) for row, name in zip(item.rows, item.labels, strict=True) if name]
    if not lines:
        raise ParameterError(f"{', '.join(files)}: no crop has a label in column {column!r}; there is nothing to write")
    write_csv(target, INDEX, lines if seed is None else shuffled(lines, files, seed))
    return len(lines)


def edit_labels(path: str | os.PathLike[str], changes: str | os.PathLike[str], column: str = "label") -> int:
    """Write labels from a CSV into a store's column; rows that it does not name keep theirs.

    Parameters
    ----------
    path : path
        The store.
    changes : path
        CSV with ``row,label``, or ``start,stop,label``: s, every crop from `start` on and before `stop`.
    column : str
        Name of the column; made if it is not there.

    Returns
    -------
    int
        How many rows changed their label.

    Raises
    ------
    ParameterError
        If a line makes no sense or two lines contradict each other.
    """
    with open_store(path, mode="a") as store:
        old = _known(store, os.fspath(path), column)
        labels = _changed(old, changes, store)
        store.set_column(column, labels)
        return int((labels != old).sum())


def is_read_only(path: str | os.PathLike[str]) -> bool:
    """Whether a store is of a kind that takes no labels: they go into an index then."""
    return isinstance(find_store(path), SupportsExport)


def relabelled(
    path: str | os.PathLike[str],
    label: str | None = None,
    changes: str | os.PathLike[str] | None = None,
    column: str = "label",
) -> tuple[Labelled, int]:
    """Every row of a store with its label, after giving all of them one, and after changes from a CSV.

    The store keeps them, if it can; those of a read-only store are in what is returned alone.

    Parameters
    ----------
    path : path
        The store.
    label : str, optional
        For every crop.
    changes : path, optional
        As for `edit_labels`.
    column : str
        Name of the column.

    Returns
    -------
    Labelled, int
        And how many rows changed their label.
    """
    name = os.fspath(path)
    asked = label is not None or changes is not None
    with open_store(path, mode="a" if asked and not is_read_only(path) else "r") as store:
        old = _known(store, name, column)
        labels = old if label is None else np.full(len(store), label)
        labels = labels if changes is None else _changed(labels, changes, store)
        if asked and not is_read_only(path):
            store.set_column(column, labels)
    return Labelled(name, np.arange(len(labels)), labels), int((labels != old).sum())


def _known(store: Store, path: str, column: str) -> NDArray[np.str_]:
    """Labels that a store has; empty texts where it has none."""
    return _column(store, path, column) if column in store.columns else np.full(len(store), "")


def _changed(old: NDArray[np.str_], changes: str | os.PathLike[str], store: Store) -> NDArray[np.str_]:
    new, labelled = old.astype(object), np.zeros(len(store), bool)
    for number, rows, name in _changes(changes, store):
        if (labelled[rows] & (new[rows] != name)).any():
            raise ParameterError(f"{changes}, line {number}: contradicts an earlier line; keep one of them")
        new[rows], labelled[rows] = name, True
    return new.astype(np.str_)


def _changes(path: str | os.PathLike[str], store: Store) -> Iterable[tuple[int, NDArray[np.int64], str]]:
    """(line, rows, label) of a CSV of changes."""
    with Path(path).open("rb") if Path(path).is_file() else _missing(path) as file:
        spans = b"start" in file.readline().removeprefix(BOM_UTF8).strip().split(b",")
    times = store.table["time"] if spans else None
    if times is not None and len(times) and not np.isfinite(times).any():
        raise ParameterError(f"{path} has times, and the store knows none; give row,label instead")
    for number, line in csv_lines(path, ("start", "stop", "label") if spans else ("row", "label")):
        if times is not None:
            start, stop = (_seconds(line[name], path, number) for name in ("start", "stop"))
            yield number, np.flatnonzero((times >= start) & (times < stop)), line["label"]
            continue
        row = whole_number(line["row"], path, number)
        if not 0 <= row < len(store):
            raise ParameterError(f"{path}, line {number}: the store has rows 0 to {len(store) - 1}, not {row}")
        yield number, np.array([row]), line["label"]


def _missing(path: str | os.PathLike[str]) -> NoReturn:
    raise MissingFileError(f"no labels at {path}; expected a CSV with row,label or start,stop,label")


def _seconds(text: str, path: str | os.PathLike[str], line: int) -> float:
    try:
        return float(text) if text else np.inf
    except ValueError as error:
        raise ParameterError(f"{path}, line {line}: expected seconds, got {text!r}") from error
