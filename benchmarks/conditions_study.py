"""What the verdict says of recordings that differ from those of its training: the table in ``docs/prediction.md``.

Run ``python benchmarks/conditions_study.py FOLDER [--model RUN]``. Builds that no training saw (seeds from 7000) are
simulated once; their frames are changed in some thirty ways, or the builds are simulated with another camera, and each
is extracted to a store, which is kept: another model needs seconds. 24 layers of each condition, half of either flow;
``--builds 4`` takes 12. None of it has a part in choosing a limit. ``--real FOLDER`` adds foreign footage.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pages import publish, say

import spatterlib as sp
from spatterlib.types import Picture, RgbPicture

Frame = NDArray[np.uint8]
Change = Callable[[Frame, int], Frame]
FLOWS, CAMERAS = ("low", "high"), ("left", "mid", "right")
LAYERS, SECONDS = 3, 28.2
DOCUMENT = Path(__file__).parents[1] / "docs" / "prediction.md"
BEGIN, END = "<!-- conditions: begin -->", "<!-- conditions: end -->"


@dataclass(frozen=True)
class Condition:
    """A way in which recordings differ: frames changed, or builds simulated otherwise; and what is said of the gas."""

    name: str
    kind: str
    change: Change | None = None
    simulated: dict[str, Any] | None = None
    every: int = 1
    direction: float | None = None
    shown: str = ""


def levels(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Change:
    """Grey levels, each by itself: ``function`` of levels from 0 to 1."""
    table = np.clip(np.round(255 * function(np.arange(256) / 255)), 0, 255).astype(np.uint8)
    return lambda frame, _: np.asarray(cv2.LUT(frame, table), np.uint8)


def turned(degrees: float) -> Change:
    """Turned about its middle."""

    def change(frame: Frame, _: int) -> Frame:
        height, width = frame.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        return np.asarray(cv2.warpAffine(frame, matrix, (width, height)), np.uint8)

    return change


def zoomed(factor: float) -> Change:
    """Magnified about its middle; what is outside is dark."""

    def change(frame: Frame, _: int) -> Frame:
        height, width = frame.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, factor)
        return np.asarray(cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_AREA), np.uint8)

    return change


def jpeg(quality: int) -> Change:
    """Coded as a JPEG of its own."""

    def change(frame: Frame, _: int) -> Frame:
        _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

    return change


def noisy(sigma: float) -> Change:
    """With noise of so many grey levels; of a pool of frames, which is faster."""
    pool = np.random.default_rng(5).normal(0, sigma, (400, 700, 3)).astype(np.int16)

    def change(frame: Frame, number: int) -> Frame:
        y, x = (7 * number) % 40, (13 * number) % 60
        part = pool[y : y + frame.shape[0], x : x + frame.shape[1]]
        return np.clip(frame + part, 0, 255).astype(np.uint8)

    return change


def fouled(frame: Frame, _: int) -> Frame:
    """Through a window with soot: half the light is lost in places, and scattered."""
    return np.clip(frame * _soot(*frame.shape[:2]) + 0.10 * cv2.GaussianBlur(frame, (0, 0), 25), 0, 255).astype(
        np.uint8
    )


def _soot(height: int, width: int, kept: dict[Any, Any] = {}) -> NDArray[np.float32]:  # noqa: B006
    if (height, width) not in kept:
        spots = np.random.default_rng(9).normal(0, 1, (height // 20, width // 20)).astype(np.float32)
        smooth = cv2.resize(cv2.GaussianBlur(spots, (0, 0), 1.5), (width, height), interpolation=cv2.INTER_CUBIC)
        kept[height, width] = (0.55 + 0.35 / (1 + np.exp(-4 * smooth)))[..., None].astype(np.float32)
    return np.asarray(kept[height, width])


def with_clock(frame: Frame, number: int) -> Frame:
    """With date and time in a corner."""
    text = f"2026-12-01 12:{number // 1500:02d}:{number // 25 % 60:02d}"
    return np.asarray(
        cv2.putText(frame.copy(), text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (230, 230, 230)), np.uint8
    )


def lit(frame: Frame, _: int) -> Frame:
    """With light from a room: more at the left."""
    ramp = np.linspace(55, 25, frame.shape[1])[None, :, None]
    return np.clip(frame + ramp, 0, 255).astype(np.uint8)


def grey(frame: Frame, _: int) -> Frame:
    """Without colour."""
    return np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def white_balance(frame: Frame, _: int) -> Frame:
    """Warmer."""
    return np.clip(frame * np.array([1.12, 1.0, 0.85]), 0, 255).astype(np.uint8)


def small(frame: Frame, _: int) -> Frame:
    """As after a low bit rate: coarse blocks."""
    rough = cv2.resize(cv2.resize(frame, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), frame.shape[1::-1])
    return jpeg(30)(np.asarray(rough, np.uint8), 0)


MIRROR: Change = lambda frame, _: np.ascontiguousarray(frame[:, ::-1])  # noqa: E731
FLIP: Change = lambda frame, _: np.ascontiguousarray(frame[::-1])  # noqa: E731
LARGE: Change = lambda frame, _: np.asarray(cv2.resize(frame, (1280, 720)), np.uint8)  # noqa: E731
CONDITIONS = (
    Condition("unchanged", "harmless"),
    Condition("direction said", "harmless", direction=180),
    Condition("mirrored, direction said", "harmless", MIRROR, direction=0, shown="mirrored"),
    Condition(
        "gas to the right, direction said", "harmless", simulated={"gas_direction": 0}, direction=0, shown="right"
    ),
    Condition("white balance", "harmless", white_balance),
    Condition("grey", "harmless", grey),
    Condition("JPEG 10", "harmless", jpeg(10)),
    Condition("noise 4", "harmless", noisy(4)),
    Condition("clock in the picture", "harmless", with_clock),
    Condition("bit rate 90 kbit/s", "harmless", simulated={"bit_rate": 90_000}),
    Condition("gain 1.6", "harmless", simulated={"gain": 1.6}),
    Condition("50 frames/s", "harmless", simulated={"fps": 50}),
    Condition("12.5 frames/s, same exposure", "other", every=2),
    Condition("mirrored", "other", MIRROR),
    Condition("mirrored, wrong direction said", "other", MIRROR, direction=180, shown="mirrored"),
    Condition("gas to the right", "other", simulated={"gas_direction": 0}),
    Condition("gas away from the camera", "other", simulated={"gas_direction": 90}),
    Condition("gas towards the camera", "other", simulated={"gas_direction": 270}),
    Condition("upside down", "other", FLIP),
    Condition("turned by 10 degrees", "other", turned(10)),
    Condition("turned by 90 degrees", "other", turned(90)),
    Condition("turned by 180 degrees", "other", turned(180)),
    Condition("levels x 0.5", "other", levels(lambda v: 0.5 * v)),
    Condition("levels x 1.5", "other", levels(lambda v: 1.5 * v)),
    Condition("gamma 0.6", "other", levels(lambda v: v**0.6)),
    Condition("gamma 1.6", "other", levels(lambda v: v**1.6)),
    Condition("limited range read as full", "other", levels(lambda v: (16 + 219 * v) / 255)),
    Condition("full range read as limited", "other", levels(lambda v: (255 * v - 16) / 219)),
    Condition("brightness -0.1, contrast 1.3", "other", levels(lambda v: 1.3 * (v - 0.5) + 0.5 - 0.1)),
    Condition("lens blur", "other", lambda frame, _: np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.0), np.uint8)),
    Condition("haze", "other", lambda frame, _: np.clip(0.7 * frame + 33, 0, 255).astype(np.uint8)),
    Condition("fouled window", "other", fouled),
    Condition("room light", "other", lit),
    Condition("zoom 0.7", "other", zoomed(0.7)),
    Condition("zoom 1.4", "other", zoomed(1.4)),
    Condition("enlarged to 720p", "other", LARGE),
    Condition("coarse coding", "other", small),
    Condition("noise 10", "other", noisy(10)),
    Condition("gain 3", "other", simulated={"gain": 3.0}),
    Condition("gain 0.4", "other", simulated={"gain": 0.4}),
    Condition("exposure 10 ms", "other", simulated={"exposure": 0.010}),
)


@dataclass(frozen=True, eq=False)
class Changed:
    """A video whose frames are changed as they are read."""

    video: Any
    change: Change
    every: int
    width: int
    height: int

    @property
    def name(self) -> str:
        """As the video's."""
        return str(self.video.name)

    @property
    def times(self) -> NDArray[np.float64]:
        """S, of the frames that are left."""
        return np.asarray(self.video.times[:: self.every])

    def identity(self) -> dict[str, Any]:
        """As the video's, with its own size and rate."""
        facts = dict(self.video.identity()) | {"width": self.width, "height": self.height}
        return facts | {"fps": facts["fps"] / self.every, "frames": len(self.times)}

    def read(self, start: int, stop: int) -> Iterator[Picture | None]:
        """Changed frames."""
        first, last = start * self.every, (stop - 1) * self.every + 1
        for number, picture in enumerate(self.video.read(first, last), first):
            if number % self.every == 0:
                frame = None if picture is None else picture.rgb((0, 0, self.video.width, self.video.height))
                yield None if frame is None else RgbPicture(self.change(frame, number))

    def close(self) -> None:
        """Nothing: whoever opened the video closes it."""


