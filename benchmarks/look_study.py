"""How simulated crops look beside real ones: ``python benchmarks/look_study.py WHAT [FOLDER [PRESET [SHEET]]]``.

WHAT is ``table``, ``classifier`` or ``sheet``. FOLDER holds real crops as PNG files with "low" or "high" in their
names; without it the real ones are left out. SHEET is the picture that ``sheet`` writes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pages import say

import spatterlib as sp
from spatterlib.measuring.streaks import find_streaks
from spatterlib.types import Image

FLOWS = ("low", "high")
CAMERAS = ("left", "mid", "right")
TABLE = ("streaks", "turn", "turn_90", "solidity", "elongation", "zero", "red_blue", "fade", "grey")
"""The descriptors of the table; `described` gives these and eleven more."""
DESCRIPTORS = (
    *TABLE, "length_10", "length", "length_90", "width", "rise", "rise_90", "saturated", "over_60", "over_20",
    "height", "aspect",
)  # fmt: skip


def real_crops(folder: Path) -> dict[str, list[Image]]:
    """Real crops by flow, from the names of the files."""
    crops: dict[str, list[Image]] = {flow: [] for flow in FLOWS}
    for path in sorted(folder.glob("*.png")):
        flow = next(flow for flow in FLOWS if flow in path.stem)
        crops[flow].append(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    return crops


def simulated_crops(preset: str, seconds: float = 15.0, seed: int = 71) -> dict[str, list[Image]]:
    """Crops of three cameras by flow, behind the recorder's H.264; black ones left out."""
    crops: dict[str, list[Image]] = {flow: [] for flow in FLOWS}
    with tempfile.TemporaryDirectory() as folder:
        for number, (flow, camera) in enumerate((flow, camera) for flow in FLOWS for camera in CAMERAS):
            path = Path(folder) / f"{flow}_{camera}.mp4"
            sp.simulate(path, gas_flow=flow, camera=camera, seconds=seconds, seed=seed + number, preset=preset)
            for clip, found in sp.detect(path, **sp.ORIGINAL):
                lit = found["peak"] >= 200
                crops[flow] += [np.ascontiguousarray(crop) for crop in clip.crops(found[lit])]
    return crops


def zone_shape(luma: Image) -> tuple[float, float]:
    """Solidity and elongation of the largest zone of 250 grey levels and more; NaN where there is none."""
    outlines = cv2.findContours((luma >= 250).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    outline = max(outlines, key=cv2.contourArea, default=None)
    if outline is None or cv2.contourArea(outline) < 9:
        return np.nan, np.nan
    width, height = cv2.minAreaRect(outline)[1]
    solidity = cv2.contourArea(outline) / cv2.contourArea(cv2.convexHull(outline))
    return solidity, max(width, height) / max(min(width, height), 1.0)


def described(crop: Image) -> NDArray[np.float64]:
    """``(20,)`` `DESCRIPTORS` of a crop; NaN where it has none."""
    luma, streaks = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), find_streaks(crop)
    lit = (luma > 30) & (luma < 225)
    red, _, blue = crop[lit].astype(float).mean(0) if lit.any() else np.full(3, np.nan)

    def part(values: NDArray[np.float32], share: float) -> float:
        return float(np.percentile(values, share)) if len(values) else np.nan

    turns = np.abs(streaks["curvature"]) * streaks["length"]
    fade = streaks["last_brightness"] / np.maximum(streaks["first_brightness"], 1e-6)
    return np.array(
        [
            len(streaks), part(turns, 50), part(turns, 90), *zone_shape(luma), np.mean(luma == 0), red / blue,
            part(fade, 50), luma.mean(), *(part(streaks["length"], share) for share in (10, 50, 90)),
            part(streaks["width"], 50), part(streaks["brightness"], 50), part(streaks["brightness"], 90),
            (luma >= 250).sum(), np.mean(luma > 60), np.mean(luma > 20), luma.shape[0], luma.shape[1] / luma.shape[0],
        ]
    )  # fmt: skip


def table(real: dict[str, list[Image]], simulated: dict[str, list[Image]]) -> None:
    """Medians over crops of what is measured in each."""
    for flow in FLOWS:
        for name, crops in (("real", real[flow]), ("simulated", simulated[flow])):
            if not crops:
                say(f"{name} {flow}: no crops, left out")
                continue
            medians = dict(zip(DESCRIPTORS, np.nanmedian([described(crop) for crop in crops], 0), strict=True))
            figures = " ".join(f"{key}={value:.2f}" for key, value in medians.items())
            say(f"{name} {flow} ({len(crops)} crops): {figures}")


