"""How good tracks are, against the identities of a simulated recording."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError
from spatterlib.simulation.truth import Truth

__all__ = ["TrackScore", "score_tracks"]


@dataclass(frozen=True)
class TrackScore:
    """What `score_tracks` found; shares are NaN where there is nothing to divide by.

    Parameters
    ----------
    particles, found : int
        Particles that can be seen, over all frames; detections.
    recall, precision, f1 : float
        Of detections.
    link_recall, link_precision, link_f1 : float
        Of links between points of one particle that follow each other.
    tracks, whole : int, float
        True tracks of two visible points and more; share of them that one found track holds from the first to the last
        visible point, with no other particle in between.
    velocity_error : float
        Median of ``|found / true - 1|`` of the velocity in the picture, of tracks whose points are of one particle.
    inside : float
        Share of these whose true velocity lies inside the 90 % interval.
    angle_error : float
        Degrees, median.
    """

    particles: int
    found: int
    recall: float
    precision: float
    f1: float
    link_recall: float
    link_precision: float
    link_f1: float
    tracks: int
    whole: float
    velocity_error: float
    inside: float
    angle_error: float

    def __str__(self) -> str:
        return (
            f"detection F1 {self.f1:.3f}, links F1 {self.link_f1:.3f} (precision {self.link_precision:.3f}, recall "
            f"{self.link_recall:.3f}), whole tracks {self.whole:.2f} of {self.tracks}, velocity "
            f"{self.velocity_error:.1%}, {self.inside:.0%} inside the interval, angle {self.angle_error:.1f}°"
        )


def score_tracks(
    particles: NDArray[np.void],
    numbers: NDArray[np.int64],
    truth: Truth | str | os.PathLike[str] | NDArray[np.void],
    tracks: NDArray[np.void] | None = None,
    *,
    frame_rate: float = 1.0,
    within: float = 2.0,
    snr: float = 5.0,
) -> TrackScore:
    """Compare particles and their links with the truth of a simulated recording.

    A detection and a true particle of a frame belong together if they are at most `within` px apart, nearest first.
    Particles weaker than `snr` or hidden in the white zone need not be found, but finding one is no fault.

    Parameters
    ----------
    particles : ndarray
        ``(n,)`` with fields frame, x, y, ordered by frame.
    numbers : ndarray
        ``(n,)`` int64, the track of each, -1 = none.
    truth : Truth, path or ndarray
        The truth, its file or its video's, or ``(n,)`` `STREAK_TRUTH`.
    tracks : ndarray, optional
        ``(m,)`` `TRACK` whose ``track`` is in `numbers`; without it velocity and angle are NaN.
    frame_rate : float
        Frames per second.
    within : float
        Px.
    snr : float
        The weakest that must be found.

    Raises
    ------
    ParameterError
        If `within` is not above 0.
    """
    if not within > 0:
        raise ParameterError(f"within must be above 0 px, got {within}")
    if not isinstance(truth, np.ndarray):
        truth = (truth if isinstance(truth, Truth) else Truth.load(truth)).streaks
    true = truth[np.argsort(truth["frame"], kind="stable")]
    visible = (true["snr"] > snr) & (true["hidden"] < 0.5)
    own = _matched(particles, true, within)
    of = np.full(len(true), -1, np.int64)
    of[own[own >= 0]] = np.flatnonzero(own >= 0)
    hits = int((visible & (of >= 0)).sum())
    false = int((own < 0).sum())
    recall, precision = _share(hits, int(visible.sum())), _share(hits, hits + false)
    links = _links(particles["frame"], numbers)
    wanted = _links(true["frame"], true["particle"])
    sure = wanted[visible[wanted].all(1)]
    right = {(int(a), int(b)) for a, b in wanted}
    of_truth = own[links]
    # A link both of whose ends are not in the truth is a fault of the detector, not of the links.
    judged = of_truth[(of_truth >= 0).any(1)]
    good = sum((int(a), int(b)) in right or _skips(true, a, b) for a, b in judged)
    made = {(int(own[a]), int(own[b])) for a, b in links}
    both = sure[(of[sure] >= 0).all(1)]
    caught = sum((int(a), int(b)) in made for a, b in both)
    link_recall, link_precision = _share(caught, len(both)), _share(good, len(judged))
    whole, count = _whole(true, visible, of, own, numbers)
    errors = _errors(true, own, numbers, tracks, frame_rate)
    return TrackScore(
        int(visible.sum()), len(particles), recall, precision, _mean(recall, precision),
        link_recall, link_precision, _mean(link_recall, link_precision), count, _share(whole, count), *errors,
    )  # fmt: skip


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else float("nan")


def _skips(true: NDArray[np.void], a: int, b: int) -> bool:
    """Whether a link across a gap joins one particle."""
    return bool(a >= 0 and b >= 0 and true["particle"][a] == true["particle"][b])


def _matched(particles: NDArray[np.void], true: NDArray[np.void], within: float) -> NDArray[np.int64]:
    """``(n,)`` row of the truth of each particle, -1 = none; nearest pairs first, one to one."""
    own = np.full(len(particles), -1, np.int64)
    for number in np.unique(particles["frame"]):
        first, last = np.searchsorted(particles["frame"], [number, number + 1])
        begin, end = np.searchsorted(true["frame"], [number, number + 1])
        x = particles["x"][first:last, None] - true["middle_x"][begin:end]
        y = particles["y"][first:last, None] - true["middle_y"][begin:end]
        apart = np.hypot(x, y)
        a, b = np.nonzero(apart <= within)
        taken: set[int] = set()
        for k in np.argsort(apart[a, b], kind="stable"):
            if own[first + a[k]] < 0 and int(b[k]) not in taken:
                own[first + a[k]] = begin + b[k]
                taken.add(int(b[k]))
    return own


def _links(frame: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.intp]:
    """``(k, 2)`` rows of one number that follow each other."""
    rows = np.flatnonzero(number >= 0)
    rows = rows[np.lexsort((frame[rows], number[rows]))]
    same = number[rows[1:]] == number[rows[:-1]]
    return np.stack([rows[:-1][same], rows[1:][same]], 1)


def _whole(
    true: NDArray[np.void], visible: NDArray[np.bool_], of: NDArray[np.int64], own: NDArray[np.int64], numbers: Any
) -> tuple[int, int]:
    order = np.flatnonzero(visible)
    order = order[np.lexsort((true["frame"][order], true["particle"][order]))]
    whole = count = 0
    held = {number: np.unique(true["particle"][own[(numbers == number) & (own >= 0)]]) for number in np.unique(numbers)}
    for rows in np.split(order, np.flatnonzero(np.diff(true["particle"][order])) + 1):
        if len(rows) < 2:
            continue
        count += 1
        ends = of[rows[[0, -1]]]
        if (ends >= 0).all() and numbers[ends[0]] >= 0 and numbers[ends[0]] == numbers[ends[1]]:
            whole += len(held[numbers[ends[0]]]) == 1
    return whole, count


def _errors(
    true: NDArray[np.void], own: NDArray[np.int64], numbers: Any, tracks: Any, frame_rate: float
) -> tuple[float, float, float]:
    """Velocity, share inside the interval and angle, of tracks of one particle with three points and more."""
    found = []
    for row in tracks if tracks is not None else ():
        rows = own[numbers == row["track"]]
        if (rows < 0).any() or len(rows) < 3 or len(np.unique(true["particle"][rows])) != 1:
            continue
        first, last = true[rows.min()], true[rows.max()]
        x, y = float(last["middle_x"]) - first["middle_x"], float(last["middle_y"]) - first["middle_y"]
        velocity = np.hypot(x, y) / max(last["frame"] - first["frame"], 1) * frame_rate
        angle = np.rad2deg(np.arctan2(-y, x))
        inside = row["velocity_low"] <= velocity <= row["velocity_high"]
        found.append(
            (abs(row["velocity"] / max(velocity, 1e-9) - 1), inside, abs((row["angle"] - angle + 180) % 360 - 180))
        )
    if not found:
        return float("nan"), float("nan"), float("nan")
    errors = np.array(found, float)
    return float(np.median(errors[:, 0])), float(errors[:, 1].mean()), float(np.median(errors[:, 2]))
