"""Kernels are compiled whole: a kernel and all that it calls become one piece of machine code.

Numba by itself optimises each function, translates it into machine code, and does both again in each function that
calls it, and in each that calls that one. Here a kernel that is called by a kernel is a *part*: it is only brought
into the compiler's own language (LLVM). What Python calls is put together from parts and then optimised and
translated once, which takes half the time and gives code as fast.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar, overload

from numba import config, types
from numba.core import event
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from spatterlib.kernels import compile_progress
from spatterlib.kernels.cache import Cache

__all__ = ["kernel"]

F = TypeVar("F", bound=Callable[..., Any])


@overload
def kernel(function: F) -> F: ...
@overload
def kernel(**options: Any) -> Callable[[F], F]: ...
def kernel(function: Any = None, **options: Any) -> Any:
    """A function that Numba compiles, without the interpreter's lock, at its first call on a machine.

    Parameters
    ----------
    function : callable
        It may call other kernels, of any file of this package. What is compiled is kept for those of this package.
    **options
        Of `numba.njit`, as ``fastmath``.

    Examples
    --------
    >>> from spatterlib.kernels.compiling import kernel
    >>> @kernel
    ... def double(number):
    ...     return 2 * number
    >>> double(21)
    42
    """
    if function is None:
        return lambda function: kernel(function, **options)
    return function if config.DISABLE_JIT else _Whole(function, options)  # type: ignore[attr-defined]


class _Fragment(JITCodeLibrary):
    """Code that is neither optimised nor translated before it is linked into that of a whole kernel."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _PartCompiler(Compiler):
    """Numba's own steps, for code that nobody calls from Python."""

    def define_pipelines(self) -> Any:
        state = self.state
        state.flags.no_compile = True
        state.library = _Fragment(state.targetctx.codegen(), state.func_id.func_qualname)
        return super().define_pipelines()


class _Part(CPUDispatcher):
    """A kernel as other kernels call it."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        super().__init__(function, targetoptions=options, pipeline_class=_PartCompiler)

    def add_overload(self, cres: Any) -> None:
        # What Numba looks a function up by is the object that Python would call.
        cres = cres._replace(entry_point=object())
        self.targetctx.insert_user_function(cres.entry_point, cres.fndesc, [cres.library])
        self.overloads[tuple(cres.signature.args)] = cres


class _Whole(CPUDispatcher):
    """A kernel as Python calls it; kernels that name it get its part."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        options = {"nopython": True, "nogil": True, "no_cfunc_wrapper": True, **options}
        super().__init__(function, targetoptions=options)
        self._part = _Part(function, {**options, "no_cpython_wrapper": True})
        if function.__module__.startswith(f"{__package__}."):
            # Others would not be compiled anew when their text changes.
            self._cache = Cache(function)

    @property
    def _numba_type_(self) -> Any:
        return types.Dispatcher(self._part)

    def compile(self, sig: Any) -> Any:
        with global_compiler_lock:
            known = len(self.overloads)
            entry = super().compile(sig)
            found: list[Any] = list(self.overloads.values())[known:]
            for cres in found:
                # The surroundings of parts, which Numba sets for what it compiles by itself and what it kept.
                for env in cres._find_referenced_environments() if cres.metadata else ():
                    cres.codegen.set_env(env.env_name, env)
            return entry


def _calls(function: Any, known: set[Any]) -> set[Any]:
    """Add a kernel and all that it calls, however deep."""
    known.add(function)
    named, code = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}, [function.__code__]
    for part in code:
        code += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
        for name in part.co_names:
            called = named.get(name)
            if isinstance(called, _Whole) and called.py_func not in known:
                _calls(called.py_func, known)
    return known


class _Progress(event.Listener):
    """Tells how far the compiling of kernels is, and keeps Python from looking for garbage meanwhile.

    Of the many small objects that Numba makes hardly any are garbage, and looking for it takes a sixth of the time.
    """

    def __init__(self) -> None:
        self._collecting: list[bool] = []

    def on_start(self, event: Any) -> None:
        whole = event.data["dispatcher"]
        if isinstance(whole, _Whole):
            self._collecting.append(gc.isenabled())
            gc.disable()
            compile_progress.begin(_calls(whole.py_func, set()))

    def on_end(self, event: Any) -> None:
        done = event.data["dispatcher"]
        if isinstance(done, _Part):
            compile_progress.part_done(done.py_func)
        elif isinstance(done, _Whole):
            if self._collecting.pop():
                gc.enable()
            compile_progress.end()


event.register("numba:compile", _Progress())
