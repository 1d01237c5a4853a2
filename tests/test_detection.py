"""Detector `frame-difference` and the filters: exact with the original settings, without their faults by default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from reference import contours, original

import spatterlib as sp
from spatterlib.errors import ContractError, ParameterError, PluginError
from spatterlib.plugins.boxes import table_of
from spatterlib.plugins.registry import identity

Frames = NDArray[np.uint8]


def black(count: int, height: int = 160, width: int = 200) -> Frames:
    return np.zeros((count, height, width, 3), np.uint8)


def detected(frames: Frames, **options: Any) -> tuple[sp.Clip, NDArray[np.void]]:
    clip = sp.Clip.of(frames)
    [(_, found)] = sp.detect(clip, **options)
    return clip, found


def assert_same_as_the_script(frames: Frames) -> int:
    clip, found = detected(frames, **sp.ORIGINAL)
    expected = original(frames)
    assert [int(row["frame"]) for row in found] == [item.frame for item in expected]
    assert [tuple(int(row[name]) for name in ("x", "y", "width", "height")) for row in found] == [
        item.box for item in expected
    ]
    assert [float(row["area"]) for row in found] == [item.area for item in expected]
    for crop, item in zip(clip.crops(found), expected, strict=True):
        np.testing.assert_array_equal(crop, item.crop)
    return len(expected)


class TestOriginalSettings:
    """With `sp.ORIGINAL` and the same frames: identical to the script, row by row."""

    @pytest.mark.slow
    def test_on_every_real_recording(self, recording: Path) -> None:
        rows = 0
        with sp.open_video(recording) as video:
            for first in range(0, min(len(video.times), 700) - 1, 50):
                part = video.read(first, min(first + 51, len(video.times)))
                frames = [picture.rgb((0, 0, video.width, video.height)) for picture in part]  # type: ignore[union-attr]
                rows += assert_same_as_the_script(np.stack(frames))
        assert rows > 0 or recording.name == "ded_powder_634x474.m4v"

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        height=st.integers(1, 220),
        width=st.integers(1, 220),
        count=st.integers(1, 4),
        grain=st.integers(1, 60),
    )
    def test_on_noise_of_any_grain_and_size(self, seed: int, height: int, width: int, count: int, grain: int) -> None:
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 256, (count, -(-height // grain), -(-width // grain), 3), dtype=np.uint8)
        frames = np.repeat(np.repeat(coarse, grain, 1), grain, 2)[:, :height, :width]
        assert_same_as_the_script(np.ascontiguousarray(frames))

    @settings(max_examples=40, deadline=None)
    @given(
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12).map(lambda s: (*s, 3)))
    )
    def test_on_tiny_frames(self, frames: Frames) -> None:
        assert_same_as_the_script(frames)

    def test_on_flashes_of_the_whole_frame(self) -> None:
        frames = black(4, 60, 90)
        frames[1] = 255
        frames[3] = 90
        assert assert_same_as_the_script(frames) == 3

    @pytest.mark.parametrize("x", [0, 70, 140])
    @pytest.mark.parametrize("y", [0, 50, 100])
    def test_at_borders_and_in_corners(self, x: int, y: int) -> None:
        frames = black(3)
        frames[1, y : y + 60, x : x + 60] = (255, 200, 120)
        assert assert_same_as_the_script(frames) == 2

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_on_very_short_videos(self, count: int) -> None:
        frames = black(count)
        frames[-1, 40:100, 40:100] = 255
        assert assert_same_as_the_script(frames) == min(count - 1, 1)

    def test_nested_outlines_and_holes_count_of_their_own(self) -> None:
        assert assert_same_as_the_script(ring()) > len(detected(ring())[1])


def ring() -> Frames:
    frames = black(2, 300, 300)
    cv2.circle(frames[1], (150, 150), 45, (255, 255, 255), 12)
    return frames


class TestFaultsAreGone:
    """By default the faults of the script are gone."""

    def test_a_flash_of_one_frame_is_one_row_with_light_in_its_crop(self) -> None:
        frames = black(6)
        frames[3, 40:100, 40:110] = (255, 220, 150)
        clip, found = detected(frames)
        assert found["frame"].tolist() == [3]
        assert found["time"].tolist() == [3 / 25]
        assert clip.crops(found)[0].max() == 255
        assert found["peak"][0] > 200

    def test_a_ring_is_one_row(self) -> None:
        _, found = detected(ring())
        assert len(found) == 1

    def test_a_plume_counts_once_in_every_frame_in_which_it_is_seen(self) -> None:
        frames = black(7)
        for number in (2, 3, 4):
            frames[number, 40:100, 10 * number : 10 * number + 70] = 60 * number
        assert detected(frames)[1]["frame"].tolist() == [2, 3, 4]

    def test_nothing_is_drawn_on_data(self) -> None:
        frames = black(4)
        frames[1:3, 40:100, 40:110] = 250
        before = frames.copy()
        clip, found = detected(frames, filters=[])
        np.testing.assert_array_equal(frames, before)
        for row, crop in zip(found, clip.crops(found), strict=True):
            x, y = int(row["x"]), int(row["y"])
            np.testing.assert_array_equal(crop, before[row["frame"], y : y + row["height"], x : x + row["width"]])


class TestMeasurements:
    """What a row says is what the pixels say."""

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), grain=st.integers(4, 40))
    def test_means_and_peak_are_those_of_the_crop(self, seed: int, grain: int) -> None:
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
        frames = np.repeat(np.repeat(coarse, grain, 1), grain, 2)
        clip, found = detected(frames, filters=[])
        for row, crop in zip(found, clip.crops(found), strict=True):
            assert row["red"] == np.float32(crop[..., 0].mean())
            assert row["green"] == np.float32(crop[..., 1].mean())
            assert row["blue"] == np.float32(crop[..., 2].mean())
            assert row["peak"] == cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY).max()

    def test_default_outlines_are_the_outer_ones_of_the_recipe(self) -> None:
        frames = ring()
        outer = contours(frames[0], frames[1], cv2.RETR_EXTERNAL)
        _, found = detected(frames, filters=[])
        assert found["area"].tolist() == [cv2.contourArea(outline) for outline in outer]


class TestLaws:
    """Laws of the contract that the kit does not hold: see test_conformance.py for all others."""

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def test_the_table_does_not_depend_on_the_length_of_clips_with_crops_from_the_first(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        frames = np.repeat(np.repeat(random.integers(0, 256, (16, 6, 6, 3), dtype=np.uint8), 12, 1), 12, 2)
        detector = sp.make("detector", "frame-difference", crop_from="first")
        whole = detector(sp.Clip.of(frames))
        for length in (1, 7, 64):
            parts = []
            for start in range(0, len(frames), length):
                lead = min(start, detector.lead)
                part = frames[start - lead : start + length]
                parts.append(detector(sp.Clip.of(part, start=start, lead=lead)))
            np.testing.assert_array_equal(np.concatenate(parts), whole)

    def test_more_lead_than_asked_for_yields_no_rows_of_the_lead(self) -> None:
        frames = black(6)
        frames[1, 40:100, 40:100] = 255
        frames[4, 40:100, 40:100] = 255
        found = sp.make("detector", "frame-difference")(sp.Clip.of(frames, start=3, lead=3))
        assert set(found["frame"].tolist()) == {4, 5}

    @pytest.mark.parametrize("level", [0, 255])
    def test_a_video_of_one_level_gives_an_empty_table(self, level: int) -> None:
        found = detected(np.full((4, 61, 41, 3), level, np.uint8))[1]
        assert found.shape == (0,)
        assert found.dtype == sp.DETECTION

    def test_detectors_and_filters_are_made_anew_from_their_identity(self) -> None:
        plugins = [
            ("detector", sp.make("detector", "frame-difference", threshold=31)),
            ("filter", sp.make("filter", "area", min_area=10)),
            ("filter", sp.make("filter", "region", polygon=[[0, 0], [9, 0], [9, 9]])),
        ]
        for kind, plugin in plugins:
            assert sp.make(kind, json.loads(json.dumps(identity(plugin)))) == plugin
            assert hash(plugin) == hash(sp.make(kind, identity(plugin)))


class TestFilters:
    """Each filter decides row by row, from the table."""

    def table(self, **columns: Any) -> NDArray[np.void]:
        table = np.zeros(len(next(iter(columns.values()))), sp.DETECTION)
        for name, values in columns.items():
            table[name] = values
        return table

    def keep(self, id_: str, table: NDArray[np.void], **parameters: Any) -> list[bool]:
        result: list[bool] = sp.make("filter", id_, **parameters)(table, sp.Clip.of(black(1))).tolist()
        return result

    def test_area_includes_both_bounds(self) -> None:
        assert self.keep("area", self.table(area=[1999.5, 2000, 15000, 15000.5])) == [
            False,
            True,
            True,
            False,
        ]

    def test_blue_keeps_black_and_drops_what_is_bluer_than_red_and_green(self) -> None:
        table = self.table(red=[0, 10, 10], green=[0, 10, 10], blue=[0, 20, 20.5])
        assert self.keep("blue", table) == [True, True, False]

    def test_black_drops_what_never_reaches_the_level(self) -> None:
        assert self.keep("black", self.table(peak=[0, 39, 40])) == [False, False, True]

    def test_region_takes_the_centre_of_the_box(self) -> None:
        table = self.table(x=[0, 90, 200], y=[0, 90, 10], width=[20, 40, 20], height=[20, 40, 20])
        square = [[0, 0], [100, 0], [100, 100], [0, 100]]
        assert self.keep("region", table, polygon=square) == [True, False, False]
        assert self.keep("region", table, polygon=square, invert=True) == [False, True, True]

    def test_region_takes_a_mask_image(self, tmp_path: Path) -> None:
        mask = np.zeros((100, 300), np.uint8)
        mask[:, 150:] = 1
        assert cv2.imwrite(str(tmp_path / "mask.png"), mask)
        table = self.table(x=[0, 200], y=[0, 10], width=[20, 20], height=[20, 20])
        assert self.keep("region", table, mask=str(tmp_path / "mask.png")) == [False, True]

    def test_a_mask_smaller_than_the_frame_is_refused(self, tmp_path: Path) -> None:
        assert cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((10, 10), np.uint8))
        with pytest.raises(ParameterError, match="10x10 px, smaller than the frame"):
            self.keep("region", self.table(x=[50], y=[0]), mask=str(tmp_path / "mask.png"))

    @pytest.mark.parametrize(
        ("id_", "parameters", "message"),
        [
            ("area", {"min_area": 5, "max_area": 4}, "0 <= min_area <= max_area"),
            ("area", {"min_area": "many"}, "area"),
            ("black", {"min_peak": 256}, "0-255"),
            ("region", {}, "a polygon or a mask"),
            ("region", {"polygon": [[0, 0], [1, 1]]}, "three or more corners"),
            ("region", {"mask": "nowhere.png"}, "nowhere.png"),
        ],
    )
    def test_wrong_parameters_are_refused(self, id_: str, parameters: dict[str, Any], message: str) -> None:
        with pytest.raises(sp.errors.SpatterlibError, match=message):
            self.keep(id_, self.table(x=[0]), **parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"threshold": 255}, "0-254"),
        ({"blur": 4}, "odd"),
        ({"dilations": -1}, "0 or more"),
        ({"inset": [1]}, "two numbers"),
        ({"outlines": "all"}, "'outer' or 'tree'"),
        ({"crop_from": "last"}, "'current' or 'first'"),
        ({"treshold": 9}, "did you mean 'threshold'"),
    ],
)
def test_wrong_parameters_of_the_detector_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        sp.make("detector", "frame-difference", **parameters)


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(PluginError, match="did you mean 'frame-difference'"):
        sp.make("detector", "frame-diference")


def test_a_clip_refuses_arrays_that_are_no_frames() -> None:
    with pytest.raises(ContractError, match="float64"):
        sp.Clip.of(np.zeros((2, 8, 8, 3)))  # type: ignore[arg-type]


class TestBrokenPlugins:
    """A plugin that breaks its contract is named, in one line."""

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (None, "got NoneType"),
            (np.zeros((2, 3)), "got float64"),
            ("outside", "outside the frame"),
            ("late", "a frame outside"),
        ],
    )
    def test_of_a_detector(self, answer: Any, message: str) -> None:
        class Liar:
            lead = 0

            def __call__(self, clip: sp.Clip) -> Any:
                if isinstance(answer, str):
                    table = np.ones(1, sp.DETECTION)
                    table["x"] = 9999 if answer == "outside" else 1
                    table["frame"] = 9999 if answer == "late" else 1
                    return table
                return answer

        with pytest.raises(ContractError, match=message):
            detected(black(3), detector=Liar())

    def test_of_a_filter(self) -> None:
        with pytest.raises(ContractError, match="bool"):
            detected(black(3), filters=[lambda table, clip: [True]])


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 5),
        st.integers(0, 5),
        st.integers(-2, 6),
        st.integers(-2, 6),
        st.floats(0, 50),
    ),
    max_size=30,
)


@given(found=ROWS, ordered=st.booleans(), lead=st.integers(0, 2), seed=st.integers(0, 99))
def test_rows_are_those_of_the_boxes_that_have_px_by_frame_and_place(
    found: list[tuple[Any, ...]], ordered: bool, lead: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    clip = sp.Clip.of(random.integers(0, 256, (4, 12, 12, 3), dtype=np.uint8), 30, start=50, lead=lead)
    rows = table_of(
        clip, [row[0] for row in found], [row[1:5] for row in found], [row[5] for row in found], ordered=ordered
    )
    expected = [row for row in found if min(row[3:5]) > 0]
    if ordered:
        expected.sort(key=lambda row: (row[0], row[2], row[1]))
    assert [tuple(row) for row in rows[["x", "y", "width", "height"]].tolist()] == [row[1:5] for row in expected]
    assert rows["area"].tolist() == [np.float32(row[5]) for row in expected]
    for row, (frame, x, y, width, height, _) in zip(rows, expected, strict=True):
        crop = clip.frames[frame, y : y + height, x : x + width]
        assert (row["frame"], row["time"]) == (50 - lead + frame, clip.times[frame])
        assert tuple(row[["red", "green", "blue"]]) == tuple(crop.mean(axis=(0, 1)).astype(np.float32))
        assert row["peak"] == cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).max()


@pytest.mark.parametrize(
    ("frames", "boxes", "areas"),
    [([0, 4], 2, 2), ([0, -1], 2, 2), ([0, 1], 1, 2), ([0], 2, 2), ([0, 1], 2, 1), ([0, 1], 2, 3)],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_a_table_of_boxes_that_do_not_fit_their_clip_is_refused(
    frames: list[int], boxes: int, areas: int, ordered: bool
) -> None:
    clip = sp.Clip.of(np.zeros((4, 12, 12, 3), np.uint8))
    with pytest.raises((IndexError, ValueError)):
        table_of(clip, frames, [(1, 1, 2, 2)] * boxes, [4.0] * areas, ordered=ordered)
