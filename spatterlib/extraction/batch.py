"""Many recordings: one store each, side by side, where a broken one does not stop the rest."""

from __future__ import annotations

import glob
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing import get_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from spatterlib.common.files import folds_case
from spatterlib.common.progress import Progress
from spatterlib.common.signals import end_with_parent
from spatterlib.common.workers import Caller, workers_of
from spatterlib.errors import Exit, ParameterError, SpatterlibError, WorkerError, one_line
from spatterlib.extraction.extract import Report, extract_with
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.plugins.registry import catalog, foreign_versions
from spatterlib.video.names import stem_of
from spatterlib.video.opening import expand

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

__all__ = ["RecordingOutcome", "extract_all", "outcome_of", "store_of"]

# Recordings at a time: the caller only lists packets and writes rows, while the workers decode.
_AHEAD = 4
_LOST = "its worker process died, perhaps for want of memory; the same call again goes on where its store ends"


@dataclass(frozen=True)
class RecordingOutcome:
    """What became of one recording.

    Parameters
    ----------
    video, out : str
        The recording and its store.
    state : {"done", "resumed", "there", "incomplete", "failed"}
        Done now, gone on with, done before; incomplete is done with less than 99.9 % of its frames.
    report : Report or None
        What `extract` says; None where it failed.
    error : str
        Why it failed, in one line.
    code : int
        Exit code: 0, 3 for incomplete, that of the error for failed.
    """

    video: str
    out: str
    state: str
    report: Report | None = None
    error: str = ""
    code: int = 0

    def row(self) -> dict[str, Any]:
        """JSON-able: all that a summary tells, None where nothing is known."""
        facts = asdict(self.report) if self.report else {}
        names = ("expected", "decoded", "detections", "layers", "seconds", "resumed")
        return {
            "video": self.video,
            "out": self.out,
            "frames": facts.get("expected"),
            **{name: facts.get(name) for name in names[1:]},
            "state": self.state,
            "error": self.error or None,
        }


def extract_all(
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    suffix: str = ".h5",
    workers: int = 1,
    executor: Executor | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    done: Callable[[RecordingOutcome], None] | None = None,
    **settings: Any,
) -> list[RecordingOutcome]:
    """Turn recordings into stores in one folder; a second call does what is missing, and goes on with what was cut.

    Parameters
    ----------
    videos : path or iterable of path
        Files, folders, patterns; see `spatterlib.video.opening.expand`.
    out : path or URL
        The folder, made if it is not there; stores are called as their recordings.
    suffix : str
        Which kind of store: ``".h5"`` or ``".zarr"``.
    workers : int
        With more than 1, that many processes: each does one recording after the other, or parts where there are fewer
        recordings than processes. One that dies fails its own recording only. A program that is not guarded by
        ``if __name__ == "__main__":`` cannot start processes.
    executor : concurrent.futures.Executor, optional
        Who works instead; see `extract`. Its workers must find recordings and stores under the same paths. They get
        whole recordings where there are at least as many as workers, and parts for stores at a URL.
    overwrite : bool
        Do everything anew.
    progress : callable, optional
        As in `extract`, where one recording is worked on at a time.
    done : callable, optional
        Called with every `RecordingOutcome` as it comes.
    **settings
        As of `extract`.

    Returns
    -------
    list of RecordingOutcome
        In the order of the recordings.

    Raises
    ------
    ParameterError
        If two recordings would be written to the same store, the folder cannot be made, or a setting is wrong for
        every recording.
    WorkerError
        If a worker has other versions of what makes pixels and rows.
    MissingFileError
        If a pattern matches nothing.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("a", "b"):
    ...     np.save(folder / f"{name}.npy", np.zeros((3, 48, 64, 3), np.uint8))
    >>> _ = (folder / "broken.npy").write_text("no stack")
    >>> [outcome.state for outcome in sp.extract_all(folder / "*.npy", folder / "out")]
    ['done', 'done', 'failed']
    >>> [outcome.state for outcome in sp.extract_all(folder / "*.npy", folder / "out")]
    ['there', 'there', 'failed']
    """
    names = expand([videos] if isinstance(videos, str | os.PathLike) else videos)
    jobs = _jobs(names, os.fspath(out), suffix)
    if workers < 1:
        raise ParameterError(f"workers must be 1 or more, got {workers}")
    how = ExtractionSettings(**settings)
    tell = done or (lambda outcome: None)
    if executor is None and workers == 1:
        alone: dict[str, Any] = {"overwrite": overwrite, "progress": progress or False}
        found = {job: _told(_one(how, *job, **alone), tell) for job in jobs}
    else:
        # A store at a URL has no lock: only its caller may write it, since an executor may do a task twice.
        alone_writes = executor is None or "://" not in os.fspath(out)
        with _Processes(workers) if executor is None else nullcontext(executor) as crew:
            share = _whole if alone_writes and len(jobs) >= workers_of(crew) else _in_parts
            found = share(how, jobs, crew, tell, overwrite=overwrite)
    return [found[job] for job in jobs]


Job = tuple[str, str]


def store_of(video: str, folder: str, suffix: str) -> str:
    """Path of a recording's store: called as its file, or as the folder in which a pattern looks for images."""
    path = Path(video)
    stem = path.resolve().parent.name if glob.has_magic(path.name) else stem_of(video)
    return f"{folder.rstrip('/')}/{stem}{suffix}" if "://" in folder else str(Path(folder) / f"{stem}{suffix}")


