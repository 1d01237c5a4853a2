"""Plugins that are wrong on purpose: for every law one that breaks it, and of each kind one that is right."""

from __future__ import annotations

import itertools
import json
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import ParameterError
from spatterlib.plugins.boxes import table_of
from spatterlib.plugins.classifier import Epoch, Notify, Preprocessing, Samples
from spatterlib.stores.zarr import Zarr
from spatterlib.types import Box, Clip, Detections, Image, RgbPicture, Store

_calls = itertools.count()

# Detectors ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spots:
    """Bright spots; an honest detector."""

    threshold: int = 90
    lead: ClassVar[int] = 1

    def __call__(self, clip: Clip) -> Detections:
        return self.table(clip, self.threshold)

    def explain(self, clip: Clip) -> Any:
        return {"mask": np.asarray(clip.luma[-1] > self.threshold, np.uint8) * 255}

    def table(self, clip: Clip, threshold: float, first: int | None = None) -> Detections:
        import cv2

        index, boxes = [], []
        for number in range(clip.lead if first is None else first, len(clip.pictures)):
            grey = cv2.cvtColor(clip.rgb(number).copy(), cv2.COLOR_RGB2GRAY)
            _, _, found, _ = cv2.connectedComponentsWithStats((grey > threshold).astype(np.uint8))
            boxes += [tuple(row[:4]) for row in found[1:]]
            index += [number] * (len(found) - 1)
        return table_of(clip, index, boxes, [width * height for _, _, width, height in boxes])


class NoNumberAsLead(Spots):
    lead: ClassVar[Any] = 0.5


class ReturnsRectangles(Spots):
    def __call__(self, clip: Clip) -> Any:
        return super().__call__(clip)[["x", "y", "width", "height"]]


class FindsNothing(Spots):
    def __call__(self, clip: Clip) -> Detections:
        return np.empty(0, sp.DETECTION)


class AdaptsToTheClip(Spots):
    """Its threshold depends on what else is in the clip."""

    def __call__(self, clip: Clip) -> Detections:
        return self.table(clip, max(float(clip.luma.mean() * 5), 30))


class DrawsOnFrames(Spots):
    def __call__(self, clip: Clip) -> Detections:
        found = super().__call__(clip)
        for picture in clip.pictures:
            if isinstance(picture, RgbPicture) and picture.array.flags.writeable:
                picture.array[:3, :3] = 255
        return found


class TurnsTheOrder(Spots):
    def __call__(self, clip: Clip) -> Detections:
        return super().__call__(clip)[::-1]


class LooksAtItsLead(Spots):
    def __call__(self, clip: Clip) -> Detections:
        return self.table(clip, self.threshold, first=0)


class AddsAMargin(Spots):
    def __call__(self, clip: Clip) -> Detections:
        found = super().__call__(clip)
        found["x"] -= 5
        found["width"] += 10
        return found


class MeansTheFullFrame(Spots):
    def __call__(self, clip: Clip) -> Detections:
        found = super().__call__(clip)
        found["x"] += clip.box[0]
        found["y"] += clip.box[1]
        return found


class KeepsAState(Spots):
    def __call__(self, clip: Clip) -> Detections:
        return super().__call__(clip)[next(_calls) % 7 :]


class SeesLightInTheDark(Spots):
    def __call__(self, clip: Clip) -> Detections:
        own = range(clip.lead, len(clip.pictures))
        return table_of(clip, list(own), [(0, 0, 1, 1) for _ in own], [1] * len(own))


class NeedsAllItsLead(Spots):
    def __call__(self, clip: Clip) -> Detections:
        assert clip.lead == self.lead, "no frame to compare with"
        return super().__call__(clip)


class WantsEvenSizes(Spots):
    def __call__(self, clip: Clip) -> Detections:
        assert clip.box[2] % 2 == 0, "the width must be even"
        return super().__call__(clip)


class ComputesTimes(Spots):
    def __call__(self, clip: Clip) -> Detections:
        found = super().__call__(clip)
        found["time"] = found["frame"] / 25
        return found


class MixesUpColours(Spots):
    def __call__(self, clip: Clip) -> Detections:
        found = super().__call__(clip)
        found["red"], found["blue"] = found["blue"].copy(), found["red"].copy()
        return found


