"""Messages to other programs, by webhook and MQTT: in threads of their own, tried again, never in anybody's way."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from spatterlib.common.install_hints import missing
from spatterlib.common.standard_streams import shown
from spatterlib.errors import MissingFileError, ParameterError, PluginError
from spatterlib.live.outbox import Outbox
from spatterlib.live.settings import OutputSettings
from spatterlib.live.source import redacted

__all__ = ["Mqtt", "Sender", "Webhook", "headers_of", "secret_of", "senders_of", "signature"]

log = logging.getLogger("spatterlib")

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


def secret_of(text: str) -> bytes:
    """The secret in a file or, of ``env:NAME``, in an environment variable; of ``whsec_...`` what its Base64 says.

    Raises
    ------
    MissingFileError, ParameterError
        If there is none.

    Examples
    --------
    >>> import os
    >>> from spatterlib.live.senders import secret_of
    >>> os.environ["HOOK"] = "s3cret"
    >>> secret_of("env:HOOK")
    b's3cret'
    """
    if text.startswith("env:"):
        value = os.environ.get(text[4:], "")
    else:
        try:
            value = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise MissingFileError(f"no secret can be read from {text}: {error.strerror}; or env:NAME") from error
    value = value.strip()
    if not value:
        raise ParameterError(f"there is no secret in {text}: it is empty, or not set")
    if not value.startswith("whsec_"):
        return value.encode()
    try:
        return base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ParameterError(f"the secret in {text} begins with whsec_, but no Base64 follows") from error


def signature(secret: bytes, number: str, seconds: int, body: bytes) -> dict[str, str]:
    """Headers that let the receiver check who sent a body, and when, by the rules of Standard Webhooks."""
    signed = hmac.new(secret, f"{number}.{seconds}.".encode() + body, hashlib.sha256).digest()
    text = "v1," + base64.b64encode(signed).decode()
    return {"webhook-id": number, "webhook-timestamp": str(seconds), "webhook-signature": text}


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
    secret : bytes, optional
        Sign each message with it, see `signature`.
    outbox : Outbox, optional
        Where messages wait; those that are there already are sent too.
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
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        secret: bytes | None = None,
        outbox: Outbox | None = None,
        pause: float = 0.5,
        timeout: float = 5.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParameterError(f"a webhook is an http:// or https:// address, got {redacted(url)!r}")
        _check_headers(headers or {})
        self.url, self.headers, self.pause, self.timeout = url, dict(headers or {}), pause, timeout
        self._secret, self._outbox = secret, Outbox() if outbox is None else outbox
        self._opener = urllib.request.build_opener(_NoRedirects())
        # Addresses of webhooks are secrets themselves: their paths and queries are not shown.
        self._host = f"{parts.scheme}://{_host(url)}"
        self._ready, self._closing = threading.Condition(), threading.Event()
        self._until, self._problem = float("inf"), ""
        self._thread = threading.Thread(target=self._run, name="spatterlib-webhook", daemon=True)
        self._thread.start()

    @property
    def undelivered(self) -> int:
        """How many were given up, or still wait."""
        return self._outbox.lost + len(self._outbox)

    def send(self, message: Mapping[str, Any]) -> None:
        """Put it into the queue."""
        self._outbox.add(message)
        with self._ready:
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
                while not (oldest := self._outbox.first()):
                    if self._closing.is_set():
                        return
                    self._ready.wait()
            key, message = oldest
            taken = self._delivered(message)
            if taken is None:
                return
            self._outbox.remove(key, lost=not taken)

    def _delivered(self, message: Mapping[str, Any]) -> bool | None:
        """Try until it is taken (True) or refused (False); None where time is up."""
        pause = self.pause
        while time.monotonic() < self._until:
            problem, retry = self._post(message)
            self._warn(problem)
            if not retry:
                return not problem
            self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None

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
        if self._secret is not None:
            headers |= signature(self._secret, str(message.get("id", "")), int(datetime.now(UTC).timestamp()), body)
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
    outbox : Outbox, optional
        Where messages wait; those that are there already are sent too.

    Raises
    ------
    ParameterError
        If the address is none.
    PluginError
        If paho-mqtt is not installed.
    """

    def __init__(self, url: str, *, outbox: Outbox | None = None) -> None:
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
        client.max_queued_messages_set(0)  # no limit: the outbox has one
        client.reconnect_delay_set(1, int(_LONGEST_PAUSE))
        client.will_set(f"{self.topic}/status", "offline", qos=1, retain=True)
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            client.tls_set()
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_publish = self._published
        self._outbox, self._lock = Outbox() if outbox is None else outbox, threading.Lock()
        # Keys of messages under way, by paho's number; numbers that were acknowledged before they were known here.
        self._pending: dict[int, str] = {}
        self._early: set[int] = set()
        self._problem = ""
        client.connect_async(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883))
        client.loop_start()
        for key, message in self._outbox.waiting().items():
            self._publish(key, message)

    @property
    def undelivered(self) -> int:
        """How many were given up, or still wait."""
        return self._outbox.lost + len(self._outbox)

    def send(self, message: Mapping[str, Any]) -> None:
        """Give it to paho, which keeps it until the broker has it."""
        self._publish(self._outbox.add(message), message)

    def _publish(self, key: str, message: Mapping[str, Any]) -> None:
        info = self._client.publish(f"{self.topic}/alarm", json.dumps(message, allow_nan=False), qos=1)
        # 4: no connection yet, but it waits.
        if info.rc not in (0, 4):
            self._outbox.remove(key, lost=True)
            return
        with self._lock:
            # The broker may have been quicker than this. All other numbers in there are those of the status.
            done = info.mid in self._early
            self._early.clear()
            if not done:
                self._pending[info.mid] = key
        if done:
            self._outbox.remove(key)

    def close(self, seconds: float) -> None:
        """Wait at most so long, say "offline", and go."""
        until = time.monotonic() + seconds
        if self._client.is_connected():
            offline = self._client.publish(f"{self.topic}/status", "offline", qos=1, retain=True)
            while not offline.is_published() and time.monotonic() < until:
                time.sleep(0.02)
        while len(self._outbox) and time.monotonic() < until:
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
        with self._lock:
            key = self._pending.pop(number, None)
            if key is None:
                self._early.add(number)
        if key is not None:
            self._outbox.remove(key)

    def _failed(self, *_: Any) -> None:
        self._warn("no connection; trying again")

    def _warn(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("MQTT %s: %s", redacted(self.url), problem)
        self._problem = problem


def senders_of(outputs: OutputSettings) -> Iterator[Sender]:
    """The senders that are asked for, each as it starts."""
    folder = None if outputs.queue is None else Path(outputs.queue)
    if outputs.webhook:
        secret = None if outputs.webhook_secret is None else secret_of(outputs.webhook_secret)
        yield Webhook(outputs.webhook, outputs.headers, secret=secret, outbox=Outbox(folder and folder / "webhook"))
    if outputs.mqtt:
        yield Mqtt(outputs.mqtt, outbox=Outbox(folder and folder / "mqtt"))
