"""Pictures for the page: small JPEGs in the page itself, so that no file and no full frame travels."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["boxed", "crop_button", "data_uri", "encoded_uri", "gallery"]

LARGEST = 960
"""Px, longest side of a frame that is sent."""


def data_uri(picture: NDArray[np.uint8], largest: int = LARGEST, quality: int = 80) -> str:
    """``(h, w, 3)`` RGB or ``(h, w)`` grey uint8 as a JPEG in a ``data:`` address, shrunk to `largest` px."""
    image = Image.fromarray(picture)
    image.thumbnail((largest, largest))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return encoded_uri(file.getvalue())


def encoded_uri(encoded: bytes) -> str:
    """An encoded crop as a ``data:`` address."""
    kind = "png" if encoded.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def boxed(picture: NDArray[np.uint8], boxes: Iterable[tuple[Any, str, str]], alt: str) -> str:
    """A frame with boxes around rows of a table, drawn as lines that stay sharp at any size.

    Parameters
    ----------
    picture : ndarray
        ``(h, w, 3)`` RGB or ``(h, w)`` grey uint8.
    boxes : iterable of (row, class, text)
        Row with x, y, width, height in px; style; what is written above.
    alt : str
        What the picture shows.
    """
    height, width = picture.shape[:2]
    size = max(width / 50, 9)
    shapes = "".join(
        f'<rect class="box {style}" x="{row["x"]}" y="{row["y"]}" width="{row["width"]}" height="{row["height"]}"/>'
        f'<text class="box {style}" x="{row["x"]}" y="{max(int(row["y"]) - size / 3, size):.0f}" '
        f'font-size="{size:.0f}">{escape(text)}</text>'
        for row, style, text in boxes
    )
    return (
        f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}">'
        f'<image href="{data_uri(picture)}" width="{width}" height="{height}"/>{shapes}</svg>'
    )


def crop_button(uri: str, pick: str, lines: Sequence[str], alt: str, *, pressed: bool = False) -> str:
    """A crop that can be pressed; `pick` is what the page then tells the server."""
    state = ' aria-pressed="true"' if pressed else ""
    text = "<br>".join(escape(line) for line in lines)
    return (
        f'<button type="button" class="crop" data-pick="{escape(pick)}"{state} title="{escape(alt)}">'
        f'<span><img src="{uri}" alt="{escape(alt)}"></span><small>{text}</small></button>'
    )


def gallery(title: str, buttons: Sequence[str], empty: str = "none") -> str:
    """Crops under a heading; `title` is HTML."""
    body = f'<div class="crops">{"".join(buttons)}</div>' if buttons else f'<p class="soft">{escape(empty)}</p>'
    return f"<h2>{title}</h2>{body}"
