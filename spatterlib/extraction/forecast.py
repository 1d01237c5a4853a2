"""How long an extraction will take and how large its store will be, from a sample of the recording."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.defaults import DETECTOR, FILTERS, DetectorSpec, FilterSpec, Position, Roi
from spatterlib.detection.detect import frame_span
from spatterlib.errors import ParameterError, VideoError
from spatterlib.extraction.pipeline import Work, batches
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.types import DETECTION, FRAME_LOG, Video
from spatterlib.video.opening import open_video

__all__ = ["Estimate", "Forecast", "clock", "forecast", "forecast_with", "size", "total"]

# Places of a recording that are looked at.
_PLACES, _FEWEST = 12, 4
# Frames of a place where there are enough: several clips, so that decoding and detecting run beside each other.
_STRETCH = 160
# Two-sided 90 % points of Student's t distribution, by degrees of freedom from 1.
_T90 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796)
# Besides crops: a row with the place of its crop, a frame in the log; both as they lie in a store.
_ROW, _FRAME = DETECTION.itemsize + 8, FRAME_LOG.itemsize
# What the last, unfilled chunk of every array of an HDF5 store takes at most, and the file's structure.
_ROUNDING = (1 << 20) + 8192 * (_ROW + _FRAME) + (1 << 17)


@dataclass(frozen=True)
class Estimate:
    """An estimate and its uncertainty.

    Parameters
    ----------
    value, low, high : float
        The estimate, and the bounds between which the truth lies with a probability of 90 %, if the places that were
        looked at are like the rest.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """What an extraction would take, on this machine as it is loaded now.

    Parameters
    ----------
    video : str
        The recording.
    frames, sampled : int
        Frames to look at, and how many of them were looked at for this.
    seconds : Estimate
        S, time with one worker, opening the recording included.
    bytes : Estimate
        Size of the store.
    detections : Estimate
        Rows of the store.
    """

    video: str
    frames: int
    sampled: int
    seconds: Estimate
    bytes: Estimate
    detections: Estimate

    def row(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def forecast(
    video: str | os.PathLike[str] | Video,
    *,
    sample: float = 60.0,
    detector: DetectorSpec = DETECTOR,
    filters: Sequence[FilterSpec] = FILTERS,
    start: Position = None,
    stop: Position = None,
    roi: Roi = None,
    fps: float | None = None,
    value_range: tuple[float, float] | None = None,
    axes: str | None = None,
    crop_format: Literal["jpeg", "png"] = "jpeg",
    quality: int = 95,
) -> Forecast:
    """Say what an extraction will take before anyone starts: up to a minute of the recording, from all over it.

    Parameters
    ----------
    video, detector, filters, start, stop, roi, fps, value_range, axes, crop_format, quality
        As of `extract`.
    sample : float
        S of recording to look at, in up to twelve places spread evenly. Where the recording is not longer, all of it
        is looked at, and the number of rows is exact.

    Returns
    -------
    Forecast

    Raises
    ------
    VideoError
        If the recording cannot be opened, or nothing of the sample decodes.
    ParameterError
        If `sample` is not above 0.

    Notes
    -----
    The total is estimated by the ratio to the number of frames, its uncertainty from how much the places differ
    (Cochran, Sampling Techniques, 1977, chapter 6; finite-population correction; Student's t).

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "dark.npy"
    >>> np.save(path, np.zeros((30, 48, 64), np.uint8))
    >>> told = sp.forecast(path)
    >>> told.frames, told.sampled, told.detections.value
    (30, 30, 0.0)
    """
    settings = ExtractionSettings(
        detector=detector,
        filters=filters,
        start=start,
        stop=stop,
        roi=roi,
        fps=fps,
        value_range=value_range,
        axes=axes,
        crop_format=crop_format,
        quality=quality,
    )
    return forecast_with(settings, video, sample=sample)


def forecast_with(
    settings: ExtractionSettings, video: str | os.PathLike[str] | Video, *, sample: float = 60.0
) -> Forecast:
    """`forecast` with the settings of the extraction as one record."""
    if not 0 < sample < math.inf:
        raise ParameterError(f"sample must be seconds of recording above 0, got {sample}")
    work = Work.of(settings)
    began = time.perf_counter()
    with open_video(video, **settings.reading) as source:
        span = frame_span(source, settings.start, settings.stop)
        source.identity()
        opening = time.perf_counter() - began
        begins = source.keyframes + work.detector.lead
        places = _places(span, _frames_in(sample, source.times, len(span)), begins)
        # What is compiled or loaded once is not counted.
        _measured(source, places[0][:8], work)
        rows = np.array([_measured(source, place, work) for place in places])
    frames, seconds, crops, found, decoded = rows.T
    if not decoded.any():
        raise VideoError(f"{source.name}: none of the {int(frames.sum())} frames that were looked at could be decoded")
    content = _total(crops + _ROW * found + _FRAME * frames, frames, len(span))
    took = _total(seconds, frames, len(span), exact=False)
    return Forecast(
        video=source.name,
        frames=len(span),
        sampled=int(frames.sum()),
        seconds=Estimate(*(bound + opening for bound in (took.value, took.low, took.high))),
        bytes=Estimate(content.value + _ROUNDING / 2, content.low, content.high + _ROUNDING),
        detections=_total(found, frames, len(span)),
    )


def _frames_in(sample: float, times: NDArray[np.float64], frames: int) -> int:
    known = times[np.isfinite(times)]
    pause = float(np.median(np.diff(known))) if len(known) > 1 else 0.0
    return max(min(round(sample / pause), frames), 1) if pause > 0 else frames


def _places(span: range, sampled: int, begins: NDArray[np.int64]) -> list[range]:
    """Stretches of frames, one in each of equal shares of the span, together about `sampled` frames.

    They begin where reading does, as far as `begins` tells: what is decoded on the way to another frame would be
    counted as work of the extraction, which decodes it once.
    """
    count = max(min(_PLACES, sampled // _STRETCH), min(_FEWEST, sampled))
    whole = sampled >= len(span)
    edges = [span.start + round(len(span) * number / count) for number in range(count + 1)]
    stretches = []
    for first, last in pairwise(edges):
        length = last - first if whole else max(1, round(sampled * (last - first) / len(span)))
        middle = first + (last - first - length) // 2
        near = begins[(begins >= first) & (begins <= last - length)]
        begin = int(near[np.abs(near - middle).argmin()]) if len(near) else middle
        stretches.append(range(begin, begin + length))
    return stretches


def _measured(video: Video, place: range, work: Work) -> tuple[int, float, int, int, int]:
    """Frames, seconds, bytes of crops, rows, decoded frames of a stretch."""
    began = time.perf_counter()
    crops = found = decoded = 0
    for batch in batches(video, place, work):
        crops += sum(map(len, batch.crops))
        found += len(batch.table)
        decoded += int(batch.frame_log["decoded"].sum())
    return len(place), time.perf_counter() - began, crops, found, decoded


def _total(values: NDArray[np.float64], frames: NDArray[np.float64], count: int, *, exact: bool = True) -> Estimate:
    """Ratio estimate of a total over `count` frames, with its 90 % interval; never under what was seen."""
    ratio = values.sum() / frames.sum()
    seen = frames.sum() / count
    if exact and seen >= 1:
        return Estimate(float(values.sum()), float(values.sum()), float(values.sum()))
    degrees = len(values) - 1
    if degrees < 1:
        return Estimate(float(ratio * count), float(values.sum()), math.inf)
    spread = math.sqrt(float(((values - ratio * frames) ** 2).sum()) / degrees)
    left = max(1 - seen, 0.0) if exact else 1.0
    error = _T90[min(degrees, len(_T90)) - 1] * count * spread * math.sqrt(left / len(values)) / frames.mean()
    low = max(ratio * count - error, values.sum() if exact else 0.0)
    return Estimate(float(ratio * count), float(low), float(ratio * count + error))


def total(forecasts: Sequence[Forecast]) -> Forecast:
    """All recordings one behind the other; their errors are taken as independent."""
    return Forecast(
        video="total",
        frames=sum(item.frames for item in forecasts),
        sampled=sum(item.sampled for item in forecasts),
        seconds=_sum([item.seconds for item in forecasts]),
        bytes=_sum([item.bytes for item in forecasts]),
        detections=_sum([item.detections for item in forecasts]),
    )


def _sum(ranges: Sequence[Estimate]) -> Estimate:
    value = sum(item.value for item in ranges)
    below = math.hypot(*(item.value - item.low for item in ranges))
    above = math.hypot(*(item.high - item.value for item in ranges))
    return Estimate(value, value - below, value + above)


def size(count: float) -> str:
    """Bytes as text a person reads: 1.2 GB."""
    return next(_sizes(count))


def _sizes(count: float) -> Iterator[str]:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            yield f"{count:.3g} {unit}"
        count /= 1000
    yield f"{count:.3g} TB"


def clock(seconds: float) -> str:
    """Seconds as text a person reads: 1:02:03, or 4.2 s."""
    if not math.isfinite(seconds):
        return "unknown"
    whole = round(seconds)
    return f"{seconds:.3g} s" if seconds < 100 else f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
