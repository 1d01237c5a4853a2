"""Names from outside are text in the demo: a hostile one in each place, in a real browser, and nothing of it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_browser import Server, Watched, needed
from predictions import weights

pytestmark = [pytest.mark.slow, *needed]

HOSTILE = "<img src=hurt onerror=alert(1)>"
"""Shown as text it does nothing; as HTML it makes an element, asks for `hurt`, and opens a dialog."""


class Guarded(Watched):
    """A page that keeps what a hostile name did: dialogs and requests."""

    def __init__(self, browser: Any, url: str) -> None:
        super().__init__(browser, url)
        self.did: list[str] = []
        self.page.on("dialog", self._opened)
        self.page.on("request", self._asked)

    def _opened(self, dialog: Any) -> None:
        self.did.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Any) -> None:
        self.did += [request.url] if request.url.endswith("/hurt") else []

    def check(self) -> None:
        """Nothing ran, nothing was asked for, nothing but text was made of the name."""
        self.page.wait_for_timeout(200)
        assert self.did == []
        assert self.page.locator("img[src=hurt]").count() == 0


@pytest.fixture
def page(server: Server, chromium: Any) -> Iterator[Guarded]:
    guarded = Guarded(chromium, server.url)
    yield guarded
    guarded.check()
    guarded.close()


def take_model(page: Guarded, folder: Path) -> None:
    """Upload a model whose classes have the name."""
    page.page.get_by_role("button", name="What is expected").click()
    hostile = weights(folder, 1, (HOSTILE, f"high {HOSTILE}"))
    page.page.locator("#own-model input[type=file]").set_input_files(hostile)
    page.page.locator("#verdict-note .note").filter(has_text=HOSTILE).wait_for()


def test_class_names_of_a_model_are_text_in_the_tab_model(page: Guarded, tmp_path: Path) -> None:
    page.sample("Low gas flow")
    take_model(page, tmp_path)
    page.tab("Model")
    page.page.locator("#inside-model input").click()
    page.page.get_by_role("option", name="weights.safetensors").click()
    page.page.locator("#inside-crops .crop").filter(has_text=HOSTILE).nth(1).click()
    page.page.locator("#inside figcaption").filter(has_text=f"{HOSTILE} 0.50").wait_for()
    page.page.locator("#measure").click()
    page.page.locator("#model-note .note").filter(has_text=f"this model knows ({HOSTILE}").wait_for()
