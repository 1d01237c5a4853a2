"""The one way in which spatterlib opens what FFmpeg reads: files, streams and Python objects, with any PyAV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.container import InputContainer


def open_input(source: Any, **options: Any) -> InputContainer:
    """Open a file, URL or file-like object to read video from it.

    Metadata that are not UTF-8 never keep a recording from being opened: cameras write serial numbers and places
    in whatever encoding they have.

    Parameters
    ----------
    source : str or binary file
        What `av.open` takes. Put ``file:`` before the path of a file: else FFmpeg reads a protocol into a name such
        as ``layer 1:30.mp4``.
    **options
        Passed on to `av.open`.

    Raises
    ------
    av.FFmpegError
        If FFmpeg cannot open it.
    """
    import av

    # PyAV up to 18 raises for such metadata unless told otherwise; 19 never raises and knows the option no longer.
    if int(av.__version__.split(".")[0]) < 19:
        options["metadata_errors"] = "ignore"
    container: InputContainer = av.open(source, **options)
    return container


def strictly_grey(data: bytes, codec: str) -> NDArray[np.uint8]:
    """``(h, w)`` uint8 of a grey image; ValueError if FFmpeg finds a flaw in it."""
    import av

    decoder = av.CodecContext.create(codec, "r")
    decoder.options = {"err_detect": "explode"}
    try:
        [frame] = decoder.decode(av.Packet(data))  # type: ignore[attr-defined]
    except av.FFmpegError as error:
        raise ValueError(error) from error
    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)
