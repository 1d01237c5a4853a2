"""The form of what is known of a run: ``model.json`` in its folder, or what an exported file says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypedDict

from spatterlib.common.origin import Origin
from spatterlib.errors import StoreError

__all__ = [
    "AdaptedFields",
    "DataSourceFields",
    "DataSpec",
    "ExportFacts",
    "LayerRecordFields",
    "MetricsFields",
    "PartFields",
    "RunFacts",
    "RunOptions",
    "SplitFields",
    "ThresholdFields",
    "damage_named",
]

# Nothing is required: a run that is not finished, one of an older version and an exported file know less.


DataSpec: TypeAlias = str | list[str] | dict[str, str | None] | None
"""What was given as data: an index, stores, stores with labels (None: the column's), or something that has no path."""


class DataSourceFields(TypedDict, total=False):
    """A store that a model learned from: the fields of `spatterlib.learning.dataset.DataSource`."""

    path: str
    digest: str
    crops: int
    video: Mapping[str, Any]
    simulated: bool | None
    detector: Mapping[str, Any] | None
    filters: Sequence[Mapping[str, Any]] | None
    gas_direction: float | None


class SplitFields(TypedDict, total=False):
    """How the crops were divided, and into how many: of `spatterlib.learning.splits.Split`, with the seed."""

    name: str
    by: str
    seed: int
    train: int
    validation: int
    test: int


class MetricsFields(TypedDict, total=False):
    """How good a model is on some crops: of `spatterlib.learning.metrics.Metrics`; what is not known is None."""

    crops: int
    groups: int
    accuracy: float
    accuracy_interval: Sequence[float] | None
    auc: float | None
    auc_interval: Sequence[float] | None
    confusion: list[list[int]]
    loss: float
    calibration_error: float
    calibration_error_scaled: float


class LayerRecordFields(TypedDict):
    """What layers of recordings held out say: the fields of `spatterlib.learning.layer_record.LayerRecord`."""

    spread: float
    dependence: float
    slope: float
    lapse: float
    builds: int
    wrong_builds: int
    layers: int


class ThresholdFields(TypedDict):
    """What labelled layers say: the fields of `spatterlib.learning.layer_thresholds.LayerThresholds`."""

    leads: list[float]
    wanted: float


class AdaptedFields(TypedDict):
    """Which model was adapted, and to which layers: label by store and layer."""

    path: str
    digest: str
    created: str | None
    origin: Origin
    labels: dict[str, dict[str, str]]
    left_out: str
    counts: dict[str, dict[str, int]]


class PartFields(TypedDict, total=False):
    """How good a model is on the parts that it was not trained on."""

    validation: MetricsFields
    test: MetricsFields


class RunOptions(TypedDict, total=False):
    """What a training was asked for, beside its classifier."""

    group: str
    label: str
    ratio: Mapping[str, float] | None
    black: int
    purge: float | None


class RunFacts(TypedDict, total=False):
    """Everything about a training, ``model.json``; `familiar` an exported file alone says."""

    format: int
    state: str
    created: str
    fingerprint: str
    classifier: dict[str, Any]
    classes: list[str]
    preprocessing: dict[str, Any]
    simulated: bool | None
    origin: Origin
    data: DataSpec
    sources: list[DataSourceFields]
    counts: Mapping[str, int]
    dropped: dict[str, dict[str, int]]
    split: SplitFields
    versions: dict[str, str]
    options: RunOptions
    temperature: float
    best_epoch: int
    epochs: list[dict[str, Any]]
    metrics: PartFields
    seconds: float
    layers: LayerRecordFields | None
    thresholds: ThresholdFields | None
    gas_direction: float | None
    camera_direction: float | None
    adapted_from: AdaptedFields
    familiar: dict[str, Any] | None


class ExportFacts(TypedDict):
    """What an exported file says of its model: of a run the same by the same names; None is not known."""

    format: int
    classifier: dict[str, Any]
    classes: list[str]
    preprocessing: dict[str, Any]
    temperature: float
    weights: str
    simulated: bool | None
    origin: Origin
    created: str | None
    options: RunOptions
    split: SplitFields | None
    test: MetricsFields | None
    versions: dict[str, str]
    layers: LayerRecordFields | None
    thresholds: ThresholdFields | None
    gas_direction: float | None
    camera_direction: float | None
    familiar: dict[str, Any] | None


@contextmanager
def damage_named(name: str, about: str, mend: str) -> Iterator[None]:
    """Within, what cannot be read of a part of a run's facts is damage of the file of that name.

    Raises
    ------
    StoreError
        Names the file, what that part is about, and how to mend it.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{name} is damaged in what it says of {about}: {error}; {mend}") from error
