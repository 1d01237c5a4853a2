"""Whether a report holds: a sample of its layers is computed again from the source."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spatterlib.common.files import check_source
from spatterlib.common.wording import counted
from spatterlib.common.workers import code_digest
from spatterlib.detection.defaults import DETECTOR, FILTERS
from spatterlib.detection.events import events
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.learning.layer_record import LayerRecord
from spatterlib.learning.provenance import model_digest
from spatterlib.learning.runs import Run, load_model
from spatterlib.stores.opening import find_store, is_simulated, open_store
from spatterlib.verdicts.document import VerdictDocument, VerdictSettings
from spatterlib.verdicts.judgement import Span, SpanFields, judge
from spatterlib.verdicts.report import differs, parse, read_page
from spatterlib.verdicts.rules import Rules
from spatterlib.verdicts.scoring import score_crops
from spatterlib.verdicts.shares import shares
from spatterlib.video.opening import open_video

__all__ = ["Verification", "verify"]

# Sums of float32 differ a little between processors, and between batches.
_TOLERANCE = 1e-3
_COUNTS = ("label", "leading", "state", "votes", "events", "crops", "first_frame", "last_frame")
_NUMBERS = ("start", "stop", "probability", "low", "high", "far", "right", "unlike")


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Parameters
    ----------
    report : str
        Which report.
    checked : tuple of int
        Layers that were computed again.
    layers : int
        How many the report has.
    faults : tuple of str
        What does not hold; empty if all does.
    remarks : tuple of str
        What differs without being a fault: another version of the code.
    shares : bool
        Whether it was the shares of the classes that were computed again: the report is on a file without times.
    """

    report: str
    checked: tuple[int, ...]
    layers: int
    faults: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    shares: bool = False

    @property
    def holds(self) -> bool:
        """Whether nothing was found that does not hold."""
        return not self.faults

    def __str__(self) -> str:
        said = "holds" if self.holds else "does NOT hold"
        again = (
            "the shares of its classes" if self.shares else f"{len(self.checked)} of {counted(self.layers, 'layer')}"
        )
        return f"{self.report} {said}: {again} computed again"


def verify(
    report: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | Run | None = None,
    sample: int = 5,
    seed: int | None = None,
) -> Verification:
    """Compute some layers of a report again, and compare.

    Parameters
    ----------
    report : path
        ``.html`` or ``.json``, from `Verdict.save`.
    source, model : path, optional
        The recording or store, and the model; by default those that the report names. A page says where they are as
        seen from its own folder, and names what is far away: that is looked for beside it and in the working folder.
    sample : int
        How many layers, drawn at random; 0 for all.
    seed : int, optional
        Of the draw; by default another one each time, so that nobody knows which layers will be looked at.

    Returns
    -------
    Verification
        It is true if `holds`: video and model are the same by digest, the page shows what its JSON says, the summary
        follows from the layers, and the sampled layers come out again.

    Raises
    ------
    MissingFileError
        If report, source or model is not there.
    StoreError
        If it is no report.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = sp.simulate(folder / "build.mp4", seconds=4, seed=5)
    >>> _ = sp.predict(folder / "build.mp4", "simulated", folder / "build.html")
    >>> sp.verify(folder / "build.html").holds
    True
    """
    if sample < 0:
        raise ParameterError(f"sample must be 0 (all) or more layers, got {sample}")
    text, facts = _read(Path(report))
    settings = facts["settings"]
    folder = Path(report).parent
    run = model if isinstance(model, Run) else _loaded(_model_path(model, settings, folder), settings)
    where = os.fspath(source) if source is not None else settings["source"]["path"]
    if not where:
        raise MissingFileError("the report was made from an object and names no source; give one with --video")
    where = where if source is not None else _place(where, folder, "--video")
    faults = [*_shown(text, facts), *_digests(where, run, settings), *_sums(facts)]
    spans = [_span(item) for item in facts["layers"]]
    chosen = _chosen(len(spans), sample, seed)
    untimed = "shares" in facts["summary"]
    if untimed:
        faults += _shares_again(where, run, facts)
    elif not any(fault.startswith("the video is another") for fault in faults):
        faults += [fault for index in chosen for fault in _again(where, run, facts, spans[index])]
    remarks = [] if settings["code"] == code_digest() else ["the report was made by another version of the code"]
    numbers = tuple(spans[index].number for index in chosen)
    return Verification(os.fspath(report), numbers, len(spans), tuple(faults), tuple(remarks), untimed)


