"""What a report says of the model and the code that it was made with: names, digests, versions."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from spatterlib.common.origin import Origin
from spatterlib.learning.run_facts import LayerRecordFields, SplitFields, ThresholdFields
from spatterlib.learning.runs import Run
from spatterlib.plugins.registry import versions_of

__all__ = ["ModelFacts", "model_digest", "model_facts", "versions"]


class ModelFacts(TypedDict):
    """What a report says of a model."""

    path: str
    name: str
    digest: str
    classes: list[str]
    temperature: float
    simulated: bool | None
    origin: Origin
    classifier: Mapping[str, Any] | None
    created: str | None
    split: SplitFields | None
    accuracy: float | None
    accuracy_interval: Sequence[float] | None
    recordings: int
    familiarity: bool
    layers: LayerRecordFields | None
    thresholds: NotRequired[ThresholdFields | None]


def model_facts(run: Run, *, familiarity: bool) -> ModelFacts:
    """What a report says of a model: where it is, its digest, what it learned from and how good it was then."""
    facts = run.facts
    test = (facts.get("metrics") or {}).get("test") or {}
    return ModelFacts(
        path=run.path,
        name=Path(run.path).name if run.path else "",
        digest=model_digest(run),
        classes=list(run.classes),
        temperature=run.temperature,
        simulated=run.simulated,
        origin=run.origin,
        classifier=run.classifier,
        created=facts.get("created"),
        split=facts.get("split"),
        accuracy=test.get("accuracy"),
        accuracy_interval=test.get("accuracy_interval"),
        recordings=len(facts.get("sources") or ()),
        familiarity=familiarity,
        layers=facts.get("layers"),
        thresholds=facts.get("thresholds"),
    )


def model_digest(run: Run) -> str:
    """SHA-256 over what `save` writes: the same weights give the same, wherever they lie."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        run.save(folder)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                digest.update(os.fsencode(file.name) + b"\0" + file.read_bytes())
    return digest.hexdigest()


def versions(**plugins: Sequence[Any]) -> dict[str, str]:
    """Of the packages that a verdict depends on, and of those that its plugins come from: ``detector=[...]``."""
    return versions_of(("spatterlib", "numpy", "numba", "opencv-python-headless", "av"), **plugins)
