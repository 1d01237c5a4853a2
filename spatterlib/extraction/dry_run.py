"""The rows that an extraction would store, without a store."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing

from spatterlib.detection.detect import frame_span
from spatterlib.extraction.extract import undecodable
from spatterlib.extraction.pipeline import DetectionBatch, Work, batches
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.types import Image, Video
from spatterlib.video.opening import open_video

__all__ = ["dry_run"]


def dry_run(
    video: str | os.PathLike[str] | Video, settings: ExtractionSettings | None = None
) -> Generator[DetectionBatch, None, range]:
    """What `extract` would append to a store, batch by batch; crops are empty.

    Parameters
    ----------
    video : path or Video
        As in `extract`.
    settings : ExtractionSettings, optional
        Those of the extraction.

    Yields
    ------
    DetectionBatch
        Frame log and ``(n,)`` `DETECTION` rows.

    Returns
    -------
    range
        Numbers of the frames that were to be looked at.

    Raises
    ------
    VideoError
        If not one frame decodes.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from spatterlib.extraction.dry_run import dry_run
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "flash.npy"
    >>> frames = np.zeros((3, 120, 160, 3), np.uint8)
    >>> frames[1, 30:90, 40:100] = 255
    >>> np.save(path, frames)
    >>> [batch.table["frame"].tolist() for batch in dry_run(path)]
    [[1]]
    """
    settings = settings or ExtractionSettings()
    limit = settings.limit
    with open_video(video, **settings.reading) as source:
        span = frame_span(source, settings.start, settings.stop)
        rows = decoded = 0
        with closing(batches(source, span, Work.of(settings, _nothing), settings.workers)) as found:
            for whole in found:
                batch = whole.since(span.start)
                full = limit is not None and rows + len(batch.table) >= limit
                batch = batch.first(limit - rows) if limit is not None and full else batch
                rows, decoded = rows + len(batch.table), decoded + int(batch.frame_log["decoded"].sum())
                yield batch
                if full:
                    break
        if not decoded:
            raise undecodable(source.name, len(span))
        return span


def _nothing(_: Image) -> bytes:
    return b""
