"""The models that a service offers: run folders and exported files in one folder, and the one that comes along."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import spatterlib as sp
from spatterlib.errors import SpatterlibError
from spatterlib.verdicts.scoring import Scorer
from spatterlib_serve.problems import ProblemError

__all__ = ["Shown", "choose", "listed", "scorer", "shipped"]

_FILES = (".onnx", ".safetensors", ".pt", ".pth", ".mdl")


@dataclass(frozen=True)
class Shown:
    """One model that may be asked for.

    Parameters
    ----------
    name : str
        What clients call it.
    path : Path
        Where it is.
    current : bool
        Whether it is taken when nobody names one.
    facts : dict
        Its record; empty for a bare file.
    error : str
        Why it cannot be used; empty if it can.
    """

    name: str
    path: Path
    current: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def shipped() -> Shown:
    """The model that comes with the package."""
    return _run("simulated", sp.models.SIMULATED)


def listed(folder: Path) -> dict[str, Shown]:
    """Models by name: those in `folder`, as it is now, and "simulated", which is never taken unasked."""
    found: dict[str, Shown] = {"simulated": shipped()}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if (path / sp.models.RECORD).is_file():
                found[path.name] = _run(path.name, path)
            elif path.suffix.lower() in _FILES and path.is_file():
                found[path.name] = Shown(path.name, path)
    name = _current(folder, found)
    return found | ({name: _marked(found[name])} if name else {})


def _run(name: str, path: Path) -> Shown:
    try:
        facts = sp.models.read_facts(path)
    except (SpatterlibError, OSError) as error:
        return Shown(name, path, error=f"its record cannot be read ({type(error).__name__})")
    return Shown(name, path, facts=facts, error="" if facts.get("state") == "complete" else "it is not finished")


def _current(folder: Path, found: dict[str, Shown]) -> str:
    usable = [name for name, model in found.items() if not model.error and model.path != sp.models.SIMULATED]
    mark = folder / sp.models.CURRENT
    name = mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""
    return name if name in usable else usable[0] if len(usable) == 1 else ""


def _marked(model: Shown) -> Shown:
    return Shown(model.name, model.path, True, model.facts, model.error)


def choose(folder: Path, name: str | None) -> Shown:
    """The model of that name, or the current one.

    Raises
    ------
    ProblemError
        422 if there is none, or it cannot be used; the detail names those that there are.
    """
    models = listed(folder)
    usable = ", ".join(sorted(known for known, model in models.items() if not model.error))
    if name is None:
        for model in models.values():
            if model.current:
                return model
        raise ProblemError(422, "model", f"name a model, for none is marked as current; there are {usable}")
    if name not in models:
        raise ProblemError(422, "model", f"there is no model of that name; there are {usable}")
    if models[name].error:
        raise ProblemError(422, "model", f"model {name} cannot be used: {models[name].error}; there are {usable}")
    return models[name]


def scorer(model: Shown) -> Scorer:
    """The model, loaded; the last few stay in memory until their files change.

    Raises
    ------
    ProblemError
        422 if it does not load.
    """
    record = model.path / sp.models.RECORD if model.path.is_dir() else model.path
    try:
        return _loaded(str(model.path), record.stat().st_mtime_ns)
    except (SpatterlibError, OSError, ImportError) as error:
        text = " ".join(str(error).replace(str(model.path), model.name).split())
        raise ProblemError(422, "model", f"model {model.name} does not load: {text}") from error


@lru_cache(maxsize=4)
def _loaded(path: str, _: int) -> Scorer:
    return Scorer.of(sp.load_model(path))
