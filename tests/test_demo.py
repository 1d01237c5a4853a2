"""The demo's tab Verdict in a real browser: samples, own videos, clicks, downloads, cancel, bad input, strangers."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_browser import Server, Watched, needed
from learning_data import state_dict
from predictions import weights
from state_dicts import save_state_dict

import spatterlib as sp

pytestmark = [pytest.mark.slow, *needed]


def headline(page: Watched) -> str:
    return str(page.page.locator(".headline h2").inner_text())


def note(page: Watched, text: str) -> Any:
    found = page.page.locator("#verdict-note .note").filter(has_text=re.compile(text))
    found.wait_for()
    return found


def own_video(folder: Path, name: str = "my build.mp4", **settings: Any) -> Path:
    path = folder / name
    sp.simulate(path, **{"gas_flow": "low", "seconds": 8, "seed": 3, **settings})
    return path


@pytest.mark.parametrize(
    ("sample", "answer"),
    [
        ("Low gas flow", "looks low"),
        ("High gas flow", "looks high"),
        ("Flow changes half-way", "changes from low to high"),
    ],
)
def test_a_sample_gives_its_verdict_and_says_that_it_is_simulated(page: Watched, sample: str, answer: str) -> None:
    page.sample(sample)
    assert answer in headline(page)
    assert page.page.locator(".headline .mark").count() == 2
    assert page.page.locator("table.layers tbody tr").count() >= 6
    page.page.locator("#rejected .crop").first.wait_for()
    assert "Rejected by filter “area”" in page.page.locator("#rejected").inner_text()
    assert page.page.locator("#evidence h2").all_inner_texts() == ["Surely high", "Surely low", "Least certain"]


def test_a_click_on_the_timeline_and_on_a_crop_shows_that_frame_with_boxes(page: Watched) -> None:
    page.sample("Low gas flow")
    bar = page.page.locator(".timeline .bar").nth(10)
    number = bar.get_attribute("data-frame")
    bar.click()
    page.page.locator("#verdict-frame figcaption").filter(has_text=f"Frame {number},").wait_for()
    assert page.page.locator("#verdict-frame rect.box").count() >= 1
    crop = page.page.locator("#evidence .crop").last
    crop.click()
    page.page.locator("#verdict-frame figcaption").filter(
        has_text=f"Frame {crop.get_attribute('data-pick')},"
    ).wait_for()


def test_the_timeline_zooms_by_button_drag_and_keyboard(page: Watched) -> None:
    page.sample("Low gas flow")
    layers = page.page.locator(".timeline rect.layer")
    assert layers.count() == 6
    page.page.get_by_role("button", name="Zoom in").click()
    assert layers.count() < 6
    page.page.get_by_role("button", name="Show all").click()
    box = page.page.locator(".timeline svg").bounding_box()
    assert box
    page.page.mouse.move(box["x"] + 60, box["y"] + 90)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 160, box["y"] + 90, steps=5)
    page.page.mouse.up()
    assert layers.count() <= 2
    page.page.locator(".timeline svg").press("0")
    assert layers.count() == 6
    page.page.locator(".timeline svg").press("ArrowRight")
    page.page.locator("#verdict-frame figcaption").wait_for()


def test_report_table_and_store_are_downloaded_and_hold_the_verdict(page: Watched, tmp_path: Path) -> None:
    page.sample("Low gas flow")
    kept = {}
    for button, suffix in (("#get-report", ".html"), ("#get-table", ".csv"), ("#get-store", ".h5")):
        with page.page.expect_download() as waiting:
            page.page.locator(button).click()
        kept[suffix] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(kept[suffix])
        assert kept[suffix].suffix == suffix
    with kept[".csv"].open() as file, sp.open_store(kept[".h5"]) as store:
        assert len(list(csv.DictReader(file))) == len(store) > 100
    report = page.context.new_page()
    report.goto(kept[".html"].as_uri())
    assert report.locator("h1").inner_text() == "Low gas flow"
    recording, model = report.locator(".mark").all_inner_texts()
    assert recording.startswith("SIMULATED")
    assert model.startswith("MODEL: learned from simulated recordings only")


def test_an_own_video_is_taken_and_the_expected_class_is_used(page: Watched, tmp_path: Path) -> None:
    page.page.get_by_role("button", name="What is expected").click()
    page.page.get_by_label("high", exact=True).check()
    page.page.locator("#own-video input[type=file]").set_input_files(own_video(tmp_path, seconds=30, preset="easy"))
    page.page.locator(".headline").filter(has_text="my build.mp4").wait_for()
    assert headline(page) == "Gas flow is not what you expect"
    assert page.page.locator(".headline .mark").count() == 2


def test_cancel_stops_and_the_app_goes_on(page: Watched, tmp_path: Path) -> None:
    # 24 flashes in every second frame: some seconds of work, so that a click comes before its end.
    frames = np.zeros((2000, 270, 480), np.uint8)
    for corner in np.ndindex(4, 6):
        y, x = 10 + 64 * corner[0], 10 + 78 * corner[1]
        frames[::2, y : y + 48, x : x + 60] = np.random.default_rng(1).integers(60, 255, (48, 60), np.uint8)
    long = tmp_path / "long.npy"
    np.save(long, frames)
    page.page.locator("#own-video input[type=file]").set_input_files(long)
    page.page.locator(".running").wait_for()
    page.page.locator("#cancel").click()
    note(page, "Cancelled")
    assert page.page.locator("table.layers").count() == 0
    page.sample("Low gas flow")
    assert "looks low" in headline(page)


def test_there_is_a_button_to_cancel_while_there_is_something_to_cancel(page: Watched) -> None:
    assert page.page.locator("#cancel").is_hidden()
    page.sample("Low gas flow")
    page.page.locator("#rejected .crop").first.wait_for()
    page.page.locator("#cancel").wait_for(state="hidden")


def broken(folder: Path) -> Path:
    data = own_video(folder, "whole.mp4", seconds=1).read_bytes()
    path = folder / "broken.mp4"
    path.write_bytes(data[: len(data) // 5])
    return path


def wrong_type(folder: Path) -> Path:
    path = folder / "notes.docx"
    path.write_bytes(b"PK\x03\x04 no video at all")
    return path


def no_bytes(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


@pytest.mark.parametrize("make", [broken, wrong_type, no_bytes])
def test_bad_input_gets_a_friendly_sentence_and_the_app_goes_on(page: Watched, tmp_path: Path, make: Any) -> None:
    path = make(tmp_path)
    page.page.locator("#own-video input[type=file]").set_input_files(path)
    text = note(page, "Take another file|empty").inner_text()
    assert path.name in text
    assert "Traceback" not in text
    assert "/" not in text
    page.sample("Low gas flow")
    assert "looks low" in headline(page)


def test_a_video_without_spatter_says_what_to_do_next(page: Watched, tmp_path: Path) -> None:
    np.save(tmp_path / "dark.npy", np.zeros((20, 120, 160, 3), np.uint8))
    page.page.locator("#own-video input[type=file]").set_input_files(tmp_path / "dark.npy")
    page.page.locator(".headline").filter(has_text="dark.npy").wait_for()
    assert headline(page) == "No verdict"
    assert "lower the threshold" in page.page.locator(".headline").inner_text()


def test_a_model_that_does_not_fit_is_refused_and_another_is_taken(page: Watched, tmp_path: Path) -> None:
    page.sample("Low gas flow")
    page.page.get_by_role("button", name="What is expected").click()
    bad = tmp_path / "weights.safetensors"
    bad.write_bytes(b"not weights")
    page.page.locator("#own-model input[type=file]").set_input_files(bad)
    text = note(page, "the model that was chosen stays").inner_text()
    assert "Traceback" not in text
    page.page.locator("#own-model input[type=file]").set_input_files(weights(tmp_path))
    note(page, "tells .* apart")
    page.page.get_by_role("button", name="Give the verdict again").click()
    page.page.locator(".headline h2").filter(has_not_text="looks low").wait_for()


def test_bare_weights_get_their_classes_from_the_page(page: Watched, tmp_path: Path) -> None:
    page.sample("Low gas flow")
    page.page.get_by_role("button", name="What is expected").click()
    page.page.locator("#own-classes textarea, #own-classes input").fill("dense, thin")
    best = save_state_dict(tmp_path / "best.mdl", state_dict(tanh=True))
    page.page.locator("#own-model input[type=file]").set_input_files(best)
    note(page, "best.mdl tells dense, thin apart")
    page.page.get_by_role("button", name="Give the verdict again").click()
    page.page.locator(".headline h2").filter(has_not_text="looks low").wait_for()
    evidence = page.page.locator("#evidence")
    assert evidence.filter(has_text="thin").count() + evidence.filter(has_text="dense").count()


@pytest.mark.torture
def test_three_browsers_at_once_do_not_mix_results(server: Server, chromium: Any) -> None:
    pages = {name: Watched(chromium, server.url) for name in ("Low gas flow", "High gas flow", "Flow changes half-way")}
    for name, own in pages.items():
        own.page.get_by_role("button", name=name).click()
    for name, own in pages.items():
        own.page.locator(".headline").filter(has_text=name).wait_for()
    answers = {name: headline(own) for name, own in pages.items()}
    for own in pages.values():
        own.page.locator(".timeline .bar").nth(5).click()
        own.page.locator("#verdict-frame rect.box").first.wait_for()
        assert own.errors == []
        own.close()
    assert "looks low" in answers["Low gas flow"]
    assert "looks high" in answers["High gas flow"]
    assert "changes from low to high" in answers["Flow changes half-way"]


def test_no_large_frame_and_no_path_of_anybody_travels(server: Server, chromium: Any, tmp_path: Path) -> None:
    """A 1920x1080 video of another user, and what this page receives meanwhile."""
    stranger, own = Watched(chromium, server.url), Watched(chromium, server.url)
    received: list[Any] = []
    own.page.on("response", lambda response: received.append(response))
    big = own_video(tmp_path, "secret_stranger.mp4", seconds=4, width=1920, height=1080, mm_per_px=0.13)
    stranger.page.locator("#own-video input[type=file]").set_input_files(big)
    own.page.locator("#own-video input[type=file]").set_input_files(
        own_video(tmp_path, "mine.mp4", width=1920, height=1080, mm_per_px=0.13)
    )
    for page_, name in ((stranger, "secret_stranger.mp4"), (own, "mine.mp4")):
        page_.page.locator(".headline").filter(has_text=name).wait_for()
    own.page.locator(".timeline .bar").first.click()
    image = own.page.locator("#verdict-frame image")
    image.wait_for()
    data = image.get_attribute("href") or ""
    size = own.page.evaluate(
        "u => { const i = new Image(); i.src = u; return i.decode().then(() => [i.naturalWidth, i.naturalHeight]) }",
        data,
    )
    assert max(size) <= 960
    html = own.page.content()
    assert "secret_stranger" not in html
    assert str(server.folder) not in own.page.locator("main").inner_text()
    videos = [path for path in server.folder.rglob("secret_stranger.mp4") if path.is_file()]
    assert videos
    for path in (*videos, server.log):
        assert not own.page.request.get(f"{server.url}/gradio_api/file={path}").ok
    with own.page.expect_download() as waiting:
        own.page.locator("#get-report").click()
    waiting.value.save_as(tmp_path / "report.html")
    assert str(server.folder) not in (tmp_path / "report.html").read_text()
    for response in received:
        if response.ok and "json" in response.headers.get("content-type", ""):
            assert "secret_stranger" not in json.dumps(response.json())
    stranger.close()
    own.close()


@pytest.mark.torture
def test_memory_after_fifty_runs_is_that_after_five(server: Server, chromium: Any) -> None:
    own = Watched(chromium, server.url)
    names = ("Low gas flow", "High gas flow", "Flow changes half-way")
    held = []
    for run in range(50):
        own.sample(names[run % 3])
        own.page.locator("#rejected .crop").first.wait_for()
        own.page.locator(".timeline .bar").nth(run % 9).click()
        own.page.locator("#verdict-frame svg").wait_for()
        held.append(server.memory())
    assert held[-1] - held[4] < 200e6, [round(size / 1e6) for size in held]
    assert own.errors == []
    own.close()


@pytest.mark.torture
def test_a_closed_page_leaves_no_files(server: Server, chromium: Any) -> None:
    own = Watched(chromium, server.url)
    own.sample("Low gas flow")
    place = next(server.folder.glob("spatterlib-demo-*"))
    before = {path for path in place.iterdir() if path.is_dir() and path.name != "uploads"}
    own.close()
    for _ in range(300):
        if len([path for path in before if path.exists()]) < len(before):
            return
        time.sleep(0.5)
    raise AssertionError(f"still there: {before}")
