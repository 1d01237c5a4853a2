"""Whatever happens to a source: a watch says "stream lost", connects again and goes on; it never ends in silence."""

from __future__ import annotations

import gc
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, product
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import paint, write
from streams import Camera, transport_stream

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import Exit, VideoError
from spatterlib.live import source
from spatterlib.live.clock import Clock
from spatterlib.live.feed import Feed, StreamFrame, StreamLost, StreamOpened
from spatterlib.live.repeats import Repeats
from spatterlib.live.source import OpenedSource, SourceFrame, camera_frames, open_source, reason_of
from spatterlib.types import DETECTION, RgbPicture

# Of all connections, and of one; so many that FFmpeg has looked at 1 s before a fault.
FRAMES, EACH = 200, 100


@cache
def parts() -> list[bytes]:
    """Frames of a recording as a camera sends them, each a key frame: what comes after a fault is whole at once."""
    return transport_stream(recording(), FRAMES, fps=60, gop=1)


@cache
def recording() -> Path:
    path = Path(mkdtemp(prefix="spatterlib-faults-")) / "build.mp4"
    sp.simulate(path, gas_flow="low", seconds=2, seed=9907)
    return path


# -- faults of the network: real sockets


def stall(connection: socket.socket, until: threading.Event) -> None:
    """The camera freezes: the connection stays, nothing comes."""
    until.wait(30)


def cut(connection: socket.socket, _: threading.Event) -> None:
    """The camera hangs up."""


def reset(connection: socket.socket, _: threading.Event) -> None:
    """The camera, or something on the way, tears the connection down. What is on the way then is lost."""
    time.sleep(1.5)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage(connection: socket.socket, until: threading.Event) -> None:
    """What comes is no video any more, and goes on coming."""
    noise = np.random.default_rng(1).bytes(4000)
    while not until.wait(0.01):
        connection.sendall(noise)


def half(connection: socket.socket, _: threading.Event) -> None:
    """It ends within a packet."""
    connection.sendall(parts()[EACH][:100])


FAULTS = [stall, cut, reset, garbage, half]


class FaultyCamera:
    """Where connections are taken, while there are `more`, each served what its `turn` is: parts, and then a fault.

    Parameters
    ----------
    head : bytes
        What it sends before the parts.
    port : int
        Where it is; 0: anywhere.
    patience : float, optional
        S that it waits for whoever is connected.
    """

    def __init__(self, head: bytes = b"", *, port: int = 0, patience: float | None = None) -> None:
        self.head, self.patience, self.over = head, patience, threading.Event()
        self.server = socket.create_server(("127.0.0.1", port))
        self.server.settimeout(0.05)
        self.port = int(self.server.getsockname()[1])
        self.threads = [threading.Thread(target=self._run, daemon=True)]
        self.threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(10)

    def more(self) -> bool:
        """Whether another connection is taken."""
        raise NotImplementedError

    def turn(self) -> tuple[Iterable[bytes], Callable[..., None]]:
        """What the next connection gets."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self.over.is_set() and self.more():
            try:
                connection, _ = self.server.accept()
            except TimeoutError:
                continue
            # One that freezes stays connected while the next one is answered.
            served = threading.Thread(target=self._serve, args=(connection, *self.turn()), daemon=True)
            self.threads.append(served)
            served.start()
        self.server.close()

    def _serve(self, connection: socket.socket, parts_: Iterable[bytes], fault: Callable[..., None]) -> None:
        with connection:
            connection.settimeout(self.patience)
            try:
                if self.head:
                    connection.recv(4096)
                    connection.sendall(self.head)
                for part in parts_:
                    connection.sendall(part)
                fault(connection, self.over)
            except OSError:
                return


class Flaky(FaultyCamera):
    """A camera whose connections end in one fault after the other, each after `EACH` frames; the last sends the rest.

    Parameters
    ----------
    faults : sequence of callable
        What happens at the end of each connection.
    head : bytes
        What it sends before the frames.
    once : bool
        Nobody can connect a second time.
    port : int
        Where it is; 0: anywhere.
    """

    def __init__(
        self,
        faults: Sequence[Callable[[socket.socket, threading.Event], None]],
        head: bytes = b"",
        *,
        once: bool = False,
        port: int = 0,
    ) -> None:
        self.faults, self.once, self.sent, self.number = faults, once, 0, 0
        super().__init__(head, port=port)

    def more(self) -> bool:
        return not (self.sent == EACH and self.once)

    def turn(self) -> tuple[Iterable[bytes], Callable[..., None]]:
        known = self.number < len(self.faults)
        stop = min(self.sent + EACH, FRAMES) if known else FRAMES
        fault = self.faults[self.number] if known else stall
        frames, self.sent, self.number = parts()[self.sent : stop], stop, self.number + 1
        return frames, fault


def watched(url: str, camera: Flaky, *, limit: float = 40, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Watch until all frames were sent and seen and no event is left, or `limit` seconds have passed."""
    messages: list[dict[str, Any]] = []
    until = time.monotonic() + limit
    frames = 0

    def notify(found: dict[str, Any]) -> None:
        nonlocal frames
        messages.append(found)
        frames = found.get("received", frames)

    def stopped() -> bool:
        # The parser knows that a frame is whole when the next one comes: the last of each connection may stay out.
        whole = camera.sent == FRAMES and frames >= FRAMES - 2 * len(camera.faults) - 2
        return time.monotonic() > until or (whole and all(item["phase"] == "end" for item in alarms(messages)[-1:]))

    options = {"timeout": 3.0, "status": 0.1, "hold": 0.0, **options}
    found = sp.watch(url, "simulated", notify=notify, stopped=stopped, **options)
    return found, messages


