"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

__all__ = ["MEDIA_TYPE", "Problem", "ProblemError", "answer", "handle_errors", "problems_of", "wants_page"]

log = logging.getLogger("spatterlib")

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="What kind of problem, for programs: urn:spatterlib:problem:NAME")
    title: str
    status: int
    detail: str = Field(description="What was expected, what came, how to mend it")
    errors: list[dict[str, Any]] | None = Field(None, description="One entry for each parameter that does not fit")


class ProblemError(Exception):
    """A request cannot be done; becomes a problem document."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, dict(headers or {})


_SAID = {
    401: "No API key, or a wrong one",
    403: "A page of another site may not change anything",
    404: "There is no such job",
    408: "The body stalled, or came too slowly",
    409: "The job has no result, or not yet",
    413: "Larger than is allowed",
    415: "No video, or no image, of a kind that is read",
    421: "Asked by a name that the service does not know",
    422: "A parameter, or what was sent, cannot be used",
    429: "Too many wait already",
    503: "Not ready yet",
    507: "The disk is full",
}


def problems_of(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description: problems that a route answers with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    retry = {"Retry-After": {"description": "S to wait before asking again", "schema": {"type": "integer"}}}
    return {
        code: {"description": _SAID[code], "content": content} | ({"headers": retry} if code == 429 else {})
        for code in codes
    }


def wants_page(request: Request) -> bool:
    """Whether a browser asks, which shows pages to people."""
    return "text/html" in request.headers.get("accept", "")


def answer(
    status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **further: Any
) -> JSONResponse:
    """A problem document."""
    content = {
        "type": f"urn:spatterlib:problem:{kind}",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return JSONResponse(content | further, status, headers, media_type=MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Every error that leaves the service is a problem document."""

    async def problem(request: Request, error: Any) -> Response:
        if wants_page(request):
            from spatterlib_serve import pages

            text = pages.problem(error.status, error.detail, request.scope.get("root_path", ""))
            return HTMLResponse(text, error.status, pages.HEADERS | error.headers)
        return answer(error.status, error.kind, error.detail, error.headers)

    async def refused(request: Request, error: Any) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request))
        kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
        return answer(error.status_code, kind, f"{request.method} {request.url.path}: {error.detail}", headers)

    async def invalid(_: Request, error: Any) -> JSONResponse:
        errors = [{"where": ".".join(map(str, item["loc"])), "problem": item["msg"]} for item in error.errors()]
        return answer(422, "parameter", "; ".join(f"{e['where']}: {e['problem']}" for e in errors), errors=errors)

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(500, "internal", "an error that nobody foresaw; the log of the service has the traceback")

    async def gone(_: Request, __: Exception) -> JSONResponse:
        return answer(400, "gone", "the client went away before its request was whole")

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unforeseen)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Of all routes of a path; a router knows only those of its first."""
    found: set[str] = set()
    for route in app.routes:
        if route.matches(request.scope)[0] != Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)
