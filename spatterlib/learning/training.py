"""From labelled stores to a run folder with a trained, calibrated model."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import check_room, write_text
from spatterlib.common.progress import report_kernels
from spatterlib.common.wording import counted
from spatterlib.detection.events import VOTE_SECONDS, events, vote_numbers
from spatterlib.errors import ParameterError
from spatterlib.learning import runs, splits
from spatterlib.learning.callbacks import Curves, check_logger, default_loggers, epoch_bar, epoch_lines, logger
from spatterlib.learning.dataset import GROUPS, Data, Dataset, load_dataset
from spatterlib.learning.familiar_spans import FamiliarSpans, Part, parts_of
from spatterlib.learning.layer_record import LayerRecord, held_out_layers
from spatterlib.learning.metrics import Metrics, metrics_of, temperature_of
from spatterlib.learning.model_card import model_card
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.run_facts import DataSourceFields, DataSpec, RunFacts, SplitFields
from spatterlib.learning.runs import Run, run_folder
from spatterlib.learning.splits import Split, SplitName
from spatterlib.plugins.capabilities import HasSeed, SupportsReady
from spatterlib.plugins.classifier import Classifier, Epoch, Model, Notify, Samples
from spatterlib.plugins.registry import identity, make

__all__ = ["Fitted", "fit_split", "split_of", "train"]

log = logging.getLogger("spatterlib")


def train(
    data: Data,
    classifier: str | Mapping[str, Any] | Classifier = "lenet5",
    *,
    out: str | os.PathLike[str] = "runs",
    split: SplitName | Literal["auto"] = "auto",
    group: str = "auto",
    label: str = "label",
    ratio: Mapping[str, float] | None = None,
    black: int = 40,
    budget: int = 1 << 30,
    purge: float | None = None,
    device: str = "auto",
    resume: bool = True,
    callbacks: Sequence[str | Notify] = (),
    progress: bool | None = None,
    **parameters: Any,
) -> Run:
    """Train a classifier on labelled crops; leaves a run folder.

    A training that was killed goes on from its last whole epoch when it is called again with the same data and
    settings, and ends with the same weights.

    Parameters
    ----------
    data : dict, path, sequence of paths or Dataset
        ``{store: label}``; stores with a column of labels; or a CSV index (``file,dataset,ds_idx,label``).
    classifier : str, dict or object
        Id, identity or instance.
    out : path
        Folder of runs; the run gets a folder of its own in it.
    split : {"auto", "original", "grouped", "time"}
        What is held back for validation and test: random crops, as published; whole groups; blocks of time. "auto" is
        grouped where the data allow, else original.
    group : str
        What is kept together in a grouped split: "recording", "video", "camera", or any column or attribute of the
        stores. "auto" is the first of the three that allows a split and keeps every recording whole.
    label : str
        Name of the column of labels.
    ratio : dict, optional
        Crops by class, relative to each other; what is too much is left out at random.
    black : int
        Grey levels 0-255; crops whose brightest pixel lies below are left out. 0 keeps all.
    budget : int
        Bytes of decoded crops held in memory; more go to disk.
    purge : float, optional
        S, gap of a time split; see `spatterlib.learning.splits.timed`.
    device : str
        "auto" (a GPU where PyTorch finds one), "cpu", "cuda", ...
    resume : bool
        Go on with an unfinished run of the same data and settings.
    callbacks : sequence of callable or str
        Called with a `spatterlib.plugins.classifier.Epoch` after each batch; "tensorboard" and "mlflow" by name.
    progress : bool, optional
        A bar or lines; by default a bar on a terminal.
    **parameters
        Fields of the classifier, such as ``epochs=5, colour="rgb"``.

    Returns
    -------
    Run
        Frozen; has `classes`, `preprocessing`, ``probabilities(crops)``, `path` and `facts`.

    Raises
    ------
    MissingFileError
        If a store or index is not there.
    StoreError
        If a store is empty or the run folder cannot be written.
    ParameterError
        If there is one class only, labels contradict each other, or there are not enough groups.

    Examples
    --------
    >>> import spatterlib as sp
    >>> model = sp.train({"low.zarr": "low", "high.zarr": "high"}, "lenet5", out="runs/")  # doctest: +SKIP
    >>> model.facts["metrics"]["test"]["accuracy"]  # doctest: +SKIP
    0.97
    """
    began = time.perf_counter()
    chosen: Classifier = make("classifier", classifier, **parameters)
    for callback in callbacks:
        if isinstance(callback, str):
            check_logger(callback)
    check_room(out)
    check_fit(chosen, device, purge)
    seed = seed_of(chosen)
    asked = (group,) if group != "auto" else ()
    dataset = load_dataset(
        data, chosen.preprocessing, label=label, groups=asked, ratio=ratio, black=black, budget=budget, seed=seed
    )
    parts = split_of(dataset, split, group, seed, purge)
    _check_parts(dataset, parts)
    facts = _facts(chosen, dataset, parts, data, seed)
    facts["options"] = {"group": group, "label": label, "ratio": ratio, "black": black, "purge": purge}
    with run_folder(Path(out), facts, resume=resume) as folder:
        tell = _listeners(callbacks, folder, facts, progress)
        checkpoint = str(folder / runs.CHECKPOINT)
        fitted = fit_split(chosen, dataset, parts, checkpoint=checkpoint, device=device, notify=tell)
        fitted.run.save(folder)
        familiar_with(dataset, parts, seed).save(folder)
        facts |= fitted.facts()
        record = held_out_record(fitted.run, dataset, parts)
        facts["layers"] = record.facts() if record else None
        facts |= {"state": "complete", "seconds": time.perf_counter() - began}
        write_text(folder / "MODEL_CARD.md", model_card(folder.name, facts))
        runs.write_facts(folder, facts)
        (folder / runs.CHECKPOINT).unlink(missing_ok=True)
    return Run(fitted.run.model, str(folder), facts)


def familiar_with(data: Dataset, split: Split, seed: int) -> Familiar:
    """What the crops of a training looked like, and its recordings."""
    held_back = np.concatenate([split.validation, split.test])
    names, recording = np.unique(data.group("recording"), return_inverse=True)
    parts: list[Part] = []
    timed = np.isfinite(data.table["time"]) & (data.table["frame"] >= 0)
    for number in range(len(names)):
        for label in range(len(data.classes)):
            rows = np.flatnonzero((recording == number) & (data.labels == label) & timed)
            table = data.table[rows]
            vote = vote_numbers(table["time"], events(table).number, VOTE_SECONDS)
            parts += parts_of(data.looks[rows], vote, number, label)
    familiar = Familiar.of(data.images, split.train, held_back, seed)
    return replace(familiar, spans=FamiliarSpans.of(parts, data.classes))


def check_fit(classifier: Classifier, device: str, purge: float | None) -> None:
    """Refuse, before crops are decoded, what keeps a training from beginning.

    Raises
    ------
    ParameterError
        If `purge` is no number of seconds, or the device is missing.
    SpatterlibError
        If a package is missing.
    """
    if purge is not None and not 0 <= purge < math.inf:
        raise ParameterError(f"purge must be 0 s or more, got {purge!r}")
    if isinstance(classifier, SupportsReady):
        classifier.ready(device)


def seed_of(classifier: Classifier) -> int:
    """What divides the data: the classifier's own seed, if it has one."""
    return classifier.seed if isinstance(classifier, HasSeed) else 1234


