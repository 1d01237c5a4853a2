"""`export`: a trained model as a file that other programs run."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import numpy as np

from spatterlib.common.files import beside, check_target
from spatterlib.common.wording import counted
from spatterlib.errors import ParameterError
from spatterlib.learning.engines import import_onnx, session_of
from spatterlib.learning.export.comparison import Ask, check, in_batches, references, sample_crops
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.run_facts import ExportFacts, MetricsFields
from spatterlib.learning.runs import SIMULATED, Run, run_of
from spatterlib.plugins.classifier import Exportable, Model
from spatterlib.plugins.registry import identity
from spatterlib.plugins.training_loop import import_torch
from spatterlib.types import Image

__all__ = ["FORMATS", "Exported", "export"]

Format: TypeAlias = Literal["onnx", "torch"]

FORMATS: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""Suffix by format."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it was from what it was made of.

    Parameters
    ----------
    path : str
        The file.
    format : str
        ``"onnx"`` or ``"torch"``.
    crops : int
        How many crops it was tried on.
    differences : dict
        Largest difference of a probability by what it was compared with.
    """

    path: str
    format: str
    crops: int
    differences: Mapping[str, float]

    def __str__(self) -> str:
        found = ", ".join(f"{value:.1g} from {name}" for name, value in self.differences.items())
        return f"{self.path}: probabilities of {counted(self.crops, 'crop')} within {found}; all decided the same"


