"""Labelled crops as arrays: stores and labels in, one compact cache of prepared crops out."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.origin import Origin, origin_of
from spatterlib.common.wording import counted
from spatterlib.errors import ParameterError
from spatterlib.learning.crop_cache import BATCH, allocate, decoded_batches
from spatterlib.learning.gas_direction import common_direction, estimated, is_mirrored
from spatterlib.learning.labels import Labelled, labelled, sorted_classes
from spatterlib.learning.looks import STREAK_SUMS, looks_of, mirrored
from spatterlib.plugins.classifier import Preprocessing
from spatterlib.stores.opening import is_simulated, open_store
from spatterlib.types import DETECTION, Detections, Image, Store

__all__ = ["GROUPS", "Data", "DataSource", "Dataset", "load_dataset"]

log = logging.getLogger("spatterlib")

Data: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[Any, Any] | Dataset"

GROUPS = ("recording", "video", "camera")
"""Groups that are looked for in every store: a column or an entry of `attrs` of that name."""

# So many times as many crops make a label that is nearly the same look like what was meant.
_MANY = 20


@dataclass(frozen=True)
class DataSource:
    """One store of a dataset.

    Parameters
    ----------
    path : str
        The store.
    digest : str
        SHA-256 over the encoded crops and labels that were taken from it.
    crops : int
        How many of its crops the dataset holds.
    video : dict
        Identity of the recording, if the store knows it.
    simulated : bool or None
        True: the recording is marked as simulated; None: nothing says what it is.
    detector, filters : dict and list of dict, or None
        What its crops were found with; None: the store does not say.
    gas_direction : float or None
        Degrees, where the gas flows to as the camera sees it: as the store says it, else as its streaks tell.
    """

    path: str
    digest: str
    crops: int
    video: Mapping[str, Any] = field(default_factory=dict)
    simulated: bool | None = None
    detector: Mapping[str, Any] | None = None
    filters: Sequence[Mapping[str, Any]] | None = None
    gas_direction: float | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled, prepared crops of one or several stores.

    Parameters
    ----------
    images : ndarray
        ``(n, size, size, channels)`` uint8, in memory or mapped from a file that vanishes with the process.
    labels : ndarray
        ``(n,)`` int64, index into `classes`.
    classes : tuple of str
        Sorted; numbers by value.
    table : ndarray
        ``(n,)`` `DETECTION`.
    features : ndarray
        ``(n, 11)`` float32, see `FEATURES`.
    groups : dict
        Group of each crop by the group's name: ``(n,)`` text; always "recording" and "video".
    source, row : ndarray
        ``(n,)`` int64: which of `sources`, and the row in that store.
    sources : tuple of DataSource
        The stores.
    preprocessing : Preprocessing
        How `images` were prepared.
    dropped : dict
        Crops left out by class and reason: ``{"low": {"black": 3, "undecodable": 0}}``.
    looks : ndarray
        ``(n, len(LOOKS))`` float32, see `spatterlib.learning.looks`.
    gas_direction : float or None
        Degrees, where the gas flows to in all `images`: those of recordings from the other side are mirrored. None:
        not known of all, or not the same, and none is mirrored.
    """

    images: Image
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    table: Detections
    features: NDArray[np.float32]
    groups: Mapping[str, NDArray[np.str_]]
    source: NDArray[np.int64]
    row: NDArray[np.int64]
    sources: tuple[DataSource, ...]
    preprocessing: Preprocessing
    dropped: Mapping[str, Mapping[str, int]]
    looks: NDArray[np.float32]
    gas_direction: float | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def origin(self) -> Origin:
        """Whether its recordings are simulated, partly simulated, or do not say."""
        return origin_of(source.simulated for source in self.sources)

    @property
    def simulated(self) -> bool | None:
        """True: all of it is simulated; None: not known of all, see `origin`."""
        return True if self.origin == "simulated" else None

    @property
    def counts(self) -> dict[str, int]:
        """Crops by class."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, map(int, numbers), strict=True))

    def group(self, name: str) -> NDArray[np.str_]:
        """``(n,)`` text, the group of each crop.

        Raises
        ------
        ParameterError
            If the stores do not all say it.
        """
        if name not in self.groups:
            known = ", ".join(self.groups)
            raise ParameterError(
                f"not every store says the {name!r} of its crops; known are {known}; "
                f"add a column {name!r} to each store, or group by one of these"
            )
        return self.groups[name]


def load_dataset(
    data: Data,
    preprocessing: Preprocessing,
    *,
    label: str = "label",
    groups: Sequence[str] = (),
    ratio: Mapping[str, float] | None = None,
    black: int = 40,
    budget: int = 1 << 30,
    folder: str | None = None,
    seed: int = 1234,
    gas_direction: float | None = None,
) -> Dataset:
    """Read, decode and prepare labelled crops, each once.

    Parameters
    ----------
    data : dict, path, sequence of paths or Dataset
        ``{store: label}``; stores with a column of labels; or a CSV index (``file,dataset,ds_idx,label``).
    preprocessing : Preprocessing
        What is to become of the crops.
    label : str
        Name of the column of labels.
    groups : sequence of str
        Names of further groups, which every store must know as a column or in its attrs.
    ratio : dict, optional
        Crops by class, relative to each other: ``{"low": 1, "high": 2}``; what is too much is left out at random.
    black : int
        Grey levels 0-255; a crop whose brightest pixel lies below is left out. 0 keeps all.
    budget : int
        Bytes; a larger cache goes to disk.
    folder : str, optional
        Where that file lies; the system's folder for temporary files by default. It is removed at the end.
    seed : int
        Of what `ratio` leaves out.
    gas_direction : float, optional
        Degrees, where the gas is to flow to in all images, if mirroring can bring that about; by default as in the
        first recording.

    Returns
    -------
    Dataset

    Raises
    ------
    ParameterError
        If there is one class only, labels contradict each other, or a store does not say its group.
    StoreError
        If a store is empty.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.learning.dataset import load_dataset
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> frames = np.zeros((9, 120, 160, 3), np.uint8)
    >>> for name, level in (("low", 255), ("high", 200)):
    ...     frames[1::2, 30:90, 40:100] = level
    ...     np.save(folder / f"{name}.npy", frames)
    ...     _ = sp.extract(folder / f"{name}.npy", folder / f"{name}.h5")
    >>> how = sp.make("classifier", "lenet5").preprocessing
    >>> data = load_dataset({folder / "low.h5": "low", folder / "high.h5": "high"}, how)
    >>> data.counts
    {'high': 4, 'low': 4}
    """
    if isinstance(data, Dataset):
        return data
    if not 0 <= black <= 255:
        raise ParameterError(f"black is a grey level from 0 to 255, got {black}")
    wanted = labelled(data, label)
    classes = sorted_classes(name for item in wanted for name in np.unique(item.labels) if name)
    _check_classes(classes, wanted)
    _check_names(classes, wanted)
    ratio = None if ratio is None else {str(name): float(share) for name, share in ratio.items()}
    _check_ratio(ratio, classes)
    total = sum(int((item.labels != "").sum()) for item in wanted)
    cache = _Cache(allocate((total, *preprocessing.shape), budget, folder), classes)
    for number, item in enumerate(wanted):
        with open_store(item.path) as store:
            cache.add(number, item, store, groups, preprocessing, black)
    return _with_ratio(cache.dataset(preprocessing, gas_direction), ratio, seed)


def _check_names(classes: tuple[str, ...], wanted: Sequence[Labelled]) -> None:
    """Refuse labels that are the same but for case and spaces; say which look like a typing error."""
    alike: dict[str, str] = {}
    for name in classes:
        other = alike.setdefault(" ".join(name.split()).casefold(), name)
        if other != name:
            raise ParameterError(
                f"labels {other!r} and {name!r} differ in nothing but case and spaces; write them the same way"
            )
    counts = {name: sum(int((item.labels == name).sum()) for item in wanted) for name in classes}
    for name in classes:
        others = [other for other in classes if counts[other] >= _MANY * counts[name]]
        near = get_close_matches(name, others, 1) if name.isalpha() else []
        if near:
            log.warning(
                "%s labelled %r, beside %d labelled %r: a typing error?",
                counted(counts[name], "crop is", "crops are"),
                name,
                counts[near[0]],
                near[0],
            )


def _check_classes(classes: tuple[str, ...], wanted: Sequence[Labelled]) -> None:
    if len(classes) < 2:
        present = f"only {classes[0]!r}" if classes else "no label at all"
        raise ParameterError(
            f"a classifier needs two classes or more, found {present} in {', '.join(item.path for item in wanted)}; "
            "add stores or rows with another label"
        )


class _Cache:
    """What a dataset is collected in, store by store."""

    def __init__(self, images: Image, classes: tuple[str, ...]) -> None:
        self.images, self.classes, self.filled = images, classes, 0
        self.parts: dict[str, list[Any]] = {name: [] for name in ("labels", "table", "features", "source", "row")}
        self.groups: list[dict[str, NDArray[np.str_]]] = []
        self.sources: list[DataSource] = []
        self.streaks: list[NDArray[np.float32] | None] = []
        self.dropped = {name: {"black": 0, "undecodable": 0} for name in classes}

    def add(
        self,
        number: int,
        item: Labelled,
        store: Store,
        groups: Sequence[str],
        preprocessing: Preprocessing,
        black: int,
    ) -> None:
        """Decode and keep the labelled crops of one store."""
        use = np.flatnonzero(item.labels != "")
        rows, names = item.rows[use], item.labels[use]
        digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass"))
        table = store.table[rows]
        first, kept = self.filled, np.zeros(len(rows), bool)
        for part, batch in decoded_batches(store, rows, table["frame"], preprocessing, digest):
            keep = batch.peaks >= black
            kept[part] = keep
            stop = self.filled + int(keep.sum())
            self.images[self.filled : stop] = batch.images[keep]
            self.parts["features"].append(batch.features[keep])
            self.streaks += [sums for sums, kept_one in zip(batch.streaks, keep, strict=True) if kept_one]
            self._count(names[part], batch.peaks, black)
            self.filled = stop
        table = table[kept]
        self.parts["labels"].append(_numbers(names[kept], self.classes))
        self.parts["table"].append(table)
        self.parts["row"].append(rows[kept])
        self.parts["source"].append(np.full(len(table), number, np.int64))
        self.groups.append(_groups(store, item.path, rows[kept], groups))
        attrs = store.attrs
        if attrs.get("complete") is False:
            log.warning("%s is not complete (%s): what it holds is learned from", item.path, attrs.get("state"))
        video = attrs.get("video") or {}
        marked = is_simulated(attrs) or None
        looked = (attrs.get("detector"), attrs.get("filters"))
        said = attrs.get("gas_direction")
        direction = estimated(_sums(self.streaks[first:])) if said is None else float(said)
        self.sources.append(
            DataSource(item.path, digest.hexdigest(), self.filled - first, video, marked, *looked, direction)
        )

    def _count(self, names: NDArray[np.str_], peaks: NDArray[np.int64], black: int) -> None:
        for name, reason, mask in (
            *((name, "undecodable", peaks < 0) for name in np.unique(names)),
            *((name, "black", (peaks >= 0) & (peaks < black)) for name in np.unique(names)),
        ):
            self.dropped[name][reason] += int((mask & (names == name)).sum())

    def _turn(self, own: NDArray[np.bool_], *, turn: bool) -> None:
        """Mirror the crops of a recording, and what was seen of their streaks."""
        for start in range(0, self.filled if turn else 0, BATCH):
            rows = start + np.flatnonzero(own[start : start + BATCH])
            self.images[rows] = self.images[rows][:, :, ::-1]
            for row in rows:
                self.streaks[row] = mirrored(self.streaks[row])

    def dataset(self, preprocessing: Preprocessing, wanted: float | None) -> Dataset:
        """Everything that was added."""
        joined = {name: np.concatenate(parts) for name, parts in self.parts.items()}
        shared = [name for name in self.groups[0] if all(name in groups for groups in self.groups)]
        groups = {name: np.concatenate([part[name] for part in self.groups]) for name in shared}
        counts = np.bincount(joined["labels"], minlength=len(self.classes))
        if not counts.all():
            empty = self.classes[int(np.argmin(counts))]
            raise ParameterError(
                f"no crop of class {empty!r} is left: {self.dropped[empty]}; look at the store, or lower black"
            )
        direction = common_direction([source.gas_direction for source in self.sources])
        if None not in (direction, wanted) and is_mirrored(direction, wanted) is not None:  # type: ignore[arg-type]
            direction = wanted
        for number, source in enumerate(self.sources):
            if direction is not None and source.gas_direction is not None:
                self._turn(joined["source"] == number, turn=is_mirrored(source.gas_direction, direction) or False)
        images = self.images[: self.filled]
        return Dataset(
            images,
            **joined,
            looks=looks_of(images, joined["table"], self.streaks),
            gas_direction=direction,
            groups=groups,
            classes=self.classes,
            sources=tuple(self.sources),
            preprocessing=preprocessing,
            dropped=self.dropped,
        )


def _sums(streaks: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float64]:
    return np.array([sums for sums in streaks if sums is not None], np.float64).reshape(-1, len(STREAK_SUMS))


def _numbers(names: NDArray[np.str_], classes: tuple[str, ...]) -> NDArray[np.int64]:
    known = {name: number for number, name in enumerate(classes)}
    return np.array([known[name] for name in names], np.int64)


def _groups(store: Store, path: str, rows: NDArray[np.int64], asked: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Groups that a store knows, as columns or in its attrs; recording and video at any rate."""
    attrs, groups = store.attrs, {}
    video = attrs.get("video") or {}
    known = {"video": video.get("digest") or video.get("name") or path}
    known["recording"] = known["video"]
    for name in dict.fromkeys([*GROUPS, *asked]):
        if name in store.columns:
            groups[name] = store.column(name)[rows].astype(np.str_)
        elif name in attrs and not isinstance(attrs[name], Mapping):
            groups[name] = np.full(len(rows), str(attrs[name]))
        elif name in known:
            groups[name] = np.full(len(rows), known[name])
        elif name in asked:
            further = [column for column in store.columns if column not in (DETECTION.names or ())]
            raise ParameterError(
                f"{path} has no column and no attribute {name!r} to group by; it has "
                f"{', '.join(further) or 'no further columns'}; add one with set_column, or group by 'video'"
            )
    return groups


