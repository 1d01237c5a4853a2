"""The page and the dashboard of a watch: they show what goes on, to whoever may look, and hold nobody up."""

from __future__ import annotations

import http.client
import io
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from demo_browser import CHROMIUM, WAIT
from hypothesis import given, settings
from hypothesis import strategies as st

import spatterlib as sp
from spatterlib.cli.dashboard import Dashboard, dashboard
from spatterlib.cli.main import main
from spatterlib.errors import Exit, ParameterError, SpatterlibError
from spatterlib.live.alarms import Notice
from spatterlib.live.latency import Latencies
from spatterlib.live.lookback import Kept, Lookback, ShownBox
from spatterlib.live.messages import json_line
from spatterlib.live.prometheus import Snapshot
from spatterlib.live.view import ViewState, serve_view
from spatterlib.types import RgbPicture
from spatterlib.verdicts.rules import Rules

HOSTILE = "<img src=x onerror=alert(1)> \u202e${7*7} '\"`"


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def picture(level: int = 60) -> RgbPicture:
    return RgbPicture(np.full((90, 160, 3), level, np.uint8))


def filled(lookback: Lookback, count: int, every: float = 0.1, label: str = "low") -> None:
    """So many pictures, each encoded before the next comes."""
    for number in range(1, count + 1):
        lookback.show(picture(number % 200), number * every, [ShownBox(0.1, 0.2, 0.3, 0.4, label, 0.9)])
        until = time.monotonic() + 10
        while not (shots := lookback.shots()) or shots[-1].number < number:
            assert time.monotonic() < until
            time.sleep(0.005)


def status(**changed: Any) -> Any:
    names = "received decoded undecoded dropped waiting jumps connections gaps gap_seconds repeated crops events layers"
    found = dict.fromkeys(names.split(), 0) | {"connected": True, "undelivered": 0, "store": None, "charts": None}
    return found | {"latency_p50": 0.003, "latency_p99": 0.04, "latency_max": 0.1, "clips": None} | changed


def verdict(number: int = 1, **changed: Any) -> dict[str, Any]:
    span = {"number": number, "state": "critical", "label": "low", "leading": "low", "probability": 0.9, "votes": 7}
    span |= {"low": 0.7, "high": 0.98, "reason": "low, not expected", "scope": "window", "final": False}
    return {"type": "verdict", "time": float(number), "simulated": None, "model_origin": "not stated"} | span | changed


@pytest.fixture
def state() -> Iterator[ViewState]:
    lookback = Lookback()
    found = ViewState(lookback)
    facts = {name: value for name, value in verdict().items() if name not in ("type", "time")}
    event = Notice(1, "new", "window fouled", None, 2.0, 2.0, HOSTILE)
    span: Any = SimpleNamespace(facts=lambda: facts)
    found.snapshot = lambda: Snapshot(status(), Latencies(), {"layer": span}, (event,), None, None, "not stated")
    yield found
    lookback.close()


@pytest.fixture
def port(state: ViewState) -> Iterator[int]:
    number = free_port()
    end = serve_view(str(number), state)
    yield number
    end()


def get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_the_page_is_three_files_that_ask_nobody_else(port: int) -> None:
    for path in ("/", "/page.css", "/page.js"):
        code, headers, body = get(port, path)
        assert code == 200
        assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in body
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert b"innerHTML" not in body
    assert get(port, "/nobody")[0] == get(port, "/../settings.py")[0] == get(port, "/shot/x")[0] == 404


def test_it_says_what_is_new_since_it_was_last_asked(port: int, state: ViewState) -> None:
    filled(state.lookback, 3)
    for number in range(1, 5):
        state.take(verdict(number, reason=HOSTILE))
    code, _, body = get(port, "/now?after=2")
    found = json.loads(body)
    assert (code, [entry["number"] for entry in found["entries"]]) == (200, [3, 4])
    assert found["shots"] == [1, 3]
    assert found["events"][0]["reason"] == HOSTILE
    code, headers, body = get(port, "/shot/2")
    assert (code, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert json.loads(headers["X-Shot"])["boxes"] == [[0.1, 0.2, 0.3, 0.4, "low", 0.9]]
    assert json.loads(get(port, "/now?after=-1%27")[2])["entries"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),
    ],
)
def test_no_other_site_can_read_it(port: int, headers: dict[str, str], code: int) -> None:
    assert get(port, "/now", **headers)[0] == code


