"""Whether the camera is well: frozen, dark, moved, out of focus, window fouled; compared with how it began."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.live.alarms import Observation
from spatterlib.live.picture_statistics import BLOCKS, THUMB, Look, look_at
from spatterlib.types import Picture

__all__ = ["CameraBaseline", "CameraFault", "CameraHealth", "Floor", "learn_baseline"]

CameraFault: TypeAlias = Literal["frozen", "dark", "moved", "focus", "fouled"]
FAULTS: dict[CameraFault, tuple[str, str]] = {
    "frozen": ("picture frozen", "picture changes"),
    "dark": ("picture dark", "picture light"),
    "moved": ("camera moved", "camera in place"),
    "focus": ("out of focus", "in focus"),
    "fouled": ("window fouled", "window clear"),
}
"""What is looked for, and what its states are called: when it is found, and when it is not."""

# S between two looks, and looks between two judgements.
_EVERY, _LOOKS = 0.2, 3
# S over which something is looked for; the shortest in which good pictures always showed it is taken.
_WINDOWS = (2.4, 4.0, 8.0, 16.0, 32.0)
# Looks in the median by which a shift is found, and judgements that must agree on it.
_MEDIAN, _AGREEING = 8, 3
# Of thumbs: px that a shift is looked for; correlation at a shift that is believed, and how much more than at none.
_FARTHEST, _ALIKE, _MORE = 16, 0.4, 0.12
# S of looks by which fouling is judged, between two such judgements; share of light that is left; how alike scenes are
# that are compared.
_SLOW, _SLOWLY, _LEFT, _SAME = 120.0, 6.0, 0.75, 0.99
# Levels above the darkest block, from which a block has light that can be lost.
_LIT = 3.0


@dataclass(frozen=True)
class Floor:
    """What a statistic always reached in good footage.

    Parameters
    ----------
    window : float
        S, within which it did.
    least : float
        The least of what it reached in any window.
    quantile : float
        What of the values in a window is taken; 1: the greatest.
    share : float
        Below this share of `least` it counts as fallen.
    """

    window: float
    least: float
    quantile: float
    share: float

    def fallen(self, times: NDArray[np.float64], values: NDArray[np.float64]) -> bool | None:
        """Whether it is below now; None where there are too few values to tell."""
        new = values[(times > times[-1] - self.window - 1e-9) & ~np.isnan(values)]
        whole = len(times) and times[-1] - times[0] >= self.window - 1.5 * _EVERY
        if not whole or len(new) < 5:
            return None
        return bool(np.quantile(new, self.quantile) < self.share * self.least)


def floor_of(
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    quantile: float,
    share: float,
    enough: float = 0.0,
    shortest: float = 0.0,
) -> Floor | None:
    """The floor of a statistic in good footage; None where it has none that could be told from nothing.

    That is `enough`, or 0.3 of what it reaches half of the time where that is 0. `shortest`: s, the shortest window.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.live.camera_health import floor_of
    >>> times = np.arange(0, 60, 0.2)
    >>> floor_of(times, np.where(times % 3 < 0.5, 0.0, 8.0), 1.0, 0.5)
    Floor(window=2.4, least=8.0, quantile=1.0, share=0.5)
    >>> floor_of(times, 0 * times, 1.0, 0.5) is None
    True
    """
    good = ~np.isnan(values)
    if not good.any():
        return None
    enough = enough or 0.3 * float(np.median(values[good]))
    for window in (window for window in _WINDOWS if window >= shortest):
        if times[-1] - times[0] < 3 * window:
            break
        reached = [
            np.quantile(part, quantile)
            for start in np.arange(times[0], times[-1] - window, 0.6)
            if len(part := values[(times >= start) & (times <= start + window) & good]) >= 5
        ]
        if reached and enough > 0 and min(reached) >= enough:
            return Floor(window, float(min(reached)), quantile, share)
    return None


@dataclass(frozen=True, eq=False)
class CameraBaseline:
    """How the camera sees when it is well.

    Parameters
    ----------
    floors : mapping of str to Floor
        Of "frozen", "dark", "focus".
    scenes : ndarray
        ``(n, 90, 81)`` complex64, spectra of pictures without their coarse structure, by which a shift is found.
    scene_shapes : ndarray
        ``(n, 144)`` float32, blocks of these pictures, each of length 1.
    shapes : ndarray
        ``(m, 144)`` float32, blocks of looks with light, of length 1.
    blocks : ndarray
        ``(m, 144)`` float32, their levels above `black`.
    black : float
        The darkest block.
    unarmed : mapping of str to str
        What cannot be looked for with this camera, and why.
    """

    floors: Mapping[CameraFault, Floor]
    scenes: NDArray[np.complex64]
    scene_shapes: NDArray[np.float32]
    shapes: NDArray[np.float32]
    blocks: NDArray[np.float32]
    black: float
    unarmed: Mapping[CameraFault, str]


def learn_baseline(looks: Sequence[Look], thumbs: Sequence[NDArray[np.float32]]) -> CameraBaseline:
    """How the camera sees, from looks at good footage, and `thumbs`: medians of some looks in a row each."""
    times = np.array([look.time for look in looks])
    statistics = _statistics(looks)
    floors: dict[CameraFault, Floor] = {}
    unarmed: dict[CameraFault, str] = {}
    for kind, how in _FLOORS.items():
        if floor := floor_of(times, statistics[kind], *how):
            floors[kind] = floor
        else:
            unarmed[kind] = _UNARMED[kind]
    blocks = np.array([look.blocks for look in looks], np.float32)
    black = float(blocks.min())
    blocks -= np.float32(black)
    lit = np.quantile(blocks, 0.75, axis=1) >= _LIT
    shapes = _unit(blocks[lit])
    alike = _nearest_elsewhere(shapes, times[lit])
    if lit.mean() < 0.1 or np.mean(alike > _SAME) < 0.3:
        unarmed["fouled"] = _UNARMED["fouled"]
    scenes = [(thumb, scene) for thumb in thumbs if (scene := _scene(thumb)) is not None]
    kept = np.array([thumb for thumb, _ in scenes]).reshape(-1, *THUMB)
    if len(scenes) < 3:
        unarmed["moved"] = _UNARMED["moved"]
    spectra = np.array([scene for _, scene in scenes])
    scene_shapes = _unit(_blocks_of(kept) - np.float32(black))
    return CameraBaseline(floors, spectra, scene_shapes, shapes, blocks[lit], black, unarmed)


# Which quantile of a window, which share of its least is too little, how much is enough to be told from nothing, and s,
# the shortest window.
_FLOORS: dict[CameraFault, tuple[float, float, float, float]] = {
    "frozen": (1.0, 0.3, 0.0, 0.0),
    "dark": (1.0, 0.4, 4.0, 0.0),
    "focus": (0.75, 0.45, 0.0, 4.0),
}
_UNARMED: dict[CameraFault, str] = {
    "frozen": "pictures of this camera often rest, all alike",
    "dark": "pictures of this camera are often dark for long",
    "moved": "pictures of this camera have no structure that stays",
    "focus": "pictures of this camera have too little fine structure",
    "fouled": "this camera sees no scene with light that comes again",
}
_FALLEN: dict[CameraFault, str] = {
    "frozen": "the picture has not changed for {:g} s, beyond what coding it anew does",
    "dark": "no light in the picture for {:g} s: dark, covered or blinded",
    "focus": "fine structure is missing for {:g} s",
}


def _statistics(looks: Sequence[Look]) -> dict[CameraFault, NDArray[np.float64]]:
    return {
        "frozen": np.array([look.change for look in looks]),
        "dark": np.array([look.light for look in looks]),
        "focus": np.array([look.sharpness for look in looks]),
    }


def _unit(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(blocks / np.maximum(np.linalg.norm(blocks, axis=-1, keepdims=True), 1e-6), np.float32)


def _blocks_of(thumbs: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = BLOCKS
    means = thumbs.reshape(len(thumbs), rows, THUMB[0] // rows, columns, THUMB[1] // columns).mean((2, 4))
    return np.asarray(means.reshape(len(thumbs), rows * columns), np.float32)


def _nearest_elsewhere(shapes: NDArray[np.float32], times: NDArray[np.float64]) -> NDArray[np.float32]:
    """How alike each is to the one that is most like it, 2 s away or more."""
    alike = shapes @ shapes.T
    alike[np.abs(times[:, None] - times) < 2.0] = 0.0
    return np.asarray(alike.max(1) if len(alike) else np.zeros(0), np.float32)


def _scene(thumb: NDArray[np.float32]) -> NDArray[np.complex64] | None:
    """Spectrum of what stays when coarse structure is taken away, of length 1; None where nothing does."""
    import cv2

    fine = thumb - cv2.GaussianBlur(thumb, (0, 0), 4.0)
    spread = float(np.median(np.abs(fine))) * 1.48
    if spread < 0.15:
        return None
    # The melt pool is bright, and elsewhere each time.
    fine = np.clip(fine, -3 * spread, 3 * spread)
    fine *= _WINDOW
    return np.asarray(np.fft.rfft2(fine / np.linalg.norm(fine)), np.complex64)


_WINDOW = np.asarray(np.outer(np.hanning(92)[1:-1] ** 0.5, np.hanning(162)[1:-1] ** 0.5), np.float32)


def shift_of(baseline: CameraBaseline, thumb: NDArray[np.float32]) -> tuple[int, int] | None:
    """Px of thumbs (down, right) by which a picture is shifted; (0, 0): it is not; None: it cannot be told.

    The correlation of the picture with the most similar ones of the baseline, through their spectra.
    """
    spectrum = _scene(thumb)
    if spectrum is None or not len(baseline.scenes):
        return None
    shape = _unit(_blocks_of(thumb[None]) - baseline.black)[0]
    best = np.argsort(baseline.scene_shapes @ shape)[-3:]
    maps = np.fft.irfft2(spectrum * baseline.scenes[best].conj(), THUMB)
    span = np.arange(-_FARTHEST, _FARTHEST + 1)
    near = maps[:, span[:, None], span].max(0)
    down, right = np.unravel_index(near.argmax(), near.shape)
    top, still = float(near[down, right]), float(near[_FARTHEST, _FARTHEST])
    if top < _ALIKE:
        return None
    return (int(span[down]), int(span[right])) if top > still + _MORE else (0, 0)


def light_left(baseline: CameraBaseline, look: Look) -> NDArray[np.float32] | None:
    """Of each block, the share of its light that is left, compared with the same scene of the baseline.

    NaN where it had none. None where no scene is the same, or the look has no light.
    """
    blocks = look.blocks - baseline.black
    if "fouled" in baseline.unarmed or not np.linalg.norm(blocks):
        return None
    alike = baseline.shapes @ _unit(blocks)
    near = np.argsort(alike)[-3:]
    # A spot on the window changes a few blocks only: those of the scene that are not the worst still agree.
    if alike[near[-1]] < _SAME - 0.09:
        return None
    then = np.median(baseline.blocks[near], axis=0)
    return np.asarray(np.where(then >= _LIT, blocks / np.maximum(then, 1e-6), np.nan), np.float32)


@dataclass
class CameraHealth:
    """Looks at pictures as they come, learns how the camera sees, and then says what is wrong with it.

    Parameters
    ----------
    learn : float
        S of pictures from which it learns.
    baseline : CameraBaseline or None
        What it has learned; None: it still learns.

    Examples
    --------
    >>> from spatterlib.live.camera_health import CameraHealth
    >>> CameraHealth(60.0).findings()
    ()
    """

    learn: float
    baseline: CameraBaseline | None = None
    _looks: deque[Look] = field(default_factory=deque, repr=False)
    _thumbs: deque[NDArray[np.float32]] = field(default_factory=lambda: deque(maxlen=_MEDIAN), repr=False)
    _scenes: list[NDArray[np.float32]] = field(default_factory=list, repr=False)
    _left: deque[tuple[float, NDArray[np.float32]]] = field(default_factory=deque, repr=False)
    _shifts: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_AGREEING), repr=False)
    _last: Look | None = None
    _since: dict[CameraFault, float] = field(default_factory=dict, repr=False)
    _count: int = 0
    _slowly: float = -math.inf
    _learned: float = 0.0
    _fresh: bool = False

    def due(self, time: float) -> bool:
        """Whether it is time for another look."""
        return self._last is None or time - self._last.time >= _EVERY - 1e-3

    def look(self, picture: Picture, time: float) -> None:
        """Look at a picture; times increase."""
        before, self._last = self._last, look_at(picture, time, self._last)
        if before is not None and before.sample.shape != self._last.sample.shape:
            # Another size: another picture altogether.
            self.forget(baseline=True)
            self._last = before = None
            return
        self._count += 1
        self._learned += min(time - before.time, 1.0) if before else 0.0
        self._looks.append(self._last)
        self._thumbs.append(self._last.thumb)
        if self.baseline is None:
            self._learn()
        else:
            self._watch(self.baseline, self._last)

    def forget(self, *, baseline: bool = False) -> None:
        """The stream broke: what comes next does not follow what was seen; with `baseline`, nor is it like it."""
        if self.baseline is not None or baseline:
            self._looks.clear()
        self._thumbs.clear()
        self._shifts.clear()
        self._since.clear()
        self._last, self._fresh = None, False
        if baseline:
            self.baseline, self._learned = None, 0.0
            self._scenes.clear()
            self._left.clear()

    def _learn(self) -> None:
        if self._count % _MEDIAN == 0 and len(self._thumbs) == _MEDIAN:
            self._scenes.append(np.median(self._thumbs, axis=0))
        if self._learned >= self.learn:
            self.baseline = learn_baseline(self._looks, self._scenes)
            self._scenes.clear()
            self._looks.clear()

    def _watch(self, baseline: CameraBaseline, look: Look) -> None:
        while look.time - self._looks[0].time > _WINDOWS[-1] + 1.0:
            self._looks.popleft()
        if (left := light_left(baseline, look)) is not None:
            self._left.append((look.time, left))
        while self._left and look.time - self._left[0][0] > _SLOW:
            self._left.popleft()
        if self._count % _LOOKS == 0:
            self._fresh = True
            if len(self._thumbs) == _MEDIAN and "moved" not in baseline.unarmed:
                shift = shift_of(baseline, np.median(self._thumbs, axis=0))
                if shift is not None:
                    self._shifts.append(shift)

    def findings(self) -> tuple[tuple[CameraFault, Observation], ...]:
        """What can be said now, each as an observation for the state machine of alarms; nothing between judgements."""
        if not self._fresh or self.baseline is None or self._last is None:
            return ()
        self._fresh = False
        return tuple(self._judged(self.baseline, self._last.time))

    def _judged(self, baseline: CameraBaseline, now: float) -> Iterator[tuple[CameraFault, Observation]]:
        times = np.array([look.time for look in self._looks])
        statistics = _statistics(self._looks)
        fallen = {kind: floor.fallen(times, statistics[kind]) for kind, floor in baseline.floors.items()}
        blind = bool(fallen.get("frozen") or fallen.get("dark"))
        for kind, floor in baseline.floors.items():
            if not (blind and kind == "focus"):
                yield from self._said(kind, fallen[kind], _FALLEN[kind].format(floor.window), now - floor.window)
        if not blind:
            yield from self._said("moved", *self._moved())
            yield from self._said("fouled", *self._fouled(now))

    def _said(
        self, kind: CameraFault, wrong: bool | None, reason: str, since: float = math.nan
    ) -> Iterator[tuple[CameraFault, Observation]]:
        if wrong is None:
            return
        bad, good = FAULTS[kind]
        if not wrong:
            self._since.pop(kind, None)
            yield kind, Observation(good, True, "as when the watch began")
            return
        begun = self._since.setdefault(kind, since if math.isfinite(since) else self._looks[-1].time)
        yield kind, Observation(bad, False, reason, since=begun)

    def _moved(self) -> tuple[bool | None, str, float]:
        if len(self._shifts) < _AGREEING:
            return None, "", math.nan
        shifts = np.array(self._shifts)
        agree = bool((np.ptp(shifts, axis=0) <= 1).all())
        far = np.abs(shifts).max(1) >= 1
        if not agree and far.any():
            return None, "", math.nan
        down, right = np.median(shifts, axis=0) / np.array(THUMB) * 100
        begun = self._looks[-1].time - _AGREEING * _LOOKS * _EVERY
        return (
            bool(far.all()),
            f"the picture is shifted by {right:+.1f} % of its width, {down:+.1f} % of its height",
            begun,
        )

    def _fouled(self, now: float) -> tuple[bool | None, str, float]:
        if now - self._slowly < _SLOWLY or len(self._left) < 100 or now - self._left[0][0] < 0.5 * _SLOW:
            return None, "", math.nan
        self._slowly = now
        left = np.median(np.array([share for _, share in self._left]), axis=0)
        left = left[~np.isnan(left)]
        if len(left) < 8:
            return None, "", math.nan
        share, worst = float(np.median(left)), float(np.quantile(left, 0.1))
        wrong = share < _LEFT or worst < 0.6
        reason = f"{100 * share:.0f} % of the light is left, {100 * worst:.0f} % where least is: window or lamp"
        return wrong, reason, now
