"""Opening recordings, positions in them, and clips: what all readers share."""

from __future__ import annotations

import glob
import itertools
import logging
import math
import operator
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import is_there, special
from spatterlib.common.install_hints import example_package
from spatterlib.errors import ContractError, MissingFileError, ParameterError, SpatterlibError, VideoError
from spatterlib.plugins.capabilities import HasKeyframes
from spatterlib.plugins.hook_calls import Answer
from spatterlib.plugins.registry import catalog
from spatterlib.types import Box, Clip, Picture, Video
from spatterlib.video.arrays import check_axes
from spatterlib.video.images import IMAGE_SUFFIXES, is_stack
from spatterlib.video.names import in_natural_order, split_dataset
from spatterlib.video.still import ValueRange, check_value_range

__all__ = ["Recording", "clips", "expand", "open_video", "position", "region"]

log = logging.getLogger("spatterlib")

# How much RGB the frames of one clip would take at most: it bounds memory for frames of any size.
_CLIP_BYTES = 64 << 20
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)|(-?\d+(?:\.\d*)?|-?\.\d+) ?s")
_TICK = 5e-7


@dataclass(frozen=True, eq=False)
class Recording:
    """An opened recording, as `open_video` returns it: a `Video` and a context manager.

    Parameters
    ----------
    video : Video
        What a reader opened.
    fps : float, optional
        The camera's frames per second, by which times are computed instead of taken from the container.
    owned : bool
        Whether `close` closes `video`: not if the caller opened it.
    times : ndarray
        ``(expected,)`` float64, s, presentation time of each frame.
    """

    video: Video
    fps: float | None = None
    owned: bool = True
    times: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        times = self.video.times
        if self.fps is not None:
            times = np.arange(len(times)) / self.fps
        object.__setattr__(self, "times", times)

    @property
    def name(self) -> str:
        """What messages and stores call it."""
        return self.video.name

    @property
    def width(self) -> int:
        """Px, as shown."""
        return self.video.width

    @property
    def height(self) -> int:
        """Px, as shown."""
        return self.video.height

    @property
    def keyframes(self) -> NDArray[np.int64]:
        """``(k,)`` int64, from 0: frames at which reading can begin at no extra cost, as far as is known."""
        return self.video.keyframes if isinstance(self.video, HasKeyframes) else np.zeros(1, np.int64)

    def identity(self) -> dict[str, Any]:
        """JSON-able: what a result was made from."""
        given = {} if self.fps is None else {"fps": self.fps, "times": f"given {self.fps:g} fps"}
        return self.video.identity() | given

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        """Frames ``start .. stop - 1``, one item each, in order; None where one does not decode."""
        return self.video.read(start, stop)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self.owned:
            self.video.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.video, self.fps, self.owned)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_video(
    path: str | os.PathLike[str] | Video,
    fps: float | None = None,
    *,
    value_range: ValueRange = None,
    axes: str | None = None,
) -> Recording:
    """Open a recording: a video file, a folder or pattern of images, a TIFF or ``.npy`` stack, a dataset.

    Readers of installed plugins are asked before the built-in ones.

    Parameters
    ----------
    path : path or Video
        What to open; ``"shots.h5::/entry/frames"`` is a dataset of an HDF5, MATLAB 7.3 or Zarr file. A Video that is
        open already is passed through and stays the caller's to close.
    fps : float, optional
        The camera's frames per second, where the container's time stamps are not those of the recording.
    value_range : tuple of float, optional
        Values that are shown as 0 and 255, such as ``(0, 4095)`` of 12 bits in 16; needed where values are float or
        have a sign.
    axes : str, optional
        Order of the axes of an ``.npy`` array or dataset: t time, y rows, x columns, c channels. The usual one is
        ``"tyx"`` or ``"tyxc"``, of MATLAB's ``"txy"`` or ``"tcxy"``, which MATLAB shows as (y, x, t) or (y, x, c, t).

    Returns
    -------
    Recording
        A `Video` and a context manager.

    Raises
    ------
    MissingFileError
        If nothing is there.
    VideoError
        If it is nothing that can be read, holds no video or no frames.
    ParameterError
        If `fps` is not a number above 0, or `value_range` or `axes` are none.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "dark.npy"
    >>> np.save(path, np.zeros((5, 48, 64), np.uint8))
    >>> with sp.open_video(path, fps=50) as video:
    ...     video.width, video.height, video.times.tolist()
    (64, 48, [0.0, 0.02, 0.04, 0.06, 0.08])
    """
    check_reading(fps, value_range, axes)
    rate = None if fps is None else float(fps)
    if isinstance(path, str | os.PathLike):
        return Recording(_opened(os.fspath(path), value_range=value_range, axes=axes), rate)
    if not isinstance(path, Video):
        raise ContractError(f"a video is a path or an opened Video, got {type(path).__name__}")
    _check_heeded(path, value_range=value_range, axes=axes)
    if isinstance(path, Recording):
        return replace(path, fps=path.fps if rate is None else rate, owned=False)
    return Recording(path, rate, owned=False)


