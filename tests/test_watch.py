"""Watching: streams, growing files, verdicts while it builds, few messages, nothing lost in silence."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import number_of, paint, write
from predictions import build
from streams import Camera, transport_stream

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import Exit, MissingFileError, OutputExistsError, ParameterError, SpatterlibError, VideoError
from spatterlib.learning.looks import unseen
from spatterlib.live import alarms, rolling
from spatterlib.live.clock import Clock, tick
from spatterlib.live.feed import Feed, StreamFrame, StreamLost, StreamOpened
from spatterlib.live.latency import Latencies
from spatterlib.live.messages import COMMON, FIELDS, json_line, text_line
from spatterlib.live.outbox import Outbox
from spatterlib.live.prometheus import address_of
from spatterlib.live.rolling import Rolling
from spatterlib.live.senders import Mqtt, Webhook, headers_of
from spatterlib.live.settings import AlarmSettings, ChartSettings, OutputSettings, WatchSettings
from spatterlib.live.source import GrowingFile, OpenedSource, SourceFrame, camera_frames, kind_of, open_source, redacted
from spatterlib.types import DETECTION, RgbPicture
from spatterlib.verdicts.judgement import Span, VerdictState, judge, judge_rows
from spatterlib.verdicts.rules import Rules

GAP = 2.0


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def wait_for(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


@cache
def watched() -> tuple[Any, list[dict[str, Any]]]:
    """The simulated build as a file that has grown to its end: summary and messages."""
    messages: list[dict[str, Any]] = []
    options: dict[str, Any] = {"window": 20, "every": 0.05, "store": str(kept()), "notify": messages.append}
    return sp.watch(str(build()), "simulated", expected="high", gap=GAP, idle=0.1, **options), messages


@cache
def kept() -> Path:
    """Where it keeps what it finds."""
    return Path(mkdtemp(prefix="spatterlib-watch-")) / "live.h5"


@cache
def short() -> Path:
    """A layer of low flow, and a little of the next."""
    path = Path(mkdtemp(prefix="spatterlib-watch-")) / "short.mp4"
    sp.simulate(path, gas_flow="low", seconds=10.0, layer_seconds=6.8, recoat_seconds=2.5, seed=9907)
    return path


@cache
def afterwards() -> sp.Verdict:
    """What `predict` says of it when it is done."""
    return sp.predict(build(), "simulated", expected="high", gap=GAP)


@cache
def parts(frames: int = 150) -> list[bytes]:
    return transport_stream(short(), frames)


# -- what is the same as afterwards


def test_final_verdicts_are_those_that_predict_gives_afterwards() -> None:
    found, _ = watched()
    assert len(found.layers) == len(afterwards().layers) == 5
    for ours, theirs in zip(found.layers, afterwards().layers, strict=True):
        approximate = {"probability": theirs.probability, "low": theirs.low, "high": theirs.high}
        assert replace(ours, **approximate) == theirs
        assert {name: getattr(ours, name) for name in approximate} == pytest.approx(approximate, abs=1e-5)


def test_every_frame_of_a_file_is_looked_at() -> None:
    facts = watched()[0].facts
    with sp.open_video(build()) as video:
        assert facts["received"] == facts["decoded"] == len(video.times)
    assert (facts["dropped"], facts["undecoded"], facts["gaps"]) == (0, 0, 0)
    assert facts["crops"] == len(afterwards().rows)
    assert facts["events"] == len(np.unique(afterwards().rows["event"]))


def test_the_store_is_that_of_an_extraction(tmp_path: Path) -> None:
    found, _ = watched()
    sp.extract(build(), tmp_path / "afterwards.h5", stop="8s")
    with sp.open_store(kept()) as live, sp.open_store(tmp_path / "afterwards.h5") as after:
        n = len(after)
        np.testing.assert_array_equal(live.table[:n], after.table)
        assert live.encoded(range(n)) == after.encoded(range(n))
        np.testing.assert_array_equal(live.frame_log[: len(after.frame_log)], after.frame_log)
        assert live.attrs["complete"] is True
        assert live.attrs["simulated"] is True
        assert len(live.frame_log) == found.facts["received"]
        np.testing.assert_array_equal(live.table["frame"], afterwards().rows["frame"])


def test_a_store_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "there.h5").write_bytes(b"precious")
    with pytest.raises(OutputExistsError):
        sp.watch("unseen.mkv", "simulated", store=str(tmp_path / "there.h5"))


# -- messages


def test_messages_have_all_their_fields_and_survive_json() -> None:
    _, messages = watched()
    assert {found["type"] for found in messages} >= {"start", "verdict", "alarm", "end"}
    for found in messages:
        assert set(found) == {*COMMON, *FIELDS[found["type"]]}
        assert json.loads(json_line(found)) == found
        assert "\n" not in json_line(found)


def test_the_page_explains_every_field() -> None:
    text = (Path(__file__).parents[1] / "docs" / "live.md").read_text(encoding="utf-8")
    for kind, fields in {"every message": COMMON, **FIELDS}.items():
        for name, meaning in fields.items():
            assert f"| `{name}` | {meaning} |" in text, f"{kind}: {name}"


def test_what_is_simulated_says_so_to_people_and_programs() -> None:
    _, messages = watched()
    assert all(found["simulated"] for found in messages)
    shown = [text_line(found) for found in messages if found["type"] in ("start", "alarm", "end")]
    assert all(" (simulated recording; model learned from simulated recordings only)" in text for text in shown)


def test_there_is_one_event_with_a_beginning_and_an_end_and_not_one_a_frame() -> None:
    _, messages = watched()
    said = [(found["event"], found["phase"], found["state"]) for found in messages if found["type"] == "alarm"]
    assert said[0] == (1, "new", "critical")
    assert len(said) < 10
    grammar(said)


def grammar(said: list[tuple[int, str, str]]) -> None:
    """new update* end, one event after the other."""
    following = 1
    open_ = False
    for event, phase, _ in said:
        assert event == following
        assert (phase == "new") is not open_
        open_ = phase != "end"
        following += phase == "end"


def test_no_event_has_the_number_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that changed after the stream was lost gave the next one a number that was taken."""
    messages: list[dict[str, Any]] = []
    take, breaks = Feed.take, ["new", "update"]

    def breaking(self: Feed, most: int, seconds: float) -> Any:
        phases = [found["phase"] for found in messages if found["type"] == "alarm" and found["event"] == 1]
        if breaks and breaks[0] in phases:
            breaks.pop(0)
            return [StreamLost(0.0, "cut", 0.0)]
        return take(self, most, seconds)

    def judged(*arguments: Any) -> Span:
        state: VerdictState = "critical" if len(breaks) == 2 else "attention"
        return replace(judge_rows(*arguments), state=state, label=None)

    monkeypatch.setattr(Feed, "take", breaking)
    monkeypatch.setattr("spatterlib.live.watcher.judge_rows", judged)
    sp.watch(str(short()), "simulated", expected="high", hold=0.0, remind=0.001, idle=0.1, notify=messages.append)
    assert [found["event"] for found in messages if found["type"] == "alarm" and found["phase"] == "new"] == [1, 2, 3]


