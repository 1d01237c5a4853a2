"""Many recordings: one store each, side by side, where a broken one does not stop the rest."""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spatterlib.common.files import folds_case
from spatterlib.common.progress import Progress
from spatterlib.common.signals import end_with_parent
from spatterlib.errors import Exit, ParameterError, SpatterlibError, WorkerError, one_line
from spatterlib.extraction.extract import Report, extract_with
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.plugins.registry import catalog
from spatterlib.video.names import stem_of
from spatterlib.video.opening import expand

__all__ = ["RecordingOutcome", "extract_all", "outcome_of", "store_of"]

# Recordings at a time: the caller only lists packets and writes rows, while the workers decode.
_AHEAD = 4
_ATTEMPTS = 3
_LOST = "its worker processes died, perhaps for want of memory"


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
        With more than 1, that many processes work on spans of the recordings. A program that is not guarded by
        ``if __name__ == "__main__":`` cannot start processes.
    executor : concurrent.futures.Executor, optional
        Who works instead; see `extract`.
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
    elif executor is not None:
        found = _side_by_side(how, jobs, executor, tell, overwrite=overwrite)
    else:
        found = _with_processes(how, jobs, workers, tell, overwrite=overwrite)
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
    except BrokenExecutor:
        return RecordingOutcome(video, out, "failed", error=_LOST, code=Exit.FAILED)
    except WorkerError:
        raise
    except Exception as error:
        # Also a fault of a plugin, or ours: the other recordings do not pay for it.
        named = "" if isinstance(error, SpatterlibError | OSError) else f"{type(error).__name__}: "
        return RecordingOutcome(video, out, "failed", error=named + one_line(error), code=Exit.caused_by(error))
    return outcome_of(video, out, report)


def outcome_of(video: str, out: str, report: Report) -> RecordingOutcome:
    """What a report says of its recording."""
    if not report.whole:
        return RecordingOutcome(video, out, "incomplete", report, code=Exit.INCOMPLETE)
    state = "done" if not report.resumed else "there" if report.resumed == report.expected else "resumed"
    return RecordingOutcome(video, out, state, report)


def _told(outcome: RecordingOutcome, tell: Callable[[RecordingOutcome], None]) -> RecordingOutcome:
    tell(outcome)
    return outcome


def _side_by_side(
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
                outcome = found[futures[future]] = future.result()
                if outcome.error != _LOST:
                    tell(outcome)
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _with_processes(
    settings: ExtractionSettings,
    jobs: Sequence[Job],
    workers: int,
    tell: Callable[[RecordingOutcome], None],
    *,
    overwrite: bool,
) -> dict[Job, RecordingOutcome]:
    """Processes; when one of them dies, its pool does too, and another goes on where the stores end."""
    found: dict[Job, RecordingOutcome] = {}
    left = list(jobs)
    for attempt in range(_ATTEMPTS):
        with _processes(workers) as pool:
            found |= _side_by_side(settings, left, pool, tell, overwrite=overwrite and not attempt)
        left = [job for job in left if found[job].error == _LOST]
        if not left:
            break
    for job in left:
        tell(found[job])
    return found


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    from multiprocessing import get_context

    # Not forked: other threads may hold locks at that moment.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
