"""The demo's projects, player and labelling by key, in a real browser: what is made stays, and comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from demo_browser import Server, Watched, needed

import spatterlib as sp

pytestmark = [pytest.mark.slow, *needed]


def caption(page: Watched) -> Any:
    return page.page.locator("#verdict-frame figcaption")


def frame_of(page: Watched) -> int:
    return int(re.findall(r"Frame (\d+)", caption(page).inner_text())[0])


def said(page: Watched, place: str, text: str) -> None:
    page.page.locator(f"{place} .note").filter(has_text=re.compile(text)).wait_for()


def restart(server: Server) -> Server:
    """Another process at the same address, with the same projects."""
    return Server(server.folder, port=server.port)


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that a test may end."""
    running = Server(tmp_path_factory.mktemp("own"))
    yield running
    running.close()


def test_a_project_survives_a_reload_and_another_server_and_a_page_without_one_says_so(
    own: Server, chromium: Any
) -> None:
    page = Watched(chromium, own.url)
    page.sample("Low gas flow")
    page.page.locator("#rejected .crop").first.wait_for()
    page.tab("Dataset")
    page.page.locator("#montage .crop").nth(3).click()
    page.page.locator("#montage .crop[aria-pressed=true]").wait_for()
    page.page.keyboard.press("1")
    said(page, "#dataset-note", "1 crops .* are now “low”")
    page.page.reload()
    page.page.locator(".headline").filter(has_text="Low gas flow").wait_for()
    own.close()
    page.page.locator("#gone").wait_for()
    assert page.page.locator("body.stale").count() == 1
    again = restart(own)
    page.page.locator("#gone").wait_for(state="detached")
    page.page.locator(".headline").filter(has_text="Low gas flow").wait_for()
    page.tab("Dataset")
    page.page.locator("#montage .crop").filter(has_text="low").first.wait_for()
    page.page.locator("#undo").click()
    said(page, "#dataset-note", "Taken back: 1 crops")
    again.close()
    page.close()


def test_pages_of_one_browser_share_a_project_and_another_browser_has_its_own(server: Server, chromium: Any) -> None:
    first, stranger = Watched(chromium, server.url), Watched(chromium, server.url)
    first.sample("High gas flow")
    second = first.context.new_page()
    second.goto(server.url)
    second.locator(".headline").filter(has_text="High gas flow").wait_for(timeout=60_000)
    stranger.page.reload()
    stranger.page.get_by_role("button", name="Low gas flow").wait_for()
    stranger.tab("Dataset")
    said(stranger, "#dataset-note", "No store yet")
    first.close()
    stranger.close()


def test_an_address_opens_a_recording_at_a_frame_and_holds_no_path(server: Server, chromium: Any) -> None:
    page = Watched(chromium, server.url)
    page.page.goto(f"{server.url}/?recording=Low gas flow&frame=75")
    caption(page).filter(has_text="Frame 75,").wait_for()
    page.page.goto(f"{server.url}/?recording=../../etc/passwd&frame=x")
    said(page, "#verdict-note", "There is no recording “../../etc/passwd” in your project")
    page.close()


def test_the_player_steps_jumps_and_runs_by_keys_where_one_looks(page: Watched) -> None:
    page.sample("Low gas flow")
    page.page.locator("#rejected .crop").first.wait_for()
    page.page.locator("#rejected .crop").first.click()
    caption(page).wait_for()
    page.page.wait_for_function(
        "() => { const it = document.querySelector('#verdict-frame svg').getBoundingClientRect();"
        " return it.top >= 0 && it.bottom <= innerHeight; }"
    )
    at = frame_of(page)
    page.page.keyboard.press("ArrowRight")
    caption(page).filter(has_text=f"Frame {at + 1},").wait_for()
    page.page.keyboard.press("n")
    caption(page).filter(has_not_text=f"Frame {at + 1},").wait_for()
    at = frame_of(page)
    page.page.keyboard.press("Space")
    page.page.wait_for_function(
        "at => +document.querySelector('#verdict-frame figcaption').textContent.match(/[0-9]+/)[0] > at + 5", arg=at
    )
    page.page.keyboard.press("k")
    page.page.locator("#verdict-frame .toggle").filter(has_text="play").wait_for()
    at = frame_of(page)
    page.page.keyboard.press("j")
    page.page.wait_for_function(
        "at => +document.querySelector('#verdict-frame figcaption').textContent.match(/[0-9]+/)[0] < at - 3", arg=at
    )
    page.page.keyboard.press("k")


