"""The watch: frames in, verdicts out, as they come."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from spatterlib.common.threads import one_opencv_thread
from spatterlib.control.reference import Reference
from spatterlib.detection.defaults import DETECTOR, FILTERS, Region
from spatterlib.detection.detect import plugins_of
from spatterlib.errors import ParameterError
from spatterlib.learning.provenance import model_facts, versions
from spatterlib.learning.runs import Run, load_model
from spatterlib.live.clock import JUMP, Clock
from spatterlib.live.control_charts import open_charts
from spatterlib.live.feed import Feed
from spatterlib.live.messages import StartFields
from spatterlib.live.metrics import serve_metrics
from spatterlib.live.recorder import Recorder
from spatterlib.live.senders import Mqtt, Sender, Webhook
from spatterlib.live.source import StreamFacts, kind_of, open_source, redacted
from spatterlib.live.watcher import Plan, Summary, Watcher
from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.camera import Camera
from spatterlib.plugins.registry import identity
from spatterlib.stores.opening import check_output, is_simulated
from spatterlib.types import Detector, Filter
from spatterlib.verdicts.rules import Rules
from spatterlib.verdicts.scoring import Look
from spatterlib.verdicts.training_mismatch import unlike, warning

log = logging.getLogger("spatterlib")

__all__ = ["GAP", "Summary", "watch"]

GAP = 2.0
"""S; pauses within a layer are shorter, recoating takes longer, on machines as they are."""

# S that messages under way may take when the watch ends.
_GRACE = 5.0


def watch(
    source: str,
    model: str | Run,
    *,
    detector: str | Mapping[str, Any] | Detector = DETECTOR,
    filters: Sequence[str | Mapping[str, Any] | Filter] = FILTERS,
    roi: Region = None,
    crop_format: Literal["jpeg", "png"] = "jpeg",
    quality: int = 95,
    gap: float = GAP,
    window: float = 60.0,
    expected: str | None = None,
    rules: Rules | None = None,
    alarm: Literal["layer", "window"] = "layer",
    hold: float = 2.0,
    remind: float = 60.0,
    reference: str | Reference | None = None,
    camera: str | Camera | None = None,
    calibration: str | Calibration | None = None,
    scan_start: float | None = None,
    every: float = 1.0,
    status: float = 10.0,
    idle: float = 10.0,
    timeout: float = 10.0,
    give_up: float = math.inf,
    metrics_at: str | None = None,
    webhook: str | None = None,
    headers: Mapping[str, str] | None = None,
    mqtt: str | None = None,
    store: str | None = None,
    overwrite: bool = False,
    notify: Callable[[dict[str, Any]], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Watch a camera, a stream or a file that grows, and give a verdict on each layer while it is built.

    Parameters
    ----------
    source : str
        Number of a camera, URL (rtsp, http, tcp, udp, ...), or a file that another program still writes.
    model, detector, filters, roi, crop_format, quality
        As in `predict`.
    gap : float
        S, pause that separates layers; "auto" needs the whole build and is not possible here.
    window : float
        S; beside the layer, a verdict on the last so many seconds.
    expected, rules
        As in `predict`.
    alarm : {"layer", "window"}
        Which verdict makes events.
    hold : float
        S that a verdict must last before it makes an event; final verdicts of layers need not.
    remind : float
        S, after which an event that goes on is told again.
    reference : path or Reference, optional
        Put each layer on control charts too, beside these good layers; `spatterlib monitor --save-reference` makes it.
    camera, calibration : path or object, optional
        Profile and calibration for the charts; the profile that the reference was measured with by default.
    scan_start : float, optional
        Degrees, scan angle of layer 0 of this watch; that of the reference by default.
    every, status : float
        S between two messages "verdict" and "status".
    idle : float
        S without growth after which a file counts as whole.
    timeout : float
        S without data after which a stream counts as broken, and is connected again.
    give_up : float
        S without a picture after which the watch ends, if no connection is there then.
    metrics_at : str, optional
        PORT or HOST:PORT for Prometheus.
    webhook : str, optional
        Address that gets every message "alarm" as JSON by POST, with these `headers`.
    mqtt : str, optional
        Broker and topic that get them, ``mqtt://host/topic``.
    store : path, optional
        Keep what is found in a new store.
    overwrite : bool
        Replace an existing store.
    notify : callable
        Gets every message; see `spatterlib.live.messages.FIELDS`.
    stopped : callable
        Asked several times a second: whether to end.

    Returns
    -------
    Summary

    Raises
    ------
    MissingFileError, VideoError
        If the source cannot be opened, or is no video.
    ParameterError
        If a parameter is out of range, or the model does not know the class that is expected.
    PluginError
        If a package is missing that was asked for.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "build.mp4"
    >>> _ = sp.simulate(path, gas_flow="high", seconds=4, seed=5)
    >>> summary = sp.watch(str(path), "simulated", expected="high", idle=0.1)
    >>> len(summary.layers), summary.facts["dropped"], summary.facts["simulated"]
    (1, 0, True)
    """
    run = model if isinstance(model, Run) else load_model(model)
    rules = rules or Rules()
    rules = rules if expected is None else dataclasses.replace(rules, expected=expected)
    rules.check(run.classes)
    kind = kind_of(source)
    _check(gap, alarm, {"window": window, "every": every, "status": status, "timeout": timeout, "remind": remind})
    _check_waits({"hold": hold, "idle": idle, "give_up": give_up})
    if store is not None:
        check_output(store, overwrite=overwrite)
    chosen, kept = plugins_of(detector, filters)
    look = Look(run.preprocessing, crop_format, quality)
    plan = Plan(run, rules, chosen, kept, look, roi, gap, window, alarm, hold, remind, every, status)
    settings = _settings(plan, {"idle": idle, "timeout": timeout})
    made_with = versions(detector=[chosen], filter=kept)
    with ExitStack() as stack, one_opencv_thread():
        charts = open_charts(reference, camera, calibration, scan_start, wait=kind == "file")
        if charts:
            stack.callback(charts.close)
            settings["charts"] = charts.identity()
        senders: list[Sender] = [Webhook(webhook, headers)] if webhook else []
        senders += [Mqtt(mqtt)] if mqtt else []
        for sender in senders:
            stack.callback(sender.close, _GRACE)
        watcher = Watcher(plan, redacted(source), notify or (lambda _: None), senders, charts=charts)
        if metrics_at:
            stack.callback(serve_metrics(metrics_at, watcher.snapshot))
        watcher.warm_up()
        connect = partial(open_source, source, timeout=timeout, idle=idle, stopped=stopped)
        opened = connect()
        watcher.simulated = is_simulated({"video": opened.facts}) or None
        facts: StreamFacts = {"name": watcher.source, **opened.facts}
        if differing := unlike(run.facts, settings | {"video": facts}):
            log.warning(warning(watcher.source, Path(run.path).name, differing))
        if store is not None:
            attrs: dict[str, Any] = {"video": facts, "simulated": watcher.simulated, **settings, "versions": made_with}
            attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
            watcher.recorder = Recorder(store, attrs, overwrite=overwrite)
        model_ = model_facts(run, familiarity=watcher.scorer.familiar is not None)
        start = StartFields(kind=kind, stream=facts, model=model_, settings=settings, versions=made_with)
        watcher.publish("start", start)
        clock = Clock(0.0, jump=math.inf) if kind == "file" else Clock(jump=JUMP)
        again = None if kind == "file" else connect
        watcher.feed = Feed(opened, again, live=kind != "file", clock=clock, give_up=give_up)
        return watcher.run(stopped)