def test_running_verdicts_come_before_the_final_one_and_say_how_late_they_are() -> None:
    _, messages = watched()
    layers = [found for found in messages if found["type"] == "verdict" and found["scope"] == "layer"]
    first = [found for found in layers if found["number"] == 1]
    assert [found["final"] for found in first[-2:]] == [False, True]
    assert all(found["latency"] > 0 for found in first[:-1] if found["latency"] is not None)
    windows = [found for found in messages if found["type"] == "verdict" and found["scope"] == "window"]
    assert max(found["stop"] - found["start"] for found in windows) == pytest.approx(20)


# -- time, latency


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 1e4), st.booleans()), min_size=1, max_size=40))
@settings(deadline=None)
def test_times_always_increase(frames: list[tuple[float | None, float, bool]]) -> None:
    clock, arrived, times = Clock(), 0.0, []
    for stamp, passed, fresh in frames:
        arrived += passed
        clock, moment = tick(clock, stamp, arrived, fresh=fresh)
        times.append(moment)
    assert times[0] == 0.0
    assert (np.diff(times) > 0).all()


def test_a_stream_that_begins_anew_goes_on_in_time() -> None:
    clock, _ = tick(Clock(), 1000.0, 50.0)
    clock, before = tick(clock, 1001.0, 51.0)
    clock, after = tick(clock, 3.0, 58.0, fresh=True)
    clock, next_ = tick(clock, 3.04, 58.04)
    assert (before, after) == (1.0, 8.0)
    assert next_ == pytest.approx(8.04)


def test_a_time_stamp_that_runs_away_is_not_believed() -> None:
    clock, _ = tick(Clock(), 0.0, 0.0)
    clock, moment = tick(clock, 5000.0, 0.04)
    assert moment == pytest.approx(0.04)
    _, moment = tick(clock, 5000.04, 0.08)
    assert moment == pytest.approx(0.08)


