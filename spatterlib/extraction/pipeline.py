"""Frames to batches of rows and encoded crops: in order, with decoding, detecting and encoding side by side.

A video is cut at its key frames. A part has its key frame as context and ends with as many frames
of the next part as a detector needs for context, so nothing is decoded twice but these few frames, and the rows do not
depend on how many workers there are. The same parts are what an executor gets: processes, or machines of a farm.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice, pairwise
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.threads import cores, in_order, one_opencv_thread
from spatterlib.common.workers import Caller, spread
from spatterlib.detection.defaults import Roi
from spatterlib.detection.detect import sifted
from spatterlib.errors import VideoError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.plugins.capabilities import HasKeyframes, Place
from spatterlib.plugins.registry import foreign_versions
from spatterlib.types import DETECTION, FRAME_LOG, Clip, Detections, Detector, Filter, Image, Video
from spatterlib.video.container import Container, ContainerPiece
from spatterlib.video.opening import Recording, clips, open_video

__all__ = ["Crop", "DetectionBatch", "RemoteRecording", "Work", "batches", "batches_of_parts", "cut", "origin_of"]

Item = TypeVar("Item")

Crop: TypeAlias = bytes | Place
"""An encoded crop, or where in a store a worker has written it already; both have the length of its bytes."""

# Frames of a part, so many that seeking to its key frame does not count. What is left is shared out in eighths, down to
# the fewest, so that workers end together and short videos have parts for all of them.
_PART, _FEWEST, _SHARES = 500, 125, 8
# Frames of a clip, few enough that they lie in the cache when they are looked at, and their memory when it is filled
# anew; and frames that are handed over together, at least, so that few of them wait for the interpreter.
_CLIP, _HANDED = 32, 64


@dataclass(frozen=True, eq=False)
class DetectionBatch:
    """What was found in some consecutive frames.

    Parameters
    ----------
    frame_log : ndarray
        ``(frames,)`` `FRAME_LOG` with `detections` still 0: a row may yet come for its last frame.
    table : ndarray
        ``(n,)`` `DETECTION`.
    crops : list of bytes or Place
        ``n`` encoded crops, or their places.
    sums : ndarray
        ``(filters + 1, 3)``, what each filter took out and what stayed, as `sifted` gives them.
    """

    frame_log: NDArray[np.void]
    table: Detections
    crops: list[Crop]
    sums: NDArray[np.float64]

    def since(self, frame: int) -> DetectionBatch:
        """Without rows of earlier frames: with ``crop_from="first"`` they belong to the last frame before a span."""
        behind = int(np.searchsorted(self.table["frame"], frame))
        return replace(self, table=self.table[behind:], crops=self.crops[behind:]) if behind else self

    def first(self, rows: int) -> DetectionBatch:
        """The first rows, 1 or more, and the frames up to the last of them."""
        table = self.table[:rows]
        frames = self.frame_log[self.frame_log["number"] <= table["frame"][-1]]
        return replace(self, frame_log=frames, table=table, crops=self.crops[:rows])


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be done with every clip.

    Parameters
    ----------
    detector, filters
        Their objects.
    roi : tuple of int or None
        ``(x0, y0, x1, y1)`` px, as in `spatterlib.extract`.
    encode : callable
        From ``(h, w, 3)`` uint8 RGB to bytes.
    """

    detector: Detector
    filters: Sequence[Filter]
    roi: Roi
    encode: Callable[[Image], bytes]

    @classmethod
    def of(cls, settings: ExtractionSettings, encode: Callable[[Image], bytes] | None = None) -> Work:
        """What settings ask for; `encode` in place of the usual encoding."""
        return cls(*settings.plugins(), settings.roi, encode or settings.encoder())


def batches(video: Video, span: range, work: Work, workers: int = 1) -> Generator[DetectionBatch, None, None]:
    """Work through the frames of a span, in order.

    Parameters
    ----------
    video : Video
        Opened. It is cut at its ``keyframes``; one that names none is left whole.
    span : range
        Numbers of the frames.
    work : Work
        Detector, filters, encoding.
    workers : int
        Each is two threads, as far as there are cores for them, and each thread does everything for parts of its own.
        What cannot be cut is decoded by the calling thread, while another detects and encodes.

    Yields
    ------
    DetectionBatch
        Every frame of the span is in the log of exactly one.
    """
    parts = cut(video, span, work.detector.lead)
    with one_opencv_thread():
        if len(parts) > 1:
            yield from _side_by_side(video, parts, work, max(workers, min(2 * workers, cores())))
            return
        with ThreadPoolExecutor(1) as pool:
            # Larger clips: their frames go from one core to another anyway.
            items = _clips(video, span, work, _HANDED)
            yield from in_order(pool, (partial(_batch, *item, work) for item in items), 3)


