"""Whether a store of any kind is whole, and which of its rows are safe."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from spatterlib.common.wording import counted
from spatterlib.errors import DamageError, StoreError
from spatterlib.stores.columns import ColumnStore
from spatterlib.stores.damage import Damage
from spatterlib.stores.opening import open_store
from spatterlib.types import Store

__all__ = ["StoreCheck", "check_store"]


@dataclass(frozen=True)
class StoreCheck:
    """What `check_store` found."""

    store: str
    """Where it is."""

    rows: int | None
    """How many rows it has; None if that is lost."""

    safe: int
    """How many of them are wholly as they were written."""

    checksums: bool
    """Whether it has checksums. Without, only what cannot be read, and crops that are no images, are found."""

    damage: tuple[str, ...]
    """What is damaged, a line each."""

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damage

    def __str__(self) -> str:
        kept = f"{self.safe} of {counted(self.rows or 0, 'row')} are safe"
        state = f"whole, {counted(self.rows or 0, 'row')}" if self.whole else f"damaged, {kept}"
        remark = "" if self.checksums or self.rows is None else "; it has no checksums: changed values are not found"
        return f"{self.store}: {state}{remark}"


def check_store(path: str | os.PathLike[str]) -> StoreCheck:
    """Read everything that a store holds, and say what is not as it was written.

    Parameters
    ----------
    path : path or URL
        The store.

    Returns
    -------
    StoreCheck

    Raises
    ------
    MissingFileError, StoreError
        If there is no store, or it cannot be read now. A store that is too damaged to be opened is an answer.

    Examples
    --------
    >>> import tempfile
    >>> import spatterlib as sp
    >>> path = tempfile.mkdtemp() + "/one.h5"
    >>> sp.create_store(path).close()
    >>> sp.check_store(path).whole
    True
    """
    name = os.fspath(path)
    try:
        with open_store(path) as store:
            checksums = isinstance(store, ColumnStore) and store.has_checksums
            found = store.damage() if isinstance(store, ColumnStore) else _damage(store)
            safe = np.ones(len(store), bool)
            for damage in found:
                safe[damage.rows] = False
            lines = tuple(damage.what for damage in found)
            return StoreCheck(name, len(store), int(safe.sum()), checksums, lines)
    except DamageError as error:
        return StoreCheck(name, None, 0, False, (str(error),))


def _damage(store: Store) -> list[Damage]:
    """What a store of any kind does not give back."""
    found = []
    for column in store.columns:
        try:
            store.column(column)
        except StoreError as error:
            found.append(Damage(f"columns {column}: {error}", np.arange(len(store))))
    for row in range(len(store)):
        try:
            store.read([row])
        except StoreError as error:
            found.append(Damage(f"crops: {error}", np.array([row])))
    return found
