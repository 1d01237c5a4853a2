"""Which crop has which label: whole stores, columns, and the CSV files of the research system."""

from __future__ import annotations

import csv
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.files import write_csv
from spatterlib.stores import open_store
from spatterlib.types import Store

__all__ = ["INDEX", "Labelled", "edit_labels", "labelled", "read_index", "sorted_classes", "write_index"]

INDEX = ("file", "dataset", "ds_idx", "label")
"""Columns of an index as the research system wrote it (``images.csv``, ``unshuffled_images.csv``)."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows of one store with their labels; an empty label means none.

    Parameters
    ----------
    path : str
        The store.
    rows : ndarray
        ``(n,)`` int64.
    labels : ndarray
        ``(n,)`` text.
    """

    path: str
    rows: NDArray[np.int64]
    labels: NDArray[np.str_]


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
        ``{store: label}`` (label None = the store's column); stores with a column; or a CSV index.
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
    if isinstance(data, Mapping):
        items = [_whole(os.fspath(path), label, column) for path, label in data.items()]
        _check_twins(items, {os.fspath(path): label for path, label in data.items()})
    elif isinstance(data, str | os.PathLike):
        path = os.fspath(data)
        items = read_index(path) if path.lower().endswith(".csv") else [_whole(path, None, column)]
    else:
        items = [_whole(os.fspath(path), None, column) for path in data]
        _check_twins(items, {})
    if not items:
        raise ParameterError("no stores were given; expected {store: label}, stores with a label column, or a CSV")
    return items


def _whole(path: str, label: Any, column: str) -> Labelled:
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


def _check_twins(items: Sequence[Labelled], labels: Mapping[str, Any]) -> None:
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


def read_index(path: str | os.PathLike[str]) -> list[Labelled]:
    """Read an index as the research system wrote it: ``file,dataset,ds_idx,label``.

    Parameters
    ----------
    path : path
        CSV with a header; files are looked for beside it. An empty dataset means that `ds_idx` is the row.

    Returns
    -------
    list of Labelled
        One per file, rows in the order of the file.

    Raises
    ------
    MissingFileError
        If the index or a file in it is not there.
    ParameterError
        If a column is missing, a line makes no sense, or labels contradict each other.
    """
    by_file: dict[str, dict[tuple[str, int], str]] = {}
    for number, line in _lines(path, INDEX):
        file, dataset = line["file"], line["dataset"] or ""
        place = (dataset, _whole_number(line["ds_idx"], path, number))
        known = by_file.setdefault(file, {})
        if known.setdefault(place, line["label"]) != line["label"]:
            raise ParameterError(
                f"{path}, line {number}: labels contradict each other: {file} {dataset} {place[1]} is "
                f"{known[place]!r} and {line['label']!r}; keep one of the lines"
            )
    return [_of_file(path, file, places) for file, places in by_file.items()]


def _lines(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    """(line number, values by column) of a CSV file."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise ParameterError(
                    f"{path} needs the columns {','.join(columns)}, got {','.join(reader.fieldnames or ['nothing'])}"
                )
            for line in reader:
                if any(line[name] is None for name in columns):
                    raise ParameterError(f"{path}, line {reader.line_num}: a value is missing")
                # The names of files are bytes, on most systems in any encoding; all else is text.
                "".join(value for name, value in line.items() if name != "file" and isinstance(value, str)).encode()
                yield reader.line_num, line
    except FileNotFoundError as error:
        raise MissingFileError(f"no labels at {path}; expected a CSV with {','.join(columns)}") from error
    except UnicodeError as error:
        raise ParameterError(f"{path} is no UTF-8 text; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ParameterError(f"{path} is no CSV text: {error}") from error


def _whole_number(text: str, path: Any, line: int) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ParameterError(f"{path}, line {line}: expected a whole number, got {text!r}") from error


def _of_file(index: str | os.PathLike[str], file: str, places: Mapping[tuple[str, int], str]) -> Labelled:
    path = Path(index).parent / file
    if not os.path.exists(path):  # noqa: PTH110 - a name that is too long is no file, not an error
        raise MissingFileError(f"{index} has labels for {file!r}, which is not beside it; put it into {path.parent}")
    with open_store(path) as store:
        rows = rows_of(store, str(path), list(places))
    order = np.argsort(rows, kind="stable")
    return Labelled(str(path), rows[order], np.array(list(places.values()))[order])


def rows_of(store: Store, path: str, places: Sequence[tuple[str, int]]) -> NDArray[np.int64]:
    """Row of each ``(dataset, index)``; a store without datasets counts its rows themselves."""
    datasets: Mapping[str, int] = getattr(store, "datasets", {})
    starts = {}
    total = 0
    for name, count in datasets.items():
        starts[name], total = total, total + count
    rows = np.empty(len(places), np.int64)
    for index, (dataset, place) in enumerate(places):
        start, count = (starts[dataset], datasets[dataset]) if dataset in starts else (0, len(store))
        if (dataset and dataset not in starts) or not 0 <= place < count:
            raise ParameterError(f"{path} has no crop {place} in dataset {dataset!r}; is the index of another file?")
        rows[index] = start + place
    return rows


def places_of(store: Store) -> list[tuple[str, int]]:
    """``(dataset, index)`` of each row: the inverse of `rows_of`."""
    datasets: Mapping[str, int] = getattr(store, "datasets", {}) or {"": len(store)}
    return [(name, index) for name, count in datasets.items() for index in range(count)]


def write_index(data: Any, path: str | os.PathLike[str], *, column: str = "label", seed: int | None = None) -> int:
    """Write an index ``file,dataset,ds_idx,label`` that the research system's scripts read.

    Parameters
    ----------
    data : dict, path or sequence of paths
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
    """
    target = Path(path)
    lines: list[tuple[str, str, int, str]] = []
    for item in labelled(data, column):
        with open_store(item.path) as store:
            places = places_of(store)
        file = os.path.relpath(item.path, target.parent)
        lines += [(file, *places[row], str(name)) for row, name in zip(item.rows, item.labels, strict=True) if name]
    if seed is not None:
        lines = [lines[index] for index in np.random.default_rng(seed).permutation(len(lines))]
    write_csv(target, INDEX, lines)
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
        old = _column(store, os.fspath(path), column) if column in store.columns else np.full(len(store), "")
        new, told = old.astype(object), np.zeros(len(store), bool)
        for number, rows, name in _changes(changes, store):
            if (told[rows] & (new[rows] != name)).any():
                raise ParameterError(f"{changes}, line {number}: contradicts an earlier line; keep one of them")
            new[rows], told[rows] = name, True
        labels = new.astype(np.str_)
        store.set_column(column, labels)
        return int((labels != old).sum())


def _changes(path: str | os.PathLike[str], store: Store) -> Iterable[tuple[int, NDArray[np.int64], str]]:
    """(line, rows, label) of a CSV of changes."""
    with Path(path).open("rb") if Path(path).is_file() else _missing(path) as file:
        spans = b"start" in file.readline().removeprefix(BOM_UTF8).strip().split(b",")
    times = store.table["time"] if spans else None
    for number, line in _lines(path, ("start", "stop", "label") if spans else ("row", "label")):
        if times is not None:
            start, stop = (_seconds(line[name], path, number) for name in ("start", "stop"))
            yield number, np.flatnonzero((times >= start) & (times < stop)), line["label"]
            continue
        row = _whole_number(line["row"], path, number)
        if not 0 <= row < len(store):
            raise ParameterError(f"{path}, line {number}: the store has rows 0 to {len(store) - 1}, not {row}")
        yield number, np.array([row]), line["label"]


def _missing(path: Any) -> Any:
    raise MissingFileError(f"no labels at {path}; expected a CSV with row,label or start,stop,label")


def _seconds(text: str, path: Any, line: int) -> float:
    try:
        return float(text) if text else np.inf
    except ValueError as error:
        raise ParameterError(f"{path}, line {line}: expected seconds, got {text!r}") from error
