"""Checks of readers of recordings: `spatterlib.plugins.hookspecs.spatter_open_video`, sentence by sentence."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import VideoError
from spatterlib.plugins.capabilities import HasKeyframes, HasSuffixes
from spatterlib.plugins.contract import check_suffixes
from spatterlib.testing.laws import Check, checks, must, shortened
from spatterlib.types import Image, Video

__all__ = ["video_checks"]

Opener = Callable[..., Video | None]
_SAID: dict[str, Any] = {"value_range": (0.0, 200.0), "axes": "tyx"}
"""What a hook may take besides the path."""

Writer = Callable[[Path], str | Path]


def video_checks(open_video: Opener, write: Writer, *, last: bool = False) -> tuple[Check, ...]:
    """The laws of a reader of recordings as checks.

    Parameters
    ----------
    open_video : callable
        The hook, ``spatter_open_video``.
    write : callable
        Writes a recording into a folder and returns its path; one of 10 frames or more, of which one at least decodes.

    last : bool
        Whether it is asked last, and so may refuse a file of another kind with `VideoError`.

    Returns
    -------
    tuple of callable
        Checks, named as the laws; each raises `spatterlib.errors.LawError` if its law is broken.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.video.arrays import spatter_open_video
    >>> from spatterlib.testing import video_checks
    >>> def write(folder):
    ...     np.save(folder / "dark.npy", np.zeros((12, 9, 16), np.uint8))
    ...     return folder / "dark.npy"
    >>> for check in video_checks(spatter_open_video, write):
    ...     check()
    """
    return checks(LAWS, _with_nothing_said(open_video), write, last)


def _with_nothing_said(open_video: Opener) -> Opener:
    """The hook, which is told None where it may be told more than the path."""

    @wraps(open_video)
    def opener(path: str, **said: Any) -> Video | None:
        return open_video(path, **dict.fromkeys(_taken(open_video)) | said)

    return opener


def _taken(open_video: Opener) -> list[str]:
    return [name for name in _SAID if name in signature(open_video).parameters]


def _opened(law: Callable[[Video], None]) -> Callable[..., None]:
    """The law, given an opened recording."""

    @wraps(law)
    def run(open_video: Opener, write: Writer, *_: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(write(Path(folder)))
            video = open_video(path)
            must(isinstance(video, Video), f"it opened {Path(path).name} as {shortened(video)}, which is no Video")
            if video is not None:
                with closing(video):
                    law(video)

    return run


def _frames(video: Video, start: int, stop: int) -> list[Image | None]:
    whole = 0, 0, video.width, video.height
    return [None if picture is None else picture.rgb(whole).copy() for picture in video.read(start, stop)]


def _same(one: Image | None, other: Image | None) -> bool:
    return (one is None) == (other is None) and (one is None or np.array_equal(one, other))  # type: ignore[arg-type,unused-ignore]


@_opened
def it_opens_a_recording(video: Video) -> None:
    """What comes back is a video: "Open a recording, or return None = not mine"."""
    must(video.width > 0 and video.height > 0, f"its size is {video.width}x{video.height} px")
    must(isinstance(video.name, str) and video.name, f"its name is {video.name!r}")


@_opened
def every_frame_has_a_time(video: Video) -> None:
    """The number of times is the number of frames: "``video.times`` has one entry per expected frame"."""
    times: NDArray[np.float64] = video.times
    must(times.dtype == np.float64 and times.ndim == 1, f"times is an array of {times.dtype} {times.shape}")
    must(len(times) == len(list(video.read(0, len(times)))), "it reads another number of frames than it has times")
    must(len(times) >= 10, f"it has {len(times)} frames; let `write` write a recording of 10 or more")


@_opened
def times_increase(video: Video) -> None:
    """Frames come in the order of time: "Times increase from frame to frame"."""
    known = video.times[np.isfinite(video.times)]
    must(bool((np.diff(known) > 0).all()), f"they are {shortened(known.tolist())}")


@_opened
def every_number_gives_an_item(video: Video) -> None:
    """None is lost and none is doubled: "``video.read(start, stop)`` gives one item for each number"."""
    count = len(video.times)
    for start, stop in ((0, count), (3, 3), (0, 1), (count - 1, count), (2, count - 1)):
        items = list(video.read(start, stop))
        must(len(items) == stop - start, f"read({start}, {stop}) gives {len(items)} items")
    must(any(item is not None for item in video.read(0, count)), "no frame of it decodes")


@_opened
def any_frame_can_be_read_first(video: Video) -> None:
    """Random access is sequential access: "It reads the same frame again whatever was read before"."""
    count = len(video.times)
    frames = _frames(video, 0, count)
    for start in np.random.default_rng(2).integers(0, count, 6).tolist():
        for number, frame in enumerate(_frames(video, start, min(start + 3, count)), start):
            must(_same(frame, frames[number]), f"read({start}, ...) gives another frame {number} than read(0, ...)")
    # A reader that is left in the middle does not disturb the next.
    next(iter(video.read(1, count)))
    must(_same(_frames(video, 0, 1)[0], frames[0]), "after a reading that was given up it gives another frame 0")


@_opened
def pictures_have_the_videos_size(video: Video) -> None:
    """Boxes are meant in pixels of the video: "A picture has the size of the video"."""
    for number, picture in enumerate(video.read(0, len(video.times))):
        size = (video.height, video.width) if picture is None else tuple(picture.shape)
        must(size == (video.height, video.width), f"frame {number} has the shape {size}")


@_opened
def a_box_is_part_of_the_frame(video: Video) -> None:
    """Crops show what frames show: "``picture.rgb(box)`` is the whole frame's uint8 RGB cut to the box"."""
    width, height = video.width, video.height
    boxes = [(0, 0, width, height), (width // 3, height // 2, width - width // 3, height - height // 2)]
    boxes += [(width - 1, height - 1, 1, 1), (width // 2, height // 3, max(width // 3, 1), 1)]
    for picture in video.read(0, len(video.times)):
        if picture is None:
            continue
        whole = picture.rgb((0, 0, width, height))
        must(whole.dtype == np.uint8 and whole.shape == (height, width, 3), f"rgb is {whole.dtype} {whole.shape}")
        for box in boxes:
            x, y, wide, high = box
            part = np.empty((high, wide, 3), np.uint8)
            for pixels in (picture.rgb(box), picture.rgb(box, part), part):
                right = np.array_equal(pixels, whole[y : y + high, x : x + wide])
                must(right, f"the box {box} shows something else")


def identity_is_json(open_video: Opener, write: Writer, *_: bool) -> None:
    """Results name what they were made from: "``video.identity()`` is JSON, and the same each time"."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(write(Path(folder)))
        identities = []
        for _again in range(2):
            video = open_video(path)
            if video is not None:
                identities += [
                    json.dumps(video.identity(), allow_nan=False),
                    json.dumps(video.identity(), allow_nan=False),
                ]
                video.close()
        must(len(identities) == 4 and len(set(identities)) == 1, f"it is {shortened(identities)}")