def _read(path: Path) -> tuple[str, VerdictDocument]:
    """The text of a page (empty for JSON) and the facts in it."""
    check_source(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingFileError(f"no report at {path}") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise StoreError(f"{path} is no report: expected a .html or .json file of `predict`") from error
    try:
        if path.suffix.lower() == ".json":
            return "", parse(text)
        return text, read_page(text)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error


def _place(named: str, folder: Path, option: str) -> str:
    """Where that lies which a report names: a page names what is far away by its name only."""
    path = Path(named)
    if "://" in named or path.is_absolute():
        return named
    found = next((place for place in (folder / path, path) if place.exists()), None)
    if found is None:
        raise MissingFileError(
            f"the report names {named}, which is neither beside it nor in the working folder; give it with {option}"
        )
    return os.fspath(found)


def _model_path(model: str | os.PathLike[str] | None, settings: VerdictSettings, folder: Path) -> str:
    if model is not None:
        return os.fspath(model)
    named = settings["model"]
    if not named["path"]:
        raise MissingFileError("the report names no model; give one with --model")
    # The shipped model lies elsewhere on every machine.
    moved = named["name"] == "simulated" and not (Path(named["path"]).is_absolute() and Path(named["path"]).exists())
    return "simulated" if moved else _place(named["path"], folder, "--model")


def _loaded(path: str, settings: VerdictSettings) -> Run:
    """The model; of a bare file, which says neither, classifier and classes are the report's."""
    named = settings["model"]
    known = named["classifier"] if Path(path).is_file() and Path(path).suffix.lower() != ".onnx" else None
    if not known:
        return load_model(path)
    return load_model(path, known["id"], classes=named["classes"])


def _shown(text: str, facts: VerdictDocument) -> list[str]:
    """What a page shows that its JSON does not say."""
    parts = differs(text, facts) if text else []
    return [f"the page shows something else under {part!r} than its JSON says" for part in parts]


def _digests(where: str, run: Run, settings: VerdictSettings) -> list[str]:
    faults = []
    if model_digest(run) != settings["model"]["digest"]:
        faults.append(f"the model is another than the report's (sha256:{settings['model']['digest'][:12]}...)")
    known = (settings.get("video") or {}).get("digest")
    attrs = _attrs(where, _reading(settings))
    found = (attrs.get("video") or {}).get("digest")
    if known != found:
        faults.append(f"the video is another than the report's: expected {known}, got {found}")
    # Format 1 knows one flag for recording and model together.
    elif "origin" in settings["model"]:
        faults += _origins(settings, run, simulated=is_simulated(attrs))
    return faults


def _origins(settings: VerdictSettings, run: Run, *, simulated: bool) -> list[str]:
    """Whether the report says truly where recording and model come from."""
    faults, told = [], settings["model"]["origin"]
    if bool(settings["simulated"]) is not simulated:
        now = "marked as simulated" if simulated else "not marked as simulated"
        faults.append(f"the recording is {now}, and the report says otherwise")
    if "layers" in settings["model"] and settings["model"]["layers"] != run.facts.get("layers"):
        faults.append("what layers held out say of the model is not what the report says")
    if settings["model"].get("thresholds") != run.facts.get("thresholds"):
        faults.append("what labelled layers say of the model is not what the report says")
    if run.facts and told != run.origin:
        faults.append(f"the model's training recordings are {run.origin!r}, the report says {told!r}")
    return faults


def _reading(settings: VerdictSettings) -> dict[str, Any]:
    """How the report's recording was read: its identity says it."""
    video = settings.get("video") or {}
    range_ = video.get("value_range")
    return {"fps": settings.get("fps"), "value_range": tuple(range_) if range_ else None, "axes": video.get("axes")}


def _attrs(where: str, reading: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a store says of itself, or a recording, as far as a store would say it."""
    if find_store(where):
        with open_store(where) as store:
            return store.attrs
    with open_video(where, **reading) as video:
        return {"video": video.identity()}


def _sums(facts: VerdictDocument) -> list[str]:
    """Whether the summary follows from the layers."""
    summary, layers = facts["summary"], facts["layers"]
    states = Counter(item["state"] for item in layers)
    labels = Counter(item["label"] for item in layers if item["label"])
    same = summary["states"] == dict(states) and summary["labels"] == dict(labels) and summary["layers"] == len(layers)
    return [] if same else ["the summary does not follow from the layers"]


def _chosen(count: int, sample: int, seed: int | None) -> list[int]:
    if sample == 0 or sample >= count:
        return list(range(count))
    drawn = np.random.default_rng(seed).choice(count, sample, replace=False)
    return sorted(int(index) for index in drawn)


def _span(item: SpanFields) -> Span:
    values: dict[str, Any] = {
        name: math.nan if value is None and name in _NUMBERS else value for name, value in item.items()
    }
    try:
        return Span(**values)
    except TypeError as error:
        raise StoreError(f"a layer of the report is damaged: {error}") from error


def _again(where: str, run: Run, facts: VerdictDocument, span: Span) -> list[str]:
    """What differs when one layer is computed again."""
    if span.first_frame < 0:
        return []
    settings = facts["settings"]
    if find_store(where):
        found, _ = score_crops(where, run, _turned(settings), keep=0, rows=_rows(where, span))
    else:
        found, _ = score_crops(where, run, _settings(settings, span), keep=0)
    # A version that did not know this rule judged by any model.
    rules = Rules(**({"unproven": True} | settings["rules"]))
    table, known = found.table, found.scorer.known(settings.get("gas_seen"), rules)
    again = judge(
        table["time"],
        events(table).number,
        found.probabilities,
        facts["classes"],
        rules,
        distances=found.distances,
        frames=table["frame"],
        number=span.number,
        looks=found.looks,
        known=known._replace(record=LayerRecord.parsed(settings["model"].get("layers"), "the report")),
    )
    return [
        f"layer {span.number}: {name} was {getattr(span, name)}, is {getattr(again, name)}"
        for name in (*_COUNTS, *_NUMBERS)
        if not _same(name, getattr(span, name), getattr(again, name))
    ]


def _shares_again(where: str, run: Run, facts: VerdictDocument) -> list[str]:
    """Whether the shares come out again, where the file has no times and so no layers."""
    if not find_store(where):
        return ["the source is no store, and the report is on one without times"]
    found, _ = score_crops(where, run, _turned(facts["settings"]), keep=0)
    old, new = facts["summary"]["shares"], [item.facts() for item in shares(found.probabilities, facts["classes"])]
    return [] if old == new else [f"the shares of the classes were {old}, are {new}"]


def _turned(facts: VerdictSettings) -> ExtractionSettings:
    return ExtractionSettings(gas_direction=facts.get("gas_direction"))


def _same(name: str, old: Any, new: Any) -> bool:
    if name in _COUNTS:
        return bool(old == new)
    return bool(np.isclose(old, new, rtol=0, atol=_TOLERANCE, equal_nan=True))


def _rows(where: str, span: Span) -> range:
    with open_store(where) as store:
        frames = store.column("frame")
    first, last = np.searchsorted(frames, [span.first_frame, span.last_frame + 1])
    return range(int(first), int(last))


def _settings(facts: VerdictSettings, span: Span) -> ExtractionSettings:
    """How the report's rows were found, for the frames of one layer."""
    box, crops = facts.get("roi"), facts.get("crops") or {}
    filters = facts.get("filters")
    return ExtractionSettings(
        detector=facts.get("detector") or DETECTOR,
        filters=FILTERS if filters is None else filters,
        start=span.first_frame,
        stop=span.last_frame + 1,
        roi=(box[0], box[1], box[0] + box[2], box[1] + box[3]) if box else None,
        **_reading(facts),
        gas_direction=facts.get("gas_direction"),
        crop_format=crops.get("format", "jpeg"),
        quality=crops.get("quality", 95),
    )
