"""What the author of a plugin imports: the marker of hooks, what passes through them, and helpers for each kind.

- every plugin: `hookimpl`, `catalog`, `make`, `identity`
- detectors and filters: `Clip`, `DETECTION`, `Detections`, `Detector`, `Filter`, `table_of`
- readers: `Video`, `Picture`, `RgbPicture`, `YuvPicture`
- stores: `Store`, `StoreKind`, `FRAME_LOG`, `encode`, `decode`, `image_size`, `beside`, `write_text`
- classifiers: `Classifier`, `Preprocessing`, `Samples`, `Scores`, `Epoch`, `Notify`, `Model`, `Exportable`,
  `probabilities_of`, `fit`, `device_of`, `import_torch`
- commands: `answer`, `answers`, `say`, `parameter`, `options_of`, `with_options`, `given_values`
- what each may have besides: `HasSuffixes`, `SupportsExplain` and the others of `spatterlib.plugins.capabilities`

Errors are those of `spatterlib.errors`; the checks of a plugin are in `spatterlib.testing`. The names load when they
are first used, so that a plugin module stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatterlib.common.command_output import answer as answer
    from spatterlib.common.command_output import answers as answers
    from spatterlib.common.command_output import say as say
    from spatterlib.common.files import beside as beside
    from spatterlib.common.files import write_text as write_text
    from spatterlib.common.image_codec import decode as decode
    from spatterlib.common.image_codec import encode as encode
    from spatterlib.common.image_codec import image_size as image_size
    from spatterlib.common.record_options import given_values as given_values
    from spatterlib.common.record_options import options_of as options_of
    from spatterlib.common.record_options import with_options as with_options
    from spatterlib.common.records import parameter as parameter
    from spatterlib.plugins.boxes import table_of as table_of
    from spatterlib.plugins.capabilities import HasClassifier as HasClassifier
    from spatterlib.plugins.capabilities import HasDatasets as HasDatasets
    from spatterlib.plugins.capabilities import HasKeyframes as HasKeyframes
    from spatterlib.plugins.capabilities import HasSeed as HasSeed
    from spatterlib.plugins.capabilities import HasSuffixes as HasSuffixes
    from spatterlib.plugins.capabilities import Place as Place
    from spatterlib.plugins.capabilities import SupportsChunks as SupportsChunks
    from spatterlib.plugins.capabilities import SupportsEngines as SupportsEngines
    from spatterlib.plugins.capabilities import SupportsExplain as SupportsExplain
    from spatterlib.plugins.capabilities import SupportsExport as SupportsExport
    from spatterlib.plugins.capabilities import SupportsLastLayer as SupportsLastLayer
    from spatterlib.plugins.capabilities import SupportsParts as SupportsParts
    from spatterlib.plugins.capabilities import SupportsReady as SupportsReady
    from spatterlib.plugins.capabilities import SupportsRecognise as SupportsRecognise
    from spatterlib.plugins.classifier import Classifier as Classifier
    from spatterlib.plugins.classifier import Epoch as Epoch
    from spatterlib.plugins.classifier import Exportable as Exportable
    from spatterlib.plugins.classifier import Model as Model
    from spatterlib.plugins.classifier import Notify as Notify
    from spatterlib.plugins.classifier import Preprocessing as Preprocessing
    from spatterlib.plugins.classifier import Samples as Samples
    from spatterlib.plugins.classifier import Scores as Scores
    from spatterlib.plugins.classifier import probabilities_of as probabilities_of
    from spatterlib.plugins.hookspecs import hookimpl as hookimpl
    from spatterlib.plugins.pictures import YuvPicture as YuvPicture
    from spatterlib.plugins.registry import catalog as catalog
    from spatterlib.plugins.registry import identity as identity
    from spatterlib.plugins.registry import make as make
    from spatterlib.plugins.training_loop import device_of as device_of
    from spatterlib.plugins.training_loop import fit as fit
    from spatterlib.plugins.training_loop import import_torch as import_torch
    from spatterlib.types import DETECTION as DETECTION
    from spatterlib.types import FRAME_LOG as FRAME_LOG
    from spatterlib.types import Box as Box
    from spatterlib.types import Clip as Clip
    from spatterlib.types import Detections as Detections
    from spatterlib.types import Detector as Detector
    from spatterlib.types import Filter as Filter
    from spatterlib.types import Image as Image
    from spatterlib.types import Picture as Picture
    from spatterlib.types import RgbPicture as RgbPicture
    from spatterlib.types import Store as Store
    from spatterlib.types import StoreKind as StoreKind
    from spatterlib.types import Video as Video

_HOMES = {
    "common.command_output": ("answer", "answers", "say"),
    "common.files": ("beside", "write_text"),
    "common.image_codec": ("decode", "encode", "image_size"),
    "common.record_options": ("given_values", "options_of", "with_options"),
    "common.records": ("parameter",),
    "plugins.boxes": ("table_of",),
    "plugins.registry": ("catalog", "identity", "make"),
    "plugins.capabilities": (
        "HasClassifier",
        "HasDatasets",
        "HasKeyframes",
        "HasSeed",
        "HasSuffixes",
        "Place",
        "SupportsChunks",
        "SupportsEngines",
        "SupportsExplain",
        "SupportsExport",
        "SupportsLastLayer",
        "SupportsParts",
        "SupportsReady",
        "SupportsRecognise",
    ),
    "plugins.classifier": (
        "Classifier",
        "Epoch",
        "Exportable",
        "Model",
        "Notify",
        "Preprocessing",
        "Samples",
        "Scores",
        "probabilities_of",
    ),
    "plugins.hookspecs": ("hookimpl",),
    "plugins.pictures": ("YuvPicture",),
    "plugins.training_loop": ("device_of", "fit", "import_torch"),
    "types": (
        "DETECTION",
        "FRAME_LOG",
        "Box",
        "Clip",
        "Detections",
        "Detector",
        "Filter",
        "Image",
        "Picture",
        "RgbPicture",
        "Store",
        "StoreKind",
        "Video",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spatterlib.plugins' has no attribute {name!r}")
    return getattr(import_module(f"spatterlib.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
