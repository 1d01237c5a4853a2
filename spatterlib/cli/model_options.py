"""Options of every command that takes a model: what a bare file of weights does not say of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from spatterlib.errors import ParameterError

__all__ = ["load_named", "model_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """Give a command the options that say what a bare file of weights does not."""
    classifier = click.option(
        "--classifier",
        metavar="ID",
        help="Of a bare file of weights: the classifier that they are of.  [default: by what is in it]",
    )
    classes = click.option(
        "--classes", metavar="NAME,NAME,...", help="Of a bare file of weights: what its outputs are called, in order."
    )
    return classifier(classes(command))


def load_named(model: str, classifier: str | None, classes: str | None) -> Any:
    """The model of that name, as `spatterlib.load_model` loads it.

    Raises
    ------
    ParameterError
        If names of classes are empty or twice the same.
    """
    from spatterlib.learning.runs import load_model

    names = [name.strip() for name in (classes or "").split(",")] if classes is not None else []
    if len(set(names)) < len(names) or "" in names:
        raise ParameterError(f"--classes needs different names such as low,high, got {classes!r}")
    return load_model(model, classifier, classes=names)
