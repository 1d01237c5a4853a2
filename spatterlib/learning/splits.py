"""Which crops train, which validate, which test: pure functions of arrays.

The published split draws crops at random, so neighbours in time fall on both sides. A grouped split keeps
whole recordings together; a time split keeps blocks of time together and leaves a gap between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatterlib.errors import ParameterError
from spatterlib.learning.run_facts import SplitFields

__all__ = ["SHARES", "Split", "SplitName", "grouped", "original", "possible_groups", "timed"]

SHARES = (0.6, 0.2, 0.2)
"""Of training, validation and test, as published."""

SplitName: TypeAlias = Literal["original", "grouped", "time"]

_BLOCKS = 10


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of the three parts; together not all rows where a gap is left.

    Parameters
    ----------
    name : {"original", "grouped", "time"}
        How it was made.
    train, validation, test : ndarray
        Row numbers, int64, sorted.
    by : str
        What was kept together, as words.
    """

    name: SplitName
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    by: str

    def facts(self) -> SplitFields:
        """JSON-able: how it was made, and crops of each part."""
        sizes: SplitFields = {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}
        return {"name": self.name, "by": self.by, **sizes}


def original(labels: ArrayLike, seed: int = 1234) -> Split:
    """Random crops, 60/20/20, whatever recording they are from: the published split.

    Examples
    --------
    >>> from spatterlib.learning.splits import original
    >>> split = original([0, 1] * 50)
    >>> len(split.train), len(split.validation), len(split.test)
    (60, 20, 20)
    """
    count = len(np.asarray(labels))
    order = np.random.default_rng(seed).permutation(count)
    first, second = round(SHARES[0] * count), round((SHARES[0] + SHARES[1]) * count)
    train, validation, test = (np.sort(part) for part in np.split(order, [first, second]))
    return Split("original", train, validation, test, "nothing")


def possible_groups(labels: ArrayLike, groups: ArrayLike) -> bool:
    """Whether a grouped split is possible: every class in two groups or more."""
    return not _short_of_groups(np.asarray(labels), np.asarray(groups))


def _short_of_groups(labels: NDArray[np.int64], groups: NDArray[np.str_]) -> list[int]:
    return [int(label) for label in np.unique(labels) if len(np.unique(groups[labels == label])) < 2]


def grouped(
    labels: ArrayLike, groups: ArrayLike, seed: int = 1234, *, by: str = "group", classes: tuple[str, ...] = ()
) -> Split:
    """Whole groups, near 60/20/20, every class in every part.

    With two or three groups of a class, one tests; the others train, and a fifth of their crops validate: choosing
    an epoch then looks at recordings that were trained on, testing never does.

    Parameters
    ----------
    labels : array_like
        ``(n,)`` int, class of each crop.
    groups : array_like
        ``(n,)``, its group.
    seed : int
        Of the draw.
    by : str
        What a group is, for messages: "recording", "camera".
    classes : tuple of str
        Names of the classes, for messages.

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        If a class comes from one group only.
    """
    label, group = np.asarray(labels, np.int64), np.asarray(groups)
    short = _short_of_groups(label, group)
    if short:
        names = ", ".join(repr(classes[number] if classes else str(number)) for number in short)
        raise ParameterError(
            f"not enough groups for a grouped split: class {names} comes from one {by} only; "
            f"record at least two per class, or use split='original' and do not believe it"
        )
    random = np.random.default_rng(seed)
    test = _draw(label, group, np.unique(group), random, SHARES[2])
    rest = np.array([name for name in np.unique(group) if name not in test])
    left = ~np.isin(group, list(test))
    if all(len(np.unique(group[left & (label == number)])) > 2 for number in np.unique(label)):
        validation = np.isin(group, list(_draw(label, group, rest, random, SHARES[1] / (1 - SHARES[2]))))
    else:
        validation = left & (random.random(len(label)) < SHARES[1])
    train = left & ~validation
    rows = [np.flatnonzero(mask) for mask in (train, validation & left, ~left)]
    return Split("grouped", rows[0], rows[1], rows[2], by)


