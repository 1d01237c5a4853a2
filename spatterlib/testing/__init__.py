"""The conformance kit: what a plugin must do, as checks that its author's tests run.

The whole test of a plugin is one parametrised function; see `detector_checks`, `filter_checks`, `store_checks`,
`classifier_checks` and `video_checks`. Each check cites the sentence of
`spatterlib.plugins.hookspecs` that it tests, and nothing is checked that no sentence states. `clips`, `tables` and
`crops` are Hypothesis strategies for further tests of your own. Needs the extra ``testing``:
``pip install ".[testing]"`` in a checkout.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatterlib.testing.classifiers import classifier_checks as classifier_checks
    from spatterlib.testing.detectors import detector_checks as detector_checks
    from spatterlib.testing.filters import filter_checks as filter_checks
    from spatterlib.testing.laws import Check as Check
    from spatterlib.testing.laws import sentence as sentence
    from spatterlib.testing.stores import store_checks as store_checks
    from spatterlib.testing.strategies import clips as clips
    from spatterlib.testing.strategies import crops as crops
    from spatterlib.testing.strategies import tables as tables
    from spatterlib.testing.videos import video_checks as video_checks

_HOMES = {
    "classifiers": ("classifier_checks",),
    "detectors": ("detector_checks",),
    "filters": ("filter_checks",),
    "laws": ("Check", "sentence"),
    "stores": ("store_checks",),
    "strategies": ("clips", "crops", "tables"),
    "videos": ("video_checks",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"spatterlib.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module 'spatterlib.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
