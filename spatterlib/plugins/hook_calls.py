"""Calling the hooks: pluggy runs them, and a plugin that fails does not stop the others.

Each function of a plugin is registered inside another, which notes what it answered and catches what it raises. So
pluggy itself keeps the order (``tryfirst``, ``trylast``) and runs the wrappers, and whose an answer is stays known.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from types import ModuleType
from typing import Any

import pluggy

from spatterlib.errors import ContractError
from spatterlib.plugins import contract
from spatterlib.plugins.capabilities import HasSuffixes

__all__ = ["Answer", "Plugin", "ask", "guarded", "now_called"]


@dataclass(frozen=True)
class Plugin:
    """A plugin module, and where it comes from.

    Parameters
    ----------
    module : str
        Its import name.
    distribution, version : str
        The installed package that announces it.
    error : str
        Why it did not load; empty if it did.
    """

    module: str
    distribution: str = "spatterlib"
    version: str = ""
    error: str = ""

    @property
    def foreign(self) -> bool:
        """Whether it is somebody else's, not built in."""
        return not self.module.startswith("spatterlib.")

    def __str__(self) -> str:
        return f"{self.module} of {self.distribution} {self.version}".rstrip()


@dataclass(frozen=True)
class Answer:
    """What one plugin answered to a call, or how it failed; of a wrapper, what it made of the others' answers."""

    plugin: Plugin
    value: Any = None
    error: Exception | None = None


@dataclass
class _Call:
    answers: list[Answer] = field(default_factory=list)
    plugin: Plugin | None = None


_call: ContextVar[_Call | None] = ContextVar("call", default=None)


def ask(hook: Any, **arguments: Any) -> tuple[Any, list[Answer]]:
    """Call a hook: pluggy's result, and what each plugin answered.

    A plugin of others that fails, or answers what the hook does not allow, counts as one that is not there. An error of
    a built-in plugin ends the call: then the result is None, and the error is that of the last answer.

    Parameters
    ----------
    hook : pluggy.HookCaller
        Of functions that are `guarded`.
    **arguments
        Its arguments.
    """
    call = _Call()
    token = _call.set(call)
    try:
        return hook(**arguments), call.answers
    except Exception as error:
        if not any(answer.error is error for answer in call.answers):
            raise
        return None, call.answers
    finally:
        _call.reset(token)


def now_called() -> Plugin | None:
    """The plugin whose hook runs now, if one does."""
    call = _call.get()
    return call.plugin if call else None


def guarded(manager: pluggy.PluginManager, module: Any, plugin: Plugin) -> ModuleType:
    """The hook functions of a plugin module, as they are registered: under the same names, each with a guard.

    Raises
    ------
    ContractError
        If one is a wrapper of pluggy's old form, or the module's suffixes are none.
    """
    functions = ModuleType(plugin.module)
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options:
            if options["hookwrapper"]:
                raise ContractError(f"{name} is a wrapper of pluggy's old form; mark it with wrapper=True")
            function, hook = getattr(module, name), options["specname"] or name
            guard = _wrapper if options["wrapper"] and inspect.isgeneratorfunction(function) else _function
            setattr(functions, name, guard(function, hook, plugin))
    if hasattr(functions, "spatter_open_video") and isinstance(module, HasSuffixes):
        contract.check_suffixes(module.suffixes)
        vars(functions)["suffixes"] = module.suffixes
    return functions


def _begin(plugin: Plugin) -> None:
    if call := _call.get():
        call.plugin = plugin


def _end(plugin: Plugin, value: Any = None, error: Exception | None = None) -> None:
    if call := _call.get():
        call.answers.append(Answer(plugin, value, error))


def _function(function: Callable[..., Any], hook: str, plugin: Plugin) -> Callable[..., Any]:
    @wraps(function)
    def guard(*values: Any) -> Any:
        _begin(plugin)
        try:
            value = function(*values)
            _end(plugin, contract.checked_answer(hook, value))
        except Exception as error:
            _end(plugin, error=error)
            if plugin.foreign and _call.get():
                return None
            raise
        return value

    return guard


def _wrapper(function: Callable[..., Any], hook: str, plugin: Plugin) -> Callable[..., Any]:
    @wraps(function)
    def guard(*values: Any) -> Generator[None, Any, Any]:
        _begin(plugin)
        inner = function(*values)
        try:
            next(inner)
        except Exception as error:
            _end(plugin, error=ContractError("a wrapper yields once") if isinstance(error, StopIteration) else error)
            return (yield)
        refused, result = None, None
        try:
            result = yield
        except Exception as error:
            refused = error
        _begin(plugin)
        try:
            value = _resumed(inner, result, refused)
            _end(plugin, contract.checked_result(hook, value))
        except Exception as error:
            if error is not refused:
                _end(plugin, error=error)
            if refused or not _call.get():
                raise
            return result
        return value

    return guard


def _resumed(wrapper: Generator[None, Any, Any], result: Any, refused: Exception | None) -> Any:
    """What a wrapper makes of the others' result or error."""
    try:
        if refused:
            wrapper.throw(refused)
        else:
            wrapper.send(result)
    except StopIteration as end:
        return end.value
    raise ContractError("a wrapper yields once")
