"""The main job: a recording in, a store of spatter crops with measurements out."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.progress import Progress, progress_callback
from spatterlib.common.wording import counted
from spatterlib.detection.defaults import DETECTOR, FILTERS, DetectorSpec, FilterSpec, Gap, Position, Roi
from spatterlib.detection.detect import frame_span
from spatterlib.detection.layers import gap_of, layers
from spatterlib.detection.tally import FilterTally, tallies
from spatterlib.errors import ParameterError, VideoError
from spatterlib.extraction.pending import Pending
from spatterlib.extraction.pipeline import DetectionBatch, Work, batches, batches_of_parts, cut, origin_of
from spatterlib.extraction.resume import begun, is_begun
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.kernels.compile_progress import subscribed
from spatterlib.plugins.capabilities import SupportsParts
from spatterlib.plugins.registry import identity, versions_of
from spatterlib.stores.opening import check_output, create_store
from spatterlib.types import DETECTION, Store, Video
from spatterlib.video.opening import Recording, open_video, region

__all__ = ["Report", "extract", "extract_with", "followed", "is_whole", "undecodable"]

_FULLY_DECODED = 0.999


@contextmanager
def followed(notify: Callable[[Progress], None], expected: int) -> Iterator[Callable[[Progress], None]]:
    """The same callback, which meanwhile is told how far the compiling of kernels is too."""
    last, busy = Progress(0, expected, 0, np.empty(0, DETECTION)), threading.Lock()

    def tell(state: Progress) -> None:
        nonlocal last
        last = replace(state, found=last.found)
        with busy:
            notify(state)

    def prepare(done: int, of: int) -> None:
        # Never waits: whoever tells may wait for the compiler.
        if busy.acquire(blocking=False):
            try:
                notify(replace(last, preparing=(done, of)))
            finally:
                busy.release()

    with subscribed(prepare):
        yield tell


@dataclass(frozen=True)
class Report:
    """What `extract` did.

    Parameters
    ----------
    video, out : str
        The recording and the store.
    expected, decoded, failed : int
        Frames that should have been there, that decoded, that did not; expected = decoded + failed.
    spatter_frames, detections, layers : int
        Frames with spatter, rows in the store, layers.
    gap : str
        How the layers were told apart, as a sentence.
    seconds : float
        S, time that the extraction took; where it was resumed, since then.
    resumed : int
        Frames that were in the store already.
    filters : tuple of FilterTally
        What each filter took out; where the extraction was resumed, since then.
    """

    video: str
    out: str
    expected: int
    decoded: int
    failed: int
    spatter_frames: int
    detections: int
    layers: int
    gap: str
    seconds: float
    resumed: int = 0
    filters: tuple[FilterTally, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether at least 99.9 % of the frames were decoded."""
        return is_whole(self.decoded, self.expected)

    def __str__(self) -> str:
        share = 100 * self.spatter_frames / max(self.decoded, 1)
        missing = f", {self.failed} did not decode" if self.failed else ""
        if self.resumed:
            missing += f", {self.resumed} of them were done before"
        return (
            f"{self.video}: {self.decoded} of {counted(self.expected, 'frame')}{missing}; "
            f"{counted(self.detections, 'detection')} in {counted(self.spatter_frames, 'frame')} ({share:.1f} %), "
            f"{counted(self.layers, 'layer')} -> {self.out}"
        )


def is_whole(decoded: int, expected: int) -> bool:
    """Whether so few frames are missing that nobody need be warned."""
    return decoded >= _FULLY_DECODED * expected


