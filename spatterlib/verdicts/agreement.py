"""The gas-flow index beside the verdict of a network, and a warning where they contradict each other.

Two witnesses they are only where nothing deceives both: they look at the same picture. So a layer that is unlike the
training has none, and the index says nothing outside of what it was calibrated for.
"""

from __future__ import annotations

import base64
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.control.charts import draw_charts
from spatterlib.control.monitoring import monitor
from spatterlib.control.reference import Reference
from spatterlib.errors import ParameterError
from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.descriptors import describe, turned
from spatterlib.measuring.gasflow import GasModel, gas_index
from spatterlib.measuring.measurement import Measured
from spatterlib.verdicts.document import VerdictSettings
from spatterlib.verdicts.judgement import Span
from spatterlib.verdicts.report import Section
from spatterlib.verdicts.verdict import Verdict

__all__ = ["BORDER", "Witness", "compare", "warnings", "with_charts", "with_index"]

BORDER = 1.0
"""M/s between low and high flow: the geometric mean of the simulator's 0.5 and 2."""
Agreement: TypeAlias = Literal["agree", "disagree", "open"]


class Witness(NamedTuple):
    """A layer: what the network says; the index with its 90 % interval (m/s), what it says; whether they agree.

    `reason` says why the index is not known, or does not count.
    """

    layer: int
    network: str | None
    speed: float
    low: float
    high: float
    measured: str | None
    agreement: Agreement
    reason: str = ""


def compare(
    spans: Sequence[Span], rows: NDArray[np.void], border: float = BORDER, reasons: Mapping[int, str] | None = None
) -> tuple[Witness, ...]:
    """Put the index beside the verdict, layer by layer.

    The index says "low" or "high" where its whole interval lies on one side of the border. Where both are decided and
    differ they disagree; where one is not decided the matter is open, and so it is in a layer unlike those of the
    training: what deceives the network there may deceive the index too.

    Parameters
    ----------
    spans : sequence of Span
        Verdicts on the layers, of a model of the classes "low" and "high".
    rows : ndarray
        ``(n,)`` `DESCRIPTOR`, by layer.
    border : float
        M/s.
    reasons : dict, optional
        Why the index of a layer is not known, by its number.

    Returns
    -------
    tuple of Witness
        One for each span.
    """
    known = {int(row["group"]): row for row in rows}
    found = []
    for span in spans:
        row = known.get(span.number)
        speed, low, high = (
            float(row[f"gas_{name}"]) if row is not None else np.nan for name in ("speed", "low", "high")
        )
        foreign = span.unlike > 1
        index = None if foreign else "low" if high < border else "high" if low > border else None
        decided = index is not None and span.label is not None
        agreement: Agreement = ("agree" if index == span.label else "disagree") if decided else "open"
        reason = "the layer is unlike the training" if foreign else (reasons or {}).get(span.number, "")
        found.append(Witness(span.number, span.label, speed, low, high, index, agreement, reason))
    return tuple(found)


def with_index(verdict: Verdict, measured: Measured, calibration: Calibration, border: float = BORDER) -> Verdict:
    """The verdict with the index beside it: in ``settings["measurement"]``, and as a section of its page.

    Parameters
    ----------
    verdict : Verdict
        On a store.
    measured : Measured
        The streaks of that store.
    calibration : Calibration
        Of the camera.
    border : float
        M/s between low and high.

    Raises
    ------
    ParameterError
        If the model has other classes than low and high, the streaks are of another number of rows, or the calibration
        is of another camera or without a gas-flow index.
    """
    if set(verdict.classes) != {"low", "high"}:
        raise ParameterError(
            f"the gas-flow index stands beside a verdict of low or high, this model tells {', '.join(verdict.classes)}"
        )
    _same_rows(verdict, measured)
    calibration.check(measured.camera)
    if calibration.gas is None:
        raise ParameterError("the calibration has no gas-flow index: `spatterlib check-camera` says why")
    rows = _rows(verdict, measured, calibration.gas)
    found = compare(verdict.layers, rows, border, _reasons(verdict, measured, calibration.gas, rows))
    facts = {"border": border, "camera": measured.camera.identity(), "calibration": "simulated"}
    facts["layers"] = [item._asdict() for item in found]
    data = facts | {"warnings": warnings(found)}
    section = Section("Gas-flow index beside the verdict", "gas_flow_index.html.j2", data)
    return _with(verdict, {"measurement": facts}, section)


def _same_rows(verdict: Verdict, measured: Measured) -> None:
    if measured.rows != len(verdict.rows):
        raise ParameterError(
            f"the streaks are of {measured.rows} rows, the verdict of {len(verdict.rows)}; measure anew"
        )


def _rows(verdict: Verdict, measured: Measured, gas: GasModel | None) -> NDArray[np.void]:
    """Descriptors of the layers that the verdict has."""
    group, event = (verdict.rows[name].astype(np.int64) for name in ("layer", "event"))
    rows = describe(measured.streaks, verdict.rows, group, measured.camera, gas, event=event)
    return np.asarray(rows[rows["group"] > 0])


def _reasons(verdict: Verdict, measured: Measured, gas: GasModel, rows: NDArray[np.void]) -> dict[int, str]:
    """Why the index of a layer is not known, by its number."""
    layer = verdict.rows["layer"][measured.streaks["row"]]
    unknown = rows["group"][np.isnan(rows["gas_speed"])].tolist()
    return {number: gas_index(measured.streaks[layer == number], measured.camera, gas).reason for number in unknown}


def warnings(found: Sequence[Witness]) -> list[str]:
    """One line for each layer on which network and index disagree."""
    return [
        f"layer {item.layer}: the network says {item.network}, the gas-flow index {item.measured} "
        f"({item.speed:.2f} m/s, 90 %: {item.low:.2f}-{item.high:.2f}); look at its crops"
        for item in found
        if item.agreement == "disagree"
    ]


def with_charts(verdict: Verdict, measured: Measured, reference: Reference) -> Verdict:
    """The verdict with control charts of its layers: in ``settings["monitor"]``, and as a section of its page.

    Parameters
    ----------
    verdict : Verdict
        On a store.
    measured : Measured
        The streaks of that store.
    reference : Reference
        Of the same machine and camera.

    Raises
    ------
    ParameterError
        If the reference is of another camera, or the streaks are of another number of rows.
    """
    _same_rows(verdict, measured)
    reference.check(measured.camera)
    rows, turn = _rows(verdict, measured, None), reference.about.get("scan_turn")
    if turn is not None:
        rows = turned(rows, turn, reference.about.get("scan_start", 0.0))
    charted = monitor(reference, rows)
    facts = charted.to_dict()
    with tempfile.TemporaryDirectory() as folder:
        draw_charts(charted, Path(folder) / "charts.svg", verdict.settings["source"]["name"])
        chart = base64.b64encode((Path(folder) / "charts.svg").read_bytes()).decode()
    data = facts | {"alarm_intervals": charted.alarm_intervals, "chart": chart}
    return _with(verdict, {"monitor": facts}, Section("Control charts", "control_charts.html.j2", data))


def _with(verdict: Verdict, facts: VerdictSettings, section: Section) -> Verdict:
    """The verdict with further facts among its settings, and a section of its page that shows them."""
    return dataclasses.replace(verdict, settings=verdict.settings | facts, sections=(*verdict.sections, section))
