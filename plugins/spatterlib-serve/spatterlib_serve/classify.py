"""Crops in, probabilities out, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spatterlib.errors import StoreError
from spatterlib.plugins import decode, image_size
from spatterlib.verdicts.scoring import PreparedCrop, Scorer
from spatterlib_serve.problems import ProblemError

__all__ = ["classify"]

_TOGETHER = 16


def classify(scorer: Scorer, names: Sequence[str], crops: Sequence[bytes], pixels: int) -> list[dict[str, Any]]:
    """What a model says of encoded crops, each by itself.

    Parameters
    ----------
    scorer : Scorer
        The model.
    names : sequence of str
        What the client calls them.
    crops : sequence of bytes
        JPEG or PNG.
    pixels : int
        Px, largest crop; together they may have 16 times that. Headers are asked before anything is decoded.

    Raises
    ------
    ProblemError
        413 if an image is too large, 415 if it is no image.
    """
    sizes = [_size(name, data, pixels) for name, data in zip(names, crops, strict=True)]
    total = sum(width * height for width, height in sizes)
    if total > _TOGETHER * pixels:
        raise ProblemError(
            413, "too-large", f"the crops have {total} px together; at most {_TOGETHER * pixels} are read"
        )
    seen = [_seen(scorer, name, data) for name, data in zip(names, crops, strict=True)]
    probabilities, distances, _ = scorer(seen)
    classes = scorer.run.classes
    return [
        {"name": name, "width": width, "height": height} | _said(classes, own, float(distance), scorer.black)
        for name, (width, height), own, distance in zip(names, sizes, probabilities, distances, strict=True)
    ]


def _size(name: str, data: bytes, pixels: int) -> tuple[int, int]:
    try:
        width, height = image_size(data)
    except StoreError as error:
        raise ProblemError(415, "no-image", f"{name} is no JPEG or PNG image") from error
    if not 0 < width * height <= pixels:
        raise ProblemError(
            413, "too-large", f"{name} says that it is {width}x{height} px; at most {pixels} px are read"
        )
    return width, height


def _seen(scorer: Scorer, name: str, data: bytes) -> PreparedCrop:
    try:
        crop = decode(data)
    except StoreError as error:
        raise ProblemError(415, "no-image", f"{name} does not decode: it is damaged or cut short") from error
    image = np.zeros(scorer.run.preprocessing.shape, np.uint8)
    return PreparedCrop(b"", image, scorer.run.preprocessing.prepare_into(crop, image))


def _said(classes: Sequence[str], own: Any, distance: float, black: int) -> dict[str, Any]:
    known = np.isfinite(distance)
    facts = {"distance": round(distance, 6) if known else None, "far": bool(distance > 1) if known else None}
    if not np.isfinite(own).all():
        reason = f"no pixel is brighter than {black}: too dark to be judged"
        return {"label": None, "probabilities": None, "reason": reason} | facts
    shares = dict(zip(classes, map(float, own), strict=True))
    return {"label": classes[int(np.argmax(own))], "probabilities": shares, "reason": None} | facts
