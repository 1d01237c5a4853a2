"""Text from outside in a page of Markdown, where `<`, `|` or a backtick would be more than a character."""

from __future__ import annotations

import re

__all__ = ["code", "escaped"]


def escaped(text: object) -> str:
    r"""Characters that mean something to Markdown or HTML as themselves; line breaks become spaces.

    Examples
    --------
    >>> escaped("low_flow <b>|*")
    'low_flow &lt;b>\\|\\*'
    """
    one = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|~$[\]]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", one)


def code(text: object) -> str:
    """The text as code, fenced by more backticks than it has in a row.

    Examples
    --------
    >>> code("build.h5"), code("a`b")
    ('`build.h5`', '`` a`b ``')
    """
    one = " ".join(str(text).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", one)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{one}{space}{fence}"
