"""What of a store's rows is not as it was written: every value and every crop is read, and nothing is believed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import decode
from spatterlib.common.wording import spans
from spatterlib.errors import StoreError
from spatterlib.stores.checksums import BLOCK, CRC
from spatterlib.stores.medium import ByteRange
from spatterlib.stores.rows import DATA, ENDS, STARTS, StoreState, runs_of
from spatterlib.types import DETECTION, FRAME_LOG

__all__ = ["Damage", "damage_of"]

_ROWS = 512

Fetch = Callable[[str, Sequence[ByteRange]], list[bytes]]


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was written."""

    what: str
    rows: NDArray[np.int64]
    """Numbers of the rows that it spoils."""


def damage_of(fetch: Fetch, state: StoreState, expected: Callable[[str], NDArray[np.int64]] | None) -> Iterator[Damage]:
    """Everything that is damaged.

    Parameters
    ----------
    fetch : callable
        As of a `Medium`; StoreError where something cannot be read.
    state : StoreState
        What is committed.
    expected : callable, optional
        CRC-32 of the blocks of an array; None in a store without checksums: there, crops must be images.
    """
    known: dict[str, NDArray[np.void]] = {}
    unknown = np.zeros(state.rows, bool)
    for name, dtype in _arrays(state).items():
        values, wrong = _read(fetch, name, dtype, state.count(name), expected and expected(name))
        of_rows = not name.startswith("frame_log/")
        if wrong.any():
            items = np.flatnonzero(wrong)
            what = f"{name.replace('/', ' ')}: {'rows' if of_rows else 'frames'} {spans(items.tolist())}"
            yield Damage(what, items if of_rows else items[:0])
        if name in (STARTS, ENDS, CRC):
            known[name] = values
            unknown |= wrong
    if STARTS not in known:
        known[STARTS] = np.concatenate([np.zeros(1, np.int64), known[ENDS]])[: state.rows]
        unknown[1:] |= unknown[:-1].copy()
    begin, end = known[STARTS].astype(np.int64), known[ENDS].astype(np.int64)
    astray = ~unknown & ((begin < 0) | (end < begin) | (end > state.bytes))
    crc = known[CRC].astype(np.int64) if expected else None
    rows = np.flatnonzero(~unknown & ~astray)
    for chosen in np.split(rows, range(_ROWS, len(rows), _ROWS)):
        crops = _crops(fetch, begin[chosen], end[chosen])
        for row, crop in zip(chosen.tolist(), crops, strict=True):
            astray[row] = crop is None or not (_is_image(crop) if crc is None else zlib.crc32(crop) == crc[row])
    if astray.any() or unknown.any():
        lost = np.flatnonzero(astray | unknown)
        yield Damage(f"crops: rows {spans(lost.tolist())}", lost)


def _arrays(state: StoreState) -> dict[str, np.dtype[np.generic]]:
    """Arrays that a store has, other than the crops' bytes, and their types."""
    measured = {name: DETECTION[name] for name in DETECTION.names or () if state.holds(name)}
    columns = {f"columns/{name}": dtype for name, dtype in (measured | state.later | state.columns).items()}
    places = {ENDS: np.dtype("<i8")} | ({STARTS: np.dtype("<i8")} if state.sparse else {})
    checked = {} if state.checks is None else {CRC: np.dtype("<u4")}
    return columns | places | checked | {f"frame_log/{name}": FRAME_LOG[name] for name in FRAME_LOG.names or ()}


def _read(
    fetch: Fetch, name: str, dtype: np.dtype[np.generic], count: int, expected: NDArray[np.int64] | None
) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """Values of an array as far as they can be read, and which of them are not to be believed."""
    values, wrong = np.zeros(count, dtype), np.zeros(count, bool)
    for block, start in enumerate(range(0, count, BLOCK)):
        stop = min(start + BLOCK, count)
        try:
            [data] = fetch(name, [(start * dtype.itemsize, stop * dtype.itemsize)])
        except StoreError:
            wrong[start:stop] = True
            continue
        values[start:stop] = np.frombuffer(data, dtype)
        wrong[start:stop] = expected is not None and zlib.crc32(data) != expected[block]
    return values, wrong


def _crops(fetch: Fetch, begin: NDArray[np.int64], end: NDArray[np.int64]) -> list[bytes | None]:
    """Bytes of crops; None where they cannot be read."""
    crops: list[bytes | None] = [None] * len(begin)
    for run in runs_of(begin, end):
        origin = run[0][1]
        try:
            [data] = fetch(DATA, [(origin, run[-1][2])])
        except StoreError:
            if len(run) > 1:
                for number, _, _ in run:
                    [crops[number]] = _crops(fetch, begin[number : number + 1], end[number : number + 1])
            continue
        for number, start, stop in run:
            crops[number] = data[start - origin : stop - origin]
    return crops


def _is_image(crop: bytes) -> bool:
    try:
        decode(crop)
    except StoreError:
        return False
    return True
