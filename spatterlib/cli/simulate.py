"""Command `simulate`: options generated from the fields of the simulation's settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from spatterlib.cli.schema import Simulated
from spatterlib.common.command_output import answer, answers
from spatterlib.common.record_options import options_of
from spatterlib.common.run_log import periodic_progress
from spatterlib.common.signals import interrupt_note
from spatterlib.common.wording import counted
from spatterlib.plugins.hookspecs import hookimpl


class _Simulate(click.Command):
    """A command whose options are the fields of `SimulationSettings`, read when it is run or asked for help."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, then one per field."""
        from spatterlib.simulation import SimulationSettings

        if not any(param.name == "seed" for param in self.params):
            self.params += options_of(SimulationSettings)
        return super().get_params(ctx)


@click.command(cls=_Simulate)
@click.argument("out", metavar="OUT")
@click.option("--workers", type=int, default=1, show_default=True, help="Threads that render; same frames.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@answers(Simulated)
@interrupt_note(
    lambda: "nothing was written: a recording is there as a whole or not at all, and cannot be gone on with"
)
def simulate(out: str, workers: int, overwrite: bool, **values: Any) -> None:
    """Write a simulated recording (.mp4, .mkv, .npy) and beside it its truth (.truth.npz)."""
    from spatterlib.simulation import simulate

    given = {name: value for name, value in values.items() if value is not None}
    truth = simulate(out, workers=workers, overwrite=overwrite, progress=_progress(), **given)
    events, frames = truth.events, truth.settings.frames
    lit = len(set(events["frame"].tolist()))
    streaks, layers = len(truth.streaks), len(truth.layers)
    text = (
        f"{out}: simulated, {counted(frames, 'frame')}, {counted(len(events), 'event')} in {counted(lit, 'frame')}, "
        f"{counted(streaks, 'streak')}, {counted(layers, 'layer')} -> {truth.path}"
    )
    answer(Simulated(out, truth.path, frames, len(events), lit, streaks, layers), text)


def _progress() -> Callable[[int, int], None]:
    """A bar on a terminal, and lines of the log."""
    keep = periodic_progress("frames")
    if not sys.stderr.isatty():
        return keep
    from tqdm import tqdm

    shown = tqdm(unit=" frames", smoothing=0.1, dynamic_ncols=True)

    def show(done: int, expected: int) -> None:
        shown.total = expected
        shown.update(done - shown.n)
        keep(done, expected)
        if done == expected:
            shown.close()

    return show


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The command of this module."""
    cli.add_command(simulate)
