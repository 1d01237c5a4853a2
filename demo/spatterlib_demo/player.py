"""A player: the recording with boxes over it, in pictures that the server sends a few at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo.markup import area
from spatterlib_demo.pictures import data_uri

__all__ = ["component", "pictures"]

_ASSETS = Path(__file__).parent / "assets"
# Pictures that are sent at once at most; px and quality of those that run.
_MOST, _SIDE, _QUALITY = 48, 640, 70
# Events that can be jumped to.
_EVENTS = 20_000
_stamps = itertools.count()


def component(**options: Any) -> gr.HTML:
    """The player; its value comes from `pictures`, its event `select` has ``event.frame`` and ``event.count``."""
    script = (_ASSETS / "player.js").read_text(encoding="utf-8")
    return area(value=None, html_template='<div class="player"></div>', js_on_load=script, **options)


def pictures(
    verdict: sp.Verdict, name: str, video: Path, first: int, count: int = 1, *, show: bool = True
) -> dict[str, Any]:
    """Some frames with their boxes, coloured by what the model says of each.

    Parameters
    ----------
    verdict : Verdict
        On the recording.
    name : str
        What the page calls it.
    video : path
        The recording.
    first, count : int
        Which frames; what lies beyond the recording is left out.
    show : bool
        Show the first of them now.
    """
    with sp.open_video(video) as source:
        total = len(source.times)
        first = min(max(first, 0), total - 1)
        stop = min(first + min(max(count, 1), _MOST), total)
        box = (0, 0, source.width, source.height)
        single = stop - first == 1
        found = [None if picture is None else _uri(picture.rgb(box), single) for picture in source.read(first, stop)]
        times = source.times[first:stop]
        known = source.times[np.isfinite(source.times)]
        width, height = source.width, source.height
    step = float(np.median(np.diff(known))) if len(known) > 1 else 0.04
    frames = verdict.rows["frame"]
    events, index = np.unique(verdict.rows["event"], return_index=True)
    return {
        "key": f"{name} {id(verdict)}",
        "stamp": next(_stamps),
        "name": name,
        "mark": " (simulated)" if sp.is_simulated(verdict.settings) else "",
        "frames": total,
        "fps": 1 / max(step, 1e-3),
        "width": width,
        "height": height,
        "events": sorted({int(frames[at]) for at in index[events > 0]})[:_EVENTS],
        "first": first,
        "show": first if show else None,
        "pictures": found,
        "times": [round(float(time), 4) if np.isfinite(time) else 0.0 for time in times],
        "boxes": [_boxes(verdict.rows[frames == number], verdict.classes) for number in range(first, stop)],
    }


def _uri(picture: Any, single: bool) -> str:
    return data_uri(picture) if single else data_uri(picture, _SIDE, _QUALITY)


def _boxes(rows: Any, classes: Sequence[str]) -> list[list[Any]]:
    """x, y, width, height, style and text of each."""
    places = ("x", "y", "width", "height")
    return [[*(int(row[place]) for place in places), *_said(row["probabilities"], classes)] for row in rows]


def _said(probabilities: Any, classes: Sequence[str]) -> tuple[str, str]:
    if not np.isfinite(probabilities).all():
        return "none", "no vote"
    best = int(np.argmax(probabilities))
    return ("last" if best == len(classes) - 1 else "first"), f"{classes[best]} {probabilities[best]:.2f}"
