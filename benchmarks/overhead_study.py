"""What the loop of `sp.extract` costs beside its steps written by hand, by processor time on one core.

``python benchmarks/overhead_study.py [ROUNDS]``; two minutes. Wall time scatters by more than what is sought: so
both ways keep to one core, take turns in one process, and differences of neighbours are what is averaged.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from ways import extracting

import spatterlib as sp
from conftest import encode_anew

FRAMES = 3_000


def spent(run: Callable[[], object]) -> float:
    """S of processor time, of all threads."""
    began = time.process_time()
    run()
    return time.process_time() - began


def overhead(video: Path, folder: Path, rounds: int) -> str:
    """Mean of the paired differences in per cent of the way by hand, with its 95 % interval."""
    hand, ours = (
        extracting(way, video, video, folder / f"{number}.h5")[1]
        for number, way in enumerate(("ours, by hand", "ours, 1 worker"))
    )
    hand(), ours()
    pairs = []
    for number in range(rounds):
        # Who goes first changes, so that neither always finds what the other has left in the cache.
        order = (hand, ours) if number % 2 else (ours, hand)
        times = {run: spent(run) for run in order}
        pairs.append((times[hand], times[ours]))
    by_hand, whole = np.array(pairs).T
    share = 100 * (whole - by_hand) / by_hand.mean()
    half = 1.96 * share.std(ddof=1) / np.sqrt(rounds)
    return f"{share.mean():+.1f} % ({share.mean() - half:+.1f} to {share.mean() + half:+.1f}), {rounds} pairs"


def main() -> None:
    """Both encoders."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated, recorded = folder / "simulated.mp4", folder / "recorded.mp4"
        sp.simulate(simulated, gas_flow="low", seconds=FRAMES / 25, seed=7, width=640, height=360)
        encode_anew(simulated, recorded)
        for video in (simulated, recorded):
            sys.stdout.write(f"{video.stem}: {overhead(video, folder, rounds)}\n")


if __name__ == "__main__":
    main()