def split_of(
    data: Dataset,
    split: SplitName | Literal["auto"] = "auto",
    group: str = "auto",
    seed: int = 1234,
    purge: float | None = None,
) -> Split:
    """Divide a dataset; see `train` for the parameters.

    Raises
    ------
    ParameterError
        If the split is unknown or the data do not allow it.
    """
    if split not in ("auto", "original", "grouped", "time"):
        raise ParameterError(f"split must be 'auto', 'original', 'grouped' or 'time', got {split!r}")
    if split == "time":
        return splits.timed(data.labels, data.group("video"), data.table["time"], seed, purge=purge)
    by = _group_of(data, group)
    if split == "original" or (split == "auto" and not splits.possible_groups(data.labels, data.group(by))):
        return splits.original(data.labels, seed)
    found = splits.grouped(data.labels, data.group(by), seed, by=by, classes=data.classes)
    recordings = data.group("recording")
    both = np.intersect1d(recordings[found.train], recordings[found.test])
    if len(both):
        log.warning(
            "%s in training and in test, because groups by %r cut through it, such as %s: the test says little about "
            "a new recording",
            counted(len(both), "recording lies", "recordings lie"),
            by,
            both[0],
        )
        return replace(found, by=f"{by}, recordings on both sides")
    return found


def _group_of(data: Dataset, group: str) -> str:
    """The group asked for, or the first that allows a split and keeps recordings whole, or "recording"."""
    if group != "auto":
        data.group(group)
        return group
    whole = [name for name in GROUPS if name in data.groups and not _cuts(data, name)]
    return next((name for name in whole if splits.possible_groups(data.labels, data.groups[name])), "recording")


