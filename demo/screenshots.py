"""Screenshots of every tab for the documentation: ``python demo/screenshots.py docs/images``.

Needs the extra ``demo``, Playwright, and Debian's Chromium; the command ``spatterlib demo`` is started and stopped.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1280, "height": 800}
WAIT = 240_000


def main(folder: Path) -> None:
    """Start the demo, walk through it, save a picture of each tab."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    command = [sys.executable, "-m", "spatterlib", "demo", "--port", str(port), "--no-browser"]
    server = subprocess.Popen(command)  # noqa: S603 - our own command
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
            page.set_default_timeout(WAIT)
            _open(page, f"http://127.0.0.1:{port}")
            for name, walk in WALKS.items():
                walk(page)
                page.wait_for_timeout(1200)
                page.evaluate("scrollTo(0, 0)")
                _save(page, folder / f"demo_{name}.png")
            page.emulate_media(color_scheme="dark")
            page.set_viewport_size({"width": 390, "height": 844})
            _open(page, f"http://127.0.0.1:{port}")
            _verdict(page)
            page.locator("#headline").scroll_into_view_if_needed()
            page.evaluate("scrollTo(0, document.getElementById('headline').getBoundingClientRect().top + scrollY - 12)")
            _save(page, folder / "demo_phone.png")
    finally:
        server.terminate()
        server.wait()


def _open(page: Page, url: str) -> None:
    for _ in range(300):
        try:
            page.goto(url)
            break
        except Exception:
            time.sleep(0.2)
    page.get_by_role("button", name="Low gas flow").wait_for()


def _tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def _verdict(page: Page) -> None:
    page.get_by_role("button", name="Flow changes half-way").click()
    page.locator("#rejected .crop").first.wait_for()


def _tune(page: Page) -> None:
    _tab(page, "Tune")
    page.locator("#tune-pictures rect.box").first.wait_for()


def _dataset(page: Page) -> None:
    _tab(page, "Dataset")
    page.locator("#practice").click()
    page.locator("#dataset-note").get_by_text("are here, labelled").wait_for()


def _train(page: Page) -> None:
    _tab(page, "Train")
    page.locator("#train-stores input").first.wait_for()
    page.locator("#train").click()
    page.locator("#train-result table").wait_for()


def _model(page: Page) -> None:
    _tab(page, "Model")
    page.locator("#inside-crops .crop").nth(4).click()
    page.locator("#inside .heat").first.wait_for()


WALKS: dict[str, Any] = {"verdict": _verdict, "tune": _tune, "dataset": _dataset, "train": _train, "model": _model}


def _save(page: Page, path: Path) -> None:
    """Few colours are enough, and a third of the bytes."""
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(192).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
