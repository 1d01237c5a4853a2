"""Control charts of the layers of a store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.wording import counted
from spatterlib.control.drawing import draw_charts
from spatterlib.control.monitoring import Charted, monitor
from spatterlib.control.reference import Reference, ReferenceFacts, learn_reference
from spatterlib.measuring.camera import Camera, check_same, load_camera
from spatterlib.measuring.measurement import Measured, layer_rows

__all__ = ["chart_layers", "draw_charts", "learn_from"]


def chart_layers(
    store: str | os.PathLike[str],
    reference: int | str | os.PathLike[str] | Reference | Sequence[str | os.PathLike[str]],
    *,
    camera: str | os.PathLike[str] | Camera | Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    arl: float = 370.0,
    builds: int = 8000,
    scan_turn: float | None = None,
    scan_start: float = 0.0,
) -> Charted:
    """Compare the layers of a store with good layers: Shewhart, EWMA, CUSUM and T² charts, as `spatterlib monitor`.

    Parameters
    ----------
    store : path
        What was extracted from the recording of the build.
    reference : int, path, Reference, or several paths
        How many layers of the store are good, its first (the others are charted); stores of good layers; a file of
        `monitor --save-reference`; or what `learn_reference` gave.
    camera : path, Camera or mapping, optional
        Profile, its file or its fields, for stores without measured streaks beside them; by default that of the
        reference.
    names, arl, builds
        As `spatterlib.control.reference.learn_reference` takes them, where the reference is still to be learned.
    scan_turn, scan_start : float, optional
        Degrees by which the hatch turns from layer to layer, and its angle in a layer number 0; those of the reference
        by default.

    Returns
    -------
    Charted
        ``points``, one for each layer, ``alarms`` in words, ``alarm_intervals`` of layers with alarms; ``draw(path)``.

    Raises
    ------
    ParameterError
        If reference layers are too few, nothing can be charted, or a store is of another camera.
    MissingFileError
        If a file is not there, or neither streaks nor a camera.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.measuring.descriptors import DESCRIPTOR
    >>> from spatterlib.control.reference import learn_reference
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = sp.simulate(folder / "tonight.mp4", seconds=4, seed=5)
    >>> _ = sp.extract(folder / "tonight.mp4", folder / "tonight.h5", progress=False)
    >>> rows = np.zeros(60, DESCRIPTOR)
    >>> rows["plume_area"] = np.random.default_rng(1).normal(40000, 2000, 60)
    >>> base = learn_reference(rows, ["plume_area"], harmonics=0, builds=300)
    >>> charted = sp.chart_layers(folder / "tonight.h5", base, camera={"frame_rate": 25, "exposure": 0.036})
    >>> len(charted.points), [(first, last) for first, last, _ in charted.alarm_intervals]
    (1, [(1, 1)])
    """
    if isinstance(reference, str | os.PathLike):
        reference = Reference.load(reference) if str(reference).endswith(".json") else [reference]
    known = reference if isinstance(reference, Reference) else None
    profile = _camera_of(camera) or (known.camera if known else None)
    if known and scan_turn is None:
        scan_turn, scan_start = known.about.get("scan_turn"), known.about.get("scan_start") or 0.0
    rows_of = partial(layer_rows, camera=profile, scan_turn=scan_turn, scan_start=scan_start)
    rows, measured = rows_of(store)
    if isinstance(reference, Reference):
        base = reference
    elif isinstance(reference, int):
        good, rows = rows[:reference], rows[reference:]
        label = f"first {counted(reference, 'layer')} of {Path(store).name}"
        base = learn_from([(good, measured)], [label], names, scan_turn, scan_start, arl=arl, builds=builds)
    else:
        parts = [rows_of(path) for path in reference]
        base = learn_from(parts, list(reference), names, scan_turn, scan_start, arl=arl, builds=builds)
    base.check(measured.camera)
    return monitor(base, rows)


def _camera_of(camera: str | os.PathLike[str] | Camera | Mapping[str, Any] | None) -> Camera | None:
    if isinstance(camera, Mapping):
        return Camera(**camera)
    return load_camera(camera) if isinstance(camera, str | os.PathLike) else camera


class LearningOptions(TypedDict, total=False):
    """Options of `spatterlib.control.reference.learn_reference`."""

    arl: float
    alarms: Sequence[str]
    builds: int
    seed: int


def learn_from(
    parts: Sequence[tuple[NDArray[np.void], Measured]],
    paths: Sequence[str | os.PathLike[str]],
    names: Sequence[str] | None = None,
    scan_turn: float | None = None,
    scan_start: float = 0.0,
    **options: Unpack[LearningOptions],
) -> Reference:
    """Learn a reference that knows which stores and which camera it is of.

    Parameters
    ----------
    parts : sequence of (ndarray, Measured)
        Good layers of each store, as `spatterlib.measuring.measurement.layer_rows` gives them.
    paths : sequence of path
        What the stores are called.
    names, **options
        As `spatterlib.control.reference.learn_reference` takes them.
    scan_turn, scan_start : float, optional
        Kept if the first is no None.

    Raises
    ------
    ParameterError
        If the stores are of several cameras, or their layers are too few.
    """
    stores = [measured for _, measured in parts]
    camera = stores[0].camera
    for other in stores[1:]:
        check_same(camera.identity(), other.camera, "the first reference", "learn from one camera at a time")
    about: ReferenceFacts = {
        "recordings": [Path(path).name for path in paths],
        "simulated": any(bool(measured.about["simulated"]) for measured in stores),
        "camera": camera.identity(),
        "calibrated": all(bool(measured.about.get("calibrated")) for measured in stores),
    }
    if scan_turn is not None:
        about |= {"scan_turn": scan_turn, "scan_start": scan_start}
    return learn_reference(np.concatenate([rows for rows, _ in parts]), names, about=about, **options)
