"""The mask of what changed, cut to where something can have changed: exactly the recipe's, on RGB and on planes."""

from __future__ import annotations

from typing import Any

import cv2
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spatterlib.detection.difference import _bound_weights, changed, nested_outlines, outlines
from spatterlib.detection.outlines import outlines_of
from spatterlib.errors import ContractError
from spatterlib.kernels.colour import grey_change_yuv
from spatterlib.kernels.constants import BAND, BLOCK, REACH
from spatterlib.kernels.detection.active_blocks import active_rgb, active_yuv
from spatterlib.kernels.detection.difference import measure
from spatterlib.kernels.detection.masks import dilate, grey_shape, smooth_above
from spatterlib.kernels.detection.outlines import outer_outlines
from spatterlib.kernels.detection.runs import most_runs, runs_of
from spatterlib.plugins.boxes import sum_boxes
from spatterlib.plugins.pictures import YuvPicture, yuv_matrix
from spatterlib.types import Box, Image, RgbPicture

SPACES = st.tuples(st.sampled_from(["bt601", "bt709", "bt2020"]), st.booleans())
SHIFTS = st.sampled_from([(1, 1), (1, 0), (0, 0), (0, 1), (2, 0), (2, 2)])


def reference(first: Image, second: Image, threshold: int = 20, blur: int = 5, dilations: int = 3) -> Image:
    """The recipe's mask of two whole RGB frames, in plain OpenCV calls."""
    grey = cv2.cvtColor(cv2.absdiff(first, second), cv2.COLOR_RGB2GRAY)
    _, binary = cv2.threshold(cv2.GaussianBlur(grey, (blur, blur), 0), threshold, 255, cv2.THRESH_BINARY)
    mask: Image = cv2.dilate(binary, np.ones((3, 3), np.uint8), iterations=dilations)  # type: ignore[assignment]
    return mask


def placed(found: tuple[Image, tuple[int, int]] | None, height: int, width: int) -> Image:
    whole = np.zeros((height, width), np.uint8)
    if found is not None:
        mask, (x, y) = found
        whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return whole


def grainy(random: np.random.Generator, height: int, width: int, grain: int, span: int, lit: float) -> Image:
    """Coarse noise of some span of levels; only a share of it is not 0."""
    shape = (-(-height // grain), -(-width // grain), 3)
    coarse = random.integers(0, span + 1, shape) * (random.random(shape[:2]) < lit)[..., None]
    return np.repeat(np.repeat(coarse, grain, 0), grain, 1)[:height, :width].astype(np.uint8)


def planes(
    random: np.random.Generator, height: int, width: int, shift: tuple[int, int], span: int
) -> tuple[Image, Image, Image]:
    """Y, U and V with rows longer than the picture, as a decoder has them."""
    sizes = [(height, width), *[(-(-height >> shift[1]), -(-width >> shift[0]))] * 2]
    middle = int(random.integers(0, 256))
    values = [
        np.clip(random.integers(middle - span, middle + span + 1, (rows, columns + 7)), 0, 255)
        for rows, columns in sizes
    ]
    return tuple(  # type: ignore[return-value]
        value.astype(np.uint8)[:, :columns] for value, (_, columns) in zip(values, sizes, strict=True)
    )


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    grain=st.integers(1, 30),
    span=st.sampled_from([3, 25, 60, 255]),
    lit=st.sampled_from([0.02, 0.3, 1.0]),
    threshold=st.sampled_from([0, 1, 20, 100, 254]),
    blur=st.sampled_from([1, 3, 5, 7]),
    dilations=st.integers(0, 4),
)
def test_on_rgb_it_is_the_recipes_mask(
    seed: int,
    height: int,
    width: int,
    grain: int,
    span: int,
    lit: float,
    threshold: int,
    blur: int,
    dilations: int,
) -> None:
    random = np.random.default_rng(seed)
    first, second = (grainy(random, height, width, grain, span, lit) for _ in range(2))
    found = changed(
        RgbPicture(first), RgbPicture(second), (0, 0, width, height),
        threshold=threshold, blur=blur, dilations=dilations,
    )  # fmt: skip
    expected = reference(first, second, threshold, blur, dilations)
    np.testing.assert_array_equal(placed(found, height, width), expected)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    shift=SHIFTS,
    space=SPACES,
    span=st.sampled_from([0, 4, 12, 255]),
    threshold=st.sampled_from([1, 20, 60]),
    part=st.booleans(),
)
def test_on_planes_it_is_that_of_the_converted_frames(
    seed: int,
    height: int,
    width: int,
    shift: tuple[int, int],
    space: tuple[str, bool],
    span: int,
    threshold: int,
    part: bool,
) -> None:
    random = np.random.default_rng(seed)
    matrix = yuv_matrix(space[0], full_range=space[1])
    first, second = (YuvPicture(*planes(random, height, width, shift, span), shift, matrix) for _ in range(2))
    box = a_box(random, height, width) if part else (0, 0, width, height)
    found = changed(first, second, box, threshold=threshold)
    expected = reference(first.rgb(box), second.rgb(box), threshold)
    np.testing.assert_array_equal(placed(found, box[3], box[2]), expected)