def alarms(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was said of the stream."""
    return [found for found in messages if found["type"] == "alarm" and "stream" in found["state"]]


HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
SHORT = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nContent-Length: 99999999\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "scheme"),
    [*product(FAULTS, ["tcp", "http"]), (cut, "http, shorter than promised"), (half, "http, shorter than promised")],
)
def test_after_every_fault_of_a_stream_it_says_lost_and_goes_on(
    fault: Any, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_BLIND", 1.0)
    head = {"tcp": b"", "http": HTTP}.get(scheme, SHORT)
    with Flaky([fault], head) as camera:
        found, messages = watched(f"{scheme.partition(',')[0]}://127.0.0.1:{camera.port}/live", camera)
    facts = found.facts
    told = [(item["phase"], item["state"]) for item in alarms(messages)]
    assert told == [("new", "stream lost"), ("end", "stream back")]
    assert (facts["gaps"], facts["connections"], facts["connected"], facts["reason"]) == (1, 2, True, "stopped")
    assert facts["decoded"] >= FRAMES - 4
    gap = next(item for item in messages if item["type"] == "gap")
    assert gap["stop"] > gap["start"] >= 0
    assert gap["reason"]


def test_a_camera_that_freezes_never_ends_the_command_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """The process that watched it ended after the time-out, with exit code 0."""
    arguments = ["--model", "simulated", "--timeout", "3", "--give-up", "0.1"]
    with Flaky([stall], once=True) as camera:
        url = f"tcp://127.0.0.1:{camera.port}"
        assert main(["watch", url, *arguments]) == Exit.LOST
    out, err = capsys.readouterr()
    told = [(found["phase"], found["state"]) for found in alarms([json.loads(line) for line in out.splitlines()])]
    assert told == [("new", "stream lost"), ("end", "stream lost")]
    assert "stream lost: no data came in time" in err
    assert err.splitlines()[-1] == f"error: {url}: gave up after 0.1 s without a picture: no data came in time"


def wait_for(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_a_camera_that_is_not_there_yet_is_waited_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    came: list[Flaky] = []

    def notify(found: dict[str, Any]) -> None:
        messages.append(found)
        if found["type"] == "alarm" and not came:
            came.append(Flaky([], port=port))

    messages: list[dict[str, Any]] = []
    until = time.monotonic() + 40
    store = tmp_path / "kept.h5"
    sp.watch(
        f"tcp://127.0.0.1:{port}",
        "simulated",
        store=str(store),
        notify=notify,
        hold=0.0,
        stopped=lambda: time.monotonic() > until or (bool(alarms(messages)) and alarms(messages)[-1]["phase"] == "end"),
    )
    with came[0]:
        pass
    assert [found["type"] for found in messages[:2]] == ["start", "alarm"]
    assert messages[0]["stream"] == {"name": f"tcp://127.0.0.1:{port}"}
    assert [found["state"] for found in alarms(messages)] == ["stream lost", "stream back"]
    [gap] = [found for found in messages if found["type"] == "gap"]
    assert gap["start"] == 0.0
    assert gap["stop"] > 0.0
    assert gap["stream"]["width"] == 640
    with sp.open_store(store) as opened:
        assert opened.attrs["complete"] is True
        assert opened.attrs["video"]["width"] == 640


def flapping(seconds: float) -> tuple[list[Any], list[float]]:
    """A source that gives three pictures and ends, again and again; what a feed gave, and when it connected."""
    tries: list[float] = []

    def connect() -> OpenedSource:
        tries.append(time.monotonic())
        return OpenedSource(frames(), {}, lambda: None)

    feed = Feed(connect, again=True, clock=Clock(), pause=0.02)
    items: list[Any] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        items += feed.take(16, 0.05)
    feed.stop()
    return items, tries


def test_a_stream_that_comes_and_goes_does_not_begin_at_the_first_pause_each_time() -> None:
    items, tries = flapping(1.0)
    pauses = [item.pause for item in items if isinstance(item, StreamLost)]
    assert pauses == [0.02 * 2**power for power in range(len(pauses))]
    assert 2 <= len(tries) <= 6


@pytest.mark.slow
def test_a_stream_that_comes_and_goes_is_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatterlib.live.watch.open_source", lambda *_, **__: OpenedSource(frames(9), {}, lambda: None))
    messages: list[dict[str, Any]] = []
    found = sp.watch(
        "tcp://camera",
        "simulated",
        hold=0.8,
        notify=messages.append,
        stopped=lambda: sum(item["type"] == "gap" for item in messages) >= 3,
    )
    told = alarms(messages)
    assert [item["phase"] for item in told] == ["new", "end"]
    assert told[0]["state"] == "stream lost"
    # It is stopped while the stream is lost, or just connected again.
    assert 3 <= found.facts["gaps"] <= found.facts["connections"] <= found.facts["gaps"] + 1


def test_giving_up_counts_time_without_a_picture_even_while_it_is_connected() -> None:
    hanging = threading.Event()

    def silent() -> Iterator[SourceFrame]:
        yield from frames()
        hanging.wait(60)

    feed = Feed(lambda: OpenedSource(silent(), {}, lambda: None), again=True, clock=Clock(), give_up=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spatterlib.live.feed._PATIENCE", 0.3)
        items: list[Any] = []
        while not feed.ended:
            items += feed.take(16, 0.05)
    hanging.set()
    assert [type(item) for item in items] == [StreamOpened, *3 * [StreamFrame], StreamLost]
    assert (feed.gave_up, feed.counts.connected) == (True, False)
    assert feed.reason == "gave up after 0 s without a picture: nothing comes"


def test_frames_are_let_go_at_once_and_not_when_the_garbage_collector_comes(tmp_path: Path) -> None:
    """Each waited for it, so a stream that was connected 300 times had taken 70 MB more."""
    path = write(tmp_path / "build.ts", 30)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    before = len(pictures_held())
    try:
        opened = open_source(str(path), idle=0.0)
        for _ in opened.frames:
            pass
        opened.close()
        more = len(pictures_held()) - before
    finally:
        if collecting:
            gc.enable()
    assert more < 5


def pictures_held() -> list[Any]:
    """Frames of PyAV that nobody has let go of."""
    return [found for found in gc.get_objects() if isinstance(found, av.VideoFrame)]


@pytest.mark.parametrize(("stamps", "jumps"), [((0.0, 0.1, 0.2), 0), ((0.0, 5000.0, 5000.1), 1), ((9.0, 9.1, 0.0), 1)])
def test_time_stamps_that_jump_are_counted(stamps: tuple[float, ...], jumps: int) -> None:
    now = time.monotonic()
    found = [SourceFrame(stamp, now + index / 10, None) for index, stamp in enumerate(stamps)]
    feed = Feed(lambda: OpenedSource(iter(found), {}, lambda: None, whole=True), again=True, clock=Clock())
    items: list[Any] = []
    while not feed.ended:
        items += feed.take(16, 0.05)
    assert feed.counts.jumps == jumps
    times = [item.time for item in items if isinstance(item, StreamFrame)]
    assert times == pytest.approx([0.0, 0.1, 0.2])


def test_what_a_parser_held_back_does_not_shorten_the_gap() -> None:
    """The last frame of a stream that freezes comes with the end of the connection."""
    began = time.monotonic() - 100.0
    late = [SourceFrame(0.0, began, None), SourceFrame(0.1, began + 0.1, None), SourceFrame(0.2, began + 60.0, None)]
    then = [SourceFrame(0.0, began + 61.0, None)]
    sources = [OpenedSource(iter(found), {}, lambda: None) for found in (then, late)]
    feed = Feed(sources.pop, again=True, clock=Clock(), pause=0.01)
    items: list[Any] = []
    while len(items) < 7:
        items += feed.take(16, 0.05)
    feed.stop()
    assert items[4].time == pytest.approx(0.2)
    assert items[6].time == pytest.approx(61.0)


def test_a_recording_at_a_url_ends_as_a_file_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    for name in ("build.mkv", "build.ts"):
        write(tmp_path / name, 30)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        for name in ("build.mkv", "build.ts"):
            found = sp.watch(f"http://127.0.0.1:{server.server_port}/{name}", "simulated")
            assert (found.facts["reason"], found.facts["decoded"]) == ("end of the file", 30)
            assert (found.facts["connections"], found.facts["dropped"]) == (1, 0)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_file_that_becomes_shorter_while_it_is_watched_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "build.ts"
    path.write_bytes(bytes(100))
    with path.open("rb", buffering=0) as file:
        growing = source.GrowingFile(file, 0.05)
        assert len(growing.read(100)) == 100
        path.write_bytes(b"new")
        with pytest.raises(OSError, match="became shorter while it was watched"):
            growing.read(100)


def test_alarms_that_nobody_took_are_an_exit_code_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(mkdtemp(prefix="spatterlib-faults-")) / "build.mp4"
    sp.simulate(path, gas_flow="low", seconds=7, seed=9907)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    arguments = [
        "--model",
        "simulated",
        "--idle",
        "0.1",
        "--expected",
        "high",
        "--gas-direction",
        "180",
        "--webhook",
        f"http://127.0.0.1:{port}/",
    ]
    assert main(["watch", str(path), *arguments]) == Exit.UNDELIVERED
    assert capsys.readouterr().err.splitlines()[-1] == "error: 2 alarms not handed over; --alarm-queue keeps them"


# -- faults of all other kinds: whatever a source may raise


def frames(number: int = 3) -> Iterator[SourceFrame]:
    for index in range(number):
        yield SourceFrame(index / 60, time.monotonic(), RgbPicture(paint(index)))


def broken(error: Exception, number: int = 3) -> Iterator[SourceFrame]:
    yield from frames(number)
    raise error


def ffmpeg_errors() -> list[Exception]:
    """One of each class that PyAV knows."""
    found = {
        value for value in vars(av.error).values() if isinstance(value, type) and issubclass(value, av.FFmpegError)
    }
    return [class_(1, "what FFmpeg says", "name") for class_ in sorted(found, key=lambda class_: class_.__name__)]


def others() -> list[Exception]:
    import cv2

    return [cv2.error("driver"), OSError(5, "Input/output error"), VideoError("cut"), EOFError(), MemoryError()]


@pytest.mark.parametrize("error", [*ffmpeg_errors(), *others(), ValueError("format"), KeyError("x")], ids=repr)
def test_whatever_a_source_raises_it_is_connected_again(error: Exception) -> None:
    tries = [broken(error), broken(error, 0), frames()]
    refused = [error]

    def connect() -> OpenedSource:
        if refused and len(tries) == 2:
            raise refused.pop()
        return OpenedSource(tries.pop(0), {}, lambda: None)

    feed = Feed(connect, again=True, clock=Clock(), pause=0.001)
    items: list[Any] = []
    until = time.monotonic() + 20
    while sum(isinstance(item, StreamFrame) for item in items) < 6 and not feed.ended and time.monotonic() < until:
        items += feed.take(16, 0.1)
    feed.stop()
    found = [item for item in items if not isinstance(item, StreamOpened)]
    assert [type(item) for item in found[:9]] == [*3 * [StreamFrame], *3 * [StreamLost], *3 * [StreamFrame]]
    assert {item.reason for item in found[3:6]} == {reason_of(error)}
    assert found[3].reason.strip()
    assert "\n" not in found[3].reason
    assert feed.failure is None


def test_a_file_that_breaks_off_is_no_file_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "build.ts", 60)
    assert main(["watch", str(path), "--model", "simulated", "--idle", "0.1"]) == 0
    assert "ended (end of the file)" in capsys.readouterr().err
    read, calls = source.GrowingFile.read, count()

    def fail(self: Any, size: int = -1) -> bytes:
        if next(calls) > 4:
            raise OSError(116, "Stale file handle")
        return read(self, min(size, 16384))

    monkeypatch.setattr(source.GrowingFile, "read", fail)
    assert main(["watch", str(path), "--model", "simulated", "--idle", "0.1"]) == Exit.LOST
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == f"error: {path}: broke off: stale file handle"


def test_a_fault_of_our_own_is_raised_and_never_taken_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("ours")

    path = Path(mkdtemp(prefix="spatterlib-faults-")) / "build.ts"
    write(path, 20)
    monkeypatch.setattr("spatterlib.live.feed.tick", fail)
    with pytest.raises(RuntimeError, match="ours"):
        sp.watch(str(path), "simulated", idle=0.1)


def test_pauses_grow_until_a_picture_comes_and_giving_up_counts_from_the_last_picture() -> None:
    tries: list[float] = []

    def connect() -> OpenedSource:
        tries.append(time.monotonic())
        return OpenedSource(frames() if len(tries) == 1 else iter(()), {}, lambda: None)

    feed = Feed(connect, again=True, clock=Clock(), give_up=3, pause=0.02)
    items: list[Any] = []
    while not feed.ended:
        items += feed.take(16, 0.05)
    assert len(tries) <= 10
    assert feed.gave_up
    assert feed.reason == "gave up after 3 s without a picture: the stream ended"


def test_many_vain_connections_are_one_event() -> None:
    messages: list[dict[str, Any]] = []
    with Flaky([cut]) as camera:
        vain = [frames(0), frames(0), frames(0)]
        real = source.open_source

        def connect(*arguments: Any, **options: Any) -> OpenedSource:
            return (
                OpenedSource(vain.pop(), {}, lambda: None)
                if camera.sent >= EACH and vain
                else real(*arguments, **options)
            )

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("spatterlib.live.watch.open_source", connect)
            # The stream stays unsteady to the end: its event ends with the watch.
            _, messages = watched(f"tcp://127.0.0.1:{camera.port}", camera, limit=10)
    told = [(item["event"], item["phase"]) for item in alarms(messages)]
    assert told == [(told[0][0], "new"), (told[0][0], "end")]


# -- the same pictures again


def test_the_same_second_again_and_again_has_the_votes_of_one_second() -> None:
    second = transport_stream(recording(), 60, fps=60, gop=60)

    def watch(times: int) -> tuple[Any, list[dict[str, Any]]]:
        messages: list[dict[str, Any]] = []
        with Camera(times * second) as camera:
            options: dict[str, Any] = {"give_up": 2.0, "hold": 0.5, "notify": messages.append}
            return sp.watch(camera.url, "simulated", **options).facts, messages

    once, first = watch(1)
    again, messages = watch(6)
    assert once["crops"] > 10
    assert once["repeated"] == 0
    # Where it begins anew there is one more pair of pictures, which is new the first time.
    assert once["crops"] <= again["crops"] < 2 * once["crops"]
    assert again["repeated"] >= 100
    assert again["decoded"] == 6 * once["decoded"]
    votes = [max(item["votes"] for item in found if item["type"] == "verdict") for found in (first, messages)]
    assert votes[1] <= votes[0] + 2
    told = [(item["phase"], item["state"]) for item in messages if item["type"] == "alarm" and item["verdict"] is None]
    # A loop that is played again jumps back to its first time stamp, too.
    assert {("new", "pictures repeat"), ("new", "clock jumped")} <= set(told)
    assert [told.count(("new", state)) for state in ("pictures repeat", "clock jumped")] == [1, 1]


def rows(frames_: list[int]) -> tuple[Any, list[bytes]]:
    table = np.zeros(len(frames_), DETECTION)
    table["frame"] = np.arange(len(frames_))
    table["time"] = table["frame"] / 10
    return table, [b"%d" % number for number in frames_]


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 40))
@settings(deadline=None)
def test_each_picture_counts_once_however_the_stream_is_cut_into_batches(numbers: list[int], size: int) -> None:
    repeats, new = Repeats(), list[bool]()
    table, crops = rows(numbers)
    for start in range(0, len(numbers), size):
        new += repeats.fresh(table[start : start + size], crops[start : start + size]).tolist()
    assert new == [number not in numbers[:index] for index, number in enumerate(numbers)]
    assert repeats.count == new.count(False)


def test_a_crop_at_another_place_is_another_picture() -> None:
    table, crops = rows([1, 1])
    table["x"] = [3, 4]
    assert Repeats().fresh(table, crops).all()


def test_one_picture_that_comes_again_is_no_repetition_that_lasts() -> None:
    repeats = Repeats()
    repeats.fresh(*rows([1, 2, 3, 1]))
    assert not repeats.lasting(0.1)
    repeats = Repeats()
    repeats.fresh(*rows([1, 2, 1, 2, 1, 2]))
    assert repeats.lasting(0.3)
    assert not repeats.lasting(0.31)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_picture_of_a_simulated_recording_is_taken_for_another(tmp_path: Path, seed: int) -> None:
    sp.simulate(tmp_path / "build.mp4", seconds=10, seed=seed)
    sp.extract(tmp_path / "build.mp4", tmp_path / "kept.h5")
    with sp.open_store(tmp_path / "kept.h5") as store:
        assert len(store) > 100
        assert Repeats().fresh(store.table, store.encoded(range(len(store)))).all()


# -- cameras at this machine, which OpenCV reads


class Capture:
    """As much of ``cv2.VideoCapture`` as is used: two frames, then what it is told to do."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self.left, self.then, self.released = 2, then, threading.Event()

    def read(self) -> Any:
        assert not self.released.is_set()
        self.left -= 1
        return (True, paint(self.left)) if self.left >= 0 else self.then()

    def release(self) -> None:
        self.released.set()


def raising() -> Any:
    import cv2

    raise cv2.error("the driver\nsays no")


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (lambda: (False, None), "the camera gives no more frames"),
        (raising, "the camera cannot be read: error: the driver says no"),
        (lambda: (True, np.zeros((4, 4, 7), np.uint8)), "channels"),
    ],
)
def test_a_camera_that_fails_is_a_fault_of_the_source_and_is_let_go(then: Callable[[], Any], text: str) -> None:
    capture = Capture(then)
    sources = [OpenedSource(found, {}, lambda: None) for found in (frames(), camera_frames(capture))]
    feed = Feed(sources.pop, again=True, clock=Clock(), give_up=2.0, pause=0.001)
    items: list[Any] = []
    while len(items) < 8:
        items += feed.take(16, 0.1)
    feed.stop()
    once = [StreamOpened, *2 * [StreamFrame]]
    assert [type(item) for item in items[:8]] == [*once, StreamLost, *once, StreamFrame]
    assert text in items[3].reason
    assert capture.released.wait(10)


