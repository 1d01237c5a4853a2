"""Classifier `onnx`: an exported ``.onnx`` file as a model, computed by ONNX Runtime."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from spatterlib.common.files import beside
from spatterlib.errors import MissingFileError, ParameterError, StoreError
from spatterlib.learning.engines import import_onnx, session_of
from spatterlib.learning.run_facts import ExportFacts
from spatterlib.plugins.classifier import Classifier, Notify, Preprocessing, Samples, Scores
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.types import Image

FILE = "model.onnx"

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A model that ONNX Runtime computes; pickles as its bytes.

    Parameters
    ----------
    data : bytes
        The file.
    classes : tuple of str
        In the order of the columns.
    preprocessing : Preprocessing
        How crops are prepared.
    facts : dict
        What the file says about itself.
    """

    data: bytes = field(repr=False)
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    facts: ExportFacts = field(repr=False)

    @cached_property
    def _session(self) -> Any:
        return session_of(self.data)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    def scores(self, images: Image) -> Scores:
        """``(n, classes)`` float64 of ``(n, size, size, channels)`` uint8 prepared crops."""
        # A prepared crop passes the preprocessing inside unchanged: grey of grey, and nothing to resize.
        return np.concatenate([np.empty((0, len(self.classes))), *map(self._scores, _chunks(images))])

    def _scores(self, images: Image) -> Scores:
        crops = np.repeat(images, 3 // images.shape[3], axis=3)
        return np.asarray(self._session.run(["scores"], {"crops": crops})[0], np.float64)

    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
        """Write ``model.onnx`` into a folder; as it was, if the facts are those that it has."""
        wanted = {**self.facts, **facts}
        with beside(Path(folder) / FILE) as part:
            part.write_bytes(self.data if wanted == self.facts else _stating(self.data, wanted))


def _stating(data: bytes, facts: Mapping[str, Any]) -> bytes:
    """The file with other facts."""
    model = import_onnx().load_from_string(data)
    state(model, facts)
    return bytes(model.SerializeToString(deterministic=True))


def state(model: Any, facts: Mapping[str, Any]) -> None:
    """Put facts into an ``onnx.ModelProto``; the temperature among them is what its graph divides by."""
    onnx = import_onnx()
    [divisor] = [value for value in model.graph.initializer if value.name == "temperature"]
    divisor.CopyFrom(onnx.numpy_helper.from_array(np.array(facts["temperature"], np.float32), "temperature"))
    onnx.helper.set_model_props(model, {"spatterlib": json.dumps(facts, sort_keys=True)})


def _chunks(images: Image) -> list[Image]:
    return [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]


@dataclass(frozen=True)
class Onnx:
    """A model that was exported: it is loaded, it does not learn.

    Examples
    --------
    >>> import spatterlib as sp
    >>> sp.make("classifier", "onnx").suffixes
    ('.onnx',)
    """

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    @property
    def preprocessing(self) -> Preprocessing:
        """Of a loaded model, the model's own; this is the default."""
        return Preprocessing()

    def fit(
        self,
        train: Samples,
        validation: Samples,
        *,
        classes: Sequence[str],
        checkpoint: str | None = None,
        device: str = "auto",
        notify: Notify | None = None,
    ) -> OnnxModel:
        """Refuse.

        Raises
        ------
        ParameterError
            Always.
        """
        raise ParameterError("an ONNX model does not learn; train 'lenet5' and export it, then load the .onnx file")

    @classmethod
    def load(cls, path: str, *, classes: Sequence[str] = ()) -> OnnxModel:
        """Read a file that `spatterlib.export` wrote, or ``model.onnx`` in a folder.

        Parameters
        ----------
        path : str
            File or folder.
        classes : sequence of str
            Other names for the classes, as many; by default those in the file.

        Raises
        ------
        MissingFileError
            If nothing is there.
        StoreError
            If it is damaged, or not of spatterlib's making.
        """
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise MissingFileError(f"no ONNX model at {file}")
        data = file.read_bytes()
        facts = _facts(_opened(data, file), file)
        names = tuple(classes) or tuple(facts["classes"])
        if len(names) != len(facts["classes"]):
            raise StoreError(
                f"{file} tells {len(facts['classes'])} classes apart, but {len(names)} were named: {names}"
            )
        return OnnxModel(data, names, Preprocessing(**facts["preprocessing"]), facts)


def _opened(data: bytes, file: Path) -> Any:
    import_onnx("onnxruntime")
    try:
        return session_of(data)
    except Exception as error:  # its errors have no common base but this
        raise StoreError(f"{file} is no ONNX model that can be read: {' '.join(str(error).split())}") from error


def _facts(session: Any, file: Path) -> ExportFacts:
    """What the file says about itself; refused if it is another program's."""
    given = [f"{value.name} {value.type} {value.shape}" for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    try:
        facts = json.loads(session.get_modelmeta().custom_metadata_map["spatterlib"])
        Preprocessing(**facts["preprocessing"])
        known = all(facts["classes"]) and facts["temperature"] > 0
    except (KeyError, TypeError, ValueError):
        known = False
    if not known or not {"probability", "scores"} <= set(outputs) or not _takes_crops(session):
        raise StoreError(
            f"{file} is no model that spatterlib exported: expected the input crops tensor(uint8) (n, h, w, 3), the "
            f"outputs probability and scores, and metadata 'spatterlib'; got {', '.join(given)} to {', '.join(outputs)}"
        )
    return cast("ExportFacts", facts)


def _takes_crops(session: Any) -> bool:
    inputs = [(value.name, value.type, len(value.shape), value.shape[-1:]) for value in session.get_inputs()]
    return inputs == [("crops", "tensor(uint8)", 4, [3])]


@hookimpl
def spatter_classifiers() -> dict[str, type[Classifier]]:
    """Exported models."""
    return {"onnx": Onnx}
