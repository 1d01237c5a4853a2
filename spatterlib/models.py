"""Run folders: what a training leaves behind, how it is found, compared and loaded."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from spatterlib.errors import MissingFileError, ParameterError, SpatterlibError, StoreError
from spatterlib.files import write_text
from spatterlib.learning import Engine, Model, Preprocessing, Scores
from spatterlib.plugins import catalog
from spatterlib.types import Image

__all__ = ["Run", "list_runs", "load_model", "mark_current", "read_facts", "run_folder", "write_facts", "write_text"]

log = logging.getLogger("spatterlib")

RECORD, CURRENT = "model.json", "CURRENT"
SIMULATED = Path(__file__).parent / "data" / "simulated"


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
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

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
        """What scores are divided by, so that probabilities are calibrated."""
        return self.model.temperature

    @property
    def simulated(self) -> bool:
        """Whether it learned from simulated recordings."""
        return bool(self.facts.get("simulated"))

    def scores(self, images: Image) -> Scores:
        """``(n, classes)`` float64 of ``(n, size, size, channels)`` uint8 prepared crops, temperature not applied."""
        return self.model.scores(images)

    def probabilities(self, crops: Sequence[Image]) -> Scores:
        """``(n, classes)`` float64, calibrated, of ``(h, w, 3)`` uint8 RGB crops of any size."""
        return self.model.probabilities(crops)

    def with_temperature(self, temperature: float) -> Self:
        """The same model, calibrated otherwise."""
        return replace(self, model=self.model.with_temperature(temperature))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write its weights into an existing folder."""
        self.model.save(folder)


def load_model(
    path: str | os.PathLike[str],
    classifier: str | None = None,
    *,
    classes: Sequence[str] = (),
    engine: Engine | None = None,
) -> Run:
    """Load a trained model; needs no PyTorch, except for a state dict of PyTorch's own.

    Parameters
    ----------
    path : path
        A run folder; a folder of runs, of which the one marked as current is taken; "simulated", the model that comes
        with the package, trained on simulated recordings; or a file of weights
        (``.safetensors``, or a plain state dict ``.pt``, ``.pth`` as the research system saved it); or an exported
        model (``.onnx``).
    classifier : str, optional
        Id of the classifier that the weights of a bare file belong to; by default the one that claims its suffix, else
        ``"lenet5"``.
    classes : sequence of str
        Names of the classes that a bare file does not know.
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
        If the model is not computed by that engine.
    StoreError
        If it is damaged, not finished, of another shape, or holds anything but weights.

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
        class_: Any = catalog().find("classifier", classifier or _claimant(where.suffix))
        model = class_.load(str(where), classes=classes)
        return Run(_computed_by(model, engine), str(where), getattr(model, "facts", {}))
    folder = where if (where / RECORD).exists() else _current(where)
    facts = read_facts(folder)
    if facts.get("state") != "complete":
        raise StoreError(
            f"{folder} holds a training that is not finished; call train with the same settings to go on with it"
        )
    class_ = catalog().find("classifier", facts["classifier"]["id"])
    return Run(_computed_by(class_.load(str(folder)), engine), str(folder), facts)


def _claimant(suffix: str) -> str:
    """Id of the classifier that reads files of a suffix: it has `suffixes`, as stores have."""
    kinds = catalog().classifiers.items()
    return next((id_ for id_, class_ in kinds if suffix.lower() in getattr(class_, "suffixes", ())), "lenet5")


def _computed_by(model: Any, engine: Engine | None) -> Model:
    if engine is None:
        return model  # type: ignore[no-any-return]
    if not hasattr(model, "with_engine"):
        raise ParameterError(f"a {type(model).__name__} has one way of computing; leave engine={engine!r} out")
    return model.with_engine(engine)  # type: ignore[no-any-return]


def _shipped(path: Path) -> Path:
    """The model that comes with the package, where its name is given and nothing of that name is there."""
    return SIMULATED if str(path) == "simulated" and not path.exists() else path


def _current(folder: Path) -> Path:
    """The run that is marked as current, or the only one."""
    if not folder.is_dir():
        raise MissingFileError(f"no model at {folder}; expected a run folder or a file of weights")
    runs = [name for name, facts in list_runs(folder).items() if facts.get("state") == "complete"]
    marked = folder / CURRENT
    name = marked.read_text().strip() if marked.is_file() else ""
    if name in runs or len(runs) == 1:
        return folder / (name if name in runs else runs[0])
    if not runs:
        raise MissingFileError(f"no finished run in {folder}; train one, or name a run folder")
    raise StoreError(
        f"{folder} holds {len(runs)} runs and none is marked as current; "
        f"name one of {', '.join(runs)}, or mark it with `spatterlib models {folder} --use NAME`"
    )


def read_facts(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """``model.json`` of a run folder."""
    file = Path(folder) / RECORD
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"no {RECORD} in {folder}; is it a run folder?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{file} is damaged: {error}") from error
    if not isinstance(facts, dict) or "classifier" not in facts:
        raise StoreError(f"{file} is no record of a training: it does not name a classifier")
    return facts


def write_facts(folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Write ``model.json``, beside first, then renamed."""
    write_text(Path(folder) / RECORD, json.dumps(facts, indent=2) + "\n")


def list_runs(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Records of all runs in a folder, by name, sorted by when they began.

    Raises
    ------
    MissingFileError
        If the folder is not there.
    """
    where = Path(folder)
    if not where.is_dir():
        raise MissingFileError(f"no folder {where} with runs; train with out={str(where)!r} first")
    found = {file.parent.name: read_facts(file.parent) for file in where.glob(f"*/{RECORD}")}
    return dict(sorted(found.items(), key=lambda item: (item[1].get("created", ""), item[0])))


def mark_current(folder: str | os.PathLike[str], name: str) -> None:
    """Mark one run as the current one: the one that ``load_model(folder)`` gives.

    Raises
    ------
    MissingFileError
        If there is no finished run of that name.
    """
    runs = list_runs(folder)
    if runs.get(name, {}).get("state") != "complete":
        raise MissingFileError(f"no finished run {name!r} in {folder}; there are {', '.join(runs) or 'none'}")
    write_text(Path(folder) / CURRENT, f"{name}\n")


@contextmanager
def run_folder(out: Path, facts: dict[str, Any], *, resume: bool) -> Iterator[Path]:
    """The folder of an unfinished run of the same data and settings, or a new one; nobody else's meanwhile."""
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            folder = _unfinished(out, facts, stack) if resume else None
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
        yield folder


def _unfinished(out: Path, facts: Mapping[str, Any], stack: ExitStack) -> Path | None:
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
    try:
        import fcntl
    except ImportError:  # Windows has no advisory locks of this kind; two trainings must not share a folder there.
        return True
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    stack.callback(file.close)
    return True
