"""What filters take out is said, and which option lets it through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import spatterlib as sp
from spatterlib.detection.detect import plugins_of, sifted
from spatterlib.detection.tally import rows_and_light, tallies, unfit


def flashes(path: Path, *sides: int) -> Path:
    """A recording in which squares flash, of these sides in px."""
    # Each is seen twice: when it comes, and, black, when it goes.
    frames = np.zeros((2 * len(sides) + 1, 240, 320), np.uint8)
    for number, side in enumerate(sides):
        frames[2 * number + 1, 10 : 10 + side, 10 : 10 + side] = 255
    np.save(path, frames)
    return path


def test_the_report_has_what_each_filter_took_out(tmp_path: Path) -> None:
    report = sp.extract(flashes(tmp_path / "a.npy", 60, 200, 60, 20, 20), tmp_path / "a.h5")
    area, blue, black = report.filters
    assert (area.id, area.rows, blue.rows, black.rows) == ("area", 6, 0, 2)
    assert report.detections == 2
    assert 0.7 < area.light < 0.95
    assert area.area > 15000
    assert unfit(report.filters) == area
    assert area.option() == "--max-area (now 15000)"


def test_small_things_name_the_other_bound(tmp_path: Path) -> None:
    report = sp.extract(flashes(tmp_path / "a.npy", 20, 30, 25), tmp_path / "a.h5")
    bad = unfit(report.filters)
    assert bad is not None
    assert bad.option() == "--min-area (now 2000)"


def test_what_stays_is_no_news(tmp_path: Path) -> None:
    report = sp.extract(flashes(tmp_path / "a.npy", 60, 70, 20), tmp_path / "a.h5")
    assert report.filters[0].rows == 2
    assert unfit(report.filters) is None


def test_any_number_of_workers_counts_the_same(tmp_path: Path) -> None:
    path = flashes(tmp_path / "a.npy", *([60, 200, 20] * 90))
    reports = [sp.extract(path, tmp_path / f"{workers}.h5", workers=workers) for workers in (1, 3)]
    assert [item.rows for item in reports[0].filters] == [item.rows for item in reports[1].filters] == [360, 0, 90]


def test_without_filters_nothing_is_taken(tmp_path: Path) -> None:
    assert sp.extract(flashes(tmp_path / "a.npy", 60), tmp_path / "a.h5", filters=[]).filters == ()


def test_sums_add_up_to_what_the_detector_found() -> None:
    frames = np.zeros((4, 240, 320, 3), np.uint8)
    frames[1, 10:210, 10:210] = 255
    frames[2, 10:70, 230:290] = 90
    clip = sp.Clip.of(frames)
    everything, _ = sifted(clip, *plugins_of("frame-difference", []))
    _, sums = sifted(clip, *plugins_of("frame-difference", ["area", "black"]))
    np.testing.assert_allclose(sums.sum(0), rows_and_light(everything))
    assert [tally.id for tally in tallies(plugins_of("frame-difference", ["area", "black"])[1], sums)] == [
        "area",
        "black",
    ]


@pytest.mark.parametrize("command", ["extract", "detect"])
def test_commands_say_it_at_the_end(
    command: str, tmp_path: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("a.h5" if command == "extract" else "a.csv")
    assert command_line(command, flashes(tmp_path / "a.npy", 60, 200, 20), "-o", out) == 0
    said = "".join(capsys.readouterr())
    assert "filters took out: 4 rows by area, 0 rows by blue, 1 row by black" in said
    assert "% of the light lies in the boxes that filter area took out" in said
    assert "change --max-area (now 15000)" in said
