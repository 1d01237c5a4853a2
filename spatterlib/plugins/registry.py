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

from spatterlib.common.install_hints import example_package
from spatterlib.errors import ParameterError, PluginError, one_line
from spatterlib.plugins import contract, hookspecs
from spatterlib.plugins.capabilities import HasSuffixes
from spatterlib.plugins.hook_calls import Answer, Plugin, ask, guarded

if TYPE_CHECKING:
    from spatterlib.types import StoreKind

BUILTINS = (
    "spatterlib.stores.opening",
    "spatterlib.detection.frame_difference",
    "spatterlib.detection.particles",
    "spatterlib.detection.filters",
    "spatterlib.stores.hdf5",
    "spatterlib.stores.zarr",
    "spatterlib.stores.original",
    "spatterlib.video.container",
    "spatterlib.video.images",
    # Behind stores, so asked before these: HDF5 files of others hold datasets of frames, perhaps.
    "spatterlib.video.arrays",
    "spatterlib.learning.lenet5.classifier",
    "spatterlib.learning.onnx_model",
)
COMMANDS = (
    "spatterlib.cli.annotate",
    "spatterlib.cli.convert",
    "spatterlib.cli.simulate",
    "spatterlib.cli.learning",
    "spatterlib.cli.streaks",
    "spatterlib.cli.track",
    "spatterlib.cli.monitor",
    "spatterlib.cli.export",
    "spatterlib.cli.new_plugin",
    "spatterlib.cli.demo",
)
_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("spatter_"))
KINDS = {"detector": "detectors", "filter": "filters", "store": "stores", "classifier": "classifiers"}


@dataclass(frozen=True)
class Catalog:
    """What is installed, and what failed and why.

    Parameters
    ----------
    detectors, filters, stores, classifiers : dict
        Classes by id.
    sources : tuple of Plugin
        Every plugin module that was asked for, in the order of loading.
    origins : dict
        ``(kind, id)`` to the source that it came from.
    video_suffixes : frozenset
        Of the recordings that the readers know, in small letters: by these they are found in a folder.
    hook : object
        Pluggy's caller of the hooks of all loaded modules; `ask` calls them so that nobody stops the others.
    """

    detectors: Mapping[str, type]
    filters: Mapping[str, type]
    stores: Mapping[str, type[StoreKind]]
    classifiers: Mapping[str, type]
    sources: tuple[Plugin, ...]
    origins: Mapping[tuple[str, str], Plugin]
    video_suffixes: frozenset[str]
    hook: Any = field(repr=False)
    clashes: Mapping[tuple[str, str], tuple[Plugin, ...]] = field(default_factory=dict)

    def ask(self, hook: str, **arguments: Any) -> tuple[Any, list[Answer]]:
        """Call a hook of all plugins: pluggy's result, and what each answered or how it failed.

        Parameters
        ----------
        hook : str
            ``"spatter_open_video"`` or ``"spatter_commands"``.
        **arguments
            Its arguments.
        """
        return ask(getattr(self.hook, hook), **arguments)

    @property
    def failed(self) -> tuple[Plugin, ...]:
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
        hint = f"{known_of}; " if (known_of := example_package(kind, id)) else hint
        failed = "; ".join(f"{source} did not load: {source.error}" for source in self.failed)
        raise PluginError(
            f"no {kind} {id!r} is installed; {hint}there are {', '.join(sorted(known))}"
            + (f"; {failed}" if failed else "")
        )


def _candidates(built_in: Sequence[str]) -> Iterator[tuple[Plugin, EntryPoint | None]]:
    for name in built_in:
        yield Plugin(name), None
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


def _source(distribution: Distribution, entry: EntryPoint) -> Plugin:
    return Plugin(entry.value, distribution.metadata["Name"], distribution.version)


def _loaded(manager: pluggy.PluginManager, plugin: Plugin, entry: EntryPoint | None) -> tuple[Plugin, ModuleType]:
    """A plugin with the functions that are to be registered, none if it does not load."""
    try:
        module = entry.load() if entry else importlib.import_module(plugin.module)
        return plugin, guarded(manager, module, plugin)
    except (Exception, SystemExit) as error:
        return _failed(plugin, error), ModuleType(plugin.module)


def _registered(manager: pluggy.PluginManager, plugin: Plugin, functions: ModuleType) -> Plugin:
    if plugin.error:
        return plugin
    try:
        manager.register(functions, name=str(plugin))
        names = [hook.name for hook in manager.get_hookcallers(functions) or ()]
        contract.known_hooks_only(names, _HOOKS)
    except Exception as error:
        if manager.has_plugin(str(plugin)):
            manager.unregister(name=str(plugin))
        return _failed(plugin, error)
    return plugin


def _failed(plugin: Plugin, error: BaseException) -> Plugin:
    return dataclasses.replace(plugin, error=f"{type(error).__name__}: {one_line(error)}")


def _merge(
    manager: pluggy.PluginManager, plugins: list[Plugin], kind: str
) -> tuple[dict[str, type], dict[str, list[Plugin]]]:
    """Classes by id and all plugins by id; a plugin whose hook fails is marked in `plugins`."""
    result, answers = ask(getattr(manager.hook, f"spatter_{KINDS[kind]}"))
    whose: dict[tuple[str, type], Plugin] = {}
    for answer in answers:
        if answer.error:
            plugins[plugins.index(answer.plugin)] = _failed(answer.plugin, answer.error)
        for found in answer.value if isinstance(answer.value, list) else [answer.value or {}]:
            for item in found.items():
                whose.setdefault(item, answer.plugin)
    items = [item for found in result or () for item in found.items()]
    origins: dict[str, list[Plugin]] = {}
    for id_, class_ in items:
        origins.setdefault(id_, []).append(whose[id_, class_])
    return dict(items), origins


@cache
def catalog() -> Catalog:
    """What is installed, what failed and why; loaded once per process. Built-in commands are in `commands` alone.

    Returns
    -------
    Catalog

    Examples
    --------
    >>> import spatterlib as sp
    >>> sorted(sp.catalog().filters)
    ['area', 'black', 'blue', 'region']
    """
    return _gathered(BUILTINS)


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
    loaded = [_loaded(manager, plugin, entry) for plugin, entry in _candidates(built_in)]
    # Pluggy calls first what was registered last: built-in plugins come first, but for readers, which are `trylast`.
    sources = [_registered(manager, *item) for item in reversed(loaded)][::-1]
    merged = {kind: _merge(manager, sources, kind) for kind in KINDS}
    everything = {(kind, id_): tuple(found) for kind, (_, all_) in merged.items() for id_, found in all_.items()}
    modules = (reader.plugin for reader in manager.hook.spatter_open_video.get_hookimpls())
    readers = (module for module in modules if isinstance(module, HasSuffixes))
    return Catalog(
        **{plural: merged[kind][0] for kind, plural in KINDS.items()},
        sources=tuple(sources),
        origins={key: found[0] for key, found in everything.items()},
        video_suffixes=frozenset(suffix for reader in readers for suffix in reader.suffixes),
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


def plugin_in_words(kind: str, plugin: Any) -> str:
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
