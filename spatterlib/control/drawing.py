"""Control charts of a build as a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside
from spatterlib.common.standard_streams import shown
from spatterlib.common.wording import counted
from spatterlib.control.reference import Reference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Drawable", "draw_charts"]

# Colour-blind safe (Okabe and Ito 2008); grey for what is usual.
_LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#6B3E26", "#5E4FA2", "#6B6B6B")
_RED, _GREY = "#D55E00", "#6B6B6B"
_TITLES = {
    "ewma": "EWMA: recent layers, standard deviations of the EWMA",
    "t2": "T²: all descriptors together",
    "shewhart": "Shewhart: this layer alone, standard deviations",
    "cusum": "CUSUM: what has added up, standard deviations",
}


class Drawable(Protocol):
    """What is drawn: `spatterlib.control.monitoring.Charted`, which can draw itself."""

    @property
    def reference(self) -> Reference:
        """What the layers were compared with."""

    @property
    def points(self) -> NDArray[np.void]:
        """``(n,)`` `POINT`."""

    @property
    def values(self) -> NDArray[np.float64]:
        """``(4, n, p)``, see `Point`."""


def draw_charts(charted: Drawable, path: str | os.PathLike[str], title: str = "") -> None:
    """Draw the charts of a build, one under the other, over its layers.

    Parameters
    ----------
    charted : Charted
        From `spatterlib.control.monitoring.monitor`.
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


def _panel(axes: Axes, charted: Drawable, name: str) -> None:
    base, layers = charted.reference, charted.points["group"]
    limit, raises = base.limits[name], name in base.alarms
    curves = _curves(charted, name)
    for number, curve in enumerate(curves.T):
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
    top = float(np.nanmax(np.abs(curves), initial=0.0))
    if top > 8 * limit:
        axes.set_yscale("log" if name == "t2" else "symlog")
    role = "raises alarms" if raises else "shown only"
    axes.set_title(f"{_TITLES[name]} ({role}, limit {limit:.1f})", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)


def _curves(charted: Drawable, name: str) -> NDArray[np.float64]:
    """``(n, curves)`` what a panel shows."""
    if name == "t2":
        return np.asarray(charted.points["t2"][:, None])
    if name == "cusum":
        return np.asarray(np.maximum(charted.values[2], -charted.values[3]))
    return np.asarray(charted.values[0 if name == "shewhart" else 1])


def _p_values(axes: Axes, charted: Drawable) -> None:
    least = 1 / (len(charted.reference.conformal.scores) + 1)
    axes.semilogy(charted.points["group"], charted.points["p"], ".", color="#222222", markersize=4)
    axes.axhline(least, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_ylim(least / 1.6, 1.4)
    axes.set_title(
        f"Conformal p-value (shown only; it cannot be below {least:.3f} with this reference)", loc="left", fontsize=9
    )
    axes.spines[["top", "right"]].set_visible(False)
