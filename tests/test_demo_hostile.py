"""Names from outside are text in the demo: a hostile one in each place, in a real browser, and nothing of it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_browser import Server, Watched, needed
from predictions import weights

import spatterlib as sp

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


def test_class_names_are_text_in_a_verdict_and_in_its_report(page: Guarded, tmp_path: Path) -> None:
    page.sample("Low gas flow")
    take_model(page, tmp_path)
    page.page.locator("#model-choice input").input_value()
    page.page.get_by_role("button", name="Give the verdict again").click()
    page.page.locator("#layers th").filter(has_text=HOSTILE).wait_for()
    page.page.locator("#evidence .crop").filter(has_text=HOSTILE).first.click()
    page.page.locator("#verdict-frame figcaption").wait_for()
    page.page.locator("#rejected .crop").first.wait_for()
    with page.page.expect_download() as waiting:
        page.page.locator("#get-report").click()
    waiting.value.save_as(tmp_path / "report.html")
    page.page.goto((tmp_path / "report.html").as_uri())
    page.page.locator("table").filter(has_text=HOSTILE).first.wait_for()


def test_labels_are_text_in_the_montage_the_warnings_and_the_list_to_train_on(page: Guarded) -> None:
    page.sample("Low gas flow")
    page.tab("Dataset")
    page.page.locator("#montage .crop").first.wait_for()
    for label, start, stop in ((HOSTILE, "0", "20"), (f"high {HOSTILE}", "20", "60")):
        page.page.locator("#label input").fill(label)
        page.page.locator("#label input").press("Enter")
        page.page.locator("#range-from input").fill(start)
        page.page.locator("#range-to input").fill(stop)
        page.page.locator("#label-range").click()
        page.page.locator("#dataset-note .note").filter(has_text=f"are now “{label}”").wait_for()
    page.page.locator("#montage .crop").filter(has_text=HOSTILE).first.click()
    page.page.locator("#dataset-report .bars").filter(has_text=f"high {HOSTILE}").wait_for()
    page.page.locator("#dataset-report li").filter(has_text=f"“{HOSTILE}” comes from one recording").wait_for()
    page.tab("Train")
    page.page.locator("#train-stores label").filter(has_text=HOSTILE).wait_for()


def test_the_name_of_a_store_is_text_in_every_tab_that_lists_it(page: Guarded, tmp_path: Path) -> None:
    sp.simulate(tmp_path / "a.mp4", gas_flow="low", seconds=2, seed=3)
    store = tmp_path / f"{HOSTILE}.h5"
    sp.extract(tmp_path / "a.mp4", store, progress=False)
    with sp.open_store(store, "a") as opened:
        opened.set_column("label", np.full(len(opened), f"low {HOSTILE}"))
    page.tab("Dataset")
    page.page.locator("#own-store input[type=file]").set_input_files(store)
    page.page.locator("#dataset-note .note").filter(has_text="crops. Labels you give").wait_for()
    page.page.locator("#montage .keys").filter(has_text=f"low {HOSTILE}").wait_for()
    page.page.locator("#undo").click()
    page.page.locator("#dataset-note .note").filter(has_text="nothing to take back").wait_for()
    page.tab("Layers")
    page.page.locator("#chart").click()
    page.page.locator("#layers-note .note.problem").wait_for()
    page.tab("Train")
    page.page.locator("#train-stores label").filter(has_text=HOSTILE).wait_for()
    page.tab("Model")
    page.page.locator("#inside-crops .crop").nth(1).click()
    page.page.locator("#inside figcaption").first.wait_for()
    page.page.locator("#measure").click()
    page.page.locator("#model-note .note").filter(has_text="this model knows").wait_for()


def test_an_address_with_a_hostile_recording_is_text(page: Guarded) -> None:
    page.page.goto(f"{page.page.url.split('?')[0]}?recording={HOSTILE}&frame={HOSTILE}")
    page.page.locator("#verdict-note .note").filter(has_text=f"no recording “{HOSTILE}”").wait_for()


@pytest.mark.parametrize("place", ["#own-video", "#own-model", "#own-store"])
def test_file_names_are_text_where_a_file_is_refused(page: Guarded, tmp_path: Path, place: str) -> None:
    file = tmp_path / f"{HOSTILE}.mp4"
    file.write_bytes(b"no video, no model, no store")
    if place == "#own-store":
        page.tab("Dataset")
    if place == "#own-model":
        page.page.get_by_role("button", name="What is expected").click()
    page.page.locator(f"{place} input[type=file]").set_input_files(file)
    page.page.locator(".note.problem").wait_for()


def test_what_is_typed_and_the_address_are_text(page: Guarded) -> None:
    page.tab("Tune")
    page.page.locator("#tune-pictures figure").first.wait_for()
    page.page.locator("#a-frame-difference-inset textarea, #a-frame-difference-inset input").first.fill(HOSTILE)
    page.page.locator("#tune-note .note").filter(has_text=f"as JSON, such as [2, 1]; got {HOSTILE}").wait_for()
    page.page.locator("#tune-video input").fill(HOSTILE)
    page.page.keyboard.press("Enter")
    page.page.goto(f"{page.page.url.split('?')[0]}?__theme={HOSTILE}&view={HOSTILE}#{HOSTILE}")
    page.page.get_by_role("button", name="Low gas flow").wait_for()


PLUGIN = f'''
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from spatterlib import hookimpl
from spatterlib.errors import ParameterError

HELP = {{"help": "see [here](javascript:alert(1)) {HOSTILE}"}}


@dataclass(frozen=True)
class Detector:
    """{HOSTILE}"""

    size: int = field(default=3, metadata=HELP)
    text: str = field(default="{HOSTILE}", metadata=HELP)
    on: bool = field(default=True, metadata=HELP)
    choice: Literal["{HOSTILE}", "b"] = field(default="{HOSTILE}", metadata=HELP)
    lead = 0

    def __call__(self, clip):
        raise ParameterError("{HOSTILE} was refused")


@dataclass(frozen=True)
class Filter:
    """{HOSTILE}"""

    least: int = field(default=3, metadata=HELP)

    def __call__(self, table, clip):
        return np.zeros(len(table), bool)


@hookimpl
def spatter_detectors():
    return {{"{HOSTILE}": Detector}}


@hookimpl
def spatter_filters():
    return {{"filter {HOSTILE}": Filter}}
'''


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo beside a package whose plugins have such names, help and errors."""
    folder = tmp_path_factory.mktemp("strange")
    info = folder / "strange-1.dist-info"
    info.mkdir()
    (folder / "strange.py").write_text(PLUGIN, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[spatterlib]\nstrange = strange\n")
    running = Server(folder, plugins="strange")
    yield running
    running.close()


def test_names_help_and_errors_of_plugins_are_text_in_the_tab_tune(strange: Server, chromium: Any) -> None:
    page = Guarded(chromium, strange.url)
    page.tab("Tune")
    page.page.locator("#tune-note .note.problem").filter(has_text=HOSTILE).wait_for()
    assert page.page.locator("[role=tabpanel] .block").filter(has_text="see").filter(has_text=HOSTILE).count() >= 4
    assert page.page.locator("a[href^=javascript]").count() == 0
    page.page.locator("#tune-filters label").filter(has_text=HOSTILE).click()
    page.page.locator("#tune-b input").click()
    page.page.get_by_role("option", name="none").click()
    page.page.locator("#tune-pictures figcaption").filter(has_text=f"dropped by filter {HOSTILE}").wait_for()
    page.page.get_by_role("button", name="Copy these settings").click()
    page.page.locator("#as-toml .cm-content").get_by_text(HOSTILE).first.wait_for()
    page.check()
    page.close()
