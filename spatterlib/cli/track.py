"""Command `track`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spatterlib.cli.schema import TracksFound
from spatterlib.common.command_output import answer, answers
from spatterlib.common.files import check_target
from spatterlib.common.signals import interrupt_note
from spatterlib.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from spatterlib.measuring.camera import Camera


@click.command()
@click.argument("video", metavar="VIDEO")
@click.option(
    "-o", "--out", required=True, metavar="FILE", help="Points to write: .csv, .parquet, or TrackMate's .xml."
)
@click.option("--camera", "profile", metavar="PROFILE", help="Camera profile (TOML): true frame rate, exposure, scale.")
@click.option("--fps", type=float, help="Frames per second, where the recording does not say or is played slowly.")
@click.option("--start", metavar="POSITION", help="Frame, or time such as 1.5s or 0:01.")
@click.option("--stop", metavar="POSITION", help="The same, for where to end.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@answers(TracksFound)
@interrupt_note(lambda: "nothing was written")
def track(
    video: str, out: str, profile: str | None, fps: float | None, start: str | None, stop: str | None, overwrite: bool
) -> None:
    """Follow every particle of a high-speed recording from frame to frame.

    One row a point in FILE; one row a track beside it, as NAME.tracks.csv or .parquet. It takes 500 frames per second;
    what slower cameras see are streaks.
    """
    from spatterlib.measuring.camera import load_camera
    from spatterlib.tracking.exchange import SUFFIXES, table_path, write_tracks
    from spatterlib.tracking.tracks import track as follow

    target = Path(out)
    check_target(target, SUFFIXES, overwrite=overwrite)
    if target.suffix != ".xml":
        check_target(table_path(target), SUFFIXES, overwrite=overwrite)
    camera: Camera | None = load_camera(profile) if profile else None
    found = follow(video, camera, start=start, stop=stop, fps=fps)
    files = write_tracks(found, target)
    answer(
        TracksFound(
            files, found.frames, len(found.missing), found.particles, len(found.points), len(found.tracks),
            found.frame_rate, found.reasons,
        ),
        f"{out}: {found}",
    )  # fmt: skip


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The command of this module."""
    cli.add_command(track)
