"""Codec by container by depth by rate by cut: what is read is what FFmpeg decodes from the beginning, without a seek.

One in sixteen is read in every run of the tests, all of them with `make torture`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import cut, number_of, write

import spatterlib as sp
from spatterlib.errors import VideoError

COUNT = 30
CODECS: dict[str, tuple[list[str], list[str]]] = {
    "libx264": (
        ["mp4", "mov", "mkv", "ts", "flv", "avi"],
        ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le"],
    ),
    "libx265": (["mp4", "mkv", "ts"], ["yuv420p", "yuv420p10le"]),
    "mpeg4": (["avi", "mp4", "mkv"], ["yuv420p"]),
    "mpeg2video": (["ts", "mpg", "mkv"], ["yuv420p", "yuv422p"]),
    "mjpeg": (["avi", "mov", "mkv"], ["yuvj420p", "yuvj422p", "yuvj444p"]),
    "ffv1": (["mkv", "avi"], ["yuv420p", "gray", "yuv444p", "bgr0", "gray10le"]),
    "huffyuv": (["avi"], ["yuv422p", "rgb24"]),
    "rawvideo": (["avi", "nut"], ["yuv420p", "bgr24", "gray"]),
    "png": (["mov"], ["rgb24", "gray"]),
    "prores_ks": (["mov"], ["yuv422p10le"]),
    "libvpx-vp9": (["webm", "mkv"], ["yuv420p", "yuv444p"]),
    "libvpx": (["webm"], ["yuv420p"]),
}
RATES, BFRAMES = (10, 25, 400), (0, 3)


def cases() -> Iterator[Any]:
    everything = (
        (codec, container, pixels, fps, between, share)
        for codec, (containers, formats) in CODECS.items()
        for container, pixels in itertools.product(containers, formats)
        for fps, between, share in itertools.product(RATES, BFRAMES, (1.0, 0.7))
        if (between == 0 or codec == "libx264") and (codec != "mpeg2video" or fps == 25)
    )
    for index, case in enumerate(everything):
        name = "-".join(map(str, case))
        yield pytest.param(*case, id=name, marks=() if index % 16 == 5 else pytest.mark.torture)


def decoded(path: Path) -> list[tuple[float | None, np.ndarray[Any, Any]]]:
    """Time and RGB of each frame that FFmpeg decodes, in the order in which it gives them."""
    frames: list[Any] = []
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        stream.thread_count = 1
        for packet in source.demux(stream):
            try:
                frames += packet.decode()
            except av.FFmpegError:
                continue
    return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in frames if not frame.is_corrupt]


@pytest.mark.parametrize(("codec", "container", "pixels", "fps", "between", "share"), [*cases()])
def test_it_is_read_as_it_decodes(
    codec: str, container: str, pixels: str, fps: int, between: int, share: float, tmp_path: Path
) -> None:
    x264 = f"bframes={between}:b-adapt=0:scenecut=0:keyint=12:log-level=none"
    options = {"x265-params": "log-level=none:keyint=12"} if codec == "libx265" else {}
    path = write(tmp_path / f"a.{container}", COUNT, codec=codec, pixels=pixels, fps=fps, x264=x264, options=options)
    path = cut(path, share) if share < 1 else path
    try:
        truth = decoded(path)
    except av.FFmpegError:
        with pytest.raises(VideoError):
            sp.open_video(path)
        return
    with sp.open_video(path) as video:
        box = (0, 0, video.width, video.height)
        got = [None if picture is None else picture.rgb(box) for picture in video.read(0, len(video.times))]
        known = [(time, rgb) for time, rgb in zip(video.times, got, strict=True) if rgb is not None]
        again = next(iter(video.read(len(got) // 2, len(got) // 2 + 1)))
        assert (again is None) == (got[len(got) // 2] is None)
        assert again is None or np.array_equal(again.rgb(box), got[len(got) // 2])  # type: ignore[arg-type]
        clock = video.identity()["times"]
    if share == 1:
        assert [number_of(rgb) for _, rgb in known] == list(range(COUNT))
        if clock == "container":
            np.testing.assert_allclose(np.diff(video.times), 1 / fps, atol=1.1e-3)
    # The last packet of a file that was cut off is short: its frame may decode, and what refers to it does not count.
    whole = slice(None) if share == 1 else slice(-1)
    assert [number_of(rgb) for _, rgb in truth][: len(known)][whole] == [number_of(rgb) for _, rgb in known][whole]
    assert len(truth) - len(known) in ((0,) if share == 1 else (0, 1, 2, 3))
    for (_, right), (_, rgb) in zip(truth, known[whole], strict=False):
        # FFmpeg's conversion to RGB rounds; ours is exact.
        assert np.abs(right.astype(int) - rgb).mean() < 2