def a_box(random: np.random.Generator, height: int, width: int) -> Box:
    x, y = int(random.integers(0, width)), int(random.integers(0, height))
    return x, y, int(random.integers(1, width - x + 1)), int(random.integers(1, height - y + 1))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), space=SPACES, span=st.sampled_from([2, 10, 40, 255]))
def test_the_bound_on_planes_holds_for_every_pixel(seed: int, space: tuple[str, bool], span: int) -> None:
    random = np.random.default_rng(seed)
    matrix = yuv_matrix(space[0], full_range=space[1])
    one = [random.integers(0, 256, (40, 50)) for _ in range(3)]
    other = [np.clip(plane + random.integers(-span, span + 1, plane.shape), 0, 255) for plane in one]
    first, second = (tuple(plane.astype(np.uint8) for plane in frame) for frame in (one, other))
    grey = np.empty(grey_shape(50, 40), np.uint8)
    whole = np.array([(row, 0, 50) for row in range(40)])
    grey_change_yuv(first, second, (0, 0), (0, 0), matrix, whole, grey)  # type: ignore[arg-type]
    changes = [np.abs(a.astype(int) - b) for a, b in zip(first, second, strict=True)]
    bound = (
        sum(factor * change for factor, change in zip(_bound_weights(matrix.tobytes()), changes, strict=True)) / 2**15
        + 1.5
    )
    assert (grey[REACH:-REACH, REACH : REACH + 50] < bound).all()


def test_nothing_changed_is_none_and_costs_no_mask() -> None:
    picture = RgbPicture(np.full((48, 64, 3), 90, np.uint8))
    assert changed(picture, picture, (0, 0, 64, 48)) is None


def test_the_mask_is_cut_to_what_changed() -> None:
    dark = np.zeros((400, 600, 3), np.uint8)
    light = dark.copy()
    light[200:210, 300:320] = 255
    found = changed(RgbPicture(dark), RgbPicture(light), (0, 0, 600, 400))
    assert found is not None
    assert found[0].shape[0] <= 10 + 2 * BAND + 2 * 5
    assert found[0].shape[1] <= 20 + 2 * BLOCK


def test_grey_and_strided_pictures_are_compared_too() -> None:
    random = np.random.default_rng(3)
    grey = random.integers(0, 256, (2, 40, 50), dtype=np.uint8)
    colour = random.integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)[:, ::-1, ::-1]
    for frames in (grey, colour):
        first, second = RgbPicture(frames[0]), RgbPicture(frames[1])
        whole = (0, 0, 50, 40)
        expected = reference(first.rgb(whole).copy(), second.rgb(whole).copy())
        np.testing.assert_array_equal(placed(changed(first, second, whole), 40, 50), expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 70),
    threshold=st.integers(0, 254),
    radius=st.integers(0, 4),
)
def test_smoothing_is_opencvs_gaussian(seed: int, height: int, width: int, threshold: int, radius: int) -> None:
    random = np.random.default_rng(seed)
    grey = random.integers(0, 256, grey_shape(width, height), dtype=np.uint8)
    levels = grey[REACH:-REACH, REACH : REACH + width].copy()
    ends = np.sort(random.integers(0, width + 1, (height, 2)), axis=1)
    ends[:, 0] -= ends[:, 0] % BLOCK
    runs = np.array([(row, *pair) for row, pair in enumerate(ends) if pair[1] > pair[0]], np.int64).reshape(-1, 3)
    bits = smooth_above(grey, width, threshold, runs, radius)
    inside = (np.arange(width) >= ends[:, :1]) & (np.arange(width) < ends[:, 1:])
    expected = (cv2.GaussianBlur(levels, (5, 5), 0) > threshold) & inside
    np.testing.assert_array_equal(bits, as_bits(expected, radius))


