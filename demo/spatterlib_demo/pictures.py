"""Pictures for the page: small JPEGs in the page itself, so that no file and no full frame travels."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatterlib_demo.markup import Markup, html, joined

__all__ = ["boxed", "crop_button", "data_uri", "encoded_uri", "gallery", "svg"]

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


def boxed(picture: NDArray[np.uint8], boxes: Iterable[tuple[Any, str, str]], alt: str) -> Markup:
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
    size = max(picture.shape[1] / 50, 9)
    box = (
        '<rect class="box {style}" x="{row[x]}" y="{row[y]}" width="{row[width]}" height="{row[height]}"/>'
        '<text class="box {style}" x="{row[x]}" y="{y:.0f}" font-size="{size:.0f}">{text}</text>'
    )
    shapes = joined(
        html(box, row=row, style=style, text=text, size=size, y=max(int(row["y"]) - size / 3, size))
        for row, style, text in boxes
    )
    return svg(picture, alt, shapes)


def svg(picture: NDArray[np.uint8], alt: str, shapes: Markup) -> Markup:
    """A picture with shapes over it, in its own px."""
    height, width = picture.shape[:2]
    return html(
        '<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{alt}">'
        '<image href="{uri}" width="{width}" height="{height}"/>{shapes}</svg>',
        width=width,
        height=height,
        alt=alt,
        uri=data_uri(picture),
        shapes=shapes,
    )


def crop_button(uri: str, pick: str, lines: Sequence[str], alt: str, *, pressed: bool = False) -> Markup:
    """A crop that can be pressed; `pick` is what the page then tells the server."""
    return html(
        '<button type="button" class="crop" data-pick="{pick}"{state} title="{alt}">'
        '<span><img src="{uri}" alt="{alt}"></span><small>{text}</small></button>',
        pick=pick,
        state=html(' aria-pressed="true"') if pressed else "",
        alt=alt,
        uri=uri,
        text=html("<br>").join(lines),
    )


def gallery(title: str, buttons: Sequence[Markup], empty: str = "none") -> Markup:
    """Crops under a heading."""
    body = html('<div class="crops">{}</div>', joined(buttons)) if buttons else html('<p class="soft">{}</p>', empty)
    return html("<h2>{}</h2>{}", title, body)
