"""Words for people: a count with its noun."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, singular for exactly one.

    Parameters
    ----------
    number : int
        How many.
    noun : str
        In the singular.
    plural : str
        Where it is not the noun with an s.

    Examples
    --------
    >>> from spatterlib.words import counted
    >>> counted(1, "layer"), counted(0, "layer"), counted(2, "box", "boxes")
    ('1 layer', '0 layers', '2 boxes')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
