"""The demo as its users have it: the command `spatterlib demo` in a process of its own, and a real Chromium."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT = 60_000
"""Ms that a test waits for anything: machines are busy."""

needed = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(find_spec("gradio") is None, reason="the extra demo is not installed"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="Playwright is not installed"),
]


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


class Server:
    """The running command."""

    def __init__(self, folder: Path, *, plugins: str = "", port: int = 0, options: tuple[str, ...] = ()) -> None:
        """`plugins` of SPATTERLIB_PLUGINS; packages that lie in `folder` are found too."""
        port = port or free_port()
        environment = {**os.environ, "TMPDIR": str(folder), "SPATTERLIB_PLUGINS": plugins, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(folder)
        self.folder, self.port, self.url, self.log = folder, port, f"http://127.0.0.1:{port}", folder / "log.txt"
        command = [sys.executable, "-m", "spatterlib", "demo", "--port", str(port), "--no-browser"]
        command += ["--projects", str(folder / "projects"), *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            if self.url in self.log.read_text():
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def memory(self) -> int:
        """Bytes that the process holds."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", text)
        assert found
        return int(found[1]) * 1024

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("demo"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page whose console and whose traffic are kept."""

    def __init__(self, browser: Any, url: str, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.errors: list[str] = []
        self.received: list[str] = []
        self.page.on("console", lambda message: self._heard(message))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.get_by_role("button", name="Low gas flow").wait_for()

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.type}: {message.text}")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def sample(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()
        self.page.locator(".headline").filter(has_text=name).wait_for()

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def page(server: Server, chromium: Any) -> Iterator[Watched]:
    """A fresh page; nothing may have gone wrong in it by the end."""
    watched = Watched(chromium, server.url)
    yield watched
    errors = watched.errors
    watched.close()
    assert errors == [], errors
