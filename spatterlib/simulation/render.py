"""One frame of a simulated recording: a pure function of the settings and the frame's number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.simulation import glow, imaging, physics
from spatterlib.simulation.scene import Canvas, Flow, Scene, View
from spatterlib.simulation.settings import SimulationSettings
from spatterlib.simulation.tables import lit_regions, owner, streak_rows
from spatterlib.simulation.truth import EVENT_TRUTH, STREAK_TRUTH
from spatterlib.types import Image

LONGEST = 0.1
"""S, no flight is followed for longer."""
_DOSE = 2.1e12
_NUMBERS = 1 << 16
"""Particles of a block have numbers below it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame and what is true of it.

    Parameters
    ----------
    number : int
        From 0.
    rgb : ndarray
        ``(h, w, 3)`` uint8 RGB; overwritten by the next frame, unless `simulate_frames` copied it.
    events, streaks : ndarray
        ``(n,)`` `EVENT_TRUTH` and `STREAK_TRUTH`; the field `event` of a streak counts within the frame.
    """

    number: int
    rgb: Image
    events: NDArray[np.void]
    streaks: NDArray[np.void]


def simulate_frames(
    settings: SimulationSettings, start: int = 0, stop: int | None = None, *, copy: bool = True
) -> Iterator[Frame]:
    """Frames and truth in memory, one after the other.

    Parameters
    ----------
    settings : SimulationSettings
        What is simulated.
    start, stop : int
        First frame and the one behind the last; any span gives the same frames as the whole.
    copy : bool
        Give every frame its own array; without, the next frame overwrites it.

    Yields
    ------
    Frame

    Examples
    --------
    >>> from spatterlib.simulation import SimulationSettings, simulate_frames
    >>> [frame.rgb.shape for frame in simulate_frames(SimulationSettings(seconds=0.08))]
    [(360, 640, 3), (360, 640, 3)]
    """
    scene = Scene(settings)
    canvas = scene.canvas()
    out = np.empty((settings.height, settings.width, 3), np.uint8)
    for number in range(start, settings.frames if stop is None else stop):
        events, streaks = render(scene, number, canvas, out)
        yield Frame(number, out.copy() if copy else out, events, streaks)


def render(scene: Scene, number: int, canvas: Canvas, out: Image) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Draw one frame.

    Parameters
    ----------
    scene : Scene
        What is simulated.
    number : int
        The frame.
    canvas : Canvas
        The thread's own.
    out : ndarray
        ``(h, w, 3)`` uint8 RGB, written.

    Returns
    -------
    tuple of ndarray
        ``(n,)`` `EVENT_TRUTH`, ``(n,)`` `STREAK_TRUTH`; the field `event` counts within the frame.
    """
    rows = _exposed(scene, number, canvas, out)
    if scene.settings.monochrome:
        import cv2

        out[...] = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None]
    return rows


def _exposed(scene: Scene, number: int, canvas: Canvas, out: Image) -> tuple[NDArray[np.void], NDArray[np.void]]:
    from spatterlib.kernels.simulation.exposure import compose, develop

    settings = scene.settings
    opened = number / settings.fps
    closed = opened + settings.shutter
    view, grain, gain = scene.view(opened), scene.window(number), scene.gain(opened)
    lines = (settings.height, 3 * settings.width)
    bed, grain, flat = scene.bed(view, opened).reshape(lines), grain.reshape(lines), out.reshape(lines)
    compose(bed, grain, imaging.black(settings), flat)
    if not scene.schedule.lit(opened - LONGEST, closed):
        return np.empty(0, EVENT_TRUTH), np.empty(0, STREAK_TRUTH)
    bounds = np.array([settings.width, settings.height, 0, 0])
    seen = _fly(scene, canvas, opened, closed, view, gain, bounds)
    track = canvas.track[: _scan(scene, canvas, opened, closed, view)]
    box = _light(scene, canvas, track, scene.flow(opened), gain, number, bounds, view)
    if box is None:
        return np.empty(0, EVENT_TRUTH), np.empty(0, STREAK_TRUTH)
    left, top, right, bottom = box
    canvas.clean[top:bottom, left:right] = 0
    tint = (np.array(glow.TINT) * gain / gain.mean()).astype(np.float32)
    develop(
        canvas.light.reshape(lines), canvas.veil, view.texture, tint, bed, grain, scene.curve, canvas.lit,
        flat, canvas.clean,
    )  # fmt: skip
    events = _events(scene, canvas, box, number, track)
    streaks = _streaks(scene, canvas, seen, number, view, gain, events)
    events["streaks"] = np.bincount(streaks["event"] + 1, minlength=len(events) + 1)[1:]
    return events, streaks


