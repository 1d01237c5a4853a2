"""A camera of 60 frames a second on the network, watched on one core: what is lost, and how late verdicts are.

    python benchmarks/live_study.py --seconds 45

The stream (H.264 in MPEG-TS over TCP, loopback, paced in real time) is sent by this process; ``spatterlib watch`` runs
in another that may use one core only. Two times are told: from the arrival of a frame to its verdict, as the watch
measures it itself, and from the moment at which a frame is sent to the moment at which its verdict stands on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import click
import numpy as np

import spatterlib as sp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from streams import Camera, transport_stream

FPS = 60
OPTIONS = ["--model", "simulated", "--expected", "high", "--every", "0.01", "--give-up", "4"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--video", type=Path, help="recording to send; a simulated one by default")
    parser.add_argument("--cut", action="store_true", help="cut the stream in the middle, for two seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or _simulated(Path(folder) / "build.mp4")
        parts = transport_stream(video, int(options.seconds * FPS), FPS)
        _report(parts, Path(folder) / "kept.h5", cut=options.cut)


def _simulated(path: Path) -> Path:
    sp.simulate(path, gas_flow="low", seconds=45, fps=FPS, layer_seconds=12, recoat_seconds=4, seed=3)
    return path


def _report(parts: list[bytes], store: Path, *, cut: bool) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    cuts = [len(parts) // 2] if cut else []
    with Camera(parts, FPS, cuts=cuts, away=2.0) as camera:
        watching = subprocess.Popen(
            [sys.executable, "-m", "spatterlib", "watch", camera.url, *OPTIONS, "--store", str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {cores[-1]}),
        )
        assert watching.stdout
        messages = [json.loads(text) for text in watching.stdout]
        watching.wait()
    end, used = messages[-1], resource.getrusage(resource.RUSAGE_CHILDREN)
    shift = time.time() - time.monotonic()
    sent = {number / FPS: at + shift for number, at in enumerate(camera.sent_at)} if not cut else {}
    late = [
        _written(item) - sent[_nearest(item["time"])]
        for item in messages
        if item["type"] == "verdict" and sent and not item["final"]
    ]
    click.echo(
        f"sent {camera.sent} frames; received {end['received']}, decoded {end['decoded']}, dropped {end['dropped']}, "
    )
    click.echo(f"  undecoded {end['undecoded']}; gaps {end['gaps']} ({end['gap_seconds']:.2f} s), crops {end['crops']}")
    found = [1e3 * end[f"latency_{name}"] for name in ("p50", "p99", "max")]
    click.echo("arrival to verdict, ms: p50 {:.1f}, p99 {:.1f}, max {:.1f}".format(*found))
    if late:
        p50, p99, most = 1e3 * np.quantile(late, [0.5, 0.99, 1.0])
        click.echo(f"sent to stdout, ms: p50 {p50:.1f}, p99 {p99:.1f}, max {most:.1f} ({len(late)} verdicts)")
    click.echo(f"process time {used.ru_utime + used.ru_stime:.1f} s in {end['seconds']:.1f} s; load {os.getloadavg()}")


def _nearest(moment: float) -> float:
    return round(moment * FPS) / FPS


def _written(found: dict[str, str]) -> float:
    return datetime.fromisoformat(found["at"]).timestamp()


if __name__ == "__main__":
    main()
