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
from spatterlib.learning.lenet5 import stages as stages
from spatterlib.simulation import SimulationSettings, simulate_frames
from spatterlib.measuring.streaks import find_streaks

frames = list(simulate_frames(SimulationSettings(width=96, height=64, mm_per_px=2.6, seconds=1, seed=3), 12, 15))
pictures = [frame.rgb for frame in frames]
sp.simulate(sys.argv[2], width=96, height=64, mm_per_px=2.6, seconds=0.6, seed=3)
sp.simulate(sys.argv[2] + ".npy", width=96, height=64, mm_per_px=2.6, seconds=0.6, seed=3)
tables = [table for path in (sys.argv[2], sys.argv[2] + ".npy") for _, table in sp.detect(path, filters=())]
draw = np.random.default_rng(1)
samples = draw.integers(0, 256, (5, 32, 32, 1), dtype=np.uint8)
shapes = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,)]
weights = tuple(draw.normal(0, 0.1, shape).astype(np.float32) for shape in shapes)
steps = []
for tanh in (False, True):
    features, passed = stages.forward(samples, weights, tanh, 1)
    steps += [features, *stages.backward(features.copy(), passed, weights, 1)]
found = [find_streaks(picture) for picture in pictures]
np.savez(
    sys.argv[1],
    frames=np.stack(pictures),
    streaks=np.array([len(frame.streaks) for frame in frames]),
    found=np.concatenate([rows["length"] for rows in found]),
    probabilities=sp.load_model("simulated").probabilities(pictures * 3),
    table=np.concatenate(tables),
    steps=np.concatenate([values.ravel() for values in steps]),
    few=sp.load_model("simulated").probabilities(pictures[:1]),
)
"""


def done(out: Path, **environment: str) -> dict[str, np.ndarray]:
    command = [sys.executable, "-c", WORK, str(out), str(out.with_suffix(".mp4"))]
    subprocess.run(command, check=True, env=os.environ | environment)
    with np.load(out) as file:
        return dict(file)


def test_what_comes_out_uncompiled_is_what_the_compiled_kernels_give(tmp_path: Path) -> None:
    compiled, plain = done(tmp_path / "compiled.npz"), done(tmp_path / "plain.npz", NUMBA_DISABLE_JIT="1")
    assert compiled["streaks"].min() > 0
    assert np.abs(compiled["frames"].astype(int) - plain["frames"]).max() <= 1
    for name in ("streaks", "table"):
        assert len(compiled[name])
        np.testing.assert_array_equal(compiled[name], plain[name])
    np.testing.assert_allclose(compiled["found"], plain["found"], atol=0.1)
    np.testing.assert_allclose(compiled["steps"], plain["steps"], rtol=1e-3, atol=1e-3)
    for name in ("probabilities", "few"):
        np.testing.assert_allclose(compiled[name], plain[name], atol=1e-5)
