"""The routes. Annotations are evaluated here, for FastAPI reads them within functions too."""

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response, Security
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from spatterlib.common.origin import learned_from
from spatterlib_serve import pages, shelf
from spatterlib_serve.access import SameSite, caller_of, guard
from spatterlib_serve.jobs import Job
from spatterlib_serve.metrics import Counted
from spatterlib_serve.problems import Problem, ProblemError, handle_errors, problems_of, wants_page
from spatterlib_serve.service import Service
from spatterlib_serve.settings import Settings
from spatterlib_serve.shapes import (
    Classified,
    ClassifyOptions,
    Health,
    JobView,
    Model,
    Plugins,
    PredictOptions,
)
from spatterlib_serve.uploads import Drained

__all__ = ["create_app"]

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As `POST /predict` gave it")]
_BINARY = {"type": "string", "format": "binary"}
_PAGE = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "private, no-store",
}


def _body(field: str, many: bool, kinds: Sequence[str]) -> dict[str, Any]:
    """Of a request that is read as it comes: a form, or the bare file."""
    files: Any = {"type": "array", "items": _BINARY, "minItems": 1} if many else _BINARY
    form = {"schema": {"type": "object", "properties": {field: files}, "required": [field]}}
    bare = {kind: {"schema": _BINARY} for kind in kinds}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form, **bare}}}


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application.

    Parameters
    ----------
    settings : Settings
        Limits, places and keys.
    """
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        async with service.alive():
            yield

    app = FastAPI(
        title="spatterlib",
        version=version("spatterlib-serve"),
        summary="Verdicts on videos of laser powder-bed fusion, probabilities of crops.",
        lifespan=alive,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(Drained)
    app.add_middleware(SameSite, names=settings.allow_host, keyed=bool(settings.keys))
    app.add_middleware(Counted, metrics=service.metrics)
    handle_errors(app)
    asked = [Security(guard(settings.keys))] if settings.keys else []
    errors = problems_of(401) if settings.keys else problems_of(421)
    _add_jobs(app, service, asked, errors)
    _add_results(app, service, asked, errors)
    _add_crops(app, service, asked, errors)
    _add_health(app, service)
    _add_pages(app, service, asked)
    _describe(app)
    return app


def _add_jobs(app: FastAPI, service: Service, guard: list[Any], errors: dict[Any, Any]) -> None:
    settings = service.settings

    known_job = _known(service)
    gone = errors | problems_of(404, 422)
    taken = errors | problems_of(403, 408, 413, 415, 422, 429, 507)
    location = {202: {"headers": {"Location": {"description": "Of the job", "schema": {"type": "string"}}}}}

    @app.post(
        "/predict",
        status_code=202,
        response_model=JobView,
        dependencies=guard,
        responses=taken | location,
        openapi_extra=_body("video", False, ("application/octet-stream",)),
        tags=["jobs"],
    )
    async def predict(request: Request, response: Response, options: Annotated[PredictOptions, Query()]) -> Any:
        """Send a video, as the field `video` of a form or as the bare body; it is judged when its turn comes."""
        model = shelf.choose(settings.models, options.model)
        arguments = options.arguments(shelf.scorer(model).run.classes)
        job = await service.accept(request, options.name or "", arguments | {"model": model.name})
        if wants_page(request):
            return RedirectResponse(f"{settings.root_path}/jobs/{job.id}", 303)
        response.headers["Location"] = f"{settings.root_path}/jobs/{job.id}"
        return _view(service, job)

    @app.get("/jobs", dependencies=guard, responses=errors | problems_of(422), tags=["jobs"])
    async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[JobView]:
        """Jobs that came with the same key, all where none is set; the newest first, without their verdicts."""
        return [_view(service, job, result=False) for job in _own(service, request, limit)]

    @app.get("/jobs/{id}", response_model=JobView, dependencies=guard, responses=gone, tags=["jobs"])
    async def job(request: Request, job: known_job) -> Any:
        """How far a job is; its verdict, once it is done."""
        view = _view(service, job)
        return _page(pages.job(view, settings.root_path)) if wants_page(request) else view

    @app.delete("/jobs/{id}", status_code=204, dependencies=guard, responses=gone, tags=["jobs"])
    async def remove(job: known_job) -> None:
        """Cancel a job, whatever it is doing, and remove all that there is of it."""
        await service.remove(job)


def _add_results(app: FastAPI, service: Service, guard: list[Any], errors: dict[Any, Any]) -> None:
    known_job = _known(service)
    missing = errors | problems_of(404, 422, 409)
    page = {
        200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "A page that holds all it shows"}
    }

    @app.get(
        "/jobs/{id}/report",
        dependencies=guard,
        response_class=FileResponse,
        responses=missing | page,
        tags=["jobs"],
    )
    async def report(job: known_job) -> FileResponse:
        """The verdict as a page to be read or printed."""
        return FileResponse(_result(service, job, "report.html"), media_type="text/html", headers=_PAGE)

    table = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A row per crop"}}

    @app.get(
        "/jobs/{id}/rows",
        dependencies=guard,
        response_class=FileResponse,
        responses=missing | table,
        tags=["jobs"],
    )
    async def rows(job: known_job) -> FileResponse:
        """Every crop with its event, layer and probabilities, as CSV."""
        return FileResponse(_result(service, job, "rows.csv"), media_type="text/csv", filename=f"{job.id}.csv")


def _known(service: Service) -> Any:
    """The job of the id in the path."""

    async def known(request: Request, id: JobId) -> Job:  # noqa: A002 - the name in the path
        with contextlib.suppress(KeyError):
            job = service.jobs[id]
            if _whose(service, request) in (None, job.caller):
                return job
        whose = " that came with this key" if service.settings.keys else ""
        raise ProblemError(404, "no-job", f"there is no job {id}{whose}; it may have been removed")

    return Annotated[Job, Depends(known)]


def _result(service: Service, job: Job, name: str) -> Any:
    if job.state != "done":
        why = f": {job.error}" if job.error else "; ask again when it is done"
        raise ProblemError(409, "no-result", f"the job is {job.state}{why}")
    return service.jobs.where(job) / name


def _own(service: Service, request: Request, limit: int) -> list[Job]:
    return service.jobs.listed(_whose(service, request), limit)


def _whose(service: Service, request: Request) -> str | None:
    """Whose jobs a request may see; None: all, for there are no keys."""
    return caller_of(request) if service.settings.keys else None


def _page(text: str) -> HTMLResponse:
    return HTMLResponse(text, headers=pages.HEADERS)


def _view(service: Service, job: Job, *, result: bool = True) -> JobView:
    frames = job.video["frames"]
    now = {"done": frames if job.state == "done" else 0, "expected": frames, "crops": 0}
    found = json.loads(_result(service, job, "result.json").read_bytes()) if result and job.state == "done" else None
    if found:
        now["crops"] = found["summary"]["crops"]
    here = f"{service.settings.root_path}/jobs/{job.id}"
    return JobView(
        id=job.id,
        state=job.state,  # type: ignore[arg-type]
        name=job.name,
        model=job.options["model"],
        video=job.video,
        created=_utc(job.created) or "",
        started=_utc(job.started),
        finished=_utc(job.finished),
        waiting=service.jobs.before(job) if job.state == "queued" else None,
        progress=now | service.progress.get(job.id, {}),  # type: ignore[arg-type]
        error=job.error,
        result=found,
        caller=job.caller,
        links={"self": here, "report": f"{here}/report", "rows": f"{here}/rows"},
    )


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _add_crops(app: FastAPI, service: Service, guard: list[Any], errors: dict[Any, Any]) -> None:
    folder = service.settings.models

    @app.post(
        "/classify",
        dependencies=guard,
        responses=errors | problems_of(403, 408, 413, 415, 422, 429),
        openapi_extra=_body("crops", True, ("image/jpeg", "image/png")),
        tags=["crops"],
    )
    async def classify(request: Request, options: Annotated[ClassifyOptions, Query()]) -> Classified:
        """Send crops, as fields `crops` of a form or one as the bare body; the answer comes at once."""
        model = shelf.choose(folder, options.model)
        crops = await service.classify(request, model, options.name or "")
        run = shelf.scorer(model).run
        return Classified(model=model.name, simulated=run.simulated, classes=list(run.classes), crops=crops)  # type: ignore[arg-type]

    @app.get("/models", dependencies=guard, responses=errors, tags=["what there is"])
    def models() -> list[Model]:
        """Models that may be asked for; an accuracy holds for the split that it was measured on."""
        return [_model(shown) for shown in shelf.listed(folder).values()]

    @app.get("/plugins", dependencies=guard, responses=errors, tags=["what there is"])
    def plugins() -> Plugins:
        """Detectors, filters, stores and classifiers that are installed, and what failed to load."""
        from spatterlib.plugins import catalog

        found = catalog()
        kinds = {kind: sorted(getattr(found, kind)) for kind in ("detectors", "filters", "stores", "classifiers")}
        return Plugins(**kinds, failed=[f"{source}: {source.error}" for source in found.failed])


def _model(shown: shelf.Shown) -> Model:
    facts, error = shown.facts, shown.error
    test = (facts.get("metrics") or {}).get("test") or {}
    classes = facts.get("classes")
    simulated = True if facts and learned_from(facts) == "simulated" else None
    if not error and (not facts or classes is None):
        try:
            run = shelf.scorer(shown).run
            classes, simulated = list(run.classes), run.simulated
        except ProblemError as problem:
            error = problem.detail
    return Model(
        name=shown.name,
        current=shown.current,
        usable=not error,
        error=error or None,
        classifier=(facts.get("classifier") or {}).get("id"),
        classes=classes,
        simulated=simulated,
        created=facts.get("created"),
        accuracy=test.get("accuracy"),
        split=facts.get("split"),
    )


def _add_pages(app: FastAPI, service: Service, guard: list[Any]) -> None:
    """What a person sees in a browser; programs have their own routes."""
    root, known_job = service.settings.root_path, _known(service)

    @app.get("/", dependencies=guard, include_in_schema=False)
    async def front(request: Request) -> HTMLResponse:
        models = [_model(shown) for shown in shelf.listed(service.settings.models).values()]
        views = [_view(service, job) for job in _own(service, request, pages.JOBS)]
        return _page(pages.front(models, views, root, service.problem))

    @app.post("/jobs/{id}/delete", dependencies=guard, include_in_schema=False)
    async def delete(job: known_job) -> RedirectResponse:
        await service.remove(job)
        return RedirectResponse(f"{root}/", 303)

    @app.get("/docs", dependencies=guard, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return _page(pages.docs(app.openapi(), root))


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> Health:
        """The service answers."""
        return Health(version=app.version)

    @app.get("/readyz", responses=problems_of(503), tags=["health"])
    async def readyz() -> Health:
        """It takes work: kernels are compiled, the disk has room."""
        if problem := service.ready():
            raise ProblemError(503, "not-ready", problem, {"Retry-After": "5"})
        return Health(version=app.version)

    figures: dict[int | str, Any] = {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format"}
    }

    @app.get("/metrics", response_class=Response, responses=figures, tags=["health"])
    async def metrics() -> Response:
        """Jobs, frames, events, seconds per stage, length of the queue."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _describe(app: FastAPI) -> None:
    """Problems instead of FastAPI's own errors in the OpenAPI description."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = made()["components"]["schemas"]
            schemas["Problem"] = Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