def _fly(
    scene: Scene, canvas: Canvas, opened: float, closed: float, view: View, gain: Any, bounds: Any
) -> tuple[Any, Any, Any]:
    """Draw the flights of the exposure: their points, flights, traces."""
    from spatterlib.kernels.simulation.streak_drawing import draw

    points, flown = _alive(scene, canvas, opened, closed)
    if len(canvas.traces) < len(flown):
        canvas.traces = np.empty((2 * len(flown), 13))
    count = draw(
        points, flown, opened, closed, view.shift, gain, scene.spread, scene.visible,
        canvas.light, canvas.lit, bounds, canvas.traces,
    )  # fmt: skip
    return points, flown, canvas.traces[:count]


def _alive(scene: Scene, canvas: Canvas, opened: float, closed: float) -> tuple[Any, Any]:
    """Points and flights of all blocks from which something may still fly, as one."""
    first, last = int((opened - LONGEST) // physics.BLOCK), int(closed // physics.BLOCK)
    blocks = (_block(scene, canvas, block) for block in range(max(first, 0), last + 1))
    alive = [(points, flown) for points, flown, end in blocks if end > opened]
    if not alive:
        return canvas.points[:0], canvas.flown[:0]
    offsets = np.cumsum([0, *(len(points) for points, _ in alive)])
    joined = np.concatenate([flown for _, flown in alive])
    joined[:, 1:3] += np.repeat(offsets[:-1], [len(flown) for _, flown in alive])[:, None]
    if len(canvas.alive) < offsets[-1]:
        canvas.alive = np.empty((2 * offsets[-1], canvas.alive.shape[1]), np.float32)
    points = canvas.alive[: offsets[-1]]
    np.concatenate([part for part, _ in alive], out=points)
    return points, joined


def _block(scene: Scene, canvas: Canvas, block: int) -> tuple[Any, Any, float]:
    """Points, flights and last moment of one block of time; kept as long as frames may need them."""
    if block in canvas.blocks:
        return canvas.blocks[block]
    from spatterlib.kernels.simulation.flights import STEP, fly

    begin, course = block * physics.BLOCK, scene.schedule
    count = used = 0
    if course.lit(begin, begin + physics.BLOCK):
        flow = scene.flow(begin)
        draws = physics.particles(scene.settings, block, flow.rate)[: len(canvas.flown)]
        count, used = fly(
            draws, begin, physics.BLOCK, flow.ejection, physics.KINDS, scene.material,
            course.starts, course.islands, course.vigour, physics.HATCH_MM, scene.settings.world("scan_speed"),
            _DOSE * scene.scale, scene.projection, scene.planck,
            canvas.points, canvas.flown,
        )  # fmt: skip
    for old in [key for key in canvas.blocks if not block - 8 <= key <= block + 8]:
        del canvas.blocks[old]
    flown = canvas.flown[:count].copy()
    flown[:, 7] += block * _NUMBERS
    ends = flown[:, 0] + (flown[:, 2] - flown[:, 1]) * STEP
    canvas.blocks[block] = canvas.points[:used].copy(), flown, float(ends.max(initial=-1.0))
    return canvas.blocks[block]


def _scan(scene: Scene, canvas: Canvas, opened: float, closed: float, view: View) -> int:
    from spatterlib.kernels.simulation.flights import scan

    course = scene.schedule
    return int(
        scan(
            opened, closed, course.starts, course.islands, physics.HATCH_MM, scene.settings.world("scan_speed"),
            scene.projection, view.shift, canvas.track,
        )
    )  # fmt: skip


def _light(
    scene: Scene, canvas: Canvas, track: Any, flow: Flow, gain: Any, number: int, bounds: Any, view: View
) -> tuple[int, int, int, int] | None:
    """Melt pool, focus and glow; the box of all that is lit, None if nothing is."""
    import cv2

    from spatterlib.kernels.simulation.exposure import halo
    from spatterlib.kernels.simulation.flights import gather
    from spatterlib.kernels.simulation.streak_drawing import melt

    settings, scale = scene.settings, scene.scale
    if len(track):
        power = glow.melt_power(settings, scale, gain)
        melt(
            glow.boiling(settings, track, scale, number), power, glow.melt_pool(scale), canvas.light, canvas.lit, bounds
        )
    left, top, right, bottom = _inside(settings, bounds)
    if right <= left or bottom <= top:
        return None
    part = canvas.light[top:bottom, left:right]
    cv2.GaussianBlur(part, (5, 5) if scene.nuisance.focus > 0.6 else (3, 3), scene.nuisance.focus, part)
    if not len(track):
        return left, top, right, bottom
    sources = canvas.sources[: gather(track, glow.SOURCES, canvas.sources)]
    reach = np.array(glow.REACH) * scale
    low, high = track[:, :2].min(0) - reach, track[:, :2].max(0) + reach
    lobes, bed = glow.glow(settings, scene.nuisance, flow.left, flow.speed, scale, gain, sources, number)
    halo(
        sources.astype(np.float32), lobes, bed, view.ground, (float(reach[0]), float(reach[1])), canvas.lit, canvas.veil
    )
    return _inside(settings, (*np.minimum(bounds[:2], low), *np.maximum(bounds[2:], high)))


def _inside(settings: SimulationSettings, bounds: Any) -> tuple[int, int, int, int]:
    """Bounds in px, out to whole tiles, cut to the frame."""
    from spatterlib.kernels.simulation.streak_drawing import TILE

    left, top = (max(int(value) // TILE * TILE, 0) for value in bounds[:2])
    right, bottom = (-(-int(value) // TILE) * TILE for value in bounds[2:])
    return left, top, min(right, settings.width), min(bottom, settings.height)


def _events(scene: Scene, canvas: Canvas, box: Any, number: int, track: Any) -> NDArray[np.void]:
    events, time = lit_regions(canvas.clean, box, track), number / scene.settings.fps
    events["frame"], events["time"], events["gas_speed"] = number, time, scene.flow(time).speed
    events["layer"] = scene.schedule.layer_at(time + scene.settings.shutter)
    return events


def _streaks(
    scene: Scene, canvas: Canvas, drawn: Any, number: int, view: View, gain: Any, events: Any
) -> NDArray[np.void]:
    from spatterlib.kernels.simulation.streak_drawing import contrast

    points, flown, traces = drawn
    if not len(traces):
        return np.empty(0, STREAK_TRUTH)
    seen = np.empty((len(traces), 2))
    contrast(
        points, flown, traces, view.shift, gain, scene.spread, scene.curve, scene.linear, canvas.clean, seen
    )  # fmt: skip
    rows = streak_rows(points, flown, traces, seen, view.shift)
    noise = max(scene.settings.noise * scene.nuisance.noise, 0.5)
    rows["frame"], rows["snr"] = number, rows["brightness"] / noise
    rows["width"] = 2.355 * np.hypot(scene.spread, rows["width"])
    # What the shutter cuts at both ends may be a blob, as high-speed cameras see it.
    long = (rows["length"] >= 0.5) | ((rows["cut"] & 3) == 3)
    kept: NDArray[np.void] = rows[long & (rows["brightness"] >= 2)]
    kept["event"] = owner(kept, events)
    return kept
