"""What stands between fences on a page, and running it as a reader would: block after block, in one folder.

A comment above a block, or between blocks, says what a reader does not need to see:

``<!-- not run: reason -->``        the block is not run, and why
``<!-- run as: a -> b | c -> d -->`` `b` instead of `a`, such as a shorter recording
``<!-- file: name -->``             the block is the content of a file, there before anything runs
``<!-- prints -->``                 the block is what the block before prints; ``...`` is anything
``<!-- given: statements -->``      Python that runs at this place
``<!-- needs: torch -->``           anywhere: the page is left out where this is not installed
``<!-- slow -->``                   anywhere: the page takes more than five seconds
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

PYTHON, SHELL, PLAIN = {"python"}, {"sh", "console"}, {"text", "json", "toml", "yaml", ""}
NOT_RUN = {
    "pip": "it would install from the network",
    "docker": "no container engine is at hand",
    "make": "it installs, and runs these tests",
    "git": "it would fetch from the network",
}

_COMMENT = re.compile(r"<!-- (not run|run as|file|prints|given|needs|slow):?\s*(.*?)\s*-->", re.DOTALL)
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Code of a page, or a comment that runs; `said` are the comments directly above it."""

    page: Path
    line: int
    language: str
    code: str
    said: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in PYTHON | SHELL and "not run" not in self.said and "file" not in self.said

    @property
    def source(self) -> str:
        code = self.code
        for change in filter(None, self.said.get("run as", "").split(" | ")):
            old, _, new = change.partition(" -> ")
            assert old in code, f"{self}: nothing to run as {new!r}: {old!r} is not in the block"
            code = code.replace(old, new)
        return code


def blocks(page: Path) -> list[Block]:
    """Blocks of `page` and its ``given`` comments, in order."""
    text = page.read_text(encoding="utf-8")
    found, behind = [], 0
    for fence in _FENCE.finditer(text):
        said: dict[str, str] = {}
        for comment in _COMMENT.finditer(text, behind, fence.start()):
            if comment[1] == "given":
                found.append(Block(page, text.count("\n", 0, comment.start()) + 1, "python", comment[2]))
            elif not _COMMENT.sub("", text[comment.start() : fence.start()]).strip():
                said[comment[1]] = comment[2]
        code = re.sub(rf"^{fence[1]}", "", fence[3], flags=re.MULTILINE)
        language = fence[2] or ("sh" if re.search(r"^(\$ |spatterlib )", code, re.MULTILINE) else "")
        found.append(Block(page, text.count("\n", 0, fence.start()) + 1, language, code, said))
        behind = fence.end()
    return found


def said_of(page: Path, what: str) -> list[str]:
    """Words of the page's comments `what`; ``[""]`` for one without."""
    said = [words for kind, words in _COMMENT.findall(page.read_text(encoding="utf-8")) if kind == what]
    return [word for words in said for word in words.split() or [""]]


def commands(block: Block) -> Iterator[tuple[list[str], str]]:
    """Commands of a shell block, and for ``console`` what they print."""
    source = block.source.replace("\\\n", " ")
    if block.language == "console":
        for part in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            yield shlex.split(line, comments=True), output
    else:
        for line in source.splitlines():
            if words := shlex.split(line.removeprefix("$ "), comments=True):
                yield words, ""


def run_page(page: Path, folder: Path) -> None:
    """Run all blocks of `page` in `folder`, one namespace for its Python."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    todo, printed = blocks(page), ""
    for block in todo:
        if "file" in block.said:
            (folder / block.said["file"]).write_text(block.code, encoding="utf-8")
    for block in todo:
        check_plain(block)
        if "prints" in block.said:
            compare(block, block.code, printed)
        elif block.runs and block.language in PYTHON:
            printed = run_python(block, namespace)
        elif block.runs:
            printed = run_shell(block, folder)


def run_python(block: Block, namespace: dict[str, Any]) -> str:
    out = io.StringIO()
    # Padded, so that a traceback names the line of the page.
    code = compile("\n" * block.line + block.source, str(block.page), "exec")
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    return out.getvalue()


def run_shell(block: Block, folder: Path) -> str:
    printed = ""
    for words, expected in commands(block):
        if words[0] in NOT_RUN:
            continue
        arguments = [name for word in words[1:] for name in expanded(word, folder)]
        if words[0] == "cat":
            now = "".join((folder / name).read_text(encoding="utf-8") for name in arguments)
        else:
            assert words[0] == "spatterlib", f"{block}: {words[0]} needs a reason: <!-- not run: ... -->"
            now = run_command(block, arguments)
        if block.language == "console":
            compare(block, expected, now)
        printed += now
    return printed


def expanded(word: str, folder: Path) -> list[str]:
    """What a shell makes of a pattern."""
    found = sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else []
    return found or [word]


def run_command(block: Block, arguments: list[str]) -> str:
    from spatterlib.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(arguments)
    assert code == 0, f"{block}: spatterlib {shlex.join(arguments)} failed with {code}"
    return out.getvalue()


def check_plain(block: Block) -> None:
    """What is data must at least be well-formed."""
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "toml":
        tomllib.loads(block.code)


def compare(block: Block, expected: str, printed: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(expected, printed, flags), (
        f"{block}: the page says\n{expected}\nbut this was printed:\n{printed}"
    )
