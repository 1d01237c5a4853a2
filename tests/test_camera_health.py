"""A camera that freezes, is covered, bumped, out of focus or behind a fouled window is told; a good one is not."""

from __future__ import annotations

import copy
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spatterlib.live.alarms import AlarmState, Observation, step
from spatterlib.live.camera_health import FAULTS, CameraFault, CameraHealth, floor_of
from spatterlib.live.clock import ClockSteps
from spatterlib.live.picture_statistics import look_at
from spatterlib.live.settings import AlarmSettings
from spatterlib.simulation import SimulationSettings, simulate_frames
from spatterlib.types import RgbPicture

# Looks are taken five times a second, so more frames need not be drawn. S of learning, and frames.
RATE, LEARN, LEARNED = 5, 60.0, 310
Luma = NDArray[np.uint8]
Fault = Callable[[Luma, Luma, float], Luma]


@cache
def build(seed: int, *, light: float = 0.0, seconds: int = 100) -> list[Luma]:
    """Luma of a simulated build; `light`: levels of a lamp in the chamber, under which the bed is seen."""
    settings = SimulationSettings(
        gas_flow=["low", "high", "low>high"][seed % 3],
        camera=("mid", "left", "right")[seed % 3],
        seconds=seconds + 10,  # the laser rests at the end
        fps=RATE,
        exposure=0.036,
        seed=seed,
    )
    draw = np.random.default_rng(seed)
    bed = cv2.GaussianBlur(draw.standard_normal((360, 640)).astype(np.float32), (0, 0), 1.0) * 0.3 + 0.9
    lamp = light * bed * np.linspace(0.6, 1.2, 640, dtype=np.float32)
    frames = simulate_frames(settings, 0, seconds * RATE, copy=False)
    grey = (cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY) for frame in frames)
    return [np.clip(picture + np.rint(lamp), 0, 255).astype(np.uint8) for picture in grey]


def look(health: CameraHealth, picture: Luma, time: float) -> tuple[tuple[CameraFault, Observation], ...]:
    health.look(RgbPicture(picture), time)
    return health.findings()


@cache
def learned(seed: int, light: float = 0.0) -> CameraHealth:
    health = CameraHealth(LEARN)
    for number, picture in enumerate(build(seed, light=light)[:LEARNED]):
        look(health, picture, number / RATE)
    assert health.baseline is not None
    assert not health.baseline.unarmed
    return health


def told(health: CameraHealth, pictures: Sequence[Luma], begin: int) -> Iterator[tuple[CameraFault, float]]:
    """Events that begin, by the state machine of alarms as it is set by default: kind, and s from the beginning."""
    states: dict[CameraFault, AlarmState] = defaultdict(AlarmState)
    for number, picture in enumerate(pictures, begin):
        for kind, seen in look(health, picture, number / RATE):
            states[kind], notices = step(states[kind], seen, number / RATE, 1, AlarmSettings())
            if any(notice.phase == "new" for notice in notices):
                yield kind, (number - begin) / RATE


def freeze(_: Luma, first: Luma, __: float) -> Luma:
    return first


def cover(picture: Luma, _: Luma, moment: float) -> Luma:
    noise = np.random.default_rng(int(moment * 10)).normal(1.0, 1.5, picture.shape)
    return np.clip(np.rint(noise), 0, 255).astype(np.uint8)


def bump(picture: Luma, _: Luma, __: float) -> Luma:
    moved = cv2.warpAffine(picture, np.array([[1, 0, 5], [0, 1, -4]], np.float32), (640, 360))
    return np.asarray(moved, np.uint8)


def defocus(picture: Luma, _: Luma, __: float) -> Luma:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5), np.uint8)


FOUND: list[tuple[CameraFault, Fault]] = [("frozen", freeze), ("dark", cover), ("moved", bump), ("focus", defocus)]


def delays(kind: CameraFault, fault: Fault, seed: int, moments: Sequence[int], light: float) -> list[float]:
    found = []
    for moment in moments:
        health = copy.deepcopy(learned(seed, light))
        pictures = build(seed, light=light)
        for number in range(max(LEARNED, moment - 15), moment):
            assert not [seen for _, seen in look(health, pictures[number], number / RATE) if seen.normal is False]
        after = pictures[moment : moment + 60]
        wrong = [fault(picture, after[0], number / RATE) for number, picture in enumerate(after)]
        found += [next((late for which, late in told(health, wrong, moment) if which == kind), np.inf)]
    return found


@pytest.mark.parametrize(("kind", "fault"), FOUND)
def test_a_fault_of_the_camera_is_told_within_5_s(kind: CameraFault, fault: Fault) -> None:
    """At any moment of the build; a camera that is bumped needs some light on the bed, see the next test."""
    light = 20.0 if kind == "moved" else 0.0
    assert max(delays(kind, fault, 4, [331, 391, 428], light)) <= 5.0


def test_a_bump_in_the_dark_is_told_when_the_recoater_lights_the_bed() -> None:
    """Layers of 6.8 s, in which nothing of the bed is to be seen, and then 10.4 s of light."""
    [late] = delays("moved", bump, 4, [LEARNED + 35], 0.0)
    assert late <= 6.8 + 5.0


