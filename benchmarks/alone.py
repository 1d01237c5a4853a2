"""A way in a fresh process of its own, as a user's script runs: nothing before it has warmed its allocator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import cv2
from pytest_benchmark.fixture import BenchmarkFixture

Run = Callable[[], Any]

_state: dict[str, Any] = {}


@dataclass(frozen=True)
class Took:
    """What a run gives that does not count all of its time: what it found, and the seconds that count."""

    found: Any
    seconds: float


@contextmanager
def alone(prepare: Callable[..., tuple[Run, Run]], *arguments: Any, threads: int = 1) -> Iterator[ProcessPoolExecutor]:
    """A new interpreter that has imported, prepared and warmed up what `once` times.

    Parameters
    ----------
    prepare : callable
        Gives what to run for warming up and what to time.
    *arguments
        Its arguments.
    threads : int
        Of OpenCV.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_begin, prepare, arguments, threads).result()
        yield pool


def _begin(prepare: Callable[..., tuple[Run, Run]], arguments: tuple[Any, ...], threads: int) -> None:
    cv2.setNumThreads(threads)
    warm, _state["run"] = prepare(*arguments)
    warm()


def _once() -> float:
    began = time.perf_counter()
    found = _state["run"]()
    took = found if isinstance(found, Took) else Took(found, time.perf_counter() - began)
    _state["found"] = took.found
    return took.seconds


def _found() -> Any:
    return _state["found"]


def timed(benchmark: BenchmarkFixture, pool: ProcessPoolExecutor, rounds: int) -> Any:
    """Run some rounds over there, note the fastest, in seconds by that process' own clock, and give what it found."""
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(pool.submit(_once).result()), rounds=rounds)
    benchmark.extra_info["fastest"] = min(seconds)
    return pool.submit(_found).result()
