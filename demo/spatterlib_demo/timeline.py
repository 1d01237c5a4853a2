"""A timeline that can be zoomed and clicked: spatter per second, coloured by probability, layers marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib_demo.markup import area

__all__ = ["component", "of_rows", "of_verdict", "picker"]

_ASSETS = Path(__file__).parent / "assets"
# Bins that are sent at most; the page draws fewer.
_BINS = 6000

_PICK = """
element.addEventListener('click', event => {
  const target = event.target.closest('[data-pick]');
  if (target) trigger('select', {pick: target.dataset.pick, shift: event.shiftKey});
});
"""


def picker(more: str = "", **options: Any) -> gr.HTML:
    """HTML in which things with ``data-pick`` can be pressed: its event `select` tells which, as ``event.pick``.

    `more` is a script of its own, behind ours.
    """
    return area(js_on_load=_PICK + more, **options)


def component(label: str, **options: Any) -> gr.HTML:
    """The timeline; its value comes from `of_rows` or `of_verdict`, its event `select` has ``event.frame``."""
    script = (_ASSETS / "timeline.js").read_text(encoding="utf-8")
    return area(
        value=None,
        html_template='<div class="timeline" role="group" aria-label="${label}"></div>',
        js_on_load=script,
        label=label,
        **options,
    )


def of_rows(table: NDArray[np.void], seconds: float) -> dict[str, Any]:
    """While it runs: how often, not yet how sure."""
    return _facts(table["time"], table["frame"], np.full(len(table), np.nan), seconds)


def of_verdict(verdict: sp.Verdict) -> dict[str, Any]:
    """Rates with the mean probability of the last class, layers with their verdicts, changes."""
    rows, windows = verdict.rows, verdict.windows
    begin = windows[0].start if windows else 0.0
    facts = _facts(
        rows["time"], rows["frame"], rows["probabilities"][:, -1], windows[-1].stop if windows else 1.0, begin
    )
    facts |= {"low": verdict.classes[0], "high": verdict.classes[-1]}
    facts["layers"] = [
        [round(s.start, 3), round(s.stop, 3), s.number, s.label or s.leading or "", s.state] for s in verdict.layers
    ]
    facts["changes"] = [[round(c.time, 3), f"{c.before} → {c.after}"] for c in verdict.changes]
    return facts


def _facts(
    times: NDArray[np.float64],
    frames: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    end: float,
    begin: float = 0.0,
) -> dict[str, Any]:
    """Rows in narrow bins: time, how many, mean probability, a frame in which there are most."""
    known = np.isfinite(times)
    times, frames, probabilities = times[known], frames[known], probabilities[known]
    width = max((end - begin) / _BINS, 1e-3)
    number = ((times - begin) / width).astype(np.int64)
    bins, first, index, counts = np.unique(number, return_index=True, return_inverse=True, return_counts=True)
    voted = np.isfinite(probabilities)
    sums = np.bincount(index, np.where(voted, probabilities, 0), len(bins))
    votes = np.bincount(index, voted, len(bins))
    means = np.divide(sums, votes, out=np.full(len(bins), -1.0), where=votes > 0)
    return {
        "begin": round(begin, 3),
        "end": round(float(end), 3),
        "time": np.round(begin + (bins + 0.5) * width, 3).tolist(),
        "count": counts.tolist(),
        "mean": np.round(means, 3).tolist(),
        "frame": frames[first].tolist(),
        "layers": [],
        "changes": [],
    }
