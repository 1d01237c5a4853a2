"""Threads side by side: how many, in what order their results come; OpenCV kept out of their way, and quiet."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["cores", "in_order", "on_every_core", "one_opencv_thread", "quiet_opencv"]

Item = TypeVar("Item")


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(pool: Executor, jobs: Iterator[Callable[[], Item]], depth: int) -> Iterator[Item]:
    """Results in the order of the jobs, at most `depth` under way; an error comes behind what was done before it."""
    waiting: deque[Future[Item]] = deque()
    error: Exception | None = None
    try:
        while True:
            try:
                job = next(jobs)
            except StopIteration:
                break
            except Exception as caught:
                error = caught
                break
            waiting.append(pool.submit(job))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
    if error:
        raise error


def on_every_core(jobs: Iterator[Callable[[], Item]]) -> Iterator[Item]:
    """Results in the order of the jobs, which the calling thread makes while as many threads as cores do them."""
    with ThreadPoolExecutor(cores()) as pool:
        yield from in_order(pool, jobs, cores() + 2)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV from cutting small pictures up for threads of its own, which wait busily and take the cores."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's chatter, about damaged images or cameras that are not there, from the user's terminal."""
    import cv2

    # OpenCV up to 4.12 has it at the top, later ones below `utils` only.
    logging: Any = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    before = logging.setLogLevel(0)
    try:
        yield
    finally:
        logging.setLogLevel(before)