def extract(
    video: str | os.PathLike[str] | Video,
    out: str | os.PathLike[str],
    *,
    detector: DetectorSpec = DETECTOR,
    filters: Sequence[FilterSpec] = FILTERS,
    start: Position = None,
    stop: Position = None,
    roi: Roi = None,
    fps: float | None = None,
    value_range: tuple[float, float] | None = None,
    axes: str | None = None,
    limit: int | None = None,
    crop_format: Literal["jpeg", "png"] = "jpeg",
    quality: int = 95,
    gas_direction: float | None = None,
    gap: Gap | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Callable[[Progress], None] | None = None,
) -> Report:
    """Turn a recording into a store of spatter crops with measurements.

    Parameters
    ----------
    video : path or Video
        A video file, a folder or pattern of images, a multi-page TIFF, an ``.npy`` stack.
    out : path
        The store to make; its suffix (``.h5``, ``.zarr``) says which kind.
    detector : str, dict or object
        Id, identity or instance.
    filters : sequence
        Ids, identities or instances; a detection stays if all of them keep it.
    start, stop : int, float or str, optional
        First frame and the one after the last: an int is a frame number, a float seconds, a
        string either (``"250"``, ``"12.5s"``, ``"1:23.5"``).
    roi : tuple of int, optional
        ``(x0, y0, x1, y1)`` px, half-open, None = the edge: the part of the frame that is looked at. Boxes
        stay in full-frame coordinates.
    fps : float, optional
        The camera's frames per second, where the container's time stamps are not those of the recording.
    value_range : tuple of float, optional
        Values that are black and white, such as ``(0, 4095)``; see `open_video`.
    axes : str, optional
        Order of an array's axes, such as ``"yxt"``; see `open_video`.
    limit : int, optional
        Stop after this many detections.
    crop_format : {"jpeg", "png"}
        How crops are encoded.
    quality : int
        JPEG quality, 1-100.
    gas_direction : float, optional
        Degrees, where the gas flows to as the camera sees it: 0 = right, 90 = up. The store keeps it, and training and
        prediction turn crops by it.
    gap : float or str, optional
        Pause that separates layers: seconds, "auto", or as "700 frames"; see `layers`. The store keeps it, and whatever
        tells layers of the store apart goes by it. By default that of the store that is gone on with, else "auto".
    workers : int
        The rows are the same for any number. Each is two threads as far as there are cores, and each thread decodes,
        detects and encodes parts of its own. What cannot be cut at key frames is decoded by one thread, while
        another detects and encodes.
    executor : concurrent.futures.Executor, optional
        Who works on the parts instead of threads: a pool of processes, or ``distributed.Client(...).get_executor()``
        for many machines, which must find video and store under the same path. Into a ``.zarr`` store, each worker
        writes its own crops; into others, they come back with the rows.
    resume : bool
        Go on with the store that an interrupted or killed run left, behind its last committed frame: in the end it
        holds what an undisturbed run gives. One that is complete is left as it is; if there is none, begin.
    overwrite : bool
        Replace an existing store.
    progress : bool or callable, optional
        Called with a `Progress` after every clip; True is a bar, None a bar on a terminal only.

    Returns
    -------
    Report

    Raises
    ------
    VideoError
        If the recording cannot be opened, none of its frames decodes, or the frame size changes within.
    OutputExistsError
        If `out` exists and neither `overwrite` nor `resume` is set, or if what is to be resumed was made from another
        recording or with other settings.
    StoreError
        If `out` cannot be written; what was committed before stays readable and is marked as not complete.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> frames = np.zeros((3, 120, 160, 3), np.uint8)
    >>> frames[1, 30:90, 40:100] = 255
    >>> np.save(folder / "flash.npy", frames)
    >>> report = sp.extract(folder / "flash.npy", folder / "flash.h5")
    >>> report.decoded, report.detections
    (3, 1)
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
        limit=limit,
        crop_format=crop_format,
        quality=quality,
        gas_direction=gas_direction,
        gap=gap,
        workers=workers,
    )
    return extract_with(settings, video, out, executor=executor, resume=resume, overwrite=overwrite, progress=progress)


def extract_with(
    settings: ExtractionSettings,
    video: str | os.PathLike[str] | Video,
    out: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Callable[[Progress], None] | None = None,
) -> Report:
    """`extract` with its settings as one record."""
    began = time.perf_counter()
    _check_exclusive(resume, overwrite)
    earlier = resume and is_begun(out)
    if not resume:
        check_output(os.fspath(out), overwrite=overwrite, mends=("overwrite", "resume"))
    with open_video(video, **settings.reading) as source, ExitStack() as ended:
        span = frame_span(source, settings.start, settings.stop)
        attrs = _attrs(source, settings, span)
        crew = _Crew(source, video, settings.reading, Work.of(settings), settings.workers, executor, ended)
        kept = attrs | {"gap": gap_of({}, settings.gap)}
        make = partial(create_store, os.fspath(out), attrs=kept, overwrite=overwrite)
        store, sums = begun(out, attrs) if earlier else None, np.zeros((0, 3))
        resumed = 0 if store is None else len(store.frame_log)
        if store is None or not store.attrs.get("complete"):
            with followed(progress_callback(progress), len(span)) as tell:
                store, found = crew.begin(store, make, range(span.start + resumed, span.stop), settings.limit)
                pending = Pending(far="://" in os.fspath(out))
                sums = _fill(store, pending, found, span, settings.limit, tell)
        with store:
            return _report(store, source.name, os.fspath(out), began, resumed, tallies(crew.work.filters, sums))


def _report(store: Store, video: str, out: str, began: float, resumed: int, filters: tuple[FilterTally, ...]) -> Report:
    frames, times = store.frame_log["decoded"], store.column("time")
    grouped = layers(times, gap_of(store.attrs), store.column("frame"))
    return Report(
        video=video,
        out=out,
        expected=len(frames),
        decoded=int(frames.sum()),
        failed=int((~frames).sum()),
        spatter_frames=len(np.unique(store.column("frame"))),
        detections=len(times),
        layers=len(grouped),
        gap=grouped.chosen,
        seconds=time.perf_counter() - began,
        resumed=resumed,
        filters=filters,
    )


@dataclass(frozen=True)
class _Crew:
    """Who works on a recording, and how; `ended` ends the work, whole or not, before the recording is closed.

    Left to the garbage collector it would end at any time, perhaps while a thread begins and holds what ending needs.
    """

    video: Recording
    given: object
    reading: Mapping[str, Any]
    work: Work
    workers: int
    executor: Executor | None
    ended: ExitStack

    def begin(
        self, store: Store | None, make: Callable[[], Store], rest: range, limit: int | None
    ) -> tuple[Store, Iterator[DetectionBatch]]:
        """The store, made now if there is none, and what is to be appended: nothing is made where nothing decodes."""
        if store is not None and (not rest or (limit is not None and len(store) >= limit)):
            return store, iter(())
        known = store is not None and bool(store.frame_log["decoded"].any())
        try:
            if self.executor is not None:
                return self._spread(self.executor, store, make, rest, known=known)
            found: Iterator[DetectionBatch] = self.ended.enter_context(
                closing(batches(self.video, rest, self.work, self.workers))
            )
            found = found if known else _some_decoded(found, self.video.name, len(rest))
            return make() if store is None else store, found
        except BaseException:
            if store is not None:
                store.close()
            raise

    def _spread(
        self, executor: Executor, store: Store | None, make: Callable[[], Store], rest: range, *, known: bool
    ) -> tuple[Store, Iterator[DetectionBatch]]:
        if self.work.roi:
            region(self.video, self.work.roi)
        if not known and all(picture is None for picture in self.video.read(rest.start, rest.stop)):
            raise undecodable(self.video.name, len(rest))
        parts = cut(self.video, rest, self.work.detector.lead)
        store = make() if store is None else store
        write = store.part_writer(len(parts)) if isinstance(store, SupportsParts) else None
        found = batches_of_parts(origin_of(self.given, self.reading, self.video), parts, self.work, executor, write)
        return store, self.ended.enter_context(closing(found))


def _some_decoded(found: Iterator[DetectionBatch], name: str, expected: int) -> Iterator[DetectionBatch]:
    """The same batches; an error, before there is a store, if not one frame of them decodes."""
    head: list[DetectionBatch] = []
    for batch in found:
        head.append(batch)
        if batch.frame_log["decoded"].any():
            return itertools.chain(head, found)
    raise undecodable(name, expected)


def undecodable(name: str, expected: int) -> VideoError:
    """The error where not one of the expected frames decodes."""
    return VideoError(f"{name}: none of its {expected} frames could be decoded")


def _check_exclusive(resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise ParameterError("resume goes on with a store and overwrite replaces it; choose one of the two")


def _attrs(video: Video, settings: ExtractionSettings, span: range) -> dict[str, Any]:
    """What the store was made from: enough to make it again."""
    packages = ("spatterlib", "numpy", "opencv-python-headless", "av")
    detector, filters = settings.plugins()
    quality = {"quality": settings.quality} if settings.crop_format == "jpeg" else {}
    return {
        "video": video.identity(),
        "detector": identity(detector),
        "filters": [identity(filter_) for filter_ in filters],
        "start": span.start,
        "stop": span.stop,
        "roi": list(region(video, settings.roi)) if settings.roi else None,
        "crops": {"format": settings.crop_format} | quality,
        "versions": versions_of(packages, detector=[detector], filter=filters),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": "running",
        "complete": False,
        "limit": settings.limit,
        "gap": settings.gap,
        "gas_direction": settings.gas_direction,
    }


def _fill(
    store: Store,
    pending: Pending,
    found: Iterable[DetectionBatch],
    span: range,
    limit: int | None,
    notify: Callable[[Progress], None],
) -> NDArray[np.float64]:
    """Append everything to the store and say that it is whole; an error leaves what was committed."""
    done, rows, sums = len(store.frame_log), len(store), np.zeros((0, 3))
    first = span.start + done
    try:
        for batch in found:
            batch = batch.since(first)
            full = limit is not None and rows + len(batch.table) >= limit
            batch = batch.first(limit - rows) if limit is not None and full else batch
            pending.add(batch)
            sums = batch.sums + sums if len(sums) else batch.sums
            rows, done = rows + len(batch.table), done + len(batch.frame_log)
            notify(Progress(done, done if full else len(span), rows, batch.table))
            if full:
                break
            if pending.full():
                pending.commit(store, final=False)
        pending.commit(store, final=True)
        decoded = int(store.frame_log["decoded"].sum())
        counts = {"expected": done, "decoded": decoded, "failed": done - decoded}
        store.set_attrs({"state": "complete", "complete": True} | counts)
        store.flush()
        return sums
    except BaseException as error:
        _abandon(store, pending, error)
        raise


def _abandon(store: Store, pending: Pending, error: BaseException) -> None:
    """Keep what was done and say that it is not all; the first error is the one to report."""
    interrupted = isinstance(error, KeyboardInterrupt | CancelledError)
    state = "interrupted" if interrupted else f"failed: {type(error).__name__}: {error}"
    with suppress(Exception):
        if pending.frames and any(map(len, pending.frames)):
            pending.commit(store, final=False)
        store.set_attrs({"state": state})
    with suppress(Exception):
        store.close()
