"""What is no video is never opened as one, and the message says what it is."""

from __future__ import annotations

import gzip
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import paint, write

import spatterlib as sp
from spatterlib.errors import VideoError

JPEG = cv2.imencode(".jpg", paint(3))[1].tobytes()
NOISE = np.random.default_rng(5).bytes(5000)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.jpg", JPEG)


def tarred(path: Path, mode: str) -> None:
    picture = path.with_name("a.jpg")
    picture.write_bytes(JPEG)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(picture)


def database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("create table pictures (data)")


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "frames.zip": (zipped, "is no video, but a ZIP archive; unpack it"),
    "frames.mp4": (zipped, "is no video, but a ZIP archive; unpack it"),
    "frames.tar": (lambda path: tarred(path, "w"), "a tar archive; unpack it"),
    "frames.tar.xz": (lambda path: tarred(path, "w:xz"), "compressed by xz; unpack it"),
    "frames.tar.bz2": (lambda path: tarred(path, "w:bz2"), "compressed by bzip2; unpack it"),
    "film.avi.gz": (lambda path: path.write_bytes(gzip.compress(NOISE)), "compressed by gzip; unpack it"),
    "frames.pkl": (lambda path: path.write_bytes(pickle.dumps([JPEG] * 20, 4)), "pickled Python objects"),
    "data.db": (database, "SQLite database"),
    "report.pdf": (lambda path: path.write_bytes(b"%PDF-1.7\n" + JPEG * 20), "a PDF document"),
    "table.csv": (lambda path: path.write_text("frame,x,y\n1,2,3\n" * 99), "is text"),
    "notes.txt": (lambda path: path.write_text("layer 3: spatter\n" * 99), "holds no video, only text"),
    "names.txt": (lambda path: path.write_text("Käfer, Grüße\n" * 99, encoding="latin-1"), "is text"),
    "state.json": (lambda path: path.write_text('{"a": [1, 2]}' * 99), "is text"),
    "page.mp4": (lambda path: path.write_text("<html><body>Sign in</body></html>" * 9), "is text"),
    "noise.bin": (lambda path: path.write_bytes(NOISE), "no video"),
    "noise.mp4": (lambda path: path.write_bytes(NOISE), "no video"),
    "log.dat": (lambda path: path.write_bytes(b"LOG 1\0\0\x03" + b"".join([bytes(70), JPEG] * 20)), "only data"),
}


@pytest.mark.parametrize("name", KINDS)
def test_of_another_kind(name: str, tmp_path: Path) -> None:
    make, said = KINDS[name]
    make(tmp_path / name)
    with pytest.raises(VideoError, match=said) as caught:
        sp.open_video(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_never_a_video(seed: int, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(np.random.default_rng(seed).bytes(3000))
    with pytest.raises(VideoError):
        sp.open_video(tmp_path / "a.dat")


def test_jpegs_one_behind_the_other_are_a_video(tmp_path: Path) -> None:
    assert len(sp.open_video(write(tmp_path / "a.mjpeg", 7, codec="mjpeg", pixels="yuvj420p")).times) == 7
