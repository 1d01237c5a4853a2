"""Who may use the page, and what a browser may send here: login, names of the host, origins, a cookie per browser."""

from __future__ import annotations

import ipaddress
import os
import secrets
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import spatterlib as sp

__all__ = ["ALIVE", "COOKIE", "Guard", "is_loopback", "users_of"]

COOKIE, ALIVE = "spatterlib-demo", "/alive"
_YEAR = 365 * 24 * 3600
# Gradio's scripts are built at run time; attributes such as onerror and other hosts are nobody's.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; script-src-attr 'none'; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address.

    Examples
    --------
    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "demo.example")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def users_of(text: str | None) -> list[tuple[str, str]] | None:
    """Users with passwords of a file, or of ``env:NAME``: lines of USER:PASSWORD.

    Raises
    ------
    ParameterError, MissingFileError
        If there is nothing, or a line is none of that form.
    """
    if text is None:
        return None
    if text.startswith("env:"):
        found = os.environ.get(text[4:], "")
    else:
        try:
            found = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise sp.errors.MissingFileError(f"no users can be read from {text}: {error}; or env:NAME") from error
    users = [tuple(line.strip().split(":", 1)) for line in found.splitlines() if line.strip()]
    if not users or any(len(user) < 2 or not user[0] or len(user[1]) < 8 for user in users):
        raise sp.errors.ParameterError(
            f"{text} must hold lines of USER:PASSWORD, the password of 8 characters or more; "
            "openssl rand -hex 16 makes one"
        )
    return [(user[0], user[1]) for user in users]


class Guard:
    """ASGI middleware: refuses what a page of somebody else has a browser send, and tells browsers apart.

    A page from anywhere can send requests to a server on its reader's own machine, and can give its own name the
    address of that machine (DNS rebinding) to read the answers too.

    Parameters
    ----------
    app : callable
        The application.
    local : bool
        Whether only this machine reaches it: then it is asked by an address of this machine only.
    """

    def __init__(self, app: Any, local: bool) -> None:
        self._app, self._local = app, local

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        if self._local and not is_loopback(_name(host)):
            await _answer(send, 421, "This server is asked by the address of its own machine only.")
            return
        if origin and origin.partition("//")[2] != host:
            await _answer(send, 403, "Requests from pages of other servers are not taken.")
            return
        if scope["path"] == ALIVE:
            await _answer(send, 200, _BOOT)
            return
        own = list(_HEADERS)
        if scope["path"] == "/" and _token(headers) is None:
            own.append((b"set-cookie", _cookie().encode()))

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        await self._app(scope, receive, answer)


# Another one says that the server was started again.
_BOOT = secrets.token_hex(8)


def _name(host: str) -> str:
    """Of host and port, the host."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host


def _token(headers: dict[bytes, bytes]) -> str | None:
    return token_of(headers.get(b"cookie", b"").decode("latin-1"))


def token_of(cookies: str) -> str | None:
    """What tells this browser from others, of a header of cookies."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except Exception:
        return None
    return found.value if found and len(found.value) == 43 else None


def _cookie() -> str:
    # Lax: a link from elsewhere brings it along; without it the page would get another one, and lose its project.
    return f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Lax"


async def _answer(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
