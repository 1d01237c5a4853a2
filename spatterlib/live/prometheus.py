"""Metrics for Prometheus: a snapshot of the watch, taken when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatterlib.common.install_hints import missing
from spatterlib.common.origin import Origin
from spatterlib.errors import ParameterError, PluginError, SpatterlibError
from spatterlib.live.alarms import Notice
from spatterlib.live.latency import Latencies
from spatterlib.live.messages import ChartFields, StatusFields
from spatterlib.verdicts.judgement import STATES, Span

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Snapshot", "address_of", "metric_families", "serve_metrics"]

_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_COUNTERS = {
    "received": "frames that came",
    "decoded": "frames looked at",
    "undecoded": "frames that did not decode",
    "dropped": "frames dropped because the machine did not keep up",
    "jumps": "times that time stamps jumped",
    "connections": "times that the stream was connected",
    "gaps": "times that the stream broke and came back",
    "gap_seconds": "seconds without stream",
    "repeated": "frames with spatter that were seen before",
    "crops": "crops found",
    "events": "spatter events",
    "layers": "layers begun",
}
_GAUGES = {
    "waiting": "frames in the queue",
    "connected": "1 while the stream is there",
    "undelivered": "messages that could not be handed over",
}


@dataclass(frozen=True)
class Snapshot:
    """Where a watch stands.

    Parameters
    ----------
    status : StatusFields
        What the message "status" says.
    latencies : Latencies
        Of all frames.
    spans : dict
        The newest verdict by scope, "layer" and "window".
    events : tuple of Notice
        What goes on.
    chart : ChartFields or None
        The last layer on the charts.
    simulated : bool or None
        Of the stream.
    model_origin : str
        What the model learned from.
    """

    status: StatusFields
    latencies: Latencies
    spans: Mapping[str, Span]
    events: tuple[Notice, ...]
    chart: ChartFields | None
    simulated: bool | None
    model_origin: Origin


def address_of(text: str, what: str = "metrics are") -> tuple[str, int]:
    """Host and port of ``PORT`` or ``HOST:PORT``; a port alone is for this machine only.

    Examples
    --------
    >>> from spatterlib.live.prometheus import address_of
    >>> address_of("9105"), address_of("0.0.0.0:9105")
    (('127.0.0.1', 9105), ('0.0.0.0', 9105))
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ParameterError(f"{what} served at PORT or HOST:PORT, such as 9105 or 0.0.0.0:9105, got {text!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def serve_metrics(address: str, snapshot: Callable[[], Snapshot]) -> Callable[[], None]:
    """Serve the metrics of a watch; gives what ends it.

    Parameters
    ----------
    address : str
        See `address_of`.
    snapshot : callable
        Gives where the watch stands.

    Raises
    ------
    PluginError
        If prometheus-client is not installed.
    SpatterlibError
        If the port is taken.
    """
    host, port = address_of(address)
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise PluginError(missing("--metrics", "prometheus-client", "live", error)) from error

    class _Collector:
        def collect(self) -> Iterator[Metric]:
            return metric_families(snapshot())

    registry = CollectorRegistry()
    registry.register(_Collector())
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise SpatterlibError(f"metrics cannot be served at {host}:{port}: {error.strerror}; choose another") from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def metric_families(snapshot: Snapshot) -> Iterator[Metric]:
    """Families of metrics, named ``spatterlib_watch_...``."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    numbers = {name: float(value) for name, value in snapshot.status.items() if isinstance(value, int | float)}
    for name, text in _COUNTERS.items():
        yield CounterMetricFamily(f"spatterlib_watch_{name}", text, value=numbers[name])
    for name, text in _GAUGES.items():
        yield GaugeMetricFamily(f"spatterlib_watch_{name}", text, value=numbers[name])
    yield GaugeMetricFamily("spatterlib_watch_alarm", "1 while an event is open", value=float(bool(snapshot.events)))
    state = GaugeMetricFamily("spatterlib_watch_event", "1 for each event that is open", labels=["state"])
    for name in sorted({event.state for event in snapshot.events}):
        state.add_metric([name], 1.0)
    yield state
    stream, model = float(bool(snapshot.simulated)), float(snapshot.model_origin != "not stated")
    yield GaugeMetricFamily("spatterlib_watch_simulated", "1: stream is marked as simulated", value=stream)
    yield GaugeMetricFamily(
        "spatterlib_watch_model_simulated", "1: model learned from simulated recordings, all or some", value=model
    )
    yield from _spans(snapshot.spans)
    if snapshot.chart is not None:
        yield from _charts(snapshot.chart)
    yield _latency(snapshot.latencies)


def _spans(spans: Mapping[str, Span]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    state = GaugeMetricFamily("spatterlib_watch_state", "1 for the state of the verdict", labels=["scope", "state"])
    share = GaugeMetricFamily(
        "spatterlib_watch_probability", "calibrated, of the leading class", labels=["scope", "label"]
    )
    number = GaugeMetricFamily("spatterlib_watch_votes", "votes in the verdict", labels=["scope"])
    for scope, span in spans.items():
        for name in STATES:
            state.add_metric([scope, name], float(span.state == name))
        if span.leading is not None:
            share.add_metric([scope, span.leading], span.probability)
        number.add_metric([scope], span.votes)
    yield from (state, share, number)


def _charts(chart: ChartFields) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    value = GaugeMetricFamily("spatterlib_watch_chart", "of the last layer, the farthest descriptor", labels=["chart"])
    limit = GaugeMetricFamily("spatterlib_watch_chart_limit", "beyond it a layer differs", labels=["chart"])
    values = {"shewhart": chart["shewhart"], "ewma": chart["ewma"], "cusum": chart["cusum"], "t2": chart["t2"]}
    for name, bound in chart["limits"].items():
        value.add_metric([name], values[name])
        limit.add_metric([name], bound)
    value.add_metric(["p"], chart["p"])
    differs = GaugeMetricFamily(
        "spatterlib_watch_layer_differs", "1: the last layer differs", value=float(bool(chart["alarms"]))
    )
    yield from (value, limit, differs)


def _latency(latencies: Latencies) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    buckets = [(str(edge), float(latencies.within(edge))) for edge in _BUCKETS]
    return HistogramMetricFamily(
        "spatterlib_watch_latency_seconds",
        "from the arrival of a frame to its verdict",
        buckets=[*buckets, ("+Inf", float(latencies.count))],
        sum_value=latencies.total,
    )
