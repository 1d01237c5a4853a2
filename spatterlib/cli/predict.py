"""Commands `predict` and `verify`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from spatterlib.cli.model_options import load_named, model_options
from spatterlib.cli.options import PluginCommand
from spatterlib.cli.run_options import (
    completeness,
    dask_option,
    executor_at,
    extraction_options,
    interrupted_store,
    run_settings,
)
from spatterlib.cli.schema import ClassChange, Judged, Predicted, Verified
from spatterlib.common.command_output import answer, answers, say
from spatterlib.common.progress import columns
from spatterlib.common.record_options import given_values, options_of, with_options
from spatterlib.common.signals import interrupt_note
from spatterlib.common.wording import counted
from spatterlib.errors import Exit, ParameterError, UsageError
from spatterlib.verdicts.report_settings import ReportSettings
from spatterlib.verdicts.rules import Rules

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from spatterlib.control.reference import Reference
    from spatterlib.extraction.settings import ExtractionSettings
    from spatterlib.measuring.calibration import Calibration
    from spatterlib.measuring.camera import Camera
    from spatterlib.verdicts.document import ShareFields
    from spatterlib.verdicts.judgement import Span
    from spatterlib.verdicts.verdict import Verdict

__all__ = ["add_to"]

log = logging.getLogger("spatterlib")

_LINES = 60
_COLOURS = {"OK": "green", "attention": "yellow", "critical": "red", "decided": "blue"}


@click.command(cls=PluginCommand)
@click.argument("source", metavar="VIDEO")
@click.option(
    "--model", required=True, metavar="RUN", help='Run folder, folder of runs, file of weights, or "simulated".'
)
@model_options
@click.option(
    "-o", "--out", multiple=True, metavar="FILE", help="Report to write: .html .json .csv .parquet; repeat for several."
)
@with_options(options_of(Rules))
@with_options(options_of(ReportSettings))
@click.option("--window", type=float, default=60.0, show_default=True, metavar="S", help="Length of the windows.")
@click.option(
    "--crops", type=int, default=6, show_default=True, metavar="N", help="Crops of each kind shown as evidence."
)
@click.option("--store", metavar="STORE", help="Also keep what was extracted (.h5, .zarr).")
@click.option(
    "--camera",
    "profile",
    metavar="PROFILE",
    help="Measure streaks too (gas-flow index), and take the gas direction from it.",
)
@click.option("--calibration", metavar="FILE", help="Of the camera, from `calibrate-camera`.")
@click.option("--reference", metavar="FILE", help="Control charts of layers too; from `monitor --save-reference`.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@dask_option
# A verdict is on all that was seen.
@extraction_options(without=("limit",))
@answers(Predicted)
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    source: str,
    model: str,
    classifier: str | None,
    classes: str | None,
    out: tuple[str, ...],
    profile: str | None,
    calibration: str | None,
    reference: str | None,
    dask: str | None,
    **values: Any,
) -> None:
    """Give a verdict on each layer of a recording.

    VIDEO is a recording as for `extract`, or a store that was extracted already.
    """
    from spatterlib.common.progress import notifier
    from spatterlib.verdicts.predict import predict_with

    settings = run_settings(ctx, values)
    rules = Rules(**given_values(Rules, values))
    report = ReportSettings(**given_values(ReportSettings, values))
    report.check(rules.expected)
    further = {key: values[key] for key in ("window", "crops", "store", "overwrite")}
    measured = _measuring(source, values["store"], profile, calibration, reference)
    settings = _by_profile(settings, profile)
    with interrupt_note(lambda: _kept(values["store"])), executor_at(dask) as executor:
        chosen = load_named(model, classifier, classes)
        run = {"executor": executor, "progress": notifier(), "report": report, **further}
        verdict = predict_with(settings, rules, source, chosen, () if measured else out, **run)
        if measured:
            verdict = measured(verdict, executor)
            for path in out:
                verdict.save(path, overwrite=values["overwrite"])
    for line in table(verdict):
        say(line)
    for path in out:
        say(f"report: {path}")
    summary = verdict.summary
    answer(_predicted(source, verdict, out), code=completeness(summary["decoded"], summary["frames"]))


def _predicted(source: str, verdict: Verdict, out: Sequence[str]) -> Predicted:
    found = verdict.to_dict(rows=False, evidence=False)
    summary = found["summary"]
    return Predicted(
        source,
        summary["label"],
        summary["state"],
        summary["text"],
        summary,
        found["classes"],
        [Judged(**item) for item in found["layers"]],
        [Judged(**item) for item in found["windows"]],
        [ClassChange(**item) for item in found["changes"]],
        summary.get("shares", []),
        found["settings"]["model"],
        list(out),
    )


def _kept(store: str | None) -> str:
    if store is None:
        return "there is no verdict yet; with --store, what was extracted would be kept"
    return interrupted_store(store, "`spatterlib extract` with the same options and --resume goes on with it")


def _by_profile(settings: ExtractionSettings, profile: str | None) -> ExtractionSettings:
    """With the way of the gas that the camera's profile says, where nothing else is said."""
    from spatterlib.measuring.camera import load_camera

    if profile is None or settings.gas_direction is not None:
        return settings
    return replace(settings, gas_direction=load_camera(profile).gas_direction)