def test_where_others_reach_it_it_needs_a_key_that_does_not_stay_in_the_address(
    state: ViewState, tmp_path: Path
) -> None:
    port, key = free_port(), "k" * 20
    (tmp_path / "key").write_text(key + "\n")
    end = serve_view(f"0.0.0.0:{port}", state, str(tmp_path / "key"))
    try:
        assert [get(port, path)[0] for path in ("/", "/now", "/shot/1", "/page.js", "/?key=wrong")] == 5 * [401]
        code, headers, _ = get(port, f"/?key={key}")
        assert (code, headers["Location"]) == (303, "/")
        assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert get(port, "/now", Cookie=cookie)[0] == 200
        assert get(port, "/now", Cookie=cookie + "x")[0] == get(port, "/now", Cookie="\x01=;")[0] == 401
    finally:
        end()


def test_without_a_key_of_its_own_it_gets_one(state: ViewState, caplog: pytest.LogCaptureFixture) -> None:
    end = serve_view(f"0.0.0.0:{(port := free_port())}", state)
    try:
        [line] = [record.message for record in caplog.records]
        assert get(port, "/now")[0] == 401
        assert get(port, "/" + line.rpartition("/")[2])[0] == 303
    finally:
        end()


@pytest.mark.parametrize("key", ["short", "with spaces and more of it", "semi;colon;semi;colon", "ü" * 20])
def test_a_key_that_is_none_is_refused_without_showing_it(state: ViewState, tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key, encoding="utf-8")
    with pytest.raises(ParameterError, match="16 to 200 letters") as caught:
        serve_view(str(free_port()), state, str(tmp_path / "key"))
    assert key not in str(caught.value)


def test_a_port_that_is_taken_is_said(state: ViewState, port: int) -> None:
    with pytest.raises(SpatterlibError, match="the page cannot be served at"):
        serve_view(str(port), state)


