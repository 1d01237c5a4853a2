"""Pages for people: what the service is, a form for a video, jobs, one job, the routes. They need no JavaScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from spatterlib.common.origin import marks
from spatterlib_serve.rest import answer_type, type_name
from spatterlib_serve.shapes import JobView, Model

__all__ = ["HEADERS", "JOBS", "docs", "front", "job", "problem"]

JOBS = 50
"""Jobs on the front page."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("spatterlib_serve"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.globals |= {"type_name": type_name, "answer_type": answer_type, "marks_of": _marks}
    return found


def _page(name: str, root: str, **values: Any) -> str:
    return _templates().get_template(name).render(root=root, **values)


def _marks(view: JobView) -> str:
    """What is simulated of a verdict, in words."""
    result = view.result or {}
    return marks(result["simulated"], result["settings"]["model"]["origin"])


def front(models: Sequence[Model], jobs: Sequence[JobView], root: str, problem: str | None) -> str:
    """The first page: a form for each model that can be used, and the newest jobs."""
    return _page("front.html.j2", root, models=models, jobs=jobs, problem=problem)


def job(view: JobView, root: str) -> str:
    """One job; it is loaded again until the job has ended."""
    return _page("job.html.j2", root, job=view)


def docs(description: Mapping[str, Any], root: str) -> str:
    """The routes, from their OpenAPI description."""
    return _page("docs.html.j2", root, description=description)


def problem(status: int, detail: str, root: str) -> str:
    """Why a request was refused."""
    return _page("problem.html.j2", root, status=status, title=HTTPStatus(status).phrase, detail=detail)
