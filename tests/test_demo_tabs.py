"""The demo's tabs Tune, Dataset, Train and Model in a real browser, and how all of them read."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from demo_browser import Server, Watched, needed

import spatterlib as sp

pytestmark = [pytest.mark.slow, *needed]
DEMO = Path(__file__).parents[1] / "demo" / "spatterlib_demo"
TABS = ("Verdict", "Tune", "Dataset", "Layers", "Train", "Model")


def note(page: Watched, place: str, text: str) -> None:
    page.page.locator(f"{place} .note").filter(has_text=re.compile(text)).wait_for()


def set_slider(page: Watched, name: str, value: float) -> None:
    number = page.page.locator(f"#{name} input[type=number]")
    held = "([place, value]) => [...document.querySelectorAll(`#${place} input`)].every(it => +it.value === value)"
    # A group that is still opening drops what is typed into it; a person would see that and type again.
    for _ in range(20):
        number.fill(str(value))
        number.press("Enter")
        number.blur()
        page.page.wait_for_timeout(300)
        if page.page.evaluate(held, [name, value]):
            return
    raise AssertionError(f"the slider {name} does not take {value}")


def caption(page: Watched, text: str) -> None:
    page.page.locator("#tune-pictures figure[data-side=A] figcaption").filter(has_text=text).wait_for()


@pytest.fixture
def tune(page: Watched) -> Watched:
    page.tab("Tune")
    page.page.locator("#tune-pictures figure").first.wait_for()
    return page


def test_a_change_of_a_slider_changes_the_boxes_and_says_which_filter_dropped_what(tune: Watched) -> None:
    caption(tune, "1 of 1 boxes stay")
    assert tune.page.locator("[data-side=A] rect.kept").count() == 1
    set_slider(tune, "f-area-max_area", 2000)
    caption(tune, "0 of 1 boxes stay; 1 dropped by area")
    set_slider(tune, "f-area-max_area", 15_000)
    caption(tune, "1 of 1 boxes stay")
    set_slider(tune, "a-frame-difference-threshold", 200)
    tune.page.locator("[data-side=A] figcaption").filter(has_not_text="of 1 boxes").wait_for()


def test_difference_and_mask_are_shown_as_the_detector_sees_them(tune: Watched) -> None:
    pictures = set()
    for view in ("Frame and boxes", "Difference", "Mask"):
        tune.page.get_by_role("radio", name=view).check()
        tune.page.locator(f'#tune-pictures svg[aria-label^="{view} of frame 60"]').first.wait_for()
        pictures.add(tune.page.locator("#tune-pictures image").first.get_attribute("href"))
    assert len(pictures) == 3


def test_a_parameter_that_is_refused_is_told_and_the_app_goes_on(tune: Watched) -> None:
    tune.page.locator("#a-frame-difference-inset textarea, #a-frame-difference-inset input").first.fill("[2")
    note(tune, "#tune-note", "must be written as JSON")
    tune.page.locator("#a-frame-difference-inset textarea, #a-frame-difference-inset input").first.fill("[3, 3]")
    tune.page.locator("#tune-note .note").wait_for(state="detached")


def test_a_number_that_is_emptied_counts_as_the_one_it_began_with(tune: Watched) -> None:
    set_slider(tune, "a-frame-difference-threshold", 200)
    tune.page.locator("[data-side=A] figcaption").filter(has_not_text="of 1 boxes").wait_for()
    number = tune.page.locator("#a-frame-difference-threshold input[type=number]")
    number.fill("")
    number.press("Enter")
    caption(tune, "1 of 1 boxes stay")


@pytest.mark.parametrize("tab", ["Layers", "Train", "Dataset"])
def test_where_nothing_runs_there_is_nothing_to_cancel(page: Watched, tab: str) -> None:
    page.tab(tab)
    page.page.locator(f"#{tab.lower()}-note .note").wait_for()
    assert page.page.locator(f"#{tab.lower()}-cancel").is_hidden()


def test_the_tab_model_says_what_to_do_first_and_goes_on_saying_it(page: Watched) -> None:
    page.tab("Model")
    note(page, "#model-note", "No crops yet: take a sample in the tab Verdict first")
    page.page.wait_for_timeout(1500)
    assert page.page.locator("#model-note .note").count() == 1


def test_settings_are_copied_as_command_python_and_toml_that_mean_the_same(tune: Watched, tmp_path: Path) -> None:
    set_slider(tune, "a-frame-difference-threshold", 33)
    set_slider(tune, "f-area-min_area", 700)
    tune.page.get_by_role("button", name="Copy these settings").click()
    tune.page.locator("#as-command").get_by_text("700").wait_for()
    command, script, config = (
        tune.page.locator(f"#as-{name} .cm-content").inner_text() for name in ("command", "python", "toml")
    )
    assert "--threshold 33 --min-area 700" in command
    assert tomllib.loads(config)["extract"] == {
        "detector": {"id": "frame-difference", "threshold": 33},
        "filters": [{"id": "area", "min_area": 700}, {"id": "blue"}, {"id": "black"}],
    }
    call = ast.parse(script).body[-1].value
    made = {item.arg: eval(ast.unparse(item.value), {"sp": sp}) for item in call.keywords}
    assert made["detector"] == sp.make("detector", "frame-difference", threshold=33)
    assert made["filters"][0] == sp.make("filter", "area", min_area=700)


def test_controls_are_made_of_every_plugin_that_is_installed(tune: Watched) -> None:
    import dataclasses

    for item in dataclasses.fields(sp.catalog().detectors["frame-difference"]):
        assert tune.page.locator(f"#a-frame-difference-{item.name}").is_visible()
        assert item.metadata["help"] in tune.page.locator(f"#a-frame-difference-{item.name}").inner_text()


def test_a_range_and_clicked_crops_are_labelled_and_saved_as_a_column(page: Watched, tmp_path: Path) -> None:
    page.sample("Low gas flow")
    page.tab("Dataset")
    page.page.locator("#montage .crop").first.wait_for()
    page.page.locator("#range-from input").fill("0")
    page.page.locator("#range-to input").fill("20")
    page.page.locator("#label-range").click()
    note(page, "#dataset-note", "are now “low”; saved")
    page.page.locator("#label input").fill("odd")
    page.page.locator("#label input").press("Enter")
    page.page.locator("#montage .crop").nth(2).click()
    page.page.locator("#montage .crop[aria-pressed=true]").wait_for()
    page.page.locator("#label-marked").click()
    note(page, "#dataset-note", "No label of .* was changed; 1 kept the label that they had")
    page.page.get_by_label("Change labels that are there").check()
    page.page.locator("#montage .crop").nth(2).click()
    page.page.locator("#montage .crop[aria-pressed=true]").wait_for()
    page.page.locator("#label-marked").click()
    note(page, "#dataset-note", "1 crops .* are now “odd”")
    page.page.get_by_role("button", name="Take labels out, or in").click()
    page.page.locator("#prepare-labelled").click()
    with page.page.expect_download() as waiting:
        page.page.locator("#get-labelled").click()
    waiting.value.save_as(tmp_path / "labelled.h5")
    with sp.open_store(tmp_path / "labelled.h5") as store:
        labels, times = store.column("label"), store.table["time"]
        assert labels[2] == "odd"
        assert (labels[(times < 20) & (labels != "odd")] == "low").all()
        assert (labels[times >= 20] == "").all()


def test_crops_are_filtered_by_column(page: Watched) -> None:
    page.sample("Low gas flow")
    page.tab("Dataset")
    page.page.locator("#montage .crop").first.wait_for()
    shown = page.page.locator("#montage p[role=status]")
    before = shown.inner_text()
    page.page.locator("#column-from textarea, #column-from input").first.fill("254")
    shown.filter(has_not_text=before.split(",")[0]).wait_for()
    assert int(shown.inner_text().split()[0].replace(",", "")) < int(before.split()[0].replace(",", ""))


@pytest.mark.torture
def test_layers_of_a_build_that_changes_raise_alarms(page: Watched) -> None:
    page.page.set_default_timeout(300_000)
    page.tab("Layers")
    note(page, "#layers-note", "No store yet")
    page.page.locator("#make-build").focus()
    page.page.keyboard.press("Enter")
    note(page, "#layers-note", "behind layer 48 the gas flow falls")
    page.page.locator("#chart").click()
    headline = page.page.locator("#layers-result .headline").filter(has_text="build-that-changes.h5")
    headline.wait_for()
    alarms, layers = map(int, re.findall(r"(\d+) of (\d+) layers", headline.inner_text())[0])
    assert (0 < alarms <= 8, layers) == (True, 16)
    assert "SIMULATED" in headline.inner_text()
    said = page.page.locator("#layers-result li").all_inner_texts()
    assert said
    assert all(int(text.split()[1].rstrip(":")) > 48 for text in said), said
    assert page.page.locator("#layers-result img.charts").evaluate("it => it.complete && it.naturalWidth > 300")
    page.page.set_viewport_size({"width": 390, "height": 844})
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    page.page.get_by_role("button", name="Camera, if known").click()
    page.page.locator("#chart-scale textarea, #chart-scale input").first.fill("wide")
    page.page.locator("#chart").click()
    note(page, "#layers-note", "must be a number")


@pytest.mark.torture
@pytest.mark.torch
def test_practice_recordings_train_an_epoch_and_the_model_can_be_used_and_looked_into(page: Watched) -> None:
    pytest.importorskip("torch")
    page.page.set_default_timeout(900_000)
    page.tab("Dataset")
    page.page.locator("#practice").click()
    note(page, "#dataset-note", "28 simulated stores are here")
    page.page.locator("#dataset-report").get_by_text("Every recording has one label").wait_for()
    page.tab("Train")
    page.page.locator("#train-stores input").nth(27).wait_for()
    page.page.get_by_role("button", name="Settings of the network").click()
    set_slider(page, "c-lenet5-epochs", 1)
    page.page.locator("#train").click()
    page.page.locator("#train-result table").wait_for()
    text = page.page.locator("#train-result").inner_text()
    assert "random split" in text
    assert "grouped split" in text
    assert "SIMULATED" in text
    assert page.page.locator("#curves svg .dot").count() == 4
    page.tab("Model")
    page.page.locator("#inside-crops .crop").first.wait_for()
    page.page.locator("#inside-model input").click()
    page.page.get_by_role("option", name="lenet5 1").click()
    page.page.locator("#inside-crops .crop").nth(1).click()
    page.page.locator("#inside .heat").first.wait_for()
    assert page.page.locator("#inside .heat").count() == 81
    page.page.locator("#measure").click()
    page.page.locator("#model-report svg .dot").first.wait_for()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "light"), (390, 844, "dark")])
def test_every_tab_is_accessible_and_fits(server: Server, chromium: Any, width: int, height: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    own = Watched(chromium, server.url, width, height, scheme)
    assert own.page.get_by_role("button", name="Flow changes half-way").bounding_box()["y"] < height - 60
    own.sample("Flow changes half-way")
    if width > 1000:
        assert own.page.locator("table.layers").bounding_box()["y"] < height
    own.page.locator(".timeline .bar").nth(3).click()
    own.page.locator("#verdict-frame svg").wait_for()
    for tab in TABS:
        own.tab(tab)
        own.page.wait_for_timeout(800)
        found = axe.run(own.page).response["violations"]
        bad = [(item["id"], item["nodes"][0]["html"]) for item in found if item["impact"] in ("serious", "critical")]
        assert bad == [], tab
        assert own.page.evaluate("document.documentElement.scrollWidth") <= width
    assert own.errors == [], own.errors
    own.close()


def test_terms_are_explained_and_reached_by_keyboard(page: Watched) -> None:
    page.sample("Low gas flow")
    page.page.locator("table.layers .term").last.focus()
    page.page.keyboard.press("Enter")
    assert page.page.locator("#term-vote").is_visible()
    page.page.keyboard.press("Escape")
    assert page.page.locator("#term-vote").is_hidden()


@pytest.mark.parametrize("module", sorted(DEMO.glob("*.py")), ids=lambda path: path.stem)
def test_the_demo_uses_the_public_face_only(module: Path) -> None:
    text = module.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("spatterlib.")
            assert node.module != "spatterlib"
        if isinstance(node, ast.Import):
            assert all(not alias.name.startswith("spatterlib.") for alias in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sp":
            assert node.attr in {*sp.__all__, "__version__", "plugins"}
    assert text.count("\n") <= 300
