"""Commands `check-camera`, `calibrate-camera` and `streaks`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from spatterlib.cli.run_options import dask_option, executor_at
from spatterlib.cli.schema import Calibrated, CameraChecked, QuantityChecked, StreaksMeasured
from spatterlib.common.command_output import answer, answers, say
from spatterlib.common.files import check_target, write_csv
from spatterlib.common.signals import interrupt_note
from spatterlib.common.wording import counted
from spatterlib.errors import ParameterError
from spatterlib.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import numpy as np


@click.command("check-camera")
@click.argument("profile", metavar="PROFILE")
@answers(CameraChecked)
def check_camera(profile: str) -> None:
    """Say which quantities a camera can measure and which not, with the reason.

    PROFILE is a TOML file with a table [camera]: frame_rate, exposure (s), mm_per_px or homography, gas_direction
    (degrees as seen, 0 = right, 90 = up), machine, build, material, name.
    """
    from spatterlib.measuring.camera import check_camera, load_camera

    found = check_camera(load_camera(profile))
    width = max(len(item.name) for item in found)
    for item in found:
        say(f"{'yes' if item.measurable else 'no ':<3}  {item.name:<{width}}  {item.reason}")
    checked = [QuantityChecked(item.name, item.measurable, item.reason) for item in found]
    answer(CameraChecked(profile, checked))


@click.command("calibrate-camera")
@click.argument("profile", metavar="PROFILE")
@click.option("-o", "--out", required=True, metavar="FILE", help="Calibration to write (.npz).")
@click.option("--recordings", type=click.IntRange(8), default=28, show_default=True, help="Simulated recordings.")
@click.option("--crops", type=click.IntRange(5), default=40, show_default=True, help="Crops of each.")
@click.option("--seed", type=int, default=1000, show_default=True, help="Of the first recording.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@answers(Calibrated)
@interrupt_note(lambda: "nothing was written")
def calibrate_camera(profile: str, out: str, recordings: int, crops: int, seed: int, overwrite: bool) -> None:
    """Simulate recordings of a camera at gas speeds of 0.2 to 3 m/s and learn what their streaks look like.

    Speeds of whole flights and the gas-flow index need it. It is a simulation: confirm it on the machine.
    """
    from spatterlib.measuring.calibration import calibrate
    from spatterlib.measuring.camera import load_camera

    check_target(out, (".npz",), overwrite=overwrite)
    camera = load_camera(profile)
    found = calibrate(camera, recordings, crops, seed)
    found.save(out)
    kind: Literal["flights", "exposure", "none"] = (
        "flights" if found.flights else "exposure" if found.foreshortening else "none"
    )
    speeds = {"flights": "speeds of whole flights", "exposure": "speeds by exposure", "none": "no speeds"}[kind]
    error = math.expm1(float(found.gas.error)) if found.gas else None
    index = "no gas-flow index" if error is None else f"gas-flow index, error {error:.0%}"
    answer(Calibrated(out, kind, error, True), f"{out}: calibrated by simulation, {speeds}, {index}")


@click.command()
@click.argument("store", metavar="STORE")
@click.option("--camera", "profile", required=True, metavar="PROFILE", help="Camera profile (TOML).")
@click.option("--calibration", metavar="FILE", help="From `calibrate-camera`.")
@click.option("-o", "--out", metavar="FILE", help="Table to write.  [default: STORE.streaks.npz]")
@click.option("--by", type=click.Choice(["layer", "event", "window"]), default="layer", show_default=True)
@click.option("--window", "seconds", type=float, default=10.0, show_default=True, help="Length of a window in s.")
@click.option("--describe", "sheet", metavar="CSV", help="Write the descriptors as CSV too.")
@click.option("--overwrite", is_flag=True, help="Replace an existing table.")
@dask_option
@answers(StreaksMeasured)
@interrupt_note(lambda: "nothing was written")
def streaks(
    store: str,
    profile: str,
    calibration: str | None,
    out: str | None,
    by: Literal["layer", "event", "window"],
    seconds: float,
    sheet: str | None,
    overwrite: bool,
    dask: str | None,
) -> None:
    """Find and measure the streaks in the crops of a store; describe layers, events or windows.

    The table is written beside the store; the store itself is only read.
    """
    from spatterlib.measuring import measurement
    from spatterlib.measuring.calibration import Calibration
    from spatterlib.measuring.camera import load_camera
    from spatterlib.stores.opening import open_store

    target = Path(out) if out else measurement.streaks_path(store)
    check_target(target, (".npz",), overwrite=overwrite)
    if sheet:
        check_target(sheet, overwrite=overwrite)
    if not seconds > 0 or not math.isfinite(seconds):
        raise ParameterError(f"--window must be a number of seconds above 0, got {seconds:g}")
    camera = load_camera(profile)
    learned = Calibration.load(calibration) if calibration else None
    with open_store(store) as opened, executor_at(dask) as executor:
        found = measurement.measure_store(opened, camera, learned, executor=executor)
        table, gap = opened.table, opened.attrs.get("gap")
    found.save(target)
    rows = measurement.describe_by(found, table, by, seconds, learned, gap)
    text = f"{counted(len(found.streaks), 'streak')} in {counted(found.rows, 'crop')}"
    say(f"{target}: {text}{', simulated recording' if found.about['simulated'] else ''}")
    missing = found.about["not measurable"]
    for name, reason in missing.items():
        say(f"not measured: {name}: {reason}")
    for row in rows[:20]:
        say(_line(by, row))
    if len(rows) > 20:
        say(f"... {len(rows) - 20} more; --describe CSV writes all")
    names = list(rows.dtype.names or ())
    if sheet:
        write_csv(sheet, names, [row.tolist() for row in rows])
    groups = [dict(zip(names, row.tolist(), strict=True)) for row in rows]
    simulated = bool(found.about["simulated"]) or None
    answer(StreaksMeasured(str(target), len(found.streaks), found.rows, simulated, missing, by, groups))


def _line(by: str, row: np.void) -> str:
    text = f"{by} {row['group']}: {counted(row['streaks'], 'streak')}, {row['rate']:.1f} per crop"
    if math.isfinite(row["speed_50"]):
        text += f", {row['speed_50']:.2f} m/s (80 % in {row['speed_10']:.2f}-{row['speed_90']:.2f})"
    if math.isfinite(row["drift"]):
        text += f", drift {row['drift']:+.2f}"
    if math.isfinite(row["gas_speed"]):
        text += f", gas {row['gas_speed']:.2f} m/s ({row['gas_low']:.2f}-{row['gas_high']:.2f})"
    return text


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The commands of this module."""
    for command in (check_camera, calibrate_camera, streaks):
        cli.add_command(command)