@given(st.lists(st.floats(1e-4, 3000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
@settings(deadline=None)
def test_quantiles_of_latency_are_right_to_two_percent(seconds: list[float], share: float) -> None:
    found = Latencies()
    found.add(seconds)
    exact = float(np.quantile(seconds, share, method="inverted_cdf"))
    assert exact * (1 - 1e-9) <= found.quantile(share) <= exact * 1.0201
    assert found.within(4000) == found.count == len(seconds)


# -- layers and events as they come


@st.composite
def streams(draw: Any) -> tuple[Any, list[int]]:
    """A table of spatter in small frames, and where it is cut into batches of whole frames."""
    rows = draw(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 20), st.integers(2, 12)), max_size=40))
    table = np.zeros(len(rows), DETECTION)
    for index, (frame, x, width) in enumerate(sorted(rows)):
        table[index]["frame"], table[index]["time"] = frame, frame * 0.1
        table[index]["x"], table[index]["width"], table[index]["height"] = x, width, 4
    return table, draw(st.lists(st.integers(1, 26), max_size=8))


@given(streams(), st.sampled_from([0.15, 0.35, 1.0]))
@settings(max_examples=60, deadline=None)
def test_layers_and_events_do_not_depend_on_how_the_stream_was_cut(stream: Any, gap: float) -> None:
    table, cuts = stream
    state = Rolling.empty(2)
    for part in np.split(table, np.searchsorted(table["frame"], sorted(set(cuts)))):
        odds = np.full((len(part), 2), 0.5)
        state = rolling.add_rows(state, part, odds, np.zeros(len(part), np.float32), unseen(len(part)), gap=gap)
    np.testing.assert_array_equal(state.rows["layer"], sp.layers(table["time"], gap).number)
    theirs = sp.events(table).number
    assert len(set(zip(state.rows["event"].tolist(), theirs.tolist(), strict=True))) == len(set(theirs.tolist()))
    assert state.events == len(set(theirs.tolist()))


def test_a_layer_ends_after_the_pause_and_is_forgotten_when_the_window_is_past() -> None:
    table = np.zeros(2, DETECTION)
    table["frame"], table["time"] = [0, 200], [0.0, 20.0]
    state = rolling.add_rows(
        Rolling.empty(2), table[:1], np.full((1, 2), 0.5), np.zeros(1, np.float32), unseen(1), gap=GAP
    )
    assert list(rolling.finished_layers(state, 1.9, GAP)) == []
    assert list(rolling.finished_layers(state, 2.1, GAP)) == [1]
    state = rolling.forget_rows(state, 1, -40.0)
    assert len(state.rows) == 1
    assert list(rolling.finished_layers(state, 2.1, GAP)) == []
    state = rolling.add_rows(state, table[1:], np.full((1, 2), 0.5), np.zeros(1, np.float32), unseen(1), gap=GAP)
    assert state.layer == 2
    assert rolling.forget_rows(state, 1, 10.0).rows["layer"].tolist() == [2]


# -- few messages


def span(state: VerdictState, label: str | None = None) -> Span:
    """A verdict of that state."""
    one = judge(np.zeros(1), np.zeros(1, np.int64), np.array([[0.9, 0.1]]), ("low", "high"), Rules())
    return replace(one, state=state, label=label, leading=label or "low", reason=state)


def said(steps: list[tuple[Span, float]], **options: Any) -> list[tuple[int, str, str]]:
    alarm = alarms.AlarmState()
    found: list[tuple[int, str, str]] = []
    for verdict, moment in steps:
        number = max((event for event, _, _ in found), default=0) + 1
        alarm, notices = alarms.step(alarm, alarms.observe_verdict(verdict), moment, number, **options)
        found += [(notice.event, notice.phase, notice.state) for notice in notices]
    return found


def test_a_state_must_last_before_it_is_told_and_is_told_once() -> None:
    bad = span("critical", "low")
    assert said([(bad, 0.0), (bad, 1.9)]) == []
    assert said([(bad, t / 10) for t in range(100)]) == [(1, "new", "critical")]
    assert said([(bad, 0.0)], final=True) == [(1, "new", "critical")]


def test_a_state_that_flickers_is_not_told() -> None:
    flicker = [(span("critical", "low") if n % 2 else span("OK", "high"), n * 1.0) for n in range(50)]
    assert said(flicker) == []


def test_too_little_spatter_neither_begins_nor_ends_an_event() -> None:
    steps = [(span("critical", "low"), t) for t in (0.0, 3.0)] + [(span("no verdict"), 4.0), (span("no verdict"), 50.0)]
    assert said(steps) == [(1, "new", "critical")]


