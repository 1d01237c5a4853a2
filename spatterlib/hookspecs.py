"""The six hooks: the one page that a plugin author must read.

A plugin is a module with functions of these names, each marked ``@spatterlib.hookimpl``, announced in the
entry-point group ``spatterlib`` of its package::

    [project.entry-points.spatterlib]
    my-detector = "my_package.my_module"

Hooks run once, at start-up, and return classes by id. The hot loop calls instances of these classes; no
hook is ever called per frame. A class of a detector, filter or classifier is a frozen dataclass whose
fields are its parameters: JSON-able values with defaults. From the fields come repr, equality,
pickling, the identity ``{"id": "frame-difference", "threshold": 20, ...}`` that is written into every
store, the command-line options and the documentation. The description of a parameter is its field's
``metadata={"help": "..."}``, with the unit. Import what is heavy inside the functions that use it:
plugin modules are loaded for ``spatterlib --help`` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from spatterlib.learning import Classifier
    from spatterlib.types import Detector, Filter, StoreKind, Video

PROJECT = "spatterlib"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def spatter_detectors() -> dict[str, type[Detector]]:  # type: ignore[empty-body]
    """Detectors by id.

    An instance has ``lead: int``, the number of context frames it needs, and is called with a `Clip`; it
    returns ``(n,)`` `DETECTION` with boxes from the upper left corner of ``clip.frames``. It is a pure
    function: the same table for clips of 1, 7 or 64 frames; no frame modified; rows ordered by
    (frame, y, x), for frames of the clip's own, not of its lead; boxes inside the frame; deterministic; a
    black video gives an empty table; the instance pickles and survives a JSON round trip. At the start of
    a recording, and behind a frame that did not decode, a clip has less lead than asked for.
    """


@hookspec
def spatter_filters() -> dict[str, type[Filter]]:  # type: ignore[empty-body]
    """Filters by id.

    An instance is called with ``(n,)`` `DETECTION`, boxes in full-frame coordinates, and the clip that
    they were found in; it returns ``(n,)`` bool, True = keep. ``clip.crops(detections)`` gives the crops.
    It decides row by row: the answer for a row does not depend on the other rows.
    """


@hookspec
def spatter_stores() -> dict[str, type[StoreKind]]:  # type: ignore[empty-body]
    """Stores by id.

    A class (`spatterlib.types.StoreKind`) has ``suffixes`` (a tuple such as ``(".h5",)``), ``recognises(path)``,
    ``create(path, ...)`` and ``open(path)``; the last two return a `spatterlib.types.Store`. A path is opened by
    the class whose ``recognises(path)`` says yes and created by the class that has its suffix; ``create``
    replaces what is there, in one step. Appends are whole batches: a row exists only once its crop and all its
    columns are on disk, so a killed process leaves a store that opens and holds everything up to the last
    flush. A store opened for reading pickles as its path. A class whose stores cannot be appended to may have
    ``export(store, path)`` instead, which `spatterlib.convert` uses.
    """


@hookspec
def spatter_classifiers() -> dict[str, type[Classifier]]:  # type: ignore[empty-body]
    """Classifiers by id.

    A class of hyper-parameters with ``fit(...) -> Model`` and ``load(path) -> Model``; what passes between it and
    training stands in `spatterlib.learning`. ``instance.preprocessing`` says how it wants its crops; ``fit`` gets
    them prepared, as arrays, in two sets, and returns a model that turns crops into probabilities without it. The
    same seed gives the same model; given a ``checkpoint`` it goes on where that was left.
    """


@hookspec(firstresult=True)
def spatter_open_video(path: str) -> Video | None:
    """Open a recording, or return None = not mine; the first that opens it wins.

    Every frame is accounted for: ``video.times`` has one entry per expected frame, and
    ``video.read(start, stop)`` gives one item for each number, None where the frame does not decode.
    A plugin of yours is asked before the built-in readers.
    """


@hookspec
def spatter_commands(cli: click.Group) -> None:
    """Add sub-commands to the command line: ``@cli.command()``."""
