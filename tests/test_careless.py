"""Forty careless commands, as real processes in bad surroundings: no traceback, no internal error, no silent loss."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest

import spatterlib as sp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has other surroundings: other names, no pipes"),
]

SURROUNDINGS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ASCII": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    "stderr closed": {},
    "no home": {"HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere", "MPLCONFIGDIR": "/nowhere/mpl"},
}
ODD = os.fsdecode(b"od\xffd \xc3\xbc.mp4")
# What is typed, and what must be there then; nothing: it must be refused.
COMMANDS: list[tuple[list[str], str | None]] = [
    (["extract", ODD, "-o", "1.h5"], "1.h5"),
    (["extract", "a.mp4", "-o", "溶接.h5", "--plot", "溶接.png"], "溶接.png"),
    (["extract", "a.mp4", "a.mp4", "-o", "2.h5", "--json"], "2.h5"),
    (["extract", "text.mp4", "empty.mp4", "a.mp4", "-o", "many"], "many/a.h5"),
    (["extract", "a.mp4", "-o", "3.zarr", "--filter", "none", "--live"], "3.zarr"),
    (["extract", "a.mp4"], None),
    (["extract", "a.mp4", "-o", "a.h5"], None),
    (["extract", "a.mp4", "-o", "nowhere/a.h5"], None),
    (["extract", "text.mp4", "-o", "4.h5"], None),
    (["extract", "empty.mp4", "-o", "4.h5"], None),
    (["extract", "pipe.mp4", "-o", "4.h5"], None),
    (["extract", "*.avi", "-o", "4.h5"], None),
    (["extract", "a.h5", "-o", "4.h5"], None),
    (["extract", "a.mp4", "-o", "4.h5", "--start", "5", "--stop", "2"], None),
    (["extract", "a.mp4", "-o", "4.h5", "--config", "text.mp4"], None),
    (["extract", "a.mp4", "-o", "text.mp4/4.h5"], None),
    (["extract", "-o", "4.h5", "--", "-a.mp4"], None),
    (["predict", ODD, "--model", "simulated", "-o", "5.html"], "5.html"),
    (["predict", "a.h5", "--model", "simulated", "-o", "ü².json"], "ü².json"),
    (["predict", "a.mp4", "--model", "text.mp4"], None),
    (["predict", "a.mp4", "--model", "simulated", "-o", "5.docx"], None),
    (["predict", "a.mp4", "--model", "simulated", "--expected", "hoch"], None),
    (["show", ODD, "--frame", "20", "-o", "6.png"], "6.png"),
    (["show", "a.h5", "-o", "7.png"], "7.png"),
    (["show", "a.mp4", "--frame", "99999"], None),
    (["info", ODD], ODD),
    (["info", "a.h5", "--json"], "a.h5"),
    (["info", "/dev/null"], None),
    (["info", ""], None),
    (["info", "loop.mp4"], None),
    (["simulate", "8.mp4", "--seconds", "1", "--seed", "2"], "8.truth.npz"),
    (["simulate", "8.avi"], None),
    (["simulate", ""], None),
    (["simulate", "9.mp4", "--seconds", "-1"], None),
    (["convert", "a.h5", "a.h5"], None),
    (["convert", "a.h5", "10.zarr"], "10.zarr"),
    (["label", "a.h5", "--index", "nowhere/i.csv"], None),
    (["models", "."], "."),
    (["verify", "text.mp4"], None),
    (["streaks", "a.h5", "--camera", "text.mp4"], None),
    (["train", "a.h5"], None),
    (["watch", "nowhere.mp4", "--model", "simulated", "--give-up", "0"], None),
    (["plugins"], "."),
    (["extrakt", "a.mp4"], None),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("careless")
    sp.simulate(folder / "a.mp4", gas_flow="low", seconds=1, seed=3)
    sp.extract(folder / "a.mp4", folder / "a.h5")
    shutil.copy(folder / "a.mp4", folder / ODD)
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mp4").touch()
    (folder / "loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(folder / "pipe.mp4")
    return folder


CASES = [(words, there, name) for (words, there), name in zip(COMMANDS, cycle(SURROUNDINGS), strict=False)]


@pytest.mark.parametrize(
    ("words", "there", "name"), CASES, ids=[f"{' '.join(map(ascii, words))}, {name}" for words, _, name in CASES]
)
def test_it_is_done_or_refused_in_a_line(house: Path, words: list[str], there: str | None, name: str) -> None:
    run = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if name == "stderr closed" else []
    done = subprocess.run(
        [*run, sys.executable, "-m", "spatterlib", *words],
        cwd=house,
        env=os.environ | SURROUNDINGS[name],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    said = done.stderr.decode("latin-1")
    assert "Traceback" not in said
    assert "internal error" not in said
    if there is None:
        assert done.returncode in (1, 2), said
        assert name == "stderr closed" or "rror: " in said
    else:
        assert done.returncode in (0, 1) if "text.mp4" in words else done.returncode == 0, said
        assert os.path.lexists(house / there)
