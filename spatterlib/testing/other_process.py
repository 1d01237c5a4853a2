"""What checks of stores do in another process: read a store that was pickled, write one until somebody kills them."""

from __future__ import annotations

import json
import pickle
import sys
from itertools import count
from pathlib import Path
from typing import Any

from spatterlib.testing.scenes import crops_of, frames_of, rows_of
from spatterlib.types import Store

_ROWS = 40


def main() -> None:
    """Do the task that the command line names."""
    task, note = sys.argv[1:]
    given: Any = pickle.loads(Path(note).read_bytes())  # noqa: S301 - the check wrote it
    if task == "read":
        print(json.dumps([len(given), [crop.hex() for crop in given.encoded([len(given) - 1, 0])]]))  # noqa: T201
        return
    kind, path = given
    store = kind.create(path)
    store.set_column("label", [])
    for start in range(0, 3 * _ROWS, _ROWS):
        _append(store, start)
    store.flush()
    (_write_on if task == "append" else _wait)(store, 3 * _ROWS)


def _append(store: Store, start: int) -> None:
    store.append(rows_of(start, _ROWS), crops_of(start, _ROWS), frames_of(start, _ROWS))


def _wait(store: Store, rows: int) -> None:
    """Append without flushing, say how much was flushed, and wait for the end."""
    _append(store, rows)
    print(rows, flush=True)  # noqa: T201
    sys.stdin.read()


def _write_on(store: Store, rows: int) -> None:
    """Append and flush for ever; whoever kills this does so in the middle of something."""
    print(rows, flush=True)  # noqa: T201
    for start in count(rows, _ROWS):
        _append(store, start)
        store.flush()
