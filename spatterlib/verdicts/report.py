"""The page of a verdict: one file that holds all it shows: no script, no request to anywhere, light, dark and printed.

`report.html.j2` has its words and structure, `report.css` its looks, and what both get is the JSON of the verdict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spatterlib.common.origin import learned
from spatterlib.common.wording import counted
from spatterlib.errors import ParameterError, StoreError
from spatterlib.verdicts.document import VerdictDocument
from spatterlib.verdicts.judgement import SpanFields
from spatterlib.verdicts.shares import LEAST

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Section", "differs", "page", "parse", "read_page"]

_PART = re.compile("<(?:header|section)>.*?</(?:header|section)>", re.DOTALL)
_HEADING = re.compile("<h2>(.*?)</h2>")
_TAG = re.compile(r"<(/?\w+)([^>]*)>")
_CELLS = {"tr", "th", "td", "dt", "dd"}
_DRAWN = {"svg", "g", "line", "text", "rect", "path", "circle"}


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
    unit, ticks = _ticks(facts["windows"]) if facts["layers"] else ("s", [])
    return _template().render(
        facts,
        name=(source.get("name") if source else "") or "recording",
        data=json.dumps(kept, allow_nan=False).replace("<", "\\u003c"),
        learned=learned(facts["settings"]["model"].get("origin", "")),
        least=LEAST,
        sections=sections,
        ticks=ticks,
        unit=unit,
    )


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


def _ticks(windows: Sequence[SpanFields]) -> tuple[str, list[tuple[float, str]]]:
    """Unit of the axis of time, and where in s it has which number."""
    begin = windows[0]["start"] or 0.0
    end = max(windows[-1]["stop"] or 0.0, begin + 1e-3)
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