@pytest.mark.torture
@pytest.mark.parametrize("light", [0.0, 20.0])
@pytest.mark.parametrize(("kind", "fault"), FOUND)
def test_of_many_faults_at_random_moments_19_of_20_are_told_within_5_s(
    kind: CameraFault, fault: Fault, light: float
) -> None:
    draw = np.random.default_rng(25)
    found = [
        late for seed in range(10, 20) for late in delays(kind, fault, seed, draw.integers(320, 440, 4).tolist(), light)
    ]
    limit = 11.8 if kind == "moved" and not light else 5.0
    assert np.mean(np.array(found) <= limit) >= 0.95


def test_good_footage_makes_no_event() -> None:
    for light in (0.0, 20.0):
        health = copy.deepcopy(learned(4, light))
        assert not list(told(health, build(4, light=light)[LEARNED:], LEARNED))


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(30, 42))
def test_hours_of_good_footage_make_no_event(seed: int) -> None:
    pictures = build(seed, seconds=900)
    assert not list(told(CameraHealth(120.0), pictures, 0))


@pytest.mark.parametrize("spot", [pytest.param(False, marks=pytest.mark.torture), True])
def test_a_window_that_loses_its_light_is_told_when_it_has_lasted_for_a_minute(spot: bool) -> None:
    """All of it or a fifth; where it comes slowly, once half of the looks of the last 120 s have lost that much."""
    health = copy.deepcopy(learned(4))
    pictures = build(4)[LEARNED : LEARNED + 172]  # two layers
    fouled = [picture.copy() for picture in pictures]
    for picture in fouled:
        part = picture[216:, :256] if spot else picture
        part[...] = np.rint(part * (0.4 if spot else 0.6))
    found = dict(told(health, 3 * fouled, LEARNED))
    assert set(found) == {"fouled"}
    assert 60.0 <= found["fouled"] <= 90.0


@pytest.mark.parametrize("rate", [1_000_000, 4_000_000])
def test_the_same_picture_coded_anew_is_frozen(rate: int) -> None:
    health = copy.deepcopy(learned(4))
    still = coded([build(4)[LEARNED + 20]] * 8 * 25, rate)
    assert dict(told(health, still[::5], LEARNED))["frozen"] <= 5.0


def coded(pictures: Sequence[Luma], rate: int) -> list[Luma]:
    """As a camera sends them: H.264, a key frame every second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": "25", "x264-params": "log-level=none"}
        stream: Any = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 640, 360, "yuv420p", rate
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, 2), "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as back:
        return [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in back.decode(video=0)]


def test_a_camera_that_sees_nothing_says_what_cannot_be_looked_for() -> None:
    health = CameraHealth(30.0)
    for number in range(170):
        assert look(health, np.zeros((48, 64), np.uint8), number / RATE) == ()
    assert health.baseline is not None
    assert set(health.baseline.unarmed) == set(FAULTS)


def test_another_size_of_the_picture_is_learned_anew() -> None:
    health = copy.deepcopy(learned(4))
    for number in range(20):
        assert look(health, np.zeros((48, 64), np.uint8), 62 + number / RATE) == ()
    assert health.baseline is None


def test_after_a_gap_nothing_is_judged_by_what_was_before() -> None:
    health = copy.deepcopy(learned(4))
    pictures = build(4)
    dark = [cover(pictures[0], pictures[0], number) for number in range(8)]
    assert not list(told(health, dark, LEARNED))
    health.forget()
    assert not list(told(health, dark, LEARNED + 100))


@pytest.mark.parametrize("window", [2.4, 4.0, 8.0])
def test_what_is_away_for_long_in_good_footage_is_waited_for_longer(window: float) -> None:
    times = np.arange(0, 120, 0.2)
    values = np.where(times % 20 < window - 1.1, 0.0, 7.0)
    floor = floor_of(times, values, 1.0, 0.5)
    assert floor is not None
    assert (floor.window, floor.least) == (window, 7.0)
    assert not floor.fallen(times[: round(5 * (20 + window - 1.4))], values[: round(5 * (20 + window - 1.4))])
    assert floor.fallen(times, np.where(times > 119.0 - window, 0.0, values))


@pytest.mark.parametrize("shape", [(360, 640), (1080, 1920), (90, 64)])
def test_what_is_said_of_a_picture_does_not_depend_on_its_size(shape: tuple[int, int]) -> None:
    across = np.linspace(0, 200, shape[1]).astype(np.uint8)
    seen = look_at(RgbPicture(np.broadcast_to(across, shape).copy()), 0.0)
    assert seen.blocks.reshape(9, 16)[0].tolist() == pytest.approx(np.arange(16) * 12.5 + 6, abs=2)


def test_a_clock_that_jumps_is_an_event_and_one_that_is_drawn_right_slowly_is_none() -> None:
    steps = ClockSteps()
    assert all(steps.observe(moment, 0, moment * 0.5).normal for moment in range(50))
    assert steps.observe(50.0, 0, 25.0 - 3600.0).reason == "this machine's clock was set by -3599.5 s"
    assert steps.observe(60.0, 0, 25.0 - 3600.0).normal is False
    assert steps.observe(81.0, 0, 25.0 - 3600.0).normal
    assert "time stamps" in steps.observe(82.0, 1, 25.0 - 3600.0).reason