def _side_by_side(video: Video, parts: Sequence[range], work: Work, threads: int) -> Iterator[DetectionBatch]:
    """Batches of parts in order, as soon as they are there; an error comes behind what was done before it."""
    stopped, following = Event(), iter(parts)
    with ThreadPoolExecutor(threads) as pool:

        def begin(part: range) -> tuple[SimpleQueue[DetectionBatch | None], Future[None]]:
            done: SimpleQueue[DetectionBatch | None] = SimpleQueue()
            return done, pool.submit(_fill, video, part, work, done, stopped)

        waiting = deque(map(begin, islice(following, threads + 1)))
        try:
            while waiting:
                done, future = waiting.popleft()
                yield from iter(done.get, None)
                future.result()
                waiting.extend(map(begin, islice(following, 1)))
        finally:
            stopped.set()
            for _, future in waiting:
                future.cancel()


def _fill(video: Video, part: range, work: Work, done: SimpleQueue[DetectionBatch | None], stopped: Event) -> None:
    """Hand over the batches of a part, and None behind them."""
    try:
        for batch in _part(video, part, work):
            done.put(batch)
            if stopped.is_set():
                return
    finally:
        done.put(None)


@dataclass(frozen=True)
class RemoteRecording:
    """A recording as a worker on another machine opens it: once per process, and found to be the same.

    Parameters
    ----------
    path : str
        Where all workers find it.
    reading : tuple
        Keyword arguments of `open_video`, as pairs.
    identity : tuple
        What `identity` says there, as sorted pairs.
    """

    path: str
    reading: tuple[tuple[str, Any], ...]
    identity: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, path: str, reading: Mapping[str, Any], video: Video) -> RemoteRecording:
        """The recording that is opened as `video` here."""
        return cls(os.path.abspath(path), tuple(reading.items()), _pairs(video))  # noqa: PTH100 - it may be a pattern

    def opened(self) -> Recording:
        """The recording; it stays open for the next task."""
        return _opened(self, os.getpid())


def _pairs(video: Video) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((name, str(value)) for name, value in video.identity().items()))


@lru_cache(maxsize=4)
def _opened(source: RemoteRecording, process: int) -> Recording:
    """Opened once per process: one that was forked must not read from its parent's files."""
    video = open_video(source.path, **dict(source.reading))
    if _pairs(video) != source.identity:
        video.close()
        raise VideoError(f"{source.path} is another recording where it is worked on than where the work was given out")
    return video


@dataclass(frozen=True)
class RecordingPiece:
    """Some frames of a video file, for a worker that lists no packets and looks at no digest.

    Parameters
    ----------
    piece : ContainerPiece
        These.
    fps : float or None
        As in `open_video`.
    """

    piece: ContainerPiece
    fps: float | None

    def opened(self) -> Recording:
        """The recording, of which these frames can be read."""
        return Recording(self.piece.opened(), self.fps)


def origin_of(given: object, reading: Mapping[str, Any], video: Recording) -> RemoteRecording | Recording:
    """What workers get of a recording that was given as a path, or opened, and is opened as `video` here."""
    if isinstance(given, str | os.PathLike) and not isinstance(video.video, Container):
        return RemoteRecording.of(os.fspath(given), reading, video)
    return video


