"""How right tracks of particles are: `python benchmarks/tracking_study.py [--others]` prints a table.

Simulated recordings, three densities, three noises, three frame rates, one recording each of seeds that were never used
for tuning. With `--others`, trackpy and laptrack (installed beside spatterlib) link the same detections.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from numpy.typing import NDArray

from spatterlib.detection.particles import Particles
from spatterlib.simulation import SimulationSettings, simulate_frames
from spatterlib.tracking.linking import LinkSettings, link
from spatterlib.tracking.score import TrackScore, score_tracks
from spatterlib.tracking.tracks import points_of, renumbered, tracks_of

EXPOSURE = {1000: 2e-4, 10_000: 5e-5, 40_000: 2e-5}
RATES = (1200, 6500, 20_000)
NOISES = (1.5, 3.0, 6.0)
MM_PER_PX = 0.1


def recording(
    fps: int, rate: int, noise: float, seed: int, frames: int
) -> tuple[list[NDArray[np.uint8]], NDArray[np.void]]:
    """Grey frames and the rows of their truth."""
    settings = SimulationSettings(
        fps=fps, exposure=EXPOSURE[fps], gain=6e-3 / EXPOSURE[fps], monochrome=True, width=512, height=512,
        mm_per_px=MM_PER_PX, spatter_rate=rate, noise=noise, seed=seed, seconds=2, gas_speed=2.0,
    )  # fmt: skip
    begin = int(0.6 * fps)
    made = list(simulate_frames(settings, begin, begin + frames))
    truth = np.concatenate([frame.streaks for frame in made])
    truth["frame"] -= begin
    return [np.ascontiguousarray(frame.rgb[..., 0]) for frame in made], truth


def tracked(
    fps: int, images: list[NDArray[np.uint8]], truth: NDArray[np.void], others: bool
) -> tuple[TrackScore, dict[str, float]]:
    """Score of the tracks, and seconds and link F1 of others on the same detections."""
    detector = Particles()
    begin = time.process_time()
    found = [detector.particles(image, n, n / fps) for n, image in enumerate(images)]
    cost = {"detect ms": 1e3 * (time.process_time() - begin) / len(images)}
    settings = LinkSettings(fps, float(np.clip(10_000 / fps / MM_PER_PX, 2, 60)), EXPOSURE[fps] * fps)
    begin = time.process_time()
    links = list(link(found, settings))
    cost["link ms"] = 1e3 * (time.process_time() - begin) / len(images)
    rows, numbers = np.concatenate([a for a, _ in links]), np.concatenate([b for _, b in links])
    table = tracks_of(points_of(rows, numbers), fps)
    score = score_tracks(rows, renumbered(numbers), truth, table, frame_rate=fps)
    if others:
        for name, linker in (("trackpy", by_trackpy), ("laptrack", by_laptrack)):
            best, spent = 0.0, float("nan")
            for reach in (2, 4, 8, 16, 32):
                begin = time.process_time()
                try:
                    theirs = linker(rows, reach)
                except Exception:  # trackpy gives up where too many lie near each other
                    continue
                if (f1 := score_tracks(rows, theirs, truth).link_f1) > best:
                    best, spent = f1, 1e3 * (time.process_time() - begin) / len(images)
            cost[f"{name} F1"], cost[f"{name} ms"] = best, spent
    return score, cost


def by_trackpy(rows: NDArray[np.void], reach: float) -> NDArray[np.int64]:
    """Numbers of trackpy with its prediction by the nearest velocity."""
    import pandas as pd
    import trackpy

    trackpy.quiet()
    frame = pd.DataFrame({"x": rows["x"], "y": rows["y"], "frame": rows["frame"], "row": np.arange(len(rows))})
    linked = trackpy.predict.NearestVelocityPredict().link_df(frame, reach, memory=2)
    numbers = np.full(len(rows), -1, np.int64)
    numbers[linked["row"]] = linked["particle"]
    return numbers


def by_laptrack(rows: NDArray[np.void], reach: float) -> NDArray[np.int64]:
    """Numbers of laptrack."""
    import pandas as pd
    from laptrack import LapTrack

    frame = pd.DataFrame({"x": rows["x"], "y": rows["y"], "frame": rows["frame"], "row": np.arange(len(rows))})
    tracker = LapTrack(cutoff=reach**2, gap_closing_cutoff=reach**2, splitting_cutoff=False, merging_cutoff=False)
    linked = tracker.predict_dataframe(frame, ["x", "y"], frame_col="frame", only_coordinate_cols=False)[0]
    numbers = np.full(len(rows), -1, np.int64)
    numbers[linked["row"]] = linked["track_id"]
    return numbers


def main() -> None:
    """Print one line for each combination."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--seed", type=int, default=9001)
    chosen = parser.parse_args()
    sys.stdout.write(
        "| frames/s | in view | noise | detection F1 | links F1 | whole | velocity | inside 90 % | angle | cost |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|---|---|---|\n")
    for fps in EXPOSURE:
        for rate in RATES:
            for noise in NOISES:
                images, truth = recording(fps, rate, noise, chosen.seed, chosen.frames)
                s, cost = tracked(fps, images, truth, chosen.others)
                sys.stdout.write(
                    f"| {fps} | {s.particles / chosen.frames:.0f} | {noise:g} | {s.f1:.3f} | {s.link_f1:.3f} | "
                    f"{s.whole:.2f} | {s.velocity_error:.1%} | {s.inside:.2f} | {s.angle_error:.2f}° | "
                    f"{', '.join(f'{name} {value:.3g}' for name, value in cost.items())} |\n"
                )


if __name__ == "__main__":
    main()
