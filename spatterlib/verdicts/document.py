"""The form of a verdict as JSON: what `Verdict.to_dict` gives, what a report holds and `verify` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from spatterlib.learning.provenance import ModelFacts
from spatterlib.verdicts.judgement import SpanFields, VerdictState

__all__ = ["ChangeFields", "ShareFields", "SourceFields", "SummaryFields", "VerdictDocument", "VerdictSettings"]


class SourceFields(TypedDict):
    """What a verdict is on."""

    kind: str
    path: str
    name: str
    complete: NotRequired[bool | None]


class VerdictSettings(TypedDict, total=False):
    """What a verdict was made with; a store that was written elsewhere may not know all of it."""

    source: SourceFields
    video: Mapping[str, Any]
    simulated: bool | None
    detector: Mapping[str, Any] | None
    filters: Sequence[Mapping[str, Any]] | None
    start: int | None
    stop: int | None
    roi: Sequence[int] | None
    fps: float | None
    gas_direction: float | None
    gas_seen: float | None
    crops: Mapping[str, Any] | None
    model: ModelFacts
    versions: dict[str, str]
    code: str
    created: str
    gap: float | str | None
    window: float
    rules: dict[str, Any]
    unlike_training: list[str]
    measurement: dict[str, Any]
    monitor: Mapping[str, Any]
    report: Mapping[str, Any]


class ShareFields(TypedDict):
    """The fields of `spatterlib.verdicts.shares.Share`; what is not a number is None."""

    label: str
    crops: int
    share: float
    low: float | None
    high: float | None


class SummaryFields(TypedDict):
    """The verdict on the whole build."""

    label: str | None
    state: VerdictState
    text: str
    expected: str | None
    layers: int
    states: dict[VerdictState, int]
    labels: dict[str, int]
    gap: str
    frames: int
    decoded: int
    crops: int
    without_vote: int
    without_time: int
    events: int
    far: float | None
    familiarity: str
    seconds: NotRequired[float]
    shares: NotRequired[list[ShareFields]]


class ChangeFields(TypedDict):
    """The fields of `spatterlib.verdicts.change.Change`."""

    layer: int
    time: float
    before: str
    after: str


class VerdictDocument(TypedDict):
    """The whole of it; rows and crops only where they were asked for."""

    format: int
    kind: str
    simulated: bool | None
    summary: SummaryFields
    classes: list[str]
    layers: list[SpanFields]
    windows: list[SpanFields]
    changes: list[ChangeFields]
    settings: VerdictSettings
    rows: NotRequired[dict[str, list[Any]]]
    evidence: NotRequired[list[dict[str, Any]]]
