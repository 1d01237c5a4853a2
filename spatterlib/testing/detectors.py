"""Checks of detectors: `spatterlib.plugins.hookspecs.spatter_detectors`, sentence by sentence."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.detect import contract_problem
from spatterlib.plugins.capabilities import SupportsExplain
from spatterlib.testing.laws import DATACLASS, Check, checks, must, shortened, steady
from spatterlib.testing.scenes import cut_up, plumes
from spatterlib.types import DETECTION, Clip, Detections, Detector, Image, RgbPicture

__all__ = ["detector_checks"]

Scenes = Sequence[Image]


def detector_checks(detector: Detector, frames: Sequence[Image] = ()) -> tuple[Check, ...]:
    """The laws of a detector as checks.

    Parameters
    ----------
    detector : Detector
        An instance; with other parameters it is another detector, to be checked anew.
    frames : sequence of ndarray
        ``(n, h, w, 3)`` uint8 RGB each, n of about 70 or more: recordings in which this detector finds something, if
        it finds nothing in bright spots on dark ground.

    Returns
    -------
    tuple of callable
        Checks, named as the laws; each raises `spatterlib.errors.LawError` if its law is broken.

    Examples
    --------
    The whole test of a detector::

        @pytest.mark.parametrize("check", detector_checks(MyDetector()))
        def test_my_detector(check):
            check()

    >>> import spatterlib as sp
    >>> from spatterlib.testing import detector_checks
    >>> for check in detector_checks(sp.make("detector", "frame-difference")):
    ...     check()
    """
    return checks(LAWS, detector, tuple(frames) or (plumes(),))


def _found(detector: Detector, frames: Image, length: int = 64, start: int = 0) -> Detections:
    parts = [np.asarray(detector(clip)) for clip in cut_up(frames, length, detector.lead, start)]
    for part in parts:
        must(part.dtype == DETECTION, f"it returned an array of {part.dtype}")
    return np.concatenate(parts)


def lead_is_a_number_of_frames(detector: Detector, _: Scenes) -> None:
    """`lead` is known before any clip: "An instance has ``lead: int``, the number of context frames it needs"."""
    lead = detector.lead
    must(isinstance(lead, int) and not isinstance(lead, bool) and lead >= 0, f"lead is {lead!r}")


def it_returns_detections(detector: Detector, scenes: Scenes) -> None:
    """What comes back has the one dtype: "it returns ``(n,)`` `DETECTION`"."""
    for frames in scenes:
        for clip in cut_up(frames, 16, detector.lead):
            table = detector(clip)
            right = isinstance(table, np.ndarray) and table.dtype == DETECTION and table.ndim == 1
            must(right, f"it returned {shortened(repr(table))}")


def it_finds_something(detector: Detector, scenes: Scenes) -> None:
    """The other checks have rows to look at: "In the clips on which it is tested a detector finds something"."""
    hint = "give frames in which it does: detector_checks(detector, frames=[...])"
    for number, frames in enumerate(scenes):
        must(len(_found(detector, frames)), f"it found nothing in recording {number}; {hint}")


def the_length_of_clips_does_not_matter(detector: Detector, scenes: Scenes) -> None:
    """However a recording is cut up: "the same table for clips of 1, 7 or 64 frames"."""
    for frames in scenes:
        whole = _found(detector, frames, len(frames))
        for length in (1, 7, 64):
            parts = _found(detector, frames, length)
            must(not (problem := _difference(parts, whole)), f"clips of {length} frames give {problem}")


def _difference(one: Detections, other: Detections) -> str:
    if len(one) != len(other):
        return f"{len(one)} rows instead of {len(other)}"
    rows = np.flatnonzero(one != other)
    return f"{one[rows[0]]} in row {rows[0]} instead of {other[rows[0]]}" if len(rows) else ""


def no_frame_is_modified(detector: Detector, scenes: Scenes) -> None:
    """Detectors share their clip: "no frame modified"."""
    for frames in scenes:
        seen = frames.copy()
        _found(detector, seen)
        changed = np.flatnonzero((seen != frames).any(axis=(1, 2, 3)))
        must(not len(changed), f"frame {changed[:1]} was modified")


def rows_are_in_order(detector: Detector, scenes: Scenes) -> None:
    """Rows of a clip are sorted: "rows ordered by (frame, y, x)"."""
    for frames in scenes:
        for clip in cut_up(frames, 64, detector.lead):
            _must_be_in_order(np.asarray(detector(clip)))


def _must_be_in_order(table: Detections) -> None:
    order = np.lexsort((table["x"], table["y"], table["frame"]))
    rows = np.flatnonzero(table[order][["frame", "y", "x"]] != table[["frame", "y", "x"]])
    must(not len(rows), f"row {rows[:1]} is not where it belongs")


def rows_are_of_the_clips_own_frames(detector: Detector, scenes: Scenes) -> None:
    """Each frame's rows come once: "for frames of the clip's own, not of its lead"."""
    for frames in scenes:
        for clip in cut_up(frames, 7, detector.lead, start=1000):
            _must_be_own(np.asarray(detector(clip)), clip)


def _must_be_own(table: Detections, clip: Clip) -> None:
    numbers = clip.numbers[clip.lead :]
    strange = table["frame"][~np.isin(table["frame"], numbers)]
    must(not len(strange), f"a row of frame {strange[:1]} came for a clip of frames {numbers[0]}-{numbers[-1]}")


def boxes_are_inside(detector: Detector, scenes: Scenes) -> None:
    """Every crop can be cut: "boxes inside the frame"."""
    for frames in scenes:
        for clip in cut_up(frames, 64, detector.lead):
            problem = contract_problem(detector(clip), clip)
            must("box" not in problem, problem)