def what_it_is_told_is_in_its_identity(open_video: Opener, write: Writer, *_: bool) -> None:
    """Results name how a recording was read: "says so in ``video.identity()``, under the same name"."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(write(Path(folder)))
        for name in _taken(open_video):
            value = _SAID[name]
            try:
                video = open_video(path, **{name: value})
            except VideoError:
                continue
            if video is not None:
                with closing(video):
                    said = video.identity().get(name)
                must(json.dumps(said) == json.dumps(value), f"{name} is {value!r}, and its identity says {said!r}")


@_opened
def it_closes_twice(video: Video) -> None:
    """Whoever cleans up need not know who did before: "``video.close()`` may be called twice"."""
    next(iter(video.read(0, 1)))
    video.close()
    video.close()


def other_files_are_not_its_own(open_video: Opener, _: Writer, last: bool) -> None:
    """The next reader is asked: "A file of another kind gives None, not an error"."""
    with tempfile.TemporaryDirectory() as folder:
        text, empty, noise = (Path(folder) / name for name in ("notes.txt", "empty", "noise.bin"))
        text.write_text("Notes on the build of 3 May.\n")
        empty.write_bytes(b"")
        noise.write_bytes(np.random.default_rng(0).bytes(3000))
        for path in (text, empty, noise):
            try:
                video = open_video(str(path))
            except VideoError:
                must(last, f"it refused {path.name}, though another reader may be able to read it")
                continue
            must(video is None, f"it opened {path.name} as {shortened(video)}")


def suffixes_name_its_recordings(open_video: Opener, write: Writer, *_: bool) -> None:
    """Folders are looked through by them: "``suffixes``, a tuple such as ``(".cih",)``"."""
    module = sys.modules.get(open_video.__module__)
    if not isinstance(module, HasSuffixes):
        return
    check_suffixes(module.suffixes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(write(Path(folder)))
        own = path.is_dir() or path.suffix.lower() in module.suffixes
        must(own, f"{path.name} is none of {', '.join(module.suffixes)}")


@_opened
def readings_go_on_side_by_side(video: Video) -> None:
    """One that has key frames is cut there: "several readings go on at the same time"."""
    if not isinstance(video, HasKeyframes):
        return
    keyframes, count = video.keyframes, len(video.times)
    ordered = keyframes.dtype == np.int64 and bool((np.diff(keyframes) > 0).all())
    right = ordered and set(keyframes.tolist()) <= {*range(count)}
    must(right, f"keyframes is {shortened(keyframes.tolist())} {keyframes.dtype} of {count} frames")
    frames, whole = _frames(video, 0, count), (0, 0, video.width, video.height)
    readings = [enumerate(video.read(begin, count), begin) for begin in (0, *keyframes[-1:].tolist())]
    for number, picture in itertools.chain.from_iterable(zip(*readings, strict=False)):
        same = _same(None if picture is None else picture.rgb(whole), frames[number])
        must(same, f"frame {number} is another one while somebody else reads")


LAWS = (
    it_opens_a_recording,
    every_frame_has_a_time,
    times_increase,
    every_number_gives_an_item,
    any_frame_can_be_read_first,
    pictures_have_the_videos_size,
    a_box_is_part_of_the_frame,
    identity_is_json,
    what_it_is_told_is_in_its_identity,
    it_closes_twice,
    other_files_are_not_its_own,
    suffixes_name_its_recordings,
    readings_go_on_side_by_side,
)
