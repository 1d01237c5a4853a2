"""A simulated recording as a file, and its truth beside it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from fractions import Fraction
from pathlib import Path
from threading import local
from typing import Any, Protocol

import numpy as np

from spatterlib.common.files import beside, check_target, writing
from spatterlib.errors import OutputExistsError, ParameterError, StoreError
from spatterlib.simulation import imaging
from spatterlib.simulation.render import Frame, render
from spatterlib.simulation.scene import Scene
from spatterlib.simulation.settings import SimulationSettings
from spatterlib.simulation.truth import Truth, TruthWriter, as_json, truth_path
from spatterlib.types import Image

_CHUNK = 16
"""Frames that a worker renders at a time."""
_FORMATS = {".mp4": "mp4", ".mkv": "matroska"}


def simulate(
    path: str | os.PathLike[str],
    settings: SimulationSettings | None = None,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **parameters: Any,
) -> Truth:
    """Write a video of a laser powder-bed fusion build, and beside it what is true of it.

    Parameters
    ----------
    path : path
        ``.mp4`` or ``.mkv`` (H.264), or ``.npy`` (``(n, h, w, 3)`` uint8 RGB). The truth goes to
        ``<stem>.truth.npz`` beside it.
    settings : SimulationSettings, optional
        What is simulated.
    workers : int
        Threads that render; the frames do not depend on their number.
    overwrite : bool
        Replace existing files.
    progress : callable, optional
        Called with the number of frames written and of all frames.
    **parameters
        Fields of `SimulationSettings`; they win over those of `settings`.

    Returns
    -------
    Truth
        Tables ``events``, ``streaks``, ``layers``; mapped from the file when they are first used.

    Raises
    ------
    ParameterError
        If a parameter is unknown or outside its range, or the suffix is none of the three.
    OutputExistsError
        If one of the two files exists and `overwrite` is not set.
    MissingFileError
        If the folder is not there.
    StoreError
        If it cannot be written, as on a full disk; nothing of it is left then.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> truth = sp.simulate(pathlib.Path(tempfile.mkdtemp()) / "low.mp4", gas_flow="low", seconds=1, seed=1)
    >>> bool(truth.events["frame"].max() < 25)
    True
    """
    chosen = SimulationSettings.of(settings, **parameters)
    if not Path(path).name:
        raise ParameterError(f"a recording needs a name such as build.mp4, got {os.fspath(path)!r}")
    video, truth = Path(path), truth_path(path)
    _check(video, truth, workers, overwrite=overwrite)
    with ExitStack() as stack:
        stack.enter_context(writing(video))
        recorder = stack.enter_context(closing(TruthWriter(truth)))
        scene = Scene(chosen)
        part = stack.enter_context(beside(video))
        with closing(_sink(part, video.suffix.lower(), chosen)) as sink:
            events = 0
            for frame in _frames(scene, workers):
                sink.add(frame.number, frame.rgb)
                frame.streaks["event"][frame.streaks["event"] >= 0] += events
                events += len(frame.events)
                recorder.add("events", frame.events)
                recorder.add("streaks", frame.streaks)
                if progress:
                    progress(frame.number + 1, chosen.frames)
            sink.finish()
        recorder.add("layers", scene.layers())
        recorder.pack(_about(scene))
    return Truth.load(truth)


def _check(video: Path, truth: Path, workers: int, *, overwrite: bool) -> None:
    if workers < 1:
        raise ParameterError(f"workers must be 1 or more, got {workers}")
    check_target(video, (*_FORMATS, ".npy"), overwrite=overwrite)
    check_target(truth, overwrite=overwrite)
    if truth.exists():
        try:
            Truth.load(truth)
        except StoreError as error:
            raise OutputExistsError(f"{error}; it is not replaced, move it elsewhere") from error


def _about(scene: Scene) -> dict[str, Any]:
    """What the truth file says about itself."""
    return {
        "simulated": True,
        "by": f"spatterlib {_version()}",
        "settings": as_json(scene.settings),
        "gas_speeds": list(scene.speeds),
        "nuisance": imaging.nuisance_facts(scene.nuisance),
        "projection": scene.projection.tolist(),
    }


def _version() -> str:
    from importlib.metadata import version

    return version("spatterlib")


def _frames(scene: Scene, workers: int) -> Iterator[Frame]:
    """All frames in order; a frame's array is used again for a later one."""
    if workers == 1:
        yield from _chunk(scene, local(), 0, scene.settings.frames, copy=False)
        return
    state, waiting = local(), deque[Future[list[Frame]]]()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for start in range(0, scene.settings.frames, _CHUNK):
                stop = min(start + _CHUNK, scene.settings.frames)
                waiting.append(pool.submit(lambda a, b: list(_chunk(scene, state, a, b, copy=True)), start, stop))
                if len(waiting) > workers + 1:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _chunk(scene: Scene, state: local, start: int, stop: int, *, copy: bool) -> Iterator[Frame]:
    canvas = getattr(state, "canvas", None) or scene.canvas()
    state.canvas = canvas
    shape = (scene.settings.height, scene.settings.width, 3)
    out = np.empty(shape, np.uint8)
    for number in range(start, stop):
        if copy:
            out = np.empty(shape, np.uint8)
        yield Frame(number, out, *render(scene, number, canvas, out))