def classifier(real: dict[str, list[Image]], simulated: dict[str, list[Image]], repetitions: int = 1000) -> None:
    """Balanced accuracy of a linear classifier that tells real from simulated.

    Ridge regression on twenty descriptors in standard scores, classes weighted alike. In each repetition as many
    simulated crops of each flow are drawn as train with seven real ones (48) and two are kept apart; each real crop
    is left out once. Missing values are medians.
    """
    true = np.array([described(crop) for crops in real.values() for crop in crops])
    pools = [np.array([described(crop) for crop in crops]) for crops in simulated.values()]
    middle, draw = np.nanmedian(np.concatenate(pools), 0), np.random.default_rng(1)
    true, pools = np.where(np.isnan(true), middle, true), [np.where(np.isnan(pool), middle, pool) for pool in pools]
    scores = []
    for _ in range(repetitions):
        out = draw.integers(len(true))
        drawn = [pool[draw.permutation(len(pool))[:25]] for pool in pools]
        train = np.concatenate([np.delete(true, out, 0), *(part[1:] for part in drawn)])
        test = np.concatenate([true[out : out + 1], *(part[:1] for part in drawn)])
        label = np.r_[np.ones(len(true) - 1), -np.ones(len(train) - len(true) + 1)]
        scores.append(_tells(train, label, test))
    right = np.array(scores)
    balanced = 0.5 * (np.mean(right[:, 0] > 0) + np.mean(right[:, 1:] < 0))
    say(f"balanced accuracy {balanced:.3f} ({len(true)} real, {[len(pool) for pool in pools]} simulated crops)")


def _tells(train: NDArray[np.float64], label: NDArray[np.float64], test: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over 0 for real, of each row of `test`."""
    mean, spread = train.mean(0), train.std(0) + 1e-9
    rows, asked = np.c_[(train - mean) / spread, np.ones(len(train))], np.c_[(test - mean) / spread, np.ones(len(test))]
    weight = np.where(label > 0, 0.5 / (label > 0).sum(), 0.5 / (label < 0).sum())
    normal = (rows * weight[:, None]).T @ rows + 0.1 * np.diag(np.r_[np.ones(rows.shape[1] - 1), 0.0])
    return np.asarray(asked @ np.linalg.solve(normal, rows.T @ (weight * label)))


def sheet(path: Path, real: dict[str, list[Image]], simulated: dict[str, list[Image]], seed: int = 5) -> None:
    """A shuffled sheet of all real crops and three times as many simulated ones; the answer is printed."""
    draw = np.random.default_rng(seed)
    cards = [(crop, "real") for crops in real.values() for crop in crops]
    for flow, crops in simulated.items():
        count = 3 * len(real[flow]) or 12
        cards += [(crops[index], "simulated") for index in draw.permutation(len(crops))[:count]]
    cards = [cards[index] for index in draw.permutation(len(cards))]
    tiles = []
    for number, (crop, _) in enumerate(cards, 1):
        tile, part = np.full((360, 400, 3), 40, np.uint8), cv2.resize(crop, None, fx=2, fy=2)[:330, :400]
        tile[30 : 30 + part.shape[0], : part.shape[1]] = part
        tiles.append(cv2.putText(tile, str(number), (4, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 0), 2))
    tiles += [np.full_like(tiles[0], 40)] * (-len(tiles) % 8)
    lines = [np.hstack(tiles[first : first + 8]) for first in range(0, len(tiles), 8)]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR))
    say(f"{path}; real: {[number for number, (_, kind) in enumerate(cards, 1) if kind == 'real']}")


def main(what: str = "table", folder: str = "", preset: str = "easy", picture: str = "sheet.png") -> None:
    """What is asked for."""
    real: dict[str, list[Image]] = real_crops(Path(folder)) if folder else {flow: [] for flow in FLOWS}
    simulated = simulated_crops(preset)
    if what == "table":
        table(real, simulated)
    elif what == "sheet":
        sheet(Path(picture), real, simulated)
    elif any(real.values()):
        classifier(real, simulated)
    else:
        say("the classifier needs a folder of real crops")


if __name__ == "__main__":
    main(*sys.argv[1:])
