"""Days of watching, shortened: many connections, faults at any moment, a real RTSP server; nothing grows or ends."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import paint
from test_watch_faults import FAULTS, HTTP, SHORT, FaultyCamera, alarms, cut, parts, recording

import spatterlib as sp
from spatterlib.live import feed, source
from spatterlib.live.feed import Feed
from spatterlib.live.source import OpenedSource, SourceFrame
from spatterlib.types import RgbPicture

SERVER = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
server.set_service(sys.argv[1])
server.set_address("127.0.0.1")
parts = [f"filesrc location={sys.argv[2]}", "qtdemux", "h264parse config-interval=1", "rtph264pay name=pay0 pt=96"]
factory.set_launch(f"( {' ! '.join(parts)} )")
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


class Restless(FaultyCamera):
    """A camera that whoever connects gets some frames of, as fast as they are taken, and then a fault.

    Parameters
    ----------
    counts : sequence of int
        Frames of each connection.
    fault : callable
        What happens behind them.
    head : bytes
        What it sends before.
    """

    def __init__(self, counts: Sequence[int], fault: Callable[..., None] = cut, head: bytes = b"") -> None:
        self.counts, self.fault, self.served = counts, fault, 0
        super().__init__(head, patience=20)

    def more(self) -> bool:
        return self.served < len(self.counts)

    def turn(self) -> tuple[Iterable[bytes], Callable[..., None]]:
        count = self.counts[self.served]
        self.served += 1
        return (parts()[index % len(parts())] for index in range(count)), self.fault


@contextmanager
def quick(unpaced: bool = False) -> Iterator[None]:
    """Pauses before a connection is tried again are short; `unpaced`: frames come as fast as they are looked at."""
    feeds: list[Feed] = []

    def made(*arguments: Any, **options: Any) -> Feed:
        feeds.append(Feed(*arguments, pause=0.02, **options))
        return feeds[-1]

    def waiting(frames: Iterator[SourceFrame]) -> Iterator[SourceFrame]:
        for frame in frames:
            while unpaced and feeds and feeds[-1].waiting > 32:
                time.sleep(0.001)
            yield frame

    def opened(*arguments: Any, **options: Any) -> OpenedSource:
        found = source.open_source(*arguments, **options)
        return dataclasses.replace(found, frames=waiting(found.frames))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spatterlib.live.watch.Feed", made)
        patch.setattr("spatterlib.live.watch.open_source", opened)
        patch.setattr(feed, "_LONGEST_PAUSE", 0.05)
        patch.setattr(source, "_BLIND", 1.0)
        yield


def held() -> tuple[float, int]:
    """MB that this process holds, and descriptors."""
    text = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found
    return int(found[1]) / 1024, len(list(Path("/proc/self/fd").iterdir()))


class Counting(Restless):
    """Takes stock at each connection, while it is open, nothing is on the way and the one before is closed."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.seen: list[tuple[float, int]] = []
        super().__init__(counts)

    def turn(self) -> tuple[Iterable[bytes], Callable[..., None]]:
        for thread in self.threads[1:]:
            thread.join(20)
        self.seen.append(self.settled())
        return super().turn()

    def settled(self, seconds: float = 1.0) -> tuple[float, int]:
        """The least that is held within so long: a file may just be written, and is no leak. No more is soon said."""
        before = self.seen[-1][1] if self.seen else 0
        until, least = time.monotonic() + seconds, held()
        while least[1] > before and time.monotonic() < until:
            time.sleep(0.02)
            least = min(least, held(), key=lambda one: one[1])
        return least


