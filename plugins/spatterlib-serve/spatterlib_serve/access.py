"""Who asks: the name of a key, or an address; and how many places each may hold at once.

Annotations are evaluated here, for FastAPI reads them within functions too.
"""

import base64
import binascii
import contextlib
import hmac
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from spatterlib_serve.problems import ProblemError, answer, wants_page
from spatterlib_serve.settings import named_key

__all__ = ["SameSite", "Shares", "caller_of", "guard"]

_OPEN = ("/healthz", "/readyz", "/metrics")  # They name no job, and who watches a service asks by any name.
_SAFE = ("GET", "HEAD", "OPTIONS")


def guard(lines: Sequence[str]) -> Callable[..., None]:
    """A dependency that lets those pass who have a key, and remembers its name."""
    keys = [(name, key.encode()) for name, key in map(named_key, lines)]
    bearer = HTTPBearer(auto_error=False, description="The API key")

    def check(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        text = (given.credentials if given else _password(request)).encode()
        # All are compared, each in constant time: the answer's delay tells nothing.
        names = [name for name, key in keys if hmac.compare_digest(text, key)]
        if not names:
            # A browser asks its user for a name, which does not matter, and a password, which is the key.
            wanted = 'Basic realm="spatterlib", charset="UTF-8"' if wants_page(request) else "Bearer"
            detail = "send a valid API key: Authorization: Bearer KEY"
            raise ProblemError(401, "key", detail, {"WWW-Authenticate": wanted})
        request.state.key = names[0]

    return check


def _password(request: Request) -> str:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    return ""


def caller_of(request: Request) -> str:
    """Name of the key of a request; its address where no key is set."""
    name: str | None = getattr(request.state, "key", None)
    return name or (request.client.host if request.client else "unknown")


class Shares:
    """Places for requests of one kind: so many in all, and so many of one caller.

    Parameters
    ----------
    most, each : int
        In all; of one caller.
    kind : str
        Of the problem that the next one gets.
    what : str
        What they are, in words.
    headers : dict
        Of that refusal.
    """

    def __init__(self, most: int, each: int, kind: str, what: str, headers: dict[str, str]) -> None:
        self.most, self.each, self.kind, self.what, self.headers = most, each, kind, what, headers
        self.held: Counter[str] = Counter()

    def check(self, of_all: int, of_caller: int) -> None:
        """Refuse one more than may be."""
        if of_all >= self.most:
            raise ProblemError(429, self.kind, f"{self.most} {self.what} already; send it again later", self.headers)
        if of_caller >= self.each:
            detail = f"{self.each} {self.what} already that you sent; send it again later"
            raise ProblemError(429, self.kind, detail, self.headers)

    @contextlib.contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """A place, held while the block lasts."""
        self.check(self.held.total(), self.held[caller])
        self.held[caller] += 1
        try:
            yield
        finally:
            self.held[caller] -= 1
            self.held += Counter()  # Forgets those that hold none.


class SameSite:
    """ASGI middleware: refuses what a page of somebody else has a browser send here.

    A page from anywhere can send forms to a service on its reader's own machine, and can give its own name the address
    of that machine (DNS rebinding) to read the answers too. So a request that changes something must come from a page
    of this service, if from any; and where no key is needed, the service is asked by an address or a name that it
    knows.

    Parameters
    ----------
    app : callable
        The application.
    names : tuple of str
        Further names that it is asked by.
    keyed : bool
        Whether a key is needed.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str], keyed: bool) -> None:
        self.app, self.keyed = app, keyed
        self.names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope), scope)):
            return await refusal(scope, receive, send)
        return await self.app(scope, receive, send)

    def _refusal(self, headers: Headers, scope: Scope) -> Any:
        host = headers.get("host", "")
        name = _host(f"//{host}")
        open_to_all = self.keyed or scope["path"].removeprefix(scope.get("root_path", "")) in _OPEN
        if not (open_to_all or name in self.names or _is_address(name)):
            detail = f"the service does not know the name {name!r}; ask it by its address, or start it with "
            return answer(421, "host", f"{detail}--allow-host {name or 'NAME'}")
        if scope["method"] not in _SAFE:
            origin = headers.get("origin")
            other = origin is not None and origin.partition("//")[2] != host and _host(origin) not in self.names
            if other or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return answer(403, "origin", f"a page of another site ({origin}) may not change anything here")
        return None


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
