"""The conformance kit: it cites the hooks, it rejects whoever lies, and every built-in passes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import liars
import numpy as np
import pytest
from hypothesis import given, settings
from media import write

import spatterlib as sp
from spatterlib.errors import LawError
from spatterlib.plugins import hookspecs
from spatterlib.testing import (
    Check,
    classifier_checks,
    clips,
    crops,
    detector_checks,
    filter_checks,
    sentence,
    store_checks,
    tables,
    video_checks,
)
from spatterlib.types import Clip, Image
from spatterlib.video import arrays, container, images

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def of_video(opener: Any) -> tuple[Check, ...]:
    return video_checks(opener, liars.write_stack)


# For each hook: the kit, one who is right, and for each law one who is not.
KITS: dict[str, tuple[Callable[..., tuple[Check, ...]], Any, dict[str, Any]]] = {
    "spatter_detectors": (detector_checks, liars.Spots(), liars.DETECTORS),
    "spatter_filters": (filter_checks, liars.Large(), liars.FILTERS),
    "spatter_stores": (store_checks, liars.Honest, liars.STORES),
    "spatter_classifiers": (classifier_checks, liars.Nearest(), liars.CLASSIFIERS),
    "spatter_open_video": (of_video, liars.Stack.opener, liars.VIDEOS),
}


def named(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.__name__: check for check in checks}


def each(index: int) -> list[Any]:
    """A parameter for every check of every kit about its honest plugin, or for every liar."""
    return [
        pytest.param(hook, name, id=f"{hook[8:]}-{name}")
        for hook, (kit, honest, lies) in KITS.items()
        for name in (named(kit(honest)) if index == 0 else lies)
    ]


@pytest.mark.parametrize(("hook", "name"), each(0))
def test_each_check_cites_a_sentence_of_its_hook(hook: str, name: str) -> None:
    kit, honest, _ = KITS[hook]
    check = named(kit(honest))[name]
    source = f"{inspect.getdoc(getattr(hookspecs, hook))} {inspect.getdoc(hookspecs)}"
    assert len(sentence(check).split()) >= 1
    assert sentence(check) in " ".join(source.split())


@pytest.mark.parametrize(("hook", "name"), each(0))
def test_who_is_right_passes(hook: str, name: str) -> None:
    kit, honest, _ = KITS[hook]
    named(kit(honest))[name]()


@pytest.mark.parametrize(("hook", "name"), each(1))
def test_who_lies_is_rejected_in_one_line(hook: str, name: str) -> None:
    kit, _, lies = KITS[hook]
    check = named(kit(lies[name]))[name]
    with pytest.raises(LawError, match=f"breaks the law {name}, ") as caught:
        check()
    assert "\n" not in str(caught.value)
    assert sentence(check) in str(caught.value)


@pytest.mark.parametrize("hook", KITS)
def test_every_law_has_a_liar_and_every_liar_a_law(hook: str) -> None:
    kit, honest, lies = KITS[hook]
    assert set(named(kit(honest))) == set(lies)


def test_a_law_is_an_assertion() -> None:
    assert issubclass(LawError, AssertionError)


# Built-in plugins pass the same kit.


@pytest.mark.parametrize("check", detector_checks(sp.make("detector", "frame-difference")))
def test_frame_difference(check: Check) -> None:
    check()


OTHERWISE = {"threshold": 40, "blur": 9, "dilations": 1, "inset": [0, 0], "outlines": "tree"}


@pytest.mark.parametrize("check", detector_checks(sp.make("detector", "frame-difference", **OTHERWISE)))
def test_frame_difference_with_other_parameters(check: Check) -> None:
    check()


FILTERS = [
    sp.make("filter", "area", min_area=100, max_area=1000),
    sp.make("filter", "blue"),
    sp.make("filter", "black", min_peak=100),
    sp.make("filter", "region", polygon=[[0, 0], [90, 0], [0, 60]], invert=True),
]


@pytest.mark.parametrize("check", [check for filter_ in FILTERS for check in filter_checks(filter_)])
def test_filters(check: Check) -> None:
    check()


def test_a_region_that_is_a_mask(tmp_path: Path) -> None:
    mask = np.zeros((97, 131), np.uint8)
    mask[:, 50:] = 255
    assert cv2.imwrite(str(tmp_path / "mask.png"), mask)
    for check in filter_checks(sp.make("filter", "region", mask=str(tmp_path / "mask.png"))):
        check()


STORES = sp.catalog().stores


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=f"{id_}-{check.__name__}") for id_, kind in STORES.items() for check in store_checks(kind)],
)
def test_stores(check: Check) -> None:
    check()


def write_mp4(folder: Path) -> Path:
    return write(folder / "recording.mp4", 30)


def write_png(folder: Path) -> Path:
    (folder / "frames").mkdir()
    for number in range(11):
        picture = np.full((9, 16, 3), (number * 20, 50, 255 - number), np.uint8)
        assert cv2.imwrite(str(folder / "frames" / f"{number}.png"), picture)
    (folder / "frames" / "5.png").write_bytes(b"no picture")
    return folder / "frames"


def write_tiff(folder: Path) -> Path:
    pages = [np.random.default_rng(page).integers(0, 256, (9, 16), np.uint8) for page in range(12)]
    assert cv2.imwritemulti(str(folder / "recording.tif"), pages)
    return folder / "recording.tif"


READERS = {
    "container": video_checks(container.spatter_open_video, write_mp4, last=True),
    "images": video_checks(images.spatter_open_video, write_png),
    "tiff": video_checks(images.spatter_open_video, write_tiff),
    "npy": video_checks(arrays.spatter_open_video, liars.write_stack),
}


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=f"{name}-{check.__name__}") for name, checks in READERS.items() for check in checks],
)
def test_readers(check: Check) -> None:
    check()


class TestStrategies:
    """What they give is what they say."""

    @settings(max_examples=40, deadline=None)
    @given(clips(max_frames=4, max_side=30, max_lead=2))
    def test_clips(self, clip: Clip) -> None:
        count, height, width, _ = clip.frames.shape
        assert 1 <= count - clip.lead <= 4
        assert 1 <= height <= 30
        assert 1 <= width <= 30
        assert clip.lead <= 2
        assert clip.start >= clip.lead

    @settings(max_examples=40, deadline=None)
    @given(crops(max_side=20))
    def test_crops(self, crop: Image) -> None:
        assert crop.dtype == np.uint8
        assert max(crop.shape) <= 20
        assert crop.shape[2] == 3

    clip = Clip.of(np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8), lead=1)

    @settings(max_examples=40, deadline=None)
    @given(tables(clip, max_rows=5))
    def test_tables(self, table: Any) -> None:
        assert len(table) <= 5
        for row, crop in zip(table, self.clip.crops(table), strict=True):
            assert crop.shape == (row["height"], row["width"], 3)
            assert row["frame"] in (1, 2)
            assert abs(crop[..., 0].mean() - row["red"]) < 0.01


@pytest.mark.parametrize("check", detector_checks(sp.make("detector", "particles")))
def test_particles(check: Check) -> None:
    check()