def _jobs(videos: Sequence[str], out: str, suffix: str) -> list[Job]:
    suffixes = {known for class_ in catalog().stores.values() for known in class_.suffixes}
    if suffix not in suffixes:
        raise ParameterError(f"stores end in one of {', '.join(sorted(suffixes))}, not {suffix!r}")
    stores = [store_of(video, out, suffix) for video in videos]
    _check_apart(stores)
    if "://" not in out:
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(f"cannot make the folder {out}: {error.strerror}") from error
        if folds_case(out):
            _check_apart([store.casefold() for store in stores])
    return list(zip(videos, stores, strict=True))


def _check_apart(stores: Sequence[str]) -> None:
    for store in stores:
        if stores.count(store) > 1:
            raise ParameterError(f"two videos would both be written to {store}; extract them into two folders")


def _one(settings: ExtractionSettings, video: str, out: str, *, overwrite: bool, **run: Any) -> RecordingOutcome:
    try:
        report = extract_with(settings, video, out, overwrite=overwrite, resume=not overwrite, **run)
    except Exception as error:
        return _failed(video, out, error)
    return outcome_of(video, out, report)


def _failed(video: str, out: str, error: Exception) -> RecordingOutcome:
    """Also after a fault of a plugin, or ours: the other recordings do not pay for it; for a wrong worker all do."""
    if isinstance(error, WorkerError):
        raise error
    if isinstance(error, BrokenExecutor):
        return RecordingOutcome(video, out, "failed", error=_LOST, code=Exit.FAILED)
    named = "" if isinstance(error, SpatterlibError | OSError) else f"{type(error).__name__}: "
    return RecordingOutcome(video, out, "failed", error=named + one_line(error), code=Exit.caused_by(error))


def outcome_of(video: str, out: str, report: Report) -> RecordingOutcome:
    """What a report says of its recording."""
    if not report.whole:
        return RecordingOutcome(video, out, "incomplete", report, code=Exit.INCOMPLETE)
    state = "done" if not report.resumed else "there" if report.resumed == report.expected else "resumed"
    return RecordingOutcome(video, out, state, report)


def _told(outcome: RecordingOutcome, tell: Callable[[RecordingOutcome], None]) -> RecordingOutcome:
    tell(outcome)
    return outcome


def _in_parts(
    settings: ExtractionSettings,
    jobs: Sequence[Job],
    executor: Executor,
    tell: Callable[[RecordingOutcome], None],
    *,
    overwrite: bool,
) -> dict[Job, RecordingOutcome]:
    """Each recording followed by a thread of its own, all their parts in one executor."""
    stopped = threading.Event()

    def stop(progress: Progress) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt

    found = {}
    with ThreadPoolExecutor(_AHEAD, "spatterlib") as pool:
        run: dict[str, Any] = {"executor": executor, "progress": stop, "overwrite": overwrite}
        futures = {pool.submit(_one, settings, *job, **run): job for job in jobs}
        try:
            for future in as_completed(futures):
                found[futures[future]] = _told(future.result(), tell)
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _whole(
    settings: ExtractionSettings,
    jobs: Sequence[Job],
    executor: Executor,
    tell: Callable[[RecordingOutcome], None],
    *,
    overwrite: bool,
) -> dict[Job, RecordingOutcome]:
    """Each recording a task, which a worker does from opening it to the complete store."""
    detector, filters = settings.plugins()
    caller = Caller.here(foreign_versions(detector=[detector], filter=filters))
    found = {}
    futures = {}
    for video, out in jobs:
        task = partial(_by_a_worker, settings, _absolute(video), _absolute(out), overwrite)
        futures[executor.submit(caller.run, task)] = video, out
    try:
        for future in as_completed(futures):
            video, out = job = futures[future]
            try:
                outcome, said = future.result()
            except Exception as error:
                outcome, said = _failed(*job, error), []
            for record in said:
                logging.getLogger(record.name).handle(record)
            report = outcome.report and replace(outcome.report, out=out)
            found[job] = _told(replace(outcome, video=video, out=out, report=report), tell)
    finally:
        for future in futures:
            future.cancel()
    return found


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100 - it may be a pattern


def _by_a_worker(
    settings: ExtractionSettings, video: str, out: str, overwrite: bool
) -> tuple[RecordingOutcome, list[logging.LogRecord]]:
    """What became of a recording, and the warnings on the way, where nobody listens to them."""
    log, said = logging.getLogger("spatterlib"), SimpleQueue[logging.LogRecord]()
    listening = None if log.hasHandlers() else QueueHandler(said)
    if listening:
        log.addHandler(listening)
    try:
        outcome = _one(settings, video, out, overwrite=overwrite, progress=_stop_if_told)
    finally:
        if listening:
            log.removeHandler(listening)
    return outcome, [said.get() for _ in range(said.qsize())]


class _Processes(Executor):
    """Processes of this machine, each a pool of its own: one that dies takes its own task along and no other."""

    def __init__(self, workers: int) -> None:
        # Not forked: other threads may hold locks at that moment.
        self._context = get_context("spawn")
        self._stop = self._context.Event()
        self._max_workers = workers
        self._threads = ThreadPoolExecutor(workers, "spatterlib")
        self._idle = SimpleQueue[ProcessPoolExecutor]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As of any executor."""
        return self._threads.submit(self._run, partial(fn, *args, **kwargs))

    def _run(self, task: Callable[[], Any]) -> Any:
        try:
            pool = self._idle.get_nowait()
        except Empty:
            pool = ProcessPoolExecutor(1, self._context, _begin, (self._stop,))
        try:
            result = pool.submit(task).result()
        except BrokenExecutor:
            pool.shutdown()
            raise
        except BaseException:
            self._idle.put(pool)
            raise
        self._idle.put(pool)
        return result

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self._stop.set()
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().shutdown()


_stop: Event | None = None


def _begin(stop: Event) -> None:
    """Begin a process of `_Processes`."""
    global _stop
    _stop = stop
    end_with_parent()


def _stop_if_told(progress: Progress) -> None:
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt
