"""HTML of the page: what is put into it is text, unless `html` made it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr
from markupsafe import Markup, escape

__all__ = ["Markup", "area", "html", "joined"]


def area(value: str | None = None, **options: Any) -> gr.HTML:
    """The only place of the page that shows HTML; a plain text in it stays a text."""
    # No class of its own: Gradio would write a file beside this one for it.
    made = gr.HTML(_shown(value), **options)
    made.postprocess = _shown
    return made


def _shown(value: Any) -> Any:
    """`Markup` as it is, text escaped, everything else (facts for a script, None) as it is."""
    return str(escape(value)) if isinstance(value, str) else value


def html(template: str, /, *values: object, **named: object) -> Markup:
    """Put values into HTML as `str.format` does; each is escaped, unless it is `Markup` itself.

    Examples
    --------
    >>> html("<b>{}</b> {:.1f}", "a < b", 2)
    Markup('<b>a &lt; b</b> 2.0')
    """
    return Markup(template).format(*values, **named)  # noqa: S704 - the template is ours: a test reads every call


def joined(parts: Iterable[str]) -> Markup:
    """One behind the other; texts are escaped."""
    return Markup("").join(parts)
