"""The reference of the routes as Markdown: ``python -m spatterlib_serve.rest > docs/rest.md``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["answer_type", "reference", "type_name"]


def reference(description: Mapping[str, Any]) -> str:
    """Markdown of an OpenAPI description."""
    lines = ["# REST reference", "", "Written by `python -m spatterlib_serve.rest` from `/openapi.json`.", ""]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            lines += _operation(f"{method.upper()} {path}", operation)
    lines += ["# Shapes", ""]
    for name, schema in description["components"]["schemas"].items():
        lines += [f"## {name}", "", schema.get("description", "").split("\n")[0], ""]
        fields = schema.get("properties", {}).items()
        lines += [
            *_table("field", ((key, type_name(value), value.get("description", "")) for key, value in fields)),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _operation(title: str, operation: Mapping[str, Any]) -> list[str]:
    lines = [f"## {title}", "", operation.get("description", ""), ""]
    if body := operation.get("requestBody"):
        lines += [f"Body: {', '.join(f'`{kind}`' for kind in body['content'])}.", ""]
    if found := operation.get("parameters"):
        rows = ((item["name"], type_name(item["schema"]), item.get("description", "")) for item in found)
        lines += [*_table("parameter", rows), ""]
    answers = ((code, answer_type(item), item["description"]) for code, item in operation["responses"].items())
    return [*lines, *_table("answer", answers), ""]


def _table(first: str, rows: Iterator[tuple[str, str, str]]) -> list[str]:
    cells = [f"| `{name}` | {kind} | {text} |".replace("\n", " ") for name, kind, text in rows]
    return [f"| {first} | type | meaning |", "|---|---|---|", *cells]


def answer_type(item: Mapping[str, Any]) -> str:
    """Media types and shapes of an answer of an OpenAPI description."""
    return ", ".join(f"{kind} {type_name(value['schema'])}" for kind, value in item.get("content", {}).items())


def type_name(schema: Mapping[str, Any]) -> str:
    """A schema of an OpenAPI description in words."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(type_name(item) for item in schema["anyOf"])
    if "prefixItems" in schema:
        return f"list of {', '.join(type_name(item) for item in schema['prefixItems'])}"
    if schema.get("type") == "array":
        return f"list of {type_name(schema['items'])}"
    if "enum" in schema or "const" in schema:
        return " or ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    return str(schema.get("type", "any"))


def main() -> None:
    """Print it."""
    from spatterlib_serve.app import create_app
    from spatterlib_serve.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(reference(create_app(Settings(data=Path(folder))).openapi()))


if __name__ == "__main__":
    main()
