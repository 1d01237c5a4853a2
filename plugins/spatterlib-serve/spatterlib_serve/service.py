"""What lies behind the routes: uploads become jobs, jobs are done one after the other, results are kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import Request

from spatterlib_serve import runner, shelf
from spatterlib_serve.access import Shares, caller_of
from spatterlib_serve.classify import classify
from spatterlib_serve.jobs import VIDEO, Job, Jobs
from spatterlib_serve.metrics import Metrics
from spatterlib_serve.problems import ProblemError
from spatterlib_serve.settings import MB, Settings
from spatterlib_serve.uploads import Memory, Pace, Parts, cleaned, receive, refuse_long

__all__ = ["Service"]

log = logging.getLogger("spatterlib")

_RETRY = {"Retry-After": "10"}
_SOON = {"Retry-After": "1"}
_SWEEP = 3600.0  # S between two looks for what has been kept long enough.
_LOOKS = 2  # Uploads that are looked at side by side.
_LOOK_SECONDS = 300.0


class Service:
    """One service; belongs to one event loop.

    Parameters
    ----------
    settings : Settings
        Limits and places.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.progress: dict[str, dict[str, int]] = {}
        self.problem: str | None = "the service is starting"
        self.uploads = Shares(settings.uploads, settings.uploads_each, "busy", "videos come", _RETRY)
        self.asking = Shares(settings.asking, settings.asking_each, "busy", "requests with crops wait", _SOON)
        self._queue = Shares(settings.queue, settings.queue_each, "queue-full", "jobs wait", _RETRY)
        self._pace = Pace(settings.stall_seconds, settings.slowest_kb * 1024, settings.upload_seconds)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """From start to end: takes the folder, works on what waits there, lets go."""
        with Jobs(self.settings.data) as self.jobs, ThreadPoolExecutor(1) as self._judge:
            self._looks = asyncio.Semaphore(_LOOKS)
            self.metrics.queue.set_function(lambda: self.jobs.count("queued"))
            self.metrics.running.set_function(lambda: len(self._running))
            tasks = [asyncio.create_task(self._work()) for _ in range(self.settings.workers)]
            tasks += [asyncio.create_task(self._sweep()), asyncio.create_task(self._warm_up())]
            try:
                yield
            finally:
                self.problem = "the service is ending"
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self.metrics.queue.set_function(lambda: 0)
                shutil.rmtree(self.jobs.incoming, ignore_errors=True)

    async def _warm_up(self) -> None:
        """The first request must not wait until kernels are compiled."""
        import numpy as np

        from spatterlib.plugins import encode

        model = shelf.shipped()
        crop = encode(np.full((48, 48, 3), 200, np.uint8))
        try:
            await self._judged(model, ["crop"], [crop])
            self.problem = None
        except Exception as error:
            log.exception("the service is not ready")
            self.problem = f"the model that comes along cannot be used: {type(error).__name__}"

    async def _sweep(self) -> None:
        while True:
            if self.settings.keep_days:
                self.jobs.expire(self.settings.keep_days * 86400)
            await asyncio.sleep(_SWEEP)

    def ready(self) -> str | None:
        """Why it should get no requests now; None if it may."""
        if self.problem is None and self._free() < self.settings.free_mb * MB:
            return f"less than {self.settings.free_mb:g} MiB are free on the disk"
        return self.problem

    def _free(self) -> int:
        return shutil.disk_usage(self.settings.data).free

    # Videos -----------------------------------------------------------------------------------------------------

    async def accept(self, request: Request, name: str, options: dict[str, Any]) -> Job:
        """Take a video, look at it, and queue it.

        Raises
        ------
        ProblemError
            If it is refused; nothing of it is left then.
        """
        try:
            caller = caller_of(request)
            self._queue.check(self.jobs.count("queued"), self.jobs.count("queued", caller))
            with self.uploads.one(caller), self._folder() as folder:
                limit = int(self.settings.max_mb * MB)
                refuse_long(request, limit)
                self._refuse_full(request)
                with self.metrics.stages.labels("upload").time():
                    parts = Parts("video", 1, lambda _: (folder / VIDEO).open("xb"))
                    await receive(request, parts, limit, self._pace, name)
                shown = cleaned(name) if name else parts.names[0]
                facts = await self._look(folder / VIDEO, shown)
                job = self.jobs.add(folder, shown, options, facts, caller)
        except ProblemError:
            self.metrics.jobs.labels("refused").inc()
            raise
        except OSError as error:
            self.metrics.jobs.labels("refused").inc()
            raise ProblemError(507, "disk", f"the video cannot be kept: {error.strerror}") from error
        self.metrics.jobs.labels("accepted").inc()
        self._news.set()
        return job

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = self.jobs.incoming / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _refuse_full(self, request: Request) -> None:
        claimed = request.headers.get("content-length", "0")
        needed = int(self.settings.free_mb * MB) + (int(claimed) if claimed.isdigit() else 0)
        if self._free() < needed:
            raise ProblemError(507, "disk", "not enough room is free on the disk of the service; remove finished jobs")

    async def _look(self, path: Path, name: str) -> dict[str, Any]:
        limits = {"max_seconds": self.settings.max_seconds, "max_pixels": self.settings.max_pixels}
        asked = {"task": "look", "path": str(path), "name": name, "limits": limits, "memory": self.settings.job_mb}
        async with self._looks:
            with self.metrics.stages.labels("look").time():
                try:
                    facts = await runner.ask(asked, _LOOK_SECONDS, self.jobs.incoming)
                except runner.Failed as error:
                    status, kind = (422, "too-long") if error.type == "ParameterError" else (415, "no-video")
                    raise ProblemError(status, kind, str(error).replace(str(path), name)) from error
        return facts | {"bytes": path.stat().st_size}

    async def _work(self) -> None:
        """Do one job after the other, for ever."""
        while True:
            job = self.jobs.take()
            if job is None:
                self._news.clear()
                await self._news.wait()
                continue
            task = self._running[job.id] = asyncio.create_task(self._do(job))
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait({task})
                if task.cancelled():
                    self.jobs.put_back(job)
                raise
            finally:
                del self._running[job.id]
                self.progress.pop(job.id, None)

    async def _do(self, job: Job) -> None:
        wait = (job.started or job.created) - job.created
        self.metrics.stages.labels("wait").observe(wait)
        try:
            done = await self._predict(job)
        except (runner.Failed, ProblemError) as error:
            text = str(error).replace(str(self.jobs.where(job) / VIDEO), job.name)
            self._finish(job, "failed", text)
        except Exception as error:
            log.exception("job %s", job.id)
            self._finish(job, "failed", f"an error that nobody foresaw: {type(error).__name__}")
        else:
            for stage, seconds in done["stages"].items():
                self.metrics.stages.labels(stage).observe(seconds)
            self.metrics.frames.inc(done["frames"])
            self.metrics.events.inc(done["events"])
            self.metrics.crops.labels("video").inc(done["crops"])
            self._finish(job, "done")

    async def _predict(self, job: Job) -> dict[str, Any]:
        options = dict(job.options)
        model = shelf.choose(self.settings.models, options.pop("model"))
        asked: dict[str, Any] = {
            "task": "judge",
            "folder": str(self.jobs.where(job)),
            "name": job.name,
            "options": options,
        }
        asked |= {"model": str(model.path), "model_name": model.name, "memory": self.settings.job_mb}

        def notify(now: dict[str, Any]) -> None:
            if now["preparing"] and not self.progress.get(job.id, {}).get("preparing"):
                log.info("job %s: preparing %d kernels for this machine, once", job.id, now["preparing"][1])
            self.progress[job.id] = now

        return await runner.ask(asked, self.settings.job_seconds, self.jobs.incoming, notify)

    def _finish(self, job: Job, outcome: str, error: str | None = None) -> None:
        self.jobs.finish(job, error)
        self.metrics.jobs.labels(outcome).inc()
        log.info("job %s: %s %s", job.id, outcome, error or "")

    async def remove(self, job: Job) -> None:
        """Cancel it if it runs, and remove all that there is of it."""
        self.jobs.remove(job)
        if task := self._running.get(job.id):
            task.cancel()
            await asyncio.wait({task})
        shutil.rmtree(self.jobs.where(job), ignore_errors=True)
        self.metrics.jobs.labels("removed").inc()

    # Crops ------------------------------------------------------------------------------------------------------

    async def classify(self, request: Request, model: shelf.Shown, name: str) -> list[dict[str, Any]]:
        """Take crops and say what a model makes of them.

        Raises
        ------
        ProblemError
            If they are refused.
        """
        with self.asking.one(caller_of(request)):
            kept = Memory()
            parts = Parts("crops", self.settings.crops, kept.open)
            await receive(request, parts, int(self.settings.crops_mb * MB), self._pace, name or "crop")
            return await self._judged(model, parts.names, kept.files)

    async def _judged(self, model: shelf.Shown, names: list[str], crops: list[bytes]) -> list[dict[str, Any]]:
        began = time.perf_counter()

        def work() -> list[dict[str, Any]]:
            return classify(shelf.scorer(model), names, crops, self.settings.crop_pixels)

        # One thread: kernels need not be safe beside themselves, and a job leaves one core for it.
        found = await asyncio.get_running_loop().run_in_executor(self._judge, work)
        self.metrics.stages.labels("classify").observe(time.perf_counter() - began)
        self.metrics.crops.labels("request").inc(len(crops))
        return found
