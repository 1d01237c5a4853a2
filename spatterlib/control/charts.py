"""Control charts of the layers of a store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.wording import counted
from spatterlib.control.drawing import draw_charts
from spatterlib.control.monitoring import Charted, monitor
from spatterlib.control.reference import Reference, learn_reference
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
        ``points``, one for each layer, ``alarms`` in words, ``spells`` of layers with alarms; ``draw(path)``.

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
    >>> found = sp.chart_layers(folder / "tonight.h5", base, camera={"frame_rate": 25, "exposure": 0.036})
    >>> len(found.points), [(first, last) for first, last, _ in found.spells]
    (1, [(1, 1)])
    """
    if isinstance(reference, str | os.PathLike):
        reference = Reference.load(reference) if str(reference).endswith(".json") else [reference]
    base = reference if isinstance(reference, Reference) else None
    seen_by = _camera_of(camera) or (base.camera if base else None)
    if base and scan_turn is None:
        scan_turn, scan_start = base.about.get("scan_turn"), base.about.get("scan_start") or 0.0
    turn: dict[str, Any] = {"scan_turn": scan_turn, "scan_start": scan_start}
    rows, seen = layer_rows(store, seen_by, **turn)
    if base is None:
        first = reference if isinstance(reference, int) else 0
        parts = [(rows[:first], seen)] if first else [layer_rows(path, seen_by, **turn) for path in _paths(reference)]
        told = [f"first {counted(first, 'layer')} of {Path(store).name}"] if first else _paths(reference)
        base, rows = learn_from(parts, told, names, turn, arl=arl, builds=builds), rows[first:]
    base.check(seen.camera)
    return monitor(base, rows)


def _paths(reference: Any) -> list[str | os.PathLike[str]]:
    return [] if isinstance(reference, int | Reference) else list(reference)


def _camera_of(camera: str | os.PathLike[str] | Camera | Mapping[str, Any] | None) -> Camera | None:
    if isinstance(camera, Mapping):
        return Camera(**camera)
    return load_camera(camera) if isinstance(camera, str | os.PathLike) else camera


def learn_from(
    parts: Sequence[tuple[NDArray[np.void], Measured]],
    paths: Sequence[str | os.PathLike[str]],
    names: Sequence[str] | None,
    turn: Mapping[str, Any],
    **options: Any,
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
    turn : mapping
        ``scan_turn`` and ``scan_start``; kept if the first is no None.

    Raises
    ------
    ParameterError
        If the stores are of several cameras, or their layers are too few.
    """
    camera, seen = parts[0][1].camera, [own for _, own in parts]
    for other in seen[1:]:
        check_same(camera.identity(), other.camera, "the first reference", "learn from one camera at a time")
    about = {
        "recordings": [Path(path).name for path in paths],
        "simulated": any(bool(item.about["simulated"]) for item in seen),
        "camera": camera.identity(),
        "calibrated": all(bool(item.about.get("calibrated")) for item in seen),
    } | dict(turn if turn["scan_turn"] is not None else {})
    return learn_reference(np.concatenate([rows for rows, _ in parts]), names, about=about, **options)