def test_labels_are_given_by_keys_and_no_label_is_lost(page: Watched, tmp_path: Path) -> None:
    page.sample("Low gas flow")
    page.tab("Dataset")
    crops, marked = page.page.locator("#montage .crop"), page.page.locator("#montage .crop[aria-pressed=true]")
    crops.nth(2).click()
    marked.wait_for()
    crops.nth(6).click(modifiers=["Shift"])
    marked.nth(4).wait_for()
    page.page.keyboard.press("2")
    said(page, "#dataset-note", "5 crops .* are now “high”")
    crops.nth(2).click()
    marked.wait_for()
    page.page.keyboard.press("1")
    said(page, "#dataset-note", "No label .* was changed; 1 kept the label that they had")
    page.page.keyboard.press("z")
    said(page, "#dataset-note", "Taken back: 5 crops")
    page.page.keyboard.press("u")
    said(page, "#dataset-note", "least sure of crop")
    marked.wait_for()
    page.page.keyboard.press("1")
    said(page, "#dataset-note", "1 crops .* are now “low”")
    page.page.get_by_role("button", name="Take labels out, or in").click()
    page.page.locator("#prepare-labelled").click()
    with page.page.expect_download() as waiting:
        page.page.locator("#get-labels").click()
    waiting.value.save_as(tmp_path / "labels.csv")
    text = (tmp_path / "labels.csv").read_text()
    assert text.count(",low") == 1
    page.page.locator("#undo").click()
    said(page, "#dataset-note", "Taken back: 1 crops")
    page.page.locator("#own-labels input[type=file]").set_input_files(tmp_path / "labels.csv")
    said(page, "#dataset-note", "1 labels were taken")


def test_a_model_is_downloaded_and_taken_back(page: Watched, tmp_path: Path) -> None:
    page.tab("Model")
    page.page.locator("#prepare-model").click()
    with page.page.expect_download() as waiting:
        page.page.locator("#get-model").click()
    waiting.value.save_as(tmp_path / "mine.zip")
    page.tab("Verdict")
    page.page.get_by_role("button", name="What is expected").click()
    page.page.locator("#own-model input[type=file]").set_input_files(tmp_path / "mine.zip")
    said(page, "#verdict-note", "The model mine.zip tells high, low apart")


def test_with_users_nobody_gets_in_without_a_password(tmp_path: Path, chromium: Any) -> None:
    (tmp_path / "users").write_text("ann:password1\n")
    running = Server(tmp_path, options=("--users", str(tmp_path / "users")))
    context = chromium.new_context()
    page = context.new_page()
    page.goto(running.url)
    page.get_by_label("username").wait_for()
    assert page.get_by_role("button", name="Low gas flow").count() == 0
    assert page.request.get(f"{running.url}/config").status == 401
    assert page.request.post(f"{running.url}/gradio_api/queue/join", data={}).status == 401
    page.get_by_label("username").fill("ann")
    page.get_by_label("password").fill("password1")
    page.get_by_role("button", name="Login").click()
    page.get_by_role("button", name="Low gas flow").wait_for()
    context.close()
    running.close()


class TestWithoutABrowser:
    """What labels and models do on disk."""

    @pytest.fixture
    def session(self, tmp_path: Path) -> Any:
        from spatterlib_demo import projects, sessions

        projects.place_projects(tmp_path / "projects")
        projects._projects.clear()
        (tmp_path / "page").mkdir()
        made = sessions.Session(projects.opened("user ann"), tmp_path / "page")
        sp.simulate(tmp_path / "a.mp4", gas_flow="low", seconds=2, seed=3)
        sp.extract(tmp_path / "a.mp4", made.project.folder / "a.h5", progress=False)
        made.add("stores", "a.h5", made.project.folder / "a.h5")
        return made

    def test_what_was_labelled_is_taken_back_step_by_step_by_another_process_too(self, session: Any) -> None:
        import numpy as np
        from spatterlib_demo import labelling, labels, projects

        def names() -> list[str]:
            with sp.open_store(session.stores["a.h5"]) as store:
                return [str(name) for name in labels.labels_of(store)]

        before = names()
        assert labelling.give(session, "a.h5", np.arange(4), "low", change=False) == (4, 0)
        assert labelling.give(session, "a.h5", np.arange(6), "high", change=False) == (2, 4)
        assert labelling.give(session, "a.h5", np.arange(6), "high", change=True) == (4, 0)
        projects._projects.clear()
        session.project = projects.opened("user ann")
        assert [labelling.undo(session) for _ in range(3)] == [("a.h5", 4), ("a.h5", 2), ("a.h5", 4)]
        assert labelling.undo(session) is None
        assert names() == before

    @pytest.mark.parametrize(
        "text",
        ["", "row,label\n0,low\n", "row,frame,x,y,label\n0,1,2,3,low\n", "\x00", "row,frame,x,y,label\n-1,0,0,0,a"],
    )
    def test_a_table_of_another_store_or_of_something_else_changes_nothing(
        self, session: Any, tmp_path: Path, text: str
    ) -> None:
        from spatterlib_demo import labelling, labels

        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(sp.errors.StoreError):
            labelling.from_table(session, "a.h5", tmp_path / "labels.csv", change=True)
        assert labels.counts_of(session.stores["a.h5"]) == {}

    @pytest.mark.parametrize("name", ["../../out.json", "/out.json", "folder/model.json"])
    def test_a_zip_that_names_other_places_writes_nothing_there(self, session: Any, tmp_path: Path, name: str) -> None:
        import zipfile

        from spatterlib_demo import models

        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
            packed.writestr(name, "{}")
        taken = session.take(tmp_path / "evil.zip", "runs")
        with pytest.raises(sp.errors.SpatterlibError):
            models.taken(session, taken, models.BY_FILE, [])
        assert not list(tmp_path.rglob("out.json"))
        assert not Path("/out.json").exists()