def boxes_begin_at_the_clips_corner(detector: Detector, scenes: Scenes) -> None:
    """A part of the frame counts as a frame: "boxes from the upper left corner of ``clip.frames``"."""
    for frames in scenes:
        height, width = frames.shape[1:3]
        x, y = width // 5, height // 4
        plain = np.ascontiguousarray(frames[:, y:, x:])
        for whole, clip in zip(cut_up(frames, 64, detector.lead), cut_up(plain, 64, detector.lead), strict=True):
            part = Clip(whole.pictures, whole.times, whole.start, whole.lead, (x, y, width - x, height - y))
            rows, expected = np.asarray(detector(part)), np.asarray(detector(clip))
            must(np.array_equal(rows, expected), "a region of interest gives other boxes than frames of that size")


def the_same_clip_gives_the_same_table(detector: Detector, scenes: Scenes) -> None:
    """Whatever was looked at before: "deterministic"."""
    for frames in scenes:
        first = _found(detector, frames)
        _found(detector, np.ascontiguousarray(frames[::-1]), 5)
        must(np.array_equal(_found(detector, frames), first), "the second time it gives another table")
        copy = pickle.loads(pickle.dumps(detector))  # noqa: S301 - made here
        must(np.array_equal(_found(copy, frames), first), "its copy by pickle gives another table")


def black_gives_nothing(detector: Detector, scenes: Scenes) -> None:
    """Where there is no light there is no spatter: "a black video gives an empty table"."""
    for frames in scenes:
        table = _found(detector, np.zeros_like(frames))
        must(not len(table), f"it found {len(table)} rows in a black video")


def less_lead_is_enough(detector: Detector, scenes: Scenes) -> None:
    """A recording begins, and begins again: "a clip has less lead than asked for"."""
    for frames in scenes:
        for lead in {0, 1, detector.lead // 2} & set(range(detector.lead + 1)):
            part = np.ascontiguousarray(frames[20 - lead : 24])
            clip = Clip([RgbPicture(frame) for frame in part], np.arange(len(part)) / 25, 20, lead)
            table = np.asarray(detector(clip))
            _must_be_own(table, clip)
            must(not (problem := contract_problem(table, clip)), problem)


def any_size_and_level_will_do(detector: Detector, _: Scenes) -> None:
    """Other cameras, other light: "Frames are of any size, odd ones too, and hold any grey level from 0 to 255"."""
    from hypothesis import given

    from spatterlib.testing.strategies import clips

    @steady(60)  # type: ignore[untyped-decorator]
    @given(clips())
    def look(clip: Clip) -> None:
        table = detector(clip)
        place = f"in {len(clip.pictures)} frames of {clip.box[2]}x{clip.box[3]} px: "
        must(not (problem := contract_problem(table, clip)), place + problem)
        _must_be_own(table, clip)
        _must_be_in_order(table)

    look()


def times_are_the_clips(detector: Detector, scenes: Scenes) -> None:
    """Time is looked up, not computed: "``time`` is the clip's time of the frame"."""
    for frames in scenes:
        for clip in cut_up(frames, 64, detector.lead, start=30):
            table = np.asarray(detector(clip))
            expected = clip.times[table["frame"] - clip.numbers[0]]
            must(np.array_equal(table["time"], expected), "a row has another time than its frame")


def colours_are_those_of_the_crop(detector: Detector, scenes: Scenes) -> None:
    """What filters go by is true: "``red``, ``green``, ``blue`` and ``peak`` are measured in the crop"."""
    for frames in scenes:
        for clip in cut_up(frames, 64, detector.lead):
            for row in np.asarray(detector(clip)):
                measured = np.array([row["red"], row["green"], row["blue"], row["peak"]], np.float64)
                off = np.abs(measured - _measured(clip, row)).max()
                must(off < 1.01, f"{row} is off by {off:.1f} grey levels")


def _measured(clip: Clip, row: np.void) -> NDArray[np.float64]:
    """Mean red, green, blue and brightest luma (ITU-R BT.601) of a row's crop."""
    crop = clip.crop(int(row["frame"] - clip.numbers[0]), (row["x"], row["y"], row["width"], row["height"]))
    pixels = crop.reshape(-1, 3).astype(np.float64)
    return np.array([*pixels.mean(axis=0), (pixels @ [0.299, 0.587, 0.114]).max()])


def explanations_are_pictures(detector: Detector, scenes: Scenes) -> None:
    """Whoever tunes it sees them: "pictures by name of how it sees the last frame"."""
    if not isinstance(detector, SupportsExplain):
        return
    for clip in cut_up(scenes[0], 7, detector.lead):
        height, width = clip.frames.shape[1:3]
        for name, picture in detector.explain(clip).items():
            right = picture.dtype == np.uint8 and picture.shape in ((height, width), (height, width, 3))
            must(isinstance(name, str) and right, f"{name!r} is an array of {picture.dtype} {picture.shape}")


LAWS = (
    lead_is_a_number_of_frames,
    it_returns_detections,
    it_finds_something,
    the_length_of_clips_does_not_matter,
    no_frame_is_modified,
    rows_are_in_order,
    rows_are_of_the_clips_own_frames,
    boxes_are_inside,
    boxes_begin_at_the_clips_corner,
    the_same_clip_gives_the_same_table,
    black_gives_nothing,
    less_lead_is_enough,
    any_size_and_level_will_do,
    times_are_the_clips,
    colours_are_those_of_the_crop,
    explanations_are_pictures,
    *DATACLASS,
)
