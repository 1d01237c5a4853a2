"""Going on with a store that was begun: only by the same recording and settings, behind its last committed frame."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from spatterlib.errors import MissingFileError, OutputExistsError, StoreError
from spatterlib.stores.opening import check_output, check_readable, find_store, is_leftover, open_store
from spatterlib.types import Store

__all__ = ["begun", "is_begun"]

_SETTINGS = ("video", "detector", "filters", "start", "stop", "roi", "crops", "limit")


def is_begun(path: str | os.PathLike[str]) -> bool:
    """Whether there is a store to go on with; what a kill left in the moment of creating one is no store yet.

    Raises
    ------
    StoreError
        If it cannot be told: what cannot be read now may be a whole store.
    """
    if find_store(path) is not None:
        return True
    if not is_leftover(path):
        # What is there is none, or damaged: opening it says so.
        with suppress(MissingFileError):
            open_store(path).close()
    check_output(path)
    return False


def begun(path: str | os.PathLike[str], attrs: Mapping[str, Any]) -> Store:
    """Open a store that an extraction began.

    Parameters
    ----------
    path : path or URL
        The store.
    attrs : mapping
        What a new one would say that it was made from.

    Returns
    -------
    Store
        Open for appending; for reading if it is complete.

    Raises
    ------
    OutputExistsError
        If it was made from another recording or with other settings, or by nobody knows what.
    StoreError
        If it cannot be opened, or is open for writing elsewhere.
    """
    with open_store(path) as store:
        found = store.attrs
        complete = found.get("complete") is True
        # What is done need not be done again by a newer version; what is half done must not be done by two.
        names = _SETTINGS if complete else (*_SETTINGS, "versions")
        for name in names:
            if difference := _difference(name, found.get(name), json.loads(json.dumps(attrs.get(name)))):
                raise OutputExistsError(
                    f"{path} was made with another {difference}; overwrite it, or name another output"
                )
        numbers = store.frame_log["number"]
        if not np.array_equal(numbers, np.arange(len(numbers)) + attrs["start"]):
            raise StoreError(f"{path} cannot be gone on with: its frames do not follow each other; overwrite it")
        check_readable(store)
    if attrs.get("gap") not in (None, found.get("gap")):
        # It changes no row; whoever gives another one means it.
        with open_store(path, "a") as store:
            store.set_attrs({"gap": attrs["gap"]})
    if complete:
        return open_store(path)
    store = open_store(path, "a")
    with suppress(StoreError):
        store.set_attrs({"state": "running"})
    return store


def _difference(name: str, old: Any, new: Any) -> str:
    """Name of a setting and its two values, where they differ; nothing else."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if name == "video" and old.get("digest") and old.get("digest") == new.get("digest"):
            # A recording may have got another name.
            keys = [key for key in keys if key != "name"]
        return _difference(f"{name} {keys[0]}", old.get(keys[0]), new.get(keys[0])) if keys else ""
    return f"{name} ({_short(old)}, not {_short(new)})" if old != new else ""


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
