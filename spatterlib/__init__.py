"""From video of laser powder-bed fusion to spatter events, crops, measurements and a verdict on gas flow.

The public names load when they are first used, so that ``import spatterlib`` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spatterlib.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from spatterlib import errors as errors
    from spatterlib.annotations.formats import read_annotations as read_annotations
    from spatterlib.annotations.formats import write_annotations as write_annotations
    from spatterlib.control import charts as charts
    from spatterlib.control import monitoring as monitoring
    from spatterlib.control import reference as reference
    from spatterlib.control.charts import chart_layers as chart_layers
    from spatterlib.detection.accuracy import score_annotations as score_annotations
    from spatterlib.detection.detect import ORIGINAL as ORIGINAL
    from spatterlib.detection.detect import detect as detect
    from spatterlib.detection.events import events as events
    from spatterlib.detection.layers import layers as layers
    from spatterlib.detection.score import score as score
    from spatterlib.extraction.batch import extract_all as extract_all
    from spatterlib.extraction.extract import Report as Report
    from spatterlib.extraction.extract import extract as extract
    from spatterlib.extraction.forecast import forecast as forecast
    from spatterlib.learning.evaluation import evaluate as evaluate
    from spatterlib.learning.export import export as export
    from spatterlib.learning.good_layers import novel_layers as novel_layers
    from spatterlib.learning.runs import load_model as load_model
    from spatterlib.learning.training import train as train
    from spatterlib.live.watch import watch as watch
    from spatterlib.measuring import calibration as calibration
    from spatterlib.measuring import camera as camera
    from spatterlib.measuring import measurement as measurement
    from spatterlib.measuring import synchrony as synchrony
    from spatterlib.plugins.registry import catalog as catalog
    from spatterlib.plugins.registry import make as make
    from spatterlib.simulation import simulate as simulate
    from spatterlib.stores import tables as tables
    from spatterlib.stores.checking import check_store as check_store
    from spatterlib.stores.opening import convert as convert
    from spatterlib.stores.opening import create_store as create_store
    from spatterlib.stores.opening import is_simulated as is_simulated
    from spatterlib.stores.opening import open_store as open_store
    from spatterlib.tracking.tracks import track as track
    from spatterlib.types import DETECTION as DETECTION
    from spatterlib.types import Clip as Clip
    from spatterlib.verdicts.adapt import adapt as adapt
    from spatterlib.verdicts.predict import predict as predict
    from spatterlib.verdicts.report_settings import ReportSettings as ReportSettings
    from spatterlib.verdicts.rules import Rules as Rules
    from spatterlib.verdicts.verdict import Verdict as Verdict
    from spatterlib.verdicts.verification import verify as verify
    from spatterlib.video.opening import open_video as open_video

_HOMES = {
    "annotations.formats": ("read_annotations", "write_annotations"),
    "detection.accuracy": ("score_annotations",),
    "control.charts": ("chart_layers",),
    "detection.detect": ("ORIGINAL", "detect"),
    "learning.evaluation": ("evaluate",),
    "learning.export": ("export",),
    "extraction.extract": ("Report", "extract"),
    "extraction.forecast": ("forecast",),
    "detection.events": ("events",),
    "detection.layers": ("layers",),
    "live.watch": ("watch",),
    "extraction.batch": ("extract_all",),
    "learning.good_layers": ("novel_layers",),
    "learning.runs": ("load_model",),
    "verdicts.report_settings": ("ReportSettings",),
    "verdicts.rules": ("Rules",),
    "verdicts.verdict": ("Verdict",),
    "plugins.registry": ("catalog", "make"),
    "verdicts.adapt": ("adapt",),
    "verdicts.predict": ("predict",),
    "detection.score": ("score",),
    "simulation": ("simulate",),
    "stores.checking": ("check_store",),
    "stores.opening": ("convert", "create_store", "is_simulated", "open_store"),
    "learning.training": ("train",),
    "tracking.tracks": ("track",),
    "types": ("DETECTION", "Clip"),
    "verdicts.verification": ("verify",),
    "video.opening": ("open_video",),
}
_MODULES = {
    "calibration": "measuring.calibration",
    "camera": "measuring.camera",
    "charts": "control.charts",
    "errors": "errors",
    "labels": "learning.labels",
    "measurement": "measuring.measurement",
    "models": "learning.runs",
    "monitoring": "control.monitoring",
    "reference": "control.reference",
    "simulation": "simulation",
    "synchrony": "measuring.synchrony",
    "tables": "stores.tables",
    "testing": "testing",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME, "errors", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("spatterlib")
    if name in _HOME:
        value = globals()[name] = getattr(import_module(f"spatterlib.{_HOME[name]}"), name)
        return value
    if name in _MODULES:
        return import_module(f"spatterlib.{_MODULES[name]}")
    raise AttributeError(f"module 'spatterlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
