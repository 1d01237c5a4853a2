"""How good a classifier is, told so that nobody is fooled: random beside grouped, and what trivial models reach."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from spatterlib.common.files import beside, check_room, write_text, writing
from spatterlib.common.markdown import escaped
from spatterlib.common.workers import Caller, spread
from spatterlib.errors import ParameterError
from spatterlib.learning.confounds import Confound, Probe, confounds, probe, recording_labels
from spatterlib.learning.dataset import Data, Dataset, load_dataset
from spatterlib.learning.metrics import Metrics, Reliability
from spatterlib.learning.run_facts import RunOptions
from spatterlib.learning.runs import Run, load_model
from spatterlib.learning.splits import Split, SplitName
from spatterlib.learning.training import check_fit, fit_split, measure_rows, seed_of, split_of
from spatterlib.plugins.classifier import Classifier, Notify
from spatterlib.plugins.registry import catalog, foreign_versions, identity, make

__all__ = ["Evaluation", "SplitOutcome", "evaluate"]

_Measured: TypeAlias = tuple[Metrics, float]
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#6B6B6B"
# A trivial model that comes this near to the classifier explains it.
_NEAR = 0.03
# Fewer arrangements of labels over recordings, and no exact test reaches 5 %.
_TELLING = 35


@dataclass(frozen=True, eq=False)
class SplitOutcome:
    """A classifier on one split.

    Parameters
    ----------
    split : str
        "original" (random crops), "grouped", "time", or "new data": everything given, nothing trained on.
    by : str
        What was kept together.
    metrics : Metrics or None
        On the test part; None if the data do not allow the split.
    reason : str
        Why not; empty otherwise.
    train, test : int
        Crops.
    temperature : float
        From the validation part.
    """

    split: str
    by: str
    metrics: Metrics | None
    reason: str = ""
    train: int = 0
    test: int = 0
    temperature: float = 1.0

    def facts(self) -> dict[str, Any]:
        """JSON-able."""
        own = {"split": self.split, "by": self.by, "reason": self.reason, "train": self.train, "test": self.test}
        return own | {"temperature": self.temperature, "metrics": self.metrics.facts() if self.metrics else None}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Parameters
    ----------
    classifier : dict
        Identity.
    classes : tuple of str
        In the order of the confusion matrices.
    outcomes : tuple of SplitOutcome
        One per split.
    probes : tuple of Probe
        Trivial models on the same splits.
    remarks : tuple of str
        What the figures do not show, in plain words.
    counts : dict
        Crops by class.
    simulated : bool
        Whether any of the recordings was simulated.
    confounds : tuple of Confound
        What else goes with the class from recording to recording.
    """

    classifier: Mapping[str, Any]
    classes: tuple[str, ...]
    outcomes: tuple[SplitOutcome, ...]
    probes: tuple[Probe, ...]
    remarks: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    simulated: bool = False
    confounds: tuple[Confound, ...] = ()

    def __getitem__(self, split: str) -> SplitOutcome:
        for outcome in self.outcomes:
            if outcome.split == split:
                return outcome
        raise KeyError(f"no split {split!r}; there are {', '.join(outcome.split for outcome in self.outcomes)}")

    def __str__(self) -> str:
        return to_markdown(self)

    def facts(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "classifier": dict(self.classifier),
            "classes": list(self.classes),
            "counts": dict(self.counts),
            "simulated": self.simulated,
            "outcomes": [outcome.facts() for outcome in self.outcomes],
            "probes": [asdict(item) for item in self.probes],
            "confounds": [asdict(item) for item in self.confounds],
            "remarks": list(self.remarks),
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``evaluation.json``, ``evaluation.md`` and ``reliability.png`` into a folder; makes it."""
        where = Path(folder)
        with writing(where):
            where.mkdir(parents=True, exist_ok=True)
            write_text(where / "evaluation.json", json.dumps(self.facts(), indent=2) + "\n")
            plot_reliability(self, where / "reliability.png")
            write_text(where / "evaluation.md", f"{to_markdown(self)}\n![Reliability](reliability.png)\n")


def evaluate(
    model: Run | str | os.PathLike[str] | Mapping[str, Any] | Classifier,
    data: Data | None = None,
    *,
    splits: Sequence[SplitName] = ("original", "grouped"),
    group: str = "auto",
    label: str = "label",
    black: int = 40,
    purge: float | None = None,
    probes: bool = True,
    device: str = "auto",
    executor: Executor | None = None,
    notify: Notify | None = None,
    out: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> Evaluation:
    """Measure a classifier on several splits of the same data, random beside grouped.

    Each split trains the classifier anew, on its own training part. A trained model keeps its weights for the split
    that it was trained on; on data it has not seen, given as `data`, it is also measured as it is ("new data").

    Parameters
    ----------
    model : Run, path, str, dict or object
        A trained model or its run folder; or a classifier (id, identity or instance).
    data : as for `train`, optional
        By default what the model was trained on.
    splits : sequence of {"original", "grouped", "time"}
        Which splits; "original" and "grouped" belong side by side.
    group, label, black, purge, device
        As for `train`; without `data`, the first four are what the model was trained with.
    probes : bool
        Also train models that cannot see spatter; needs scikit-learn.
    executor : concurrent.futures.Executor, optional
        Who trains, each split a task, as in `spatterlib.extract`; `notify` hears nothing then.
    notify : callable, optional
        Called with a `spatterlib.plugins.classifier.Epoch` while a classifier is trained.
    out : path, optional
        Folder to save the report to.
    **parameters
        Fields of the classifier.

    Returns
    -------
    Evaluation
        ``str`` of it is a report in Markdown.

    Raises
    ------
    ParameterError
        If data are missing, or have other classes than the model.

    Examples
    --------
    >>> import spatterlib as sp
    >>> report = sp.evaluate("lenet5", {"low.zarr": "low", "high.zarr": "high"})  # doctest: +SKIP
    >>> report["grouped"].metrics.accuracy  # doctest: +SKIP
    0.93
    """
    run = model if isinstance(model, Run) else _as_run(model)
    given = data if data is not None else (run.facts.get("data") if run else None)
    if given is None:
        raise ParameterError("evaluate needs data: {store: label}, stores with a label column, or a CSV index")
    if out is not None:
        check_room(out)
    chosen: Classifier = make("classifier", (run.classifier or "lenet5") if run else model, **parameters)
    if splits:  # without one nothing is trained: the model is measured as it is
        check_fit(chosen, device, purge)
    options: RunOptions = {"group": group, "label": label, "ratio": None, "black": black, "purge": purge}
    if run and data is None:
        options |= run.facts.get("options", {})
    group, purge = options["group"], options["purge"]
    asked = (group,) if group != "auto" else ()
    how = run.preprocessing if run else chosen.preprocessing
    seed = seed_of(chosen)
    label, ratio, black = options["label"], options["ratio"], options["black"]
    dataset = load_dataset(given, how, label=label, groups=asked, ratio=ratio, black=black, seed=seed)
    if run and set(run.classes) == set(dataset.classes):
        dataset = _in_order(dataset, run.classes)
    elif run:
        raise ParameterError(
            f"the model tells {', '.join(run.classes)} apart, the data have {', '.join(dataset.classes)}; "
            "give data with the model's classes"
        )
    made = [(name, *_split_or_reason(dataset, name, group, seed, purge)) for name in splits]
    outcomes = list(_outcomes(made, chosen, dataset, run, device, executor, notify))
    if run and data is not None and _unseen(run, dataset):
        outcomes.append(_as_it_is(run, dataset))
    tried = [probe(dataset, split, seed) for _, split, _ in made if split and probes]
    trivial = tuple(item for items in tried for item in items)
    planted = confounds(dataset) if probes else ()
    remarks = tuple(_remarks(dataset, outcomes, trivial, planted))
    evaluation = Evaluation(
        identity(chosen),
        dataset.classes,
        tuple(outcomes),
        trivial,
        remarks,
        dataset.counts,
        dataset.origin != "not stated",
        planted,
    )
    if out is not None:
        evaluation.save(out)
    return evaluation


def _in_order(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The same data, with classes in the order of a model whose columns are not sorted."""
    numbers = np.array([classes.index(name) for name in data.classes], np.int64)
    return replace(data, classes=classes, labels=numbers[data.labels])


def _as_run(model: object) -> Run | None:
    """The trained model at a path; None if it is a classifier."""
    if isinstance(model, os.PathLike) or (isinstance(model, str) and model not in catalog().classifiers):
        return load_model(model)
    return None


def _split_or_reason(
    data: Dataset, name: SplitName, group: str, seed: int, purge: float | None
) -> tuple[Split | None, str]:
    try:
        return split_of(data, name, group, seed, purge), ""
    except ParameterError as error:
        return None, str(error)


def _outcomes(
    made: Sequence[tuple[str, Split | None, str]],
    classifier: Classifier,
    data: Dataset,
    run: Run | None,
    device: str,
    executor: Executor | None,
    notify: Notify | None,
) -> Iterator[SplitOutcome]:
    """In the order of the splits; what the model itself was trained on is not trained anew."""
    own = {name for name, split, _ in made if run and split and _is_its_own(run, split, data)}
    folds = [split for name, split, _ in made if split and name not in own]
    if executor is None:
        measured: Iterator[_Measured] = (_fold(classifier, data, split, device, notify) for split in folds)
    else:
        caller = Caller.here(foreign_versions(classifier=[classifier]))
        measured = spread((partial(_fold, classifier, data, split, device) for split in folds), executor, caller)
    for name, split, reason in made:
        if split is None:
            yield SplitOutcome(name, "", None, reason)
            continue
        if run and name in own:
            metrics, temperature = measure_rows(run, data, split.test), run.temperature
        else:
            metrics, temperature = next(measured)
        yield SplitOutcome(name, split.by, metrics, "", len(split.train), len(split.test), temperature)


def _fold(classifier: Classifier, data: Dataset, split: Split, device: str, notify: Notify | None = None) -> _Measured:
    """Metrics on the test part of a split, and the temperature of what was trained on its training part."""
    fitted = fit_split(classifier, data, split, device=device, notify=notify)
    return fitted.test, fitted.run.temperature


def _digests(run: Run) -> set[str]:
    return {source["digest"] for source in run.facts.get("sources", ())}


def _is_its_own(run: Run, split: Split, data: Dataset) -> bool:
    """Whether this very split of these very crops trained the model."""
    known = run.facts.get("split", {})
    return _digests(run) == {source.digest for source in data.sources} and all(
        known.get(key) == value for key, value in split.facts().items()
    )


def _unseen(run: Run, data: Dataset) -> bool:
    return not _digests(run) & {source.digest for source in data.sources}


def _as_it_is(run: Run, data: Dataset) -> SplitOutcome:
    metrics = measure_rows(run, data, np.arange(len(data)))
    return SplitOutcome("new data", "recording", metrics, "", 0, len(data), run.temperature)


def _remarks(
    data: Dataset, outcomes: Sequence[SplitOutcome], probes: Sequence[Probe], found: Sequence[Confound]
) -> Iterable[str]:
    """What the figures do not show, in plain words."""
    if data.origin != "not stated":
        text = "the figures say how the method behaves, not how good it is on a machine."
        yield f"The recordings are {data.origin}: {text}"
    yield from _remarks_on_recordings(data, found)
    by_name = {outcome.split: outcome.metrics for outcome in outcomes if outcome.metrics}
    if "original" in by_name and "grouped" in by_name:
        gap = by_name["original"].accuracy - by_name["grouped"].accuracy
        yield f"Random crops score {100 * gap:+.1f} points against held-out groups; believe the grouped figure."
    for item in probes:
        metrics = by_name.get(item.split)
        if metrics and item.accuracy >= metrics.accuracy - _NEAR:
            yield (
                f"On the {item.split} split a model that sees the {item.name} only reaches {item.accuracy:.1%}, the "
                f"classifier {metrics.accuracy:.1%}: nothing shows that it learned more than that."
            )
    if any(outcome.metrics and not np.isfinite(outcome.metrics.accuracy_interval[0]) for outcome in outcomes):
        yield "Where no interval is given there are too few recordings in the test part to say how far chance goes."


def _remarks_on_recordings(data: Dataset, found: Sequence[Confound]) -> Iterable[str]:
    if measured := [item.name for item in found if item.kind == "measured"]:
        yield (
            f"Confounds: from recording to recording {', '.join(measured)} go with the class: a model may have learned "
            "that and not the spatter, unless it is the flow that does it."
        )
    for item in found:
        if item.kind != "measured":
            yield f"Confound: {item.text}" + ("; count it once." if item.kind == "twins" else ".")
    recordings, of_recording = data.group("recording"), recording_labels(data)
    if of_recording is not None and len(np.unique(of_recording)) > 1:
        counts = np.unique(of_recording, return_counts=True)[1]
        if math.comb(int(counts.sum()), int(counts.min())) < _TELLING:
            yield (
                f"Recordings of the classes: {' against '.join(map(str, counts))}. Light, coding, camera and build go "
                "with the label in so few, and no test could tell that from chance: the label cannot be told from the "
                "recording. Record four or more of each class."
            )
    for number, name in enumerate(data.classes):
        if len(np.unique(recordings[data.labels == number])) == 1:
            yield f"Class {name!r} comes from one recording only: no split can separate the class from this recording."


def to_markdown(evaluation: Evaluation) -> str:
    """The report as Markdown."""
    mark = " (simulated recordings)" if evaluation.simulated else ""
    counts = ", ".join(f"{escaped(name)}: {count}" for name, count in evaluation.counts.items())
    lines = [f"# Evaluation of {escaped(evaluation.classifier['id'])}{mark}", "", f"Crops: {counts}.", ""]
    lines += [f"- {escaped(remark)}" for remark in evaluation.remarks]
    lines += [
        "",
        "| split | kept together | accuracy | 95 % over groups | ROC AUC | calibration error (scaled) | tested on |",
    ]
    lines += ["|---|---|---|---|---|---|---|", *map(_row, evaluation.outcomes), ""]
    for outcome in evaluation.outcomes:
        if outcome.metrics:
            lines += _confusion(outcome.split, outcome.metrics, evaluation.classes)
    if evaluation.confounds:
        lines += ["## Confounds: what else goes with the class", "", "| trait | kind | p | what |", "|---|---|---|---|"]
        lines += [
            f"| {escaped(item.name)} | {item.kind} | {item.p:.2g} | {escaped(item.text)} |"
            for item in evaluation.confounds
        ]
        lines.append("")
    if evaluation.probes:
        lines += ["## Confound probe: models that cannot see spatter", "", "| sees only | split | linear | boosted |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {item.name} | {item.split} | {item.linear:.2%} | {item.boosted:.2%} |" for item in evaluation.probes
        ]
    return "\n".join(lines) + "\n"


def _row(outcome: SplitOutcome) -> str:
    metrics = outcome.metrics
    if metrics is None:
        return f"| {outcome.split} | not possible: {escaped(outcome.reason)} | | | | | |"
    low, high = metrics.accuracy_interval
    interval = f"{low:.2%} to {high:.2%}" if np.isfinite(low) else "too few groups"
    errors = f"{metrics.raw.error:.3f} ({metrics.calibrated.error:.3f})"
    cells = (outcome.split, escaped(outcome.by), f"{metrics.accuracy:.2%}", interval, f"{metrics.auc:.4f}", errors)
    return f"| {' | '.join(cells)} | {metrics.crops} in {metrics.groups} recordings |"


def _confusion(split: str, metrics: Metrics, classes: Sequence[str]) -> list[str]:
    names = [escaped(name) for name in classes]
    head = f"| {split}: true, predicted | {' | '.join(names)} |"
    rows = [
        f"| {name} | {' | '.join(map(str, counts))} |" for name, counts in zip(names, metrics.confusion, strict=True)
    ]
    return [head, "|---" * (len(classes) + 1) + "|", *rows, ""]


def plot_reliability(evaluation: Evaluation, path: Path) -> None:
    """Confidence against accuracy, before and after temperature scaling, one panel per split, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    shown = [(outcome.split, outcome.metrics) for outcome in evaluation.outcomes if outcome.metrics]
    figure = Figure(figsize=(4.2 * max(len(shown), 1), 4), layout="constrained")
    for axes, (split, metrics) in zip(figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown, strict=False):
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
        _curve(axes, metrics.raw, _ORANGE, "raw")
        _curve(axes, metrics.calibrated, _BLUE, "scaled")
        axes.set_title(f"{split}: {metrics.accuracy:.1%} right", loc="left", fontsize=11)
        axes.set(xlabel="confidence", ylabel="right", xlim=(0, 1), ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
    figure.suptitle("simulated recordings" if evaluation.simulated else "", fontsize=10)
    with beside(path) as part:
        figure.savefig(part, dpi=120)


def _curve(axes: Any, curve: Reliability, colour: str, name: str) -> None:
    axes.plot(
        curve.confidence, curve.accuracy, "o-", color=colour, markersize=4, label=f"{name}: error {curve.error:.3f}"
    )