def extracted(video: Path, store: Path, change: Change | None = None, every: int = 1, **options: Any) -> None:
    """Extract a recording, its frames changed."""
    with sp.open_video(video) as opened:
        if change is None and every == 1:
            sp.extract(opened, store, progress=False, **options)
            return
        change = change or (lambda frame, _: frame)
        height, width = change(np.zeros((opened.height, opened.width, 3), np.uint8), 0).shape[:2]
        sp.extract(Changed(opened, change, every, width, height), store, progress=False, **options)


def recorded(folder: Path, name: str, index: int, number: int, **other: Any) -> Path:
    """A build of the study, simulated unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{FLOWS[index]}_{number}_{name}.mp4"
    if not path.exists():
        facts = {"gas_flow": FLOWS[index], "seed": 7000 + 100 * index + number, "camera": CAMERAS[number % 3]}
        sp.simulate(path, seconds=SECONDS, recoat_seconds=2.5, **{**facts, **other}, overwrite=True)
    return path


def stored(folder: Path, condition: Condition, index: int, number: int) -> Path:
    """The store of a build under a condition, extracted unless it is there."""
    name = (condition.shown or condition.name).replace(" ", "_").replace("/", "-")
    store = folder / "stores" / name / f"{FLOWS[index]}_{number}.h5"
    if not store.exists():
        store.parent.mkdir(parents=True, exist_ok=True)
        own = condition.simulated
        video = recorded(folder / "builds", name if own else "base", index, number, **(own or {}))
        extracted(video, store, condition.change, condition.every)
        if own:
            video.unlink()
    return store


def judged(folder: Path, condition: Condition, run: Any, builds: int) -> dict[str, Any]:
    """How many layers are right, wrong and decided, left open, stopped as unlike; and the reasons."""
    found: dict[str, Any] = {"name": condition.name, "kind": condition.kind, "right": 0, "wrong": 0, "open": 0}
    found |= {"unlike": 0, "reasons": {}, "wrong_windows": 0, "wrong_flows": []}
    for number in range(builds // 2):
        for index, flow in enumerate(FLOWS):
            store = stored(folder, condition, index, number)
            verdict = sp.predict(store, run, gas_direction=condition.direction, window=10, progress=False)
            spans = [span for span in verdict.layers if span.votes >= 3][:LAYERS]
            for span in spans:
                answer = "open" if span.label is None else "right" if span.label == flow else "wrong"
                found[answer] += 1
                found["wrong_flows"] += [f"{flow}_{number}"] * (answer == "wrong")
                found["unlike"] += "unlike" in span.reason or "streaks" in span.reason or "degrees" in span.reason
                if span.label is None:
                    reason = span.reason.split(": ", 1)[-1]
                    found["reasons"][reason] = found["reasons"].get(reason, 0) + 1
            found["open"] += LAYERS - len(spans)
            found["wrong_windows"] += sum(span.label not in (None, flow) for span in verdict.windows)
    return found


def foreign(folder: Path, run: Any) -> list[dict[str, Any]]:
    """Footage that shows no powder bed, as it is and with other levels, in windows of 2 s: what is decided."""
    tones: dict[str, Change] = {
        "as it is": lambda frame, _: frame,
        "darkened": levels(lambda v: 1.3 * (v - 0.5) + 0.5 - 0.1),
        "gamma 1.6": levels(lambda v: v**1.6),
        "gamma 0.6": levels(lambda v: v**0.6),
    }
    rows = []
    for path in sorted(item for item in folder.iterdir() if item.suffix in (".mp4", ".avi", ".m4v")):
        for name, change in tones.items():
            with sp.open_video(path) as video:
                changed = Changed(video, change, 1, video.width, video.height)
                verdict = sp.predict(changed, run, window=2, progress=False)
            spans = [*verdict.layers, *verdict.windows]
            decided = [span for span in spans if span.label is not None]
            rows.append({"name": path.stem, "tone": name, "spans": len(spans), "decided": len(decided)})
            say(f"{rows[-1]}")
    return rows


def table(rows: list[dict[str, Any]], real: list[dict[str, Any]]) -> str:
    """What the document shows."""
    lines = [
        "| condition | layers | right | wrong and decided | left open | of these: unlike training | mostly because |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        total = row["right"] + row["wrong"] + row["open"]
        reasons = sorted(row["reasons"].items(), key=lambda item: -item[1])
        why = reasons[0][0] if reasons and row["unlike"] > total / 4 else ""
        cells = (row["name"], total, row["right"], row["wrong"], row["open"], row["unlike"], why)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    total = sum(row["right"] + row["wrong"] + row["open"] for row in rows)
    wrong, most = sum(row["wrong"] for row in rows), max(row["wrong"] for row in rows)
    own = [row for row in rows if row["kind"] == "harmless"]
    share = sum(row["right"] for row in own) / max(sum(row["right"] + row["wrong"] + row["open"] for row in own), 1)
    lines += [
        "",
        f"Wrong and decided: {wrong} of {total} layers ({wrong / total:.1%}), at most {most} in a condition. Of the "
        f"first {len(own)} conditions, which should do no harm, {share:.0%} are decided and right.",
    ]
    if real:
        spans, decided = sum(row["spans"] for row in real), sum(row["decided"] for row in real)
        lines += [
            "",
            f"Foreign footage ({len(real)} recordings and tones): {decided} of {spans} layers and windows decided.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Everything that is not there yet, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="simulated", help="run folder")
    parser.add_argument("--builds", type=int, default=8, help="builds of a condition, three layers each")
    parser.add_argument("--only", nargs="*", default=[], help="names of conditions")
    parser.add_argument("--real", type=Path, help="folder of foreign footage")
    parser.add_argument("--dry", action="store_true", help="print the table, leave the document alone")
    options = parser.parse_args()
    run = sp.load_model(options.model)
    rows = []
    for condition in CONDITIONS:
        if not options.only or condition.name in options.only:
            rows.append(judged(options.folder, condition, run, options.builds))
            say(f"{ {key: value for key, value in rows[-1].items() if key != 'kind'} }")
    real = foreign(options.real, run) if options.real else []
    (options.folder / "conditions.json").write_text(json.dumps([rows, real]))
    text = table(rows, real)
    publish(DOCUMENT, BEGIN, END, text, dry=options.dry)


if __name__ == "__main__":
    main()