class ExplainsInShares(Spots):
    def explain(self, clip: Clip) -> Any:
        return {"mask": clip.luma[-1] / 255}


@dataclass
class CanBeChanged:
    threshold: int = 90
    lead: ClassVar[int] = 0


@dataclass(frozen=True)
class HasNoDefault:
    threshold: int


@dataclass(frozen=True)
class ForgetsWhenPickled:
    threshold: int = 90

    def __reduce__(self) -> Any:
        return type(self), ()


@dataclass(frozen=True)
class HoldsNoJson:
    names: frozenset[str] = frozenset({"a", "b"})


DATACLASSES: dict[str, Any] = {
    "is_a_frozen_dataclass": CanBeChanged(),
    "parameters_have_defaults": HasNoDefault(5),
    "pickles": ForgetsWhenPickled(5),
    "survives_json": HoldsNoJson(),
}

DETECTORS: dict[str, Any] = {
    "lead_is_a_number_of_frames": NoNumberAsLead(),
    "it_returns_detections": ReturnsRectangles(),
    "it_finds_something": FindsNothing(),
    "the_length_of_clips_does_not_matter": AdaptsToTheClip(),
    "no_frame_is_modified": DrawsOnFrames(),
    "rows_are_in_order": TurnsTheOrder(),
    "rows_are_of_the_clips_own_frames": LooksAtItsLead(),
    "boxes_are_inside": AddsAMargin(),
    "boxes_begin_at_the_clips_corner": MeansTheFullFrame(),
    "the_same_clip_gives_the_same_table": KeepsAState(),
    "black_gives_nothing": SeesLightInTheDark(),
    "less_lead_is_enough": NeedsAllItsLead(),
    "any_size_and_level_will_do": WantsEvenSizes(),
    "times_are_the_clips": ComputesTimes(),
    "colours_are_those_of_the_crop": MixesUpColours(),
    "explanations_are_pictures": ExplainsInShares(),
    **DATACLASSES,
}

# Filters --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Large:
    """Keep what is large; an honest filter."""

    min_area: float = 50

    def __call__(self, detections: Detections, clip: Clip) -> Any:
        return detections["area"] >= self.min_area


class ReturnsNumbers(Large):
    def __call__(self, detections: Detections, clip: Clip) -> Any:
        return np.flatnonzero(super().__call__(detections, clip))


class FailsWithoutRows(Large):
    def __call__(self, detections: Detections, clip: Clip) -> Any:
        return detections["area"] >= detections["area"].min()


class ComparesRows(Large):
    def __call__(self, detections: Detections, clip: Clip) -> Any:
        return detections["area"] >= detections["area"].max(initial=0)


class RoundsAreas(Large):
    def __call__(self, detections: Detections, clip: Clip) -> Any:
        detections["area"] = np.floor(detections["area"]) + 1
        return super().__call__(detections, clip)


class ChangesItsMind(Large):
    def __call__(self, detections: Detections, clip: Clip) -> Any:
        return super().__call__(detections, clip) ^ (next(_calls) % 3 == 0)


FILTERS: dict[str, Any] = {
    "it_returns_a_bool_per_row": ReturnsNumbers(),
    "no_rows_are_rows_too": FailsWithoutRows(),
    "other_rows_do_not_matter": ComparesRows(),
    "nothing_is_modified": RoundsAreas(),
    "the_same_rows_get_the_same_answer": ChangesItsMind(),
    **DATACLASSES,
}

# Stores ---------------------------------------------------------------------------------------------------------------