def test_a_camera_whose_driver_hangs_is_given_up_and_let_go_once_it_comes_back() -> None:
    hanging = threading.Event()
    capture = Capture(lambda: (hanging.wait(60), (False, None))[1])
    seen = camera_frames(capture, timeout=0.2)
    with pytest.raises(VideoError, match=r"no frame came for 0\.2 s"):
        list(seen)
    assert not capture.released.is_set()
    hanging.set()
    assert capture.released.wait(10)


def test_a_camera_without_colour_is_seen_in_grey() -> None:
    capture = Capture(lambda: (True, np.full((6, 8), 9, np.uint8)))
    seen = camera_frames(capture)
    *_, (_, _, picture) = [next(seen) for _ in range(3)]
    seen.close()
    assert picture is not None
    assert picture.rgb((0, 0, 8, 6)).tolist() == np.full((6, 8, 3), 9).tolist()


# -- passwords


def test_no_error_shows_the_password_of_an_address_not_even_its_cause() -> None:
    url = "http://me:secret@127.0.0.1:{}/live"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(VideoError) as caught:
        open_source(url.format(port))
    with Flaky([reset], HTTP) as camera, pytest.raises(VideoError) as later:
        list(open_source(url.format(camera.port)).frames)
    for error in (caught.value, later.value):
        assert "secret" not in f"{error} {error.__cause__}"
        assert isinstance(error.__cause__, av.FFmpegError)
