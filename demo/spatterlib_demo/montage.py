"""The crops of a store, a page at a time: filtered by a column, marked by a press or from one to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import spatterlib as sp
from spatterlib_demo import labels, sessions, words
from spatterlib_demo.markup import Markup, html, joined
from spatterlib_demo.pictures import crop_button, encoded_uri

__all__ = ["KEYS", "View", "mark", "page_of", "shown"]

_PAGE = 48
KEYS = """
document.addEventListener('keydown', event => {
  const taken = event.defaultPrevented || event.metaKey || event.altKey || !element.offsetParent;
  if (taken || event.target.closest?.('input, textarea, select, [contenteditable], [role=option]')) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey ? key === 'z' : /^[0-9uz]$/.test(key)) { event.preventDefault(); trigger('select', {key}); }
});
"""
"""Script of the montage: keys that label."""


class View(NamedTuple):
    """Which crops are looked at: those whose value in a column lies between two bounds, and which page of them."""

    column: str
    least: str
    most: str
    number: float

    @property
    def page(self) -> int:
        """From 1."""
        return int(self.number or 1)


def _rows(store: Any, view: View) -> Any:
    values = store.column(view.column)
    low, high = _bound(view.least, -np.inf), _bound(view.most, np.inf)
    return np.flatnonzero((values >= low) & (values <= high))


def _bound(text: str, otherwise: float) -> float:
    try:
        return float(text) if text.strip() else otherwise
    except ValueError as error:
        raise sp.errors.ParameterError(f"the bounds of a column are numbers, such as 40; got {text!r}") from error


def page_of(path: Path, view: View, row: int) -> int | None:
    """Page on which a row lies, None if the filter leaves it out."""
    with sp.open_store(path) as store:
        place = np.flatnonzero(_rows(store, view) == row)
    return int(place[0]) // _PAGE + 1 if len(place) else None


def mark(session: sessions.Session, path: Path, view: View, row: int, *, shift: bool) -> None:
    """Mark a crop or take its mark away; with shift, mark all from the one that was pressed before."""
    if shift and session.last is not None:
        with sp.open_store(path) as store:
            rows = _rows(store, view)
        low, high = sorted((row, session.last))
        session.marked |= set(rows[(rows >= low) & (rows <= high)].tolist())
    else:
        session.marked ^= {row}
    session.last = row


def shown(session: sessions.Session, path: Path, view: View, known: list[str]) -> Markup:
    """A page of crops, each with its row, label and the column that is looked at."""
    with sp.open_store(path) as store:
        rows = _rows(store, view)
        pages = max(1, -(-len(rows) // _PAGE))
        here = rows[(min(view.page, pages) - 1) * _PAGE :][:_PAGE]
        names, values, times = labels.labels_of(store), store.column(view.column), store.table["time"]
        crops = store.encoded([int(row) for row in here])
        simulated = sp.is_simulated(store.attrs)
    buttons = [
        crop_button(
            encoded_uri(crop),
            str(row),
            (names[row] or "no label", f"{times[row]:.1f} s", f"{view.column.replace('_', ' ')} {values[row]:g}"),
            f"crop {row}, label {names[row] or 'none'}; mark it",
            pressed=int(row) in session.marked,
        )
        for row, crop in zip(here, crops, strict=True)
    ]
    mark = html(" {}", words.simulated_mark("")) if simulated else ""
    text = f"{len(rows):,} crops, page {min(view.page, pages)} of {pages}, {len(session.marked)} marked"
    keys = joined(html("<kbd>{}</kbd> {} ", number, name) for number, name in enumerate(known, 1))
    return html(
        '<p class="soft" role="status">{}; press crops to mark them, with shift all in between{}</p>'
        '<p class="soft keys">Keys for what is marked: {}<kbd>0</kbd> no label <kbd>u</kbd> next uncertain '
        '<kbd>z</kbd> undo</p><div class="crops">{}</div>',
        *(text, mark, keys, joined(buttons)),
    )
