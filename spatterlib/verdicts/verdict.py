"""The verdict on a build as an object, and as CSV, JSON, Parquet and HTML files."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside, check_target, json_ready, write_csv, write_text, writing
from spatterlib.common.origin import marks
from spatterlib.errors import ParameterError
from spatterlib.learning.looks import LOOKS
from spatterlib.stores.tables import need_pyarrow
from spatterlib.types import DETECTION
from spatterlib.verdicts.change import Change
from spatterlib.verdicts.document import ChangeFields, SummaryFields, VerdictDocument, VerdictSettings
from spatterlib.verdicts.judgement import Span
from spatterlib.verdicts.report import Section, local, page

__all__ = ["SUFFIXES", "Evidence", "Verdict", "check_outputs", "row_dtype"]

SUFFIXES = (".html", ".json", ".csv", ".parquet")
FORMAT = 3


def row_dtype(classes: int) -> np.dtype[np.void]:
    """Of `Verdict.rows`: `DETECTION` and what `predict` adds.

    ``event``, ``layer``: from 1; 0 without a known time. ``distance``: of the crop from those of the training, above 1
    is far, NaN if not known. ``looks``: ``(len(LOOKS),)`` float32, see `spatterlib.learning.looks`. ``probabilities``:
    ``(classes,)`` float64, calibrated; NaN for a crop without a vote, which is too dark or damaged.
    """
    further: list[Any] = [
        *(("event", "<i8"), ("layer", "<i8"), ("distance", "<f4")),
        *(("looks", "<f4", (len(LOOKS),)), ("probabilities", "<f8", (classes,))),
    ]
    return np.dtype(DETECTION.descr + further)


@dataclass(frozen=True)
class Evidence:
    """One crop that shows what the verdict rests on.

    Parameters
    ----------
    kind : str
        "surely CLASS" or "least certain".
    row : int
        Of `Verdict.rows`.
    frame : int
        Number of the frame.
    time : float
        S.
    layer : int
        From 1.
    label : str
        Its most probable class.
    probability : float
        Of that class.
    encoded : bytes
        The crop, JPEG or PNG.
    """

    kind: str
    row: int
    frame: int
    time: float
    layer: int
    label: str
    probability: float
    encoded: bytes = field(repr=False)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What `predict` found.

    Parameters
    ----------
    rows : ndarray
        ``(n,)``, a row per crop; see `row_dtype`.
    layers, windows : tuple of Span
        The verdict on each.
    changes : tuple of Change
        Where the build goes over from one class to another.
    summary : dict
        On the whole build: ``label`` (None unless all decided layers agree), ``state`` (the worst of the layers'),
        ``text`` (a sentence), counts; ``shares`` where no crop has a time, see `spatterlib.verdicts.shares`.
    classes : tuple of str
        In the order of the columns of ``rows["probabilities"]``.
    settings : dict
        What it was made with: video and its digest, detector, filters, model and its digest, rules, versions.
    evidence : tuple of Evidence
        Crops.
    sections : tuple of Section
        What its page shows besides; see `spatterlib.verdicts.agreement`.
    """

    rows: NDArray[np.void]
    layers: tuple[Span, ...]
    windows: tuple[Span, ...]
    changes: tuple[Change, ...]
    summary: SummaryFields
    classes: tuple[str, ...]
    settings: VerdictSettings
    evidence: tuple[Evidence, ...] = field(default=(), repr=False)
    sections: tuple[Section, ...] = field(default=(), repr=False)

    @property
    def simulated(self) -> bool | None:
        """True: the recording is simulated; None: it does not say. Of the model: ``settings["model"]["origin"]``."""
        return True if self.settings.get("simulated") else None

    def __str__(self) -> str:
        name = self.settings["source"]["name"] if "source" in self.settings else ""
        return f"{name}: {self.summary['text']}{marks(self.simulated, self.settings['model']['origin'])}"

    def to_dict(self, *, rows: bool = True, evidence: bool = True) -> VerdictDocument:
        """JSON-able; what is not a number is None, crops are base64.

        Parameters
        ----------
        rows, evidence : bool
            Whether to put them in.
        """
        found: VerdictDocument = {
            "format": FORMAT,
            "kind": "spatterlib verdict",
            "simulated": self.simulated,
            "summary": self.summary,
            "classes": list(self.classes),
            "layers": [span.facts() for span in self.layers],
            "windows": [span.facts() for span in self.windows],
            "changes": [cast("ChangeFields", asdict(item)) for item in self.changes],
            "settings": self.settings,
        }
        if rows:
            found["rows"] = {name: values.tolist() for name, values in self._columns().items()}
        if evidence:
            found["evidence"] = [
                asdict(item) | {"encoded": base64.b64encode(item.encoded).decode()} for item in self.evidence
            ]
        return cast("VerdictDocument", json_ready(found))

    def _columns(self) -> dict[str, NDArray[Any]]:
        """Columns of the rows, one per class for the probabilities."""
        names = [name for name in self.rows.dtype.names or () if name not in ("probabilities", "looks")]
        columns = {name: self.rows[name] for name in names}
        for number, name in enumerate(self.classes):
            columns[f"probability_{name}"] = self.rows["probabilities"][:, number]
        return columns

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write it, as the suffix says; whole or not at all.

        Parameters
        ----------
        path : path
            ``.html`` (a page that holds all it shows), ``.json`` (everything), ``.csv`` or ``.parquet`` (the rows).
        overwrite : bool
            Replace what is there.

        Raises
        ------
        ParameterError
            If the suffix is another.
        OutputExistsError
            If it exists and `overwrite` is not set.
        PluginError
            If ``.parquet`` is asked for and pyarrow is not installed.
        StoreError
            If it cannot be written.
        """
        check_outputs([path], overwrite=overwrite)
        write = {".html": self._html, ".json": self._json, ".csv": self._csv, ".parquet": self._parquet}
        with writing(path):
            write[Path(path).suffix.lower()](Path(path))

    def _json(self, path: Path) -> None:
        write_text(path, json.dumps(self.to_dict(), allow_nan=False) + "\n")

    def _html(self, path: Path) -> None:
        write_text(path, page(local(self.to_dict(rows=False), path.parent), self.sections))

    def _csv(self, path: Path) -> None:
        columns = self._columns()
        values = [["" if value != value else value for value in column.tolist()] for column in columns.values()]
        write_csv(path, list(columns), zip(*values, strict=True))

    def _parquet(self, path: Path) -> None:
        pyarrow = need_pyarrow("a .parquet file")
        from pyarrow import parquet

        facts = json.dumps(self.to_dict(rows=False, evidence=False), allow_nan=False)
        table = pyarrow.table({name: pyarrow.array(column) for name, column in self._columns().items()})
        with beside(path) as part:
            parquet.write_table(table.replace_schema_metadata({"spatterlib": facts}), part)


def check_outputs(paths: Sequence[str | os.PathLike[str]], *, overwrite: bool = False) -> None:
    """Refuse early what `Verdict.save` would refuse: before the work, not behind it.

    Raises
    ------
    ParameterError, OutputExistsError, PluginError, MissingFileError, StoreError
        As `Verdict.save`.
    """
    for path in paths:
        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise ParameterError(f"a verdict is saved as {', '.join(SUFFIXES)}, got {os.fspath(path)!r}")
        if target.suffix.lower() == ".parquet":
            need_pyarrow("a .parquet file")
        check_target(target, overwrite=overwrite)