class _Sink(Protocol):
    """Where frames go: called in order, then finished, then closed."""

    def add(self, number: int, rgb: Image) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


def _sink(part: Path, suffix: str, settings: SimulationSettings) -> _Sink:
    return _Array(part, settings) if suffix == ".npy" else _Video(part, _FORMATS[suffix], settings)


class _Array:
    """Frames in a ``.npy`` file."""

    def __init__(self, part: Path, settings: SimulationSettings) -> None:
        self._file = part.open("wb")
        shape = (settings.frames, settings.height, settings.width, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, number: int, rgb: Image) -> None:
        """Write one frame."""
        self._file.write(rgb.data)

    def finish(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Video:
    """Frames as H.264: 4:2:0 at a bit rate, or RGB without loss. One thread, so that files are equal."""

    def __init__(self, part: Path, format_: str, settings: SimulationSettings) -> None:
        import av

        self._container = av.open(str(part), "w", format=format_)
        self._container.metadata["comment"] = f"simulated by spatterlib {_version()}, seed {settings.seed}"
        self._container.metadata["title"] = "simulated laser powder-bed fusion"
        rate = Fraction(settings.fps).limit_denominator(1001)
        stream: Any = self._container.add_stream(
            "libx264rgb" if settings.lossless else "libx264",
            rate=rate,
            options={"preset": "ultrafast", "threads": "1"} | ({"qp": "0"} if settings.lossless else {}),
        )
        stream.width, stream.height = settings.width, settings.height
        stream.pix_fmt = "rgb24" if settings.lossless else "yuv420p"
        if not settings.lossless:
            stream.bit_rate = settings.bit_rate
            # ITU-R BT.601, limited range: what cv2 computes.
            stream.codec_context.color_range, stream.codec_context.colorspace = 1, 6
        self._stream = stream
        self._planes = np.empty((settings.height * 3 // 2, settings.width), np.uint8)
        self._frame = av.VideoFrame(settings.width, settings.height, "rgb24" if settings.lossless else "yuv420p")

    def add(self, number: int, rgb: Image) -> None:
        """Encode one frame."""
        frame = self._frame
        # One frame for all: pages of a fresh one cost as much as the conversion.
        frame.make_writable()
        for plane, part in zip(frame.planes, self._parts(rgb), strict=True):
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : part.shape[1]] = part
        frame.pts = number
        self._container.mux(self._stream.encode(frame))

    def _parts(self, rgb: Image) -> list[Image]:
        """The planes as ``(lines, bytes)``."""
        if self._stream.pix_fmt == "rgb24":
            return [rgb.reshape(len(rgb), -1)]
        import cv2

        lines, half = len(rgb), rgb.shape[1] // 2
        cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420, self._planes)
        quarters = self._planes[lines:].reshape(2, lines // 2, half)
        return [self._planes[:lines], quarters[0], quarters[1]]

    def finish(self) -> None:
        """Encode what is held back, and close the container."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def close(self) -> None:
        """Let go of the file; harmless behind `finish`."""
        with suppress(Exception):
            self._container.close()
