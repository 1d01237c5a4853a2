"""What is installed: the loader, the catalogue, and `make`, which turns an id into an object."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from spatterlib.common.install_hints import example
from spatterlib.errors import ParameterError, PluginError, one_line
from spatterlib.plugins import contract, hookspecs

if TYPE_CHECKING:
    from spatterlib.types import StoreKind

BUILTINS = (
    "spatterlib.stores.opening",
    "spatterlib.detection.frame_difference",
    "spatterlib.detection.filters",
    "spatterlib.stores.hdf5",
    "spatterlib.stores.zarr",
    "spatterlib.stores.original",
    "spatterlib.video.container",
    "spatterlib.video.images",
    "spatterlib.learning.lenet5.classifier",
    "spatterlib.learning.onnx_model",
)
COMMANDS = (
    "spatterlib.cli.convert",
    "spatterlib.cli.simulate",
    "spatterlib.cli.learning",
    "spatterlib.cli.streaks",
    "spatterlib.cli.monitor",
    "spatterlib.cli.export",
    "spatterlib.cli.new_plugin",
    "spatterlib.cli.demo",
)
_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("spatter_"))
KINDS = {"detector": "detectors", "filter": "filters", "store": "stores", "classifier": "classifiers"}


@dataclass(frozen=True)
class Source:
    """Where a plugin module comes from.

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
class Catalog:
    """What is installed, and what failed and why.

    Parameters
    ----------
    detectors, filters, stores, classifiers : dict
        Classes by id.
    sources : tuple of Source
        Every plugin module that was asked for, in the order of loading.
    origins : dict
        ``(kind, id)`` to the source that it came from.
    hook : object
        Calls the hooks ``spatter_open_video`` and ``spatter_commands`` of all loaded modules.
    """

    detectors: Mapping[str, type]
    filters: Mapping[str, type]
    stores: Mapping[str, type[StoreKind]]
    classifiers: Mapping[str, type]
    sources: tuple[Source, ...]
    origins: Mapping[tuple[str, str], Source]
    hook: Any = field(repr=False)
    clashes: Mapping[tuple[str, str], tuple[Source, ...]] = field(default_factory=dict)

    def ask(
        self, hook: str, *, built_in_first: bool = False, **arguments: Any
    ) -> Iterator[tuple[Source, Any, Exception | None]]:
        """Call a hook of one plugin after the other: whose it is, its answer, its error.

        Parameters
        ----------
        hook : str
            ``"spatter_open_video"`` or ``"spatter_commands"``.
        built_in_first : bool
            By default the plugins of others are asked first.
        **arguments
            Its arguments.

        Yields
        ------
        tuple
            Source, answer, and the error if it raised one.
        """
        by_name = {str(source): source for source in self.sources}
        implementations = getattr(self.hook, hook).get_hookimpls()
        for implementation in implementations if built_in_first else reversed(implementations):
            values = [arguments[name] for name in implementation.argnames]
            try:
                answer, failure = implementation.function(*values), None
            except Exception as error:
                answer, failure = None, error
            yield by_name[implementation.plugin_name], answer, failure

    @property
    def failed(self) -> tuple[Source, ...]:
        """The plugin modules that did not load."""
        return tuple(source for source in self.sources if source.error)

    def find(self, kind: str, id: str) -> type:  # noqa: A002
        """Class of that id.

        Raises
        ------
        PluginError
            If nothing, or more than one thing, has that id; names near ids and what failed to load.
        """
        if kind not in KINDS:
            raise PluginError(f"a plugin is one of {', '.join(KINDS)}, not {kind!r}")
        if clash := self.clashes.get((kind, id)):
            raise PluginError(
                f"{kind} {id!r} is there twice, from {' and from '.join(map(str, clash))}; "
                "uninstall one, or name the wanted distributions in SPATTERLIB_PLUGINS"
            )
        known: Mapping[str, type] = getattr(self, KINDS[kind])
        if id in known:
            return known[id]
        near = get_close_matches(id, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        hint = f"{known_of}; " if (known_of := example(kind, id)) else hint
        failed = "; ".join(f"{source} did not load: {source.error}" for source in self.failed)
        raise PluginError(
            f"no {kind} {id!r} is installed; {hint}there are {', '.join(sorted(known))}"
            + (f"; {failed}" if failed else "")
        )


def _candidates(built_in: Sequence[str]) -> Iterator[tuple[Source, EntryPoint | None]]:
    for name in built_in:
        yield Source(name), None
    wanted = os.environ.get("SPATTERLIB_PLUGINS")
    names = None if wanted is None else {_normal(name) for name in wanted.split(",") if name.strip()}
    seen: set[tuple[str, str]] = set()
    for distribution in distributions():
        for entry in distribution.entry_points.select(group=hookspecs.PROJECT):
            source = _source(distribution, entry)
            chosen = names is None or _normal(source.distribution) in names
            if chosen and (source.distribution, entry.value) not in seen:
                seen.add((source.distribution, entry.value))
                yield source, entry


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _source(distribution: Distribution, entry: EntryPoint) -> Source:
    return Source(entry.value, distribution.metadata["Name"], distribution.version)


def _load(source: Source, entry: EntryPoint | None) -> ModuleType:
    return entry.load() if entry else importlib.import_module(source.module)


def _register(manager: pluggy.PluginManager, source: Source, entry: EntryPoint | None) -> Source:
    try:
        module = _load(source, entry)
        manager.register(module, name=str(source))
        names = [hook.name for hook in manager.get_hookcallers(module) or ()]
        contract.known_hooks_only(names, _HOOKS)
    except (Exception, SystemExit) as error:
        if manager.has_plugin(str(source)):
            manager.unregister(name=str(source))
        return _failed(source, error)
    return source


def _failed(source: Source, error: BaseException) -> Source:
    reason = one_line(error)
    return dataclasses.replace(source, error=f"{type(error).__name__}: {reason}")


def _merge(
    manager: pluggy.PluginManager, sources: list[Source], kind: str
) -> tuple[dict[str, type], dict[str, list[Source]]]:
    """Classes by id and all sources by id; a source whose hook fails is marked in `sources`."""
    classes: dict[str, type] = {}
    origins: dict[str, list[Source]] = {}
    hook = getattr(manager.hook, f"spatter_{KINDS[kind]}")
    by_name = {str(source): index for index, source in enumerate(sources)}
    for implementation in hook.get_hookimpls():
        index = by_name[implementation.plugin_name]
        try:
            found = contract.classes(kind, hook.name, implementation.function())
        except Exception as error:
            sources[index] = _failed(sources[index], error)
            continue
        for id_, class_ in found.items():
            classes[id_] = class_
            origins.setdefault(id_, []).append(sources[index])
    return classes, origins


@cache
def catalog() -> Catalog:
    """What is installed, what failed and why; loaded once per process.

    Returns
    -------
    Catalog

    Examples
    --------
    >>> import spatterlib as sp
    >>> sorted(sp.catalog().filters)
    ['area', 'black', 'blue', 'region']
    """
    return _gathered((*BUILTINS, *COMMANDS))


@cache
def commands() -> Catalog:
    """What may add commands: without the built-in modules that add none, which NumPy comes with.

    So `spatterlib --help` starts at once.

    Returns
    -------
    Catalog

    Examples
    --------
    >>> from spatterlib.plugins.registry import commands
    >>> commands().stores.keys() & {"hdf5", "zarr"}
    set()
    """
    return _gathered(COMMANDS)


def _gathered(built_in: Sequence[str]) -> Catalog:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    sources = [_register(manager, source, entry) for source, entry in _candidates(built_in)]
    merged = {kind: _merge(manager, sources, kind) for kind in KINDS}
    everything = {(kind, id_): tuple(found) for kind, (_, all_) in merged.items() for id_, found in all_.items()}
    return Catalog(
        **{plural: merged[kind][0] for kind, plural in KINDS.items()},
        sources=tuple(sources),
        origins={key: found[0] for key, found in everything.items()},
        hook=manager.hook,
        clashes={key: found for key, found in everything.items() if len(found) > 1},
    )


def make(kind: str, spec: Any, /, **parameters: Any) -> Any:
    """Turn an id, an identity or an object into an object: strings are accepted wherever an object is.

    Parameters
    ----------
    kind : str
        ``"detector"``, ``"filter"`` or ``"classifier"``.
    spec : str, dict or object
        An id, an identity such as ``{"id": "area", "min_area": 500}``, or an object, which is returned.
    **parameters
        Fields of the plugin's dataclass; they win over those of an identity.

    Returns
    -------
    object
        An instance of the plugin's frozen dataclass.

    Raises
    ------
    PluginError
        If no such plugin is installed.
    ParameterError
        If a parameter is unknown or its value is refused.

    Examples
    --------
    >>> import spatterlib as sp
    >>> sp.make("detector", "frame-difference", threshold=25).threshold
    25
    """
    if isinstance(spec, str):
        spec = {"id": spec}
    if not isinstance(spec, Mapping):
        return dataclasses.replace(spec, **parameters) if parameters else spec
    if not isinstance(spec.get("id"), str):
        raise ParameterError(f"a {kind} needs an 'id', a text, got {dict(spec)!r}")
    values = {key: value for key, value in {**spec, **parameters}.items() if key != "id"}
    class_ = catalog().find(kind, spec["id"])
    known = [parameter.name for parameter in dataclasses.fields(class_) if parameter.init]
    for name in values:
        if name not in known:
            raise ParameterError(
                f"{kind} {spec['id']!r} has no parameter {name!r}; it has {', '.join(known) or 'none'}"
                f"{nearest(name, known)}"
            )
    try:
        return class_(**{name: frozen(value) for name, value in values.items()})
    except (TypeError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        got = ", ".join(f"{name}={value!r}" for name, value in values.items())
        kinds = f"; got {got}, expected values such as {class_()!r}" if isinstance(error, TypeError) else ""
        raise ParameterError(f"{kind} {spec['id']!r}: {error}{kinds}") from error


def nearest(name: str, known: Sequence[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known name, or nothing."""
    near = get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def frozen(value: Any) -> Any:
    """Lists as tuples, all the way down, so that the dataclass stays hashable."""
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def identity(plugin: Any) -> dict[str, Any]:
    """What a plugin object is, as JSON-able values: its id and every parameter.

    Parameters
    ----------
    plugin : object
        An instance of a plugin's dataclass.

    Returns
    -------
    dict
        ``{"id": ..., parameter: value, ...}``; ``make(kind, identity(plugin)) == plugin`` for an installed
        plugin. The id of an object whose class is not installed is ``"module:Class"``.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.plugins import identity
    >>> identity(sp.make("filter", "black"))
    {'id': 'black', 'min_peak': 40}
    """
    class_ = type(plugin)
    installed = (item for plural in KINDS.values() for item in getattr(catalog(), plural).items())
    ids = (id_ for id_, known in installed if known is class_)
    parameters = dataclasses.asdict(plugin) if dataclasses.is_dataclass(class_) else {}
    result = {"id": next(ids, f"{class_.__module__}:{class_.__qualname__}")} | parameters
    return json.loads(json.dumps(result))  # type: ignore[no-any-return]


def describe(kind: str, plugin: Any) -> str:
    """``"'id' (module of distribution version)"``: how a message names a plugin object."""
    id_ = identity(plugin)["id"]
    source = catalog().origins.get((kind, id_))
    return f"{kind} {id_!r}" + (f" ({source})" if source else "")


def versions_of(packages: Sequence[str], **plugins: Sequence[Any]) -> dict[str, str]:
    """Of installed packages, and of the distributions of others that plugin objects come from."""
    from importlib.metadata import version

    return {package: version(package) for package in packages} | foreign_versions(**plugins)


def foreign_versions(**plugins: Sequence[Any]) -> dict[str, str]:
    """Versions of the distributions of others that plugin objects come from, such as ``detector=[...]``.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.plugins.registry import foreign_versions
    >>> foreign_versions(detector=[sp.make("detector", "frame-difference")])
    {}
    """
    wanted = ((kind, identity(plugin)["id"]) for kind, objects in plugins.items() for plugin in objects)
    sources = [catalog().origins[key] for key in wanted if key in catalog().origins]
    return {source.distribution: source.version for source in sources if source.foreign}
