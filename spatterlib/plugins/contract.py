"""Whether what a plugin module announces and returns is what the hooks ask for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from spatterlib.common.records import default_of
from spatterlib.errors import ContractError

__all__ = ["check_suffixes", "checked_answer", "checked_result", "known_hooks_only"]

_NEEDED = {
    "detector": ("__call__", "lead"),
    "filter": ("__call__",),
    "store": ("suffixes", "recognises", "create", "open"),
    "classifier": ("fit", "load", "preprocessing"),
}
_KINDS = {f"spatter_{kind}s": kind for kind in _NEEDED}


def known_hooks_only(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a module that implements no hook, or one that does not exist.

    Parameters
    ----------
    names : sequence of str
        The functions that it marks with ``@spatterlib.hookimpl``.
    known : sequence of str
        The hooks that there are.

    Raises
    ------
    ContractError
        With the nearest hook.
    """
    if not names:
        raise ContractError("it implements no hook; mark its functions with @spatterlib.hookimpl")
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ContractError(f"there is no hook {name!r}; {hint}there are {', '.join(known)}")


def checked_answer(hook: str, answer: Any) -> Any:
    """What a plugin answered to a hook, if it keeps the form of the contract.

    Raises
    ------
    ContractError
        If it is something else.
    """
    if hook in _KINDS:
        return _classes(_KINDS[hook], hook, answer)
    if hook == "spatter_open_video" and answer is not None:
        from spatterlib.types import Video  # with NumPy, which nothing else needs at the start

        if not isinstance(answer, Video):
            raise ContractError(f"{type(answer).__name__} is no Video")
    return answer


def checked_result(hook: str, result: Any) -> Any:
    """What a wrapper made of all answers, if it keeps the form of the contract.

    Raises
    ------
    ContractError
        If it is something else.
    """
    if hook not in _KINDS:
        return checked_answer(hook, result)
    if not isinstance(result, list):
        raise ContractError(f"a wrapper of {hook} must return the list of all answers, got {result!r}")
    return [checked_answer(hook, answer) for answer in result]


def check_suffixes(suffixes: Any) -> None:
    """Refuse what are no suffixes of files.

    Raises
    ------
    ContractError
        If they are no tuple of texts in small letters that begin with a dot.
    """
    if not isinstance(suffixes, tuple) or not all(
        isinstance(suffix, str) and suffix[:1] == "." and suffix[1:] and suffix == suffix.lower() for suffix in suffixes
    ):
        raise ContractError(f"suffixes is {suffixes!r}; expected a tuple such as ('.h5', '.hdf5'), in small letters")


def _classes(kind: str, hook: str, answer: Any) -> dict[str, type]:
    if not isinstance(answer, Mapping) or not all(isinstance(class_, type) for class_ in answer.values()):
        raise ContractError(f"{hook} must return a dict of classes by id, got {answer!r}")
    for id_, class_ in answer.items():
        parameters = getattr(class_, "__dataclass_params__", None)
        if kind != "store" and not (parameters and parameters.frozen):
            raise ContractError(f"the class of {id_!r} must be a frozen dataclass, got {class_.__qualname__}")
        lacking = [name for name in _NEEDED[kind] if not _has(class_, name)]
        if not isinstance(id_, str) or lacking:
            raise ContractError(
                f"{kind} {id_!r}: {class_.__qualname__} has no {', '.join(lacking) or 'id that is text'}"
            )
        for parameter in dataclasses.fields(class_) if kind != "store" else ():
            _check_default(f"{kind} {id_!r}", parameter)
    return dict(answer)


def _has(class_: type, name: str) -> bool:
    # Not hasattr: every class can be called, which says nothing about its instances.
    return any(name in vars(base) for base in class_.__mro__) or name in getattr(class_, "__dataclass_fields__", ())


def _check_default(whose: str, parameter: dataclasses.Field[Any]) -> None:
    if not parameter.init:
        return
    default = default_of(parameter)
    if default is dataclasses.MISSING:
        raise ContractError(f"{whose}: its parameter {parameter.name!r} has no default; each needs one")
    try:
        json.dumps(default)
    except (TypeError, ValueError):
        raise ContractError(
            f"{whose}: the default of its parameter {parameter.name!r} is {type(default).__name__}, "
            "which is not JSON; use numbers, text, bool, None or tuples of them"
        ) from None