def export(
    run: Run | Model | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    format: Format | None = None,  # noqa: A002
    crops: Sequence[Image] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model for other programs, preprocessing inside, and compare it before it is there; needs PyTorch.

    The file takes ``crops``, ``(n, h, w, 3)`` uint8 RGB of any number and any one size, and gives ``probability`` and
    ``scores``, ``(n, classes)`` float32. It is written beside its place, loaded back, and tried on 1,000 crops against
    the model itself and its network in PyTorch: probabilities within 1e-4 and every decision the same.

    Parameters
    ----------
    run : Run, Model or path
        What is exported; a path as for `load_model`.
    path : path, optional
        The file, ``.onnx`` or ``.pt2``; by default ``model.onnx`` (or ``model.pt2``) in the run folder, and
        ``simulated.onnx`` here for the model that comes with the package.
    format : {"onnx", "torch"}, optional
        An ONNX model (opset 18, by PyTorch's exporter; loaded without PyTorch), or a program of ``torch.export``; by
        default what the suffix of `path` says, else the first.
    crops : sequence of ndarray, optional
        ``(h, w, 3)`` uint8 RGB each, to compare on; by default 1,000, from the stores that the model learned from where
        they are still there, made-up ones for the rest.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    Exported
        Where it is, and how far it differed.

    Raises
    ------
    MissingFileError, StoreError
        If there is no such run, it is not finished or damaged, or the file cannot be written.
    OutputExistsError
        If the file is there already.
    ParameterError
        If the format is unknown or not that of the suffix, there are no crops, or the classifier cannot be exported:
        it has no ``torch_network``, or PyTorch fails on it.
    ContractError
        If what was written differs; nothing is left behind.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> done = sp.export("simulated", pathlib.Path(tempfile.mkdtemp()) / "flow.onnx")
    >>> done.crops, max(done.differences.values()) < 1e-4
    (1000, True)
    """
    kind = _format(path, format)
    run = run_of(run)
    model = run.model
    if not isinstance(model, Exportable):
        raise ParameterError(
            f"a {type(model).__name__} cannot be exported: it has no torch_network; export the run that it was made of"
        )
    target = _target(path, run.path, kind, overwrite=overwrite)
    tried = list(crops) if crops is not None else sample_crops(run.facts)
    if not tried:
        raise ParameterError("an exported model is compared on at least one crop, got none; leave crops out for 1,000")
    described = _facts(run)
    write = write_onnx if kind == "onnx" else write_torch
    with beside(target) as part:
        answers = in_batches(write(run, described, part), tried)
        differences = check(answers, references(run, model.torch_network, tried), f"the {kind} model")
    return Exported(str(target), kind, len(tried), differences)


def _format(path: str | os.PathLike[str] | None, format_: str | None) -> Format:
    suffix = Path(path).suffix.lower() if path is not None else ""
    by_suffix = {known: name for name, known in FORMATS.items()}
    chosen = format_ or by_suffix.get(suffix, "onnx" if path is None else None)
    if chosen is None or (chosen in FORMATS and path is not None and suffix != FORMATS[chosen]):
        wanted = FORMATS.get(chosen or "", " or ".join(by_suffix))
        raise ParameterError(f"an exported model is a file {wanted}, got {os.fspath(path or '')!r}; name it so")
    if chosen not in get_args(Format):
        raise ParameterError(f"models are exported as 'onnx' or 'torch', not {chosen!r}")
    return cast("Format", chosen)


def _target(path: str | os.PathLike[str] | None, home: str, kind: str, *, overwrite: bool) -> Path:
    if path is None and not home:
        raise ParameterError("a model without a run folder needs a path to be exported to, such as 'model.onnx'")
    target = Path(path) if path is not None else _default(Path(home), FORMATS[kind])
    check_target(target, overwrite=overwrite)
    return target


def _default(home: Path, suffix: str) -> Path:
    """In the run folder, beside bare weights, or here for the model that comes with the package."""
    if home == SIMULATED:
        return Path(f"simulated{suffix}")
    return home.with_suffix(suffix) if home.is_file() else home / f"model{suffix}"


def _facts(run: Run) -> ExportFacts:
    """What goes into the file beside the network; the same for the same model."""
    facts = run.facts
    test = facts.get("metrics", {}).get("test", {})
    kept = {key: test.get(key) for key in ("accuracy", "accuracy_interval")}
    familiar = Familiar.load(run.path) if run.path else None
    return {
        "format": 1,
        "classifier": run.classifier or identity(run.model),
        "classes": list(run.classes),
        "preprocessing": asdict(run.preprocessing),
        "temperature": run.temperature,
        "weights": _digest(run),
        "simulated": run.simulated,
        "origin": run.origin,
        "created": facts.get("created"),
        "options": {"black": (facts.get("options") or {}).get("black", 40)},
        "split": facts.get("split"),
        "test": cast("MetricsFields", kept) if facts.get("split") else None,
        "versions": {**facts.get("versions", {}), "exported by": f"spatterlib {_version('spatterlib')}"},
        "layers": facts.get("layers"),
        "thresholds": facts.get("thresholds"),
        "gas_direction": facts.get("gas_direction"),
        "camera_direction": facts.get("camera_direction"),
        "familiar": asdict(familiar) if familiar else None,
    }


def _digest(run: Run) -> str:
    """SHA-256 of what the model saves; of one file, its own."""
    with tempfile.TemporaryDirectory() as folder:
        run.save(folder)
        saved = b"".join(file.read_bytes() for file in sorted(Path(folder).iterdir()))
    return hashlib.sha256(saved).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def write_onnx(run: Run, facts: ExportFacts, part: Path) -> Ask:
    """Write an ONNX model, and load it back."""
    onnx, _ = import_onnx(), import_onnx("onnxruntime")
    import_torch("exporting to ONNX")
    import_onnx("onnxscript", "torch")
    from spatterlib.learning.export.onnx_graph import build

    built = build(run, facts)
    onnx.checker.check_model(built, full_check=True)
    part.write_bytes(built.SerializeToString(deterministic=True))
    session = session_of(part.read_bytes())
    return lambda crops: np.asarray(session.run(["probability"], {"crops": crops})[0])


def write_torch(run: Run, facts: ExportFacts, part: Path) -> Ask:
    """Write a program of ``torch.export``, and load it back."""
    torch = import_torch("exporting to torch")
    from spatterlib.learning.export.torch_program import build

    program = build(run, run.temperature)
    torch.export.save(program, part, extra_files={"spatterlib.json": json.dumps(facts, sort_keys=True)})
    loaded = torch.export.load(part).module()
    return lambda crops: loaded(torch.from_numpy(crops))[0].numpy()
