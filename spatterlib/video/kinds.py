"""What files are that are no videos: FFmpeg finds text art in noise, and frames in whatever holds JPEGs."""

from __future__ import annotations

from pathlib import Path

_ARCHIVE = "; unpack it and name what is in it"
# Where each begins with what, and what is to be done.
_BEGINS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", f"a ZIP archive{_ARCHIVE}"),
    (0, b"\x1f\x8b", f"compressed by gzip{_ARCHIVE}"),
    (0, b"BZh", f"compressed by bzip2{_ARCHIVE}"),
    (0, b"\xfd7zXZ\0", f"compressed by xz{_ARCHIVE}"),
    (0, b"\x28\xb5\x2f\xfd", f"compressed by Zstandard{_ARCHIVE}"),
    (0, b"7z\xbc\xaf\x27\x1c", f"a 7-Zip archive{_ARCHIVE}"),
    (0, b"Rar!\x1a\x07", f"a RAR archive{_ARCHIVE}"),
    (257, b"ustar", f"a tar archive{_ARCHIVE}"),
    (0, b"MATLAB 5", "an older MATLAB file; save it with -v7.3, and name the frames in it: file.mat::/frames"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"\x80\x04\x95", "pickled Python objects; save their frames with np.save"),
    (0, b"\x80\x05\x95", "pickled Python objects; save their frames with np.save"),
)
_PRINTABLE = bytes({*range(32, 127), *range(128, 256), *b"\t\n\r\f"})
# FFmpeg's demuxers of text as pictures, which take whatever nobody else takes.
_TEXT_ART = ("adf", "bin", "idf", "tty", "xbin")


def other_kind(path: Path) -> str | None:
    """What a file is by the bytes at its begin, if it is none that holds a video; None where that is not known."""
    with path.open("rb") as file:
        head = file.read(512)
    return next((what for place, mark, what in _BEGINS if head[place : place + len(mark)] == mark), None)


def is_text(path: Path) -> bool:
    """Whether a file begins with readable text."""
    with path.open("rb") as file:
        head = file.read(1024)
    return bool(head) and not head.translate(None, _PRINTABLE)


def is_guess(path: Path, format_: str) -> bool:
    """Whether FFmpeg merely found something that looks like pictures in a file of another kind."""
    if format_ == "mjpeg":
        with path.open("rb") as file:
            return file.read(2) != b"\xff\xd8"
    return is_text_art(format_)


def is_text_art(format_: str) -> bool:
    """Whether a format of FFmpeg's shows text as pictures."""
    return format_ in _TEXT_ART
