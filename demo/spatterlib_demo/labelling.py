"""Labels of a store: given, taken back, written to a table and read from one; nothing is overwritten silently."""

from __future__ import annotations

import csv
import json
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib_demo import labels, models, sessions

__all__ = ["Labelled", "class_of_key", "from_table", "give", "keys", "least_sure", "to_table", "undo"]

# How many steps can be taken back; crops that a model is asked about at most.
_UNDONE, _ASKED = 50, 4000
_COLUMNS = ("row", "frame", "x", "y", "label")


class Labelled(NamedTuple):
    """How many crops got a label, and how many kept another one that they had."""

    changed: int
    kept: int


def give(session: sessions.Session, choice: str, rows: NDArray[np.int64], names: Any, *, change: bool) -> Labelled:
    """Save labels in the store's column.

    Parameters
    ----------
    session : Session
        Whose.
    choice : str
        Name of the store.
    rows : ndarray
        ``(n,)`` int64.
    names : str or ndarray
        One for all, or one for each; empty takes a label away.
    change : bool
        Change labels that are there; otherwise these crops keep theirs.
    """
    with sp.open_store(session.stores[choice], "a") as store:
        old = labels.labels_of(store).astype(object)
        wanted = np.broadcast_to(np.asarray(names, object), len(rows))
        differs = old[rows] != wanted
        use = differs if change else differs & (old[rows] == "")
        if use.any():
            _remember(session, choice, rows[use], old[rows[use]])
            new = old.copy()
            new[rows[use]] = wanted[use]
            store.set_column("label", new.astype(str))
    return Labelled(int(use.sum()), int((differs & ~use).sum()))


def _folder(session: sessions.Session) -> Path:
    where = session.project.folder / "undo"
    where.mkdir(exist_ok=True)
    return where


def _steps(session: sessions.Session) -> list[Path]:
    return sorted(_folder(session).glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def _remember(session: sessions.Session, choice: str, rows: NDArray[np.int64], old: NDArray[Any]) -> None:
    facts = {"store": choice, "rows": rows.tolist(), "labels": [str(name) for name in old]}
    (_folder(session) / f"{secrets.token_hex(6)}.json").write_text(json.dumps(facts), encoding="utf-8")
    for path in _steps(session)[:-_UNDONE]:
        path.unlink(missing_ok=True)


def undo(session: sessions.Session) -> tuple[str, int] | None:
    """Take the last step back; which store and how many crops, None if there is no step."""
    for path in reversed(_steps(session)):
        facts = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        if facts["store"] not in session.stores:
            continue
        with sp.open_store(session.stores[facts["store"]], "a") as store:
            new = labels.labels_of(store).astype(object)
            new[facts["rows"]] = facts["labels"]
            store.set_column("label", new.astype(str))
        return facts["store"], len(facts["rows"])
    return None


def keys(session: sessions.Session) -> list[str]:
    """Classes that the keys 1 to 9 stand for: low, high, then those that were given."""
    given = {name for path in session.stores.values() for name in labels.counts_of(path)}
    return [*("low", "high"), *sorted(given - {"low", "high"})][:9]


def class_of_key(session: sessions.Session, key: str) -> str | None:
    """The class, "" for 0, None if the key stands for nothing."""
    if key == "0":
        return ""
    known = keys(session)
    return known[int(key) - 1] if key.isdigit() and int(key) <= len(known) else None


def least_sure(session: sessions.Session, choice: str) -> int | None:
    """Row of the crop without a label of which the model is least sure; each is offered once."""
    name = str(session.project.chosen.get("model", models.SHIPPED))
    run = models.load(session, name if name in models.names_of(session) else models.SHIPPED)
    with sp.open_store(session.stores[choice]) as store:
        free = labels.labels_of(store) == ""
        if session.unsure.get("of") != (choice, run.path):
            rows = np.unique(np.linspace(0, len(store) - 1, min(len(store), _ASKED)).astype(int))
            sure = run.probabilities(store.read(rows.tolist())).max(axis=1) if len(rows) else np.empty(0)
            session.unsure = {"of": (choice, run.path), "rows": rows[np.argsort(sure)], "seen": set()}
    for row in session.unsure["rows"].tolist():
        if free[row] and row not in session.unsure["seen"]:
            session.unsure["seen"].add(row)
            return int(row)
    return None


def to_table(path: Path, target: Path) -> None:
    """Write the labels of a store as CSV, a line per crop."""
    with sp.open_store(path) as store, target.open("w", newline="", encoding="utf-8") as file:
        table, names = store.table, labels.labels_of(store)
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for row, (place, name) in enumerate(zip(table, names, strict=True)):
            writer.writerow([row, int(place["frame"]), int(place["x"]), int(place["y"]), name])


def from_table(session: sessions.Session, choice: str, path: Path, *, change: bool) -> Labelled:
    """Give the labels of such a table, if it is of this store.

    Raises
    ------
    StoreError
        If it is none, or of another store.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [
                (int(it["row"]), int(it["frame"]), int(it["x"]), int(it["y"]), it["label"])
                for it in csv.DictReader(file)
            ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise sp.errors.StoreError(f"{path.name} is no table of labels: expected {', '.join(_COLUMNS)}") from error
    with sp.open_store(session.stores[choice]) as store:
        table = store.table
    for row, *place, _ in lines:
        if not 0 <= row < len(table) or [int(table[name][row]) for name in ("frame", "x", "y")] != place:
            raise sp.errors.StoreError(f"{path.name} is of another store than {choice}: line of row {row}")
    if not lines:
        raise sp.errors.StoreError(f"{path.name} has no labels in it")
    names = np.array([line[-1] or "" for line in lines], object)
    given = names != ""
    return give(session, choice, np.array([line[0] for line in lines])[given], names[given], change=change)
