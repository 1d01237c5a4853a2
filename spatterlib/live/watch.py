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
from spatterlib.detection.defaults import DETECTOR, FILTERS, DetectorSpec, FilterSpec, Roi
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.learning.provenance import model_facts, versions
from spatterlib.learning.runs import Run, load_model
from spatterlib.learning.skill import unproven
from spatterlib.live.clock import JUMP, Clock
from spatterlib.live.control_charts import open_charts
from spatterlib.live.feed import Feed
from spatterlib.live.lookback import Lookback
from spatterlib.live.messages import StartFields
from spatterlib.live.plan import Plan, Summary
from spatterlib.live.prometheus import serve_metrics
from spatterlib.live.recorder import Recorder
from spatterlib.live.senders import Sender, senders_of
from spatterlib.live.settings import (
    AlarmSettings,
    CalibrationSpec,
    CameraSpec,
    ChartSettings,
    OutputSettings,
    ReferenceSpec,
    WatchSettings,
)
from spatterlib.live.source import Kind, StreamFacts, kind_of, open_source, redacted
from spatterlib.live.view import ViewState, serve_view
from spatterlib.live.watcher import Watcher
from spatterlib.stores.opening import check_output
from spatterlib.verdicts.rules import Rules
from spatterlib.verdicts.training_mismatch import unlike, warning

log = logging.getLogger("spatterlib")

__all__ = ["Summary", "watch", "watch_with"]

# S that messages under way may take when the watch ends.
_GRACE = 5.0