class Honest:
    """A store that hands everything on to one that is right."""

    suffixes: ClassVar[Any] = (".lie",)

    def __init__(self, store: Store, path: str) -> None:
        self.inner, self.path = store, path

    @classmethod
    def recognises(cls, path: str) -> bool:
        return Zarr.recognises(path)

    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Any:
        return cls(Zarr.create(path, attrs=attrs, exclusive=exclusive), path)

    @classmethod
    def open(cls, path: str, mode: str = "r") -> Any:
        return cls(Zarr.open(path, mode), path)

    @property
    def datasets(self) -> dict[str, int]:
        return {"all": len(self)}

    def part_writer(self, parts: int) -> Any:
        return self.inner.part_writer(parts)  # type: ignore[attr-defined]

    def adopt(self, table: Any, places: Any, frames: Any = None) -> None:
        self.inner.adopt(table, places, frames)  # type: ignore[attr-defined]

    @property
    def frame_count(self) -> int:
        return int(self.inner.frame_count)  # type: ignore[attr-defined]

    def table_rows(self, rows: Any) -> Any:
        return self.inner.table_rows(rows)  # type: ignore[attr-defined]

    def frame_log_rows(self, rows: Any) -> Any:
        return self.inner.frame_log_rows(rows)  # type: ignore[attr-defined]

    def column(self, name: str, rows: Any = None) -> Any:
        return self.inner.column(name, rows)  # type: ignore[call-arg]

    def append(self, *batch: Any) -> None:
        self.inner.append(*batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return type(self).open, (self.path,)


class ShoutsItsSuffix(Honest):
    suffixes: ClassVar[Any] = (".LIE",)


class GoesByTheName(Honest):
    @classmethod
    def recognises(cls, path: str) -> bool:
        return path.endswith(".lie")


class SortsRows(Honest):
    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        return self.inner.encoded(sorted(rows))


class DecodesToBgr(Honest):
    def read(self, rows: Sequence[int]) -> list[Image]:
        return [crop[..., ::-1] for crop in self.inner.read(rows)]


class CountsFromTheEnd(Honest):
    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        return self.inner.encoded([row % len(self) for row in rows])


class TakesItsRowsAlong(Honest):
    def __reduce__(self) -> Any:
        return type(self), (self.inner, self.path), {"rows": self.inner.table}


class AppendsToTheOld(Honest):
    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Any:
        if not Path(path).exists():
            return super().create(path, attrs=attrs)
        store = cls.open(path, "a")
        store.set_attrs(attrs or {})
        return store


class TakesAnErrorForNothing(Honest):
    @classmethod
    def recognises(cls, path: str) -> bool:
        try:
            return super().recognises(path)
        except OSError:
            return False


class ReplacesUnasked(Honest):
    @classmethod
    def create(cls, path: str, *, attrs: Mapping[str, Any] | None = None, exclusive: bool = False) -> Any:
        return super().create(path, attrs=attrs)


class TakesWhatFits(Honest):
    def append(self, table: Any, crops: Any, frames: Any = None) -> None:
        self.inner.append(table[: len(crops)], crops[: len(table)], frames)


class WritesEverythingAsText(Honest):
    def set_column(self, name: str, values: Any) -> None:
        self.inner.set_column(name, np.array([str(value) for value in values]))


class FillsWithZeros(Honest):
    def column(self, name: str, rows: Any = None) -> Any:
        found = super().column(name, rows)
        return np.nan_to_num(found) if found.dtype.kind == "f" else found


class KeepsFirstAttrs(Honest):
    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        self.inner.set_attrs({key: value for key, value in attrs.items() if key not in self.inner.attrs})


class LosesTheLastBatch(Honest):
    """It writes a batch when the next one comes, and at a flush."""

    batch: Any = None

    def append(self, *batch: Any) -> None:
        self.flush()
        self.batch = batch

    def flush(self) -> None:
        if self.batch:
            self.inner.append(*self.batch)
            self.inner.flush()
        self.batch = None


class LooksOnce(Honest):
    seen: Any = None

    @property
    def table(self) -> Detections:
        self.seen = self.inner.table if self.seen is None else self.seen
        return np.asarray(self.seen)

    def __len__(self) -> int:
        return len(self.table)


class FlushesWhenItCloses(Honest):
    def __init__(self, store: Store, path: str) -> None:
        super().__init__(store, path)
        self.batches: list[Any] = []

    def append(self, *batch: Any) -> None:
        self.batches.append(batch)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        for batch in self.batches:
            self.inner.append(*batch)
        self.inner.close()


class ForgetsToLengthenColumns(Honest):
    def column(self, name: str, rows: Any = None) -> Any:
        found = super().column(name, rows)
        return found[:0] if name == "label" else found


class MissesARow(Honest):
    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        return self.inner.encoded([row - (row == 29) for row in rows])


class AdoptsByPlace(Honest):
    def adopt(self, table: Any, places: Any, frames: Any = None) -> None:
        super().adopt(table, sorted(places, key=lambda place: place.start), frames)


class SortsTheTable(Honest):
    def table_rows(self, rows: Any) -> Any:
        return super().table_rows(sorted(rows))


class LeavesColumnsBehind(Honest):
    def append(self, *batch: Any) -> None:
        self.inner.append(*batch[:3])


class CountsTwice(Honest):
    @property
    def datasets(self) -> dict[str, int]:
        return {"one": len(self), "other": len(self)}


STORES: dict[str, Any] = {
    "suffixes_are_told": ShoutsItsSuffix,
    "it_recognises_its_own": GoesByTheName,
    "rows_are_read_in_any_order": SortsRows,
    "crops_are_decoded": DecodesToBgr,
    "missing_rows_are_refused": CountsFromTheEnd,
    "a_reader_goes_to_other_processes": TakesItsRowsAlong,
    "an_error_is_no_answer": TakesAnErrorForNothing,
    "what_is_there_is_replaced": AppendsToTheOld,
    "nothing_is_replaced_unasked": ReplacesUnasked,
    "a_broken_batch_is_refused": TakesWhatFits,
    "further_columns_are_kept": WritesEverythingAsText,
    "later_rows_have_no_values_yet": FillsWithZeros,
    "attrs_are_merged": KeepsFirstAttrs,
    "everything_is_there_again": LosesTheLastBatch,
    "readers_see_what_is_committed": LooksOnce,
    "parts_become_rows": AdoptsByPlace,
    "datasets_add_up": CountsTwice,
    "chunks_are_parts_of_the_whole": SortsTheTable,
    "columns_come_with_their_rows": LeavesColumnsBehind,
    "a_kill_costs_what_was_not_flushed": FlushesWhenItCloses,
    "a_kill_leaves_whole_rows": ForgetsToLengthenColumns,
    "it_behaves_as_lists_do": MissesARow,
}

# Classifiers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mean:
    """A model that knows the mean picture of each class."""

    classes: tuple[str, ...]
    means: NDArray[np.float64] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: ClassVar[Preprocessing] = Preprocessing(size=12, cut=12, rotation=0)

    def scores(self, images: Image) -> NDArray[np.float64]:
        pixels = images.reshape(len(images), 1, self.means.shape[1]) / 255
        return np.asarray(-((pixels - self.means) ** 2).sum(axis=2))

    def with_engine(self, engine: str) -> Self:
        return self

    def save(self, folder: Any, facts: Mapping[str, Any]) -> None:
        np.savez(Path(folder) / "means.npz", means=self.means, classes=self.classes, facts=json.dumps(dict(facts)))


@dataclass(frozen=True)
class Nearest:
    """The class whose mean picture is nearest; an honest classifier."""

    seed: int = 0
    model: ClassVar[type[Mean]] = Mean
    suffixes: ClassVar[Any] = (".npz",)

    @classmethod
    def recognises(cls, path: str) -> bool:
        return zipfile.is_zipfile(path)

    def ready(self, device: str) -> None:
        pass

    @property
    def preprocessing(self) -> Preprocessing:
        return Mean.preprocessing

    def fit(
        self,
        train: Samples,
        validation: Samples,
        *,
        classes: Sequence[str],
        checkpoint: str | None = None,
        device: str = "auto",
        notify: Notify | None = None,
    ) -> Any:
        file = Path(checkpoint) if checkpoint else None
        means = np.load(file) if file and file.exists() else self.means(train, len(classes))
        if file:
            with file.open("wb") as opened:
                np.save(opened, means)
        self.tell(notify)
        return self.model(tuple(classes), means)

    def means(self, train: Samples, classes: int) -> NDArray[np.float64]:
        pixels, labels = train.images[train.rows] / 255, train.labels[train.rows]
        return np.stack([pixels[labels == label].mean(axis=0).ravel() for label in range(classes)])

    def tell(self, notify: Notify | None) -> None:
        if notify:
            notify(Epoch(1, 1, 10, 10, 0.0, 1.0, 0.0, 1.0))

    @classmethod
    def load(cls, path: str, *, classes: Sequence[str] = ()) -> Any:
        with np.load(Path(path) / "means.npz") as file:
            return cls.model(tuple(file["classes"].tolist()), file["means"], json.loads(str(file["facts"])))


class ReturnsWeights(Nearest):
    def fit(self, *samples: Any, **options: Any) -> Any:
        return super().fit(*samples, **options).means


class ThrowsDice(Nearest):
    def means(self, train: Samples, classes: int) -> NDArray[np.float64]:
        return super().means(train, classes) + np.random.default_rng().normal(0, 0.1, (classes, 1))


class BeginsAnew(Nearest):
    def fit(self, *samples: Any, checkpoint: str | None = None, **options: Any) -> Any:
        return super().fit(*samples, **options)


class ScalesInPlace(Nearest):
    def means(self, train: Samples, classes: int) -> NDArray[np.float64]:
        train.images[...] = train.images // 2
        return super().means(train, classes)


class LearnsFromAll(Nearest):
    def means(self, train: Samples, classes: int) -> NDArray[np.float64]:
        return super().means(replace(train, rows=np.arange(len(train.images))), classes)


class SaysNothing(Nearest):
    def tell(self, notify: Notify | None) -> None:
        pass


class HasOneColumn(Mean):
    def scores(self, images: Image) -> NDArray[np.float64]:
        return super().scores(images)[:, 1:]


class WantsCrops(Mean):
    def scores(self, images: Image) -> NDArray[np.float64]:
        return super().scores(images) if len(images) else np.empty(0)


class ComparesCrops(Mean):
    def scores(self, images: Image) -> NDArray[np.float64]:
        found = super().scores(images)
        return np.asarray(found - found.mean(axis=0))


class SavesNoFacts(Mean):
    def save(self, folder: Any, facts: Mapping[str, Any]) -> None:
        super().save(folder, {})


class LosesWeightsOnTheWay(Mean):
    def __reduce__(self) -> Any:
        return type(self), (self.classes, self.means * 0)


class RoundsElsewhere(Mean):
    def with_engine(self, engine: str) -> Self:
        return replace(self, means=np.round(self.means, 1))


class HidesAnotherLayer(Mean):
    def embed(self, images: Image) -> NDArray[np.float32]:
        return np.asarray(super().scores(images), np.float32)

    @property
    def last_layer(self) -> Any:
        return np.eye(2, dtype=np.float32), np.arange(2, dtype=np.float32)

    def with_last_layer(self, weights: Any, biases: Any) -> Self:
        return self


class ShoutsItsFiles(Nearest):
    suffixes: ClassVar[Any] = (".NPZ",)


class TakesAnyFile(Nearest):
    @classmethod
    def recognises(cls, path: str) -> bool:
        return True


class WantsAGpu(Nearest):
    def ready(self, device: str) -> None:
        if device != "cuda":
            raise ParameterError("no GPU")


def _with(model: type[Mean]) -> Any:
    return type(f"Of{model.__name__}", (Nearest,), {"model": model})()


CLASSIFIERS: dict[str, Any] = {
    "it_learns_a_model": ReturnsWeights(),
    "the_same_seed_gives_the_same_model": ThrowsDice(),
    "a_training_goes_on": BeginsAnew(),
    "its_arrays_stay_as_they_are": ScalesInPlace(),
    "other_rows_are_not_looked_at": LearnsFromAll(),
    "epochs_are_told": SaysNothing(),
    "scores_have_a_column_for_each_class": _with(HasOneColumn),
    "no_crops_have_no_scores": _with(WantsCrops),
    "other_crops_do_not_matter": _with(ComparesCrops),
    "a_saved_model_is_the_same": _with(SavesNoFacts),
    "a_pickled_model_is_the_same": _with(LosesWeightsOnTheWay),
    "engines_agree": _with(RoundsElsewhere),
    "the_last_layer_is_linear": _with(HidesAnotherLayer),
    "suffixes_are_in_small_letters": ShoutsItsFiles(),
    "other_files_are_not_recognised": TakesAnyFile(),
    "it_is_ready_where_it_learns": WantsAGpu(),
    **DATACLASSES,
}

# Recordings -----------------------------------------------------------------------------------------------------------


def write_stack(folder: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (12, 9, 16, 3), np.uint8)
    np.save(folder / "recording.npy", frames)
    return folder / "recording.npy"


class Stack:
    """Frames of an ``.npy`` file, of which number 4 does not decode; an honest reader."""

    width, height, name = 16, 9, "recording.npy"

    def __init__(self, path: str) -> None:
        self.frames = np.load(path)

    @classmethod
    def opener(cls, path: str) -> Any:
        return cls(path) if path.endswith(".npy") else None

    @property
    def times(self) -> NDArray[np.float64]:
        return np.arange(len(self.frames)) / 25

    @property
    def keyframes(self) -> NDArray[np.int64]:
        return np.array([0, 6])

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def picture(self, number: int) -> Any:
        return RgbPicture(self.frames[number])

    def read(self, start: int, stop: int) -> Iterator[Any]:
        for number in range(start, stop):
            yield None if number == 4 else self.picture(number)

    def close(self) -> None:
        pass


class OpensAPath(Stack):
    @classmethod
    def opener(cls, path: str) -> Any:
        return Path(path)


class CountsWhatDecodes(Stack):
    @property
    def times(self) -> NDArray[np.float64]:
        return np.arange(len(self.frames) - 3) / 25


class CountsBackwards(Stack):
    @property
    def times(self) -> NDArray[np.float64]:
        return super().times[::-1]


class StopsSilently(Stack):
    def read(self, start: int, stop: int) -> Iterator[Any]:
        return itertools.takewhile(lambda picture: picture is not None, super().read(start, stop))


class GoesOnReading(Stack):
    """It reads on from where the last reading ended."""

    place = 0

    def read(self, start: int, stop: int) -> Iterator[Any]:
        for _ in range(start, stop):
            self.place = (self.place + 1) % len(self.frames)
            yield self.picture(self.place)


class CutsTheEdge(Stack):
    def picture(self, number: int) -> Any:
        return RgbPicture(self.frames[number][:-1])


class Swapped(RgbPicture):
    def rgb(self, box: Box, out: Image | None = None) -> Image:
        x, y, width, height = box
        return super().rgb((x and x - 1, y, width, height), out)


class ShiftsBoxes(Stack):
    def picture(self, number: int) -> Any:
        return Swapped(self.frames[number])


class NamesTheHour(Stack):
    def identity(self) -> dict[str, Any]:
        return {"opened": time.perf_counter_ns()}


class ClosesOnce(Stack):
    def close(self) -> None:
        del self.frames


class TakesEverything(Stack):
    @classmethod
    def opener(cls, path: str) -> Any:
        return cls(path)


class KeepsItsPlace(Stack):
    """It reads one recording at a time."""

    place = 0

    def read(self, start: int, stop: int) -> Iterator[Any]:
        self.place = start
        for _ in range(start, stop):
            yield None if self.place == 4 else self.picture(self.place)
            self.place += 1


suffixes = (".npy",)
elsewhere = ModuleType("elsewhere")
vars(elsewhere)["suffixes"] = (".raw",)
sys.modules["elsewhere"] = elsewhere


def named_otherwise(path: str) -> Any:
    return Stack.opener(path)


named_otherwise.__module__ = "elsewhere"


def takes_a_range_in_silence(path: str, value_range: Any) -> Any:
    return Stack.opener(path)


VIDEOS: dict[str, Any] = {
    "it_opens_a_recording": OpensAPath.opener,
    "every_frame_has_a_time": CountsWhatDecodes.opener,
    "times_increase": CountsBackwards.opener,
    "every_number_gives_an_item": StopsSilently.opener,
    "any_frame_can_be_read_first": GoesOnReading.opener,
    "pictures_have_the_videos_size": CutsTheEdge.opener,
    "a_box_is_part_of_the_frame": ShiftsBoxes.opener,
    "identity_is_json": NamesTheHour.opener,
    "what_it_is_told_is_in_its_identity": takes_a_range_in_silence,
    "it_closes_twice": ClosesOnce.opener,
    "other_files_are_not_its_own": TakesEverything.opener,
    "suffixes_name_its_recordings": named_otherwise,
    "readings_go_on_side_by_side": KeepsItsPlace.opener,
}
