"""`sp.score`: what was found against the truth, on tables made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import ParameterError
from spatterlib.simulation import EVENT_TRUTH

Rows = NDArray[np.void]


def table(dtype: np.dtype[Any], *boxes: tuple[int, int, int, int, int], layer: int = 1, area: float = 5000) -> Rows:
    """Rows of (frame, x, y, width, height)."""
    rows = np.zeros(len(boxes), dtype)
    for row, (frame, *box) in zip(rows, boxes, strict=True):
        row["frame"], row["time"], row["area"] = frame, frame / 25, area
        row["x"], row["y"], row["width"], row["height"] = box
    if "layer" in rows.dtype.names:
        rows["layer"] = layer
    return rows


def events(*boxes: tuple[int, int, int, int, int], **more: Any) -> Rows:
    return table(EVENT_TRUTH, *boxes, **more)


def found(*boxes: tuple[int, int, int, int, int], **more: Any) -> Rows:
    return table(sp.DETECTION, *boxes, **more)


def test_what_is_found_exactly_is_perfect() -> None:
    box = (3, 10, 20, 100, 50)
    score = sp.score(found(box), events(box))
    assert (score.recall, score.precision, score.position_error, score.area_error, score.iou) == (1, 1, 0, 0, 1)
    assert str(score).startswith("recall 1.000 (1 of 1 event), precision 1.000")


def test_another_frame_is_no_match() -> None:
    score = sp.score(found((4, 10, 20, 100, 50)), events((3, 10, 20, 100, 50)))
    assert (score.matched, score.false, score.recall, score.precision) == (0, 1, 0, 0)


def test_overlap_is_measured_on_the_smaller_box() -> None:
    inside = sp.score(found((0, 0, 0, 200, 200)), events((0, 50, 50, 60, 60)))
    half = sp.score(found((0, 0, 0, 100, 50)), events((0, 50, 0, 100, 50)))
    less = sp.score(found((0, 0, 0, 100, 50)), events((0, 51, 0, 100, 50)))
    assert (inside.matched, half.matched, less.matched) == (1, 1, 0)
    assert sp.score(found((0, 0, 0, 100, 50)), events((0, 51, 0, 100, 50)), overlap=0.4).matched == 1


def test_pairs_are_one_to_one_the_nearest_first() -> None:
    score = sp.score(found((0, 0, 0, 100, 50), (0, 4, 0, 100, 50)), events((0, 5, 0, 100, 50)))
    assert (score.matched, score.position_error) == (1, 1.0)
    two = sp.score(found((0, 0, 0, 300, 50)), events((0, 0, 0, 100, 50), (0, 200, 0, 100, 50)))
    assert (two.matched, two.recall, two.precision) == (1, 0.5, 1)


def test_events_outside_the_areas_need_not_be_found_but_may_be() -> None:
    small = events((0, 0, 0, 30, 30), area=500)
    assert np.isnan(sp.score(found(), small).recall)
    seen = sp.score(found((0, 0, 0, 30, 30)), small)
    assert (seen.events, seen.false, seen.precision) == (0, 0, 1)
    assert sp.score(found((0, 0, 0, 30, 30)), small, areas=(0, np.inf)).recall == 1


def test_the_area_error_has_a_sign() -> None:
    box = (0, 0, 0, 100, 50)
    assert sp.score(found(box, area=4000), events(box, area=5000)).area_error == pytest.approx(-0.2)


def test_nothing_found_and_nothing_there() -> None:
    score = sp.score(found(), events())
    assert np.isnan(score.recall)
    assert np.isnan(score.precision)
    assert score.layers == score.layers_found == 0


def layered(dtype: np.dtype[Any], starts: list[int]) -> Rows:
    parts = [
        table(dtype, *[(start + k, 0, 0, 100, 50) for k in range(50)], layer=n + 1) for n, start in enumerate(starts)
    ]
    return np.concatenate(parts)


def test_layers_are_found_one_by_one() -> None:
    truth, seen = layered(EVENT_TRUTH, [0, 300, 600]), layered(sp.DETECTION, [0, 300, 600])
    score = sp.score(seen, truth)
    assert (score.layers, score.layers_found, score.extra_layers) == (3, 3, 0)
    merged = sp.score(seen, truth, gap=1000)
    assert (merged.layers_found, merged.extra_layers) == (0, 0)
    split = sp.score(np.delete(seen, slice(10, 40)), truth, gap=1.0)
    assert (split.layers_found, split.extra_layers) == (2, 1)


@given(st.lists(st.tuples(*[st.integers(0, 3)], *[st.integers(1, 60)] * 4), max_size=8))
def test_a_table_found_against_itself_is_perfect(boxes: list[tuple[int, int, int, int, int]]) -> None:
    score = sp.score(found(*boxes), events(*boxes))
    assert score.matched == score.events == len(boxes)
    assert score.false == 0


@pytest.mark.parametrize(("options", "message"), [({"overlap": 0}, "overlap"), ({"areas": (5, 1)}, "areas")])
def test_wrong_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        sp.score(found(), events(), **options)


def test_the_truth_may_be_named_by_its_video(tmp_path: Path) -> None:
    truth = sp.simulate(tmp_path / "a.npy", seconds=1, width=160, height=96)
    rows = np.zeros(len(truth.events), sp.DETECTION)
    for name in ("frame", "time", "x", "y", "width", "height", "area"):
        rows[name] = truth.events[name]
    assert sp.score(rows, tmp_path / "a.npy", areas=(0, np.inf)).recall == 1