def as_bits(binary: NDArray[np.bool_], radius: int) -> NDArray[np.uint64]:
    """Row by row in whole words, `radius` rows of 0 above and below."""
    height, width = binary.shape
    rows = np.zeros((height + 2 * radius, -(-width // 64) * 64), np.bool_)
    rows[radius : radius + height, :width] = binary
    return np.packbits(rows, bitorder="little").view(np.uint64)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 120),
    width=st.integers(1, 150),
    limit=st.integers(1, 600),
    lit=st.sampled_from([0.0005, 0.01, 0.5]),
    shift=SHIFTS,
)
def test_the_active_rectangle_leaves_out_nothing_that_reaches_the_limit(
    seed: int, height: int, width: int, limit: int, lit: float, shift: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    unit = 1 << 13
    weights, margins = unit * np.array([1, 2, 1], np.int32), (3, 2)
    frames = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8) * (random.random((height, width, 1)) < lit)
    sums = (np.abs(frames[0].astype(int) - frames[1]) * weights).sum(axis=2) // unit
    box = a_box(random, height, width)
    runs = np.empty((most_runs(box[2], box[3]), 3), np.int64)
    active = active_rgb(*frames.reshape(2, height, -1), box, weights, np.int32(unit * limit), margins[1])  # type: ignore[call-arg]
    found = runs_of(*active, margins, box[2:], runs)
    assert_covers(found[0], runs[: found[1]], cut(sums >= limit, box), margins)
    first, second = (planes(random, height, width, shift, 255) for _ in range(2))
    rows, columns = np.arange(height) >> shift[1], np.arange(width) >> shift[0]
    changes = [np.abs(a.astype(int) - b) for a, b in zip(first, second, strict=True)]
    sums = changes[0] + 2 * changes[1][rows][:, columns] + changes[2][rows][:, columns]
    active = active_yuv(first, second, box, shift, weights, np.int32(unit * limit), margins[1])
    found = runs_of(*active, margins, box[2:], runs)
    assert_covers(found[0], runs[: found[1]], cut(sums >= limit, box), margins)


def cut(values: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
    x, y, width, height = box
    return values[y : y + height, x : x + width]


def assert_covers(
    rectangle: Box, runs: NDArray[np.int64], reached: NDArray[np.bool_], margins: tuple[int, int]
) -> None:
    """The rectangle holds everything within the first margin, the runs everything within the second."""
    x, y, width, height = rectangle
    whole = np.zeros_like(reached)
    for row, start, stop in runs:
        assert 0 <= start < stop <= width
        whole[y + row, x + start : x + stop] = True
    for margin, covered in ((margins[0], None), (margins[1], whole)):
        side = 2 * margin + 1
        near = cv2.dilate(reached.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
        if covered is None:
            assert not near.any() or (near[y : y + height, x : x + width].sum() == near.sum())
        else:
            assert not (near & ~covered).any()


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 140),
    share=st.floats(0, 1),
    kind=st.sampled_from(["noise", "blobs", "rings"]),
)
def test_outer_outlines_are_opencvs(seed: int, height: int, width: int, share: float, kind: str) -> None:
    """Same rectangles and areas in the same order: thin lines, holes, components in holes, the rim."""
    mask = ((np.random.default_rng(seed).random((height, width)) < share) * 255).astype(np.uint8)
    cross = np.ones((3, 3), np.uint8)
    if kind != "noise":
        mask = cv2.morphologyEx(mask, cv2.MORPH_DILATE if kind == "blobs" else cv2.MORPH_GRADIENT, cross)  # type: ignore[assignment]
    padded = np.zeros((height + 2, -(-width // 64) * 64 + 16), np.uint8)
    padded[1:-1, 8 : 8 + width] = mask
    rectangles, areas = np.zeros((height * width, 4), np.int32), np.zeros(height * width)
    count = outer_outlines(padded, as_bits(mask > 0, 0), (3, 5), rectangles, areas)
    expected, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(3, 5))
    assert [tuple(box) for box in rectangles[:count]] == [cv2.boundingRect(outline) for outline in expected]
    assert areas[:count].tolist() == [cv2.contourArea(outline) for outline in expected]


@pytest.mark.parametrize(("find", "mode"), [(outlines, cv2.RETR_EXTERNAL), (nested_outlines, cv2.RETR_TREE)])
def test_outlines_of_two_frames_are_those_of_the_recipes_mask(find: Any, mode: int) -> None:
    random = np.random.default_rng(8)
    for _ in range(20):
        first, second = (grainy(random, 90, 130, 7, 90, 0.2) for _ in range(2))
        expected, _ = cv2.findContours(reference(first, second), mode, cv2.CHAIN_APPROX_SIMPLE)
        rectangles, areas = find(RgbPicture(first), RgbPicture(second), (0, 0, 130, 90))
        assert [tuple(box) for box in rectangles] == [cv2.boundingRect(outline) for outline in expected]
        assert areas.tolist() == [cv2.contourArea(outline) for outline in expected]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6))
def test_measuring_is_the_sum_of_colours_and_the_brightest_luma(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    frame = random.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    boxes = np.array([a_box(random, 50, 60) for _ in range(count)], np.int32)
    boxes[0, 2 + int(random.integers(0, 2))] = 0
    sums, peaks = sum_boxes(RgbPicture(frame), boxes)
    assert sums[0].tolist() == [0, 0, 0]
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    for (x, y, width, height), own, peak in zip(boxes[1:], sums[1:], peaks[1:], strict=True):
        crop = frame[y : y + height, x : x + width]
        assert own.tolist() == crop.reshape(-1, 3).sum(axis=0).tolist()
        assert peak == luma[y : y + height, x : x + width].max()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift=SHIFTS, space=SPACES, count=st.integers(1, 4))
def test_planes_are_measured_as_their_rgb_is(
    seed: int, shift: tuple[int, int], space: tuple[str, bool], count: int
) -> None:
    random = np.random.default_rng(seed)
    matrix = yuv_matrix(space[0], full_range=space[1])
    picture = YuvPicture(*planes(random, 50, 60, shift, 255), shift, matrix)
    boxes = np.array([a_box(random, 50, 60) for _ in range(count)], np.int32)
    boxes[-1, 2] = 0
    converted = RgbPicture(picture.rgb((0, 0, 60, 50)))
    for ours, expected in zip(sum_boxes(picture, boxes), sum_boxes(converted, boxes), strict=True):
        np.testing.assert_array_equal(ours, expected)


def plain_rgb(picture: YuvPicture) -> NDArray[np.int64]:
    """The conversion, written from its formula without any loop of ours."""
    height, width = picture.shape
    rows, columns = np.arange(height) >> picture.shift[1], np.arange(width) >> picture.shift[0]
    u, v = (plane[rows][:, columns].astype(np.int64) - 128 for plane in (picture.u, picture.v))
    black, luma, v_red, v_green, u_green, u_blue = picture.matrix.astype(np.int64)
    y = np.maximum(picture.y.astype(np.int64) - black, 0) * luma + (1 << 19)
    return np.clip(np.stack([y + v_red * v, y + v_green * v + u_green * u, y + u_blue * u], -1) >> 20, 0, 255)  # type: ignore[no-any-return]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    shift=SHIFTS,
    space=SPACES,
)
def test_a_picture_of_planes_becomes_rgb_by_the_formula_whole_and_in_part(
    seed: int, height: int, width: int, shift: tuple[int, int], space: tuple[str, bool]
) -> None:
    random = np.random.default_rng(seed)
    matrix = yuv_matrix(space[0], full_range=space[1])
    picture = YuvPicture(*planes(random, height, width, shift, 255), shift, matrix)
    whole = picture.rgb((0, 0, width, height))
    np.testing.assert_array_equal(whole, plain_rgb(picture))
    x, y, w, h = a_box(random, height, width)
    out = np.empty((h, w, 3), np.uint8)
    assert picture.rgb((x, y, w, h), out) is out
    np.testing.assert_array_equal(out, whole[y : y + h, x : x + w])


