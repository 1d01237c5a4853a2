"""Tasks of an executor: processes or machines that must be like the caller, and that end when their caller does."""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from spatterlib.common.signals import end_after
from spatterlib.common.threads import cores, in_order
from spatterlib.errors import WorkerError

__all__ = ["Caller", "Shared", "code_digest", "spread", "workers_of"]

Item = TypeVar("Item")

_PACKAGES = ("spatterlib", "numpy", "numba", "llvmlite", "opencv-python-headless", "av")
_FFMPEG, _CODE, _MACHINE = "FFmpeg", "the code of spatterlib", "the kind of processor"


@dataclass(frozen=True)
class Caller:
    """Who gives out tasks, and what it has installed: the same wherever they are done, or pixels and rows may differ.

    Parameters
    ----------
    process : tuple
        The name of its machine and its number.
    installed : tuple
        Pairs of a name and a version.
    """

    process: tuple[str, int]
    installed: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls, plugins: Mapping[str, str] | None = None) -> Caller:
        """The process that asks; `plugins` are further distributions that take part, as `foreign_versions` says."""
        return cls(_process(), _installed((*_PACKAGES, _FFMPEG, _CODE, _MACHINE, *(plugins or {}))))

    def run(self, task: Callable[[], Item]) -> Item:
        """Do a task in a process that is like the caller.

        Raises
        ------
        WorkerError
            If something is installed there in another version; names the first.
        """
        if (here := _process()) != self.process:
            _joined(self, here)
        return task()


def _process() -> tuple[str, int]:
    return platform.node(), os.getpid()


@cache
def _joined(caller: Caller, process: tuple[str, int]) -> None:
    """Once in each process: it is found to be like its caller, and ends with it where that is its parent."""
    names = [name for name, _ in caller.installed]
    for (name, wanted), (_, found) in zip(caller.installed, _installed(tuple(names)), strict=True):
        if found != wanted:
            raise WorkerError(
                f"a worker ({process[0]}, process {process[1]}) is unlike its caller: {name} is {found} there and "
                f"{wanted} here; install the same on all machines"
            )
    if (process[0], os.getppid()) == caller.process:
        end_after(_orphaned)


def _orphaned() -> None:
    """Wait until the parent is gone; where `multiprocessing` does not know it, as in the pools of loky, by looking."""
    from multiprocessing import parent_process

    parent, number = parent_process(), os.getppid()
    if parent is not None and parent.pid == number and parent.sentinel is not None:
        parent.join()
        return
    while os.getppid() == number:
        time.sleep(1)


def _installed(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    known: dict[str, Callable[[], str]] = {
        _FFMPEG: _ffmpeg,
        _CODE: lambda: code_digest()[:12],
        _MACHINE: platform.machine,
    }
    return tuple((name, known.get(name, partial(_version, name))()) for name in names)


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _ffmpeg() -> str:
    """Versions of its libraries that read and decode; another build of PyAV may bring other ones."""
    import av

    return ", ".join(
        f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavformat", "libavcodec")
    )


@cache
def code_digest() -> str:
    """SHA-256 over the package's own Python files."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Shared(Generic[Item]):
    """An object that goes along with many tasks, and is made once in each process.

    Parameters
    ----------
    pickled : bytes
        The object.
    token : str
        Drawn at random: an object of the same name may be another one at the next call.
    """

    pickled: bytes
    token: str

    @classmethod
    def of(cls, item: Item) -> Shared[Item]:
        """An object that pickles."""
        return cls(pickle.dumps(item), secrets.token_hex(8))

    def here(self) -> Item:
        """The object in this process."""
        item: Item = _unpickled(self, os.getpid())
        return item


@lru_cache(maxsize=4)
def _unpickled(shared: Shared[Any], process: int) -> Any:
    return pickle.loads(shared.pickled)  # noqa: S301 - it comes from the caller, as the task does


def spread(tasks: Iterator[Callable[[], Item]], executor: Executor, caller: Caller) -> Generator[Item, None, None]:
    """Results of tasks in their order; as many are under way as keep the workers busy.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from functools import partial
    >>> from spatterlib.common.workers import Caller, spread
    >>> with ThreadPoolExecutor(2) as threads:
    ...     list(spread((partial(pow, n, 2) for n in range(4)), threads, Caller.here()))
    [0, 1, 4, 9]
    """
    yield from in_order(executor, (partial(caller.run, task) for task in tasks), 2 * workers_of(executor) + 1)


def workers_of(executor: Executor) -> int:
    """How many tasks it works on at a time; as many as there are cores here where it does not say."""
    client: Any = getattr(executor, "_client", None)
    if hasattr(client, "nthreads"):
        return max(int(sum(client.nthreads().values())), 1)
    return int(getattr(executor, "_max_workers", 0)) or cores()
