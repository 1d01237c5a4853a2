"""Run folders: what a training leaves behind, how it is found, compared and loaded."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

from spatterlib.common.files import is_there, write_text
from spatterlib.common.origin import Origin, learned_from
from spatterlib.errors import MissingFileError, ParameterError, SpatterlibError, StoreError
from spatterlib.learning.run_facts import RunFacts
from spatterlib.learning.skill import unproven
from spatterlib.plugins.capabilities import HasClassifier, HasSuffixes, SupportsEngines, SupportsRecognise
from spatterlib.plugins.classifier import Engine, Model, Preprocessing, Scores, probabilities_of
from spatterlib.plugins.registry import catalog, identity
from spatterlib.stores.file_io import lock
from spatterlib.types import Image

__all__ = [
    "Run",
    "list_runs",
    "load_model",
    "mark_current",
    "read_facts",
    "run_folder",
    "run_of",
    "write_facts",
    "write_text",
]

log = logging.getLogger("spatterlib")

RECORD, CURRENT, CHECKPOINT = "model.json", "CURRENT", "checkpoint.safetensors"
FORMAT = 1
"""Of run folders; another one is refused."""
SIMULATED = Path(__file__).parent / "shipped" / "simulated"

_FORM: Mapping[str, Any] = {"state": str, "created": str, "classifier": {"id": str}}
_FINISHED: Mapping[str, Any] = {
    "classes": list,
    "split": {"name": str},
    "metrics": {"test": {"accuracy": int | float}},
}
_KINDS: Mapping[Any, str] = {str: "a text", list: "a list", int | float: "a number"}
"""What a record must say, and what else once the training is finished."""


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model with the record of its training.

    Parameters
    ----------
    model : Model
        What predicts.
    path : str
        Its run folder; empty for bare weights.
    facts : dict
        ``model.json``: classifier, classes, preprocessing, data, split, metrics, versions.
    """

    model: Model
    path: str = ""
    facts: RunFacts = field(default_factory=RunFacts, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns."""
        return self.model.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """How crops are prepared."""
        return self.model.preprocessing

    @property
    def temperature(self) -> float:
        """What scores are divided by, so that probabilities are calibrated; 1 where nothing is known of it."""
        return float(self.facts.get("temperature", self.model.facts.get("temperature", 1.0)))

    @property
    def classifier(self) -> dict[str, Any] | None:
        """Identity of the classifier, from the record or else from the model; None if neither says it."""
        known: dict[str, Any] | None = self.facts.get("classifier")
        return known or (identity(self.model.classifier) if isinstance(self.model, HasClassifier) else None)

    @property
    def origin(self) -> Origin:
        """What it learned from: simulated recordings, partly simulated ones, or ones that do not say."""
        return learned_from(self.facts)

    @property
    def simulated(self) -> bool | None:
        """True: it learned from simulated recordings only; None: not known, or from others too, see `origin`."""
        return True if self.origin == "simulated" else None

    @property
    def unproven(self) -> str:
        """Why its test does not show that it is better than chance, and no verdict rests on it; empty if it does."""
        return unproven(self.facts)

    def scores(self, images: Image) -> Scores:
        """``(n, classes)`` float64 of ``(n, size, size, channels)`` uint8 prepared crops."""
        return self.model.scores(images)

    def calibrated(self, scores: Scores) -> Scores:
        """Probabilities of scores: the softmax of scores divided by the temperature."""
        return probabilities_of(scores, self.temperature)

    def probabilities(self, crops: Sequence[Image]) -> Scores:
        """``(n, classes)`` float64, calibrated, of ``(h, w, 3)`` uint8 RGB crops of any size."""
        return self.calibrated(self.scores(self.preprocessing.prepare(crops)))

    def with_temperature(self, temperature: float) -> Self:
        """The same model, calibrated otherwise."""
        return replace(self, facts={**self.facts, "temperature": float(temperature)})

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write its weights, and the temperature with them, into an existing folder."""
        self.model.save(folder, {"temperature": self.temperature})


def run_of(model: Run | Model | str | os.PathLike[str]) -> Run:
    """What is given as a model, as a run: a path as for `load_model`, a model as one that nothing else is known of."""
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    return model if isinstance(model, Run) else Run(model)


def load_model(
    path: str | os.PathLike[str],
    classifier: str | None = None,
    *,
    classes: Sequence[str] = (),
    engine: Engine | None = None,
) -> Run:
    """Load a trained model; needs no PyTorch.

    Parameters
    ----------
    path : path
        A run folder; a folder of runs, of which the one marked as current is taken; "simulated", the model that comes
        with the package, trained on simulated recordings; or a file of weights
        (``.safetensors``, or a plain state dict ``.pt``, ``.pth``, ``.mdl`` as the research system saved it); or an
        exported model (``.onnx``).
    classifier : str, optional
        Id of the classifier that the weights of a bare file belong to; by default the one that claims its suffix or
        recognises them: the two published networks by the numbers of their layers.
    classes : sequence of str
        Names of the classes that a bare file does not know. A run folder knows its own, and its classifier.
    engine : {"numba", "torch", "onnx"}, optional
        Who computes: our kernels, PyTorch or ONNX Runtime; by default the model's own way, kernels for LeNet5.

    Returns
    -------
    Run
        Has `classes`, `preprocessing` and ``probabilities(crops)``.

    Raises
    ------
    MissingFileError
        If nothing is there.
    ParameterError
        If the model is not computed by that engine, or a bare file does not say which classifier its weights are of.
    StoreError
        If it is damaged, not finished, of another shape or format, or holds anything but weights.

    Examples
    --------
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> model = sp.load_model("simulated")
    >>> model.classes
    ('high', 'low')
    >>> model.probabilities([np.zeros((90, 120, 3), np.uint8)]).shape
    (1, 2)
    """
    where = _shipped(Path(path))
    if where.is_file():
        class_: Any = catalog().find("classifier", classifier or _claimant(where))
        model = class_.load(str(where), classes=classes)
        return _checked(Run(_computed_by(model, engine), str(where), model.facts))
    folder = where if (where / RECORD).exists() else _current(where)
    if classifier or classes:
        raise ParameterError(f"{folder} is a run folder and names its classifier and classes; leave yours out")
    return _of_folder(folder, engine)


def _of_folder(folder: Path, engine: Engine | None) -> Run:
    facts = read_facts(folder)
    if facts["state"] != "complete":
        raise StoreError(
            f"{folder} holds a training that is not finished; call train with the same settings to go on with it"
        )
    class_: Any = catalog().find("classifier", facts["classifier"]["id"])
    model = class_.load(str(folder))
    if list(model.classes) != facts["classes"]:
        raise StoreError(
            f"{folder} holds the weights of another training: they tell {', '.join(model.classes)} apart, "
            f"{RECORD} {', '.join(map(str, facts['classes']))}"
        )
    # A run that was calibrated anew and saved here says so beside its weights, not in its record.
    return _checked(Run(_computed_by(model, engine), str(folder), {**facts, **model.facts}))


def _checked(run: Run) -> Run:
    """The run, if its temperature is one."""
    try:
        sound = 0 < run.temperature < math.inf
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise StoreError(f"{run.path} is damaged: expected a temperature above 0, got {run.facts['temperature']!r:.60}")
    return run


def _claimant(file: Path) -> str:
    """Id of the classifier of a bare file: the one that has its suffix, or that alone recognises what is in it."""
    kinds = catalog().classifiers
    for id_, class_ in kinds.items():
        if isinstance(class_, HasSuffixes) and file.suffix.lower() in class_.suffixes:
            return id_
    able = {id_: class_ for id_, class_ in kinds.items() if isinstance(class_, SupportsRecognise)}
    claimants, reasons = [], []
    for id_, class_ in able.items():
        try:
            claimants += [id_] if class_.recognises(str(file)) else []
        except SpatterlibError as error:
            reasons.append(error)
    if len(claimants) == 1:
        return str(claimants[0])
    if reasons and len(reasons) == len(able):
        raise reasons[0]
    ids = claimants or [id_ for id_ in kinds if id_ in able]
    raise ParameterError(
        f"{file} does not say which network its weights are of, {' or '.join(ids)}: nothing in it but the numbers of "
        f"its layers could tell; name it: classifier={ids[0]!r} (--classifier {ids[0]})"
    )


def _computed_by(model: Model, engine: Engine | None) -> Model:
    if engine is None:
        return model
    if not isinstance(model, SupportsEngines):
        raise ParameterError(f"a {type(model).__name__} has one way of computing; leave engine={engine!r} out")
    return model.with_engine(engine)


def _shipped(path: Path) -> Path:
    """The model that comes with the package, where its name is given and nothing of that name is there."""
    return SIMULATED if str(path) == "simulated" and not path.exists() else path


def _current(folder: Path) -> Path:
    """The run that is marked as current, or the only one."""
    if not folder.is_dir():
        raise MissingFileError(f"no model at {folder}; expected a run folder or a file of weights")
    marked = folder / CURRENT
    if marked.is_file():
        name = marked.read_text(encoding="utf-8", errors="replace").strip()
        if not name or not (folder / name / RECORD).is_file():
            raise MissingFileError(
                f"{marked} marks {name!r} as the current run, which is not there; "
                f"mark another with `spatterlib models {folder} --use NAME`"
            )
        return folder / name
    runs = [name for name, facts in list_runs(folder).items() if facts["state"] == "complete"]
    if len(runs) == 1:
        return folder / runs[0]
    if not runs:
        raise MissingFileError(f"no finished run in {folder}; train one, or name a run folder")
    raise StoreError(
        f"{folder} holds {len(runs)} runs and none is marked as current; "
        f"name one of {', '.join(runs)}, or mark it with `spatterlib models {folder} --use NAME`"
    )


def read_facts(folder: str | os.PathLike[str]) -> RunFacts:
    """``model.json`` of a run folder.

    Raises
    ------
    MissingFileError
        If it is not there.
    StoreError
        If it is damaged, no record of a training, or of a format that this version does not know.
    """
    file = Path(folder) / RECORD
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"no {RECORD} in {folder}; is it a run folder?") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file} is damaged: {error}") from error
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror or error}") from error
    if not isinstance(facts, dict):
        raise StoreError(f"{file} is no record of a training: it holds {facts!r:.60}")
    if facts.get("format") != FORMAT:
        raise StoreError(
            f"{file} has format {facts.get('format')!r}; this version of spatterlib reads format {FORMAT}: "
            "use the version that wrote it, or train again"
        )
    misfit = _misfit(facts, _FORM) or (_misfit(facts, _FINISHED) if facts["state"] == "complete" else "")
    if misfit:
        raise StoreError(f"{file} is damaged: {misfit}")
    return cast("RunFacts", facts)


