"""What pyproject files depend on, one requirement a line: ``python deploy/dependencies.py EXTRAS FILE ...``.

The container installs these before the sources are copied, and `make constraints` looks up their versions. EXTRAS are
names with commas between; a requirement that one of the files itself stands for (spatterlib) is left out.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def requirements(extras: set[str], files: list[str]) -> list[str]:
    """Dependencies of all files, and those of the extras that they have."""
    projects = [tomllib.loads(Path(file).read_text(encoding="utf-8"))["project"] for file in files]
    unknown = extras - {name for project in projects for name in project.get("optional-dependencies", {})}
    if unknown:
        sys.exit(f"no extra {', '.join(sorted(unknown))} in {', '.join(files)}")
    lines = [line for project in projects for line in project["dependencies"]]
    for project in projects:
        lines += [
            line
            for name, further in project.get("optional-dependencies", {}).items()
            if name in extras
            for line in further
        ]
    own = {project["name"] for project in projects}
    names = {line: re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines}
    return list(dict.fromkeys(line for line in lines if names[line] not in own))


if __name__ == "__main__":
    print(*requirements(set(filter(None, sys.argv[1].split(","))), sys.argv[2:]), sep="\n")  # noqa: T201
