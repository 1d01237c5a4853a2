"""Commands `monitor` and `synchronize`."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatterlib.cli.schema import Monitored, NovelFound, OffsetFound, StoreMonitored, Synchronized
from spatterlib.common.command_output import answer, answers, say
from spatterlib.common.files import check_target, json_ready, write_csv, write_text
from spatterlib.common.wording import counted
from spatterlib.errors import Exit, UsageError
from spatterlib.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spatterlib.control.monitoring import Charted
    from spatterlib.control.reference import Reference
    from spatterlib.learning.runs import Run
    from spatterlib.measuring.measurement import Measured

log = logging.getLogger("spatterlib")

_SUFFIXES = (".json", ".csv", ".png", ".svg", ".pdf")
_LINES = 40


@click.command()
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option(
    "--reference",
    multiple=True,
    required=True,
    metavar="WHAT",
    help="Good layers: a store, a file of --save-reference, or a number: the first so many of each STORE.",
)
@click.option("--camera", "profile", metavar="PROFILE", help="Camera profile; for stores without measured streaks.")
@click.option("--descriptor", multiple=True, metavar="NAME", help="What is charted; repeat.  [default: six usual ones]")
@click.option(
    "--chart",
    multiple=True,
    type=click.Choice(["shewhart", "ewma", "cusum", "t2"]),
    default=("ewma", "t2"),
    show_default=True,
    help="Charts that raise alarms; repeat.",
)
@click.option("--arl", type=float, default=370.0, show_default=True, help="Layers from one false alarm to the next.")
@click.option("--scan-turn", type=float, metavar="DEG", help="By how much the hatch turns from layer to layer (67).")
@click.option("--scan-start", type=float, default=0.0, show_default=True, metavar="DEG", help="Angle of layer 0.")
@click.option(
    "--network", metavar="RUN", help="Also hold what a model sees of each layer against the reference layers."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulation that sets the limits.")
@click.option("--save-reference", metavar="FILE", help="Keep what was learned (.json).")
@click.option("-o", "--out", multiple=True, metavar="FILE", help="Write .json, .csv, or charts as .png .svg .pdf.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@answers(Monitored)
def monitor(stores: tuple[str, ...], reference: tuple[str, ...], **options: Any) -> None:
    """Compare the layers of a build with reference layers: Shewhart, EWMA, CUSUM and T² charts.

    Exit code 0: no alarm; 5: at least one layer with an alarm.
    """
    from spatterlib.control.monitoring import monitor
    from spatterlib.control.reference import check_learning

    outs, kept = options["out"], options["save_reference"]
    _check(stores, outs, kept, options["overwrite"])
    check_learning(options["descriptor"], options["arl"], options["scan_turn"], options["scan_start"])
    network = _network(options.pop("network"), reference)
    first = int(reference[0]) if len(reference) == 1 and reference[0].isdigit() else 0
    learned = None if first else _reference(reference, options)
    if learned and options["scan_turn"] is None:
        options |= {name: learned.about.get(name) for name in ("scan_turn", "scan_start")}
    rows = [_rows(path, options) for path in stores]
    told = []
    for path, (own, seen) in zip(stores, rows, strict=True):
        base = learned or _learn([(own[:first], seen)], [f"first {counted(first, 'layer')} of {path}"], options)
        base.check(seen.camera)
        found = monitor(base, own[first:])
        item = _told(path, found, simulated=bool(seen.about["simulated"]))
        told.append(replace(item, novel=_novel(path, first or list(reference), network)) if network else item)
        _write(found, Path(path).name, outs)
        if kept:
            base.save(kept)
    alarms = sum(item.alarms + len(item.novel or ()) for item in told)
    written = [*outs, *([kept] if kept else [])]
    answer(Monitored(told, alarms, written), code=Exit.ALARM if alarms else Exit.DONE)


def _check(stores: Sequence[str], outs: Sequence[str], kept: str | None, overwrite: bool) -> None:
    for path in outs:
        if Path(path).suffix.lower() not in _SUFFIXES:
            raise UsageError(f"charts are written as {', '.join(_SUFFIXES)}, got {path!r}")
    if len(stores) > 1 and outs:
        raise UsageError(f"--out is for one store, got {len(stores)}; monitor them one by one")
    for path in outs:
        check_target(path, overwrite=overwrite)
    if kept:
        check_target(kept, overwrite=overwrite)


def _network(name: str | None, reference: Sequence[str]) -> Run | None:
    """The model that looks at layers too, if one is named."""
    from spatterlib.learning.good_layers import network_of

    if name and len(reference) == 1 and reference[0].endswith(".json"):
        raise UsageError("--network compares with the layers themselves: give their stores as --reference, not a .json")
    return network_of(name) if name else None


def _novel(path: str, good: int | list[str], network: Run) -> list[NovelFound]:
    """Layers that are unlike the reference layers."""
    from spatterlib.learning.good_layers import NOVEL, novel_layers

    found = [NovelFound(*layer) for layer in novel_layers(path, good, network)]
    unlike = [layer for layer in found if layer.p <= NOVEL]
    for layer in unlike:
        say(f"layer {layer.layer}: unlike the good ones (p = {layer.p:.3f}), by {layer.aspect}")
    rare = f"{NOVEL:.0%} of good ones are, too"
    say(f"{path}: {len(unlike)} of {counted(len(found), 'layer')} unlike the good ones; {rare}")
    return unlike


def _rows(path: str, options: Mapping[str, Any]) -> tuple[NDArray[np.void], Measured]:
    """Descriptors of a store's layers, and its streaks, those beside it or measured now."""
    from spatterlib.measuring.camera import load_camera
    from spatterlib.measuring.measurement import layer_rows

    camera = load_camera(options["profile"]) if options["profile"] else None
    return layer_rows(path, camera, **_turn(options))


