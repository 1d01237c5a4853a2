"""What is sent to others: handed over only where the address itself says so; secrets go there and nowhere else."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatterlib.errors import ParameterError, SpatterlibError, VideoError
from spatterlib.live.outbox import Outbox
from spatterlib.live.senders import Webhook, headers_of, secret_of
from spatterlib.live.source import open_source, redacted

Answer = Callable[[Any], tuple[int, dict[str, str]]]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A web server: its address, and the method, authorisation and body of each request."""
    requests: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append((self.command, self.headers.get("Authorization", ""), body))
            code, headers = answer(self)
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_port}", requests
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def taking(_: Any) -> tuple[int, dict[str, str]]:
    return 200, {}


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 307, 308])
def test_a_webhook_that_points_elsewhere_has_not_taken_the_alarm_and_gets_no_secret_there(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with server(taking) as (other, elsewhere):
        target = other.replace("127.0.0.1", "localhost") + "/login?token=abc"
        with server(lambda _: (code, {"Location": target})) as (url, requests):
            webhook = Webhook(f"{url}/services/T0/secret", headers_of(["Authorization: Bearer s3cret"]), pause=0.01)
            webhook.send({"id": "a", "event": 1})
            wait_for(lambda: len(requests) >= 2)
            assert webhook.undelivered == 1
            webhook.close(0.0)
    assert elsewhere == []
    assert {method for method, _, _ in requests} == {"POST"}
    assert all(b'"event": 1' in body for _, _, body in requests)
    assert webhook.undelivered == 1
    [said] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    place = target.removeprefix("http://").partition("/")[0]
    assert said == (
        f"webhook {url}: not delivered: it answers {code} and points to {place}; no redirect is followed, "
        "so name the address that takes the message itself"
    )


def test_an_alarm_is_kept_until_a_webhook_that_pointed_elsewhere_takes_it() -> None:
    codes = [302, 307]
    with server(lambda _: (codes.pop(), {"Location": "/login"}) if codes else (200, {})) as (url, requests):
        webhook = Webhook(url, pause=0.01)
        webhook.send({"id": "a", "event": 1})
        webhook.send({"id": "b", "event": 2})
        webhook.close(20)
    assert [b'"event": 1' in body for _, _, body in requests] == [True, True, True, False]
    assert webhook.undelivered == 0


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/login?next=%2Falarm", "another path of itself"),
        ("", "another path of itself"),
        ("http://[half", "nowhere"),
        ("https://user:pw@hook.example/x#y", "hook.example"),
        ("http://hook.example:8/\x1b[2J", "hook.example:8"),
    ],
)
def test_where_it_points_to_is_said_without_path_and_password(
    location: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with server(lambda _: (302, {"Location": location})) as (url, requests):
        webhook = Webhook(url, pause=0.01)
        webhook.send({"id": "a"})
        wait_for(lambda: bool(requests) and bool(caplog.records))
        webhook.close(0.0)
    assert f"points to {said};" in caplog.text


@pytest.mark.parametrize("how", ["500", "hang", "slow", "hang up"])
def test_whatever_a_webhook_does_nothing_is_lost_and_what_comes_twice_has_the_same_id(how: str) -> None:
    calls = count(1)

    def answer(handler: Any) -> tuple[int, dict[str, str]]:
        first = next(calls) in (1, 3)
        if first and how == "hang up":
            handler.connection.shutdown(socket.SHUT_RDWR)
        if first and how in ("hang", "slow"):
            time.sleep(0.6 if how == "hang" else 0.15)
        return (500 if first and how == "500" else 200), {}

    with server(answer) as (url, requests):
        webhook = Webhook(url, pause=0.01, timeout=0.3)
        for number in range(4):
            webhook.send({"id": f"id-{number}"})
        webhook.close(20)
    ids = [json.loads(body)["id"] for _, _, body in requests]
    assert webhook.undelivered == 0
    assert list(dict.fromkeys(ids)) == [f"id-{number}" for number in range(4)]
    assert len(ids) == (4 if how == "slow" else 6)


def test_a_webhook_that_is_down_gets_all_of_it_in_order_when_it_is_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    webhook = Webhook(f"http://127.0.0.1:{port}", pause=0.01)
    for number in range(20):
        webhook.send({"id": f"id-{number}"})
    time.sleep(0.3)
    assert webhook.undelivered == 20
    ids: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ids.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    webhook.close(20)
    found.shutdown()
    found.server_close()
    thread.join()
    assert (ids, webhook.undelivered) == ([f"id-{number}" for number in range(20)], 0)


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_any_answer_of_2xx_says_that_it_was_taken(code: int) -> None:
    with server(lambda _: (code, {})) as (url, _):
        webhook = Webhook(url)
        webhook.send({"id": "a"})
        webhook.close(20)
    assert webhook.undelivered == 0


def test_an_answer_that_is_no_http_is_no_delivery(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        webhook = Webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/", pause=0.01)
        webhook.send({"id": "a"})
        thread.join()
        webhook.close(0.0)
    assert webhook.undelivered == 1
    assert "220 mail.example" in caplog.text


# -- what waits, over a restart


KILLED = """
import sys, time
from spatterlib.live.outbox import Outbox
from spatterlib.live.senders import Webhook
webhook = Webhook(sys.argv[1], outbox=Outbox(sys.argv[2]))
for number in range(3):
    webhook.send({"id": f"m{number}", "event": number})
print("sent", flush=True)
time.sleep(60)
"""


def test_what_waited_when_the_program_was_killed_is_sent_by_the_next_one_in_order(tmp_path: Path) -> None:
    with server(lambda _: (503, {})) as (url, _):
        command = [sys.executable, "-c", KILLED, url, str(tmp_path / "waiting")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout
            assert killed.stdout.readline() == "sent\n"
            killed.kill()
    with server(taking) as (url, requests):
        webhook = Webhook(url, outbox=Outbox(tmp_path / "waiting"))
        webhook.send({"id": "m3", "event": 3})
        webhook.close(20)
    assert [json.loads(body)["id"] for _, _, body in requests] == ["m0", "m1", "m2", "m3"]
    assert len(Outbox(tmp_path / "waiting")) == webhook.undelivered == 0


def test_what_is_refused_does_not_wait_for_the_next_program(tmp_path: Path) -> None:
    with server(lambda _: (404, {})) as (url, _):
        webhook = Webhook(url, outbox=Outbox(tmp_path))
        webhook.send({"id": "a"})
        webhook.close(20)
    assert webhook.undelivered == 1
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_messages_stay_where_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torn, other = tmp_path / f"{1:020d}-000001.json", tmp_path / "notes.json"
    torn.write_text('{"id": "a"')
    other.write_text('{"id": "b"}')
    assert len(Outbox(tmp_path)) == 0
    assert torn.exists()
    assert other.exists()
    assert f"{torn} is not sent: " in caplog.text


def test_a_disk_that_takes_nothing_leaves_alarms_in_memory_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(tmp_path / "waiting")
    (tmp_path / "waiting").rmdir()
    for name in "ab":
        outbox.add({"id": name})
    assert [message["id"] for message in outbox.waiting().values()] == ["a", "b"]
    assert caplog.text.count("alarms wait in memory only") == 1


@given(st.lists(st.booleans(), max_size=30))
@settings(max_examples=30, deadline=None)
def test_an_outbox_gives_what_was_added_and_not_removed_in_order_before_and_after_a_restart(steps: list[bool]) -> None:
    with TemporaryDirectory() as folder:
        outbox, expected = Outbox(folder), list[int]()
        for number, add in enumerate(steps):
            if add:
                outbox.add({"id": number})
                expected.append(number)
            elif oldest := outbox.first():
                assert oldest[1]["id"] == expected.pop(0)
                outbox.remove(oldest[0])
        for found in (outbox, Outbox(folder)):
            assert [message["id"] for message in found.waiting().values()] == expected


def test_the_oldest_is_given_up_for_the_newest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("spatterlib.live.outbox._MOST", 2)
    outbox = Outbox(tmp_path)
    for name in "abc":
        outbox.add({"id": name})
    assert [message["id"] for message in Outbox(tmp_path).waiting().values()] == ["b", "c"]
    assert outbox.lost == 1


# -- signatures


def test_a_body_is_signed_so_that_the_receiver_can_check_it(tmp_path: Path) -> None:
    """https://www.standardwebhooks.com: Base64 of the HMAC-SHA256 of id.timestamp.body."""
    (tmp_path / "secret").write_text("whsec_" + base64.b64encode(b"s3cret").decode() + "\n")
    seen: list[Any] = []

    def answer(request: Any) -> tuple[int, dict[str, str]]:
        seen.append(request.headers)
        return 200, {}

    with server(answer) as (url, requests):
        webhook = Webhook(url, secret=secret_of(str(tmp_path / "secret")))
        webhook.send({"id": "a", "event": 1})
        webhook.close(20)
    [(_, _, body)], [headers] = requests, seen
    assert headers["webhook-id"] == headers["Idempotency-Key"] == "a"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    content = f"a.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"s3cret", content, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_secret_comes_from_a_file_or_a_variable_and_is_never_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("HOOK", "s3cret")
    assert secret_of(str(tmp_path / "secret")) == secret_of("env:HOOK") == b"s3cret"
    (tmp_path / "secret").write_text("\n")
    (tmp_path / "wrong").write_text("whsec_s3cret!")
    for text in (str(tmp_path / "secret"), "env:NOTHING_OF_THAT_NAME", str(tmp_path / "wrong"), str(tmp_path / "none")):
        with pytest.raises(SpatterlibError, match="secret") as caught:
            secret_of(text)
        assert "s3cret" not in str(caught.value)


def test_nothing_of_a_webhook_but_its_host_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with server(lambda _: (404, {})) as (url, _):
        webhook = Webhook(f"{url}/services/T000/B000/s3cret?key=s3cret", pause=0.01)
        webhook.send({"id": "a"})
        webhook.close(20)
    assert f"webhook {url}: not delivered: it answers 404" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("header", ["s3cret without a name", "Authorization:", ": s3cret"])
def test_a_header_that_is_none_is_refused_without_showing_it(header: str) -> None:
    with pytest.raises(ParameterError, match="header 1 is not") as caught:
        headers_of([header])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", ["s3cret\r\nX: y", "s3cret\n", "s3cret €"])
def test_a_header_that_cannot_be_sent_is_refused_at_once_without_showing_it(value: str) -> None:
    with pytest.raises(ParameterError, match="'Authorization' has characters") as caught:
        Webhook("http://127.0.0.1:9/", {"Authorization": value})
    assert "s3cret" not in str(caught.value)


# -- sources with passwords


def test_a_source_that_points_elsewhere_does_not_hand_its_password_there() -> None:
    basic = "Basic " + base64.b64encode(b"me:s3cret").decode()
    with server(lambda _: (404, {})) as (other, elsewhere):
        target = other.replace("127.0.0.1", "localhost") + "/live"

        def answer(request: Any) -> tuple[int, dict[str, str]]:
            known = request.headers.get("Authorization") == basic
            return (302, {"Location": target}) if known else (401, {"WWW-Authenticate": 'Basic realm="camera"'})

        with server(answer) as (url, requests), pytest.raises(VideoError) as caught:
            open_source(url.replace("://", "://me:s3cret@") + "/live", timeout=10)
    assert [authorisation for _, authorisation, _ in requests] == ["", basic]
    assert [authorisation for _, authorisation, _ in elsewhere] == [""]
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"
    assert isinstance(caught.value.__cause__, av.FFmpegError)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://me:s3cret@10.0.0.7:554/live?a=1", "rtsp://me:***@10.0.0.7:554/live?a=1"),
        ("rtsp://me:s3@cret@host/x", "rtsp://me:***@host/x"),
        ("rtsp://me@host/x", "rtsp://me@host/x"),
        ("http://me:s3cret@host:port", "http://me:***@host:port"),
        ("http://cam/video.cgi?user=me&pwd=s3cret&fps=5", "http://cam/video.cgi?user=me&pwd=***&fps=5"),
        ("rtsp://cam/user=me&password=s3cret&channel=1", "rtsp://cam/user=me&password=***&channel=1"),
        ("srt://cam:9?passphrase=s3cret", "srt://cam:9?passphrase=***"),
        ("https://cam/x?access_token=s3cret#t", "https://cam/x?access_token=***#t"),
        ("build.mkv", "build.mkv"),
    ],
)
def test_no_password_of_an_address_is_shown(source: str, shown: str) -> None:
    assert redacted(source) == shown
