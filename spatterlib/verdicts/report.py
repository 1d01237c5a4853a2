"""The page of a verdict: one file that holds all it shows: no script, no request to anywhere, light, dark and printed.

`report.html.j2` has its words and structure, `report.css` its looks, and what both get is the JSON of the verdict.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spatterlib.common.origin import learned
from spatterlib.common.wording import counted
from spatterlib.errors import ParameterError, StoreError
from spatterlib.verdicts.document import VerdictDocument, VerdictSettings
from spatterlib.verdicts.judgement import SpanFields
from spatterlib.verdicts.report_settings import ReportSettings
from spatterlib.verdicts.shares import LEAST

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Section", "differs", "local", "page", "parse", "read_page"]

_PART = re.compile("<(?:header|section)>.*?</(?:header|section)>", re.DOTALL)
_HEADING = re.compile("<h2>(.*?)</h2>")
_TAG = re.compile(r"<(/?\w+)([^>]*)>")
_CELLS = {"tr", "th", "td", "dt", "dd"}
_DRAWN = {"svg", "g", "line", "text", "rect", "path", "circle"}
# Layers in a row of the strip.
_PER_ROW = 100
# Folders above a page in which something is near.
_NEAR = 2


@dataclass(frozen=True)
class Section:
    """A further section of the page: its title, the template of its body beside the page's, and what that gets."""

    title: str
    template: str
    data: Mapping[str, Any] = field(repr=False)


def page(facts: VerdictDocument, sections: Sequence[Section] = ()) -> str:
    """The page as text; its JSON (without rows and crops) stands in it for `read_page`.

    Parameters
    ----------
    facts : dict
        `Verdict.to_dict`; crops are shown if it has ``evidence``.
    sections : sequence of Section
        What is shown besides.
    """
    kept = {name: value for name, value in facts.items() if name not in ("rows", "evidence")}
    source = facts["settings"].get("source")
    return _template().render(
        facts,
        **_listed(facts),
        name=(source.get("name") if source else "") or "recording",
        data=json.dumps(kept, allow_nan=False).replace("<", "\\u003c"),
        learned=learned(facts["settings"]["model"].get("origin", "")),
        least=LEAST,
        sections=sections,
    )


def _listed(facts: VerdictDocument) -> dict[str, Any]:
    """What the page lists and draws: all of it, or what its settings ask for."""
    settings = facts["settings"]
    report = ReportSettings.parsed(settings.get("report"))
    first, last = report.span or (1, len(facts["layers"]))
    drawn, windows = facts["layers"][first - 1 : last], facts["windows"]
    begin, end = _extent(drawn if report.span else windows) if drawn else (0.0, 1e-3)
    if report.span:
        windows = [item for item in windows if (item["stop"] or 0.0) > begin and (item["start"] or 0.0) < end]
    alarmed = _alarmed(settings)
    listed = [item for item in drawn if report.lists(item["number"], item["state"], alarmed)]
    unit, ticks = _ticks(begin, end)
    per_row = min(max(len(drawn), 1), _PER_ROW)
    return {
        "report": report,
        "drawn": drawn,
        "listed": listed,
        "numbers": {item["number"] for item in listed} if report.facts() else None,
        "listed_windows": [item for item in windows if report.lists(0, item["state"], ())],
        "drawn_changes": [item for item in facts["changes"] if first <= item["layer"] <= last],
        "begin": begin,
        "end": end,
        "ticks": ticks,
        "unit": unit,
        "per_row": per_row,
        "strip": _strip(drawn, per_row) if report.alarms_only else [],
    }


def _alarmed(settings: VerdictSettings) -> set[int]:
    """Layers with an alarm of a control chart, or on which the gas-flow index contradicts."""
    charted = (settings.get("monitor") or {}).get("layers", ())
    compared = (settings.get("measurement") or {}).get("layers", ())
    return {item["group"] for item in charted if item["alarms"]} | {
        item["layer"] for item in compared if item["agreement"] == "disagree"
    }


def _strip(layers: Sequence[SpanFields], per_row: int) -> list[tuple[int, list[tuple[int, int, str, int]]]]:
    """Rows of layers: the number of the first, and runs of one state (first, last, state, place of the first)."""
    rows = []
    for start in range(0, len(layers), per_row):
        runs, place = [], 0
        for state, group in groupby(layers[start : start + per_row], key=lambda item: item["state"]):
            numbers = [item["number"] for item in group]
            runs.append((numbers[0], numbers[-1], str(state), place))
            place += len(numbers)
        rows.append((layers[start]["number"], runs))
    return rows


