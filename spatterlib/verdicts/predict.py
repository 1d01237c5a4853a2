"""From a video or a store and a model to a verdict on each layer and window of a build."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.progress import Progress
from spatterlib.common.wording import counted
from spatterlib.detection.defaults import DETECTOR, FILTERS, DetectorSpec, FilterSpec, Gap, Position, Roi
from spatterlib.detection.events import events
from spatterlib.detection.layers import Layers, gap_of, layers
from spatterlib.errors import ParameterError
from spatterlib.extraction.extract import extract_with
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.learning.runs import Run, run_of
from spatterlib.plugins.classifier import Model
from spatterlib.stores.opening import check_output, find_store
from spatterlib.types import Video
from spatterlib.verdicts.change import Change, changes
from spatterlib.verdicts.document import SummaryFields, VerdictSettings
from spatterlib.verdicts.judgement import Known, Span, VerdictState, judge_rows
from spatterlib.verdicts.report_settings import ReportSettings
from spatterlib.verdicts.rules import Rules
from spatterlib.verdicts.scoring import ScoredCrops, Scorer, evidence_rows, score_crops, seen_direction
from spatterlib.verdicts.shares import share_sentence, shares
from spatterlib.verdicts.training_mismatch import unlike, warning
from spatterlib.verdicts.verdict import Evidence, Verdict, check_outputs, row_dtype

__all__ = ["predict", "predict_with"]

log = logging.getLogger("spatterlib")

_WORST: tuple[VerdictState, ...] = ("critical", "attention", "OK", "decided", "no verdict")


def predict(
    source: str | os.PathLike[str] | Video,
    model: str | os.PathLike[str] | Run | Model,
    out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    detector: DetectorSpec = DETECTOR,
    filters: Sequence[FilterSpec] = FILTERS,
    start: Position = None,
    stop: Position = None,
    roi: Roi = None,
    fps: float | None = None,
    value_range: tuple[float, float] | None = None,
    axes: str | None = None,
    crop_format: Literal["jpeg", "png"] = "jpeg",
    quality: int = 95,
    gas_direction: float | None = None,
    gap: Gap | None = None,
    window: float = 60.0,
    expected: str | None = None,
    rules: Rules | None = None,
    report: ReportSettings | None = None,
    crops: int = 6,
    workers: int = 1,
    executor: Executor | None = None,
    store: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool | Callable[[Progress], None] | None = None,
) -> Verdict:
    """Classify the spatter of a recording and give a verdict per layer and per window of time.

    Parameters
    ----------
    source : path or Video
        A recording, as for `extract`, or a store.
    model : path, Run or Model
        A run folder, a folder of runs, a file of weights, "simulated" (the model that comes with the package), or
        what `train` or `load_model` gave.
    out : path or sequence of paths, optional
        Where to save the verdict: ``.html``, ``.json``, ``.csv``, ``.parquet``.
    detector, filters, start, stop, roi, fps, value_range, axes, crop_format, quality
        As in `extract`; a store was extracted with its own, and takes none of them. Crops of a video are encoded and
        decoded again, so that the video and its store give the same probabilities.
    gas_direction : float, optional
        Degrees, where the gas flows to as the camera sees it: 0 = right, 90 = up. By default as the store says it.
        Crops of gas from the other side than in the model's training are mirrored; where it is not known, a layer whose
        streaks drift otherwise than in the training gets no verdict.
    gap : float or str, optional
        Pause that separates layers: seconds, "auto", or as "700 frames"; see `layers`. By default that of the store,
        else "auto".
    window : float
        S, length of the windows, 1 or more.
    expected : str, optional
        The class that a good build has: other layers are critical then. Wins over `rules`.
    rules : Rules, optional
        When to abstain.
    report : ReportSettings, optional
        What the page says of the build, and which layers it lists.
    crops : int
        How many crops of each kind to keep as evidence: surest of each class, least sure.
    workers : int
        As in `extract`.
    executor : concurrent.futures.Executor, optional
        Who reads, looks and prepares crops instead, as in `extract`; they are classified here, so that the same rows
        give the same floats.
    store : path, optional
        Also keep what was extracted, as a store.
    overwrite : bool
        Replace existing files.
    progress : bool or callable, optional
        As in `extract`.

    Returns
    -------
    Verdict
        Rows, layers, windows, summary.

    Raises
    ------
    MissingFileError
        If the source or the model is not there.
    StoreError
        If the model is not finished, or the source is a damaged store.
    ParameterError
        If the model does not know the class that is expected, or an option does not suit the source.
    VideoError, OutputExistsError
        As `extract`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = sp.simulate(folder / "build.mp4", gas_flow="high", seconds=4, seed=5)
    >>> verdict = sp.predict(folder / "build.mp4", "simulated", expected="high")
    >>> len(verdict.layers), verdict.classes, verdict.simulated
    (1, ('high', 'low'), True)
    """
    settings = ExtractionSettings(
        detector=detector,
        filters=filters,
        start=start,
        stop=stop,
        roi=roi,
        fps=fps,
        value_range=value_range,
        axes=axes,
        crop_format=crop_format,
        quality=quality,
        gas_direction=gas_direction,
        gap=gap,
        workers=workers,
    )
    rules = rules or Rules()
    return predict_with(
        settings,
        rules if expected is None else dataclasses.replace(rules, expected=expected),
        source,
        model,
        out,
        window=window,
        report=report,
        crops=crops,
        executor=executor,
        store=store,
        overwrite=overwrite,
        progress=progress,
    )


def predict_with(
    settings: ExtractionSettings,
    rules: Rules,
    source: str | os.PathLike[str] | Video,
    model: str | os.PathLike[str] | Run | Model,
    out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    window: float = 60.0,
    report: ReportSettings | None = None,
    crops: int = 6,
    executor: Executor | None = None,
    store: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool | Callable[[Progress], None] | None = None,
) -> Verdict:
    """`predict` with the settings of the extraction as one record; its limit is not for a verdict."""
    began = time.perf_counter()
    settings = dataclasses.replace(settings, limit=None)
    run = run_of(model)
    rules.check(run.classes)
    _check(window, crops)
    report = report or ReportSettings()
    report.check(rules.expected)
    outs = [out] if isinstance(out, str | os.PathLike) else list(out or ())
    check_outputs(outs, overwrite=overwrite)
    if store is not None:
        if isinstance(source, str | os.PathLike) and find_store(source):
            raise ParameterError(f"{os.fspath(source)} is a store already; leave out store={os.fspath(store)!r}")
        check_output(store, overwrite=overwrite)
        extract_with(settings, source, store, executor=executor, overwrite=overwrite, progress=progress)
        # The frames have been counted; what is compiled now has not.
        source, progress = store, _of_kernels(progress) if callable(progress) else False
        settings = ExtractionSettings(gap=settings.gap, gas_direction=settings.gas_direction, workers=settings.workers)
    found, facts = score_crops(source, run, settings, keep=_remembered(crops), executor=executor, progress=progress)
    gap = gap_of(facts, settings.gap)
    facts |= {"gap": gap, "window": window, "rules": dataclasses.asdict(rules)}
    if report.facts():
        facts["report"] = report.facts()
    facts["gas_seen"] = seen_direction(found.looks)
    known = found.scorer.known(facts["gas_seen"], rules)
    facts["unlike_training"] = [*unlike(run.facts, facts), *filter(None, [known.refused])]
    if facts["unlike_training"]:
        log.warning(warning(facts["source"]["name"], facts["model"]["name"], facts["unlike_training"]))
    if known.unproven:
        log.warning("%s gives no verdict: %s", facts["model"]["name"] or "the model", known.unproven)
    verdict = _verdict(found, facts, gap, window, rules, crops, known)
    verdict.summary["seconds"] = round(time.perf_counter() - began, 3)
    for path in outs:
        verdict.save(path, overwrite=overwrite)
    return verdict


def _of_kernels(notify: Callable[[Progress], None]) -> Callable[[Progress], None]:
    return lambda state: notify(state) if state.preparing else None


def _check(window: float, crops: int) -> None:
    if not 1 <= window < float("inf"):
        raise ParameterError(f"window must be 1 s or longer, got {window!r}")
    if crops < 0:
        raise ParameterError(f"crops must be 0 or more, got {crops}")


def _remembered(crops: int) -> int:
    """More than are shown: at most one of an event is, and events are known at the end only."""
    return 16 * crops


def _verdict(
    found: ScoredCrops, settings: VerdictSettings, gap: Gap, window: float, rules: Rules, crops: int, known: Known
) -> Verdict:
    run = found.scorer.run
    rows, grouped = _rows(found, gap)
    by_layer = _spans(rows, rows["layer"], len(grouped), run.classes, rules, None, known)
    begin, end = _extent(found, rows)
    number, count = _windows(rows, begin, end, window)
    count = 0 if _is_untimed(rows) else count
    edges = [(begin + k * window, min(begin + (k + 1) * window, end)) for k in range(count)]
    by_window = _spans(rows, number, count, run.classes, rules, edges, known)
    moved = changes(by_layer, rows["time"], rows["layer"], rows["probabilities"], run.classes)
    return Verdict(
        rows=rows,
        layers=by_layer,
        windows=by_window,
        changes=tuple(moved),
        summary=_summary(found, rows, by_layer, moved, grouped, rules, known.unproven),
        classes=tuple(run.classes),
        settings=settings,
        evidence=_evidence(found, rows, run.classes, crops),
    )


def _rows(found: ScoredCrops, gap: Gap) -> tuple[NDArray[np.void], Layers]:
    """Rows with event and layer; both are 0 where the store never knew frame and time."""
    table = found.table
    rows = np.zeros(len(table), row_dtype(len(found.scorer.run.classes)))
    for name in table.dtype.names or ():
        rows[name] = table[name]
    rows["probabilities"], rows["distance"], rows["looks"] = found.probabilities, found.distances, found.looks
    timed = np.isfinite(table["time"]) & (table["frame"] >= 0)
    grouped = layers(table["time"][timed], gap, table["frame"][timed])
    rows["layer"][timed] = grouped.number
    rows["event"][timed] = events(table[timed]).number
    return rows, grouped


def _is_untimed(rows: NDArray[np.void]) -> bool:
    """Whether there are crops, and the time of none is known: files of the research system."""
    return bool(len(rows)) and not rows["layer"].any()


def _extent(found: ScoredCrops, rows: NDArray[np.void]) -> tuple[float, float]:
    times = rows["time"][rows["layer"] > 0]
    begin, end = found.first_time, found.last_time
    if len(times):
        begin, end = min(begin, float(times.min())), max(end, float(times.max()))
    return (begin, end) if np.isfinite([begin, end]).all() else (0.0, 0.0)


def _windows(rows: NDArray[np.void], begin: float, end: float, window: float) -> tuple[NDArray[np.int64], int]:
    """Window of each row, from 1, 0 without a time; and how many there are."""
    count = int((end - begin) / window) + 1
    number = np.zeros(len(rows), np.int64)
    timed = rows["layer"] > 0
    number[timed] = ((rows["time"][timed] - begin) / window).astype(np.int64) + 1
    return number, count


def _spans(
    rows: NDArray[np.void],
    number: NDArray[np.int64],
    count: int,
    classes: Sequence[str],
    rules: Rules,
    edges: Sequence[tuple[float, float]] | None,
    known: Known,
) -> tuple[Span, ...]:
    order = np.argsort(number, kind="stable")
    cuts = np.searchsorted(number[order], np.arange(1, count + 2))
    found = []
    for index in range(count):
        own = rows[order[cuts[index] : cuts[index + 1]]]
        found.append(judge_rows(own, classes, rules, index + 1, edges[index] if edges else None, known))
    return tuple(found)


def _summary(
    found: ScoredCrops,
    rows: NDArray[np.void],
    spans: Sequence[Span],
    moved: Sequence[Change],
    grouped: Layers,
    rules: Rules,
    unproven: str,
) -> SummaryFields:
    voted = np.isfinite(rows["probabilities"]).all(axis=1)
    checked = rows["distance"][voted]
    states = Counter(span.state for span in spans)
    labels = Counter(span.label for span in spans if span.label)
    label = next(iter(labels)) if len(labels) == 1 else None
    facts: SummaryFields = {
        "label": label,
        "state": next((state for state in _WORST if states[state]), "no verdict"),
        "text": _text(spans, labels, moved) + f": {unproven}" * bool(unproven and spans),
        "expected": rules.expected,
        "layers": len(spans),
        "states": dict(states),
        "labels": dict(labels),
        "gap": grouped.chosen,
        "frames": found.frames,
        "decoded": found.decoded,
        "crops": len(rows),
        "without_vote": int((~voted).sum()),
        "without_time": int((rows["layer"] == 0).sum()),
        "events": len(np.unique(rows["event"][rows["event"] > 0])),
        "far": float((checked > 1).mean()) if len(checked) and np.isfinite(checked).all() else None,
        "familiarity": _familiarity(found.scorer),
    }
    if _is_untimed(rows):
        parts = [item.facts() for item in shares(rows["probabilities"], found.scorer.run.classes)]
        facts |= {"shares": parts, "text": share_sentence(parts, len(rows), facts["far"], rules.max_far)}
        facts["text"] += f"; this says nothing, because {unproven}" * bool(unproven)
    return facts


def _familiarity(scorer: Scorer) -> str:
    if scorer.familiar is None:
        return "not checked"
    return "checked" if scorer.familiar.spans else "checked crop by crop only"


def _text(spans: Sequence[Span], labels: Mapping[str, int], moved: Sequence[Change]) -> str:
    if not spans:
        return "no verdict: no spatter was seen at a known time"
    if not labels:
        return f"no verdict on {'the one layer' if len(spans) == 1 else f'any of {len(spans)} layers'}"
    parts = [f"{name} in {count}" for name, count in sorted(labels.items(), key=lambda item: -item[1])]
    open_ = len(spans) - sum(labels.values())
    text = f"{', '.join(parts)} of {counted(len(spans), 'layer')}" + (f"; {open_} undecided" if open_ else "")
    return text + "".join(
        f"; changes from {item.before} to {item.after} in layer {item.layer} (at {item.time:.1f} s)" for item in moved
    )


def _evidence(found: ScoredCrops, rows: NDArray[np.void], classes: Sequence[str], count: int) -> tuple[Evidence, ...]:
    known = np.array(sorted(found.evidence), np.int64)
    result = []
    kinds = [f"surely {name}" for name in classes] + ["least certain"]
    # Without times no crop has an event: each stands for itself.
    event = np.arange(len(rows)) if _is_untimed(rows) else rows["event"]
    chosen = evidence_rows(rows["probabilities"], event, known, count)
    for kind, picked in zip(kinds, chosen, strict=True):
        for row in picked:
            own = rows["probabilities"][row]
            best = int(own.argmax())
            facts = (int(rows["frame"][row]), float(rows["time"][row]), int(rows["layer"][row]))
            result.append(Evidence(kind, row, *facts, classes[best], float(own[best]), found.evidence[row]))
    return tuple(result)