def _settings(plan: Plan, apart: Mapping[str, float]) -> dict[str, Any]:
    """What a watch was started with, as it is told and kept."""
    return {
        "detector": identity(plan.detector),
        "filters": [identity(item) for item in plan.filters],
        "roi": plan.roi,
        "crops": {"format": plan.look.format, "quality": plan.look.quality},
        "rules": dataclasses.asdict(plan.rules),
        **{name: getattr(plan, name) for name in ("gap", "window", "alarm", "hold", "remind")},
        **apart,
    }


def _check(gap: Any, alarm: str, seconds: Mapping[str, float]) -> None:
    if isinstance(gap, str) or not 0 < gap < math.inf:
        raise ParameterError(
            f"gap must be a number of seconds above 0, got {gap!r}; 'auto' needs the whole build, "
            "so take what `spatterlib predict` found for an earlier one"
        )
    if alarm not in ("layer", "window"):
        raise ParameterError(f"alarm must be 'layer' or 'window', got {alarm!r}")
    for name, value in seconds.items():
        if not 0 < value < math.inf:
            raise ParameterError(f"{name} must be a number of seconds above 0, got {value!r}")


def _check_waits(seconds: Mapping[str, float]) -> None:
    for name, value in seconds.items():
        if not value >= 0:
            raise ParameterError(f"{name} must be 0 s or more, got {value!r}")
