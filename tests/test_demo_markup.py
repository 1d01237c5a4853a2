"""The demo has one way to make HTML, in which text is escaped; its sources are read for another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the extra demo is not installed")

DEMO = Path(__file__).parents[1] / "demo" / "spatterlib_demo"
MODULES = sorted(DEMO.glob("*.py"))
RENDERED = ("HTML", "Markdown", "Label", "Dataframe", "DataFrame", "Chatbot", "HighlightedText", "Dataset", "Gallery")
"""Components of Gradio that show HTML or Markdown."""


def calls(module: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))


@pytest.mark.parametrize("module", [path for path in MODULES if path.stem != "markup"], ids=lambda path: path.stem)
def test_every_template_is_a_literal_and_nothing_else_makes_html(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    named = {
        node.targets[0].id: node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for call in calls(module):
        name = ast.unparse(call.func)
        if name == "html":
            template = call.args[0]
            template = named.get(template.id, template) if isinstance(template, ast.Name) else template
            assert isinstance(template, ast.Constant), ast.unparse(call)
        assert name not in [f"gr.{component}" for component in RENDERED], ast.unparse(call)
        assert name != "Markup" or not call.args, ast.unparse(call)
        assert name not in ("gr.Info", "gr.Warning", "gr.Error", "gr.Success"), ast.unparse(call)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_text_with_values_in_it_holds_tags(module: Path) -> None:
    """An f-string is a plain text, which the page escapes: tags in it would be seen by the user."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr) and module.stem != "look":
            assert not [part for part in node.values if isinstance(part, ast.Constant) and "</" in str(part.value)]


def test_what_is_put_into_html_is_text_and_what_is_html_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DEMO.parent)
    from spatterlib_demo.markup import area, html, joined

    made = html("<b title='{}'>{name} {count:,}</b>", "'>", name="<i>", count=1200)
    assert made == "<b title='&#39;&gt;'>&lt;i&gt; 1,200</b>"
    assert html("<p>{}</p>", made) == f"<p>{made}</p>"
    assert joined(["<i>", made]) == f"&lt;i&gt;{made}"
    assert (area("<i>").value, area(made).value) == ("&lt;i&gt;", str(made))
    facts: Any = {"begin": 0}
    sent: Any = area().postprocess
    assert [sent(value) for value in ("<i>", made, facts, None)] == ["&lt;i&gt;", str(made), facts, None]
