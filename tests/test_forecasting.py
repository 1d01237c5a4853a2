"""A forecast says before anyone starts what an extraction takes; where it looked at all, it is what comes out."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from test_cli import spatterlib
from test_extraction import flashes, write_video

import spatterlib as sp
from spatterlib.errors import ParameterError
from spatterlib.extraction.forecast import clock, size


def stored(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.slow
def test_real_recordings_fit_the_forecast(recording: Path, tmp_path: Path) -> None:
    report = sp.extract(recording, tmp_path / "x.h5")
    for sample in (60.0, 3.0):
        told = sp.forecast(recording, sample=sample)
        assert told.frames == report.expected
        assert told.detections.low <= report.detections <= told.detections.high
        assert told.bytes.low <= stored(tmp_path / "x.h5") <= told.bytes.high
        assert 0 <= told.seconds.low <= told.seconds.value <= told.seconds.high
    if told.sampled == told.frames:
        assert told.detections.value == report.detections


def test_a_sample_tells_its_uncertainty_and_the_whole_has_none(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", flashes(900, every=3), gop=50)
    whole, part = sp.forecast(tmp_path / "v.mp4"), sp.forecast(tmp_path / "v.mp4", sample=10.0)
    assert whole.sampled == 900
    assert whole.detections.low == whole.detections.high == 299
    assert 200 < part.sampled < 300
    assert part.detections.low < part.detections.high
    assert part.detections.low <= 299 <= part.detections.high
    with pytest.raises(ParameterError, match="above 0"):
        sp.forecast(tmp_path / "v.mp4", sample=0)


def test_the_command_tells_each_and_the_total_and_goes_on_behind_a_broken_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", flashes(60), gop=30)
    (tmp_path / "c.mp4").write_text("no video")
    done = spatterlib("forecast", tmp_path)
    assert done.returncode == 1
    assert "c.mp4" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["video", "a.mp4", "b.mp4", "total"]
    facts = json.loads(spatterlib("forecast", tmp_path / "a.mp4", "--json").stdout)
    assert facts["total"]["frames"] == facts["videos"][0]["frames"] == 60
    assert facts["videos"][0]["bytes"]["low"] > 0


def test_sizes_and_times_as_people_read_them() -> None:
    assert [size(value) for value in (12, 1234, 56_700_000, 9.04e12)] == ["12 bytes", "1.23 kB", "56.7 MB", "9.04 TB"]
    assert [clock(value) for value in (4.21, 3723.0, float("inf"))] == ["4.21 s", "1:02:03", "unknown"]


def test_a_mask_that_promises_a_giant_picture_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    (tmp_path / "mask.png").write_bytes(bomb)
    import numpy as np

    region = sp.make("filter", "region", mask=str(tmp_path / "mask.png"))
    with pytest.raises(ParameterError, match="no image that can be read"):
        region(np.zeros(1, sp.DETECTION), None)
