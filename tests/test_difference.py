"""Outlines of what changes from frame to frame: exactly the recipe's, whatever the pictures are, and so each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spatterlib.detection.outlines import _bound_weights, outlines_of
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
from spatterlib.types import Box, Image, Picture, RgbPicture

SPACES = st.tuples(st.sampled_from(["bt601", "bt709", "bt2020"]), st.booleans())
SHIFTS = st.sampled_from([(1, 1), (1, 0), (0, 0), (0, 1), (2, 0), (2, 2)])


def reference(first: Image, second: Image, threshold: int = 20, blur: int = 5, dilations: int = 3) -> Image:
    """The recipe's mask of two whole RGB frames, in plain OpenCV calls."""
    grey = cv2.cvtColor(cv2.absdiff(first, second), cv2.COLOR_RGB2GRAY)
    _, binary = cv2.threshold(cv2.GaussianBlur(grey, (blur, blur), 0), threshold, 255, cv2.THRESH_BINARY)
    mask: Image = cv2.dilate(binary, np.ones((3, 3), np.uint8), iterations=dilations)  # type: ignore[assignment]
    return mask


def grainy(random: np.random.Generator, height: int, width: int, grain: int, span: int, lit: float) -> Image:
    """Coarse noise of some span of levels; only a share of it is not 0."""
    shape = (-(-height // grain), -(-width // grain), 3)
    coarse = random.integers(0, span + 1, shape) * (random.random(shape[:2]) < lit)[..., None]
    return np.repeat(np.repeat(coarse, grain, 0), grain, 1)[:height, :width].astype(np.uint8)


def planes(
    random: np.random.Generator,
    height: int,
    width: int,
    shift: tuple[int, int],
    span: int,
    grain: int = 1,
    lit: float = 1,
) -> tuple[Image, Image, Image]:
    """Y, U and V with rows longer than the picture, as a decoder has them; coarse noise around the middle."""
    sizes = [(height, width), *[(-(-height >> shift[1]), -(-width >> shift[0]))] * 2]
    values = [128 - span // 2 + grainy(random, rows, columns + 7, grain, span, lit)[..., 0] for rows, columns in sizes]
    return tuple(  # type: ignore[return-value]
        value.astype(np.uint8)[:, :columns] for value, (_, columns) in zip(values, sizes, strict=True)
    )


class Foreign:
    """A picture as a reader of somebody else's may give it."""

    def __init__(self, array: Image) -> None:
        self.array, self.shape = array, array.shape[:2]

    def rgb(self, box: Box, out: Image | None = None) -> Image:
        return RgbPicture(self.array).rgb(box, out)


KINDS = ["rgb", "planes", "padded", "upside down", "grey", "grey of colour", "strided", "foreign"]


def a_picture(kind: str, rgb: Image, yuv: tuple[Image, Image, Image], shift: tuple[int, int], matrix: Any) -> Picture:
    match kind:
        case "planes":
            yuv = tuple(np.ascontiguousarray(plane) for plane in yuv)  # type: ignore[assignment]
        case "upside down":
            yuv = tuple(plane[::-1] for plane in yuv)  # type: ignore[assignment]
        case "grey":
            return RgbPicture(np.ascontiguousarray(rgb[..., 1]))
        case "grey of colour":
            return RgbPicture(rgb[..., 1])
        case "strided":
            return RgbPicture(rgb[:, ::-1, ::-1])
        case "foreign":
            return Foreign(rgb)
        case "rgb":
            return RgbPicture(rgb)
    return YuvPicture(*yuv, shift, matrix)


@st.composite
def clips(draw: st.DrawFn) -> tuple[list[Picture], Box]:
    """Four pictures of a kind, or each of another, and the part of them that counts."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width, grain = draw(st.integers(1, 90)), draw(st.integers(1, 150)), draw(st.integers(1, 30))
    span, lit = draw(st.sampled_from([0, 4, 25, 60, 255])), draw(st.sampled_from([0.02, 0.3, 1.0]))
    kinds, colours = (st.tuples(kind, SHIFTS, SPACES) for kind in (st.sampled_from(KINDS), st.just("planes")))
    same, mixed = kinds.map(lambda kind: [kind] * 4), [st.tuples(*[each] * 4) for each in (kinds, colours)]
    pictures: list[Picture] = []
    for kind, shift, (space, full_range) in draw(st.one_of(same, *mixed)):
        rgb = grainy(random, height, width, grain, span, lit)
        yuv = planes(random, height, width, shift, span, grain, lit)
        pictures.append(a_picture(kind, rgb, yuv, shift, yuv_matrix(space, full_range=full_range)))
    return pictures, a_box(random, height, width) if draw(st.booleans()) else (0, 0, width, height)


def assert_the_recipes_rows(
    pictures: Sequence[Picture], box: Box, *, nested: bool = False, behind: int = 0, **settings: int
) -> None:
    """Outlines of the last two pairs, and what their boxes hold, are those of plain OpenCV calls."""
    inset = np.array([1, 1, -2, -2], np.int32)
    found = outlines_of(pictures, 2, box, inset, nested=nested, behind=behind, **settings)
    whole = [picture.rgb(box).copy() for picture in pictures]
    frames, boxes, areas = [], [], []
    for number in (2, 3):
        mask = reference(whole[number - 1], whole[number], **settings)
        expected, _ = cv2.findContours(mask, cv2.RETR_TREE if nested else cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        frames += [number - behind] * len(expected)
        boxes += [np.add(cv2.boundingRect(outline), inset).tolist() for outline in expected]
        areas += [cv2.contourArea(outline) for outline in expected]
    assert (found.frames.tolist(), found.boxes.tolist(), found.areas.tolist()) == (frames, boxes, areas)
    for frame, (x, y, w, h), sums, peak in zip(frames, boxes, found.sums, found.peaks, strict=True):
        crop = whole[frame][y : y + max(h, 0), x : x + max(w, 0)]
        assert sums.tolist() == crop.reshape(-1, 3).sum(axis=0).tolist()
        assert peak == (cv2.cvtColor(crop.copy(), cv2.COLOR_RGB2GRAY).max() if crop.size else 0)


@settings(max_examples=400, deadline=None)
@given(
    clip=clips(),
    threshold=st.sampled_from([0, 1, 20, 60, 100, 254]),
    dilations=st.sampled_from([0, 1, 2, 3, 4, 20, 63]),
    behind=st.sampled_from([0, 1]),
)
def test_at_the_usual_settings_rows_are_those_of_opencvs_calls(
    clip: tuple[list[Picture], Box], threshold: int, dilations: int, behind: int
) -> None:
    assert_the_recipes_rows(*clip, threshold=threshold, dilations=dilations, behind=behind)


@settings(max_examples=150, deadline=None)
@given(
    clip=clips(),
    threshold=st.sampled_from([0, 20, 254]),
    blur=st.sampled_from([1, 3, 5, 7, 31]),
    dilations=st.sampled_from([0, 3, 64, 130]),
    nested=st.booleans(),
    behind=st.sampled_from([0, 1]),
)
def test_at_rare_settings_too(
    clip: tuple[list[Picture], Box], threshold: int, blur: int, dilations: int, nested: bool, behind: int
) -> None:
    assert_the_recipes_rows(
        *clip, threshold=threshold, blur=blur, dilations=dilations, nested=nested, behind=behind
    )  # fmt: skip


@pytest.mark.parametrize("dilations", [62, 63, 64, 130, 300])
def test_ever_so_many_dilations(dilations: int) -> None:
    first, second = np.zeros((2, 20, 700, 3), np.uint8)
    second[8:12, [10, 640]] = 255
    assert_the_recipes_rows(
        [RgbPicture(each) for each in (first, first, second, first)], (0, 0, 700, 20), dilations=dilations
    )


@pytest.mark.parametrize("kinds", [*([kind] * 3 for kind in KINDS), KINDS], ids=[*KINDS, "mixed"])
def test_the_usual_settings_need_no_opencv(kinds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pictures are: the compiled path is many times as fast."""
    monkeypatch.setattr("spatterlib.detection.outlines.difference_and_mask", None)
    random = np.random.default_rng(4)
    pictures = [
        a_picture(
            kind, grainy(random, 90, 130, 7, 255, 0.2), planes(random, 90, 130, (1, 1), 255), (1, 1), yuv_matrix()
        )
        for kind in kinds
    ]
    assert len(outlines_of(pictures, 1, (0, 0, 130, 90), np.zeros(4, np.int32)).areas)


def test_the_same_planes_in_another_colour_space_are_another_picture() -> None:
    y, u, v = np.full((40, 60), 120, np.uint8), np.full((20, 30), 128, np.uint8), np.full((20, 30), 128, np.uint8)
    v[5:15, 5:20] = 255
    spaces = [YuvPicture(y, u, v, (1, 1), yuv_matrix(name)) for name in ("bt601", "bt709", "bt601", "bt709")]
    assert_the_recipes_rows(spaces, (0, 0, 60, 40))
    assert len(outlines_of(spaces, 1, (0, 0, 60, 40), np.zeros(4, np.int32)).areas) == 3


@pytest.mark.parametrize("blur", [3, 5])
def test_pictures_that_are_the_same_or_have_none_before_them_have_no_outlines(blur: int) -> None:
    random = np.random.default_rng(4)
    one, other = (RgbPicture(grainy(random, 48, 64, 5, 255, 0.5)) for _ in range(2))
    box, inset = (0, 0, 64, 48), np.zeros(4, np.int32)
    for pictures, start in (([one, one, one], 1), ([one], 1), ([one, other], 2), ([], 1)):
        found = outlines_of(pictures, start, box, inset, blur=blur)
        assert [len(column) for column in found] == [0] * 5


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


def test_only_what_is_near_a_change_is_computed() -> None:
    first, second = np.zeros((2, 400, 600, 3), np.uint8)
    second[200:210, 300:320] = 255
    margins, runs = (5, 4), np.empty((most_runs(600, 400), 3), np.int64)
    frames = first.reshape(400, -1), second.reshape(400, -1)
    active = active_rgb(*frames, (0, 0, 600, 400), np.ones(3, np.int32), np.int32(9), margins[1])
    (_, _, width, height), count = runs_of(*active, margins, (600, 400), runs)
    assert height <= 10 + 2 * BAND + 2 * 5
    assert width <= 20 + 2 * BLOCK
    assert (runs[:count, 2] - runs[:count, 1] <= width).all()


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
    first, second = (planes(random, height, width, shift, 255, 1, lit) for _ in range(2))
    rows, columns = np.arange(height) >> shift[1], np.arange(width) >> shift[0]
    changes = [np.abs(a.astype(int) - b) for a, b in zip(first, second, strict=True)]
    sums = changes[0] + 2 * changes[1][rows][:, columns] + changes[2][rows][:, columns]
    active = active_yuv(first, second, box, shift, weights, np.int32(unit * limit), margins[1])
    found = runs_of(*active, margins, box[2:], runs)
    assert_covers(found[0], runs[: found[1]], cut(sums >= limit, box), margins)


def test_a_row_of_chroma_that_two_bands_share_counts_in_both() -> None:
    first, second = (tuple(np.zeros(size, np.uint8) for size in ((40, 64), (20, 32), (20, 32))) for _ in range(2))
    second[1][BAND // 2, 10] = 255
    box, weights = (0, 1, 64, 39), np.ones(3, np.int32)
    spans, _ = active_yuv(first, second, box, (1, 1), weights, np.int32(1), 2)  # type: ignore[arg-type]
    assert spans.tolist() == [[20, 22], [20, 22], [0, 0], [0, 0], [0, 0]]


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


def test_a_clip_with_more_outlines_than_pictures_has_them_all() -> None:
    dark, dotted = np.zeros((2, 200, 300, 3), np.uint8)
    dotted[10::20, 10::20] = 255
    found = outlines_of([RgbPicture(dark), RgbPicture(dotted)], 1, (0, 0, 300, 200), np.zeros(4, np.int32))
    assert len(found.areas) == 10 * 15
