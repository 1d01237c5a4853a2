"""Bodies of requests, streamed: a form with files, or the bare file. No name that a client gives becomes a path."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
import unicodedata
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spatterlib_serve.problems import ProblemError

__all__ = ["Drained", "Memory", "Pace", "Parts", "cleaned", "receive", "refuse_long"]

_FORM = 1 << 16  # Bytes that a form may need around each of its files.
_HEADER = 1 << 12


def cleaned(name: str) -> str:
    r"""What a client calls a file, fit to be shown: the last part of a path, printable, short.

    Examples
    --------
    >>> cleaned("../../etc/passwd"), cleaned("C:\\build 1.mp4"), cleaned("..")
    ('passwd', 'build 1.mp4', 'video')
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    text = "".join(letter for letter in last if letter.isprintable()).strip(" .")
    return text[:120] or "video"


def _claimed(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def refuse_long(request: Request, limit: int) -> None:
    """Refuse what says that it is too long, before any of it is read."""
    if _claimed(request) > limit:
        raise _too_large(limit, f"the request says that it has {_claimed(request)}")


def _too_large(limit: int, came: str) -> ProblemError:
    return ProblemError(413, "too-large", f"at most {limit} bytes are taken; {came}")


@dataclass(frozen=True)
class Pace:
    """How slowly a body may come.

    Parameters
    ----------
    stall : float
        S without a byte.
    slowest : float
        Bytes/s on average, once it has come for `stall` seconds.
    seconds : float
        S in all.
    """

    stall: float
    slowest: float
    seconds: float

    def check(self, elapsed: float, total: int) -> None:
        """Refuse a body of which `total` bytes came in `elapsed` seconds."""
        if elapsed > self.seconds:
            raise ProblemError(408, "slow", f"the body took longer than {self.seconds:g} s; send it over a faster line")
        if elapsed > self.stall and total < self.slowest * elapsed:
            came = f"{total} bytes came in {elapsed:.0f} s; at least {self.slowest:.0f} a second are asked for"
            raise ProblemError(408, "slow", f"{came}, send it over a faster line")


async def _chunks(request: Request, limit: int, pace: Pace) -> AsyncIterator[bytes]:
    stream, total, began = aiter(request.stream()), 0, time.monotonic()
    while True:
        try:
            async with asyncio.timeout(pace.stall):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise ProblemError(408, "stalled", f"no byte came for {pace.stall:g} s; send it again") from error
        if chunk is None:
            return
        total += len(chunk)
        if total > limit:
            raise _too_large(limit, "more came")
        pace.check(time.monotonic() - began, total)
        yield chunk


class Drained:
    """ASGI middleware: before a refusal, reads on for a moment, so that a client that still sends gets to hear it."""

    def __init__(self, app: ASGIApp, seconds: float = 2.0) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        whole = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        asks = headers.get("expect", "").lower() == "100-continue"

        async def heard() -> Message:
            nonlocal whole, asks
            asks = False
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        async def said(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400 and not whole and not asks:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.seconds):
                        while not whole:
                            await heard()
            await send(message)

        return await self.app(scope, heard, said)


class Memory:
    """Files that are kept in memory: `files`, once they are whole."""

    def __init__(self) -> None:
        self.files: list[bytes] = []

    def open(self, _: str) -> BinaryIO:
        """Write one."""
        kept = self.files

        class File(io.BytesIO):
            def close(self) -> None:
                if not self.closed:
                    kept.append(self.getvalue())
                super().close()

        return File()


@dataclass
class Parts:
    """The files of a request.

    Parameters
    ----------
    called : str
        Name of the form's field that holds them.
    most : int
        How many there may be.
    open : callable
        What to write one into, by its cleaned name.
    """

    called: str
    most: int
    open: Callable[[str], BinaryIO]
    names: list[str] = field(default_factory=list)
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _sink: BinaryIO | None = None

    def begin(self, name: str) -> BinaryIO:
        """Open the next file."""
        if len(self.names) >= self.most:
            raise ProblemError(413, "too-many", f"at most {self.most} in one request are taken")
        self.names.append(cleaned(name))
        return self.open(self.names[-1])

    def callbacks(self) -> dict[str, Any]:
        """For the parser of forms."""
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._add(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(self._value, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._sink and self._sink.write(data[start:end]),
            "on_part_end": self.end,
        }

    def _add(self, text: bytearray, more: bytes) -> None:
        text += more
        if len(text) > _HEADER:
            raise ProblemError(422, "form", f"a header of a form's part is longer than {_HEADER} bytes")

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, facts = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = facts.get(b"name", b"").decode("utf-8", "replace")
        if name != self.called:
            raise ProblemError(422, "form", f"a form has files named {self.called!r} only, got {cleaned(name)!r}")
        self._sink = self.begin(facts.get(b"filename", b"").decode("utf-8", "replace"))

    def end(self) -> None:
        """The file is whole, or given up."""
        if self._sink is not None:
            self._sink.close()
        self._sink = None


async def receive(request: Request, parts: Parts, limit: int, pace: Pace, name: str = "") -> None:
    """Write the files of a request where `parts` says; a body that is no form is one file.

    Raises
    ------
    ProblemError
        If it is too long, too slow, or is no form though it says so.
    """
    kind, facts = parse_options_header(request.headers.get("content-type", ""))
    refuse_long(request, limit + (_FORM if kind == b"multipart/form-data" else 0))
    try:
        if kind == b"multipart/form-data":
            await _form(request, parts, facts.get(b"boundary", b""), limit, pace)
        else:
            parts._sink = parts.begin(name)
            async for chunk in _chunks(request, limit, pace):
                await asyncio.to_thread(parts._sink.write, chunk)
    finally:
        parts.end()
    if not parts.names:
        raise ProblemError(422, "form", f"the form has no file named {parts.called!r}")


async def _form(request: Request, parts: Parts, boundary: bytes, limit: int, pace: Pace) -> None:
    whole = False

    def end() -> None:
        nonlocal whole
        whole = True

    try:
        callbacks: Any = {**parts.callbacks(), "on_end": end}
        parser = MultipartParser(boundary, callbacks)
        async for chunk in _chunks(request, limit + _FORM, pace):
            await asyncio.to_thread(parser.write, chunk)
    except FormParserError as error:
        raise ProblemError(422, "form", f"the body is no form (multipart/form-data): {error}") from error
    if not whole:
        raise ProblemError(422, "form", "the form is cut short: its last boundary is missing")