def test_connections_that_say_nothing_do_not_keep_others_away_for_ever(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    for connection in silent:
        connection.close()
    until = time.monotonic() + 15
    while True:
        try:
            assert get(port, "/now")[0] == 200
            return
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < until


# -- the last minute, and what alarms keep


def test_the_last_minute_can_be_looked_at_and_no_more() -> None:
    lookback = Lookback()
    filled(lookback, 100, every=1.0)
    assert [shot.number for shot in lookback.shots()] == list(range(40, 101))
    assert lookback.shot(39) is None
    lookback.close()


def test_an_alarm_keeps_its_picture_and_a_clip_that_say_what_they_are(tmp_path: Path) -> None:
    lookback = Lookback(tmp_path)
    filled(lookback, 30)
    kept = lookback.keep(7, 2.5, {"state": HOSTILE, "simulated": True})
    lookback.close()
    assert isinstance(kept, Kept)
    jpeg = Path(kept.frame).read_bytes()
    assert jpeg[:4] == b"\xff\xd8\xff\xfe"
    assert b'"by": "spatterlib watch"' in jpeg[:300]
    assert b'"simulated": true' in jpeg[:300]
    with sp.open_video(kept.frame) as still:
        assert (still.width, still.height) == (160, 90)
    with av.open(kept.clip) as clip:
        assert json.loads(clip.metadata["comment"])["state"] == HOSTILE
        frames = [frame.time for frame in clip.decode(video=0)]
    assert np.array(frames) == pytest.approx(np.arange(30) / 10, abs=0.002)
    assert lookback.state == "ok"


def test_room_is_bounded_and_nothing_of_others_is_removed(tmp_path: Path) -> None:
    others = [tmp_path / "spatterlib-20200101T000000-1.jpg", tmp_path / "mine.mp4"]
    for path in others:
        path.write_bytes(bytes(100_000))
    lookback = Lookback(tmp_path, room=0.01)
    filled(lookback, 4)
    for event in range(1, 12):
        lookback.keep(event, 0.2, {})
    lookback.close()
    own = [path for path in tmp_path.iterdir() if path not in others]
    assert all(path.exists() for path in others)
    assert 1 <= len(own) < 22
    assert sum(path.stat().st_size for path in own) <= 10_000


def test_a_disk_that_takes_nothing_is_said_once_and_the_watch_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lookback = Lookback(tmp_path / "clips")
    filled(lookback, 3)
    (tmp_path / "clips").rmdir()
    (tmp_path / "clips").write_text("no folder")
    lookback.keep(1, 0.2, {})
    lookback.keep(2, 0.2, {})
    lookback.close()
    assert lookback.state not in (None, "ok")
    assert lookback.keep(3, 0.2, {}) is None
    assert sum("keep no pictures any more" in record.message for record in caplog.records) >= 1


def test_showing_never_waits_for_a_picture_that_takes_long() -> None:
    begun, hanging = threading.Event(), threading.Event()

    class Slow:
        shape = (90, 160)

        def rgb(self, box: Any, out: Any = None) -> Any:
            begun.set()
            hanging.wait(300)
            return picture().rgb(box)

    lookback = Lookback()
    lookback.show(Slow(), 0.0, [])
    assert begun.wait(60)
    for number in range(1, 200):
        lookback.show(picture(), float(number), [])
    assert lookback.shots() == []
    hanging.set()
    lookback.close()
    assert [shot.time for shot in lookback.shots()][-1] == 199.0


def test_a_watch_links_what_it_keeps_of_an_alarm_in_its_messages(tmp_path: Path) -> None:
    sp.simulate(tmp_path / "build.mp4", gas_flow="low", seconds=4, seed=9907)
    messages: list[dict[str, Any]] = []
    rules = Rules(expected="high", min_votes=3)
    options: dict[str, Any] = {"rules": rules, "idle": 0.1, "view": str(free_port()), "notify": messages.append}
    sp.watch(str(tmp_path / "build.mp4"), "simulated", clips=str(tmp_path / "clips"), **options)
    found = [message for message in messages if message["type"] == "alarm"]
    assert found
    assert {message["frame"] for message in found} == {str(path) for path in (tmp_path / "clips").glob("*.jpg")}
    assert messages[-1]["clips"] == "ok"


# -- in a browser


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_browser_shows_it_without_errors_whatever_names_are_and_axe_finds_nothing(
    chromium: Any,
    port: int,
    state: ViewState,
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    state.take({"type": "start", "source": HOSTILE, "model": {"name": HOSTILE}})
    for number in range(1, 5):
        state.take(verdict(number, reason=HOSTILE, label=HOSTILE, leading=HOSTILE))
        state.take(verdict(number, scope="layer", final=number < 4, label=HOSTILE))
    state.take({"type": "alarm", "event": 1, "phase": "new", "state": HOSTILE, "reason": HOSTILE, "at": "2026-12-01"})
    filled(state.lookback, 20, label=HOSTILE)
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{port}/")
    page.locator("#names span").wait_for(state="attached")
    assert page.locator("h1").text_content().strip() == "! window fouled"
    assert HOSTILE in page.locator("#log li").first.text_content()
    assert page.locator("#source").text_content() == f"{HOSTILE} · {HOSTILE}"
    assert page.locator("main img").count() == 1
    page.locator("#back").fill("3")
    page.locator("#frame[data-number='3']").wait_for()
    page.locator("#live").click()
    page.locator("#frame[data-number='20']").wait_for()
    for width, scheme in ((390, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert axe.run(page).response["violations"] == []
    context.close()
    assert errors == []


# -- on a terminal


def drawn(messages: list[dict[str, Any]]) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with dashboard(console) as take:
        for message in messages:
            take(message)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_dashboard_shows_verdict_layers_alarms_and_the_watch() -> None:
    start = {"type": "start", "source": "0", "simulated": True, "model_origin": "not stated"}
    alarm = {"type": "alarm", "event": 1, "phase": "new", "state": "critical", "reason": "low", "time": 3671.0}
    end = status() | {"type": "status", "gaps": 2}
    text = drawn([start, verdict(scope="layer"), verdict(), alarm, end])
    for part in (
        "✕ critical",
        "low 0.90 [0.70-0.98], 7 votes",
        "1:01:11  1 new: critical: low",
        "99 % 40 ms",
        "2 gaps",
    ):
        assert part in text
    assert '"type"' not in text


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
@settings(deadline=None, max_examples=8)
def test_text_from_outside_neither_commands_the_terminal_nor_is_markup(text: str) -> None:
    found = drawn([verdict(scope="layer", label=text + "\x1b[2J[bold]x[/nobody]", reason=text + "\x1b]0;x\x07")])
    assert "\x1b" not in found
    assert "[bold]x[/nobody]" in found.replace("\n", "").replace("│", "").replace(" ", "") or "…" in found


def test_an_event_that_goes_on_stands_above_the_verdict_until_it_ends() -> None:
    board = Dashboard()
    alarm = {"type": "alarm", "event": 4, "phase": "new", "state": "camera moved", "reason": "by 1 %", "time": 3.0}
    board.take(verdict(scope="layer"))
    board.take(alarm)
    assert [found["state"] for found in board.open.values()] == ["camera moved"]
    board.take({**alarm, "phase": "end"})
    assert not board.open


def test_where_stdout_is_no_terminal_there_are_json_lines_and_a_dashboard_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sp.simulate(tmp_path / "a.mp4", seconds=1, seed=3)
    arguments = ["watch", str(tmp_path / "a.mp4"), "--model", "simulated", "--idle", "0.1"]
    assert main([*arguments, "--dashboard"]) == Exit.USAGE
    assert "stdout is none" in capsys.readouterr().err
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json_line(json.loads(line)) for line in lines] == lines
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([*arguments, "--no-dashboard"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith('{"type": "start"')
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert '{"type"' not in out
    assert "frames" in out
    assert err == ""
