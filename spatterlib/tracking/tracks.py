"""From a recording of a high-speed camera to tracks: one row a point, one row a track."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.student import student
from spatterlib.detection.defaults import Position, Roi
from spatterlib.detection.detect import frame_span
from spatterlib.detection.particles import PARTICLE, Particles, grey_of
from spatterlib.errors import ParameterError
from spatterlib.measuring.camera import Camera
from spatterlib.tracking.linking import LinkSettings, link
from spatterlib.types import Video
from spatterlib.video.opening import clips, open_video

__all__ = ["POINT", "TRACK", "Tracks", "track", "track_points", "tracks_of"]

POINT = np.dtype([("track", "<i8"), *((name, PARTICLE[name]) for name in PARTICLE.names or ())])
"""One row per point: `PARTICLE`, px of the full frame, and ``track``, the number of its track from 0."""

TRACK = np.dtype(
    [
        ("track", "<i8"),
        ("points", "<i4"),
        ("gaps", "<i4"),
        ("first", "<i8"),
        ("last", "<i8"),
        ("duration", "<f8"),
        ("start_x", "<f4"),
        ("start_y", "<f4"),
        ("end_x", "<f4"),
        ("end_y", "<f4"),
        ("velocity", "<f4"),
        ("velocity_low", "<f4"),
        ("velocity_high", "<f4"),
        ("angle", "<f4"),
        ("angle_error", "<f4"),
        ("curvature", "<f4"),
        ("size", "<f4"),
        ("brightness", "<f4"),
        ("cooling", "<f4"),
        ("speed", "<f4"),
        ("speed_low", "<f4"),
        ("speed_high", "<f4"),
        ("source_x", "<f4"),
        ("source_y", "<f4"),
    ]
)
"""One row per track.

``points``: how many; ``gaps``: frames between that have none; ``first last``: frames; ``duration``: s between them;
``start end``: px, on the curve fitted to its points; ``velocity``: px per s, from start to end, and its 90 % interval;
``angle``: degrees from start to end, full circle, 0 = right, 90 = up, and its standard error; ``curvature``: 1/px,
positive = turns to its left as seen; ``size``: px, median; ``brightness``: grey levels, median; ``cooling``: s in which
its light falls to 1/e, NaN where it does not fall or is saturated; ``speed``: m/s across the line of sight and its 90 %
interval, NaN without a scale; ``source``: mm on the bed where it starts, by the homography of the camera, NaN without.
"""

_SLOWEST = 500.0
"""Frames/s; at fewer, particles of 1 m/s fly past each other from frame to frame."""
_FASTEST_MM = 10_000.0
_QUADRATIC = 5
# Px, of the way from start to end: what the pixels do to all points of a track alike.
_STEADY = 0.1


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of particles.

    Parameters
    ----------
    points : ndarray
        ``(n,)`` `POINT`, by track and frame.
    tracks : ndarray
        ``(m,)`` `TRACK`, by number.
    frames, particles : int
        How many frames were looked at, and how many particles were found in them.
    frame_rate : float
        Frames per second.
    missing : tuple of int
        Frames that could not be read; tracks go on across them where they can.
    reasons : dict
        What could not be measured, and why.
    """

    points: NDArray[np.void]
    tracks: NDArray[np.void]
    frames: int
    particles: int
    frame_rate: float
    missing: tuple[int, ...]
    reasons: dict[str, str]

    def __str__(self) -> str:
        linked = len(self.points) / max(self.particles, 1)
        text = f"{len(self.tracks)} tracks of {self.particles} particles in {self.frames} frames, {linked:.0%} linked"
        if len(self.tracks):
            name, unit = ("velocity", "px/s") if "speed" in self.reasons else ("speed", "m/s")
            text += f", median speed {np.nanmedian(self.tracks[name]):.3g} {unit}"
        return text


def track(
    video: str | os.PathLike[str] | Video,
    camera: Camera | None = None,
    *,
    detector: Particles | None = None,
    start: Position = None,
    stop: Position = None,
    roi: Roi = None,
    fps: float | None = None,
) -> Tracks:
    """Follow every particle of a high-speed recording from frame to frame.

    Parameters
    ----------
    video : str, path or Video
        The recording.
    camera : Camera, optional
        What is known of the camera: true frame rate, exposure, scale. Without it the container's frame rate counts, and
        speeds are in px per s.
    detector : Particles, optional
        How particles are found.
    start, stop, roi, fps
        As in `extract`.

    Returns
    -------
    Tracks

    Raises
    ------
    ParameterError
        If the frame rate is too low to follow particles.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> import spatterlib as sp
    >>> frames = np.zeros((5, 64, 64), np.uint8)
    >>> for number in range(5):
    ...     frames[number, 30:33, 10 + 4 * number : 13 + 4 * number] = [[60, 120, 60], [120, 240, 120], [60, 120, 60]]
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "short.npy"
    >>> np.save(path, frames)
    >>> found = sp.track(path, fps=1000)
    >>> [seen] = found.tracks
    >>> int(seen["points"]), round(float(seen["velocity"])), round(float(seen["angle"]))
    (5, 4000, 0)
    """
    with open_video(video, fps) as source:
        settings = settings_of(source.times, camera)
        span = frame_span(source, start, stop)
        missing: list[int] = []
        found = list(track_points(source, settings, detector, span=span, roi=roi, missing=missing))
    points = np.concatenate([rows for rows, _ in found]) if found else np.empty(0, PARTICLE)
    numbers = np.concatenate([own for _, own in found]) if found else np.empty(0, np.int64)
    rows = points_of(points, numbers)
    reasons = _reasons(camera)
    table = tracks_of(rows, settings.frame_rate, camera)
    return Tracks(rows, table, len(span), len(points), settings.frame_rate, tuple(missing), reasons)


