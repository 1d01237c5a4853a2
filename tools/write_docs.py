"""Write the generated parts of the documentation: `python tools/write_docs.py`.

`docs/cli.md` is the --help of every command; between ``<!-- hook: NAME -->`` and ``<!-- end of hook -->`` of
`docs/plugin_hooks.md` stand signature, law and users of each hook, between the comments of `docs/scripting.md` exit
codes and the fields of JSON and logs. `tests/test_docs.py` holds that they are up to date.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

os.environ["SPATTERLIB_PLUGINS"] = ""  # built-ins only: the page must not depend on what happens to be installed

ROOT = Path(__file__).parents[1]
PAGES = ("cli.md", "plugin_hooks.md", "scripting.md", "schema.json")
CLI, HOOKS, SCRIPTING, SCHEMA = (ROOT / "docs" / name for name in PAGES)
WIDTH = 84

CLI_HEAD = """# Command line

The `--help` of every command, written by `tools/write_docs.py`. Packages that are installed beside spatterlib may
add commands and options. Results go to stdout, messages to stderr.

The exit codes are the same for all commands; [for scripts](scripting.md) there is `--json` and `--log-file`.

"""


def exit_codes() -> str:
    """The table of exit codes."""
    from spatterlib.errors import Exit

    lines = [f"| {code.value} | {code.name.lower()} | {code.meaning} |" for code in Exit]
    return "\n".join(["| exit code | outcome | meaning |", "|---|---|---|", *lines, ""])


def helps() -> dict[str, str]:
    """``--help`` by command, ``""`` for the program itself, as a terminal of `WIDTH` columns shows it."""
    from click.testing import CliRunner

    from spatterlib.cli import main

    main.main(["--version"])  # adds the commands of modules and plugins
    names = ["", *sorted(main.cli.commands)]
    runner = CliRunner(env={"COLUMNS": str(WIDTH)})
    return {
        name: runner.invoke(
            main.cli, [*name.split(), "--help"], prog_name="spatterlib", terminal_width=WIDTH, catch_exceptions=False
        ).output
        for name in names
    }


def cli_page() -> str:
    """Text of `docs/cli.md`."""
    parts = [f"## spatterlib {name}".rstrip() + f"\n\n```text\n{text.strip()}\n```\n" for name, text in helps().items()]
    return CLI_HEAD + exit_codes() + "\n" + "\n".join(parts)


def fields(names: Mapping[str, str]) -> str:
    """A table of names and what they mean."""
    return "\n".join(["| field | meaning |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in names.items())])


def log_lines() -> str:
    """The fields of the lines of a log."""
    from spatterlib.common.run_log import EVENTS, FIELDS

    parts = [f"Every line:\n\n{fields(FIELDS)}"]
    parts += [f"Event `{name}` beside these:\n\n{fields(own)}" for name, own in EVENTS.items()]
    return "\n\n".join(parts)


def answers() -> dict[str, tuple[type, ...]]:
    """Records by command, of the commands that answer with one."""
    from spatterlib.cli import main

    main.main(["--version"])
    found = {name: getattr(command.callback, "answers", ()) for name, command in sorted(main.cli.commands.items())}
    return {name: records for name, records in found.items() if records}


def records() -> list[type]:
    """All records, in the order of their modules."""
    from spatterlib.cli import schema as own
    from spatterlib.common import command_output as common

    modules = [vars(own).values(), [common.Failed, common.Failure]]
    return [item for values in modules for item in values if dataclasses.is_dataclass(item) and isinstance(item, type)]


def annotated(record: type) -> dict[str, tuple[Any, str]]:
    """Type and meaning of each field; of a class without marks, from its docstring."""
    hints = get_type_hints(record, include_extras=True)
    doc = inspect.getdoc(record) or ""
    found = {}
    for name, hint in hints.items():
        kind, *said = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        match = re.search(rf"^{name} : [^\n]*\n((?: +[^\n]*\n?)+)", doc, re.MULTILINE)
        found[name] = (kind, said[0] if said else " ".join(match[1].split()) if match else "")
    return found


def word(kind: Any) -> str:
    """A type as JSON calls it."""
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(f'"{value}"' for value in inner)
    if get_origin(kind) is list:
        return f"list of {word(inner[0])}"
    if get_origin(kind) is dict:
        return "object" if inner[1] is Any else f"object of {word(inner[1])}"
    if inner:
        return " or ".join(map(word, inner))
    names = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null", Any: "any value"}
    return names.get(kind) or f"[{kind.__name__}](#{kind.__name__.lower()})"


def documents() -> str:
    """What each command answers with, and the fields of all records."""
    links = {name: " or ".join(map(word, found)) for name, found in answers().items()}
    lines = ["| command | document |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in links.items())]
    parts = ["\n".join(lines)]
    for record in records():
        rows = [f"| `{name}` | {word(kind)} | {said} |" for name, (kind, said) in annotated(record).items()]
        purpose = (inspect.getdoc(record) or "").splitlines()[0]
        parts.append(
            "\n".join([f"### {record.__name__}\n\n{purpose}\n", "| field | type | meaning |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def schema() -> str:
    """Text of `docs/schema.json`: JSON Schema of every document, by command under ``commands``."""
    from pydantic import TypeAdapter

    inputs = [(record.__name__, "serialization", TypeAdapter(record)) for record in records()]
    _, whole = TypeAdapter.json_schemas(inputs, title="What spatterlib answers with --json")  # type: ignore[arg-type]
    for record in records():
        definition = whole["$defs"][record.__name__]
        definition["additionalProperties"] = False
        definition["description"] = (inspect.getdoc(record) or "").splitlines()[0]
        for name, (_, said) in annotated(record).items():
            definition["properties"][name]["description"] = said
    named = {name: [{"$ref": f"#/$defs/{record.__name__}"} for record in found] for name, found in answers().items()}
    whole["commands"] = {name: {"anyOf": [*found, {"$ref": "#/$defs/Failed"}]} for name, found in named.items()}
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def scripting_page(text: str) -> str:
    """`text` of `docs/scripting.md` with its generated parts written anew."""
    parts = {"exit codes": exit_codes, "documents": documents, "log lines": log_lines}

    def renew(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n\n{parts[match[1]]().strip()}\n\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(parts)}) -->\n.*?<!-- end -->", renew, text, flags=re.DOTALL)


def hooks() -> list[str]:
    """Names of the hooks, in the order of `spatterlib.plugins.hookspecs`."""
    from spatterlib.plugins import hookspecs

    return [name for name in vars(hookspecs) if name.startswith("spatter_")]


def signature(hook: str) -> str:
    """The line of `hookspecs` that defines `hook`."""
    from spatterlib.plugins import hookspecs

    tree = ast.parse(inspect.getsource(hookspecs))
    [node] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == hook]
    return f"def {hook}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"  # type: ignore[arg-type]


@cache
def implementing(path: Path) -> set[str]:
    """Hooks that a module implements."""
    text = path.read_text(encoding="utf-8")
    return {
        node.name
        for node in (ast.walk(ast.parse(text)) if "hookimpl" in text else ())
        if isinstance(node, ast.FunctionDef) and any("hookimpl" in ast.unparse(mark) for mark in node.decorator_list)
    }


def users(hook: str) -> tuple[list[str], list[str]]:
    """Built-in modules and example packages that implement `hook`."""
    house = ROOT / "spatterlib"
    built_in = sorted(
        ".".join(path.relative_to(house).with_suffix("").parts)
        for path in house.rglob("*.py")
        if hook in implementing(path)
    )
    examples = sorted(
        {
            path.relative_to(ROOT / "plugins").parts[0]
            for path in (ROOT / "plugins").rglob("*.py")
            if not path.name.startswith("test_") and "build" not in path.parts and hook in implementing(path)
        }
    )
    return built_in, examples


def hook_part(hook: str) -> str:
    """What stands between the marks of `hook`."""
    from spatterlib.plugins import hookspecs

    doc = inspect.getdoc(getattr(hookspecs, hook)) or ""
    built_in, examples = users(hook)
    return (
        f"```text\n{signature(hook)}\n```\n\n{doc}\n\n"
        f"Built-in modules that use it: {', '.join(f'`{name}`' for name in built_in)}.\n"
        f"Examples under `plugins/`: {', '.join(f'`{name}`' for name in examples)}.\n"
    )


def hooks_page(text: str) -> str:
    """`text` of `docs/plugin_hooks.md` with its generated parts written anew."""

    def renew(match: re.Match[str]) -> str:
        return f"<!-- hook: {match[1]} -->\n\n{hook_part(match[1])}\n<!-- end of hook -->"

    return re.sub(r"<!-- hook: (\w+) -->\n.*?<!-- end of hook -->", renew, text, flags=re.DOTALL)


def main() -> int:
    """Write the pages; with ``--check`` only say which is not up to date."""
    stale = 0
    pages = {
        CLI: cli_page(),
        HOOKS: hooks_page(HOOKS.read_text(encoding="utf-8")),
        SCRIPTING: scripting_page(SCRIPTING.read_text(encoding="utf-8")),
        SCHEMA: schema(),
    }
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale += 1
            print(f"{path.relative_to(ROOT)}: {'not up to date' if '--check' in sys.argv else 'written'}")
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
