"""From a trained model and a few labelled layers to a run of its own for their camera.

The network's last layer is fitted anew, what is familiar is moved to the new camera, and a layer is decided by what the
labelled ones said where they had no part in the fit.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np

from spatterlib.common.files import check_room, write_text
from spatterlib.detection.events import events
from spatterlib.errors import ParameterError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.learning import runs
from spatterlib.learning.labelled_layers import LabelledLayers, check_layers, load_layers, moved_familiar, refitted
from spatterlib.learning.layer_labels import LayerLabels, LayersOf, label_layers
from spatterlib.learning.layer_record import vote_means
from spatterlib.learning.layer_thresholds import LayerThresholds, leads_of
from spatterlib.learning.metrics import metrics_of, temperature_of
from spatterlib.learning.model_card import model_card
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.provenance import model_digest, versions
from spatterlib.learning.run_facts import DataSourceFields, RunFacts, RunOptions
from spatterlib.learning.runs import Run, run_folder, run_of
from spatterlib.plugins.capabilities import SupportsLastLayer
from spatterlib.plugins.classifier import Model, Scores, probabilities_of
from spatterlib.plugins.registry import identity
from spatterlib.verdicts.adaptation_report import JudgedLayer, adaptation_counts, adaptation_report
from spatterlib.verdicts.judgement import Known, Span, judge
from spatterlib.verdicts.rules import Rules
from spatterlib.verdicts.scoring import Scorer, score_crops, seen_direction

__all__ = ["adapt"]


def adapt(
    model: Run | Model | str | os.PathLike[str],
    labels: LayerLabels,
    *,
    out: str | os.PathLike[str] = "runs",
    error: float = 0.05,
    column: str = "label",
) -> Run:
    """Adapt a trained model to a camera, from a few labelled layers of its recordings; leaves a run folder.

    The last layer of the network is fitted anew, what is familiar is moved to the new camera, and a layer is decided
    where all other classes can be ruled out with the error that is stated (conformal prediction); the rest stays open.
    The new run is used as any other; ``adaptation.md`` in its folder says what was judged before and after.

    Parameters
    ----------
    model : path, Run or Model
        What is adapted, as for `load_model`.
    labels : path, sequence or dict
        Which layer has which label: a CSV ``store,layer,label``; texts ``"monday.h5:1-4=low"`` or
        ``"tuesday.h5=high"``; stores with a column of labels; ``{store: label}`` or ``{store: {layer: label}}``. Three
        or more layers of each class, better from several recordings.
    out : path
        Folder of runs; the new run gets a folder of its own in it.
    error : float
        Share of layers, above 0 and below 0.5, that may be decided wrongly. Eight labelled layers can state no less
        than 1/9, nineteen 0.05: what they can state is in the report.
    column : str
        Name of the column of labels.

    Returns
    -------
    Run
        As of `train`.

    Raises
    ------
    MissingFileError
        If the model or a store is not there.
    ParameterError
        If there are too few labelled layers, or of one class only, a layer is not there, a label is none of the
        model's, or the model has no last layer that could be fitted.
    StoreError
        If the run folder cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for number, flow in enumerate(("low", "high")):
    ...     video, layers = folder / f"{flow}.mp4", {"layer_seconds": 6, "recoat_seconds": 1.5, "seconds": 22.5}
    ...     _ = sp.simulate(video, gas_flow=flow, mm_per_px=0.5, seed=number + 1, **layers)
    ...     _ = sp.extract(video, folder / f"{flow}.h5")
    >>> run = sp.adapt("simulated", {folder / "low.h5": "low", folder / "high.h5": "high"}, out=folder / "runs")
    >>> len(run.facts["thresholds"]["leads"])
    6
    """
    began = time.perf_counter()
    if not 0 < error < 0.5:
        raise ParameterError(f"error is a share of layers above 0 and below 0.5, got {error!r}")
    check_room(out)
    run = run_of(model)
    network = run.model
    if not isinstance(network, SupportsLastLayer):
        raise ParameterError(
            f"a {type(network).__name__} cannot be adapted: it has no last layer that could be fitted anew; "
            "train on recordings of this camera instead"
        )
    given = label_layers(labels, column)
    check_layers(run.classes, given)
    known = load_layers(run, given)
    fit = refitted(network, known)
    temperature = temperature_of(fit.left_out, known.labels)
    adapted = Run(network.with_last_layer(fit.weights, fit.biases)).with_temperature(temperature)
    familiar = moved_familiar(Scorer.of(run).familiar, known)
    probabilities = probabilities_of(fit.left_out, temperature)
    leads = _leads(known, probabilities)
    facts = _facts(run, known, given, {"label": column, "black": Scorer.of(run).black})
    measured = metrics_of(
        fit.left_out, known.labels, known.data.group("recording")[known.rows], temperature=temperature
    )
    facts |= {
        "temperature": temperature,
        "thresholds": LayerThresholds.of(leads, error).facts(),
        "metrics": {"validation": measured.facts(), "test": measured.facts()},
    }
    before = _before(run, given)
    after = _after(known, probabilities, run.classes, familiar, leads, error)
    judged = [
        JudgedLayer(*name, run.classes[label], before[name], span)
        for name, label, span in zip(known.names, known.classes.tolist(), after, strict=True)
    ]
    facts["adapted_from"]["counts"] = adaptation_counts(judged)
    with run_folder(Path(out), facts, resume=False) as folder:
        adapted.save(folder)
        familiar.save(folder)
        facts |= {"state": "complete", "seconds": time.perf_counter() - began}
        write_text(folder / "MODEL_CARD.md", model_card(folder.name, facts))
        write_text(folder / "adaptation.md", adaptation_report(folder.name, facts, judged, familiar))
        runs.write_facts(folder, facts)
    return Run(adapted.model, str(folder), facts)


def _leads(known: LabelledLayers, probabilities: Scores) -> list[float]:
    """How far the true class leads in each layer, by crops that had no part in the fit."""
    found = []
    for layer, label in enumerate(known.classes.tolist()):
        own = known.layer == layer
        found.append(float(leads_of(vote_means(known.vote[own], probabilities[own]).mean(0))[label]))
    return found


def _facts(run: Run, known: LabelledLayers, given: Sequence[LayersOf], options: RunOptions) -> RunFacts:
    """What is known of the new run before it is measured."""
    data = known.data
    seen = data.gas_direction
    labels = {item.labelled.path: {str(key): label for key, label in item.labels.items()} for item in given}
    digest = model_digest(run)
    directions = {source.gas_direction for source in data.sources}
    counts = np.bincount(known.labels, minlength=len(run.classes)).tolist()
    text = json.dumps([digest, [source.digest for source in data.sources], labels])
    return {
        "format": runs.FORMAT,
        "state": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
        "classifier": run.classifier or identity(run.model),
        "classes": list(run.classes),
        "preprocessing": asdict(run.preprocessing),
        "data": None,
        "sources": [cast("DataSourceFields", asdict(source)) for source in data.sources],
        "counts": dict(zip(run.classes, counts, strict=True)),
        "dropped": {name: dict(reasons) for name, reasons in data.dropped.items()},
        "split": {
            "name": "left out",
            "by": known.by,
            "train": len(known.rows),
            "validation": 0,
            "test": len(known.rows),
        },
        "simulated": data.simulated if run.simulated else None,
        "versions": versions(),
        "options": options,
        "gas_direction": seen,
        "camera_direction": directions.pop() if len(directions) == 1 and seen is not None else None,
        "adapted_from": {
            "path": run.path,
            "digest": digest,
            "created": run.facts.get("created"),
            "origin": run.origin,
            "labels": labels,
            "left_out": known.by,
            "counts": {},
        },
        "best_epoch": 0,
        "epochs": [],
        "layers": None,
    }


def _before(run: Run, given: Sequence[LayersOf]) -> dict[tuple[str, int], Span]:
    """What the model said of each layer as it was."""
    found = {}
    for item in given:
        path = item.labelled.path
        scored, _ = score_crops(path, run, ExtractionSettings(), keep=0)
        known = scored.scorer.known(seen_direction(scored.looks), Rules())
        for layer in item.labels:
            own = item.number == layer
            found[path, layer] = judge(
                scored.table["time"][own],
                events(scored.table[own]).number,
                scored.probabilities[own],
                run.classes,
                distances=scored.distances[own],
                number=layer,
                looks=scored.looks[own],
                known=known,
            )
    return found


def _after(
    known: LabelledLayers,
    probabilities: Scores,
    classes: Sequence[str],
    familiar: Familiar,
    leads: Sequence[float],
    error: float,
) -> list[Span]:
    """What is said of each layer by a fit, and by thresholds, that it had no part in."""
    found, distances = [], familiar.distances(known.images)
    for layer, (_, number) in enumerate(known.names):
        own = known.layer == layer
        others = [lead for lead, fold in zip(leads, known.fold, strict=True) if fold != known.fold[layer]]
        span = judge(
            known.table["time"][own],
            known.event[own],
            probabilities[own],
            classes,
            distances=distances[own],
            number=number,
            looks=known.looks[own],
            known=Known(familiar.spans, thresholds=LayerThresholds.of(others, error)),
        )
        found.append(span)
    return found