def soak(connections: int, frames: int, folder: Path) -> tuple[Any, list[tuple[float, int]]]:
    """Facts at the end, and what was held at each connection."""
    last = [time.monotonic(), 0]

    def notify(message: dict[str, Any]) -> None:
        if message.get("received", 0) > last[1]:
            last[:] = [time.monotonic(), message["received"]]

    def stopped() -> bool:
        # The parser knows that a frame is whole when the next one comes.
        quiet = 3.0 if last[1] >= connections * (frames - 2) else 60.0
        return camera.served == connections and time.monotonic() - last[0] > quiet

    with quick(unpaced=True), Counting(connections * [frames]) as camera:
        found = sp.watch(
            f"tcp://127.0.0.1:{camera.port}",
            "simulated",
            expected="high",
            clips=str(folder),
            clips_room=5.0,
            view=str(free_port()),
            status=0.2,
            notify=notify,
            stopped=stopped,
        )
    return found.facts, camera.seen


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def judged(facts: Any, seen: list[tuple[float, int]], connections: int, frames: int, most: float) -> None:
    """`most`: MB that may be held more than at the beginning."""
    assert facts["connections"] == len(seen) == connections
    # The parser knows that a frame is whole when the next one comes.
    assert connections * frames - 2 * connections <= facts["decoded"] <= connections * frames
    assert (facts["dropped"], facts["undecoded"]) == (0, 0)
    settled = seen[min(len(seen) // 5, 20)]
    assert seen[-1][0] - settled[0] < most
    # One for each connection is 4 at least; a picture and a clip of an alarm may just be written.
    assert seen[-1][1] - settled[1] <= 2


@pytest.mark.slow
def test_a_stream_that_comes_and_goes_costs_no_memory_and_no_descriptor(tmp_path: Path) -> None:
    # Pictures of one connection are 150 * 640 * 360 * 1.5 bytes, of four 207 MB; the first clip loads its encoder.
    judged(*soak(6, 150, tmp_path), 6, 150, most=100)


@pytest.mark.torture
def test_eight_hours_of_stream_with_200_connections_cost_no_memory_and_no_descriptor(tmp_path: Path) -> None:
    """8 h at 25 frames/s, as fast as it goes."""
    each = 8 * 3600 * 25 // 200
    judged(*soak(200, each, tmp_path), 200, each, most=50)


@pytest.mark.torture
@pytest.mark.parametrize(
    ("fault", "head"), [*((fault, head) for fault in FAULTS for head in (b"", HTTP)), (cut, SHORT), (FAULTS[4], SHORT)]
)
def test_at_any_of_20_moments_a_fault_is_a_gap_and_what_follows_is_right(fault: Any, head: bytes) -> None:
    draw = np.random.default_rng(12)
    counts = draw.integers(70, 200, 21).tolist()
    messages: list[dict[str, Any]] = []
    until = time.monotonic() + 240
    with quick(), Restless(counts, fault, head) as camera:
        found = sp.watch(
            f"{'http' if head else 'tcp'}://127.0.0.1:{camera.port}/live",
            "simulated",
            timeout=2.0,
            hold=0.0,
            status=0.1,
            notify=messages.append,
            stopped=lambda: (
                time.monotonic() > until
                or (camera.served == 21 and sum(item["type"] == "gap" for item in messages) >= 20)
            ),
        )
    gaps = [item for item in messages if item["type"] == "gap"]
    assert len(gaps) >= 20
    assert all(item["stop"] > item["start"] >= 0 and item["reason"] for item in gaps)
    assert [item["start"] for item in gaps] == sorted(item["start"] for item in gaps)
    assert found.facts["reason"] == "stopped"
    # What is on the way when a connection is torn down is lost.
    lost = 20 * (60 if fault.__name__ == "reset" else 4)
    assert found.facts["decoded"] >= sum(counts[:20]) - lost - found.facts["dropped"]
    assert alarms(messages)


@pytest.mark.slow
def test_a_stream_that_flaps_for_long_makes_two_alarms_at_most_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three pictures, then it ends, again and again; behind ten times nothing comes."""
    connections = count()

    def come_and_go() -> Iterator[SourceFrame]:
        for index in range(3 if next(connections) < 10 else 0):
            yield SourceFrame(index / 60, time.monotonic(), RgbPicture(paint(index)))

    monkeypatch.setattr(
        "spatterlib.live.watch.open_source", lambda *_, **__: OpenedSource(come_and_go(), {}, lambda: None)
    )
    monkeypatch.setattr("spatterlib.live.watch.Feed", partial(Feed, pause=0.05))
    monkeypatch.setattr(feed, "_LONGEST_PAUSE", 0.4)
    messages: list[dict[str, Any]] = []
    found = sp.watch("tcp://camera", "simulated", hold=0.2, remind=60.0, give_up=4.0, notify=messages.append)
    assert found.facts["reason"].startswith("gave up after 4 s without a picture")
    assert sum(item["phase"] == "new" for item in alarms(messages)) <= 2
    assert found.facts["gaps"] >= 8


# -- a real RTSP server: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,bad}

PYTHON = shutil.which("python3", path="/usr/bin")


def has_server() -> bool:
    if PYTHON is None:
        return False
    text = "import gi; gi.require_version('GstRtspServer', '1.0')"
    return subprocess.run([PYTHON, "-c", text], capture_output=True).returncode == 0


@contextmanager
def rtsp(port: int, path: Path) -> Iterator[subprocess.Popen[str]]:
    assert PYTHON is not None
    command = [PYTHON, "-c", SERVER, str(port), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.torture
@pytest.mark.parametrize("how", ["kill", "freeze", "end"])
def test_a_real_rtsp_server_that_goes_away_is_lost_and_comes_back(how: str, tmp_path: Path) -> None:
    if not has_server():
        pytest.skip("no RTSP server of GStreamer here")
    path = tmp_path / "cam.mp4"
    sp.simulate(path, seconds=4 if how == "end" else 20, seed=5, bit_rate=1_000_000)
    messages: list[dict[str, Any]] = []
    until = time.monotonic() + 60
    port, running = free_port(), threading.Event()

    def watch() -> None:
        found = sp.watch(
            f"rtsp://127.0.0.1:{port}/live",
            "simulated",
            hold=0.0,
            timeout=3.0,
            status=0.2,
            notify=messages.append,
            stopped=lambda: time.monotonic() > until or (running.is_set() and bool(gaps()) and frames() > gaps()[0][1]),
        )
        facts.append(found.facts)

    def frames() -> int:
        return max((item["decoded"] for item in messages if "decoded" in item), default=0)

    def gaps() -> list[tuple[float, int]]:
        return [
            (item["seconds"], max((m["decoded"] for m in messages[:index] if "decoded" in m), default=0))
            for index, item in enumerate(messages)
            if item["type"] == "gap"
        ]

    facts: list[Any] = []
    with ExitStack() as servers:
        server = servers.enter_context(rtsp(port, path))
        thread = threading.Thread(target=watch)
        thread.start()
        while frames() < 40 and time.monotonic() < until:
            time.sleep(0.05)
        if how == "freeze":
            server.send_signal(signal.SIGSTOP)
            time.sleep(5)
            server.send_signal(signal.SIGCONT)
        elif how == "kill":
            server.kill()
            server.wait()
            servers.enter_context(rtsp(port, path))
        running.set()
        thread.join(60)
    assert not thread.is_alive()
    told = [(item["phase"], item["state"]) for item in alarms(messages)]
    assert told[0] == ("new", "stream lost")
    assert facts[0]["gaps"] >= 1
    assert (facts[0]["reason"], facts[0]["undecoded"]) == ("stopped", 0)
    assert next(item for item in messages if item["type"] == "gap")["stream"]["codec"] == "h264"


def test_the_camera_of_these_tests_sends_what_the_recording_holds() -> None:
    assert recording().exists()
    assert len(parts()) == 200
