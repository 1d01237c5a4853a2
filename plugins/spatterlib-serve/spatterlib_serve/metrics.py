"""What Prometheus may read."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Counted", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.jobs = Counter("spatterlib_jobs", "Jobs by how they ended", ["outcome"], registry=own)
        for outcome in ("accepted", "done", "failed", "removed", "refused"):
            self.jobs.labels(outcome)
        self.running = Gauge("spatterlib_jobs_running", "Jobs at work", registry=own)
        self.queue = Gauge("spatterlib_queue_length", "Jobs that wait", registry=own)
        self.frames = Counter("spatterlib_frames", "Frames of finished jobs", registry=own)
        self.events = Counter("spatterlib_events", "Spatter events in finished jobs", registry=own)
        self.crops = Counter("spatterlib_crops", "Crops judged, by where they came from", ["source"], registry=own)
        self.stages = Histogram(
            "spatterlib_stage_seconds", "Seconds per stage of the work", ["stage"], buckets=_SECONDS, registry=own
        )
        for stage in ("upload", "look", "wait", "predict", "report", "classify"):
            self.stages.labels(stage)
        self.requests = Counter(
            "spatterlib_http_requests", "Requests answered", ["method", "route", "status"], registry=own
        )


class Counted:
    """ASGI middleware: counts answers by route, never by the path that was asked for."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if route != "none" else "any"
                self.metrics.requests.labels(method, route, message["status"]).inc()
            await send(message)

        return await self.app(scope, receive, counted)