def check_reading(fps: object = None, value_range: object = None, axes: object = None) -> None:
    """Refuse a number of frames per second, a range of values or an order of axes that is none.

    Raises
    ------
    ParameterError
        Names it.
    """
    check_value_range(value_range)
    check_axes(axes)
    if fps is not None and not (isinstance(fps, int | float | np.number) and 0 < float(fps) < math.inf):
        raise ParameterError(f"fps must be a number of frames per second above 0, got {fps!r}")


def _opened(path: str, **given: Any) -> Video:
    _check_there(path)
    video, answers = catalog().ask("spatter_open_video", path=path, **given)
    failures = [_failure(answer, path) for answer in answers if answer.error]
    if video is None:
        raise _refusal(path, failures)
    for failure in failures:
        log.warning("%s", failure)
    opened: Video = video
    try:
        _check_heeded(opened, **given)
    except VideoError:
        opened.close()
        raise
    return opened


def _check_heeded(video: Video, **given: Any) -> None:
    """Refuse to read a recording as it is where it is to be read in another way."""
    said = {name: value for name, value in given.items() if value is not None}
    if said and (unheeded := [name for name in said if name not in video.identity()]):
        raise VideoError(
            f"{video.name}: its reader takes no {' and no '.join(unheeded)}, which are for arrays, images and videos "
            "of 16 bits; leave it out"
        )


def _refusal(path: str, failures: Sequence[SpatterlibError]) -> SpatterlibError:
    """Why nobody reads what is there."""
    if hint := example_package("suffix", Path(path).suffix.lower()):
        return VideoError(f"{path}: {hint}")
    # The reader whose file it is says best what is wrong with it; those of others are asked first.
    if failures:
        return failures[0]
    if not is_there(path):
        return MissingFileError(f"nothing matches {path}")
    if Path(path).is_dir():
        return VideoError(f"{path} is a folder without images; name a video in it, or give {path}/*.mp4")
    return VideoError(f"{path} is neither a video nor an image nor a stack of images that can be read")


def _check_there(path: str) -> None:
    if not path:
        raise MissingFileError("no video: its name is empty; is a variable of the shell unset?")
    if not is_there(split_dataset(path)[0]) and not glob.has_magic(path):
        raise MissingFileError(f"no video at {path}")
    if what := special(path):
        raise VideoError(
            f"{path} is {what}; copy the recording into a file first, or follow it with `spatterlib watch`"
        )


def _failure(answer: Answer, path: str) -> SpatterlibError:
    """What a reader said, or did wrong."""
    error = answer.error
    if isinstance(error, SpatterlibError) and not isinstance(error, ContractError):
        return error
    reason = str(error) if isinstance(error, ContractError) else f"it raised {type(error).__name__}: {error}"
    wrong = ContractError(f"{answer.plugin} failed to open {path}: {' '.join(reason.split())}")
    wrong.__cause__ = error
    return wrong


