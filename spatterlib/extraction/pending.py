"""What is found but not yet committed to a store."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.extraction.pipeline import Crop, DetectionBatch
from spatterlib.plugins.capabilities import Place, SupportsParts
from spatterlib.types import DETECTION, FRAME_LOG, Detections, Store

# What a kill can cost at most: rows, bytes of crops, frames, seconds between two commits; and the parts of the video
# that come behind the one whose turn it is.
_ROWS, _BYTES, _FRAMES, _SECONDS = 2048, 8 << 20, 16384, 10.0
# The same bytes and seconds at a URL, where a commit uploads unfinished shards again, some 8 MB.
_BYTES_FAR, _SECONDS_FAR = 24 << 20, 300.0


@dataclass
class Pending:
    """What is found but not yet committed; `far` if the store is at a URL."""

    far: bool = False
    table: list[Detections] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)
    frames: list[NDArray[np.void]] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def add(self, batch: DetectionBatch) -> None:
        """Take what was found."""
        self.table.append(batch.table)
        self.crops.extend(batch.crops)
        self.frames.append(batch.frame_log)

    def full(self) -> bool:
        """Whether so much is held that it is to be committed."""
        if self.far:
            return sum(map(len, self.crops)) >= _BYTES_FAR or time.monotonic() - self.since >= _SECONDS_FAR
        return (
            len(self.crops) >= _ROWS
            or sum(map(len, self.crops)) >= _BYTES
            or sum(map(len, self.frames)) >= _FRAMES
            or time.monotonic() - self.since >= _SECONDS
        )

    def commit(self, store: Store, *, final: bool) -> None:
        """Write all frames that are done with: the newest may still get rows (`crop_from="first"`)."""
        table = np.concatenate([np.empty(0, DETECTION), *self.table])
        frames = np.concatenate([np.empty(0, FRAME_LOG), *self.frames])
        done = len(frames) if final else len(frames) - 1
        rows = len(table) if final else int(np.searchsorted(table["frame"], frames["number"][done]))
        if len(frames):
            frames["detections"] = np.bincount(table["frame"] - frames["number"][0], minlength=len(frames))
        crops = self.crops[:rows]
        # Taken out first: a batch whose writing is interrupted must not be written again.
        self.table, self.crops, self.frames = [table[rows:]], self.crops[rows:], [frames[done:]]
        written = bool(crops) and isinstance(crops[0], Place)
        append: Any = store.adopt if written and isinstance(store, SupportsParts) else store.append
        append(table[:rows], crops, frames[:done])
        store.flush()
        self.since = time.monotonic()