def local(facts: VerdictDocument, folder: Path) -> VerdictDocument:
    """The same for a page in this folder, which goes to others and tells nobody of this machine's folders.

    Of what lies near it says where, as seen from the page, so that both can be moved together; of the rest the name.
    `spatterlib.verify` looks for these beside the page, and in the working folder.
    """
    settings = facts["settings"]
    named: dict[str, Any] = {
        key: settings[key] | {"path": _local(settings[key]["path"], folder.absolute())}
        for key in ("source", "model")
        if key in settings and settings[key].get("path")
    }
    return cast("VerdictDocument", facts | {"settings": settings | named})


def _local(path: str, folder: Path) -> str:
    if "://" in path or not Path(path).is_absolute():
        return path
    near = next((up for up in (folder, *folder.parents[:_NEAR]) if Path(path).is_relative_to(up)), None)
    if near is None or near == near.parent:
        return Path(path).name
    return Path(os.path.relpath(path, folder)).as_posix()


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"show": _show, "px": lambda x: f"{x:.1f}", "counted": counted, "json": json.dumps}
    return environment.get_template("report.html.j2")


def _show(value: float | None, spec: str) -> str:
    return "–" if value is None or value != value else format(value, spec)


def _extent(spans: Sequence[SpanFields]) -> tuple[float, float]:
    """S from the first to the last of them."""
    begin = spans[0]["start"] or 0.0
    return begin, max(spans[-1]["stop"] or 0.0, begin + 1e-3)


def _ticks(begin: float, end: float) -> tuple[str, list[tuple[float, str]]]:
    """Unit of the axis of time, and where in s it has which number."""
    unit, name = (60.0, "min") if end - begin > 600 else (1.0, "s")
    step = _step((end - begin) / unit)
    tick, ticks = -(-begin // (step * unit)) * step, []
    while tick * unit <= end:
        ticks.append((tick * unit, f"{tick:g}"))
        tick += step
    return name, ticks


def _step(length: float) -> float:
    """A round step that makes about ten ticks."""
    power = 10.0 ** len(str(int(max(length, 1) / 10))) / 10 if length >= 10 else 0.1
    return next(power * factor for factor in (1, 2, 5, 10, 20, 50, 100) if length / (power * factor) <= 11)


def read_page(text: str) -> VerdictDocument:
    """The JSON that a page holds.

    Raises
    ------
    StoreError
        If it holds none, or it is damaged.
    """
    match = re.search('<script type="application/json" id="verdict">(.*?)</script>', text, re.DOTALL)
    if not match:
        raise StoreError("it is no report of spatterlib: no JSON of a verdict in it")
    return parse(match[1])


def parse(data: str) -> VerdictDocument:
    """The JSON of a verdict, checked for being one.

    Raises
    ------
    StoreError
        If it is damaged, or something else.
    """
    try:
        facts = json.loads(data)
    except json.JSONDecodeError as error:
        raise StoreError(f"the JSON of the verdict is damaged: {error}") from error
    if not isinstance(facts, dict) or facts.get("kind") != "spatterlib verdict":
        raise StoreError("it is JSON, but not of a verdict of spatterlib")
    if facts.get("format") not in (1, 2, 3):
        raise ParameterError(f"the verdict has format {facts.get('format')!r}; this version reads formats 1, 2 and 3")
    return cast("VerdictDocument", facts)


def differs(text: str, facts: VerdictDocument) -> list[str]:
    """Headings of the parts of a page that do not show what the JSON in it says; "head" above the first.

    Words, cells, states and drawings are compared, not the markup around them, so that pages of older versions hold.
    Crops and further sections are not in the JSON.
    """
    shown = _parts(text)
    fresh = _parts(page(cast("VerdictDocument", {name: value for name, value in facts.items() if name != "evidence"})))
    return [
        heading
        for heading, part in fresh.items()
        if shown.get(heading) != part and _seen(shown.get(heading, "")) != _seen(part)
    ]


def _parts(text: str) -> dict[str, str]:
    """The parts of a page by their headings."""
    parts: dict[str, str] = {}
    for part in _PART.findall(text):
        heading = _HEADING.search(part)
        name = unescape(heading[1]) if heading else "head"
        parts[name] = parts.get(name, "") + part
    return parts


def _seen(part: str) -> list[str]:
    """What is seen of it: words, where cells begin, the looks of states, the pieces of a drawing."""
    return unescape(_TAG.sub(_seen_of_tag, part)).split()


def _seen_of_tag(tag: re.Match[str]) -> str:
    name, attributes = tag.groups()
    if name in _CELLS:
        return f" <{name}> "
    return f" {tag[0]} " if name in _DRAWN or 'class="state ' in attributes else " "
