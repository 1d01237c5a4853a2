"""What a watch is to do, and what it saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spatterlib.detection.defaults import Roi
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.learning.runs import Run
from spatterlib.live.messages import EndMessage
from spatterlib.live.settings import WatchSettings
from spatterlib.plugins.registry import identity
from spatterlib.types import Detector, Filter
from spatterlib.verdicts.judgement import Span
from spatterlib.verdicts.rules import Rules
from spatterlib.verdicts.scoring import CropPreparation

__all__ = ["Plan", "Summary"]


@dataclass(frozen=True)
class Summary:
    """What a watch saw.

    Parameters
    ----------
    layers : tuple of Span
        The final verdicts.
    facts : EndMessage
        The last message, see `spatterlib.live.messages.FIELDS`.
    """

    layers: tuple[Span, ...]
    facts: EndMessage


@dataclass(frozen=True)
class Plan:
    """What a watch is to do: the model, what is looked at and how, when to abstain, and the settings."""

    run: Run
    rules: Rules
    detector: Detector
    filters: Sequence[Filter]
    roi: Roi
    look: CropPreparation
    settings: WatchSettings
    direction: float | None = None

    @classmethod
    def of(cls, run: Run, rules: Rules, extraction: ExtractionSettings, settings: WatchSettings) -> Plan:
        """The plan of settings."""
        look = CropPreparation(run.preprocessing, extraction.crop_format, extraction.quality)
        return cls(run, rules, *extraction.plugins(), extraction.roi, look, settings, extraction.gas_direction)

    def identity(self) -> dict[str, Any]:
        """JSON-able: what the watch was started with, for its first message and its store."""
        settings, alarms = self.settings, self.settings.alarms
        return {
            "detector": identity(self.detector),
            "filters": [identity(item) for item in self.filters],
            "roi": self.roi,
            "gas_direction": self.direction,
            "crops": {"format": self.look.format, "quality": self.look.quality},
            "rules": dataclasses.asdict(self.rules),
            "gap": settings.gap,
            "window": settings.window,
            **dataclasses.asdict(alarms),
            "idle": settings.idle,
            "timeout": settings.timeout,
        }
