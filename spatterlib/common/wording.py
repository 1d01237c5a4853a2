"""Words for people: a count with its noun, numbers of rows as spans."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["counted", "spans"]


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
    >>> from spatterlib.common.wording import counted
    >>> counted(1, "layer"), counted(0, "layer"), counted(2, "box", "boxes")
    ('1 layer', '0 layers', '2 boxes')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def spans(numbers: Iterable[int], most: int = 5) -> str:
    """Whole numbers in ascending order, neighbours as a span; of more than `most` spans the first ones.

    Examples
    --------
    >>> from spatterlib.common.wording import spans
    >>> spans([5, 6, 7, 12]), spans(range(0, 40, 2), most=3)
    ('5-7, 12', '0, 2, 4, ...')
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{first}-{last}" if last > first else f"{first}" for first, last in runs[:most]]
    return ", ".join(shown + ["..."] * (len(runs) > most))