def watch(
    source: str,
    model: str | Run,
    *,
    detector: DetectorSpec = DETECTOR,
    filters: Sequence[FilterSpec] = FILTERS,
    roi: Roi = None,
    crop_format: Literal["jpeg", "png"] = "jpeg",
    quality: int = 95,
    gas_direction: float | None = None,
    gap: float = 2.0,
    window: float = 60.0,
    expected: str | None = None,
    rules: Rules | None = None,
    alarm: Literal["layer", "window"] = "layer",
    hold: float = 2.0,
    remind: float = 60.0,
    camera_alarms: bool = True,
    camera_learn: float = 120.0,
    reference: ReferenceSpec | None = None,
    camera: CameraSpec | None = None,
    calibration: CalibrationSpec | None = None,
    scan_start: float | None = None,
    every: float = 1.0,
    status: float = 10.0,
    idle: float = 10.0,
    timeout: float = 10.0,
    give_up: float = math.inf,
    metrics_at: str | None = None,
    webhook: str | None = None,
    headers: Mapping[str, str] | None = None,
    webhook_secret: str | None = None,
    queue: str | None = None,
    mqtt: str | None = None,
    view: str | None = None,
    view_key: str | None = None,
    clips: str | None = None,
    clips_room: float = 500.0,
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
    model, detector, filters, roi, crop_format, quality, gas_direction
        As in `predict`.
    gap : float
        S, pause that separates layers: pauses within a layer are shorter, recoating takes longer. "auto" needs the
        whole build and is not possible here.
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
    camera_alarms : bool
        Whether the camera is watched too: frozen, dark, moved, out of focus, window fouled, clock jumped.
    camera_learn : float
        S from the first spatter, in which it is learned how the camera sees when it is well.
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
        S without a picture after which a watch of a camera or stream ends; 0: if it is not there at once.
    metrics_at : str, optional
        PORT or HOST:PORT for Prometheus.
    webhook : str, optional
        Address that gets every message "alarm" as JSON by POST, with these `headers`.
    webhook_secret : path, optional
        File with a secret, or ``env:NAME`` for that in a variable: what is posted is signed with it, by the rules of
        Standard Webhooks.
    queue : path, optional
        Folder of this watch alone in which messages wait; what one watch could not hand over the next one does.
    mqtt : str, optional
        Broker and topic that get them, ``mqtt://host/topic``.
    view : str, optional
        PORT or HOST:PORT of a page to look at.
    view_key : path, optional
        File with its key, or ``env:NAME``; without one it has a new key each time, and none where only this machine
        reaches it.
    clips : path, optional
        Folder in which each alarm keeps its picture and a clip.
    clips_room : float
        MB that these may take; the oldest go first.
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
        If a file cannot be opened, or is no video.
    LostError
        If a camera or stream gave no picture at all before it was given up.
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
    settings = WatchSettings(
        gap=gap,
        window=window,
        every=every,
        status=status,
        idle=idle,
        timeout=timeout,
        give_up=give_up,
        alarms=AlarmSettings(alarm, hold, remind, camera_alarms, camera_learn),
        charts=ChartSettings(reference, camera, calibration, scan_start),
        outputs=OutputSettings(
            metrics_at,
            webhook,
            headers,
            webhook_secret,
            queue,
            mqtt,
            view,
            view_key,
            clips,
            clips_room,
            store=store,
            overwrite=overwrite,
        ),
    )
    extraction = ExtractionSettings(
        detector, filters, roi=roi, crop_format=crop_format, quality=quality, gas_direction=gas_direction
    )
    rules = rules or Rules()
    rules = rules if expected is None else dataclasses.replace(rules, expected=expected)
    return watch_with(settings, extraction, rules, source, model, notify=notify, stopped=stopped)


def watch_with(
    settings: WatchSettings,
    extraction: ExtractionSettings,
    rules: Rules,
    source: str,
    model: str | Run,
    *,
    notify: Callable[[dict[str, Any]], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """`watch` with its settings as records; of the extraction's, those that need a recording are left out."""
    run = model if isinstance(model, Run) else load_model(model)
    rules.check(run.classes)
    kind, outputs = kind_of(source), settings.outputs
    if outputs.store is not None:
        check_output(outputs.store, overwrite=outputs.overwrite)
    plan = Plan.of(run, rules, extraction, settings)
    with ExitStack() as stack, one_opencv_thread():
        charts = open_charts(settings.charts, wait=kind == "file")
        if charts:
            stack.callback(charts.close)
        senders: list[Sender] = []
        for sender in senders_of(outputs):
            stack.callback(sender.close, _GRACE)
            senders.append(sender)
        notify = notify or (lambda _: None)
        lookback: Lookback | None = None
        if outputs.view or outputs.clips:
            lookback = Lookback(outputs.clips, outputs.clips_room)
            stack.callback(lookback.close, _GRACE)
        page = ViewState(lookback) if lookback and outputs.view else None
        if page is not None:
            notify = partial(_both, page.take, notify)
        watcher = Watcher(plan, redacted(source), notify, senders, charts=charts, lookback=lookback)
        watcher.meet = partial(_meet, watcher, kind)
        if outputs.view and page is not None:
            page.snapshot = watcher.snapshot
            stack.callback(serve_view(outputs.view, page, outputs.view_key))
        if outputs.metrics_at:
            stack.callback(serve_metrics(outputs.metrics_at, watcher.snapshot))
        watcher.warm_up()
        connect = partial(open_source, source, timeout=settings.timeout, idle=settings.idle, stopped=stopped)
        clock = Clock(0.0, jump=math.inf) if kind == "file" else Clock(jump=JUMP)
        watcher.feed = Feed(connect, again=kind != "file", clock=clock, give_up=settings.give_up)
        return watcher.run(stopped)


def _both(
    one: Callable[[dict[str, Any]], None], other: Callable[[dict[str, Any]], None], message: dict[str, Any]
) -> None:
    one(message)
    other(message)


def _meet(watcher: Watcher, kind: Kind, stream: StreamFacts) -> None:
    """Say what is watched and how; begin the store once something is known of the stream but its name."""
    plan, outputs = watcher.plan, watcher.plan.settings.outputs
    identity = plan.identity() | ({"charts": watcher.charts.identity()} if watcher.charts else {})
    made_with = versions(detector=[plan.detector], filter=plan.filters)
    if "format" in stream:
        if differing := unlike(plan.run.facts, identity | {"video": stream}):
            log.warning(warning(watcher.source, Path(plan.run.path).name, differing))
        if not plan.rules.unproven and (reason := unproven(plan.run.facts)):
            log.warning("%s gives no verdict: %s", Path(plan.run.path).name or "the model", reason)
        if outputs.store is not None:
            attrs: dict[str, Any] = {"video": stream, "simulated": watcher.simulated, **identity, "versions": made_with}
            attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
            watcher.recorder = Recorder(outputs.store, attrs, overwrite=outputs.overwrite)
    if not watcher.started:
        model = model_facts(plan.run, familiarity=watcher.scorer.familiar is not None)
        start = StartFields(kind=kind, stream=stream, model=model, settings=identity, versions=made_with)
        watcher.publish("start", start)
        watcher.started = True
