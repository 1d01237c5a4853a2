"""A Dockerfile, read and done without a container engine: what it builds, built under another root."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HOUSE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Step:
    """One instruction: ``RUN``, and what stands behind it."""

    name: str
    rest: str

    @property
    def form(self) -> list[str]:
        """Of an instruction in exec form, its words."""
        words: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return words


def steps(path: Path = HOUSE / "Dockerfile") -> list[Step]:
    """Instructions in order, continued lines joined, comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [Step(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


@dataclass
class Built:
    """What the instructions made, under `root` in place of ``/``."""

    root: Path
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    left_out: list[str] = field(default_factory=list)

    def at(self, path: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / os.path.normpath(f"{self.folder}/{path}" if not path.startswith("/") else path).lstrip("/")

    def here(self, text: str) -> str:
        """A command with the image's own folders moved under the root."""
        return re.sub(r"(?<![\w./])/(opt|src|data|models)\b", f"{self.root}/\\1", text)

    def env(self) -> dict[str, str]:
        """Nothing of the caller's but where to find programs and what pip is told."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG"))}
        path = {"PATH": f"{self.root}/shims:/usr/bin:/bin", "HOME": str(self.root / "data")}
        return kept | path | {name: value for name, value in self.arguments.items() if value} | self.environment


def build(root: Path) -> Built:
    """Do the instructions; ``RUN useradd`` is left out, for it would change this machine."""
    built = Built(root)
    (root / "data").mkdir(parents=True)
    (root / "shims").mkdir()
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (root / "shims" / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(str(base))} "$@"\n')
    (root / "shims" / "python").chmod(0o755)
    for step in steps():
        _do(step, built)
    return built


def _do(step: Step, built: Built) -> None:
    if step.name == "ARG":
        name, _, value = step.rest.partition("=")
        built.arguments[name] = value
    elif step.name == "ENV":
        for name, value in (word.split("=", 1) for word in shlex.split(step.rest)):
            built.environment[name] = built.here(value).replace("$PATH", built.env()["PATH"])
    elif step.name == "WORKDIR":
        built.folder = step.rest
        built.at(".").mkdir(parents=True, exist_ok=True)
    elif step.name == "COPY" and not step.rest.startswith("--from"):
        *sources, target = step.rest.split()
        for source in sources:
            _copy(HOUSE / source, built.at(target) / (Path(source).name if target.endswith("/") else ""))
    elif step.name == "RUN" and step.rest.startswith("useradd "):
        built.left_out.append(step.rest)
    elif step.name == "RUN":
        subprocess.run(["sh", "-euc", built.here(step.rest)], cwd=built.at("."), env=built.env(), check=True)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"), dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def ignored(path: str, file: Path = HOUSE / ".dockerignore") -> bool:
    """Whether the engine would not see a path: the last pattern that matches it or a folder of it decides."""
    parts = [path, *map(str, Path(path).parents)]
    answer = False
    for pattern in _patterns(file):
        keep, wanted = pattern.startswith("!"), pattern.lstrip("!")
        if any(_matches(wanted, part) for part in parts if part != "."):
            answer = not keep
    return answer


def _patterns(file: Path) -> Iterator[str]:
    return (line.strip() for line in file.read_text().splitlines() if line.strip() and not line.startswith("#"))


def _matches(pattern: str, path: str) -> bool:
    deep = pattern.startswith("**/")
    written = re.escape(pattern.removeprefix("**/")).replace(r"\*", "[^/]*")
    written = re.sub(r"\\\[(.*?)\\\]", r"[\1]", written)
    return re.fullmatch(f"(?:.*/)?{written}" if deep else written, path) is not None
