"""How long frames wait for their verdict: a histogram that never grows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Latencies"]

# Each bin is two percent wider than the one before, from 0.1 ms to about an hour.
_LEAST, _GROWTH, _BINS = 1e-4, 1.02, 880


@dataclass(eq=False)
class Latencies:
    """Counts of latencies; quantiles are right to two percent, and never too low.

    Examples
    --------
    >>> from spatterlib.live.latency import Latencies
    >>> latencies = Latencies()
    >>> latencies.add([0.010, 0.020, 0.030])
    >>> latencies.count, 0.020 <= latencies.quantile(0.5) <= 0.0204, latencies.longest
    (3, True, 0.03)
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS + 1, np.int64), repr=False)
    total: float = 0.0
    longest: float = 0.0

    def add(self, seconds: Iterable[float]) -> None:
        """Count some latencies, s."""
        values = np.maximum(np.fromiter(seconds, np.float64), 0.0)
        if len(values):
            bins = np.ceil(np.log(np.maximum(values / _LEAST, 1.0)) / np.log(_GROWTH) - 1e-9)
            np.add.at(self.counts, np.minimum(bins, _BINS).astype(np.int64), 1)
            self.total += float(values.sum())
            self.longest = max(self.longest, float(values.max()))

    @property
    def count(self) -> int:
        """How many."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """S within which this share of the frames had their verdict; NaN without frames."""
        if not self.count:
            return float("nan")
        index = int(np.searchsorted(np.cumsum(self.counts), share * self.count))
        return float(min(_LEAST * _GROWTH**index, self.longest))

    def within(self, seconds: float) -> int:
        """How many took no longer."""
        return int(self.counts[: 1 + int(np.log(seconds / _LEAST) / np.log(_GROWTH) + 1e-9)].sum())