def test_planes_whose_rows_have_gaps_are_refused() -> None:
    wide = np.zeros((8, 16), np.uint8)
    with pytest.raises(ContractError, match="ascontiguousarray"):
        YuvPicture(wide[:, ::2], wide[::2, :4], wide[::2, :4], (1, 1), yuv_matrix())


def test_television_bt601_is_opencvs_conversion_to_the_last_bit() -> None:
    random = np.random.default_rng(5)
    y, u, v = planes(random, 64, 96, (1, 1), 255)
    stacked = np.concatenate([plane.reshape(-1) for plane in (y.copy(), u.copy(), v.copy())]).reshape(96, 96)
    expected = cv2.cvtColor(stacked, cv2.COLOR_YUV2RGB_I420)
    np.testing.assert_array_equal(YuvPicture(y, u, v, (1, 1), yuv_matrix()).rgb((0, 0, 96, 64)), expected)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a function that is not compiled has no compiler options")  # type: ignore[attr-defined]
@pytest.mark.parametrize("kernel", [active_rgb, active_yuv, smooth_above, measure, grey_change_yuv, outer_outlines])
def test_kernels_let_go_of_the_interpreter(kernel: object) -> None:
    assert kernel.targetoptions["nogil"] is True  # type: ignore[attr-defined]


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 50),
    width=st.integers(1, 200),
    radius=st.sampled_from([0, 1, 2, 3, 7, 20]),
    share=st.sampled_from([0.0, 0.001, 0.02, 0.5, 1.0]),
)
def test_dilation_is_opencvs(seed: int, height: int, width: int, radius: int, share: float) -> None:
    binary = np.random.default_rng(seed).random((height, width)) < share
    mask = np.full((height + 2, -(-width // 64) * 64 + 16), 7, np.uint8)
    bits = as_bits(binary, radius)
    dilate(bits, width, radius, mask)
    side = 2 * radius + 1
    expected = np.zeros_like(mask)
    expected[1:-1, 8 : 8 + width] = cv2.dilate(binary * np.uint8(255), np.ones((side, side), np.uint8))
    np.testing.assert_array_equal(mask, expected)
    words = as_bits(expected[1:-1, 8 : 8 + width] > 0, 0)
    np.testing.assert_array_equal(bits[: len(words)], words)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(8, 70),
    width=st.integers(8, 90),
    shift=SHIFTS,
    kind=st.sampled_from(["rgb", "planes", "padded", "upside down", "mixed"]),
    nested=st.booleans(),
    blur=st.sampled_from([3, 5]),
    behind=st.sampled_from([0, 1]),
    part=st.booleans(),
)
def test_a_clip_in_one_call_is_its_pairs_one_by_one(
    seed: int,
    height: int,
    width: int,
    shift: tuple[int, int],
    kind: str,
    nested: bool,
    blur: int,
    behind: int,
    part: bool,
) -> None:
    """Whatever its pictures are, also where there are more outlines than there was room for."""
    random = np.random.default_rng(seed)
    pictures = [a_picture(random, height, width, shift, kind, n) for n in range(4)]
    box = a_box(random, height, width) if part else (0, 0, width, height)
    inset = np.array([1, 1, -2, -2], np.int32)
    found = outlines_of(pictures, 2, box, inset, blur=blur, nested=nested, behind=behind)
    frames, boxes, areas = [], [], []
    for number in (2, 3):
        first, second = (picture.rgb(box).copy() for picture in pictures[number - 1 : number + 1])
        mode = cv2.RETR_TREE if nested else cv2.RETR_EXTERNAL
        expected, _ = cv2.findContours(reference(first, second, blur=blur), mode, cv2.CHAIN_APPROX_SIMPLE)
        frames += [number - behind] * len(expected)
        boxes += [np.add(cv2.boundingRect(outline), inset).tolist() for outline in expected]
        areas += [cv2.contourArea(outline) for outline in expected]
    assert (found.frames.tolist(), found.boxes.tolist(), found.areas.tolist()) == (frames, boxes, areas)
    for frame, (x, y, w, h), sums, peak in zip(found.frames, boxes, found.sums, found.peaks, strict=True):
        crop = pictures[frame].rgb(box)[y : y + max(h, 0), x : x + max(w, 0)]
        assert sums.tolist() == crop.reshape(-1, 3).sum(axis=0).tolist()
        assert peak == (cv2.cvtColor(crop.copy(), cv2.COLOR_RGB2GRAY).max() if crop.size else 0)


def a_picture(
    random: np.random.Generator, height: int, width: int, shift: tuple[int, int], kind: str, number: int
) -> RgbPicture | YuvPicture:
    matrix = yuv_matrix("bt601")
    if kind == "rgb" or (kind == "mixed" and number == 3):
        return RgbPicture(grainy(random, height, width, 2, 120, 0.3))
    y, u, v = planes(random, height, width, shift, 30)
    if kind == "planes":
        y, u, v = (np.ascontiguousarray(plane) for plane in (y, u, v))
    if kind == "upside down":
        y, u, v = y[::-1], u[::-1], v[::-1]
    return YuvPicture(y, u, v, shift, matrix)


def test_a_clip_with_more_outlines_than_pictures_has_them_all() -> None:
    dark, dotted = np.zeros((2, 200, 300, 3), np.uint8)
    dotted[10::20, 10::20] = 255
    found = outlines_of([RgbPicture(dark), RgbPicture(dotted)], 1, (0, 0, 300, 200), np.zeros(4, np.int32))
    assert len(found.areas) == 10 * 15