def _draw(
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    among: NDArray[np.str_],
    random: np.random.Generator,
    share: float,
) -> set[str]:
    """Groups that together hold about `share` of each class: at least one, at most a third, never all."""
    drawn: set[str] = set()
    for label in np.unique(labels):
        own = [name for name in among if (labels[groups == name] == label).any()]
        sizes = {name: int(((groups == name) & (labels == label)).sum()) for name in own}
        goal = share * sum(sizes.values())
        have = sum(sizes[name] for name in own if name in drawn)
        most = min(len(own) - 1, max(1, len(own) // 3)) - sum(name in drawn for name in own)
        for name in random.permutation([name for name in own if name not in drawn])[: max(most, 0)]:
            # Another group is taken as long as it brings the sum nearer to the goal.
            if have and abs(have + sizes[str(name)] - goal) >= abs(have - goal):
                break
            drawn.add(str(name))
            have += sizes[str(name)]
    return drawn


def timed(
    labels: ArrayLike,
    recordings: ArrayLike,
    times: ArrayLike,
    seed: int = 1234,
    *,
    blocks: int = _BLOCKS,
    purge: float | None = None,
) -> Split:
    """Blocks of time within each recording, near 60/20/20, with a gap between blocks of different parts.

    Parameters
    ----------
    labels : array_like
        ``(n,)`` int, class of each crop.
    recordings : array_like
        ``(n,)``, its recording.
    times : array_like
        ``(n,)`` s, its time.
    seed : int
        Of the draw.
    blocks : int
        Equal blocks that each recording is cut into, 5 or more.
    purge : float, optional
        S, left out on either side of a border between parts; a twentieth of a block by default.

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        If times are not known, or nothing is left of a part.
    """
    label, time, recording = np.asarray(labels), np.asarray(times, np.float64), np.asarray(recordings)
    if not np.isfinite(time).all():
        raise ParameterError(
            "a time split needs the time of every crop, which some stores (research layout) do not know; "
            "use split='grouped' or 'original'"
        )
    if purge is not None and not 0 <= purge < np.inf:
        raise ParameterError(f"purge must be 0 s or more, got {purge}")
    if blocks < 5:
        raise ParameterError(f"a time split needs 5 blocks or more, got {blocks}")
    random = np.random.default_rng(seed)
    part = np.full(len(label), -1)
    for name in np.unique(recording):
        rows = np.flatnonzero(recording == name)
        part[rows] = _blocks(time[rows], random, blocks, purge)
    held = [np.flatnonzero(part == number) for number in range(3)]
    if min(len(rows) for rows in held) == 0:
        raise ParameterError(
            f"nothing is left of a part of the time split; use fewer blocks than {blocks}, or a shorter purge"
        )
    return Split("time", held[0], held[1], held[2], f"{blocks} blocks of time per recording")


def _blocks(
    times: NDArray[np.float64], random: np.random.Generator, blocks: int, purge: float | None
) -> NDArray[np.int64]:
    """Part of each time: 0 train, 1 validation, 2 test, -1 left out."""
    first, span = times.min(), max(np.ptp(times), 1e-9)
    length = span / blocks
    gap = length / 20 if purge is None else purge
    held = max(1, round(SHARES[1] * blocks))
    parts = random.permutation(np.repeat([0, 1, 2], [blocks - 2 * held, held, held]))
    block = np.minimum(((times - first) / length).astype(np.int64), blocks - 1)
    part = parts[block]
    since, left = times - first - block * length, first + (block + 1) * length - times
    before, behind = parts[np.maximum(block - 1, 0)], parts[np.minimum(block + 1, blocks - 1)]
    near = ((since < gap) & (before != part)) | ((left < gap) & (behind != part))
    return np.where(near, -1, part)
