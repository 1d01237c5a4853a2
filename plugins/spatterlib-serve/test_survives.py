"""What befalls jobs when the service, or what does the work, is ended."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from spatterlib_serve.jobs import ATTEMPTS, Jobs

import spatterlib as sp
from spatterlib.errors import StoreError


def send(client: Any, video: Path, query: str = "") -> str:
    with video.open("rb") as file:
        answer = client.post(f"/predict?model=simulated{query}", files={"video": (video.name, file)})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def at_work(client: Any, id_: str) -> None:
    until = time.monotonic() + 60
    while not client.get(f"/jobs/{id_}").json()["progress"]["done"]:
        assert time.monotonic() < until
        time.sleep(0.02)


def working(data: Path) -> list[str]:
    """Processes that do the work of the service with these data; services of other tests have their own."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environ = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if b"spatterlib_serve.work" in command and b"TMPDIR=%b/" % bytes(data) in environ:
            found.append(process.name)
    return found


@pytest.mark.slow
def test_a_job_of_a_service_that_was_killed_ends_right_in_the_next(
    start: Callable[..., Any], long_build: Path, build: Path
) -> None:
    first = start()
    running, waiting = send(first.client, long_build), send(first.client, build)
    at_work(first.client, running)
    assert working(first.data)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    upload = first.data / "incoming" / ("0" * 32)
    upload.mkdir()
    (upload / "video").write_bytes(b"half an upload")

    second = start()
    done = second.wait(running)
    own = sp.predict(long_build, "simulated", progress=False).to_dict(rows=False)
    assert done["result"]["layers"] == own["layers"]
    assert {**done["result"]["summary"], "seconds": 0} == {**own["summary"], "seconds": 0}
    second.wait(waiting)
    assert not working(first.data)
    for id_ in (running, waiting):
        assert second.client.delete(f"/jobs/{id_}").status_code == 204
    assert second.left() == []


@pytest.mark.torture
def test_twenty_kills_at_random_moments_of_a_job(start: Callable[..., Any], long_build: Path) -> None:
    own = sp.predict(long_build, "simulated", progress=False).to_dict(rows=False)["layers"]
    moments = random.Random(5)
    for _ in range(20):
        service = start()
        id_ = send(service.client, long_build)
        time.sleep(moments.uniform(0, 2.5))
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        service = start()
        assert service.wait(id_)["result"]["layers"] == own
        assert not working(service.data)
        assert service.client.delete(f"/jobs/{id_}").status_code == 204
        assert service.left() == []
        service.process.terminate()
        service.process.wait()


@pytest.mark.torture
def test_under_load_and_kills_no_answer_is_an_error_but_429_and_all_jobs_end_right(
    start: Callable[..., Any], build: Path, crops: list[bytes]
) -> None:
    """300 requests with crops, 16 at a time, ten videos that wait, and two kills in between."""
    own = sp.predict(build, "simulated", progress=False).to_dict(rows=False)["layers"]
    running = [start()]
    killed, statuses, seconds = threading.Event(), Counter[int](), list[float]()
    jobs = [send(running[0].client, build) for _ in range(10)]

    def ask(number: int) -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until:
            began, asked = time.monotonic(), running[-1]
            try:
                answer = asked.client.post("/classify?model=simulated", content=crops[number % len(crops)])
            except httpx.TransportError:
                # Right only where the service that was asked is gone.
                killed.wait(1)
                assert asked is not running[-1] or asked.process.poll() is not None
                time.sleep(0.1)
                continue
            statuses[answer.status_code] += 1
            seconds.append(time.monotonic() - began)
            if answer.status_code == 200:
                return
            assert answer.status_code == 429, answer.text
            time.sleep(float(answer.headers["Retry-After"]))
        raise AssertionError("no answer")

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, number) for number in range(300)]
        for share in (0.25, 0.6):
            while sum(one.done() for one in asked) < share * len(asked):
                time.sleep(0.02)
            running[-1].process.send_signal(signal.SIGKILL)
            running[-1].process.wait()
            killed.set()
            running.append(start())
            killed.clear()
        for one in asked:
            one.result()
    assert set(statuses) <= {200, 429}
    assert statuses[200] == 300
    assert all(running[-1].wait(id_)["result"]["layers"] == own for id_ in jobs)
    print(dict(statuses), f"p50 {np.quantile(seconds, 0.5):.3f} s, p99 {np.quantile(seconds, 0.99):.3f} s")  # noqa: T201


