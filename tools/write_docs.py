"""Write the generated parts of the documentation: `python tools/write_docs.py`.

`docs/cli.md` is the --help of every command; between ``<!-- hook: NAME -->`` and ``<!-- end of hook -->`` of
`docs/plugin_hooks.md` stand signature, law and users of each hook, between the comments of `docs/scripting.md` exit
codes and the fields of JSON and logs. `tests/test_docs.py` holds that they are up to date.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ["SPATTERLIB_PLUGINS"] = ""  # built-ins only: the page must not depend on what happens to be installed

ROOT = Path(__file__).parents[1]
CLI, HOOKS, SCRIPTING = (ROOT / "docs" / name for name in ("cli.md", "plugin_hooks.md", "scripting.md"))
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

    from spatterlib import cli

    cli.main(["--version"])  # adds the commands of modules and plugins
    names = ["", *sorted(cli.cli.commands)]
    runner = CliRunner(env={"COLUMNS": str(WIDTH)})
    return {
        name: runner.invoke(
            cli.cli, [*name.split(), "--help"], prog_name="spatterlib", terminal_width=WIDTH, catch_exceptions=False
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
    from spatterlib.runlog import EVENTS, FIELDS

    parts = [f"Every line:\n\n{fields(FIELDS)}"]
    parts += [f"Event `{name}` beside these:\n\n{fields(own)}" for name, own in EVENTS.items()]
    return "\n\n".join(parts)


def scripting_page(text: str) -> str:
    """`text` of `docs/scripting.md` with its generated parts written anew."""
    parts = {"exit codes": exit_codes, "log lines": log_lines}

    def renew(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n\n{parts[match[1]]().strip()}\n\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(parts)}) -->\n.*?<!-- end -->", renew, text, flags=re.DOTALL)


def hooks() -> list[str]:
    """Names of the hooks, in the order of `spatterlib.hookspecs`."""
    from spatterlib import hookspecs

    return [name for name in vars(hookspecs) if name.startswith("spatter_")]


def signature(hook: str) -> str:
    """The line of `hookspecs` that defines `hook`."""
    from spatterlib import hookspecs

    tree = ast.parse(inspect.getsource(hookspecs))
    [node] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == hook]
    return f"def {hook}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"  # type: ignore[arg-type]


def implementing(path: Path) -> set[str]:
    """Hooks that a module implements."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any("hookimpl" in ast.unparse(mark) for mark in node.decorator_list)
    }


def users(hook: str) -> tuple[list[str], list[str]]:
    """Built-in modules and example packages that implement `hook`."""
    built_in = sorted(p.stem for p in (ROOT / "spatterlib" / "builtin").glob("[!_]*.py") if hook in implementing(p))
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
    from spatterlib import hookspecs

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
