"""From a video or a store to rows with probabilities, in one pass.

Nothing is kept of a crop but its row, and a few crops as evidence. Both ways see the same pixels: crops of a video are
encoded and decoded as in a store.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.image_codec import decode, encode
from spatterlib.common.progress import Progress, progress_callback
from spatterlib.common.workers import Caller, Shared, code_digest, spread
from spatterlib.detection.detect import frame_span
from spatterlib.errors import ParameterError, StoreError
from spatterlib.extraction.extract import followed, undecodable
from spatterlib.extraction.pipeline import DetectionBatch, Work, batches, batches_of_parts, cut, origin_of
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.learning.gas_direction import estimated, is_mirrored, suits
from spatterlib.learning.layer_record import LayerRecord
from spatterlib.learning.layer_thresholds import LayerThresholds
from spatterlib.learning.looks import LOOKS, is_measured, looks_of, mirrored, streak_sums, unseen
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.provenance import model_facts, versions
from spatterlib.learning.runs import Run
from spatterlib.learning.skill import unproven
from spatterlib.plugins.classifier import Preprocessing
from spatterlib.plugins.registry import foreign_versions, identity
from spatterlib.stores.chunks import ranges
from spatterlib.stores.opening import find_store, is_simulated, open_store
from spatterlib.types import DETECTION, Detections, Image, Store
from spatterlib.verdicts.document import VerdictSettings
from spatterlib.verdicts.judgement import Known
from spatterlib.verdicts.rules import Rules
from spatterlib.video.opening import Recording, open_video, region

__all__ = [
    "CropPreparation",
    "PreparedCrop",
    "Scored",
    "ScoredCrops",
    "Scorer",
    "evidence_rows",
    "from_store",
    "from_video",
    "score_crops",
    "seen_direction",
]

log = logging.getLogger("spatterlib")

# Crops that are classified at a time: always the same ones together, so that the same rows give the same floats.
CHUNK = 512


@dataclass(frozen=True, eq=False)
class PreparedCrop:
    """One crop, encoded and prepared; one that does not decode is black, with peak -1."""

    encoded: bytes
    image: Image
    peak: int


@dataclass(frozen=True)
class CropPreparation:
    """Encode, decode and prepare a crop: what it is in a store, so that a video and its store give the same.

    Parameters
    ----------
    preprocessing : Preprocessing
        Of the model.
    format, quality : str, int
        How crops are encoded, as in `spatterlib.extract`.
    """

    preprocessing: Preprocessing
    format: str = "jpeg"
    quality: int = 95

    def __call__(self, crop: Image) -> PreparedCrop:
        """Of ``(h, w, 3)`` uint8 RGB."""
        return self.read(encode(crop, self.format, self.quality))

    def read(self, encoded: bytes) -> PreparedCrop:
        """Of an encoded crop."""
        image = np.zeros(self.preprocessing.shape, np.uint8)
        try:
            peak = self.preprocessing.prepare_into(decode(encoded), image)
        except StoreError:
            return PreparedCrop(encoded, image, -1)
        return PreparedCrop(encoded, image, peak)


class Scored(NamedTuple):
    """Of n crops: ``(n, classes)`` probabilities, ``(n,)`` distances, ``(n, len(LOOKS))`` looks.

    NaN are probabilities of crops without a vote, and distances that are not known.
    """

    probabilities: NDArray[np.float64]
    distances: NDArray[np.float32]
    looks: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Calibrated probabilities of prepared crops, how far these lie from the training's, and what they look like.

    Parameters
    ----------
    run : Run
        The model.
    familiar : Familiar or None
        What it learned from looked like; None: not known.
    black : int
        Grey levels; a crop whose brightest pixel is darker has no vote, as it had no part in the training.
    record : LayerRecord or None
        What layers of recordings held out say of its verdicts; None: not known.
    direction : float or None
        Degrees, where the gas flows to in the recording as the camera sees it, if somebody said it, or the model was
        adapted to one camera. Crops of gas from the other side than in the training are mirrored.
    thresholds : LayerThresholds or None
        When a layer is decided, by the layers that the model was adapted to; None: by the record.
    """

    run: Run
    familiar: Familiar | None
    black: int = 40
    record: LayerRecord | None = None
    direction: float | None = None
    thresholds: LayerThresholds | None = None

    @classmethod
    def of(cls, run: Run, direction: float | None = None) -> Scorer:
        """With what the run folder, or an exported file, says of its training."""
        kept = run.facts.get("familiar")
        if os.path.isdir(run.path):  # noqa: PTH112
            familiar = Familiar.load(run.path)
        else:
            familiar = Familiar.parsed(kept, run.path) if kept else None
        record = LayerRecord.parsed(run.facts.get("layers"), run.path)
        thresholds = LayerThresholds.parsed(run.facts.get("thresholds"), run.path)
        direction = run.facts.get("camera_direction") if direction is None else direction
        black = int((run.facts.get("options") or {}).get("black", 40))
        return cls(run, familiar, black, record, direction, thresholds)

    @cached_property
    def turn(self) -> bool | None:
        """Whether crops are mirrored; None: the gas flows in a way that the model never saw, mirrored or not."""
        usual = self.run.facts.get("gas_direction")
        return False if usual is None or self.direction is None else is_mirrored(self.direction, usual)

    def known(self, seen: float | None, rules: Rules) -> Known:
        """What a verdict asks of the training.

        Parameters
        ----------
        seen : float or None
            Where the gas flows to by the streaks, of crops that were turned: see `seen_direction`.
        rules : Rules
            Whether a model may judge that is not shown to be better than chance.
        """
        spans = self.familiar.spans if self.familiar else None
        refused = self._refused(seen) if spans else ""
        return Known(spans, refused, self.record, self._unproven(rules), self.thresholds)

    def _unproven(self, rules: Rules) -> str:
        return "" if rules.unproven else unproven(self.run.facts)

    def _refused(self, seen: float | None) -> str:
        """Why no verdict can rest on the way of the gas; empty if one can."""
        usual = self.run.facts.get("gas_direction")
        if usual is None:
            return ""
        if self.turn is None:
            return f"the gas flows to {self.direction:g} degrees, in the training to {usual:g} or its mirror image"
        if seen is not None and not suits(seen, usual) and (suits(0, usual) or suits(180, usual)):
            if self.direction is None:
                return f"streaks drift against the gas of the training; say gas_direction={180 - usual:g} if that is so"
            return f"streaks drift against the gas direction that was given, {self.direction:g} degrees"
        if seen is None and self.direction is None:
            return "neither somebody nor the drift of the streaks says where the gas flows to: give gas_direction"
        return ""

    def __call__(self, seen: Sequence[PreparedCrop], table: Detections | None = None) -> Scored:
        """Of crops, and of the rows of the table that they belong to."""
        if not seen:
            return Scored(np.empty((0, len(self.run.classes))), np.empty(0, np.float32), unseen(0))
        images = np.stack([item.image for item in seen])
        if self.turn:
            images = np.ascontiguousarray(images[:, :, ::-1])
        found = self.run.calibrated(self.run.scores(images))
        dark = np.array([item.peak < self.black for item in seen])
        found[dark] = np.nan
        far = self.familiar.distances(images) if self.familiar else np.full(len(seen), np.nan, np.float32)
        looks = unseen(len(seen)) if table is None else self._looks(seen, images, table)
        return Scored(found, np.where(dark, np.float32(np.nan), far), looks)

    def _looks(self, seen: Sequence[PreparedCrop], images: Image, table: Detections) -> NDArray[np.float32]:
        """Looks of crops; of streaks only where the model knows those of its training."""
        wanted = self.familiar is not None and self.familiar.spans is not None
        sums = [
            streak_sums(decode(item.encoded)) if wanted and item.peak >= self.black and is_measured(frame) else None
            for item, frame in zip(seen, table["frame"].tolist(), strict=True)
        ]
        return looks_of(images, table, [mirrored(item) if self.turn else item for item in sums])


