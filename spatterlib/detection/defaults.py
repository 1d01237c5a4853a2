"""What is looked for where nothing else is said, and the types of what may be said; light, for options and records."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["DETECTOR", "FILTERS", "ORIGINAL", "DetectorSpec", "FilterSpec", "Gap", "Position", "Roi"]

if TYPE_CHECKING:
    from spatterlib.types import Detector, Filter

    DetectorSpec: TypeAlias = str | Mapping[str, Any] | Detector
    FilterSpec: TypeAlias = str | Mapping[str, Any] | Filter
else:
    DetectorSpec = FilterSpec = str | Mapping[str, Any] | object
"""A detector, a filter: its id, its identity (id and parameters), or the object itself."""

Position: TypeAlias = int | float | str | None
"""A frame number, seconds, or either as text; see `spatterlib.video.opening.position`."""

Roi: TypeAlias = tuple[int | None, int | None, int | None, int | None] | None
"""``(x0, y0, x1, y1)`` px, half-open, None = the edge."""

Gap: TypeAlias = float | str
"""A pause that separates layers: seconds, "auto", or frames as in "700 frames"."""

DETECTOR = "frame-difference"
FILTERS = ("area", "blue", "black")

ORIGINAL: Mapping[str, Any] = MappingProxyType(
    {
        "detector": {"id": "frame-difference", "outlines": "tree", "crop_from": "first"},
        "filters": ("area", "blue"),
        "gap": "700 frames",
    }
)
"""Keyword arguments of `detect` and `extract` that make them do what the original research script does."""
