"""Links from frame to frame: prediction from position, velocity and smear, assignment, gaps, births and deaths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import ParameterError

__all__ = ["LinkSettings", "link"]

_ALONE = 25.0
_FAR = 18.0
# Share of the velocity that drag takes in a ms, as far as it is not known.
_DRAG = 0.06
_SLACK = 0.02
_LOG_BRIGHTNESS = 0.5
# Px of way over which a lost particle is waited for, and the most frames.
_WAIT_PX, _WAIT = 12.0, 30
_SURE = 30.0


@dataclass(frozen=True)
class LinkSettings:
    """How particles are linked.

    Parameters
    ----------
    frame_rate : float
        Frames per second.
    reach : float
        Px, the farthest that a particle flies from one frame to the next.
    smear : float, optional
        Px of smear to one px of way from frame to frame: exposure over frame interval; NaN where it is not known.
    chance : float
        Links of new tracks that would be expected by chance more often than this are not made.

    Raises
    ------
    ParameterError
        If a value is outside its range.
    """

    frame_rate: float
    reach: float = 40.0
    smear: float = float("nan")
    chance: float = 0.3

    def __post_init__(self) -> None:
        limits = {"frame_rate": (1, 1e7), "reach": (0.1, 10_000), "chance": (1e-9, 1)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ParameterError(f"{name} must be {low:g} to {high:g}, got {getattr(self, name)!r}")


@dataclass(eq=False)
class _Open:
    """Tracks that may go on: number, place, velocity, variances of both, logarithm of the light, frames missed."""

    number: NDArray[np.int64]
    place: NDArray[np.float64]
    velocity: NDArray[np.float64]
    spread: NDArray[np.float64]
    light: NDArray[np.float64]
    missed: NDArray[np.int64]

    def only(self, kept: Any) -> _Open:
        return _Open(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))

    def joined(self, other: _Open) -> _Open:
        return _Open(*(np.concatenate([getattr(s, name) for s in (self, other)]) for name in self.__dataclass_fields__))


@dataclass(eq=False)
class _Frame:
    """Particles of one frame and the tracks that they belong to, -1 = none yet."""

    rows: NDArray[np.void]
    place: NDArray[np.float64]
    track: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.track = np.full(len(self.rows), -1, np.int64)

    @property
    def free(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.track < 0)


def link(
    frames: Iterable[NDArray[np.void]], settings: LinkSettings
) -> Iterator[tuple[NDArray[np.void], NDArray[np.int64]]]:
    """Give every particle the number of its track; memory holds three frames and the open tracks.

    Parameters
    ----------
    frames : iterable of ndarray
        ``(n,)`` `spatterlib.detection.particles.PARTICLE` of each frame; empty where nothing was found or a
        frame is missing.
    settings : LinkSettings
        How they are linked.

    Yields
    ------
    tuple of ndarray
        The particles of one frame, and ``(n,)`` int64 numbers of their tracks, from 0; -1 = in no track.
    """
    empty = np.empty((0, 2))
    tracks = _Open(np.empty(0, np.int64), empty, empty, np.empty((0, 3)), np.empty(0), np.empty(0, np.int64))
    past: list[_Frame] = []
    count = 0
    for rows in frames:
        now = _Frame(rows, np.stack([rows["x"], rows["y"]], 1).astype(np.float64))
        tracks = _continued(tracks, now, settings)
        past.append(now)
        started, count = _begun(past, settings, count)
        tracks = tracks.joined(started)
        if len(past) == 3:
            done = past.pop(0)
            yield done.rows, done.track
    for done in past:
        yield done.rows, done.track


def _agility(velocity: NDArray[np.float64], settings: LinkSettings) -> NDArray[np.float64]:
    """Px per frame², by how much a velocity may change from one frame to the next."""
    return np.asarray(_SLACK + np.hypot(*velocity.T) * min(_DRAG * 1000 / settings.frame_rate, 0.3))


def _continued(tracks: _Open, now: _Frame, settings: LinkSettings) -> _Open:
    from spatterlib.kernels.tracking.assignment import assign

    if not len(tracks.number):
        return tracks
    noise = _agility(tracks.velocity, settings) ** 2
    place = tracks.place + tracks.velocity
    pp, pv, vv = tracks.spread.T
    spread = np.stack([pp + 2 * pv + vv + noise / 4, pv + vv + noise / 2, vv + noise], 1)
    rows, taken = now.rows, np.full(len(place), -1, np.int64)
    if len(rows):
        error = rows["error"].astype(np.float64) ** 2
        seen = spread[:, :1] + error
        costs = ((place[:, None] - now.place) ** 2).sum(2) / seen
        near = np.nonzero(costs < _FAR)
        costs[costs >= _FAR] = np.inf
        costs[near] += np.log(np.maximum(seen[near], 0.01) / 0.01)
        costs[near] += np.minimum(((tracks.light[near[0]] - _light(rows[near[1]])) / _LOG_BRIGHTNESS) ** 2, 9)
        costs[near] += np.minimum(_smear_cost(rows[near[1]], tracks.velocity[near[0]], settings), 16)
        assign(costs, _ALONE, taken)
    hit = taken >= 0
    chosen = taken[hit]
    now.track[chosen] = tracks.number[hit]
    if hit.any():
        error = rows["error"][chosen].astype(np.float64) ** 2
        gain = spread[hit, :2] / (spread[hit, 0] + error)[:, None]
        off = now.place[chosen] - place[hit]
        place[hit] += gain[:, :1] * off
        tracks.velocity[hit] += gain[:, 1:] * off
        pp, pv, vv = spread[hit].T
        spread[hit] = np.stack([(1 - gain[:, 0]) * pp, (1 - gain[:, 0]) * pv, vv - gain[:, 1] * pv], 1)
        tracks.light[hit] += 0.5 * (_light(rows[chosen]) - tracks.light[hit])
    tracks.missed[:] = np.where(hit, 0, tracks.missed + 1)
    tracks.place, tracks.spread = place, spread
    patience = np.clip(_WAIT_PX / np.maximum(np.hypot(*tracks.velocity.T), 0.1), 2, _WAIT)
    return tracks.only(tracks.missed <= patience)


def _light(rows: NDArray[np.void]) -> NDArray[np.float64]:
    return np.log(np.maximum(rows["light"].astype(np.float64), 1))


def _smear_cost(rows: NDArray[np.void], way: NDArray[np.float64], settings: LinkSettings) -> NDArray[np.float64]:
    """How badly smears suit ways from frame to frame: squared deviations of direction and, if known, of length."""
    angle = np.rad2deg(np.arctan2(-way[:, 1], way[:, 0]))
    turn = np.abs((rows["angle"] - angle + 90) % 180 - 90)
    sure = rows["angle_error"] < _SURE
    cost = np.where(sure, (turn / (rows["angle_error"] + 3)) ** 2, 0.0)
    if np.isfinite(settings.smear):
        expected = np.hypot(*way.T) * settings.smear
        cost += ((rows["length"] - expected) / (0.5 + 0.2 * expected)) ** 2
    return np.asarray(cost, np.float64)


def _smear_chance(rows: NDArray[np.void], settings: LinkSettings) -> NDArray[np.float64]:
    """Share of smears that would suit by chance."""
    share = np.where(rows["angle_error"] < _SURE, np.minimum(2 * (rows["angle_error"] + 3) / 90, 1), 1.0)
    return np.asarray(share * (0.6 if np.isfinite(settings.smear) else 1.0), np.float64)


def _begun(past: list[_Frame], settings: LinkSettings, count: int) -> tuple[_Open, int]:
    """Tracks that begin: three points on a line at even distances, then two whose smears suit."""
    found: list[tuple[float, tuple[int, ...]]] = []
    if len(past) == 3:
        found = _triples(past, settings)
    starts: list[tuple[int, ...]] = []
    for _, points in found:
        frames = past[-len(points) :]
        if all(frame.track[k] < 0 for frame, k in zip(frames, points, strict=True)):
            for frame, k in zip(frames, points, strict=True):
                frame.track[k] = count + len(starts)
            starts.append(points)
    pairs: list[tuple[int, int]] = []
    if len(past) == 3:
        for _, (a, b) in _pairs(past[0], past[1], settings):
            if past[0].track[a] < 0 and past[1].track[b] < 0:
                past[0].track[a] = past[1].track[b] = count + len(starts) + len(pairs)
                pairs.append((a, b))
    begun = _opened(past, starts, pairs, settings, count)
    return begun, count + len(starts) + len(pairs)


def _opened(
    past: list[_Frame], starts: list[tuple[int, ...]], pairs: list[tuple[int, int]], settings: LinkSettings, count: int
) -> _Open:
    total = len(starts) + len(pairs)
    place, velocity, spread = np.empty((total, 2)), np.empty((total, 2)), np.empty((total, 3))
    light = np.empty(total)
    for n, (a, b, c) in enumerate(starts):
        first, middle, last = past[0].place[a], past[1].place[b], past[2].place[c]
        place[n], velocity[n] = last, (last - first) / 2 + (last - 2 * middle + first) / 2
        error = float(past[2].rows["error"][c]) ** 2
        spread[n] = error, error / 2, error
        light[n] = _light(past[2].rows[c : c + 1])[0]
    for n, (a, b) in enumerate(pairs, len(starts)):
        velocity[n] = past[1].place[b] - past[0].place[a]
        place[n] = past[1].place[b] + velocity[n]
        error = float(past[1].rows["error"][b]) ** 2
        spread[n] = 5 * error, 3 * error, 2 * error
        light[n] = _light(past[1].rows[b : b + 1])[0]
    spread[:, 2] += _agility(velocity, settings) ** 2 if total else 0
    missed = np.zeros(total, np.int64)
    missed[len(starts) :] = 1
    return _Open(count + np.arange(total), place, velocity, spread, light, missed)


def _near(one: _Frame, other: _Frame, reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Free particles of two frames within reach of one another, and the ways between."""
    a, b = one.free, other.free
    ways = other.place[b] - one.place[a][:, None]
    first, second = np.nonzero((ways**2).sum(2) < reach**2)
    return a[first], b[second], ways[first, second]