def _cuts(data: Dataset, name: str) -> bool:
    """Whether crops of one recording lie in several groups of that name."""
    pairs = np.unique(np.stack([data.group("recording"), data.group(name)], axis=1), axis=0)
    return len(pairs) > len(np.unique(pairs[:, 0]))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model trained on one split, and how good it is.

    Parameters
    ----------
    run : Run
        The model with the temperature that calibrates it on the validation crops.
    validation, test : Metrics
        On these parts.
    epochs : tuple of Epoch
        Every epoch at its end.
    """

    run: Run
    validation: Metrics
    test: Metrics
    epochs: tuple[Epoch, ...]

    @property
    def best(self) -> int:
        """Number of the epoch whose weights were kept; 0 if the classifier tells of none."""
        accuracies = [epoch.validation_accuracy for epoch in self.epochs]
        return 1 + int(np.argmax(accuracies)) if accuracies else 0

    def facts(self) -> RunFacts:
        """JSON-able."""
        return {
            "temperature": self.run.temperature,
            "best_epoch": self.best,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "metrics": {"validation": self.validation.facts(), "test": self.test.facts()},
        }


def fit_split(
    classifier: Classifier,
    data: Dataset,
    split: Split,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    notify: Notify | None = None,
) -> Fitted:
    """Train on one split of a dataset and measure on its other parts."""
    epochs: list[Epoch] = []

    def tell(epoch: Epoch) -> None:
        if epoch.ended:
            epochs.append(epoch)
        if notify:
            notify(epoch)

    _check_parts(data, split)
    model = classifier.fit(
        Samples(data.images, data.labels, split.train),
        Samples(data.images, data.labels, split.validation),
        classes=data.classes,
        checkpoint=checkpoint,
        device=device,
        notify=tell,
    )
    scores = scores_of(model, data, split.validation)
    calibrated = Run(model).with_temperature(temperature_of(scores, data.labels[split.validation]))
    validation, test = (measure_rows(calibrated, data, rows) for rows in (split.validation, split.test))
    return Fitted(calibrated, validation, test, tuple(epochs))


def _check_parts(data: Dataset, split: Split) -> None:
    for part in ("train", "validation", "test"):
        counts = np.bincount(data.labels[getattr(split, part)], minlength=len(data.classes))
        if not counts.all():
            name = data.classes[int(np.argmin(counts))]
            raise ParameterError(
                f"the {part} part has no crop of class {name!r} ({counted(len(data), 'crop')} in all); add crops of it"
            )


def scores_of(model: Model, data: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(len(rows), classes)`` scores, a few thousand crops at a time."""
    parts = [model.scores(data.images[rows[start : start + 4096]]) for start in range(0, len(rows), 4096)]
    return np.concatenate([np.empty((0, len(data.classes))), *parts])


def measure_rows(run: Run, data: Dataset, rows: NDArray[np.int64]) -> Metrics:
    """How good a run is on some rows of a dataset, with intervals from how recordings differ."""
    return metrics_of(
        scores_of(run.model, data, rows),
        data.labels[rows],
        data.group("recording")[rows],
        temperature=run.temperature,
    )


def held_out_record(run: Run, data: Dataset, split: Split) -> LayerRecord | None:
    """What the layers of recordings that had no part in a training say of it; None where there are too few of them."""
    recording = data.group("recording")
    rows = np.concatenate([split.validation, split.test])
    rows = np.sort(rows[~np.isin(recording[rows], np.unique(recording[split.train]))])
    probabilities = run.calibrated(scores_of(run.model, data, rows))
    found = []
    for name in np.unique(recording[rows]):
        own = recording[rows] == name
        found += held_out_layers(str(name), data.table[rows[own]], data.labels[rows[own]], probabilities[own])
    return LayerRecord.of(found)


def _facts(classifier: Classifier, data: Dataset, split: Split, given: Data, seed: int) -> RunFacts:
    """Everything about a training that is known before it begins."""
    chosen = identity(classifier)
    sources = [cast("DataSourceFields", asdict(source)) for source in data.sources]
    fixed = {"classifier": chosen, "data": [source["digest"] for source in sources], "split": split.name}
    rows = hashlib.sha256(b"".join(part.tobytes() for part in (split.train, split.validation, split.test)))
    return {
        "format": runs.FORMAT,
        "state": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": hashlib.sha256(json.dumps([fixed, rows.hexdigest()]).encode()).hexdigest(),
        "classifier": chosen,
        "classes": list(data.classes),
        "preprocessing": asdict(data.preprocessing),
        "simulated": data.simulated,
        "origin": data.origin,
        "data": _spec(given),
        "sources": sources,
        "counts": data.counts,
        "dropped": {name: dict(reasons) for name, reasons in data.dropped.items()},
        "split": SplitFields(name=split.name, by=split.by, seed=seed) | split.facts(),
        "versions": _versions(),
        "gas_direction": data.gas_direction,
    }


def _spec(given: Data) -> DataSpec:
    """What was given as data, so that it can be loaded again: paths absolute."""
    if isinstance(given, Dataset):
        return None
    if isinstance(given, Mapping):
        return {_absolute(path): None if label is None else str(label) for path, label in given.items()}
    if isinstance(given, str | os.PathLike):
        return _absolute(given)
    return [_absolute(path) for path in given]


def _absolute(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return text if "://" in text else str(Path(text).absolute())


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("spatterlib", "torch", "numpy", "numba", "opencv-python-headless"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _listeners(callbacks: Sequence[str | Notify], folder: Path, facts: RunFacts, progress: bool | None) -> Notify:
    marked = facts["origin"] != "not stated"
    title = folder.name + f" ({facts['origin']} recordings)" * marked
    listeners: list[Callable[[Epoch], None]] = [Curves(folder, title)]
    if progress or (progress is None and sys.stderr.isatty()):
        report_kernels()
        listeners.append(epoch_bar() if sys.stderr.isatty() else epoch_lines())
    if "tensorboard" not in callbacks:
        listeners += default_loggers(folder, facts)
    listeners += [logger(item, folder, facts) if isinstance(item, str) else item for item in callbacks]

    def tell(epoch: Epoch) -> None:
        for listener in listeners:
            listener(epoch)

    return tell
