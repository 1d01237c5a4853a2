"""What a detector shows of how it sees a frame agrees with what it finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import spatterlib as sp


@pytest.mark.parametrize("threshold", [5, 20, 60])
def test_the_mask_of_frame_difference_has_the_outlines_of_its_rows(threshold: int) -> None:
    frames = np.zeros((2, 121, 163, 3), np.uint8)
    frames[1, 20:60, 30:90] = (40, 30, 20)
    frames[1, 80:110, 100:150] = 200
    detector = sp.make("detector", "frame-difference", threshold=threshold)
    seen = detector.explain(sp.Clip.of(frames))
    assert {name: (picture.shape, picture.dtype) for name, picture in seen.items()} == dict.fromkeys(
        ("difference", "mask"), ((121, 163), np.dtype(np.uint8))
    )
    outlines, _ = cv2.findContours(seen["mask"], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    table = detector(sp.Clip.of(frames, lead=1))
    assert sorted(cv2.contourArea(outline) for outline in outlines) == sorted(table["area"].tolist())
    assert len(table) == (2 if threshold < 30 else 1)
    assert seen["difference"][95, 125] == 200


def test_without_a_frame_before_there_is_nothing_to_explain() -> None:
    assert sp.make("detector", "frame-difference").explain(sp.Clip.of(np.zeros((1, 9, 9, 3), np.uint8))) == {}