def _misfit(facts: Any, form: Any, name: str = "") -> str:
    """What a record does not say as it must; empty if it says all."""
    if isinstance(form, Mapping):
        if not isinstance(facts, Mapping):
            return f"expected {name} with {', '.join(form)}, got {facts!r:.60}"
        faults = (_misfit(facts.get(key), kind, f"{name}.{key}".lstrip(".")) for key, kind in form.items())
        return next(filter(None, faults), "")
    return "" if isinstance(facts, form) else f"expected {name} to be {_KINDS[form]}, got {facts!r:.60}"


def write_facts(folder: str | os.PathLike[str], facts: RunFacts) -> None:
    """Write ``model.json``, beside first, then renamed."""
    write_text(Path(folder) / RECORD, json.dumps(facts, indent=2) + "\n")


def list_runs(folder: str | os.PathLike[str]) -> dict[str, RunFacts]:
    """Records of all runs in a folder, by name, sorted by when they began.

    A record that cannot be read is left out, with a warning: the other runs are as good as before.

    Raises
    ------
    MissingFileError
        If the folder is not there.
    """
    where = Path(folder)
    if where.is_file():
        raise MissingFileError(f"{where} is a file, not a folder with runs")
    if not where.is_dir():
        raise MissingFileError(f"no folder {where} with runs; train with out={str(where)!r} first")
    runs: dict[str, RunFacts] = {}
    for file in where.glob(f"*/{RECORD}"):
        try:
            runs[file.parent.name] = read_facts(file.parent)
        except SpatterlibError as error:
            log.warning("left out: %s", error)
    return dict(sorted(runs.items(), key=lambda item: (item[1]["created"], item[0])))


