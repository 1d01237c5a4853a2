"""Pictures that were seen before: a stream that plays the same second again and again shows nothing new."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spatterlib.types import Detections

__all__ = ["Repeats"]

# Frames with spatter that are remembered: a quarter of an hour, at 60 a second.
_MOST = 54_000


@dataclass
class Repeats:
    """Remembers frames with spatter, and knows one again whose crops are the same, byte for byte, at the same places.

    No camera gives the same crop twice: its noise is another each time.

    Parameters
    ----------
    count : int
        Frames so far that were seen before.
    since, until : float or None
        S, when the last of them began and ended that came one after the other.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.live.repeats import Repeats
    >>> from spatterlib.types import DETECTION
    >>> table, repeats = np.zeros(2, DETECTION), Repeats()
    >>> table["frame"] = [0, 1]
    >>> repeats.fresh(table, [b"one", b"other"]).tolist(), repeats.fresh(table[1:], [b"one"]).tolist(), repeats.count
    ([True, True], [False], 1)
    """

    count: int = 0
    since: float | None = None
    until: float | None = None
    _again: bool = field(default=False, repr=False)
    _seen: dict[bytes, None] = field(default_factory=dict, repr=False)

    def lasting(self, seconds: float) -> bool:
        """Whether it goes on, and has for so long."""
        return self._again and self.until is not None and self.since is not None and self.until - self.since >= seconds

    def fresh(self, table: Detections, crops: Sequence[bytes]) -> NDArray[np.bool_]:
        """Of each row, whether its frame is one that was not seen before.

        Parameters
        ----------
        table : ndarray
            ``(n,)`` `DETECTION`, in the order of frames.
        crops : sequence of bytes
            Of each row.
        """
        new = np.ones(len(table), bool)
        starts = np.flatnonzero(np.diff(table["frame"], prepend=-1))
        for start, stop in pairwise([*starts, len(table)]):
            print_ = _fingerprint(table[start:stop], crops[start:stop])
            if print_ in self._seen:
                new[start:stop] = False
                self.count += 1
                self.until = float(table["time"][start])
                self.since = self.since if self._again else self.until
            self._again = not new[start]
            if self._again:
                continue
            self._seen[print_] = None
            if len(self._seen) > _MOST:
                del self._seen[next(iter(self._seen))]
        return new


def _fingerprint(rows: Detections, crops: Sequence[bytes]) -> bytes:
    """Of a frame: its boxes and crops."""
    digest = hashlib.blake2b(digest_size=8)
    for row, crop in zip(rows, crops, strict=True):
        digest.update(b"%d %d %d %d %d " % (row["x"], row["y"], row["width"], row["height"], len(crop)))
        digest.update(crop)
    return digest.digest()