def _density(frame: _Frame) -> float:
    """Particles per px² where there are particles: half of them lie within the box of the middle halves."""
    if len(frame.place) < 4:
        return 1e-4
    low, high = np.quantile(frame.place, (0.15, 0.85), axis=0)
    return float(0.5 * len(frame.place) / max(float(np.prod(high - low)), 400.0))


def _pairs(one: _Frame, other: _Frame, settings: LinkSettings) -> list[tuple[float, tuple[int, int]]]:
    """Pairs that are rarer by chance than allowed, the surest first."""
    a, b, way = _near(one, other, settings.reach)
    if not len(a):
        return []
    rows, others = one.rows[a], other.rows[b]
    cost = _smear_cost(rows, way, settings) + _smear_cost(others, way, settings)
    cost += np.minimum(((_light(rows) - _light(others)) / _LOG_BRIGHTNESS) ** 2, 9)
    chance = _density(other) * np.pi * ((way**2).sum(1) + 0.1)
    chance *= _smear_chance(rows, settings) * _smear_chance(others, settings)
    good = (cost < _FAR) & (chance < 0.3 * settings.chance)
    total = cost[good] + 2 * np.log(chance[good])
    order = np.argsort(total, kind="stable")
    a, b = a[good][order], b[good][order]
    return list(zip(total[order].tolist(), zip(a.tolist(), b.tolist(), strict=True), strict=True))


