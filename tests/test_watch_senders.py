"""What is sent to others: handed over only where the address itself says so; secrets go there and nowhere else."""

from __future__ import annotations

import base64
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import pytest

from spatterlib.errors import ParameterError, VideoError
from spatterlib.live.senders import Webhook, headers_of
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
    thread = threading.Thread(target=found.serve_forever, args=(0.05,))
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

        thread = threading.Thread(target=answer)
        thread.start()
        webhook = Webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/", pause=0.01)
        webhook.send({"id": "a"})
        thread.join()
        webhook.close(0.0)
    assert webhook.undelivered == 1
    assert "220 mail.example" in caplog.text


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
