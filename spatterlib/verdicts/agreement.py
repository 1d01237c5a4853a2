"""The gas-flow index beside the verdict of a network: two witnesses, and a warning where they contradict each other."""

from __future__ import annotations

import base64
import dataclasses
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.wording import counted
from spatterlib.control.charts import draw_charts
from spatterlib.control.monitoring import monitor, spells
from spatterlib.control.reference import Reference
from spatterlib.errors import ParameterError
from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.descriptors import describe, turned
from spatterlib.measuring.gasflow import GasModel
from spatterlib.measuring.measurement import Measured
from spatterlib.verdicts.rules import Span
from spatterlib.verdicts.verdict import Section, Verdict

__all__ = ["BORDER", "Witness", "compare", "warnings", "with_charts", "with_index"]

BORDER = 1.0
"""M/s between low and high flow: the geometric mean of the simulator's 0.5 and 2."""
Agreement: TypeAlias = Literal["agree", "disagree", "open"]
_SHOWN = 20


class Witness(NamedTuple):
    """A layer: what the network says; the index with its 90 % interval (m/s), what it says; whether they agree."""

    layer: int
    network: str | None
    speed: float
    low: float
    high: float
    measured: str | None
    agreement: Agreement


def compare(spans: Sequence[Span], rows: NDArray[np.void], border: float = BORDER) -> tuple[Witness, ...]:
    """Put the index beside the verdict, layer by layer.

    The index says "low" or "high" where its whole interval lies on one side of the border. Where both are decided and
    differ they disagree; where one is not decided the matter is open.

    Parameters
    ----------
    spans : sequence of Span
        Verdicts on the layers, of a model of the classes "low" and "high".
    rows : ndarray
        ``(n,)`` `DESCRIPTOR`, by layer.
    border : float
        M/s.

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
        index = "low" if high < border else "high" if low > border else None
        decided = index is not None and span.label is not None
        agreement: Agreement = ("agree" if index == span.label else "disagree") if decided else "open"
        found.append(Witness(span.number, span.label, speed, low, high, index, agreement))
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
    found = compare(verdict.layers, _rows(verdict, measured, calibration.gas), border)
    facts = {"border": border, "camera": measured.camera.identity(), "calibration": "simulated"}
    facts["layers"] = [item._asdict() for item in found]
    return dataclasses.replace(
        verdict,
        settings=dict(verdict.settings) | {"measurement": facts},
        sections=(*verdict.sections, Section("Gas-flow index beside the verdict", _table(found, border))),
    )


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


def warnings(found: Sequence[Witness]) -> list[str]:
    """One line for each layer on which network and index disagree."""
    return [
        f"layer {item.layer}: the network says {item.network}, the gas-flow index {item.measured} "
        f"({item.speed:.2f} m/s, 90 %: {item.low:.2f}-{item.high:.2f}); look at its crops"
        for item in found
        if item.agreement == "disagree"
    ]


def _table(found: Sequence[Witness], border: float) -> str:
    told = warnings(found)
    note = "".join(f"<p><b>Warning:</b> {escape(line)}</p>\n" for line in told)
    head = "".join(f"<th>{name}</th>" for name in ("layer", "network", "index", "90 % interval", "index says", ""))
    lines = []
    for item in found:
        known = item.speed == item.speed
        cells = [str(item.layer), item.network or "–", f"{item.speed:.2f} m/s" if known else "–"]
        cells += [f"{item.low:.2f}–{item.high:.2f}" if known else "–", item.measured or "–", item.agreement]
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return (
        f'{note}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{"".join(lines)}\n</tbody></table>'
        "</div>\n"
        f'<p class="soft">The index is estimated from drift and curvature of streaks, calibrated in simulation only; '
        f"below {border:g} m/s is low. It knows nothing of the network; neither is a flow meter.</p>\n"
    )


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
        draw_charts(charted, Path(folder) / "charts.svg", str((verdict.settings.get("source") or {}).get("name", "")))
        data = base64.b64encode((Path(folder) / "charts.svg").read_bytes()).decode()
    found = spells(charted.points["group"].tolist(), charted.alarms)
    said = "".join(
        f"<li>{f'layers {first} to {last}, the first: ' if last > first else f'layer {first}: '}{escape(text)}</li>\n"
        for first, last, text in found[:_SHOWN]
    )
    more = f"<p>... and {len(found) - _SHOWN} more.</p>\n" if len(found) > _SHOWN else ""
    body = (
        f"<p>{int(charted.points['alarm'].sum())} of {counted(len(charted.points), 'layer')} with an alarm; "
        f"without a fault one in {facts['arl']:g} layers is to be expected.</p>\n<ul>\n{said}</ul>\n{more}"
        f'<img alt="control charts over the layers" style="width:100%;background:#fff" '
        f'src="data:image/svg+xml;base64,{data}">\n'
        '<p class="soft">An alarm says that a layer differs from the reference layers, not why, nor whether the '
        "part is bad.</p>\n"
    )
    return dataclasses.replace(
        verdict,
        settings=dict(verdict.settings) | {"monitor": facts},
        sections=(*verdict.sections, Section("Control charts", body)),
    )
