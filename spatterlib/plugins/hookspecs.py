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

Pluggy runs the hooks: ``@hookimpl(tryfirst=True)``, ``trylast=True`` and ``wrapper=True`` do what its manual says. A
plugin that fails, or answers what a hook does not allow, is named in a warning, and the others go on.

What the sentences below say is what `spatterlib.testing` checks, sentence by sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from spatterlib.plugins.classifier import Classifier
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
    black video gives an empty table. The instance pickles and survives a JSON round trip. At the start of
    a recording, and behind a frame that did not decode, a clip has less lead than asked for. Frames are of
    any size, odd ones too, and hold any grey level from 0 to 255. ``time`` is the clip's time of the frame;
    ``red``, ``green``, ``blue`` and ``peak`` are measured in the crop (`spatterlib.plugins.table_of` does this).
    In the clips on which it is tested a detector finds something: laws about no rows say nothing.
    It may have ``explain(clip)`` (`spatterlib.plugins.SupportsExplain`): pictures by name of how it sees the last
    frame, each ``(h, w)`` or ``(h, w, 3)`` uint8, such as "difference" and "mask". A field's ``metadata`` may have
    ``"range"``, (least, most), and ``"step"``, for a slider.
    """


@hookspec
def spatter_filters() -> dict[str, type[Filter]]:  # type: ignore[empty-body]
    """Filters by id.

    An instance is called with ``(n,)`` `DETECTION`, boxes in full-frame coordinates, and the clip that
    they were found in; it returns ``(n,)`` bool, True = keep, for an empty table too. ``clip.crops(detections)``
    gives the crops. It decides row by row: the answer for a row does not depend on the other rows. It is a pure
    function: neither table nor clip is modified, and the same rows get the same answer. The instance pickles and
    survives a JSON round trip.
    """


@hookspec
def spatter_stores() -> dict[str, type[StoreKind]]:  # type: ignore[empty-body]
    """Stores by id.

    A class (`spatterlib.plugins.StoreKind`) has ``suffixes`` (a tuple such as ``(".h5",)``), ``recognises(path)``,
    ``create(path, ...)`` and ``open(path)``; the last two return a `spatterlib.plugins.Store`. A path is opened by
    the class whose ``recognises(path)`` says yes and created by the class that has its suffix. ``recognises`` says
    no where nothing is, or nothing of its kind; what cannot be read now is an OSError, never a no. ``create``
    replaces what is there, in one step; with ``exclusive=True`` it replaces nothing and raises FileExistsError.
    Appends are whole batches: a row exists only once its crop and all its columns are on disk, so a killed
    process leaves a store that opens and holds everything up to the last flush. A store opened for reading
    pickles as its path, and reads in another process. A class whose stores cannot be appended to may have
    ``export(store, path)`` instead (`spatterlib.plugins.SupportsExport`).

    A store behaves as plain lists do: it gives back every table row, crop and frame as it was appended, rows in
    any order and more than once; ``read`` gives the crops decoded. A batch that is not whole is refused with
    `ParameterError`, a row that is not there with `RowError`, and neither changes anything. Further columns hold
    bool, int, float or text, a value for each row; rows appended later get False, -1, NaN or no text. ``attrs``
    are JSON and merged. Any number of readers may have a store open beside its writer, and see what is committed.
    After ``close`` everything is there when it is opened again.

    A store may have ``part_writer(parts)`` and ``adopt(table, places, frame_log)``
    (`spatterlib.plugins.SupportsParts`): crops that other processes have written, in any order, become those of the
    rows that are adopted. It may have ``table_rows(rows)`` and the others of `spatterlib.plugins.SupportsChunks`: they
    give what the whole has in these rows, and a batch may bring its values of further columns. It may have ``datasets``
    (`spatterlib.plugins.HasDatasets`), numbers of rows by name that add up to all rows.
    """


@hookspec
def spatter_classifiers() -> dict[str, type[Classifier]]:  # type: ignore[empty-body]
    """Classifiers by id.

    A class of hyper-parameters with ``fit(...) -> Model`` and ``load(path) -> Model``; what passes between it and
    training stands at `spatterlib.plugins.Classifier`. ``instance.preprocessing`` says how it wants its crops; ``fit``
    gets them prepared, as arrays, in two sets, and returns a model that turns crops into scores without it. The
    same seed gives the same model; given a ``checkpoint`` it goes on where that was left. The arrays are not
    modified, and no row outside ``rows`` is looked at. ``notify`` gets every epoch at its end. A class whose models
    are made elsewhere may refuse to ``fit``.

    A model's ``scores`` are finite, a column for each of ``classes``, for any prepared crop, and for none at all; the
    answer for a crop does not depend on the other crops. They are logits: a run divides them by its temperature, and
    their softmax are the probabilities. A model that was saved and loaded gives the same scores, and has as ``facts``
    what was saved with it; one that was pickled gives the same scores, too. The instance pickles and survives a JSON
    round trip.

    A class may have ``suffixes``, a tuple such as ``(".onnx",)`` (`spatterlib.plugins.HasSuffixes`), and
    ``recognises(path)`` (`spatterlib.plugins.SupportsRecognise`), by which a file finds its class; a file that holds no
    model is not recognised. An instance may have ``ready(device)`` (`spatterlib.plugins.SupportsReady`), which raises
    what ``fit`` would raise at once, and nothing where ``fit`` learns. A model may have ``with_engine(engine)``
    (`spatterlib.plugins.SupportsEngines`): the scores of all engines are the same to 1e-4. It may have
    ``embed(images)``, ``last_layer`` and ``with_last_layer(weights, biases)`` (`spatterlib.plugins.SupportsLastLayer`):
    its scores are the linear layer of what is embedded, to 1e-4, and those of a copy with another last layer are, too.
    """


@hookspec(firstresult=True)
def spatter_open_video(path: str, value_range: tuple[float, float] | None, axes: str | None) -> Video | None:
    """Open a recording, or return None = not mine; the first that opens it wins.

    Every frame is accounted for: ``video.times`` has one entry per expected frame, and
    ``video.read(start, stop)`` gives one item for each number, None where the frame does not decode. It reads
    the same frame again whatever was read before. A picture has the size of the video, and ``picture.rgb(box)`` is
    the whole frame's uint8 RGB cut to the box. Times increase from frame to frame. ``video.identity()`` is JSON, and
    the same each time. ``video.close()`` may be called twice. A file of another kind gives None, not an error;
    only the built-in reader of video files, which is asked last, says why a file is none. A plugin of yours is asked
    before the built-in readers.

    A module with this hook may have ``suffixes``, a tuple such as ``(".cih",)`` (`spatterlib.plugins.HasSuffixes`): by
    these its recordings are found in folders and patterns. A video may have ``keyframes``
    (`spatterlib.plugins.HasKeyframes`), numbers of frames in order at which reading can begin at no extra cost; then
    several readings go on at the same time.

    A hook takes ``path`` alone, or also what its files leave open: ``value_range``, the values that are shown as 0 and
    255, and ``axes``, the order of the axes of an array such as ``"yxt"``; each is None where nothing is said. A reader
    that goes by one says so in ``video.identity()``, under the same name; else the recording is refused.
    """


@hookspec
def spatter_commands(cli: click.Group) -> None:
    """Add sub-commands to the command line: ``@cli.command()``.

    It adds commands of its own names; one that is there already stays. With `spatterlib.plugins.answers` a command
    answers in JSON as the built-in ones do; the options ``-v`` and ``--log-file`` come of themselves.
    """
