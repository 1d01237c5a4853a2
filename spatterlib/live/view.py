"""A page of the watch for a browser: picture, verdict, layers, alarms; served by threads that hold nobody up."""

from __future__ import annotations

import dataclasses
import hmac
import json
import logging
import re
import secrets
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from spatterlib.common.files import json_ready
from spatterlib.errors import ParameterError, SpatterlibError
from spatterlib.live.lookback import Lookback, Shot
from spatterlib.live.prometheus import Snapshot, address_of
from spatterlib.live.senders import secret_of

__all__ = ["ViewState", "serve_view"]

log = logging.getLogger("spatterlib")

# Messages that a page that is opened later gets; connections at a time; S without a byte until one is cut.
_ENTRIES, _CONNECTIONS, _PATIENCE = 900, 32, 10.0
_SHOWN = {"verdict", "alarm", "gap", "chart", "end"}
_COOKIE = "spatterlib_view"
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass
class ViewState:
    """What a page shows: the messages of a watch as they come, the newest of each kind, and the last pictures.

    Parameters
    ----------
    lookback : Lookback
        Pictures of the last minute.

    Examples
    --------
    >>> from spatterlib.live.lookback import Lookback
    >>> from spatterlib.live.view import ViewState
    >>> state = ViewState(Lookback())
    >>> state.take({"type": "gap", "seconds": 2.0})
    >>> [entry["seconds"] for entry in state.since(0)["entries"]], state.since(1)["entries"]
    ([2.0], [])
    """

    lookback: Lookback
    snapshot: Callable[[], Snapshot] | None = None
    start: Mapping[str, Any] | None = None
    _entries: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_ENTRIES), repr=False)
    _count: int = 0

    def take(self, message: Mapping[str, Any]) -> None:
        """Remember a message, if it is shown."""
        if message["type"] == "start":
            self.start = message
        elif message["type"] in _SHOWN:
            self._count += 1
            self._entries.append({**message, "entry": self._count})

    def since(self, entry: int) -> dict[str, Any]:
        """What has changed since an entry, JSON-able."""
        shots = self.lookback.shots()
        answer: dict[str, Any] = {
            "start": self.start,
            "entries": [found for found in list(self._entries) if found["entry"] > entry],
            "shots": [shots[0].number, shots[-1].number] if shots else None,
            "times": [shots[0].time, shots[-1].time] if shots else None,
        }
        if self.snapshot is not None:
            now = self.snapshot()
            answer |= {
                "status": now.status,
                "spans": {scope: span.facts() for scope, span in now.spans.items()},
                "events": [dataclasses.asdict(event) for event in now.events],
                "simulated": now.simulated,
                "model_origin": now.model_origin,
            }
        return cast(dict[str, Any], json_ready(answer, 4))


def serve_view(address: str, state: ViewState, key: str | None = None) -> Callable[[], None]:
    """Serve the page; gives what ends it.

    Parameters
    ----------
    address : str
        PORT, for this machine only, or HOST:PORT.
    state : ViewState
        What is shown.
    key : str, optional
        File with a key, or ``env:NAME``. Where others than this machine can reach the page it has a key anyway: a new
        one each time if none is given, and the address with it is logged.

    Raises
    ------
    ParameterError
        If the address or the key is none.
    SpatterlibError
        If the port is taken.
    """
    host, port = address_of(address, "the page is")
    local = _is_local(host)
    secret = _key(key) if key is not None else "" if local else secrets.token_urlsafe(24)
    handler = type("Handler", (_Handler,), {"state": state, "key": secret, "local": local})
    try:
        server = _Server((host, port), handler)
    except OSError as error:
        raise SpatterlibError(
            f"the page cannot be served at {host}:{port}: {error.strerror}; choose another"
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="spatterlib-view", daemon=True)
    thread.start()
    shown = "127.0.0.1" if local else host
    log.warning("to look at it: http://%s:%d/%s", shown, port, f"?key={secret}" if secret and key is None else "")

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(text: str) -> str:
    """The key in a file or a variable; it stands in a cookie, so not all characters will do."""
    found = secret_of(text).decode(errors="replace")
    if not re.fullmatch(r"[\w-]{16,200}", found, re.ASCII):
        raise ParameterError(
            f"a key is 16 to 200 letters, digits, - and _; that in {text} is not: openssl rand -hex 32 makes one"
        )
    return found


