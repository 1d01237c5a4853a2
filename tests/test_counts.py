"""Counts agree with their nouns wherever a command tells them."""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from test_extraction import flashes

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.common.image_codec import encode
from spatterlib.common.progress import Progress, lines
from spatterlib.common.wording import counted
from spatterlib.live.messages import FIELDS, message, text_line
from spatterlib.measuring.camera import Camera, save_camera
from spatterlib.stores.opening import create_store

NOUNS = (
    *(
        "layer",
        "row",
        "frame",
        "crop",
        "detection",
        "event",
        "streak",
        "line",
        "label",
        "video",
        "store",
        "run",
        "vote",
    ),
    *("run", "record", "message", "alarm", "recording", "gap", "file", "image", "epoch"),
)
_PLURAL = "|".join(f"{noun}s" for noun in NOUNS)
_SINGULAR = "|".join(NOUNS)
WRONG = re.compile(rf"(?<![\d.,:%+-])\b(?:1 (?:more )?(?:{_PLURAL})|(?:0|[2-9]|\d\d+) (?:more )?(?:{_SINGULAR}))\b")


def wrong(text: str) -> list[str]:
    return WRONG.findall(text)


def test_the_search_finds_what_it_looks_for() -> None:
    assert wrong("1 layers, 2 layer, 0 frame") == ["1 layers", "2 layer", "0 frame"]
    assert wrong("1 layer, 2 layers, 0 frames, layer 2, 11 layers, 1 of 2 layers, 0.1 layers") == []


@cache
def data() -> Path:
    """Recordings with 0, 1 and 2 frames of spatter, their stores, and a camera."""
    folder = Path(mkdtemp(prefix="spatterlib-counts-"))
    spatter = flashes(30)
    lit = np.flatnonzero(spatter.max(axis=(1, 2, 3)) > 200)
    for count in range(3):
        frames = np.zeros_like(spatter[: count or 1]) if not count else spatter[lit[0] - 1 : lit[0] + 2].copy()
        np.save(folder / f"{count}.npy", frames)
    for count in range(3):
        table = np.zeros(count, sp.DETECTION)
        table["frame"], table["time"] = np.arange(count), 60.0 * np.arange(count)
        table["width"] = table["height"] = 40
        log = np.zeros(count, sp.types.FRAME_LOG)
        log["number"], log["time"], log["decoded"], log["detections"] = table["frame"], table["time"], True, 1
        with create_store(str(folder / f"{count}.h5"), attrs={"complete": True}) as store:
            store.append(table, [encode(np.full((40, 40, 3), 200, np.uint8))] * count, log)
    save_camera(Camera(frame_rate=25, exposure=0.02, mm_per_px=0.4, gas_direction=180.0), folder / "camera.toml")
    return folder


COMMANDS = [
    ["extract", "{n}.npy", "-o", "new.h5"],
    ["extract", "{n}.npy", "-o", "new", "--suffix", ".zarr"],
    ["extract", "{n}.npy", "-o", "new.h5", "--limit", "1"],
    ["detect", "{n}.npy"],
    ["forecast", "{n}.npy"],
    ["predict", "{n}.npy", "--model", "simulated"],
    ["predict", "{n}.h5", "--model", "simulated", "--min-votes", "1", "--gap", "2"],
    ["info", "{n}.h5"],
    ["show", "{n}.h5", "--rows", "5:"],
    ["streaks", "{n}.h5", "--camera", "camera.toml", "-o", "s.npz"],
    ["label", "{n}.h5", "--all", "low", "--index", "index.csv"],
    ["monitor", "{n}.h5", "--reference", "1", "--camera", "camera.toml"],
    ["simulate", "s.npy", "--seconds", "{n}"],
    ["convert", "{n}.h5", "new.zarr"],
]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_counts_as_people_do(
    command: list[str], count: int, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in data().iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    code = main([word.format(n=count) for word in command])
    told = "".join(capfd.readouterr())
    assert code in (0, 1, 2, 3, 5)
    assert "internal error" not in told
    assert wrong(told) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_lines_of_a_watch_and_of_progress_count_as_people_do(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    status: Any = dict.fromkeys(FIELDS["end"], count) | {"reason": "stopped", "store": None}
    told = [text_line(message("end", status, time=1.0, source="0", simulated=None, model_origin="not stated"))]
    lines(sys.stderr, every=0.0)(Progress(count, count + 1, count, np.zeros(count, sp.DETECTION)))
    assert wrong("\n".join([*told, capsys.readouterr().err])) == []
    assert counted(count, "box", "boxes") == {0: "0 boxes", 1: "1 box", 2: "2 boxes"}[count]