def clips(
    video: Video,
    *,
    lead: int,
    start: int,
    stop: int,
    roi: Sequence[int | None] | None = None,
    length: int = 64,
) -> Iterator[Clip]:
    """Cut a recording into clips of consecutive frames, each with context in front.

    Parameters
    ----------
    video : Video
        An opened recording.
    lead : int
        Decoded frames in front of each clip, as far as there are: at the beginning of the recording and behind
        a frame that does not decode there are fewer. In front of `start` they are decoded for this.
    start, stop : int
        Frames ``start .. stop - 1``.
    roi : tuple of int, optional
        ``(x0, y0, x1, y1)`` px, half-open, None = the edge: the part of the frame that the clips show.
    length : int
        Frames in a clip at most, its lead aside; fewer where frames are large, to bound memory.

    Yields
    ------
    Clip
        In order; every frame that decodes is in exactly one clip.

    Raises
    ------
    VideoError
        If the frame size changes within the recording.
    ParameterError
        If `roi` does not lie inside the frame.
    """
    box = None if roi is None else region(video, roi)
    length = max(1, min(length, _CLIP_BYTES // max(3 * video.width * video.height, 1)))
    times, first = video.times, max(start - lead, 0)
    return _runs(video, times, range(first, stop), start, lead, length, box)


def _runs(
    video: Video,
    times: NDArray[np.float64],
    numbers: range,
    start: int,
    lead: int,
    length: int,
    box: Box | None,
) -> Iterator[Clip]:
    pictures: list[Picture] = []
    context = 0
    size = video.height, video.width

    def cut(end: int) -> Clip:
        return Clip(pictures, times[end - len(pictures) : end], end - len(pictures) + context, context, box)

    # A reader that gives fewer frames than it should has not decoded the rest.
    read = itertools.chain(video.read(numbers.start, numbers.stop), itertools.repeat(None))
    for number, picture in zip(numbers, read, strict=False):
        if picture is None or picture.shape != size:
            if len(pictures) > context:
                yield cut(number)
            if picture is not None:
                raise VideoError(_resized(video, number, picture))
            pictures, context = [], 0
            continue
        pictures.append(picture)
        if number < start:
            context += 1
        elif len(pictures) - context == length:
            yield cut(number + 1)
            pictures = pictures[-lead:] if lead else []
            context = len(pictures)
    if len(pictures) > context:
        yield cut(numbers.stop)


def _resized(video: Video, number: int, picture: Picture) -> str:
    height, width = picture.shape
    return (
        f"{video.name}: frame {number} has {width}x{height} px, but the recording began with "
        f"{video.width}x{video.height}; split it where the frame size changes"
    )


def region(video: Video, roi: Sequence[int | None]) -> Box:
    """``(x, y, width, height)`` of ``(x0, y0, x1, y1)``, inside the frame."""
    inside = f"inside the frame of {video.width}x{video.height} px"
    wanted = f"roi is (x0, y0, x1, y1) in px, {inside}, got {roi!r}"
    try:
        left, top, right, bottom = (None if side is None else operator.index(side) for side in roi)
    except (TypeError, ValueError) as error:
        raise ParameterError(wanted) from error
    x0, y0 = left or 0, top or 0
    x1, y1 = video.width if right is None else right, video.height if bottom is None else bottom
    if not (0 <= x0 < x1 <= video.width and 0 <= y0 < y1 <= video.height):
        raise ParameterError(wanted)
    return x0, y0, x1 - x0, y1 - y0


def position(video: Video, value: SupportsIndex | float | str) -> int:
    """Turn a position in a recording into a frame number.

    Parameters
    ----------
    video : Video
        An opened recording.
    value : int, float or str
        An int is a frame number, a float seconds; a string is either: ``"250"``, ``"12.5s"``, ``"1:23.5"``,
        ``"1:02:03"``. Seconds are those of ``video.times``, which need not begin at 0.

    Returns
    -------
    int
        The frame number, or that of the first frame whose time is not before those seconds (to the
        microsecond); the number of frames for a position at the end.

    Raises
    ------
    ParameterError
        If the position is none, or lies outside the recording.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.video.opening import position
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "dark.npy"
    >>> np.save(path, np.zeros((50, 48, 64), np.uint8))
    >>> video = sp.open_video(path, fps=25)
    >>> position(video, 7), position(video, 0.5), position(video, "0:01")
    (7, 13, 25)
    """
    number, seconds = _parsed(value)
    if seconds is not None:
        return _frame_at(video, value, seconds)
    frames = len(video.times)
    if number is None or not 0 <= number <= frames:
        raise ParameterError(f"{video.name} has frames 0-{frames - 1}, got position {value!r}")
    return number


def check_position(value: SupportsIndex | float | str | None, *, least: int = 0) -> None:
    """Refuse a position that no recording has.

    Raises
    ------
    ParameterError
        If it is neither None nor a position, or a frame number below `least`.
    """
    if value is None:
        return
    number, seconds = _parsed(value)
    if (number is not None and number < least) or (seconds is not None and not math.isfinite(seconds)):
        raise ParameterError(f"a position is a frame number from {least} on, or a time, got {value!r}")


def _parsed(value: SupportsIndex | float | str) -> tuple[int | None, float | None]:
    """Frame number or seconds."""
    if isinstance(value, float | np.floating) and math.isfinite(value):
        return None, float(value)
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?\d+", text):
            return int(text), None
        if match := _CLOCK.fullmatch(text):
            hours, minutes, seconds, plain = match.groups()
            return None, float(plain or 0) + 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0)
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value), None
    raise ParameterError(f"a position is a frame number (250) or a time (12.5s, 1:23.5, 1:02:03), got {value!r}")


