"""Indexes of the research system: CSV files ``file,dataset,ds_idx,label`` over files of crops."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import check_source
from spatterlib.common.wording import counted
from spatterlib.errors import MissingFileError, ParameterError, SpatterlibError
from spatterlib.plugins.capabilities import HasDatasets
from spatterlib.stores.opening import open_store
from spatterlib.types import Store

__all__ = ["INDEX", "Labelled", "csv_lines", "places_of", "read_index", "row_numbers_of", "shuffled", "whole_number"]

log = logging.getLogger("spatterlib")

INDEX = ("file", "dataset", "ds_idx", "label")
"""Columns of an index as the research system wrote it (``images.csv``, ``unshuffled_images.csv``)."""

Line: TypeAlias = tuple[str, str, int, str]


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


def read_index(path: str | os.PathLike[str]) -> list[Labelled]:
    """Read an index as the research system wrote it: ``file,dataset,ds_idx,label``.

    Lines that are there twice count once, crops without a line have no label; how many there are is logged.

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
        If a column is missing, a line makes no sense or names a crop that its file does not have, or labels
        contradict each other.
    """
    by_file: dict[str, dict[tuple[str, int], str]] = {}
    doubled = 0
    for number, line in csv_lines(path, INDEX):
        file, dataset = _beside(path, line["file"]), line["dataset"] or ""
        place = (dataset, whole_number(line["ds_idx"], path, number))
        known = by_file.setdefault(file, {})
        doubled += place in known
        if known.setdefault(place, line["label"]) != line["label"]:
            raise ParameterError(
                f"{path}, line {number}: labels contradict each other: {line['file']} {dataset} {place[1]} is "
                f"{known[place]!r} and {line['label']!r}; keep one of the lines"
            )
    if doubled:
        log.warning("%s: %s there twice, and counted once", path, counted(doubled, "line is", "lines are"))
    return [_of_file(path, file, places) for file, places in by_file.items()]


def _beside(index: str | os.PathLike[str], file: str) -> str:
    """A file of an index, however it is written."""
    return file if "://" in file else os.path.normpath(Path(index).parent / file)


def csv_lines(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    """(line number, values by column) of a CSV file."""
    check_source(path)
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
    except SpatterlibError:
        raise
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror or error}") from error
    except csv.Error as error:
        raise ParameterError(f"{path} is no CSV text: {error}") from error


def whole_number(text: str, path: str | os.PathLike[str], line: int) -> int:
    """A number in a line of a CSV file."""
    try:
        return int(text)
    except ValueError as error:
        raise ParameterError(f"{path}, line {line}: expected a whole number, got {text!r}") from error


def _of_file(index: str | os.PathLike[str], path: str, places: Mapping[tuple[str, int], str]) -> Labelled:
    if "://" not in path and not os.path.exists(path):  # noqa: PTH110 - a name that is too long is no file, not an error
        raise MissingFileError(
            f"{index} has labels for {Path(path).name!r}, which is not beside it; put it into {Path(path).parent}"
        )
    with open_store(path) as store:
        rows, count = row_numbers_of(store, path, list(places)), len(store)
    unlabelled = count - len(np.unique(rows)) + sum(not label for label in places.values())
    if unlabelled:
        log.warning("%s has no label for %d of the %s of %s", index, unlabelled, counted(count, "crop"), path)
    order = np.argsort(rows, kind="stable")
    if (np.diff(rows[order]) == 0).any():
        raise ParameterError(f"{index} names crops of {path} by dataset and by row too; name each once")
    return Labelled(path, rows[order], np.array(list(places.values()))[order])


def datasets_of(store: Store) -> dict[str, int]:
    """Crops by dataset, of a file of the research system or of a store that was converted from one; else empty."""
    own = store.datasets if isinstance(store, HasDatasets) else {}
    attrs = {} if own else store.attrs
    sizes = attrs.get("dataset_sizes") or ()
    converted = dict(zip(attrs.get("datasets") or (), sizes, strict=False))
    return dict(own) or (converted if sum(sizes) == len(store) else {})


def row_numbers_of(store: Store, path: str, places: Sequence[tuple[str, int]]) -> NDArray[np.int64]:
    """Row of each ``(dataset, index)``; a store without datasets counts its rows themselves.

    Raises
    ------
    ParameterError
        If there are no such crops; says how many.
    """
    datasets = datasets_of(store)
    starts = dict(zip(datasets, np.cumsum([0, *datasets.values()]).tolist(), strict=False))
    rows = np.empty(len(places), np.int64)
    beyond = []
    for index, (dataset, place) in enumerate(places):
        start, count = (starts[dataset], datasets[dataset]) if dataset in starts else (0, len(store))
        if (dataset and dataset not in starts) or not 0 <= place < count:
            beyond.append((dataset, place))
        rows[index] = start + place
    if beyond:
        dataset, place = beyond[0]
        held = datasets.get(dataset, 0) if dataset else len(store)
        raise ParameterError(
            f"{path} has no crop {place} in dataset {dataset!r} of {held}; {len(beyond)} of the {len(places)} lines "
            "for it name crops that it does not have: is the index of another file?"
        )
    return rows


def places_of(store: Store) -> list[tuple[str, int]]:
    """``(dataset, index)`` of each row: the inverse of `rows_of`."""
    datasets = datasets_of(store) or {"": len(store)}
    return [(name, index) for name, count in datasets.items() for index in range(count)]


def shuffled(lines: Sequence[Line], files: Sequence[str], seed: int) -> list[Line]:
    """In random order, but for the first line of each file: so files come in the order that they were given in."""
    mixed = [lines[index] for index in np.random.default_rng(seed).permutation(len(lines))]
    for number, file in enumerate(files):
        known = files[:number]
        places = (index for index, line in enumerate(mixed) if line[0] not in known)
        first = next(places, 0)
        own = next((index for index, line in enumerate(mixed) if line[0] == file), first)
        if own > first:
            mixed[first], mixed[own] = mixed[own], mixed[first]
    return mixed
