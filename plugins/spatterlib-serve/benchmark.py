"""The service under load: ``python plugins/spatterlib-serve/benchmark.py``.

A process with ten videos in its queue answers 200 requests for 16 clients at a time from a second process, on loopback;
once more with nothing in the queue, for comparison. The table is written into docs/service.md.
"""

# ruff: noqa: T201, S603
from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

import spatterlib as sp
from spatterlib.plugins import encode

REQUESTS, TOGETHER, VIDEOS = 200, 16, 10
PAGE = Path(__file__).parents[2] / "docs" / "service.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"


async def ask(url: str, crops: list[bytes]) -> tuple[list[float], Counter[int], float]:
    """Seconds of each answer, how many of each status, seconds of all."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    waiting = iter(range(REQUESTS))
    limits = httpx.Limits(max_connections=TOGETHER)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120) as client:

        async def one_after_the_other() -> None:
            for number in waiting:
                began = time.perf_counter()
                files = [("crops", ("crop.jpg", crops[number % len(crops)]))]
                answer = await client.post("/classify?model=simulated", files=files)
                seconds.append(time.perf_counter() - began)
                statuses[answer.status_code] += 1

        began = time.perf_counter()
        await asyncio.gather(*(one_after_the_other() for _ in range(TOGETHER)))
    return seconds, statuses, time.perf_counter() - began


def line(name: str, found: tuple[list[float], Counter[int], float]) -> str:
    """Of the table."""
    seconds, statuses, total = found
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    codes = ", ".join(f"{count} x {code}" for code, count in sorted(statuses.items()))
    return f"| {name} | {codes} | {REQUESTS / total:.0f} | {p50:.0f} | {p99:.0f} |"


def queue(client: httpx.Client, video: Path) -> list[str]:
    """Send videos until as many wait as should; the first ones are done meanwhile."""
    ids: list[str] = []
    while left(client, ids) < VIDEOS:
        answer = client.post("/predict?model=simulated", content=video.read_bytes())
        ids.append(answer.raise_for_status().json()["id"])
    return ids


def measured(folder: Path) -> list[str]:
    """Lines of the table."""
    video = folder / "build.mp4"
    sp.simulate(video, gas_flow="high", seconds=20, seed=11)
    crops = [encode(crop) for clip, table in sp.detect(video) for crop in clip.crops(table)][:64]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "spatterlib", "serve", "--port", port, "--data", str(folder / "data")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=url, timeout=120, transport=httpx.HTTPTransport(retries=5)) as client:
            while not ready(client):
                time.sleep(0.2)
            alone = asyncio.run(ask(url, crops))
            ids = queue(client, video)
            before = left(client, ids)
            loaded = asyncio.run(ask(url, crops))
            after = left(client, ids)
            while left(client, ids):
                time.sleep(1)
            states = Counter(client.get(f"/jobs/{id_}").json()["state"] for id_ in ids)
    finally:
        process.terminate()
        code = process.wait(60)
    print(f"jobs not done at the end of the requests: {after}; then {dict(states)}; the service ended with {code}")
    return [line("empty", alone), line(f"{before} jobs not done before, {after} behind it", loaded)]


def ready(client: httpx.Client) -> bool:
    """Whether it takes work."""
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def left(client: httpx.Client, ids: list[str]) -> int:
    """How many are not done."""
    return sum(client.get(f"/jobs/{id_}").json()["state"] in ("queued", "running") for id_ in ids)


def main() -> None:
    """Measure, print, write."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        lines = measured(Path(folder))
    head = ["| queue | answers | requests/s | p50 ms | p99 ms |", "|---|---|---|---|---|"]
    note = f"{os.cpu_count()} cores, load average {before:.1f} before it began."
    table = "\n".join([*head, *lines, "", note])
    print(table)
    text = PAGE.read_text(encoding="utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:start]}\n{table}\n{text[end:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