@dataclass
class ScoredCrops:
    """Rows, probabilities and distances, collected; and the crops that may be shown as evidence.

    Parameters
    ----------
    scorer : Scorer
        What classifies.
    keep : int
        How many crops of each kind (surely each class; least sure) are remembered.
    """

    scorer: Scorer
    keep: int = 64
    frames: int = 0
    decoded: int = 0
    first_time: float = float("inf")
    last_time: float = float("-inf")
    evidence: dict[int, bytes] = field(default_factory=dict)
    _tables: list[Detections] = field(default_factory=list)
    _probabilities: list[NDArray[np.float64]] = field(default_factory=list)
    _distances: list[NDArray[np.float32]] = field(default_factory=list)
    _looks: list[NDArray[np.float32]] = field(default_factory=list)
    _waiting: list[PreparedCrop] = field(default_factory=list)
    _rows: int = 0
    _pending: Detections = field(default_factory=lambda: np.empty(0, DETECTION))
    _joined: int = 0

    def look_at(self, parts: Iterable[tuple[NDArray[np.void], Detections, Sequence[PreparedCrop]]]) -> ScoredCrops:
        """Take (frame log, rows, crops) one after the other."""
        for frame_log, table, seen in parts:
            self._count(frame_log)
            self._tables.append(table)
            self._waiting.extend(seen)
            while len(self._waiting) >= CHUNK:
                self._classify()
        if self._waiting:
            self._classify()
        return self

    def _count(self, frame_log: NDArray[np.void]) -> None:
        self.frames += len(frame_log)
        self.decoded += int(frame_log["decoded"].sum())
        times = frame_log["time"][np.isfinite(frame_log["time"])]
        if len(times):
            self.first_time = min(self.first_time, float(times.min()))
            self.last_time = max(self.last_time, float(times.max()))

    def _classify(self) -> None:
        seen, self._waiting = self._waiting[:CHUNK], self._waiting[CHUNK:]
        self._pending = np.concatenate([self._pending, *self._tables[self._joined :]])
        self._joined = len(self._tables)
        table, self._pending = self._pending[: len(seen)], self._pending[len(seen) :]
        scored = self.scorer(seen, table)
        self._probabilities.append(scored.probabilities)
        self._distances.append(scored.distances)
        self._looks.append(scored.looks)
        self.evidence |= {self._rows + index: item.encoded for index, item in enumerate(seen)}
        self._rows += len(seen)
        self._forget()

    def _forget(self) -> None:
        """Keep only crops that may be shown."""
        rows = np.array(sorted(self.evidence))
        chunks = {number: self._probabilities[number] for number in np.unique(rows // CHUNK)}
        known = np.array([chunks[row // CHUNK][row % CHUNK] for row in rows])
        keep: set[int] = set()
        for order in _by_interest(known):
            keep |= set(rows[order[: self.keep]].tolist())
        self.evidence = {row: data for row, data in self.evidence.items() if row in keep}

    @property
    def table(self) -> Detections:
        """``(n,)`` `DETECTION`."""
        return np.concatenate([np.empty(0, DETECTION), *self._tables])

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """``(n, classes)``."""
        return np.concatenate([np.empty((0, len(self.scorer.run.classes))), *self._probabilities])

    @property
    def distances(self) -> NDArray[np.float32]:
        """``(n,)``."""
        return np.concatenate([np.empty(0, np.float32), *self._distances])

    @property
    def looks(self) -> NDArray[np.float32]:
        """``(n, len(LOOKS))``."""
        return np.concatenate([unseen(0), *self._looks])


def seen_direction(looks: NDArray[np.float32]) -> float | None:
    """Where the gas flows to by the streaks of ``(n, len(LOOKS))`` crops, degrees; None where they do not tell."""
    return estimated(looks[:, LOOKS.index("streaks") :].astype(np.float64))


def _by_interest(probabilities: NDArray[np.float64]) -> Iterator[NDArray[np.intp]]:
    """Orders: surest of each class first, for each class; then the least sure first. Crops without a vote are out."""
    known = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    found = probabilities[known]
    for number in range(probabilities.shape[1]):
        own = found.argmax(1) == number
        yield known[own][np.argsort(-found[own, number], kind="stable")]
    yield known[np.argsort(found.max(1, initial=0), kind="stable")]


def evidence_rows(
    probabilities: NDArray[np.float64], events: NDArray[np.int64], rows: NDArray[np.int64], count: int
) -> list[list[int]]:
    """For each class the rows of its surest crops, then those of the least sure: at most one of an event."""
    found = []
    for order in _by_interest(probabilities[rows]):
        _, first = np.unique(events[rows[order]], return_index=True)
        found.append([int(row) for row in rows[order][np.sort(first)][:count]])
    return found


def from_video(
    found: Iterable[DetectionBatch], notify: Callable[[int, Detections], None]
) -> Generator[tuple[NDArray[np.void], Detections, Sequence[PreparedCrop]], None, None]:
    """(frame log, rows, crops) of batches; `notify` gets the number of frames and the rows of each.

    They were looked at with a `CropPreparation` in place of an encoder.
    """
    for batch in found:
        seen: list[Any] = batch.crops
        yield batch.frame_log, batch.table, seen
        notify(len(batch.frame_log), batch.table)


def from_store(
    store: Store,
    rows: range,
    look: CropPreparation,
    *,
    workers: int,
    executor: Executor | None,
    notify: Callable[[int, Detections], None],
) -> Generator[tuple[NDArray[np.void], Detections, Sequence[PreparedCrop]], None, None]:
    """The same of some rows of a store; the whole frame log comes first."""
    table = store.table
    yield store.frame_log, table[:0], []
    parts = [rows[part.start : part.stop] for part in ranges(len(rows), CHUNK)]
    with ThreadPoolExecutor(workers) as pool:
        if executor is None:
            read: Iterator[list[PreparedCrop]] = (list(pool.map(look.read, store.encoded(part))) for part in parts)
        else:
            shared = Shared.of(store)
            read = spread((partial(_read, shared, part, look) for part in parts), executor, Caller.here())
        for part, seen in zip(parts, read, strict=True):
            yield store.frame_log[:0], table[part.start : part.stop], seen
            notify(0, table[part.start : part.stop])


def _read(store: Shared[Store], rows: range, look: CropPreparation) -> list[PreparedCrop]:
    return [look.read(crop) for crop in store.here().encoded(rows)]


def score_crops(
    source: Any,
    run: Run,
    settings: ExtractionSettings,
    *,
    keep: int,
    executor: Executor | None = None,
    progress: bool | Callable[[Progress], None] | None = False,
    rows: range | None = None,
) -> tuple[ScoredCrops, VerdictSettings]:
    """Rows with probabilities of a video or store (of a store: of `rows` only), and what they were made with."""
    notify = progress_callback(progress)
    is_store = isinstance(source, str | os.PathLike) and find_store(source)
    direction = settings.gas_direction
    if is_store and direction is None:
        with open_store(source) as store:
            direction = store.attrs.get("gas_direction")
    found = ScoredCrops(Scorer.of(run, direction), keep)
    if is_store:
        facts = _of_store(source, found, settings, executor, notify, rows)
    else:
        facts = _of_video(source, found, settings, executor, notify)
    facts["gas_direction"] = direction
    facts["model"] = model_facts(run, familiarity=found.scorer.familiar is not None)
    facts["versions"] = facts["versions"] | versions()
    facts["code"] = code_digest()
    facts["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    return found, facts


def _of_video(
    source: Any,
    found: ScoredCrops,
    settings: ExtractionSettings,
    executor: Executor | None,
    notify: Callable[[Progress], None],
) -> VerdictSettings:
    look: Any = CropPreparation(found.scorer.run.preprocessing, settings.crop_format, settings.quality)
    work = Work.of(settings, look)
    with open_video(source, **settings.reading) as video:
        span = frame_span(video, settings.start, settings.stop)
        with followed(notify, len(span)) as told_too:
            tell = _Told(told_too, len(span))
            with closing(_batches(source, settings, video, span, work, executor)) as looked_at:
                found.look_at(from_video(looked_at, tell))
        if not found.decoded:
            raise undecodable(video.name, len(span))
        facts = video.identity()
        box = list(region(video, settings.roi)) if settings.roi else None
    return {
        "source": {"kind": "video", "path": _path(source), "name": facts.get("name", "")},
        "video": facts,
        "simulated": is_simulated({"video": facts}) or None,
        "detector": identity(work.detector),
        "filters": [identity(filter_) for filter_ in work.filters],
        "start": span.start,
        "stop": span.stop,
        "roi": box,
        "fps": settings.fps,
        "crops": {"format": settings.crop_format, "quality": settings.quality},
        "versions": foreign_versions(detector=[work.detector], filter=work.filters),
    }


def _batches(
    source: Any, settings: ExtractionSettings, video: Recording, span: range, work: Work, executor: Executor | None
) -> Generator[DetectionBatch, None, None]:
    if executor is None:
        return batches(video, span, work, settings.workers)
    parts = cut(video, span, work.detector.lead)
    return batches_of_parts(origin_of(source, settings.reading, video), parts, work, executor)


def _of_store(
    source: str | os.PathLike[str],
    found: ScoredCrops,
    settings: ExtractionSettings,
    executor: Executor | None,
    notify: Callable[[Progress], None],
    rows: range | None,
) -> VerdictSettings:
    for name in settings.changed():
        # Layers are told apart again, workers change nothing, and where the gas flows to is no matter of extraction.
        if name not in ("gap", "gas_direction", "workers"):
            raise ParameterError(
                f"{name} belongs to extraction, and {os.fspath(source)} is a store that was extracted already; "
                f"predict on the video, or extract it with this {name}"
            )
    with open_store(source) as store:
        attrs, chosen = store.attrs, range(len(store)) if rows is None else rows
        if attrs.get("complete") is False:
            log.warning("%s is not complete (%s): the verdict is on what it holds", source, attrs.get("state"))
        look = CropPreparation(found.scorer.run.preprocessing)
        with followed(notify, len(store.frame_log)) as told_too:
            tell = _Told(told_too, len(store.frame_log))
            reading = from_store(store, chosen, look, workers=settings.workers, executor=executor, notify=tell)
            with closing(reading) as seen:
                found.look_at(seen)
    kept = ("video", "detector", "filters", "start", "stop", "roi", "crops", "gap")
    name = (attrs.get("video") or {}).get("name") or Path(os.fspath(source)).name
    known: VerdictSettings = {
        "source": {"kind": "store", "path": _path(source), "name": name, "complete": attrs.get("complete")},
        "simulated": is_simulated(attrs) or None,
        "versions": attrs.get("versions") or {},
    }
    return known | cast("VerdictSettings", {key: attrs.get(key) for key in kept})


class _Told:
    """Frames and rows so far, as a `Progress`."""

    def __init__(self, notify: Callable[[Progress], None], expected: int) -> None:
        self.notify, self.expected, self.done, self.rows = notify, expected, 0, 0

    def __call__(self, frames: int, table: Detections) -> None:
        self.done, self.rows = self.done + frames, self.rows + len(table)
        if not frames and len(table):
            self.done = max(self.done, min(int(table["frame"][-1]) + 1, self.expected))
        self.notify(Progress(self.done, self.expected, self.rows, table))


def _path(source: Any) -> str:
    if not isinstance(source, str | os.PathLike):
        return ""
    text = os.fspath(source)
    return text if "://" in text else str(Path(text).absolute())