def settings_of(times: NDArray[np.float64], camera: Camera | None = None) -> LinkSettings:
    """How to link frames of these times, by this camera.

    Raises
    ------
    ParameterError
        If the frame rate is too low to follow particles.
    """
    steps = np.diff(times[np.isfinite(times)])
    rate = camera.frame_rate if camera else (1 / float(np.median(steps)) if len(steps) else 0.0)
    if rate < _SLOWEST:
        raise ParameterError(
            f"particles cannot be followed at {rate:.4g} frames/s: they fly past each other between frames; it takes "
            f"{_SLOWEST:g} frames/s. Measure streaks with `spatterlib streaks`, or give the true rate of a recording "
            "that is played slowly (--fps, or frame_rate of a camera profile)"
        )
    if camera is None:
        return LinkSettings(rate)
    scale = camera.middle_scale()
    reach = _FASTEST_MM / rate / scale if np.isfinite(scale) else 40.0
    return LinkSettings(rate, float(np.clip(reach, 2.0, 60.0)), camera.exposure * rate)


def track_points(
    video: Video,
    settings: LinkSettings,
    detector: Particles | None = None,
    *,
    span: range | None = None,
    roi: Roi = None,
    missing: list[int] | None = None,
) -> Iterator[tuple[NDArray[np.void], NDArray[np.int64]]]:
    """Particles of each frame and the numbers of their tracks, in memory that does not grow with the recording.

    Parameters
    ----------
    video : Video
        The opened recording.
    settings : LinkSettings
        As `settings_of` gives them.
    detector : Particles, optional
        How particles are found.
    span : range, optional
        Frames; all by default.
    roi : tuple of int, optional
        Part of the frame.
    missing : list, optional
        Takes the numbers of frames that cannot be read.

    Yields
    ------
    tuple of ndarray
        ``(n,)`` `PARTICLE` in px of the full frame, ``(n,)`` int64, -1 = in no track.
    """
    frames = range(len(video.times)) if span is None else span
    yield from link(_found(video, detector or Particles(), frames, roi, missing), settings)


def _found(
    video: Video, detector: Particles, span: range, roi: Roi, missing: list[int] | None
) -> Iterator[NDArray[np.void]]:
    """Particles frame by frame, found in two threads; nothing where a frame is missing."""
    following = span.start
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(2) as threads:
        for clip in clips(video, lead=0, start=span.start, stop=span.stop, roi=roi):
            for _ in range(following, clip.start):
                waiting.append(None)
            if missing is not None:
                missing.extend(range(following, clip.start))
            following = clip.start + len(clip.pictures) - clip.lead

            def measured(index: int, clip: Any = clip) -> NDArray[np.void]:
                number = clip.start - clip.lead + index
                rows = detector.particles(grey_of(clip, index), number, float(clip.times[index]))
                rows["x"], rows["left"] = rows["x"] + clip.box[0], rows["left"] + clip.box[0]
                rows["y"], rows["top"] = rows["y"] + clip.box[1], rows["top"] + clip.box[1]
                return rows

            waiting.extend(threads.submit(measured, index) for index in range(clip.lead, len(clip.pictures)))
            while len(waiting) > 8:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
        for number in range(following, span.stop):
            if missing is not None:
                missing.append(number)
            yield np.empty(0, PARTICLE)


def _result(job: Any) -> NDArray[np.void]:
    return np.empty(0, PARTICLE) if job is None else job.result()


def points_of(particles: NDArray[np.void], numbers: NDArray[np.int64]) -> NDArray[np.void]:
    """``(n,)`` `POINT` of what is in a track, by track and frame; tracks numbered as by `renumbered`."""
    kept = numbers >= 0
    points = np.empty(int(kept.sum()), POINT)
    for name in PARTICLE.names or ():
        points[name] = particles[name][kept]
    points["track"] = renumbered(numbers)[kept]
    return np.asarray(points[np.argsort(points["track"], kind="stable")])