def _check_ratio(ratio: Mapping[str, float] | None, classes: Sequence[str]) -> None:
    if ratio is not None and (set(ratio) != set(classes) or not all(0 < share < math.inf for share in ratio.values())):
        raise ParameterError(f"ratio needs a number above 0 for each of {', '.join(classes)}, got {dict(ratio)}")


def _with_ratio(data: Dataset, ratio: Mapping[str, float] | None, seed: int) -> Dataset:
    """Leave out at random what is too much of a class; the cache is compacted in place."""
    if ratio is None:
        return data
    _check_ratio(ratio, data.classes)
    unit = min(data.counts[name] / ratio[name] for name in data.classes)
    random, chosen = np.random.default_rng(seed), []
    for number, name in enumerate(data.classes):
        rows = np.flatnonzero(data.labels == number)
        chosen.append(random.choice(rows, max(1, round(unit * ratio[name])), replace=False))
    return _only(data, np.sort(np.concatenate(chosen)))


def _only(data: Dataset, rows: NDArray[np.int64]) -> Dataset:
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        data.images[start : start + len(part)] = data.images[part]
    return Dataset(
        data.images[: len(rows)],
        data.labels[rows],
        data.classes,
        data.table[rows],
        data.features[rows],
        {name: group[rows] for name, group in data.groups.items()},
        data.source[rows],
        data.row[rows],
        data.sources,
        data.preprocessing,
        data.dropped,
        data.looks[rows],
        data.gas_direction,
    )
