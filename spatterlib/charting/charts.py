"""Control charts of the layers of a store, and as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.charting.monitoring import Charted, monitor
from spatterlib.charting.reference import Reference, learn_reference
from spatterlib.files import beside
from spatterlib.measuring.camera import Camera, check_same, load_camera
from spatterlib.measuring.measurement import Measured, layer_rows
from spatterlib.streams import shown
from spatterlib.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["chart_layers", "draw_charts", "learn_from"]

# Colour-blind safe (Okabe and Ito 2008); grey for what is usual.
_LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#6B3E26", "#5E4FA2", "#6B6B6B")
_RED, _GREY = "#D55E00", "#6B6B6B"
_TITLES = {
    "ewma": "EWMA: recent layers, standard deviations of the EWMA",
    "t2": "T²: all descriptors together",
    "shewhart": "Shewhart: this layer alone, standard deviations",
    "cusum": "CUSUM: what has added up, standard deviations",
}


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
        As `spatterlib.charting.reference.learn_reference` takes them, where the reference is still to be learned.
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
    >>> from spatterlib.charting.reference import learn_reference
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
        As `spatterlib.charting.reference.learn_reference` takes them.
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


def draw_charts(charted: Charted, path: str | os.PathLike[str], title: str = "") -> None:
    """Draw the charts of a build, one under the other, over its layers.

    Parameters
    ----------
    charted : Charted
        From `spatterlib.charting.monitoring.monitor`.
    path : path
        PNG, PDF or SVG to write.
    title : str
        The name of the recording; whether it is simulated is added.
    """
    from matplotlib.figure import Figure

    base = charted.reference
    figure = Figure(figsize=(10, 11), layout="constrained")
    panels = figure.subplots(len(_TITLES) + 1, 1, sharex=True)
    layers = charted.points["group"]
    for axes, name in zip(panels, _TITLES, strict=False):
        _panel(axes, charted, name)
    _p_values(panels[-1], charted)
    panels[-1].set_xlabel("layer")
    alarms = int(charted.points["alarm"].sum())
    mark = " (simulated)" if base.about.get("simulated") else ""
    number = counted(len(layers), "layer")
    count = f"{alarms} of {number} with an alarm" if alarms else f"no alarm in {number}"
    title = f"{shown(title, 100)}{mark}: {count}" if title else f"{count}{mark}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, parse_math=False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    with beside(path) as part:
        figure.savefig(part, dpi=110)


def _panel(axes: Axes, charted: Charted, name: str) -> None:
    base, layers = charted.reference, charted.points["group"]
    limit, raises = base.limits[name], name in base.alarms
    shown = _curves(charted, name)
    for number, curve in enumerate(shown.T):
        colour = _LINES[number % len(_LINES)] if name != "t2" else "#222222"
        label = base.names[number] if name == "ewma" else None
        lines = [curve] if name != "cusum" else [charted.values[2, :, number], charted.values[3, :, number]]
        for line in lines:
            axes.plot(layers, line, color=colour, linewidth=1.1, label=label)
            over = np.abs(line) > limit
            ink, fill = (_RED, _RED) if raises else (_GREY, "none")
            axes.plot(layers[over], line[over], "o", markersize=4, color=ink, markerfacecolor=fill)
    for bound in (limit,) if name == "t2" else (limit, -limit):
        axes.axhline(bound, color=_RED if raises else _GREY, linewidth=1.0, linestyle="--")
    top = float(np.nanmax(np.abs(shown), initial=0.0))
    if top > 8 * limit:
        axes.set_yscale("log" if name == "t2" else "symlog")
    role = "raises alarms" if raises else "shown only"
    axes.set_title(f"{_TITLES[name]} ({role}, limit {limit:.1f})", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)


def _curves(charted: Charted, name: str) -> NDArray[np.float64]:
    """``(n, curves)`` what a panel shows."""
    if name == "t2":
        return np.asarray(charted.points["t2"][:, None])
    if name == "cusum":
        return np.asarray(np.maximum(charted.values[2], -charted.values[3]))
    return np.asarray(charted.values[0 if name == "shewhart" else 1])


def _p_values(axes: Axes, charted: Charted) -> None:
    least = 1 / (len(charted.reference.conformal["scores"]) + 1)
    axes.semilogy(charted.points["group"], charted.points["p"], ".", color="#222222", markersize=4)
    axes.axhline(least, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_ylim(least / 1.6, 1.4)
    axes.set_title(
        f"Conformal p-value (shown only; it cannot be below {least:.3f} with this reference)", loc="left", fontsize=9
    )
    axes.spines[["top", "right"]].set_visible(False)