def _triples(past: list[_Frame], settings: LinkSettings) -> list[tuple[float, tuple[int, ...]]]:
    """Three particles at even distances that are rarer by chance than allowed, the surest first."""
    a, b, way = _near(past[0], past[1], settings.reach)
    c = past[2].free
    if not len(a) or not len(c):
        return []
    suits = _smear_cost(past[0].rows[a], way, settings) + _smear_cost(past[1].rows[b], way, settings)
    kept = suits < _FAR
    a, b, way, suits = a[kept], b[kept], way[kept], suits[kept]
    slack = (2 * _agility(way, settings)) ** 2 + 6 * past[1].rows["error"][b].astype(np.float64) ** 2
    off = ((past[1].place[b] + way)[:, None] - past[2].place[c]) ** 2
    cost = off.sum(2) / slack[:, None]
    pair, third = np.nonzero(cost < 12)
    a, b, c, way, suits, slack, cost = (
        a[pair], b[pair], c[third], way[pair], suits[pair], slack[pair], cost[pair, third]
    )  # fmt: skip
    frames = [past[0].rows[a], past[1].rows[b], past[2].rows[c]]
    cost = cost + suits + _smear_cost(frames[2], way, settings)
    for one, other in ((0, 1), (1, 2)):
        cost += np.minimum(((_light(frames[one]) - _light(frames[other])) / _LOG_BRIGHTNESS) ** 2, 9)
    density = _density(past[2])
    # By chance: another that is as near, and a third in the place that follows.
    chance = np.minimum(density * np.pi * ((way**2).sum(1) + 0.1), 50) * density * 2 * np.pi * slack
    for rows in frames:
        chance = chance * _smear_chance(rows, settings)
    good = (cost < 1.5 * _FAR) & (chance < settings.chance)
    total = cost[good] + 2 * np.log(chance[good])
    order = np.argsort(total, kind="stable")
    points = zip(a[good][order].tolist(), b[good][order].tolist(), c[good][order].tolist(), strict=True)
    return list(zip(total[order].tolist(), points, strict=True))
