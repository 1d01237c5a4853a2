"""Write the ratios of a benchmark run into docs/performance.md: ``python benchmarks/table.py RESULT.json``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from pages import put

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- ratios: written by make bench -->", "<!-- end of ratios -->"


def rates(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Group to way to items per second, from the fastest round of each: the one least disturbed.

    What ran in a process of its own was timed there (``fastest``).
    """
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for item in result["benchmarks"]:
        extra = item["extra_info"]
        if "way" in extra:
            found[item["group"]][extra["way"]] = extra["frames"] / extra.get("fastest", item["stats"]["min"])
    return found


def table(group: dict[str, float]) -> str:
    """How many times as fast as each other way ours is; without one of ours, relative to the first."""
    ours = [way for way in group if way.startswith("ours")] or [next(iter(group))]
    others = [way for way in group if way not in ours or len(ours) == len(group)]
    head = ["", *(f"/ {way}" for way in [*others, *(ours if len(ours) > 1 and others != ours else [])])]
    columns = [column.removeprefix("/ ") for column in head[1:]]
    lines = [head, ["---"] * len(head)]
    lines += [[way, *(f"{group[way] / group[column]:.2f}" for column in columns)] for way in ours]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(result: dict[str, Any]) -> str:
    """All groups, each under its heading, and the machine that they were measured on."""
    cpu, machine = result["machine_info"]["cpu"], result["machine_info"]
    about = (
        f"Measured {result['datetime'][:10]} on {cpu.get('brand_raw', machine['processor'])}, {cpu['count']} cores, "
        f"Python {machine['python_version']}, {machine['system']}. Each number is rate / rate of the way named above "
        "its column, the fastest round of each in one run."
    )
    parts = [f"### {group}\n\n{table(ways)}" for group, ways in rates(result).items()]
    return "\n\n".join([about, *parts])


def main(path: str) -> None:
    """Replace what stands between the two marks."""
    put(PAGE, BEGIN, END, page(json.loads(Path(path).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(sys.argv[1])
