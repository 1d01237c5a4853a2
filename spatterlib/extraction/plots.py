"""Pictures of results: timeline, montage of crops, annotated frame. Written beside, then renamed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside
from spatterlib.common.standard_streams import shown
from spatterlib.common.wording import counted
from spatterlib.detection.layers import Layers
from spatterlib.errors import StoreError
from spatterlib.types import Detections, Image, Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["annotate", "boxed", "caption", "montage", "readable", "timeline", "write_png"]

# Colour-blind safe (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#6B6B6B"
_BINS = 400


def timeline(
    detections: Detections,
    frame_log: NDArray[np.void],
    layers: Layers,
    path: str | os.PathLike[str],
    title: str = "",
) -> None:
    """Plot spatter per second over time, layers shaded, frames that did not decode marked.

    Parameters
    ----------
    detections : ndarray
        ``(n,)`` `DETECTION`.
    frame_log : ndarray
        ``(frames,)`` `FRAME_LOG`.
    layers : Layers
        From `spatterlib.layers`.
    path : path
        PNG, PDF or SVG to write.
    title : str
        What stands above the plot: the name of the recording, and "simulated" where it is.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot()
    times = frame_log["time"][np.isfinite(frame_log["time"])]
    first, last = (float(times.min()), float(times.max())) if len(times) else (0.0, 1.0)
    unit, name = (60.0, "min") if last - first > 600 else (1.0, "s")
    counts, edges, width = _rate(frame_log, first, last)
    axes.stairs(counts, edges / unit, fill=True, color=_BLUE, alpha=0.85)
    for layer in layers.table:
        shade = 0.10 if layer["layer"] % 2 else 0.03
        axes.axvspan(layer["start"] / unit, layer["stop"] / unit, color=_GREY, alpha=shade, linewidth=0)
    lost = frame_log["time"][~frame_log["decoded"]]
    axes.plot(lost / unit, np.zeros(len(lost)), "|", color=_ORANGE, markersize=14, label="not decoded")
    if len(lost):
        axes.legend(frameon=False, loc="upper right")
    axes.set_xlim(first / unit, max(last, first + width) / unit)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"time in {name}")
    axes.set_ylabel("detections per second")
    count = f"{counted(len(detections), 'detection')}, {counted(len(layers), 'layer')} (shaded)"
    axes.set_title(f"{shown(title, 100)}: {count}" if title else count, loc="left", fontsize=11, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    _save(figure, path)


def _rate(
    frame_log: NDArray[np.void], first: float, last: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Detections per second in equal bins of a round width: rates, edges, width in s."""
    width = max((last - first) / _BINS, 1e-3)
    exponent = 10 ** np.floor(np.log10(width))
    width = float(exponent * next(step for step in (1, 2, 5, 10) if step * exponent >= width))
    edges = np.arange(first, last + 2 * width, width)
    known = np.isfinite(frame_log["time"])
    counts, _ = np.histogram(frame_log["time"][known], edges, weights=frame_log["detections"][known])
    return counts / width, edges, width


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with beside(path) as part, warnings.catch_warnings():
        # Letters of alphabets that the font lacks are drawn as boxes; that is no fault of the recording.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(part, dpi=140)


def readable(store: Store, rows: Sequence[int]) -> tuple[list[Image], list[int]]:
    """Crops to be shown: a dark cell for each that holds no image, and the rows of these."""
    from spatterlib.common.image_codec import decode

    crops, unread = [], []
    # A store that cannot be read is an error; a row in it that holds no image is not.
    for row, crop in zip(rows, store.encoded(list(rows)), strict=True):
        try:
            crops.append(decode(crop))
        except StoreError:
            crops.append(np.zeros((1, 1, 3), np.uint8))
            unread.append(row)
    return crops, unread


def montage(crops: Sequence[Image], *, columns: int = 8, cell: int = 128) -> Image:
    """Lay crops out in a grid, each fitted into its cell with its proportions kept.

    Parameters
    ----------
    crops : sequence of ndarray
        ``(h, w, 3)`` uint8 RGB each.
    columns : int
        Cells per row.
    cell : int
        Px, side of a cell.

    Returns
    -------
    ndarray
        ``(rows * cell, columns * cell, 3)`` uint8 RGB.
    """
    from spatterlib.common.image_codec import resize

    columns = min(columns, max(len(crops), 1))
    rows = -(-len(crops) // columns)
    sheet = np.full((max(rows, 1) * cell, columns * cell, 3), 24, np.uint8)
    for index, crop in enumerate(crops):
        scale = (cell - 4) / max(crop.shape[:2])
        height, width = (max(1, round(side * scale)) for side in crop.shape[:2])
        top = index // columns * cell + (cell - height) // 2
        left = index % columns * cell + (cell - width) // 2
        sheet[top : top + height, left : left + width] = resize(crop, (width, height))
    return sheet


def annotate(frame: Image, detections: Detections) -> Image:
    """Copy of a frame with the crop boxes of its detections drawn around them.

    Parameters
    ----------
    frame : ndarray
        ``(h, w, 3)`` uint8 RGB; not modified.
    detections : ndarray
        ``(n,)`` `DETECTION`, boxes in full-frame coordinates.

    Returns
    -------
    ndarray
        ``(h, w, 3)`` uint8 RGB.
    """
    import cv2

    picture = np.ascontiguousarray(frame).copy()
    thick = max(1, round(max(frame.shape) / 640))
    for row in detections:
        corner = (int(row["x"]) - thick, int(row["y"]) - thick)
        opposite = (int(row["x"] + row["width"]) + thick - 1, int(row["y"] + row["height"]) + thick - 1)
        cv2.rectangle(picture, corner, opposite, (0, 200, 255), thick)
        text = f"{row['area']:.0f} px2"
        cv2.putText(
            picture,
            text,
            (corner[0], max(corner[1] - 4, 12)),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45 * thick,
            (0, 200, 255),
            thick,
        )
    return picture


def boxed(frame: Image, table: NDArray[np.void], colour: tuple[int, int, int]) -> Image:
    """Copy of a frame with boxes drawn around what they hold, in one colour (RGB), without text."""
    import cv2

    picture = np.ascontiguousarray(frame).copy()
    thick = max(1, round(max(frame.shape) / 640))
    for row in table:
        x, y, width, height = (int(row[name]) for name in ("x", "y", "width", "height"))
        cv2.rectangle(picture, (x - thick, y - thick), (x + width + thick - 1, y + height + thick - 1), colour, thick)
    return picture


def caption(picture: Image, text: str) -> Image:
    """Copy of a picture with a line of text below it: what it shows, and "simulated" where it is.

    Parameters
    ----------
    picture : ndarray
        ``(h, w, 3)`` uint8 RGB.
    text : str
        One line; letters that are not ASCII need OpenCV 5.

    Returns
    -------
    ndarray
        ``(h + line, max(w, text), 3)`` uint8 RGB.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.extraction.plots import caption
    >>> caption(np.zeros((120, 400, 3), np.uint8), "low.h5, simulated").shape[1:]
    (400, 3)
    """
    import cv2

    text = shown(text)
    height, width = picture.shape[:2]
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(1.0, width / 1280)
    (length, tall), below = cv2.getTextSize(text, font, 0.45 * scale, round(scale))
    line = 2 * tall + below
    sheet = np.full((height + line, max(width, length + tall), 3), 24, np.uint8)
    sheet[:height, :width] = picture
    corner = (tall // 2, height + (line + tall) // 2)
    cv2.putText(sheet, text, corner, font, 0.45 * scale, (230, 230, 230), round(scale), cv2.LINE_AA)
    return sheet


def write_png(path: str | os.PathLike[str], picture: Image) -> None:
    """Write an ``(h, w, 3)`` uint8 RGB array as PNG, beside first, then renamed."""
    from spatterlib.common.image_codec import encode

    with beside(path) as part:
        part.write_bytes(encode(picture, "png"))