def renumbered(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(n,)`` int64, tracks numbered from 0 by their first point; -1 = in no track."""
    kept = numbers >= 0
    _, first, own = np.unique(numbers[kept], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    changed = numbers.copy()
    changed[kept] = rank[own]
    return changed


def _reasons(camera: Camera | None) -> dict[str, str]:
    if camera is None:
        text = "no camera profile is given"
        return {"speed": text, "source": text}
    reasons = {}
    if camera.mm_per_px is None and camera.homography is None:
        reasons["speed"] = "neither mm_per_px nor homography is given"
    if camera.homography is None:
        reasons["source"] = "homography is not given"
    return reasons


def tracks_of(points: NDArray[np.void], frame_rate: float, camera: Camera | None = None) -> NDArray[np.void]:
    """``(m,)`` `TRACK` of points that are ordered by track and frame.

    Parameters
    ----------
    points : ndarray
        ``(n,)`` `POINT`.
    frame_rate : float
        Frames per second.
    camera : Camera, optional
        Gives mm.
    """
    cuts = np.flatnonzero(np.diff(points["track"])) + 1
    parts = np.split(points, cuts) if len(points) else []
    table = np.zeros(len(parts), TRACK)
    for row, part in zip(table, parts, strict=True):
        _describe(row, part, frame_rate)
    _in_mm(table, camera)
    return table


def _describe(row: Any, part: NDArray[np.void], frame_rate: float) -> None:
    number, count = part["frame"], len(part)
    row["track"], row["points"] = part["track"][0], count
    row["first"], row["last"] = number[0], number[-1]
    row["gaps"] = number[-1] - number[0] + 1 - count
    row["duration"] = (number[-1] - number[0]) / frame_rate
    along = 2 * (number - number[0]) / (number[-1] - number[0]) - 1
    powers = np.vander(along, 3 if count >= _QUADRATIC else 2, increasing=True)
    places = np.stack([part["x"], part["y"]], 1)
    inverse = np.linalg.pinv(powers)
    curve = inverse @ places
    free = count - powers.shape[1]
    expected = float(np.mean(part["error"].astype(np.float64) ** 2))
    scatter = float(((places - powers @ curve) ** 2).sum()) / (2 * free) if free else 0.0
    # Few points tell little of their scatter: what is known of the detector counts like four more.
    variance = (4 * expected + 2 * free * scatter) / (4 + 2 * free)
    way = 2 * curve[1]
    error = np.hypot(2 * np.sqrt(variance * float((inverse[1] ** 2).sum())), _STEADY)
    length, duration = float(np.hypot(*way)), float(row["duration"])
    row["start_x"], row["start_y"] = powers[0] @ curve
    row["end_x"], row["end_y"] = powers[-1] @ curve
    margin = student(4 + 2 * free, 0.9) * error
    row["velocity"] = length / duration
    row["velocity_low"], row["velocity_high"] = max(length - margin, 0) / duration, (length + margin) / duration
    row["angle"] = np.rad2deg(np.arctan2(-way[1], way[0])) % 360
    row["angle_error"] = min(np.rad2deg(error / max(length, 1e-9)), 180.0)
    bend = np.nan
    if len(curve) == 3:
        bend = -2 * (curve[1][0] * curve[2][1] - curve[1][1] * curve[2][0]) / max(np.hypot(*curve[1]), 1e-9) ** 3
    row["curvature"] = bend
    row["size"], row["brightness"] = np.median(part["size"]), np.median(part["brightness"])
    row["cooling"] = _cooling(part, frame_rate)
    for name in ("speed", "speed_low", "speed_high", "source_x", "source_y"):
        row[name] = np.nan


def _cooling(part: NDArray[np.void], frame_rate: float) -> float:
    """S in which the light falls to 1/e, NaN where that cannot be told."""
    clear = part[(part["saturated"] == 0) & (part["light"] > 0)]
    if len(clear) < _QUADRATIC:
        return float("nan")
    time = (clear["frame"] - clear["frame"].mean()) / frame_rate
    light = np.log(clear["light"].astype(np.float64))
    fall = -float((time * light).sum() / (time**2).sum())
    return 1 / fall if fall > 0 else float("nan")


def _in_mm(table: NDArray[np.void], camera: Camera | None) -> None:
    if camera is None:
        return
    middle = (table["start_x"] + table["end_x"]) / 2, (table["start_y"] + table["end_y"]) / 2
    scale = camera.scale(*middle)
    if scale is not None:
        for name in ("", "_low", "_high"):
            table[f"speed{name}"] = table[f"velocity{name}"] * scale / 1000
    if camera.homography is not None:
        matrix = np.asarray(camera.homography)
        u, v, w = matrix @ np.stack([table["start_x"], table["start_y"], np.ones(len(table))])
        table["source_x"], table["source_y"] = u / w, v / w


def frames_of(points: NDArray[np.void], numbers: Iterable[int]) -> Iterator[NDArray[np.void]]:
    """Rows of each of these frames, from rows ordered by frame."""
    for number in numbers:
        first, last = np.searchsorted(points["frame"], [number, number + 1])
        yield points[first:last]