def _frame_at(video: Video, value: object, seconds: float) -> int:
    times = video.times
    known = times[np.isfinite(times)]
    first, last = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    end = last + (float(np.median(np.diff(known))) if len(known) > 1 else 0.0)
    if not min(first, 0.0) - _TICK <= seconds <= end + _TICK:
        raise ParameterError(f"{video.name} lasts from {first:.3f} s to {end:.3f} s, got position {value!r}")
    behind = np.flatnonzero(times >= seconds - _TICK)
    return int(behind[0]) if len(behind) else len(times)


def expand(patterns: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Recordings that paths and patterns name.

    Parameters
    ----------
    patterns : iterable of path
        Files, folders, and patterns such as ``"runs/*.mp4"`` that the shell did not expand.

    Returns
    -------
    list of str
        What `open_video` opens, one each: a folder or pattern of images is one recording, of videos several, in
        natural order (``run9`` before ``run10``). A name that does not exist is passed on, so that opening
        it tells.

    Raises
    ------
    MissingFileError
        If a pattern matches nothing.
    ParameterError
        If a folder or pattern holds videos and images both, so that one cannot tell which is meant.

    Examples
    --------
    >>> from spatterlib.video.opening import expand
    >>> expand(["a.mp4", "b.mp4"])
    ['a.mp4', 'b.mp4']
    """
    names = (name for pattern in patterns for name in _expanded(os.fspath(pattern)))
    return list(dict.fromkeys(names))


def _expanded(pattern: str) -> list[str]:
    file, inside = split_dataset(pattern)
    if inside:
        files = sorted(glob.glob(file)) if glob.has_magic(file) else [file]  # noqa: PTH207 - as below
        return [f"{name}::{inside}" for name in files]
    path = Path(pattern)
    if path.is_dir():
        return _chosen(pattern, [str(file) for file in path.iterdir() if file.is_file()])
    if path.exists() or not glob.has_magic(pattern):
        return [pattern]
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise MissingFileError(f"nothing matches {pattern}")
    folders = [name for folder in filter(os.path.isdir, matches) for name in _expanded(folder)]
    files = [name for name in matches if Path(name).is_file()]
    return [*in_natural_order(folders), *(_chosen(pattern, files, named=True) if files else [])]


def _chosen(source: str, files: list[str], *, named: bool = False) -> list[str]:
    """`source` itself where its files are the images of one recording, else the videos among them."""
    images = {name for name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES and not is_stack(name)}
    known = catalog().video_suffixes
    videos = [name for name in files if name not in images and (named or Path(name).suffix.lower() in known)]
    if videos and images:
        raise ParameterError(
            f"{source} holds {len(videos)} videos and {len(images)} images; name which, such as *.mp4 or *.png"
        )
    return in_natural_order(videos) if videos else [source]
