"""Where recordings come from, as far as somebody says so: that of a recording and that of a model are two facts.

A file of the simulator says that it is simulated. No other file says what it is, so nothing is ever called filmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

__all__ = ["Origin", "learned", "learned_from", "marks", "origin_of"]

Origin: TypeAlias = Literal["simulated", "partly simulated", "not stated"]

_LEARNED = {
    "simulated": "learned from simulated recordings only",
    "partly simulated": "learned partly from simulated recordings",
}


def origin_of(parts: Iterable[bool | None]) -> Origin:
    """What recordings are together, of which each is marked as simulated or not.

    Examples
    --------
    >>> from spatterlib.common.origin import origin_of
    >>> origin_of([True, True]), origin_of([True, None]), origin_of([None, False]), origin_of([])
    ('simulated', 'partly simulated', 'not stated', 'not stated')
    """
    marked = [bool(part) for part in parts]
    if any(marked):
        return "simulated" if all(marked) else "partly simulated"
    return "not stated"


def learned_from(facts: Mapping[str, Any]) -> Origin:
    """What a model learned from, by the record of its training, also an old one or an exported one's.

    Examples
    --------
    >>> from spatterlib.common.origin import learned_from
    >>> learned_from({"simulated": True}), learned_from({"simulated": False}), learned_from({})
    ('simulated', 'not stated', 'not stated')
    """
    if sources := facts.get("sources"):
        own = origin_of(source.get("simulated") for source in sources)
        begun = (facts.get("adapted_from") or {}).get("origin", own)
        return own if begun == own else "partly simulated"
    kept: Origin = facts.get("origin") or origin_of([facts.get("simulated")])
    return kept


def learned(origin: str) -> str:
    """What a model with such training data did; nothing where it is not stated."""
    return _LEARNED.get(origin, "")


def marks(recording: bool | None, model: str) -> str:
    """Both facts in brackets, behind a line of text; nothing of what is not stated.

    Examples
    --------
    >>> from spatterlib.common.origin import marks
    >>> marks(True, "simulated")
    ' (simulated recording; model learned from simulated recordings only)'
    >>> marks(None, "simulated"), marks(None, "not stated")
    (' (model learned from simulated recordings only)', '')
    """
    parts = ["simulated recording"] * bool(recording) + [f"model {learned(model)}"] * bool(learned(model))
    return f" ({'; '.join(parts)})" if parts else ""
