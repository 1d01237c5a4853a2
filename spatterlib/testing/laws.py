"""What all checks share: a law and its sentence, how a check tells what is wrong, the laws of every dataclass."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeAlias

from spatterlib.errors import LawError
from spatterlib.plugins.registry import frozen

__all__ = ["Check", "checks", "must", "sentence", "shortened", "steady"]

Check: TypeAlias = Callable[[], None]
"""Named as the law it tests, its docstring cites the sentence; raises `LawError` where the law is broken."""


def must(holds: object, problem: str) -> None:
    """Raise `LawError` with `problem` unless something holds."""
    if not holds:
        raise LawError(problem)


def sentence(check: Check) -> str:
    """What a check cites: a sentence of `spatterlib.plugins.hookspecs`, or a part of one.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.testing import detector_checks, sentence
    >>> checks = {check.__name__: check for check in detector_checks(sp.make("detector", "frame-difference"))}
    >>> sentence(checks["no_frame_is_modified"])
    'no frame modified'
    """
    cited = re.search(r'"([^"]+)"', check.__doc__ or "")
    return " ".join(cited[1].split()) if cited else ""


def checks(laws: Iterable[Callable[..., None]], *subject: Any) -> tuple[Check, ...]:
    """One check per law, about the subject."""
    return tuple(_check(law, subject) for law in laws)


def _check(law: Callable[..., None], subject: tuple[Any, ...]) -> Check:
    @wraps(law)
    def check() -> None:
        try:
            law(*subject)
        except Exception as error:
            name = law.__name__
            raise LawError(
                f'{shortened(subject[0])} breaks the law {name}, "{sentence(law)}": {_told(error)}'
            ) from error

    del check.__wrapped__
    return check


def _told(error: Exception) -> str:
    text = shortened(str(error), 300)
    return text if isinstance(error, LawError) else f"it raised {type(error).__name__}: {text}"


def shortened(value: object, length: int = 80) -> str:
    """A value as text of one line that is not too long."""
    text = value.__name__ if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def steady(max_examples: int) -> Any:
    """Hypothesis settings under which a check does the same each time, on any machine."""
    from hypothesis import HealthCheck, Phase, settings

    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        # Making an example smaller takes minutes where each one writes a store; these are small already.
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def is_a_frozen_dataclass(plugin: Any, *_: Any) -> None:
    """Its class is a frozen dataclass: "a frozen dataclass whose fields are its parameters"."""
    class_ = type(plugin)
    must(dataclasses.is_dataclass(class_), f"{class_.__name__} is no dataclass")
    must(class_.__dataclass_params__.frozen, f"{class_.__name__} is not frozen; write @dataclass(frozen=True)")


def parameters_have_defaults(plugin: Any, *_: Any) -> None:
    """Every parameter can be left out: "JSON-able values with defaults"."""
    for parameter in dataclasses.fields(plugin):
        default = parameter.default is not dataclasses.MISSING or parameter.default_factory is not dataclasses.MISSING
        must(default or not parameter.init, f"the parameter {parameter.name} has no default")


def pickles(plugin: Any, *_: Any) -> None:
    """Its copy by pickle is equal to it: "The instance pickles"."""
    copy = pickle.loads(pickle.dumps(plugin))  # noqa: S301 - made here
    must(copy == plugin, f"pickled and back it is {shortened(copy)}")


def survives_json(plugin: Any, *_: Any) -> None:
    """Made anew from its parameters as JSON it is equal to itself: "survives a JSON round trip"."""
    values = {item.name: getattr(plugin, item.name) for item in dataclasses.fields(plugin) if item.init}
    read = json.loads(json.dumps(values, allow_nan=False))
    copy = type(plugin)(**{name: frozen(value) for name, value in read.items()})
    must(copy == plugin, f"as JSON and back it is {shortened(copy)}")


DATACLASS = (is_a_frozen_dataclass, parameters_have_defaults, pickles, survives_json)
"""Laws of every plugin that has parameters."""