def _reference(reference: Sequence[str], options: Mapping[str, Any]) -> Reference:
    from spatterlib.control.reference import Reference

    if len(reference) == 1 and reference[0].endswith(".json"):
        return Reference.load(reference[0])
    return _learn([_rows(path, options) for path in reference], list(reference), options)


def _learn(
    parts: Sequence[tuple[NDArray[np.void], Measured]], names: Sequence[str], options: Mapping[str, Any]
) -> Reference:
    from spatterlib.control.charts import learn_from

    return learn_from(
        parts,
        names,
        options["descriptor"] or None,
        **_turn(options),
        arl=options["arl"],
        alarms=options["chart"],
        seed=options["seed"],
    )


def _turn(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("scan_turn", "scan_start")}


def _told(path: str, found: Charted, *, simulated: bool) -> StoreMonitored:
    from spatterlib.control import monitoring

    base, points = found.reference, found.points
    alarms = int(points["alarm"].sum())
    intervals = monitoring.alarm_intervals(points["group"].tolist(), found.alarms)
    for first, last, text in intervals[:_LINES]:
        say(f"layers {first} to {last}, the first: {text}" if last > first else f"layer {first}: {text}")
    if len(intervals) > _LINES:
        say(f"... and {len(intervals) - _LINES} more; -o FILE writes all")
    removed = base.about["removed"]
    say(
        f"{path}: {alarms} of {counted(len(points), 'layer')} with an alarm"
        f"{' (simulated recording)' if simulated else ''}; reference: {counted(base.about['layers'], 'layer')}"
        f"{f', {len(removed)} outlying left out' if removed else ''}; without a fault one alarm in {base.arl:g} layers "
        f"is to be expected in the mean ({' and '.join(base.alarms)} of {', '.join(base.names)})"
    )
    return StoreMonitored(path, len(points), alarms, simulated or None, found.to_dict())


def _write(found: Charted, title: str, outs: Sequence[str]) -> None:
    for path in outs:
        suffix = Path(path).suffix.lower()
        if suffix == ".json":
            write_text(path, json.dumps(found.to_dict(), allow_nan=False) + "\n")
        elif suffix == ".csv":
            lines = [(*row.tolist(), "; ".join(said)) for row, said in zip(found.points, found.alarms, strict=True)]
            write_csv(path, [*(found.points.dtype.names or ()), "alarms"], lines)
        else:
            from spatterlib.control.charts import draw_charts

            draw_charts(found, path, title)
        say(f"written: {path}")


@click.command()
@click.argument("stores", metavar="STORE STORE...", nargs=-1, required=True)
@click.option("--most", type=float, metavar="S", help="Largest offset that is looked at.")
@click.option("-o", "--out", metavar="JSON", help="Write the offsets as JSON too.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@answers(Synchronized)
def synchronize(stores: tuple[str, ...], most: float | None, out: str | None, overwrite: bool) -> None:
    """Find how much later each camera started than the first, from when they see spatter.

    A moment at t in the first recording is at t less the offset in the other.
    """
    from spatterlib.measuring.synchrony import synchronise
    from spatterlib.stores.opening import open_store

    if out:
        check_target(out, overwrite=overwrite)
    recordings = []
    for path in stores:
        with open_store(path) as store:
            recordings.append((store.table, store.frame_log))
    found, closing = synchronise(recordings, most)
    for path, item in zip(stores[1:], found, strict=True):
        say(
            f"{path}: {item.offset:+.3f} s ({item.frames:+d} frame{'s' * (abs(item.frames) != 1)}), "
            f"correlation {item.correlation:.2f} (next best "
            f"{item.runner_up:.2f}), agreement {item.agreement:.2f}, moment by moment {item.detail:.2f}"
            f"{'' if item.sure else '; NOT SURE'}"
        )
        if abs(item.drift) * 1.5 > abs(item.offset / max(abs(item.frames), 1)) > 0:
            log.warning("%s: the offset moves by %+.3f s: the clocks run apart", path, item.drift)
    if math.isfinite(closing):
        say(f"the offsets of all pairs close within {closing:.3f} s")
    if out:
        facts = [
            {"store": path, "sure": item.sure} | json_ready(item._asdict())
            for path, item in zip(stores[1:], found, strict=True)
        ]
        write_text(out, json.dumps({"first": stores[0], "offsets": facts}) + "\n")
    offsets = [OffsetFound(path, item.sure, **item._asdict()) for path, item in zip(stores[1:], found, strict=True)]
    answer(Synchronized(stores[0], offsets, closing))


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The commands of this module."""
    for command in (monitor, synchronize):
        cli.add_command(command)