def _measuring(
    source: str, store: str | None, profile: str | None, calibration: str | None, reference: str | None
) -> Callable[[Verdict, Executor | None], Verdict] | None:
    """What adds the measurement to a verdict; its files are read before the work, not behind it."""
    if profile is None and not reference:
        if calibration:
            raise UsageError("--calibration needs --camera PROFILE")
        return None
    from spatterlib.control.reference import Reference
    from spatterlib.measuring.calibration import Calibration
    from spatterlib.measuring.camera import load_camera
    from spatterlib.stores.opening import find_store

    path = store or source
    if store is None and not find_store(source):
        raise UsageError(
            "--camera and --reference measure crops of a store; add --store FILE, or give a store instead of a video"
        )
    base = Reference.load(reference) if reference else None
    camera = load_camera(profile) if profile else base.camera if base else None
    if camera is None:
        raise ParameterError("the reference does not say which camera it is of; give its profile: --camera PROFILE")
    learned = Calibration.load(calibration) if calibration else None
    if learned:
        learned.check(camera)
    if base:
        base.check(camera)
    return lambda verdict, executor: _measured(verdict, path, camera, learned, base, executor)


def _measured(
    verdict: Verdict,
    path: str,
    camera: Camera,
    learned: Calibration | None,
    base: Reference | None,
    executor: Executor | None,
) -> Verdict:
    from spatterlib.measuring.measurement import measure_store
    from spatterlib.stores.opening import open_store
    from spatterlib.verdicts import agreement

    with open_store(path) as opened:
        found = measure_store(opened, camera, learned, executor=executor)
    if learned:
        verdict = agreement.with_index(verdict, found, learned)
        witnesses = [agreement.Witness(**item) for item in verdict.settings["measurement"]["layers"]]
        for line in agreement.warnings(witnesses):
            log.warning("%s", line)
    if base:
        verdict = agreement.with_charts(verdict, found, base)
    return verdict


def table(verdict: Verdict) -> Iterator[str]:
    """Lines for the terminal: the layers, then the whole."""
    if "shares" in verdict.summary:
        yield from _shares(verdict.summary["shares"])
    elif verdict.layers:
        yield from _layers(verdict)
    yield str(verdict)
    model = verdict.settings["model"]
    split, accuracy = model["split"], model["accuracy"]
    if split and accuracy is not None:
        yield f"model {model['name']}: {accuracy:.1%} of crops right in its {split['name']} split by {split['by']}"


def _shares(found: Sequence[ShareFields]) -> Iterator[str]:
    cells = [
        (
            item["label"],
            f"{item['crops']}",
            f"{item['share']:.1%}",
            "" if item["low"] is None else f"{item['low']:.1%}-{item['high']:.1%}",
        )
        for item in found
    ]
    for words in columns(("class", "crops", "share", "95 %"), cells, left=(0,)) if cells else ():
        yield "  ".join(words).rstrip()


def _layers(verdict: Verdict) -> Iterator[str]:
    head = ("layer", "from s", "to s", "class", "probability", "95 %", "votes", "crops", "state", "why")
    shown = verdict.layers[:_LINES]
    for number, words in enumerate(columns(head, [_cells(span) for span in shown], left=(3, 8, 9))):
        if number:
            words[8] = click.style(words[8], fg=_COLOURS.get(shown[number - 1].state))
        yield "  ".join(words).rstrip()
    if len(verdict.layers) > _LINES:
        yield f"... and {counted(len(verdict.layers) - _LINES, 'more layer')}; write a report with -o to see all"


def _cells(span: Span) -> Sequence[str]:
    within = f"{span.low:.2f}-{span.high:.2f}" if span.low == span.low else ""
    share = f"{span.probability:.2f}" if span.probability == span.probability else ""
    label = span.label or (f"({span.leading})" if span.leading else "-")
    times = (f"{span.start:.1f}", f"{span.stop:.1f}")
    return (str(span.number), *times, label, share, within, str(span.votes), str(span.crops), span.state, span.reason)


@click.command()
@click.argument("report", metavar="REPORT")
@click.option("--video", "source", metavar="VIDEO", help="The recording or store.  [default: the one it names]")
@click.option("--model", metavar="RUN", help="The model.  [default: the one it names]")
@click.option("--sample", default=5, show_default=True, metavar="N", help="Layers to compute again; 0: all.")
@answers(Verified)
def verify(report: str, source: str | None, model: str | None, sample: int) -> None:
    """Compute a sample of the layers of a report (.html, .json) again, and say whether it holds.

    Exit code 0: it holds; 4: it does not; 1: it could not be looked at.
    """
    from spatterlib.verdicts.verification import verify

    found = verify(report, source=source, model=model, sample=sample)
    for text in (*found.faults, *(f"note: {remark}" for remark in found.remarks)):
        click.echo(text, err=True)
    faults, remarks = list(found.faults), list(found.remarks)
    record = Verified(found.report, found.holds, list(found.checked), found.layers, faults, remarks)
    answer(record, str(found), code=Exit.DONE if found.holds else Exit.FALSE)


def add_to(cli: click.Group) -> None:
    """Add the commands of this module."""
    for command in (predict, verify):
        cli.add_command(command)
