"""Names of recordings: the order of files that are named by numbers, and datasets in files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from spatterlib.common.files import is_there

_Key: TypeAlias = list[str | int | Decimal]

# A number with what may be its sign and its decimals, and what may be a number of numbers: 1.2.10.
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)*)")
# Behind these a minus is a sign and no hyphen.
_BEFORE_SIGN = ("", "_", "=", "(", "/", "\\", "+")


def split_dataset(path: str) -> tuple[str, str]:
    """File and dataset of a name such as ``file.h5::/dataset``; the dataset is empty where none is named.

    Examples
    --------
    >>> from spatterlib.video.names import split_dataset
    >>> split_dataset("run/shots.h5::/entry/frames"), split_dataset("run/shots.mp4")
    (('run/shots.h5', '/entry/frames'), ('run/shots.mp4', ''))
    """
    file, _, inside = path.partition("::")
    return (file, inside) if inside and not is_there(path) else (path, "")


def stem_of(path: str) -> str:
    """What to call things that are made of a recording: ``shots_entry_frames`` of ``run/shots.h5::/entry/frames``."""
    file, inside = split_dataset(path)
    return "_".join([Path(file).stem, *filter(None, inside.split("/"))])


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Sort names so that numbers in them count: ``frame9`` before ``frame10``, ``shot_-2`` before ``shot_-1``.

    A hyphen is a minus where other names have none at its place, or behind ``_``, ``=`` and ``(``. What follows a
    point are decimals, as in ``0.25`` and ``0.5``, unless one name says that it is counted: ``1.9`` and ``1.10``.
    """
    forms: dict[tuple[str, ...], list[tuple[str, list[str]]]] = defaultdict(list)
    for name in sorted(names):
        parts = _NUMBER.split(name.casefold())
        forms[tuple(parts[::2])].append((name, parts[1::2]))
    keyed = [
        (_key(texts, numbers, signed, decimal), name)
        for texts, group in forms.items()
        for signed, decimal in [_columns(texts, [numbers for _, numbers in group])]
        for name, numbers in group
    ]
    return [name for _, name in sorted(keyed, key=lambda item: item[0])]


def _columns(texts: tuple[str, ...], rows: list[list[str]]) -> tuple[list[bool], list[bool]]:
    """Of each number in names of one form: whether a minus is its sign, and whether it has decimals."""
    signed, decimal = [], []
    for place, (text, column) in enumerate(zip(texts, zip(*rows, strict=True), strict=False)):
        signs = {number[0] if number[0] in "+-" else "" for number in column}
        # Directly behind a number stands a hyphen, as in dates.
        signed.append(bool(text or not place) and (len(signs) > 1 or text[-1:] in _BEFORE_SIGN))
        fractions = [number.split(".")[1] for number in column if number.count(".") == 1]
        counted = any(len(part) > 1 and part.endswith("0") for part in fractions)
        decimal.append(
            max(number.count(".") for number in column) == 1 and (not counted or len(set(map(len, fractions))) == 1)
        )
    return signed, decimal


def _key(texts: tuple[str, ...], numbers: list[str], signed: list[bool], decimal: list[bool]) -> _Key:
    """Texts and numbers by turns."""
    key: _Key = []
    for text, number, is_signed, is_decimal in zip(texts, numbers, signed, decimal, strict=False):
        sign, digits = (number[0], number[1:]) if number[0] in "+-" else ("", number)
        factor = -1 if is_signed and sign == "-" else 1
        first, *rest = digits.split(".")
        key.append(text if is_signed else text + sign)
        if is_decimal:
            key.append(factor * Decimal(digits))
            continue
        key.append(factor * int(first))
        for part in rest:
            key += [".", int(part)]
    return [*key, texts[-1]]