@pytest.mark.slow
def test_a_service_that_is_asked_to_end_ends_and_its_job_waits(start: Callable[..., Any], long_build: Path) -> None:
    first = start()
    id_ = send(first.client, long_build)
    at_work(first.client, id_)
    assert working(first.data)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) in (0, -signal.SIGTERM)
    assert not working(first.data)
    assert "Traceback" not in first.log.read_text()
    assert first.left() == [f"jobs/{id_}/video"]
    with Jobs(first.data) as jobs:
        assert (jobs[id_].state, jobs[id_].attempts) == ("queued", 0)


def test_a_job_that_is_removed_at_work_is_killed(serve: Callable[..., Any], long_build: Path, build: Path) -> None:
    near = serve()
    running, waiting = send(near.client, long_build), send(near.client, build)
    at_work(near.client, running)
    assert working(near.data)
    assert near.client.delete(f"/jobs/{running}").status_code == 204
    assert near.client.get(f"/jobs/{running}").status_code == 404
    near.wait(waiting)
    assert [name for name in near.left() if running in name] == []
    assert not working(near.data)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"job_seconds": 0.3}, "took longer than 0.3 s"), ({"job_mb": 200}, "memory")],
    ids=["time", "memory"],
)
def test_a_job_that_takes_more_than_it_may_fails_and_the_service_goes_on(
    serve: Callable[..., Any], long_build: Path, settings: dict[str, Any], said: str
) -> None:
    near = serve(**settings | {"job_mb": 0})
    near.service.settings = type(near.service.settings)(**vars(near.service.settings) | settings)
    id_ = send(near.client, long_build)
    job = near.wait(id_, "failed")
    assert said in job["error"]
    assert near.left() == []
    answer = near.client.get(f"/jobs/{id_}/report")
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert job["error"] in answer.json()["detail"]
    assert near.client.get("/readyz").status_code == 200


def test_a_video_that_ends_the_service_each_time_is_given_up(tmp_path: Path) -> None:
    for _ in range(ATTEMPTS):
        with Jobs(tmp_path) as jobs:
            if jobs.count("queued") == 0:
                (jobs.incoming / "a").mkdir()
                (jobs.incoming / "a" / "video").write_bytes(b"video")
                job = jobs.add(jobs.incoming / "a", "a.mp4", {"model": "simulated"}, {}, "a caller")
            assert jobs.take() is not None
    with Jobs(tmp_path) as jobs:
        assert jobs[job.id].state == "failed"
        assert f"ended {ATTEMPTS} times" in str(jobs[job.id].error)
        assert list((tmp_path / "jobs").glob("*/*")) == []


def test_files_without_a_job_are_removed_at_the_start(tmp_path: Path) -> None:
    Jobs(tmp_path).close()
    (tmp_path / "jobs" / "stray").mkdir()
    (tmp_path / "jobs" / "stray" / "video").write_bytes(b"video")
    with Jobs(tmp_path):
        assert list((tmp_path / "jobs").glob("*/*")) == []


@pytest.mark.parametrize("name", ["jobs", "incoming"])
def test_a_folder_with_jobs_of_something_else_is_not_taken(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "melt 7").mkdir(parents=True)
    (tmp_path / name / "melt 7" / "notes.txt").write_text("years of work")
    with pytest.raises(StoreError, match=f"{name} is there already and not of this service; name another folder"):
        Jobs(tmp_path)
    assert (tmp_path / name / "melt 7" / "notes.txt").read_text() == "years of work"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