def test_an_event_is_updated_when_its_state_changes_told_again_and_ends_with_ok() -> None:
    steps = [(span("attention"), t) for t in (0.0, 3.0)]
    steps += [(span("critical", "low"), t) for t in (4.0, 7.0, 70.0)]
    steps += [(span("OK", "high"), t) for t in (71.0, 74.0, 200.0)]
    expected = [(1, "new", "attention"), (1, "update", "critical"), (1, "update", "critical"), (1, "end", "OK")]
    assert said(steps) == expected


def test_where_nothing_is_expected_another_class_ends_an_event_and_begins_the_next() -> None:
    steps = [(span("decided", "low"), t) for t in (0.0, 3.0)] + [(span("decided", "high"), t) for t in (4.0, 7.0)]
    assert said(steps) == [(1, "new", "decided"), (1, "end", "decided"), (2, "new", "decided")]


STATES = [("OK", "high"), ("critical", "low"), ("attention", None), ("no verdict", None), ("decided", "low")]


@given(st.lists(st.tuples(st.sampled_from(STATES), st.floats(0.1, 90), st.booleans()), max_size=60))
@settings(deadline=None)
def test_every_event_is_new_then_updated_then_ended(steps: list[tuple[Any, float, bool]]) -> None:
    alarm, moment = alarms.AlarmState(), 0.0
    found: list[tuple[int, str, str]] = []
    for (state, label), passed, final in steps:
        moment += passed
        number = max((event for event, _, _ in found), default=0) + 1
        alarm, notices = alarms.step(alarm, alarms.observe_verdict(span(state, label)), moment, number, final=final)
        found += [(notice.event, notice.phase, notice.state) for notice in notices]
    notices = alarms.end_event(alarm, moment, "verdict")
    grammar([*found, *((notice.event, notice.phase, notice.state) for notice in notices)])
    assert not found or (notices or found[-1][1] == "end")


# -- sources


