"""Messages to other programs, by webhook and MQTT: in threads of their own, tried again, never in anybody's way."""

from __future__ import annotations

import http.client
import json
import logging
import re
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from spatterlib.common.install_hints import missing
from spatterlib.common.standard_streams import shown
from spatterlib.errors import ParameterError, PluginError
from spatterlib.live.settings import OutputSettings
from spatterlib.live.source import redacted

__all__ = ["Mqtt", "Sender", "Webhook", "headers_of", "senders_of"]

log = logging.getLogger("spatterlib")

# Messages that wait at most; the oldest are given up for the newest.
_MOST = 1000
_LONGEST_PAUSE = 30.0
# Answers that may be others next time; further ones of 400-499 say that the message itself is refused.
_RETRY = {408, 425, 429}


class Sender(Protocol):
    """Who hands messages over."""

    @property
    def undelivered(self) -> int:
        """How many were given up, or still wait."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand one over some time; returns at once."""

    def close(self, seconds: float) -> None:
        """Wait at most so long for those that are under way."""


def headers_of(texts: Sequence[str]) -> dict[str, str]:
    """Headers written as ``Name: value``.

    Examples
    --------
    >>> from spatterlib.live.senders import headers_of
    >>> headers_of(["Authorization: Bearer abc"])
    {'Authorization': 'Bearer abc'}
    """
    pairs = [text.partition(":") for text in texts]
    for number, (name, colon, value) in enumerate(pairs, 1):
        if not (colon and name.strip() and value.strip()):
            # The text may be a secret whose name was forgotten.
            raise ParameterError(f"a header is written 'Name: value'; header {number} is not")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[\t -~\xa0-\xff]*", value):
            raise ParameterError(f"header {name!r} has characters that no header may have, in its name or its value")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: of the message only an empty request would be left, and the headers are not for others."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> None:
        """Nothing: the answer is an error as any other that is not 2xx."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class Webhook:
    """POST each message as JSON to an address, in order, until it is taken: answered with 2xx by that address itself.

    Parameters
    ----------
    url : str
        Of ``http`` or ``https``.
    headers : mapping
        Further headers, such as for authorisation. Each message also has its id as ``Idempotency-Key``.
    pause : float
        S before the second try; twice as long before each next, up to 30 s.
    timeout : float
        S for one try.

    Raises
    ------
    ParameterError
        If the address is none, or a header cannot be sent.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, *, pause: float = 0.5, timeout: float = 5.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParameterError(f"a webhook is an http:// or https:// address, got {redacted(url)!r}")
        _check_headers(headers or {})
        self.url, self.headers, self.pause, self.timeout = url, dict(headers or {}), pause, timeout
        self._opener = urllib.request.build_opener(_NoRedirects())
        # Addresses of webhooks are secrets themselves: their paths and queries are not shown.
        self._host = f"{parts.scheme}://{_host(url)}"
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._ready, self._closing = threading.Condition(), threading.Event()
        self._until, self._lost, self._problem = float("inf"), 0, ""
        self._thread = threading.Thread(target=self._run, name="spatterlib-webhook", daemon=True)
        self._thread.start()

    @property
    def undelivered(self) -> int:
        """How many were given up, or still wait."""
        return self._lost + len(self._waiting)

    def send(self, message: Mapping[str, Any]) -> None:
        """Put it into the queue."""
        with self._ready:
            if len(self._waiting) >= _MOST:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(message)
            self._ready.notify_all()

    def close(self, seconds: float) -> None:
        """Wait at most so long."""
        self._until = time.monotonic() + seconds
        with self._ready:
            self._closing.set()
            self._ready.notify_all()
        self._thread.join(seconds + 0.1)

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._waiting:
                    if self._closing.is_set():
                        return
                    self._ready.wait()
                message = self._waiting[0]
            if not self._delivered(message):
                return
            with self._ready:
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()

    def _delivered(self, message: Mapping[str, Any]) -> bool:
        """Try until it is taken or refused; False where time is up."""
        pause = self.pause
        while time.monotonic() < self._until:
            problem, retry = self._post(message)
            self._warn(problem)
            if not retry:
                self._lost += bool(problem)
                return True
            self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return False

    def _wait(self, seconds: float) -> None:
        """Wait; shorter where it is being closed."""
        end = time.monotonic() + seconds
        while (left := min(end, self._until) - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _post(self, message: Mapping[str, Any]) -> tuple[str, bool]:
        """What went wrong, and whether to try again."""
        headers = {"Content-Type": "application/json", "User-Agent": "spatterlib", **self.headers}
        headers.setdefault("Idempotency-Key", str(message.get("id", "")))
        body = json.dumps(message, allow_nan=False).encode()
        request = urllib.request.Request(self.url, body, headers, method="POST")  # noqa: S310 - checked above
        try:
            with self._opener.open(request, timeout=self.timeout):
                return "", False
        except urllib.error.HTTPError as error:
            error.close()
            return self._refused(error)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return str(getattr(error, "reason", None) or error) or type(error).__name__, True

    def _refused(self, error: urllib.error.HTTPError) -> tuple[str, bool]:
        """An answer other than 2xx, in words, and whether another may come next time."""
        if 300 <= error.code < 400:
            # Whoever sends us elsewhere may think better of it, and what is refused for good is lost.
            target = _host(self.url, error.headers.get("Location") or "")
            target = "another path of itself" if target == _host(self.url) else target or "nowhere"
            return (
                f"not delivered: it answers {error.code} and points to {target}; no redirect is followed, "
                "so name the address that takes the message itself"
            ), True
        return f"not delivered: it answers {error.code}", error.code >= 500 or error.code in _RETRY

    def _warn(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("webhook %s: %s", self._host, problem)
        self._problem = problem


def _host(url: str, location: str = "") -> str:
    """Host and port of an address, or of a location that it names, and nothing else of it; empty where it has none."""
    try:
        parts = urlsplit(urljoin(url, location))
        return shown(f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}")
    except ValueError:
        return ""


class Mqtt:
    """Publish each message under ``TOPIC/alarm``, and ``online`` or ``offline`` under ``TOPIC/status`` (retained).

    The broker itself says "offline" where this program dies. Messages wait while there is no broker.

    Parameters
    ----------
    url : str
        ``mqtt://[user[:password]@]host[:port]/topic``, or ``mqtts://`` for TLS.

    Raises
    ------
    ParameterError
        If the address is none.
    PluginError
        If paho-mqtt is not installed.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ParameterError(f"an MQTT broker is given as mqtt://host[:port]/topic, got {redacted(url)!r}")
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise PluginError(missing("MQTT", "paho-mqtt", "live", error)) from error
        self.url, self.topic = url, unquote(parts.path).strip("/") or "spatterlib"
        if set(self.topic) & set("+#\0"):
            raise ParameterError(f"an MQTT topic has no + and #, got {self.topic!r}")
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2)
        client.max_queued_messages_set(_MOST)
        client.reconnect_delay_set(1, int(_LONGEST_PAUSE))
        client.will_set(f"{self.topic}/status", "offline", qos=1, retain=True)
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            client.tls_set()
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_publish = self._published
        self._pending: set[int] = set()
        self._acknowledged: set[int] = set()
        self._lost, self._problem = 0, ""
        client.connect_async(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883))
        client.loop_start()

    @property
    def undelivered(self) -> int:
        """How many were given up, or still wait."""
        done = self._pending & self._acknowledged
        self._pending -= done
        self._acknowledged -= done
        return self._lost + len(self._pending)

    def send(self, message: Mapping[str, Any]) -> None:
        """Give it to paho, which keeps it until the broker has it."""
        info = self._client.publish(f"{self.topic}/alarm", json.dumps(message, allow_nan=False), qos=1)
        # 4: no connection yet, but it waits; what the full queue does not take is lost.
        if info.rc not in (0, 4):
            self._lost += 1
            return
        self._pending.add(info.mid)

    def close(self, seconds: float) -> None:
        """Wait at most so long, say "offline", and go."""
        if self._client.is_connected():
            self._pending.add(self._client.publish(f"{self.topic}/status", "offline", qos=1, retain=True).mid)
        until = time.monotonic() + seconds
        while self.undelivered > self._lost and time.monotonic() < until:
            time.sleep(0.02)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._warn(f"the broker refuses: {reason}")
            return
        self._problem = ""
        client.publish(f"{self.topic}/status", "online", qos=1, retain=True)

    def _published(self, _: Any, __: Any, number: int, *___: Any) -> None:
        self._acknowledged.add(number)

    def _failed(self, *_: Any) -> None:
        self._warn("no connection; trying again")

    def _warn(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("MQTT %s: %s", redacted(self.url), problem)
        self._problem = problem


def senders_of(outputs: OutputSettings) -> Iterator[Sender]:
    """The senders that are asked for, each as it starts."""
    if outputs.webhook:
        yield Webhook(outputs.webhook, outputs.headers)
    if outputs.mqtt:
        yield Mqtt(outputs.mqtt)
