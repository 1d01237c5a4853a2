# ruff: noqa: S101, S603
"""A simulated build, a longer one, and services to send them to: in this process, or in one of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

import spatterlib as sp
from spatterlib.plugins import encode

os.environ.setdefault("NUMBA_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a simulated build."""
    path = tmp_path_factory.mktemp("build") / "build.mp4"
    sp.simulate(path, gas_flow="high", seconds=3, seed=7)
    return path


@pytest.fixture(scope="session")
def long_build(build: Path) -> Path:
    """The same, many times over: a job of some seconds."""
    path = build.with_name("long.mp4")
    with av.open(str(path), "w") as out:
        with av.open(str(build)) as source:
            stream = out.add_stream_from_template(source.streams.video[0])
        offset = 0
        for _ in range(24):
            with av.open(str(build)) as source:
                packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
                for packet in packets:
                    packet.pts, packet.dts = (packet.pts or 0) + offset, (packet.dts or 0) + offset
                    packet.stream = stream
                    out.mux(packet)
                offset += sum(packet.duration or 0 for packet in packets)
    return path


@pytest.fixture(scope="session")
def crops(build: Path) -> list[bytes]:
    """Encoded crops of the build."""
    found = [crop for clip, table in sp.detect(build) for crop in clip.crops(table)]
    return [encode(crop) for crop in found[:12]]


def left(folder: Path) -> list[str]:
    """Files that are not the table of jobs itself."""
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in files if not name.startswith(("jobs.sqlite3", ".lock")))


@dataclass
class Near:
    """A service in this process."""

    client: TestClient
    data: Path
    models: Path
    service: Any

    def left(self) -> list[str]:
        """Its files."""
        return left(self.data)

    def wait(self, id_: str, state: str = "done") -> dict[str, Any]:
        """A job, once it is in a state."""
        return wait(self.client, id_, state)


def wait(client: Any, id_: str, state: str, seconds: float = 120) -> dict[str, Any]:
    """Ask until a job is in a state."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job: dict[str, Any] = client.get(f"/jobs/{id_}").json()
        if job["state"] == state:
            return job
        assert job["state"] not in ("done", "failed"), job["error"] or job["state"]
        time.sleep(0.05)
    raise AssertionError(f"the job is not {state}: {job}")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Near]]:
    """Start a service in this process with some settings."""
    with ExitStack() as stack:
        yield lambda **settings: started(stack, tmp_path, **settings)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Near]:
    """One for all tests of a module."""
    with ExitStack() as stack:
        yield started(stack, tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def keyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Near]:
    """One with the keys of a module, for all its tests."""
    with ExitStack() as stack:
        yield started(stack, tmp_path_factory.mktemp("keyed"), keys=request.module.KEYS)


def started(stack: ExitStack, folder: Path, **settings: Any) -> Near:
    """Start a service and wait until it is ready."""
    from spatterlib_serve.app import create_app
    from spatterlib_serve.settings import Settings

    given = {"data": folder / "data", "models": folder / "models", "free_mb": 0.0} | settings
    app = create_app(Settings(**given))
    client = stack.enter_context(TestClient(app, "http://127.0.0.1", raise_server_exceptions=False))
    until = time.monotonic() + 60
    while app.state.service.problem and time.monotonic() < until:
        time.sleep(0.05)
    return Near(client, given["data"], given["models"], app.state.service)


@dataclass
class Apart:
    """A service in a process of its own, as `spatterlib serve` starts it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    data: Path
    log: Path

    def left(self) -> list[str]:
        """Its files."""
        return left(self.data)

    def wait(self, id_: str, state: str = "done") -> dict[str, Any]:
        """A job, once it is in a state."""
        return wait(self.client, id_, state)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Apart]]:
    """Start `spatterlib serve` with options; ended with the test."""
    with ExitStack() as stack:
        yield lambda *options: _spawned(stack, tmp_path, *options)


def _spawned(stack: ExitStack, folder: Path, *options: str) -> Apart:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "spatterlib", "serve", "--port", str(port), "--free-mb", "0"]
    log = stack.enter_context((folder / "log").open("ab"))
    process = subprocess.Popen(
        [*command, "--data", str(folder / "data"), "--models", str(folder / "models"), *options],
        env=os.environ | {"SPATTERLIB_PLUGINS": "spatterlib-serve"},
        stdout=log,
        stderr=log,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            client.get("/healthz")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    return Apart(process, client, folder / "data", folder / "log")


@pytest.fixture
def dark() -> bytes:
    """A crop with nothing in it."""
    return encode(np.full((40, 50, 3), 3, np.uint8))