class _Server(ThreadingHTTPServer):
    """Threads that nobody waits for, and not more of them than pages that people look at."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], handler: Any) -> None:
        import socket

        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(place, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or hang up where too many are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone is no error of ours; all else is, and the watch goes on."""
        ours = not isinstance(sys.exc_info()[1], OSError)
        log.log(logging.ERROR if ours else logging.DEBUG, "the page was not delivered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """GET only: a page cannot change anything."""

    state: ViewState
    key: str
    local: bool
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "spatterlib", ""
    timeout = _PATIENCE

    def log_message(self, *_: Any) -> None:
        """Nothing: addresses may have the key."""

    def do_GET(self) -> None:
        """Answer whoever may look."""
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        if not self._same_place():
            self._say(403, b"this page is for its own address only")
        elif self.key and "key" in query and address.path == "/":
            self._enter(query["key"][0])
        elif self.key and not self._known():
            self._say(401, b"this page needs its key: open the address that the watch has logged, with ?key=")
        elif address.path in _FILES:
            name, kind = _FILES[address.path]
            self._say(200, resources.files("spatterlib.live").joinpath("page", name).read_bytes(), kind)
        elif address.path == "/now":
            self._now(query.get("after", ["0"])[0])
        elif address.path.startswith("/shot/"):
            self._shot(address.path.removeprefix("/shot/"))
        else:
            self._say(404, b"nothing is here")

    def _same_place(self) -> bool:
        """Whether it is this page that asks: no other site, and no name that only points to this machine."""
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError:
            return False
        if self.local and host not in ("127.0.0.1", "localhost", "::1"):
            return False
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        same = origin is None or urlsplit(origin).netloc == self.headers.get("Host")
        # A link from elsewhere opens the page; nothing else of another site may read it.
        opened = self.headers.get("Sec-Fetch-Mode") == "navigate"
        return same and (site in ("none", "same-origin") or opened)

    def _known(self) -> bool:
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(f"{_COOKIE}_{self.server.server_port}")  # type: ignore[attr-defined]
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.key.encode())

    def _enter(self, given: str) -> None:
        """Take the key out of the address: it stays with the browser."""
        if not hmac.compare_digest(given.encode(), self.key.encode()):
            self._say(401, b"this is not the key")
            return
        port = self.server.server_port  # type: ignore[attr-defined]
        cookie = f"{_COOKIE}_{port}={given}; HttpOnly; SameSite=Strict; Path=/"
        if self.headers.get("X-Forwarded-Proto") == "https":
            cookie += "; Secure"
        self._say(303, b"", more={"Location": "/", "Set-Cookie": cookie})

    def _now(self, after: str) -> None:
        number = int(after) if after.isdecimal() and len(after) < 16 else 0
        self._say(200, json.dumps(self.state.since(number), allow_nan=False).encode(), "application/json")

    def _shot(self, text: str) -> None:
        shot = self.state.lookback.shot(int(text)) if text.isdecimal() and len(text) < 16 else None
        if shot is None:
            self._say(404, b"it is older than a minute")
        else:
            self._say(200, shot.jpeg, "image/jpeg", {"X-Shot": _facts(shot)})

    def _say(
        self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8", more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(code)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _facts(shot: Shot) -> str:
    """Time and boxes of a picture, in ASCII."""
    return json.dumps(json_ready({"number": shot.number, "time": shot.time, "boxes": shot.boxes}, 4), ensure_ascii=True)
