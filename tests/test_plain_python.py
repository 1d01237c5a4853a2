"""Kernels say the same uncompiled: what a debugger steps through, and coverage sees, is what runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

WORK = """
import sys
import numpy as np
import spatterlib as sp
from spatterlib.simulation import Settings, simulate_frames
from spatterlib.streaks import find_streaks

frames = list(simulate_frames(Settings(width=96, height=64, mm_per_px=2.6, seconds=1, seed=3), 12, 15))
pictures = [frame.rgb for frame in frames]
found = [find_streaks(picture) for picture in pictures]
np.savez(
    sys.argv[1],
    frames=np.stack(pictures),
    streaks=np.array([len(frame.streaks) for frame in frames]),
    found=np.concatenate([rows["length"] for rows in found]),
    probabilities=sp.load_model("simulated").probabilities(pictures * 3),
    few=sp.load_model("simulated").probabilities(pictures[:1]),
)
"""


def done(out: Path, **environment: str) -> dict[str, np.ndarray]:
    subprocess.run([sys.executable, "-c", WORK, str(out)], check=True, env=os.environ | environment)
    with np.load(out) as file:
        return dict(file)


def test_simulation_streaks_and_probabilities_are_those_of_the_compiled_kernels(tmp_path: Path) -> None:
    compiled, plain = done(tmp_path / "compiled.npz"), done(tmp_path / "plain.npz", NUMBA_DISABLE_JIT="1")
    assert compiled["streaks"].min() > 0
    assert np.abs(compiled["frames"].astype(int) - plain["frames"]).max() <= 1
    np.testing.assert_array_equal(compiled["streaks"], plain["streaks"])
    np.testing.assert_allclose(compiled["found"], plain["found"], atol=0.1)
    for name in ("probabilities", "few"):
        np.testing.assert_allclose(compiled[name], plain[name], atol=1e-5)
