"""Footage that shows no powder bed gets no verdict, as it is and with other levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from recordings import RECORDINGS, existing

import spatterlib as sp
from spatterlib.types import RgbPicture

Tone = Callable[[NDArray[np.float64]], NDArray[np.float64]]
TONES: dict[str, Tone] = {
    "as it is": lambda level: level,
    "darkened": lambda level: 1.3 * (level - 0.5) + 0.4,
    "gamma 1.6": lambda level: level**1.6,
    "gamma 0.6": lambda level: level**0.6,
}


@pytest.mark.torture
@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize("name", RECORDINGS)
def test_nothing_is_decided(name: str, tone: str) -> None:
    table = np.clip(np.round(255 * TONES[tone](np.arange(256) / 255)), 0, 255).astype(np.uint8)
    with sp.open_video(existing(name)) as video:
        whole = (0, 0, video.width, video.height)
        frames = [table[picture.rgb(whole)] for picture in video.read(0, 300) if picture is not None]
        rate = 1 / float(np.median(np.diff(video.times)))
    verdict = sp.predict(Frames(name, np.stack(frames), rate), "simulated", window=2, progress=False)
    assert verdict.windows
    assert [span for span in (*verdict.layers, *verdict.windows) if span.label is not None] == []


class Frames:
    """Frames in memory as a video."""

    def __init__(self, name: str, frames: NDArray[np.uint8], rate: float) -> None:
        self.name, self.frames, self.rate = name, frames, rate
        self.height, self.width = frames.shape[1:3]
        self.times = np.arange(len(frames)) / rate

    def identity(self) -> dict[str, object]:
        return {"name": self.name, "width": self.width, "height": self.height, "fps": self.rate}

    def read(self, start: int, stop: int) -> Iterator[RgbPicture]:
        return map(RgbPicture, self.frames[start:stop])

    def close(self) -> None:
        """Nothing to close."""