def mark_current(folder: str | os.PathLike[str], name: str) -> None:
    """Mark one run as the current one: the one that ``load_model(folder)`` gives.

    Raises
    ------
    MissingFileError
        If there is no finished run of that name.
    """
    runs = list_runs(folder)
    if name not in runs or runs[name]["state"] != "complete":
        raise MissingFileError(f"no finished run {name!r} in {folder}; there are {', '.join(runs) or 'none'}")
    write_text(Path(folder) / CURRENT, f"{name}\n")


@contextmanager
def run_folder(out: Path, facts: RunFacts, *, resume: bool) -> Iterator[Path]:
    """The folder of an unfinished run of the same data and settings, or a new one; nobody else's meanwhile.

    A new one is removed again if the training is refused before its first epoch is over.
    """
    with ExitStack() as stack:
        try:
            made = not is_there(out)
            out.mkdir(parents=True, exist_ok=True)
            folder = _unfinished(out, facts, stack) if resume else None
            is_new = folder is None
            if folder is None:
                folder = _new_folder(out, facts["classifier"]["id"])
                _claim(folder, stack)
            else:
                log.info("going on with the unfinished run %s", folder)
                facts["created"] = read_facts(folder)["created"]
            write_facts(folder, facts)
        except OSError as error:
            if isinstance(error, SpatterlibError):
                raise
            raise StoreError(f"cannot write a run folder in {out}: {error.strerror}") from error
        try:
            yield folder
        except SpatterlibError:
            if is_new and not (folder / CHECKPOINT).exists():
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):
                    if made:
                        out.rmdir()
            raise


def _unfinished(out: Path, facts: RunFacts, stack: ExitStack) -> Path | None:
    for name, known in list_runs(out).items():
        same = known.get("fingerprint") == facts["fingerprint"] and known.get("state") == "running"
        if same and _claim(out / name, stack):
            return out / name
    return None


def _new_folder(out: Path, id_: str) -> Path:
    number = 1
    while True:
        folder = out / f"{id_.replace(':', '-')}-{number:04d}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _claim(folder: Path, stack: ExitStack) -> bool:
    """Lock a run folder; False if another process trains in it. The lock goes with the process."""
    file = (folder / ".lock").open("a")
    if not lock(file.fileno()):
        file.close()
        return False
    stack.callback(file.close)
    return True