def batches_of_parts(
    origin: RemoteRecording | Recording,
    parts: Sequence[range],
    work: Work,
    executor: Executor,
    write: Callable[[int, list[bytes]], list[Place]] | None = None,
) -> Generator[DetectionBatch, None, None]:
    """As `batches`, each part a task of an executor; a task that is done twice gives the same.

    Parameters
    ----------
    origin : RemoteRecording or Recording
        As `origin_of` gives it: what the workers open, or a video that pickles.
    parts : sequence of range
        As `cut` gives them.
    work : Work
        Detector, filters, encoding; picklable.
    executor : Executor
        Threads, processes, `distributed.Client.get_executor()`.
    write : callable, optional
        From the number of a part and its encoded crops to their places: what a worker does with them. Without, they
        come back with the rows.

    Yields
    ------
    DetectionBatch
        In order.

    Raises
    ------
    WorkerError
        If a worker has other versions of what makes pixels and rows.
    """

    def source(part: range) -> RemoteRecording | RecordingPiece | Recording:
        if isinstance(origin, Recording) and isinstance(origin.video, Container):
            begin = max(part.start - work.detector.lead, 0)
            return RecordingPiece(origin.video.piece(begin, part.stop), origin.fps)
        return origin

    caller = Caller.here(foreign_versions(detector=[work.detector], filter=work.filters))
    tasks = (partial(_task, source(part), part, work, write and partial(write, n)) for n, part in enumerate(parts))
    for done in spread(tasks, executor, caller):
        yield from done


def _task(
    source: RemoteRecording | RecordingPiece | Recording,
    part: range,
    work: Work,
    write: Callable[[list[bytes]], list[Place]] | None,
) -> list[DetectionBatch]:
    video = source if isinstance(source, Recording) else source.opened()
    with one_opencv_thread():
        done = list(_part(video, part, work))
    if write is None:
        return done
    places = iter(write([crop for batch in done for crop in batch.crops if isinstance(crop, bytes)]))
    return [replace(batch, crops=[next(places) for _ in batch.crops]) for batch in done]


def cut(video: Video, span: range, lead: int) -> list[range]:
    """Cut a span behind key frames, so far behind that each part finds its lead in the frames that it must decode."""
    cuts = [span.start]
    keyframes = video.keyframes.tolist() if isinstance(video, HasKeyframes) else []
    for start in (key + lead for key in keyframes):
        length = min(max((span.stop - cuts[-1]) // _SHARES, _FEWEST), _PART)
        if start - cuts[-1] >= length and span.stop - start >= _FEWEST:
            cuts.append(start)
    return [range(*pair) for pair in pairwise([*cuts, span.stop])]


def _part(video: Video, part: range, work: Work) -> Iterator[DetectionBatch]:
    held: list[DetectionBatch] = []
    try:
        for frame_log, clip in _clips(video, part, work, _CLIP):
            held.append(_batch(frame_log, clip, work))
            # Frames that are done with go back to the decoder before it fills the next clip: it finds them warm.
            del clip
            if sum(len(batch.frame_log) for batch in held) >= _HANDED:
                yield _joined(held)
                held = []
    except Exception:
        # What was done is kept, and the error told behind it.
        if held:
            yield _joined(held)
        raise
    if held:
        yield _joined(held)


def _joined(several: Sequence[DetectionBatch]) -> DetectionBatch:
    return DetectionBatch(
        np.concatenate([batch.frame_log for batch in several]),
        np.concatenate([batch.table for batch in several]),
        [crop for batch in several for crop in batch.crops],
        np.sum([batch.sums for batch in several], axis=0),
    )


def _clips(video: Video, span: range, work: Work, length: int) -> Iterator[tuple[NDArray[np.void], Clip]]:
    """Frame log and clip, clip by clip; frames behind the last one that decodes come with an empty clip."""
    following = span.start
    lead = work.detector.lead
    for clip in clips(video, lead=lead, start=span.start, stop=span.stop, roi=work.roi, length=length):
        end = clip.start + len(clip.pictures) - clip.lead
        log, following = _frame_log(video.times, following, clip.start, end), end
        yield log, clip
        del clip
    if following < span.stop:
        yield _frame_log(video.times, following, span.stop, span.stop), Clip([], np.empty(0))


def _batch(frame_log: NDArray[np.void], clip: Clip, work: Work) -> DetectionBatch:
    if not clip.pictures:
        return DetectionBatch(frame_log, np.empty(0, DETECTION), [], np.zeros((len(work.filters) + 1, 3)))
    table, sums = sifted(clip, work.detector, work.filters)
    return DetectionBatch(frame_log, table, [work.encode(crop) for crop in clip.crops(table)], sums)


def _frame_log(times: NDArray[np.float64], following: int, start: int, end: int) -> NDArray[np.void]:
    """Rows of frames ``following .. start - 1``, which did not decode, and ``start .. end - 1``, which did."""
    rows = np.zeros(end - following, FRAME_LOG)
    rows["number"] = np.arange(following, end)
    rows["time"] = times[following:end]
    rows["decoded"] = rows["number"] >= start
    return rows