def test_sources_are_told_apart_and_passwords_are_not_shown() -> None:
    assert [kind_of(text) for text in ("0", "rtsp://h/x", "a.mkv", "file:///a.mkv")] == [
        "camera",
        "url",
        "file",
        "file",
    ]
    assert redacted("rtsp://me:secret@10.0.0.7:554/live?a=1") == "rtsp://me:***@10.0.0.7:554/live?a=1"
    with pytest.raises(ParameterError, match="a source is a camera number, a file, or a URL of rtsp") as error:
        kind_of("gopher://me:secret@host")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_a_file_that_grows_is_followed_to_its_end(tmp_path: Path, suffix: str) -> None:
    whole = write(tmp_path / f"whole{suffix}", 90).read_bytes()
    path = tmp_path / f"growing{suffix}"
    path.write_bytes(whole[: len(whole) // 5])

    def grow() -> None:
        with path.open("ab") as file:
            for start in range(len(whole) // 5, len(whole), 9000):
                time.sleep(0.05)
                file.write(whole[start : start + 9000])
                file.flush()

    writer = threading.Thread(target=grow, daemon=True)
    writer.start()
    opened = open_source(str(path), idle=1.5)
    numbers = [number_of(picture.rgb((0, 0, 160, 120))) for _, _, picture in opened.frames if picture is not None]
    opened.close()
    writer.join()
    assert numbers == list(range(90))


def test_a_file_that_rests_ends_and_one_that_is_given_up_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with (tmp_path / "a").open("rb", buffering=0) as file:
        growing = GrowingFile(file, 0.05)
        assert [growing.read(2), growing.read(2), growing.read(2)] == [b"ab", b"c", b""]
    with (tmp_path / "a").open("rb", buffering=0) as file:
        growing = GrowingFile(file, 1e9, lambda: True)
        assert [growing.read(9), growing.read(9)] == [b"abc", b""]


def test_frames_of_a_camera_are_rgb(tmp_path: Path) -> None:
    import cv2

    path = str(tmp_path / "camera.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    red = np.zeros((120, 160, 3), np.uint8)
    red[..., 2] = 250  # OpenCV writes BGR
    for _ in range(3):
        writer.write(red)
    writer.release()
    frames = camera_frames(cv2.VideoCapture(path))
    stamp, _, picture = next(frames)
    assert stamp is None
    assert picture is not None
    mean = picture.rgb((0, 0, 160, 120)).mean((0, 1))
    assert mean[0] > 200
    assert mean[2] < 50
    with pytest.raises(VideoError, match="no more frames"):
        list(frames)


# -- the feed


def pictures(count: int) -> Iterator[SourceFrame]:
    for number in range(count):
        yield SourceFrame(number / 60, time.monotonic(), RgbPicture(paint(number % 60)))


def test_what_is_dropped_is_counted_and_what_is_behind_does_not_join() -> None:
    feed = Feed(lambda: OpenedSource(pictures(1000), {}, lambda: None, whole=True), again=True, clock=Clock())
    wait_for(lambda: feed.counts.received == 1000)
    items = []
    while not feed.ended:
        items += feed.take(16, 0.1)
    frames = [item for item in items if isinstance(item, StreamFrame)]
    assert len(frames) + feed.counts.dropped == 1000
    assert 0 < len(frames) < 1000
    numbers = [frame.number for frame in frames]
    joins = [frame.joins for frame in frames[1:]]
    assert joins == [b == a + 1 for a, b in pairwise(numbers)]


def test_a_frame_of_another_size_does_not_join() -> None:
    sizes = [(160, 120), (160, 120), (80, 60), (80, 60)]
    frames = iter([SourceFrame(n / 60, 0.0, RgbPicture(paint(n, *size))) for n, size in enumerate(sizes)])
    feed = Feed(lambda: OpenedSource(frames, {}, lambda: None, whole=True), again=True, clock=Clock())
    wait_for(lambda: feed.waiting == 5)
    items = feed.take(16, 0.1)
    assert [item.joins for item in items if isinstance(item, StreamFrame)] == [False, True, False, True]


def test_a_store_of_a_watch_that_failed_says_so(tmp_path: Path) -> None:
    def fail(found: dict[str, Any]) -> None:
        if found["type"] == "verdict":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sp.watch(str(short()), "simulated", store=str(tmp_path / "kept.h5"), notify=fail)
    with sp.open_store(tmp_path / "kept.h5") as store:
        assert store.attrs["complete"] is False
        assert store.attrs["state"].startswith("failed: KeyboardInterrupt")


def test_a_file_waits_until_somebody_reads() -> None:
    feed = Feed(lambda: OpenedSource(pictures(300), {}, lambda: None, live=False), again=False, clock=Clock(0.0))
    time.sleep(0.1)
    frames = []
    while not feed.ended:
        frames += feed.take(16, 0.1)
    assert [frame.number for frame in frames if isinstance(frame, StreamFrame)] == list(range(300))
    assert feed.counts.dropped == 0


def test_a_stream_that_breaks_is_connected_again_after_growing_pauses() -> None:
    tries: list[float] = []

    def connect() -> OpenedSource:
        tries.append(time.monotonic())
        if 1 < len(tries) < 4:
            raise VideoError("nobody there")
        return OpenedSource(pictures(5), {}, lambda: None)

    feed = Feed(connect, again=True, clock=Clock(), pause=0.02)
    items: list[Any] = []
    while sum(isinstance(item, StreamFrame) for item in items) < 10:
        items += feed.take(16, 0.1)
    feed.stop()
    kinds = [type(item) for item in items[:15]]
    once = [StreamOpened, *5 * [StreamFrame]]
    assert kinds == [*once, *3 * [StreamLost], *once]
    assert not items[10].joins
    assert items[10].time > items[5].time
    assert [item.pause for item in items[6:9]] == [0.02, 0.04, 0.08]
    assert feed.counts.connections == 2


# -- a stream of the network


def test_no_frame_of_a_stream_is_lost_and_a_cut_is_recorded() -> None:
    messages: list[dict[str, Any]] = []
    with Camera(parts(), cuts=[75], away=0.3) as camera:
        found = sp.watch(
            camera.url, "simulated", expected="high", give_up=4.0, status=0.5, hold=0.0, notify=messages.append
        )
    facts = found.facts
    assert facts["received"] == camera.sent == 150
    # It comes back in the middle of a group of 30 pictures: 15 have no key frame to begin with.
    assert (facts["undecoded"], facts["decoded"], facts["dropped"]) == (15, 135, 0)
    assert (facts["gaps"], facts["connections"], facts["connected"]) == (2, 2, False)
    gap = next(item for item in messages if item["type"] == "gap")
    assert gap["seconds"] >= 0.3
    assert gap["start"] == pytest.approx(74 / 60, abs=0.01)
    lost = [
        (item["phase"], item["state"]) for item in messages if item["type"] == "alarm" and "stream" in item["state"]
    ]
    # Whether it was back for long enough to be believed is a matter of milliseconds here.
    assert (lost[0], lost[-1]) == (("new", "stream lost"), ("end", "stream lost"))
    assert any(item["type"] == "status" for item in messages)
    latencies = [facts["latency_p50"] or 0.0, facts["latency_p99"] or 0.0, facts["latency_max"] or 0.0]
    assert 0 < latencies[0] <= latencies[1] <= latencies[2]
    assert facts["reason"].startswith("gave up after 4 s without a picture")


def test_a_stream_over_http_is_watched() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            for part in parts()[:40]:
                self.wfile.write(part)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.handle_request, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/live"

    def hang_up(found: dict[str, Any]) -> None:
        if found["type"] == "start":
            server.server_close()

    found = sp.watch(url, "simulated", give_up=1.0, notify=hang_up)
    thread.join()
    assert found.facts["decoded"] == found.facts["received"] == 40


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command line in a process of its own."""
    started = subprocess.Popen(
        [sys.executable, "-m", "spatterlib", "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"},
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        for pipe in (started.stdout, started.stderr):
            assert pipe
            pipe.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary(number: signal.Signals, tmp_path: Path) -> None:
    with (
        Camera(parts(), fps=15) as camera,
        command(camera.url, "--model", "simulated", "--status", "0.2", "--store", str(tmp_path / "kept.h5")) as started,
    ):
        assert started.stdout
        for text in started.stdout:
            if json.loads(text).get("decoded", 0) > 10:
                break
        started.send_signal(number)
        out, err = started.communicate(timeout=60)
        assert started.returncode == 0, err
        last = json.loads(out.splitlines()[-1])
        assert (last["type"], last["reason"]) == ("end", "stopped")
        assert "ended (stopped)" in err.splitlines()[-1]
    with sp.open_store(tmp_path / "kept.h5") as store:
        assert store.attrs["complete"] is True
        assert len(store.frame_log) == last["received"]


def test_a_kill_costs_no_more_than_the_last_seconds(tmp_path: Path) -> None:
    path = tmp_path / "kept.h5"
    with (
        Camera(parts(), fps=25) as camera,
        command(camera.url, "--model", "simulated", "--store", str(path)) as started,
    ):

        def committed() -> int:
            if not path.exists():
                return 0
            with sp.open_store(path) as store:
                return len(store)

        wait_for(lambda: committed() > 0)
        started.kill()
        started.wait()
        kept = committed()
    with sp.open_store(path) as store:
        assert len(store) == kept > 0
        assert store.attrs["complete"] is False
        assert len(store.read(range(kept))) == kept


# -- messages to others


@contextmanager
def receiver(answers: list[int]) -> Iterator[tuple[str, list[dict[str, Any]], list[Any]]]:
    """A web server: its address, the bodies that it took, the headers; it answers with these codes, then 200."""
    bodies: list[dict[str, Any]] = []
    headers: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code = answers.pop(0) if answers else 200
            if code == 200:
                bodies.append(body)
                headers.append(self.headers)
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alarm", bodies, headers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_webhook_is_tried_again_until_it_is_taken_in_order() -> None:
    with receiver([503, 503, 429]) as (url, bodies, headers):
        webhook = Webhook(url, headers_of(["Authorization: Bearer abc"]), pause=0.01)
        for number in range(3):
            webhook.send({"id": f"m{number}", "event": number})
        wait_for(lambda: len(bodies) == 3)
        webhook.close(5)
    assert [body["event"] for body in bodies] == [0, 1, 2]
    assert webhook.undelivered == 0
    assert headers[0]["Authorization"] == "Bearer abc"
    assert [item["Idempotency-Key"] for item in headers] == ["m0", "m1", "m2"]
    assert headers[0]["Content-Type"] == "application/json"


def test_a_webhook_that_refuses_a_message_gets_the_next(caplog: pytest.LogCaptureFixture) -> None:
    with receiver([404]) as (url, bodies, _):
        webhook = Webhook(url, pause=0.01)
        webhook.send({"event": 1})
        webhook.send({"event": 2})
        webhook.close(10)
    assert [body["event"] for body in bodies] == [2]
    assert webhook.undelivered == 1
    assert "it answers 404" in caplog.text


def test_a_webhook_that_is_not_there_holds_nobody_up() -> None:
    webhook = Webhook(f"http://127.0.0.1:{free_port()}/", pause=0.01)
    for number in range(2000):
        webhook.send({"event": number})
    webhook.close(0.1)
    assert webhook.undelivered == 2000


def test_the_watch_posts_its_alarms() -> None:
    with receiver([503]) as (url, bodies, _):
        messages: list[dict[str, Any]] = []
        sp.watch(str(short()), "simulated", expected="high", idle=0.1, webhook=url, notify=messages.append)
    assert bodies == [found for found in messages if found["type"] == "alarm"]
    assert bodies[0]["verdict"]["scope"] == "layer"


BROKER = """
import asyncio, sys
from amqtt.broker import Broker
async def run():
    config = {"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
              "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}}
    broker = Broker(config)
    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(run())
"""


@contextmanager
def broker(port: int) -> Iterator[None]:
    pytest.importorskip("amqtt", reason="no MQTT broker is installed")
    started = subprocess.Popen(
        [sys.executable, "-c", BROKER, str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout
        assert started.stdout.readline() == "ready\n", started.communicate()[1]
        yield
    finally:
        started.kill()
        started.communicate()


@contextmanager
def subscriber(port: int, topic: str) -> Iterator[list[tuple[str, str]]]:
    paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    heard: list[tuple[str, str]] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    ready = threading.Event()
    client.on_message = lambda _, __, found: heard.append((found.topic, found.payload.decode()))
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda *_: client.subscribe(f"{topic}/#", qos=1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(20)
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def test_mqtt_tells_alarms_and_whether_anybody_watches() -> None:
    port = free_port()
    with broker(port), subscriber(port, "hall/printer") as heard:
        sender = Mqtt(f"mqtt://127.0.0.1:{port}/hall/printer")
        sender.send({"event": 1, "phase": "new"})
        sender.send({"event": 1, "phase": "end"})
        wait_for(lambda: sender.undelivered == 0)
        sender.close(10)
        wait_for(lambda: len(heard) >= 4)
    own = [json.loads(text)["phase"] for topic, text in heard if topic == "hall/printer/alarm"]
    assert own == ["new", "end"]
    assert [text for topic, text in heard if topic == "hall/printer/status"] == ["online", "offline"]


@pytest.mark.slow
def test_mqtt_waits_for_a_broker_that_comes_late() -> None:
    port = free_port()
    sender = Mqtt(f"mqtt://127.0.0.1:{port}/late")
    sender.send({"event": 1})
    assert sender.undelivered == 1
    with broker(port):
        wait_for(lambda: sender.undelivered == 0)
        sender.close(10)


def test_mqtt_tells_what_an_earlier_program_could_not(tmp_path: Path) -> None:
    port = free_port()
    pytest.importorskip("amqtt", reason="no MQTT broker is installed")
    left = Mqtt(f"mqtt://127.0.0.1:{port}/hall", outbox=Outbox(tmp_path))
    left.send({"event": 1})
    left.close(0.0)
    with broker(port), subscriber(port, "hall") as heard:
        sender = Mqtt(f"mqtt://127.0.0.1:{port}/hall", outbox=Outbox(tmp_path))
        sender.send({"event": 2})
        wait_for(lambda: sender.undelivered == 0)
        sender.close(10)
        wait_for(lambda: len(heard) >= 4)
    # While it connects, paho may let a new message pass one that waits.
    assert sorted(json.loads(text)["event"] for topic, text in heard if topic == "hall/alarm") == [1, 2]
    assert list(tmp_path.iterdir()) == []


def test_without_its_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("paho.mqtt", "paho", "prometheus_client"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(sp.errors.PluginError, match=r"is not installed; install it with: .*\[live\]"):
        sp.watch(str(short()), "simulated", mqtt="mqtt://127.0.0.1/x")
    with pytest.raises(sp.errors.PluginError, match=r"is not installed; install it with: .*\[live\]"):
        sp.watch(str(short()), "simulated", metrics_at=str(free_port()))


def test_prometheus_reads_what_the_messages_say() -> None:
    pytest.importorskip("prometheus_client")
    port, pages = free_port(), []

    def ask(found: dict[str, Any]) -> None:
        if found["type"] == "end":
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                pages.append(answer.read().decode())

    found = sp.watch(str(short()), "simulated", expected="high", idle=0.1, metrics_at=str(port), notify=ask)
    values = dict(text.rsplit(" ", 1) for text in pages[0].splitlines() if not text.startswith("#"))
    assert float(values["spatterlib_watch_received_total"]) == found.facts["received"]
    assert float(values["spatterlib_watch_dropped_total"]) == 0
    assert float(values["spatterlib_watch_layers_total"]) == 2
    assert float(values["spatterlib_watch_latency_seconds_count"]) == found.facts["received"]
    states = {key: float(value) for key, value in values.items() if 'state{scope="layer"' in key}
    assert sum(states.values()) == 1
    assert float(values["spatterlib_watch_simulated"]) == 1
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


def test_frames_behind_the_last_draft_are_counted_with_the_final_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def slowly(*arguments: Any) -> Span:
        time.sleep(0.5)
        return judge_rows(*arguments)

    monkeypatch.setattr("spatterlib.live.watcher.judge_rows", slowly)
    monkeypatch.setattr(Latencies, "add", lambda _, found: counted.append(len(list(found))))
    found = sp.watch(str(short()), "simulated", expected="high", idle=0.1)
    assert sum(counted) == found.facts["received"]


def test_a_port_that_is_taken_is_said() -> None:
    pytest.importorskip("prometheus_client")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with pytest.raises(SpatterlibError, match=f"metrics cannot be served at 127.0.0.1:{port}: "):
            sp.watch(str(short()), "simulated", metrics_at=str(port))


# -- what is refused


def hang_up() -> tuple[str, Callable[[], None]]:
    """A server that sends a web page where a video should come."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        connection.sendall(b"<html><body>Login</body></html>" * 200)
        connection.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()

    def end() -> None:
        thread.join()
        server.close()

    return f"tcp://127.0.0.1:{server.getsockname()[1]}", end


def test_what_is_no_video_is_refused() -> None:
    url, end = hang_up()
    with pytest.raises(VideoError, match=r"what comes is no video that can be read|holds no video"):
        sp.watch(url, "simulated", give_up=0.0)
    end()


@pytest.mark.parametrize(
    ("source", "options", "error", "text"),
    [
        ("nothing.mkv", {}, MissingFileError, "no video at nothing.mkv"),
        ("987", {"give_up": 0}, VideoError, "there is no camera 987"),
        ("gopher://host", {}, ParameterError, "a source is a camera number"),
        ("{short}", {"expected": "hihg"}, ParameterError, "did you mean 'high'"),
        ("{short}", {"gap": "auto"}, ParameterError, "'auto' needs the whole build"),
        ("{short}", {"gap": 0}, ParameterError, "gap must be a number of seconds above 0"),
        ("{short}", {"window": -1}, ParameterError, "window must be a number from 0.001 to "),
        ("{short}", {"hold": -1}, ParameterError, "hold must be a number of 0 or more"),
        ("{short}", {"alarm": "build"}, ParameterError, "alarm must be one of 'layer', 'window', got 'build'"),
        ("{short}", {"webhook": "ftp://x"}, ParameterError, "a webhook is an http:// or https:// address"),
        ("{short}", {"mqtt": "http://x"}, ParameterError, "an MQTT broker is given as mqtt://"),
        ("{short}", {"metrics_at": "http"}, ParameterError, "metrics are served at PORT or HOST:PORT"),
        ("{short}", {"model": "no such run"}, MissingFileError, "no such run"),
    ],
)
def test_bad_input_is_refused_in_one_line(source: str, options: dict[str, Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        sp.watch(source.format(short=short()), **{"model": "simulated", **options})
    assert "\n" not in str(caught.value)


def test_the_defaults_of_the_function_are_those_of_the_records() -> None:
    parameters = inspect.signature(sp.watch).parameters
    for record in (WatchSettings, AlarmSettings, ChartSettings, OutputSettings):
        usual = {name: value for name, value in vars(record()).items() if name in parameters}
        assert usual == {name: parameters[name].default for name in usual}


def test_the_command_says_what_is_wrong_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text.ts").write_text("no video at all")
    refused = {
        f"tcp://127.0.0.1:{free_port()}": "connection refused",
        "nothing.mkv": "no video at nothing.mkv",
        str(tmp_path): "is no file",
        str(tmp_path / "text.ts"): "cannot be watched",
    }
    for source, text in refused.items():
        code = Exit.LOST if "://" in source else Exit.FAILED
        assert main(["watch", source, "--model", "simulated", "--idle", "0.1", "--give-up", "0"]) == code
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("error: ")
        assert text in lines[-1]
    assert main(["watch", str(short()), "--model", "simulated", "--gap", "auto"]) == 2
    assert "'auto' is not a valid float" in capsys.readouterr().err
    assert main(["watch", str(short()), "--model", "simulated", "--start", "3"]) == 2
    assert "--start belongs to recordings" in capsys.readouterr().err


def test_the_command_takes_the_options_of_the_detector(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", "simulated", "--idle", "0.1", "--threshold", "60", "--left", "100", "--gap", "3"]
    assert main(["watch", str(short()), *arguments]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["settings"]["detector"]["threshold"] == 60
    assert first["settings"]["roi"] == [100, 0, None, None]
    assert first["settings"]["gap"] == 3


def test_addresses_of_metrics() -> None:
    assert address_of("9105") == ("127.0.0.1", 9105)
    assert address_of("[::]:9105") == ("::", 9105)
    for text in ("", "x:0", "99999", "host:"):
        with pytest.raises(ParameterError):
            address_of(text)
